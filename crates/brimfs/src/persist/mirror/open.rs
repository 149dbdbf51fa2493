//! Opening a mirror: the side directory, the steps of a commit that was interrupted, what was last seen, what is there.

use std::ffi::OsString;
use std::io;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::cold::host_files::{HostFiles, Stamp};
use crate::io::directory::{Access, Directory, DirectoryLock, LockError, Sharing};
use crate::io::disk::{DiskFile, Place};
use crate::io::tree::{SIDE, Tree, TreeKind, join};
use crate::journal::{self, HostStamp, NodeKind};
use crate::namespace::inode::{Inode, NOTED};
use crate::namespace::volume::ROOT;

use super::super::Persistence;
use super::super::image::Image;
use super::super::restore::restore;
use super::merge::Scope;
use super::names::Names;
use super::steps::{self, is_temporary, moment, on_host, temporary};
use super::{ExternalChanges, Mirror, OnExternalChange, adopt, unsupported};

/// What a journal says was last seen of a host file.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Seen {
    pub(in super::super) stamp: HostStamp,
    pub(in super::super) sums: Vec<u32>,
}

/// Checksums in one record.
const SUMS_MAX: usize = 64 << 10;

/// Checksums in pieces that fit records, each with the number of its first block.
pub(super) fn parts(sums: &[u32]) -> impl Iterator<Item = (u64, Vec<u8>)> {
    sums.chunks(SUMS_MAX).enumerate().map(|(part, sums)| {
        let bytes = sums.iter().flat_map(|sum| sum.to_le_bytes());
        ((part * SUMS_MAX) as u64, bytes.collect())
    })
}

impl Seen {
    pub(in super::super) fn parts(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        parts(&self.sums)
    }

    pub(in super::super) fn put_sums(&mut self, first: u64, bytes: &[u8]) {
        // Nothing is believed: what is not in order is not known.
        if first != self.sums.len() as u64 {
            return;
        }
        let sums = bytes.chunks_exact(4);
        self.sums.extend(
            sums.map(|sum| u32::from_le_bytes(sum.try_into().expect("pieces of four bytes"))),
        );
    }
}

/// A tree to mirror, and how.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) tree: Arc<dyn Tree>,
    pub(crate) rule: OnExternalChange,
}

/// The directory for side data. Where there is none, for reading, it is as if there were an empty one.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] if the tree is that of another layout; those of the disk.
pub(in super::super) fn directory_of(
    tree: &dyn Tree,
    read_only: bool,
) -> Result<Arc<dyn Directory>, Fault> {
    let there = tree.side(false).map_err(|error| on_host(SIDE, error))?;
    if there.is_none() {
        let listed = tree.list(b"").map_err(|error| on_host(b"", error))?;
        let is_store = |name: &[u8]| std::str::from_utf8(name).is_ok_and(journal::is_file_name);
        let mut files = listed
            .iter()
            .filter(|found| found.stat.kind == TreeKind::File);
        if files.any(|found| is_store(&found.name)) {
            let text = "the directory holds a store of the layout \"segments\"";
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
    }
    if read_only {
        return Ok(there.unwrap_or_else(|| Arc::new(Nothing)));
    }
    let side = tree.side(true).map_err(|error| on_host(SIDE, error))?;
    side.ok_or_else(|| unsupported("no directory for side data can be made"))
}

/// Whether files of the host can have two names: tries it with one in the side directory. Where there is no space to try, they
/// can as far as is known.
///
/// # Errors
/// Those of the disk.
pub(in super::super) fn has_links(tree: &dyn Tree) -> Result<bool, Fault> {
    let names = [&b"link-1"[..], b"link-2"].map(|name| join(SIDE, name));
    let clear = || {
        names.iter().try_for_each(|name| match tree.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on_host(name, error)),
            _ => Ok(()),
        })
    };
    // What a process left that ended meanwhile.
    clear()?;
    let linked = tree
        .create(&names[0])
        .and_then(|_| tree.link(&names[0], &names[1]));
    clear()?;
    Ok(match linked {
        Ok(()) => true,
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ),
    })
}

/// Refuses what is a mirror, where a store in segments is asked for.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] if it is; those of the disk.
pub(in super::super) fn refuse_mirror(
    directory: &dyn Directory,
    image: &Image,
    is_new: bool,
) -> Result<(), Fault> {
    let is_mirror = if is_new {
        let names = directory.list().map_err(Fault::disk)?;
        names.iter().any(|name| name.as_encoded_bytes() == SIDE)
    } else {
        image.is_mirror
    };
    if !is_mirror {
        return Ok(());
    }
    let text = "the directory is one of the layout \"mirror\"";
    Err(Fault::text(ErrorKind::InvalidArgument, text))
}

/// A mirror of a tree of which nothing is known.
pub(in super::super) fn open(side: &Side, files: Arc<HostFiles>) -> Mirror {
    Mirror {
        names: crate::base::sync::Mutex::new(Names::new(files.clone())),
        files,
        rule: side.rule,
        undone: crate::base::sync::Mutex::default(),
        poison: crate::base::sync::Mutex::default(),
        next_temporary: crate::base::sync::atomic::AtomicU64::new(0),
        noticed: crate::base::sync::Mutex::new(ExternalChanges::default()),
    }
}

/// Removes what commits that were interrupted wrote beside the tree.
///
/// # Errors
/// Those of the disk.
pub(super) fn clean(tree: &dyn Tree) -> Result<(), Fault> {
    let listed = tree.list(SIDE).map_err(|error| on_host(SIDE, error))?;
    for found in listed {
        let name = String::from_utf8_lossy(&found.name);
        let Some(number) = name.strip_prefix("t-").filter(|_| is_temporary(&name)) else {
            continue;
        };
        if let Ok(number) = number.parse()
            && found.stat.kind != TreeKind::Directory
        {
            let path = temporary(number);
            tree.remove(&path).map_err(|error| on_host(&path, error))?;
        }
    }
    Ok(())
}

impl Persistence {
    /// Builds the tree from what the journal says and what the host has.
    ///
    /// # Errors
    /// [`ErrorKind::ExternalChange`] if others changed something and that is to be raised; [`ErrorKind::Corrupt`] for a
    /// journal that contradicts itself; the limits of the filesystem; those of the disk.
    pub(in super::super) fn load_mirror(
        &self,
        mirror: &Mirror,
        mut image: Image,
        root: &Arc<Inode>,
    ) -> Result<(), Fault> {
        let steps = std::mem::take(&mut image.steps);
        if !steps.is_empty() && self.read_only {
            let text = "a commit was interrupted: the tree has to be opened for writing once";
            return Err(Fault::text(ErrorKind::ReadOnly, text));
        }
        let mut touched = std::collections::BTreeSet::new();
        steps::apply(mirror, &steps, &mut touched)?;
        steps::sync(mirror, &touched)?;
        if !self.read_only {
            clean(mirror.tree())?;
        }
        let seen = std::mem::take(&mut image.seen);
        for (_, node) in image.nodes.iter_mut() {
            node.extents.clear();
            node.overlays.clear();
            node.patches.retain(|_| false);
            if let Some(about) = &mut node.about
                && about.kind == NodeKind::File
            {
                about.len = 0;
            }
        }
        let is_new = image.nodes.is_empty();
        let mover = self.mover().ok_or(ErrorKind::Unsupported)?;
        let tree = restore(image, Vec::new(), root, (mover, &self.segments))?;
        if is_new {
            let stat = mirror
                .tree()
                .stat(b"")
                .map_err(|error| on_host(b"", error))?;
            adopt::attributes(root, &stat, true)?;
            // What has the root's names has the root, too.
            if let Some(changes) = self.changes() {
                changes.note_node(root);
            }
        } else {
            root.write_quietly().mode &= !NOTED;
        }
        enter(mirror, root, seen)?;
        let mut core = self.core.lock();
        core.nameless = tree.nameless;
        let scope = Scope::All {
            lenient: !steps.is_empty(),
            is_opening: true,
        };
        self.commit_mirror(&mut core, mirror, mirror.rule, Some(scope))?;
        Ok(())
    }

    /// Looks for what others did with the host's tree, and takes it in as `rule` says.
    ///
    /// # Errors
    /// [`ErrorKind::ExternalChange`] under [`OnExternalChange::Raise`]; those of a commit.
    pub(crate) fn refresh(&self, rule: Option<OnExternalChange>) -> Result<ExternalChanges, Fault> {
        let Some(mirror) = &self.mirror else {
            return Ok(ExternalChanges::default());
        };
        let scope = Scope::All {
            lenient: false,
            is_opening: false,
        };
        let mut core = self.core.lock();
        let done = self.commit_mirror(&mut core, mirror, rule.unwrap_or(mirror.rule), Some(scope));
        if !self.read_only {
            self.note_problem(done.as_ref().err());
        }
        done
    }

    /// Whether it is a tree of plain files that others may change.
    pub(crate) fn is_mirror(&self) -> bool {
        self.mirror.is_some()
    }

    /// What others did, as far as it was noticed.
    pub(crate) fn external_changes(&self) -> ExternalChanges {
        let mirror = self.mirror.as_ref();
        mirror.map_or_else(ExternalChanges::default, Mirror::noticed)
    }

    /// Takes in what others did with one file, if that is allowed.
    ///
    /// # Errors
    /// `fault` if it is not; those of a commit.
    pub(in super::super) fn reload(&self, node: &Arc<Inode>, fault: Fault) -> Result<(), Fault> {
        match &self.mirror {
            Some(mirror) if mirror.rule != OnExternalChange::Raise => {
                let mut core = self.core.lock();
                let scope = Some(Scope::Node(node.number()));
                self.commit_mirror(&mut core, mirror, mirror.rule, scope)
                    .map(drop)
            }
            _ => Err(fault),
        }
    }
}

/// Enters the names of a tree that was restored as what was last seen.
fn enter(
    mirror: &Mirror,
    root: &Arc<Inode>,
    mut seen: HashMap<u64, Seen, FixedState>,
) -> Result<(), Fault> {
    let mut names = mirror.names.lock();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        let state = directory.read();
        let Some(map) = state.directory() else {
            continue;
        };
        for (name, child, _) in map.iter_from(0) {
            let number = child.number();
            names.add(directory.number(), name, number, child.kind());
            if child.is_directory() {
                open.push(child.clone());
            }
            if let Some(seen) = seen.remove(&number) {
                let stamp = Stamp {
                    inode: seen.stamp.inode,
                    len: seen.stamp.len,
                    modified: moment(seen.stamp.modified),
                    changed: moment(seen.stamp.changed),
                };
                let spot = (directory.number(), name.into());
                let file = mirror.files.add(spot, stamp, seen.sums)?;
                if let Some(node) = names.node_mut(number) {
                    node.file = Some(file);
                }
            }
        }
    }
    debug_assert!(names.node(ROOT).is_some());
    Ok(())
}

/// A directory that is not there.
#[derive(Debug)]
struct Nothing;

#[derive(Debug)]
struct NoLock;

impl DirectoryLock for NoLock {}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Directory for Nothing {
    fn create(&self, _name: &str) -> io::Result<Box<dyn DiskFile>> {
        refused()
    }

    fn open(&self, _name: &str, _access: Access) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        Ok(Vec::new())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError> {
        Ok(Box::new(NoLock))
    }

    fn place(&self) -> io::Result<Place> {
        Ok(Place {
            free: 0,
            total: 0,
            in_memory: false,
        })
    }
}
