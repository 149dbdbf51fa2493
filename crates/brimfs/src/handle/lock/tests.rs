//! The locks under real threads. What must hold in every schedule is in `schedules`.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Mode::{Exclusive, Shared};
use super::*;
use crate::base::error::Error;
use crate::handle::wait::set_interrupt_check;

type Word = Arc<LockWord>;

fn new_word() -> Word {
    Arc::default()
}

fn bits(word: &Word) -> u32 {
    word.0.load(Ordering::SeqCst)
}

fn waiting_for(word: &Word) -> usize {
    process::table().waiting_for(word)
}

/// Blocks until so many threads stand in the queue.
fn until_waiting(word: &Word, threads: usize) {
    while waiting_for(word) != threads {
        thread::sleep(Duration::from_millis(1));
    }
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .unwrap()
}

fn kind(result: Result<(), Fault>) -> Option<ErrorKind> {
    result.err().map(|fault| fault.kind())
}

fn error(fault: Fault) -> Error {
    fault.at("open", b"/f")
}

const LONG: Wait = Wait::UpTo(Duration::from_secs(600));

#[test]
fn a_hold_is_three_words() {
    assert_eq!(size_of::<Hold>(), 24);
    assert_eq!(size_of::<Option<Hold>>(), 24);
    assert_eq!(size_of::<LockWord>(), 4);
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    let word = new_word();
    for _ in 0..3 {
        acquire(&word, Shared, Wait::Now).unwrap();
    }
    assert_eq!(
        kind(acquire(&word, Exclusive, Wait::Now)),
        Some(ErrorKind::WouldBlock)
    );
    for _ in 0..3 {
        release(&word, Shared);
    }
    acquire(&word, Exclusive, Wait::Now).unwrap();
    let zero = Wait::UpTo(Duration::ZERO);
    for mode in [Shared, Exclusive] {
        assert_eq!(
            kind(acquire(&word, mode, Wait::Now)),
            Some(ErrorKind::WouldBlock)
        );
        assert_eq!(
            kind(acquire(&word, mode, zero)),
            Some(ErrorKind::WouldBlock)
        );
    }
    release(&word, Exclusive);
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_hold_is_released_once() {
    let word = new_word();
    let mut first = Hold::acquire(&word, Shared, Wait::Now).unwrap();
    let mut second = Hold::acquire(&word, Shared, Wait::Now).unwrap();
    first.release(&word);
    first.release(&word);
    assert_eq!(word::state(&word), State::Readers(1));
    assert_eq!(holders::own(&word), Some(Shared));
    assert_eq!(second.mode(), Shared);
    second.release(&word);
    assert_eq!(bits(&word), 0);
    assert_eq!(holders::own(&word), None);
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let word = new_word();
    let order = Arc::new(Mutex::new(Vec::new()));
    acquire(&word, Exclusive, Wait::Now).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let (of_thread, order) = (Arc::clone(&word), Arc::clone(&order));
            let thread = spawn("waiter", move || {
                acquire(&of_thread, Exclusive, Wait::Forever).unwrap();
                order.lock().unwrap().push(number);
                release(&of_thread, Exclusive);
            });
            until_waiting(&word, number + 1);
            thread
        })
        .collect();
    release(&word, Exclusive);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bits(&word), 0);
}

#[test]
fn readers_that_wait_together_enter_together_and_only_up_to_the_next_writer() {
    let word = new_word();
    acquire(&word, Exclusive, Wait::Now).unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let leave = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for (number, mode) in [Shared, Shared, Exclusive, Shared].into_iter().enumerate() {
        let (of_thread, inside, leave) =
            (Arc::clone(&word), Arc::clone(&inside), Arc::clone(&leave));
        threads.push(spawn("waiter", move || {
            acquire(&of_thread, mode, Wait::Forever).unwrap();
            inside.fetch_add(1, Ordering::SeqCst);
            while !leave.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            release(&of_thread, mode);
        }));
        until_waiting(&word, number + 1);
    }
    release(&word, Exclusive);
    while inside.load(Ordering::SeqCst) != 2 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(waiting_for(&word), 2);
    assert_eq!(word::state(&word), State::Readers(2));
    leave.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_stream_of_readers_never_overtakes_a_waiting_writer() {
    let word = new_word();
    let done = Arc::new(AtomicBool::new(false));
    let overtakes = Arc::new(AtomicUsize::new(0));
    let running = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (word, done) = (Arc::clone(&word), Arc::clone(&done));
            let (overtakes, running) = (Arc::clone(&overtakes), Arc::clone(&running));
            spawn("reader", move || {
                running.fetch_add(1, Ordering::SeqCst);
                while !done.load(Ordering::SeqCst) {
                    // Whoever waits before the writer is done is the writer, or stands behind it.
                    let behind = waiting_for(&word) > 0 && !done.load(Ordering::SeqCst);
                    acquire(&word, Shared, Wait::Forever).unwrap();
                    if behind && !done.load(Ordering::SeqCst) {
                        overtakes.fetch_add(1, Ordering::SeqCst);
                    }
                    thread::yield_now();
                    release(&word, Shared);
                }
            })
        })
        .collect();
    while running.load(Ordering::SeqCst) < 4 {
        thread::yield_now();
    }
    acquire(&word, Exclusive, Wait::Forever).unwrap();
    done.store(true, Ordering::SeqCst);
    release(&word, Exclusive);
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(overtakes.load(Ordering::SeqCst), 0);
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_thread_that_reads_reads_again_past_a_waiting_writer_and_others_do_not() {
    let word = new_word();
    let mut hold = Hold::acquire(&word, Shared, Wait::Now).unwrap();
    let of_thread = Arc::clone(&word);
    let writer = spawn("writer", move || {
        acquire(&of_thread, Exclusive, Wait::Forever).unwrap();
        release(&of_thread, Exclusive);
    });
    until_waiting(&word, 1);
    let mut again = Hold::acquire(&word, Shared, Wait::Forever).unwrap();
    acquire(&word, Shared, Wait::Now).unwrap();
    let of_thread = Arc::clone(&word);
    let other = spawn("other", move || {
        kind(acquire(&of_thread, Shared, Wait::Now))
    });
    assert_eq!(other.join().unwrap(), Some(ErrorKind::WouldBlock));
    release(&word, Shared);
    again.release(&word);
    hold.release(&word);
    writer.join().unwrap();
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_wait_ends_no_earlier_than_its_limit_and_leaves_nothing_behind() {
    let word = new_word();
    acquire(&word, Exclusive, Wait::Now).unwrap();
    let (limit, start) = (Duration::from_millis(60), Instant::now());
    for mode in [Shared, Exclusive] {
        let fault = acquire(&word, mode, Wait::UpTo(limit)).unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::LockTimeout);
        let reason = error(fault).reason();
        let start = "timed out waiting for the file lock: waited ";
        let end = " s; held exclusively by a call in progress";
        assert!(
            reason.starts_with(start) && reason.ends_with(end),
            "{reason}"
        );
        assert_eq!(waiting_for(&word), 0);
    }
    assert!(start.elapsed() >= 2 * limit);
    release(&word, Exclusive);
    assert_eq!(bits(&word), 0);
}

#[test]
fn readers_behind_a_writer_that_gives_up_enter() {
    let word = new_word();
    acquire(&word, Shared, Wait::Now).unwrap();
    let of_thread = Arc::clone(&word);
    let writer = spawn("writer", move || {
        kind(acquire(
            &of_thread,
            Exclusive,
            Wait::UpTo(Duration::from_millis(300)),
        ))
    });
    until_waiting(&word, 1);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let of_thread = Arc::clone(&word);
            spawn("reader", move || acquire(&of_thread, Shared, Wait::Forever))
        })
        .collect();
    for reader in readers {
        reader.join().unwrap().unwrap();
    }
    assert_eq!(writer.join().unwrap(), Some(ErrorKind::LockTimeout));
    assert_eq!(word::state(&word), State::Readers(4));
    for _ in 0..4 {
        release(&word, Shared);
    }
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_message_says_who_holds_the_lock() {
    let word = new_word();
    assert_eq!(describe_holders(&word), "no longer held");
    let of_thread = Arc::clone(&word);
    let (mut hold, id) = spawn("loader-3", move || {
        let hold = Hold::acquire(&of_thread, Exclusive, Wait::Now).unwrap();
        (hold, holders::thread_id())
    })
    .join()
    .unwrap();
    let text = describe_holders(&word);
    let start = format!("held exclusively by thread \"loader-3\" (id {id}) for ");
    assert!(text.starts_with(&start) && text.ends_with(" s"), "{text}");
    hold.release(&word);

    let readers: Vec<_> = (0..3)
        .map(|number| {
            let word = Arc::clone(&word);
            spawn(&format!("reader-{number}"), move || {
                Hold::acquire(&word, Shared, Wait::Now)
            })
            .join()
            .unwrap()
            .unwrap()
        })
        .collect();
    let text = describe_holders(&word);
    let start = "held shared by 3 handles, the oldest by thread \"reader-";
    assert!(text.starts_with(start), "{text}");
    acquire(&word, Shared, Wait::Now).unwrap();
    let text = describe_holders(&word);
    let start = "held shared by 1 calls in progress and 3 handles, the oldest by thread \"reader-";
    assert!(text.starts_with(start), "{text}");
    release(&word, Shared);
    for mut reader in readers {
        reader.release(&word);
    }
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_message_tells_a_thread_that_it_waits_for_itself() {
    let word = new_word();
    let mut hold = Hold::acquire(&word, Shared, Wait::Now).unwrap();
    let limit = Wait::UpTo(Duration::from_millis(1));
    let text = error(acquire(&word, Exclusive, limit).unwrap_err()).to_string();
    assert!(text.ends_with(" s; this thread holds it itself"), "{text}");
    let of_thread = Arc::clone(&word);
    let other = spawn("other", move || describe_holders(&of_thread));
    assert!(!other.join().unwrap().contains("holds it itself"));
    hold.release(&word);
    assert_eq!(bits(&word), 0);
}

#[test]
fn waiting_forever_for_oneself_is_refused() {
    let word = new_word();
    for (held, wanted) in [
        (Exclusive, Exclusive),
        (Exclusive, Shared),
        (Shared, Exclusive),
    ] {
        let mut hold = Hold::acquire(&word, held, Wait::Now).unwrap();
        let fault = acquire(&word, wanted, Wait::Forever).unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::Deadlock);
        let reason = error(fault).reason();
        assert!(
            reason.ends_with("; this thread holds it itself"),
            "{reason}"
        );
        hold.release(&word);
    }
    assert_eq!(bits(&word), 0);
}

thread_local! {
    /// What the interrupt check does on this thread.
    static ON_CHECK: RefCell<Option<Box<dyn FnMut() -> bool>>> = const { RefCell::new(None) };
}

fn check_per_thread() -> bool {
    ON_CHECK.with_borrow_mut(|check| check.as_mut().is_some_and(|check| check()))
}

fn on_check(check: impl FnMut() -> bool + 'static) {
    set_interrupt_check(check_per_thread);
    ON_CHECK.set(Some(Box::new(check)));
}

#[test]
fn an_interrupted_waiter_leaves_and_the_others_keep_their_order() {
    let word = new_word();
    let order = Arc::new(Mutex::new(Vec::new()));
    let interrupt = Arc::new(AtomicBool::new(false));
    let checked = Arc::new(AtomicUsize::new(0));
    acquire(&word, Exclusive, Wait::Now).unwrap();
    let mut threads = Vec::new();
    for number in 0..5 {
        let (of_thread, order) = (Arc::clone(&word), Arc::clone(&order));
        let (interrupt, checked) = (Arc::clone(&interrupt), Arc::clone(&checked));
        threads.push(spawn("waiter", move || {
            on_check(move || {
                checked.fetch_add(1, Ordering::SeqCst);
                number == 2 && interrupt.load(Ordering::SeqCst)
            });
            let result = acquire(&of_thread, Exclusive, LONG);
            if result.is_ok() {
                order.lock().unwrap().push(number);
                release(&of_thread, Exclusive);
            }
            kind(result)
        }));
        until_waiting(&word, number + 1);
    }
    // Several checks that answer false must not cost anybody the place.
    while checked.load(Ordering::SeqCst) < 10 {
        thread::sleep(Duration::from_millis(1));
    }
    interrupt.store(true, Ordering::SeqCst);
    until_waiting(&word, 4);
    release(&word, Exclusive);
    let kinds: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    let interrupted = Some(ErrorKind::Interrupted);
    assert_eq!(kinds, [None, None, interrupted, None, None]);
    assert_eq!(*order.lock().unwrap(), [0, 1, 3, 4]);
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_lock_that_comes_during_the_interrupt_is_given_back() {
    let word = new_word();
    acquire(&word, Exclusive, Wait::Now).unwrap();
    let of_check = Arc::clone(&word);
    on_check(move || {
        release(&of_check, Exclusive);
        assert_eq!(
            word::state(&of_check),
            State::Writer,
            "granted to this wait"
        );
        true
    });
    let result = acquire(&word, Exclusive, Wait::Forever);
    assert_eq!(kind(result), Some(ErrorKind::Interrupted));
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_check_that_panics_leaves_no_ghost_in_the_queue() {
    let word = new_word();
    acquire(&word, Exclusive, Wait::Now).unwrap();
    on_check(|| panic!("the check fails"));
    let result = catch_unwind(AssertUnwindSafe(|| {
        acquire(&word, Exclusive, Wait::Forever)
    }));
    assert!(result.is_err());
    assert_eq!(waiting_for(&word), 0);
    release(&word, Exclusive);
    assert_eq!(bits(&word), 0);
}

#[test]
fn a_hold_is_released_by_another_thread_and_wakes_who_waits() {
    let word = new_word();
    let mut hold = Hold::acquire(&word, Exclusive, Wait::Now).unwrap();
    let of_thread = Arc::clone(&word);
    let waiter = spawn("waiter", move || acquire(&of_thread, Shared, Wait::Forever));
    until_waiting(&word, 1);
    let of_thread = Arc::clone(&word);
    spawn("closer", move || hold.release(&of_thread))
        .join()
        .unwrap();
    waiter.join().unwrap().unwrap();
    assert_eq!(holders::own(&word), None);
    release(&word, Shared);
    assert_eq!(bits(&word), 0);
}

#[test]
fn the_holds_of_an_ended_thread_keep_its_name() {
    let word = new_word();
    let of_thread = Arc::clone(&word);
    let mut hold = spawn("gone", move || {
        Hold::acquire(&of_thread, Exclusive, Wait::Now)
    })
    .join()
    .unwrap()
    .unwrap();
    for _ in 0..8 {
        let other = new_word();
        let run = move || Hold::acquire(&other, Shared, Wait::Now).map(|mut h| h.release(&other));
        spawn("later", run).join().unwrap().unwrap();
    }
    assert!(describe_holders(&word).contains("thread \"gone\""));
    hold.release(&word);
    assert_eq!(bits(&word), 0);
}

/// The child of a fork inherits a queue that another thread of the parent had locked.
#[cfg(unix)]
#[test]
fn a_forked_child_locks_files_of_its_own() {
    crate::base::fork::watch();
    let word = new_word();
    let mine = Note::new(&word, Shared);
    let locked = process::table().lock(&word);
    // SAFETY: the child takes file locks, which stand on futexes and on the allocator,
    // which is usable after fork, and leaves without running anything of the parent.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; the alarm ends a child that hangs.
        unsafe { libc::alarm(30) };
        let status = i32::from(!locks_after_fork(&word));
        // SAFETY: as above.
        unsafe { libc::_exit(status) };
    }
    drop(locked);
    mine.forget();
    let mut status = -1;
    // SAFETY: `status` is a valid place for the result.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

#[cfg(unix)]
fn locks_after_fork(word: &Word) -> bool {
    let Ok(mut hold) = Hold::acquire(word, Exclusive, Wait::Forever) else {
        return false;
    };
    let limit = Wait::UpTo(Duration::from_millis(1));
    let timed_out = kind(acquire(word, Shared, limit)) == Some(ErrorKind::LockTimeout);
    let noted = holders::own(word) == Some(Exclusive);
    hold.release(word);
    timed_out && noted && bits(word) == 0 && waiting() == 0
}

#[test]
fn sixteen_threads_lose_no_update() {
    const THREADS: u64 = 16;
    const ROUNDS: u64 = 1500;
    let word = new_word();
    // Read and written in two steps, so that a second writer would lose an update.
    let counter = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (word, counter) = (Arc::clone(&word), Arc::clone(&counter));
            spawn("stress", move || {
                let mut dice = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mut written = 0;
                for _ in 0..ROUNDS {
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    written += u64::from(one_round(&word, &counter, dice));
                }
                written
            })
        })
        .collect();
    let written: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert_eq!(counter.load(Ordering::SeqCst), written);
    assert!(written > 0);
    assert_eq!(bits(&word), 0);
    assert_eq!(waiting_for(&word), 0);
}

/// Takes the lock in some way and looks or writes. True: wrote.
fn one_round(word: &Word, counter: &AtomicU64, dice: u64) -> bool {
    let mode = if dice & 1 == 0 { Shared } else { Exclusive };
    let wait = match dice >> 1 & 3 {
        0 => Wait::Now,
        1 => Wait::UpTo(Duration::from_micros(dice >> 8 & 0xff)),
        2 => LONG,
        _ => Wait::Forever,
    };
    let as_handle = dice >> 3 & 1 == 0;
    let mut hold = None;
    let result = match as_handle {
        true => Hold::acquire(word, mode, wait).map(|taken| hold = Some(taken)),
        false => acquire(word, mode, wait),
    };
    if let Err(fault) = result {
        let kinds = [ErrorKind::WouldBlock, ErrorKind::LockTimeout];
        assert!(kinds.contains(&fault.kind()), "{fault:?}");
        return false;
    }
    let before = counter.load(Ordering::Relaxed);
    if dice >> 4 & 7 == 0 {
        thread::yield_now();
    }
    match mode {
        Shared => assert_eq!(counter.load(Ordering::Relaxed), before),
        Exclusive => counter.store(before + 1, Ordering::Relaxed),
    }
    match &mut hold {
        Some(hold) => hold.release(word),
        None => release(word, mode),
    }
    mode == Exclusive
}
