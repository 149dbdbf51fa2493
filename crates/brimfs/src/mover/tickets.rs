//! For every cold copy the unit that it belongs to: what compaction needs to tell a file that
//! its bytes lie elsewhere.

use crate::base::sync::Weak;
use crate::memory::tier::{Residents, Unit};

/// The number of a cold copy, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(pub(super) u32);

#[derive(Debug)]
enum Entry {
    Taken {
        unit: Unit,
        len: u32,
        /// How often a part was read, as far as it is counted.
        looks: u8,
    },
    /// The number of the next free entry, or itself at the end.
    Free(u32),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    entries: Vec<Entry>,
    free: Option<u32>,
    count: u64,
    bytes: u64,
}

impl Tickets {
    /// A number for a copy of `len` bytes.
    pub(super) fn take(&mut self, unit: Unit, len: usize) -> Ticket {
        let len = len as u32;
        self.count += 1;
        self.bytes += u64::from(len);
        let entry = Entry::Taken {
            unit,
            len,
            looks: 0,
        };
        let Some(number) = self.free else {
            self.entries.push(entry);
            return Ticket((self.entries.len() - 1) as u32);
        };
        let before = std::mem::replace(&mut self.entries[number as usize], entry);
        self.free = match before {
            Entry::Free(next) if next != number => Some(next),
            _ => None,
        };
        Ticket(number)
    }

    pub(super) fn free(&mut self, ticket: Ticket) {
        let next = self.free.unwrap_or(ticket.0);
        let Some(entry) = self.entries.get_mut(ticket.0 as usize) else {
            return;
        };
        if let Entry::Taken { len, .. } = *entry {
            self.count -= 1;
            self.bytes -= u64::from(len);
            *entry = Entry::Free(next);
            self.free = Some(ticket.0);
        }
    }

    pub(super) fn unit(&self, ticket: Ticket) -> Option<Unit> {
        match self.entries.get(ticket.0 as usize)? {
            Entry::Taken { unit, .. } => Some(unit.clone()),
            Entry::Free(_) => None,
        }
    }

    /// Counts a look at a part of the copy; returns how many there were before.
    pub(super) fn look(&mut self, ticket: Ticket) -> u8 {
        match self.entries.get_mut(ticket.0 as usize) {
            Some(Entry::Taken { looks, .. }) => {
                *looks = looks.saturating_add(1);
                *looks - 1
            }
            _ => 0,
        }
    }

    /// The copy can be reached through this unit, should its first one be gone.
    pub(super) fn owned(&mut self, ticket: Ticket, other: Unit) {
        if let Some(Entry::Taken { unit, .. }) = self.entries.get_mut(ticket.0 as usize)
            && unit.holder.strong_count() == 0
        {
            *unit = other;
        }
    }

    /// Calls `visit` with the file of every copy.
    pub(super) fn each_holder(&self, mut visit: impl FnMut(&Weak<dyn Residents>)) {
        for entry in &self.entries {
            if let Entry::Taken { unit, .. } = entry {
                visit(&unit.holder);
            }
        }
    }

    /// Number of cold copies.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Content of the cold copies, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory of the table, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        (self.entries.capacity() * size_of::<Entry>()) as u64
    }
}
