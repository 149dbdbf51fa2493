//! From a path to a node: the cache first, then directory by directory.
//!
//! One directory is locked at a time, for reading, and only while a name is
//! looked up in it.

use smallvec::SmallVec;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::base::sync::atomic::Ordering;
use crate::namespace::cache::{Stamp, Why};
use crate::namespace::inode::{Body, FileType, Inode};
use crate::namespace::path::{self, Last, NAME_MAX};
use crate::namespace::volume::ROOT;

/// As many symbolic links may be followed on one way as Linux follows.
pub(crate) const LINKS_MAX: u32 = 40;

/// A node, and what was true when its path was resolved.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) node: Arc<Inode>,
    pub(crate) stamp: Stamp,
    /// Whether the stamp says all there is to say about the path: it may be kept.
    pub(crate) keep: bool,
}

/// Where a name is, or could be made.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) directory: Arc<Inode>,
    pub(crate) last: Last<'a>,
    /// The epoch that the directory was found under.
    pub(crate) epoch: u64,
}

/// A node in a directory, and its stamp as of then.
pub(crate) fn child(directory: &Inode, name: &[u8]) -> Result<(Arc<Inode>, u32), Fault> {
    if name.len() > NAME_MAX {
        return Err(ErrorKind::NameTooLong.into());
    }
    let state = directory.read();
    let map = state.directory().ok_or(ErrorKind::NotADirectory)?;
    let node = map.get(name).ok_or(ErrorKind::NotFound)?;
    // Read under the directory's lock: whoever removes the name changes it under that lock.
    let stamp = node.names_stamp.load(Ordering::Acquire);
    Ok((node.clone(), stamp))
}

/// The directory that a directory is in; leaving the root is an error.
pub(crate) fn parent(directory: &Inode) -> Result<Arc<Inode>, Fault> {
    if directory.number() == ROOT {
        return Err(ErrorKind::PathEscapes.into());
    }
    let state = directory.read();
    let map = state.directory().ok_or(ErrorKind::NotADirectory)?;
    // A directory that was removed under our feet leads nowhere.
    map.parent
        .upgrade()
        .ok_or_else(|| ErrorKind::NotFound.into())
}

/// The node that `path` leads to; a symbolic link at its end is followed if `follow` is set.
#[inline]
pub(crate) fn resolve(root: &Arc<Inode>, path: &[u8], follow: bool) -> Result<Found, Fault> {
    let cache = &root.volume().cache;
    if let Some((node, stamp)) = cache.get(path, follow) {
        return Ok(Found {
            node,
            stamp,
            keep: true,
        });
    }
    resolve_anew(root, path, follow)
}

/// As [`resolve`], for a path that the cache does not know; it does from now on.
fn resolve_anew(root: &Arc<Inode>, path: &[u8], follow: bool) -> Result<Found, Fault> {
    let cache = &root.volume().cache;
    let epoch = cache.epoch();
    let walked = match child_of_cached(root, path, follow)? {
        Some(walked) => walked,
        None => Walk::start(root, path)?.finish(follow)?,
    };
    let stamp = Stamp {
        epoch,
        names: walked.names_stamp,
    };
    if !walked.upward {
        cache.put(path, &walked.at, stamp, walked.via_link, Why::LookedUp);
    }
    Ok(Found {
        node: walked.at,
        stamp,
        keep: !walked.upward,
    })
}

/// The end of a path whose directory the cache knows: one name to look up, at any depth. Nothing for
/// a path that takes more.
fn child_of_cached(root: &Arc<Inode>, path: &[u8], follow: bool) -> Result<Option<Walked>, Fault> {
    path::check(path)?;
    let (prefix, last) = path::split_last(path);
    let Last::Name { name, slash: false } = last else {
        return Ok(None);
    };
    let known = root.volume().cache.get(path::trim_slashes(prefix), true);
    let Some((directory, _)) = known.filter(|(node, _)| node.is_directory()) else {
        return Ok(None);
    };
    let (at, names_stamp) = child(&directory, name)?;
    if follow && at.kind() == FileType::Symlink {
        return Ok(None);
    }
    Ok(Some(Walked {
        at,
        names_stamp,
        via_link: false,
        upward: false,
    }))
}

/// As [`resolve`], with relative paths starting at `start`, following links.
pub(crate) fn resolve_from(
    root: &Arc<Inode>,
    start: &Arc<Inode>,
    path: &[u8],
) -> Result<Arc<Inode>, Fault> {
    let mut walk = Walk::start(root, path)?;
    walk.enter_directory(start.clone());
    Ok(walk.finish(true)?.at)
}

/// The directory that the last component of `path` is in.
#[inline]
pub(crate) fn place<'a>(root: &Arc<Inode>, path: &'a [u8]) -> Result<Place<'a>, Fault> {
    path::check(path)?;
    let (prefix, last) = path::split_last(path);
    let epoch = root.volume().cache.epoch();
    let prefix = path::trim_slashes(prefix);
    let directory = if prefix.is_empty() {
        root.clone()
    } else {
        resolve(root, prefix, true)?.node
    };
    checked_place(directory, last, epoch)
}

/// As [`place`], where the place of another path is known: often it is in the same directory.
#[inline]
pub(crate) fn place_beside<'a>(
    root: &Arc<Inode>,
    path: &'a [u8],
    (other, known): (&[u8], &Place<'_>),
) -> Result<Place<'a>, Fault> {
    path::check(path)?;
    let (prefix, last) = path::split_last(path);
    if prefix != path::split_last(other).0 {
        return place(root, path);
    }
    checked_place(known.directory.clone(), last, known.epoch)
}

/// As [`place`], with relative paths starting at `start`.
pub(crate) fn place_from<'a>(
    root: &Arc<Inode>,
    start: &Arc<Inode>,
    path: &'a [u8],
) -> Result<Place<'a>, Fault> {
    if Arc::ptr_eq(root, start) || path.first() == Some(&b'/') {
        return place(root, path);
    }
    path::check(path)?;
    let (prefix, last) = path::split_last(path);
    let epoch = root.volume().cache.epoch();
    let directory = if prefix.is_empty() {
        start.clone()
    } else {
        resolve_from(root, start, prefix)?
    };
    checked_place(directory, last, epoch)
}

fn checked_place(directory: Arc<Inode>, last: Last<'_>, epoch: u64) -> Result<Place<'_>, Fault> {
    if !directory.is_directory() {
        return Err(ErrorKind::NotADirectory.into());
    }
    if let Last::Name { name, .. } = last
        && name.len() > NAME_MAX
    {
        return Err(ErrorKind::NameTooLong.into());
    }
    Ok(Place {
        directory,
        last,
        epoch,
    })
}

struct Walked {
    at: Arc<Inode>,
    names_stamp: u32,
    /// The path's own last component was a link that was followed.
    via_link: bool,
    /// The way led through `..`, so it depends on directories that are not above the end.
    upward: bool,
}

/// A component on the way, and what comes after it.
struct Step {
    name: SmallVec<[u8; 64]>,
    /// Something follows it, be it a slash.
    more: bool,
    /// It is the last one of the path itself, not of a link's target.
    last_of_path: bool,
}

/// A walk along a path, with the targets of symbolic links put in its way.
struct Walk<'a> {
    root: &'a Arc<Inode>,
    rest: &'a [u8],
    /// What is left of links' targets, the innermost last, all before `rest`.
    targets: SmallVec<[(Box<[u8]>, usize); 1]>,
    links: u32,
    /// A slash stood behind what was walked so far.
    slash: bool,
    walked: Walked,
}

impl<'a> Walk<'a> {
    fn start(root: &'a Arc<Inode>, path: &'a [u8]) -> Result<Self, Fault> {
        path::check(path)?;
        Ok(Walk {
            root,
            rest: path,
            targets: SmallVec::new(),
            links: 0,
            slash: false,
            walked: Walked {
                at: root.clone(),
                names_stamp: root.names_stamp.load(Ordering::Acquire),
                via_link: false,
                upward: false,
            },
        })
    }

    fn next(&mut self) -> Option<Step> {
        while let Some((target, at)) = self.targets.last_mut() {
            let left = &target[*at..];
            if let Some((name, after)) = path::split_first(left) {
                let name = SmallVec::from_slice(name);
                let more = !after.is_empty() || !self.rest.is_empty();
                *at = target.len() - after.len();
                self.slash = !after.is_empty();
                if after.is_empty() {
                    self.targets.pop();
                }
                return Some(Step {
                    name,
                    more: more || !self.targets.is_empty(),
                    last_of_path: false,
                });
            }
            // Only slashes are left of the target.
            self.slash = true;
            self.targets.pop();
        }
        let (name, after) = path::split_first(self.rest)?;
        self.rest = after;
        self.slash = !after.is_empty();
        Some(Step {
            name: SmallVec::from_slice(name),
            more: !after.is_empty(),
            last_of_path: path::trim_slashes(after).is_empty(),
        })
    }

    fn finish(mut self, follow: bool) -> Result<Walked, Fault> {
        while let Some(step) = self.next() {
            if !self.walked.at.is_directory() {
                return Err(ErrorKind::NotADirectory.into());
            }
            match &step.name[..] {
                b"." => {}
                b".." => {
                    self.walked.upward = true;
                    let up = parent(&self.walked.at)?;
                    self.enter_directory(up);
                }
                _ => self.enter(&step, follow)?,
            }
        }
        // Whatever a slash follows must be a directory.
        let slash = self.slash || !self.rest.is_empty();
        if slash && !self.walked.at.is_directory() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(self.walked)
    }

    fn enter(&mut self, step: &Step, follow: bool) -> Result<(), Fault> {
        let (node, stamp) = child(&self.walked.at, &step.name)?;
        if node.kind() != FileType::Symlink || !(step.more || follow) {
            self.walked.at = node;
            self.walked.names_stamp = stamp;
            return Ok(());
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(ErrorKind::TooManySymlinks.into());
        }
        self.walked.via_link |= step.last_of_path;
        let target = match &node.read().body {
            Body::Symlink(target) => target.clone(),
            _ => return Err(ErrorKind::NotFound.into()),
        };
        if target.first() == Some(&b'/') {
            self.enter_directory(self.root.clone());
        }
        self.targets.push((target, 0));
        Ok(())
    }

    fn enter_directory(&mut self, directory: Arc<Inode>) {
        self.walked.names_stamp = directory.names_stamp.load(Ordering::Acquire);
        self.walked.at = directory;
    }
}
