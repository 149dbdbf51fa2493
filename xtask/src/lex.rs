//! Blanks comments and literals, so that the checks see code only.
//!
//! Every blanked byte becomes a space and every line break stays, so an offset
//! or a line number in the result is one in the source. Quotes stay too.

/// A language whose comments and literals are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    Python,
}

impl Language {
    pub fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "rs" => Some(Language::Rust),
            "py" | "pyi" => Some(Language::Python),
            _ => None,
        }
    }
}

/// The source with the text of comments and literals replaced by spaces.
pub fn blank(source: &str, language: Language) -> String {
    let mut lexer = Lexer {
        source: source.as_bytes(),
        out: Vec::with_capacity(source.len()),
    };
    match language {
        Language::Rust => lexer.rust(),
        Language::Python => lexer.python(),
    }
    String::from_utf8(lexer.out).expect("multi-byte characters are kept or blanked as a whole")
}

struct Lexer<'a> {
    source: &'a [u8],
    /// What was read so far: its length is the position in the source.
    out: Vec<u8>,
}

impl Lexer<'_> {
    fn rest(&self) -> &[u8] {
        &self.source[self.out.len()..]
    }

    fn done(&self) -> bool {
        self.out.len() == self.source.len()
    }

    fn keep(&mut self, count: usize) {
        let at = self.out.len();
        let end = (at + count).min(self.source.len());
        self.out.extend_from_slice(&self.source[at..end]);
    }

    fn blank(&mut self, count: usize) {
        let at = self.out.len();
        let end = (at + count).min(self.source.len());
        let blanked = self.source[at..end]
            .iter()
            .map(|byte| if *byte == b'\n' { b'\n' } else { b' ' });
        self.out.extend(blanked);
    }

    fn blank_line(&mut self) {
        let length = self.rest().iter().position(|byte| *byte == b'\n');
        self.blank(length.unwrap_or(self.rest().len()));
    }

    /// Blanks up to `end`, which is kept. `escapes`: a backslash hides the next byte.
    fn literal(&mut self, end: &[u8], escapes: bool) {
        while !self.done() {
            if self.rest().starts_with(end) {
                self.keep(end.len());
                return;
            }
            let hidden = escapes && self.rest()[0] == b'\\';
            self.blank(if hidden { 2 } else { 1 });
        }
    }

    /// Whether the byte before the current one continues a name.
    fn after_name(&self) -> bool {
        self.out.last().is_some_and(|byte| is_name(*byte))
    }

    fn rust(&mut self) {
        while !self.done() {
            let rest = self.rest();
            if rest.starts_with(b"//") {
                self.blank_line();
            } else if rest.starts_with(b"/*") {
                self.rust_block_comment();
            } else if let Some((prefix, hashes)) = raw_string(rest).filter(|_| !self.after_name()) {
                self.keep(prefix);
                let mut end = vec![b'"'];
                end.resize(hashes + 1, b'#');
                self.literal(&end, false);
            } else if rest[0] == b'"' {
                self.keep(1);
                self.literal(b"\"", true);
            } else if rest[0] == b'\'' && is_character(rest) {
                self.keep(1);
                self.literal(b"'", true);
            } else {
                self.keep(1);
            }
        }
    }

    fn rust_block_comment(&mut self) {
        let mut depth = 0;
        while !self.done() {
            if self.rest().starts_with(b"/*") {
                depth += 1;
                self.blank(2);
            } else if self.rest().starts_with(b"*/") {
                depth -= 1;
                self.blank(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.blank(1);
            }
        }
    }

    fn python(&mut self) {
        while !self.done() {
            let rest = self.rest();
            if rest[0] == b'#' {
                self.blank_line();
            } else if rest.starts_with(b"\"\"\"") || rest.starts_with(b"'''") {
                let end = rest[..3].to_vec();
                self.keep(3);
                self.literal(&end, true);
            } else if rest[0] == b'"' || rest[0] == b'\'' {
                let end = [rest[0]];
                self.keep(1);
                self.literal(&end, true);
            } else {
                self.keep(1);
            }
        }
    }
}

pub fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of a raw string's opening (`br##"`) and its number of hashes.
fn raw_string(rest: &[u8]) -> Option<(usize, usize)> {
    let letters = match rest {
        [b'r', ..] => 1,
        [b'b' | b'c', b'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest[letters..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let quote = letters + hashes;
    (rest.get(quote) == Some(&b'"')).then_some((quote + 1, hashes))
}

/// Tells `'x'` and `'\n'` from a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        None => false,
        Some(b'\\') => true,
        Some(first) => {
            let width = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            rest.get(1 + width) == Some(&b'\'')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, language: Language, expected: &str) {
        let blanked = blank(source, language);
        assert_eq!(blanked, expected);
        assert_eq!(blanked.len(), source.len());
    }

    #[test]
    fn rust_comments_and_strings_are_blanked() {
        check("a // unsafe\nb", Language::Rust, "a          \nb");
        check(
            "a /* x /* y */ \n z */ b",
            Language::Rust,
            "a              \n      b",
        );
        check(r#"f("a\"b // c") "#, Language::Rust, r#"f("         ") "#);
        check(r###"r#"a"b"# c"###, Language::Rust, r###"r#"   "# c"###);
        check("br\"\\\" x", Language::Rust, "br\" \" x");
    }

    #[test]
    fn rust_lifetimes_are_not_characters() {
        check(
            "&'a str, '\"', b'\\''",
            Language::Rust,
            "&'a str, ' ', b'  '",
        );
        check("'{' 'é' 'static", Language::Rust, "' ' '  ' 'static");
    }

    #[test]
    fn python_comments_and_strings_are_blanked() {
        check("x = 1  # no", Language::Python, "x = 1      ");
        check("f'a\\'b' + \"c#\"", Language::Python, "f'    ' + \"  \"");
        check(
            "\"\"\"a\n'b\"\"\" c",
            Language::Python,
            "\"\"\" \n  \"\"\" c",
        );
    }
}
