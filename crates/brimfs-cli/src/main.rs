//! The command line of brimfs.
//!
//! Parses arguments, calls the core, prints. Owns no logic of the filesystem.
//!
//! Exit codes: 0, done; 1, something could not be read or done, and standard
//! error says what; 2, the arguments are wrong.

mod simulate;
mod trace;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A memory-first virtual filesystem.
#[derive(Debug, Parser)]
#[command(name = "brimfs", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay request traces through the eviction policies and print their miss ratios
    Simulate(simulate::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Command::Simulate(arguments) => simulate::run(arguments),
    };
    match print(&outcome.text) {
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("brimfs: standard output: {error}");
            return ExitCode::FAILURE;
        }
        Ok(()) => {}
    }
    for failure in &outcome.failures {
        eprintln!("brimfs: {failure}");
    }
    if outcome.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What a command has to say.
#[derive(Debug, Default)]
struct Outcome {
    /// For standard output.
    text: String,
    /// For standard error, a line each; any makes the command fail.
    failures: Vec<String>,
}
