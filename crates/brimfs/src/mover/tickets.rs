//! For every cold copy the unit that it belongs to: what compaction needs to tell a file that
//! its bytes lie elsewhere.

use crate::memory::tier::Unit;

/// The number of a cold copy, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(pub(super) u32);

/// How often a part of a copy was read lately: halved from one term to the next.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    count: u8,
    /// That of the last look.
    term: u8,
}

impl Looks {
    fn note(&mut self, term: u8) -> u8 {
        let passed = u32::from(term.wrapping_sub(self.term));
        self.count = self
            .count
            .checked_shr(passed)
            .unwrap_or(0)
            .saturating_add(1);
        self.term = term;
        self.count
    }
}

#[derive(Debug)]
enum Entry {
    Taken {
        unit: Unit,
        len: u32,
        looks: Looks,
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
    /// At all copies, ever.
    looks: u64,
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
            looks: Looks::default(),
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

    /// Counts a look at a part of the copy; returns how many there were lately. A term is as many looks
    /// at all copies together.
    pub(super) fn look(&mut self, ticket: Ticket, term: u64) -> u8 {
        self.looks += 1;
        let now = (self.looks / term.max(1)) as u8;
        match self.entries.get_mut(ticket.0 as usize) {
            Some(Entry::Taken { looks, .. }) => looks.note(now),
            _ => 0,
        }
    }

    /// The copy is not all there is any more: looks at it are counted anew when it is.
    pub(super) fn forget_looks(&mut self, ticket: Ticket) {
        if let Some(Entry::Taken { looks, .. }) = self.entries.get_mut(ticket.0 as usize) {
            *looks = Looks::default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_count_where_they_are_many_of_all() {
        const TERM: usize = 80;
        let most = |copies: usize| {
            let mut all = vec![Looks::default(); copies];
            (0..5000)
                .map(|look| all[look % copies].note((look / TERM) as u8))
                .max()
        };
        assert!(most(100) <= Some(2), "{:?}", most(100));
        assert!(most(8) >= Some(16), "{:?}", most(8));
    }

    #[test]
    fn looks_of_long_ago_do_not_count() {
        let mut looks = Looks::default();
        assert_eq!((0..40).map(|_| looks.note(250)).max(), Some(40));
        assert_eq!(looks.note(251), 21);
        assert_eq!(looks.note(10), 1);
    }
}
