//! Archives, and trees of the host.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use brimfs::ErrorKind;
use brimfs::face::Fault;
use brimfs_transfer::{
    ArchiveOptions, BadNames, Conflict, ExportOptions, ExtractOptions, Format, ImportOptions,
    Limits, Links, Source, Target,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::FileSystem;
use crate::errors;
use crate::gil;
use crate::path::{PathArg, Style};
use crate::reports::Transferred;
use crate::sizes;
use crate::stream::{Callback, Stream};

/// Where an archive is.
enum Place<'py> {
    Inside(PathArg<'py>),
    Host(PathArg<'py>),
    Stream(Stream),
}

impl<'py> Place<'py> {
    fn new(value: &Bound<'py, PyAny>, host: bool, method: &str) -> PyResult<Self> {
        if value.hasattr(method)? && !value.hasattr("__fspath__")? {
            return match host {
                false => Ok(Place::Stream(Stream::new(value))),
                true => Err(PyTypeError::new_err("host=True needs a path, not a stream")),
            };
        }
        let path = PathArg::new(value)?;
        Ok(match host {
            true => Place::Host(path),
            false => Place::Inside(path),
        })
    }

    fn style(&self) -> Style {
        match self {
            Place::Inside(path) | Place::Host(path) => path.style,
            Place::Stream(_) => Style::Str,
        }
    }
}

#[pymethods]
impl FileSystem {
    /// Extract an archive into a directory, which is made if it is missing. Return a Transferred.
    ///
    /// archive: a path in this filesystem; with host=True one of the host; or a binary stream, read from where it
    ///     stands. A zip is read from its end, so one that comes as a stream is first copied into a nameless file
    ///     of this filesystem, under its limits.
    /// format: "zip", "tar", "tar.gz", "tar.bz2", "tar.xz" or "tar.zst". None: what the first bytes say.
    /// atomic: all or nothing. A missing dest appears in one step; into one that exists nodes are moved one by one
    ///     and back if one of them cannot. False: entries are there as soon as they are whole, and stay.
    /// on_conflict: "raise", "overwrite" or "skip", where a file has the name. A directory is never replaced.
    /// links: "reject" is an error for symbolic links, "skip" leaves them out, "keep" makes those that stay below
    ///     dest. Hard links and devices are errors unless they are skipped.
    /// bad_names: "reject" is an error for names that are absolute, begin with a drive letter or contain "..";
    ///     "rename" makes something harmless of them.
    /// max_entries, max_bytes, max_file_bytes, max_ratio, max_depth: entries; bytes of all files and of one; bytes
    ///     that come out for each that goes in, which counts from 16 MiB on; names in a path. None: no limit.
    /// progress: called with entries, bytes, total bytes or None, and the name at hand, on this thread and after
    ///     every entry and MiB. False cancels; what it raises is raised.
    ///
    /// Names are not trusted and sizes are not believed: limits and quota are charged as bytes stream. Errors are
    /// BadArchive, UnsafeArchive, ArchiveLimitExceeded, Cancelled, OSError (EOPNOTSUPP) for what is encrypted, and
    /// those of writing. Takes O(bytes), a zip up to four threads; others go on meanwhile.
    #[pyo3(signature = (
        archive, dest, *, host=false, format=None, atomic=true, on_conflict="raise", links="reject",
        bad_names="reject", max_entries=1_000_000, max_bytes=None, max_file_bytes=None, max_ratio=200.0,
        max_depth=128, progress=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a call")]
    fn extract(
        &self,
        py: Python<'_>,
        archive: &Bound<'_, PyAny>,
        dest: PathArg<'_>,
        host: bool,
        format: Option<&str>,
        atomic: bool,
        on_conflict: &str,
        links: &str,
        bad_names: &str,
        max_entries: Option<u64>,
        max_bytes: Option<&Bound<'_, PyAny>>,
        max_file_bytes: Option<&Bound<'_, PyAny>>,
        max_ratio: Option<f64>,
        max_depth: u32,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Transferred> {
        let size = |size: Option<&Bound<'_, PyAny>>, what| match size {
            Some(size) => sizes::size(size, what),
            None => Ok(u64::MAX),
        };
        let options = ExtractOptions {
            format: format.map(self::format).transpose()?,
            limits: Limits {
                entries: max_entries.unwrap_or(u64::MAX),
                total_bytes: size(max_bytes, "max_bytes")?,
                file_bytes: size(max_file_bytes, "max_file_bytes")?,
                ratio: max_ratio.unwrap_or(f64::INFINITY),
                depth: max_depth,
            },
            conflict: conflict(on_conflict)?,
            links: self::links(links)?,
            bad_names: match bad_names {
                "reject" => BadNames::Reject,
                "rename" => BadNames::Rename,
                _ => return Err(unknown("bad_names", "'reject' or 'rename'", bad_names)),
            },
            atomic,
        };
        let mut place = Place::new(archive, host, "read")?;
        let mut callback = Callback::new(progress, dest.style);
        let (core, into) = (&self.core, dest.bytes());
        let mut stream = None;
        let path = match &mut place {
            Place::Inside(path) => Ok(path.bytes().to_vec()),
            Place::Host(path) => Err(host_path(path)),
            Place::Stream(of) => {
                stream = Some(of);
                Ok(Vec::new())
            }
        };
        let done = gil::detached(py, || {
            let source = match (&mut stream, &path) {
                (Some(stream), _) => Source::Stream(&mut **stream),
                (None, Ok(path)) => Source::File(core.open(path)?),
                (None, Err(path)) => Source::Host(open(path)?),
            };
            brimfs_transfer::extract(core, source, into, &options, &mut |progress| {
                callback.report(progress)
            })
        });
        let raised = stream.and_then(Stream::raised);
        finish(py, done, raised.or_else(|| callback.raised()), dest.style)
    }

    /// Pack files and directories, with all that is in them, into an archive. Return a Transferred.
    ///
    /// paths: a path or several; each gets its last name in the archive, of "/" what is in it does. Two with one
    ///     last name are an error.
    /// target: a path in this filesystem; with host=True one of the host; or a binary stream. A file appears whole,
    ///     or replaces an old one in one step.
    /// format: as for extract. None: what the name of the target ends in.
    /// level: effort, 0 to 9, for tar.zst 1 to 22. None: the default of the format.
    /// links: "keep" packs symbolic links as they are, "skip" leaves them out, "reject" is an error.
    /// progress: as for extract.
    ///
    /// Permissions, times and content are kept; hard links become files. Every file is locked while it is read.
    /// Takes O(bytes), on one thread; others go on meanwhile.
    #[pyo3(signature = (
        paths, target, *, host=false, format=None, level=None, links="keep", progress=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a call")]
    fn archive(
        &self,
        py: Python<'_>,
        paths: &Bound<'_, PyAny>,
        target: &Bound<'_, PyAny>,
        host: bool,
        format: Option<&str>,
        level: Option<u32>,
        links: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Transferred> {
        let options = ArchiveOptions {
            format: format.map(self::format).transpose()?,
            level,
            links: self::links(links)?,
        };
        let paths = one_or_several(paths)?;
        let names: Vec<&[u8]> = paths.iter().map(PathArg::bytes).collect();
        let mut place = Place::new(target, host, "write")?;
        let style = paths.first().map_or(place.style(), |path| path.style);
        let mut callback = Callback::new(progress, style);
        let core = &self.core;
        let mut stream = None;
        let path = match &mut place {
            Place::Inside(path) => Ok(path.bytes().to_vec()),
            Place::Host(path) => Err(host_path(path)),
            Place::Stream(of) => {
                stream = Some(of);
                Ok(Vec::new())
            }
        };
        let done = gil::detached(py, || {
            let target = match (&mut stream, &path) {
                (Some(stream), _) => Target::Stream(&mut **stream),
                (None, Ok(path)) => Target::File(path),
                (None, Err(path)) => Target::Host(path),
            };
            brimfs_transfer::archive(core, &names, target, &options, &mut |progress| {
                callback.report(progress)
            })
        });
        let raised = stream.and_then(Stream::raised);
        finish(py, done, raised.or_else(|| callback.raised()), style)
    }

    /// Copy what is in a directory of the host into one here, which is made if it is missing. Return a Transferred.
    ///
    /// filter: called with the path below host_dir and whether it is a directory; what it says no to is left out,
    ///     of a directory everything.
    /// atomic, on_conflict, links, progress: as for extract; there is no total. Devices, pipes and sockets are
    ///     errors unless links are skipped.
    ///
    /// No symbolic link of the host is followed, whoever puts it there meanwhile. Permissions and times are kept,
    /// hard links become files. Takes O(bytes), on one thread; others go on meanwhile.
    #[pyo3(signature = (
        host_dir, dest, *, filter=None, atomic=true, on_conflict="raise", links="reject", progress=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a call")]
    fn import_tree(
        &self,
        py: Python<'_>,
        host_dir: PathArg<'_>,
        dest: PathArg<'_>,
        filter: Option<&Bound<'_, PyAny>>,
        atomic: bool,
        on_conflict: &str,
        links: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Transferred> {
        let options = ImportOptions {
            limits: Limits::default(),
            conflict: conflict(on_conflict)?,
            links: self::links(links)?,
            atomic,
        };
        let style = host_dir.style;
        let (core, from, into) = (&self.core, host_path(&host_dir), dest.bytes());
        let mut filter = Callback::new(filter, style);
        let mut callback = Callback::new(progress, style);
        let done = gil::detached(py, || {
            let filter = RefCell::new(&mut filter);
            brimfs_transfer::import_tree(
                core,
                &from,
                into,
                &options,
                &mut |path, is_directory| filter.borrow_mut().wants(path, is_directory),
                &mut |progress| filter.borrow().is_calm() && callback.report(progress),
            )
        });
        let raised = filter.raised();
        finish(py, done, raised.or_else(|| callback.raised()), style)
    }

    /// Copy what is in a directory here into one of the host, which is made if it is missing. Return a Transferred.
    ///
    /// filter: as for import_tree.
    /// changed_only: leave files that have the same length and time of change on the host.
    /// on_conflict, links, progress: as for extract. A file appears whole, or replaces an old one in one step.
    ///
    /// No symbolic link of the host is followed, whoever puts it there meanwhile. Holes, permissions and times are
    /// kept, hard links become files; what was copied before an error stays. Takes O(bytes), on one thread; others
    /// go on meanwhile.
    #[pyo3(signature = (
        path, host_dir, *, filter=None, changed_only=false, on_conflict="raise", links="reject", progress=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a call")]
    fn export_tree(
        &self,
        py: Python<'_>,
        path: PathArg<'_>,
        host_dir: PathArg<'_>,
        filter: Option<&Bound<'_, PyAny>>,
        changed_only: bool,
        on_conflict: &str,
        links: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Transferred> {
        let options = ExportOptions {
            conflict: conflict(on_conflict)?,
            links: self::links(links)?,
            changed_only,
        };
        let style = path.style;
        let (core, from, to) = (&self.core, path.bytes(), host_path(&host_dir));
        let mut filter = Callback::new(filter, style);
        let mut callback = Callback::new(progress, style);
        let done = gil::detached(py, || {
            let filter = RefCell::new(&mut filter);
            brimfs_transfer::export_tree(
                core,
                from,
                &to,
                &options,
                &mut |path, is_directory| filter.borrow_mut().wants(path, is_directory),
                &mut |progress| filter.borrow().is_calm() && callback.report(progress),
            )
        });
        let raised = filter.raised();
        finish(py, done, raised.or_else(|| callback.raised()), style)
    }
}

fn finish(
    py: Python<'_>,
    done: brimfs::Result<brimfs_transfer::Transferred>,
    raised: Option<PyErr>,
    style: Style,
) -> PyResult<Transferred> {
    match (done, raised) {
        (Err(_), Some(raised)) => Err(raised),
        (done, _) => done
            .map(Transferred::from)
            .map_err(|error| errors::raise_as(py, &error, style)),
    }
}

fn host_path(path: &PathArg<'_>) -> PathBuf {
    Path::new(OsStr::from_bytes(path.bytes())).to_owned()
}

fn open(path: &Path) -> brimfs::Result<File> {
    File::open(path).map_err(|error| {
        let fault = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound.into(),
            std::io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted.into(),
            _ => Fault::disk(error),
        };
        fault.at("extract", path.as_os_str().as_bytes())
    })
}

/// A path, or an iterable of paths.
fn one_or_several<'py>(paths: &Bound<'py, PyAny>) -> PyResult<Vec<PathArg<'py>>> {
    let is_one = paths.is_instance_of::<PyString>()
        || paths.is_instance_of::<PyBytes>()
        || paths.hasattr("__fspath__")?;
    if is_one {
        return Ok(vec![PathArg::new(paths)?]);
    }
    paths.try_iter()?.map(|path| PathArg::new(&path?)).collect()
}

fn unknown(argument: &str, words: &str, word: &str) -> PyErr {
    PyValueError::new_err(format!("{argument} should be {words}, not {word:?}"))
}

fn format(name: &str) -> PyResult<Format> {
    let words = "'zip', 'tar', 'tar.gz', 'tar.bz2', 'tar.xz' or 'tar.zst'";
    Format::from_name(name).ok_or_else(|| unknown("format", words, name))
}

fn conflict(name: &str) -> PyResult<Conflict> {
    match name {
        "raise" => Ok(Conflict::Raise),
        "overwrite" => Ok(Conflict::Overwrite),
        "skip" => Ok(Conflict::Skip),
        _ => Err(unknown(
            "on_conflict",
            "'raise', 'overwrite' or 'skip'",
            name,
        )),
    }
}

fn links(name: &str) -> PyResult<Links> {
    match name {
        "reject" => Ok(Links::Reject),
        "skip" => Ok(Links::Skip),
        "keep" => Ok(Links::Keep),
        _ => Err(unknown("links", "'reject', 'skip' or 'keep'", name)),
    }
}
