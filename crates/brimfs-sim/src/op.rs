//! The operations a workload is made of, and what an operation answers.
//!
//! Pure data: an [`Op`] says what to do, never how. The model and the drivers
//! give it its meaning.

use std::fmt;

/// How many open handles a workload can hold at a time.
pub const SLOTS: usize = 4;

/// A path, a name or a target: bytes that print readably.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raw(pub Vec<u8>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 60 {
            let head = self.0[..20].escape_ascii();
            return write!(f, "\"{head}…\" ({} bytes)", self.0.len());
        }
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Raw(text.as_bytes().to_vec())
    }
}

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes to write, by recipe: a failing sequence prints short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    pub seed: u8,
    pub len: u32,
}

impl Data {
    /// The bytes. Shifts by one block or chunk are visible: the period is a prime.
    pub fn bytes(self) -> Vec<u8> {
        let tile: Vec<u8> = (0..251u8)
            .map(|i| i.wrapping_mul(7).wrapping_add(self.seed))
            .collect();
        let len = self.len as usize;
        let mut bytes = Vec::with_capacity(len + tile.len());
        while bytes.len() < len {
            bytes.extend_from_slice(&tile);
        }
        bytes.truncate(len);
        bytes
    }
}

/// The options of an open call, as in `OpenOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenHow {
    pub read: bool,
    pub write: bool,
    pub append: bool,
    pub truncate: bool,
    pub create: bool,
    pub create_new: bool,
    pub no_follow: bool,
    pub mode: u32,
}

/// Where a seek starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    Start(u64),
    Current(i64),
    End(i64),
}

/// What a rename does to an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameHow {
    Replace,
    NoReplace,
    Exchange,
}

/// Whether an extended attribute may or must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrHow {
    Set,
    Create,
    Replace,
}

/// One call.
#[derive(Clone, Debug)]
pub enum Op {
    Mkdir {
        path: Raw,
        mode: u32,
    },
    MkdirAll {
        path: Raw,
    },
    Rmdir {
        path: Raw,
    },
    Unlink {
        path: Raw,
    },
    RmTree {
        path: Raw,
    },
    Rename {
        from: Raw,
        to: Raw,
        how: RenameHow,
    },
    Copy {
        from: Raw,
        to: Raw,
    },
    CopyTree {
        from: Raw,
        to: Raw,
    },
    Symlink {
        target: Raw,
        link: Raw,
    },
    ReadLink {
        path: Raw,
    },
    Link {
        existing: Raw,
        new: Raw,
    },
    Canonicalize {
        path: Raw,
    },
    Chmod {
        path: Raw,
        mode: u32,
    },
    Chown {
        path: Raw,
        uid: Option<u32>,
        gid: Option<u32>,
        follow: bool,
    },
    SetTimes {
        path: Raw,
        modified: i64,
        follow: bool,
    },
    SetXattr {
        path: Raw,
        name: Raw,
        value: Data,
        how: XattrHow,
    },
    GetXattr {
        path: Raw,
        name: Raw,
    },
    ListXattrs {
        path: Raw,
    },
    RemoveXattr {
        path: Raw,
        name: Raw,
    },
    ListDir {
        path: Raw,
    },
    Walk {
        path: Raw,
    },
    Glob {
        pattern: Raw,
    },
    Stat {
        path: Raw,
    },
    Lstat {
        path: Raw,
    },
    Exists {
        path: Raw,
    },
    Touch {
        path: Raw,
    },
    ReadAll {
        path: Raw,
    },
    WriteAll {
        path: Raw,
        data: Data,
        adopt: bool,
    },
    Append {
        path: Raw,
        data: Data,
    },
    Truncate {
        path: Raw,
        len: u64,
    },
    Open {
        slot: usize,
        path: Raw,
        how: OpenHow,
    },
    Close {
        slot: usize,
    },
    Read {
        slot: usize,
        len: u32,
    },
    Write {
        slot: usize,
        data: Data,
    },
    Seek {
        slot: usize,
        to: Whence,
    },
    ReadAt {
        slot: usize,
        at: u64,
        len: u32,
    },
    WriteAt {
        slot: usize,
        at: u64,
        data: Data,
    },
    SetLen {
        slot: usize,
        len: u64,
    },
    Allocate {
        slot: usize,
        at: u64,
        len: u64,
    },
    PunchHole {
        slot: usize,
        at: u64,
        len: u64,
    },
    SeekData {
        slot: usize,
        at: u64,
    },
    SeekHole {
        slot: usize,
        at: u64,
    },
    HandleStat {
        slot: usize,
    },
    View {
        slot: usize,
        path: Raw,
    },
    ReadView {
        slot: usize,
    },
    DropView {
        slot: usize,
    },
    /// No call: compares every path, every byte and every counter.
    CheckAll,
}

impl Op {
    /// The paths, patterns and targets that the call is given.
    pub fn paths(&self) -> Vec<&Raw> {
        match self {
            Op::Rename { from, to, .. } | Op::Copy { from, to } | Op::CopyTree { from, to } => {
                vec![from, to]
            }
            Op::Symlink { target, link } => vec![target, link],
            Op::Link { existing, new } => vec![existing, new],
            Op::Glob { pattern } => vec![pattern],
            Op::Mkdir { path, .. }
            | Op::MkdirAll { path }
            | Op::Rmdir { path }
            | Op::Unlink { path }
            | Op::RmTree { path }
            | Op::ReadLink { path }
            | Op::Canonicalize { path }
            | Op::Chmod { path, .. }
            | Op::Chown { path, .. }
            | Op::SetTimes { path, .. }
            | Op::SetXattr { path, .. }
            | Op::GetXattr { path, .. }
            | Op::ListXattrs { path }
            | Op::RemoveXattr { path, .. }
            | Op::ListDir { path }
            | Op::Walk { path }
            | Op::Stat { path }
            | Op::Lstat { path }
            | Op::Exists { path }
            | Op::Touch { path }
            | Op::ReadAll { path }
            | Op::WriteAll { path, .. }
            | Op::Append { path, .. }
            | Op::Truncate { path, .. }
            | Op::Open { path, .. }
            | Op::View { path, .. } => vec![path],
            _ => Vec::new(),
        }
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    File,
    Dir,
    Link,
}

/// What is known of a modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Set by the workload, in whole seconds below [`OLDEST_CLOCK`], and not changed since.
    Set(i64),
    /// Given by the system's clock.
    Moved,
    /// Systems differ and no promise is made.
    Any,
}

/// A clock that shows less is wrong; a time below it was set by a workload.
pub const OLDEST_CLOCK: i64 = 1_700_000_000;

impl Stamp {
    /// Tells a time that a workload set from one that a clock gave.
    pub fn from_seconds(seconds: i64) -> Self {
        if seconds < OLDEST_CLOCK {
            Stamp::Set(seconds)
        } else {
            Stamp::Moved
        }
    }
}

/// What stat and lstat answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    /// Bytes of a file or a link's target; 0 for a directory, where systems differ.
    pub len: u64,
    /// Identity: equal numbers are the same inode. Compared by pairing, not by value.
    pub ino: u64,
    pub modified: Stamp,
}

/// The numbers that the model predicts and brimfs shows after every operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Charged content in bytes.
    pub quota_used: u64,
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Open handles.
    pub open_handles: u64,
    /// Views.
    pub views: u64,
}

/// The result of an operation that succeeded.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Flag(bool),
    Number(u64),
    Offset(Option<u64>),
    Bytes(Vec<u8>),
    /// Names or paths, in the order the system gives them.
    Names(Vec<Raw>),
    /// A tree, parents first.
    Tree(Vec<(Raw, Kind)>),
    Stat(Stat),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => f.write_str("done"),
            Outcome::Flag(flag) => write!(f, "{flag}"),
            Outcome::Number(number) => write!(f, "{number}"),
            Outcome::Offset(offset) => write!(f, "offset {offset:?}"),
            Outcome::Bytes(bytes) => {
                let head = bytes[..bytes.len().min(24)].escape_ascii();
                write!(f, "{} bytes \"{head}\"", bytes.len())
            }
            Outcome::Names(names) => write!(f, "{names:?}"),
            Outcome::Tree(tree) => write!(f, "{tree:?}"),
            Outcome::Stat(stat) => write!(f, "{stat:?}"),
        }
    }
}

/// An operation that failed: the number counts, the text is for the reader.
#[derive(Clone)]
pub struct Failure {
    pub errno: i32,
    pub text: String,
}

impl From<i32> for Failure {
    fn from(errno: i32) -> Self {
        Failure {
            errno,
            text: String::new(),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = std::io::Error::from_raw_os_error(self.errno);
        write!(f, "{name} {}", self.text)
    }
}

/// What every system answers to every operation.
pub type Answer = Result<Outcome, Failure>;

/// Something operations can be applied to.
pub trait System {
    /// A word for reports.
    fn name(&self) -> &'static str;
    /// Does it and says what came of it. `None`: this system has no such operation.
    fn apply(&mut self, op: &Op) -> Option<Answer>;
    /// Whether directories are listed in the order in which entries were made.
    fn keeps_order(&self) -> bool {
        false
    }
    /// Whether threads of its own may keep what was removed for a moment, so that counters and audits are right
    /// a little later only.
    fn is_lazy(&self) -> bool {
        false
    }
    /// The counters, if the system has any.
    fn counters(&self) -> Option<Counters> {
        None
    }
    /// Compares what the system holds with its own counters, when all of it has a path.
    fn audit(&self) -> Result<(), String> {
        Ok(())
    }
    /// Called when everything was removed: what is held now must be what an empty system holds.
    fn check_empty(&self) -> Result<(), String> {
        Ok(())
    }
}
