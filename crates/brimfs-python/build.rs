//! Makes the interpreter's configuration (`Py_GIL_DISABLED`) visible to this crate.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
