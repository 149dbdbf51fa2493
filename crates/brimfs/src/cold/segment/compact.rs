//! Compaction: the live rest of mostly dead segments moves together, and their space comes back.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::io::disk::ALIGNMENT;

use super::format::{Extent, HEADER, Header, Id, RECORD_MAX, UNIT};
use super::home::Home;
use super::index::Segment;
use super::options::Compacted;
use super::reader::fetch;
use super::writer::{Purpose, Record};
use super::{Owner, Store};

/// A segment is worth the work when one part in this many of it is dead,
const DEAD_SHARE: u64 = 4;
/// or one in this many when the disk limit is near.
const DEAD_SHARE_PRESSED: u64 = 16;

/// A segment of a store that stays is short when this share of it or less is live.
const SHORT_SHARE: u64 = 2;
/// When there are more short segments than this they are merged, the shortest first, until there are few.
const SHORT_MAX: usize = 12;
const SHORT_FEW: usize = 4;

/// Segments that hold little.
#[derive(Default)]
struct Short {
    count: usize,
    shortest: Option<Arc<Segment>>,
}

/// Records that were read and wait for their new place.
struct Batch {
    content: Vec<u8>,
    records: Vec<(Id, Extent, usize)>,
}

impl Store {
    pub(super) fn compact_some(&self, budget: u64, owner: Owner<'_>) -> Result<Compacted, Fault> {
        self.home.check_writable()?;
        let _one_at_a_time = self.compacting.lock();
        let mut done = Compacted::default();
        let mut seen = Vec::new();
        let mut is_merging = false;
        // What is begun from here on holds what was moved, and is not moved again.
        let newest = self.tail.lock().next_serial();
        while done.copied < budget {
            let victim = self.victim(newest, &seen);
            let Some(victim) = victim.or_else(|| self.short_victim(newest, &seen, &mut is_merging))
            else {
                break;
            };
            seen.push(victim.serial);
            self.move_out(&victim, budget, &mut done, &mut seen, owner)?;
            if self.find(victim.serial).is_none() {
                done.freed_segments += 1;
            }
        }
        Ok(done)
    }

    /// The segment older than `newest` that gains most of its size by moving and was not `seen`. No
    /// more runs go to it.
    fn victim(&self, newest: u32, seen: &[u32]) -> Option<Arc<Segment>> {
        let pressed = self.space.used() > self.space.limit - 2 * self.segment_bytes;
        let share = if pressed {
            DEAD_SHARE_PRESSED
        } else {
            DEAD_SHARE
        };
        let mut best: Option<(u64, u64, Arc<Segment>)> = None;
        for segment in self.table.read().values() {
            let index = segment.index();
            let filled = index.filled();
            // Padding that moving would only make anew is no gain.
            let gain = filled
                - index
                    .live_bytes()
                    .next_multiple_of(ALIGNMENT as u64)
                    .min(filled);
            let swept = index.swept > 0 && index.next_live(index.swept).is_none();
            let fit = index.is_settled() && !index.damaged && !index.is_empty() && !swept;
            let known = segment.serial >= newest || seen.contains(&segment.serial);
            if !fit || known || gain == 0 || gain * share < filled {
                continue;
            }
            // Two segments are compared by their shares, without dividing.
            let better = |(g, f, _): &(u64, u64, _)| {
                u128::from(gain) * u128::from(*f) > u128::from(*g) * u128::from(filled)
            };
            if best.as_ref().is_none_or(better) {
                best = Some((gain, filled, segment.clone()));
            }
        }
        let (.., victim) = best?;
        let mut tail = self.tail.lock();
        if tail
            .active
            .as_ref()
            .is_some_and(|active| Arc::ptr_eq(active, &victim))
        {
            // What is being written there keeps it for another time.
            if !victim.index().is_settled() {
                return None;
            }
            tail.active = None;
            victim.close();
        }
        Some(victim)
    }

    /// Whether there are so many short segments that some should be one.
    pub fn has_many_short(&self) -> bool {
        self.short(u32::MAX, &[]).count > SHORT_MAX
    }

    /// The shortest segment older than `newest`, if there are many. Further ones follow until there are few.
    fn short_victim(
        &self,
        newest: u32,
        seen: &[u32],
        is_merging: &mut bool,
    ) -> Option<Arc<Segment>> {
        let short = self.short(newest, seen);
        let most = if *is_merging { SHORT_FEW } else { SHORT_MAX };
        *is_merging = short.count > most;
        short.shortest.filter(|_| *is_merging)
    }

    fn short(&self, newest: u32, seen: &[u32]) -> Short {
        let mut short = Short::default();
        if self.home.named().is_none() {
            return short;
        }
        let active = self.tail.lock().active.as_ref().map(|active| active.serial);
        let mut least = self.segment_bytes / SHORT_SHARE;
        for segment in self.table.read().values() {
            let index = segment.index();
            let live = index.live_bytes();
            let is_known = segment.serial >= newest || seen.contains(&segment.serial);
            let is_fit = index.is_settled() && !index.damaged && !index.is_empty();
            if is_known || !is_fit || Some(segment.serial) == active {
                continue;
            }
            if live < self.segment_bytes / SHORT_SHARE {
                short.count += 1;
            }
            if live < least {
                least = live;
                short.shortest = Some(segment.clone());
            }
        }
        short
    }

    /// Moves live records out of a segment until it is empty or the budget is used up. Where they went to is
    /// added to `seen`: no record moves twice.
    fn move_out(
        &self,
        segment: &Segment,
        budget: u64,
        done: &mut Compacted,
        seen: &mut Vec<u32>,
        owner: Owner<'_>,
    ) -> Result<(), Fault> {
        let mut batch = Batch {
            content: Vec::with_capacity(RECORD_MAX),
            records: Vec::new(),
        };
        let mut next = segment.index().swept;
        let mut planned = 0;
        while done.copied + planned < budget {
            // The guard must not live on into the body, which reads from the disk.
            let found = segment.index().next_live(next);
            let Some((unit, end)) = found else {
                break;
            };
            next = unit + 1;
            let Some((id, extent)) = self.head_of(segment, unit, end)? else {
                self.note_damage(segment, done);
                continue;
            };
            if batch.content.len() + extent.len() > RECORD_MAX {
                self.flush(&mut batch, done, seen, owner)?;
                self.note_swept(segment, unit);
                planned = 0;
            }
            let start = batch.content.len();
            batch.content.resize(start + extent.len(), 0);
            match self.read_whole(segment, id, extent, &mut batch.content[start..]) {
                Ok(()) => {
                    batch.records.push((id, extent, start));
                    planned += extent.stored_bytes();
                }
                Err(fault) if fault.kind() == ErrorKind::Corrupt => {
                    batch.content.truncate(start);
                    self.note_damage(segment, done);
                }
                Err(fault) => return Err(fault),
            }
        }
        self.flush(&mut batch, done, seen, owner)?;
        self.note_swept(segment, next);
        Ok(())
    }

    /// Records before `unit` were offered to their owners. Those release them when they can, and until then
    /// they are not moved again.
    fn note_swept(&self, segment: &Segment, unit: u32) {
        if self.home.named().is_some() {
            segment.index().swept = unit;
        }
    }

    fn note_damage(&self, segment: &Segment, done: &mut Compacted) {
        segment.index().damaged = true;
        done.damaged += 1;
    }

    /// Identity and extent of the record at `unit`, which ends at `end` at the latest; `None` if its header is none. Not
    /// verified: each block is bound to the header, so what is not this record cannot be read as it.
    fn head_of(
        &self,
        segment: &Segment,
        unit: u32,
        end: u64,
    ) -> Result<Option<(Id, Extent)>, Fault> {
        let place = u64::from(unit) * UNIT as u64;
        let mut lease = self.buffers.take();
        let stop = end.min(place + HEADER as u64);
        let window = fetch(&*segment.file.file, &mut lease, place, stop, &self.counters)?;
        let start = (place - window.place) as usize;
        let header = window.bytes[start..].first_chunk::<HEADER>();
        let seals = self.sealer.seals();
        let head = header.and_then(|header| Header::decode(header, segment.serial, unit, seals));
        Ok(head.filter(|(_, extent)| place + extent.stored_bytes() <= end))
    }

    /// Appends a batch and lets the owner swing its references.
    fn flush(
        &self,
        batch: &mut Batch,
        done: &mut Compacted,
        seen: &mut Vec<u32>,
        owner: Owner<'_>,
    ) -> Result<(), Fault> {
        let parts: Vec<[&[u8]; 1]> = batch
            .records
            .iter()
            .map(|(_, extent, start)| [&batch.content[*start..*start + extent.len()]])
            .collect();
        let records: Vec<Record<'_>> = batch
            .records
            .iter()
            .zip(&parts)
            .map(|((id, ..), parts)| Record { id: *id, parts })
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        let moved = self.append_for(&records, Purpose::Compaction)?;
        for ((id, old, _), new) in batch.records.drain(..).zip(moved) {
            done.copied += old.stored_bytes();
            if !seen.contains(&new.serial()) {
                seen.push(new.serial());
            }
            if owner(id, old, new) {
                done.moved += 1;
                // What has a name may be needed after a crash until its owner's new reference is durable.
                if self.home.named().is_none() {
                    self.release(old);
                }
            } else {
                self.release(new);
            }
        }
        batch.content.clear();
        Ok(())
    }

    /// Memory that compaction takes at most, in bytes, beside its buffer.
    pub(super) const COMPACTION_BYTES: u64 = RECORD_MAX as u64 + (1 << 16);

    /// Takes a segment out of the table if it is empty, and gives its space back or keeps it for
    /// the next one.
    pub(super) fn retire(&self, segment: Arc<Segment>) {
        let mut tail = self.tail.lock();
        let mut table = self.table.write();
        if !segment.index().is_empty() || table.remove(&segment.serial).is_none() {
            return;
        }
        let others = !table.is_empty();
        drop(table);
        if tail
            .active
            .as_ref()
            .is_some_and(|active| Arc::ptr_eq(active, &segment))
        {
            tail.active = None;
        }
        if let Home::Named(named) = &self.home {
            drop(tail);
            named.discard(segment);
            return;
        }
        let spare = if others { tail.spare.take() } else { None };
        let old = std::mem::replace(&mut tail.spare, spare);
        // Whoever still reads it keeps it open and closes it.
        let file = Arc::into_inner(segment).map(|segment| segment.file);
        let closed = if others && tail.spare.is_none() {
            tail.spare = file;
            None
        } else {
            file
        };
        drop(tail);
        // Closing frees blocks, which takes the disk a while: no lock is held meanwhile.
        drop((old, closed));
    }
}
