//! Resident bytes: who is charged for them, where they live, what a file holds.
//!
//! Knows no names, no paths and no disk.

pub(crate) mod account;
pub(crate) mod budget;
pub(crate) mod chunk;
pub(crate) mod content;
pub(crate) mod cost;
pub(crate) mod delta;
mod draw;
pub(crate) mod foreign;
pub(crate) mod fresh;
pub(crate) mod guard;
pub(crate) mod ledger;
pub(crate) mod pool;
pub(crate) mod residence;
pub(crate) mod run;
pub(crate) mod shared;
pub(crate) mod slots;
pub(crate) mod small;
pub(crate) mod survey;
pub(crate) mod table;
pub(crate) mod tier;
pub(crate) mod written;
