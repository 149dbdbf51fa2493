//! What the locks cost. Measurements, not tests; run with
//! `cargo test --release --lib -- --ignored --nocapture --test-threads=1 lock::cost`.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Mode::{Exclusive, Shared};
use super::*;

const LONG: Wait = Wait::UpTo(Duration::from_secs(600));

#[test]
#[ignore = "a measurement"]
fn of_the_uncontended_paths() {
    const ROUNDS: u32 = 20_000_000;
    let word = LockWord::default();
    let measure = |name: &str, mut run: Box<dyn FnMut() + '_>| {
        let best = (0..5)
            .map(|_| {
                let start = Instant::now();
                (0..ROUNDS).for_each(|_| run());
                start.elapsed()
            })
            .min()
            .unwrap_or_default();
        println!(
            "{name}: {:.1} ns",
            best.as_secs_f64() * 1e9 / f64::from(ROUNDS)
        );
    };
    let pair = |mode| {
        acquire(&word, mode, LONG).unwrap();
        release(&word, mode);
    };
    let hold = |mode| {
        let mut hold = Hold::acquire(&word, mode, LONG).unwrap();
        hold.release(&word);
    };
    measure("acquire and release, shared", Box::new(|| pair(Shared)));
    measure(
        "acquire and release, exclusive",
        Box::new(|| pair(Exclusive)),
    );
    measure("hold and release, shared", Box::new(|| hold(Shared)));
    measure("hold and release, exclusive", Box::new(|| hold(Exclusive)));
    let plain = std::sync::atomic::AtomicU32::new(0);
    measure(
        "two atomic operations, for comparison",
        Box::new(|| {
            let _ = plain.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
            plain.fetch_and(!1, Ordering::Release);
        }),
    );
    measure(
        "coarse clock",
        Box::new(|| {
            std::hint::black_box(crate::base::clock::monotonic());
        }),
    );
    measure(
        "note and forget",
        Box::new(|| holders::Note::new(&word, Shared).forget()),
    );
}

/// Several threads want the lock all the time.
#[test]
#[ignore = "a measurement"]
fn of_contention() {
    const ROUNDS: u32 = 1_000_000;
    for (threads, mode) in [(2, Exclusive), (4, Exclusive), (4, Shared)] {
        let word = LockWord::default();
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        acquire(&word, mode, LONG).unwrap();
                        std::hint::black_box(crate::base::clock::monotonic());
                        release(&word, mode);
                    }
                });
            }
        });
        let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS * threads);
        println!("{threads} threads, {mode:?}: {each:.0} ns per acquisition");
    }
}
