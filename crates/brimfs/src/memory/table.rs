//! The content of a file that is larger than a chunk, or has holes.
//!
//! A table maps chunk numbers to chunks. It is shared as a whole by copies,
//! views and reads in flight; whoever changes it first makes it his own, which
//! clones references and no bytes.

use smallvec::SmallVec;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::memory::account::{Account, Charge};
use crate::memory::chunk::{CHUNK, Chunk, Extent, Memory, Span};
use crate::memory::residence::Alone;
use crate::memory::shared::Missing;
use crate::memory::slots::{SPARSE_ENTRY, Slots};

/// The largest file, in bytes.
pub(crate) const MAX_LEN: u64 = i64::MAX as u64;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) len: u64,
    pub(super) slots: Slots,
    /// Whether the chunks lie one behind the other in memory and are all data.
    pub(super) contiguous: bool,
    charge: Charge,
}

/// The part of a byte range that falls into one chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) index: u64,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Where the piece begins within the whole range.
    pub(crate) at: usize,
}

pub(crate) fn pieces(offset: u64, len: u64) -> impl Iterator<Item = Piece> {
    let end = offset + len;
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let index = at / CHUNK as u64;
        let stop = end.min((index + 1) * CHUNK as u64);
        let piece = Piece {
            index,
            start: (at % CHUNK as u64) as usize,
            end: (stop - index * CHUNK as u64) as usize,
            at: (at - offset) as usize,
        };
        at = stop;
        Some(piece)
    })
}

/// What has to happen to one chunk before it can be written, paid for but not yet visible.
#[cfg_attr(
    feature = "shuttle",
    allow(clippy::large_enum_variant, reason = "only shuttle's locks are large")
)]
enum Prepared {
    InPlace {
        quota: u64,
    },
    Fresh {
        chunk: Chunk,
        /// It takes over the quota of the unshared chunk that it replaces.
        inherits: bool,
    },
}

impl Table {
    /// Pays for a table of `count` chunks.
    pub(crate) fn reserve_for(account: &Arc<Account>, count: usize) -> Result<Charge, Fault> {
        Charge::reserve(account, 0, count as u64 * 8)
    }

    /// A table over chunks that follow each other from the start of the file,
    /// in memory that [`Table::reserve_for`] paid for.
    pub(crate) fn new(chunks: Vec<Arc<Chunk>>, len: u64, contiguous: bool, charge: Charge) -> Self {
        Table {
            len,
            contiguous,
            slots: Slots::Dense(chunks.into_iter().map(Some).collect()),
            charge,
        }
    }

    /// A table of `len` bytes over chunks with these numbers, in their order, which lie apart.
    pub(crate) fn sparse(
        chunks: impl IntoIterator<Item = (u64, Arc<Chunk>)>,
        len: u64,
        account: &Arc<Account>,
    ) -> Result<Self, Fault> {
        let charge = Self::reserve_for(account, 0)?;
        let mut table = Self::new(Vec::new(), len, false, charge);
        for (index, chunk) in chunks {
            let end = index.saturating_mul(CHUNK as u64).saturating_add(1);
            table.reserve_slots(end, 1)?;
            table.slots.put(index, chunk);
        }
        Ok(table)
    }

    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Memory that the table itself is charged for.
    pub(crate) fn charged(&self) -> u64 {
        self.charge.resident()
    }

    /// A copy of the table that shares every chunk.
    fn fork(&self) -> Result<Self, Fault> {
        Ok(Table {
            len: self.len,
            contiguous: self.contiguous,
            charge: Charge::reserve(self.charge.account(), 0, self.slots.footprint())?,
            slots: self.slots.clone(),
        })
    }

    /// The table for changing, made private first if it is shared.
    #[inline]
    pub(crate) fn make_mut(this: &mut Arc<Self>) -> Result<&mut Self, Fault> {
        if Arc::get_mut(this).is_none() {
            *this = Arc::new(this.fork()?);
        }
        Ok(Arc::get_mut(this).expect("a table that was just made has one owner"))
    }

    /// Every chunk once, in file order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, &Arc<Chunk>)> {
        self.slots.iter()
    }

    /// The chunks from this number on, in file order.
    pub(crate) fn chunks_from(&self, first: u64) -> impl Iterator<Item = (u64, &Arc<Chunk>)> {
        self.slots.iter_from(first)
    }

    /// Whether it is as long and has the very same chunks. O(chunks).
    pub(super) fn has_chunks_of(&self, other: &Table) -> bool {
        let named = |(index, chunk): (u64, &Arc<Chunk>)| (index, Arc::as_ptr(chunk));
        self.len == other.len && self.chunks().map(named).eq(other.chunks().map(named))
    }

    #[inline]
    pub(crate) fn chunk(&self, index: u64) -> Option<&Arc<Chunk>> {
        self.slots.get(index)
    }

    /// Reads at `offset`; returns how many bytes there were. `alone` is about the table itself.
    pub(crate) fn read(&self, alone: Alone, offset: u64, to: &mut [u8]) -> Result<usize, Missing> {
        let len = (to.len() as u64).min(self.len.saturating_sub(offset));
        for piece in pieces(offset, len) {
            let part = &mut to[piece.at..piece.at + piece.end - piece.start];
            let Some(chunk) = self.slots.get(piece.index) else {
                part.fill(0);
                continue;
            };
            let hold = Chunk::look(chunk, alone);
            chunk
                .read(&hold, piece.start, part)
                .map_err(|(extent, cold)| Missing {
                    done: piece.at + extent.start - piece.start,
                    len: extent.end - extent.start,
                    index: piece.index,
                    start: extent.start,
                    cold,
                })?;
        }
        Ok(len as usize)
    }

    /// Writes at `offset`. All or nothing. Takes quota out of `aside` first, which goes with a
    /// range within one chunk only: there nothing fails once quota is taken.
    pub(crate) fn write(&mut self, offset: u64, from: &[u8], aside: &mut u64) -> Result<(), Fault> {
        let len = from.len() as u64;
        if self.write_in_place(offset, from, aside)? {
            return Ok(());
        }
        let prepared = self.prepare(offset, len, true, aside)?;
        for (piece, prepared) in pieces(offset, len).zip(prepared) {
            let chunk = self.commit(piece.index, prepared);
            let part = &from[piece.at..piece.at + piece.end - piece.start];
            chunk.write(piece.start, part);
        }
        self.grow_len(offset + len);
        Ok(())
    }

    /// The common case of a write: within one chunk that is ours and large enough.
    #[inline]
    fn write_in_place(&mut self, offset: u64, from: &[u8], aside: &mut u64) -> Result<bool, Fault> {
        let start = (offset % CHUNK as u64) as usize;
        let end = start + from.len();
        if end > CHUNK || offset > self.len {
            return Ok(false);
        }
        let slot = self.slots.get_mut(offset / CHUNK as u64);
        let Some(chunk) = slot.and_then(Arc::get_mut) else {
            return Ok(false);
        };
        if chunk.capacity() < end {
            return Ok(false);
        }
        let more = chunk.quota_for(start, end);
        chunk.charge_mut().grow_quota(more, aside)?;
        chunk.write(start, from);
        self.grow_len(offset + from.len() as u64);
        Ok(true)
    }

    /// Makes a range data that reads as zeros where it was none. Otherwise as [`Table::write`].
    pub(crate) fn allocate(&mut self, offset: u64, len: u64, aside: &mut u64) -> Result<(), Fault> {
        let prepared = self.prepare(offset, len, false, aside)?;
        for (piece, prepared) in pieces(offset, len).zip(prepared) {
            self.commit(piece.index, prepared)
                .allocate(piece.start, piece.end);
        }
        self.grow_len(offset + len);
        Ok(())
    }

    /// Makes adopted memory of `len` bytes chunk `index`, which must hold no data beyond them.
    pub(crate) fn adopt(
        &mut self,
        index: u64,
        memory: Memory,
        len: usize,
        mut charge: Charge,
    ) -> Result<(), Fault> {
        let end = index * CHUNK as u64 + len as u64;
        let old = self.slots.get_mut(index).and_then(Arc::get_mut);
        let inherits = old.is_some();
        let inherited = old.map_or(0, |chunk| chunk.quota());
        charge.grow_quota(len as u64 - inherited, &mut 0)?;
        self.reserve_slots(end, 1)?;
        self.replace(index, Chunk::dense(memory, len, charge), inherits);
        self.grow_len(end);
        Ok(())
    }

    pub(super) fn grow_len(&mut self, end: u64) {
        if end > self.len {
            self.len = end;
        }
    }

    /// Reserves and allocates all that writing a range needs; undoes it on failure.
    fn prepare(
        &mut self,
        offset: u64,
        len: u64,
        replaced: bool,
        aside: &mut u64,
    ) -> Result<SmallVec<[Prepared; 4]>, Fault> {
        if offset.checked_add(len).is_none_or(|end| end > MAX_LEN) {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if offset > self.len {
            self.contiguous = false;
        }
        let count = pieces(offset, len).count();
        debug_assert!(
            count <= 1 || *aside == 0,
            "what is undone is not put aside again"
        );
        // Before any quota is taken.
        self.reserve_slots(offset + len, count)?;
        let mut prepared = SmallVec::new();
        let mut undo = 0;
        for piece in pieces(offset, len) {
            match self.prepare_piece(piece, replaced, aside) {
                Ok(one) => {
                    if let Prepared::InPlace { quota } = one {
                        undo += quota;
                    }
                    prepared.push(one);
                }
                Err(fault) => {
                    self.charge.account().release(undo, 0);
                    return Err(fault);
                }
            }
        }
        Ok(prepared)
    }

    fn prepare_piece(
        &mut self,
        piece: Piece,
        replaced: bool,
        aside: &mut u64,
    ) -> Result<Prepared, Fault> {
        let span = Span {
            start: piece.start,
            end: piece.end,
            replaced,
            dropped: 0,
        };
        // A file that grows chunk by chunk gets whole chunks; a lone one grows by doubling.
        let streams = piece.index > 0 && self.slots.get(piece.index - 1).is_some();
        let room = |had: usize| match streams {
            true => CHUNK,
            false => (had * 2).clamp(piece.end, CHUNK),
        };
        let account = self.charge.account();
        let Some(slot) = self.slots.get_mut(piece.index) else {
            let mut chunk = Chunk::empty(room(0), account)?;
            let quota = chunk.quota_for(piece.start, piece.end);
            chunk.charge_mut().grow_quota(quota, aside)?;
            return Ok(Prepared::Fresh {
                chunk,
                inherits: false,
            });
        };
        let had = slot.data_end();
        let missing = || Fault::miss(piece.index);
        let Some(chunk) = Arc::get_mut(slot) else {
            let copy = slot.copy_for(CHUNK, room(had), span, 0, aside)?;
            let chunk = copy.ok_or_else(missing)?;
            return Ok(Prepared::Fresh {
                chunk,
                inherits: false,
            });
        };
        if chunk.capacity() >= piece.end {
            let quota = chunk.quota_for(piece.start, piece.end);
            account.reserve_quota(quota, aside)?;
            return Ok(Prepared::InPlace { quota });
        }
        let inherited = chunk.quota();
        let copy = chunk.copy_for(CHUNK, room(had), span, inherited, aside)?;
        Ok(Prepared::Fresh {
            chunk: copy.ok_or_else(missing)?,
            inherits: true,
        })
    }

    fn commit(&mut self, index: u64, prepared: Prepared) -> &mut Chunk {
        match prepared {
            Prepared::Fresh { chunk, inherits } => self.replace(index, chunk, inherits),
            Prepared::InPlace { quota } => {
                let chunk = self.unshared(index);
                chunk.charge_mut().add_reserved_quota(quota);
                chunk
            }
        }
    }

    /// Puts a new chunk in its place, with the quota of the one it replaces if it inherits.
    ///
    /// Whether it does was decided when it was paid for: a chunk that was shared then may be
    /// shared no longer, and gives its own quota back.
    fn replace(&mut self, index: u64, mut chunk: Chunk, inherits: bool) -> &mut Chunk {
        if inherits && let Some(old) = self.slots.get_mut(index).and_then(Arc::get_mut) {
            let inherited = old.charge_mut().take_quota();
            chunk.charge_mut().add_reserved_quota(inherited);
        }
        self.contiguous = false;
        self.slots.put(index, Arc::new(chunk));
        self.unshared(index)
    }

    /// As [`Table::replace`] for a chunk that may need less than what it replaces.
    fn replace_smaller(&mut self, index: u64, chunk: Chunk) {
        let needed = chunk.quota_needed();
        self.replace(index, chunk, true)
            .charge_mut()
            .shrink_quota(needed);
    }

    fn unshared(&mut self, index: u64) -> &mut Chunk {
        let slot = self.slots.get_mut(index).and_then(Arc::get_mut);
        slot.expect("the chunk was prepared: it is present and nobody shares it")
    }

    /// Pays and makes room for `added` more chunks, the last of them at byte `end`.
    pub(super) fn reserve_slots(&mut self, end: u64, added: usize) -> Result<(), Fault> {
        let last = end.saturating_sub(1) / CHUNK as u64;
        let had = self.slots.footprint();
        match &mut self.slots {
            Slots::Dense(slots) if last < slots.capacity() as u64 => Ok(()),
            Slots::Dense(slots) if Slots::stays_dense(slots.len(), last) => {
                let capacity = (last as usize + 1).max(slots.capacity() * 2);
                // While the vector moves, both of its places exist.
                self.charge.set_resident(had + capacity as u64 * 8)?;
                slots.reserve_exact(capacity - slots.len());
                self.charge.set_resident(self.slots.footprint())
            }
            _ => {
                let count = self.slots.count() + added;
                self.charge
                    .set_resident(had + count as u64 * SPARSE_ENTRY)?;
                self.slots.extend_to(last);
                Ok(())
            }
        }
    }

    /// Sets the length. Growing leaves a hole.
    pub(crate) fn set_len(&mut self, len: u64) -> Result<(), Fault> {
        if len > MAX_LEN {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if len < self.len {
            self.cut(len)?;
        }
        if len != self.len {
            self.contiguous = false;
        }
        self.len = len;
        Ok(())
    }

    fn cut(&mut self, len: u64) -> Result<(), Fault> {
        let (index, keep) = (len / CHUNK as u64, (len % CHUNK as u64) as usize);
        if keep > 0
            && let Some(slot) = self.slots.get_mut(index)
            && slot.data_end() > keep
        {
            match Arc::get_mut(slot) {
                Some(chunk) => chunk.cut(keep),
                None => {
                    let copy = slot.copy_for(keep, keep, Span::NONE, 0, &mut 0)?;
                    *slot = Arc::new(copy.ok_or_else(|| Fault::miss(index))?);
                }
            }
        }
        self.slots.truncate(len.div_ceil(CHUNK as u64));
        self.charge.set_resident(self.slots.footprint())
    }

    /// Makes a range read as zeros, giving whole blocks back. All or nothing.
    pub(crate) fn punch(&mut self, offset: u64, len: u64) -> Result<(), Fault> {
        let end = offset.saturating_add(len).min(self.len);
        if offset >= end {
            return Ok(());
        }
        self.contiguous = false;
        let (first, last) = (offset / CHUNK as u64, (end - 1) / CHUNK as u64);
        // Whoever needs a private copy gets it first, so that nothing fails half way.
        for index in self.slots.indices(first, last + 1) {
            let (from, to) = range_in_chunk(index, offset, end);
            let slot = self.slots.get_mut(index).expect("listed just now");
            let whole = from == 0 && to >= slot.data_end();
            let writable = Arc::get_mut(slot)
                .is_some_and(|chunk| chunk.capacity() > 0 || !chunk.punch_needs_memory(from, to));
            if !whole && !writable {
                let room = slot.data_end();
                let missing = || Fault::miss(index);
                let span = Span {
                    dropped: slot.punched_whole(from, to),
                    ..Span::NONE
                };
                match Arc::get_mut(slot) {
                    Some(chunk) => {
                        let inherited = chunk.quota();
                        let copy = chunk.copy_for(CHUNK, room, span, inherited, &mut 0)?;
                        self.replace_smaller(index, copy.ok_or_else(missing)?);
                    }
                    None => {
                        let copy = slot.copy_for(CHUNK, room, span, 0, &mut 0)?;
                        *slot = Arc::new(copy.ok_or_else(missing)?);
                    }
                }
            }
        }
        for index in self.slots.indices(first, last + 1) {
            let (from, to) = range_in_chunk(index, offset, end);
            let slot = self.slots.get_mut(index).expect("listed just now");
            if from == 0 && to >= slot.data_end() {
                self.slots.remove(index);
            } else if let Some(chunk) = Arc::get_mut(slot) {
                let done = chunk.punch(from, to);
                debug_assert!(done, "made writable above");
            }
        }
        Ok(())
    }

    /// The first place at or after `offset` that holds data (`data`), or is a hole.
    ///
    /// The end of the file is a hole.
    pub(crate) fn seek(&self, offset: u64, data: bool) -> Option<u64> {
        let mut at = offset;
        while at < self.len {
            let index = at / CHUNK as u64;
            let base = index * CHUNK as u64;
            let start = (at - base) as usize;
            let end = (self.len - base).min(CHUNK as u64) as usize;
            match self.slots.get(index) {
                Some(chunk) => {
                    let found = |extent: &Extent| extent.data == data;
                    if let Some(extent) = chunk.extents(start, end).find(found) {
                        return Some(base + extent.start as u64);
                    }
                    at = base + CHUNK as u64;
                }
                None if !data => return Some(at),
                None => at = self.next_chunk(index)? * CHUNK as u64,
            }
        }
        (!data && offset < self.len).then_some(self.len)
    }

    fn next_chunk(&self, after: u64) -> Option<u64> {
        match &self.slots {
            Slots::Dense(slots) => {
                (after + 1..slots.len() as u64).find(|index| slots[*index as usize].is_some())
            }
            Slots::Sparse(slots) => slots.range(after + 1..).next().map(|(index, _)| *index),
        }
    }

    /// Calls `visit` with every chunk that nobody else shares.
    pub(crate) fn for_each_exclusive(&mut self, mut visit: impl FnMut(&mut Chunk)) {
        match &mut self.slots {
            Slots::Dense(slots) => slots
                .iter_mut()
                .flatten()
                .filter_map(Arc::get_mut)
                .for_each(visit),
            Slots::Sparse(slots) => slots
                .values_mut()
                .filter_map(Arc::get_mut)
                .for_each(&mut visit),
        }
    }

    /// Gives back the unused room of a last chunk that is mostly empty.
    pub(crate) fn shrink_tail(&mut self) -> Result<(), Fault> {
        let Some(last) = self.len.checked_sub(1).map(|last| last / CHUNK as u64) else {
            return Ok(());
        };
        let Some(chunk) = self.slots.get_mut(last).and_then(Arc::get_mut) else {
            return Ok(());
        };
        let exact = Memory::cost(chunk.data_end().max(1));
        // That of a cold chunk is zero.
        if chunk.capacity() <= exact + exact / 8 {
            return Ok(());
        }
        let (room, inherited) = (chunk.data_end().max(1), chunk.quota());
        if let Some(copy) = chunk.copy_for(CHUNK, room, Span::NONE, inherited, &mut 0)? {
            self.replace(last, copy, true);
        }
        Ok(())
    }
}

fn range_in_chunk(index: u64, offset: u64, end: u64) -> (usize, usize) {
    let base = index * CHUNK as u64;
    let from = offset.saturating_sub(base) as usize;
    let to = (end - base).min(CHUNK as u64) as usize;
    (from, to)
}
