//! Files and functions stay short.
//!
//! What is longer is listed in `xtask/allowances.txt` with its present size. A
//! size that differs from the list in either direction fails, so the list
//! always tells the truth and an exception that shrank cannot grow back.

use std::collections::BTreeMap;

use crate::repo::{Repo, SourceFile};
use crate::report::Finding;
use crate::rules::{FILE_LINES_MAX, FUNCTION_LINES_MAX, STUB_LINES_MAX};
use crate::rust;

pub const ALLOWANCES: &str = "xtask/allowances.txt";

/// A file, or a function of it, by the name under which the allowances list it.
#[derive(Debug)]
struct Measure<'a> {
    name: String,
    path: &'a str,
    line: usize,
    lines: usize,
    maximum: usize,
}

pub fn run(repo: &Repo) -> Vec<Finding> {
    let list = repo.file(ALLOWANCES).map_or("", |file| file.text.as_str());
    let mut findings = Vec::new();
    let mut allowed = parse(list, &mut findings);
    let sources = repo
        .files
        .iter()
        .filter(|file| file.is_rust() || file.is_python());
    for measure in sources.flat_map(measures) {
        let allowance = allowed.remove(&measure.name);
        if let Some(message) = judge(&measure, allowance.map(|(_, lines)| lines)) {
            findings.push(Finding::new(measure.path, measure.line, message));
        }
    }
    for (name, (line, _)) in allowed {
        findings.push(Finding::new(
            ALLOWANCES,
            line,
            format!("`{name}` is gone; remove its line"),
        ));
    }
    findings
}

fn judge(measure: &Measure<'_>, allowance: Option<usize>) -> Option<String> {
    let Measure {
        name,
        lines,
        maximum,
        ..
    } = measure;
    match allowance {
        None if lines > maximum => Some(format!("`{name}` has {lines} lines, more than {maximum}")),
        None => None,
        Some(_) if lines <= maximum => Some(format!(
            "`{name}` has {lines} lines now; remove it from {ALLOWANCES}"
        )),
        Some(allowed) if *lines > allowed => Some(format!(
            "`{name}` has {lines} lines, more than the {allowed} in {ALLOWANCES}, which only shrink"
        )),
        Some(allowed) if *lines < allowed => Some(format!(
            "`{name}` has {lines} lines now; lower its {allowed} in {ALLOWANCES}"
        )),
        Some(_) => None,
    }
}

/// `path lines` or `path::function lines`; `#` opens a comment.
fn parse(list: &str, findings: &mut Vec<Finding>) -> BTreeMap<String, (usize, usize)> {
    let mut allowed = BTreeMap::new();
    for (index, line) in list.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or("").trim();
        if entry.is_empty() {
            continue;
        }
        let parsed = entry
            .rsplit_once(' ')
            .and_then(|(name, lines)| Some((name.trim(), lines.parse().ok()?)));
        match parsed {
            Some((name, lines)) => {
                allowed.insert(name.to_owned(), (index + 1, lines));
            }
            None => findings.push(Finding::new(ALLOWANCES, index + 1, "not `NAME LINES`")),
        }
    }
    allowed
}

fn measures(file: &SourceFile) -> Vec<Measure<'_>> {
    let functions = if file.is_rust() {
        rust_functions(&file.code)
    } else {
        python_functions(&file.code)
    };
    let mut measures = vec![Measure {
        name: file.path.clone(),
        path: &file.path,
        line: 0,
        lines: file.text.lines().count(),
        maximum: if file.path.ends_with(".pyi") {
            STUB_LINES_MAX
        } else {
            FILE_LINES_MAX
        },
    }];
    // Of several functions with one name the longest stands for all.
    let mut longest: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (name, line, lines) in functions {
        let entry = longest.entry(name).or_insert((line, lines));
        if lines > entry.1 {
            *entry = (line, lines);
        }
    }
    measures.extend(longest.into_iter().map(|(name, (line, lines))| Measure {
        name: format!("{}::{name}", file.path),
        path: &file.path,
        line,
        lines,
        maximum: FUNCTION_LINES_MAX,
    }));
    measures
}

/// Name, first line and number of lines of every function with a body.
fn rust_functions(code: &str) -> Vec<(String, usize, usize)> {
    let tokens = rust::tokens(code);
    let mut functions = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let named = pair[1].text.bytes().next().is_some_and(crate::lex::is_name);
        if pair[0].text != "fn" || !named {
            continue;
        }
        let (mut groups, mut braces) = (0, 0);
        for token in &tokens[at + 2..] {
            match token.text {
                "(" | "[" => groups += 1,
                ")" | "]" => groups -= 1,
                ";" if groups == 0 && braces == 0 => break,
                "{" => braces += 1,
                "}" => braces -= 1,
                _ => continue,
            }
            if token.text == "}" && braces == 0 {
                let lines = token.line - pair[0].line + 1;
                functions.push((pair[1].text.to_owned(), pair[0].line, lines));
                break;
            }
        }
    }
    functions
}

/// The same by indentation; `async def` too. Brackets and literals may stand
/// at any indent, so a line belongs to the body while the next code line is deeper.
fn python_functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut open: Vec<(usize, String, usize)> = Vec::new();
    let mut functions = Vec::new();
    let mut depth = 0_usize;
    let mut last = 0;
    for (index, line) in code.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if depth == 0 {
            // The closing quotes of a text begin a line of no meaning of its own.
            let quotes_only = trimmed
                .bytes()
                .all(|byte| matches!(byte, b'"' | b'\'' | b')' | b','));
            if !quotes_only {
                close(&mut open, indent, last, &mut functions);
            }
            if let Some(name) = defined(trimmed) {
                open.push((indent, name.to_owned(), index + 1));
            }
        }
        for byte in trimmed.bytes() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        last = index + 1;
    }
    close(&mut open, 0, last, &mut functions);
    functions
}

fn close(
    open: &mut Vec<(usize, String, usize)>,
    indent: usize,
    last: usize,
    functions: &mut Vec<(String, usize, usize)>,
) {
    while open.last().is_some_and(|(of, _, _)| *of >= indent) {
        if let Some((_, name, line)) = open.pop() {
            functions.push((name, line, last - line + 1));
        }
    }
}

fn defined(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line).trim_start();
    let name = line.strip_prefix("def ")?.trim_start();
    name.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_functions_are_measured() {
        let code = "fn a(x: [u8; 2]) -> u8\nwhere T: X,\n{\n  if b { c }\n}\ntrait T { fn b(); fn c() {} }";
        let found = rust_functions(code);
        assert_eq!(found, [("a".into(), 1, 5), ("c".into(), 6, 1)]);
    }

    #[test]
    fn python_functions_are_measured() {
        let code = "def a(\n    x,\n):\n    def b():\n        y = [\n1,\n        ]\n\n    return b\n\nz = 1\nclass C:\n    async def d(self):\n        pass\n";
        let found = python_functions(code);
        assert_eq!(
            found,
            [("b".into(), 4, 4), ("a".into(), 1, 9), ("d".into(), 13, 2)]
        );
    }

    #[test]
    fn python_text_does_not_end_a_function() {
        let source = "def a():\n    x = \"\"\"one\ntwo\n\"\"\"\n    return x\n";
        let file = SourceFile::new("a.py", source);
        assert_eq!(python_functions(&file.code), [("a".into(), 1, 5)]);
    }

    fn long(lines: usize) -> String {
        "\n".repeat(lines)
    }

    fn check(path: &str, text: &str, list: &str) -> Vec<String> {
        let repo = Repo::of(&[(path, text), (ALLOWANCES, list)]);
        run(&repo)
            .iter()
            .map(|finding| finding.message.clone())
            .collect()
    }

    #[test]
    fn long_files_and_functions_fail() {
        assert_eq!(check("a.rs", &long(600), ""), [] as [&str; 0]);
        assert_eq!(
            check("a.py", &long(601), ""),
            ["`a.py` has 601 lines, more than 600"]
        );
        assert_eq!(check("a.pyi", &long(1000), ""), [] as [&str; 0]);
        assert_eq!(
            check("a.pyi", &long(1001), ""),
            ["`a.pyi` has 1001 lines, more than 1000"]
        );
        assert_eq!(check("a.md", &long(601), ""), [] as [&str; 0]);
        let body = format!("fn f() {{{}}}", long(80));
        assert_eq!(
            check("a.rs", &body, ""),
            ["`a.rs::f` has 81 lines, more than 80"]
        );
    }

    #[test]
    fn allowances_only_shrink() {
        assert_eq!(
            check("a.rs", &long(700), "# old\na.rs 700\n"),
            [] as [&str; 0]
        );
        assert!(check("a.rs", &long(701), "a.rs 700")[0].contains("only shrink"));
        assert!(check("a.rs", &long(699), "a.rs 700")[0].contains("lower"));
        assert!(check("a.rs", &long(600), "a.rs 700")[0].contains("remove"));
        assert!(check("b.rs", "", "a.rs 700")[0].contains("gone"));
        assert!(check("b.rs", "", "a.rs many")[0].contains("NAME LINES"));
    }
}
