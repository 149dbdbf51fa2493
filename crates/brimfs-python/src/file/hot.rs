//! The methods of `File` that programs call in loops: read, readinto, write,
//! seek, tell, close. Called without PyO3's trampoline; see `raw.rs`.
//!
//! Each has a short form that holds the interpreter lock throughout and gives
//! up (`None`) on anything unusual, and a full form that does everything and
//! raises every error.

use std::ffi::CStr;

use brimfs::ErrorKind;
use brimfs::face::{CHUNK, Fault, Foreign};
use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyType};

use super::{File, State, is_last, wrong_type};
use crate::buffer::{Filled, Input, Output, adopt, adopted, new_bytes};
use crate::errors;
use crate::gil::{self, HELD_BYTES_MAX};
use crate::raw::gate::Session;
use crate::raw::objects::{self, Arg, exact_int, with_bytearray, with_bytes, writable};
use crate::raw::{Args, Call, Table, method, raw_method};

/// `ENXIO`: what the operating system answers where no data or hole follows.
const NO_EXTENT: i32 = 6;
/// Reads up to this many bytes allocate what was asked for without asking for the file's length.
const UNASKED_MAX: usize = 8 * 1024;

// SAFETY: all of them expect a `File`, and `install` puts them there.
static METHODS: Table<8> = unsafe {
    Table::new([
        method(c"read", Call::Positional(read), READ),
        method(c"readinto", Call::One(readinto), READINTO),
        method(c"write", Call::One(write), WRITE),
        method(c"seek", Call::Positional(seek), SEEK),
        method(c"tell", Call::Nothing(tell), TELL),
        method(c"close", Call::Nothing(close), CLOSE),
        method(c"__enter__", Call::Nothing(enter), ENTER),
        method(c"__exit__", Call::Positional(exit), EXIT),
    ])
};

const READ: &CStr = c"read($self, size=-1, /)
--

Read up to size bytes and return them; all that is left if size is negative or None.

Fewer come only at the end of the file; b'' there. Copies; O(size).";

const READINTO: &CStr = c"readinto($self, buffer, /)
--

Read into a writable buffer and return how many bytes there were; 0 at the end of the file.";

const WRITE: &CStr = c"write($self, data, /)
--

Write the bytes-like data and return its length.

All of it or nothing: QuotaExceeded or MemoryLimitExceeded changes nothing.";

const SEEK: &CStr = c"seek($self, offset, whence=0, /)
--

Set the position and return it.

whence is os.SEEK_SET, SEEK_CUR or SEEK_END, or where the system has them SEEK_DATA or
SEEK_HOLE: the next byte from offset on that holds data, or lies in a hole.
Positions past the end are fine; writing there leaves a hole that costs nothing.";

const TELL: &CStr = c"tell($self, /)
--

Return the position in bytes.";

const ENTER: &CStr = c"__enter__($self, /)
--

The file itself, for a with statement.";

const EXIT: &CStr = c"__exit__($self, *_exception)
--

Close the handle.";

const CLOSE: &CStr = c"close($self, /)
--

Close the handle and give its file lock back. Closing twice is fine.";

pub(crate) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    METHODS.install(class)
}

raw_method!(
    Positional,
    File,
    read,
    |file, args| file.read_short(&args),
    |py: Python<'_>, file: &File, args: &Args<'_>| {
        let [size] = args.bind("read", ["size"], 1, 0)?;
        file.read(py, size_argument(size.as_deref())?)
    }
);

raw_method!(
    One,
    File,
    readinto,
    |file, args| file.readinto_short(&args),
    |py: Python<'_>, file: &File, args: &Args<'_>| {
        let [buffer] = args.bind_all("readinto", ["buffer"])?;
        integer(py, file.readinto(py, &buffer)? as u64)
    }
);

raw_method!(
    One,
    File,
    write,
    |file, args| file.write_short(&args),
    |py: Python<'_>, file: &File, args: &Args<'_>| {
        let [data] = args.bind_all("write", ["data"])?;
        integer(py, file.write(py, &data)? as u64)
    }
);

raw_method!(
    Positional,
    File,
    seek,
    |file, args| file.seek_short(&args),
    |py: Python<'_>, file: &File, args: &Args<'_>| {
        let [offset, whence] = args.bind("seek", ["offset", "whence"], 2, 1)?;
        let offset = offset.map_or(Ok(0), |offset| file.offset(py, &offset))?;
        let whence = whence.map_or(Ok(0), |whence| whence.extract::<i32>())?;
        integer(py, file.seek(py, offset, whence)?)
    }
);

raw_method!(
    Nothing,
    File,
    tell,
    |file, args| file.tell_short(&args),
    |py: Python<'_>, file: &File, args: &Args<'_>| {
        let [] = args.bind_all("tell", [])?;
        integer(py, file.session(py)?.state().position)
    }
);

raw_method!(
    Nothing,
    File,
    close,
    |file, args| file.close_short(&args),
    |py: Python<'_>, file: &File, args: &Args<'_>| {
        let [] = args.bind_all("close", [])?;
        file.close_now(py)?;
        Ok(py.None())
    }
);

raw_method!(
    Nothing,
    File,
    enter,
    |file, args| file.enter_short(&args),
    |py: Python<'_>, file: &File, args: &Args<'_>| {
        file.session(py)?;
        Ok(args.receiver().unbind())
    }
);

raw_method!(
    Positional,
    File,
    exit,
    |file, args| file.exit_short(&args),
    |py: Python<'_>, file: &File, _args: &Args<'_>| {
        file.close_now(py)?;
        Ok(py.None())
    }
);

fn integer(py: Python<'_>, value: u64) -> PyResult<Py<PyAny>> {
    Ok(value.into_pyobject(py)?.into_any().unbind())
}

/// The size of `read()` or `read(n)`; `None` for other arguments.
#[inline]
fn short_size(args: &Args<'_>) -> Option<usize> {
    match args.plain::<1>() {
        Some([size]) => exact_int(size).map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
        None => args.plain::<0>().map(|_| usize::MAX),
    }
}

/// A size argument: `None` and negative ones mean all that is left.
pub(super) fn size_argument(size: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    let Some(size) = size.filter(|size| !size.is_none()) else {
        return Ok(usize::MAX);
    };
    let index = size
        .call_method0(pyo3::intern!(size.py(), "__index__"))
        .map_err(|_| wrong_type(size, "argument should be integer or None"))?;
    // What does not fit is more than there is, or negative: all that is left.
    Ok(index.extract::<isize>().map_or(usize::MAX, |size| {
        usize::try_from(size).unwrap_or(usize::MAX)
    }))
}

impl State {
    #[inline]
    fn advance(&mut self, count: usize) {
        self.position += count as u64;
    }

    /// The bytes between the position and the end, at most `size`.
    #[inline]
    fn left(&self, core: &brimfs::File, size: usize) -> usize {
        let left = core.len().saturating_sub(self.position);
        size.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

/// The core's file of an open handle.
pub(super) fn open(state: &State) -> PyResult<&brimfs::File> {
    state
        .core
        .as_ref()
        .ok_or_else(|| PyValueError::new_err("I/O operation on closed file"))
}

impl File {
    #[inline]
    fn read_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let mut size = short_size(args)?;
        let mut session = self.gate.try_enter(args.py())?;
        let state = session.state();
        let core = state.core.as_ref().filter(|_| self.access.read)?;
        if size > UNASKED_MAX {
            size = state.left(core, size);
            if let Some(object) = whole_object(args.py(), core, state.position, size) {
                state.advance(size);
                return Some(object);
            }
        }
        if size > HELD_BYTES_MAX {
            return None;
        }
        let mut filled = 0;
        let bytes = new_bytes(args.py(), size, |room| {
            filled = core.read_at(state.position, writable(room))?;
            Ok::<_, brimfs::Error>(filled)
        });
        state.advance(filled);
        bytes.ok()
    }

    /// Reads up to `size` bytes and advances.
    pub(crate) fn read(&self, py: Python<'_>, size: usize) -> PyResult<Py<PyAny>> {
        let mut session = self.reading(py)?;
        let (bytes, filled) = self.read_here(py, &mut session, size)?;
        session.state().advance(filled);
        Ok(bytes)
    }

    /// Reads up to `size` bytes at the position, and says how many.
    pub(super) fn read_here(
        &self,
        py: Python<'_>,
        session: &mut Session<'_, State>,
        size: usize,
    ) -> PyResult<(Py<PyAny>, usize)> {
        let state = session.state();
        let position = state.position;
        let size = state.left(open(state)?, size);
        self.decline(py, size)?;
        let mut filled = 0;
        let bytes = new_bytes(py, size, |room| {
            filled = session.read_at(py, position, room)?;
            Ok(filled)
        });
        match bytes {
            Ok(bytes) => Ok((bytes.unbind(), filled)),
            Err(Filled::NoMemory) => Err(PyMemoryError::new_err("no memory for the bytes")),
            Err(Filled::Error(error)) => Err(errors::raise_named(py, &error, &self.name)),
        }
    }

    /// An error that it would block, if so much is not to be copied now.
    pub(super) fn decline(&self, py: Python<'_>, size: usize) -> PyResult<()> {
        if !gil::declines(size) {
            return Ok(());
        }
        let error = Fault::from(ErrorKind::WouldBlock).at("read", b"");
        Err(errors::raise_named(py, &error, &self.name))
    }

    #[inline]
    fn readinto_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [target] = args.plain()?;
        let mut session = self.gate.try_enter(args.py())?;
        let state = session.state();
        let core = state.core.as_ref().filter(|_| self.access.read)?;
        let position = state.position;
        let filled = with_bytearray(target, HELD_BYTES_MAX, |room| {
            core.read_at(position, writable(room)).ok()
        })??;
        state.advance(filled);
        state.count.get(args.py(), filled as u64)
    }

    /// Reads into a buffer and advances.
    pub(crate) fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut target = Output::new(buffer)?;
        let mut session = self.reading(py)?;
        let position = session.state().position;
        let filled = session
            .read_at(py, position, target.room())
            .map_err(|error| errors::raise_named(py, &error, &self.name))?;
        session.state().advance(filled);
        Ok(filled)
    }

    #[inline]
    fn write_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        if self.takes_long_way {
            return None;
        }
        let [data] = args.plain()?;
        gil::enter(args.py());
        let mut session = self.gate.try_enter(args.py())?;
        let state = session.state();
        let core = state.core.as_ref().filter(|_| self.access.write)?;
        if let Some(piece) = adopt_piece(data, state.position, self.access.append) {
            core.adopt_at(state.position, piece).ok()?;
            state.advance(CHUNK);
            return state.count.get(args.py(), CHUNK as u64);
        }
        let written = with_bytes(data, HELD_BYTES_MAX, |bytes| {
            write_here(state, self.access.append, bytes).ok()
        })??;
        state.count.get(args.py(), written as u64)
    }

    /// Writes at the position, or at the end, and advances.
    pub(crate) fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut session = self.writing(py)?;
        let data = Input::new(data)?;
        let bytes = data.bytes();
        let append = self.access.append;
        let written = if bytes.len() <= HELD_BYTES_MAX {
            write_here(session.state(), append, bytes)
        } else {
            session.detached(py, |state| write_here(state, append, bytes))
        };
        written.map_err(|error| errors::raise_named(py, &error, &self.name))
    }

    #[inline]
    fn seek_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        let [offset] = args.plain()?;
        let offset = u64::try_from(exact_int(offset)?).ok()?;
        let mut session = self.gate.try_enter(args.py())?;
        let state = session.state();
        state.core.as_ref()?;
        state.position = offset;
        objects::integer(args.py(), offset)
    }

    /// Sets the position.
    fn seek(&self, py: Python<'_>, offset: i64, whence: i32) -> PyResult<u64> {
        let mut session = self.session(py)?;
        let state = session.state();
        let core = open(state)?;
        let target = match whence {
            0 => Some(offset),
            1 => state.position.cast_signed().checked_add(offset),
            2 => core.len().cast_signed().checked_add(offset),
            3 | 4 => return self.seek_extent(py, state, offset, whence == 3),
            _ => {
                let text = format!("invalid whence ({whence}, should be 0 to 4)");
                return Err(PyValueError::new_err(text));
            }
        };
        let target = target.and_then(|target| u64::try_from(target).ok());
        state.position = target.ok_or_else(|| {
            let text = "The position should be from 0 to 2**63 - 1";
            errors::invalid(py, text, Some(&self.name))
        })?;
        Ok(state.position)
    }

    fn seek_extent(
        &self,
        py: Python<'_>,
        state: &mut State,
        offset: i64,
        data: bool,
    ) -> PyResult<u64> {
        let core = open(state)?;
        let found = match u64::try_from(offset) {
            Ok(offset) if data => core.seek_data(offset),
            Ok(offset) => core.seek_hole(offset),
            Err(_) => Ok(None),
        };
        let found = found.map_err(|error| errors::raise_named(py, &error, &self.name))?;
        state.position = found.ok_or_else(|| {
            let text = "No data or hole from there on";
            PyOSError::new_err((NO_EXTENT, text, self.name.clone_ref(py)))
        })?;
        Ok(state.position)
    }

    /// An offset or size argument.
    pub(super) fn offset(&self, py: Python<'_>, offset: &Bound<'_, PyAny>) -> PyResult<i64> {
        let index = offset
            .call_method0(pyo3::intern!(py, "__index__"))
            .map_err(|_| wrong_type(offset, "an integer is required"))?;
        index.cast::<PyInt>()?.extract::<i64>().map_err(|_| {
            errors::invalid(py, "The number does not fit into 64 bits", Some(&self.name))
        })
    }

    #[inline]
    fn tell_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        args.plain::<0>()?;
        let mut session = self.gate.try_enter(args.py())?;
        let state = session.state();
        state.core.as_ref()?;
        objects::integer(args.py(), state.position)
    }

    #[inline]
    fn enter_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        let mut session = self.gate.try_enter(args.py())?;
        session.state().core.as_ref()?;
        Some(args.receiver())
    }

    #[inline]
    fn close_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        args.plain::<0>()?;
        self.exit_short(args)
    }

    #[inline]
    fn exit_short<'py>(&self, args: &Args<'py>) -> Option<Bound<'py, PyAny>> {
        gil::enter(args.py());
        let mut session = self.gate.try_enter(args.py())?;
        if self.access.write
            && let Some(core) = &session.state().core
            && core.len() > HELD_BYTES_MAX as u64
        {
            // Closing may give memory back, which takes its time.
            return None;
        }
        let state = session.state();
        if state.keeper.as_ref().is_some_and(is_last) {
            // Its filesystem is closed with it, which waits for the disk.
            return None;
        }
        state.core = None;
        state.keeper = None;
        Some(objects::none(args.py()))
    }
}

/// The `bytes` object that is exactly the next `size` bytes, if one was adopted there.
#[inline]
fn whole_object<'py>(
    py: Python<'py>,
    core: &brimfs::File,
    position: u64,
    size: usize,
) -> Option<Bound<'py, PyAny>> {
    if !position.is_multiple_of(CHUNK as u64) {
        return None;
    }
    let found = core.look_adopted(position, size, |foreign| adopted(py, foreign));
    found.ok().flatten().flatten()
}

/// A piece for the core to keep, if it is an exact `bytes` that fills a chunk of the file.
#[inline]
fn adopt_piece(data: Arg<'_>, position: u64, append: bool) -> Option<Foreign> {
    if append || !position.is_multiple_of(CHUNK as u64) {
        return None;
    }
    adopt(data).filter(|foreign| foreign.len() == CHUNK)
}

/// Writes at the position, or at the end, and advances.
fn write_here(state: &mut State, append: bool, bytes: &[u8]) -> Result<usize, brimfs::Error> {
    // The core tells of a handle that is closed; a session for writing has an open one.
    let Some(core) = &state.core else {
        return Ok(0);
    };
    if append {
        // Writing nothing goes nowhere.
        if !bytes.is_empty() {
            state.position = core.append(bytes)?;
        }
    } else {
        core.write_at(state.position, bytes)?;
    }
    state.advance(bytes.len());
    Ok(bytes.len())
}
