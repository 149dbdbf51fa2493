//! `brimfs check`: shows what the core finds.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use brimfs::{
    CheckProgress, CheckReport, CheckStep, Problem, RepairReport, check_store, repair_store,
};
use clap::Args;
use serde_json::{Value, json};

use crate::progress::Bar;
use crate::{Outcome, store, text};

/// Exit codes of a repair.
const REPAIRED: u8 = 3;
const REPAIRED_WITH_LOSSES: u8 = 4;

/// Verify all that is in a store, and say exactly what is damaged
///
/// Nothing in the store changes. What is verified: that the journal is whole, that its records fit together, and
/// every block of content.
///
/// Prints a line for everything that is wrong: which file, which of its bytes, and where in which file of the
/// store the damage is. Sound files are only counted. Ends with a summary, and with exit code 1 if anything is wrong.
///
/// With --repair all that can be saved is saved, and the rest listed. Whole files stay where they are. What is left of a
/// damaged file goes to /lost+found/damaged, with holes in place of what is lost, and is no longer found under its
/// names; what has no name any more goes to /lost+found; and so does a list of all that. No file of the store is overwritten
/// or removed: what is damaged stays in its directory as damaged-N-..., until you remove it. A repair that
/// was interrupted can be run again. A sound store is not changed.
///
/// On a disk that is failing, write nothing to it: --repair --output DIR saves to a new store on another one.
///
/// Exit codes of --repair: 0, nothing was wrong; 3, repaired, and nothing was lost; 4, repaired, and what is printed
/// was lost or moved; 1, it failed, and the store has what it had.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directory of the store
    store: PathBuf,

    /// Save what can be saved, if anything is wrong
    #[arg(long)]
    repair: bool,

    /// Write what is saved to a new store in this directory, and only read the damaged one
    #[arg(long, value_name = "DIR", requires = "repair")]
    output: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    if arguments.repair {
        return repair(arguments, out);
    }
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
        code: u8::from(!report.is_sound()),
    })
}

fn repair(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    let mut bar = Bar::new();
    let output = arguments.output.as_deref();
    let repaired = repair_store(&arguments.store, output, &mut |progress| {
        show(&mut bar, progress);
    });
    drop(bar);
    let report = match repaired {
        Ok(report) => report,
        Err(error) => return Ok(Outcome::failed(error)),
    };
    if arguments.json {
        let json = repair_json(&arguments.store, &report);
        out.write_all(text::json_text(&json).as_bytes())?;
    } else {
        for loss in &report.losses {
            store::line(out, loss.to_string())?;
        }
        store::line(out, repair_summary(arguments, &report))?;
    }
    let code = match (report.is_changed, report.losses.is_empty()) {
        (false, _) => 0,
        (true, true) => REPAIRED,
        (true, false) => REPAIRED_WITH_LOSSES,
    };
    Ok(Outcome {
        failures: Vec::new(),
        code,
    })
}

fn repair_summary(arguments: &Arguments, report: &RepairReport) -> String {
    if !report.is_changed {
        return "Nothing is wrong; nothing was changed.".to_owned();
    }
    let mut said = match report.losses.len() {
        0 => "Repaired. Nothing was lost.".to_owned(),
        losses => {
            let losses = text::count(losses as u64, "loss", "losses");
            format!("Repaired, with {losses}; /lost+found has the list.")
        }
    };
    if let Some(output) = &arguments.output {
        said += &format!(" The new store is {}.", output.display());
    } else if let Some(first) = report.set_aside.first() {
        said += &format!(
            " Damaged files are kept in {} ({}, the first of them {first}): remove them when nothing is missed.",
            arguments.store.display(),
            text::count(report.set_aside.len() as u64, "file", "files"),
        );
    }
    said
}

fn repair_json(directory: &Path, report: &RepairReport) -> Value {
    let losses = report.losses.iter().map(|loss| {
        let ranges = loss
            .ranges
            .iter()
            .map(|range| json!([range.start, range.end]));
        json!({
            "paths": loss.paths.iter().map(|path| path_json(path)).collect::<Vec<Value>>(),
            "inode": loss.ino,
            "lost": ranges.collect::<Vec<Value>>(),
            "now": loss.now.as_deref().map(path_json),
            "text": loss.text,
        })
    });
    json!({
        "store": directory.to_string_lossy(),
        "changed": report.is_changed,
        "losses": losses.collect::<Vec<Value>>(),
        "set_aside": report.set_aside,
        "before": json(directory, &report.before),
    })
}

/// JSON is text: what is not, it has as bytes.
fn path_json(path: &[u8]) -> Value {
    match std::str::from_utf8(path) {
        Ok(path) => Value::from(path),
        Err(_) => Value::from(path),
    }
}

fn show(bar: &mut Bar, progress: CheckProgress) {
    let what = match progress.step {
        CheckStep::Journal => "reading the journal",
        CheckStep::Records => "comparing records",
        CheckStep::Saving => "saving content",
        _ => "reading content",
    };
    bar.show(what, progress.done, progress.total);
}

fn summary(report: &CheckReport) -> String {
    if report.journal_lost {
        return "The journal cannot be read; nothing else could be checked.".to_owned();
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
    let state = match report.journal_damaged {
        true => format!(
            "Before the damage of the journal, as of group {}, there were",
            report.groups
        ),
        false => "There are".to_owned(),
    };
    format!(
        "{} found, {} damaged. {state} {there}. --repair saves what can be saved.",
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
        "journal_damaged": report.journal_damaged,
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
    let paths = problem.paths.iter().map(|path| path_json(path));
    let range = problem.range.as_ref();
    json!({
        "paths": paths.collect::<Vec<Value>>(),
        "inode": problem.ino,
        "start": range.map(|range| range.start),
        "end": range.map(|range| range.end),
        "text": problem.text,
    })
}
