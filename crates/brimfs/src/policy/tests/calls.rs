//! Any sequence of calls, against a plain map of what should be where.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{every_policy, page, settings};
use crate::policy::{Chunk, Policy, PolicyKind, Settings, Slot, Standing};

#[derive(Clone, Debug)]
enum Call {
    Admit(Chunk),
    Touch(usize),
    Hit(usize),
    Victim,
    Evicted(usize),
    Refuse(usize),
    Hold(usize),
    Release(usize),
    ReleaseRefused,
    Remove(usize),
    Resize(usize, u32),
    SetPriority(usize, u8),
    SetClean(usize, bool),
    SetCapacity(u64),
    /// Evicts as a caller does until so many bytes are left.
    Shrink(u64),
}

fn sizes() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 1..200_000u32,
        2 => Just(1 << 20),
        1 => Just(0),
        1 => Just(1),
        1 => Just(u32::MAX),
        1 => any::<u32>(),
    ]
}

fn capacities() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0..5_000_000u64, any::<u64>()]
}

fn calls() -> impl Strategy<Value = Call> {
    let chunk = (0..60u64, sizes(), any::<u8>(), any::<bool>(), any::<u8>()).prop_map(
        |(id, size, priority, clean, accesses)| Chunk {
            // Large and small identities alike.
            id: id.wrapping_mul(0x0101_0101_0101_0101),
            size,
            priority: if priority < 200 {
                priority % 11
            } else {
                priority
            },
            clean,
            accesses: accesses.saturating_sub(127),
        },
    );
    let which = || 0..80usize;
    prop_oneof![
        8 => chunk.prop_map(Call::Admit),
        8 => which().prop_map(Call::Touch),
        2 => which().prop_map(Call::Hit),
        6 => Just(Call::Victim),
        4 => which().prop_map(Call::Evicted),
        3 => which().prop_map(Call::Refuse),
        1 => which().prop_map(Call::Hold),
        2 => which().prop_map(Call::Release),
        1 => Just(Call::ReleaseRefused),
        2 => which().prop_map(Call::Remove),
        2 => (which(), sizes()).prop_map(|(which, size)| Call::Resize(which, size)),
        2 => (which(), any::<u8>()).prop_map(|(which, p)| Call::SetPriority(which, p)),
        1 => (which(), any::<bool>()).prop_map(|(which, c)| Call::SetClean(which, c)),
        1 => capacities().prop_map(Call::SetCapacity),
        2 => (0..3_000_000u64).prop_map(Call::Shrink),
    ]
}

/// What should be true of a chunk.
#[derive(Clone, Copy, Debug)]
struct Known {
    chunk: Chunk,
    standing: Standing,
    held: bool,
}

/// A policy and what it was told.
struct Checked {
    policy: Box<dyn Policy>,
    known: HashMap<Slot, Known>,
    /// Every slot that was ever given out, in order.
    slots: Vec<Slot>,
}

impl Checked {
    fn slot(&self, which: usize) -> Slot {
        match self.slots.len() {
            0 => Slot::new(77).unwrap(),
            len => self.slots[which % len],
        }
    }

    fn is(&self, slot: Slot, standing: Standing) -> bool {
        self.known
            .get(&slot)
            .is_some_and(|known| known.standing == standing)
    }

    fn victim(&mut self) -> Option<Slot> {
        let Some(victim) = self.policy.victim() else {
            let queued = |known: &Known| known.standing == Standing::Queued;
            assert!(!self.known.values().any(queued), "a chunk is never offered");
            return None;
        };
        let known = self.known.get_mut(&victim.slot).expect("a live chunk");
        assert_eq!(known.standing, Standing::Queued, "offered out of turn");
        known.standing = Standing::Leaving;
        assert_eq!(victim.id, known.chunk.id);
        assert_eq!(victim.size, known.chunk.size);
        assert_eq!(victim.clean, known.chunk.clean);
        Some(victim.slot)
    }

    fn apply(&mut self, call: &Call) {
        match *call {
            Call::Admit(chunk) => {
                let slot = self.policy.admit(chunk);
                let known = Known {
                    chunk,
                    standing: Standing::Queued,
                    held: false,
                };
                let before = self.known.insert(slot, known);
                assert!(before.is_none(), "a slot of two chunks");
                self.slots.push(slot);
            }
            Call::Touch(which) => self.policy.hits().touch(self.slot(which)),
            Call::Hit(which) => self.policy.on_hit(self.slot(which)),
            Call::Victim => drop(self.victim()),
            Call::Evicted(which) | Call::Remove(which) => {
                let slot = self.slot(which);
                let found = match call {
                    Call::Remove(_) => self.policy.remove(slot),
                    _ => self.policy.evicted(slot),
                };
                assert_eq!(found, self.known.remove(&slot).is_some());
            }
            Call::Refuse(which) => {
                let slot = self.slot(which);
                let leaving = self.is(slot, Standing::Leaving);
                assert_eq!(self.policy.refuse(slot), leaving);
                self.park(slot, leaving, false);
            }
            Call::Hold(which) => {
                let slot = self.slot(which);
                let found = self.known.contains_key(&slot);
                assert_eq!(self.policy.hold(slot), found);
                self.park(slot, found, true);
            }
            Call::Release(which) => {
                let slot = self.slot(which);
                let parked = self.is(slot, Standing::Parked);
                assert_eq!(self.policy.release(slot), parked);
                if parked {
                    self.known.get_mut(&slot).unwrap().standing = Standing::Queued;
                }
            }
            Call::ReleaseRefused => {
                self.policy.release_refused();
                for known in self.known.values_mut() {
                    if known.standing == Standing::Parked && !known.held {
                        known.standing = Standing::Queued;
                    }
                }
            }
            Call::SetCapacity(bytes) => self.policy.set_capacity(bytes),
            Call::Shrink(bytes) => self.shrink(bytes),
            _ => self.change(call),
        }
    }

    fn park(&mut self, slot: Slot, found: bool, held: bool) {
        if found {
            let known = self.known.get_mut(&slot).unwrap();
            known.standing = Standing::Parked;
            known.held = held;
        }
    }

    fn change(&mut self, call: &Call) {
        let (slot, found) = match *call {
            Call::Resize(which, size) => {
                let slot = self.slot(which);
                (slot, self.policy.resize(slot, size))
            }
            Call::SetPriority(which, priority) => {
                let slot = self.slot(which);
                (slot, self.policy.set_priority(slot, priority))
            }
            Call::SetClean(which, clean) => {
                let slot = self.slot(which);
                (slot, self.policy.set_clean(slot, clean))
            }
            _ => return,
        };
        assert_eq!(found, self.known.contains_key(&slot));
        let Some(known) = self.known.get_mut(&slot) else {
            return;
        };
        match *call {
            Call::Resize(_, size) => known.chunk.size = size,
            Call::SetPriority(_, priority) => known.chunk.priority = priority,
            Call::SetClean(_, clean) => known.chunk.clean = clean,
            _ => {}
        }
    }

    fn shrink(&mut self, bytes: u64) {
        while self.policy.bytes() > bytes {
            let Some(slot) = self.victim() else { break };
            assert!(self.policy.evicted(slot));
            self.known.remove(&slot);
        }
    }

    fn check(&self) {
        let sizes = self.known.values().map(|known| u64::from(known.chunk.size));
        assert_eq!(self.policy.bytes(), sizes.sum::<u64>());
        assert_eq!(self.policy.len() as usize, self.known.len());
        for slot in &self.slots {
            let explained = self.policy.explain(*slot);
            let known = self.known.get(slot);
            assert_eq!(explained.is_some(), known.is_some());
            if let (Some(explained), Some(known)) = (explained, known) {
                assert_eq!(explained.standing, known.standing);
                assert_eq!(explained.priority, known.chunk.priority.min(10));
                assert_eq!(explained.clean, known.chunk.clean);
                assert!(explained.left.is_finite() && explained.value >= 0.0);
            }
        }
    }

    /// Everything that was admitted comes out once.
    fn drain(mut self) {
        for slot in self.known.keys().copied().collect::<Vec<_>>() {
            if self.is(slot, Standing::Leaving) {
                assert!(self.policy.refuse(slot));
                self.park(slot, true, false);
            }
            if self.is(slot, Standing::Parked) {
                assert!(self.policy.release(slot));
                self.known.get_mut(&slot).unwrap().standing = Standing::Queued;
            }
        }
        while let Some(slot) = self.victim() {
            assert!(self.policy.evicted(slot));
            assert!(!self.policy.evicted(slot), "evicted twice");
            self.known.remove(&slot);
        }
        assert!(self.known.is_empty());
        assert_eq!((self.policy.len(), self.policy.bytes()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_calls_keep_every_chunk_and_byte(
        capacity in capacities(),
        cost in prop_oneof![Just(131_072), any::<u64>()],
        boost in any::<Option<u8>>(),
        dirty_counts: bool,
        calls in vec(calls(), 0..200),
    ) {
        for kind in PolicyKind::ALL {
            let policy = kind.build(Settings {
                capacity,
                swap_in_cost: cost,
                boost_threshold: boost,
                dirty_counts,
                pin_ceiling: 0,
            });
            let mut checked = Checked {
                policy,
                known: HashMap::new(),
                slots: Vec::new(),
            };
            for call in &calls {
                checked.apply(call);
                checked.check();
            }
            checked.drain();
        }
    }
}

#[test]
fn refused_victims_come_back_in_their_order_and_first() {
    for mut policy in every_policy(100) {
        for id in 0..100 {
            policy.admit(page(id));
        }
        let offered: Vec<u64> = std::iter::from_fn(|| {
            let victim = policy.victim()?;
            assert!(policy.refuse(victim.slot));
            Some(victim.id)
        })
        .collect();
        assert_eq!(offered.len(), 100, "every chunk is offered once");
        policy.admit(page(1_000));
        policy.release_refused();
        let again = policy.victim().map(|victim| victim.id);
        assert_eq!(again, Some(offered[0]), "{}", policy.kind());
        let next = policy.victim().map(|victim| victim.id);
        assert_eq!(next, Some(offered[1]), "{}", policy.kind());
    }
}

#[test]
fn held_chunks_are_not_offered_until_released() {
    for mut policy in every_policy(10) {
        let slot = policy.admit(page(1));
        assert!(policy.hold(slot));
        assert_eq!(policy.victim(), None);
        policy.release_refused();
        assert_eq!(policy.victim(), None);
        assert!(policy.release(slot));
        assert_eq!(policy.victim().map(|victim| victim.slot), Some(slot));
    }
}

#[test]
fn a_million_chunks_take_at_most_32_bytes_each_and_ghosts_16() {
    for mut policy in every_policy(1_000_000) {
        for id in 0..1_000_000 {
            policy.admit(page(id));
        }
        let bare = policy.footprint();
        assert!(bare <= 32_000_000, "{}: {bare}", policy.kind());
        for id in 1_000_000..2_000_000 {
            policy.admit(page(id));
            let victim = policy.victim().unwrap();
            policy.evicted(victim.slot);
        }
        let ghosts = policy.footprint() - bare;
        assert!(ghosts <= 16_000_000, "{}: {ghosts}", policy.kind());
    }
}

#[test]
fn names_lead_to_their_policies() {
    for kind in PolicyKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert_eq!(kind.build(settings(1)).kind(), kind);
    }
    let unknown = "fifo".parse::<PolicyKind>().unwrap_err();
    let text = "\"fifo\" is no policy; there are g2, lru, sieve, s3fifo";
    assert_eq!(unknown.to_string(), text);
}
