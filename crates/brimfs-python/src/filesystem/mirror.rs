//! Mirrors of host trees: the words of their settings, and looking for what others did.

use brimfs::{Layout, OnExternalChange};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::FileSystem;
use crate::errors;
use crate::gil;
use crate::reports::ExternalChanges;

/// A `layout` argument.
pub(super) fn layout(name: &str, has_store: bool) -> PyResult<Layout> {
    match name {
        "segments" => Ok(Layout::Segments),
        "mirror" if has_store => Ok(Layout::Mirror),
        "mirror" => Err(PyValueError::new_err(
            "layout='mirror' needs a store: the directory to mirror",
        )),
        _ => Err(PyValueError::new_err(format!(
            "layout should be 'segments' or 'mirror', not {name:?}"
        ))),
    }
}

/// An `on_external_change` argument.
pub(super) fn rule(name: &str) -> PyResult<OnExternalChange> {
    match name {
        "reload" => Ok(OnExternalChange::Reload),
        "keep" => Ok(OnExternalChange::Keep),
        "raise" => Ok(OnExternalChange::Raise),
        _ => Err(PyValueError::new_err(format!(
            "on_external_change should be 'reload', 'keep' or 'raise', not {name:?}"
        ))),
    }
}

#[pymethods]
impl FileSystem {
    /// Look for what others did with the tree that this filesystem mirrors, and take it in as on_external_change
    /// says, or as given here for this once. Makes everything durable that was done before. Returns what was found.
    ///
    /// Without a mirror this does nothing. O(names) calls of the host; nothing can be changed meanwhile. An
    /// ExternalChange error under "raise" names the first difference.
    #[pyo3(signature = (on_external_change=None))]
    fn refresh(
        &self,
        py: Python<'_>,
        on_external_change: Option<&str>,
    ) -> PyResult<ExternalChanges> {
        let rule = on_external_change.map(rule).transpose()?;
        self.forget_caches(py);
        let core = &self.core;
        let found = gil::detached(py, || core.refresh(rule));
        found
            .map(ExternalChanges::from)
            .map_err(|error| errors::raise_stored(py, &error, self.store.as_ref()))
    }

    /// What others did with the tree that this filesystem mirrors, as far as it was noticed since it was opened.
    fn external_changes(&self) -> ExternalChanges {
        self.core.external_changes().into()
    }
}
