//! Filesystems that are kept in a directory: what was there is there again.
#![cfg(not(feature = "shuttle"))]

mod durable_calls;
mod reopen;
