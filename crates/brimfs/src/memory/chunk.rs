//! One chunk: at most 1 MiB of one file's content, the unit of sharing and copy-on-write.
//!
//! A chunk knows which of its 16 KiB blocks hold data. Bytes of a block
//! without data are never read from memory: they are zeros. So a sparse write
//! into a recycled buffer clears no more than the block it touches.
//!
//! Invariant: in a block that holds data, every byte before `data_end` is
//! initialised content; bytes from `data_end` on are unspecified and read as
//! zeros. `data_end` lies within the last block that holds data, or is zero.

use std::fmt;

use bytes::Bytes;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::base::sync::atomic::AtomicU32;
use crate::memory::account::{Account, Charge};
use crate::memory::budget::Budget;
use crate::memory::foreign::Foreign;
use crate::memory::pool::{Buf, OutOfMemory, SMALL_MAX, Slot};
use crate::memory::residence::{Guarded, Hold};
use crate::memory::run::Run;
use crate::memory::tier::Cold;

/// The most that one chunk holds, in bytes.
pub const CHUNK: usize = 1 << 20;
/// Granularity of holes and of the quota, in bytes.
pub(crate) const BLOCK: usize = 16 << 10;

/// An immutable buffer that somebody else allocated.
#[derive(Debug)]
pub(crate) enum Owner {
    Rust(Bytes),
    Foreign(Foreign),
}

impl Owner {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Owner::Rust(bytes) => bytes,
            Owner::Foreign(foreign) => foreign,
        }
    }
}

/// An adopted buffer that several chunks are slices of; charged as a whole until the last is gone.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) owner: Owner,
    budget: Budget,
    resident: u64,
}

impl Adopted {
    /// Takes over `resident` bytes that are reserved in `budget` already.
    pub(crate) fn from_reserved(owner: Owner, budget: Budget, resident: u64) -> Arc<Self> {
        Arc::new(Adopted {
            owner,
            budget,
            resident,
        })
    }
}

impl Adopted {
    pub(crate) fn charged(&self) -> u64 {
        self.resident
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        self.budget.release(self.resident);
    }
}

/// Where the bytes of a chunk live.
pub(crate) enum Memory {
    /// A buffer of the pool, of any size up to a chunk.
    Buf(Buf),
    /// One slot of a contiguous run.
    Slot(Slot),
    /// A whole adopted buffer.
    Owned(Owner),
    /// A slice of a larger adopted buffer.
    Slice(Arc<Adopted>, usize, usize),
    /// None: the bytes are in a cold tier.
    Cold,
}

impl Memory {
    /// What room for `capacity` bytes occupies, which is what to charge for it.
    #[inline]
    pub(crate) const fn cost(capacity: usize) -> usize {
        if capacity <= SMALL_MAX {
            Buf::class_size(capacity)
        } else {
            CHUNK
        }
    }

    /// Room for `capacity` bytes, at most a chunk, with unspecified content.
    pub(crate) fn alloc(capacity: usize) -> Result<Self, OutOfMemory> {
        if capacity <= SMALL_MAX {
            Buf::alloc(capacity).map(Memory::Buf)
        } else {
            Slot::alloc().map(Memory::Slot)
        }
    }

    /// The bytes, as far as the buffer reaches; `None` if they are in a cold tier.
    #[inline]
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        Some(match self {
            Memory::Buf(buf) => buf,
            Memory::Slot(slot) => slot,
            Memory::Owned(owner) => owner.as_slice(),
            Memory::Slice(adopted, start, len) => &adopted.owner.as_slice()[*start..*start + *len],
            Memory::Cold => return None,
        })
    }

    /// The bytes for writing, as far as the buffer reaches; `None` if it is not ours to write.
    #[inline]
    pub(crate) fn writable(&mut self) -> Option<&mut [u8]> {
        match self {
            Memory::Buf(buf) => {
                let capacity = buf.capacity().min(CHUNK);
                buf.set_len(capacity);
                Some(buf)
            }
            Memory::Slot(slot) => Some(slot),
            Memory::Owned(_) | Memory::Slice(..) | Memory::Cold => None,
        }
    }

    #[inline]
    pub(super) fn capacity(&self) -> usize {
        match self {
            Memory::Buf(buf) => buf.capacity().min(CHUNK),
            Memory::Slot(_) => CHUNK,
            Memory::Owned(_) | Memory::Slice(..) | Memory::Cold => 0,
        }
    }
}

/// See the module's documentation.
pub(crate) struct Chunk {
    pub(super) body: Guarded,
    data_end: u32,
    /// Views that show this chunk by itself.
    pub(super) pins: AtomicU32,
    pub(super) blocks: u64,
    /// The run of memory that it is, or was, a part of.
    pub(super) run: Option<Arc<Run>>,
    /// The quota; the memory is charged beside the memory.
    charge: Charge,
}

/// A run of blocks that all hold data or all hold none, as a byte range of the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) data: bool,
}

/// A part of a chunk that is about to become data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// All of it is written anew, so nothing in it need be kept.
    pub(crate) replaced: bool,
    /// Blocks that are to be holes.
    pub(crate) dropped: u64,
}

impl Span {
    pub(crate) const NONE: Span = Span {
        start: 0,
        end: 0,
        replaced: false,
        dropped: 0,
    };
}

#[inline]
pub(super) fn block_mask(start: usize, end: usize) -> u64 {
    if start >= end {
        return 0;
    }
    let (first, last) = (start / BLOCK, (end - 1) / BLOCK);
    (u64::MAX >> (63 - (last - first))) << first
}

/// Where the last block that holds data ends.
fn end_of(blocks: u64) -> usize {
    (64 - blocks.leading_zeros() as usize) * BLOCK
}

/// The extents of a range of a chunk with these blocks.
fn extents_of(
    blocks: u64,
    data_end: usize,
    start: usize,
    end: usize,
) -> impl Iterator<Item = Extent> {
    let is_data = move |at: usize| at < data_end && blocks >> (at / BLOCK) & 1 == 1;
    let mut at = start;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let data = is_data(at);
        let from = at;
        while at < end && is_data(at) == data {
            at = ((at / BLOCK + 1) * BLOCK).min(end);
            if data && from < data_end {
                at = at.min(data_end);
            }
        }
        Some(Extent {
            start: from,
            end: at,
            data,
        })
    })
}

/// Quota that a chunk with these blocks is charged, in bytes.
#[inline]
pub(crate) fn charge_of(blocks: u64, data_end: usize) -> u64 {
    if blocks == 0 {
        return 0;
    }
    let full = u64::from(blocks.count_ones()) * BLOCK as u64;
    let last = 63 - blocks.leading_zeros() as usize;
    let over = ((last + 1) * BLOCK).saturating_sub(data_end);
    full - over as u64
}

/// Quota of a chunk that holds data at `start..end` only, in bytes.
pub(crate) fn quota_of_range(start: usize, end: usize) -> u64 {
    charge_of(block_mask(start, end), end)
}

impl Chunk {
    /// A chunk whose first `len` bytes are data, in memory that `charge` pays for.
    pub(crate) fn dense(memory: Memory, len: usize, charge: Charge) -> Self {
        debug_assert!(len <= CHUNK);
        Self::build(memory, len, block_mask(0, len), charge)
    }

    /// As [`Chunk::dense`], as a part of a run.
    pub(crate) fn in_run(memory: Memory, len: usize, charge: Charge, run: &Arc<Run>) -> Self {
        let mut chunk = Self::dense(memory, len, charge);
        chunk.run = Some(run.clone());
        chunk
    }

    pub(super) fn build(memory: Memory, data_end: usize, blocks: u64, mut charge: Charge) -> Self {
        let charged = charge.take_resident();
        Chunk {
            body: Guarded::new(Hold::new(memory, charged)),
            data_end: data_end as u32,
            pins: AtomicU32::new(0),
            blocks,
            run: None,
            charge,
        }
    }

    /// A chunk without data, with room for `capacity` bytes.
    pub(crate) fn empty(capacity: usize, account: &Arc<Account>) -> Result<Self, Fault> {
        let charge = Charge::reserve(account, 0, Memory::cost(capacity) as u64)?;
        Ok(Self::build(Memory::alloc(capacity)?, 0, 0, charge))
    }

    #[inline]
    pub(super) fn account(&self) -> &Arc<Account> {
        self.charge.account()
    }

    #[inline]
    pub(crate) fn data_end(&self) -> usize {
        self.data_end as usize
    }

    #[inline]
    pub(crate) fn quota(&self) -> u64 {
        self.charge.quota()
    }

    /// Quota for the data that the chunk holds, whether or not it is charged for it.
    pub(crate) fn quota_needed(&self) -> u64 {
        charge_of(self.blocks, self.data_end())
    }

    /// Memory that the chunk is charged for; the memory of a slice is charged as a whole.
    pub(crate) fn charged(&self) -> u64 {
        self.body.lock().charged
    }

    #[inline]
    pub(crate) fn charge_mut(&mut self) -> &mut Charge {
        &mut self.charge
    }

    /// Bytes that can be written in place; zero for adopted memory and while cold.
    #[inline]
    pub(crate) fn capacity(&mut self) -> usize {
        self.body.get_mut().memory.capacity()
    }

    /// Whether the bytes before `data_end` are all data.
    #[inline]
    pub(crate) fn is_dense(&self) -> bool {
        self.blocks == block_mask(0, self.data_end())
    }

    /// The content of a dense chunk.
    #[inline]
    pub(crate) fn dense_bytes<'a>(&self, hold: &'a Hold) -> Option<&'a [u8]> {
        if !self.is_dense() {
            return None;
        }
        hold.memory.bytes().map(|bytes| &bytes[..self.data_end()])
    }

    /// The adopted buffer, if the chunk is all of it.
    pub(crate) fn owner<'a>(&self, hold: &'a Hold) -> Option<&'a Owner> {
        match &hold.memory {
            Memory::Owned(owner) if owner.as_slice().len() == self.data_end() => Some(owner),
            Memory::Slice(adopted, start, len)
                if *start == 0
                    && *len == self.data_end()
                    && adopted.owner.as_slice().len() == *len =>
            {
                Some(&adopted.owner)
            }
            _ => None,
        }
    }

    /// Reads from `start`; every byte of `to` is written, holes as zeros. Where cold bytes are
    /// needed, everything before them was read, and the answer says where they are.
    pub(crate) fn read(
        &self,
        hold: &Hold,
        start: usize,
        to: &mut [u8],
    ) -> Result<(), (Extent, Option<Cold>)> {
        let end = start + to.len();
        let wanted = block_mask(start, end);
        let bytes = hold.memory.bytes();
        if self.blocks & wanted == wanted
            && end <= self.data_end()
            && let Some(bytes) = bytes
        {
            to.copy_from_slice(&bytes[start..end]);
            return Ok(());
        }
        for extent in self.extents(start, end) {
            let part = &mut to[extent.start - start..extent.end - start];
            match bytes {
                _ if !extent.data => part.fill(0),
                Some(bytes) => part.copy_from_slice(&bytes[extent.start..extent.end]),
                None => return Err((extent, hold.cold())),
            }
        }
        Ok(())
    }

    /// The extents of `start..end`, in order. What lies beyond `data_end` is a hole.
    pub(crate) fn extents(&self, start: usize, end: usize) -> impl Iterator<Item = Extent> {
        extents_of(self.blocks, self.data_end(), start, end)
    }

    /// Quota that the chunk needs more than now after data at `start..end`.
    #[inline]
    pub(crate) fn quota_for(&self, start: usize, end: usize) -> u64 {
        let blocks = self.blocks | block_mask(start, end);
        charge_of(blocks, self.data_end().max(end)) - self.quota()
    }

    /// Quota of a private copy with data at `start..end` as well.
    pub(crate) fn quota_when_copied(&self, start: usize, end: usize) -> u64 {
        let blocks = self.blocks | block_mask(start, end);
        charge_of(blocks, self.data_end().max(end))
    }

    /// Writes in place. The caller has made sure of the capacity and paid for the quota.
    pub(crate) fn write(&mut self, start: usize, from: &[u8]) {
        let end = start + from.len();
        self.prepare(start, end);
        if let Some(bytes) = self.body.get_mut().memory.writable() {
            bytes[start..end].copy_from_slice(from);
        }
    }

    /// Makes `start..end` data that reads as zeros where it was none. Same duties as `write`.
    pub(crate) fn allocate(&mut self, start: usize, end: usize) {
        let (was, old_end) = (self.blocks, self.data_end());
        self.prepare(start, end);
        if let Some(bytes) = self.body.get_mut().memory.writable() {
            for block in start / BLOCK..end.div_ceil(BLOCK) {
                let block_start = block * BLOCK;
                let known = if was >> block & 1 == 1 {
                    old_end.max(block_start)
                } else {
                    block_start
                };
                let (from, to) = (known.max(start), end.min(block_start + BLOCK));
                if from < to {
                    bytes[from..to].fill(0);
                }
            }
        }
    }

    /// Marks `start..end` as data and zeroes what becomes visible around it.
    fn prepare(&mut self, start: usize, end: usize) {
        debug_assert!(end <= self.capacity());
        let hold = self.body.get_mut();
        hold.changed(self.charge.account(), (start, end));
        let (old_end, new_end) = (self.data_end(), self.data_end().max(end));
        let wanted = block_mask(start, end);
        let fresh = wanted & !self.blocks;
        if fresh != 0 || start > old_end {
            let first = start / BLOCK;
            let last = (end.max(1) - 1) / BLOCK;
            if let Some(bytes) = self.body.get_mut().memory.writable() {
                if start > old_end {
                    let tail_end = old_end.next_multiple_of(BLOCK).min(start);
                    bytes[old_end..tail_end].fill(0);
                }
                if fresh >> first & 1 == 1 {
                    bytes[first * BLOCK..start].fill(0);
                }
                if fresh >> last & 1 == 1 {
                    let visible = ((last + 1) * BLOCK).min(new_end);
                    if end < visible {
                        bytes[end..visible].fill(0);
                    }
                }
            }
        }
        self.blocks |= wanted;
        self.data_end = new_end as u32;
    }

    /// Forgets everything from `len` on and gives its quota back.
    pub(crate) fn cut(&mut self, len: usize) {
        if len < self.data_end() {
            self.blocks &= block_mask(0, len);
            self.data_end = len.min(end_of(self.blocks)) as u32;
            self.body.get_mut().narrowed(self.charge.account());
            self.charge
                .shrink_quota(charge_of(self.blocks, self.data_end()));
        }
    }

    /// Makes `start..end` read as zeros and gives wholly covered blocks back.
    ///
    /// Returns whether bytes had to be written, which needs writable memory;
    /// nothing is changed if they had to be and could not.
    pub(crate) fn punch(&mut self, start: usize, end: usize) -> bool {
        let data_end = self.data_end();
        let blocks = self.blocks & !self.punched_whole(start, end);
        if self.punch_needs_memory(start, end) {
            let limit = end.min(data_end);
            let hold = self.body.get_mut();
            if hold.memory.capacity() == 0 {
                return false;
            }
            hold.changed(self.charge.account(), (0, 0));
            let Some(bytes) = hold.memory.writable() else {
                return false;
            };
            for block in start / BLOCK..limit.div_ceil(BLOCK) {
                if blocks >> block & 1 == 1 {
                    let from = start.max(block * BLOCK);
                    bytes[from..limit.min((block + 1) * BLOCK)].fill(0);
                }
            }
        }
        self.blocks = blocks;
        self.body.get_mut().narrowed(self.charge.account());
        self.data_end = data_end.min(end_of(blocks)) as u32;
        self.charge.shrink_quota(charge_of(blocks, self.data_end()));
        true
    }

    /// The blocks that punching `start..end` empties.
    pub(crate) fn punched_whole(&self, start: usize, end: usize) -> u64 {
        let covered_to = if end >= self.data_end() {
            self.data_end().next_multiple_of(BLOCK)
        } else {
            end / BLOCK * BLOCK
        };
        block_mask(start.next_multiple_of(BLOCK), covered_to)
    }

    /// Whether punching `start..end` has to write zeros, because it covers blocks in part.
    pub(crate) fn punch_needs_memory(&self, start: usize, end: usize) -> bool {
        let touched = block_mask(start, end.min(self.data_end()));
        touched & !self.punched_whole(start, end) & self.blocks != 0
    }

    /// A private copy of the first `keep` bytes' data with room for `capacity` bytes,
    /// paid for as if `span` were data too, except for `inherited` bytes of quota, and out of
    /// `aside` first. `None` if it needs bytes that are cold.
    pub(crate) fn copy_for(
        &self,
        keep: usize,
        capacity: usize,
        span: Span,
        inherited: u64,
        aside: &mut u64,
    ) -> Result<Option<Chunk>, Fault> {
        let Span { start, end, .. } = span;
        let account = self.charge.account();
        // What the write replaces anyway is not copied.
        let needed = |extent: &Extent| {
            extent.data && !(span.replaced && extent.start >= start && extent.end <= end)
        };
        let hold = self.body.lock();
        let blocks = self.blocks & block_mask(0, keep) & !span.dropped;
        let kept = keep.min(self.data_end()).min(end_of(blocks));
        let from = || extents_of(blocks, kept, 0, kept).filter(needed);
        if hold.is_cold() && from().next().is_some() {
            return Ok(None);
        }
        let mut copy = Chunk::empty(capacity.max(1), account)?;
        let after = charge_of(blocks | block_mask(start, end), kept.max(end));
        let more = after.saturating_sub(inherited);
        copy.charge.grow_quota(more, aside)?;
        copy.blocks = blocks;
        copy.data_end = kept as u32;
        let to = copy.body.get_mut().memory.writable();
        if let (Some(to), Some(bytes)) = (to, hold.memory.bytes()) {
            for extent in from() {
                let range = extent.start..extent.end;
                to[range.clone()].copy_from_slice(&bytes[range]);
            }
        }
        drop(hold);
        Ok(Some(copy))
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let hold = self.body.get_mut();
        drop(std::mem::replace(&mut hold.memory, Memory::Cold));
        self.charge.account().budget.release(hold.charged);
        if let Some(tracked) = &mut hold.tracked {
            tracked.leave(self.charge.account());
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Chunk({} bytes, blocks {:#x})",
            self.data_end, self.blocks
        )
    }
}
