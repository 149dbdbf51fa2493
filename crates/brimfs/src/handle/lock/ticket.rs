//! Waiting for a lock without a thread: a place in its queue that somebody is told of, and calls
//! that wait for no lock at all.
//!
//! An event loop has one thread for many tasks, so none of them may wait in it, and that thread
//! says nothing about which of them holds what.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use super::queue::{Place, Wake, key, regrant};
use super::{Mode, release, word};
use crate::base::fork;
use crate::base::lock_word::LockWord;
use crate::base::sync::thread_local;

/// What a call of this thread does about a lock that is not free.
#[derive(Clone, Copy)]
enum Rule {
    Wait,
    /// It answers `WouldBlock`, but for a lock that is held for it.
    AtOnce(Option<Loan>),
}

/// A lock that is held for a call, which may take it and give it back several times.
#[derive(Clone, Copy)]
struct Loan {
    key: usize,
    mode: Mode,
    /// The call has it: it is the call's to give back. Only of an exclusive one.
    taken: bool,
}

thread_local! {
    static RULE: Cell<Rule> = const { Cell::new(Rule::Wait) };
}

/// Puts the rule back that was there before.
struct Restore(Rule);

impl Restore {
    fn change(rule: Rule) -> Self {
        Restore(RULE.with(|cell| cell.replace(rule)))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        RULE.with(|cell| cell.set(self.0));
    }
}

/// Runs a call that waits for no file lock, whatever it was told: it answers `WouldBlock` instead.
///
/// It is nobody's either: a shared lock that this thread holds does not let it pass those who wait.
pub fn at_once<R>(call: impl FnOnce() -> R) -> R {
    let _restore = Restore::change(Rule::AtOnce(None));
    call()
}

/// Whether this thread must not wait for locks now.
pub(super) fn is_at_once() -> bool {
    RULE.with(|cell| matches!(cell.get(), Rule::AtOnce(_)))
}

/// Changes what is said of this lock, if it is held for the call of this thread.
fn with_loan(word: &LockWord, mode: Mode, change: impl FnOnce(&mut Loan) -> bool) -> bool {
    RULE.with(|cell| match cell.get() {
        Rule::AtOnce(Some(mut loan)) if (loan.key, loan.mode) == (key(word), mode) => {
            let answer = change(&mut loan);
            cell.set(Rule::AtOnce(Some(loan)));
            answer
        }
        _ => false,
    })
}

/// Takes the lock if it is held for this call.
pub(super) fn take_lent(word: &LockWord, mode: Mode) -> bool {
    with_loan(word, mode, |loan| match mode {
        // One more reader beside the one that is lent.
        Mode::Shared => word::join_readers(word),
        Mode::Exclusive => !std::mem::replace(&mut loan.taken, true),
    })
}

/// Gets the lock back that was lent to this call, which has given it back although others wait: it may
/// want it again. The caller has just released it.
#[cold]
pub(super) fn regain(word: &LockWord, mode: Mode) -> bool {
    with_loan(word, mode, |loan| {
        if loan.taken && regrant(word, mode) {
            loan.taken = false;
        }
        mode == Mode::Exclusive && !loan.taken
    })
}

/// A place in the queue of a lock, as a thread's, but that no thread parks in it. Dropping it leaves
/// the queue, or gives the lock back that was granted to it.
pub(crate) struct Ticket<W: Deref<Target = LockWord>> {
    /// `None` once used.
    place: Option<Place<W>>,
    generation: u32,
}

impl<W: Deref<Target = LockWord>> Ticket<W> {
    /// Joins the end of the queue; a lock that is free is granted at once. `wake` is called when it is
    /// granted later, on the thread that gives it back: it must neither wait nor use a lock of a file.
    pub(crate) fn take(word: W, mode: Mode, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Ticket {
            place: Some(Place::take(word, mode, Wake::Call(wake))),
            generation: fork::generation(),
        }
    }

    pub(crate) fn is_granted(&self) -> bool {
        self.place.as_ref().is_some_and(Place::granted)
    }

    /// Runs a call as [`at_once`] does, which finds this lock free if it was granted. What it does not
    /// take is given back afterwards.
    pub(crate) fn lend<R>(mut self, call: impl FnOnce() -> R) -> R {
        let inherited = self.generation != fork::generation();
        let granted = self.place.take_if(|place| !inherited && place.granted());
        let Some((word, mode)) = granted.and_then(Place::leave_with) else {
            drop(self);
            return at_once(call);
        };
        let loan = Loan {
            key: key(&word),
            mode,
            taken: false,
        };
        let _restore = Restore::change(Rule::AtOnce(Some(loan)));
        // Dropped before the rule is put back, which says whether the call has the lock.
        let _lent = Lent { word, mode };
        call()
    }
}

impl<W: Deref<Target = LockWord>> Drop for Ticket<W> {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // The place is in a queue of the parent.
            std::mem::forget(self.place.take());
        }
    }
}

impl<W: Deref<Target = LockWord>> fmt::Debug for Ticket<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let granted = self.is_granted();
        f.debug_struct("Ticket").field("granted", &granted).finish()
    }
}

/// A lock that is held for the call that runs.
struct Lent<W: Deref<Target = LockWord>> {
    word: W,
    mode: Mode,
}

impl<W: Deref<Target = LockWord>> Drop for Lent<W> {
    fn drop(&mut self) {
        let is_mine = with_loan(&self.word, self.mode, |loan| !loan.taken);
        RULE.with(|cell| cell.set(Rule::AtOnce(None)));
        if is_mine {
            release(&self.word, self.mode);
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    use super::super::Mode::{Exclusive, Shared};
    use super::super::{Hold, acquire, process, waiting};
    use super::*;
    use crate::base::error::ErrorKind;
    use crate::handle::wait::Wait;

    const LONG: Wait = Wait::UpTo(Duration::from_secs(600));

    type Word = Arc<LockWord>;

    fn queue(word: &Word, mode: Mode) -> (Ticket<Word>, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let wake = move || {
            counter.fetch_add(1, Ordering::SeqCst);
        };
        (Ticket::take(word.clone(), mode, Box::new(wake)), calls)
    }

    fn is_idle(word: &Word) -> bool {
        word.0.load(Ordering::SeqCst) == 0 && process::table().waiting_for(word) == 0
    }

    fn blocked(result: Result<(), crate::base::error::Fault>) -> bool {
        result.is_err_and(|fault| fault.kind() == ErrorKind::WouldBlock)
    }

    #[test]
    fn a_ticket_is_granted_in_its_turn_and_tells_once() {
        let word = Word::default();
        acquire(&word, Exclusive, Wait::Now).unwrap();
        let (first, first_calls) = queue(&word, Exclusive);
        let (second, second_calls) = queue(&word, Shared);
        assert!(!first.is_granted());
        assert_eq!(process::table().waiting_for(&word), 2);
        release(&word, Exclusive);
        assert!(first.is_granted() && !second.is_granted());
        let held = first.lend(|| Hold::acquire(&word, Exclusive, LONG));
        held.unwrap().release(&word);
        assert!(second.is_granted());
        drop(second);
        assert_eq!(first_calls.load(Ordering::SeqCst), 1);
        assert_eq!(second_calls.load(Ordering::SeqCst), 1);
        assert!(is_idle(&word));
    }

    #[test]
    fn a_ticket_for_a_free_lock_has_it_and_tells_nobody() {
        let word = Word::default();
        let (ticket, calls) = queue(&word, Shared);
        assert!(ticket.is_granted());
        assert!(blocked(acquire(&word, Exclusive, Wait::Now)));
        drop(ticket);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        assert!(is_idle(&word));
    }

    #[test]
    fn a_ticket_that_is_dropped_lets_those_behind_it_in() {
        let word = Word::default();
        acquire(&word, Shared, Wait::Now).unwrap();
        let (writer, _) = queue(&word, Exclusive);
        let (reader, calls) = queue(&word, Shared);
        assert!(!reader.is_granted());
        drop(writer);
        assert!(reader.is_granted());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        drop(reader);
        release(&word, Shared);
        assert!(is_idle(&word));
    }

    #[test]
    fn what_a_call_does_not_take_is_given_back() {
        let (word, other) = (Word::default(), Word::default());
        acquire(&other, Exclusive, Wait::Now).unwrap();
        for mode in [Shared, Exclusive] {
            let (ticket, _) = queue(&word, mode);
            ticket.lend(|| assert!(blocked(acquire(&other, mode, LONG))));
            assert!(is_idle(&word));
        }
        let (ticket, _) = queue(&word, Exclusive);
        ticket.lend(|| {
            acquire(&word, Exclusive, LONG).unwrap();
            assert!(blocked(acquire(&word, Exclusive, LONG)), "it is lent once");
        });
        assert!(
            blocked(acquire(&word, Shared, Wait::Now)),
            "the call kept it"
        );
        release(&word, Exclusive);
        let (waiting, _) = queue(&other, Shared);
        waiting.lend(|| assert!(blocked(acquire(&other, Shared, LONG))));
        release(&other, Exclusive);
        assert!(is_idle(&word) && is_idle(&other));
    }

    #[test]
    fn a_call_takes_its_lock_as_often_as_it_likes_before_others() {
        let word = Word::default();
        for mode in [Shared, Exclusive] {
            let (ticket, _) = queue(&word, mode);
            let (behind, _) = queue(&word, Exclusive);
            ticket.lend(|| {
                for _ in 0..3 {
                    acquire(&word, mode, Wait::Now).unwrap();
                    release(&word, mode);
                    assert!(!behind.is_granted());
                }
            });
            assert!(behind.is_granted());
            drop(behind);
            assert!(is_idle(&word));
        }
    }

    #[test]
    fn a_call_at_once_waits_for_nothing_and_overtakes_nobody() {
        let word = Word::default();
        let mut held = Hold::acquire(&word, Shared, Wait::Now).unwrap();
        let (writer, _) = queue(&word, Exclusive);
        for wait in [Wait::Forever, LONG, Wait::Now] {
            at_once(|| assert!(blocked(acquire(&word, Shared, wait))));
            at_once(|| assert!(blocked(acquire(&word, Exclusive, wait))));
        }
        acquire(&word, Shared, LONG).expect("afterwards the thread joins itself again");
        release(&word, Shared);
        held.release(&word);
        assert!(writer.is_granted());
        drop(writer);
        assert!(is_idle(&word));
    }

    #[test]
    fn threads_and_tickets_take_turns() {
        let word = Word::default();
        acquire(&word, Exclusive, Wait::Now).unwrap();
        let (order, turns) = mpsc::channel();
        let (ticket, _) = queue(&word, Exclusive);
        let (name, theirs) = (order.clone(), word.clone());
        let thread = thread::spawn(move || {
            acquire(&theirs, Exclusive, LONG).unwrap();
            name.send("thread").unwrap();
            release(&theirs, Exclusive);
        });
        while process::table().waiting_for(&word) != 2 {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(waiting() >= 2);
        release(&word, Exclusive);
        ticket.lend(|| {
            acquire(&word, Exclusive, LONG).unwrap();
            order.send("ticket").unwrap();
            release(&word, Exclusive);
        });
        thread.join().unwrap();
        assert_eq!(
            turns.try_iter().collect::<Vec<_>>(),
            vec!["ticket", "thread"]
        );
        assert!(is_idle(&word));
    }
}
