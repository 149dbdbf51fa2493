//! Every module opens by saying what it is.

use crate::repo::{Repo, SourceFile};
use crate::report::Finding;

pub fn run(repo: &Repo) -> Vec<Finding> {
    repo.files
        .iter()
        .filter(|file| !file.text.trim().is_empty() && !opens(file))
        .map(|file| {
            let opening = if file.is_rust() {
                "`//!`"
            } else {
                "a docstring"
            };
            Finding::new(
                &file.path,
                1,
                format!("the file does not open with {opening}"),
            )
        })
        .collect()
}

fn opens(file: &SourceFile) -> bool {
    let mut lines = file
        .text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    if file.is_rust() {
        // Inner attributes may come first, as a fuzz target's `#![no_main]` does.
        lines
            .find(|line| !line.starts_with("#!["))
            .is_some_and(|line| line.starts_with("//!"))
    } else if file.path.ends_with(".py") {
        lines
            .find(|line| !line.starts_with('#'))
            .map(|line| line.trim_start_matches(['r', 'R']))
            .is_some_and(|line| line.starts_with("\"\"\"") || line.starts_with("'''"))
    } else {
        // A stub describes its module's types; the module has the words.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(path: &str, text: &str) -> bool {
        run(&Repo::of(&[(path, text)])).is_empty()
    }

    #[test]
    fn rust_opens_with_an_inner_doc() {
        assert!(passes("a.rs", "//! What it is.\nfn f() {}"));
        assert!(passes("a.rs", "#![no_main]\n\n//! What it is."));
        assert!(!passes("a.rs", "// What it is.\nfn f() {}"));
        assert!(!passes("a.rs", "use a;\n//! late"));
        assert!(passes("a.rs", ""));
    }

    #[test]
    fn python_opens_with_a_docstring() {
        assert!(passes("a.py", "#!/usr/bin/env python\n\"\"\"What.\"\"\"\n"));
        assert!(!passes("a.py", "# What.\nimport os\n"));
        assert!(passes("a.pyi", "import os\n"));
        assert!(passes("a.md", "words"));
    }
}
