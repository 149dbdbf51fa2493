//! The project's own checks: `cargo xtask check [NAME…]`.
//!
//! Owns what no ready-made tool knows: the layers of the core crate, the sizes of
//! files and functions, where `unsafe` may live, and which test stands behind
//! which promise. It reads the tracked files and never changes one.

mod checks;
mod lex;
mod repo;
mod report;
mod rules;
mod rust;

use std::process::ExitCode;

use repo::Repo;
use report::Finding;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("check") => check(&arguments.collect::<Vec<_>>()),
        Some("help" | "--help" | "-h") => {
            println!("{}", usage());
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{}", usage());
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    let mut text =
        String::from("usage: cargo xtask check [NAME…]\n\nchecks, all of them by default:\n");
    for check in checks::ALL {
        text += &format!("  {:<10} {}\n", check.name, check.about);
    }
    text
}

fn check(names: &[String]) -> ExitCode {
    let known = |name: &String| checks::ALL.iter().any(|check| check.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        eprintln!("no check is called {unknown:?}\n\n{}", usage());
        return ExitCode::from(2);
    }
    let repo = match Repo::open() {
        Ok(repo) => repo,
        Err(error) => {
            eprintln!("cannot read the repository: {error}");
            return ExitCode::from(2);
        }
    };
    let mut total = 0;
    for check in checks::ALL {
        if !names.is_empty() && !names.iter().any(|name| name == check.name) {
            continue;
        }
        let findings = (check.run)(&repo);
        report(check.name, &findings);
        total += findings.len();
    }
    if total == 0 {
        return ExitCode::SUCCESS;
    }
    println!("{total} findings");
    ExitCode::FAILURE
}

fn report(name: &str, findings: &[Finding]) {
    println!(
        "{name:<10} {}",
        if findings.is_empty() { "ok" } else { "FAILED" }
    );
    for finding in findings {
        println!("  {finding}");
    }
}
