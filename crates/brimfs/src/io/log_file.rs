//! A file of the host that lines are appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// See the module's documentation. Every line is one call of the host and buffered nowhere, so nothing
/// is written twice after a fork and nothing is missing after a crash of the process.
#[derive(Debug)]
pub(crate) struct LogFile(File);

impl LogFile {
    /// Opens a file for appending; creates it, for its owner only, if it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map(LogFile)
    }

    /// Appends a line, which ends with its own line break.
    pub(crate) fn append(&self, line: &str) -> io::Result<()> {
        (&self.0).write_all(line.as_bytes())
    }
}
