//! Making a directory together with all that are missing above it.
//!
//! What is missing is made beside the tree and put into it at the end: whoever fails on the way
//! has changed nothing, not even a time.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::fs::names::new_directory;
use crate::fs::trees::place_in;
use crate::namespace::inode::{FileType, Inode};
use crate::namespace::path;
use crate::namespace::resolve;
use crate::namespace::tree;

const MODE: u32 = 0o777;

/// Makes what is missing of `path`; what is there are directories.
pub(crate) fn make_all(root: &Arc<Inode>, path: &[u8]) -> Result<(), Fault> {
    path::check(path)?;
    loop {
        match Missing::plan(root, path)?.link() {
            // Somebody else was faster.
            Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {}
            result => return result,
        }
    }
}

/// A new directory, and where it is to be.
struct New {
    home: Arc<Inode>,
    name: Vec<u8>,
    node: Arc<Inode>,
    /// Its place is in a directory that is in the tree.
    is_top: bool,
}

/// A walk along a path, and what is to be made.
struct Missing<'a> {
    root: &'a Arc<Inode>,
    at: Arc<Inode>,
    /// How many new directories `at` is the last of; none in the tree.
    depth: usize,
    /// All new directories, each behind the one that it is in.
    made: Vec<New>,
}

impl<'a> Missing<'a> {
    fn plan(root: &'a Arc<Inode>, path: &[u8]) -> Result<Self, Fault> {
        let mut missing = Missing {
            root,
            at: root.clone(),
            depth: 0,
            made: Vec::new(),
        };
        let mut rest = path;
        while let Some((name, after)) = path::split_first(rest) {
            rest = after;
            match name {
                b"." => {}
                b".." => missing.go_up()?,
                name => missing.enter(name).map_err(|fault| {
                    // What stands at the end of the path is in the way, not on the way.
                    let last = path::split_first(rest).is_none();
                    match fault.kind() {
                        ErrorKind::NotADirectory if last => ErrorKind::AlreadyExists.into(),
                        _ => fault,
                    }
                })?,
            }
        }
        Ok(missing)
    }

    fn go_up(&mut self) -> Result<(), Fault> {
        self.at = resolve::parent(&self.at)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    fn enter(&mut self, name: &[u8]) -> Result<(), Fault> {
        if let Some(node) = self.made_here(name) {
            self.at = node;
            self.depth += 1;
            return Ok(());
        }
        // In a new directory nothing is found but that the name can be one.
        match existing(self.root, &self.at, name)? {
            Some(node) => self.at = node,
            None => self.make(name)?,
        }
        Ok(())
    }

    /// The new directory of that name where the walk is.
    fn made_here(&self, name: &[u8]) -> Option<Arc<Inode>> {
        let is_empty = |last: &New| Arc::ptr_eq(&last.node, &self.at);
        if self.made.last().is_some_and(is_empty) {
            return None;
        }
        let is_here = |new: &&New| Arc::ptr_eq(&new.home, &self.at) && new.name == name;
        self.made.iter().find(is_here).map(|new| new.node.clone())
    }

    fn make(&mut self, name: &[u8]) -> Result<(), Fault> {
        let node = new_directory(&self.at, MODE)?;
        self.made.push(New {
            home: self.at.clone(),
            name: name.to_vec(),
            node: node.clone(),
            is_top: self.depth == 0,
        });
        self.at = node;
        self.depth += 1;
        Ok(())
    }

    /// Puts all that was made into the tree, as one change: what is in a new directory first.
    fn link(&self) -> Result<(), Fault> {
        let changes = self.root.volume().changes.as_deref();
        changes.map_or(Ok(()), |changes| changes.check_changes(self.made.len()))?;
        let _pass = self.root.volume().pass();
        let (tops, inner): (Vec<&New>, _) = self.made.iter().partition(|new| new.is_top);
        let order = || inner.iter().chain(&tops);
        for (number, new) in order().enumerate() {
            tree::link(&new.home, &new.name, &new.node, None).inspect_err(|_| {
                unlink(order().take(number).copied().collect());
            })?;
        }
        Ok(())
    }
}

/// Takes out of the tree again what was put there.
fn unlink(linked: Vec<&New>) {
    let (tops, inner): (Vec<&New>, Vec<&New>) = linked.into_iter().partition(|new| new.is_top);
    let remove = |new: &New| tree::remove_directory(&place_in(&new.home, &new.name));
    // Each behind what is in it. Fails if somebody has put something into it meanwhile; then it is his now.
    for new in inner.into_iter().rev().chain(tops.into_iter().rev()) {
        drop(remove(new));
    }
}

/// The directory of that name, or that a link of that name leads to.
fn existing(root: &Arc<Inode>, at: &Arc<Inode>, name: &[u8]) -> Result<Option<Arc<Inode>>, Fault> {
    match resolve::child(at, name) {
        Ok((node, _)) if node.is_directory() => Ok(Some(node)),
        Ok((node, _)) if node.kind() == FileType::Symlink => {
            match resolve::resolve_from(root, at, name) {
                Ok(node) if node.is_directory() => Ok(Some(node)),
                Ok(_) => Err(ErrorKind::NotADirectory.into()),
                // The name is taken by a link that leads nowhere.
                Err(fault) if fault.kind() == ErrorKind::NotFound => {
                    Err(ErrorKind::AlreadyExists.into())
                }
                Err(fault) => Err(fault),
            }
        }
        Ok(_) => Err(ErrorKind::NotADirectory.into()),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}
