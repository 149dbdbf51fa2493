//! What one place of the core owns, no other place of it touches.
//!
//! Test code is free: it makes threads and files of its own.

use crate::repo::{Repo, SourceFile};
use crate::report::Finding;
use crate::rules::{SEAMS, Seam};
use crate::rust::{self, Facts, PathUse};

pub fn run(repo: &Repo) -> Vec<Finding> {
    let files: Vec<(&SourceFile, Vec<String>, Facts)> = repo
        .files
        .iter()
        .filter_map(|file| {
            let module = rust::module_of(file.in_core()?);
            let facts = rust::read(file, &module);
            Some((file, module, facts))
        })
        .collect();
    let for_tests = |module: &[String]| {
        let mut declared = files.iter().flat_map(|(_, _, facts)| &facts.test_modules);
        declared.any(|test| module.starts_with(test))
    };
    let mut findings = Vec::new();
    for (file, module, facts) in &files {
        if for_tests(module) {
            continue;
        }
        let inside = file.in_core().unwrap_or_default();
        for path in facts.paths.iter().filter(|path| !path.test) {
            if let Some(seam) = SEAMS.iter().find(|seam| crosses(seam, path, inside)) {
                let name = path.segments.join("::");
                let message = format!("`{name}`: {}", seam.reason);
                findings.push(Finding::new(&file.path, path.line, message));
            }
        }
    }
    findings
}

fn crosses(seam: &Seam, path: &PathUse, inside: &str) -> bool {
    let named = path.segments.len() >= seam.path.len()
        && seam.path.iter().zip(&path.segments).all(|(a, b)| a == b);
    let owned =
        |owner: &&str| inside == *owner || (owner.ends_with('/') && inside.starts_with(*owner));
    named && !seam.owners.iter().any(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> usize {
        run(&Repo::of(&[(&format!("crates/brimfs/src/{path}"), text)])).len()
    }

    #[test]
    fn owners_may_and_others_may_not() {
        let text = "use std::{fs, sync::Mutex};\nuse parking_lot::RwLock;";
        assert_eq!(check("handle/lock.rs", text), 3);
        assert_eq!(check("base/sync.rs", text), 1);
        assert_eq!(check("io/real.rs", "use std::fs::File;"), 0);
        assert_eq!(check("io.rs", "fn f() { std::fs::read(p) }"), 1);
    }

    #[test]
    fn neighbours_and_test_code_are_free() {
        assert_eq!(
            check(
                "handle/a.rs",
                "use std::sync::OnceLock; use std::path::Path;"
            ),
            0
        );
        assert_eq!(
            check("handle/a.rs", "#[cfg(test)] mod tests { use std::thread; }"),
            0
        );
        let files = [
            (
                "crates/brimfs/src/io/mod.rs",
                "#[cfg(test)] mod tests; mod real;",
            ),
            ("crates/brimfs/src/io/real.rs", "use std::thread;"),
            ("crates/brimfs/src/io/tests.rs", "use std::thread;"),
            ("crates/brimfs/src/io/tests/deeper.rs", "use std::thread;"),
        ];
        assert_eq!(run(&Repo::of(&files)).len(), 1);
    }
}
