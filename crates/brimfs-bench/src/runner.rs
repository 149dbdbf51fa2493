//! Runs rows in interleaved rounds (A B C A B C …), so that a disturbance hits every candidate.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::memory;
use crate::peer::{Done, Failure, Peer};
use crate::peers::{Candidate, FLOOR, SUBJECT};
use crate::row::{Reach, Row, Scale, Unit, Workload};

/// Every round's value of one candidate, in the order of the rounds.
pub type Samples = Vec<f64>;

#[derive(Debug)]
pub struct Measured {
    pub id: &'static str,
    pub title: String,
    pub unit: Unit,
    pub reach: Reach,
    pub samples: BTreeMap<&'static str, Samples>,
}

impl Measured {
    pub fn median(&self, name: &str) -> Option<f64> {
        self.samples.get(name).and_then(|samples| median(samples))
    }

    /// The best candidate that is neither the subject nor the floor.
    pub fn best_peer(&self) -> Option<(&'static str, f64)> {
        let mut best: Option<(&'static str, f64)> = None;
        for &name in self
            .samples
            .keys()
            .filter(|&&name| name != SUBJECT && name != FLOOR)
        {
            let Some(value) = self.median(name) else {
                continue;
            };
            if best.is_none_or(|(_, other)| self.better(value, other)) {
                best = Some((name, value));
            }
        }
        best
    }

    /// How many times better the subject is than the best peer.
    pub fn ratio(&self) -> Option<f64> {
        let (subject, (_, peer)) = (self.median(SUBJECT)?, self.best_peer()?);
        Some(if self.unit.higher_is_better() {
            subject / peer
        } else {
            peer / subject
        })
    }

    /// Whether the subject reaches its figure; nothing where it was not measured.
    pub fn reached(&self) -> Option<bool> {
        let subject = self.median(SUBJECT)?;
        Some(match self.reach {
            Reach::AtMost(most) => subject <= most,
            Reach::AtLeast(least) => subject >= least,
            Reach::OfFloor(share) => subject >= share * self.median(FLOOR)?,
            Reach::TimesFloor(times) => subject <= times * self.median(FLOOR)?,
            Reach::FloorPlus(more) => subject <= more + self.median(FLOOR)?,
            Reach::TimesPeer(times) => self.ratio()? >= times,
            Reach::Ahead => self.ratio()? >= 1.0,
            Reach::Shown => return None,
        })
    }

    fn better(&self, value: f64, other: f64) -> bool {
        if self.unit.higher_is_better() {
            value > other
        } else {
            value < other
        }
    }
}

pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Measures one row with every candidate that supports it.
pub fn run(row: &Row, candidates: &[Candidate], rounds: usize, scale: Scale) -> Done<Measured> {
    let mut measured = Measured {
        id: row.id,
        title: row.title.to_owned(),
        unit: row.unit,
        reach: row.reach,
        samples: BTreeMap::new(),
    };
    let mut prepared: Vec<(&'static str, Workload)> = Vec::new();
    for candidate in candidates {
        if let Some(workload) = prepare(row, candidate, scale)? {
            prepared.push((candidate.name, workload));
        }
    }
    // The first round warms caches and arenas and is not counted.
    for round in 0..=rounds {
        for (name, workload) in &mut prepared {
            let mut watch = Stopwatch::default();
            let work = workload(&mut watch).map_err(|failure| named(name, row.id, failure))?;
            if round > 0 {
                let value = row.unit.value(watch, work);
                measured.samples.entry(name).or_default().push(value);
            }
        }
    }
    Ok(measured)
}

/// The workload of one candidate, nothing where the candidate cannot do what the row asks for.
fn prepare(row: &Row, candidate: &Candidate, scale: Scale) -> Done<Option<Workload>> {
    let attempt = || -> Done<Workload> {
        let peer: Arc<dyn Peer> = Arc::from((candidate.create)()?);
        let mut workload = (row.prepare)(peer, scale)?;
        // An unsupported operation shows in the first round at the latest.
        workload(&mut Stopwatch::default())?;
        Ok(workload)
    };
    match attempt() {
        Ok(workload) => Ok(Some(workload)),
        Err(Failure::Unsupported) => Ok(None),
        Err(failure) => Err(named(candidate.name, row.id, failure)),
    }
}

fn named(candidate: &str, row: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Unsupported => Failure::Error(format!("{candidate}: {row}: unsupported")),
        Failure::Error(text) => Failure::Error(format!("{candidate}: {row}: {text}")),
    }
}

/// The rows of a million small files: each candidate in a fresh process, round by round.
pub fn run_small_files(
    candidates: &[Candidate],
    rounds: usize,
    scale: Scale,
    wanted: impl Fn(&str) -> bool,
) -> Done<Vec<Measured>> {
    let mut rows: Vec<Measured> = memory::rows(scale);
    rows.retain(|row| wanted(row.id));
    if rows.is_empty() {
        return Ok(rows);
    }
    for _ in 0..rounds {
        for candidate in candidates {
            let figures = memory::in_child(candidate.name, memory::files(scale))?;
            for row in &mut rows {
                if let Some(value) = figures.get(row.id) {
                    row.samples.entry(candidate.name).or_default().push(*value);
                }
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(unit: Unit, reach: Reach, medians: &[(&'static str, f64)]) -> Measured {
        Measured {
            id: "row",
            title: "row".to_owned(),
            unit,
            reach,
            samples: medians
                .iter()
                .map(|&(name, value)| (name, vec![value]))
                .collect(),
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_floor_is_no_peer() {
        let row = measured(
            Unit::Nanos,
            Reach::Ahead,
            &[
                (SUBJECT, 100.0),
                (FLOOR, 10.0),
                ("vfs", 250.0),
                ("rsfs", 300.0),
            ],
        );
        assert_eq!(row.best_peer(), Some(("vfs", 250.0)));
        assert_eq!(row.ratio(), Some(2.5));
        assert_eq!(row.reached(), Some(true));
    }

    #[test]
    fn more_is_better_where_it_is() {
        let medians = [(SUBJECT, 6.0), (FLOOR, 8.0), ("vfs", 1.0), ("rsfs", 2.0)];
        let row = measured(Unit::GigabytesPerSecond, Reach::OfFloor(0.75), &medians);
        assert_eq!(row.best_peer(), Some(("rsfs", 2.0)));
        assert_eq!((row.ratio(), row.reached()), (Some(3.0), Some(true)));
        let row = measured(Unit::MegaOps, Reach::AtLeast(6.1), &medians);
        assert_eq!(row.reached(), Some(false));
        let row = measured(Unit::Nanos, Reach::AtMost(5.9), &medians);
        assert_eq!(row.reached(), Some(false));
    }

    #[test]
    fn a_disk_may_take_some_times_as_long_as_its_floor() {
        let medians = [(SUBJECT, 60.0), (FLOOR, 40.0), ("files", 90.0)];
        let reached = |reach| measured(Unit::DiskMicros, reach, &medians).reached();
        assert_eq!(reached(Reach::TimesFloor(1.5)), Some(true));
        assert_eq!(reached(Reach::TimesFloor(1.4)), Some(false));
        assert_eq!(reached(Reach::FloorPlus(20.0)), Some(true));
        assert_eq!(reached(Reach::FloorPlus(19.0)), Some(false));
        assert_eq!(reached(Reach::Shown), None);
        assert_eq!(reached(Reach::TimesPeer(1.5)), Some(true));
        assert_eq!(reached(Reach::TimesPeer(1.6)), Some(false));
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_missed() {
        let row = measured(Unit::Nanos, Reach::AtMost(1.0), &[("vfs", 1.0)]);
        assert_eq!((row.ratio(), row.reached()), (None, None));
    }
}
