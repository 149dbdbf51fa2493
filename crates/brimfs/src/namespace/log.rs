//! What was done to a filesystem: the last operations in memory, all of them in a file if asked for.
//!
//! Off unless asked for, and then one look at an empty place per call.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::error::{Error, ErrorKind, Fault};
use crate::base::fork;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::io::log_file::LogFile;
use crate::namespace::times::Timestamp;
use crate::namespace::volume::Volume;

/// One operation of the log; see [`Builder::operation_log`](crate::Builder::operation_log).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// When it began, to the tick of the coarse clock (4 ms).
    pub at: Timestamp,
    /// What it was, in the words of error messages: `read`, `write`, `rename`.
    pub op: &'static str,
    /// The path as the caller wrote it, or that of the handle; none for operations on all.
    pub path: Option<Vec<u8>>,
    /// The second path of an operation that has two.
    pub other: Option<Vec<u8>>,
    /// Content that was read, written, viewed or copied, in bytes.
    pub bytes: u64,
    /// How long it took, waiting included.
    pub duration: Duration,
    /// What went wrong; `None` for success.
    pub error: Option<ErrorKind>,
}

impl LogEntry {
    /// A line of JSON with a line break: `time` in seconds since 1970, `op`, `path`, `other`, `bytes`,
    /// `micros` and `error`. What of a path is no UTF-8 is replaced.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut line = String::with_capacity(160);
        // Writing to a string cannot fail.
        let _ = self.write_json(&mut line);
        line
    }

    fn write_json(&self, to: &mut String) -> fmt::Result {
        let micros = self.at.as_nanos() / 1000;
        write!(
            to,
            "{{\"time\":{}.{:06},\"op\":",
            micros.div_euclid(1_000_000),
            micros.rem_euclid(1_000_000)
        )?;
        write_text(to, self.op)?;
        for (name, path) in [("path", &self.path), ("other", &self.other)] {
            if let Some(path) = path {
                write!(to, ",\"{name}\":")?;
                write_text(to, &String::from_utf8_lossy(path))?;
            }
        }
        let micros = self.duration.as_nanos() as f64 / 1e3;
        write!(to, ",\"bytes\":{},\"micros\":{micros:.1}", self.bytes)?;
        if let Some(error) = self.error {
            write!(to, ",\"error\":\"{error:?}\"")?;
        }
        to.write_str("}\n")
    }
}

fn write_text(to: &mut String, text: &str) -> fmt::Result {
    to.write_char('"')?;
    for symbol in text.chars() {
        match symbol {
            '"' | '\\' => write!(to, "\\{symbol}")?,
            symbol if symbol < ' ' => write!(to, "\\u{:04x}", symbol as u32)?,
            symbol => to.write_char(symbol)?,
        }
    }
    to.write_char('"')
}

/// What to log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogSettings {
    /// How many operations to keep in memory.
    pub(crate) entries: usize,
    pub(crate) file: Option<PathBuf>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Log {
    kept: usize,
    entries: Mutex<VecDeque<LogEntry>>,
    file: Option<LogFile>,
    /// Lines that the host did not take.
    lost: AtomicU64,
    /// The process that it belongs to.
    born: u32,
}

/// Names an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) op: &'static str,
    pub(crate) path: Option<&'a [u8]>,
    pub(crate) other: Option<&'a [u8]>,
}

impl<'a> Call<'a> {
    pub(crate) fn on(op: &'static str, path: &'a [u8]) -> Self {
        Call {
            op,
            path: Some(path),
            other: None,
        }
    }
}

/// What is worth a word about an error.
pub(crate) trait Failure {
    fn kind(&self) -> ErrorKind;
}

impl Failure for Fault {
    fn kind(&self) -> ErrorKind {
        Fault::kind(self)
    }
}

impl Failure for Error {
    fn kind(&self) -> ErrorKind {
        Error::kind(self)
    }
}

impl Log {
    /// # Errors
    /// The host does not let the file be written.
    pub(crate) fn new(settings: &LogSettings) -> Result<Self, Fault> {
        let file = settings.file.as_deref().map(LogFile::open).transpose();
        Ok(Log {
            kept: settings.entries,
            entries: Mutex::default(),
            file: file.map_err(Fault::disk)?,
            lost: AtomicU64::new(0),
            born: fork::generation(),
        })
    }

    pub(crate) fn entries(&self) -> Vec<LogEntry> {
        // In a forked child the lock may be held for ever.
        if self.born != fork::generation() {
            return Vec::new();
        }
        self.entries.lock().iter().cloned().collect()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn add(&self, entry: LogEntry) {
        if self.born != fork::generation() {
            return;
        }
        if let Some(file) = &self.file
            && file.append(&entry.to_json()).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        if self.kept == 0 {
            return;
        }
        let mut entries = self.entries.lock();
        let oldest = match entries.len() == self.kept {
            true => entries.pop_front(),
            false => None,
        };
        entries.push_back(entry);
        drop(entries);
        drop(oldest);
    }
}

/// An operation that the log waits for.
struct Begun {
    wall: i64,
    at: Instant,
}

impl Begun {
    #[cold]
    fn now() -> Self {
        Begun {
            wall: clock::wall_nanos(),
            at: Instant::now(),
        }
    }

    #[cold]
    fn end(self, log: &Log, call: Call<'_>, bytes: u64, error: Option<ErrorKind>) {
        log.add(LogEntry {
            at: Timestamp::from_nanos(self.wall),
            op: call.op,
            path: call.path.map(<[u8]>::to_vec),
            other: call.other.map(<[u8]>::to_vec),
            bytes,
            duration: self.at.elapsed(),
            error,
        });
    }
}

impl Volume {
    /// Runs an operation and puts it into the log, if there is one; `measure` says what it moved.
    #[inline(always)]
    pub(crate) fn logged<R, E: Failure>(
        &self,
        call: Call<'_>,
        measure: impl FnOnce(&R) -> u64,
        body: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        let begun = self.log.get().map(|log| (log, Begun::now()));
        let result = body();
        if let Some((log, begun)) = begun {
            let (bytes, error) = match &result {
                Ok(done) => (measure(done), None),
                Err(error) => (0, Some(error.kind())),
            };
            begun.end(log, call, bytes, error);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_path() {
        let mut entry = LogEntry {
            at: Timestamp {
                seconds: 12,
                nanos: 3_456_789,
            },
            op: "rename",
            path: Some(b"/a\"\\\n\xff".to_vec()),
            other: Some("/\u{e9}".into()),
            bytes: 7,
            duration: Duration::from_nanos(1_500),
            error: Some(ErrorKind::NotFound),
        };
        let line = "{\"time\":12.003456,\"op\":\"rename\",\"path\":\"/a\\\"\\\\\\u000a\u{fffd}\",\
                    \"other\":\"/\u{e9}\",\"bytes\":7,\"micros\":1.5,\"error\":\"NotFound\"}\n";
        assert_eq!(entry.to_json(), line);
        (entry.path, entry.other, entry.error) = (None, None, None);
        let line = "{\"time\":12.003456,\"op\":\"rename\",\"bytes\":7,\"micros\":1.5}\n";
        assert_eq!(entry.to_json(), line);
    }
}
