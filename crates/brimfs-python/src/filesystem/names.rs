//! Lists of names of directories that were listed before.
//!
//! Owns a few lists of `str`, each with the stamp that its directory had. A
//! stamp changes with every entry that comes or goes, so a list is either
//! exact or not used. Bounded in directories and in names.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::raw::objects::copy_list;

/// Directories remembered at most.
const LISTS_MAX: usize = 32;
/// Names remembered at most, over all directories.
const NAMES_MAX: usize = 64 * 1024;
/// What a remembered name takes, in bytes: a `str` of common length and its place.
const NAME_BYTES: usize = 80;

struct Listed {
    inode: u64,
    stamp: u64,
    names: Py<PyList>,
    len: usize,
}

/// See the module's documentation.
pub(super) struct NameCache {
    lists: Vec<Listed>,
    total: usize,
}

impl NameCache {
    pub(super) const fn new() -> Self {
        NameCache {
            lists: Vec::new(),
            total: 0,
        }
    }

    /// Resident bytes of the remembered names, about.
    pub(super) fn bytes(&self) -> usize {
        self.total * NAME_BYTES
    }

    /// A copy of the directory's list, if it is still right.
    pub(super) fn get<'py>(
        &self,
        py: Python<'py>,
        inode: u64,
        stamp: u64,
    ) -> Option<PyResult<Bound<'py, PyAny>>> {
        let listed = self.lists.iter().find(|listed| listed.inode == inode)?;
        if listed.stamp != stamp {
            return None;
        }
        Some(copy_list(listed.names.bind(py)))
    }

    /// Remembers the names of a directory, in place of the oldest ones if there are too many.
    pub(super) fn put(&mut self, inode: u64, stamp: u64, names: Py<PyList>, len: usize) {
        if let Some(old) = self.lists.iter().position(|listed| listed.inode == inode) {
            self.total -= self.lists.remove(old).len;
        }
        if len > NAMES_MAX {
            return;
        }
        while self.lists.len() >= LISTS_MAX || self.total + len > NAMES_MAX {
            self.total -= self.lists.remove(0).len;
        }
        self.total += len;
        self.lists.push(Listed {
            inode,
            stamp,
            names,
            len,
        });
    }

    pub(super) fn clear(&mut self) {
        *self = NameCache::new();
    }
}
