//! Open files and the locks on them.
//!
//! May call the namespace and what lies below it; never the facade.

pub(crate) mod lock;
pub mod wait;
