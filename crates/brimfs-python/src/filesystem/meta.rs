//! What is known about a path: kind, metadata, extended attributes.

use std::time::{SystemTime, UNIX_EPOCH};

use brimfs::{ErrorKind, FileTimes, Metadata, Timestamp, XattrMode};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyList};

use super::FileSystem;
use crate::buffer::Input;
use crate::errors::OrRaise;
use crate::path::{PathArg, Style};
use crate::stat::stat_result;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

#[pymethods]
impl FileSystem {
    /// Whether the path leads to a file, through symbolic links too. False if there is nothing.
    fn is_file(&self, path: PathArg<'_>) -> PyResult<bool> {
        self.is_kind(&path, Metadata::is_file)
    }

    /// Whether the path leads to a directory, through symbolic links too.
    fn is_dir(&self, path: PathArg<'_>) -> PyResult<bool> {
        self.is_kind(&path, Metadata::is_dir)
    }

    /// Whether the path is a symbolic link.
    fn is_symlink(&self, path: PathArg<'_>) -> PyResult<bool> {
        unless_absent(self.core.symlink_metadata(path.bytes()))
            .or_raise(&path)
            .map(|found| found.is_some_and(|metadata| metadata.is_symlink()))
    }

    /// The metadata of what the path leads to, as os.stat_result.
    ///
    /// st_dev is 0, st_blocks counts 512 bytes, times are exact in the fields ending in _ns.
    #[pyo3(signature = (path, *, follow_symlinks=true))]
    fn stat<'py>(
        &self,
        py: Python<'py>,
        path: PathArg<'py>,
        follow_symlinks: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = if follow_symlinks {
            self.core.metadata(path.bytes())
        } else {
            self.core.symlink_metadata(path.bytes())
        };
        stat_result(py, &found.or_raise(&path)?)
    }

    /// As stat, but of a symbolic link itself.
    fn lstat<'py>(&self, py: Python<'py>, path: PathArg<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.stat(py, path, false)
    }

    /// Set the permission bits. The library itself checks none.
    fn chmod(&self, path: PathArg<'_>, mode: u32) -> PyResult<()> {
        self.core
            .set_permissions(path.bytes(), mode)
            .or_raise(&path)
    }

    /// Set the numbers of the owner and the group; -1 leaves one as it is.
    #[pyo3(signature = (path, uid, gid, *, follow_symlinks=true))]
    fn chown(&self, path: PathArg<'_>, uid: i64, gid: i64, follow_symlinks: bool) -> PyResult<()> {
        let (uid, gid) = (owner(uid, "uid")?, owner(gid, "gid")?);
        if follow_symlinks {
            self.core.set_owner(path.bytes(), uid, gid).or_raise(&path)
        } else {
            self.core
                .set_owner_no_follow(path.bytes(), uid, gid)
                .or_raise(&path)
        }
    }

    /// Set the times of access and modification: times in seconds, or ns in nanoseconds, both
    /// pairs (accessed, modified); neither: now.
    #[pyo3(signature = (path, times=None, *, ns=None, follow_symlinks=true))]
    fn utime(
        &self,
        path: PathArg<'_>,
        times: Option<(Bound<'_, PyAny>, Bound<'_, PyAny>)>,
        ns: Option<(i128, i128)>,
        follow_symlinks: bool,
    ) -> PyResult<()> {
        let (accessed, modified) = match (times, ns) {
            (Some(_), Some(_)) => {
                return Err(PyValueError::new_err(
                    "utime: give either times or ns, not both",
                ));
            }
            (Some((accessed, modified)), None) => {
                (from_number(&accessed)?, from_number(&modified)?)
            }
            (None, Some((accessed, modified))) => (from_nanos(accessed)?, from_nanos(modified)?),
            (None, None) => {
                let now = now();
                (now, now)
            }
        };
        let times = FileTimes {
            accessed: Some(accessed),
            modified: Some(modified),
        };
        if follow_symlinks {
            self.core.set_times(path.bytes(), times).or_raise(&path)
        } else {
            self.core
                .set_times_no_follow(path.bytes(), times)
                .or_raise(&path)
        }
    }

    /// The value of an extended attribute.
    fn getxattr<'py>(
        &self,
        py: Python<'py>,
        path: PathArg<'py>,
        attribute: PathArg<'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let value = self
            .core
            .xattr(path.bytes(), attribute.bytes())
            .or_raise(&path)?;
        Ok(PyBytes::new(py, &value))
    }

    /// Set an extended attribute. flags: os.XATTR_CREATE or os.XATTR_REPLACE, 0 for either.
    #[pyo3(signature = (path, attribute, value, flags=0))]
    fn setxattr(
        &self,
        path: PathArg<'_>,
        attribute: PathArg<'_>,
        value: &Bound<'_, PyAny>,
        flags: i32,
    ) -> PyResult<()> {
        let mode = match flags {
            0 => XattrMode::Set,
            1 => XattrMode::Create,
            2 => XattrMode::Replace,
            _ => return Err(PyValueError::new_err("setxattr: unknown flags")),
        };
        let value = Input::new(value)?;
        self.core
            .set_xattr(path.bytes(), attribute.bytes(), value.bytes(), mode)
            .or_raise(&path)
    }

    /// The names of the extended attributes.
    fn listxattr<'py>(&self, py: Python<'py>, path: PathArg<'py>) -> PyResult<Bound<'py, PyList>> {
        let names = self.core.list_xattrs(path.bytes()).or_raise(&path)?;
        let names: Vec<_> = names
            .iter()
            .map(|name| Style::Str.object(py, name))
            .collect::<PyResult<_>>()?;
        PyList::new(py, names)
    }

    /// Remove an extended attribute.
    fn removexattr(&self, path: PathArg<'_>, attribute: PathArg<'_>) -> PyResult<()> {
        self.core
            .remove_xattr(path.bytes(), attribute.bytes())
            .or_raise(&path)
    }
}

impl FileSystem {
    fn is_kind(&self, path: &PathArg<'_>, kind: fn(&Metadata) -> bool) -> PyResult<bool> {
        unless_absent(self.core.metadata(path.bytes()))
            .or_raise(path)
            .map(|found| found.is_some_and(|metadata| kind(&metadata)))
    }
}

/// `None` where a question about a path has the answer "no" instead of an error.
///
/// As `os.path.exists` has it, whatever is wrong with the path means that nothing is there; what
/// is wrong with the filesystem stays an error.
pub(super) fn unless_absent<T>(
    found: Result<T, brimfs::Error>,
) -> Result<Option<T>, brimfs::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            ErrorKind::Closed | ErrorKind::Forked | ErrorKind::Interrupted => Err(error),
            _ => Ok(None),
        },
    }
}

fn owner(number: i64, what: &str) -> PyResult<Option<u32>> {
    if number == -1 {
        return Ok(None);
    }
    u32::try_from(number)
        .map(Some)
        .map_err(|_| PyValueError::new_err(format!("{what} should be -1 or fit into 32 bits")))
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().cast_signed(),
        nanos: since.subsec_nanos(),
    }
}

/// Seconds as `int` or `float`.
fn from_number(seconds: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let Ok(float) = seconds.cast::<PyFloat>() else {
        return match seconds.extract::<i64>() {
            Ok(seconds) => Ok(Timestamp { seconds, nanos: 0 }),
            Err(error) if error.is_instance_of::<PyTypeError>(seconds.py()) => Err(error),
            Err(_) => Err(PyValueError::new_err(
                "utime: a time does not fit into 64 bits",
            )),
        };
    };
    let value = float.value();
    let whole = value.floor();
    // Beyond 2**63 seconds there is no time to set.
    if !(-9.2e18..=9.2e18).contains(&whole) {
        return Err(PyValueError::new_err(
            "utime: a time does not fit into 64 bits",
        ));
    }
    let nanos = (((value - whole) * 1e9) as u32).min(999_999_999);
    Ok(Timestamp {
        seconds: whole as i64,
        nanos,
    })
}

fn from_nanos(time: i128) -> PyResult<Timestamp> {
    let seconds = i64::try_from(time.div_euclid(NANOS_PER_SECOND))
        .map_err(|_| PyValueError::new_err("utime: a time does not fit into 64 bits"))?;
    let nanos = time.rem_euclid(NANOS_PER_SECOND) as u32;
    Ok(Timestamp { seconds, nanos })
}
