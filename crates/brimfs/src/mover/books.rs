//! The policy, and for every slot the unit that has it.

use std::collections::VecDeque;

use crate::base::sync::Weak;
use crate::memory::tier::{Identity, Residents, Slot, Unit};
use crate::policy::{self, Chunk, Explained, Hits, PRIORITY_PINNED, Policy};

use super::reclaim::Candidate;
use super::settings::TierSettings;

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
}

impl Books {
    pub(super) fn new(settings: &TierSettings, limit: u64) -> Self {
        Books {
            policy: settings.policy(limit),
            entries: Vec::new(),
            admissions: 0,
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
        priority: u8,
    ) -> Slot {
        let slot = self.policy.admit(Chunk {
            // The same whatever the bytes: a changed file that comes back is an old acquaintance.
            id: identity.owner ^ u64::from(identity.index).rotate_right(20),
            size,
            priority,
            clean: false,
        });
        self.admissions += 1;
        let at = slot.get() as usize;
        if at >= self.entries.len() {
            self.entries.resize_with(at + 1, || None);
        }
        self.entries[at] = Some(Entry {
            unit,
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

    pub(super) fn remove(&mut self, slot: Slot) {
        let entry = self.entries.get_mut(slot.get() as usize);
        let Some(entry) = entry.and_then(Option::take) else {
            return;
        };
        if let Some(slot) = policy_slot(slot) {
            match entry.leaving {
                true => self.policy.evicted(slot),
                false => self.policy.remove(slot),
            };
        }
    }

    pub(super) fn resize(&mut self, slot: Slot, size: u32) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.resize(slot, size);
        }
    }

    pub(super) fn set_clean(&mut self, slot: Slot, clean: bool) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.set_clean(slot, clean);
        }
    }

    pub(super) fn prioritize(&mut self, slot: Slot, priority: u8) {
        if let Some(slot) = policy_slot(slot) {
            self.policy.set_priority(slot, priority);
        }
    }

    pub(super) fn owned(&mut self, slot: Slot, unit: Unit) {
        if let Some(entry) = self.entry(slot)
            && entry.unit.holder.strong_count() == 0
        {
            entry.unit = unit;
        }
    }

    /// The unit was found through another file.
    pub(super) fn found(&mut self, slot: Slot, unit: Unit) {
        if let Some(entry) = self.entry(slot) {
            entry.unit = unit;
        }
    }

    /// Calls `visit` with the file of every unit.
    pub(super) fn each_holder(&self, visit: impl FnMut(&Weak<dyn Residents>)) {
        let entries = self.entries.iter().flatten();
        entries.map(|entry| &entry.unit.holder).for_each(visit);
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
}
