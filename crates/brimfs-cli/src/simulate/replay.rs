//! Replaying one trace through one policy at one size.

use brimfs::face::policy::{Chunk, PRIORITY_DEFAULT, Policy, PolicyKind, Settings, Slot, weight};
use serde::Serialize;

use crate::simulate::share::Share;
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
    /// With writes among the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) with_writes: Option<WithWrites>,
}

/// The cost of all misses and of writing dirty objects back when they go, over the cost of all requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct WithWrites {
    /// The policy took everything as clean.
    pub(crate) not_told: f64,
    /// The policy knew what was dirty.
    pub(crate) told: f64,
}

/// What the policy is told beside identities and sizes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Of the priorities that objects have.
    pub(crate) priorities: bool,
    /// Of which objects are dirty.
    pub(crate) dirty: bool,
}

/// What is replayed, and against which cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) policy: PolicyKind,
    /// In bytes.
    pub(crate) capacity: u64,
    /// In bytes.
    pub(crate) swap_in_cost: u64,
    /// The share of requests that write their object and leave it dirty.
    pub(crate) writes: Option<Share>,
}

/// A writing request is told by its number.
fn is_write(number: usize, writes: Option<Share>) -> bool {
    const WHOLE: u64 = 1 << 32;
    writes.is_some_and(|share| mix(number as u64) % WHOLE < share.of(WHOLE))
}

/// The 64-bit finaliser of MurmurHash3 (public domain).
fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// The priority that an object has in weighted runs: it follows from its id.
pub(crate) fn priority_of(id: u64) -> u8 {
    let mixed = mix(id.wrapping_mul(7).wrapping_add(1));
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

/// The objects that are resident, and what it cost to let others go.
struct Cache {
    policy: Box<dyn Policy>,
    slots: Vec<Option<Slot>>,
    dirty: Vec<bool>,
    /// Bytes of dirty objects that went.
    written: u64,
}

impl Cache {
    fn evict_down_to(&mut self, bytes: u64) {
        while self.policy.bytes() > bytes {
            let victim = self.policy.victim().expect("nothing is parked here");
            self.policy.evicted(victim.slot);
            self.slots[victim.id as usize] = None;
            if std::mem::take(&mut self.dirty[victim.id as usize]) {
                self.written += u64::from(victim.size);
            }
        }
    }
}

impl Run<'_> {
    /// The miss ratios, and the cost with that of writing back.
    ///
    /// The boost by accesses is off, and hits are reported to the policy, so LRU is exact. Room is made
    /// before an object is admitted, as in the papers, or after it if newcomers compete.
    pub(crate) fn replay(self, told: Told) -> (Ratios, f64) {
        let (capacity, swap_in_cost) = (self.capacity, self.swap_in_cost);
        let policy = self.policy.build(Settings {
            capacity,
            swap_in_cost,
            boost_threshold: None,
            dirty_counts: told.dirty,
            pin_ceiling: 0,
        });
        let hits = policy.hits().clone();
        let objects = self.trace.objects.len();
        let mut cache = Cache {
            policy,
            slots: vec![None; objects],
            dirty: vec![false; objects],
            written: 0,
        };
        let (mut all, mut missed) = (Sums::default(), Sums::default());
        for (number, &place) in self.trace.requests.iter().enumerate() {
            let object = self.trace.objects[place as usize];
            let write = is_write(number, self.writes);
            all.add(object, swap_in_cost);
            if let Some(slot) = cache.slots[place as usize] {
                hits.touch(slot);
                cache.policy.on_hit(slot);
                if write {
                    cache.dirty[place as usize] = true;
                    cache.policy.set_clean(slot, !told.dirty);
                }
                continue;
            }
            missed.add(object, swap_in_cost);
            let size = u64::from(object.size);
            if size > capacity {
                cache.written += if write { size } else { 0 };
                continue;
            }
            if !self.policy.newcomers_compete() {
                cache.evict_down_to(capacity - size);
            }
            let slot = cache.policy.admit(Chunk {
                id: u64::from(place),
                size: object.size,
                priority: if told.priorities {
                    priority_of(object.id)
                } else {
                    PRIORITY_DEFAULT
                },
                clean: !(write && told.dirty),
                accesses: 0,
            });
            cache.slots[place as usize] = Some(slot);
            cache.dirty[place as usize] = write;
            cache.evict_down_to(capacity);
        }
        let with_writes = Sums {
            cost: missed.cost + u128::from(cache.written),
            ..Sums::default()
        };
        (missed.over(&all), with_writes.over(&all).cost)
    }
}
