//! The machine's own memory: what shares are shares of, and the check before large growth.
//!
//! A limit says what a filesystem may take, not what the machine can give.
//! Before a large reservation the guard looks at what is really available.

use std::sync::OnceLock;
use std::time::Duration;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault, LimitInfo};
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::io::host_memory;
use crate::memory::budget::Budget;
use crate::memory::ledger::Ledger;

/// Smaller reservations are not checked, in bytes.
const LARGE: u64 = 1 << 20;
/// What the machine has available is asked at most this often.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Kept free for everybody else: below it the machine counts as short of memory, in bytes.
const RESERVE: u64 = 64 << 20;
/// The machine is short of memory if threads waited for it in this share of the time, in percent.
const STALLED: f64 = 10.0;
/// What is given up at once where threads wait for memory though some is available: one part in so many.
const STALLED_SHARE: u64 = 16;
/// Time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// What happens when the machine has less memory available than a large write needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GuardAction {
    /// Nothing: it is not looked at.
    Off,
    /// A warning, at most one a second, through [`set_guard_warning`].
    #[default]
    Warn,
    /// The write fails with [`ErrorKind::MemoryGuard`].
    Refuse,
}

/// What the memory guard saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardWarning {
    /// Bytes that a write is about to take.
    pub requested: u64,
    /// Bytes that the machine has available, 64 MiB for others put aside.
    pub available: u64,
}

static WARNING: OnceLock<fn(GuardWarning)> = OnceLock::new();

/// Installs what is called when the memory guard warns, in place of a line on standard error.
///
/// It is called on the writing thread, possibly with a file's lock held: it must not call the
/// filesystem. A process has one such function: the first installation counts.
pub fn set_guard_warning(warn: fn(GuardWarning)) {
    // The error of a second installation says what the documentation says.
    let _ = WARNING.set(warn);
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Guard {
    action: GuardAction,
}

/// Available bytes as of the last look, less what was reserved since.
static AVAILABLE: AtomicU64 = AtomicU64::new(u64::MAX);
static ASKED_AT: AtomicU64 = AtomicU64::new(0);
static WARNED_AT: AtomicU64 = AtomicU64::new(0);

impl Guard {
    pub(crate) fn new(action: GuardAction) -> Self {
        Guard { action }
    }

    /// To be called before `bytes` are reserved.
    #[inline]
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Fault> {
        if bytes < LARGE || self.action == GuardAction::Off {
            return Ok(());
        }
        self.check_large(bytes)
    }

    #[cold]
    fn check_large(&self, bytes: u64) -> Result<(), Fault> {
        let available = available_now().saturating_sub(RESERVE);
        if bytes <= available {
            let less = |known: u64| Some(known.saturating_sub(bytes));
            // Always succeeds: the closure never declines.
            let _ = AVAILABLE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            return Ok(());
        }
        match self.action {
            GuardAction::Refuse => Err(Fault::limit(
                ErrorKind::MemoryGuard,
                LimitInfo {
                    requested: bytes,
                    used: 0,
                    limit: available,
                },
            )),
            _ => {
                warn(GuardWarning {
                    requested: bytes,
                    available,
                });
                Ok(())
            }
        }
    }
}

/// How short the machine is of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// There is plenty.
    No,
    /// No more should be taken, and no less has to be given up.
    Near,
    /// So many bytes should be given up.
    By(u64),
}

/// How short the machine, or the process's control group, is of memory now; `held` is what could be
/// given up, in bytes. Reads procfs: for threads that work in the background.
pub(crate) fn shortage(held: u64) -> Shortage {
    let available = host_memory::available().unwrap_or(u64::MAX);
    let stalled = host_memory::stalled().unwrap_or(0.0);
    shortage_of(held, available, stalled)
}

fn shortage_of(held: u64, available: u64, stalled: f64) -> Shortage {
    let missing = RESERVE.saturating_sub(available);
    let step = if stalled >= STALLED {
        held / STALLED_SHARE
    } else {
        0
    };
    match missing.max(step).min(held) {
        0 if available < 2 * RESERVE || stalled >= STALLED / 2.0 => Shortage::Near,
        0 => Shortage::No,
        bytes => Shortage::By(bytes),
    }
}

fn due(last: &AtomicU64, every: Duration) -> bool {
    let now = clock::monotonic().as_millis() as u64 + 1;
    let before = last.load(Ordering::Relaxed);
    let is_due = before == 0 || now.saturating_sub(before) >= every.as_millis() as u64;
    is_due
        && last
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

fn available_now() -> u64 {
    if due(&ASKED_AT, ASK_EVERY) {
        // Unknown counts as plenty.
        let available = host_memory::available().unwrap_or(u64::MAX);
        AVAILABLE.store(available, Ordering::Relaxed);
    }
    AVAILABLE.load(Ordering::Relaxed)
}

fn warn(warning: GuardWarning) {
    if !due(&WARNED_AT, WARN_EVERY) {
        return;
    }
    match WARNING.get() {
        Some(report) => report(warning),
        None => eprintln!(
            "brimfs: a write needs {} bytes and the machine has {} available",
            warning.requested, warning.available
        ),
    }
}

/// User and group of this process.
pub(crate) fn process_owner() -> (u32, u32) {
    host_memory::process_owner()
}

/// A new budget of this share of the machine. All of them together draw on what the machine has.
pub(crate) fn share_of_machine(share: f64) -> Result<Budget, Fault> {
    static MACHINE: OnceLock<Option<Arc<Ledger>>> = OnceLock::new();
    let machine = MACHINE.get_or_init(|| {
        let total = host_memory::total()?;
        Some(Arc::new(Ledger::new(total, ErrorKind::MemoryLimit)))
    });
    let machine = machine.as_ref().ok_or_else(|| {
        Fault::text(
            ErrorKind::Unsupported,
            "the machine does not say how much memory it has; give the limit in bytes",
        )
    })?;
    let limit = (machine.limit() as f64 * share) as u64;
    Ok(Budget::within(limit, machine))
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// More than any machine has.
    const TOO_MUCH: u64 = 1 << 50;

    #[test]
    fn a_large_reservation_beyond_the_machine_is_refused_if_asked_for() {
        if host_memory::available().is_none() {
            println!("skipped: this machine does not say how much memory is available");
            return;
        }
        let guard = Guard::new(GuardAction::Refuse);
        let fault = guard
            .check(TOO_MUCH)
            .expect_err("no machine has a pebibyte");
        assert_eq!(fault.kind(), ErrorKind::MemoryGuard);
        let message = fault.during("write").to_string();
        assert!(
            message.contains("1125899906842624 more needed"),
            "{message}"
        );
    }

    #[test]
    fn small_reservations_and_a_guard_that_is_off_are_let_through() {
        let small = Guard::new(GuardAction::Refuse).check(LARGE - 1);
        let off = Guard::new(GuardAction::Off).check(TOO_MUCH);
        assert!(small.is_ok() && off.is_ok());
    }

    #[test]
    fn a_warning_is_given_once_a_second_and_lets_the_write_through() {
        static WARNINGS: AtomicU64 = AtomicU64::new(0);
        set_guard_warning(|warning| {
            assert_eq!(warning.requested, TOO_MUCH);
            WARNINGS.fetch_add(1, Ordering::Relaxed);
        });
        let guard = Guard::new(GuardAction::Warn);
        assert!((0..100).all(|_| guard.check(TOO_MUCH).is_ok()));
        if host_memory::available().is_some() {
            assert!((1..100).contains(&WARNINGS.load(Ordering::Relaxed)));
        }
    }

    #[test]
    fn a_machine_that_is_short_is_given_what_it_lacks() {
        const HELD: u64 = 1 << 30;
        assert_eq!(shortage_of(HELD, u64::MAX, 0.0), Shortage::No);
        assert_eq!(shortage_of(HELD, RESERVE + 1, 0.0), Shortage::Near);
        assert_eq!(shortage_of(HELD, u64::MAX, 5.0), Shortage::Near);
        assert_eq!(
            shortage_of(HELD, RESERVE / 4, 0.0),
            Shortage::By(RESERVE / 4 * 3)
        );
        assert_eq!(shortage_of(HELD, u64::MAX, 10.0), Shortage::By(HELD / 16));
        assert_eq!(shortage_of(1000, 0, 0.0), Shortage::By(1000));
        assert_eq!(shortage_of(0, 0, 99.0), Shortage::Near);
    }

    #[test]
    fn all_shares_together_are_one_machine() {
        let (Ok(first), Ok(second)) = (share_of_machine(1.0), share_of_machine(1.0)) else {
            println!("skipped: this machine does not say how much memory it has");
            return;
        };
        let most = first.limit() / 10 * 9;
        first.reserve(most).expect("nine tenths of a machine");
        let fault = second
            .reserve(most)
            .expect_err("there is no second machine");
        assert_eq!(fault.kind(), ErrorKind::MemoryLimit);
        assert!(second.spare() < most);
        first.release(most);
        second.reserve(most).expect("it is free again");
        second.release(most);
    }
}
