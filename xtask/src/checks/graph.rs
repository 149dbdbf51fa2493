//! The core crate depends on the listed crates and on no other.
//!
//! Peers of the benchmarks, PyO3 and FUSE must never enter a Rust user's graph.

use std::collections::BTreeSet;
use std::process::Command;

use crate::repo::Repo;
use crate::report::Finding;
use crate::rules::CORE_DEPENDENCIES;

const MANIFEST: &str = "crates/brimfs/Cargo.toml";

pub fn run(repo: &Repo) -> Vec<Finding> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(&repo.root)
        .args([
            "tree",
            "--locked",
            "--package",
            "brimfs",
            "--edges",
            "normal",
        ])
        .args(["--target", "all", "--prefix", "none", "--format", "{p}"])
        .output();
    match output {
        Err(error) => vec![Finding::new(MANIFEST, 0, format!("cargo tree: {error}"))],
        Ok(output) if !output.status.success() => {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            vec![Finding::new(MANIFEST, 0, format!("cargo tree: {reason}"))]
        }
        Ok(output) => strangers(&String::from_utf8_lossy(&output.stdout))
            .into_iter()
            .map(|name| {
                let message =
                    format!("the core depends on `{name}`, which is not in CORE_DEPENDENCIES");
                Finding::new(MANIFEST, 0, message)
            })
            .collect(),
    }
}

fn strangers(tree: &str) -> BTreeSet<&str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !CORE_DEPENDENCIES.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strangers_are_reported() {
        let tree = "brimfs v0.1.0 (/somewhere)\nbytes v1.11.0\npyo3 v0.27.0\n\nbytes v1.11.0 (*)\n";
        assert_eq!(strangers(tree), BTreeSet::from(["pyo3"]));
    }
}
