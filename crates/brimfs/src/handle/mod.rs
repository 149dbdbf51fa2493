//! Open files and the locks on them.
//!
//! May call the namespace and what lies below it; never the facade.

pub(crate) mod again;
pub(crate) mod file;
pub(crate) mod large;
pub(crate) mod lock;
pub(crate) mod node;
pub(crate) mod open;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod view;
pub mod wait;
