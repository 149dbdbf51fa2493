//! For every cold copy the unit that it belongs to: what compaction needs to tell a file that
//! its bytes lie elsewhere. Of a small file that is resident: where the copy lies, and of which version it is.

use std::num::NonZeroU32;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::clock;
use crate::base::sync::Weak;
use crate::cold::segment::Extent;
use crate::memory::tier::{Residents, Unit};

use super::explain::{Spill, SpillCause};

/// The number of a cold copy, for as long as it lives; one or none takes four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(NonZeroU32);

impl Ticket {
    pub(super) fn new(number: u32) -> Self {
        Ticket(NonZeroU32::MIN.saturating_add(number))
    }

    pub(super) fn number(self) -> u32 {
        self.0.get() - 1
    }
}

#[derive(Debug)]
enum Entry {
    /// Where the copy lies is known by its unit.
    Taken { unit: Unit, notes: Notes },
    /// Which unit it belongs to, if any, is known by the books or by nobody.
    Unitless(Unitless),
}

/// Its tag and that of [`Entry`] share the room that a unit would take.
#[derive(Debug)]
enum Unitless {
    /// The copy of a small file that is resident.
    Beside(Beside),
    /// The number of the next free entry, or itself at the end.
    Free(u32),
}

/// The copy of a small file that is resident.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    pub(super) extent: Extent,
    /// Of the content, as it is in memory as long as it is that version still.
    pub(super) version: u32,
    spilled: u32,
    cause: SpillCause,
}

impl Beside {
    fn notes(self) -> Notes {
        let mut notes = Notes {
            spilled: 0,
            packed: self.extent.len() as u32,
        };
        notes.set_spill(self.spilled, self.cause);
        notes
    }
}

/// What is remembered of a copy, in eight bytes.
#[derive(Clone, Copy, Debug)]
struct Notes {
    /// When memory was last given up for it, in steps since the table was made.
    spilled: u32,
    /// From the top: the term of the last look, looks, the cause, whether it is a part of a file, the length.
    packed: u32,
}

impl Notes {
    const STEP_NANOS: i64 = 100_000_000;
    const LEN: u32 = (1 << 21) - 1;
    const PART: u32 = 1 << 21;
    const CAUSE_SHIFT: u32 = 22;
    const LOOKS_SHIFT: u32 = 24;
    const LOOKS_MAX: u32 = 31;
    const TERM_SHIFT: u32 = 29;
    const TERM_MAX: u32 = 7;

    fn len(self) -> u32 {
        self.packed & Self::LEN
    }

    fn is_part(self) -> bool {
        self.packed & Self::PART != 0
    }

    fn cause(self) -> SpillCause {
        SpillCause::ALL[(self.packed >> Self::CAUSE_SHIFT & 3) as usize]
    }

    fn set_spill(&mut self, spilled: u32, cause: SpillCause) {
        self.spilled = spilled;
        self.packed &= !(3 << Self::CAUSE_SHIFT);
        self.packed |= (cause as u32) << Self::CAUSE_SHIFT;
    }

    /// Counts a look at a part, and halves those of earlier terms; returns how many there were lately,
    /// as far as five bits go. Eight terms later it is the same term again.
    fn look(&mut self, term: u64) -> u8 {
        let term = term as u32 & Self::TERM_MAX;
        let passed = term.wrapping_sub(self.packed >> Self::TERM_SHIFT) & Self::TERM_MAX;
        let before = self.packed >> Self::LOOKS_SHIFT & Self::LOOKS_MAX;
        let looks = ((before >> passed) + 1).min(Self::LOOKS_MAX);
        self.forget_looks();
        self.packed |= looks << Self::LOOKS_SHIFT | term << Self::TERM_SHIFT;
        looks as u8
    }

    fn forget_looks(&mut self) {
        self.packed &= (1 << Self::LOOKS_SHIFT) - 1;
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Tickets {
    entries: Vec<Entry>,
    free: Option<u32>,
    count: u64,
    bytes: u64,
    /// Copies by files of many, which are found by the address of their node.
    parts: HashMap<usize, u32, FixedState>,
    files: u64,
    /// At all copies, ever.
    looks: u64,
    /// On the wall clock, in nanoseconds since 1970.
    made: i64,
    /// Why memory is given up at present.
    cause: SpillCause,
    now: u32,
}

impl Default for Tickets {
    fn default() -> Self {
        Tickets {
            entries: Vec::new(),
            free: None,
            count: 0,
            bytes: 0,
            parts: HashMap::default(),
            files: 0,
            looks: 0,
            made: clock::wall_nanos(),
            cause: SpillCause::Background,
            now: 0,
        }
    }
}

impl Tickets {
    /// From now on copies are made for this reason.
    pub(super) fn spill_for(&mut self, cause: SpillCause) {
        let passed = clock::wall_nanos().saturating_sub(self.made) / Notes::STEP_NANOS;
        self.now = u32::try_from(passed.max(0)).unwrap_or(u32::MAX);
        self.cause = cause;
    }

    /// A number for a copy of `len` bytes, of a whole file or of a part of one.
    pub(super) fn take(&mut self, unit: Unit, len: usize, is_part: bool) -> Ticket {
        let mut notes = Notes {
            spilled: 0,
            packed: len as u32 | if is_part { Notes::PART } else { 0 },
        };
        notes.set_spill(self.now, self.cause);
        self.count += 1;
        self.bytes += len as u64;
        self.count_file(&unit, notes);
        let entry = Entry::Taken { unit, notes };
        let Some(number) = self.free else {
            self.entries.push(entry);
            return Ticket::new((self.entries.len() - 1) as u32);
        };
        let before = std::mem::replace(&mut self.entries[number as usize], entry);
        self.free = match before {
            Entry::Unitless(Unitless::Free(next)) if next != number => Some(next),
            _ => None,
        };
        Ticket::new(number)
    }

    /// The copy is no more. Not for one that is kept beside its content: see [`Tickets::free_beside`].
    pub(super) fn free(&mut self, ticket: Ticket) {
        if let Some((_, notes)) = self.taken(ticket) {
            let notes = *notes;
            if let Some(Entry::Taken { unit, .. }) = self.vacate(ticket, notes) {
                self.discount_file(&unit, notes);
            }
        }
    }

    fn vacate(&mut self, ticket: Ticket, notes: Notes) -> Option<Entry> {
        let next = self.free.unwrap_or(ticket.number());
        let entry = self.entries.get_mut(ticket.number() as usize)?;
        self.free = Some(ticket.number());
        self.count -= 1;
        self.bytes -= u64::from(notes.len());
        Some(std::mem::replace(
            entry,
            Entry::Unitless(Unitless::Free(next)),
        ))
    }

    /// The whole file whose copy it is came back, as it was in that version.
    pub(super) fn keep_beside(&mut self, ticket: Ticket, extent: Extent, version: u32) {
        if let Some((_, notes)) = self.taken(ticket) {
            let (spilled, cause) = (notes.spilled, notes.cause());
            let beside = Beside {
                extent,
                version,
                spilled,
                cause,
            };
            self.put_beside(ticket, beside);
        }
    }

    /// The opposite of [`Tickets::take_up`].
    pub(super) fn put_beside(&mut self, ticket: Ticket, beside: Beside) {
        if let Some(entry @ Entry::Taken { .. }) = self.entries.get_mut(ticket.number() as usize) {
            *entry = Entry::Unitless(Unitless::Beside(beside));
        }
    }

    /// From now on the unit knows where its copy lies: memory is given up for it.
    pub(super) fn take_up(&mut self, ticket: Ticket, unit: Unit) -> Option<Beside> {
        let (now, cause) = (self.now, self.cause);
        let beside = *self.beside(ticket)?;
        let mut notes = beside.notes();
        notes.set_spill(now, cause);
        self.entries[ticket.number() as usize] = Entry::Taken { unit, notes };
        Some(beside)
    }

    /// A copy beside its content is no more; says where it lay.
    pub(super) fn free_beside(&mut self, ticket: Ticket) -> Option<Extent> {
        let beside = *self.beside(ticket)?;
        self.vacate(ticket, beside.notes())?;
        self.files -= 1;
        Some(beside.extent)
    }

    /// Whether a copy beside its content is that of this version.
    pub(super) fn is_of_version(&mut self, ticket: Ticket, version: u64) -> bool {
        let beside = self.beside(ticket);
        beside.is_some_and(|beside| u64::from(beside.version) == version)
    }

    /// Where a copy beside its content lies, if it is that of this version.
    pub(super) fn extent_beside(&mut self, ticket: Ticket, version: u64) -> Option<Extent> {
        let beside = self.beside(ticket)?;
        (u64::from(beside.version) == version).then_some(beside.extent)
    }

    /// A copy beside its content lies elsewhere from now on. False if it did not lie there.
    pub(super) fn relocate_beside(&mut self, ticket: Ticket, old: Extent, new: Extent) -> bool {
        match self.beside(ticket) {
            Some(beside) if beside.extent == old => {
                beside.extent = new;
                true
            }
            _ => false,
        }
    }

    /// Has all copies beside their content lie where `to` says; says where those lay that it knows.
    pub(super) fn swing_beside(
        &mut self,
        to: &mut dyn FnMut(Extent) -> Option<Extent>,
    ) -> Vec<Extent> {
        let mut left = Vec::new();
        for entry in &mut self.entries {
            if let Entry::Unitless(Unitless::Beside(beside)) = entry
                && let Some(new) = to(beside.extent)
            {
                left.push(std::mem::replace(&mut beside.extent, new));
            }
        }
        left
    }

    /// The units that know copies, among so many entries from a place on; and the place behind those.
    pub(super) fn some_units(&self, from: usize, count: usize) -> (Vec<(Ticket, Unit)>, usize) {
        let end = self.entries.len().min(from.saturating_add(count));
        let units = (from..end).filter_map(|at| {
            let ticket = Ticket::new(at as u32);
            Some((ticket, self.unit(ticket)?))
        });
        (units.collect(), end)
    }

    fn beside(&mut self, ticket: Ticket) -> Option<&mut Beside> {
        match self.entries.get_mut(ticket.number() as usize)? {
            Entry::Unitless(Unitless::Beside(beside)) => Some(beside),
            _ => None,
        }
    }

    fn count_file(&mut self, unit: &Unit, notes: Notes) {
        let first = match notes.is_part() {
            true => {
                let copies = self.parts.entry(address(unit)).or_default();
                *copies += 1;
                *copies == 1
            }
            false => true,
        };
        self.files += u64::from(first);
    }

    fn discount_file(&mut self, unit: &Unit, notes: Notes) {
        if notes.is_part() {
            let copies = self.parts.get_mut(&address(unit));
            let left = copies.map_or(0, |copies| {
                *copies -= 1;
                *copies
            });
            if left > 0 {
                return;
            }
            self.parts.remove(&address(unit));
        }
        self.files -= 1;
    }

    fn taken(&mut self, ticket: Ticket) -> Option<(&mut Unit, &mut Notes)> {
        match self.entries.get_mut(ticket.number() as usize)? {
            Entry::Taken { unit, notes } => Some((unit, notes)),
            Entry::Unitless(_) => None,
        }
    }

    pub(super) fn unit(&self, ticket: Ticket) -> Option<Unit> {
        match self.entries.get(ticket.number() as usize)? {
            Entry::Taken { unit, .. } => Some(unit.clone()),
            Entry::Unitless(_) => None,
        }
    }

    /// Counts a look at a part of the copy; returns how many there were lately. A term is as many looks
    /// at all copies together.
    pub(super) fn look(&mut self, ticket: Ticket, term: u64) -> u8 {
        self.looks += 1;
        let now = self.looks / term.max(1);
        self.taken(ticket).map_or(0, |(_, notes)| notes.look(now))
    }

    /// Memory was given up once more for a copy that was good still.
    pub(super) fn spilled_again(&mut self, ticket: Ticket) {
        let (now, cause) = (self.now, self.cause);
        if let Some((_, notes)) = self.taken(ticket) {
            notes.set_spill(now, cause);
        }
    }

    /// When and why memory was given up last for this copy.
    pub(super) fn spill(&self, ticket: Ticket) -> Option<Spill> {
        let notes = match self.entries.get(ticket.number() as usize)? {
            Entry::Taken { notes, .. } => *notes,
            Entry::Unitless(Unitless::Beside(beside)) => beside.notes(),
            Entry::Unitless(Unitless::Free(_)) => return None,
        };
        Some(Spill {
            nanos: self.made + i64::from(notes.spilled) * Notes::STEP_NANOS,
            cause: notes.cause(),
        })
    }

    /// The copy is not all there is any more: looks at it are counted anew when it is.
    pub(super) fn forget_looks(&mut self, ticket: Ticket) {
        if let Some((_, notes)) = self.taken(ticket) {
            notes.forget_looks();
        }
    }

    /// The copy can be reached through this unit, should its first one be gone.
    pub(super) fn owned(&mut self, ticket: Ticket, other: Unit) {
        let Some((unit, notes)) = self.taken(ticket) else {
            return;
        };
        if unit.holder.strong_count() == 0 {
            let notes = *notes;
            let before = std::mem::replace(unit, other.clone());
            self.discount_file(&before, notes);
            self.count_file(&other, notes);
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

    /// Where the copies beside their content lie. For tests.
    pub(super) fn extents_beside(&self) -> impl Iterator<Item = Extent> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Unitless(Unitless::Beside(beside)) => Some(beside.extent),
            _ => None,
        })
    }

    /// Number of cold copies.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Number of files that they belong to.
    pub(super) fn files(&self) -> u64 {
        self.files
    }

    /// Content of the cold copies, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory of the tables, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        (self.entries.capacity() * size_of::<Entry>() + self.parts.allocation_size()) as u64
    }
}

/// Where the node of a unit is, which is nobody else's as long as the unit is kept.
fn address(unit: &Unit) -> usize {
    unit.holder.as_ptr().addr()
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_32_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn notes_do_not_touch_each_other() {
        let mut notes = Notes {
            spilled: 0,
            packed: 1 << 20 | Notes::PART,
        };
        for look in 1..300_u32 {
            assert_eq!(u32::from(notes.look(5)), look.min(31));
        }
        for cause in SpillCause::ALL {
            notes.set_spill(9, cause);
            assert_eq!((notes.cause(), notes.spilled), (cause, 9));
            assert_eq!((notes.len(), notes.is_part()), (1 << 20, true));
            assert_eq!(notes.look(5), 31);
        }
    }

    const NONE: Notes = Notes {
        spilled: 0,
        packed: 0,
    };

    #[test]
    fn looks_count_where_they_are_many_of_all() {
        const TERM: usize = 80;
        let most = |copies: usize| {
            let mut all = vec![NONE; copies];
            (0..5000)
                .map(|look| all[look % copies].look((look / TERM) as u64))
                .max()
        };
        assert!(most(100) <= Some(2), "{:?}", most(100));
        assert!(most(8) >= Some(16), "{:?}", most(8));
    }

    #[test]
    fn looks_of_long_ago_do_not_count() {
        let mut notes = NONE;
        assert_eq!((0..30).map(|_| notes.look(250)).max(), Some(30));
        assert_eq!(notes.look(251), 16);
        assert_eq!(notes.look(257), 1);
    }
}
