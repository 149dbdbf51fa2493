//! What is measured: a row of the table, its unit, and what brimfs has to reach.

use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::peer::{Done, Peer};

/// How much work each row does; `quick` is for trying things out.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub quick: bool,
}

impl Scale {
    pub fn pick(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thread CPU nanoseconds per operation.
    Nanos,
    /// Thread CPU microseconds per operation.
    Micros,
    /// Thread CPU milliseconds per operation.
    Millis,
    /// Bytes per nanosecond of thread CPU time; the work counted is bytes.
    GigabytesPerSecond,
    /// Operations per microsecond of wall time.
    MegaOps,
    /// Bytes per nanosecond of wall time, where a disk takes part; the work counted is bytes.
    DiskGigabytesPerSecond,
    /// Microseconds of wall time per operation, where a disk takes part.
    DiskMicros,
    /// Thousands of operations a second of wall time, where a disk takes part.
    DiskKiloOps,
    /// Bytes per file.
    Bytes,
}

impl Unit {
    pub fn value(self, watch: Stopwatch, work: u64) -> f64 {
        let (cpu, wall, work) = (watch.cpu_ns as f64, watch.wall_ns as f64, work as f64);
        match self {
            Self::Nanos => cpu / work,
            Self::Micros => cpu / work / 1e3,
            Self::Millis => cpu / work / 1e6,
            Self::GigabytesPerSecond => work / cpu,
            Self::MegaOps => work / wall * 1e3,
            Self::DiskGigabytesPerSecond => work / wall,
            Self::DiskMicros => wall / work / 1e3,
            Self::DiskKiloOps => work / wall * 1e6,
            Self::Bytes => work,
        }
    }

    pub fn higher_is_better(self) -> bool {
        matches!(
            self,
            Self::GigabytesPerSecond
                | Self::MegaOps
                | Self::DiskGigabytesPerSecond
                | Self::DiskKiloOps
        )
    }

    pub fn show(self, value: f64) -> String {
        match self {
            Self::Nanos => format!("{value:.0} ns"),
            Self::Micros if value < 10.0 => format!("{value:.2} µs"),
            Self::Micros => format!("{value:.0} µs"),
            Self::Millis => format!("{value:.2} ms"),
            Self::GigabytesPerSecond | Self::DiskGigabytesPerSecond => format!("{value:.2} GB/s"),
            Self::DiskMicros => format!("{value:.1} µs"),
            Self::DiskKiloOps => format!("{value:.1} k/s"),
            Self::MegaOps => format!("{value:.2} Mop/s"),
            Self::Bytes => format!("{value:.0} B"),
        }
    }
}

/// The figure that the subject has to reach.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
    /// This share of what the floor does.
    OfFloor(f64),
    /// No more than this many times what the floor takes.
    TimesFloor(f64),
    /// No more than this above what the floor takes.
    FloorPlus(f64),
    /// This many times better than the best peer.
    TimesPeer(f64),
    /// Better than the best peer.
    Ahead,
    /// Nothing was asked for: the figure is for comparing.
    Shown,
}

/// One round of a prepared row: runs the measured sections, returns how much work they did.
pub type Workload = Box<dyn FnMut(&mut Stopwatch) -> Done<u64>>;

pub type Prepare = fn(Arc<dyn Peer>, Scale) -> Done<Workload>;

#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What `--filter` matches.
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub reach: Reach,
    pub prepare: Prepare,
}
