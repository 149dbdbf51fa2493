//! The Python class `Stats`: the counters of a filesystem at one moment.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::sizes::human;

/// Declares the class, its constructor and `_asdict` from one list of fields.
macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// The counters of a filesystem at one moment. Sizes are in bytes.
        #[pyclass(frozen, eq, module = "brimfs")]
        #[derive(Clone, PartialEq)]
        pub(crate) struct Stats {
            $($(#[$doc])* #[pyo3(get)] $field: $type,)*
        }

        impl Stats {
            pub(crate) fn new(core: &brimfs::Stats) -> Self {
                Stats { $($field: core.$field,)* }
            }

            fn fill(&self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
                $(dict.set_item(stringify!($field), self.$field)?;)*
                Ok(())
            }
        }
    };
}

stats! {
    /// Bytes stored, as the quota counts them.
    quota_used: u64,
    /// The quota, None without one.
    quota_limit: Option<u64>,
    /// Regular files.
    files: u64,
    /// Directories, the root included.
    directories: u64,
    /// Symbolic links.
    symlinks: u64,
    /// Files, directories and symbolic links together.
    nodes: u64,
    /// The most nodes there may be, None without a limit.
    max_nodes: Option<u64>,
    /// Bytes in memory: content, nodes, names, tables and caches.
    resident: u64,
    /// The most bytes that were ever in memory.
    resident_peak: u64,
    /// The most bytes that may be in memory. Shared with the other filesystems of a Budget.
    memory_limit: u64,
    /// Handles that are open.
    open_handles: u64,
    /// Views that are alive.
    views: u64,
    /// Threads that wait for a file lock.
    lock_waiters: u64,
    /// Bytes of the path cache, a part of resident.
    cached_paths: u64,
    /// Freed bytes that the process keeps for the next files, beside resident.
    recycled: u64,
}

#[pymethods]
impl Stats {
    /// The fields as a dict.
    fn _asdict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        self.fill(&dict)?;
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        format!(
            "<brimfs.Stats {} files, {} directories, {} stored, {} of {} resident>",
            self.files,
            self.directories,
            human(self.quota_used),
            human(self.resident),
            human(self.memory_limit)
        )
    }
}
