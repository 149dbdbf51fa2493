//! Every promise of `docs/semantics.md` names tests, and the tests exist.
//!
//! A table with a column "Tests" is a table of promises. A test is named in
//! backticks: `` `tests/limits.rs::name` ``, from the root of the repository or
//! any end of a path that only one file has. An ignored test proves nothing.

use crate::repo::{Repo, SourceFile};
use crate::report::Finding;
use crate::rust;

pub const DOCUMENT: &str = "docs/semantics.md";

pub fn run(repo: &Repo) -> Vec<Finding> {
    let Some(document) = repo.file(DOCUMENT) else {
        return vec![Finding::new(
            DOCUMENT,
            0,
            "the table of promises is missing",
        )];
    };
    let mut findings = Vec::new();
    let mut promises = 0;
    let mut column = None;
    for (index, line) in document.text.lines().enumerate() {
        let place = |message: String| Finding::new(DOCUMENT, index + 1, message);
        for name in test_names(line) {
            findings.extend(missing(repo, name).map(place));
        }
        let Some(cells) = cells(line) else {
            column = None;
            continue;
        };
        match column {
            None => column = Some(cells.iter().position(|cell| *cell == "Tests")),
            Some(Some(tests)) if !is_rule(&cells) => {
                promises += 1;
                if test_names(cells.get(tests).unwrap_or(&"")).is_empty() {
                    findings.push(place("a promise without a test".to_owned()));
                }
            }
            Some(_) => {}
        }
    }
    if promises == 0 {
        findings.push(Finding::new(
            DOCUMENT,
            0,
            "no table with a column \"Tests\" has a row",
        ));
    }
    findings
}

/// The cells of a table's line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inside.split('|').map(str::trim).collect())
}

/// The line of dashes under a table's head.
fn is_rule(cells: &[&str]) -> bool {
    cells
        .iter()
        .all(|cell| cell.bytes().all(|byte| matches!(byte, b'-' | b':')))
}

/// The names of tests among the texts in backticks.
fn test_names(text: &str) -> Vec<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains(".rs::") || name.contains(".py::"))
        .collect()
}

/// Why a named test does not count.
fn missing(repo: &Repo, name: &str) -> Option<String> {
    let (path, inside) = name.split_once("::")?;
    let end = format!("/{path}");
    let files: Vec<&SourceFile> = repo
        .files
        .iter()
        .filter(|file| file.path == path || file.path.ends_with(&end))
        .collect();
    let function = inside.rsplit("::").next().unwrap_or(inside);
    match files[..] {
        [] => Some(format!("`{name}`: no such file")),
        [file] if file.is_python() => python_fault(file, function),
        [file] => rust_fault(file, function),
        _ => Some(format!(
            "`{name}`: several files end in {path}; name more of the path"
        )),
    }
    .map(|fault| {
        if fault.contains('`') {
            fault
        } else {
            format!("`{name}`: {fault}")
        }
    })
}

fn rust_fault(file: &SourceFile, function: &str) -> Option<String> {
    let tokens = rust::tokens(&file.code);
    let at = tokens
        .windows(2)
        .position(|pair| pair[0].text == "fn" && pair[1].text == function);
    let Some(at) = at else {
        return Some("no such function".to_owned());
    };
    let attributes = tokens[..at]
        .iter()
        .rev()
        .map(|token| token.text)
        .take_while(|text| !matches!(*text, ";" | "{" | "}"));
    let words: Vec<&str> = attributes.collect();
    if !words.contains(&"test") {
        return Some("the function is not a test".to_owned());
    }
    words
        .contains(&"ignore")
        .then(|| "the test is ignored".to_owned())
}

fn python_fault(file: &SourceFile, function: &str) -> Option<String> {
    if !function.starts_with("test") {
        return Some("the function is not a test".to_owned());
    }
    let defines = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("def ")
            .and_then(|rest| rest.strip_prefix(function))
            .is_some_and(|rest| rest.starts_with('('))
    };
    (!file.code.lines().any(defines)).then(|| "no such function".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "crates/brimfs/tests/limits.rs";
    const RUST: &str = "#[test]\nfn holds() {}\nfn helper() {}\n#[test]\n#[ignore]\nfn slow() {}";
    const PYTHON: &str =
        "class TestA:\n    def test_b(self):\n        pass\n\"\"\"\ndef test_c(): pass\n\"\"\"";

    fn check(document: &str) -> Vec<String> {
        let repo = Repo::of(&[
            (DOCUMENT, document),
            (LIMITS, RUST),
            ("tests/python/test_a.py", PYTHON),
            ("crates/a/tests/same.rs", RUST),
            ("crates/b/tests/same.rs", RUST),
        ]);
        run(&repo)
            .iter()
            .map(|finding| format!("{}: {}", finding.line, finding.message))
            .collect()
    }

    #[test]
    fn named_tests_that_exist_pass() {
        let document = "| Promise | Tests |\n|---|:--|\n| a | `tests/limits.rs::holds` |\n\
             | b | see `tests/python/test_a.py::TestA::test_b`, `crates/a/tests/same.rs::x::holds` |\n\n\
             | Word | Meaning |\n|---|---|\n| x | y |\n";
        assert_eq!(check(document), [] as [&str; 0]);
    }

    #[test]
    fn names_without_a_test_fail() {
        let document = "| Tests |\n|---|\n| `limits.rs::gone` |\n| `limits.rs::helper` |\n| `limits.rs::slow` |\n\
             | `none.rs::a` |\n| `same.rs::holds` |\n| `test_a.py::test_c` |\n";
        assert_eq!(
            check(document),
            [
                "3: `limits.rs::gone`: no such function",
                "4: `limits.rs::helper`: the function is not a test",
                "5: `limits.rs::slow`: the test is ignored",
                "6: `none.rs::a`: no such file",
                "7: `same.rs::holds`: several files end in same.rs; name more of the path",
                "8: `test_a.py::test_c`: no such function",
            ]
        );
    }

    #[test]
    fn promises_without_tests_fail() {
        let found = check("| Promise | Tests |\n|---|---|\n| a | later |\n");
        assert_eq!(found, ["3: a promise without a test"]);
        assert_eq!(
            check("words\n"),
            ["0: no table with a column \"Tests\" has a row"]
        );
        assert_eq!(run(&Repo::of(&[])).len(), 1);
    }
}
