//! Changes of names: create, remove, link, rename.
//!
//! Lock order: `Volume::moves`, then directories (an ancestor before what is
//! below it, otherwise by inode number), then the nodes that names point to.
//! No file lock, disk or memory is waited for under any of them.

mod rename;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::base::sync::atomic::Ordering;
use crate::namespace::cache::{Stamp, Why};
use crate::namespace::directory::Directory;
use crate::namespace::inode::{FileType, Inode, State};
use crate::namespace::path::Last;
use crate::namespace::resolve::Place;
use crate::namespace::volume::ROOT;
use crate::namespace::watch;

pub use rename::RenameMode;
pub(crate) use rename::{lies_within, rename};

/// The map of a directory that is still part of the tree.
pub(crate) fn map_of(state: &mut State) -> Result<&mut Directory, Fault> {
    let map = state.directory_mut().ok_or(ErrorKind::NotADirectory)?;
    if map.removed {
        return Err(ErrorKind::NotFound.into());
    }
    Ok(map)
}

impl Place<'_> {
    /// The name, where only a name will do: for making something.
    pub(crate) fn new_name(&self) -> Result<(&[u8], bool), Fault> {
        match self.last {
            Last::Name { name, slash } => Ok((name, slash)),
            Last::DotDot if self.directory.number() == ROOT => Err(ErrorKind::PathEscapes.into()),
            Last::Dot | Last::DotDot | Last::Root => Err(ErrorKind::AlreadyExists.into()),
        }
    }
}

/// Puts a node under a new name and teaches the cache its path, given with the epoch that the
/// directory was found under.
///
/// The parent of a directory must be this one already.
pub(crate) fn link(
    directory: &Arc<Inode>,
    name: &[u8],
    node: &Arc<Inode>,
    path: Option<(&[u8], u64)>,
) -> Result<(), Fault> {
    let cost = match &directory.volume().changes {
        Some(_) => node.cost_when_new(),
        None => 0,
    };
    link_for(directory, name, node, path, cost)
}

/// As [`link`], of a node of whose content a commit writes so many bytes at the most.
pub(crate) fn link_for(
    directory: &Arc<Inode>,
    name: &[u8],
    node: &Arc<Inode>,
    path: Option<(&[u8], u64)>,
    cost: u64,
) -> Result<(), Fault> {
    check_name(directory, name)?;
    let mut state = directory.change_for(|_, _| cost)?;
    let map = map_of(&mut state)?;
    if map.get(name).is_some() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    map.reserve(name, &directory.account().budget)?;
    map.insert(name, node.clone());
    note_name(directory, name, Some(node));
    note_node(node);
    watch::created(directory, name, node);
    if node.is_directory() {
        map.subdirectories += 1;
        state.links += 1;
    }
    state.times.content_changed(clock::wall_nanos());
    let names = node.names_stamp.load(Ordering::Acquire);
    drop(state);
    if let Some((path, epoch)) = path {
        let stamp = Stamp { epoch, names };
        directory
            .volume()
            .cache
            .put(path, node, stamp, false, Why::Created);
    }
    Ok(())
}

/// Gives a node one more name.
pub(crate) fn hard_link(place: &Place<'_>, name: &[u8], node: &Arc<Inode>) -> Result<(), Fault> {
    if let Some(changes) = &node.volume().changes {
        changes.check_changes(1)?;
        changes.check_link()?;
    }
    // The name and the number of names are one change.
    let _pass = node.volume().pass();
    {
        let mut state = node.write();
        if state.links == 0 {
            return Err(ErrorKind::NotFound.into());
        }
        state.links = state.links.checked_add(1).ok_or(ErrorKind::TooManyLinks)?;
        state.times.node_changed(clock::wall_nanos());
    }
    link_for(&place.directory, name, node, None, 0).inspect_err(|_| {
        node.write().links -= 1;
    })
}

/// Removes a file's or symbolic link's name; returns the node.
pub(crate) fn unlink(place: &Place<'_>, name: &[u8], slash: bool) -> Result<Arc<Inode>, Fault> {
    if let Some(node) = unlink_kind(place, name, slash, false)? {
        return Ok(node);
    }
    // Cached paths through a link end with it, so that counts as a move.
    let volume = place.directory.volume();
    let _moves = volume.moves.lock();
    let _moving = volume.cache.begin_move();
    unlink_kind(place, name, slash, true)?.ok_or_else(|| ErrorKind::NotFound.into())
}

/// `None` if the name is a symbolic link's and `links` is not set.
fn unlink_kind(
    place: &Place<'_>,
    name: &[u8],
    slash: bool,
    links: bool,
) -> Result<Option<Arc<Inode>>, Fault> {
    let directory = &place.directory;
    let mut state = directory.change_by_removal()?;
    let map = map_of(&mut state)?;
    let check = |node: &Inode| match node.kind() {
        FileType::Directory => Err(ErrorKind::IsADirectory),
        _ if slash => Err(ErrorKind::NotADirectory),
        FileType::Symlink => Ok(links),
        FileType::File => Ok(true),
    };
    let Some(node) = map.remove_if(name, &directory.account().budget, check)? else {
        return Ok(None);
    };
    note_name(directory, name, None);
    watch::removed(directory, name, &node);
    let now = clock::wall_nanos();
    state.times.content_changed(now);
    lose_name(&node, now);
    Ok(Some(node))
}

/// Removes an empty directory; returns the node.
pub(crate) fn remove_directory(place: &Place<'_>) -> Result<Arc<Inode>, Fault> {
    let name = match place.last {
        Last::Name { name, .. } => name,
        Last::Root => return Err(ErrorKind::RootIsBusy.into()),
        Last::Dot => return Err(ErrorKind::InvalidArgument.into()),
        Last::DotDot if place.directory.number() == ROOT => {
            return Err(ErrorKind::PathEscapes.into());
        }
        Last::DotDot => return Err(ErrorKind::DirectoryNotEmpty.into()),
    };
    let directory = &place.directory;
    let mut state = directory.change_by_removal()?;
    let map = map_of(&mut state)?;
    let node = map.get(name).ok_or(ErrorKind::NotFound)?.clone();
    if !node.is_directory() {
        return Err(ErrorKind::NotADirectory.into());
    }
    // A parent is locked before its child, here and everywhere.
    let mut lost = node.write();
    let inner = map_of(&mut lost)?;
    if inner.len() > 0 {
        return Err(ErrorKind::DirectoryNotEmpty.into());
    }
    inner.removed = true;
    lost.links = 0;
    map.remove(name, &directory.account().budget);
    note_name(directory, name, None);
    watch::removed(directory, name, &node);
    map.subdirectories -= 1;
    node.name_removed(&mut lost);
    state.links -= 1;
    let now = clock::wall_nanos();
    state.times.content_changed(now);
    lost.times.node_changed(now);
    drop(lost);
    Ok(node)
}

/// Fails for a name that is kept for side data.
#[inline]
fn check_name(directory: &Arc<Inode>, name: &[u8]) -> Result<(), Fault> {
    match &directory.volume().changes {
        Some(changes) => changes.check_name(directory.number(), name),
        None => Ok(()),
    }
}

/// Has the next commit know what a name leads to. The directory is locked.
#[inline]
pub(crate) fn note_name(directory: &Arc<Inode>, name: &[u8], node: Option<&Arc<Inode>>) {
    if let Some(changes) = &directory.volume().changes {
        changes.note_name(directory.number(), name, node);
    }
}

/// Has the next commit look at a node that may be new.
#[inline]
fn note_node(node: &Arc<Inode>) {
    if let Some(changes) = &node.volume().changes {
        changes.note_node(node);
    }
}

fn lose_name(node: &Arc<Inode>, now: i64) {
    let mut lost = node.write();
    node.name_removed(&mut lost);
    if let Some(map) = lost.directory_mut() {
        map.removed = true;
        lost.links = 0;
    } else {
        lost.links -= 1;
    }
    lost.times.node_changed(now);
}
