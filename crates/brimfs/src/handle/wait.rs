//! How long a call waits, and what can end a wait early.
//!
//! Owns the process-wide interrupt check. Calls `base` alone.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::base::sync::thread;

/// How long a call may wait for something that another thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: the answer is [`ErrorKind::WouldBlock`](crate::ErrorKind::WouldBlock).
    Now,
    /// So long, then [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout). Zero means [`Wait::Now`].
    UpTo(Duration),
    /// Until it is free. A thread that waits for itself gets [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock).
    Forever,
}

/// Time between two interrupt checks of a waiting thread.
const CHECK_EVERY: Duration = Duration::from_millis(50);

static CHECK: OnceLock<fn() -> bool> = OnceLock::new();

/// Installs the function that waiting threads call about every 50 ms to learn
/// whether their wait is to end with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
///
/// It is called on the waiting thread, with no lock of this crate held, and
/// may itself call the filesystem. A wait that began before the installation
/// does not call it. A process has one such function: the first installation counts.
pub fn set_interrupt_check(check: fn() -> bool) {
    // The error of a second installation says what the documentation says.
    let _ = CHECK.set(check);
}

/// What a thread that parks in a loop has to look at between two parks.
#[derive(Debug)]
pub(crate) struct Patience {
    since: Instant,
    until: Option<Instant>,
    check: Option<(fn() -> bool, Instant)>,
}

impl Patience {
    /// Starts the clock. Without a limit, or with one past the end of time, it never runs out.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        let since = Instant::now();
        Patience {
            since,
            until: limit.and_then(|limit| since.checked_add(limit)),
            check: CHECK.get().map(|check| (*check, since + CHECK_EVERY)),
        }
    }

    /// Time since the wait began.
    pub(crate) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// Runs the interrupt check if its turn has come.
    pub(crate) fn interrupted(&mut self) -> bool {
        let Some((check, due)) = &mut self.check else {
            return false;
        };
        let now = Instant::now();
        if now < *due {
            return false;
        }
        let answer = check();
        *due = Instant::now() + CHECK_EVERY;
        answer
    }

    /// Parks until unparked, for no reason, or until something is due.
    #[cfg(not(feature = "shuttle"))]
    pub(crate) fn park(&self) {
        let check = self.check.map(|(_, due)| due);
        match self.until.into_iter().chain(check).min() {
            None => thread::park(),
            Some(due) => thread::park_timeout(due.saturating_duration_since(Instant::now())),
        }
    }

    /// Whether the limit has passed.
    #[cfg(not(feature = "shuttle"))]
    pub(crate) fn exhausted(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Shuttle has no time: a limited wait gives up at a moment that the schedule's dice choose.
#[cfg(feature = "shuttle")]
impl Patience {
    pub(crate) fn park(&self) {
        match self.until {
            None => thread::park(),
            Some(_) => thread::yield_now(),
        }
    }

    pub(crate) fn exhausted(&self) -> bool {
        use shuttle::rand::Rng;
        self.until.is_some() && shuttle::rand::thread_rng().gen_ratio(1, 4)
    }
}
