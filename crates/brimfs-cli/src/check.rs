//! `brimfs check`: shows what the core finds.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use brimfs::{CheckProgress, CheckReport, CheckStep, Problem, check_store};
use clap::Args;
use serde_json::{Value, json};

use crate::progress::Bar;
use crate::{Outcome, store, text};

/// Verify all that is in a store, and say exactly what is damaged
///
/// Nothing in the store changes. What is verified: that the journal is whole, that its records fit together, and
/// every block of content.
///
/// Prints a line for everything that is wrong: which file, which of its bytes, and where in which file of the
/// store the damage is. Sound files are only counted. Ends with a summary, and with exit code 1 if anything is wrong.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directory of the store
    store: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    let mut bar = Bar::new();
    let checked = check_store(&arguments.store, &mut |progress| show(&mut bar, progress));
    drop(bar);
    let report = match checked {
        Ok(report) => report,
        Err(error) => return Ok(Outcome::failed(error)),
    };
    if arguments.json {
        out.write_all(text::json_text(&json(&arguments.store, &report)).as_bytes())?;
    } else {
        for problem in &report.problems {
            store::line(out, problem.to_string())?;
        }
        store::line(out, summary(&report))?;
    }
    Ok(Outcome {
        failures: Vec::new(),
        is_wrong: !report.is_sound(),
    })
}

fn show(bar: &mut Bar, progress: CheckProgress) {
    let what = match progress.step {
        CheckStep::Journal => "reading the journal",
        CheckStep::Records => "comparing records",
        _ => "reading content",
    };
    bar.show(what, progress.done, progress.total);
}

fn summary(report: &CheckReport) -> String {
    if report.journal_lost {
        return "The journal is damaged; nothing else could be checked.".to_owned();
    }
    let there = format!(
        "{} ({}), {}, {}",
        text::count(report.files, "file", "files"),
        text::size(report.bytes),
        text::count(report.directories, "directory", "directories"),
        text::count(report.symlinks, "symbolic link", "symbolic links"),
    );
    if report.is_sound() {
        let verified = text::size(report.verified);
        return format!("All is sound: {there}. {verified} of content in segments verified.");
    }
    format!(
        "{} found, {} damaged. There are {there}.",
        text::count(report.problems.len() as u64, "problem", "problems"),
        text::count(report.hurt, "file or directory", "files or directories"),
    )
}

fn json(directory: &Path, report: &CheckReport) -> Value {
    let identity = report.identity.iter().map(|byte| format!("{byte:02x}"));
    let problems: Vec<Value> = report.problems.iter().map(problem).collect();
    json!({
        "store": directory.to_string_lossy(),
        "sound": report.is_sound(),
        "format": report.format,
        "identity": identity.collect::<String>(),
        "groups": report.groups,
        "was_closed": report.was_closed,
        "journal_lost": report.journal_lost,
        "files": report.files,
        "directories": report.directories,
        "symlinks": report.symlinks,
        "unnamed": report.unnamed,
        "bytes": report.bytes,
        "verified": report.verified,
        "hurt": report.hurt,
        "problems": problems,
    })
}

fn problem(problem: &Problem) -> Value {
    // JSON is text: what is not, it has as bytes.
    let paths = problem
        .paths
        .iter()
        .map(|path| match std::str::from_utf8(path) {
            Ok(path) => Value::from(path),
            Err(_) => Value::from(&path[..]),
        });
    let range = problem.range.as_ref();
    json!({
        "paths": paths.collect::<Vec<Value>>(),
        "inode": problem.ino,
        "start": range.map(|range| range.start),
        "end": range.map(|range| range.end),
        "text": problem.text,
    })
}
