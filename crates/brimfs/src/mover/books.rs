//! The policy, and for every slot the unit that has it.

use std::collections::VecDeque;
use std::ops::Range;

use crate::base::sync::Weak;
use crate::memory::tier::{Identity, Residents, Slot, Unit, Worth};
use crate::policy::{self, Chunk, Explained, Hits, PRIORITY_PINNED, Policy};

use super::reclaim::Candidate;
use super::settings::TierSettings;
use super::tickets::Ticket;

/// A slot of the policy is the same number.
pub(super) fn policy_slot(slot: Slot) -> Option<policy::Slot> {
    policy::Slot::new(slot.get())
}

fn is_pinned(explained: &Explained) -> bool {
    explained.priority >= PRIORITY_PINNED
}

/// What stands behind a slot.
#[derive(Debug)]
struct Entry {
    unit: Unit,
    /// The copy of a small file, if it is good. Always one of this holder's content: names of bytes
    /// are not told apart beyond a file.
    copy: Option<Ticket>,
    /// There is a copy, be it known here or to the unit.
    is_clean: bool,
    /// The mover has written the unit and asks its file to let the memory go: when the slot is
    /// removed now, that is an eviction and no deletion.
    leaving: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Books {
    policy: Box<dyn Policy>,
    /// By the slot's number.
    entries: Vec<Option<Entry>>,
    admissions: u64,
    /// Number of units that are clean.
    clean: usize,
    /// Whose copy the mover has in hand, as long as the unit is not changed.
    lent: Option<Slot>,
    /// Where the next look for clean units begins.
    hand: usize,
}

/// A unit of which there is a copy that nobody needs, as long as it stays in memory.
#[derive(Debug)]
pub(super) struct Clean {
    pub(super) unit: Candidate,
    /// Of a small file: not in the books any more.
    pub(super) copy: Option<Ticket>,
}

impl Books {
    pub(super) fn new(settings: &TierSettings, limit: u64) -> Self {
        Books {
            policy: settings.policy(limit),
            entries: Vec::new(),
            admissions: 0,
            clean: 0,
            lent: None,
            hand: 0,
        }
    }

    pub(super) fn hits(&self) -> Hits {
        self.policy.hits().clone()
    }

    /// Memory of the policy and this table, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        self.policy.footprint() + (self.entries.capacity() * size_of::<Option<Entry>>()) as u64
    }

    pub(super) fn admit(
        &mut self,
        unit: Unit,
        identity: Identity,
        size: u32,
        worth: Worth,
    ) -> Slot {
        let slot = self.policy.admit(Chunk {
            // The same whatever the bytes: a changed file that comes back is an old acquaintance.
            id: identity.owner ^ u64::from(identity.index).rotate_right(20),
            size,
            priority: worth.priority,
            clean: false,
            accesses: worth.accesses,
        });
        self.admissions += 1;
        let at = slot.get() as usize;
        if at >= self.entries.len() {
            self.entries.resize_with(at + 1, || None);
        }
        self.entries[at] = Some(Entry {
            unit,
            copy: None,
            is_clean: false,
            leaving: false,
        });
        Slot::new(slot.get()).expect("slots of the policy are never zero")
    }

    /// Forgets everything, if there is nothing but memories of what is gone.
    pub(super) fn start_over(&mut self) -> bool {
        let is_empty = self.policy.is_empty();
        if is_empty {
            self.policy.start_over();
            self.entries = Vec::new();
            (self.clean, self.lent, self.hand) = (0, None, 0);
        }
        is_empty
    }

    /// How many units were ever admitted.
    pub(super) fn admissions(&self) -> u64 {
        self.admissions
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot.get() as usize)?.as_mut()
    }

    /// The unit is gone, or cold; says which copy nobody needs any more.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Ticket> {
        let copy = self.take_copy(slot);
        let entry = self.entries.get_mut(slot.get() as usize)?.take()?;
        if let Some(slot) = policy_slot(slot) {
            match entry.leaving {
                true => self.policy.evicted(slot),
                false => self.policy.remove(slot),
            };
        }
        copy
    }

    pub(super) fn resize(&mut self, slot: Slot, size: u32) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.resize(slot, size);
        }
    }

    pub(super) fn set_clean(&mut self, slot: Slot, clean: bool) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let before = std::mem::replace(&mut entry.is_clean, clean);
        self.clean = self.clean + usize::from(clean) - usize::from(before);
        if let Some(slot) = policy_slot(slot) {
            self.policy.set_clean(slot, clean);
        }
    }

    /// The copy of a small file.
    pub(super) fn copy(&self, slot: Slot) -> Option<Ticket> {
        self.entries.get(slot.get() as usize)?.as_ref()?.copy
    }

    /// Keeps the copy of a small file; false if nobody has the slot.
    pub(super) fn keep_copy(&mut self, slot: Slot, copy: Ticket) -> bool {
        let Some(entry) = self.entry(slot) else {
            return false;
        };
        entry.copy = Some(copy);
        self.set_clean(slot, true);
        true
    }

    /// The unit is clean no more; says which copy nobody needs any more.
    pub(super) fn take_copy(&mut self, slot: Slot) -> Option<Ticket> {
        if self.lent == Some(slot) {
            self.lent = None;
        }
        let copy = self.entry(slot)?.copy.take();
        self.set_clean(slot, false);
        copy
    }

    /// Hands a copy out to the mover, who evicts one unit at a time.
    pub(super) fn lend_copy(&mut self, slot: Slot) -> Option<Ticket> {
        let copy = self.entry(slot)?.copy.take()?;
        self.lent = Some(slot);
        Some(copy)
    }

    /// Takes a copy back that was lent; false if the unit changed or went meanwhile.
    pub(super) fn return_copy(&mut self, slot: Slot, copy: Ticket) -> bool {
        self.lent.take() == Some(slot) && self.keep_copy(slot, copy)
    }

    /// Clean units, found by looking at up to `looks` slots from where the last look ended. Copies of small
    /// files are taken out.
    pub(super) fn some_clean(&mut self, looks: usize) -> Vec<Clean> {
        let mut found = Vec::new();
        for _ in 0..looks.min(self.entries.len()) {
            if self.clean == 0 {
                break;
            }
            self.hand = (self.hand + 1) % self.entries.len();
            let Some(slot) = Slot::new(self.hand as u32) else {
                continue;
            };
            if self.entry(slot).is_some_and(|entry| entry.is_clean)
                && let (Some(unit), Some(explained)) = (self.unit(slot), self.explain(slot))
            {
                let size = explained.size;
                let copy = self.copy(slot).and_then(|_| self.take_copy(slot));
                let unit = Candidate { slot, size, unit };
                found.push(Clean { unit, copy });
            }
        }
        found
    }

    /// Number of slots that were ever used.
    pub(super) fn slots(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn prioritize(&mut self, slot: Slot, priority: u8) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.set_priority(slot, priority);
        }
    }

    /// The unit can be reached here too; says which copy nobody needs any more.
    pub(super) fn owned(&mut self, slot: Slot, unit: Unit) -> Option<Ticket> {
        match self.entry(slot) {
            Some(entry) if entry.unit.holder.strong_count() == 0 => self.found(slot, unit),
            _ => None,
        }
    }

    /// The unit was found through another file; says which copy nobody needs any more.
    pub(super) fn found(&mut self, slot: Slot, unit: Unit) -> Option<Ticket> {
        let entry = self.entry(slot)?;
        entry.unit = unit;
        entry.copy?;
        self.take_copy(slot)
    }

    /// Calls `visit` with the file of every unit.
    pub(super) fn each_holder(&self, visit: impl FnMut(&Weak<dyn Residents>)) {
        let entries = self.entries.iter().flatten();
        entries.map(|entry| &entry.unit.holder).for_each(visit);
    }

    /// Calls `visit` with each unit that has one of these slots, and the accesses of it that count.
    pub(super) fn each_accessed(&self, slots: Range<usize>, visit: &mut impl FnMut(u8, &Unit)) {
        let first = slots.start as u32;
        for (number, entry) in (first..).zip(&self.entries[slots]) {
            if let (Some(entry), Some(slot)) = (entry, Slot::new(number))
                && let Some(explained) = self.explain(slot)
            {
                visit(explained.accesses, &entry.unit);
            }
        }
    }

    /// The next to go, and where it is.
    pub(super) fn victim(&mut self) -> Option<Candidate> {
        loop {
            let victim = self.policy.victim()?;
            let (slot, size) = (Slot::new(victim.slot.get())?, victim.size);
            match self.unit(slot) {
                Some(unit) => return Some(Candidate { slot, size, unit }),
                None => {
                    debug_assert!(false, "a victim that nobody admitted");
                    self.policy.remove(victim.slot);
                }
            }
        }
    }

    /// As [`Books::victim`], pinned units aside.
    pub(super) fn unpinned_victim(&mut self) -> Option<Candidate> {
        loop {
            let found = self.victim()?;
            match self.explain(found.slot) {
                Some(explained) if is_pinned(&explained) => self.refuse(found.slot),
                _ => return Some(found),
            }
        }
    }

    /// The pinned units, what is least worth keeping first. O(n log n) in all units.
    pub(super) fn pinned(&self) -> VecDeque<Slot> {
        let slots = (1..self.entries.len() as u32).filter_map(Slot::new);
        let mut pinned: Vec<(f64, Slot)> = slots
            .filter_map(|slot| Some((slot, self.explain(slot)?)))
            .filter(|(_, explained)| is_pinned(explained))
            .map(|(slot, explained)| (explained.value, slot))
            .collect();
        pinned.sort_by(|a, b| a.0.total_cmp(&b.0));
        pinned.into_iter().map(|(_, slot)| slot).collect()
    }

    /// A pinned unit as a victim, if the slot is still that of one.
    pub(super) fn pinned_victim(&mut self, slot: Slot) -> Option<Candidate> {
        let explained = self.explain(slot).filter(is_pinned)?;
        Some(Candidate {
            slot,
            size: explained.size,
            unit: self.unit(slot)?,
        })
    }

    /// Content of all units, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.policy.bytes()
    }

    pub(super) fn explain(&self, slot: Slot) -> Option<Explained> {
        self.policy.explain(policy_slot(slot)?)
    }

    /// The unit cannot go now.
    pub(super) fn refuse(&mut self, slot: Slot) {
        if let Some(entry) = self.entry(slot) {
            entry.leaving = false;
        }
        if let Some(slot) = policy_slot(slot) {
            self.policy.refuse(slot);
        }
    }

    /// The unit was not looked at: it is the first to be offered again.
    pub(super) fn put_back(&mut self, slot: Slot) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.refuse(slot);
            self.policy.release(slot);
        }
    }

    /// The unit that has a slot.
    pub(super) fn unit(&self, slot: Slot) -> Option<Unit> {
        let entry = self.entries.get(slot.get() as usize)?.as_ref();
        entry.map(|entry| entry.unit.clone())
    }

    /// The unit is not to be offered, until it is released.
    pub(super) fn hold(&mut self, slot: Slot) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.hold(slot);
        }
    }

    /// See [`Books::hold`].
    pub(super) fn release(&mut self, slot: Slot) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.release(slot);
        }
    }

    /// What units may take, and pinned ones of it.
    pub(super) fn set_limits(&mut self, limit: u64, pin_ceiling: u64) {
        self.policy.set_capacity(limit);
        self.policy.set_pin_ceiling(pin_ceiling.max(1));
    }

    /// Refused units may be offered again.
    pub(super) fn release_refused(&mut self) {
        self.policy.release_refused();
    }

    /// See [`Entry::leaving`].
    pub(super) fn set_leaving(&mut self, slot: Slot) {
        if let Some(entry) = self.entry(slot) {
            entry.leaving = true;
        }
    }

    /// See [`Entry::leaving`]: it did not go.
    pub(super) fn unset_leaving(&mut self, slot: Slot) {
        if let Some(entry) = self.entry(slot) {
            entry.leaving = false;
        }
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_slot_takes_32_bytes() {
        assert_eq!(size_of::<Option<Entry>>(), 32);
    }
}
