//! An open file.

use std::fmt;

use smallvec::SmallVec;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::fork;
use crate::base::operations::Operation;
use crate::base::sync::Arc;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::handle::lock::Hold;
use crate::handle::node;
use crate::handle::view::View;
use crate::memory::chunk::{CHUNK, Chunk, Owner};
use crate::memory::content::Content;
use crate::memory::foreign::Foreign;
use crate::memory::residence::Alone;
use crate::memory::table::MAX_LEN;
use crate::namespace::inode::Inode;
use crate::namespace::log::Call;
use crate::namespace::meta::Metadata;

/// What a handle may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
}

/// An open file, with a position and, unless opened otherwise, a file lock.
///
/// Reads and writes go through `&File` too, so a handle can be shared by threads; the position is
/// then shared as well, and [`File::read_at`] and [`File::write_at`] do without it. Every write
/// happens as a whole or not at all. Dropping the handle releases the file lock.
pub struct File {
    node: Arc<Inode>,
    hold: Mutex<Option<Hold>>,
    access: Access,
    closed: AtomicBool,
    pub(crate) position: AtomicU64,
    /// What `fill_buf` handed out a part of.
    pub(crate) buffered: Option<View>,
    /// Where in the file that begins.
    pub(crate) buffered_at: u64,
    /// The path that it was opened by, for messages.
    path: SmallVec<[u8; 64]>,
}

impl File {
    #[inline]
    pub(crate) fn new(node: Arc<Inode>, hold: Option<Hold>, access: Access, path: &[u8]) -> Self {
        node.volume().handles.add(1);
        File {
            node,
            hold: Mutex::new(hold),
            access,
            closed: AtomicBool::new(false),
            position: AtomicU64::new(0),
            buffered: None,
            buffered_at: 0,
            path: SmallVec::from_slice(path),
        }
    }

    #[inline]
    pub(crate) fn node(&self) -> &Arc<Inode> {
        &self.node
    }

    /// The path that the file was opened by.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.node.number()
    }

    /// Whether the handle may read.
    #[must_use]
    pub fn can_read(&self) -> bool {
        self.access.read
    }

    /// Whether the handle may write.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.access.write || self.access.append
    }

    /// Whether every write goes to the end.
    #[must_use]
    pub fn is_append(&self) -> bool {
        self.access.append
    }

    #[inline]
    fn check(&self, allowed: bool) -> Result<(), Fault> {
        self.node.volume().check()?;
        if self.closed.load(Ordering::Relaxed) {
            return Err(ErrorKind::Closed.into());
        }
        if allowed {
            Ok(())
        } else {
            Err(ErrorKind::BadHandle.into())
        }
    }

    #[inline(always)]
    fn counted<R>(&self, operation: Operation, f: impl FnOnce() -> Result<R>) -> Result<R> {
        self.node.volume().operations.count(operation, f)
    }

    /// Runs an operation and names it and the path in the error; `measure` says what it moved.
    #[inline(always)]
    fn acting<R>(
        &self,
        (op, allowed): (&'static str, bool),
        measure: impl FnOnce(&R) -> u64,
        f: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R> {
        let call = Call::on(op, &self.path);
        self.node.volume().logged(call, measure, || {
            let done = self.check(allowed).and_then(|()| f());
            let done = self.node.volume().settle(done);
            done.map_err(|fault| fault.at(op, &self.path))
        })
    }

    #[inline(always)]
    pub(crate) fn reading<R>(
        &self,
        op: &'static str,
        measure: impl FnOnce(&R) -> u64,
        f: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R> {
        self.acting((op, self.access.read), measure, f)
    }

    #[inline(always)]
    fn writing<R>(
        &self,
        op: &'static str,
        measure: impl FnOnce(&R) -> u64,
        f: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R> {
        self.acting((op, self.can_write()), measure, f)
    }

    /// Reads at `offset` and returns how many bytes there were, 0 at the end.
    ///
    /// # Errors
    /// [`ErrorKind::BadHandle`] if the handle may not read, [`ErrorKind::Closed`].
    #[inline]
    pub fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize> {
        self.counted(Operation::Read, || {
            self.reading(
                "read",
                |count| *count as u64,
                || self.node.read_content(offset, to),
            )
        })
    }

    /// Writes all of `from` at `offset`, or nothing; a gap before it becomes a hole. A handle that
    /// was opened for appending writes at the end instead.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`], [`ErrorKind::MemoryLimit`], [`ErrorKind::FileTooLarge`],
    /// [`ErrorKind::BadHandle`] if the handle may not write, [`ErrorKind::Closed`].
    #[inline]
    pub fn write_at(&self, offset: u64, from: &[u8]) -> Result<usize> {
        self.counted(Operation::Write, || {
            self.writing(
                "write",
                |count| *count as u64,
                || {
                    if self.access.append {
                        self.node.append_content(from)?;
                    } else {
                        self.node.write_content(offset, from)?;
                    }
                    Ok(from.len())
                },
            )
        })
    }

    /// Writes at the end, wherever that is, and returns where that was. Errors as
    /// [`File::write_at`].
    pub fn append(&self, from: &[u8]) -> Result<u64> {
        self.counted(Operation::Write, || {
            self.writing(
                "append",
                |_| from.len() as u64,
                || self.node.append_content(from),
            )
        })
    }

    /// Makes a foreign buffer of exactly one chunk (1 MiB) the content at `offset`, a multiple of
    /// it, by reference. Errors as [`File::write_at`].
    #[doc(hidden)]
    pub fn adopt_at(&self, offset: u64, foreign: Foreign) -> Result<()> {
        let len = foreign.len() as u64;
        self.writing(
            "write",
            |()| len,
            || {
                if foreign.len() != CHUNK || !offset.is_multiple_of(CHUNK as u64) {
                    return Err(ErrorKind::InvalidArgument.into());
                }
                self.node.adopt_content(offset, Owner::Foreign(foreign))
            },
        )
    }

    /// Lets `look` see the foreign buffer that is exactly the content at `offset`, if one is.
    #[doc(hidden)]
    pub fn look_adopted<R>(
        &self,
        offset: u64,
        len: usize,
        look: impl FnOnce(&Foreign) -> R,
    ) -> Result<Option<R>> {
        self.reading(
            "read",
            |found: &Option<R>| if found.is_some() { len as u64 } else { 0 },
            || {
                let state = self.node.read();
                let found = match node::content(&state)? {
                    Content::Foreign(foreign, _) if offset == 0 => Some(foreign),
                    Content::Table(table) if offset.is_multiple_of(CHUNK as u64) => {
                        let Some(chunk) = table.chunk(offset / CHUNK as u64) else {
                            return Ok(None);
                        };
                        let hold = Chunk::look(chunk, Alone::of(table));
                        return Ok(match chunk.owner(&hold) {
                            Some(Owner::Foreign(foreign)) if foreign.len() == len => {
                                Some(look(foreign))
                            }
                            _ => None,
                        });
                    }
                    _ => None,
                };
                Ok(found.filter(|foreign| foreign.len() == len).map(look))
            },
        )
    }

    /// Sets the length; what is gained reads as zeros and costs nothing.
    ///
    /// # Errors
    /// [`ErrorKind::FileTooLarge`] beyond 2^63 - 1. Cutting through a chunk that a copy shares
    /// can fail with [`ErrorKind::QuotaExceeded`] or [`ErrorKind::MemoryLimit`].
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.writing("truncate", |()| 0, || self.node.set_content_len(len))
    }

    /// Makes sure that writing to the range needs no more quota; extends the file if needed.
    ///
    /// # Errors
    /// As [`File::write_at`].
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.writing(
            "allocate",
            |()| 0,
            || {
                offset.checked_add(len).ok_or(ErrorKind::FileTooLarge)?;
                if len == 0 {
                    return Err(ErrorKind::InvalidArgument.into());
                }
                self.node.allocate_content(offset, len)
            },
        )
    }

    /// Makes the range read as zeros and gives back the blocks (16 KiB) that it covers whole.
    ///
    /// # Errors
    /// As [`File::set_len`].
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        self.writing(
            "punch a hole into",
            |()| 0,
            || {
                if len == 0 {
                    return Err(ErrorKind::InvalidArgument.into());
                }
                if offset.checked_add(len).is_none_or(|end| end > MAX_LEN) {
                    return Err(ErrorKind::FileTooLarge.into());
                }
                self.node.punch_content(offset, len)
            },
        )
    }

    /// The first place at or after `offset` that holds data; `None` if only a hole follows.
    pub fn seek_data(&self, offset: u64) -> Result<Option<u64>> {
        self.seek_extent(offset, true)
    }

    /// The first place at or after `offset` in a hole, as which the end counts; `None` past it.
    pub fn seek_hole(&self, offset: u64) -> Result<Option<u64>> {
        self.seek_extent(offset, false)
    }

    fn seek_extent(&self, offset: u64, data: bool) -> Result<Option<u64>> {
        self.check(true)
            .and_then(|()| Ok(node::content(&self.node.read())?.seek(offset, data)))
            .map_err(|fault| fault.at("seek", &self.path))
    }

    /// Makes everything durable that was done in the filesystem before the call, not in this file only. Does
    /// nothing in a filesystem that is not kept in a directory.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`]; those of [`FileSystem::sync`](crate::FileSystem::sync).
    pub fn sync(&self) -> Result<()> {
        self.check(true)
            .and_then(|()| match &self.node.volume().changes {
                Some(changes) => changes.commit(),
                None => Ok(()),
            })
            .map_err(|fault| fault.at("sync", &self.path))
    }

    /// The content as one slice, without a copy; see [`View`].
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if the content has to be gathered and there is no room to.
    pub fn view(&self) -> Result<View> {
        self.counted(Operation::Read, || {
            self.reading(
                "view",
                |view: &View| view.len() as u64,
                || self.node.view_content(),
            )
        })
    }

    /// A part of the content as one slice; what lies past the end is left out. Errors as
    /// [`File::view`].
    pub fn view_range(&self, offset: u64, len: usize) -> Result<View> {
        let view = self.view()?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(view.len());
        Ok(view.slice(start..view.len().min(start.saturating_add(len))))
    }

    /// What is known about the file.
    pub fn metadata(&self) -> Result<Metadata> {
        self.check(true)
            .map(|()| self.node.metadata())
            .map_err(|fault| fault.at("stat", &self.path))
    }

    /// Length in bytes; 0 once the filesystem is closed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.node
            .read()
            .content()
            .map_or(0, |content| content.len())
    }

    /// Whether the length is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the next read or write goes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Closes the handle: releases its file lock now. Every later call answers
    /// [`ErrorKind::Closed`]; closing twice does nothing.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) || !self.is_ours() {
            return;
        }
        let hold = self.hold.lock().take();
        self.end(hold);
    }

    /// Whether the handle belongs to this process and not to one that forked.
    fn is_ours(&self) -> bool {
        self.node.volume().born == fork::generation()
    }

    #[inline]
    fn end(&self, hold: Option<Hold>) {
        if self.can_write() {
            let account = self.node.account();
            let mut state = self.node.write_quietly();
            if let Some(content) = state.content_mut() {
                content.shrink_to_fit(account);
            }
            self.node.track(&mut state, 0, u64::MAX);
        }
        if let Some(mut hold) = hold {
            hold.release(&self.node.lock);
        }
        self.node.volume().handles.add(-1);
    }
}

impl Drop for File {
    #[inline]
    fn drop(&mut self) {
        if *self.closed.get_mut() || !self.is_ours() {
            return;
        }
        let hold = self.hold.get_mut().take();
        self.end(hold);
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        write!(f, "File({path:?} at {})", self.position())
    }
}
