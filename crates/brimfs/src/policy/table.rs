//! The entries of resident chunks: 28 bytes each, in segments that never move.
//!
//! A slot names an entry for as long as the chunk is resident and is reused
//! afterwards. The table owns the entries and the list of free ones; what an
//! entry's place in a queue means is the policies' business.

use std::num::NonZeroU32;

use crate::policy::score::{PRIORITY_DEFAULT, PRIORITY_MAX};

/// Entries of a segment: what the table grows by.
const SEGMENT: usize = 1 << SEGMENT_BITS;
const SEGMENT_BITS: u32 = 12;
/// Links from here on name the ends of a list and no entry.
pub(crate) const ENDS: u32 = 0xfff0_0000;
/// The link of an entry that is in no list.
pub(crate) const NOWHERE: u32 = 0;

/// Names a resident chunk to its policy. Never 0, so an `Option<Slot>` takes four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(NonZeroU32);

impl Slot {
    /// The slot with this number, which came from [`Slot::get`]; `None` for 0.
    pub fn new(number: u32) -> Option<Slot> {
        NonZeroU32::new(number).map(Slot)
    }

    /// The slot as a number, from 1 on.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// Where an entry is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    /// No chunk has the slot.
    Free = 0,
    /// In a queue of the policy.
    Queued = 1,
    /// Offered as a victim; the caller has not yet said whether it goes.
    Leaving = 2,
    /// Refused as a victim; not offered again until it is released.
    Parked = 3,
}

/// What the fields of the stamp are, from its highest bits down.
const KEY_BITS: u32 = 44;
const KEY_SHIFT: u32 = u64::BITS - KEY_BITS;
const WARMTH_SHIFT: u32 = 12;
const PRIORITY_SHIFT: u32 = 8;
const FREQUENCY_SHIFT: u32 = 4;
const MAIN_BIT: u64 = 1 << 3;
const CLEAN_BIT: u64 = 1 << 2;
const PLACE_MASK: u64 = 3;

/// The highest key of an entry; queues start over before they reach it.
pub(crate) const KEY_MAX: u64 = (1 << KEY_BITS) - 1;
/// The key of a pinned entry. Keys from here on are no places in a queue.
pub(crate) const KEY_PINNED: u64 = KEY_MAX - 1;
/// The highest frequency that an entry can remember.
pub(crate) const FREQUENCY_MAX: u8 = 15;

/// One resident chunk. Packed, because four bytes of padding in 32 would be wasted.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// Key, warmth, priority, frequency, main, clean and place, from the top.
    stamp: u64,
    pub(crate) size: u32,
    pub(crate) prev: u32,
    pub(crate) next: u32,
}

impl Entry {
    fn field(&self, shift: u32, bits: u32) -> u64 {
        (self.stamp >> shift) & ((1 << bits) - 1)
    }

    fn set_field(&mut self, shift: u32, bits: u32, value: u64) {
        let mask = ((1u64 << bits) - 1) << shift;
        self.stamp = (self.stamp & !mask) | (value << shift);
    }

    /// When it is due, in the units of its queue.
    pub(crate) fn key(&self) -> u64 {
        self.stamp >> KEY_SHIFT
    }

    pub(crate) fn set_key(&mut self, key: u64) {
        self.set_field(KEY_SHIFT, KEY_BITS, key.min(KEY_MAX));
    }

    /// Recent accesses, halved whenever the policy looks at the entry.
    pub(crate) fn warmth(&self) -> u8 {
        self.field(WARMTH_SHIFT, 8) as u8
    }

    pub(crate) fn set_warmth(&mut self, warmth: u8) {
        self.set_field(WARMTH_SHIFT, 8, u64::from(warmth));
    }

    pub(crate) fn priority(&self) -> u8 {
        self.field(PRIORITY_SHIFT, 4) as u8
    }

    pub(crate) fn set_priority(&mut self, priority: u8) {
        self.set_field(PRIORITY_SHIFT, 4, u64::from(priority.min(PRIORITY_MAX)));
    }

    /// The frequency that its place in the queue counts on.
    pub(crate) fn frequency(&self) -> u8 {
        self.field(FREQUENCY_SHIFT, 4) as u8
    }

    pub(crate) fn set_frequency(&mut self, frequency: u8) {
        let frequency = u64::from(frequency.min(FREQUENCY_MAX));
        self.set_field(FREQUENCY_SHIFT, 4, frequency);
    }

    pub(crate) fn is_main(&self) -> bool {
        self.stamp & MAIN_BIT != 0
    }

    pub(crate) fn set_main(&mut self, main: bool) {
        self.stamp = (self.stamp & !MAIN_BIT) | if main { MAIN_BIT } else { 0 };
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.stamp & CLEAN_BIT != 0
    }

    pub(crate) fn set_clean(&mut self, clean: bool) {
        self.stamp = (self.stamp & !CLEAN_BIT) | if clean { CLEAN_BIT } else { 0 };
    }

    pub(crate) fn place(&self) -> Place {
        match self.stamp & PLACE_MASK {
            0 => Place::Free,
            1 => Place::Queued,
            2 => Place::Leaving,
            _ => Place::Parked,
        }
    }

    pub(crate) fn set_place(&mut self, place: Place) {
        self.stamp = (self.stamp & !PLACE_MASK) | place as u64;
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Table {
    segments: Vec<Box<[Entry]>>,
    /// The first free entry; they are chained by `next`.
    free: u32,
    /// Entries that were ever in use, the one that no slot names included.
    touched: u32,
    live: u32,
    bytes: u64,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table {
            touched: 1,
            ..Table::default()
        }
    }

    /// Takes a slot for a chunk that is in no queue yet.
    ///
    /// # Panics
    /// With more than 4,293,918,719 chunks: their entries alone would take 120 GB.
    pub(crate) fn insert(&mut self, id: u64, size: u32) -> Slot {
        let number = if self.free == NOWHERE {
            self.extend()
        } else {
            self.free
        };
        if number == self.free {
            self.free = self.entry(number).next;
        }
        let mut entry = Entry {
            id,
            size,
            ..Entry::default()
        };
        entry.set_priority(PRIORITY_DEFAULT);
        entry.set_place(Place::Leaving);
        *self.entry_mut(number) = entry;
        self.live += 1;
        self.bytes += u64::from(size);
        Slot::new(number).expect("entry 0 is never given out")
    }

    fn extend(&mut self) -> u32 {
        let number = self.touched;
        assert!(number < ENDS, "too many resident chunks");
        if number as usize >> SEGMENT_BITS == self.segments.len() {
            let segment = vec![Entry::default(); SEGMENT];
            self.segments.push(segment.into_boxed_slice());
        }
        self.touched += 1;
        number
    }

    /// Gives the slot of an entry back that is in no list.
    pub(crate) fn free(&mut self, slot: Slot) {
        let next = self.free;
        let entry = self.entry_mut(slot.get());
        let size = entry.size;
        *entry = Entry {
            next,
            ..Entry::default()
        };
        self.free = slot.get();
        self.live -= 1;
        self.bytes -= u64::from(size);
    }

    pub(crate) fn resize(&mut self, slot: Slot, size: u32) {
        let entry = self.entry_mut(slot.get());
        let before = std::mem::replace(&mut entry.size, size);
        self.bytes = self.bytes - u64::from(before) + u64::from(size);
    }

    /// The entry of a slot that a chunk has.
    pub(crate) fn live(&self, slot: Slot) -> Option<&Entry> {
        let entry = self
            .segments
            .get(slot.get() as usize >> SEGMENT_BITS)?
            .get(slot.get() as usize & (SEGMENT - 1))?;
        (entry.place() != Place::Free).then_some(entry)
    }

    #[inline]
    pub(crate) fn entry(&self, number: u32) -> &Entry {
        &self.segments[number as usize >> SEGMENT_BITS][number as usize & (SEGMENT - 1)]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, number: u32) -> &mut Entry {
        &mut self.segments[number as usize >> SEGMENT_BITS][number as usize & (SEGMENT - 1)]
    }

    /// Every live entry, whatever its place.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.segments
            .iter_mut()
            .flat_map(|segment| segment.iter_mut())
            .filter(|entry| entry.place() != Place::Free)
    }

    pub(crate) fn len(&self) -> u32 {
        self.live
    }

    /// The sizes of all live entries together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory that the table takes, in bytes.
    pub(crate) fn footprint(&self) -> u64 {
        let segments = self.segments.len() * SEGMENT * size_of::<Entry>();
        let directory = self.segments.capacity() * size_of::<Box<[Entry]>>();
        (segments + directory) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_28_bytes_and_an_optional_slot_4() {
        assert_eq!(size_of::<Entry>(), 28);
        assert_eq!(size_of::<Option<Slot>>(), 4);
    }

    #[test]
    fn fields_do_not_touch_each_other() {
        let mut entry = Entry::default();
        entry.set_key(KEY_MAX);
        entry.set_priority(10);
        entry.set_clean(true);
        entry.set_place(Place::Parked);
        entry.set_warmth(200);
        entry.set_frequency(9);
        entry.set_main(true);
        let seen = (entry.key(), entry.priority(), entry.is_clean());
        assert_eq!(seen, (KEY_MAX, 10, true));
        let seen = (entry.place(), entry.warmth(), entry.frequency());
        assert_eq!(seen, (Place::Parked, 200, 9));
        entry.set_key(5);
        entry.set_main(false);
        entry.set_warmth(0);
        assert_eq!(
            (entry.key(), entry.is_main(), entry.warmth()),
            (5, false, 0)
        );
        assert_eq!((entry.priority(), entry.frequency()), (10, 9));
        assert!(entry.is_clean());
    }

    #[test]
    fn slots_are_reused_only_when_free() {
        let mut table = Table::new();
        let slots: Vec<Slot> = (0..10_000).map(|id| table.insert(id, 3)).collect();
        let before = table.footprint();
        assert_eq!((table.len(), table.bytes()), (10_000, 30_000));
        table.free(slots[17]);
        table.free(slots[4]);
        assert!(table.live(slots[4]).is_none());
        assert_eq!(table.insert(1, 1), slots[4]);
        assert_eq!(table.insert(2, 1), slots[17]);
        assert_eq!(table.footprint(), before);
        assert_eq!(table.bytes(), 9_998 * 3 + 2);
    }
}
