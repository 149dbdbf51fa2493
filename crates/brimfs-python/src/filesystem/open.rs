//! `open`: modes, text files, file locks.

use brimfs::face::Wait;
use brimfs::{ErrorKind, LockMode, OpenOptions};
use pyo3::exceptions::{PyRuntimeWarning, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::tiering::chosen_priority;
use super::{FileSystem, LockTimeout};
use crate::errors::OrRaise;
use crate::file::{Access, File};
use crate::gil;
use crate::path::PathArg;
use crate::raw::objects::Arg;

/// How `open` was asked to treat the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Create,
    Append,
}

/// A mode string, understood.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    kind: Kind,
    update: bool,
    text: bool,
}

impl Mode {
    pub(super) const READ: Mode = Mode {
        kind: Kind::Read,
        update: false,
        text: false,
    };

    /// # Errors
    /// Those of the built-in `open`.
    pub(super) fn parse(mode: &str) -> PyResult<Self> {
        let invalid = || PyValueError::new_err(format!("invalid mode: '{mode}'"));
        let (mut kind, mut update, mut text, mut binary) = (None, false, false, false);
        for (index, letter) in mode.bytes().enumerate() {
            if mode.as_bytes()[..index].contains(&letter) {
                return Err(invalid());
            }
            match letter {
                b'r' | b'w' | b'x' | b'a' if kind.is_some() => {
                    return Err(PyValueError::new_err(
                        "must have exactly one of create/read/write/append mode",
                    ));
                }
                b'r' => kind = Some(Kind::Read),
                b'w' => kind = Some(Kind::Write),
                b'x' => kind = Some(Kind::Create),
                b'a' => kind = Some(Kind::Append),
                b'+' => update = true,
                b'b' => binary = true,
                b't' => text = true,
                _ => return Err(invalid()),
            }
        }
        if text && binary {
            return Err(PyValueError::new_err(
                "can't have text and binary mode at once",
            ));
        }
        let kind = kind.ok_or_else(|| {
            PyValueError::new_err(
                "Must have exactly one of create/read/write/append mode and at most one plus",
            )
        })?;
        Ok(Mode {
            kind,
            update,
            text: !binary,
        })
    }

    fn access(self) -> Access {
        Access {
            read: self.update || self.kind == Kind::Read,
            write: self.update || self.kind != Kind::Read,
            append: self.kind == Kind::Append,
        }
    }

    /// As the built-in binary files write it.
    fn name(self) -> &'static str {
        match (self.kind, self.update) {
            (Kind::Read, false) => "rb",
            (Kind::Write, false) => "wb",
            (Kind::Create, false) => "xb",
            (Kind::Append, false) => "ab",
            (Kind::Read | Kind::Write, true) => "rb+",
            (Kind::Create, true) => "xb+",
            (Kind::Append, true) => "ab+",
        }
    }

    /// The binary modes that are written most.
    #[inline]
    pub(super) fn short(mode: &[u8]) -> Option<Self> {
        let (kind, update) = match mode {
            b"rb" => (Kind::Read, false),
            b"wb" => (Kind::Write, false),
            b"ab" => (Kind::Append, false),
            b"xb" => (Kind::Create, false),
            b"r+b" | b"rb+" => (Kind::Read, true),
            b"w+b" | b"wb+" => (Kind::Write, true),
            _ => return None,
        };
        Some(Mode {
            kind,
            update,
            text: false,
        })
    }

    /// Whether an existing file is an error.
    pub(super) fn creates_new(self) -> bool {
        self.kind == Kind::Create
    }

    /// The core's options, with the lock that fits the directions.
    pub(super) fn options(self) -> OpenOptions {
        let access = self.access();
        let mut options = OpenOptions::new();
        options
            .read(access.read)
            .write(access.write && !access.append);
        match self.kind {
            Kind::Read => &mut options,
            Kind::Write => options.create(true).truncate(true),
            Kind::Create => options.create_new(true),
            Kind::Append => options.append(true).create(true),
        };
        options
    }

    /// The Python object over an opened file.
    pub(super) fn file(self, core: brimfs::File, name: Py<PyAny>, fs: &FileSystem) -> File {
        // The position of a file to append to is at its end, as the built-in one's is.
        let position = if self.kind == Kind::Append {
            core.len()
        } else {
            0
        };
        let keeper = fs.keeper();
        File::new(
            core,
            keeper,
            self.access(),
            self.name(),
            name,
            position,
            fs.takes_long_way,
        )
    }
}

/// The arguments of `open`.
pub(super) struct OpenArguments<'py> {
    path: PathArg<'py>,
    mode: Bound<'py, PyString>,
    buffering: i64,
    encoding: Option<Bound<'py, PyString>>,
    errors: Option<Bound<'py, PyString>>,
    newline: Option<Bound<'py, PyString>>,
    lock_timeout: LockTimeout,
    locked: bool,
    priority: Option<u8>,
}

impl<'py> OpenArguments<'py> {
    /// Their names; all but the last three can come without.
    pub(super) const NAMES: [&'static str; 9] = [
        "path",
        "mode",
        "buffering",
        "encoding",
        "errors",
        "newline",
        "lock_timeout",
        "lock",
        "priority",
    ];

    pub(super) fn new(bound: [Option<Arg<'py>>; 9]) -> PyResult<Self> {
        let [
            path,
            mode,
            buffering,
            encoding,
            errors,
            newline,
            lock_timeout,
            lock,
            priority,
        ] = bound;
        let path = path.ok_or_else(|| PyTypeError::new_err("open() misses its path"))?;
        Ok(OpenArguments {
            mode: match text(mode, "mode")? {
                Some(mode) => mode,
                None => PyString::new(path.py(), "r"),
            },
            buffering: buffering.map_or(Ok(-1), |buffering| buffering.extract())?,
            encoding: text(encoding, "encoding")?,
            errors: text(errors, "errors")?,
            newline: text(newline, "newline")?,
            lock_timeout: lock_timeout
                .map_or(Ok(LockTimeout::Default), |timeout| timeout.extract())?,
            locked: lock.map_or(Ok(true), is_locked)?,
            priority: chosen_priority(priority)?,
            path: PathArg::new(&path)?,
        })
    }

    /// What the built-in `open` checks about arguments that only text files have.
    fn check(&self, py: Python<'_>, mode: Mode) -> PyResult<()> {
        let refuse = |text: &str| Err(PyValueError::new_err(text.to_owned()));
        if self.buffering < -1 {
            return refuse("invalid buffering size");
        }
        if mode.text {
            let newline = self
                .newline
                .as_ref()
                .map(|newline| newline.to_str())
                .transpose()?;
            return match (self.buffering, newline) {
                (0, _) => refuse("can't have unbuffered text I/O"),
                (_, None | Some("" | "\n" | "\r" | "\r\n")) => Ok(()),
                (_, Some(newline)) => refuse(&format!("illegal newline value: {newline:?}")),
            };
        }
        for (given, what) in [
            (&self.encoding, "encoding"),
            (&self.errors, "errors"),
            (&self.newline, "newline"),
        ] {
            if given.is_some() {
                return refuse(&format!("binary mode doesn't take an {what} argument"));
            }
        }
        if self.buffering == 1 {
            let text = c"line buffering (buffering=1) isn't supported in binary mode";
            PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), text, 1)?;
        }
        Ok(())
    }
}

/// A text argument, absent or `None` or a `str`.
fn text<'py>(value: Option<Arg<'py>>, what: &str) -> PyResult<Option<Bound<'py, PyString>>> {
    let Some(value) = value.filter(|value| !value.is_none()) else {
        return Ok(None);
    };
    match value.cast::<PyString>() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => {
            let name = value.get_type().name()?;
            let text = format!("open() argument '{what}' must be str, not {name}");
            Err(PyTypeError::new_err(text))
        }
    }
}

fn is_locked(lock: Arg<'_>) -> PyResult<bool> {
    match text(Some(lock), "lock")? {
        Some(lock) if lock == "auto" => Ok(true),
        Some(lock) if lock == "none" => Ok(false),
        _ => {
            let text = format!("lock should be 'auto' or 'none', not {}", lock.repr()?);
            Err(PyValueError::new_err(text))
        }
    }
}

impl FileSystem {
    /// `open`, with all its arguments.
    pub(super) fn open<'py>(
        &self,
        py: Python<'py>,
        arguments: &OpenArguments<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mode = Mode::parse(arguments.mode.to_str()?)?;
        arguments.check(py, mode)?;
        let mut options = mode.options();
        if !arguments.locked {
            options.lock(LockMode::None);
        }
        if let Some(priority) = arguments.priority {
            options.priority(priority);
        }
        let path = &arguments.path;
        let core = self.open_core(py, path, &options, arguments.lock_timeout)?;
        let file = Bound::new(py, mode.file(core, path.object().clone().unbind(), self))?;
        if !mode.text {
            return Ok(file.into_any());
        }
        let line_buffering = arguments.buffering == 1;
        let wrap = py.import("brimfs._text")?.getattr("wrap")?;
        wrap.call1((
            file,
            &arguments.mode,
            &arguments.encoding,
            &arguments.errors,
            &arguments.newline,
            line_buffering,
            self.store.is_some(),
        ))
    }

    /// Opens at once if the lock is free, else waits for it without the interpreter lock.
    fn open_core(
        &self,
        py: Python<'_>,
        path: &PathArg<'_>,
        options: &OpenOptions,
        timeout: LockTimeout,
    ) -> PyResult<brimfs::File> {
        let (core, bytes) = (&self.core, path.bytes());
        let wait = timeout.wait(core);
        let opened = || match core.open_with(bytes, options, Wait::Now) {
            Err(fault) if fault.kind() == ErrorKind::WouldBlock && wait != Wait::Now => {
                gil::detached(py, || core.open_with(bytes, options, wait))
            }
            opened => opened,
        };
        core.log_call("open", bytes, |_| 0, opened)
            .map_err(|fault| fault.at("open", bytes))
            .or_raise(path)
    }
}
