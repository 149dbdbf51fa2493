//! Why units are where they are: what the policy thinks of them, when and why they went.

use std::fmt;

use crate::memory::tier::{Location, Slot};
use crate::policy::{Explained, Queue};

use super::{Mover, split};

/// Why content left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum SpillCause {
    /// Memory was nearly full, and some was freed before anybody had to wait for it.
    Background = 0,
    /// Somebody needed memory at once and found none.
    Demand = 1,
    /// [`FileSystem::gc`](crate::FileSystem::gc) was called.
    Gc = 2,
    /// The memory limit was lowered, or counts for less while the machine is short of memory.
    Limit = 3,
}

impl SpillCause {
    pub(super) const ALL: [SpillCause; 4] = [
        SpillCause::Background,
        SpillCause::Demand,
        SpillCause::Gc,
        SpillCause::Limit,
    ];

    /// One word for programs: `background`, `demand`, `gc`, `limit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SpillCause::Background => "background",
            SpillCause::Demand => "demand",
            SpillCause::Gc => "gc",
            SpillCause::Limit => "limit",
        }
    }
}

impl fmt::Display for SpillCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SpillCause::Background => "memory was nearly full",
            SpillCause::Demand => "something else needed its memory at once",
            SpillCause::Gc => "gc was called",
            SpillCause::Limit => "the memory limit was lowered",
        })
    }
}

/// When and why memory was given up for a cold copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spill {
    /// On the wall clock, since 1970, in steps of a tenth of a second.
    pub(crate) nanos: i64,
    pub(crate) cause: SpillCause,
}

/// What the policy thinks of a unit in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ranking {
    /// With the boost, be it counted already or as soon as the policy looks.
    pub(crate) priority_counted: u8,
    pub(crate) accesses: u8,
    pub(crate) value: f64,
    pub(crate) left: f64,
    pub(crate) is_proven: bool,
}

impl Mover {
    /// What the policy thinks of a unit. O(1).
    pub(crate) fn ranking(&self, slot: Slot) -> Option<Ranking> {
        let Explained {
            priority_counted,
            priority_expected,
            accesses,
            value,
            left,
            queue,
            ..
        } = self.books.lock().explain(slot)?;
        Some(Ranking {
            priority_counted: priority_counted.max(priority_expected),
            accesses,
            value,
            left,
            is_proven: queue == Queue::Main,
        })
    }

    /// When and why the content at a location left memory last. O(1).
    pub(crate) fn spill(&self, location: Location) -> Option<Spill> {
        self.tickets.lock().spill(split(location).0)
    }
}
