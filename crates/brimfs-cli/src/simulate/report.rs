//! What `brimfs simulate` prints: aligned tables, or JSON.

use std::fmt::Write;
use std::path::Path;

use brimfs::face::policy::SWAP_IN_COST_DEFAULT;
use serde::Serialize;

use crate::simulate::published::{self, Figure};
use crate::simulate::replay::{Measured, Ratios};
use crate::trace::Trace;

/// The published policies that are shown; the best of all others is shown beside them.
const NAMED: [&str; 7] = [
    "LRU",
    "SIEVE",
    "S3-FIFO",
    "GDSF",
    "W-TinyLFU",
    "LIRS",
    "ARC",
];

/// The replays of one trace.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    trace: String,
    requests: usize,
    objects: usize,
    /// The sizes of all objects together, in bytes.
    footprint: u64,
    /// Whether all objects are of one size; then the object miss ratio says everything.
    uniform: bool,
    swap_in_cost: u64,
    results: Vec<Measured>,
    /// The best published policy at each size, if this is a known trace.
    best_published: Vec<Best>,
    #[serde(skip)]
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Best {
    size: &'static str,
    policy: &'static str,
    /// Cost miss ratio; object miss ratio where all objects are alike.
    ratio: f64,
}

impl Report {
    pub(crate) fn new(
        path: &Path,
        trace: &Trace,
        swap_in_cost: u64,
        results: Vec<Measured>,
    ) -> Report {
        let uniform = trace.is_uniform();
        // Published costs are of one swap-in cost; without sizes it does not matter.
        let comparable = uniform || swap_in_cost == SWAP_IN_COST_DEFAULT;
        let name = published::name_of(trace).filter(|_| comparable);
        let figures = name.map_or_else(Vec::new, published::figures);
        let mut report = Report {
            trace: path.display().to_string(),
            requests: trace.requests.len(),
            objects: trace.objects.len(),
            footprint: trace.footprint(),
            uniform,
            swap_in_cost,
            results,
            best_published: Vec::new(),
            figures,
        };
        let best = report.sizes().into_iter().filter_map(|size| {
            let best = published::best(&report.figures, size)?;
            Some(Best {
                size: best.size,
                policy: best.policy,
                ratio: best.decisive(),
            })
        });
        report.best_published = best.collect();
        report
    }

    /// The sizes that were replayed, each once, in order.
    fn sizes(&self) -> Vec<&str> {
        let mut sizes: Vec<&str> = Vec::new();
        for cell in &self.results {
            if !sizes.contains(&cell.size.as_str()) {
                sizes.push(&cell.size);
            }
        }
        sizes
    }

    /// The policies that were replayed, each once, in order.
    fn policies(&self) -> Vec<&'static str> {
        let mut policies = Vec::new();
        for cell in &self.results {
            if !policies.contains(&cell.policy) {
                policies.push(cell.policy);
            }
        }
        policies
    }

    fn cell(&self, policy: &str, size: &str) -> Option<&Measured> {
        let mut cells = self.results.iter();
        cells.find(|cell| cell.policy == policy && cell.size == size)
    }

    fn ratios(&self, object: f64, byte: f64, cost: f64) -> String {
        if self.uniform {
            format!("{object:.4}")
        } else {
            format!("{object:.4} / {byte:.4} / {cost:.4}")
        }
    }

    fn decisive(&self, ratios: &Ratios) -> f64 {
        if self.uniform {
            ratios.object
        } else {
            ratios.cost
        }
    }

    /// A row with a text for each size.
    fn row(&self, title: &str, cell: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let cells = self.sizes().into_iter();
        let cells = cells.map(|size| cell(size).unwrap_or_else(|| "-".to_owned()));
        std::iter::once(title.to_owned()).chain(cells).collect()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}: {} requests, {} objects, footprint {} bytes\n",
            self.trace, self.requests, self.objects, self.footprint
        );
        let cells = if self.uniform {
            "object miss ratio (all objects are of one size)".to_owned()
        } else {
            let cost = self.swap_in_cost;
            format!("object / byte / cost miss ratio; a miss costs {cost} bytes and its own")
        };
        let _ = writeln!(text, "{cells}\n");
        text += &table(&self.miss_ratios());
        if self.results.iter().any(|cell| cell.weighted.is_some()) {
            text += "\nwith priorities: weighted cost miss ratio without -> with, and what that does to \
                     the plain cost\n\n";
            text += &table(&self.weighted());
        }
        if self.results.iter().any(|cell| cell.with_writes.is_some()) {
            text += "\nwith writes: cost of misses and of writing back, the policy not told what is dirty -> \
                     told\n\n";
            text += &table(&self.with_writes());
        }
        text
    }

    fn miss_ratios(&self) -> Vec<Vec<String>> {
        let mut rows = vec![self.row("policy", |size| Some(size.to_owned()))];
        for policy in self.policies() {
            rows.push(self.row(policy, |size| {
                let ratios = self.cell(policy, size)?.ratios;
                Some(self.ratios(ratios.object, ratios.byte, ratios.cost))
            }));
        }
        if self.best_published.is_empty() {
            return rows;
        }
        for name in NAMED {
            let title = format!("published {name}");
            rows.push(self.row(&title, |size| {
                let is = |figure: &&Figure| figure.policy == name && figure.size == size;
                let figure = self.figures.iter().find(is)?;
                let (byte, cost) = figure.sized.map_or((0.0, 0.0), |s| (s.byte, s.cost));
                Some(self.ratios(figure.object, byte, cost))
            }));
        }
        let best = |size: &str| self.best_published.iter().find(|best| best.size == size);
        rows.push(self.row("best published", |size| {
            let best = best(size)?;
            Some(format!("{} {:.4}", best.policy, best.ratio))
        }));
        for policy in self.policies() {
            let title = format!("{policy} against it");
            rows.push(self.row(&title, |size| {
                let ours = self.decisive(&self.cell(policy, size)?.ratios);
                Some(percent(ours, best(size)?.ratio))
            }));
        }
        rows
    }

    fn weighted(&self) -> Vec<Vec<String>> {
        let mut rows = vec![self.row("policy", |size| Some(size.to_owned()))];
        for policy in self.policies() {
            rows.push(self.row(policy, |size| {
                let cell = self.cell(policy, size)?;
                let (without, with) = (cell.ratios, cell.weighted?);
                Some(format!(
                    "{:.4} -> {:.4} ({}), plain {}",
                    without.weighted_cost,
                    with.weighted_cost,
                    percent(with.weighted_cost, without.weighted_cost),
                    percent(self.decisive(&with), self.decisive(&without)),
                ))
            }));
        }
        rows
    }
}

impl Report {
    fn with_writes(&self) -> Vec<Vec<String>> {
        let mut rows = vec![self.row("policy", |size| Some(size.to_owned()))];
        for policy in self.policies() {
            rows.push(self.row(policy, |size| {
                let cost = self.cell(policy, size)?.with_writes?;
                let change = percent(cost.told, cost.not_told);
                Some(format!(
                    "{:.4} -> {:.4} ({change})",
                    cost.not_told, cost.told
                ))
            }));
        }
        rows
    }
}

/// How far `value` is from `base`.
fn percent(value: f64, base: f64) -> String {
    if base > 0.0 {
        format!("{:+.1} %", (value / base - 1.0) * 100.0)
    } else {
        "-".to_owned()
    }
}

/// Columns as wide as their widest cell: the first to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

/// All reports as tables.
pub(crate) fn text(reports: &[Report]) -> String {
    let texts: Vec<String> = reports.iter().map(Report::text).collect();
    texts.join("\n")
}

/// All reports as a JSON array with one object per trace.
pub(crate) fn json(reports: &[Report]) -> String {
    let mut text = serde_json::to_string_pretty(reports)
        .expect("strings, integers and finite numbers are always valid");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["policy", "1%"], ["s3fifo", "0.5"], ["é", "-"]];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
            .collect();
        assert_eq!(table(&rows), "policy   1%\ns3fifo  0.5\né         -\n");
    }

    #[test]
    fn differences_are_in_percent() {
        assert_eq!(percent(0.97, 1.0), "-3.0 %");
        assert_eq!(percent(1.0, 0.0), "-");
    }
}
