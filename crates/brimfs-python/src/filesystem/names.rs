//! Names of directories as Python sees them, and the lists that were made before.
//!
//! Owns a few lists of `str`, each with the stamp that its directory had. A
//! stamp changes with every entry that comes or goes: then the list is brought
//! up to date, which makes objects for new names only. Bounded in directories
//! and in names.

use brimfs::face::{Fault, Node};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::gil;
use crate::path::Style;
use crate::raw::objects::copy_list;

/// Directories remembered at most.
const LISTS_MAX: usize = 32;
/// Names remembered at most, over all directories.
const NAMES_MAX: usize = 64 * 1024;
/// What a remembered name takes, in bytes: a `str` of common length, its place and its serial.
const NAME_BYTES: usize = 84;
/// A list with more gaps than this is made anew.
const GAPS_MAX: usize = 64;

/// The names of a directory, copied out of the core in one go.
///
/// Python objects are made from them afterwards: that must not happen under a lock of the core.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    serials: Vec<u32>,
    numbering: u16,
}

impl Names {
    /// All names of a directory.
    pub(super) fn of(py: Python<'_>, node: &Node) -> Result<Self, Fault> {
        gil::detached(py, || {
            let mut all = Names::default();
            all.numbering = node.visit_numbered(|serial, name| all.push(serial, name))?;
            Ok(all)
        })
    }

    fn push(&mut self, serial: u32, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
        self.serials.push(serial);
    }

    /// A list of objects for them.
    pub(super) fn list<'py>(&self, py: Python<'py>, style: Style) -> PyResult<Bound<'py, PyList>> {
        let mut start = 0;
        let names = self.ends.iter().map(|end| {
            let name = &self.bytes[start..*end];
            start = *end;
            style.object(py, name)
        });
        PyList::new(py, names.collect::<PyResult<Vec<_>>>()?)
    }
}

/// How a directory was numbered when it was listed.
pub(super) struct Numbers {
    stamp: u64,
    numbering: u16,
    serials: Vec<u32>,
}

/// What happened to a directory since it was listed: places that went, and names that came. New
/// names are at the end, because serials grow.
pub(super) struct Change {
    gone: Vec<std::ops::Range<usize>>,
    come: Names,
}

impl Change {
    /// `None` if so much changed that a new list is cheaper.
    pub(super) fn since(
        py: Python<'_>,
        node: &Node,
        listed: &Numbers,
    ) -> Result<Option<Self>, Fault> {
        gil::detached(py, || {
            let known = &listed.serials;
            let mut change = Change {
                gone: Vec::new(),
                come: Names::default(),
            };
            let mut at = 0;
            let mut skip = |at: &mut usize, serial: Option<u32>| {
                let start = *at;
                while known
                    .get(*at)
                    .is_some_and(|known| serial.is_none_or(|serial| *known < serial))
                {
                    *at += 1;
                }
                if *at > start && change.gone.len() <= GAPS_MAX {
                    change.gone.push(start..*at);
                }
            };
            let numbering = node.visit_numbered(|serial, name| {
                skip(&mut at, Some(serial));
                if known.get(at) == Some(&serial) {
                    at += 1;
                } else {
                    change.come.push(serial, name);
                }
            })?;
            skip(&mut at, None);
            let small = change.gone.len() <= GAPS_MAX && numbering == listed.numbering;
            Ok(small.then_some(change))
        })
    }
}

struct Listed {
    inode: u64,
    numbers: Numbers,
    names: Py<PyList>,
}

impl Listed {
    fn len(&self) -> usize {
        self.numbers.serials.len()
    }

    /// Brings the list up to date.
    fn apply(&mut self, py: Python<'_>, stamp: u64, change: &Change) -> PyResult<()> {
        let come = change.come.list(py, Style::Str)?;
        let names = self.names.bind(py);
        let none = PyList::empty(py);
        for gone in change.gone.iter().rev() {
            names.set_slice(gone.start, gone.end, &none)?;
            self.numbers.serials.drain(gone.clone());
        }
        let end = names.len();
        names.set_slice(end, end, &come)?;
        self.numbers.serials.extend(&change.come.serials);
        self.numbers.stamp = stamp;
        Ok(())
    }
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
        if listed.numbers.stamp != stamp {
            return None;
        }
        Some(copy_list(listed.names.bind(py)))
    }

    /// How the directory was numbered when it was listed, whenever that was.
    pub(super) fn numbers(&self, inode: u64) -> Option<Numbers> {
        let listed = self.lists.iter().find(|listed| listed.inode == inode)?;
        let Numbers {
            stamp, numbering, ..
        } = listed.numbers;
        Some(Numbers {
            stamp,
            numbering,
            serials: listed.numbers.serials.clone(),
        })
    }

    /// A copy of the directory's list after a change; `None` if somebody else was faster.
    pub(super) fn apply<'py>(
        &mut self,
        py: Python<'py>,
        inode: u64,
        before: &Numbers,
        stamp: u64,
        change: &Change,
    ) -> Option<PyResult<Bound<'py, PyAny>>> {
        let is_that = |listed: &Listed| {
            listed.inode == inode
                && listed.numbers.stamp == before.stamp
                && listed.numbers.serials == before.serials
        };
        let place = self.lists.iter().position(is_that)?;
        let listed = &mut self.lists[place];
        self.total -= listed.len();
        if let Err(error) = listed.apply(py, stamp, change) {
            self.lists.remove(place);
            return Some(Err(error));
        }
        self.total += listed.len();
        let copy = copy_list(listed.names.bind(py));
        if self.total > NAMES_MAX {
            self.total -= self.lists.remove(place).len();
        }
        Some(copy)
    }

    /// Remembers the names of a directory, in place of the oldest ones if there are too many.
    pub(super) fn put(&mut self, inode: u64, stamp: u64, list: Py<PyList>, names: Names) {
        if let Some(old) = self.lists.iter().position(|listed| listed.inode == inode) {
            self.total -= self.lists.remove(old).len();
        }
        let len = names.serials.len();
        if len > NAMES_MAX {
            return;
        }
        while self.lists.len() >= LISTS_MAX || self.total + len > NAMES_MAX {
            self.total -= self.lists.remove(0).len();
        }
        self.total += len;
        self.lists.push(Listed {
            inode,
            numbers: Numbers {
                stamp,
                numbering: names.numbering,
                serials: names.serials,
            },
            names: list,
        });
    }

    pub(super) fn clear(&mut self) {
        *self = NameCache::new();
    }
}
