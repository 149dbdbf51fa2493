//! The seam to a tree of host files that a filesystem mirrors.
//!
//! A path is the bytes of names joined by `/`, relative to the directory that was opened; the empty one is
//! that directory. Every component is resolved beneath it and no symbolic link is followed, so nothing leads outside,
//! whatever others put in the place of a directory meanwhile.

use std::fmt;
use std::io;

use crate::base::sync::Arc;
use crate::io::directory::Directory;

/// The directory beside the mirrored files, which is not mirrored.
pub const SIDE: &[u8] = b".brimfs";

/// A point in time as the host has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970, rounded down.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanos: u32,
}

/// What a name of the host leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, a device, a pipe: nothing that can be mirrored.
    Other,
}

/// What the host says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeStat {
    /// What it is.
    pub kind: TreeKind,
    /// The number of its inode.
    pub inode: u64,
    /// Names that lead to it.
    pub links: u64,
    /// Bytes of content.
    pub len: u64,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Last access.
    pub accessed: Moment,
    /// Last change of the content.
    pub modified: Moment,
    /// Last change of anything.
    pub changed: Moment,
}

/// What is set of a node, as far as the host permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// User and group. An unprivileged process may not give files away: that is no error.
    pub owner: (u32, u32),
    /// Last change of the content; left alone for directories.
    pub modified: Option<Moment>,
}

/// A name in a directory of the host.
#[derive(Clone, Debug)]
pub struct Listed {
    /// One component.
    pub name: Box<[u8]>,
    /// What it leads to.
    pub stat: TreeStat,
}

/// An open file of a [`Tree`].
pub trait TreeFile: Send + Sync + fmt::Debug {
    /// Reads from `offset` on, once; 0 at the end.
    ///
    /// # Errors
    /// Those of the operating system, `Interrupted` included.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `from` at `offset`.
    ///
    /// # Errors
    /// Those of the operating system.
    fn write_all_at(&self, offset: u64, from: &[u8]) -> io::Result<()>;

    /// Sets the length; what is new reads as zeros.
    ///
    /// # Errors
    /// Those of the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Sets attributes, as far as that is permitted.
    ///
    /// # Errors
    /// Those of the operating system.
    fn set_attributes(&self, attributes: &Attributes) -> io::Result<()>;

    /// Makes content and attributes durable.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync(&self) -> io::Result<()>;

    /// What the host says of the file now.
    ///
    /// # Errors
    /// Those of the operating system.
    fn stat(&self) -> io::Result<TreeStat>;
}

/// A tree of files, real or simulated. Names are durable after [`Tree::sync`] of their directory.
///
/// Every method fails with `InvalidInput` for a path with `.`, `..`, an empty or a long name, or NUL.
pub trait Tree: Send + Sync + fmt::Debug {
    /// Opens the directory for side data. `None` if it is not there and not to be created.
    ///
    /// # Errors
    /// Those of the operating system.
    fn side(&self, create: bool) -> io::Result<Option<Arc<dyn Directory>>>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` or another error of the operating system.
    fn list(&self, path: &[u8]) -> io::Result<Vec<Listed>>;

    /// What a path leads to. A symbolic link is not followed.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` or another error of the operating system.
    fn stat(&self, path: &[u8]) -> io::Result<TreeStat>;

    /// Opens a regular file for reading; anything else is `InvalidInput`.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` or another error of the operating system.
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>>;

    /// Creates a file of mode 0600 that was not there, open for writing.
    ///
    /// # Errors
    /// `AlreadyExists` or another error of the operating system.
    fn create(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>>;

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// `InvalidInput` if it is none, or another error of the operating system.
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>>;

    /// Creates a symbolic link that was not there.
    ///
    /// # Errors
    /// `AlreadyExists` or another error of the operating system.
    fn symlink(&self, target: &[u8], path: &[u8]) -> io::Result<()>;

    /// Gives a file or symbolic link one more name that was not there.
    ///
    /// # Errors
    /// `AlreadyExists`, or another error of the operating system, which may know no hard links.
    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()>;

    /// Gives a node another name, and replaces what had that one, as one step.
    ///
    /// # Errors
    /// `NotFound` or another error of the operating system.
    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()>;

    /// Removes a name that leads to no directory.
    ///
    /// # Errors
    /// `NotFound` or another error of the operating system.
    fn remove(&self, path: &[u8]) -> io::Result<()>;

    /// Creates a directory.
    ///
    /// # Errors
    /// `AlreadyExists` or another error of the operating system.
    fn make_directory(&self, path: &[u8], mode: u32) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `DirectoryNotEmpty` or another error of the operating system.
    fn remove_directory(&self, path: &[u8]) -> io::Result<()>;

    /// Sets attributes of a file or directory, as far as that is permitted.
    ///
    /// # Errors
    /// Those of the operating system.
    fn set_attributes(&self, path: &[u8], attributes: &Attributes) -> io::Result<()>;

    /// Makes the names of a directory durable.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync(&self, path: &[u8]) -> io::Result<()>;
}

/// The directory of a path and the name in it; nothing for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    })
}

/// The path of a name in a directory.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

/// Whether this is one plain component of a path.
pub fn is_plain_name(name: &[u8]) -> bool {
    (1..=255).contains(&name.len())
        && !matches!(name, b"." | b"..")
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Whether every component of a path is plain. The root has none.
pub fn is_plain_path(path: &[u8]) -> bool {
    path.is_empty() || path.split(|byte| *byte == b'/').all(is_plain_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_and_joined() {
        for (path, parts) in [
            (&b"a"[..], (&b""[..], &b"a"[..])),
            (b"a/b", (b"a", b"b")),
            (b"a/b/c", (b"a/b", b"c")),
        ] {
            assert_eq!(split(path), Some(parts));
            assert_eq!(join(parts.0, parts.1), path);
            assert!(is_plain_path(path));
        }
        assert_eq!(split(b""), None);
        for path in [
            &b"/"[..],
            b"/a",
            b"a/",
            b"a//b",
            b"..",
            b"a/../b",
            b".",
            b"a\0",
        ] {
            assert!(!is_plain_path(path), "{path:?}");
        }
    }
}
