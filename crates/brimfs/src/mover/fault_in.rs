//! Cold → memory: a unit comes back, or a part of it goes straight to a reader.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::cold::segment::{ReadError, Store};
use crate::memory::tier::{Cold, Filled, Installed, Residents};

use super::{Mover, id, split};

/// A unit of at most this many bytes comes back as soon as it is read.
const SMALL: u32 = 64 << 10;
/// A larger one comes back when half of it is read at once, or a part of it for the so-manieth time:
/// a page here and there is not worth a mebibyte.
const LOOKS: u8 = 8;
/// So often room is made for a unit, for others to take it.
const TURNS: u32 = 64;

impl Mover {
    /// Makes a unit resident. Success too if it is resident already, or gone.
    pub(super) fn fault_in_unit(
        &self,
        holder: &Arc<dyn Residents>,
        index: u64,
    ) -> Result<(), Fault> {
        match holder.cold(index) {
            Some(cold) => {
                let room = self.room(holder, cold.len as usize)?;
                self.bring_back(holder, index, cold, room, |_| {}).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Makes a unit resident and lets `look` see its bytes; false if it is not cold any more.
    fn bring_back(
        &self,
        holder: &Arc<dyn Residents>,
        index: u64,
        cold: Cold,
        mut filled: Filled,
        look: impl FnOnce(&[u8]),
    ) -> Result<bool, Fault> {
        if !self.read_checked(holder, index, cold, 0, filled.bytes_mut())? {
            return Ok(false);
        }
        look(filled.bytes_mut());
        match holder.clone().install(index, cold.identity, filled) {
            Installed::Stale => return Ok(true),
            Installed::Small { location, .. } => self.forget_location(location),
            Installed::Chunk(Some(slot)) => self.books.lock().set_clean(slot, true),
            Installed::Chunk(None) => {}
        }
        self.counters.faulted_in(u64::from(cold.len));
        Ok(true)
    }

    /// Memory for a unit, made by evicting others if there is none.
    fn room(&self, holder: &Arc<dyn Residents>, len: usize) -> Result<Filled, Fault> {
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

    /// See [`Tier::read_cold`](crate::memory::tier::Tier::read_cold).
    pub(super) fn read_part(
        &self,
        holder: &Arc<dyn Residents>,
        index: u64,
        cold: Cold,
        offset: usize,
        to: &mut [u8],
    ) -> Result<bool, Fault> {
        let (ticket, _) = split(cold.location);
        let looks = self.tickets.lock().look(ticket);
        let wanted = cold.len <= SMALL || to.len() >= cold.len as usize / 2 || looks >= LOOKS;
        // Reading needs no memory: where there is none, not even by spilling, it goes without.
        if wanted && let Ok(room) = self.room(holder, cold.len as usize) {
            return self.bring_back(holder, index, cold, room, |bytes| {
                to.copy_from_slice(&bytes[offset..offset + to.len()]);
            });
        }
        let read = self.read_checked(holder, index, cold, offset, to)?;
        if read {
            self.counters.read_through(to.len() as u64);
        }
        Ok(read)
    }

    /// Reads, verified; false if the bytes lie elsewhere by now, or are no more.
    fn read_checked(
        &self,
        holder: &Arc<dyn Residents>,
        index: u64,
        cold: Cold,
        offset: usize,
        to: &mut [u8],
    ) -> Result<bool, Fault> {
        let Some(store) = self.opened() else {
            return Ok(false);
        };
        match read(&store, cold, offset, to) {
            Ok(()) => Ok(true),
            Err(ReadError::Gone) => Ok(false),
            // What is wrong with bytes that nobody wants any more is not to be reported.
            Err(ReadError::Fault(_)) if holder.cold(index) != Some(cold) => Ok(false),
            Err(ReadError::Fault(fault)) => Err(fault),
        }
    }
}

fn read(store: &Store, cold: Cold, offset: usize, to: &mut [u8]) -> Result<(), ReadError> {
    let (ticket, extent) = split(cold.location);
    store.read(id(cold.identity, ticket), extent, offset, to)
}
