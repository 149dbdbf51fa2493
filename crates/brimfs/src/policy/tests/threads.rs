//! Touches by threads that hold no lock, while another admits and evicts.

#[cfg(not(feature = "shuttle"))]
use super::every_policy;
use crate::base::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::base::sync::{Arc, thread};
use crate::policy::Slot;
#[cfg(not(feature = "shuttle"))]
use crate::policy::tests::page;

/// Tells the touching threads of a slot.
#[derive(Default)]
struct Board {
    newest: AtomicU32,
    /// Rounds of touches, of all threads.
    #[cfg(not(feature = "shuttle"))]
    rounds: AtomicU32,
    done: AtomicBool,
}

#[cfg(not(feature = "shuttle"))]
#[test]
fn touches_disturb_nothing_while_the_table_grows() {
    for mut policy in every_policy(1 << 40) {
        let board = Arc::new(Board::default());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (board, hits) = (board.clone(), policy.hits().clone());
                thread::spawn(move || {
                    while !board.done.load(Ordering::Acquire) {
                        let newest = board.newest.load(Ordering::Acquire);
                        for number in newest.saturating_sub(50)..newest + 50 {
                            if let Some(slot) = Slot::new(number) {
                                hits.touch(slot);
                            }
                        }
                        board.rounds.fetch_add(1, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        let (mut admitted, mut gone) = (0, 0);
        for id in 0..60_000 {
            let slot = policy.admit(page(id));
            admitted += 1;
            board.newest.store(slot.get(), Ordering::Release);
            if id % 6_000 == 0 {
                // The system may run no other thread for as long as all of this takes.
                let seen = board.rounds.load(Ordering::Acquire);
                while board.rounds.load(Ordering::Acquire) == seen {
                    thread::yield_now();
                }
            }
            if id % 3 == 0 {
                let victim = policy.victim().expect("two thirds are queued");
                assert!(policy.evicted(victim.slot));
                gone += 1;
            }
        }
        board.done.store(true, Ordering::Release);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(policy.len(), admitted - gone);
        while let Some(victim) = policy.victim() {
            assert!(policy.evicted(victim.slot));
        }
        assert_eq!((policy.len(), policy.bytes()), (0, 0));
    }
}

#[cfg(feature = "shuttle")]
mod schedules {
    use super::*;
    use crate::policy::{Chunk, PolicyKind, Settings};

    #[test]
    fn a_touch_before_the_look_saves_or_is_forgotten_and_nothing_else() {
        shuttle::check_random(
            || {
                let mut policy = PolicyKind::G2.build(Settings::new(2));
                let chunk = |id| Chunk {
                    id,
                    size: 1,
                    priority: 5,
                    clean: true,
                    accesses: 0,
                };
                let slots = [policy.admit(chunk(1)), policy.admit(chunk(2))];
                let board = Arc::new(Board::default());
                let (hits, seen) = (policy.hits().clone(), board.clone());
                let toucher = thread::spawn(move || {
                    hits.touch(slots[0]);
                    seen.done.store(true, Ordering::SeqCst);
                    hits.touch(Slot::new(slots[1].get() + 1).unwrap());
                });
                let surely = board.done.load(Ordering::SeqCst);
                let victim = policy.victim().unwrap();
                assert!(!surely || victim.slot == slots[1]);
                assert!(policy.evicted(victim.slot));
                board
                    .newest
                    .store(policy.admit(chunk(3)).get(), Ordering::SeqCst);
                toucher.join().unwrap();
                let mut left = 0;
                while let Some(victim) = policy.victim() {
                    assert!(policy.evicted(victim.slot));
                    left += 1;
                }
                assert_eq!((left, policy.bytes()), (2, 0));
            },
            1_000,
        );
    }
}
