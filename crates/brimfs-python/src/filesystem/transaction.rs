//! Several changes that come together or not at all.

use pyo3::prelude::*;
use pyo3::types::PyAny;

use super::FileSystem;
use crate::errors;
use crate::gil;

/// Changes that come together or not at all: made by FileSystem.transaction(). `with` gives the FileSystem to change,
/// commits at the end of the block, and forgets everything if that raises.
#[pyclass(frozen, module = "brimfs")]
pub(crate) struct Transaction {
    core: brimfs::Transaction,
    origin: Py<FileSystem>,
    files: Py<FileSystem>,
}

#[pymethods]
impl Transaction {
    /// The branch that is changed, a FileSystem; closed once the transaction ended.
    #[getter]
    fn files(&self, py: Python<'_>) -> Py<FileSystem> {
        self.files.clone_ref(py)
    }

    /// Have the filesystem have all that was changed, as one step, and end the transaction. What others changed meanwhile
    /// stays.
    ///
    /// Conflict, with the path, if somebody else changed, moved or removed what it changes, moves or removes, or gave a
    /// name that it gives. OSError (EBUSY) while files of it are open. It locks the files that it changes as a writer does
    /// and waits for them as long as the filesystem's lock_timeout says: errors as for open(). Limits as for snapshot().
    /// Nothing is changed then and the transaction goes on. O(nodes), and nobody can change anything meanwhile.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        let origin = self.origin.get();
        origin.forget_caches(py);
        let done = gil::detached(py, || self.core.commit());
        done.map_err(|error| errors::raise_stored(py, &error, origin.store.as_ref()))?;
        self.files.get().close(py)
    }

    /// Forget what was changed, and end the transaction. Does nothing if it ended before.
    fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        gil::detached(py, || self.core.rollback());
        self.files.get().close(py)
    }

    fn __enter__(&self, py: Python<'_>) -> Py<FileSystem> {
        self.files(py)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        exception: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let is_over = self.core.files().is_closed();
        let done = match exception.is_none() && !is_over {
            true => self.commit(py),
            false => Ok(()),
        };
        self.rollback(py)?;
        done
    }

    fn __repr__(&self) -> &'static str {
        match self.core.files().is_closed() {
            true => "<brimfs.Transaction that ended>",
            false => "<brimfs.Transaction>",
        }
    }
}

#[pymethods]
impl FileSystem {
    /// Begin a transaction: several changes that come together or not at all. Use it with `with`, which gives a branch of
    /// this filesystem to change:
    ///
    ///     with fs.transaction() as tx:
    ///         tx.write_text("/stock", "9")
    ///         tx.write_text("/order", "1")
    ///
    /// At the end of the block the filesystem has all of it, or nothing if the block raised or somebody else changed the
    /// same (Conflict). Nobody waits for a transaction, and it sees nothing of what others do meanwhile. It takes the time
    /// and memory of two snapshots. ReadOnly for a snapshot; other errors as for branch().
    fn transaction(slf: &Bound<'_, Self>) -> PyResult<Transaction> {
        let (py, origin) = (slf.py(), slf.get());
        let core = gil::detached(py, || origin.core.transaction());
        let core = core.map_err(|error| errors::raise_stored(py, &error, origin.store.as_ref()))?;
        let files = origin.twin(py, core.files().clone());
        Ok(Transaction {
            core,
            origin: slf.clone().unbind(),
            files: Py::new(py, files)?,
        })
    }
}
