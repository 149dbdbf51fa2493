//! Going through directories and trees without recursion and without long locks.

use std::ops::ControlFlow;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::namespace::inode::{FileType, Inode};
use crate::namespace::meta::Metadata;
use crate::namespace::path;

/// Names that are copied out of a directory under one lock.
const BATCH: usize = 128;

/// A place in a directory's listing, in the order of creation.
///
/// Names that are there from start to end come exactly once, whatever is
/// created or removed meanwhile.
#[derive(Debug)]
pub(crate) struct Cursor {
    directory: Arc<Inode>,
    serial: u32,
    batch: std::vec::IntoIter<(Box<[u8]>, Arc<Inode>)>,
    done: bool,
}

impl Cursor {
    pub(crate) fn new(directory: Arc<Inode>) -> Result<Self, Fault> {
        if !directory.is_directory() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(Cursor {
            directory,
            serial: 0,
            batch: Vec::new().into_iter(),
            done: false,
        })
    }

    fn refill(&mut self) {
        let state = self.directory.read();
        let mut batch = Vec::new();
        if let Some(map) = state.directory() {
            for (name, node, next) in map.iter_from(self.serial).take(BATCH) {
                batch.push((Box::from(name), node.clone()));
                self.serial = next;
            }
        }
        self.done = batch.len() < BATCH;
        self.batch = batch.into_iter();
    }
}

impl Iterator for Cursor {
    type Item = (Box<[u8]>, Arc<Inode>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.batch.next() {
                return Some(entry);
            }
            if self.done {
                return None;
            }
            self.refill();
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    name: Box<[u8]>,
    node: Arc<Inode>,
}

impl DirEntry {
    /// The name, without the directory.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The name as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn name_lossy(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// File, directory or symbolic link (links are not followed).
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.node.kind()
    }

    /// The inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.node.number()
    }

    /// What is known about the node now; of a link, about the link itself.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        self.node.metadata()
    }
}

/// The names of a directory, in the order of their creation. See [`crate::FileSystem::read_dir`].
#[derive(Debug)]
pub struct ReadDir(pub(crate) Cursor);

impl Iterator for ReadDir {
    type Item = DirEntry;

    fn next(&mut self) -> Option<DirEntry> {
        let (name, node) = self.0.next()?;
        Some(DirEntry { name, node })
    }
}

/// One name in a directory, borrowed while the directory is visited.
#[derive(Clone, Copy, Debug)]
pub struct DirEntryRef<'a> {
    /// The name, without the directory.
    pub name: &'a [u8],
    /// File, directory or symbolic link (links are not followed).
    pub kind: FileType,
    /// The inode number.
    pub ino: u64,
}

/// Calls `visit` with every name under one read lock, without copying any.
pub(crate) fn visit(
    directory: &Inode,
    mut visit: impl FnMut(DirEntryRef<'_>) -> ControlFlow<()>,
) -> Result<(), Fault> {
    let state = directory.read();
    let map = state.directory().ok_or(ErrorKind::NotADirectory)?;
    for (name, node, _) in map.iter_from(0) {
        let entry = DirEntryRef {
            name,
            kind: node.kind(),
            ino: node.number(),
        };
        if visit(entry).is_break() {
            break;
        }
    }
    Ok(())
}

/// One node of a tree, as a [`Walk`] comes by it.
#[derive(Clone, Debug)]
pub struct WalkEntry {
    path: Vec<u8>,
    depth: usize,
    pub(crate) node: Arc<Inode>,
}

impl WalkEntry {
    /// The path: where the walk began, and the names from there.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn path_lossy(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// 0 where the walk began, one more for each directory below.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// File, directory or symbolic link (links are not followed).
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.node.kind()
    }

    /// The inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.node.number()
    }

    /// What is known about the node now.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        self.node.metadata()
    }
}

/// All nodes of a tree, a directory before what is in it. See [`crate::FileSystem::walk`].
///
/// Symbolic links are reported, not followed. Memory is in proportion to the depth.
#[derive(Debug)]
pub struct Walk {
    start: Option<Arc<Inode>>,
    path: Vec<u8>,
    /// The directories on the way down: where each is being listed, and the length of its path.
    levels: Vec<(Cursor, usize)>,
    /// A directory that was reported and will be entered next.
    pending: Option<Arc<Inode>>,
}

impl Walk {
    pub(crate) fn new(start: Arc<Inode>, path: &[u8]) -> Self {
        Walk {
            start: Some(start),
            path: path.to_vec(),
            levels: Vec::new(),
            pending: None,
        }
    }

    /// Leaves out what is in the directory that was reported last.
    pub fn skip_current_dir(&mut self) {
        self.pending = None;
    }

    /// The next node; its path is [`Walk::current_path`] until the call after.
    pub(crate) fn advance(&mut self) -> Option<(Arc<Inode>, usize)> {
        let (node, depth) = match self.start.take() {
            Some(node) => (node, 0),
            None => {
                self.enter_pending();
                self.next_below()?
            }
        };
        if node.is_directory() {
            self.pending = Some(node.clone());
        }
        Some((node, depth))
    }

    fn enter_pending(&mut self) {
        if let Some(directory) = self.pending.take()
            && let Ok(cursor) = Cursor::new(directory)
        {
            self.levels.push((cursor, self.path.len()));
        }
    }

    fn next_below(&mut self) -> Option<(Arc<Inode>, usize)> {
        while let Some((cursor, path_len)) = self.levels.last_mut() {
            self.path.truncate(*path_len);
            if let Some((name, node)) = cursor.next() {
                if self.path.last() != Some(&b'/') {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(&name);
                return Some((node, self.levels.len()));
            }
            self.levels.pop();
        }
        None
    }

    pub(crate) fn current_path(&self) -> &[u8] {
        &self.path
    }
}

impl Iterator for Walk {
    type Item = WalkEntry;

    fn next(&mut self) -> Option<WalkEntry> {
        let (node, depth) = self.advance()?;
        Some(WalkEntry {
            path: self.path.clone(),
            depth,
            node,
        })
    }
}

/// The path of a directory, from its parents; the root's is `/`.
pub(crate) fn path_of_directory(directory: &Arc<Inode>) -> Result<Vec<u8>, Fault> {
    let mut names = Vec::new();
    let mut at = directory.clone();
    while at.number() != crate::namespace::volume::ROOT {
        let up = crate::namespace::resolve::parent(&at)?;
        let name = name_in(&up, &at).ok_or(ErrorKind::NotFound)?;
        names.push(name);
        at = up;
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Ok(path)
}

fn name_in(directory: &Arc<Inode>, node: &Arc<Inode>) -> Option<Box<[u8]>> {
    let state = directory.read();
    let found = state
        .directory()?
        .iter_from(0)
        .find(|(_, child, _)| Arc::ptr_eq(child, node));
    found.map(|(name, _, _)| Box::from(name))
}

/// The path of a node that is reached as `name` in `directory`.
pub(crate) fn path_of(directory: &Arc<Inode>, name: &[u8]) -> Result<Vec<u8>, Fault> {
    Ok(path::join(&path_of_directory(directory)?, name))
}
