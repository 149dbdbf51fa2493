//! Names in archives: what is safe to make below the destination, and nothing else.

use brimfs::NAME_MAX;

use crate::failure::{Failure, Outcome};

/// What to do with names that lead out of the destination or mean something else elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadNames {
    /// Fail with [`ErrorKind::UnsafeArchive`](brimfs::ErrorKind::UnsafeArchive).
    #[default]
    Reject,
    /// Extract under another name: no leading `/` and no drive letter, `_` for `..`, for `\` and for NUL.
    Rename,
}

/// The path below the destination that a name in an archive stands for; empty for the destination itself.
pub(crate) fn clean(name: &[u8], bad: BadNames, depth: u32) -> Outcome<Vec<u8>> {
    let found = fault(name);
    if let (Some(text), BadNames::Reject) = (found, bad) {
        return Err(Failure::unsafe_entry(text));
    }
    let renamed;
    let name = match found {
        Some(_) => {
            renamed = rename(name);
            &renamed[..]
        }
        None => name,
    };
    let mut clean = Vec::with_capacity(name.len());
    let mut names = 0;
    for part in parts(name) {
        if part.len() > NAME_MAX {
            let text = format!("a name is longer than {NAME_MAX} bytes");
            return Err(Failure::unsafe_entry(text));
        }
        names += 1;
        if names > depth {
            return Err(Failure::limit(format!("more than {depth} names deep")));
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
    }
    Ok(clean)
}

/// The names of a path that count.
fn parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

fn has_drive(name: &[u8]) -> bool {
    matches!(name, [letter, b':', ..] if letter.is_ascii_alphabetic())
}

/// Why a name is not to be extracted. A backslash counts as a separator too: somebody's it is.
fn fault(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        Some("the name is empty")
    } else if name.contains(&0) {
        Some("the name contains a NUL byte")
    } else if matches!(name[0], b'/' | b'\\') {
        Some("the name is absolute")
    } else if has_drive(name) {
        Some("the name begins with a drive letter")
    } else if name
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|part| part == b"..")
    {
        Some("the name contains ..")
    } else {
        None
    }
}

fn rename(name: &[u8]) -> Vec<u8> {
    let name = if has_drive(name) { &name[2..] } else { name };
    let mut renamed = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        let part = if part == b".." { b"_" } else { part };
        renamed.extend(part.iter().map(|byte| match byte {
            b'\\' | 0 => b'_',
            byte => *byte,
        }));
        renamed.push(b'/');
    }
    if parts(&renamed).next().is_none() {
        renamed = b"_".to_vec();
    }
    renamed
}

/// Whether a symbolic link at `link`, a clean path, stays in the destination.
pub(crate) fn stays_inside(link: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.contains(&0) || target[0] == b'/' {
        return false;
    }
    let mut depth = parts(link).count() - 1;
    let mut below = false;
    for part in parts(target) {
        if part != b".." {
            depth += 1;
            below = true;
        } else if below || depth == 0 {
            // Behind a name `..` means another place if that name is a link.
            return false;
        } else {
            depth -= 1;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{BadNames, clean, stays_inside};

    #[test]
    fn safe_names_are_kept() {
        for (name, expected) in [
            ("a", "a"),
            ("./a//b/.", "a/b"),
            ("a/..b/c..", "a/..b/c.."),
            ("a\\b", "a\\b"),
            ("./", ""),
            ("ab:c", "ab:c"),
        ] {
            let cleaned = clean(name.as_bytes(), BadNames::Reject, 9).unwrap();
            assert_eq!(cleaned, expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn names_that_lead_out_are_rejected_or_renamed() {
        for (name, renamed) in [
            ("", "_"),
            ("/", "_"),
            ("/etc/passwd", "etc/passwd"),
            ("\\etc", "_etc"),
            ("C:\\x", "_x"),
            ("c:x", "x"),
            ("..", "_"),
            ("a/../../b", "a/_/_/b"),
            ("a\\..\\b", "a_.._b"),
            ("a\0b", "a_b"),
        ] {
            assert!(
                clean(name.as_bytes(), BadNames::Reject, 9).is_err(),
                "{name}"
            );
            let cleaned = clean(name.as_bytes(), BadNames::Rename, 9).unwrap();
            assert_eq!(cleaned, renamed.as_bytes(), "{name}");
        }
    }

    #[test]
    fn depth_and_length_have_limits() {
        assert!(clean(b"a/b/c", BadNames::Reject, 3).is_ok());
        assert!(clean(b"a/b/c", BadNames::Reject, 2).is_err());
        assert!(clean(&[b'a'; 256], BadNames::Rename, 2).is_err());
    }

    #[test]
    fn links_stay_inside_or_not() {
        for (link, target, inside) in [
            ("l", "a", true),
            ("d/l", "../a", true),
            ("d/l", "../../a", false),
            ("l", "..", false),
            ("l", "/a", false),
            ("d/l", "x/../a", false),
            ("l", "", false),
        ] {
            assert_eq!(
                stays_inside(link.as_bytes(), target.as_bytes()),
                inside,
                "{link} {target}"
            );
        }
    }
}
