//! Replaying one trace through one policy at one size.

use brimfs::face::policy::{Chunk, PRIORITY_DEFAULT, Policy, PolicyKind, Settings, Slot, weight};
use serde::Serialize;

use crate::trace::{Object, Trace};

/// The parts of all requests that missed: by number, bytes, cost, and weighted cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratios {
    pub(crate) object: f64,
    pub(crate) byte: f64,
    pub(crate) cost: f64,
    /// With the weights of the priorities that the objects would have.
    pub(crate) weighted_cost: f64,
}

/// One cell of a report.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) policy: &'static str,
    /// As a share of the footprint.
    pub(crate) size: String,
    /// In bytes.
    pub(crate) capacity: u64,
    /// Without priorities.
    pub(crate) ratios: Ratios,
    /// With them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weighted: Option<Ratios>,
}

/// Whether the policy is told of priorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priorities {
    Ignored,
    Used,
}

/// The priority that an object has in weighted runs: it follows from its id.
pub(crate) fn priority_of(id: u64) -> u8 {
    let mut mixed = id.wrapping_mul(7).wrapping_add(1);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^= mixed >> 33;
    let hundredth = (mixed % 100) as u8;
    match hundredth {
        0..20 => hundredth % 3,
        20..75 => 3 + hundredth % 3,
        75..97 => 6 + hundredth % 3,
        _ => 9,
    }
}

/// Sums over requests, or over those that missed.
#[derive(Default)]
struct Sums {
    objects: u64,
    bytes: u64,
    cost: u128,
    weighted_cost: f64,
}

impl Sums {
    fn add(&mut self, object: Object, swap_in_cost: u64) {
        let cost = swap_in_cost.saturating_add(u64::from(object.size));
        self.objects += 1;
        self.bytes += u64::from(object.size);
        self.cost += u128::from(cost);
        self.weighted_cost += weight(priority_of(object.id)) * cost as f64;
    }

    fn over(&self, all: &Sums) -> Ratios {
        // Objects of no bytes make no byte ratio.
        let ratio = |part: f64, all: f64| if all > 0.0 { part / all } else { 0.0 };
        Ratios {
            object: ratio(self.objects as f64, all.objects as f64),
            byte: ratio(self.bytes as f64, all.bytes as f64),
            cost: ratio(self.cost as f64, all.cost as f64),
            weighted_cost: ratio(self.weighted_cost, all.weighted_cost),
        }
    }
}

/// Replays `trace` against a cache of `capacity` bytes.
///
/// The boost by accesses is off, every object is clean, and hits are reported to the policy, so LRU is
/// exact. Room is made before a chunk is admitted, as in the papers, or after it if newcomers compete.
pub(crate) fn replay(
    trace: &Trace,
    policy: PolicyKind,
    capacity: u64,
    swap_in_cost: u64,
    priorities: Priorities,
) -> Ratios {
    let first = policy.newcomers_compete();
    let mut policy = policy.build(Settings {
        capacity,
        swap_in_cost,
        boost_threshold: None,
    });
    let hits = policy.hits().clone();
    let mut slots: Vec<Option<Slot>> = vec![None; trace.objects.len()];
    let (mut all, mut missed) = (Sums::default(), Sums::default());
    for &place in &trace.requests {
        let object = trace.objects[place as usize];
        all.add(object, swap_in_cost);
        if let Some(slot) = slots[place as usize] {
            hits.touch(slot);
            policy.on_hit(slot);
            continue;
        }
        missed.add(object, swap_in_cost);
        if u64::from(object.size) > capacity {
            continue;
        }
        let size = u64::from(object.size);
        let bytes_before = if first { capacity } else { capacity - size };
        evict_down_to(policy.as_mut(), bytes_before, &mut slots);
        let slot = policy.admit(Chunk {
            id: u64::from(place),
            size: object.size,
            priority: match priorities {
                Priorities::Ignored => PRIORITY_DEFAULT,
                Priorities::Used => priority_of(object.id),
            },
            clean: true,
        });
        slots[place as usize] = Some(slot);
        evict_down_to(policy.as_mut(), capacity, &mut slots);
    }
    missed.over(&all)
}

fn evict_down_to(policy: &mut dyn Policy, bytes: u64, slots: &mut [Option<Slot>]) {
    while policy.bytes() > bytes {
        let victim = policy.victim().expect("nothing is parked here");
        policy.evicted(victim.slot);
        slots[victim.id as usize] = None;
    }
}
