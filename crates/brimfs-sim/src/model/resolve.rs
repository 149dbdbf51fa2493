//! Paths to inodes, as Linux resolves them.
//!
//! The one difference by design: `..` above the root is an error of its own,
//! where Linux stays at the root.

use super::{Body, Ino, Model, ROOT, Refusal};

/// What to do with a symbolic link as the last component.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// Follow it.
    Follow,
    /// Follow it, to make a file where it leads: a slash behind the name is refused.
    Create,
    /// Take it as it is, unless a slash follows.
    Keep,
    /// Take it as it is whatever follows: for calls that change the entry itself.
    Entry,
}

/// The kind of the last component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Root,
    Dot,
    DotDot,
    Name(Vec<u8>),
}

/// Where a path leads.
pub(super) struct Place {
    /// The directory that holds the last component.
    pub(super) parent: Ino,
    pub(super) tail: Tail,
    /// What is there, if anything.
    pub(super) ino: Option<Ino>,
    /// Whether slashes follow the last component.
    pub(super) slash: bool,
}

/// More symbolic links than this on one way are a loop.
const MAX_LINKS: usize = 40;
const MAX_NAME: usize = 255;

#[derive(Clone)]
struct Piece {
    name: Vec<u8>,
    slash: bool,
}

fn split(path: &[u8]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        if !part.is_empty() {
            pieces.push(Piece {
                name: part.to_vec(),
                slash: true,
            });
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.slash = path.ends_with(b"/");
    }
    pieces
}

impl Model {
    /// The inode at `path`, which must exist.
    pub(super) fn lookup(&self, path: &[u8], last: Last) -> Result<Ino, Refusal> {
        let place = self.place(path, last)?;
        place.ino.ok_or(libc::ENOENT.into())
    }

    /// Where `path` leads; only the last component may be missing.
    pub(super) fn place(&self, path: &[u8], last: Last) -> Result<Place, Refusal> {
        if path.is_empty() {
            return Err(libc::ENOENT.into());
        }
        let mut todo = split(path);
        todo.reverse();
        let mut at = Place {
            parent: ROOT,
            tail: Tail::Root,
            ino: Some(ROOT),
            slash: true,
        };
        let mut dir = ROOT;
        let mut links = 0;
        while let Some(piece) = todo.pop() {
            let is_last = todo.is_empty();
            let named = !matches!(piece.name.as_slice(), b"." | b"..");
            if is_last && named && piece.slash && last == Last::Create {
                return Err(libc::EISDIR.into());
            }
            let found = match self.step(dir, &piece) {
                // Left to the caller, see `check_name`.
                Err(_) if is_last && last == Last::Entry && piece.name.len() > MAX_NAME => None,
                other => other?,
            };
            let Some(found) = found else {
                // Only the last component may be missing.
                if !is_last {
                    return Err(libc::ENOENT.into());
                }
                return Ok(Place {
                    parent: dir,
                    tail: Tail::Name(piece.name),
                    ino: None,
                    slash: piece.slash,
                });
            };
            let slash_follows = piece.slash && last != Last::Entry;
            if let Body::Link(target) = &self.node(found).body
                && (!is_last || matches!(last, Last::Follow | Last::Create) || slash_follows)
            {
                links += 1;
                if links > MAX_LINKS {
                    return Err(libc::ELOOP.into());
                }
                if target.starts_with(b"/") {
                    dir = ROOT;
                    at = Place {
                        parent: ROOT,
                        tail: Tail::Root,
                        ino: Some(ROOT),
                        slash: true,
                    };
                }
                let mut more = split(target);
                if let Some(end) = more.last_mut() {
                    end.slash |= piece.slash;
                }
                todo.extend(more.into_iter().rev());
                continue;
            }
            at = Place {
                parent: dir,
                tail: tail_of(&piece.name),
                ino: Some(found),
                slash: piece.slash,
            };
            let must_be_dir = !is_last || slash_follows;
            if must_be_dir && !self.is_dir(found) {
                return Err(libc::ENOTDIR.into());
            }
            if self.is_dir(found) {
                dir = found;
            }
        }
        Ok(at)
    }

    /// The place of an entry, whose name may not be too long.
    pub(super) fn entry(&self, path: &[u8]) -> Result<Place, Refusal> {
        let place = self.place(path, Last::Entry)?;
        check_name(&place)?;
        Ok(place)
    }

    /// One component below the directory `dir`.
    fn step(&self, dir: Ino, piece: &Piece) -> Result<Option<Ino>, Refusal> {
        match piece.name.as_slice() {
            b"." => Ok(Some(dir)),
            b".." if dir == ROOT => Err(Refusal::by_design(libc::EINVAL)),
            b".." => Ok(Some(self.dir(dir).parent)),
            name if name.len() > MAX_NAME => Err(libc::ENAMETOOLONG.into()),
            name => Ok(self.dir(dir).get(name)),
        }
    }

    /// The absolute path of a directory.
    pub(super) fn path_of_dir(&self, mut ino: Ino) -> Vec<u8> {
        let mut path = Vec::new();
        while ino != ROOT {
            let parent = self.dir(ino).parent;
            let name = self.dir(parent).name_of(ino);
            let mut longer = b"/".to_vec();
            longer.extend_from_slice(name);
            longer.append(&mut path);
            path = longer;
            ino = parent;
        }
        path
    }

    /// Whether `ino` is `below` or one of the directories above it.
    pub(super) fn is_ancestor(&self, ino: Ino, below: Ino) -> bool {
        let mut at = below;
        loop {
            if at == ino {
                return true;
            }
            if at == ROOT {
                return false;
            }
            at = self.dir(at).parent;
        }
    }
}

/// Refuses an entry's name that is too long. [`Last::Entry`] leaves that to
/// the caller, because renames look at both directories first.
pub(super) fn check_name(place: &Place) -> Result<(), Refusal> {
    match &place.tail {
        Tail::Name(name) if name.len() > MAX_NAME => Err(libc::ENAMETOOLONG.into()),
        _ => Ok(()),
    }
}

fn tail_of(name: &[u8]) -> Tail {
    match name {
        b"." => Tail::Dot,
        b".." => Tail::DotDot,
        name => Tail::Name(name.to_vec()),
    }
}
