//! Arrows between the core's modules go down and form no circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::repo::{Repo, SourceFile};
use crate::report::Finding;
use crate::rules::{FACADE_RANK, FORBIDDEN_ARROWS, LAYERS};
use crate::rust::{self, PathUse};

/// Names that `lib.rs` exports, each with the top-level module it comes from.
type Exports = BTreeMap<String, String>;

pub fn run(repo: &Repo) -> Vec<Finding> {
    let exports = exports(repo);
    let mut findings = Vec::new();
    let mut sideways: BTreeMap<(String, String), Finding> = BTreeMap::new();
    for file in &repo.files {
        let Some(inside) = file.in_core() else {
            continue;
        };
        let module = rust::module_of(inside);
        let from = module.first().map_or("lib", String::as_str);
        let Some(from_rank) = rank(from) else {
            findings.push(Finding::new(
                &file.path,
                0,
                format!("module `{from}` has no layer; give it one in xtask/src/rules.rs"),
            ));
            continue;
        };
        for path in rust::read(file, &module).paths {
            let Some(to) = target(&path, &exports, repo) else {
                continue;
            };
            if to == from {
                continue;
            }
            if let Some(message) = wrong(from, from_rank, &to) {
                findings.push(Finding::new(&file.path, path.line, message));
            } else if rank(&to) == Some(from_rank) && from_rank != FACADE_RANK {
                let place = Finding::new(&file.path, path.line, String::new());
                sideways.entry((from.to_owned(), to)).or_insert(place);
            }
        }
    }
    findings.extend(circles(sideways));
    findings
}

fn rank(module: &str) -> Option<u32> {
    LAYERS
        .iter()
        .find(|layer| layer.modules.contains(&module))
        .map(|layer| layer.rank)
}

fn wrong(from: &str, from_rank: u32, to: &str) -> Option<String> {
    let Some(to_rank) = rank(to) else {
        return Some(format!("`{from}` uses `{to}`, which has no layer"));
    };
    if to_rank > from_rank {
        return Some(format!(
            "upward arrow: `{from}` uses `{to}`, which stands above it"
        ));
    }
    FORBIDDEN_ARROWS
        .iter()
        .find(|(source, target, _)| *source == from && *target == to)
        .map(|(_, _, reason)| format!("`{from}` uses `{to}`: {reason}"))
}

/// The top-level module that a path leads to; `None` if it leaves the crate.
fn target(path: &PathUse, exports: &Exports, repo: &Repo) -> Option<String> {
    if path.segments.first()? != "crate" {
        return None;
    }
    let first = path.segments.get(1)?;
    if rank(first).is_some() || is_module(repo, first) {
        return Some(first.clone());
    }
    if let Some(module) = exports.get(first) {
        return Some(module.clone());
    }
    // A macro belongs to the crate's root wherever it is written.
    (!path.calls_macro).then(|| "lib".to_owned())
}

fn is_module(repo: &Repo, name: &str) -> bool {
    let of = |file: &SourceFile| {
        let inside = file.in_core()?;
        Some(
            rust::module_of(inside)
                .first()
                .is_some_and(|top| top == name),
        )
    };
    repo.files.iter().any(|file| of(file) == Some(true))
}

fn exports(repo: &Repo) -> Exports {
    let mut exports = Exports::new();
    let Some(file) = repo
        .files
        .iter()
        .find(|file| file.in_core() == Some("lib.rs"))
    else {
        return exports;
    };
    for path in rust::read(file, &[]).paths {
        let segments: Vec<&String> = path
            .segments
            .iter()
            .filter(|name| *name != "crate")
            .collect();
        if let [module, .., name] = segments[..]
            && path.declared
            && is_module(repo, module)
        {
            exports.insert(name.clone(), module.clone());
        }
    }
    exports
}

/// The arrows within a rank that lie on a circle.
fn circles(arrows: BTreeMap<(String, String), Finding>) -> Vec<Finding> {
    let reaches = |start: &str, goal: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start.to_owned()];
        while let Some(module) = open.pop() {
            if module == goal {
                return true;
            }
            if seen.insert(module.clone()) {
                let next = arrows.keys().filter(|(from, _)| *from == module);
                open.extend(next.map(|(_, to)| to.clone()));
            }
        }
        false
    };
    arrows
        .iter()
        .filter(|((from, to), _)| reaches(to, from))
        .map(|((from, to), place)| Finding {
            message: format!("circular arrow: `{from}` uses `{to}`, which leads back to it"),
            ..place.clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let placed: Vec<(String, &str)> = files
            .iter()
            .map(|(path, text)| (format!("crates/brimfs/src/{path}"), *text))
            .collect();
        let borrowed: Vec<(&str, &str)> = placed
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        run(&Repo::of(&borrowed))
            .iter()
            .map(|finding| format!("{finding}").replace("crates/brimfs/src/", ""))
            .collect()
    }

    #[test]
    fn downward_arrows_pass() {
        let found = check(&[
            (
                "lib.rs",
                "mod base; mod fs; pub use fs::FileSystem; pub use base::error::Error;",
            ),
            (
                "fs.rs",
                "use crate::namespace::tree; use crate::Error; use crate::options::Builder;",
            ),
            ("options.rs", "use crate::fs::FileSystem;"),
            ("face.rs", "use crate::FileSystem; use crate::memory::pool;"),
            (
                "handle/file.rs",
                "use super::lock; use crate::memory::Content;",
            ),
            ("journal/writer.rs", "use crate::cold::segment;"),
            (
                "memory/budget.rs",
                "use crate::base::error; fn f() { crate::say!(); }",
            ),
            ("base/mod.rs", ""),
        ]);
        assert_eq!(found, [] as [&str; 0]);
    }

    #[test]
    fn upward_arrows_fail_in_every_spelling() {
        let found = check(&[
            ("lib.rs", "pub use fs::FileSystem;"),
            ("fs.rs", ""),
            ("base/a.rs", "\nuse crate::{base::b, fs::FileSystem};"),
            ("memory/b.rs", "fn f() { crate::handle::lock(); }"),
            ("io/c.rs", "use super::super::namespace;"),
            ("cold/d.rs", "use crate::FileSystem;"),
            ("handle/e.rs", "use crate::DEFINED_IN_LIB;"),
            (
                "mover/f.rs",
                "mod x { fn f() { super::super::super::fs::g(); } }",
            ),
        ]);
        assert_eq!(
            found,
            [
                "base/a.rs:2: upward arrow: `base` uses `fs`, which stands above it",
                "memory/b.rs:1: upward arrow: `memory` uses `handle`, which stands above it",
                "io/c.rs:1: upward arrow: `io` uses `namespace`, which stands above it",
                "cold/d.rs:1: upward arrow: `cold` uses `fs`, which stands above it",
                "handle/e.rs:1: upward arrow: `handle` uses `lib`, which stands above it",
                "mover/f.rs:1: upward arrow: `mover` uses `fs`, which stands above it",
            ]
        );
    }

    #[test]
    fn comments_and_strings_draw_no_arrow() {
        let found = check(&[
            ("fs.rs", ""),
            (
                "base/a.rs",
                "//! [`crate::fs`]\n/* use crate::fs; */ const A: &str = \"use crate::fs;\";",
            ),
        ]);
        assert_eq!(found, [] as [&str; 0]);
    }

    #[test]
    fn circles_within_a_rank_fail() {
        let found = check(&[
            ("journal/a.rs", "use crate::cold::x;"),
            ("cold/b.rs", "\nuse crate::journal::y;"),
            ("memory/c.rs", "use crate::policy::z;"),
        ]);
        assert_eq!(
            found,
            [
                "cold/b.rs:2: circular arrow: `cold` uses `journal`, which leads back to it",
                "journal/a.rs:1: circular arrow: `journal` uses `cold`, which leads back to it",
            ]
        );
    }

    #[test]
    fn forbidden_pairs_and_unknown_modules_fail() {
        let found = check(&[
            ("policy/g2.rs", "use crate::io::Disk;"),
            ("memory/a.rs", "use crate::cold::Segment;"),
            ("cold/b.rs", ""),
            ("util.rs", ""),
            ("base/c.rs", "use crate::util::x;"),
        ]);
        assert_eq!(
            found,
            [
                "policy/g2.rs:1: `policy` uses `io`: the policy knows no bytes and no disk",
                "memory/a.rs:1: `memory` uses `cold`: mover alone sees memory and cold",
                "util.rs: module `util` has no layer; give it one in xtask/src/rules.rs",
                "base/c.rs:1: `base` uses `util`, which has no layer",
            ]
        );
    }
}
