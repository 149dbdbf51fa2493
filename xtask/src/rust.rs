//! Reads the paths out of Rust code: `use` trees and `a::b` in expressions.
//!
//! A reader of tokens, not a compiler: it knows modules written in the file,
//! `crate`, `self` and `super`, and which code is there for tests only. Names
//! that a macro builds stay unseen.

use crate::lex::is_name;
use crate::repo::SourceFile;

/// One path in the code, from its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathUse {
    /// Counted from 1.
    pub line: usize,
    /// `crate` and what follows, or an outside crate's name and what follows.
    /// A glob ends in `*`.
    pub segments: Vec<String>,
    /// Under `#[cfg(test)]` or `#[test]`.
    pub test: bool,
    /// The last segment is a macro's name.
    pub calls_macro: bool,
    /// Part of a `use` declaration.
    pub declared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

/// Names whole, `::` whole, every other visible byte by itself.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let start = at;
        if is_name(bytes[at]) {
            while at < bytes.len() && is_name(bytes[at]) {
                at += 1;
            }
        } else if bytes[at..].starts_with(b"::") {
            at += 2;
        } else {
            at += 1;
        }
        if bytes[start] == b'\n' {
            line += 1;
        } else if !bytes[start].is_ascii_whitespace() {
            let text = &code[start..at];
            found.push(Token { text, line });
        }
    }
    found
}

/// The module that a file of the core is, from its path inside `src`.
pub fn module_of(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let mut segments: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if matches!(
        segments.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        segments.pop();
    }
    segments
}

/// What a file says about other modules.
#[derive(Debug, Default)]
pub struct Facts {
    /// Every path that the code names.
    pub paths: Vec<PathUse>,
    /// Modules in files of their own that exist for tests only.
    pub test_modules: Vec<Vec<String>>,
}

/// Reads a file that is the given module.
pub fn read(file: &SourceFile, module: &[String]) -> Facts {
    let tokens = tokens(&file.code);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        scopes: Vec::new(),
        module,
        test_item: false,
        facts: Facts::default(),
    };
    reader.read();
    reader.facts
}

struct Scope<'a> {
    module: Option<&'a str>,
    test: bool,
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    scopes: Vec<Scope<'a>>,
    module: &'a [String],
    /// An attribute said that the item that comes next is for tests.
    test_item: bool,
    facts: Facts,
}

impl<'a> Reader<'a> {
    fn text(&self, ahead: usize) -> &'a str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| token.text)
    }

    fn in_test(&self) -> bool {
        self.test_item || self.scopes.iter().any(|scope| scope.test)
    }

    fn read(&mut self) {
        while self.at < self.tokens.len() {
            match self.text(0) {
                "#" => self.attribute(),
                // `use<'a>` bounds what a returned type captures.
                "use" if self.text(1) != "<" => self.use_declaration(),
                "mod" if self.text(2) == ";" => {
                    if self.in_test() {
                        let mut module = self.here();
                        module.push(self.text(1).to_owned());
                        self.facts.test_modules.push(module);
                    }
                    self.at += 2;
                }
                "mod" if self.text(2) == "{" => {
                    self.open(Some(self.text(1)));
                    self.at += 3;
                }
                "{" => {
                    self.open(None);
                    self.at += 1;
                }
                "}" => {
                    self.scopes.pop();
                    self.at += 1;
                }
                ";" => {
                    self.test_item = false;
                    self.at += 1;
                }
                text if self.text(1) == "::" && starts_path(text) && !self.continues() => {
                    self.expression()
                }
                _ => self.at += 1,
            }
        }
    }

    fn continues(&self) -> bool {
        self.at > 0 && self.tokens[self.at - 1].text == "::"
    }

    fn open(&mut self, module: Option<&'a str>) {
        let test = std::mem::take(&mut self.test_item);
        self.scopes.push(Scope { module, test });
    }

    fn attribute(&mut self) {
        self.at += 1;
        if self.text(0) == "!" {
            self.at += 1;
        }
        if self.text(0) != "[" {
            return;
        }
        let start = self.at;
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "[" => depth += 1,
                "]" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        let inside = &self.tokens[start + 1..self.at.saturating_sub(1).max(start + 1)];
        self.test_item |= is_for_tests(inside);
    }

    fn use_declaration(&mut self) {
        self.at += 1;
        self.use_tree(&mut Vec::new());
    }

    fn use_tree(&mut self, prefix: &mut Vec<String>) {
        let depth = prefix.len();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.text(0) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    // Code that is no `use` tree after all ends the group too.
                    while !matches!(self.text(0), "}" | ";" | "") {
                        self.use_tree(prefix);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    break;
                }
                "," | "}" | ";" | "" => {
                    self.add(line, prefix.clone(), true);
                    break;
                }
                "as" => self.at += 2,
                name => {
                    prefix.push(name.to_owned());
                    self.at += 1;
                }
            }
        }
        prefix.truncate(depth);
    }

    fn expression(&mut self) {
        let line = self.tokens[self.at].line;
        let mut segments = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && self.text(1).bytes().next().is_some_and(is_name) {
            segments.push(self.text(1).to_owned());
            self.at += 2;
        }
        self.add(line, segments, false);
    }

    fn add(&mut self, line: usize, segments: Vec<String>, declared: bool) {
        let Some(segments) = self.absolute(segments) else {
            return;
        };
        let calls_macro = !declared && self.text(0) == "!" && self.text(1) != "=";
        let test = self.in_test();
        self.facts.paths.push(PathUse {
            line,
            segments,
            test,
            calls_macro,
            declared,
        });
    }

    /// The module that is being read, those written in the file included.
    fn here(&self) -> Vec<String> {
        let inline = self.scopes.iter().filter_map(|scope| scope.module);
        let inline = inline.map(str::to_owned);
        self.module.iter().cloned().chain(inline).collect()
    }

    /// Rewrites `self` and `super` to a path from `crate`.
    fn absolute(&self, mut segments: Vec<String>) -> Option<Vec<String>> {
        if segments.last().is_some_and(|last| last == "self") && segments.len() > 1 {
            segments.pop();
        }
        let ups = segments
            .iter()
            .take_while(|name| *name == "super" || *name == "self")
            .count();
        if ups == 0 {
            return (!segments.is_empty()).then_some(segments);
        }
        let mut module = vec!["crate".to_owned()];
        module.extend(self.here());
        for name in segments.drain(..ups) {
            if name == "super" {
                module.pop();
            }
        }
        module.extend(segments);
        Some(module)
    }
}

/// `test`, and `cfg` of it unless it says `not(test)`.
fn is_for_tests(attribute: &[Token<'_>]) -> bool {
    let text = |at: usize| attribute.get(at).map_or("", |token| token.text);
    if text(0) != "cfg" {
        return attribute.len() == 1 && text(0) == "test";
    }
    let negated = |at: usize| at >= 2 && text(at - 1) == "(" && text(at - 2) == "not";
    (0..attribute.len()).any(|at| text(at) == "test" && !negated(at))
}

/// What a path may start with, as far as the checks care: a module, never a type.
fn starts_path(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<(usize, String, bool)> {
        let file = SourceFile::new(path, text);
        read(&file, &module_of(path))
            .paths
            .into_iter()
            .map(|found| (found.line, found.segments.join("::"), found.test))
            .collect()
    }

    fn one(line: usize, path: &str, test: bool) -> (usize, String, bool) {
        (line, path.to_owned(), test)
    }

    #[test]
    fn use_trees_are_unfolded() {
        let text = "use crate::{base::{error::Error, sync as s},\n memory::*, io::{self}};";
        assert_eq!(
            names("fs.rs", text),
            [
                one(1, "crate::base::error::Error", false),
                one(1, "crate::base::sync", false),
                one(2, "crate::memory::*", false),
                one(2, "crate::io", false),
            ]
        );
    }

    #[test]
    fn captures_are_no_declarations_and_broken_trees_end() {
        let text =
            "fn f(&self) -> impl Iterator<Item = u8> + use<'_, T> { let a = 1; crate::io::x() }";
        assert_eq!(names("fs.rs", text), [one(1, "crate::io::x", false)]);
        assert_eq!(
            names("fs.rs", "use a::{b; c, {; d"),
            [one(1, "a::b", false)]
        );
        for end in 0..text.len() {
            names("fs.rs", &format!("use {{ {}", &text[end..]));
        }
    }

    #[test]
    fn paths_in_expressions_are_found() {
        let text = "fn f() {\n let x = crate::fs::new::<u8>();\n T::m(); crate::say!(1) }";
        assert_eq!(
            names("io/mod.rs", text),
            [one(2, "crate::fs::new", false), one(3, "crate::say", false)]
        );
    }

    #[test]
    fn super_counts_from_the_module_in_the_file() {
        let text = "use super::super::fs;\nmod a { use super::x; use self::y; }";
        assert_eq!(
            names("io/real.rs", text),
            [
                one(1, "crate::fs", false),
                one(2, "crate::io::real::x", false),
                one(2, "crate::io::real::a::y", false),
            ]
        );
    }

    #[test]
    fn test_code_is_known_by_its_attribute() {
        let text = "#[cfg(test)]\nmod tests { use std::fs; }\nuse std::io;\n#[cfg(not(test))]\nuse a::b;\n#[cfg(all(test, not(feature = \"x\")))]\nuse c::d;\nuse e::f;";
        assert_eq!(
            names("a.rs", text),
            [
                one(2, "std::fs", true),
                one(3, "std::io", false),
                one(5, "a::b", false),
                one(7, "c::d", true),
                one(8, "e::f", false),
            ]
        );
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_known() {
        let text = "#[cfg(test)]\nmod cost;\nmod file;\nmod a { #[cfg(test)] mod tests; }";
        let found = read(
            &SourceFile::new("handle/lock/mod.rs", text),
            &module_of("handle/lock/mod.rs"),
        );
        let found: Vec<String> = found
            .test_modules
            .iter()
            .map(|module| module.join("::"))
            .collect();
        assert_eq!(found, ["handle::lock::cost", "handle::lock::a::tests"]);
    }
}
