//! Paths as bytes: what callers may pass, and how a path falls into names.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::base::error::{ErrorKind, Fault};

/// The longest name, in bytes.
pub const NAME_MAX: usize = 255;

mod sealed {
    pub trait Sealed {}
}

/// Anything that names a place in a filesystem.
///
/// A path is a sequence of names separated by `/`; relative paths start at the
/// root. Names are bytes: any but `/` and NUL, 1 to 255 of them.
pub trait AsPath: sealed::Sealed {
    /// The path's bytes.
    fn as_path_bytes(&self) -> &[u8];
}

macro_rules! as_path {
    ($($type:ty => |$this:ident| $bytes:expr;)*) => {$(
        impl sealed::Sealed for $type {}
        impl AsPath for $type {
            #[inline]
            fn as_path_bytes(&self) -> &[u8] {
                let $this = self;
                $bytes
            }
        }
    )*};
}

as_path! {
    str => |this| this.as_bytes();
    String => |this| this.as_bytes();
    [u8] => |this| this;
    Vec<u8> => |this| this;
    Bytes => |this| this;
    OsStr => |this| this.as_encoded_bytes();
    OsString => |this| this.as_encoded_bytes();
    Path => |this| this.as_os_str().as_encoded_bytes();
    PathBuf => |this| this.as_os_str().as_encoded_bytes();
}

impl<const N: usize> sealed::Sealed for [u8; N] {}
impl<const N: usize> AsPath for [u8; N] {
    fn as_path_bytes(&self) -> &[u8] {
        self
    }
}

impl<T: AsPath + ?Sized> sealed::Sealed for &T {}
impl<T: AsPath + ?Sized> AsPath for &T {
    #[inline]
    fn as_path_bytes(&self) -> &[u8] {
        (**self).as_path_bytes()
    }
}

/// The last component of a path, as far as it matters who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last<'a> {
    /// A name, and whether a slash follows it (then it must be a directory).
    Name { name: &'a [u8], slash: bool },
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// Nothing but slashes.
    Root,
}

/// Rejects what no path may be.
pub(crate) fn check(path: &[u8]) -> Result<(), Fault> {
    if path.is_empty() {
        return Err(ErrorKind::EmptyPath.into());
    }
    if path.contains(&0) {
        return Err(ErrorKind::NulInPath.into());
    }
    Ok(())
}

/// Splits off the last component: the rest names the directory that it is in.
pub(crate) fn split_last(path: &[u8]) -> (&[u8], Last<'_>) {
    let trimmed = trim_slashes(path);
    if trimmed.is_empty() {
        return (&[], Last::Root);
    }
    let start = trimmed
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let last = match &trimmed[start..] {
        b"." => Last::Dot,
        b".." => Last::DotDot,
        name => Last::Name {
            name,
            slash: trimmed.len() < path.len(),
        },
    };
    (&trimmed[..start], last)
}

/// The first component and what follows it, or `None` if only slashes are left.
pub(crate) fn split_first(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|byte| *byte != b'/')?;
    let rest = &path[start..];
    let end = rest
        .iter()
        .position(|byte| *byte == b'/')
        .unwrap_or(rest.len());
    Some((&rest[..end], &rest[end..]))
}

/// The path without slashes at its end.
pub(crate) fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    &path[..end]
}

/// Appends a name to a directory's path.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &'static str, slash: bool) -> Last<'static> {
        Last::Name {
            name: name.as_bytes(),
            slash,
        }
    }

    #[test]
    fn the_last_component_is_told_from_its_directory() {
        let cases: &[(&str, &str, Last)] = &[
            ("/", "", Last::Root),
            ("//", "", Last::Root),
            ("a", "", name("a", false)),
            ("/a", "/", name("a", false)),
            ("/a/", "/", name("a", true)),
            ("a//b//", "a//", name("b", true)),
            ("a/.", "a/", Last::Dot),
            ("a/./", "a/", Last::Dot),
            ("..", "", Last::DotDot),
        ];
        for (path, directory, last) in cases {
            let found = split_last(path.as_bytes());
            assert_eq!(found, (directory.as_bytes(), *last), "{path}");
        }
    }

    #[test]
    fn components_come_off_the_front() {
        let (first, rest) = split_first(b"//a/b").expect("two components");
        assert_eq!((first, rest), (&b"a"[..], &b"/b"[..]));
        assert_eq!(split_first(b"///"), None);
    }
}
