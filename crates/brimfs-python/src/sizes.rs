//! Sizes, shares and durations as Python callers write them.
//!
//! A size is an `int` of bytes or text with a unit: `"512MiB"`, `"1.5GB"`.
//! Decimal and binary units are both known; a bare letter (`"5G"`) is refused
//! because it means one to some and the other to others.

use std::time::Duration;

use brimfs::face::policy::PRIORITY_MAX;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

const UNITS: [(&str, u64); 11] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
    ("b", 1),
];

/// A memory limit: so many bytes, or a share of what the machine gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Bytes(u64),
    Share(f64),
}

/// The size in bytes that `value` says, named `what` in errors.
pub(crate) fn size(value: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_str()?;
        return parse(text).ok_or_else(|| {
            PyValueError::new_err(format!(
                "{what}: {text:?} is not a size; write bytes or a number with a unit, \
                 such as \"512MiB\" or \"1.5GB\""
            ))
        });
    }
    if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!(
            "{what} should be int or str, not {}",
            value.get_type().name()?
        )));
    }
    count(value, what)
}

/// An `int` that is not negative and fits into 63 bits.
pub(crate) fn count(value: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!(
            "{what} should be int, not {}",
            value.get_type().name()?
        )));
    }
    let fits = value.extract::<u64>().ok();
    fits.filter(|count| i64::try_from(*count).is_ok())
        .ok_or_else(|| PyValueError::new_err(format!("{what} should be from 0 to 2**63 - 1")))
}

/// How much a file is worth keeping: an `int` from 0 to 10.
pub(crate) fn priority(value: &Bound<'_, PyAny>) -> PyResult<u8> {
    if value.is_instance_of::<PyBool>() || !value.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!(
            "priority should be int, not {}",
            value.get_type().name()?
        )));
    }
    let priority = value.extract::<u8>().ok();
    priority
        .filter(|priority| *priority <= PRIORITY_MAX)
        .ok_or_else(|| {
            PyValueError::new_err(format!("priority should be from 0 to {PRIORITY_MAX}"))
        })
}

/// A share from 0 to 1, named `what` in errors.
pub(crate) fn share(value: &Bound<'_, PyAny>, what: &str) -> PyResult<f64> {
    let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    if value.is_instance_of::<PyBool>() || !is_number {
        return Err(PyTypeError::new_err(format!(
            "{what} should be float, not {}",
            value.get_type().name()?
        )));
    }
    let share = value.extract::<f64>().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| PyValueError::new_err(format!("{what} should be a share from 0 to 1")))
}

/// A memory limit: as [`size`], or a `float` share in (0, 1].
pub(crate) fn limit(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Limit> {
    let Ok(share) = value.cast::<PyFloat>() else {
        return size(value, what).map(Limit::Bytes);
    };
    let share = share.value();
    if share > 0.0 && share <= 1.0 {
        Ok(Limit::Share(share))
    } else {
        Err(PyValueError::new_err(format!(
            "{what}: a share should be above 0 and at most 1, not {share}"
        )))
    }
}

/// Seconds to wait; `None` for ever.
pub(crate) fn timeout(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Option<Duration>> {
    if value.is_none() {
        return Ok(None);
    }
    let seconds: f64 = value.extract().map_err(|_| {
        let name = value
            .get_type()
            .name()
            .map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "{what} should be a number of seconds or None, not {name}"
        ))
    })?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!(
            "{what} should not be negative or NaN, but is {seconds}"
        )));
    }
    // What does not fit is longer than anybody waits.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits_only(part) || (part.is_empty() && number.contains('.')) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let part = fraction(part, factor)?;
    let bytes = whole.checked_add(part)?;
    i64::try_from(bytes).is_ok().then_some(bytes)
}

/// The bytes after the point, rounded down. A fraction of bytes without a unit is refused.
fn fraction(digits: &str, factor: u64) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    if factor == 1 {
        return None;
    }
    let digits = &digits[..digits.len().min(18)];
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let value = digits.parse::<u128>().ok()? * u128::from(factor) / scale;
    u64::try_from(value).ok()
}

/// `3.4 MiB`: three significant digits or so, for people.
pub(crate) fn human(bytes: u64) -> String {
    const NAMES: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < NAMES.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", NAMES[unit])
}
