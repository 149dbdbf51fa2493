//! What can be done to a file's content, given its node and, where that matters, its file lock.

mod whole;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::{Arc, RwLockReadGuard};
use crate::handle::again::{self, retry, retry_resident};
use crate::handle::lock::{self, Mode};
use crate::handle::source::Source;
use crate::handle::view::View;
use crate::handle::wait::Wait;
use crate::memory::account::Charge;
use crate::memory::chunk::{CHUNK, Owner};
use crate::memory::content::{BUF_MAX, Content};
use crate::memory::foreign::Foreign;
use crate::memory::fresh::{Fresh, private_copy};
use crate::memory::shared::{Pinned, Shared};
use crate::memory::small::with_reclaim;
use crate::namespace::inode::{Inode, State, ToCome, Writing};

/// The file lock, held for the length of a call.
pub(crate) struct Locked<'a> {
    node: &'a Inode,
    mode: Mode,
}

impl<'a> Locked<'a> {
    #[inline]
    pub(crate) fn new(node: &'a Inode, mode: Mode, wait: Wait) -> Result<Self, Fault> {
        lock::acquire(&node.lock, mode, wait).map_err(|fault| explained(fault, node, wait))?;
        Ok(Locked { node, mode })
    }
}

/// Says who holds the file, for a lock that was not free.
///
/// [`Wait::Now`] is the question of a caller that will wait in another way: it gets a bare answer.
pub(crate) fn explained(fault: Fault, node: &Inode, wait: Wait) -> Fault {
    if fault.kind() == ErrorKind::WouldBlock && wait != Wait::Now {
        return Fault::text(ErrorKind::WouldBlock, lock::describe_holders(&node.lock));
    }
    fault
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        lock::release(&self.node.lock, self.mode);
    }
}

/// The bytes of a file, as they are kept.
#[derive(Debug)]
pub enum Stored<'a> {
    /// A buffer of another runtime that is the whole content.
    Foreign(&'a Foreign),
    /// All bytes in one piece.
    Slice(&'a [u8]),
    /// Many pieces, or a large one: `len` bytes to be read elsewhere.
    Pieces(u64),
}

pub(crate) fn content(state: &State) -> Result<&Content, Fault> {
    state
        .content()
        .ok_or_else(|| not_a_file(state.directory().is_some()))
}

pub(crate) fn content_mut(state: &mut State) -> Result<&mut Content, Fault> {
    let is_directory = state.directory().is_some();
    state.content_mut().ok_or_else(|| not_a_file(is_directory))
}

#[cold]
fn not_a_file(is_directory: bool) -> Fault {
    if is_directory {
        ErrorKind::IsADirectory.into()
    } else {
        // A symbolic link that was not to be followed.
        ErrorKind::TooManySymlinks.into()
    }
}

/// What a change of so many bytes of the content from `offset` on has a commit write, at the most.
fn cost_of_change(state: &State, to_come: ToCome, offset: u64, len: u64) -> u64 {
    let change = |content: &Content| content.cost_of_change(offset, len, to_come.epoch);
    state.cost_of_noting(to_come) + state.content().map_or(0, change)
}

impl Inode {
    /// Notes a read, once per change and day.
    #[inline]
    pub(crate) fn note_access(&self, state: &State) -> bool {
        state.times.accessed <= state.times.modified.max(state.times.changed)
    }

    #[cold]
    pub(crate) fn mark_accessed(self: &Arc<Self>) {
        let now = clock::wall_nanos();
        // Nobody who reads waits for a commit.
        let mut state = self.write_quietly();
        if state.times.access_due(now) {
            state.times.note_access(now);
            self.note_if_room(&mut state);
        }
    }

    /// A reference to content that is too large to be copied under the lock; a cold small file
    /// is none.
    fn large_content(self: &Arc<Self>) -> Result<Option<Shared>, Fault> {
        {
            let state = self.read();
            let content = content(&state)?;
            if content.len() <= BUF_MAX as u64 || matches!(content, Content::Cold { .. }) {
                return Ok(None);
            }
            if let Some(shared) = content.shared() {
                return Ok(Some(shared));
            }
        }
        let account = self.account();
        retry(self, Wait::Forever, || {
            let mut state = self.write_quietly();
            let shared = content_mut(&mut state)?.share(account)?;
            self.track(&mut state, 0, 1);
            Ok(Some(shared))
        })
    }

    /// Reads at `offset`; small pieces under the lock, large ones from shared chunks.
    #[inline]
    pub(crate) fn read_content(
        self: &Arc<Self>,
        offset: u64,
        to: &mut [u8],
    ) -> Result<usize, Fault> {
        again::reloading(self, || self.read_content_once(offset, to))
    }

    #[inline]
    fn read_content_once(self: &Arc<Self>, offset: u64, to: &mut [u8]) -> Result<usize, Fault> {
        if to.len() > BUF_MAX
            && let Some(shared) = self.large_content()?
        {
            let count = again::read_shared(self, &shared, offset, to)?;
            drop(shared);
            let due = self.note_access(&self.read());
            if due {
                self.mark_accessed();
            }
            return Ok(count);
        }
        let state = self.read();
        let content = content(&state)?;
        let read = content.read(offset, to);
        content.touch(|| self.account());
        let due = self.note_access(&state);
        drop(state);
        if due {
            self.mark_accessed();
        }
        match read {
            Err(fault) if fault.missing().is_some() => {
                self.read_cold(offset, to).map(|seen| seen.count)
            }
            read => read,
        }
    }

    /// Lets `look` see the whole content as under a shared file lock.
    #[inline]
    pub(crate) fn look<R>(
        self: &Arc<Self>,
        wait: Wait,
        look: impl FnOnce(Stored<'_>) -> R,
    ) -> Result<R, Fault> {
        let (_locked, state) = self.read_shared(wait)?;
        let content = content(&state)?;
        content.touch(|| self.account());
        let found = match content {
            Content::Foreign(foreign, _) => look(Stored::Foreign(foreign)),
            content => content.with_owner(|owner| match (owner, content.dense()) {
                (Some(Owner::Foreign(foreign)), _) => look(Stored::Foreign(foreign)),
                (_, Ok(Some(bytes))) if bytes.len() <= BUF_MAX => look(Stored::Slice(&bytes)),
                _ => look(Stored::Pieces(content.len())),
            }),
        };
        let due = self.note_access(&state);
        drop(state);
        if due {
            self.mark_accessed();
        }
        Ok(found)
    }

    /// The state as a holder of the shared file lock sees it.
    ///
    /// Where no writer holds that lock it need not be taken: whoever takes it from now on changes
    /// nothing before the state is let go, so this look comes before theirs.
    #[inline]
    fn read_shared(
        &self,
        wait: Wait,
    ) -> Result<(Option<Locked<'_>>, RwLockReadGuard<'_, State>), Fault> {
        let state = self.read();
        if lock::is_readable(&self.lock) {
            return Ok((None, state));
        }
        drop(state);
        let locked = Locked::new(self, Mode::Shared, wait)?;
        Ok((Some(locked), self.read()))
    }

    /// Replaces the whole content under an exclusive file lock.
    #[inline]
    pub(crate) fn write_whole(
        self: &Arc<Self>,
        source: Source<'_>,
        wait: Wait,
    ) -> Result<(), Fault> {
        let _locked = Locked::new(self, Mode::Exclusive, wait)?;
        self.replace_content(source, wait)
    }

    /// As [`Inode::write_whole`], for a caller that holds the file lock.
    pub(crate) fn replace_content(
        self: &Arc<Self>,
        source: Source<'_>,
        wait: Wait,
    ) -> Result<(), Fault> {
        if let Source::Slice(bytes) = source {
            let mut state = self.change()?;
            let content = content_mut(&mut state)?;
            if content.fits_in_place(bytes.len()) {
                content.overwrite(bytes, self.account());
                self.content_changed(&mut state, 0, bytes.len() as u64);
                return Ok(());
            }
        }
        let source = match source {
            Source::Foreign(foreign) => match self.exchange_foreign(foreign)? {
                None => return Ok(()),
                Some(foreign) => Source::Foreign(foreign),
            },
            source => source,
        };
        self.install_content(source.fresh(self, wait)?)
    }

    /// Puts a foreign buffer in the place of another of the same length, which costs no counter.
    /// Gives it back where something else is.
    #[inline]
    fn exchange_foreign(self: &Arc<Self>, foreign: Foreign) -> Result<Option<Foreign>, Fault> {
        let mut state = self.change()?;
        let old = match content_mut(&mut state)? {
            Content::Foreign(old, _) if old.len() == foreign.len() => {
                std::mem::replace(old, foreign)
            }
            _ => return Ok(Some(foreign)),
        };
        self.content_changed(&mut state, 0, old.len() as u64);
        drop(state);
        drop(old);
        Ok(None)
    }

    /// The state, to change a range of the content.
    #[inline]
    pub(crate) fn change_range(
        self: &Arc<Self>,
        offset: u64,
        len: u64,
    ) -> Result<Writing<'_>, Fault> {
        self.change_for(|state, to_come| cost_of_change(state, to_come, offset, len))
    }

    /// The state, to append so many bytes.
    fn change_end(self: &Arc<Self>, len: u64) -> Result<Writing<'_>, Fault> {
        self.change_for(|state, to_come| {
            let end = state.content().map_or(0, Content::len);
            cost_of_change(state, to_come, end, len)
        })
    }

    pub(crate) fn install_content(self: &Arc<Self>, mut fresh: Fresh<'_>) -> Result<(), Fault> {
        // Given back last, when what was made with it can go.
        let _loan = fresh.loan.take();
        let cost = fresh.content.cost_when_new();
        let mut state = self.change_for(|_, _| cost)?;
        let content = content_mut(&mut state)?;
        content.install(fresh)?;
        let len = content.len();
        self.mark_changed(&mut state);
        self.introduce(&mut state);
        self.note_content(&mut state, len);
        Ok(())
    }

    /// Replaces the content by a reference to that of another file, of which a commit writes so much at the most.
    pub(crate) fn share_content(self: &Arc<Self>, shared: Shared, cost: u64) -> Result<(), Fault> {
        let account = self.account();
        let mut state = self.change_for(|_, _| cost)?;
        let content = content_mut(&mut state)?;
        content.install(Fresh::empty(account))?;
        *content = shared.into_content();
        self.mark_changed(&mut state);
        Ok(())
    }

    #[inline]
    pub(crate) fn write_content(self: &Arc<Self>, offset: u64, from: &[u8]) -> Result<(), Fault> {
        if self.is_changed_in_pieces(offset, from.len() as u64) {
            return self.write_in_pieces(offset, from);
        }
        retry(self, Wait::Forever, || self.write_once(offset, from))
    }

    #[inline]
    fn write_once(self: &Arc<Self>, offset: u64, from: &[u8]) -> Result<(), Fault> {
        let mut state = self.change_range(offset, from.len() as u64)?;
        content_mut(&mut state)?.write(offset, from, self.account())?;
        if !from.is_empty() {
            self.content_changed(&mut state, offset, from.len() as u64);
        }
        Ok(())
    }

    /// Writes what was there before, of a filesystem that is being opened: nobody can tell but the next commit.
    pub(crate) fn put_back(self: &Arc<Self>, offset: u64, from: &[u8]) -> Result<(), Fault> {
        retry(self, Wait::Forever, || {
            let mut state = self.write();
            content_mut(&mut state)?.write(offset, from, self.account())?;
            state.content_restored();
            self.track(&mut state, offset, from.len() as u64);
            Ok(())
        })
    }

    /// Writes at the end, wherever that is; returns where that was.
    pub(crate) fn append_content(self: &Arc<Self>, from: &[u8]) -> Result<u64, Fault> {
        if from.len() > CHUNK / 2 && self.is_appended_in_pieces(from.len()) {
            return self.append_in_pieces(from);
        }
        retry(self, Wait::Forever, || {
            let mut state = self.change_end(from.len() as u64)?;
            let content = content_mut(&mut state)?;
            let end = content.len();
            content.write(end, from, self.account())?;
            if !from.is_empty() {
                self.content_changed(&mut state, end, from.len() as u64);
            }
            Ok(end)
        })
    }

    /// Makes room at the end first, so that nobody else appends in between.
    fn append_in_pieces(self: &Arc<Self>, from: &[u8]) -> Result<u64, Fault> {
        let len = from.len() as u64;
        let start = retry(self, Wait::Forever, || {
            let mut state = self.change_end(1)?;
            let content = content_mut(&mut state)?;
            let start = content.len();
            let end = start.checked_add(len).ok_or(ErrorKind::FileTooLarge)?;
            content.set_len(end, self.account())?;
            Ok(start)
        })?;
        let written = self.write_in_pieces(start, from);
        if let Err(fault) = written {
            let mut state = self.change()?;
            let content = content_mut(&mut state)?;
            // What cannot be cut off stays, as zeros.
            if content.len() == start + len && content.set_len(start, self.account()).is_ok() {
                // A commit may have said what was there meanwhile.
                state.content_restored();
                self.track(&mut state, start.saturating_sub(1), 1);
            }
            return Err(fault);
        }
        Ok(start)
    }

    /// Writes one whole, aligned chunk by reference.
    pub(crate) fn adopt_content(self: &Arc<Self>, offset: u64, owner: Owner) -> Result<(), Fault> {
        let account = self.account();
        let len = owner.as_slice().len() as u64;
        // The buffer is taken over by an attempt, so what it needs is made sure of before.
        let charge = match with_reclaim(account, true, || Charge::reserve(account, 0, len)) {
            Err(fault) if fault.short_of_memory().is_some() => {
                return self.write_content(offset, owner.as_slice());
            }
            charge => charge?,
        };
        retry(self, Wait::Forever, || {
            let mut state = self.change()?;
            content_mut(&mut state)?.table_mut(account).map(drop)
        })?;
        let mut state = self.change_range(offset, len)?;
        content_mut(&mut state)?.write_adopted(offset, owner, charge, account)?;
        self.content_changed(&mut state, offset, len);
        Ok(())
    }

    /// See [`crate::File::allocate`]; the range is checked.
    pub(crate) fn allocate_content(self: &Arc<Self>, offset: u64, len: u64) -> Result<(), Fault> {
        if self.is_changed_in_pieces(offset, len) {
            return self.allocate_in_pieces(offset, len);
        }
        retry(self, Wait::Forever, || self.allocate_once(offset, len))
    }

    pub(crate) fn allocate_once(self: &Arc<Self>, offset: u64, len: u64) -> Result<(), Fault> {
        let mut state = self.change_range(offset, len)?;
        let content = content_mut(&mut state)?;
        let grows = offset + len > content.len();
        let before = content.allocated();
        content.allocate(offset, len, self.account())?;
        let fills_holes = content.allocated() != before;
        if grows {
            self.content_changed(&mut state, offset, len);
            return Ok(());
        }
        if fills_holes {
            // The bytes are the same, but which blocks hold data is a part of the content.
            state.content_restored();
            self.note_content(&mut state, len);
        }
        self.track(&mut state, offset, len);
        Ok(())
    }

    /// See [`crate::File::punch_hole`]; the range is checked.
    pub(crate) fn punch_content(self: &Arc<Self>, offset: u64, len: u64) -> Result<(), Fault> {
        let chunk = CHUNK as u64;
        let (end, first_end) = (offset + len, (offset / chunk + 1) * chunk);
        if self.is_changed_in_pieces(offset, len) && !offset.is_multiple_of(chunk) {
            // Only the first and the last chunk may need bytes: one after the other.
            retry(self, Wait::Forever, || {
                self.punch_once(offset, first_end - offset)
            })?;
            let rest = end - first_end;
            return retry(self, Wait::Forever, || self.punch_once(first_end, rest));
        }
        retry(self, Wait::Forever, || self.punch_once(offset, len))
    }

    fn punch_once(self: &Arc<Self>, offset: u64, len: u64) -> Result<(), Fault> {
        // Bytes change in the chunks at both ends only.
        let last = (offset + len).saturating_sub(1);
        let mut state = self.change_for(|state, to_come| {
            cost_of_change(state, to_come, offset, 1) + cost_of_change(state, to_come, last, 1)
        })?;
        content_mut(&mut state)?.punch(offset, len, self.account())?;
        self.mark_changed(&mut state);
        self.track(&mut state, offset, len);
        Ok(())
    }

    /// Sets both times to now, later than any change before.
    pub(crate) fn touch(self: &Arc<Self>) -> Result<(), Fault> {
        let mut state = self.change()?;
        state.times.content_changed(clock::wall_nanos());
        state.times.accessed = state.times.modified;
        Ok(())
    }

    pub(crate) fn set_content_len(self: &Arc<Self>, len: u64) -> Result<(), Fault> {
        retry(self, Wait::Forever, || {
            let mut state = self.change_range(len.saturating_sub(1), 1)?;
            let content = content_mut(&mut state)?;
            if content.len() != len {
                content.set_len(len, self.account())?;
                self.mark_changed(&mut state);
                self.track(&mut state, len.saturating_sub(1), 1);
            }
            Ok(())
        })
    }

    pub(crate) fn view_content(self: &Arc<Self>) -> Result<View, Fault> {
        let (account, views) = (self.account(), &self.volume().views);
        {
            let state = self.read();
            if account.budget.check_overdraft().is_ok()
                && let Some(pinned) = Pinned::new(content(&state)?, account, views)
            {
                return Ok(View::new(pinned));
            }
        }
        retry_resident(self, Wait::Forever, || {
            let shared = {
                let mut state = self.write_quietly();
                // What a view shows stays, so it must not be borrowed.
                account.budget.check_overdraft()?;
                let content = content_mut(&mut state)?;
                content.gather(account)?;
                let pinned = Pinned::new(content, account, views);
                let shared = content.shared();
                self.track(&mut state, 0, u64::MAX);
                match (pinned, shared) {
                    (Some(pinned), _) => return Ok(View::new(pinned)),
                    (None, shared) => shared.ok_or(ErrorKind::Unsupported)?,
                }
            };
            if shared.is_one_cold_chunk() {
                return Err(Fault::miss(0));
            }
            // Where chunks are shared or missing the copy belongs to the view alone.
            let len = usize::try_from(shared.len()).map_err(|_| ErrorKind::OutOfMemory)?;
            let copy = private_copy(len, account, |to, at| {
                again::read_shared(self, &shared, at as u64, to).map(drop)
            })?;
            let mut state = self.write_quietly();
            let content = content_mut(&mut state)?;
            let pinned = match content.gather_read(shared, copy) {
                Some(copy) => Pinned::new(&copy, account, views),
                None => Pinned::new(content, account, views),
            };
            self.track(&mut state, 0, u64::MAX);
            Ok(View::new(pinned.ok_or(ErrorKind::Unsupported)?))
        })
    }
}
