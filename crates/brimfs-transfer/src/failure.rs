//! How what goes wrong inside a stream finds its way out.
//!
//! Decoders know `io::Error` only. What this crate raises below one travels in it as a [`Failure`] and is
//! unpacked at the top; what a decoder reports itself is a bad archive.

use std::fmt;
use std::io;

use brimfs::face::Fault;
use brimfs::{Error, ErrorKind};

/// An error of this crate inside an `io::Error`.
#[derive(Debug)]
struct Carried(Failure);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Carried {}

/// What ends a transfer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The filesystem said no, and names its path.
    Filesystem(Error),
    /// This crate says so, of an entry of the archive if one is known.
    Own {
        kind: ErrorKind,
        text: String,
        entry: Option<Vec<u8>>,
    },
    /// The host's operating system, or the caller's stream.
    Io(io::Error),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Failure::Own {
            kind,
            text: text.into(),
            entry: None,
        }
    }

    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadArchive, text)
    }

    pub(crate) fn unsafe_entry(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnsafeArchive, text)
    }

    pub(crate) fn limit(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::ArchiveLimit, text)
    }

    /// Names the entry at which it happened.
    pub(crate) fn of(mut self, name: &[u8]) -> Self {
        if let Failure::Own { entry, .. } = &mut self {
            entry.get_or_insert_with(|| name.to_vec());
        }
        self
    }

    /// What a decoder said: an error that came from below it, or that the bytes are damaged.
    pub(crate) fn from_decoder(error: io::Error) -> Self {
        match Self::unpack(error) {
            Ok(failure) => failure,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::bad("it ends in the middle")
            }
            Err(error) => Self::bad(error.to_string()),
        }
    }

    /// What the host said, or what travelled in its error.
    pub(crate) fn from_host(error: io::Error) -> Self {
        Self::unpack(error).unwrap_or_else(Failure::Io)
    }

    fn unpack(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Carried>().map(|carried| carried.0)
    }

    /// As an `io::Error`, to pass through a decoder.
    pub(crate) fn carried(self) -> io::Error {
        io::Error::other(Carried(self))
    }

    /// The error of the public call. `path` is what it was about as a whole.
    pub(crate) fn at(self, op: &'static str, path: &[u8]) -> Error {
        match self {
            Failure::Filesystem(error) => error,
            Failure::Own { kind, text, entry } => {
                let text = match entry {
                    Some(entry) => format!("{:?}: {text}", String::from_utf8_lossy(&entry)),
                    None => text,
                };
                Fault::text(kind, text).at(op, path)
            }
            Failure::Io(error) => match error.downcast::<Error>() {
                Ok(error) => error,
                Err(error) => host_fault(error).at(op, path),
            },
        }
    }
}

/// What the host says, as the kind that a filesystem would say it with.
fn host_fault(error: io::Error) -> Fault {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::NotADirectory => ErrorKind::NotADirectory,
        io::ErrorKind::IsADirectory => ErrorKind::IsADirectory,
        io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
        _ => return Fault::disk(error),
    };
    Fault::text(kind, error.to_string())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Filesystem(error)
    }
}
