//! The calling convention of the hottest methods, without PyO3's trampoline.
//!
//! PyO3's wrapper around a method costs 15–20 ns a call (argument extraction,
//! attach count, result conversion), which is as much as the whole of
//! `exists`. The methods in a [`Table`] are called by the interpreter
//! directly (`METH_FASTCALL` and its relatives).
//!
//! Owns the conversion between that convention and Rust: argument binding,
//! errors, panics. The modules below hold the other places where the crate
//! steps outside of PyO3's safe interface. None knows of filesystems.

pub(crate) mod gate;
pub(crate) mod guarded;
pub(crate) mod lookup;
pub(crate) mod objects;

use std::any::Any;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo};

use objects::Arg;

/// An object reference as the interpreter passes it.
pub(crate) type Object = *mut ffi::PyObject;

/// Methods to add to a class. The doc string begins with the signature.
pub(crate) struct Table<const N: usize>([ffi::PyMethodDef; N]);

// SAFETY: the table is never written; the pointers in it are to functions and constant strings.
unsafe impl<const N: usize> Sync for Table<N> {}

/// How the interpreter passes the arguments of a method. The fewer freedoms the faster.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// Any, by position or by name.
    Named(ffi::PyCFunctionFastWithKeywords),
    /// Any, by position only.
    Positional(ffi::PyCFunctionFast),
    /// Exactly one, by position.
    One(ffi::PyCFunction),
    /// None.
    Nothing(ffi::PyCFunction),
}

/// One method of a [`Table`].
pub(crate) const fn method(
    name: &'static CStr,
    call: Call,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    type Pointer = ffi::PyMethodDefPointer;
    let (ml_meth, ml_flags) = match call {
        Call::Named(function) => (
            Pointer {
                PyCFunctionFastWithKeywords: function,
            },
            ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ),
        Call::Positional(function) => (
            Pointer {
                PyCFunctionFast: function,
            },
            ffi::METH_FASTCALL,
        ),
        Call::One(function) => (
            Pointer {
                PyCFunction: function,
            },
            ffi::METH_O,
        ),
        Call::Nothing(function) => (
            Pointer {
                PyCFunction: function,
            },
            ffi::METH_NOARGS,
        ),
    };
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth,
        ml_flags,
        ml_doc: doc.as_ptr(),
    }
}

impl<const N: usize> Table<N> {
    /// # Safety
    /// Every function expects an instance of the class that the table is installed in.
    pub(crate) const unsafe fn new(methods: [ffi::PyMethodDef; N]) -> Self {
        Table(methods)
    }

    /// Adds the methods to `class`.
    pub(crate) fn install(&'static self, class: &Bound<'_, PyType>) -> PyResult<()> {
        for method in &self.0 {
            // SAFETY: the definition is static and the interpreter only reads it.
            let descriptor = unsafe {
                let definition = ptr::from_ref(method).cast_mut();
                let object = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
                Bound::from_owned_ptr_or_err(class.py(), object)?
            };
            class.setattr(
                descriptor.getattr("__name__")?.cast::<PyString>()?,
                &descriptor,
            )?;
        }
        Ok(())
    }
}

/// The arguments of one call.
#[derive(Clone, Copy)]
pub(crate) struct Args<'py> {
    py: Python<'py>,
    receiver: Object,
    values: *const Object,
    positional: usize,
    keywords: Object,
}

impl<'py> Args<'py> {
    /// # Safety
    /// The arguments are those that the interpreter passes to a method, and are used no longer
    /// than until it returns. The thread is attached.
    #[inline]
    pub(crate) unsafe fn new(
        receiver: Object,
        values: *const Object,
        count: ffi::Py_ssize_t,
        names: Object,
    ) -> Self {
        Args {
            // SAFETY: promised by the caller.
            py: unsafe { Python::assume_attached() },
            receiver,
            values,
            positional: count.unsigned_abs(),
            keywords: names,
        }
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    /// The object that the method was called on.
    #[inline]
    pub(crate) fn receiver(&self) -> Bound<'py, PyAny> {
        // SAFETY: attached; the caller's frame holds the object until the function returns.
        unsafe { Bound::from_borrowed_ptr(self.py, self.receiver) }
    }

    /// The arguments if there are exactly `N` and none by keyword.
    #[inline]
    pub(crate) fn plain<const N: usize>(&self) -> Option<[Arg<'py>; N]> {
        (self.positional == N && self.keywords.is_null())
            .then(|| std::array::from_fn(|index| self.at(index)))
    }

    /// Binds the arguments to `names`, of which the first `positional` can come without a
    /// name and the first `required` must be there.
    #[cold]
    pub(crate) fn bind<const N: usize>(
        &self,
        function: &str,
        names: [&str; N],
        positional: usize,
        required: usize,
    ) -> PyResult<[Option<Arg<'py>>; N]> {
        if self.positional > positional {
            return Err(PyTypeError::new_err(format!(
                "{function}() takes at most {positional} positional arguments ({} given)",
                self.positional
            )));
        }
        let mut bound = [None; N];
        for (index, place) in bound.iter_mut().enumerate().take(self.positional) {
            *place = Some(self.at(index));
        }
        for (index, name) in self.keyword_names()?.into_iter().enumerate() {
            let place = names
                .iter()
                .position(|known| *known == name)
                .ok_or_else(|| {
                    PyTypeError::new_err(format!(
                        "{function}() got an unexpected keyword argument '{name}'"
                    ))
                })?;
            if bound[place].is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument '{name}'"
                )));
            }
            bound[place] = Some(self.at(self.positional + index));
        }
        match (0..required).find(|index| bound[*index].is_none()) {
            Some(missing) => Err(PyTypeError::new_err(format!(
                "{function}() missing required argument: '{}'",
                names[missing]
            ))),
            None => Ok(bound),
        }
    }

    /// Binds the arguments to `names`, all of which must be there.
    pub(crate) fn bind_all<const N: usize>(
        &self,
        function: &str,
        names: [&str; N],
    ) -> PyResult<[Arg<'py>; N]> {
        let bound = self.bind(function, names, N, N)?;
        let mut all = bound.into_iter().flatten();
        let values = std::array::from_fn(|_| all.next());
        if values.iter().any(Option::is_none) {
            return Err(PyTypeError::new_err(format!(
                "{function}() misses an argument"
            )));
        }
        Ok(values.map(|value| value.expect("checked above")))
    }

    #[inline]
    fn at(&self, index: usize) -> Arg<'py> {
        // SAFETY: `index` is below the number of arguments, positional and named; the caller's
        // frame holds them until the function returns. See `new`.
        unsafe { Borrowed::from_ptr(self.py, *self.values.add(index)) }
    }

    fn keyword_names(&self) -> PyResult<Vec<String>> {
        if self.keywords.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the interpreter passes a tuple of names, which lives as long as the call.
        let names = unsafe { Borrowed::from_ptr(self.py, self.keywords) };
        names.cast::<PyTuple>()?.extract()
    }
}

/// The Rust side of `object`.
///
/// # Safety
/// `object` is an instance of `T` and outlives the use of the reference.
#[inline]
pub(crate) unsafe fn instance<'a, T>(py: Python<'a>, object: Object) -> Borrowed<'a, 'a, T>
where
    T: PyTypeInfo,
{
    // SAFETY: promised by the caller.
    unsafe { Borrowed::from_ptr(py, object).cast_unchecked::<T>() }
}

/// Declares a raw method of a class, as one of [`Call`]. The first expression answers most calls
/// and gives up (`None`) on anything unusual; the function after it answers the rest and raises
/// every error.
macro_rules! raw_method {
    (Named, $class:ty, $name:ident, |$this:ident, $args:ident| $short:expr, $full:expr) => {
        // SAFETY: the arguments are the interpreter's; see the body below.
        unsafe extern "C" fn $name(
            this: $crate::raw::Object,
            values: *const $crate::raw::Object,
            count: pyo3::ffi::Py_ssize_t,
            names: $crate::raw::Object,
        ) -> $crate::raw::Object {
            $crate::raw::raw_method!(@ $class, this, (values, count, names), $this, $args, $short, $full)
        }
    };
    (Positional, $class:ty, $name:ident, |$this:ident, $args:ident| $short:expr, $full:expr) => {
        // SAFETY: the arguments are the interpreter's; see the body below.
        unsafe extern "C" fn $name(
            this: $crate::raw::Object,
            values: *mut $crate::raw::Object,
            count: pyo3::ffi::Py_ssize_t,
        ) -> $crate::raw::Object {
            let none = std::ptr::null_mut();
            $crate::raw::raw_method!(@ $class, this, (values, count, none), $this, $args, $short, $full)
        }
    };
    (One, $class:ty, $name:ident, |$this:ident, $args:ident| $short:expr, $full:expr) => {
        // SAFETY: the arguments are the interpreter's; see the body below.
        unsafe extern "C" fn $name(
            this: $crate::raw::Object,
            value: $crate::raw::Object,
        ) -> $crate::raw::Object {
            let none = std::ptr::null_mut();
            let values = &raw const value;
            $crate::raw::raw_method!(@ $class, this, (values, 1, none), $this, $args, $short, $full)
        }
    };
    (Nothing, $class:ty, $name:ident, |$this:ident, $args:ident| $short:expr, $full:expr) => {
        // SAFETY: the arguments are the interpreter's; see the body below.
        unsafe extern "C" fn $name(
            this: $crate::raw::Object,
            none: $crate::raw::Object,
        ) -> $crate::raw::Object {
            let values = std::ptr::null();
            $crate::raw::raw_method!(@ $class, this, (values, 0, none), $this, $args, $short, $full)
        }
    };
    (@ $class:ty, $self:ident, ($values:expr, $count:expr, $names:expr),
        $this:ident, $args:ident, $short:expr, $full:expr) => {
        $crate::raw::call(|| {
            // SAFETY: the interpreter calls it on an instance of the class that it was
            // installed in, with the arguments of this call.
            let ($args, this) = unsafe {
                let args = $crate::raw::Args::new($self, $values, $count, $names);
                (args, $crate::raw::instance::<$class>(args.py(), $self))
            };
            let $this: &$class = this.get();
            match $short {
                Some(object) => pyo3::Bound::into_ptr(object),
                None => $crate::raw::slow(|py| $full(py, $this, &$args)),
            }
        })
    };
}
pub(crate) use raw_method;

/// Runs the body of a raw method: no panic leaves it.
#[inline]
pub(crate) fn call(body: impl FnOnce() -> Object) -> Object {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(panicked)
}

/// The part of a raw method that is not hot: attached in PyO3's sense too, errors raised.
#[cold]
pub(crate) fn slow(body: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) -> Object {
    Python::attach(|py| {
        crate::gil::enter(py);
        match body(py) {
            Ok(value) => value.into_ptr(),
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        }
    })
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> Object {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned());
    Python::attach(|py| PanicException::new_err((text,)).restore(py));
    ptr::null_mut()
}
