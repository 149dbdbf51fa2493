//! Content that is larger than memory: written in pieces that can go while the rest comes.
//!
//! Only where a tier takes content away; everything else is written in one step. Holds no lock
//! of a node from one piece to the next.

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
use crate::memory::table::{MAX_LEN, Table, pieces};
use crate::namespace::inode::Inode;

/// New content larger than this share of the memory limit is built chunk by chunk.
const SHARE: u64 = 8;

/// Quota that is put aside for a write in pieces, which take it from here: it is never free in
/// between. What is left goes back.
struct Earmarked<'a> {
    node: &'a Inode,
    left: u64,
}

impl Drop for Earmarked<'_> {
    fn drop(&mut self) {
        self.node.account().quota.release(self.left);
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
        let hidden = self.hidden_beside()?;
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
        Ok(Fresh::from((content, account)))
    }

    fn hidden_beside(&self) -> Result<Arc<Inode>, Fault> {
        let budget = &self.account().budget;
        let hidden = with_reclaim(self.account(), true, || self.volume().hidden_node());
        match hidden {
            Err(fault) if fault.short_of_memory().is_some() => {
                let _loan = budget.borrow_kept()?.ok_or(fault)?;
                self.volume().hidden_node()
            }
            hidden => hidden,
        }
    }

    /// Lets content in borrowed memory go, for a caller that is going to wait for others.
    pub(crate) fn repay<'a>(&self, mut fresh: Fresh<'a>) -> Result<Fresh<'a>, Fault> {
        let Some(loan) = fresh.loan.take() else {
            return Ok(fresh);
        };
        let account = fresh.account;
        let hidden = self.volume().hidden_node()?;
        {
            let mut state = hidden.write();
            *content_mut(&mut state)? = Content::deposit(fresh)?;
            content_mut(&mut state)?.table_mut(account)?;
            hidden.track(&mut state, 0, 1);
        }
        drop(loan);
        Ok(content_mut(&mut hidden.write())?.withdraw(account))
    }

    /// Writes a range that spans chunks, one after the other; the quota for all of it is put
    /// aside first.
    pub(crate) fn write_in_pieces(self: &Arc<Self>, offset: u64, from: &[u8]) -> Result<(), Fault> {
        let mut quota = self.earmark(offset, from.len() as u64)?;
        for piece in pieces(offset, from.len() as u64) {
            let part = &from[piece.at..piece.at + piece.end - piece.start];
            let at = offset + piece.at as u64;
            retry(self, Wait::Forever, || {
                self.change_piece(at, part.len(), |table| {
                    table.write(at, part, &mut quota.left)
                })
            })?;
        }
        Ok(())
    }

    fn change_piece(
        self: &Arc<Self>,
        offset: u64,
        len: usize,
        change: impl FnOnce(&mut Table) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut state = self.change_range(offset, len as u64)?;
        change(content_mut(&mut state)?.table_mut(self.account())?)?;
        self.content_changed(&mut state, offset, len as u64);
        Ok(())
    }

    /// Makes a range data that spans chunks, one after the other.
    pub(crate) fn allocate_in_pieces(self: &Arc<Self>, offset: u64, len: u64) -> Result<(), Fault> {
        let mut quota = self.earmark(offset, len)?;
        for piece in pieces(offset, len) {
            let (at, part) = (offset + piece.at as u64, piece.end - piece.start);
            retry(self, Wait::Forever, || {
                self.change_piece(at, part, |table| {
                    table.allocate(at, part as u64, &mut quota.left)
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
            let mut state = self.change()?;
            let content = content_mut(&mut state)?;
            content.table_mut(self.account())?;
            Ok(content.quota_for(offset, len))
        })?;
        self.account().quota.reserve(left)?;
        Ok(Earmarked { node: self, left })
    }
}
