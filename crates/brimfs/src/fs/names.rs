//! Operations on names and on what nodes say about themselves.

use std::ops::ControlFlow;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::operations::Operation;
use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::fs::missing::make_all;
use crate::handle::file::File;
use crate::handle::open::{self, OpenOptions, Spot};
use crate::memory::content::Content;
use crate::namespace::directory::Directory;
use crate::namespace::glob;
use crate::namespace::inode::{Body, FileType, Inode};
use crate::namespace::meta::{Metadata, check_mode};
use crate::namespace::path::{self, AsPath, Last};
use crate::namespace::resolve::{self, Place};
use crate::namespace::tree::{self, RenameMode};
use crate::namespace::walk::{self, Cursor, DirEntryRef, ReadDir, Walk};

/// The longest target of a symbolic link, in bytes (as on Linux).
const TARGET_MAX: usize = 4095;

/// Fails if a name is taken.
fn free_name(place: &Place<'_>, name: &[u8]) -> Result<(), Fault> {
    match resolve::child(&place.directory, name) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// An empty directory that is not in the tree yet.
pub(crate) fn new_directory(parent: &Arc<Inode>, mode: u32) -> Result<Arc<Inode>, Fault> {
    let volume = parent.volume();
    let map = Directory::new(Arc::downgrade(parent));
    volume.new_node(
        Body::Directory(Box::new(map)),
        mode & !volume.umask,
        clock::wall_nanos(),
    )
}

/// Makes an empty directory in a place where nothing of that name is.
pub(crate) fn make_directory(
    place: &Place<'_>,
    name: &[u8],
    mode: u32,
    path: Option<&[u8]>,
) -> Result<Arc<Inode>, Fault> {
    // Looked at first, so that a limit does not hide that the name is taken.
    free_name(place, name)?;
    let node = new_directory(&place.directory, mode)?;
    let path = path.map(|path| (path, place.epoch));
    tree::link(&place.directory, name, &node, path)?;
    Ok(node)
}

impl FileSystem {
    /// Creates a directory.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::NotFound`] or [`ErrorKind::NotADirectory`] for
    /// the parent, [`ErrorKind::NodeLimit`], [`ErrorKind::MemoryLimit`], and those of bad paths:
    /// [`ErrorKind::EmptyPath`], [`ErrorKind::NulInPath`], [`ErrorKind::NameTooLong`],
    /// [`ErrorKind::PathEscapes`], [`ErrorKind::TooManySymlinks`].
    pub fn create_dir(&self, path: impl AsPath) -> Result<()> {
        self.create_dir_with(path, 0o777)
    }

    /// As [`FileSystem::create_dir`], with permission bits, less the umask.
    ///
    /// # Errors
    /// As [`FileSystem::create_dir`].
    pub fn create_dir_with(&self, path: impl AsPath, mode: u32) -> Result<()> {
        let path = path.as_path_bytes();
        self.run("create directory", path, |root| {
            check_mode(mode)?;
            let place = resolve::place(root, path)?;
            let (name, slash) = place.new_name()?;
            make_directory(&place, name, mode, (!slash).then_some(path)).map(drop)
        })
    }

    /// Creates a directory and all that are missing above it. An existing directory is no error.
    ///
    /// # Errors
    /// As [`FileSystem::create_dir`]; nothing is changed then.
    pub fn create_dir_all(&self, path: impl AsPath) -> Result<()> {
        let path = path.as_path_bytes();
        self.run("create directories", path, |root| {
            match resolve::resolve(root, path, true) {
                Ok(found) if found.node.is_directory() => return Ok(()),
                Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
                Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault),
                Err(_) => {}
            }
            make_all(root, path)
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`ErrorKind::DirectoryNotEmpty`], [`ErrorKind::NotADirectory`], [`ErrorKind::NotFound`],
    /// [`ErrorKind::RootIsBusy`].
    pub fn remove_dir(&self, path: impl AsPath) -> Result<()> {
        let path = path.as_path_bytes();
        self.counted(Operation::Remove, || {
            self.run("remove directory", path, |root| {
                let place = resolve::place(root, path)?;
                tree::remove_directory(&place)?;
                root.volume().cache.remove(path);
                Ok(())
            })
        })
    }

    /// Removes a file or symbolic link. Open handles keep the content.
    ///
    /// # Errors
    /// [`ErrorKind::IsADirectory`], [`ErrorKind::NotFound`].
    #[inline]
    pub fn remove_file(&self, path: impl AsPath) -> Result<()> {
        let path = path.as_path_bytes();
        self.counted(Operation::Remove, || {
            self.run("remove", path, |root| {
                let place = resolve::place(root, path)?;
                let (name, slash) = existing_name(&place)?;
                tree::unlink(&place, name, slash)?;
                root.volume().cache.remove(path);
                Ok(())
            })
        })
    }

    /// The names in a directory, in the order of their creation; `.` and `..` are left out.
    ///
    /// Names that are there throughout come exactly once, whatever changes meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotADirectory`].
    pub fn read_dir(&self, path: impl AsPath) -> Result<ReadDir> {
        let path = path.as_path_bytes();
        self.run("list", path, |root| {
            let node = resolve::resolve(root, path, true)?.node;
            Cursor::new(node).map(ReadDir)
        })
    }

    /// Calls `visit` with every name in a directory, without an allocation for any.
    ///
    /// The directory is locked for reading meanwhile: `visit` must not use the filesystem.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotADirectory`].
    pub fn visit_dir(
        &self,
        path: impl AsPath,
        visit: impl FnMut(DirEntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let path = path.as_path_bytes();
        self.run_once(
            "list",
            path,
            |()| 0,
            |root| {
                let node = resolve::resolve(root, path, true)?.node;
                walk::visit(&node, visit)
            },
        )
    }

    /// What is known about the node that a path leads to. O(1) for a path that was used before.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotADirectory`], and those of bad paths.
    #[inline]
    pub fn metadata(&self, path: impl AsPath) -> Result<Metadata> {
        let path = path.as_path_bytes();
        self.run("stat", path, |root| {
            Ok(resolve::resolve(root, path, true)?.node.metadata())
        })
    }

    /// As [`FileSystem::metadata`], about a symbolic link itself if the path ends in one.
    ///
    /// # Errors
    /// As [`FileSystem::metadata`].
    pub fn symlink_metadata(&self, path: impl AsPath) -> Result<Metadata> {
        let path = path.as_path_bytes();
        self.run("stat", path, |root| {
            Ok(resolve::resolve(root, path, false)?.node.metadata())
        })
    }

    /// Whether a path leads to something; `false` for any error too.
    #[inline]
    #[must_use]
    pub fn exists(&self, path: impl AsPath) -> bool {
        let path = path.as_path_bytes();
        self.volume().check().is_ok() && resolve::resolve(self.root(), path, true).is_ok()
    }

    /// Whether a path leads to something.
    ///
    /// # Errors
    /// Those of bad paths, [`ErrorKind::Closed`].
    pub fn try_exists(&self, path: impl AsPath) -> Result<bool> {
        let path = path.as_path_bytes();
        self.run("look up", path, |root| {
            match resolve::resolve(root, path, true) {
                Ok(_) => Ok(true),
                Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(false),
                Err(fault) => Err(fault),
            }
        })
    }

    /// Renames, replacing what is at `to` as POSIX does. Atomic.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidArgument`] for a directory into itself,
    /// [`ErrorKind::DirectoryNotEmpty`], [`ErrorKind::IsADirectory`], [`ErrorKind::NotADirectory`],
    /// [`ErrorKind::RootIsBusy`].
    #[inline]
    pub fn rename(&self, from: impl AsPath, to: impl AsPath) -> Result<()> {
        self.rename_with(from, to, RenameMode::Replace)
    }

    /// As [`FileSystem::rename`], with a choice of what happens to what is at `to`.
    ///
    /// # Errors
    /// As [`FileSystem::rename`], and [`ErrorKind::AlreadyExists`] for [`RenameMode::NoReplace`].
    pub fn rename_with(&self, from: impl AsPath, to: impl AsPath, mode: RenameMode) -> Result<()> {
        let (from, to) = (from.as_path_bytes(), to.as_path_bytes());
        self.run_two(
            "rename",
            (from, to),
            |_| 0,
            |root| {
                let source = resolve::place(root, from)?;
                let target = resolve::place_beside(root, to, (from, &source))?;
                tree::rename(&source, &target, mode)?;
                root.volume().cache.remove(from);
                Ok(())
            },
        )
    }

    /// Creates a symbolic link at `link` that leads to `target`, which need not exist.
    ///
    /// # Errors
    /// As [`FileSystem::create_dir`]; [`ErrorKind::NameTooLong`] for a target over 4,095 bytes.
    pub fn symlink(&self, target: impl AsPath, link: impl AsPath) -> Result<()> {
        let (target, link) = (target.as_path_bytes(), link.as_path_bytes());
        self.run_two(
            "create symbolic link",
            (target, link),
            |_| 0,
            |root| {
                path::check(target)?;
                if target.len() > TARGET_MAX {
                    return Err(ErrorKind::NameTooLong.into());
                }
                let place = resolve::place(root, link)?;
                let (name, slash) = place.new_name()?;
                free_name(&place, name)?;
                if slash {
                    return Err(ErrorKind::NotFound.into());
                }
                let body = Body::Symlink(target.into());
                let node = root.volume().new_node(body, 0o777, clock::wall_nanos())?;
                tree::link(&place.directory, name, &node, None)
            },
        )
    }

    /// The target of a symbolic link, as it was given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no symbolic link, [`ErrorKind::NotFound`].
    pub fn read_link(&self, path: impl AsPath) -> Result<Vec<u8>> {
        let path = path.as_path_bytes();
        self.run("read link", path, |root| {
            let node = resolve::resolve(root, path, false)?.node;
            match &node.read().body {
                Body::Symlink(target) => Ok(target.to_vec()),
                _ => Err(Fault::text(
                    ErrorKind::InvalidArgument,
                    "it is no symbolic link",
                )),
            }
        })
    }

    /// Gives an existing file one more name. A symbolic link is not followed.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::NotPermitted`] for a directory,
    /// [`ErrorKind::NotFound`].
    pub fn hard_link(&self, existing: impl AsPath, link: impl AsPath) -> Result<()> {
        let (existing, link) = (existing.as_path_bytes(), link.as_path_bytes());
        self.run_two(
            "link",
            (existing, link),
            |_| 0,
            |root| {
                let node = resolve::resolve(root, existing, false)?.node;
                let place = resolve::place(root, link)?;
                let (name, slash) = place.new_name()?;
                free_name(&place, name)?;
                if slash {
                    return Err(ErrorKind::NotFound.into());
                }
                if node.is_directory() {
                    return Err(ErrorKind::NotPermitted.into());
                }
                tree::hard_link(&place, name, &node)
            },
        )
    }

    /// The path without symbolic links, `.` and `..`, absolute.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of bad paths. Costs O(siblings) at every level.
    pub fn canonicalize(&self, path: impl AsPath) -> Result<Vec<u8>> {
        let path = path.as_path_bytes();
        self.run("canonicalize", path, |root| {
            let node = resolve::resolve(root, path, true)?.node;
            if node.is_directory() {
                return walk::path_of_directory(&node);
            }
            let mut at = path.to_vec();
            for _ in 0..=40 {
                let place = resolve::place(root, &at)?;
                let (name, _) = existing_name(&place)?;
                let (node, _) = resolve::child(&place.directory, name)?;
                let canonical = walk::path_of(&place.directory, name)?;
                let target = match &node.read().body {
                    Body::Symlink(target) => target.to_vec(),
                    _ => return Ok(canonical),
                };
                at = if target.first() == Some(&b'/') {
                    target
                } else {
                    path::join(&walk::path_of_directory(&place.directory)?, &target)
                };
            }
            Err(ErrorKind::TooManySymlinks.into())
        })
    }

    /// Creates a file if it is missing, else sets its times to now.
    ///
    /// # Errors
    /// As [`FileSystem::create_dir`].
    pub fn touch(&self, path: impl AsPath) -> Result<()> {
        let path = path.as_path_bytes();
        self.run("touch", path, |root| {
            loop {
                let target = match open::spot(root, path, true)? {
                    Spot::Taken(node) => {
                        node.touch()?;
                        return Ok(());
                    }
                    Spot::Free(target) => target,
                };
                let node = open::new_file(root, Content::Empty, 0o666)?;
                match target.link(&node, path) {
                    // Somebody else was faster.
                    Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {}
                    result => return result,
                }
            }
        })
    }

    /// All nodes of a tree, a directory before what is in it; symbolic links are not followed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of bad paths.
    pub fn walk(&self, path: impl AsPath) -> Result<Walk> {
        let path = path.as_path_bytes();
        self.run("walk", path, |root| {
            let node = resolve::resolve(root, path, false)?.node;
            Ok(Walk::new(node, path))
        })
    }

    /// All paths that match a pattern: absolute, sorted, each once.
    ///
    /// `*` matches any part of a name, `?` one character, `[abc]`, `[a-z]` and `[!abc]` one
    /// character of a set, and `**` as a whole component any number of directories.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyPath`], [`ErrorKind::NulInPath`].
    pub fn glob(&self, pattern: impl AsPath) -> Result<Vec<Vec<u8>>> {
        let pattern = pattern.as_path_bytes();
        self.run("glob", pattern, |root| glob::glob(root, pattern))
    }

    /// Opens a file for reading. See [`OpenOptions`] for other ways.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    #[inline]
    pub fn open(&self, path: impl AsPath) -> Result<File> {
        OpenOptions::new().read(true).open(self, path)
    }

    /// Opens a file for writing; creates it if it is missing and empties it if not.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn create(&self, path: impl AsPath) -> Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self, path)
    }

    /// The type of what a path leads to, or `None` if there is nothing or the path is bad.
    #[must_use]
    pub fn file_type(&self, path: impl AsPath) -> Option<FileType> {
        let path = path.as_path_bytes();
        self.volume().check().ok()?;
        let found = resolve::resolve(self.root(), path, true).ok()?;
        Some(found.node.kind())
    }
}

impl OpenOptions {
    /// Opens a file, and waits for its file lock.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::AlreadyExists`], [`ErrorKind::IsADirectory`],
    /// [`ErrorKind::InvalidArgument`] for options that do not go together,
    /// [`ErrorKind::LockTimeout`], [`ErrorKind::WouldBlock`] and [`ErrorKind::Deadlock`] for the
    /// file lock (the message says who holds it), [`ErrorKind::NodeLimit`],
    /// [`ErrorKind::MemoryLimit`], and those of bad paths.
    #[inline]
    pub fn open(&self, fs: &FileSystem, path: impl AsPath) -> Result<File> {
        let path = path.as_path_bytes();
        let opened = fs.counted(Operation::Open, || {
            fs.run_once(
                "open",
                path,
                |_| 0,
                |root| {
                    self.check()?;
                    let wait = self.wait.unwrap_or(fs.wait());
                    self.open_path(root, path, wait)
                },
            )
        });
        opened.map(|opened| opened.into_file(path))
    }
}

/// The name of something that is to exist, not the root.
pub(crate) fn existing_name<'a>(place: &Place<'a>) -> Result<(&'a [u8], bool), Fault> {
    match place.last {
        Last::Name { name, slash } => Ok((name, slash)),
        Last::DotDot if place.directory.number() == crate::namespace::volume::ROOT => {
            Err(ErrorKind::PathEscapes.into())
        }
        Last::Dot | Last::DotDot | Last::Root => Err(ErrorKind::IsADirectory.into()),
    }
}
