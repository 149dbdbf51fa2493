//! `unsafe` stands in the listed files only, and each says why it is sound.

use crate::repo::{Repo, SourceFile};
use crate::report::Finding;
use crate::rules::{SAFETY_LINES, UNSAFE_FILES};
use crate::rust::{self, Token};

pub fn run(repo: &Repo) -> Vec<Finding> {
    repo.files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(check)
        .collect()
}

fn check(file: &SourceFile) -> Vec<Finding> {
    let tokens = rust::tokens(&file.code);
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.text != "unsafe" {
            continue;
        }
        let place = |message: &str| Finding::new(&file.path, token.line, message);
        if !may_be_unsafe(&file.path) {
            findings.push(place("`unsafe` outside UNSAFE_FILES of xtask/src/rules.rs"));
        } else if !is_type(&tokens[at + 1..]) && !explained(&lines, token.line) {
            findings.push(place("`unsafe` without a SAFETY comment right above"));
        }
    }
    findings
}

fn may_be_unsafe(path: &str) -> bool {
    UNSAFE_FILES
        .iter()
        .any(|allowed| match allowed.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None if allowed.ends_with('/') => path.starts_with(allowed),
            None => path == *allowed,
        })
}

/// `unsafe fn(…)` and `unsafe extern "C" fn(…)` are types: nothing happens there.
fn is_type(after: &[Token<'_>]) -> bool {
    let mut words = after
        .iter()
        .map(|token| token.text)
        .skip_while(|text| matches!(*text, "extern" | "\""));
    words.next() == Some("fn") && words.next() == Some("(")
}

/// A SAFETY comment on the line, in the lines above, or in the comment that ends above it.
fn explained(lines: &[&str], line: usize) -> bool {
    let says = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
    let index = line - 1;
    let near = index.saturating_sub(SAFETY_LINES)..=index;
    if lines[near].iter().any(|text| says(text)) {
        return true;
    }
    lines[..index]
        .iter()
        .rev()
        .map(|text| text.trim_start())
        .take_while(|text| text.starts_with("//") || text.starts_with("#["))
        .any(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_in(path: &str, text: &str) -> Vec<usize> {
        check(&SourceFile::new(path, text))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    const POOL: &str = "crates/brimfs/src/memory/pool_map.rs";

    #[test]
    fn only_listed_files_may() {
        let text = "// SAFETY: none\nunsafe { f() }";
        assert_eq!(check_in(POOL, text), []);
        assert_eq!(check_in("crates/brimfs/src/io/real.rs", text), []);
        assert_eq!(check_in("crates/brimfs/src/fs.rs", text), [2]);
        assert_eq!(check_in("crates/brimfs/tests/a.rs", text), [2]);
        let said = "//! no unsafe here\n#![deny(unsafe_code)]\nlet a = \"unsafe\";";
        assert_eq!(check_in("crates/brimfs/src/fs.rs", said), []);
    }

    #[test]
    fn every_block_needs_its_comment() {
        assert_eq!(check_in(POOL, "fn f() {\n    unsafe { g() }\n}"), [2]);
        assert_eq!(
            check_in(POOL, "// SAFETY: x\nlet a =\n    unsafe { g() };"),
            []
        );
        assert_eq!(
            check_in(POOL, "// SAFETY: x\n\n\n\nunsafe impl Send for A {}"),
            [5]
        );
        let long = "// SAFETY: a\n// b\n// c\n// d\n#[cold]\nunsafe { g() }";
        assert_eq!(check_in(POOL, long), []);
        assert_eq!(check_in(POOL, "/// # Safety\n/// x\nunsafe fn f() {}"), []);
        assert_eq!(check_in(POOL, "unsafe fn f() {}"), [1]);
        assert_eq!(check_in(POOL, "unsafe extern \"C\" { fn f(); }"), [1]);
    }

    #[test]
    fn types_need_none() {
        let text = "struct V { a: unsafe fn(*mut u8), b: unsafe extern \"C\" fn() }";
        assert_eq!(check_in(POOL, text), []);
    }
}
