//! Large content as one run of memory, for views; and chunk by chunk, where it is larger than memory.
//!
//! Beside [`Run`], the parts of [`Content`] and [`Table`] that only one of both needs.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicU32, Ordering};
use crate::memory::account::Account;
use crate::memory::chunk::{CHUNK, Chunk, Owner, quota_of_range};
use crate::memory::content::Content;
use crate::memory::fresh::copied_run;
use crate::memory::residence::{Alone, Pin};
use crate::memory::shared::{Shared, pin_chunk};
use crate::memory::table::{Table, pieces};

/// The chunks of one run of memory, which views show as one slice.
///
/// Either views pin it, or chunks of it may go; once one went it is a run no more.
#[derive(Debug, Default)]
pub(crate) struct Run(AtomicU32);

impl Run {
    const BROKEN: u32 = 1 << 31;

    /// Pins all chunks, unless one of them went.
    pub(super) fn pin(&self) -> bool {
        let more = |pins: u32| (pins & Self::BROKEN == 0).then_some(pins + 1);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.fetch_update(set, get, more).is_ok()
    }

    pub(super) fn unpin(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    /// Whether a chunk may go; then no view of the whole run comes into being any more.
    pub(super) fn break_up(&self) -> bool {
        let one = |state: u32| (state == 0 || state == Self::BROKEN).then_some(Self::BROKEN);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.fetch_update(set, get, one).is_ok()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::BROKEN
    }

    pub(super) fn is_pinned(&self) -> bool {
        let state = self.0.load(Ordering::Acquire);
        state != 0 && state != Self::BROKEN
    }
}

impl Content {
    /// Quota that data at `offset` would need more than now. Zero for what is no table.
    pub(crate) fn quota_for(&mut self, offset: u64, len: u64) -> u64 {
        match self {
            Content::Table(table) => Table::quota_for(table, offset, len),
            _ => 0,
        }
    }

    /// Puts a chunk behind all others of content that no quota is booked for yet.
    pub(crate) fn push_unpaid(
        &mut self,
        index: u64,
        chunk: Chunk,
        account: &Arc<Account>,
    ) -> Result<(), Fault> {
        self.table_mut(account)?.push(index, chunk)
    }

    /// The content of a node that nobody found; its quota is not booked.
    pub(crate) fn take_unpaid(&mut self) -> Self {
        std::mem::replace(self, Content::Empty)
    }

    /// Lays the content out in one piece, for views: at most one copy the first time, none later.
    /// Not where chunks are shared or missing: then the copy has to be the view's alone.
    pub(crate) fn gather(&mut self, account: &Arc<Account>) -> Result<(), Fault> {
        self.share(account)?;
        if let Content::Table(table) = self
            && let Some(table) = Arc::get_mut(table)
            && !table.is_one_piece()
            && table.first_cold().is_none()
        {
            table.gather(account)?;
        }
        Ok(())
    }
}

impl Content {
    /// Takes a run that was read from `shared` in its place, if that is still the content and
    /// nobody else has it; gives it back if not. As [`Content::gather`], for cold content.
    pub(crate) fn gather_read(&mut self, shared: Shared, run: Content) -> Option<Content> {
        let is_same = match (&*self, &shared) {
            (Content::Table(table), Shared::Table(read)) => Arc::ptr_eq(table, read),
            _ => false,
        };
        drop(shared);
        if let Content::Table(table) = self
            && is_same
            && let Some(table) = Arc::get_mut(table)
            && table.can_be_run()
            && let Content::Table(run) = run
        {
            match Arc::try_unwrap(run) {
                Ok(run) => table.become_run(run),
                Err(run) => return Some(Content::Table(run)),
            }
            return None;
        }
        Some(run)
    }
}

impl Table {
    /// Keeps the whole content in memory, if it lies there in one piece, and says where.
    pub(crate) fn pin(&self, alone: Alone, is_needed: bool) -> Option<(*const u8, usize, Pin)> {
        let first = self.slots.get(0)?;
        if first.data_end() as u64 == self.len {
            return pin_chunk(first, alone, is_needed);
        }
        if !self.contiguous {
            return None;
        }
        let pin = match is_needed {
            true => first.pin_run()?,
            false => Pin::Unneeded,
        };
        let hold = Chunk::look(first, alone);
        let bytes = first.dense_bytes(&hold)?;
        Some((bytes.as_ptr(), self.len as usize, pin))
    }

    /// Quota that data in a range would need more than now.
    pub(crate) fn quota_for(this: &mut Arc<Self>, offset: u64, len: u64) -> u64 {
        let mut sole = Arc::get_mut(this);
        if sole.is_none() {
            // All of its chunks count as shared.
            return pieces(offset, len)
                .map(|piece| match this.slots.get(piece.index) {
                    Some(chunk) => chunk.quota_when_copied(piece.start, piece.end),
                    None => quota_of_range(piece.start, piece.end),
                })
                .sum();
        }
        pieces(offset, len)
            .map(|piece| {
                let slot = sole
                    .as_mut()
                    .and_then(|table| table.slots.get_mut(piece.index));
                match slot {
                    None => quota_of_range(piece.start, piece.end),
                    Some(slot) => match Arc::get_mut(slot) {
                        Some(chunk) => chunk.quota_for(piece.start, piece.end),
                        None => slot.quota_when_copied(piece.start, piece.end),
                    },
                }
            })
            .sum()
    }

    /// Puts a chunk that has no quota behind all others.
    pub(crate) fn push(&mut self, index: u64, chunk: Chunk) -> Result<(), Fault> {
        let end = index * CHUNK as u64 + chunk.data_end() as u64;
        self.reserve_slots(end, 1)?;
        self.slots.put(index, Arc::new(chunk));
        self.grow_len(end);
        Ok(())
    }

    /// Calls `visit` with every chunk from number `first` to before number `end`.
    pub(crate) fn each_in(&self, first: u64, end: u64, mut visit: impl FnMut(u64, &Arc<Chunk>)) {
        for index in self.slots.indices(first, end) {
            if let Some(chunk) = self.slots.get(index) {
                visit(index, chunk);
            }
        }
    }

    /// Whether the content lies in one piece, or would if none of it were cold.
    pub(crate) fn is_one_piece(&self) -> bool {
        let whole = |first: &Arc<Chunk>| first.data_end() as u64 == self.len;
        self.slots.get(0).is_some_and(|first| match whole(first) {
            true => first.is_dense(),
            false => self.contiguous && first.is_whole_run(),
        })
    }

    /// The number of a chunk that is cold.
    pub(crate) fn first_cold(&self) -> Option<u64> {
        let mut chunks = self.slots.iter();
        chunks.find_map(|(index, chunk)| chunk.cold().map(|_| index))
    }

    /// Whether nobody shares a chunk, none is missing, and there is more than one.
    fn can_be_run(&mut self) -> bool {
        let mut data = 0;
        self.for_each_exclusive(|chunk| {
            if chunk.is_dense() {
                data += chunk.data_end() as u64;
            }
        });
        data == self.len && self.len > CHUNK as u64
    }

    /// Moves the content into one contiguous run, if nobody shares it and it has no holes.
    pub(crate) fn gather(&mut self, account: &Arc<Account>) -> Result<bool, Fault> {
        if !self.can_be_run() {
            return Ok(false);
        }
        let run = copied_run(self.len as usize, account, |to, at| {
            let read = self.read(Alone::NO, at as u64, to);
            read.map(drop).map_err(|missing| Fault::miss(missing.index))
        })?;
        self.become_run(run);
        Ok(true)
    }

    /// Takes a run with the same bytes, which no quota is booked for, in the place of all chunks.
    fn become_run(&mut self, mut run: Table) {
        self.for_each_exclusive(|chunk| {
            chunk.charge_mut().take_quota();
        });
        run.for_each_exclusive(|chunk| {
            let needed = chunk.quota_needed();
            chunk.charge_mut().add_reserved_quota(needed);
        });
        *self = run;
    }

    /// The adopted buffer that the whole content is.
    pub(crate) fn with_owner<R>(&self, alone: Alone, look: impl FnOnce(Option<&Owner>) -> R) -> R {
        let Some(first) = self.slots.get(0).filter(|_| self.contiguous) else {
            return look(None);
        };
        let hold = Chunk::look(first, alone);
        let whole = hold.slice_of().filter(|(adopted, start)| {
            *start == 0 && adopted.owner.as_slice().len() as u64 == self.len
        });
        look(whole.map(|(adopted, _)| &adopted.owner))
    }
}
