//! The mirror layout: one plain file of the host for each file, under the same names.
//!
//! A commit writes what changed to temporary files beside the tree and makes them durable. Then one group of the
//! journal says what becomes of the tree, step by step, and all that the host cannot hold. When that is durable the steps
//! are done, and the next group says so, and what the host's files look like from now on. Opening does again what was
//! not said to be done. So each file is old or new as a whole, and names change as the journal says.
//!
//! The host's version wins, unless it is told otherwise: what others changed is found when the tree is opened or looked
//! through ([`merge`]), when a file is read ([`crate::cold::host_files`]), and before it is replaced ([`commit`]).
//!
//! | module | does |
//! |---|---|
//! | `names` | what the host had when it was last seen |
//! | `look` | what changed in memory, while the gate is closed |
//! | `plan` | both as steps; pure |
//! | `write` | temporary files |
//! | `steps` | does them |
//! | `commit` | all of that in order |
//! | `merge` | what others did, taken into memory |
//! | `adopt` | nodes and content of the host as nodes and cold content |
//! | `open` | the side directory, the steps of a commit that was interrupted |
//!
//! Lock order: `core`; `moves`; the gate; `undone`; `names`; nodes; what lies below them.

mod adopt;
mod commit;
mod look;
mod merge;
mod names;
mod open;
mod plan;
mod steps;
mod write;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex};
use crate::cold::host_files::HostFiles;
use crate::cold::segment::References;
use crate::io::tree::Tree;

use commit::Undone;
use names::Names;
use steps::on_host;

pub(crate) use open::Side;
pub(super) use open::{Seen, directory_of, has_links, open, refuse_mirror};
pub(super) use steps::Step;

/// How a filesystem that is kept in a directory lies there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// A journal, and content in large segments that only brimfs reads. Every crash leaves a prefix of what was done.
    #[default]
    Segments,
    /// One plain file for each file, under the same names, beside a hidden directory `.brimfs`. Opens any tree of files. After a
    /// crash each file is old or new as a whole. A change of a large file writes all of it anew.
    Mirror,
}

/// What to do where somebody else changed a file of the host that is mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnExternalChange {
    /// The host's version is taken, also where memory had changes of its own that were not durable.
    #[default]
    Reload,
    /// Memory's version is written over it, where memory has the content; else the host's is taken.
    Keep,
    /// The operation fails with [`ErrorKind::ExternalChange`] and nothing is taken.
    Raise,
}

/// What others did with the host's tree, as far as it was noticed: numbers of files, directories and links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExternalChanges {
    /// Files that had other content or attributes.
    pub changed: u64,
    /// Names that were not there before, without those in new directories.
    pub added: u64,
    /// Names that were there before, without those in directories that went.
    pub removed: u64,
    /// Files whose changes in memory were not durable yet and gave way to the host's version.
    pub lost: u64,
    /// Sockets, devices and pipes, which are not mirrored, in what was looked at.
    pub skipped: u64,
}

impl ExternalChanges {
    fn add(&mut self, more: &ExternalChanges) {
        self.changed += more.changed;
        self.added += more.added;
        self.removed += more.removed;
        self.lost += more.lost;
        self.skipped = more.skipped;
    }

    /// Nobody changed anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        (self.changed, self.added, self.removed, self.lost) == (0, 0, 0, 0)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Mirror {
    files: Arc<HostFiles>,
    rule: OnExternalChange,
    names: Mutex<Names>,
    /// A commit that is durable in the journal, and that the host's tree does not show yet.
    undone: Mutex<Option<Undone>>,
    /// The first flush that failed.
    poison: Mutex<Option<Box<str>>>,
    next_temporary: AtomicU64,
    noticed: Mutex<ExternalChanges>,
}

impl Mirror {
    fn tree(&self) -> &dyn Tree {
        &**self.files.tree()
    }

    pub(super) fn rule(&self) -> OnExternalChange {
        self.rule
    }

    /// Says whether the last commit had a node. The names are locked until it is dropped.
    pub(super) fn known(&self) -> impl Fn(u64) -> bool {
        let names = self.names.lock();
        move |number| names.node(number).is_some()
    }

    /// A commit is durable and the host's tree does not show it yet.
    pub(super) fn has_undone(&self) -> bool {
        self.undone.lock().is_some()
    }

    /// What a flush came to. After one that failed it is not known what is durable: nothing is committed any more. One that
    /// found the disk full is tried again, with a new file where it was one's content.
    fn flushed(&self, path: &[u8], synced: std::io::Result<()>) -> Result<(), Fault> {
        let Err(error) = synced else {
            return Ok(());
        };
        self.said(Err(on_host(path, error)))
    }

    /// What came of a group that the journal was given: after an error it may be durable all the same, with what it refers to.
    fn said(&self, done: Result<(), Fault>) -> Result<(), Fault> {
        let Err(fault) = done else {
            return Ok(());
        };
        if fault.kind() == ErrorKind::DiskFull {
            return Err(fault);
        }
        let first = format!("making it durable failed: {}", fault.says());
        *self.poison.lock() = Some(first.into());
        self.check_poison()
    }

    /// Refuses after a flush that failed.
    fn check_poison(&self) -> Result<(), Fault> {
        match &*self.poison.lock() {
            None => Ok(()),
            Some(first) => {
                let text = format!("the mirror refuses commits until reopened: {first}");
                Err(Fault::text(ErrorKind::Io, text))
            }
        }
    }

    /// Numbers for so many temporary files.
    fn take_temporaries(&self, count: u64) -> u64 {
        self.next_temporary.fetch_add(count, Ordering::Relaxed)
    }

    /// Each file that the host has is one reference.
    pub(super) fn add_references(&self, held: &mut References) {
        self.names.lock().each_file(|file| held.add_host_file(file));
    }

    /// What others did since the filesystem was opened, and before.
    pub(super) fn noticed(&self) -> ExternalChanges {
        *self.noticed.lock()
    }
}

fn unsupported(text: &str) -> Fault {
    Fault::text(ErrorKind::Unsupported, text)
}
