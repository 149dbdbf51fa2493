//! One error type for the whole crate, and the table from kinds to errno.
//!
//! The lower layers know no paths: they answer with a [`Fault`], which is two
//! words and allocates nothing on the paths that are taken often (a lock that
//! would block). The facade turns it into an [`Error`] that names the
//! operation and the path.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// Result of every fallible public call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $errno:ident, $text:literal;)*) => {
        /// What went wrong. Every kind has one errno, see [`ErrorKind::errno`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $name,)*
        }

        impl ErrorKind {
            /// Every kind, for tables and tests.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name,)*];

            /// The operating system's number for this kind of error (Linux values on Linux).
            #[must_use]
            pub const fn errno(self) -> i32 {
                match self { $(ErrorKind::$name => libc::$errno,)* }
            }

            const fn text(self) -> &'static str {
                match self { $(ErrorKind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// No entry of that name.
    NotFound => ENOENT, "no such file or directory";
    /// The name is taken.
    AlreadyExists => EEXIST, "already exists";
    /// A component of the path, or the path itself, is not a directory.
    NotADirectory => ENOTDIR, "not a directory";
    /// The operation needs a file and found a directory.
    IsADirectory => EISDIR, "is a directory";
    /// The directory still has entries.
    DirectoryNotEmpty => ENOTEMPTY, "directory not empty";
    /// An argument that no state of the filesystem could make right.
    InvalidArgument => EINVAL, "invalid argument";
    /// The path is empty.
    EmptyPath => ENOENT, "the path is empty";
    /// The path contains a NUL byte.
    NulInPath => EINVAL, "the path contains a NUL byte";
    /// `..` would leave the root.
    PathEscapes => EINVAL, "the path leads above the root";
    /// A component is longer than 255 bytes.
    NameTooLong => ENAMETOOLONG, "a name is longer than 255 bytes";
    /// More than 40 symbolic links on the way.
    TooManySymlinks => ELOOP, "too many levels of symbolic links";
    /// More hard links than an inode can count.
    TooManyLinks => EMLINK, "too many links";
    /// The root cannot be removed, renamed or replaced.
    RootIsBusy => EBUSY, "the root cannot be removed or renamed";
    /// A file larger than 2^63 - 1 bytes.
    FileTooLarge => EFBIG, "file too large";
    /// The quota has no room for the bytes.
    QuotaExceeded => ENOSPC, "quota exceeded";
    /// The filesystem holds as many nodes as it may.
    NodeLimit => ENOSPC, "node limit reached";
    /// The disk limit has no room, dead space of the cold tier included.
    DiskLimit => ENOSPC, "disk limit reached";
    /// The disk, or the user's quota on it, is full.
    DiskFull => ENOSPC, "the disk is full";
    /// The memory limit has no room.
    MemoryLimit => ENOMEM, "memory limit reached";
    /// The machine itself is short of memory, as the memory guard sees it.
    MemoryGuard => ENOMEM, "the machine is short of memory";
    /// The operating system gave no memory.
    OutOfMemory => ENOMEM, "out of memory";
    /// The file lock was not free and the call was not to wait.
    WouldBlock => EAGAIN, "would block";
    /// The file lock did not become free in time.
    LockTimeout => ETIMEDOUT, "timed out waiting for the file lock";
    /// Waiting without a limit for a lock that the waiting thread holds itself.
    Deadlock => EDEADLK, "the waiting thread holds the file itself";
    /// A signal handler ended the wait.
    Interrupted => EINTR, "interrupted";
    /// The handle was not opened for this direction.
    BadHandle => EBADF, "the handle was not opened for that";
    /// The filesystem or the handle is closed.
    Closed => EBADF, "closed";
    /// A call in a forked child on a filesystem of its parent.
    Forked => ENXIO, "a forked child cannot use the filesystem of its parent";
    /// The file is open, and the caller asked to refuse in that case.
    FileInUse => EBUSY, "the file is open";
    /// The kind of node does not allow it: a second name for a directory.
    NotPermitted => EPERM, "not permitted";
    /// The filesystem was opened for reading only, or lies on a medium that is.
    ReadOnly => EROFS, "read-only filesystem";
    /// Another process, or this one, has the store open.
    StoreInUse => EBUSY, "the store is in use";
    /// No such extended attribute.
    NoAttribute => ENODATA, "no such attribute";
    /// The value does not fit where the caller wants it.
    OutOfRange => ERANGE, "value out of range";
    /// Not offered for this kind of node.
    Unsupported => EOPNOTSUPP, "not supported";
    /// The bytes do not decode as the caller asked.
    InvalidData => EILSEQ, "invalid data";
    /// Bytes came back from a disk that are not those that were written.
    Corrupt => EIO, "the stored data is damaged";
    /// Somebody else changed, replaced or removed a file of the host that a filesystem mirrors.
    ExternalChange => ESTALE, "somebody else changed the file on the host";
    /// An archive is truncated, damaged, or contradicts itself.
    BadArchive => EBADMSG, "bad archive";
    /// An archive holds a name or a node that must not be extracted: one that leads out, a link, a device.
    UnsafeArchive => EPERM, "unsafe archive";
    /// An archive holds more than the caller allows: entries, bytes, depth, or bytes for each byte packed.
    ArchiveLimit => EOVERFLOW, "archive limit exceeded";
    /// Somebody else changed what a transaction changes, after it began.
    Conflict => ESTALE, "somebody else changed it since the transaction began";
    /// Whoever was told of the progress ended the call.
    Cancelled => ECANCELED, "cancelled";
    /// The host's operating system reported an error.
    Io => EIO, "input/output error";
}

/// The numbers behind a limit that was hit, in the limit's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitInfo {
    /// What the call asked for in addition.
    pub requested: u64,
    /// What was in use.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

impl LimitInfo {
    /// What was still free.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

#[derive(Debug)]
enum Detail {
    None,
    Limit(LimitInfo),
    Text(Box<str>),
    Source(Box<dyn StdError + Send + Sync>),
    /// Content that would have to come back from a cold tier first: the number of the unit.
    Miss(u64),
}

/// An error without a path, as the lower layers report it.
#[derive(Debug)]
pub struct Fault {
    kind: ErrorKind,
    detail: Detail,
}

impl Fault {
    /// The numbers of a limit that was hit.
    #[cold]
    pub fn limit(kind: ErrorKind, info: LimitInfo) -> Self {
        Fault {
            kind,
            detail: Detail::Limit(info),
        }
    }

    /// A kind with a sentence that says more.
    #[cold]
    pub fn text(kind: ErrorKind, text: impl Into<Box<str>>) -> Self {
        Fault {
            kind,
            detail: Detail::Text(text.into()),
        }
    }

    /// An error of the disk: full ([`ErrorKind::DiskFull`]) or failing ([`ErrorKind::Io`]).
    #[cold]
    pub fn disk(error: io::Error) -> Self {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        Fault {
            kind: if full {
                ErrorKind::DiskFull
            } else {
                ErrorKind::Io
            },
            detail: Detail::Source(Box::new(error)),
        }
    }

    /// Unit number `index` of the file at hand is cold, and was needed.
    #[cold]
    pub(crate) fn miss(index: u64) -> Self {
        Fault {
            kind: ErrorKind::WouldBlock,
            detail: Detail::Miss(index),
        }
    }

    /// The number of the unit that was cold, if that is what went wrong.
    pub(crate) fn missing(&self) -> Option<u64> {
        match self.detail {
            Detail::Miss(index) => Some(index),
            _ => None,
        }
    }

    /// What was asked for of the memory limit, if that is what went wrong.
    pub(crate) fn short_of_memory(&self) -> Option<u64> {
        match self.detail {
            Detail::Limit(info) if self.kind == ErrorKind::MemoryLimit => Some(info.requested),
            _ => None,
        }
    }

    /// What went wrong.
    #[inline]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is known beside the kind, for the text of a later error.
    #[cold]
    pub(crate) fn says(&self) -> String {
        match &self.detail {
            Detail::Text(text) => text.to_string(),
            Detail::Source(source) => source.to_string(),
            _ => self.kind.text().to_owned(),
        }
    }

    /// Names the operation and the path.
    #[cold]
    pub fn at(self, op: &'static str, path: &[u8]) -> Error {
        Error(Box::new(Inner {
            fault: self,
            op,
            path: Some(path.into()),
            other: None,
        }))
    }

    /// Names the operation and both paths of an operation that has two.
    #[cold]
    pub fn between(self, op: &'static str, path: &[u8], other: &[u8]) -> Error {
        Error(Box::new(Inner {
            fault: self,
            op,
            path: Some(path.into()),
            other: Some(other.into()),
        }))
    }

    /// Names the operation, where no path is known.
    #[cold]
    pub fn during(self, op: &'static str) -> Error {
        Error(Box::new(Inner {
            fault: self,
            op,
            path: None,
            other: None,
        }))
    }
}

impl From<ErrorKind> for Fault {
    #[inline]
    fn from(kind: ErrorKind) -> Self {
        Fault {
            kind,
            detail: Detail::None,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault {
            kind: ErrorKind::Io,
            detail: Detail::Source(Box::new(error)),
        }
    }
}

#[derive(Debug)]
struct Inner {
    fault: Fault,
    op: &'static str,
    path: Option<Box<[u8]>>,
    other: Option<Box<[u8]>>,
}

/// An error of a public call: what went wrong, in which operation, with which path.
///
/// ```
/// let fs = brimfs::FileSystem::new()?;
/// let error = fs.read("/missing").unwrap_err();
/// assert_eq!(error.kind(), brimfs::ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "read \"/missing\": no such file or directory");
/// # Ok::<(), brimfs::Error>(())
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

impl Error {
    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.fault.kind
    }

    /// The operating system's number for the error.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.kind().errno()
    }

    /// The operation that failed, in the words of this crate's methods.
    #[must_use]
    pub fn op(&self) -> &'static str {
        self.0.op
    }

    /// The path as the caller wrote it.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.0.path.as_deref()
    }

    /// The second path of an operation that has two.
    #[must_use]
    pub fn other_path(&self) -> Option<&[u8]> {
        self.0.other.as_deref()
    }

    /// The numbers of the limit, if a limit was hit.
    #[must_use]
    pub fn limit(&self) -> Option<LimitInfo> {
        match self.0.fault.detail {
            Detail::Limit(info) => Some(info),
            _ => None,
        }
    }

    /// What the message says after the operation and the paths.
    #[must_use]
    pub fn reason(&self) -> String {
        let kind = self.kind().text();
        match &self.0.fault.detail {
            Detail::None => kind.to_owned(),
            // It says what is missing.
            Detail::Text(text) if self.kind() == ErrorKind::NotFound => text.to_string(),
            Detail::Text(text) => format!("{kind}: {text}"),
            Detail::Source(source) => format!("{kind}: {source}"),
            Detail::Miss(_) => format!("{kind}: the content is in the cold tier"),
            Detail::Limit(info) if info.requested == 0 => format!(
                "{kind}: {} in use, which is more than {}",
                info.used, info.limit
            ),
            Detail::Limit(info) => format!(
                "{kind}: {} more needed, {} of {} in use, {} free",
                info.requested,
                info.used,
                info.limit,
                info.available()
            ),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op)?;
        if let Some(path) = &self.0.path {
            write!(f, " {:?}", String::from_utf8_lossy(path))?;
        }
        if let Some(other) = &self.0.other {
            write!(f, " to {:?}", String::from_utf8_lossy(other))?;
        }
        write!(f, ": {}", self.reason())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.fault.detail {
            Detail::Source(source) => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = io::Error::from_raw_os_error(error.errno()).kind();
        io::Error::new(kind, error)
    }
}
