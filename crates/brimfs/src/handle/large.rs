//! Content that is larger than memory: written in pieces that can go while the rest comes.
//!
//! Only where a tier takes content away; everything else is written in one step. Holds no lock
//! of a node from one piece to the next.

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault, LimitInfo};
use crate::base::sync::Arc;
use crate::handle::again::retry;
use crate::handle::node::content_mut;
use crate::handle::view::View;
use crate::handle::wait::Wait;
use crate::memory::chunk::CHUNK;
use crate::memory::content::Content;
use crate::memory::fresh::{Fresh, private_copy};
use crate::memory::shared::Pinned;
use crate::memory::small::with_reclaim;
use crate::memory::table::{MAX_LEN, pieces};
use crate::namespace::inode::Inode;

/// New content larger than this share of the memory limit is built chunk by chunk.
const SHARE: u64 = 8;

/// Quota that is put aside for a write in pieces. What is left of it goes back.
struct Earmarked<'a> {
    node: &'a Inode,
    left: u64,
}

impl Earmarked<'_> {
    /// Gives so much back that one piece can have it.
    fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.node.account().quota.release(bytes);
    }
}

impl Drop for Earmarked<'_> {
    fn drop(&mut self) {
        self.release(self.left);
    }
}

impl Inode {
    /// Whether content of this length has to be built in pieces.
    #[inline]
    pub(crate) fn is_built_in_pieces(&self, len: usize) -> bool {
        len > CHUNK && self.is_large(len)
    }

    #[cold]
    fn is_large(&self, len: usize) -> bool {
        let budget = &self.account().budget;
        len as u64 > budget.limit() / SHARE && budget.wake_tier()
    }

    /// Whether a change of this range has to be made in pieces.
    #[inline]
    pub(crate) fn is_changed_in_pieces(&self, offset: u64, len: u64) -> bool {
        let chunk = CHUNK as u64;
        offset % chunk + len > chunk && self.is_appended_in_pieces(len as usize)
    }

    /// Whether so much has to be appended in pieces, wherever the end is.
    #[inline]
    pub(crate) fn is_appended_in_pieces(&self, len: usize) -> bool {
        self.account().budget.is_tracking() || self.is_large(len)
    }

    /// New content for a file, in a node that nobody finds: chunk by chunk, and those that are
    /// there already can go.
    pub(crate) fn build_in_pieces(&self, bytes: &[u8], wait: Wait) -> Result<Fresh<'_>, Fault> {
        let account = self.account();
        let limit = account.quota.limit();
        if bytes.len() as u64 > limit {
            let info = LimitInfo {
                requested: bytes.len() as u64,
                used: account.quota.used(),
                limit,
            };
            return Err(Fault::limit(ErrorKind::QuotaExceeded, info));
        }
        let hidden = self.volume().hidden_node()?;
        for (index, part) in bytes.chunks(CHUNK).enumerate() {
            retry(&hidden, wait, || {
                let chunk = Fresh::chunk(part, account)?;
                let mut state = hidden.write();
                content_mut(&mut state)?.push_unpaid(index as u64, chunk, account)?;
                hidden.track(&mut state, (index * CHUNK) as u64, 1);
                Ok(())
            })?;
        }
        let mut state = hidden.write();
        let content = content_mut(&mut state)?.take_unpaid();
        Ok(Fresh { content, account })
    }

    /// Writes a range that spans chunks, one after the other; the quota for all of it is put
    /// aside first.
    pub(crate) fn write_in_pieces(self: &Arc<Self>, offset: u64, from: &[u8]) -> Result<(), Fault> {
        let mut quota = self.earmark(offset, from.len() as u64)?;
        for piece in pieces(offset, from.len() as u64) {
            let part = &from[piece.at..piece.at + piece.end - piece.start];
            let at = offset + piece.at as u64;
            retry(self, Wait::Forever, || {
                self.change_piece(at, part.len(), &mut quota, |content| {
                    content.write(at, part, self.account())
                })
            })?;
        }
        Ok(())
    }

    fn change_piece(
        self: &Arc<Self>,
        offset: u64,
        len: usize,
        quota: &mut Earmarked<'_>,
        change: impl FnOnce(&mut Content) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut state = self.write();
        let content = content_mut(&mut state)?;
        let needed = content.quota_for(offset, len as u64).min(quota.left);
        quota.release(needed);
        if let Err(fault) = change(content) {
            // It is needed once more, unless somebody else was faster.
            if self.account().quota.reserve(needed).is_ok() {
                quota.left += needed;
            }
            return Err(fault);
        }
        state.content_changed(clock::wall_nanos());
        self.track(&mut state, offset, len as u64);
        Ok(())
    }

    /// Makes a range data that spans chunks, one after the other.
    pub(crate) fn allocate_in_pieces(self: &Arc<Self>, offset: u64, len: u64) -> Result<(), Fault> {
        let mut quota = self.earmark(offset, len)?;
        for piece in pieces(offset, len) {
            let (at, part) = (offset + piece.at as u64, piece.end - piece.start);
            retry(self, Wait::Forever, || {
                self.change_piece(at, part, &mut quota, |content| {
                    content.allocate(at, part as u64, self.account())
                })
            })?;
        }
        Ok(())
    }

    /// What there is to see from `offset` on, and where it begins: all of the file as a view, or a
    /// copy of a part of it where all would be too much.
    pub(crate) fn window(self: &Arc<Self>, offset: u64, len: usize) -> Result<(View, u64), Fault> {
        let whole = self.read().content().map_or(0, |content| content.len());
        if !self.is_built_in_pieces(usize::try_from(whole).unwrap_or(usize::MAX)) {
            return self.view_content().map(|view| (view, 0));
        }
        let account = self.account();
        let len = whole.saturating_sub(offset).min(len as u64) as usize;
        let mut count = 0;
        let copy = with_reclaim(account, true, || {
            private_copy(len, account, |to, at| {
                let read = self.read_content(offset + at as u64, to)?;
                to[read..].fill(0);
                count = at + read;
                Ok(())
            })
        })?;
        let pinned = Pinned::new(&copy, account, &self.volume().views);
        let view = View::new(pinned.ok_or(ErrorKind::Unsupported)?);
        Ok((view.slice(0..count), offset))
    }

    fn earmark(self: &Arc<Self>, offset: u64, len: u64) -> Result<Earmarked<'_>, Fault> {
        if offset.checked_add(len).is_none_or(|end| end > MAX_LEN) {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let left = retry(self, Wait::Forever, || {
            let mut state = self.write();
            let content = content_mut(&mut state)?;
            content.table_mut(self.account())?;
            Ok(content.quota_for(offset, len))
        })?;
        self.account().quota.reserve(left)?;
        Ok(Earmarked { node: self, left })
    }
}
