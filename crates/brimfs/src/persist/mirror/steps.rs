//! What a commit does with the host's tree, step by step. Each step can be done again: it looks whether it was done.

use std::collections::BTreeSet;
use std::io;

use crate::base::error::Fault;
use crate::cold::host_files::external_change;
use crate::io::tree::{Attributes, Moment, SIDE, Tree, TreeKind, join, split};
use crate::journal::{Redo, Time};

use super::Mirror;

/// A step that owns its paths. See [`Redo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Step {
    Move {
        from: Vec<u8>,
        to: Vec<u8>,
        inode: u64,
    },
    MakeDirectory {
        path: Vec<u8>,
        mode: u32,
    },
    Place {
        temporary: u64,
        to: Vec<u8>,
    },
    Remove {
        path: Vec<u8>,
        inode: u64,
    },
    RemoveDirectory {
        path: Vec<u8>,
        inode: u64,
    },
    /// An inode of 0 is any.
    Attributes {
        path: Vec<u8>,
        inode: u64,
        attributes: Attributes,
    },
}

/// Where a temporary file lies.
pub(super) fn temporary(number: u64) -> Vec<u8> {
    join(SIDE, format!("t-{number}").as_bytes())
}

/// Where a directory lies while others change places.
pub(super) fn waiting(number: u64) -> Vec<u8> {
    join(SIDE, format!("d-{number}").as_bytes())
}

/// Whether this is what a temporary file is called.
pub(super) fn is_temporary(name: &str) -> bool {
    let number = name.strip_prefix("t-");
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn moment(time: Time) -> Moment {
    Moment {
        seconds: time.seconds,
        nanos: time.nanos,
    }
}

pub(super) fn time(moment: Moment) -> Time {
    Time {
        seconds: moment.seconds,
        nanos: moment.nanos.min(999_999_999),
    }
}

impl From<Redo<'_>> for Step {
    fn from(redo: Redo<'_>) -> Self {
        match redo {
            Redo::Move { from, to, inode } => Step::Move {
                from: from.into(),
                to: to.into(),
                inode,
            },
            Redo::MakeDirectory { path, mode } => Step::MakeDirectory {
                path: path.into(),
                mode,
            },
            Redo::Place { temporary, to } => Step::Place {
                temporary,
                to: to.into(),
            },
            Redo::Remove { path, inode } => Step::Remove {
                path: path.into(),
                inode,
            },
            Redo::RemoveDirectory { path, inode } => Step::RemoveDirectory {
                path: path.into(),
                inode,
            },
            Redo::Attributes {
                path,
                inode,
                mode,
                owner,
                modified,
            } => Step::Attributes {
                path: path.into(),
                inode,
                attributes: Attributes {
                    mode,
                    owner,
                    modified: modified.map(moment),
                },
            },
        }
    }
}

impl Step {
    pub(in super::super) fn as_redo(&self) -> Redo<'_> {
        match self {
            Step::Move { from, to, inode } => Redo::Move {
                from,
                to,
                inode: *inode,
            },
            Step::MakeDirectory { path, mode } => Redo::MakeDirectory { path, mode: *mode },
            Step::Place { temporary, to } => Redo::Place {
                temporary: *temporary,
                to,
            },
            Step::Remove { path, inode } => Redo::Remove {
                path,
                inode: *inode,
            },
            Step::RemoveDirectory { path, inode } => Redo::RemoveDirectory {
                path,
                inode: *inode,
            },
            Step::Attributes {
                path,
                inode,
                attributes,
            } => Redo::Attributes {
                path,
                inode: *inode,
                mode: attributes.mode,
                owner: attributes.owner,
                modified: attributes.modified.map(time),
            },
        }
    }

    /// Does the step, unless it was done. Adds the directories whose names changed to `touched`.
    fn apply(&self, tree: &dyn Tree, touched: &mut BTreeSet<Vec<u8>>) -> io::Result<()> {
        let mut touch = |path: &[u8]| {
            if let Some((directory, _)) = split(path) {
                touched.insert(directory.to_vec());
            }
        };
        match self {
            Step::Move { from, to, inode } => {
                if leads_to(tree, from, *inode, TreeKind::Directory)? {
                    tree.rename(from, to)?;
                }
                touch(from);
                touch(to);
            }
            Step::MakeDirectory { path, mode } => {
                match tree.make_directory(path, *mode) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        if tree.stat(path)?.kind != TreeKind::Directory {
                            return Err(io::ErrorKind::NotADirectory.into());
                        }
                    }
                    made => made?,
                }
                touch(path);
            }
            Step::Place { temporary, to } => {
                let from = self::temporary(*temporary);
                if is_there(tree, &from)? {
                    tree.rename(&from, to)?;
                    // Both were names of one file: then the host leaves both.
                    if is_there(tree, &from)? {
                        tree.remove(&from)?;
                    }
                }
                touch(to);
            }
            Step::Remove { path, inode } => {
                let found = stat(tree, path)?;
                let is_it = found.is_some_and(|found| {
                    found.inode == *inode && found.kind != TreeKind::Directory
                });
                if is_it {
                    tree.remove(path)?;
                }
                touch(path);
            }
            Step::RemoveDirectory { path, inode } => {
                if leads_to(tree, path, *inode, TreeKind::Directory)? {
                    match tree.remove_directory(path) {
                        // What others put there stays, and comes back with the next look at the tree.
                        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                        removed => removed?,
                    }
                }
                touch(path);
            }
            Step::Attributes {
                path,
                inode,
                attributes,
            } => {
                if stat(tree, path)?.is_some_and(|found| [0, found.inode].contains(inode)) {
                    tree.set_attributes(path, attributes)?;
                }
            }
        }
        Ok(())
    }

    /// What it changes.
    pub(super) fn path(&self) -> &[u8] {
        match self {
            Step::Move { to: path, .. }
            | Step::MakeDirectory { path, .. }
            | Step::Place { to: path, .. }
            | Step::Remove { path, .. }
            | Step::RemoveDirectory { path, .. }
            | Step::Attributes { path, .. } => path,
        }
    }
}

/// What a path leads to; nothing if it leads nowhere.
///
/// # Errors
/// Those of the operating system.
pub(super) fn stat(tree: &dyn Tree, path: &[u8]) -> io::Result<Option<crate::io::tree::TreeStat>> {
    match tree.stat(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_in_the_way(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_there(tree: &dyn Tree, path: &[u8]) -> io::Result<bool> {
    stat(tree, path).map(|found| found.is_some())
}

fn leads_to(tree: &dyn Tree, path: &[u8], inode: u64, kind: TreeKind) -> io::Result<bool> {
    let found = stat(tree, path)?;
    Ok(found.is_some_and(|found| found.inode == inode && found.kind == kind))
}

/// Whether somebody else put something into the way, or took a directory away.
fn is_in_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::AlreadyExists
    )
}

/// Does all steps in their order. A step that others made impossible is passed over: the first of them comes back.
///
/// # Errors
/// Those of the disk: the steps have to be done again then, from the first.
pub(super) fn apply(
    mirror: &Mirror,
    steps: &[Step],
    touched: &mut BTreeSet<Vec<u8>>,
) -> Result<Option<Fault>, Fault> {
    let mut in_vain = None;
    for step in steps {
        if let Step::Move { .. } = step {
            // Under the paths that they have as yet.
            sync(mirror, touched)?;
            touched.clear();
        }
        match step.apply(mirror.tree(), touched) {
            Ok(()) => {}
            Err(error) if is_in_the_way(&error) => {
                in_vain.get_or_insert_with(|| {
                    external_change(step.path(), &format!("it is in the way: {error}"))
                });
            }
            Err(error) => return Err(on_host(step.path(), error)),
        }
    }
    Ok(in_vain)
}

/// Makes the names in these directories durable.
///
/// # Errors
/// Those of the disk.
pub(super) fn sync(mirror: &Mirror, touched: &BTreeSet<Vec<u8>>) -> Result<(), Fault> {
    for directory in touched {
        match mirror.tree().sync(directory) {
            // It was moved or removed after it was touched, or by others.
            Err(error) if is_in_the_way(&error) => {}
            synced => mirror.flushed(directory, synced)?,
        }
    }
    Ok(())
}

/// An error of the host, with the path.
#[cold]
pub(super) fn on_host(path: &[u8], error: io::Error) -> Fault {
    let text = format!("{:?}: {error}", String::from_utf8_lossy(path));
    Fault::disk(io::Error::new(error.kind(), text))
}
