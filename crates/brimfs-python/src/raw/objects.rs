//! Small operations on Python objects that PyO3 offers no direct way to.
//!
//! Each is a safe function over one or two calls of the stable ABI. The
//! closures given to them run with the interpreter attached and must not run
//! Python code: the memory they see belongs to objects that could change.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::gil;

/// An argument of a raw method.
pub(crate) type Arg<'py> = Borrowed<'py, 'py, PyAny>;

/// `True` or `False`.
#[inline]
pub(crate) fn boolean(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    // SAFETY: attached; both are objects, borrowed here and counted by `from_borrowed_ptr`.
    unsafe {
        let object = if value {
            ffi::Py_True()
        } else {
            ffi::Py_False()
        };
        Bound::from_borrowed_ptr(py, object)
    }
}

/// `None`.
#[inline]
pub(crate) fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    // SAFETY: as in `boolean`.
    unsafe { Bound::from_borrowed_ptr(py, ffi::Py_None()) }
}

/// A new `int`; `None` without memory, and no error is left set.
#[inline]
pub(crate) fn integer(py: Python<'_>, value: u64) -> Option<Bound<'_, PyAny>> {
    // SAFETY: attached; a new reference or null.
    unsafe { owned(py, ffi::PyLong_FromUnsignedLongLong(value)) }
}

/// Takes over a new reference; clears the error that comes with a null.
///
/// # Safety
/// `object` is a new reference, or null with an error set.
#[inline]
unsafe fn owned(py: Python<'_>, object: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: promised by the caller.
    let object = unsafe { Bound::from_owned_ptr_or_opt(py, object) };
    if object.is_none() {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
    object
}

/// The value of an exact `int` that fits; anything else is `None`.
#[inline]
pub(crate) fn exact_int(value: Arg<'_>) -> Option<isize> {
    // SAFETY: attached, and `value` is an object. Converting an exact `int` runs no Python code;
    // the error of one that does not fit is cleared.
    unsafe {
        if ffi::PyLong_CheckExact(value.as_ptr()) == 0 {
            return None;
        }
        let number = ffi::PyLong_AsSsize_t(value.as_ptr());
        if number == -1 && !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(number)
    }
}

/// The UTF-8 form of an exact `str`, or the bytes of an exact `bytes`, inside the object.
#[inline]
pub(crate) fn path_bytes<'py>(value: Arg<'py>) -> Option<&'py [u8]> {
    // SAFETY: attached, and the caller's frame holds the object for `'py`. A `str` caches its
    // UTF-8 form for as long as it lives; the error of one that has none is cleared.
    unsafe {
        if ffi::PyUnicode_CheckExact(value.as_ptr()) != 0 {
            let mut len = 0;
            let start = ffi::PyUnicode_AsUTF8AndSize(value.as_ptr(), &raw mut len);
            if start.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            return Some(slice::from_raw_parts(
                start.cast::<u8>(),
                len.unsigned_abs(),
            ));
        }
        if ffi::PyBytes_CheckExact(value.as_ptr()) == 0 {
            return None;
        }
        let start = ffi::PyBytes_AsString(value.as_ptr())
            .cast::<u8>()
            .cast_const();
        let len = ffi::PyBytes_Size(value.as_ptr()).unsigned_abs();
        Some(slice::from_raw_parts(start, len))
    }
}

/// Lets `look` see the bytes of an exact `bytes` or `bytearray` of at most `max` bytes.
#[inline]
pub(crate) fn with_bytes<R>(
    value: Arg<'_>,
    max: usize,
    look: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    // SAFETY: attached, and `look` runs no Python code and keeps the lock while it looks at an array,
    // so nobody changes or resizes one.
    unsafe {
        let (start, size, look_held) = if ffi::PyBytes_CheckExact(value.as_ptr()) != 0 {
            let start = ffi::PyBytes_AsString(value.as_ptr());
            (start, ffi::PyBytes_Size(value.as_ptr()), false)
        } else if cfg!(not(Py_GIL_DISABLED)) && ffi::PyByteArray_CheckExact(value.as_ptr()) != 0 {
            let start = ffi::PyByteArray_AsString(value.as_ptr());
            (start, ffi::PyByteArray_Size(value.as_ptr()), true)
        } else {
            return None;
        };
        let size = size.unsigned_abs();
        let bytes = || slice::from_raw_parts(start.cast::<u8>().cast_const(), size);
        (size <= max).then(|| match look_held {
            true => gil::held(|| look(bytes())),
            false => look(bytes()),
        })
    }
}

/// Lets `fill` write into an exact `bytearray` of at most `max` bytes.
#[inline]
pub(crate) fn with_bytearray<R>(
    value: Arg<'_>,
    max: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> R,
) -> Option<R> {
    // Without the interpreter lock another thread could resize it: the buffer protocol's case.
    if cfg!(Py_GIL_DISABLED) {
        return None;
    }
    // SAFETY: as in `with_bytes`; the array's bytes are ours while nobody else can run.
    unsafe {
        if ffi::PyByteArray_CheckExact(value.as_ptr()) == 0 {
            return None;
        }
        let size = ffi::PyByteArray_Size(value.as_ptr()).unsigned_abs();
        let start = ffi::PyByteArray_AsString(value.as_ptr()).cast::<MaybeUninit<u8>>();
        let room = || slice::from_raw_parts_mut(start, size);
        (size <= max).then(|| gil::held(|| fill(room())))
    }
}

/// Room that somebody is going to write into, as the core takes it.
///
/// The core only ever writes through such a slice, and says how far it came.
#[inline]
pub(crate) fn writable(room: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    // SAFETY: every bit pattern is a `u8`, the memory is allocated and ours, and nobody reads a
    // byte before it was written: what comes back is the count of those that were.
    unsafe { &mut *(std::ptr::from_mut(room) as *mut [u8]) }
}

/// The `str` for bytes in UTF-8, others as surrogates.
#[inline]
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: pointer and length are those of a slice, which holds less than `isize::MAX` bytes.
    unsafe {
        let object = ffi::PyUnicode_DecodeUTF8(
            bytes.as_ptr().cast::<c_char>(),
            bytes.len().cast_signed(),
            c"surrogateescape".as_ptr(),
        );
        Bound::from_owned_ptr_or_err(py, object)
    }
}

/// The bytes of a `str`, surrogates as the bytes that they stand for.
pub(crate) fn encode<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: attached, and `text` is a `str`; the answer is a new reference or an error.
    let bytes = unsafe {
        let object = ffi::PyUnicode_AsEncodedString(
            text.as_ptr(),
            c"utf-8".as_ptr(),
            c"surrogateescape".as_ptr(),
        );
        Bound::from_owned_ptr_or_err(text.py(), object)?
    };
    Ok(bytes.cast_into::<PyBytes>()?)
}

/// What `os.fspath` answers.
pub(crate) fn fspath<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: attached, and `value` is an object; the answer is a new reference or an error.
    unsafe { Bound::from_owned_ptr_or_err(value.py(), ffi::PyOS_FSPath(value.as_ptr())) }
}

/// A copy of a list.
#[inline]
pub(crate) fn copy_list<'py>(list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: attached, and `list` is a list; an end beyond its own is its end.
    unsafe {
        let copy = ffi::PyList_GetSlice(list.as_ptr(), 0, isize::MAX);
        Bound::from_owned_ptr_or_err(list.py(), copy)
    }
}

/// A `memoryview` of an object.
pub(crate) fn memoryview<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: attached, and `object` is an object; the answer is a new reference or an error.
    unsafe {
        Bound::from_owned_ptr_or_err(object.py(), ffi::PyMemoryView_FromObject(object.as_ptr()))
    }
}

/// The last `int` that was answered, kept because the same one comes again and again.
#[derive(Default)]
pub(crate) struct LastInt(Option<(u64, NonNull<ffi::PyObject>)>);

// SAFETY: the reference is to an exact `int` and only used by attached threads; it is given back
// through `gil::release`, which any thread may call.
unsafe impl Send for LastInt {}

impl LastInt {
    /// The `int` for `value`.
    #[inline]
    pub(crate) fn get<'py>(&mut self, py: Python<'py>, value: u64) -> Option<Bound<'py, PyAny>> {
        if let Some((last, object)) = self.0
            && last == value
        {
            // SAFETY: attached; the field holds a reference to a live object.
            return Some(unsafe { Bound::from_borrowed_ptr(py, object.as_ptr()) });
        }
        let object = integer(py, value)?;
        let kept = NonNull::new(object.clone().into_ptr())?;
        if let Some((_, old)) = self.0.replace((value, kept)) {
            // SAFETY: attached; the field owned the reference, and an `int` runs no code.
            unsafe { ffi::Py_DECREF(old.as_ptr()) };
        }
        Some(object)
    }
}

impl Drop for LastInt {
    fn drop(&mut self) {
        if let Some((_, object)) = self.0.take() {
            // SAFETY: the field owned one reference to an exact `int`.
            unsafe { crate::gil::release(object) };
        }
    }
}
