//! What must hold in every schedule, explored by shuttle.
//!
//! Time does not pass there: a limited wait gives up whenever the dice say so.

use std::time::Duration;

use super::Mode::{Exclusive, Shared};
use super::queue::Wake;
use super::*;
use crate::base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::base::sync::{Arc, thread};

const SOMETIME: Wait = Wait::UpTo(Duration::from_secs(1));

#[derive(Default)]
struct File {
    word: LockWord,
    /// Incremented in two steps, so that a second writer would lose an update.
    counter: AtomicUsize,
    writing: AtomicBool,
}

impl File {
    fn look_or_write(&self, mode: Mode) -> usize {
        assert!(!self.writing.load(Ordering::SeqCst));
        if mode == Shared {
            let seen = self.counter.load(Ordering::SeqCst);
            thread::yield_now();
            assert_eq!(self.counter.load(Ordering::SeqCst), seen);
            return 0;
        }
        self.writing.store(true, Ordering::SeqCst);
        let seen = self.counter.load(Ordering::SeqCst);
        self.counter.store(seen + 1, Ordering::SeqCst);
        self.writing.store(false, Ordering::SeqCst);
        1
    }

    /// Takes the lock for a call. The number of writes that came of it.
    fn call(&self, mode: Mode, wait: Wait) -> usize {
        match acquire(&self.word, mode, wait) {
            Ok(()) => {
                let written = self.look_or_write(mode);
                release(&self.word, mode);
                written
            }
            Err(fault) => {
                assert_ne!(wait, Wait::Forever);
                let kinds = [ErrorKind::WouldBlock, ErrorKind::LockTimeout];
                assert!(kinds.contains(&fault.kind()));
                0
            }
        }
    }

    fn assert_idle(&self, written: usize) {
        assert_eq!(self.counter.load(Ordering::SeqCst), written);
        assert_eq!(self.word.0.load(Ordering::SeqCst), 0);
        assert_eq!(process::table().waiting_for(&self.word), 0);
        assert_eq!(waiting(), 0);
    }
}

type Threads = Vec<Box<dyn FnOnce(&File) -> usize + Send>>;

/// Runs one thread per closure on one file; every schedule must end with the lock free.
fn explore(threads: fn() -> Threads) {
    let schedule = move || {
        let file = Arc::new(File::default());
        let running: Vec<_> = threads()
            .into_iter()
            .map(|run| {
                let file = Arc::clone(&file);
                thread::spawn(move || run(&file))
            })
            .collect();
        let written = running.into_iter().map(|t| t.join().unwrap()).sum();
        file.assert_idle(written);
    };
    shuttle::check_random(schedule, 2000);
    shuttle::check_pct(schedule, 2000, 3);
}

#[test]
fn writers_exclude_everybody_and_nobody_is_forgotten() {
    explore(|| {
        let modes = [Exclusive, Shared, Exclusive, Shared];
        modes
            .into_iter()
            .map(|mode| {
                Box::new(move |file: &File| (0..2).map(|_| file.call(mode, Wait::Forever)).sum())
                    as _
            })
            .collect()
    });
}

#[test]
fn timeouts_race_with_grants() {
    explore(|| {
        let calls = [
            (Exclusive, SOMETIME),
            (Shared, SOMETIME),
            (Exclusive, Wait::Forever),
            (Shared, Wait::Forever),
            (Exclusive, Wait::Now),
        ];
        calls
            .into_iter()
            .map(|(mode, wait)| {
                Box::new(move |file: &File| (0..2).map(|_| file.call(mode, wait)).sum()) as _
            })
            .collect()
    });
}

#[test]
fn readers_behind_a_writer_that_gives_up_enter() {
    // The first reader leaves only when another one is inside, so a schedule in
    // which the others stay behind the writer for good is a deadlock.
    shuttle::check_random(head_writer_gives_up, 2000);
    shuttle::check_pct(head_writer_gives_up, 2000, 3);
}

fn head_writer_gives_up() {
    let file = Arc::new(File::default());
    acquire(&file.word, Shared, Wait::Now).unwrap();
    let of_writer = Arc::clone(&file);
    let writer = thread::spawn(move || of_writer.call(Exclusive, SOMETIME));
    let of_reader = Arc::clone(&file);
    let reader = thread::spawn(move || of_reader.call(Shared, Wait::Forever));
    reader.join().unwrap();
    release(&file.word, Shared);
    let written = writer.join().unwrap();
    file.assert_idle(written);
}

#[test]
fn a_reading_thread_reads_again_in_spite_of_a_writer() {
    explore(|| {
        let reader = |file: &File| {
            let mut outer = Hold::acquire(&file.word, Shared, Wait::Forever).unwrap();
            // Would be a deadlock behind a writer.
            let mut inner = Hold::acquire(&file.word, Shared, Wait::Forever).unwrap();
            file.look_or_write(Shared);
            outer.release(&file.word);
            file.call(Shared, Wait::Forever);
            inner.release(&file.word);
            0
        };
        vec![
            Box::new(reader),
            Box::new(reader),
            Box::new(|file: &File| file.call(Exclusive, Wait::Forever)),
            Box::new(|file: &File| file.call(Exclusive, SOMETIME)),
        ]
    });
}

#[test]
fn a_hold_that_another_thread_releases_lets_its_taker_in() {
    // The taker opens again while the handle is closed elsewhere: whatever its
    // record says at that moment, it gets the lock.
    let schedule = || {
        let file = Arc::new(File::default());
        let mut hold = Hold::acquire(&file.word, Shared, Wait::Now).unwrap();
        let of_closer = Arc::clone(&file);
        let closer = thread::spawn(move || {
            hold.release(&of_closer.word);
            0
        });
        let of_writer = Arc::clone(&file);
        let writer = thread::spawn(move || of_writer.call(Exclusive, Wait::Forever));
        file.call(Shared, Wait::Forever);
        let written = closer.join().unwrap() + writer.join().unwrap();
        file.assert_idle(written);
    };
    shuttle::check_random(schedule, 2000);
    shuttle::check_pct(schedule, 2000, 3);
}

#[test]
fn leaving_without_the_lock_gives_back_one_that_came_meanwhile() {
    // What an interrupt does: the place is dropped whether the grant came or not.
    explore(|| {
        let leaver = |mode| {
            move |file: &File| {
                let wake = Wake::Unpark(thread::current());
                let place = queue::Place::take(&file.word, mode, wake);
                thread::yield_now();
                drop(place);
                0
            }
        };
        vec![
            Box::new(leaver(Exclusive)),
            Box::new(leaver(Shared)),
            Box::new(|file: &File| file.call(Exclusive, Wait::Forever)),
            Box::new(|file: &File| file.call(Shared, Wait::Forever)),
        ]
    });
}

#[test]
fn tickets_wait_among_threads() {
    explore(|| {
        let task = |mode, patient: bool| {
            move |file: &File| {
                let me = thread::current();
                let wake = Box::new(move || me.unpark());
                let ticket = Ticket::take(&file.word, mode, wake);
                if !patient {
                    thread::yield_now();
                    drop(ticket);
                    return 0;
                }
                while !ticket.is_granted() {
                    thread::park();
                }
                // It is lent, so trying is enough; and only once.
                let written = ticket.lend(|| {
                    acquire(&file.word, mode, Wait::Now).unwrap();
                    file.look_or_write(mode)
                });
                release(&file.word, mode);
                written
            }
        };
        vec![
            Box::new(task(Exclusive, true)),
            Box::new(task(Shared, true)),
            Box::new(task(Exclusive, false)),
            Box::new(|file: &File| file.call(Exclusive, Wait::Forever)),
            Box::new(|file: &File| at_once(|| file.call(Shared, SOMETIME))),
        ]
    });
}
