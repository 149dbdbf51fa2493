//! What one place of the core owns, no other place of it touches.
//!
//! Test code is free: it makes threads and files of its own.

use crate::repo::Repo;
use crate::report::Finding;
use crate::rules::{SEAMS, Seam};
use crate::rust::{self, PathUse};

pub fn run(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &repo.files {
        let Some(inside) = file.in_core() else {
            continue;
        };
        let module = rust::module_of(inside);
        for path in rust::paths(file, &module) {
            let crossed = SEAMS
                .iter()
                .find(|seam| !path.test && crosses(seam, &path, inside));
            if let Some(seam) = crossed {
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
        assert_eq!(check("handle/tests.rs", "use std::thread;"), 0);
    }
}
