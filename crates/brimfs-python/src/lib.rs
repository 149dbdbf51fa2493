//! The extension module of the Python package: `brimfs._brimfs`.
//!
//! Owns the translation between Python and the core, and nothing of a
//! filesystem itself. May call the core's public interface and its `face`.
//!
//! `unsafe` lives in `raw/` (the calling convention of the hottest methods and
//! a few operations on objects), `buffer.rs` (memory that crosses the border)
//! and `gil.rs` (references without the interpreter lock), nowhere else.

mod at_once;
mod budget;
mod buffer;
mod errors;
mod file;
mod filesystem;
mod gil;
mod guard;
mod log;
mod path;
mod preload;
mod raw;
mod record;
mod reports;
mod sizes;
mod stat;
mod stats;
mod stream;
mod watch;

/// The native half of brimfs. Import brimfs instead.
#[pyo3::pymodule(gil_used = false)]
mod _brimfs {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::at_once::{_LockEvents, _LockTicket, _at_once};
    #[pymodule_export]
    use crate::budget::Budget;
    #[pymodule_export]
    use crate::buffer::View;
    #[pymodule_export]
    use crate::file::File;
    #[pymodule_export]
    use crate::filesystem::FileSystem;
    #[pymodule_export]
    use crate::filesystem::listing::{DirEntry, ScanIterator};
    #[pymodule_export]
    use crate::filesystem::snapshots::{Diff, Usage};
    #[pymodule_export]
    use crate::filesystem::transaction::Transaction;
    #[pymodule_export]
    use crate::log::LogEntry;
    #[pymodule_export]
    use crate::preload::Preload;
    #[pymodule_export]
    use crate::reports::{Explanation, ExternalChanges, GcReport, PreloadReport, Transferred};
    #[pymodule_export]
    use crate::stats::Stats;
    #[pymodule_export]
    use crate::watch::{Event, Watch};

    /// Called at exit.
    #[pyfunction]
    fn _shutdown(py: Python<'_>) {
        crate::filesystem::shutdown(py);
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::filesystem::install(&py.get_type::<FileSystem>())?;
        crate::file::hot::install(&py.get_type::<File>())?;
        brimfs::face::set_interrupt_check(crate::gil::signal_arrived);
        brimfs::face::set_wait_hook(crate::gil::wait_detached);
        brimfs::set_guard_warning(crate::guard::warn_soon);
        Ok(())
    }
}
