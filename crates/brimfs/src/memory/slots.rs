//! Which chunk is where: a vector for files that are mostly there, a map for sparse ones.
//!
//! Knows no bytes and charges nobody; says what it occupies.

use std::collections::BTreeMap;

use crate::base::sync::Arc;
use crate::memory::chunk::Chunk;

/// A dense vector may have this many empty places before, and as many times more than, its chunks.
const DENSE_SLACK: u64 = 64;
const DENSE_RATIO: u64 = 4;
/// Bytes per chunk of a sparse map: key, value and its share of nodes that are two thirds full.
pub(crate) const SPARSE_ENTRY: u64 = 32;

/// Chunks by their number in the file.
#[derive(Clone, Debug)]
pub(crate) enum Slots {
    Dense(Vec<Option<Arc<Chunk>>>),
    Sparse(BTreeMap<u64, Arc<Chunk>>),
}

impl Slots {
    #[inline]
    pub(crate) fn get(&self, index: u64) -> Option<&Arc<Chunk>> {
        match self {
            Slots::Dense(slots) => slots.get(usize::try_from(index).ok()?)?.as_ref(),
            Slots::Sparse(slots) => slots.get(&index),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u64) -> Option<&mut Arc<Chunk>> {
        match self {
            Slots::Dense(slots) => slots.get_mut(usize::try_from(index).ok()?)?.as_mut(),
            Slots::Sparse(slots) => slots.get_mut(&index),
        }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Slots::Dense(slots) => slots.len(),
            Slots::Sparse(slots) => slots.len(),
        }
    }

    /// What the table itself occupies, in bytes.
    pub(crate) fn footprint(&self) -> u64 {
        match self {
            Slots::Dense(slots) => slots.capacity() as u64 * 8,
            Slots::Sparse(slots) => slots.len() as u64 * SPARSE_ENTRY,
        }
    }

    pub(crate) fn stays_dense(len: usize, index: u64) -> bool {
        index <= len as u64 * DENSE_RATIO + DENSE_SLACK
    }

    /// Makes room for `index`, as a dense vector while that wastes little.
    pub(crate) fn extend_to(&mut self, index: u64) {
        let Slots::Dense(slots) = self else { return };
        if index < slots.len() as u64 {
            return;
        }
        if Self::stays_dense(slots.len(), index) {
            slots.resize(index as usize + 1, None);
            return;
        }
        let sparse = std::mem::take(slots)
            .into_iter()
            .enumerate()
            .filter_map(|(index, chunk)| Some((index as u64, chunk?)))
            .collect();
        *self = Slots::Sparse(sparse);
    }

    pub(crate) fn put(&mut self, index: u64, chunk: Arc<Chunk>) {
        self.extend_to(index);
        match self {
            Slots::Dense(slots) => slots[index as usize] = Some(chunk),
            Slots::Sparse(slots) => {
                slots.insert(index, chunk);
            }
        }
    }

    pub(crate) fn remove(&mut self, index: u64) {
        match self {
            Slots::Dense(slots) => {
                if let Some(slot) = slots.get_mut(index as usize) {
                    *slot = None;
                }
            }
            Slots::Sparse(slots) => {
                slots.remove(&index);
            }
        }
    }

    pub(crate) fn truncate(&mut self, count: u64) {
        match self {
            Slots::Dense(slots) => slots.truncate(usize::try_from(count).unwrap_or(usize::MAX)),
            Slots::Sparse(slots) => {
                slots.split_off(&count);
            }
        }
    }

    /// The chunks with their numbers, in order.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (u64, &Arc<Chunk>)> + '_> {
        self.iter_from(0)
    }

    /// As [`Slots::iter`], from a number on.
    pub(crate) fn iter_from(
        &self,
        first: u64,
    ) -> Box<dyn Iterator<Item = (u64, &Arc<Chunk>)> + '_> {
        match self {
            Slots::Dense(slots) => {
                let skipped = usize::try_from(first)
                    .unwrap_or(usize::MAX)
                    .min(slots.len());
                let numbered = (skipped as u64..).zip(&slots[skipped..]);
                Box::new(numbered.filter_map(|(index, chunk)| Some((index, chunk.as_ref()?))))
            }
            Slots::Sparse(slots) => {
                Box::new(slots.range(first..).map(|(index, chunk)| (*index, chunk)))
            }
        }
    }

    /// Indices of chunks in `first..end`, in order.
    pub(crate) fn indices(&self, first: u64, end: u64) -> Vec<u64> {
        match self {
            Slots::Dense(slots) => (first..end.min(slots.len() as u64))
                .filter(|index| slots[*index as usize].is_some())
                .collect(),
            Slots::Sparse(slots) => slots.range(first..end).map(|(index, _)| *index).collect(),
        }
    }
}
