//! Times of a node: nanoseconds, strictly increasing, eight bytes each.
//!
//! A time is kept as nanoseconds since 1970 in 64 bits, which reaches from
//! 1678 to 2262. Times beyond that are possible (`set_times` takes any second
//! that an `i64` counts): they are kept in the node's extras.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS: i128 = 1_000_000_000;
const DAY_NANOS: i64 = 86_400_000_000_000;

/// A point in time: seconds since 1970-01-01 00:00 UTC, and nanoseconds below a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds, rounded down; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds to add, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// Nanoseconds since 1970, which always fit 128 bits.
    #[must_use]
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    pub(crate) fn from_nanos(nanos: i64) -> Self {
        Timestamp {
            seconds: nanos.div_euclid(NANOS as i64),
            nanos: nanos.rem_euclid(NANOS as i64) as u32,
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        Timestamp {
            seconds: nanos.div_euclid(NANOS) as i64,
            nanos: nanos.rem_euclid(NANOS) as u32,
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let base = if time.seconds < 0 {
            UNIX_EPOCH.checked_sub(whole)
        } else {
            UNIX_EPOCH.checked_add(whole)
        };
        base.and_then(|base| base.checked_add(Duration::from_nanos(time.nanos.into())))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// New times for a node; `None` leaves a time as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTimes {
    /// Time of the last access.
    pub accessed: Option<Timestamp>,
    /// Time of the last change of the content.
    pub modified: Option<Timestamp>,
}

/// The four times of a node, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) accessed: i64,
    pub(crate) modified: i64,
    pub(crate) changed: i64,
    pub(crate) created: i64,
}

impl Times {
    pub(crate) fn new(now: i64) -> Self {
        Times {
            accessed: now,
            modified: now,
            changed: now,
            created: now,
        }
    }

    /// A time for a change now: later than that of the change before.
    #[inline]
    fn next(&self, now: i64) -> i64 {
        now.max(self.changed.saturating_add(1))
    }

    #[inline]
    pub(crate) fn content_changed(&mut self, now: i64) {
        let time = self.next(now);
        self.modified = time;
        self.changed = time;
    }

    #[inline]
    pub(crate) fn node_changed(&mut self, now: i64) {
        self.changed = self.next(now);
    }

    /// Whether a read now is to be noted: the first after a change, or the first in a day.
    #[inline]
    pub(crate) fn access_due(&self, now: i64) -> bool {
        self.accessed <= self.modified.max(self.changed)
            || now.saturating_sub(self.accessed) >= DAY_NANOS
    }

    #[inline]
    pub(crate) fn note_access(&mut self, now: i64) {
        self.accessed = now.max(self.modified.max(self.changed).saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_within_one_tick_get_different_times() {
        let mut times = Times::new(1000);
        times.content_changed(1000);
        let first = times.modified;
        times.content_changed(1000);
        assert!(first > 1000 && times.modified > first);
    }

    #[test]
    fn a_read_is_noted_once_per_change() {
        let mut times = Times::new(1000);
        assert!(times.access_due(1000));
        times.note_access(1000);
        assert!(!times.access_due(1001));
        times.content_changed(1001);
        assert!(times.access_due(1002));
        times.note_access(1002);
        assert!(times.access_due(1002 + 2 * DAY_NANOS));
    }

    #[test]
    fn timestamps_before_1970_round_down() {
        let time = Timestamp::from_nanos(-1);
        assert_eq!((time.seconds, time.nanos), (-1, 999_999_999));
        assert_eq!(time.as_nanos(), -1);
        assert_eq!(Timestamp::from(SystemTime::from(time)), time);
    }
}
