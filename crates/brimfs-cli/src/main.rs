//! The command line of brimfs.
//!
//! Parses arguments, calls the core, prints. Owns no logic of the filesystem.
//!
//! Exit codes: 0, done; 1, something could not be read or done, or is wrong with a store, and the
//! output says what; 2, the arguments are wrong; 3 and 4, a store was repaired, without and with losses.

mod cat;
mod check;
mod export;
mod ls;
mod progress;
mod simulate;
mod stat;
mod store;
mod text;
mod trace;

use std::io::{self, BufWriter, Write};
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
    Ls(ls::Arguments),
    Cat(cat::Arguments),
    Stat(stat::Arguments),
    Export(export::Arguments),
    Check(check::Arguments),
    Simulate(simulate::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let ran = run(&arguments.command, &mut out);
    let outcome = ran.and_then(|outcome| out.flush().map(|()| outcome));
    // Nothing more is written when it is dropped.
    let _ = out.into_parts();
    match outcome {
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("standard output: {error}"));
            ExitCode::FAILURE
        }
        Ok(outcome) => {
            for failure in &outcome.failures {
                complain(failure);
            }
            match outcome.failures.is_empty() {
                true => ExitCode::from(outcome.code),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: &Command, out: &mut dyn Write) -> io::Result<Outcome> {
    match command {
        Command::Ls(arguments) => ls::run(arguments, out),
        Command::Cat(arguments) => cat::run(arguments, out),
        Command::Stat(arguments) => stat::run(arguments, out),
        Command::Export(arguments) => export::run(arguments, out),
        Command::Check(arguments) => check::run(arguments, out),
        Command::Simulate(arguments) => simulate::run(arguments, out),
    }
}

/// A line on standard error; whether somebody reads it changes nothing.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "brimfs: {text}");
}

/// How a command ended. An error of its output is not among this.
#[derive(Debug, Default)]
struct Outcome {
    /// For standard error, a line each; any makes the command fail.
    failures: Vec<String>,
    /// The exit code, if there are no failures: 1 if what the command looked at is not as it should be.
    code: u8,
}

impl Outcome {
    fn failed(error: impl ToString) -> Self {
        Outcome {
            failures: vec![error.to_string()],
            code: 0,
        }
    }
}
