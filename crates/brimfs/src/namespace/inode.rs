//! The node behind a name: 112 bytes, of which content may use 22.
//!
//! Size matters here more than anywhere else: a filesystem of a million small
//! files is mostly inodes. What few nodes have (extended attributes, times far
//! away) is kept in the volume's extras; the owner is a number in its table.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::base::clock;
use crate::base::error::Fault;
use crate::base::fork;
use crate::base::lock_word::LockWord;
use crate::base::sync::atomic::{AtomicU32, Ordering};
use crate::base::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::memory::account::Account;
use crate::memory::content::Content;
use crate::memory::cost::NODE_RECORD;
use crate::namespace::changes::{CHANGE, Changes};
use crate::namespace::directory::{DIRECTORY_COST, Directory};
use crate::namespace::gate::Pass;
use crate::namespace::times::Times;
use crate::namespace::volume::{HIDDEN, Volume};
use crate::namespace::watch;
use crate::policy::PRIORITY_DEFAULT;

/// What a node costs beside content, names and tables, in bytes: the inode and its counts, as an
/// allocator with eight bytes of overhead and steps of sixteen lays it out.
pub(crate) const INODE_COST: u64 = (size_of::<Inode>() as u64 + 16 + 8).next_multiple_of(16);

/// Permission bits of a mode.
pub(crate) const PERMISSIONS: u16 = 0o7777;
/// The node has extended attributes.
pub(crate) const HAS_XATTRS: u16 = 1 << 12;
/// A time of the node lies outside of 1678 to 2262.
pub(crate) const HAS_FAR_TIMES: u16 = 1 << 13;

/// The next commit looks at the node.
pub(crate) const NOTED: u16 = 1 << 14;
/// The file is among those of which content is written ahead.
pub(crate) const AHEAD: u16 = 1 << 15;

/// What a record in a segment takes beside content, in bytes.
const SEGMENT_RECORD: u64 = 128;

/// Content of more than so many bytes is written ahead of a commit.
pub(crate) const AHEAD_OVER: u64 = 64 << 10;

/// What kind of node this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl FileType {
    /// Whether this is a regular file.
    #[must_use]
    pub fn is_file(self) -> bool {
        self == FileType::File
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_dir(self) -> bool {
        self == FileType::Directory
    }

    /// Whether this is a symbolic link.
    #[must_use]
    pub fn is_symlink(self) -> bool {
        self == FileType::Symlink
    }
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Body {
    File(Content),
    Directory(Box<Directory>),
    Symlink(Box<[u8]>),
}

impl Body {
    pub(crate) fn kind(&self) -> FileType {
        match self {
            Body::File(_) => FileType::File,
            Body::Directory(_) => FileType::Directory,
            Body::Symlink(_) => FileType::Symlink,
        }
    }

    /// Memory that the body takes beside content, in bytes.
    pub(crate) fn node_cost(&self) -> u64 {
        match self {
            Body::File(_) => 0,
            Body::Directory(directory) => DIRECTORY_COST + directory.charged(),
            Body::Symlink(target) => (target.len() as u64 + 8).next_multiple_of(16),
        }
    }
}

/// A generation of 51 bits (71 years of a million changes a second), accesses of an earlier life, whether the file is
/// pinned, and a priority of 4 bits, which reads 5 where none was set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentStamp(u64);

impl ContentStamp {
    const PRIORITY_SHIFT: u32 = 60;
    const PINNED: u64 = 1 << 59;
    const ACCESSES_SHIFT: u32 = 51;
    const GENERATION: u64 = (1 << Self::ACCESSES_SHIFT) - 1;

    pub(crate) const fn new(generation: u64) -> Self {
        ContentStamp(generation)
    }

    fn replace(&mut self, mask: u64, bits: u64) {
        self.0 = self.0 & !mask | bits;
    }
}

/// Everything about a node that changes, behind one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) body: Body,
    pub(crate) times: Times,
    /// Grows with every change of the content; what else it has is in the topmost bits.
    pub(crate) stamp: ContentStamp,
    pub(crate) links: u32,
    /// Permission bits and flags.
    pub(crate) mode: u16,
    /// Place in the volume's table of owners.
    pub(crate) owner: u16,
}

impl State {
    #[inline]
    pub(crate) fn directory(&self) -> Option<&Directory> {
        match &self.body {
            Body::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.body {
            Body::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn content(&self) -> Option<&Content> {
        match &self.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn content_mut(&mut self) -> Option<&mut Content> {
        match &mut self.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    /// What a commit may have to write of content that is written as a whole, if it was not going to look at it.
    #[inline]
    pub(crate) fn cost_of_noting(&self, to_come: ToCome) -> u64 {
        match self.content() {
            Some(content) if to_come.is_first => content.cost_when_noted(),
            _ => 0,
        }
    }

    /// Notes that the content changed.
    #[inline]
    pub(crate) fn content_changed(&mut self, now: i64) {
        self.times.content_changed(now);
        self.stamp.0 += 1;
    }

    /// Grows with every change of the content.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.stamp.0 & ContentStamp::GENERATION
    }

    /// As [`State::content_changed`], and no time of the node changes.
    pub(crate) fn content_restored(&mut self) {
        self.stamp.0 += 1;
    }

    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.stamp.replace(
            ContentStamp::GENERATION,
            generation & ContentStamp::GENERATION,
        );
    }

    /// As it was set, whether or not the file is pinned.
    pub(crate) fn priority(&self) -> u8 {
        (self.stamp.0 >> ContentStamp::PRIORITY_SHIFT) as u8 ^ PRIORITY_DEFAULT
    }

    pub(crate) fn set_priority(&mut self, priority: u8) {
        let bits = u64::from(priority ^ PRIORITY_DEFAULT) << ContentStamp::PRIORITY_SHIFT;
        let mask = !0 << ContentStamp::PRIORITY_SHIFT;
        self.stamp.replace(mask, bits);
    }

    /// Whether the file was pinned beside its priority.
    pub(crate) fn has_pin(&self) -> bool {
        self.stamp.0 & ContentStamp::PINNED != 0
    }

    /// Accesses that are remembered of an earlier life, or are to be of this one: what units of the file that come
    /// begin with, until one goes.
    pub(crate) fn accesses(&self) -> u8 {
        (self.stamp.0 >> ContentStamp::ACCESSES_SHIFT) as u8
    }

    pub(crate) fn set_accesses(&mut self, accesses: u8) {
        let shift = ContentStamp::ACCESSES_SHIFT;
        self.stamp
            .replace(0xff << shift, u64::from(accesses) << shift);
    }

    pub(crate) fn set_pin(&mut self, pinned: bool) {
        let bit = if pinned { ContentStamp::PINNED } else { 0 };
        self.stamp.replace(ContentStamp::PINNED, bit);
    }
}

/// What there is to know of the commit to come for whoever says what it has to write because of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToCome {
    /// Its number.
    pub(crate) epoch: u32,
    /// It was not going to look at the node.
    pub(crate) is_first: bool,
}

/// See the module's documentation.
pub(crate) struct Inode {
    id: u64,
    /// Belongs to `handle::lock`.
    pub(crate) lock: LockWord,
    /// Grows whenever a name of this node is removed or moved: what a path cache checks.
    pub(crate) names_stamp: AtomicU32,
    volume: Arc<Volume>,
    state: RwLock<State>,
}

const KIND_SHIFT: u32 = 62;

impl Inode {
    /// A node that the volume has counted and charged already.
    pub(crate) fn new(volume: &Arc<Volume>, number: u64, state: State) -> Arc<Self> {
        let kind = state.body.kind() as u64;
        Arc::new(Inode {
            id: kind << KIND_SHIFT | number,
            lock: LockWord::default(),
            names_stamp: AtomicU32::new(0),
            volume: volume.clone(),
            state: RwLock::new(state),
        })
    }

    /// The inode number; never used again for another node of the volume.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.id & ((1 << KIND_SHIFT) - 1)
    }

    #[inline]
    pub(crate) fn kind(&self) -> FileType {
        match self.id >> KIND_SHIFT {
            0 => FileType::File,
            1 => FileType::Directory,
            _ => FileType::Symlink,
        }
    }

    #[inline]
    pub(crate) fn is_directory(&self) -> bool {
        self.id >> KIND_SHIFT == FileType::Directory as u64
    }

    #[inline]
    pub(crate) fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    #[inline]
    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.volume.account
    }

    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    #[inline]
    pub(crate) fn write(self: &Arc<Self>) -> Writing<'_> {
        loop {
            let pass = self.volume.pass();
            let mut state = self.state.write();
            if pass.is_some() {
                self.note(&mut state);
            } else if self.volume.gate.is_wanted() {
                // Only since a moment ago: whoever wants it may have been here before.
                continue;
            }
            return Writing { state, _pass: pass };
        }
    }

    /// As [`Inode::write`], to begin a change that may be refused.
    ///
    /// # Errors
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly); what a disk says that takes no more changes.
    #[inline]
    pub(crate) fn change(self: &Arc<Self>) -> Result<Writing<'_>, Fault> {
        self.change_for(|state, to_come| state.cost_of_noting(to_come))
    }

    /// As [`Inode::change`], of content too: `cost` says how much of it that has a commit write at the most, in
    /// bytes. Refused if the disk may have no space for that.
    ///
    /// # Errors
    /// As [`Inode::change`]; [`DiskFull`](crate::ErrorKind::DiskFull), [`DiskLimit`](crate::ErrorKind::DiskLimit).
    #[inline]
    pub(crate) fn change_for(
        self: &Arc<Self>,
        cost: impl Fn(&State, ToCome) -> u64,
    ) -> Result<Writing<'_>, Fault> {
        let Some(changes) = self.volume.changes.as_deref() else {
            return Ok(self.write());
        };
        loop {
            changes.check()?;
            let pass = changes.enter();
            let mut state = self.state.write();
            let to_come = ToCome {
                epoch: changes.epoch(),
                is_first: state.mode & NOTED == 0,
            };
            let owed = changes.on_disk(cost(&state, to_come)) + self.cost_of_record(&state);
            if changes.try_owe(owed + SEGMENT_RECORD) {
                self.note_owed(&mut state, changes);
                return Ok(Writing {
                    state,
                    _pass: Some(pass),
                });
            }
            drop(state);
            drop(pass);
            changes.make_room(owed + CHANGE)?;
        }
    }

    /// What a commit writes of a node that is to get its first name, in bytes.
    pub(crate) fn cost_when_new(&self) -> u64 {
        let state = self.read();
        let body = match &state.body {
            Body::File(content) => content.cost_when_new(),
            Body::Symlink(target) => target.len() as u64,
            Body::Directory(_) => 0,
        };
        NODE_RECORD + body
    }

    /// What a commit writes of the node beside content, if it was not going to look at it.
    fn cost_of_record(&self, state: &State) -> u64 {
        if state.mode & NOTED != 0 || self.number() == HIDDEN {
            return 0;
        }
        let target = match &state.body {
            Body::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let extra = match state.mode & HAS_XATTRS {
            0 => 0,
            _ => self.volume.extras.footprint(self.number()),
        };
        NODE_RECORD + target + extra
    }

    /// The same with content that it may have to write because of that.
    fn cost_of_noting(&self, state: &State, changes: &Changes) -> u64 {
        let to_come = ToCome {
            epoch: changes.epoch(),
            is_first: state.mode & NOTED == 0,
        };
        self.cost_of_record(state) + changes.on_disk(state.cost_of_noting(to_come))
    }

    /// As [`Inode::change`], to remove a name: a full disk does not refuse that.
    ///
    /// # Errors
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly); what a disk says that takes no more changes.
    pub(crate) fn change_by_removal(self: &Arc<Self>) -> Result<Writing<'_>, Fault> {
        if let Some(changes) = &self.volume.changes {
            changes.check_removal()?;
        }
        Ok(self.write())
    }

    /// As [`Inode::write`], for what nobody can tell from outside: in which form content is and where. No
    /// commit hears of it.
    #[inline]
    pub(crate) fn write_quietly(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }

    /// To be called after each change of the content, of which there were `len` bytes from `offset` on: for the times,
    /// the tier and the next commit.
    #[inline]
    pub(crate) fn content_changed(self: &Arc<Self>, state: &mut State, offset: u64, len: u64) {
        self.mark_changed(state);
        self.track(state, offset, len);
        self.note_content(state, len);
    }

    /// As [`Inode::content_changed`], where the tier and the next commit hear of it otherwise.
    #[inline]
    pub(crate) fn mark_changed(&self, state: &mut State) {
        state.content_changed(clock::wall_nanos());
        watch::modified(self);
    }

    /// Notes that the next commit has so many bytes of content more to write.
    #[inline]
    pub(crate) fn note_content(self: &Arc<Self>, state: &mut State, len: u64) {
        if let Some(changes) = &self.volume.changes {
            self.note_content_in(changes, state, len);
        }
    }

    fn note_content_in(self: &Arc<Self>, changes: &Changes, state: &mut State, len: u64) {
        changes.note_pending(len);
        let is_much = |content: &Content| content.len() > AHEAD_OVER;
        if state.mode & AHEAD == 0
            && self.number() != HIDDEN
            && state.content().is_some_and(is_much)
        {
            state.mode |= AHEAD;
            changes.note_ahead(self);
        }
    }

    /// Has the next commit look at the node. Its state is locked, though perhaps not within the gate: then the change
    /// must be none that belongs together with others.
    #[cold]
    pub(crate) fn note(self: &Arc<Self>, state: &mut State) {
        if let Some(changes) = &self.volume.changes {
            let cost = self.cost_of_noting(state, changes);
            self.note_owed(state, changes);
            // Later: should a commit begin in between, it counts for the next one, which may meet more changes.
            changes.owe(cost);
        }
    }

    /// As [`Inode::note`], for what nobody misses: only if the disk has room for it.
    #[cold]
    pub(crate) fn note_if_room(self: &Arc<Self>, state: &mut State) {
        if let Some(changes) = &self.volume.changes
            && changes.has_room(self.cost_of_noting(state, changes))
        {
            self.note(state);
        }
    }

    /// As [`Inode::note`], where the space is kept for it already.
    #[inline]
    fn note_owed(self: &Arc<Self>, state: &mut State, changes: &Changes) {
        if state.mode & NOTED == 0 && self.number() != HIDDEN {
            state.mode |= NOTED;
            changes.note_node(self);
        }
    }

    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, State>> {
        self.state.try_read()
    }

    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, State>> {
        self.state.try_write()
    }

    /// Makes cached paths to this node miss. The state is the node's own, locked: nobody else is here.
    #[inline]
    pub(crate) fn name_removed(&self, _locked: &mut State) {
        let stamp = self.names_stamp.load(Ordering::Relaxed);
        self.names_stamp
            .store(stamp.wrapping_add(1), Ordering::Release);
    }
}

/// The state of a node, locked for a change, within the gate if there is one.
pub(crate) struct Writing<'a> {
    state: RwLockWriteGuard<'a, State>,
    /// Left after the state is let go.
    _pass: Option<Pass<'a>>,
}

impl Deref for Writing<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Writing<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if let Body::Directory(directory) = &mut state.body {
            drop_tree(directory.take_nodes().collect());
        }
        let state = self.state.get_mut();
        let flags = state.mode;
        let body = std::mem::replace(&mut state.body, Body::File(Content::Empty));
        let (kind, cost) = (body.kind(), body.node_cost());
        match body {
            Body::File(content) => content.release(&self.volume.account),
            other => drop(other),
        }
        let number = self.number();
        if let Some(changes) = &self.volume.changes
            && number != HIDDEN
        {
            changes.note_gone(number);
        }
        self.volume.forget_node(number, kind, cost);
        // In a forked child the lock of the extras may be held for ever.
        if flags & (HAS_XATTRS | HAS_FAR_TIMES) != 0 && self.volume.born == fork::generation() {
            self.volume
                .extras
                .forget(number, &self.volume.account.budget);
        }
    }
}

/// Drops nodes and all that only they hold, however deep, without recursion.
fn drop_tree(mut nodes: Vec<Arc<Inode>>) {
    while let Some(node) = nodes.pop() {
        if let Some(mut inode) = Arc::into_inner(node)
            && let Body::Directory(directory) = &mut inode.state.get_mut().body
        {
            nodes.extend(directory.take_nodes());
        }
    }
}

impl fmt::Debug for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inode({:?} {})", self.kind(), self.number())
    }
}

#[cfg(all(test, not(feature = "shuttle"), target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn an_inode_stays_small() {
        assert_eq!(size_of::<Content>(), 24);
        assert_eq!(size_of::<Body>(), 24);
        assert!(size_of::<Inode>() <= 104, "{}", size_of::<Inode>());
    }
}
