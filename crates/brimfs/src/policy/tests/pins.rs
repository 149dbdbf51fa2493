//! Chunks that are pinned by their priority, up to a ceiling.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::settings;
use crate::policy::{Chunk, PRIORITY_PINNED, Policy, PolicyKind, Settings, Slot, Standing};

#[derive(Clone, Debug)]
enum Call {
    Admit(u32, u8),
    Touch(usize),
    Evict,
    Refuse,
    ReleaseRefused,
    Hold(usize),
    Release(usize),
    Remove(usize),
    Resize(usize, u32),
    SetPriority(usize, u8),
    SetCeiling(u64),
    EvictPinned,
}

fn calls() -> impl Strategy<Value = Call> {
    let which = || 0..30usize;
    let size = || 1..200_000u32;
    let priority = || prop_oneof![Just(5u8), Just(8), Just(9), Just(10)];
    let ceiling = prop_oneof![1..1_500_000u64, Just(u64::MAX), Just(1)];
    prop_oneof![
        8 => (size(), priority()).prop_map(|(size, priority)| Call::Admit(size, priority)),
        2 => which().prop_map(Call::Touch),
        4 => Just(Call::Evict),
        2 => Just(Call::Refuse),
        1 => Just(Call::ReleaseRefused),
        1 => which().prop_map(Call::Hold),
        1 => which().prop_map(Call::Release),
        2 => which().prop_map(Call::Remove),
        2 => (which(), size()).prop_map(|(which, size)| Call::Resize(which, size)),
        3 => (which(), priority()).prop_map(|(which, p)| Call::SetPriority(which, p)),
        1 => ceiling.prop_map(Call::SetCeiling),
        1 => Just(Call::EvictPinned),
    ]
}

/// A policy with pins, and what it was told.
struct World {
    policy: Box<dyn Policy>,
    ceiling: u64,
    known: HashMap<Slot, (u32, u8)>,
    slots: Vec<Slot>,
}

impl World {
    fn new(kind: PolicyKind, ceiling: u64) -> World {
        World {
            policy: kind.build(Settings {
                pin_ceiling: ceiling,
                ..settings(3_000_000)
            }),
            ceiling,
            known: HashMap::new(),
            slots: Vec::new(),
        }
    }

    fn admit(&mut self, size: u32, priority: u8) -> Slot {
        let slot = self.policy.admit(Chunk {
            id: self.slots.len() as u64,
            size,
            priority,
            clean: false,
            accesses: 0,
        });
        self.known.insert(slot, (size, priority));
        self.slots.push(slot);
        slot
    }

    fn standing(&self, slot: Slot) -> Option<Standing> {
        self.policy
            .explain(slot)
            .map(|explained| explained.standing)
    }

    fn pinned_bytes(&self) -> u64 {
        let is_pinned = |slot: &Slot| self.standing(*slot) == Some(Standing::Pinned);
        let pinned = self.known.iter().filter(|(slot, _)| is_pinned(slot));
        pinned.map(|(_, (size, _))| u64::from(*size)).sum()
    }

    /// The next victim, if it is one that may be offered.
    fn victim(&mut self) -> Option<Slot> {
        let victim = self.policy.victim();
        let pinned = self.pinned_bytes();
        assert!(pinned <= self.ceiling, "{pinned} of {}", self.ceiling);
        let Some(victim) = victim else {
            let queued = |slot: &Slot| self.standing(*slot) == Some(Standing::Queued);
            assert!(!self.known.keys().any(queued), "a chunk is never offered");
            return None;
        };
        let (size, priority) = self.known[&victim.slot];
        assert_eq!(victim.size, size);
        let fits = pinned + u64::from(size) <= self.ceiling;
        assert!(
            priority < PRIORITY_PINNED || !fits,
            "offered though {size} bytes more than {pinned} could be pinned"
        );
        Some(victim.slot)
    }

    fn apply(&mut self, call: &Call) {
        let slot = |which: usize| {
            let any = Slot::new(99).expect("no zero");
            let chosen = self.slots.get(which % self.slots.len().max(1));
            chosen.copied().unwrap_or(any)
        };
        match *call {
            Call::Admit(size, priority) => drop(self.admit(size, priority)),
            Call::Touch(which) => self.policy.hits().touch(slot(which)),
            Call::Evict => {
                if let Some(slot) = self.victim() {
                    assert!(self.policy.evicted(slot));
                    self.known.remove(&slot);
                }
            }
            Call::Refuse => {
                if let Some(slot) = self.victim() {
                    assert!(self.policy.refuse(slot));
                }
            }
            Call::ReleaseRefused => self.policy.release_refused(),
            Call::Hold(which) => drop(self.policy.hold(slot(which))),
            Call::Release(which) => drop(self.policy.release(slot(which))),
            Call::Remove(which) => {
                let slot = slot(which);
                assert_eq!(self.policy.remove(slot), self.known.remove(&slot).is_some());
            }
            Call::Resize(which, size) => {
                let slot = slot(which);
                if self.policy.resize(slot, size) {
                    self.known.get_mut(&slot).expect("it is there").0 = size;
                }
            }
            Call::SetPriority(which, priority) => {
                let slot = slot(which);
                if self.policy.set_priority(slot, priority) {
                    self.known.get_mut(&slot).expect("it is there").1 = priority;
                }
            }
            Call::SetCeiling(bytes) => {
                self.ceiling = bytes;
                self.policy.set_pin_ceiling(bytes);
            }
            Call::EvictPinned => {
                let some = self.pinned_bytes() > 0;
                let victim = self.policy.pinned_victim();
                assert_eq!(victim.is_some(), some);
                if let Some(victim) = victim {
                    assert!(self.policy.evicted(victim.slot));
                    self.known.remove(&victim.slot);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn pinned_chunks_are_offered_only_beyond_the_ceiling(
        ceiling in 1..1_500_000u64,
        calls in vec(calls(), 0..200),
    ) {
        for kind in PolicyKind::ALL {
            let mut world = World::new(kind, ceiling);
            for call in &calls {
                world.apply(call);
            }
            let sizes = world.known.values().map(|(size, _)| u64::from(*size));
            prop_assert_eq!(world.policy.bytes(), sizes.sum::<u64>());
            for (slot, (_, priority)) in &world.known {
                let pinned = world.standing(*slot) == Some(Standing::Pinned);
                prop_assert!(!pinned || *priority >= PRIORITY_PINNED);
            }
        }
    }
}

#[test]
fn the_ceiling_is_exact_and_can_move() {
    for kind in PolicyKind::ALL {
        let mut world = World::new(kind, 500);
        let slots: Vec<Slot> = (0..6).map(|_| world.admit(100, 9)).collect();
        assert_eq!(world.pinned_bytes(), 500, "{kind}");
        assert_eq!(world.victim(), Some(slots[5]), "the one that is too many");
        assert_eq!(world.policy.victim(), None, "{kind}");
        world.policy.refuse(slots[5]);
        world.policy.release_refused();
        // One goes, so the next has room by the time its turn comes.
        world.policy.remove(slots[0]);
        world.known.remove(&slots[0]);
        assert_eq!(world.victim(), None, "{kind}");
        assert_eq!(world.pinned_bytes(), 500, "{kind}");
        world.ceiling = 201;
        world.policy.set_pin_ceiling(201);
        let offered: Vec<Slot> = std::iter::from_fn(|| world.victim()).collect();
        assert_eq!((offered.len(), world.pinned_bytes()), (3, 200), "{kind}");
        assert_eq!(world.policy.pinned_victim().map(|v| v.size), Some(100));
    }
}

#[test]
fn what_is_beyond_the_ceiling_counts_as_priority_8() {
    let mut world = World::new(PolicyKind::G2, 50);
    let [too_large, boosted] = [(51, 10), (51, 8)].map(|(size, p)| world.admit(size, p));
    let [large, small] = [too_large, boosted].map(|slot| world.policy.explain(slot));
    let (large, small) = (large.expect("it is there"), small.expect("it is there"));
    assert_eq!((large.priority, large.priority_counted), (10, 8));
    assert!((large.value - small.value).abs() < f64::EPSILON);
}
