//! Lines of a binary handle.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::{File, State};
use crate::errors;

/// First look at a line, in bytes: most lines are shorter.
const FIRST_LOOK: usize = 256;
/// Looks grow up to this size, in bytes.
const LOOK_MAX: usize = 16 * 1024;

/// The next line in `state`, at most `limit` bytes of it, with its end if there is one.
fn next_line(state: &mut State, limit: usize) -> Result<Line, brimfs::Error> {
    // Sessions for reading are only given on open handles.
    let Some(core) = &state.core else {
        return Ok(Line::Long(Vec::new()));
    };
    let mut look = [0; FIRST_LOOK];
    let wanted = limit.min(FIRST_LOOK);
    let found = core.read_at(state.position, &mut look[..wanted])?;
    if let Some(len) =
        line_end(&look[..found]).or((found < wanted || wanted == limit).then_some(found))
    {
        state.position += len as u64;
        return Ok(Line::Short(look, len));
    }
    let mut line = look[..found].to_vec();
    while line.len() < limit {
        let start = line.len();
        let wanted = start.min(LOOK_MAX).min(limit - start);
        line.resize(start + wanted, 0);
        let found = core.read_at(state.position + start as u64, &mut line[start..])?;
        let end = line_end(&line[start..start + found]);
        line.truncate(start + end.unwrap_or(found));
        if end.is_some() || found < wanted {
            break;
        }
    }
    state.position += line.len() as u64;
    Ok(Line::Long(line))
}

#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack, and the large one is common"
)]
enum Line {
    Short([u8; FIRST_LOOK], usize),
    Long(Vec<u8>),
}

impl Line {
    fn bytes(&self) -> &[u8] {
        match self {
            Line::Short(bytes, len) => &bytes[..*len],
            Line::Long(bytes) => bytes,
        }
    }
}

/// The length of the line that `bytes` begins with, its end included.
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes).map(|end| end + 1)
}

impl File {
    /// The next line, empty at the end of the file.
    pub(super) fn line<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
        let line = next_line(self.reading(py)?.state(), limit)
            .map_err(|error| errors::raise_named(py, &error, &self.name))?;
        Ok(PyBytes::new(py, line.bytes()))
    }

    /// Lines until there are no more, or until they have `hint` bytes in sum.
    pub(super) fn lines<'py>(&self, py: Python<'py>, hint: usize) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < hint {
            let line = self.line(py, usize::MAX)?;
            if line.as_bytes().is_empty() {
                break;
            }
            total += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }
}
