//! What can be done to a file's content, given its node and, where that matters, its file lock.

use bytes::Bytes;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::RwLockReadGuard;
use crate::handle::lock::{self, Mode};
use crate::handle::view::View;
use crate::handle::wait::Wait;
use crate::memory::chunk::Owner;
use crate::memory::content::{BUF_MAX, Content, Shared};
use crate::memory::foreign::Foreign;
use crate::memory::fresh::Fresh;
use crate::namespace::inode::{Inode, State};

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

/// New content for a file, not yet looked at.
#[derive(Debug)]
pub enum Source<'a> {
    /// Bytes to copy.
    Slice(&'a [u8]),
    /// A Rust buffer to adopt (up to 512 bytes are copied).
    Bytes(Bytes),
    /// A buffer of another runtime to adopt.
    Foreign(Foreign),
}

impl Source<'_> {
    pub(crate) fn fresh<'a>(self, node: &'a Inode) -> Result<Fresh<'a>, Fault> {
        let account = node.account();
        match self {
            Source::Slice(bytes) => Fresh::copied(bytes, account),
            Source::Bytes(bytes) => Fresh::bytes(bytes, account),
            Source::Foreign(foreign) => Fresh::foreign(foreign, account),
        }
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

impl Inode {
    /// Notes a read, once per change and day.
    #[inline]
    pub(crate) fn note_access(&self, state: &State) -> bool {
        state.times.accessed <= state.times.modified.max(state.times.changed)
    }

    #[cold]
    pub(crate) fn mark_accessed(&self) {
        let now = clock::wall_nanos();
        let mut state = self.write();
        if state.times.access_due(now) {
            state.times.note_access(now);
        }
    }

    /// A reference to content that is too large to be copied under the lock.
    fn large_content(&self) -> Result<Option<Shared>, Fault> {
        {
            let state = self.read();
            let content = content(&state)?;
            if content.len() <= BUF_MAX as u64 {
                return Ok(None);
            }
            if let Some(shared) = content.shared() {
                return Ok(Some(shared));
            }
        }
        let account = self.account();
        content_mut(&mut self.write())?.share(account).map(Some)
    }

    /// Reads at `offset`; small pieces under the lock, large ones from shared chunks.
    #[inline]
    pub(crate) fn read_content(&self, offset: u64, to: &mut [u8]) -> Result<usize, Fault> {
        if to.len() > BUF_MAX
            && let Some(shared) = self.large_content()?
        {
            let count = shared.read(offset, to);
            drop(shared);
            let due = self.note_access(&self.read());
            if due {
                self.mark_accessed();
            }
            return Ok(count);
        }
        let state = self.read();
        let count = content(&state)?.read(offset, to);
        let due = self.note_access(&state);
        drop(state);
        if due {
            self.mark_accessed();
        }
        Ok(count)
    }

    /// Lets `look` see the whole content as under a shared file lock.
    #[inline]
    pub(crate) fn look<R>(
        &self,
        wait: Wait,
        look: impl FnOnce(Stored<'_>) -> R,
    ) -> Result<R, Fault> {
        let (_locked, state) = self.read_shared(wait)?;
        let found = match content(&state)? {
            Content::Foreign(foreign) => look(Stored::Foreign(foreign)),
            content => match (content.owner(), content.dense()) {
                (Some(Owner::Foreign(foreign)), _) => look(Stored::Foreign(foreign)),
                (_, Some(bytes)) if bytes.len() <= BUF_MAX => look(Stored::Slice(bytes)),
                _ => look(Stored::Pieces(content.len())),
            },
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

    /// The whole content: adopted buffers by reference, anything else in one copy.
    pub(crate) fn read_whole(&self, wait: Wait) -> Result<Bytes, Fault> {
        let (locked, state) = self.read_shared(wait)?;
        let kept = content(&state)?;
        let due = self.note_access(&state);
        let found = match kept.owner() {
            Some(Owner::Rust(bytes)) => Some(bytes.clone()),
            _ => kept
                .dense()
                .filter(|bytes| bytes.len() <= BUF_MAX && kept.owner().is_none())
                .filter(|_| !matches!(kept, Content::Foreign(_)))
                .map(Bytes::copy_from_slice),
        };
        drop(state);
        if due {
            self.mark_accessed();
        }
        match found {
            Some(bytes) => Ok(bytes),
            None => {
                // Nothing was seen yet that another look could contradict.
                let _locked = match locked {
                    Some(locked) => locked,
                    None => Locked::new(self, Mode::Shared, wait)?,
                };
                self.read_whole_shared()
            }
        }
    }

    fn read_whole_shared(&self) -> Result<Bytes, Fault> {
        let account = self.account();
        let (shared, foreign) = {
            let mut state = self.write();
            let content = content_mut(&mut state)?;
            let shared = content.share(account)?;
            (shared, matches!(content.owner(), Some(Owner::Foreign(_))))
        };
        // An adopted buffer of another runtime is handed out as a view of it.
        if foreign && let Some(view) = View::new(shared.clone(), &self.volume().views) {
            return Ok(Bytes::from_owner(view));
        }
        let len = usize::try_from(shared.len()).map_err(|_| ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| ErrorKind::OutOfMemory)?;
        bytes.resize(len, 0);
        shared.read(0, &mut bytes);
        Ok(Bytes::from(bytes))
    }

    /// Replaces the whole content under an exclusive file lock.
    #[inline]
    pub(crate) fn write_whole(&self, source: Source<'_>, wait: Wait) -> Result<(), Fault> {
        let _locked = Locked::new(self, Mode::Exclusive, wait)?;
        self.replace_content(source)
    }

    /// As [`Inode::write_whole`], for a caller that holds the file lock.
    pub(crate) fn replace_content(&self, source: Source<'_>) -> Result<(), Fault> {
        if let Source::Slice(bytes) = source {
            let mut state = self.write();
            let content = content_mut(&mut state)?;
            if content.fits_in_place(bytes.len()) {
                content.overwrite(bytes, self.account());
                state.content_changed(clock::wall_nanos());
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
        self.install_content(source.fresh(self)?)
    }

    /// Puts a foreign buffer in the place of another of the same length, which costs no counter.
    /// Gives it back where something else is.
    #[inline]
    fn exchange_foreign(&self, foreign: Foreign) -> Result<Option<Foreign>, Fault> {
        let mut state = self.write();
        let old = match content_mut(&mut state)? {
            Content::Foreign(old) if old.len() == foreign.len() => std::mem::replace(old, foreign),
            _ => return Ok(Some(foreign)),
        };
        state.content_changed(clock::wall_nanos());
        drop(state);
        drop(old);
        Ok(None)
    }

    pub(crate) fn install_content(&self, fresh: Fresh<'_>) -> Result<(), Fault> {
        let mut state = self.write();
        content_mut(&mut state)?.install(fresh)?;
        state.content_changed(clock::wall_nanos());
        Ok(())
    }

    /// Replaces the content by a reference to that of another file.
    pub(crate) fn share_content(&self, shared: Shared) -> Result<(), Fault> {
        let account = self.account();
        let mut state = self.write();
        let content = content_mut(&mut state)?;
        content.install(Fresh::empty(account))?;
        *content = shared.into_content();
        state.content_changed(clock::wall_nanos());
        Ok(())
    }

    #[inline]
    pub(crate) fn write_content(&self, offset: u64, from: &[u8]) -> Result<(), Fault> {
        let mut state = self.write();
        content_mut(&mut state)?.write(offset, from, self.account())?;
        if !from.is_empty() {
            state.content_changed(clock::wall_nanos());
        }
        Ok(())
    }

    /// Writes at the end, wherever that is; returns where that was.
    pub(crate) fn append_content(&self, from: &[u8]) -> Result<u64, Fault> {
        let mut state = self.write();
        let content = content_mut(&mut state)?;
        let end = content.len();
        content.write(end, from, self.account())?;
        if !from.is_empty() {
            state.content_changed(clock::wall_nanos());
        }
        Ok(end)
    }

    /// Writes one whole, aligned chunk by reference.
    pub(crate) fn adopt_content(&self, offset: u64, owner: Owner) -> Result<(), Fault> {
        let mut state = self.write();
        content_mut(&mut state)?.write_adopted(offset, owner, self.account())?;
        state.content_changed(clock::wall_nanos());
        Ok(())
    }

    /// Sets both times to now, later than any change before.
    pub(crate) fn touch(&self) {
        let mut state = self.write();
        state.times.content_changed(clock::wall_nanos());
        state.times.accessed = state.times.modified;
    }

    pub(crate) fn set_content_len(&self, len: u64) -> Result<(), Fault> {
        let mut state = self.write();
        let content = content_mut(&mut state)?;
        if content.len() != len {
            content.set_len(len, self.account())?;
            state.content_changed(clock::wall_nanos());
        }
        Ok(())
    }

    pub(crate) fn view_content(&self) -> Result<View, Fault> {
        let account = self.account();
        let shared = {
            let state = self.read();
            content(&state)?
                .shared()
                .filter(|shared| shared.contiguous().is_some())
        };
        let shared = match shared {
            Some(shared) => shared,
            None => content_mut(&mut self.write())?.pin(account)?,
        };
        View::new(shared, &self.volume().views).ok_or_else(|| ErrorKind::Unsupported.into())
    }
}
