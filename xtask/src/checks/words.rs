//! No tracked text names one machine's paths, and no code is unfinished.

use crate::repo::{Repo, SourceFile};
use crate::report::Finding;
use crate::rules::{FORBIDDEN_MACROS, FORBIDDEN_TEXTS};
use crate::rust;

pub fn run(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &repo.files {
        texts(file, &mut findings);
        if file.is_rust() {
            macros(file, &mut findings);
        }
    }
    findings
}

fn texts(file: &SourceFile, findings: &mut Vec<Finding>) {
    let lines = std::iter::once(file.path.as_str()).chain(file.text.lines());
    for (number, line) in lines.enumerate() {
        for (text, reason) in FORBIDDEN_TEXTS {
            if line.contains(text) {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    format!("{text:?}: {reason}"),
                ));
            }
        }
    }
}

fn macros(file: &SourceFile, findings: &mut Vec<Finding>) {
    for call in rust::tokens(&file.code).windows(3) {
        let opened = matches!(call[2].text, "(" | "[" | "{");
        if call[1].text == "!" && opened && FORBIDDEN_MACROS.contains(&call[0].text) {
            let message = format!("`{}!` in finished code", call[0].text);
            findings.push(Finding::new(&file.path, call[0].line, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<usize> {
        run(&Repo::of(&[(path, text)]))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn machine_paths_fail_anywhere() {
        let bad = concat!("x\ncd /wo", "rk/main\n");
        assert_eq!(check("Makefile", bad), [2]);
        assert_eq!(check("a.rs", concat!("// see .lib", "rary/x")), [1]);
        assert_eq!(check(concat!("a/fa", "rm/b"), ""), [0]);
        assert_eq!(check("README.md", ".github/workflows/ci.yml"), []);
    }

    #[test]
    fn unfinished_code_fails_and_talk_of_it_does_not() {
        assert_eq!(check("a.rs", "fn f() {\n todo!() }"), [2]);
        assert_eq!(
            check(
                "a.rs",
                "// todo!()\nlet todo = 1; if todo != 2 { unimplemented() }"
            ),
            [0; 0]
        );
        assert_eq!(check("a.rs", "dbg!(x); unimplemented![]"), [1, 1]);
    }
}
