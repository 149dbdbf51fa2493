//! Benchmarks of brimfs against other in-memory filesystems and the kernel's tmpfs.
//!
//! Times are CPU times of the thread that works (wall time where two threads do), medians over
//! interleaved rounds. The peers need `--features peers`; without it brimfs is measured against
//! tmpfs alone.

#[cfg(feature = "peers")]
mod block_on;
mod clock;
mod disk;
mod memory;
mod peer;
mod peers;
mod persist;
mod random;
mod report;
mod row;
mod rows;
mod runner;
mod snapshots;
mod tier;

use std::path::PathBuf;
use std::process::ExitCode;

use peer::{Done, Failure};
use peers::Candidate;
use row::Scale;
use runner::Measured;

const USAGE: &str = "\
usage: brimfs-bench [--filter TEXT] [--candidates A,B] [--rounds N] [--quick] [--json FILE] [--list]
  --filter TEXT      only rows whose id contains TEXT
  --candidates A,B   only these implementations
  --rounds N         counted rounds per row (default 7)
  --quick            a fraction of the work: for trying things out, not for figures
  --json FILE        also writes every sample to FILE
  --list             prints the ids of the rows and the candidates of this build";

const CHILD_ROUNDS: usize = 3;

#[derive(Debug)]
struct Options {
    filter: String,
    candidates: Option<Vec<String>>,
    rounds: usize,
    scale: Scale,
    json: Option<PathBuf>,
    list: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [flag, name, count] if flag == memory::CHILD_FLAG => child(name, count),
        [flag] if flag == "--help" || flag == "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => parse(&arguments).and_then(|options| run(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Error(text)) => {
            eprintln!("brimfs-bench: {text}");
            ExitCode::FAILURE
        }
        Err(Failure::Unsupported) => {
            eprintln!("brimfs-bench: an operation that every candidate needs is unsupported");
            ExitCode::FAILURE
        }
    }
}

fn child(name: &str, count: &str) -> Done {
    memory::child(name, count.parse()?)
}

fn parse(arguments: &[String]) -> Done<Options> {
    let mut options = Options {
        filter: String::new(),
        candidates: None,
        rounds: 7,
        scale: Scale { quick: false },
        json: None,
        list: false,
    };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let mut value = || {
            rest.next()
                .cloned()
                .ok_or_else(|| Failure::Error(format!("{flag} needs a value")))
        };
        match flag.as_str() {
            "--filter" => options.filter = value()?,
            "--candidates" => {
                options.candidates = Some(value()?.split(',').map(str::to_owned).collect());
            }
            "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
            "--json" => options.json = Some(value()?.into()),
            "--quick" => options.scale.quick = true,
            "--list" => options.list = true,
            _ => return Err(Failure::Error(format!("unknown argument {flag}\n{USAGE}"))),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Done {
    let mut candidates = peers::candidates();
    if options.list {
        rows::all().iter().for_each(|row| println!("{}", row.id));
        memory::rows(options.scale)
            .iter()
            .for_each(|row| println!("{}", row.id));
        disk::rows()
            .iter()
            .chain(&tier::rows())
            .chain(&persist::rows())
            .chain(&snapshots::rows())
            .for_each(|row| println!("{}", row.id));
        candidates
            .iter()
            .for_each(|candidate| println!("candidate {}", candidate.name));
        return Ok(());
    }
    if let Some(names) = &options.candidates {
        candidates.retain(|candidate| names.iter().any(|name| name == candidate.name));
    }
    let mut measured = Vec::new();
    let outcome = measure(options, &candidates, &mut measured);
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.name).collect();
    print!("{}", report::markdown(&measured, &names));
    if options.scale.quick {
        println!("\nA quick run: sizes are a fraction of those in the titles.");
    }
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&measured))?;
    }
    outcome
}

/// Fills `measured` row by row, so that a failure does not lose the rows before it.
fn measure(options: &Options, candidates: &[Candidate], measured: &mut Vec<Measured>) -> Done {
    for row in rows::all()
        .iter()
        .filter(|row| row.id.contains(&options.filter))
    {
        eprintln!("{} …", row.id);
        let row = runner::run(row, candidates, options.rounds, options.scale)?;
        measured.push(row);
    }
    let rounds = options.rounds.min(CHILD_ROUNDS);
    let wanted = |id: &str| id.contains(&options.filter);
    let rows = runner::run_small_files(candidates, rounds, options.scale, wanted)?;
    measured.extend(rows);
    let disk_rows = disk::rows()
        .into_iter()
        .chain(tier::rows())
        .chain(persist::rows())
        .chain(snapshots::rows());
    for row in disk_rows.filter(|row| wanted(row.id)) {
        eprintln!("{} …", row.id);
        measured.push(disk::run(row, options.rounds, options.scale)?);
    }
    Ok(())
}
