//! Operations on whole trees: walk, glob, copy, remove.

use super::resolve::{Last, Tail};
use super::{Body, Ino, Model, ROOT, Refusal, Reply, refuse};
use crate::op::{Kind, Outcome, Raw};

impl Model {
    /// Everything below a directory, parents first, in the order of the entries.
    pub(super) fn tree_below(&self, top: Ino, path: &[u8]) -> Vec<(Raw, Kind)> {
        let mut found = Vec::new();
        self.collect_tree(top, path, &mut found);
        found
    }

    fn collect_tree(&self, top: Ino, path: &[u8], found: &mut Vec<(Raw, Kind)>) {
        for (name, ino) in &self.dir(top).entries {
            let below = join(path, name);
            found.push((Raw(below.clone()), self.kind(*ino)));
            if self.is_dir(*ino) {
                self.collect_tree(*ino, &below, found);
            }
        }
    }

    pub(super) fn walk(&self, path: &[u8]) -> Reply {
        let top = self.lookup(path, Last::Keep)?;
        if !self.is_dir(top) {
            return Ok(Outcome::Tree(Vec::new()));
        }
        Ok(Outcome::Tree(self.tree_below(top, path)))
    }

    pub(super) fn rm_tree(&mut self, path: &[u8]) -> Reply {
        let place = self.entry(path)?;
        let ino = place.ino.ok_or(libc::ENOENT)?;
        let name = match &place.tail {
            Tail::Root => return Err(Refusal::by_design(libc::EBUSY)),
            Tail::Dot | Tail::DotDot => return Err(Refusal::by_design(libc::EISDIR)),
            Tail::Name(name) => name,
        };
        if place.slash && !self.is_dir(ino) {
            return refuse(libc::ENOTDIR);
        }
        self.dir_mut(place.parent).remove(name);
        self.drop_tree(ino);
        Ok(Outcome::Done)
    }

    fn drop_tree(&mut self, ino: Ino) {
        if let Body::Dir(dir) = &self.node(ino).body {
            for (_, below) in dir.entries.clone() {
                self.drop_tree(below);
            }
        }
        self.drop_name(ino);
    }

    pub(super) fn copy_tree(&mut self, from: &[u8], to: &[u8]) -> Reply {
        let source = self.lookup(from, Last::Follow)?;
        if !self.is_dir(source) {
            return refuse(libc::ENOTDIR);
        }
        let (parent, name) = self.place_for_new(to, true)?;
        if self.is_ancestor(source, parent) {
            return Err(Refusal::by_design(libc::EINVAL));
        }
        self.copy_node(source, parent, &name);
        Ok(Outcome::Done)
    }

    /// Copies a node and what is below it. Hard links become separate files.
    fn copy_node(&mut self, source: Ino, parent: Ino, name: &[u8]) {
        let node = self.node(source).clone();
        let copy = match &node.body {
            Body::Dir(_) => self.add_dir(parent, name, node.mode),
            other => self.add_entry(parent, name, other.clone(), node.mode),
        };
        if let Body::Dir(dir) = &node.body {
            for (name, below) in &dir.entries {
                self.copy_node(*below, copy, name);
            }
        }
    }

    pub(super) fn glob(&self, pattern: &[u8]) -> Reply {
        let parts: Vec<&[u8]> = pattern
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .collect();
        let mut found = Vec::new();
        self.glob_below(ROOT, b"/", &parts, &mut found);
        found.sort();
        found.dedup();
        Ok(Outcome::Names(found))
    }

    fn glob_below(&self, dir: Ino, path: &[u8], parts: &[&[u8]], found: &mut Vec<Raw>) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        if *part == b"**" {
            if rest.is_empty() {
                found.push(Raw(path.to_vec()));
            }
            self.glob_deep(dir, path, rest, found);
            return;
        }
        for (name, ino) in &self.dir(dir).entries {
            if !name_matches(part, name) {
                continue;
            }
            let below = join(path, name);
            if rest.is_empty() {
                found.push(Raw(below));
            } else if let Ok(target) = self.lookup(&below, Last::Follow)
                && self.is_dir(target)
            {
                let _ = ino;
                self.glob_below(target, &below, rest, found);
            }
        }
    }

    /// `**`: this directory and all below it, symbolic links not followed.
    fn glob_deep(&self, dir: Ino, path: &[u8], rest: &[&[u8]], found: &mut Vec<Raw>) {
        self.glob_below(dir, path, rest, found);
        for (name, ino) in &self.dir(dir).entries {
            let below = join(path, name);
            if rest.is_empty() {
                found.push(Raw(below.clone()));
            }
            if self.is_dir(*ino) {
                self.glob_deep(*ino, &below, rest, found);
            }
        }
    }
}

/// One component against one part of a pattern: `*`, `?`, `[abc]`, `[a-c]`, `[!a]`.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty();
    };
    match first {
        b'*' => (0..=name.len()).any(|skip| name_matches(rest, &name[skip..])),
        b'?' => !name.is_empty() && name_matches(rest, &name[1..]),
        b'[' => match set_of(rest) {
            Some((set, negated, rest)) => {
                let inside = |byte: &u8| set.iter().any(|(low, high)| (low..=high).contains(&byte));
                let hit = name.first().is_some_and(|byte| inside(byte) != negated);
                hit && name_matches(rest, &name[1..])
            }
            None => name.first() == Some(first) && name_matches(rest, &name[1..]),
        },
        _ => name.first() == Some(first) && name_matches(rest, &name[1..]),
    }
}

type Set<'a> = (Vec<(u8, u8)>, bool, &'a [u8]);

/// The ranges of a bracket expression, whether it is negated, and what follows it.
fn set_of(pattern: &[u8]) -> Option<Set<'_>> {
    let negated = pattern.first() == Some(&b'!');
    let body = &pattern[usize::from(negated)..];
    // A closing bracket right at the start is a member.
    let end = 1 + body.get(1..)?.iter().position(|byte| *byte == b']')?;
    let (mut members, rest) = (&body[..end], &body[end + 1..]);
    let mut set = Vec::new();
    while let Some(low) = members.first() {
        if members.len() >= 3 && members[1] == b'-' {
            set.push((*low, members[2]));
            members = &members[3..];
        } else {
            set.push((*low, *low));
            members = &members[1..];
        }
    }
    Some((set, negated, rest))
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

#[cfg(test)]
mod tests {
    use super::name_matches;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("?", "x", true),
            ("[ab]", "b", true),
            ("[!ab]", "b", false),
            ("[a-c]x", "bx", true),
            ("[", "[", true),
            ("[]]", "]", true),
        ] {
            let matched = name_matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(matched, expected, "{pattern} {name}");
        }
    }
}
