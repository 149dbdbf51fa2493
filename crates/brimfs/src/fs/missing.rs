//! Making a directory together with all that are missing above it.
//!
//! What is missing is made beside the tree and put into it at the end: whoever fails on the way
//! has changed nothing, not even a time.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::fs::names::{make_directory, new_directory};
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

/// A new directory that has its place in one that is in the tree.
struct Top {
    home: Arc<Inode>,
    name: Vec<u8>,
    node: Arc<Inode>,
}

/// A walk along a path, and what it made beside the tree.
struct Missing<'a> {
    root: &'a Arc<Inode>,
    at: Arc<Inode>,
    /// How many new directories `at` is the last of; none in the tree.
    depth: usize,
    tops: Vec<Top>,
    /// All new directories by place and name, in their order.
    made: Vec<(Arc<Inode>, Vec<u8>)>,
}

impl<'a> Missing<'a> {
    fn plan(root: &'a Arc<Inode>, path: &[u8]) -> Result<Self, Fault> {
        let mut missing = Missing {
            root,
            at: root.clone(),
            depth: 0,
            tops: Vec::new(),
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
        if let Some(node) = self.top(name) {
            self.at = node;
            self.depth = 1;
            return Ok(());
        }
        match existing(self.root, &self.at, name)? {
            Some(node) => {
                self.at = node;
                self.depth += usize::from(self.depth > 0);
                Ok(())
            }
            None => self.make(name),
        }
    }

    /// The new directory of that name where the walk is, if that is in the tree.
    fn top(&self, name: &[u8]) -> Option<Arc<Inode>> {
        let is_here = |top: &&Top| Arc::ptr_eq(&top.home, &self.at) && top.name == name;
        let top = self.tops.iter().filter(|_| self.depth == 0).find(is_here)?;
        Some(top.node.clone())
    }

    fn make(&mut self, name: &[u8]) -> Result<(), Fault> {
        let home = self.at.clone();
        self.at = match self.depth {
            0 => {
                let top = new_directory(&home, MODE)?;
                // Names in it may be durable before its own is.
                tree::note_unlinked(&top);
                top
            }
            _ => make_directory(&place_in(&home, name), name, MODE, None)?,
        };
        if self.depth == 0 {
            self.tops.push(Top {
                home: home.clone(),
                name: name.to_vec(),
                node: self.at.clone(),
            });
        }
        self.depth += 1;
        self.made.push((home, name.to_vec()));
        Ok(())
    }

    /// Puts all that was made into the tree.
    fn link(&self) -> Result<(), Fault> {
        for (number, top) in self.tops.iter().enumerate() {
            tree::link(&top.home, &top.name, &top.node, None).inspect_err(|_| {
                if number > 0 {
                    self.unmake();
                }
            })?;
        }
        Ok(())
    }

    fn unmake(&self) {
        for (home, name) in self.made.iter().rev() {
            // Fails if it is not in the tree, or if somebody has put something into it
            // meanwhile; then it is his now.
            drop(tree::remove_directory(&place_in(home, name)));
        }
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
