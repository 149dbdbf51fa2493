//! The content of one file in the reference model, and what of it is charged.
//!
//! Bytes live in blocks of 16 KiB, blocks in chunks of 1 MiB. A block that is
//! absent is a hole. Chunks are shared by reference between copies and views;
//! whoever changes a shared chunk gets a chunk of its own first, which is what
//! `Arc::make_mut` does. Nothing here knows limits: the model counts the
//! charge of all chunks after an operation and takes the operation back when
//! it passes the quota.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Unit of charging and of holes.
pub const BLOCK: u64 = 16 << 10;
/// Unit of sharing.
pub const CHUNK: u64 = 1 << 20;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Length of the file, holes included.
    pub len: u64,
    /// Chunks by index; an absent one is a hole of 1 MiB.
    pub chunks: BTreeMap<u64, Arc<Chunk>>,
}

/// Up to 1 MiB of a file.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    blocks: BTreeMap<u64, Arc<Vec<u8>>>,
    /// The highest byte, relative to the chunk, that was written or allocated
    /// and neither cut off nor punched out together with its whole block since; not behind the last block.
    data_end: u64,
    /// A view's own copy.
    uncounted: bool,
}

impl Chunk {
    /// What the chunk costs: its blocks, each only up to the end of data.
    pub fn charge(&self) -> u64 {
        if self.uncounted {
            return 0;
        }
        self.blocks
            .keys()
            .map(|block| {
                let start = block * BLOCK;
                self.data_end.min(start + BLOCK).saturating_sub(start)
            })
            .sum()
    }

    fn block_mut(&mut self, block: u64) -> &mut Vec<u8> {
        let fresh = || Arc::new(vec![0; BLOCK as usize]);
        Arc::make_mut(self.blocks.entry(block).or_insert_with(fresh))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        for (block, inside, taken) in pieces(at, bytes.len() as u64, BLOCK) {
            self.block_mut(block)[to_usize(inside)].copy_from_slice(&bytes[to_usize(taken)]);
        }
        self.data_end = self.data_end.max(at + bytes.len() as u64);
    }

    fn allocate(&mut self, at: u64, len: u64) {
        for (block, _, _) in pieces(at, len, BLOCK) {
            self.block_mut(block);
        }
        self.data_end = self.data_end.max(at + len);
    }

    /// Zeroes a range; blocks whose charged part lies inside it become holes.
    fn punch(&mut self, at: u64, len: u64) {
        let end = at + len;
        for (block, inside, _) in pieces(at, len, BLOCK) {
            let start = block * BLOCK;
            let charged_end = self.data_end.min(start + BLOCK);
            if at <= start && end >= charged_end {
                self.blocks.remove(&block);
            } else if let Some(bytes) = self.blocks.get_mut(&block) {
                Arc::make_mut(bytes)[to_usize(inside)].fill(0);
            }
        }
        self.bound_data_end();
    }

    /// There is no data behind the last block.
    fn bound_data_end(&mut self) {
        let last = self.blocks.keys().next_back();
        let end = last.map_or(0, |block| (block + 1) * BLOCK);
        self.data_end = self.data_end.min(end);
    }

    fn cut(&mut self, len: u64) {
        self.blocks.retain(|block, _| block * BLOCK < len);
        if let Some(bytes) = self.blocks.get_mut(&(len / BLOCK)) {
            Arc::make_mut(bytes)[(len % BLOCK) as usize..].fill(0);
        }
        self.data_end = self.data_end.min(len);
        self.bound_data_end();
    }
}

impl Content {
    /// Content written as a whole.
    pub fn whole(bytes: &[u8]) -> Self {
        let mut content = Content::default();
        content.write(0, bytes);
        content
    }

    /// A copy of content that no quota counts.
    pub fn private(bytes: Vec<u8>) -> Self {
        let mut content = Self::whole(&bytes);
        for chunk in content.chunks.values_mut() {
            Arc::make_mut(chunk).uncounted = true;
        }
        content
    }

    /// Whether there is no hole.
    pub fn is_dense(&self) -> bool {
        let data: u64 = self.chunks.values().map(|chunk| chunk.charge()).sum();
        data == self.len
    }

    /// Whether a chunk is part of other content too.
    pub fn is_shared(&self) -> bool {
        self.chunks
            .values()
            .any(|chunk| Arc::strong_count(chunk) > 1)
    }

    /// Up to `len` bytes from `at`; fewer at the end of the file.
    pub fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let end = self.len.min(at.saturating_add(len));
        let mut out = vec![0; end.saturating_sub(at) as usize];
        for (index, inside, taken) in pieces(at, out.len() as u64, CHUNK) {
            let Some(chunk) = self.chunks.get(&index) else {
                continue;
            };
            let out = &mut out[to_usize(taken)];
            for (block, inside, taken) in pieces(inside.start, out.len() as u64, BLOCK) {
                if let Some(bytes) = chunk.blocks.get(&block) {
                    out[to_usize(taken)].copy_from_slice(&bytes[to_usize(inside)]);
                }
            }
        }
        out
    }

    /// Writes `bytes` at `at`; a gap before it stays a hole.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for (index, inside, taken) in pieces(at, bytes.len() as u64, CHUNK) {
            self.chunk_mut(index)
                .write(inside.start, &bytes[to_usize(taken)]);
        }
        self.len = self.len.max(at + bytes.len() as u64);
    }

    /// Charges a range as if zeroes had been written into its holes.
    pub fn allocate(&mut self, at: u64, len: u64) {
        for (index, inside, _) in pieces(at, len, CHUNK) {
            self.chunk_mut(index)
                .allocate(inside.start, inside.end - inside.start);
        }
        self.len = self.len.max(at + len);
    }

    /// Zeroes a range and gives back the blocks that lie in it. The length stays.
    pub fn punch(&mut self, at: u64, len: u64) {
        let end = at.saturating_add(len).min(self.len);
        let touched: Vec<u64> = self
            .chunks
            .range(at / CHUNK..end.div_ceil(CHUNK).max(at / CHUNK))
            .map(|(index, _)| *index)
            .collect();
        for index in touched {
            let start = index * CHUNK;
            let from = at.max(start) - start;
            let to = end.min(start + CHUNK) - start;
            if from >= to {
                continue;
            }
            let chunk = self.chunk_mut(index);
            chunk.punch(from, to - from);
            if chunk.blocks.is_empty() {
                self.chunks.remove(&index);
            }
        }
    }

    /// Sets the length. What lies beyond it is gone, what is new reads as zeroes.
    pub fn set_len(&mut self, len: u64) {
        self.chunks.retain(|index, _| index * CHUNK < len);
        if let Some(chunk) = self.chunks.get_mut(&(len / CHUNK))
            && len % CHUNK < chunk.data_end
        {
            Arc::make_mut(chunk).cut(len % CHUNK);
        }
        self.len = len;
    }

    /// First offset from `at` that is not in a hole.
    pub fn seek_data(&self, at: u64) -> Option<u64> {
        self.extents()
            .into_iter()
            .find(|extent| extent.end > at)
            .map(|extent| extent.start.max(at))
    }

    /// First offset from `at` that is in a hole; the end of the file is one.
    pub fn seek_hole(&self, at: u64) -> Option<u64> {
        if at >= self.len {
            return None;
        }
        let inside = |extent: &Range<u64>| extent.contains(&at);
        Some(
            self.extents()
                .into_iter()
                .find(inside)
                .map_or(at, |extent| extent.end),
        )
    }

    /// Maximal ranges of data: blocks that are not holes, up to the end of their chunk's data.
    fn extents(&self) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        for (index, chunk) in &self.chunks {
            for block in chunk.blocks.keys() {
                let start = index * CHUNK + block * BLOCK;
                let end = (start + BLOCK).min(index * CHUNK + chunk.data_end);
                match found.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => found.push(start..end),
                }
            }
        }
        found
    }

    fn chunk_mut(&mut self, index: u64) -> &mut Chunk {
        Arc::make_mut(self.chunks.entry(index).or_default())
    }
}

/// Cuts `at..at + len` at multiples of `unit`: the unit's index, the range
/// inside the unit, and the range inside the whole.
fn pieces(at: u64, len: u64, unit: u64) -> impl Iterator<Item = (u64, Range<u64>, Range<u64>)> {
    let end = at + len;
    let mut next = at;
    std::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let from = next;
        let index = from / unit;
        next = end.min((index + 1) * unit);
        Some((
            index,
            from % unit..from % unit + (next - from),
            from - at..next - at,
        ))
    })
}

fn to_usize(range: Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(content: &Content) -> u64 {
        content.chunks.values().map(|chunk| chunk.charge()).sum()
    }

    #[test]
    fn a_gap_inside_a_chunk_charges_the_partial_blocks_only() {
        let mut content = Content::whole(&[1; 100]);
        assert_eq!(charge(&content), 100);
        content.write(5 * BLOCK + 10, &[2; 5]);
        assert_eq!(charge(&content), BLOCK + 15);
        assert_eq!(content.read(98, 4), [1, 1, 0, 0]);
        assert_eq!(content.seek_hole(0), Some(BLOCK));
        assert_eq!(content.seek_data(BLOCK), Some(5 * BLOCK));
        assert_eq!(content.seek_hole(5 * BLOCK), Some(5 * BLOCK + 15));
    }

    #[test]
    fn holes_in_other_chunks_charge_nothing() {
        let mut content = Content::whole(&[1; 100]);
        content.write(7 * CHUNK, &[1]);
        assert_eq!(charge(&content), 101);
        content.set_len(7 * CHUNK);
        assert_eq!(charge(&content), 100);
        content.set_len(50);
        assert_eq!(charge(&content), 50);
        content.set_len(100);
        assert_eq!(content.read(0, 100)[49..52], [1, 0, 0]);
        assert_eq!(charge(&content), 50);
    }

    #[test]
    fn punching_frees_whole_blocks_and_the_part_up_to_the_end() {
        let mut content = Content::whole(&vec![1; (3 * BLOCK + 7) as usize]);
        content.punch(10, BLOCK);
        assert_eq!(charge(&content), 3 * BLOCK + 7);
        content.punch(3 * BLOCK, 7);
        assert_eq!(charge(&content), 3 * BLOCK);
        content.punch(0, 2 * BLOCK);
        assert_eq!(charge(&content), BLOCK);
        assert_eq!(content.len, 3 * BLOCK + 7);
    }

    #[test]
    fn copies_share_until_one_is_written() {
        let mut first = Content::whole(&vec![7; (CHUNK + 100) as usize]);
        let second = first.clone();
        first.write(CHUNK, &[1]);
        assert!(Arc::ptr_eq(&first.chunks[&0], &second.chunks[&0]));
        assert!(!Arc::ptr_eq(&first.chunks[&1], &second.chunks[&1]));
        assert_eq!(second.read(CHUNK, 2), [7, 7]);
    }
}
