//! Builds `os.stat_result` from the core's metadata.

use brimfs::{FileType, Metadata, Timestamp};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt, PyTuple, PyType};

/// What programs should read and write at once, in bytes: a chunk.
const BLOCK_SIZE: u64 = 1 << 20;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// `os.stat_result`, and how it is made here.
struct StatClass {
    class: Py<PyType>,
    layout: Layout,
}

/// The order of the fields after the ten that all systems have.
enum Layout {
    /// Times as seconds, times in nanoseconds, block size, blocks, device: Linux.
    Linux,
    /// Any other: by name, those that there are.
    Named { blocks: bool, birth: bool },
}

fn stat_class(py: Python<'_>) -> PyResult<&'static StatClass> {
    static CLASS: PyOnceLock<StatClass> = PyOnceLock::new();
    CLASS.get_or_try_init(py, || {
        let class = py
            .import("os")?
            .getattr("stat_result")?
            .cast_into::<PyType>()?;
        let linux = cfg!(target_os = "linux") && class.getattr("n_fields")?.extract::<u32>()? == 19;
        let layout = if linux {
            Layout::Linux
        } else {
            Layout::Named {
                blocks: class.hasattr("st_blocks")?,
                birth: class.hasattr("st_birthtime")?,
            }
        };
        Ok(StatClass {
            class: class.unbind(),
            layout,
        })
    })
}

/// The file type bits of `st_mode`.
pub(crate) fn type_bits(kind: FileType) -> u32 {
    match kind {
        FileType::File => 0o100_000,
        FileType::Directory => 0o040_000,
        FileType::Symlink => 0o120_000,
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) * 1e-9
}

/// An `int`, by the short way if it fits.
fn nanoseconds(py: Python<'_>, time: Timestamp) -> PyResult<Bound<'_, PyInt>> {
    let whole = time.seconds.checked_mul(NANOS_PER_SECOND);
    match whole.and_then(|whole| whole.checked_add(i64::from(time.nanos))) {
        Some(nanos) => Ok(nanos.into_pyobject(py)?),
        None => {
            let whole = i128::from(time.seconds) * i128::from(NANOS_PER_SECOND);
            Ok((whole + i128::from(time.nanos)).into_pyobject(py)?)
        }
    }
}

/// The `os.stat_result` for `metadata`.
pub(crate) fn stat_result<'py>(
    py: Python<'py>,
    metadata: &Metadata,
) -> PyResult<Bound<'py, PyAny>> {
    let class = stat_class(py)?;
    let times = [metadata.accessed(), metadata.modified(), metadata.changed()];
    let mut fields = vec![
        int(
            py,
            u64::from(metadata.mode() & 0o7777 | type_bits(metadata.file_type())),
        )?,
        int(py, metadata.ino())?,
        int(py, 0)?,
        int(py, metadata.nlink())?,
        int(py, u64::from(metadata.uid()))?,
        int(py, u64::from(metadata.gid()))?,
        int(py, metadata.len())?,
    ];
    for time in times {
        fields.push(time.seconds.into_pyobject(py)?.into_any());
    }
    let class_object = class.class.bind(py);
    match class.layout {
        Layout::Linux => {
            for time in times {
                fields.push(seconds(time).into_pyobject(py)?.into_any());
            }
            for time in times {
                fields.push(nanoseconds(py, time)?.into_any());
            }
            fields.push(int(py, BLOCK_SIZE)?);
            fields.push(int(py, metadata.blocks())?);
            fields.push(int(py, 0)?);
            class_object.call1((PyTuple::new(py, fields)?,))
        }
        Layout::Named { blocks, birth } => {
            let more = named_fields(py, times)?;
            if blocks {
                more.set_item("st_blksize", BLOCK_SIZE)?;
                more.set_item("st_blocks", metadata.blocks())?;
                more.set_item("st_rdev", 0)?;
            }
            if birth {
                more.set_item("st_birthtime", seconds(metadata.created()))?;
            }
            class_object.call1((PyTuple::new(py, fields)?, more))
        }
    }
}

fn int(py: Python<'_>, value: u64) -> PyResult<Bound<'_, PyAny>> {
    Ok(value.into_pyobject(py)?.into_any())
}

fn named_fields<'py>(
    py: Python<'py>,
    [accessed, modified, changed]: [Timestamp; 3],
) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    for (name, name_ns, time) in [
        ("st_atime", "st_atime_ns", accessed),
        ("st_mtime", "st_mtime_ns", modified),
        ("st_ctime", "st_ctime_ns", changed),
    ] {
        named.set_item(name, seconds(time))?;
        named.set_item(name_ns, nanoseconds(py, time)?)?;
    }
    Ok(named)
}
