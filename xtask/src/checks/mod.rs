//! The checks, each in a file of its own.

pub mod graph;
pub mod headers;
pub mod layers;
pub mod safety;
pub mod seams;
pub mod semantics;
pub mod sizes;
pub mod words;

use crate::repo::Repo;
use crate::report::Finding;

/// A check by its name on the command line.
#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(&Repo) -> Vec<Finding>,
}

/// In the order in which they run.
pub const ALL: &[Check] = &[
    Check {
        name: "layers",
        about: "the core's modules use only what lies below them",
        run: layers::run,
    },
    Check {
        name: "seams",
        about: "locks come from base::sync, the host from io",
        run: seams::run,
    },
    Check {
        name: "graph",
        about: "the core crate depends on the listed crates only",
        run: graph::run,
    },
    Check {
        name: "sizes",
        about: "files and functions stay short; exceptions only shrink",
        run: sizes::run,
    },
    Check {
        name: "unsafe",
        about: "unsafe stands in the listed files, each with its SAFETY comment",
        run: safety::run,
    },
    Check {
        name: "headers",
        about: "every module opens by saying what it is",
        run: headers::run,
    },
    Check {
        name: "words",
        about: "no machine's paths, no unfinished code",
        run: words::run,
    },
    Check {
        name: "semantics",
        about: "every promise of docs/semantics.md names tests that exist",
        run: semantics::run,
    },
];
