//! Paths that match a pattern.
//!
//! `*` matches any part of a name, `?` one character, `[abc]`, `[a-z]` and
//! `[!abc]` one character of a set, and `**` as a whole component any number
//! of directories, none included. Nothing else is special; names that begin
//! with a dot match like others. `**` does not follow symbolic links.

use std::collections::{HashMap, HashSet};

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::namespace::inode::Inode;
use crate::namespace::path;
use crate::namespace::resolve;
use crate::namespace::walk::{Cursor, Walk};

enum Part<'a> {
    Literal(&'a [u8]),
    Pattern(&'a [u8]),
    AnyDepth,
}

/// What is still to be looked at.
enum Task {
    /// A node that matches the parts before `index`.
    Match { at: Vec<u8>, place: Place },
    /// A walk through all that `**` can stand for; one step at a time, so that no more than one
    /// path per `**` is kept.
    Descend { walk: Walk, from: Place },
}

/// Where in the tree and in the pattern.
#[derive(Clone)]
struct Place {
    node: Arc<Inode>,
    index: usize,
    /// The symbolic link that was followed last on the way here, as a number; 0 for none.
    /// Together with the node this names a path.
    link: usize,
}

struct Glob<'a> {
    root: &'a Arc<Inode>,
    parts: Vec<Part<'a>>,
    only_directories: bool,
    links: HashMap<Vec<u8>, usize>,
    seen: HashSet<(usize, u64, usize)>,
    tasks: Vec<Task>,
    found: Vec<Vec<u8>>,
}

/// All paths that match, sorted and each once.
pub(crate) fn glob(root: &Arc<Inode>, pattern: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    path::check(pattern)?;
    let start = Place {
        node: root.clone(),
        index: 0,
        link: 0,
    };
    let mut glob = Glob {
        root,
        parts: parts(pattern),
        only_directories: pattern.ends_with(b"/"),
        links: HashMap::new(),
        seen: HashSet::new(),
        tasks: vec![Task::Match {
            at: b"/".to_vec(),
            place: start,
        }],
        found: Vec::new(),
    };
    while let Some(task) = glob.tasks.pop() {
        match task {
            Task::Match { at, place } => glob.look(at, place)?,
            Task::Descend { walk, from } => glob.descend(walk, from),
        }
    }
    glob.found.sort_unstable();
    glob.found.dedup();
    Ok(glob.found)
}

impl Glob<'_> {
    fn look(&mut self, at: Vec<u8>, mut place: Place) -> Result<(), Fault> {
        let Some(part) = self.parts.get(place.index) else {
            if !self.only_directories || place.node.is_directory() {
                self.found.push(at);
            }
            return Ok(());
        };
        if place.node.kind().is_symlink() {
            // A link in the middle of a path leads on; one that leads nowhere is the end.
            if let Ok(target) = resolve::resolve(self.root, &at, true) {
                place.node = target.node;
                let next = self.links.len() + 1;
                place.link = *self.links.entry(at.clone()).or_insert(next);
            }
        }
        if !place.node.is_directory() {
            return Ok(());
        }
        let next = |node| Place {
            node,
            index: place.index + 1,
            link: place.link,
        };
        match part {
            Part::Literal(name) => {
                if let Some((at, node)) = step(&at, &place.node, name) {
                    let place = next(node);
                    self.tasks.push(Task::Match { at, place });
                }
            }
            Part::Pattern(pattern) => {
                for (name, node) in Cursor::new(place.node.clone())? {
                    if matches(pattern, &name) {
                        let (at, place) = (path::join(&at, &name), next(node));
                        self.tasks.push(Task::Match { at, place });
                    }
                }
            }
            Part::AnyDepth => {
                let walk = Walk::new(place.node.clone(), &at);
                self.tasks.push(Task::Descend { walk, from: place });
            }
        }
        Ok(())
    }

    fn descend(&mut self, mut walk: Walk, from: Place) {
        let last = from.index + 1 == self.parts.len();
        while let Some((node, _)) = walk.advance() {
            if !node.is_directory() && !last {
                continue;
            }
            if !self.seen.insert((from.link, node.number(), from.index)) {
                // Whoever came here before goes on below as well; a file may have other names.
                if node.is_directory() {
                    walk.skip_current_dir();
                    continue;
                }
            }
            let at = walk.current_path().to_vec();
            let place = Place {
                node,
                index: from.index + 1,
                link: from.link,
            };
            self.tasks.push(Task::Descend { walk, from });
            self.tasks.push(Task::Match { at, place });
            return;
        }
    }
}

fn parts(pattern: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some((part, after)) = path::split_first(rest) {
        rest = after;
        match part {
            b"." => {}
            b"**" if matches!(parts.last(), Some(Part::AnyDepth)) => {}
            b"**" => parts.push(Part::AnyDepth),
            part if part.iter().any(|byte| b"*?[".contains(byte)) => {
                parts.push(Part::Pattern(part));
            }
            part => parts.push(Part::Literal(part)),
        }
    }
    parts
}

fn step(at: &[u8], directory: &Arc<Inode>, name: &[u8]) -> Option<(Vec<u8>, Arc<Inode>)> {
    let node = if name == b".." {
        resolve::parent(directory).ok()?
    } else {
        resolve::child(directory, name).ok()?.0
    };
    Some((path::join(at, name), node))
}

/// One character, or one byte where the text is no UTF-8.
fn first_unit(text: &[u8]) -> Option<(u32, usize)> {
    let first = *text.first()?;
    let len = match first {
        0x00..=0x7f => return Some((u32::from(first), 1)),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Some((0x11_0000 + u32::from(first), 1)),
    };
    let valid = text
        .get(..len)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.chars().next());
    Some(match valid {
        Some(character) => (u32::from(character), len),
        None => (0x11_0000 + u32::from(first), 1),
    })
}

/// Whether a name matches a pattern without slashes. Linear but for one star at a time.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if n == name.len() && pattern[p..].iter().all(|byte| *byte == b'*') {
            return true;
        }
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if let Some((pattern_len, name_len)) = match_one(&pattern[p..], &name[n..]) {
            p += pattern_len;
            n += name_len;
            continue;
        }
        // Let the last star take one more character.
        let Some((after, taken)) = star else {
            return false;
        };
        let Some((_, len)) = first_unit(&name[taken..]) else {
            return false;
        };
        star = Some((after, taken + len));
        (p, n) = (after, taken + len);
    }
}

/// Matches one character; returns how much of the pattern and of the name that took.
fn match_one(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let (unit, name_len) = first_unit(name)?;
    match *pattern.first()? {
        b'?' => Some((1, name_len)),
        b'[' => match set_len(pattern) {
            Some(len) => set_contains(&pattern[1..len - 1], unit).then_some((len, name_len)),
            None => (unit == u32::from(b'[')).then_some((1, name_len)),
        },
        _ => {
            let (wanted, len) = first_unit(pattern)?;
            (wanted == unit).then_some((len, name_len))
        }
    }
}

/// The length of a set with both brackets; `]` right after the opening belongs to the set.
fn set_len(pattern: &[u8]) -> Option<usize> {
    let mut at = 1;
    if pattern.get(at) == Some(&b'!') {
        at += 1;
    }
    if pattern.get(at) == Some(&b']') {
        at += 1;
    }
    let close = pattern.get(at..)?.iter().position(|byte| *byte == b']')?;
    Some(at + close + 1)
}

fn set_contains(set: &[u8], unit: u32) -> bool {
    let (negated, mut rest) = match set.split_first() {
        Some((b'!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut inside = false;
    while let Some((low, len)) = first_unit(rest) {
        rest = &rest[len..];
        let range = rest
            .strip_prefix(b"-")
            .and_then(|after| Some((after, first_unit(after)?)));
        if let Some((after, (high, len))) = range {
            inside |= (low..=high).contains(&unit);
            rest = &after[len..];
        } else {
            inside |= low == unit;
        }
    }
    inside != negated
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn names_match_patterns() {
        let cases = [
            ("*", "", true),
            ("*.csv", "a.csv", true),
            ("*.csv", ".csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "é", true),
            ("??", "é", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[a-]", "-", true),
            ("***", "anything", true),
            ("[é-ü]", "ö", true),
        ];
        for (pattern, name, expected) in cases {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn a_byte_that_is_no_text_is_one_character() {
        assert!(matches(b"?", b"\xff"));
        assert!(matches(b"a?b", b"a\x80b"));
        assert!(!matches(b"?", b"\xff\xff"));
    }
}
