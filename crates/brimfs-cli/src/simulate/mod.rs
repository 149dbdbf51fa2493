//! `brimfs simulate`: traces through the policies that the filesystem runs.

mod published;
mod replay;
mod report;
mod share;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use brimfs::face::policy::{PolicyKind, SWAP_IN_COST_DEFAULT};
use clap::Args;

use crate::Outcome;
use crate::trace::Trace;
use replay::{Measured, Run, Told, WithWrites};
use report::Report;
use share::Share;

/// Replay request traces through the eviction policies and print their miss ratios
///
/// Each trace goes through each policy at each cache size. A cache holds so many bytes as its share of
/// the trace's footprint (the sizes of all objects together), rounded down, without any overhead per
/// object; it starts cold, every request counts, and an object larger than the cache is never admitted.
///
/// The cost of a miss is the swap-in cost plus the size, in bytes. Known public traces are shown with
/// the published figures of other policies.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Zstd files of 12-byte records: u64 object id, u32 size in bytes, little endian
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,

    /// Policies: g2, lru, sieve, s3fifo
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = PolicyKind::ALL)]
    policy: Vec<PolicyKind>,

    /// Cache sizes, as shares of the trace's footprint
    #[arg(
        long,
        value_name = "SHARES",
        value_delimiter = ',',
        default_value = "0.1%,1%,10%,25%"
    )]
    sizes: Vec<Share>,

    /// Give objects priorities, derived from their ids, and weigh misses by them
    #[arg(long)]
    weighted: bool,

    /// Let so many requests write their object; compares the cost, writing back included, with and without
    /// telling the policy what is dirty
    #[arg(long, value_name = "SHARE")]
    writes: Option<Share>,

    /// What bringing any object back costs beside its bytes: latency times bandwidth, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = SWAP_IN_COST_DEFAULT)]
    swap_in_cost: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. A trace that cannot be read does not keep the others from being replayed.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut reports = Vec::new();
    for path in &arguments.traces {
        match Trace::read(path) {
            Ok(trace) => reports.push(replay_all(path, &trace, arguments)),
            Err(error) => outcome.failures.push(error.to_string()),
        }
    }
    let text = if arguments.json {
        report::json(&reports)
    } else {
        report::text(&reports)
    };
    out.write_all(text.as_bytes())?;
    Ok(outcome)
}

fn replay_all(path: &Path, trace: &Trace, arguments: &Arguments) -> Report {
    let footprint = trace.footprint();
    let mut rows = Vec::new();
    for &policy in &arguments.policy {
        for share in &arguments.sizes {
            let capacity = share.of(footprint);
            let run = Run {
                trace,
                policy,
                capacity,
                swap_in_cost: arguments.swap_in_cost,
                writes: None,
            };
            let weighted = Told {
                priorities: true,
                ..Told::default()
            };
            rows.push(Measured {
                policy: policy.name(),
                size: share.to_string(),
                capacity,
                ratios: run.replay(Told::default()).0,
                weighted: arguments.weighted.then(|| run.replay(weighted).0),
                with_writes: arguments.writes.map(|writes| with_writes(run, writes)),
            });
        }
    }
    Report::new(path, trace, arguments.swap_in_cost, rows)
}

fn with_writes(run: Run<'_>, writes: Share) -> WithWrites {
    let run = Run {
        writes: Some(writes),
        ..run
    };
    let dirty = Told {
        dirty: true,
        ..Told::default()
    };
    WithWrites {
        not_told: run.replay(Told::default()).1,
        told: run.replay(dirty).1,
    }
}
