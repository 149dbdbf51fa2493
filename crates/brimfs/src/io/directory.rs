//! The seam to a directory that a persistent store lives in.
//!
//! Files are named by one plain component, resolved beneath the directory that was opened, so nothing
//! leads outside, whatever is renamed or linked around it. What a crash may do to names, lengths and
//! bytes that were not made durable is drawn in docs/format.md.

use std::ffi::OsString;
use std::fmt;
use std::io;

use crate::base::fork;
use crate::io::disk::{DiskFile, Place};

/// The longest name of a file, in bytes.
pub const FILE_NAME_MAX: usize = 255;

/// What an existing file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Who else may hold the lock of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: for writing.
    Exclusive,
    /// Others that read too.
    Shared,
}

/// An open directory, real or simulated.
///
/// Every method refuses a name that is no plain component (`InvalidInput`). A directory that was
/// opened for reading refuses changes (`ReadOnlyFilesystem`), as a read-only medium does.
pub trait Directory: Send + Sync + fmt::Debug {
    /// Creates a file of length zero and mode 0600 that was not there, open for reading and writing.
    /// Its name is durable after [`Directory::sync`].
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull` or another error of the operating system.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there. A symbolic link is not followed, and a file that is not regular
    /// is refused (`InvalidInput`), one of another user too if it is to be written (`PermissionDenied`).
    ///
    /// # Errors
    /// `NotFound` or another error of the operating system.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// The names in the directory, in no order. O(names).
    ///
    /// # Errors
    /// Those of the operating system.
    fn list(&self) -> io::Result<Vec<OsString>>;

    /// Gives a file another name and replaces a file of that name, as one step. Durable after
    /// [`Directory::sync`].
    ///
    /// # Errors
    /// `NotFound` or another error of the operating system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Durable after [`Directory::sync`].
    ///
    /// # Errors
    /// `NotFound` or another error of the operating system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names that were created, renamed or removed durable. The contents of the files are the
    /// matter of [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// Those of the operating system. Changes of names since the last success may be lost then.
    fn sync(&self) -> io::Result<()>;

    /// Takes the lock of the directory, or fails at once. It is free when the process ends, however.
    ///
    /// # Errors
    /// See [`LockError`].
    fn lock(&self, sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError>;

    /// Looks at the medium.
    ///
    /// # Errors
    /// Those of the operating system.
    fn place(&self) -> io::Result<Place>;
}

/// The lock of a directory, free again when it is dropped.
pub trait DirectoryLock: Send + Sync + fmt::Debug {}

/// A process that holds the lock of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub process: u32,
    /// When it started, in seconds since 1970.
    pub started: i64,
}

impl Holder {
    /// Whether it is the process that asks.
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        self.process == fork::process()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.started.div_euclid(86_400));
        let second = self.started.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "process {}, which runs since {year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC",
            self.process
        )
    }
}

/// Year, month and day of a number of days since 1970. The year counts from March, so that leap
/// days come last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let year = year + era * 400 + i64::from(month >= 10);
    (year, (month + 2) % 12 + 1, day - (153 * month + 2) / 5 + 1)
}

/// Why the lock of a directory was not to be had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it; who, if he has written that down already.
    Held(Option<Holder>),
    /// The operating system reported an error.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held(Some(holder)) => write!(f, "in use by {holder}"),
            LockError::Held(None) => f.write_str("in use by another process"),
            LockError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        LockError::Io(error)
    }
}

/// Refuses what is not one plain component of a path.
///
/// # Errors
/// `InvalidInput` for an empty or long name, `.`, `..`, and names with `/`, `\` or NUL.
pub fn check_file_name(name: &str) -> io::Result<()> {
    let plain = (1..=FILE_NAME_MAX).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\\', '\0']);
    if plain {
        return Ok(());
    }
    let text = format!("{name:?} is not the name of a file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_components_are_names() {
        let long = "x".repeat(256);
        for name in ["", ".", "..", "a/b", "/a", "a\\b", "a\0", &long] {
            let error = check_file_name(name).expect_err(name);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        for name in ["a", "...", ".a", &long[1..]] {
            assert!(check_file_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_holder_names_the_time_in_words() {
        let text = |started| {
            Holder {
                process: 7,
                started,
            }
            .to_string()
        };
        for (started, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            let expected = format!("process 7, which runs since {date} UTC");
            assert_eq!(text(started), expected);
        }
    }
}
