//! Cold → memory: units come back, or parts of them go straight to a reader.
//!
//! All that one call wants is read together, and with it what a reader of the whole file will
//! want next.

use smallvec::SmallVec;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::base::trace;
use crate::cold::segment::{Read, ReadError, Store};
use crate::memory::chunk::{CHUNK, Memory};
use crate::memory::tier::{Cold, ColdPart, Filled, Installed, Location, Residents};

use super::{Mover, Naming, split};

/// A unit of at most this many bytes comes back as soon as it is read.
const SMALL: u32 = 64 << 10;
/// A larger one comes back when half of it is read at once, or when parts of it were read so often
/// lately: reading 1 MiB takes as long as sixteen pages.
const LOOKS: u8 = 16;
/// Lately is the time of so many looks for each chunk that memory has room for. So a chunk comes back
/// if it is looked at more often than it would have to be to stay.
const LOOKS_TERM: u64 = 8;
/// For what one read brings back at once no more than this share of the limit is evicted.
const READ_SHARE: u64 = 16;
/// A guess takes no more than this share of what is free.
const GUESS_SHARE: u64 = 2;

/// So often room is made for a unit, for others to take it.
const TURNS: u32 = 64;

/// What is most often read at once.
type Few<T> = SmallVec<[T; 2]>;

/// A unit on its way into memory.
pub(super) struct Coming {
    pub(super) index: u64,
    pub(super) cold: Cold,
    pub(super) filled: Filled,
}

impl Mover {
    /// Makes a unit resident. Success too if it is resident already, or gone.
    pub(super) fn fault_in_unit(
        &self,
        holder: &Arc<dyn Residents>,
        index: u64,
    ) -> Result<(), Fault> {
        let (Some(cold), Some(store)) = (holder.cold(index), self.opened()) else {
            return Ok(());
        };
        trace::span!("fault_in", index, bytes = cold.len);
        let mut filled = self.room(holder, cold.len as usize)?;
        match read_now(&store, read(self.naming, cold, 0, filled.bytes_mut())) {
            Ok(()) => {
                self.arrive(
                    holder,
                    Coming {
                        index,
                        cold,
                        filled,
                    },
                );
                Ok(())
            }
            // What is wrong with bytes that nobody wants any more is not to be reported.
            Err(ReadError::Fault(fault)) if holder.cold(index) == Some(cold) => Err(fault),
            Err(ReadError::Gone | ReadError::Fault(_)) => Ok(()),
        }
    }

    /// See [`Tier::read_cold`](crate::memory::tier::Tier::read_cold).
    pub(super) fn read_parts(&self, holder: &Arc<dyn Residents>, parts: &mut [ColdPart<'_>]) {
        let (Some(store), Some(first), Some(last)) = (self.opened(), parts.first(), parts.last())
        else {
            return;
        };
        trace::span!("read_cold", parts = parts.len());
        let file = Arc::as_ptr(holder).addr();
        let behind = last.index + 1;
        let count = behind - first.index;
        let end = place(last) + last.to.len() as u64;
        let window = self.streams.lock().note(file, place(first), end);
        let mut coming = self.asked_for(holder, parts, window.is_some());
        let asked = coming.len();
        if let Some(more) = window.and_then(|window| window.checked_sub(count)) {
            self.guess(holder, behind..behind + more, &mut coming);
        }
        let results = self.read_together(&store, &mut coming, parts);
        for ((number, mut unit), result) in coming.into_iter().enumerate().zip(results) {
            let is_read = result.is_ok();
            hand_out(&mut unit, parts, result);
            let is_here = is_read && !matches!(self.arrive(holder, unit), Installed::Stale);
            self.counters.read_ahead(is_here && number >= asked);
        }
        if window.is_some() && self.is_above_high_mark() {
            self.watch.call();
        }
    }

    /// Reads units that come back, and all parts that are in none of them; settles those parts.
    fn read_together(
        &self,
        store: &Store,
        coming: &mut [Coming],
        parts: &mut [ColdPart<'_>],
    ) -> Few<Result<(), ReadError>> {
        let count = coming.len();
        let whole: Few<Location> = coming.iter().map(|unit| unit.cold.location).collect();
        let mut reads: Few<Read<'_>> = SmallVec::new();
        for unit in coming {
            reads.push(read(self.naming, unit.cold, 0, unit.filled.bytes_mut()));
        }
        let mut alone: Few<(&mut Option<Result<(), Fault>>, usize)> = SmallVec::new();
        for part in parts {
            if !whole.contains(&part.cold.location) {
                alone.push((&mut part.result, part.to.len()));
                reads.push(read(self.naming, part.cold, part.offset, part.to));
            }
        }
        let mut results = read_all(store, reads);
        for ((place, len), result) in alone.into_iter().zip(results.drain(count..)) {
            if result.is_ok() {
                self.counters.read_through(len as u64);
            }
            *place = settle(result);
        }
        results
    }

    /// The units that are worth bringing back, and memory for them. Reading needs none: where there
    /// is none, not even by evicting, it goes without.
    fn asked_for(
        &self,
        holder: &Arc<dyn Residents>,
        parts: &[ColdPart<'_>],
        is_stream: bool,
    ) -> Few<Coming> {
        let mut worth: Few<(u64, Cold)> = SmallVec::new();
        for unit in parts.chunk_by(|a, b| a.cold.location == b.cold.location) {
            let (index, cold) = (unit[0].index, unit[0].cold);
            let wanted: usize = unit.iter().map(|part| part.to.len()).sum();
            let is_much = cold.len <= SMALL || wanted >= cold.len as usize / 2;
            if is_stream || is_much || self.is_looked_at_often(cold) {
                worth.push((index, cold));
            }
        }
        self.make_room_for_all(&worth);
        let mut coming = SmallVec::new();
        for (index, cold) in worth {
            // Whoever has memory does not wait for more.
            let room = match coming.is_empty() {
                true => self.room(holder, cold.len as usize),
                false => holder.room(cold.len as usize),
            };
            if let Ok(filled) = room {
                coming.push(Coming {
                    index,
                    cold,
                    filled,
                });
            }
        }
        coming
    }

    fn is_looked_at_often(&self, cold: Cold) -> bool {
        let limit = self.budget.upgrade().map_or(0, |budget| budget.limit());
        let (ticket, _) = split(cold.location);
        let term = limit / CHUNK as u64 * LOOKS_TERM;
        self.tickets.lock().look(ticket, term) >= LOOKS
    }

    /// Evicts for several units at once, within reason.
    fn make_room_for_all(&self, units: &[(u64, Cold)]) {
        let bytes: u64 = units.iter().map(|(_, cold)| cost(*cold)).sum();
        if let Some(budget) = self.budget.upgrade()
            && units.len() > 1
        {
            let wish = bytes.min(budget.limit() / READ_SHARE);
            if budget.spare() < wish {
                // What does not fit goes through.
                drop(self.make_room(wish));
            }
        }
    }

    /// Adds cold units with these numbers for which memory is free. Evicts nothing.
    fn guess(
        &self,
        holder: &Arc<dyn Residents>,
        indices: std::ops::Range<u64>,
        coming: &mut Few<Coming>,
    ) {
        let Some(budget) = self.budget.upgrade() else {
            return;
        };
        for index in indices {
            let Some(cold) = holder.cold(index) else {
                continue;
            };
            if budget.spare() / GUESS_SHARE < cost(cold) {
                return;
            }
            let Ok(filled) = holder.room(cold.len as usize) else {
                return;
            };
            coming.push(Coming {
                index,
                cold,
                filled,
            });
        }
    }

    /// Gives a unit that was read to its file, which may have no use for it any more.
    pub(super) fn arrive(&self, holder: &Arc<dyn Residents>, unit: Coming) -> Installed {
        let Coming {
            index,
            cold,
            filled,
        } = unit;
        let installed = holder.clone().install(index, cold.identity, filled);
        match installed {
            Installed::Stale => return installed,
            Installed::Small(_) => {}
            Installed::Chunk(slot) => {
                self.tickets.lock().forget_looks(split(cold.location).0);
                if let Some(slot) = slot {
                    self.books.lock().set_clean(slot, true);
                }
            }
        }
        self.counters.faulted_in(u64::from(cold.len));
        installed
    }

    /// Memory for a unit, made by evicting others if there is none.
    pub(super) fn room(&self, holder: &Arc<dyn Residents>, len: usize) -> Result<Filled, Fault> {
        let mut filled = holder.room(len);
        for _ in 0..TURNS {
            let Err(fault) = &filled else { break };
            let Some(bytes) = fault.short_of_memory() else {
                break;
            };
            self.try_make_room(bytes)?;
            filled = holder.room(len);
        }
        filled
    }
}

/// Where a part begins, in bytes from the beginning of its file.
fn place(part: &ColdPart<'_>) -> u64 {
    part.index * CHUNK as u64 + part.offset as u64
}

/// Memory that a unit will take, in bytes.
fn cost(cold: Cold) -> u64 {
    Memory::cost(cold.len as usize) as u64
}

fn read(naming: Naming, cold: Cold, offset: usize, into: &mut [u8]) -> Read<'_> {
    let (ticket, extent) = split(cold.location);
    Read {
        id: naming.id(cold.identity, ticket),
        extent,
        offset,
        into,
    }
}

fn read_now(store: &Store, read: Read<'_>) -> Result<(), ReadError> {
    store.read(read.id, read.extent, read.offset, read.into)
}

fn read_all(store: &Store, mut reads: Few<Read<'_>>) -> Few<Result<(), ReadError>> {
    match reads.len() {
        1 => reads.drain(..).map(|one| read_now(store, one)).collect(),
        _ => SmallVec::from_vec(store.read_many(reads.into_vec())),
    }
}

/// Copies what is wanted of a unit that was read, or says why it was not.
fn hand_out(unit: &mut Coming, parts: &mut [ColdPart<'_>], result: Result<(), ReadError>) {
    let location = unit.cold.location;
    let bytes = unit.filled.bytes_mut();
    let mut wanted = parts
        .iter_mut()
        .filter(|part| part.cold.location == location);
    if let Err(error) = result {
        // One reader looks at all of it again, so one of the parts is enough.
        if let Some(part) = wanted.next() {
            part.result = settle(Err(error));
        }
        return;
    }
    for part in wanted {
        let end = part.offset + part.to.len();
        part.to.copy_from_slice(&bytes[part.offset..end]);
        part.result = Some(Ok(()));
    }
}

fn settle(result: Result<(), ReadError>) -> Option<Result<(), Fault>> {
    match result {
        Ok(()) => Some(Ok(())),
        Err(ReadError::Gone) => None,
        Err(ReadError::Fault(fault)) => Some(Err(fault)),
    }
}
