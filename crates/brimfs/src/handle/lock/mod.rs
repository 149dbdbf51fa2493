//! The readers/writer lock of a file, as handles and whole-file calls take it.
//!
//! The inode embeds a word of four bytes; queues and holders live beside it, for
//! contended and for open files only. Waiters are served in the order in which
//! they came and are never overtaken, with one exception: a thread that holds
//! the shared lock through a handle gets it again at once, or it would wait for
//! a writer that waits for it. Calls `base` alone.
//!
//! Whoever passes a word keeps it alive and in place until the lock is released,
//! and touches no word that was locked before a fork in the child of that fork.

mod holders;
mod process;
mod queue;
mod ticket;
mod word;

#[cfg(all(test, not(feature = "shuttle")))]
mod cost;
#[cfg(all(test, feature = "shuttle"))]
mod schedules;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;

use std::time::Duration;

use super::wait::{Patience, Wait};
use crate::base::error::{ErrorKind, Fault};
use crate::base::lock_word::LockWord;
use holders::{Holders, Note, Seconds};
use queue::Ended;
pub(crate) use ticket::Ticket;
pub use ticket::at_once;
use word::State;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Beside other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// Takes the lock for the duration of a call. [`release`] gives it back.
///
/// # Errors
/// `WouldBlock` (for the message see [`describe_holders`]), `LockTimeout`,
/// `Deadlock` and `Interrupted`; the lock is not taken then.
#[inline]
pub(crate) fn acquire(word: &LockWord, mode: Mode, wait: Wait) -> Result<(), Fault> {
    if word::try_acquire(word, mode) {
        return Ok(());
    }
    acquire_contended(word, mode, wait)
}

/// Whether a shared lock could be had now, and nobody waits for the exclusive one.
#[inline]
pub(crate) fn is_readable(word: &LockWord) -> bool {
    word::is_readable(word)
}

/// Gives back what [`acquire`] took, on any thread.
#[inline]
pub(crate) fn release(word: &LockWord, mode: Mode) {
    if word::release(word, mode) && !ticket::regain(word, mode) {
        queue::hand_over(word);
    }
}

/// The lock as an open handle holds it: messages name the thread that took it.
///
/// Must be released; dropping it leaves the file locked.
#[must_use]
#[derive(Debug)]
pub(crate) struct Hold {
    /// `None` once released.
    note: Option<Note>,
    mode: Mode,
}

impl Hold {
    /// Takes the lock until [`Hold::release`]; errors as [`acquire`].
    #[inline]
    pub(crate) fn acquire(word: &LockWord, mode: Mode, wait: Wait) -> Result<Hold, Fault> {
        acquire(word, mode, wait)?;
        let note = Some(Note::new(word, mode));
        Ok(Hold { note, mode })
    }

    /// Gives the lock back, on any thread. The word is the one that was locked.
    /// A second call does nothing.
    #[inline]
    pub(crate) fn release(&mut self, word: &LockWord) {
        if let Some(note) = self.note.take() {
            // Forgotten first: nobody is told of a holder that has left, and no
            // thread takes itself for a reader that it no longer is.
            note.forget();
            release(word, self.mode);
        }
    }

    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }
}

/// The number of threads of the process that wait for a file lock now, and of tickets.
pub(crate) fn waiting() -> usize {
    process::table().waiting()
}

/// Who holds the lock and for how long, for the message of an error.
#[cold]
pub(crate) fn describe_holders(word: &LockWord) -> String {
    let holders = Holders::of(word);
    let mut text = match word::state(word) {
        State::Free => "no longer held".to_owned(),
        State::Writer => format!("held exclusively by {holders}"),
        State::Readers(readers) => match (holders.shared, readers.saturating_sub(holders.shared)) {
            (0, _) | (1, 0) => format!("held shared by {holders}"),
            (handles, 0) => format!("held shared by {handles} handles, the oldest by {holders}"),
            (handles, calls) => format!(
                "held shared by {calls} calls in progress and {handles} handles, \
                 the oldest by {holders}"
            ),
        },
    };
    match process::table().waiting_for(word) {
        0 => {}
        1 => text.push_str("; 1 thread waits for it"),
        waiting => text.push_str(&format!("; {waiting} threads wait for it")),
    }
    if holders::own(word).is_some() {
        text.push_str("; this thread holds it itself");
    }
    text
}

#[cold]
fn acquire_contended(word: &LockWord, mode: Mode, wait: Wait) -> Result<(), Fault> {
    if ticket::take_lent(word, mode) {
        return Ok(());
    }
    if ticket::is_at_once() {
        return Err(ErrorKind::WouldBlock.into());
    }
    let own = holders::own(word);
    if mode == Mode::Shared && own == Some(Mode::Shared) && word::join_readers(word) {
        return Ok(());
    }
    let limit = match wait {
        Wait::Now | Wait::UpTo(Duration::ZERO) => return Err(ErrorKind::WouldBlock.into()),
        Wait::UpTo(limit) => Some(limit),
        Wait::Forever if own.is_some_and(|own| conflict(own, mode)) => {
            return Err(Fault::text(ErrorKind::Deadlock, describe_holders(word)));
        }
        Wait::Forever => None,
    };
    let mut patience = Patience::new(limit);
    match queue::wait(word, mode, &mut patience) {
        Ended::Granted => Ok(()),
        Ended::Interrupted => Err(ErrorKind::Interrupted.into()),
        Ended::TimedOut => {
            let waited = Seconds(patience.waited());
            let holders = describe_holders(word);
            let text = format!("waited {waited}; {holders}");
            Err(Fault::text(ErrorKind::LockTimeout, text))
        }
    }
}

fn conflict(a: Mode, b: Mode) -> bool {
    a == Mode::Exclusive || b == Mode::Exclusive
}
