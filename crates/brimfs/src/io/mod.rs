//! The host: the only module that reads anything of it.

pub(crate) mod host_memory;
