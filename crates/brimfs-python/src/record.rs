//! Classes that say what was found or done: attributes that never change.

/// Gives a class a getter for every field of a list, and `_asdict`.
///
/// The names between the bars stand for the object and the interpreter in the values.
macro_rules! record {
    ($class:ident, |$this:ident, $py:ident| { $($(#[$doc:meta])* $field:ident: $type:ty = $value:expr,)* }) => {
        #[pyo3::pymethods]
        impl $class {
            $(
                $(#[$doc])*
                #[getter]
                fn $field(&self, $py: pyo3::Python<'_>) -> $type {
                    let ($this, _) = (self, $py);
                    $value
                }
            )*

            /// The fields as a dict.
            fn _asdict<'py>(
                &self,
                py: pyo3::Python<'py>,
            ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::types::PyDict>> {
                use pyo3::types::PyDictMethods;
                let dict = pyo3::types::PyDict::new(py);
                $(dict.set_item(stringify!($field), self.$field(py))?;)*
                Ok(dict)
            }
        }
    };
}
pub(crate) use record;
