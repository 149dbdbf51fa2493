//! What the eviction policies cost: time per call and memory per chunk, with a million chunks.
//!
//! ```sh
//! cargo run --release -p brimfs --example policy_speed
//! ```

use std::hint::black_box;
use std::time::Instant;

use brimfs::face::policy::{Chunk, Policy, PolicyKind, Settings, Slot};

const CHUNKS: u64 = 1_000_000;
const TOUCHES: u64 = 20_000_000;
const SIZES: [u32; 6] = [200, 4_096, 9_000, 40_000, 300_000, 1 << 20];

/// xorshift64*.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
}

fn chunk(id: u64) -> Chunk {
    Chunk {
        id,
        size: SIZES[(id % 6) as usize],
        priority: (id % 11) as u8,
        clean: id.is_multiple_of(2),
        accesses: 0,
    }
}

fn nanoseconds(begin: Instant, calls: u64) -> f64 {
    begin.elapsed().as_nanos() as f64 / calls as f64
}

fn main() {
    println!("policy  touch one  touch any  admit  evict+admit  bytes/chunk  with ghosts");
    for kind in PolicyKind::ALL {
        let total = (0..CHUNKS).map(|id| u64::from(chunk(id).size)).sum();
        let mut policy = kind.build(Settings::new(total));
        let begin = Instant::now();
        let slots: Vec<Slot> = (0..CHUNKS).map(|id| policy.admit(chunk(id))).collect();
        let admit = nanoseconds(begin, CHUNKS);
        let bare = policy.footprint() as f64 / CHUNKS as f64;
        let hits = policy.hits().clone();
        let begin = Instant::now();
        for _ in 0..TOUCHES {
            hits.touch(black_box(slots[0]));
        }
        let one = nanoseconds(begin, TOUCHES);
        let mut state = 7;
        let begin = Instant::now();
        for _ in 0..TOUCHES {
            hits.touch(slots[(random(&mut state) % CHUNKS) as usize]);
        }
        let any = nanoseconds(begin, TOUCHES);
        let turn = turn_over(policy.as_mut(), total);
        let with_ghosts = policy.footprint() as f64 / f64::from(policy.len());
        println!(
            "{kind:<6}  {one:>6.1} ns  {any:>6.1} ns  {admit:>3.0} ns  {turn:>8.0} ns  \
             {bare:>11.1}  {with_ghosts:>11.1}"
        );
    }
}

/// Nanoseconds for one newcomer and what must go for it, while a third of all chunks is touched.
fn turn_over(policy: &mut dyn Policy, capacity: u64) -> f64 {
    let hits = policy.hits().clone();
    let mut state = 11;
    let begin = Instant::now();
    for id in CHUNKS..3 * CHUNKS {
        // A tenth are known from before.
        let id = if id.is_multiple_of(10) {
            id - CHUNKS
        } else {
            id
        };
        let slot = policy.admit(chunk(id));
        if random(&mut state).is_multiple_of(3) {
            hits.touch(slot);
        }
        while policy.bytes() > capacity {
            let victim = policy.victim().expect("nothing is parked");
            policy.evicted(victim.slot);
        }
    }
    nanoseconds(begin, 2 * CHUNKS)
}
