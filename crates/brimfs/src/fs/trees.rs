//! Whole trees: copy and remove, however deep, without recursion.

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::operations::Operation;
use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::fs::names::{existing_name, make_directory};
use crate::fs::whole::copy_into;
use crate::handle::wait::Wait;
use crate::namespace::inode::{Body, FileType, Inode};
use crate::namespace::path::{AsPath, Last};
use crate::namespace::resolve::{self, Place};
use crate::namespace::tree;
use crate::namespace::walk::Cursor;

/// Where a name is in a directory.
pub(crate) fn place_in<'a>(directory: &Arc<Inode>, name: &'a [u8]) -> Place<'a> {
    Place {
        directory: directory.clone(),
        last: Last::Name { name, slash: false },
        epoch: directory.volume().cache.epoch(),
    }
}

/// Empties a directory. What others create meanwhile is removed too, or seen as not empty.
fn empty(top: &Arc<Inode>) -> Result<(), Fault> {
    let mut levels = vec![(Cursor::new(top.clone())?, top.clone(), Box::from(&b""[..]))];
    while let Some((cursor, directory, _)) = levels.last_mut() {
        match cursor.next() {
            Some((name, node)) if node.is_directory() => {
                levels.push((Cursor::new(node.clone())?, node, name));
            }
            Some((name, _)) => {
                ignore_missing(tree::unlink(&place_in(directory, &name), &name, false))?;
            }
            None => {
                let (_, _, name) = levels.pop().expect("a level was just looked at");
                if let Some((_, above, _)) = levels.last() {
                    ignore_missing(tree::remove_directory(&place_in(above, &name)))?;
                }
            }
        }
    }
    Ok(())
}

fn ignore_missing<T>(result: Result<T, Fault>) -> Result<(), Fault> {
    match result {
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// Copies what is in one directory into another, which is not below it.
fn copy_contents(from: &Arc<Inode>, to: &Arc<Inode>, wait: Wait) -> Result<(), Fault> {
    let mut levels = vec![(Cursor::new(from.clone())?, to.clone())];
    while let Some((cursor, target)) = levels.last_mut() {
        let Some((name, node)) = cursor.next() else {
            levels.pop();
            continue;
        };
        let place = place_in(target, &name);
        match node.kind() {
            FileType::Directory => {
                let made = copy_directory(&place, &name, &node)?;
                levels.push((Cursor::new(node)?, made));
            }
            FileType::File => copy_into(&place, &name, &node, wait)?,
            FileType::Symlink => copy_link(&place, &name, &node)?,
        }
    }
    Ok(())
}

fn copy_directory(
    place: &Place<'_>,
    name: &[u8],
    source: &Arc<Inode>,
) -> Result<Arc<Inode>, Fault> {
    let made = make_directory(place, name, 0o777, None)?;
    let mode = source.metadata().mode();
    made.set_mode(mode)?;
    Ok(made)
}

fn copy_link(place: &Place<'_>, name: &[u8], source: &Arc<Inode>) -> Result<(), Fault> {
    let target = match &source.read().body {
        Body::Symlink(target) => target.clone(),
        _ => return Ok(()),
    };
    let node =
        place
            .directory
            .volume()
            .new_node(Body::Symlink(target), 0o777, clock::wall_nanos())?;
    tree::link(&place.directory, name, &node, None)
}

impl FileSystem {
    /// Removes a directory and all in it, or a file or symbolic link.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::RootIsBusy`], [`ErrorKind::DirectoryNotEmpty`] if
    /// others keep creating in it. O(nodes), any depth.
    pub fn remove_dir_all(&self, path: impl AsPath) -> Result<()> {
        let path = path.as_path_bytes();
        self.counted(Operation::Remove, || {
            self.run("remove tree", path, |root| {
                let place = resolve::place(root, path)?;
                if place.last == Last::Root {
                    return Err(ErrorKind::RootIsBusy.into());
                }
                let (name, slash) = existing_name(&place)?;
                let (node, _) = resolve::child(&place.directory, name)?;
                if node.is_directory() {
                    empty(&node)?;
                    tree::remove_directory(&place)?;
                } else {
                    tree::unlink(&place, name, slash)?;
                }
                root.volume().cache.remove(path);
                Ok(())
            })
        })
    }

    /// Copies a directory and all in it to a path where nothing is yet. Files share their chunks;
    /// hard links become files of their own.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidArgument`] for a copy into itself,
    /// [`ErrorKind::NotADirectory`], limits, and the file locks of what is copied. What was copied
    /// until then is removed again.
    pub fn copy_dir_all(&self, from: impl AsPath, to: impl AsPath) -> Result<()> {
        let (from, to) = (from.as_path_bytes(), to.as_path_bytes());
        self.run_two(
            "copy tree",
            (from, to),
            |_| 0,
            |root| {
                let source = resolve::resolve(root, from, true)?.node;
                if !source.is_directory() {
                    return Err(ErrorKind::NotADirectory.into());
                }
                let place = resolve::place(root, to)?;
                let (name, _) = place.new_name()?;
                if resolve::child(&place.directory, name).is_ok() {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                if tree::lies_within(&place.directory, &source) {
                    return Err(Fault::text(
                        ErrorKind::InvalidArgument,
                        "a directory cannot be copied into itself",
                    ));
                }
                let made = copy_directory(&place, name, &source)?;
                copy_contents(&source, &made, self.wait()).inspect_err(|_| {
                    // What was copied goes; what else somebody put there meanwhile goes with it.
                    drop(empty(&made));
                    drop(tree::remove_directory(&place));
                })
            },
        )
    }
}
