//! The constructor's keywords, from Python values to the core's builder.
//!
//! Owns the defaults that differ from "nothing was said", and what values are refused.

use std::path::PathBuf;
use std::time::Duration;

use brimfs::{Builder, Compression, Durability, GuardAction, PolicyKind};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use crate::budget::Budget;
use crate::path::PathArg;
use crate::sizes::{self, Limit};

/// The share of the machine's memory that a filesystem may use if nothing else is said.
const MEMORY_SHARE: f64 = 0.8;

pub(super) fn guard_action(name: &str) -> PyResult<GuardAction> {
    match name {
        "off" => Ok(GuardAction::Off),
        "warn" => Ok(GuardAction::Warn),
        "refuse" => Ok(GuardAction::Refuse),
        _ => Err(PyValueError::new_err(format!(
            "memory_guard should be 'off', 'warn' or 'refuse', not {name:?}"
        ))),
    }
}

pub(super) fn umask(umask: u32) -> PyResult<u32> {
    if umask > 0o777 {
        return Err(PyValueError::new_err("umask should be from 0 to 0o777"));
    }
    Ok(umask)
}

/// A `memory_limit` argument, if there is one.
pub(super) struct MemoryLimit(pub(super) Option<Limit>);

impl MemoryLimit {
    pub(super) fn apply(
        self,
        builder: Builder,
        budget: Option<&Bound<'_, Budget>>,
    ) -> PyResult<Builder> {
        match (self.0, budget) {
            (Some(_), Some(_)) => Err(PyValueError::new_err(
                "give either memory_limit or budget, not both",
            )),
            (None, Some(budget)) => Ok(builder.budget(&budget.get().core)),
            (None, None) => Ok(builder.memory_share(MEMORY_SHARE)),
            (Some(Limit::Bytes(bytes)), None) => Ok(builder.memory_limit(bytes)),
            (Some(Limit::Share(share)), None) => Ok(builder.memory_share(share)),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for MemoryLimit {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        sizes::limit(&value, "memory_limit").map(|limit| MemoryLimit(Some(limit)))
    }
}

/// A `policy` argument, if there is one.
pub(super) struct Policy(pub(super) Option<PolicyKind>);

impl<'a, 'py> FromPyObject<'a, 'py> for Policy {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let Ok(name) = value.cast::<PyString>() else {
            let class = value.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "policy should be str, not {class}"
            )));
        };
        let kind = name.to_str()?.parse();
        kind.map(|kind| Policy(Some(kind)))
            .map_err(|unknown: brimfs::UnknownPolicy| PyValueError::new_err(unknown.to_string()))
    }
}

/// A `priority_boost_threshold` argument: absent, or a number of accesses, or `None` for no boost.
#[derive(Clone, Copy)]
pub(super) enum BoostThreshold {
    Default,
    Given(Option<u8>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for BoostThreshold {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        const WHAT: &str = "priority_boost_threshold";
        if value.is_none() {
            return Ok(BoostThreshold::Given(None));
        }
        let accesses = u8::try_from(sizes::count(&value, WHAT)?).ok();
        match accesses.filter(|accesses| *accesses > 0) {
            None => Err(PyValueError::new_err(format!(
                "{WHAT} should be from 1 to 255, or None"
            ))),
            accesses => Ok(BoostThreshold::Given(accesses)),
        }
    }
}

fn compression(name: &str) -> PyResult<Compression> {
    match name {
        "lz4" => Ok(Compression::Lz4),
        _ => Err(PyValueError::new_err(format!(
            "compression should be 'lz4' or None, not {name:?}"
        ))),
    }
}

/// A `durability` argument.
#[derive(Clone, Copy)]
pub(super) struct Lasting(pub(super) Durability);

impl<'a, 'py> FromPyObject<'a, 'py> for Lasting {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        const ALLOWED: &str =
            "durability should be 'sync', 'manual' or a number of seconds above 0";
        if let Ok(name) = value.cast::<PyString>() {
            return match name.to_str()? {
                "sync" => Ok(Lasting(Durability::Sync)),
                "manual" => Ok(Lasting(Durability::Manual)),
                name => Err(PyValueError::new_err(format!("{ALLOWED}, not {name:?}"))),
            };
        }
        let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
        if value.is_instance_of::<PyBool>() || !is_number {
            let class = value.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{ALLOWED}, not {class}")));
        }
        let interval = value.extract().ok().map(Duration::try_from_secs_f64);
        match interval {
            Some(Ok(interval)) if !interval.is_zero() => {
                Ok(Lasting(Durability::Interval(interval)))
            }
            _ => Err(PyValueError::new_err(format!(
                "{ALLOWED}, not {}",
                value.repr()?
            ))),
        }
    }
}

/// The directory that a filesystem is kept in.
pub(super) struct Place<'py> {
    /// As the caller gave it, for errors and `repr`.
    pub(super) name: PathArg<'py>,
    pub(super) path: PathBuf,
}

impl<'py> Place<'py> {
    /// A `store` argument.
    ///
    /// # Errors
    /// `TypeError` for what is no path, `ValueError` together with what a store settles itself.
    pub(super) fn new(
        store: &Bound<'py, PyAny>,
        spill_dir: Option<&Bound<'py, PyAny>>,
        budget: Option<&Bound<'py, Budget>>,
    ) -> PyResult<Self> {
        let Ok(path) = store.extract::<PathBuf>() else {
            let class = store.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "store should be a path (str or os.PathLike) or None, not {class}"
            )));
        };
        if spill_dir.is_some() {
            return Err(PyValueError::new_err(
                "leave spill_dir out: what finds no memory goes to the directory of the store",
            ));
        }
        if budget.is_some() {
            return Err(PyValueError::new_err(
                "a filesystem with a store cannot share a budget: give it a memory_limit",
            ));
        }
        let name = PathArg::new(store)?;
        Ok(Place { name, path })
    }
}

/// An `operation_log` argument: how many operations to keep, or the file to append all of them to.
pub(super) fn logging(builder: Builder, log: &Bound<'_, PyAny>) -> PyResult<Builder> {
    const WHAT: &str = "operation_log";
    if let Ok(file) = log.extract::<PathBuf>() {
        return Ok(builder.operation_log_file(file));
    }
    if log.is_instance_of::<PyBool>() || !log.is_instance_of::<PyInt>() {
        let class = log.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "{WHAT} should be a number of operations, a path or None, not {class}"
        )));
    }
    let entries = u32::try_from(sizes::count(log, WHAT)?).ok();
    match entries.filter(|entries| *entries > 0) {
        Some(entries) => Ok(builder.operation_log(entries as usize)),
        None => Err(PyValueError::new_err(format!(
            "{WHAT} should be from 1 to 2**32 - 1 operations"
        ))),
    }
}

/// What was said about spilling.
pub(super) struct Spilling<'a, 'py> {
    pub(super) directory: Option<&'a Bound<'py, PyAny>>,
    pub(super) disk_limit: Option<&'a Bound<'py, PyAny>>,
    pub(super) policy: Policy,
    pub(super) boost_threshold: BoostThreshold,
    pub(super) compression: Option<&'a str>,
}

impl Spilling<'_, '_> {
    /// # Errors
    /// `TypeError` and `ValueError`, for settings of a disk that is not to be used too.
    pub(super) fn apply(self, builder: Builder) -> PyResult<Builder> {
        let Some(mut builder) = self.place(&builder)? else {
            self.needs_no_disk()?;
            return Ok(builder.spill(false));
        };
        if let Some(limit) = self.disk_limit {
            builder = builder.disk_limit(sizes::size(limit, "disk_limit")?);
        }
        if let Policy(Some(policy)) = self.policy {
            builder = builder.policy(policy);
        }
        if let BoostThreshold::Given(accesses) = self.boost_threshold {
            builder = builder.priority_boost_threshold(accesses);
        }
        match self.compression {
            Some(name) => Ok(builder.compression(compression(name)?)),
            None => Ok(builder),
        }
    }

    /// The builder with the directory, if one was named; `None` if nothing is to be spilled.
    fn place(&self, builder: &Builder) -> PyResult<Option<Builder>> {
        let Some(directory) = self.directory else {
            return Ok(Some(builder.clone()));
        };
        if directory.is_instance_of::<PyBool>() {
            return match directory.is_truthy()? {
                false => Ok(None),
                true => Err(PyTypeError::new_err(
                    "spill_dir should be a path, None or False, not True",
                )),
            };
        }
        let path: PathBuf = directory.extract().map_err(|_| {
            let name = directory.get_type().name();
            let name = name.map_or_else(|_| "?".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!(
                "spill_dir should be a path, None or False, not {name}"
            ))
        })?;
        Ok(Some(builder.clone().spill_dir(path)))
    }

    fn needs_no_disk(&self) -> PyResult<()> {
        let said = [
            ("disk_limit", self.disk_limit.is_some()),
            ("policy", self.policy.0.is_some()),
            (
                "priority_boost_threshold",
                !matches!(self.boost_threshold, BoostThreshold::Default),
            ),
            ("compression", self.compression.is_some()),
        ];
        match said.into_iter().find(|(_, is_said)| *is_said) {
            None => Ok(()),
            Some((name, _)) => Err(PyValueError::new_err(format!(
                "{name} needs a disk to spill to: spill_dir=False spills nothing"
            ))),
        }
    }
}
