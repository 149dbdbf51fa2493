//! Bytes that cross the border: adopted `bytes`, buffers of callers, views.
//!
//! Owns every pointer between the interpreter's memory and the core's. An
//! adopted `bytes` object is kept by reference and handed back as the same
//! object; a [`View`] lends the core's memory to anything that speaks the
//! buffer protocol.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use brimfs::face::{Foreign, ForeignVTable};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::gil;
use crate::raw::guarded::Guarded;
use crate::raw::objects::{Arg, memoryview};

/// Longer `bytes` objects are adopted; shorter ones are cheaper as a copy in the core's slabs.
const COPIED_MAX: usize = 512;

static BYTES: ForeignVTable = ForeignVTable {
    bytes: bytes_of,
    release: release_bytes,
};

/// # Safety
/// `object` is a live `bytes` object.
unsafe fn bytes_of(object: NonNull<()>) -> (*const u8, usize) {
    let object = object.as_ptr().cast::<ffi::PyObject>();
    // SAFETY: both only read fields of a `bytes` object that never change, which needs no
    // interpreter lock.
    unsafe {
        let start = ffi::PyBytes_AsString(object).cast::<u8>();
        (start.cast_const(), ffi::PyBytes_Size(object).unsigned_abs())
    }
}

/// # Safety
/// The caller owns one reference to `object`, an exact `bytes`.
unsafe fn release_bytes(object: NonNull<()>) {
    // SAFETY: as promised by the caller.
    unsafe { gil::release(object.cast::<ffi::PyObject>()) }
}

/// `value` as a buffer for the core to keep, if it is an exact `bytes` of a size worth it.
#[inline]
pub(crate) fn adopt(value: Arg<'_>) -> Option<Foreign> {
    let object = value.as_ptr();
    // SAFETY: attached, and `object` is alive. A subclass is refused because dropping it could
    // run Python code; the reference taken here is the buffer's, and the table fits `bytes`.
    unsafe {
        if ffi::PyBytes_CheckExact(object) == 0
            || ffi::PyBytes_Size(object).unsigned_abs() <= COPIED_MAX
        {
            return None;
        }
        ffi::Py_INCREF(object);
        Some(Foreign::new(NonNull::new_unchecked(object).cast(), &BYTES))
    }
}

/// The `bytes` object behind an adopted buffer.
#[inline]
pub(crate) fn adopted<'py>(py: Python<'py>, foreign: &Foreign) -> Option<Bound<'py, PyAny>> {
    let object = foreign.data(&BYTES)?.as_ptr().cast::<ffi::PyObject>();
    // SAFETY: attached; the buffer holds a reference, so the object is alive.
    Some(unsafe { Bound::from_borrowed_ptr(py, object) })
}

/// A `bytes` object to be filled: `len` bytes that `fill` must write all of, or fewer,
/// which it says.
///
/// # Errors
/// What `fill` answers, or `MemoryError`.
#[inline]
pub(crate) fn new_bytes<'py, E>(
    py: Python<'py>,
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
) -> Result<Bound<'py, PyAny>, Filled<E>> {
    let len = isize::try_from(len).map_err(|_| Filled::NoMemory)?;
    // SAFETY: attached. A fresh object is ours alone, so its bytes can be written; they are
    // not read before `fill` wrote them.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(ptr::null(), len);
        let Some(object) = Bound::from_owned_ptr_or_opt(py, object) else {
            ffi::PyErr_Clear();
            return Err(Filled::NoMemory);
        };
        let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<MaybeUninit<u8>>();
        let room = slice::from_raw_parts_mut(start, len.unsigned_abs());
        let filled = fill(room).map_err(Filled::Error)?;
        if filled == len.unsigned_abs() {
            return Ok(object);
        }
        let part = slice::from_raw_parts(start.cast::<u8>().cast_const(), filled);
        Ok(PyBytes::new(py, part).into_any())
    }
}

/// Why [`new_bytes`] failed.
pub(crate) enum Filled<E> {
    /// The interpreter gave no memory. No error is left set.
    NoMemory,
    Error(E),
}

/// The bytes of a caller's argument, held for the length of a call.
pub(crate) struct Input {
    buffer: ffi::Py_buffer,
}

impl Input {
    /// # Errors
    /// `TypeError` if `value` is not a bytes-like object.
    pub(crate) fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        get(value, ffi::PyBUF_SIMPLE, "a bytes-like object is required")
            .map(|buffer| Input { buffer })
    }

    /// The bytes. Another thread can change them meanwhile if the object is mutable, as with
    /// every file object of the standard library.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: a simple buffer is `len` contiguous bytes, held until it is released. The
        // core only copies out of it.
        unsafe { lent(self.buffer.buf, self.buffer.len) }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: filled by `PyObject_GetBuffer` and released once; inputs live within calls
        // from the interpreter and are dropped attached.
        unsafe { ffi::PyBuffer_Release(&raw mut self.buffer) };
    }
}

// SAFETY: only the bytes are used from another context, the one of a detached closure of the same
// call; the buffer is released by the thread that took it.
unsafe impl Sync for Input {}

/// The memory of a caller's argument, to be written into.
pub(crate) struct Output {
    buffer: ffi::Py_buffer,
}

impl Output {
    /// # Errors
    /// `TypeError` if `value` is not a writable bytes-like object.
    pub(crate) fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wanted = "a read-write bytes-like object is required";
        get(value, ffi::PyBUF_WRITABLE, wanted).map(|buffer| Output { buffer })
    }

    /// The memory, of which nobody reads what was not written.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        if self.buffer.len == 0 {
            return &mut [];
        }
        let start = self.buffer.buf.cast::<MaybeUninit<u8>>();
        // SAFETY: a writable simple buffer is `len` contiguous bytes, held until released.
        unsafe { slice::from_raw_parts_mut(start, self.buffer.len.unsigned_abs()) }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: as for `Input`.
        unsafe { ffi::PyBuffer_Release(&raw mut self.buffer) };
    }
}

// SAFETY: as for `Input`: the bytes are written by a detached closure of the same thread.
unsafe impl Send for Output {}

fn get(value: &Bound<'_, PyAny>, flags: c_int, wanted: &str) -> PyResult<ffi::Py_buffer> {
    let mut buffer = MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: attached; the interpreter fills the whole structure if it answers 0.
    unsafe {
        if ffi::PyObject_GetBuffer(value.as_ptr(), buffer.as_mut_ptr(), flags) == 0 {
            return Ok(buffer.assume_init());
        }
    }
    let error = PyErr::fetch(value.py());
    let py = value.py();
    let type_error = error.is_instance_of::<PyTypeError>(py) || value.is_instance_of::<PyString>();
    if type_error || error.is_instance_of::<PyBufferError>(py) {
        let name = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{wanted}, not '{name}'")));
    }
    Err(error)
}

/// # Safety
/// `start` points to `len` bytes that outlive `'a`, or `len` is 0.
unsafe fn lent<'a>(start: *mut c_void, len: isize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { slice::from_raw_parts(start.cast::<u8>().cast_const(), len.unsigned_abs()) }
}

/// The content of a file as it was, without a copy.
///
/// Speaks the buffer protocol (read-only, format 'B'): `numpy.frombuffer(view)`,
/// `memoryview(view)[a:b]`, `bytes(view)`. Later writes to the file do not change it. Its
/// memory is charged to the filesystem until it is released or dropped.
#[pyclass(frozen, weakref, module = "brimfs")]
pub(crate) struct View {
    held: Guarded<Option<brimfs::View>>,
    exports: AtomicUsize,
}

impl View {
    pub(crate) fn new(view: brimfs::View) -> Self {
        View {
            held: Guarded::new(Some(view)),
            exports: AtomicUsize::new(0),
        }
    }

    fn slice(&self, py: Python<'_>) -> PyResult<(*const u8, usize)> {
        self.held
            .with(py, |held| {
                held.as_ref().map(|view| (view.as_ptr(), view.len()))
            })
            .flatten()
            .ok_or_else(|| PyValueError::new_err("operation on a released view"))
    }

    /// As `slice`, counted as an export, so that `release` refuses from now on.
    fn export(&self, py: Python<'_>) -> PyResult<(*const u8, usize)> {
        let slice = self.held.with(py, |held| {
            let view = held.as_ref()?;
            self.exports.fetch_add(1, Ordering::AcqRel);
            Some((view.as_ptr(), view.len()))
        });
        slice
            .flatten()
            .ok_or_else(|| PyValueError::new_err("operation on a released view"))
    }

    /// A `memoryview` of it.
    pub(crate) fn memory<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        memoryview(slf.as_any())
    }
}

#[pymethods]
impl View {
    /// Gives the memory back now. Later use is a ValueError.
    ///
    /// Raises BufferError while a memoryview or an array still uses it.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let view = self.held.with(py, |held| {
            // An export begins inside `with` too, so none can appear between the two.
            (self.exports.load(Ordering::Acquire) == 0).then(|| held.take())
        });
        match view.flatten() {
            Some(_dropped) => Ok(()),
            None => Err(PyBufferError::new_err(
                "the view is still in use by another object",
            )),
        }
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.slice(py).map(|(_, len)| len)
    }

    fn __bytes__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyBytes>> {
        let (start, len) = slf.get().slice(slf.py())?;
        // SAFETY: `PyBytes::new` copies at once, attached, so nobody releases the view meanwhile.
        let bytes = unsafe { slice::from_raw_parts(start, len) };
        Ok(PyBytes::new(slf.py(), bytes))
    }

    /// A copy of the content, as bytes.
    fn tobytes<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyBytes>> {
        Self::__bytes__(slf)
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::memory(slf)?.get_item(index)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _exception: &Bound<'_, pyo3::types::PyTuple>,
    ) -> PyResult<()> {
        self.release(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        match self.slice(py) {
            Ok((_, len)) => format!("<brimfs.View of {len} bytes>"),
            Err(_) => "<brimfs.View, released>".to_owned(),
        }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot pickle a brimfs.View; pickle bytes(view) instead",
        ))
    }

    /// # Safety
    /// Called by the interpreter with a buffer structure to fill.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        buffer: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let (start, len) = slf.get().export(slf.py())?;
        let start = start.cast_mut().cast::<c_void>();
        // SAFETY: the bytes stay where they are until the view is released, which is refused
        // while `exports` counts this one; the interpreter keeps the reference to `slf` that
        // it finds in the structure. Read-only is what is said and what consumers obey.
        let answer = unsafe {
            ffi::PyBuffer_FillInfo(buffer, slf.as_ptr(), start, len.cast_signed(), 1, flags)
        };
        if answer != 0 {
            slf.get().exports.fetch_sub(1, Ordering::AcqRel);
            return Err(PyErr::fetch(slf.py()));
        }
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter once for each buffer that was filled.
    unsafe fn __releasebuffer__(&self, _buffer: *mut ffi::Py_buffer) {
        self.exports.fetch_sub(1, Ordering::AcqRel);
    }
}
