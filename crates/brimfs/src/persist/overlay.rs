//! Pages of a chunk that leave the journal without the rest of the chunk: they become a record that lies over those that
//! the chunk has.
//!
//! A chunk of which too much lies over it is written whole again. So what is written of scattered pages in the long run is
//! at most a few times their bytes, and what is stored of a chunk at most half of it more than the chunk.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::base::pages::Pages;
use crate::base::sync::Arc;
use crate::cold::segment::{Extent, Id, Layer, Stack, Store};
use crate::journal::{self, Group, Record};
use crate::memory::chunk::CHUNK;
use crate::memory::written::UnitLook;
use crate::mover::Moves;
use crate::mover::kept::{extent_of, lasting_id};

use super::known::Known;

/// The most layers over a chunk, and pages in all of them.
const LAYERS_MAX: usize = 8;
const PAGES_MAX: u32 = 128;

/// The records that new pages of a chunk come to lie over, each with a reference. They are given back if none do.
pub(super) struct Under {
    segments: Arc<Store>,
    /// Nothing once it is piled.
    stack: Option<Stack>,
    pub(super) pages: Pages,
}

impl Under {
    /// What pages of a unit come to lie over, if they need not be written with all of it. `known` is where the last commit
    /// had it.
    pub(super) fn of(
        segments: &Arc<Store>,
        unit: &UnitLook<'_>,
        known: Option<Extent>,
    ) -> Option<Self> {
        let patch = unit.patch?;
        let base = known.filter(|known| *known == extent_of(patch.base))?;
        let id = lasting_id(patch.pure?);
        // What grew or has holes may show bytes of its copy that are not its own.
        if base.len() != unit.len || unit.blocks != 0 || patch.all == Pages::default() {
            return None;
        }
        let stack = match segments.stack_of(base) {
            Some(stack) => (*stack).clone(),
            None => Stack {
                id,
                base,
                layers: Vec::new(),
            },
        };
        let has_room = stack.layers.len() < LAYERS_MAX
            && stack.pages() + patch.all.count() <= PAGES_MAX
            && unit.bytes.are_there();
        if !has_room {
            return None;
        }
        for (at, record) in stack.records().enumerate() {
            if !segments.retain(record) {
                // As many references as can be counted.
                stack.records().take(at).for_each(|record| {
                    segments.release(record);
                });
                return None;
            }
        }
        Some(Under {
            segments: segments.clone(),
            stack: Some(stack),
            pages: patch.all,
        })
    }

    /// The pages are in a record now, which has a reference of the caller's: it goes to the stack.
    ///
    /// # Errors
    /// As [`Store::pile`]. The reference is given back then.
    pub(super) fn pile(mut self, id: Id, extent: Extent) -> Result<Extent, Fault> {
        let mut stack = self.stack.take().ok_or_else(|| Fault::miss(0))?;
        stack.layers.push(Layer {
            id,
            extent,
            pages: self.pages,
        });
        let records: Vec<Extent> = stack.records().collect();
        self.segments.pile(stack).inspect_err(|_| {
            for record in records {
                self.segments.release(record);
            }
        })
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        for record in self.stack.iter().flat_map(Stack::records) {
            self.segments.release(record);
        }
    }
}

/// Copies pages of a unit behind each other.
pub(super) fn append_pages(unit: &UnitLook<'_>, pages: Pages, to: &mut Vec<u8>) {
    for run in pages.runs() {
        to.extend_from_slice(unit.bytes.part(run));
    }
}

/// What a journal says of a layer.
fn record(node: u64, index: u64, number: usize, layer: &Layer) -> Record<'static> {
    let (segment, place, stored) = layer.extent.to_parts();
    Record::Overlay(journal::Overlay {
        node,
        offset: index * CHUNK as u64,
        layer: number as u32,
        segment,
        place,
        stored,
        generation: layer.id.generation,
        pages: layer.pages,
    })
}

/// Says what lies over a chunk, if anything does.
///
/// # Errors
/// As [`Group::push`].
pub(super) fn push_layers(
    group: &mut Group,
    segments: &Store,
    (node, index): (u64, u64),
    extent: Extent,
) -> Result<(), Fault> {
    let stack = segments.stack_of(extent);
    for (number, layer) in stack.iter().flat_map(|stack| &stack.layers).enumerate() {
        group.push(&record(node, index, number, layer))?;
    }
    Ok(())
}

/// Stacks of which records were moved.
pub(super) struct Restacks(HashMap<Extent, Restack, FixedState>);

struct Restack {
    old: Arc<Stack>,
    new: Stack,
}

impl Restack {
    /// Records that lie elsewhere, before and after.
    fn moved(&self) -> impl Iterator<Item = (Extent, Extent)> {
        let pairs = self.old.records().zip(self.new.records());
        pairs.filter(|(old, new)| old != new)
    }
}

impl Restacks {
    /// All stacks that have records which were moved, each with references to the new places.
    pub(super) fn of(segments: &Store, moves: &Moves) -> Self {
        let hit = segments.stacks_with(|record| moves.get(record).is_some());
        let restack = |(extent, old): (Extent, Arc<Stack>)| {
            // What has as many references as can be counted stays.
            let new = old.moved(|record| moves.get(record).filter(|new| segments.retain(*new)));
            (extent, Restack { old, new })
        };
        Restacks(hit.into_iter().map(restack).collect())
    }

    /// What the journal has to say of those that it knows.
    ///
    /// # Errors
    /// As [`Group::push`].
    pub(super) fn say(&self, known: &Known, group: &mut Group) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut done = Ok(());
        known.each(|node, index, extent| {
            if let Some(restack) = self.0.get(&extent)
                && done.is_ok()
            {
                done = restack.say(node, index, group);
            }
        });
        done
    }

    /// The new places count.
    pub(super) fn apply(self, segments: &Store) {
        for (extent, restack) in self.0 {
            let moved: Vec<_> = restack.moved().collect();
            let is_there = segments.swap(extent, &restack.old, restack.new);
            for (old, new) in moved {
                segments.release(if is_there { old } else { new });
            }
        }
    }

    /// The old places count still.
    pub(super) fn give_up(self, segments: &Store) {
        for restack in self.0.into_values() {
            for (_, new) in restack.moved() {
                segments.release(new);
            }
        }
    }
}

impl Restack {
    fn say(&self, node: u64, index: u64, group: &mut Group) -> Result<(), Fault> {
        if self.new.base != self.old.base {
            group.push(&moved(node, index, self.new.base))?;
        }
        let layers = self.old.layers.iter().zip(&self.new.layers).enumerate();
        for (number, (old, new)) in layers {
            if old.extent != new.extent {
                group.push(&record(node, index, number, new))?;
            }
        }
        Ok(())
    }
}

/// The record of content that lies elsewhere.
pub(super) fn moved(node: u64, index: u64, to: Extent) -> Record<'static> {
    let (segment, place, stored) = to.to_parts();
    Record::Moved(journal::Moved {
        node,
        offset: index * CHUNK as u64,
        segment,
        place,
        stored,
    })
}
