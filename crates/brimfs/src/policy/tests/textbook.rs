//! LRU, SIEVE and S3-FIFO against models written from their papers, with lists and maps; and what G2
//! promises, on small loads.

use std::collections::{HashMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{page, settings};
use crate::policy::{Chunk, Policy, PolicyKind, Queue, Settings, Slot, ghost};

/// A cache that says of each request whether it hit.
trait Model {
    fn request(&mut self, id: u64, size: u32) -> bool;
}

/// The policy as a cache: room is made before a chunk is admitted.
struct Cache {
    policy: Box<dyn Policy>,
    capacity: u64,
    slots: HashMap<u64, Slot>,
}

impl Cache {
    fn new(kind: PolicyKind, capacity: u64) -> Self {
        Cache {
            policy: kind.build(settings(capacity)),
            capacity,
            slots: HashMap::new(),
        }
    }
}

impl Model for Cache {
    fn request(&mut self, id: u64, size: u32) -> bool {
        if let Some(slot) = self.slots.get(&id) {
            self.policy.hits().touch(*slot);
            self.policy.on_hit(*slot);
            return true;
        }
        if u64::from(size) > self.capacity {
            return false;
        }
        while self.policy.bytes() + u64::from(size) > self.capacity {
            let victim = self.policy.victim().unwrap();
            assert!(self.policy.evicted(victim.slot));
            self.slots.remove(&victim.id).unwrap();
        }
        let chunk = Chunk { size, ..page(id) };
        self.slots.insert(id, self.policy.admit(chunk));
        false
    }
}

#[derive(Clone, Copy)]
struct Object {
    id: u64,
    size: u32,
    frequency: u8,
}

fn bytes(queue: &VecDeque<Object>) -> u64 {
    queue.iter().map(|object| u64::from(object.size)).sum()
}

fn find(queue: &mut VecDeque<Object>, id: u64) -> Option<&mut Object> {
    queue.iter_mut().find(|object| object.id == id)
}

struct Lru {
    capacity: u64,
    /// The least recently used first.
    queue: VecDeque<Object>,
}

impl Model for Lru {
    fn request(&mut self, id: u64, size: u32) -> bool {
        let place = self.queue.iter().position(|object| object.id == id);
        if let Some(object) = place.and_then(|place| self.queue.remove(place)) {
            self.queue.push_back(object);
            return true;
        }
        if u64::from(size) > self.capacity {
            return false;
        }
        while bytes(&self.queue) + u64::from(size) > self.capacity {
            self.queue.pop_front();
        }
        let frequency = 0;
        self.queue.push_back(Object {
            id,
            size,
            frequency,
        });
        false
    }
}

struct Sieve {
    capacity: u64,
    /// The oldest first.
    queue: VecDeque<Object>,
    /// An index; the length means "start over".
    hand: usize,
}

impl Model for Sieve {
    fn request(&mut self, id: u64, size: u32) -> bool {
        if let Some(object) = find(&mut self.queue, id) {
            object.frequency = 1;
            return true;
        }
        if u64::from(size) > self.capacity {
            return false;
        }
        while bytes(&self.queue) + u64::from(size) > self.capacity {
            loop {
                if self.hand >= self.queue.len() {
                    self.hand = 0;
                }
                if self.queue[self.hand].frequency == 0 {
                    break;
                }
                self.queue[self.hand].frequency = 0;
                self.hand += 1;
            }
            self.queue.remove(self.hand);
            // Past the newest the hand starts over, and does not wait for one that is newer still.
            if self.hand == self.queue.len() {
                self.hand = 0;
            }
        }
        self.queue.push_back(Object {
            id,
            size,
            frequency: 0,
        });
        false
    }
}

/// Algorithm 1 of the paper, with sizes in bytes.
struct S3Fifo {
    capacity: u64,
    small: VecDeque<Object>,
    main: VecDeque<Object>,
    ghosts: HashMap<u64, u64>,
    gone: u64,
}

impl S3Fifo {
    fn evict(&mut self) {
        let from_small = bytes(&self.small) >= self.capacity / 10;
        if (from_small && !self.small.is_empty()) || self.main.is_empty() {
            let mut object = self.small.pop_front().unwrap();
            if object.frequency > 1 {
                object.frequency = 0;
                self.main.push_back(object);
                return;
            }
            self.gone += u64::from(object.size);
            self.ghosts.insert(object.id, self.gone);
            return;
        }
        let mut object = self.main.pop_front().unwrap();
        if object.frequency > 0 {
            object.frequency -= 1;
            self.main.push_back(object);
        }
    }
}

impl Model for S3Fifo {
    fn request(&mut self, id: u64, size: u32) -> bool {
        for queue in [&mut self.small, &mut self.main] {
            if let Some(object) = find(queue, id) {
                object.frequency = (object.frequency + 1).min(3);
                return true;
            }
        }
        if u64::from(size) > self.capacity {
            return false;
        }
        while bytes(&self.small) + bytes(&self.main) + u64::from(size) > self.capacity {
            self.evict();
        }
        let window = self.capacity - self.capacity / 10;
        let ghost = self.ghosts.remove(&id);
        let queue = match ghost {
            Some(then) if self.gone - then <= window => &mut self.main,
            _ => &mut self.small,
        };
        queue.push_back(Object {
            id,
            size,
            frequency: 0,
        });
        false
    }
}

/// Identities of which no set of the smallest ghost table has to hold more than it can: the paper's
/// ghosts are never forgotten early, those of a full set are.
fn identities() -> Vec<u64> {
    let mut sets: HashMap<usize, usize> = HashMap::new();
    let fits = |id: &u64| {
        let count = sets.entry(ghost::first_set(*id)).or_default();
        *count += 1;
        *count <= ghost::WAYS
    };
    (0..).filter(fits).take(60).collect()
}

/// Skewed requests of objects whose size follows from their identity.
fn requests() -> impl Strategy<Value = Vec<u64>> {
    let ids = identities();
    let places = vec(prop_oneof![0..6usize, 0..20usize, 0..60usize], 0..400);
    places.prop_map(move |places| places.into_iter().map(|place| ids[place]).collect())
}

fn size_of_object(id: u64, sized: bool) -> u32 {
    if sized { 1 + (id * 7 % 13) as u32 } else { 1 }
}

proptest! {
    #[test]
    fn lru_sieve_and_s3fifo_do_what_their_papers_say(
        ids in requests(),
        capacity in 0..60u64,
        sized: bool,
    ) {
        let queue = VecDeque::new;
        let models: [(PolicyKind, Box<dyn Model>); 3] = [
            (PolicyKind::Lru, Box::new(Lru { capacity, queue: queue() })),
            (PolicyKind::Sieve, Box::new(Sieve { capacity, queue: queue(), hand: 0 })),
            (PolicyKind::S3Fifo, Box::new(S3Fifo {
                capacity,
                small: queue(),
                main: queue(),
                ghosts: HashMap::new(),
                gone: 0,
            })),
        ];
        for (kind, mut model) in models {
            let mut cache = Cache::new(kind, capacity);
            for (number, id) in ids.iter().enumerate() {
                let size = size_of_object(*id, sized);
                let (ours, theirs) = (cache.request(*id, size), model.request(*id, size));
                prop_assert_eq!(ours, theirs, "{} at request {}", kind, number);
            }
        }
    }
}

#[test]
fn without_reported_hits_lru_gives_a_second_chance() {
    let mut policy = PolicyKind::Lru.build(settings(3));
    let slots = [1, 2, 3].map(|id| policy.admit(page(id)));
    policy.hits().touch(slots[0]);
    let order: Vec<Slot> = std::iter::from_fn(|| policy.victim())
        .map(|victim| victim.slot)
        .collect();
    assert_eq!(order, [slots[1], slots[2], slots[0]]);
}

/// Requests of G2 as the mover makes them: newcomers compete.
struct Run(Cache);

impl Run {
    fn request(&mut self, chunk: Chunk) -> bool {
        let cache = &mut self.0;
        if let Some(slot) = cache.slots.get(&chunk.id) {
            cache.policy.hits().touch(*slot);
            return true;
        }
        cache.slots.insert(chunk.id, cache.policy.admit(chunk));
        while cache.policy.bytes() > cache.capacity {
            let victim = cache.policy.victim().unwrap();
            assert!(cache.policy.evicted(victim.slot));
            cache.slots.remove(&victim.id).unwrap();
        }
        false
    }
}

fn g2(capacity: u64) -> Run {
    Run(Cache::new(PolicyKind::G2, capacity))
}

/// How many of 400 chunks, 25 MiB of 64 that were used three times, survive a file of a gigabyte.
fn survivors(file_chunk: impl Fn(&mut Run, Chunk)) -> usize {
    let mut run = g2(64 << 20);
    let used = |n: u64| Chunk {
        id: n,
        size: 64 << 10,
        priority: 5,
        clean: true,
        accesses: 0,
    };
    for _ in 0..3 {
        for n in 0..400 {
            run.request(used(n));
        }
    }
    for n in 0..1024 {
        let chunk = Chunk {
            id: 1_000_000 + n,
            size: 1 << 20,
            ..used(0)
        };
        file_chunk(&mut run, chunk);
        // What is used is used: one access each while 100 MiB of the file pass.
        run.request(used(n * 4 % 400));
        run.request(used((n * 4 + 1) % 400));
        run.request(used((n * 4 + 2) % 400));
        run.request(used((n * 4 + 3) % 400));
    }
    (0..400).filter(|n| run.request(used(*n))).count()
}

#[test]
fn a_file_larger_than_memory_does_not_flush_what_is_used() {
    let written = survivors(|run, chunk| {
        run.request(chunk);
    });
    assert_eq!(written, 400);
    let read_back = survivors(|run, chunk| {
        run.request(chunk);
        run.request(chunk);
    });
    assert!(read_back >= 390, "{read_back} of 400");
}

#[test]
fn a_file_that_passes_once_leaves_even_what_rests() {
    let mut run = g2(64 << 20);
    let rests = |n: u64| Chunk {
        size: 64 << 10,
        ..page(n)
    };
    // Known from before, so in main, and not touched again.
    for n in 0..400 {
        let slot = run.0.policy.admit(rests(n));
        assert!(run.0.policy.evicted(slot));
        run.request(rests(n));
    }
    for n in 0..10_000 {
        run.request(Chunk {
            size: 1 << 20,
            ..page(1_000_000 + n)
        });
    }
    let hits = (0..400).filter(|n| run.request(rests(*n))).count();
    assert_eq!(hits, 400);
}

#[test]
fn a_higher_priority_outlasts_a_lower_one() {
    let mut run = g2(100 << 10);
    for n in 0..1_000 {
        run.request(Chunk {
            id: n,
            size: 1 << 10,
            priority: if n % 2 == 0 { 2 } else { 8 },
            clean: true,
            accesses: 0,
        });
    }
    let high = run.0.slots.keys().filter(|id| *id % 2 == 1).count();
    let low = run.0.slots.len() - high;
    assert!(high > 4 * low, "{high} and {low}");
}

#[test]
fn clean_chunks_go_before_dirty_ones_if_dirt_counts() {
    for dirty_counts in [true, false] {
        let mut run = g2(64 << 20);
        run.0.policy = PolicyKind::G2.build(Settings {
            dirty_counts,
            ..settings(64 << 20)
        });
        for n in 0..1_000 {
            run.request(Chunk {
                id: n,
                size: 1 << 20,
                priority: 5,
                clean: n % 2 == 0,
                accesses: 0,
            });
        }
        let dirty = run.0.slots.keys().filter(|id| *id % 2 == 1).count();
        let clean = run.0.slots.len() - dirty;
        assert_eq!(dirty > clean, dirty_counts, "{dirty} and {clean}");
    }
}

#[test]
fn who_is_remembered_comes_back_to_main() {
    let mut policy = PolicyKind::G2.build(settings(4));
    let queue = |policy: &dyn Policy, slot| policy.explain(slot).map(|explained| explained.queue);
    let slot = policy.admit(page(1));
    assert_eq!(queue(policy.as_ref(), slot), Some(Queue::Probation));
    assert!(policy.evicted(slot));
    let again = policy.admit(page(1));
    assert_eq!(queue(policy.as_ref(), again), Some(Queue::Main));
    assert_eq!(policy.explain(again).map(|e| e.frequency), Some(2));
    // One that was deleted is not the one that comes next.
    assert!(policy.remove(again));
    let other = policy.admit(page(1));
    assert_eq!(queue(policy.as_ref(), other), Some(Queue::Probation));
}

#[test]
fn what_was_accessed_before_it_came_stays_when_a_file_passes() {
    let counted = |accesses: u8| {
        let mut run = g2(64 << 20);
        let used = |n: u64| Chunk {
            size: 64 << 10,
            accesses,
            ..page(n)
        };
        for n in 0..400 {
            run.request(used(n));
        }
        let explained = run.0.policy.explain(run.0.slots[&0]).expect("resident");
        assert_eq!(explained.accesses, accesses);
        let boosted = 5 + u8::from(accesses >= 10);
        assert_eq!(explained.priority_counted, boosted);
        for n in 0..10_000 {
            run.request(Chunk {
                size: 1 << 20,
                ..page(1_000_000 + n)
            });
        }
        (0..400).filter(|n| run.0.slots.contains_key(n)).count()
    };
    assert_eq!(counted(0), 0);
    assert_eq!([1, 3, 10, 255].map(counted), [400; 4]);
}

#[test]
fn the_level_starts_over_and_nobody_notices() {
    let capacity = 1 << 10;
    let mut run = g2(capacity);
    // Chunks of the highest value there is: the level reaches its end every 64 turns.
    run.0.policy = PolicyKind::G2.build(Settings {
        swap_in_cost: u64::MAX,
        ..settings(capacity)
    });
    for n in 0..400_000u64 {
        run.request(Chunk {
            id: n,
            priority: 10,
            ..page(0)
        });
        assert!(run.0.policy.bytes() <= capacity);
    }
    // First in, first out among equals, as ever.
    let oldest = *run.0.slots.keys().min().unwrap();
    assert_eq!(oldest, 400_000 - capacity);
    assert_eq!(run.0.policy.victim().map(|victim| victim.id), Some(oldest));
}
