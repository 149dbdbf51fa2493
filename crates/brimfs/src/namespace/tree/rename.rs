//! Renames: within a directory, between two, and of two names for each other.

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::namespace::gate::Pass;
use crate::namespace::inode::{Body, FileType, Inode, State, Writing};
use crate::namespace::path::Last;
use crate::namespace::resolve::Place;
use crate::namespace::volume::ROOT;
use crate::namespace::watch::{self, Chain, Move, chain_of};

use super::{check_name, lose_name, map_of, note_name};

/// How a rename treats an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RenameMode {
    /// Replaces it, as POSIX does: a file by a non-directory, an empty directory by a directory.
    #[default]
    Replace,
    /// Fails with [`ErrorKind::AlreadyExists`].
    NoReplace,
    /// Lets the two names change places.
    Exchange,
}

/// Two directories locked for a change, or one if they are the same.
struct Pair<'a> {
    from: Writing<'a>,
    to: Option<Writing<'a>>,
    /// Left after both, of which the one that was locked first may be let go first.
    _pass: Option<Pass<'a>>,
}

impl<'a> Pair<'a> {
    /// An ancestor is locked before what is below it; `moves` is held if they differ.
    fn lock(from: &'a Arc<Inode>, to: &'a Arc<Inode>) -> Self {
        let _pass = from.volume().pass();
        if Arc::ptr_eq(from, to) {
            return Pair {
                from: from.write(),
                to: None,
                _pass,
            };
        }
        let from_first = if is_ancestor(from, to) {
            true
        } else if is_ancestor(to, from) {
            false
        } else {
            from.number() < to.number()
        };
        if from_first {
            let from = from.write();
            let to = Some(to.write());
            Pair { from, to, _pass }
        } else {
            let to = Some(to.write());
            let from = from.write();
            Pair { from, to, _pass }
        }
    }

    fn to(&mut self) -> &mut State {
        match &mut self.to {
            Some(to) => to,
            None => &mut self.from,
        }
    }
}

/// Whether `above` is `below` or a directory over it. `moves` is held.
fn is_ancestor(above: &Arc<Inode>, below: &Arc<Inode>) -> bool {
    let mut at = below.clone();
    loop {
        if Arc::ptr_eq(above, &at) {
            return true;
        }
        if at.number() == ROOT {
            return false;
        }
        let up = at.read().directory().and_then(|map| map.parent.upgrade());
        match up {
            Some(up) => at = up,
            None => return false,
        }
    }
}

/// Whether a directory is `top` or lies below it, as of now.
pub(crate) fn lies_within(directory: &Arc<Inode>, top: &Arc<Inode>) -> bool {
    let _moves = directory.volume().moves.lock();
    is_ancestor(top, directory)
}

/// Renames; returns the node that lost its name to the renamed one.
///
/// What concerns only files within one directory needs no guard of moves.
pub(crate) fn rename(
    from: &Place<'_>,
    to: &Place<'_>,
    mode: RenameMode,
) -> Result<Option<Arc<Inode>>, Fault> {
    let (old, old_slash) = rename_name(from)?;
    let (new, new_slash) = rename_name(to)?;
    check_name(&to.directory, new)?;
    if Arc::ptr_eq(&from.directory, &to.directory) {
        let slashes = (old_slash, new_slash);
        if let Some(done) = rename_files_within(&from.directory, old, new, slashes, mode)? {
            return Ok(done);
        }
    }
    let _moves = from.directory.volume().moves.lock();
    let rename = Rename {
        from,
        to,
        old,
        new,
        slashes: (old_slash, new_slash),
        mode,
    };
    loop {
        if let Some(lost) = rename.attempt()? {
            return Ok(lost);
        }
    }
}

fn rename_name<'a>(place: &Place<'a>) -> Result<(&'a [u8], bool), Fault> {
    match place.last {
        Last::Name { name, slash } => Ok((name, slash)),
        Last::DotDot if place.directory.number() == ROOT => Err(ErrorKind::PathEscapes.into()),
        Last::Dot | Last::DotDot | Last::Root => Err(ErrorKind::RootIsBusy.into()),
    }
}

/// The common case. `None` if something else than files is concerned.
#[allow(clippy::type_complexity)]
fn rename_files_within(
    directory: &Arc<Inode>,
    old: &[u8],
    new: &[u8],
    (old_slash, new_slash): (bool, bool),
    mode: RenameMode,
) -> Result<Option<Option<Arc<Inode>>>, Fault> {
    if mode == RenameMode::Exchange || old_slash || new_slash {
        return Ok(None);
    }
    let budget = &directory.account().budget;
    let mut state = directory.change()?;
    let map = map_of(&mut state)?;
    let node = map.get(old).ok_or(ErrorKind::NotFound)?.clone();
    let target = map.get(new).cloned();
    let plain = |node: &Arc<Inode>| node.kind() == FileType::File;
    if !plain(&node) || !target.as_ref().is_none_or(plain) {
        return Ok(None);
    }
    if target.is_some() && mode == RenameMode::NoReplace {
        return Err(ErrorKind::AlreadyExists.into());
    }
    if target
        .as_ref()
        .is_some_and(|target| Arc::ptr_eq(target, &node))
    {
        return Ok(Some(None));
    }
    let now = clock::wall_nanos();
    if target.is_some() {
        map.replace(new, node.clone());
    } else {
        map.reserve(new, budget)?;
        map.insert(new, node.clone());
    }
    map.remove(old, budget);
    note_name(directory, new, Some(&node));
    note_name(directory, old, None);
    watch::moved(&Move {
        from: (directory.number(), old),
        to: (directory.number(), new),
        node: &node,
        replaced: target.as_ref(),
        above: [None, None],
    });
    state.times.content_changed(now);
    {
        let mut renamed = node.write();
        node.name_removed(&mut renamed);
        renamed.times.node_changed(now);
    }
    if let Some(target) = &target {
        lose_name(target, now);
    }
    Ok(Some(target))
}

struct Rename<'a> {
    from: &'a Place<'a>,
    to: &'a Place<'a>,
    old: &'a [u8],
    new: &'a [u8],
    slashes: (bool, bool),
    mode: RenameMode,
}

impl Rename<'_> {
    /// Returns the node that lost its name to the renamed one, or `None` to try again.
    fn attempt(&self) -> Result<Option<Option<Arc<Inode>>>, Fault> {
        let (source, target) = (&self.from.directory, &self.to.directory);
        if let Some(changes) = &source.volume().changes {
            changes.check_changes(1)?;
        }
        // Before the locks: no directory moves while `moves` is held.
        let known = (peek(source, self.old)?, peek(target, self.new)?);
        self.check_names(known.0.as_ref(), known.1.as_ref())?;
        let above = |node: &Arc<Inode>, below| node.is_directory() && is_ancestor(node, below);
        if known.0.as_ref().is_some_and(|node| above(node, target)) {
            return Err(ErrorKind::InvalidArgument.into());
        }
        let target_above = known.1.as_ref().is_some_and(|node| above(node, source));
        // Cached paths can lead through directories and links, but not through files.
        let special = |node: &Arc<Inode>| node.kind() != FileType::File;
        let moves = known.0.as_ref().is_some_and(special) || known.1.as_ref().is_some_and(special);
        let _moving = moves.then(|| source.volume().cache.begin_move());
        let above = self.way_of_watched(known.0.as_ref(), known.1.as_ref());
        let mut pair = Pair::lock(source, target);
        let node = map_of(&mut pair.from)?
            .get(self.old)
            .ok_or(ErrorKind::NotFound)?
            .clone();
        let other = map_of(pair.to())?.get(self.new).cloned();
        let unknown = |node: &Arc<Inode>, known: &Option<Arc<Inode>>| {
            special(node) && !same(known.as_ref(), node)
        };
        if unknown(&node, &known.0) || other.as_ref().is_some_and(|other| unknown(other, &known.1))
        {
            // A directory or link came into being between the look and the lock.
            return Ok(None);
        }
        self.check(&node, other.as_ref(), target_above)?;
        match other {
            Some(other) if Arc::ptr_eq(&node, &other) => Ok(Some(None)),
            Some(other) if self.mode == RenameMode::Exchange => {
                self.exchange(&mut pair, &node, &other);
                watch::exchanged(&self.change(&node, None, above), &other);
                Ok(Some(None))
            }
            other => {
                let replaced = self.replace(&mut pair, &node, other)?;
                watch::moved(&self.change(&node, replaced.as_ref(), above));
                Ok(Some(replaced))
            }
        }
    }

    /// For those who watch.
    fn change<'a>(
        &'a self,
        node: &'a Arc<Inode>,
        replaced: Option<&'a Arc<Inode>>,
        above: [Option<Chain>; 2],
    ) -> Move<'a> {
        Move {
            from: (self.from.directory.number(), self.old),
            to: (self.to.directory.number(), self.new),
            node,
            replaced,
            above,
        }
    }

    /// The ways to where the nodes go, if watched directories go with them. `moves` is held, and no lock of a node.
    fn way_of_watched(
        &self,
        node: Option<&Arc<Inode>>,
        other: Option<&Arc<Inode>>,
    ) -> [Option<Chain>; 2] {
        let watches = &self.from.directory.volume().watches;
        let way = |node: Option<&Arc<Inode>>, to: &Arc<Inode>| {
            let is_concerned = watches.is_watched() && watches.is_above_one(node?);
            is_concerned.then(|| chain_of(to)).flatten()
        };
        [
            way(node, &self.to.directory),
            way(other, &self.from.directory),
        ]
    }

    /// What is wrong whatever lies above and below, in the order in which Linux finds it.
    fn check_names(
        &self,
        node: Option<&Arc<Inode>>,
        other: Option<&Arc<Inode>>,
    ) -> Result<(), Fault> {
        let node = node.ok_or(ErrorKind::NotFound)?;
        let exchange = self.mode == RenameMode::Exchange;
        match other {
            Some(_) if self.mode == RenameMode::NoReplace => {
                return Err(ErrorKind::AlreadyExists.into());
            }
            None if exchange => return Err(ErrorKind::NotFound.into()),
            Some(other) if exchange && self.slashes.1 && !other.is_directory() => {
                return Err(ErrorKind::NotADirectory.into());
            }
            _ => {}
        }
        let slash = self.slashes.0 || self.slashes.1 && !exchange;
        if slash && !node.is_directory() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(())
    }

    fn check(
        &self,
        node: &Arc<Inode>,
        other: Option<&Arc<Inode>>,
        target_above: bool,
    ) -> Result<(), Fault> {
        self.check_names(Some(node), other)?;
        let Some(other) = other else {
            return Ok(());
        };
        if self.mode == RenameMode::Exchange {
            return match target_above {
                true => Err(ErrorKind::InvalidArgument.into()),
                false => Ok(()),
            };
        }
        if Arc::ptr_eq(node, other) {
            return Ok(());
        }
        if target_above {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        match (node.is_directory(), other.is_directory()) {
            (true, false) => Err(ErrorKind::NotADirectory.into()),
            (false, true) => Err(ErrorKind::IsADirectory.into()),
            (true, true) if other.read().directory().is_some_and(|map| map.len() > 0) => {
                Err(ErrorKind::DirectoryNotEmpty.into())
            }
            _ => Ok(()),
        }
    }

    fn replace(
        &self,
        pair: &mut Pair<'_>,
        node: &Arc<Inode>,
        other: Option<Arc<Inode>>,
    ) -> Result<Option<Arc<Inode>>, Fault> {
        let budget = &node.account().budget;
        if let Some(other) = &other
            && let Some(map) = other.write().directory_mut()
        {
            // Checked empty before; from here on nothing is created in it.
            if map.len() > 0 {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            map.removed = true;
        }
        let map = map_of(pair.to())?;
        if other.is_some() {
            map.replace(self.new, node.clone());
        } else {
            map.reserve(self.new, budget)?;
            map.insert(self.new, node.clone());
        }
        map_of(&mut pair.from)?.remove(self.old, budget);
        note_name(&self.to.directory, self.new, Some(node));
        note_name(&self.from.directory, self.old, None);
        let kinds = (
            node.is_directory(),
            other.as_ref().is_some_and(|other| other.is_directory()),
        );
        count_directories(&mut pair.from, kinds.0, false);
        count_directories(pair.to(), kinds.0, true);
        count_directories(pair.to(), kinds.1, false);
        self.finish(pair, node, &self.to.directory);
        if let Some(other) = &other {
            lose_name(other, clock::wall_nanos());
        }
        Ok(other)
    }

    fn exchange(&self, pair: &mut Pair<'_>, node: &Arc<Inode>, other: &Arc<Inode>) {
        if let Some(map) = pair.from.directory_mut() {
            map.replace(self.old, other.clone());
        }
        if let Some(map) = pair.to().directory_mut() {
            map.replace(self.new, node.clone());
        }
        note_name(&self.from.directory, self.old, Some(other));
        note_name(&self.to.directory, self.new, Some(node));
        count_directories(&mut pair.from, node.is_directory(), false);
        count_directories(pair.to(), node.is_directory(), true);
        count_directories(pair.to(), other.is_directory(), false);
        count_directories(&mut pair.from, other.is_directory(), true);
        self.finish(pair, node, &self.to.directory);
        self.finish(pair, other, &self.from.directory);
    }

    fn finish(&self, pair: &mut Pair<'_>, node: &Arc<Inode>, parent: &Arc<Inode>) {
        let now = clock::wall_nanos();
        pair.from.times.content_changed(now);
        pair.to().times.content_changed(now);
        let mut state = node.write();
        node.name_removed(&mut state);
        state.times.node_changed(now);
        if let Body::Directory(map) = &mut state.body {
            map.parent = Arc::downgrade(parent);
        }
    }
}

fn count_directories(state: &mut State, is_directory: bool, gained: bool) {
    if !is_directory {
        return;
    }
    state.links = if gained {
        state.links.saturating_add(1)
    } else {
        state.links - 1
    };
    if let Some(map) = state.directory_mut() {
        map.subdirectories = if gained {
            map.subdirectories + 1
        } else {
            map.subdirectories - 1
        };
    }
}

fn same(known: Option<&Arc<Inode>>, node: &Arc<Inode>) -> bool {
    known.is_some_and(|known| Arc::ptr_eq(known, node))
}

fn peek(directory: &Arc<Inode>, name: &[u8]) -> Result<Option<Arc<Inode>>, Fault> {
    let state = directory.read();
    let map = state.directory().ok_or(ErrorKind::NotADirectory)?;
    Ok(map.get(name).cloned())
}
