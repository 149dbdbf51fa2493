//! The directory that is exported to. Every call stays beneath it: names are single components, and directories
//! are opened one below the other without following links, whatever lies there.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use brimfs::{Metadata, Timestamp};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags, fchmod, fsetxattr,
    futimens, linkat, mkdirat, openat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// What is copied of permissions: a file that anybody may make cannot become one that runs as somebody else.
const PERMISSIONS: u32 = 0o1777;
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory of the host, open.
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
    /// The root is new: its permissions and times are ours to set.
    pub is_new: bool,
    replaces: bool,
    /// The directory that was opened last, by its path.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Host {
    /// Opens the directory, and makes it if it is not there.
    pub fn open(path: &Path, replaces: bool) -> io::Result<Self> {
        let is_new = match std::fs::create_dir(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        if !replaces && std::fs::read_dir(path)?.next().is_some() {
            let text = "the directory is not empty; --force copies into it all the same";
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, text));
        }
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        Ok(Host {
            root: rustix::fs::open(path, flags, Mode::empty())?,
            is_new,
            replaces,
            last: None,
        })
    }

    /// Opens a directory by its path below the root.
    fn directory(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        let is_last = self.last.as_ref().is_some_and(|(last, _)| last == path);
        if !is_last {
            let mut at: Option<OwnedFd> = None;
            for name in components(path) {
                let above = at.as_ref().map_or(self.root.as_fd(), OwnedFd::as_fd);
                at = Some(openat(above, name, DIRECTORY, Mode::empty())?);
            }
            self.last = at.map(|at| (path.to_vec(), at));
        }
        Ok(match &self.last {
            Some((last, directory)) if last == path => directory.as_fd(),
            _ => self.root.as_fd(),
        })
    }

    /// Opens the directory in which a path lies; gives its last name too.
    fn place<'p>(&mut self, path: &'p [u8]) -> io::Result<(BorrowedFd<'_>, &'p OsStr)> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match slash {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        Ok((self.directory(above)?, OsStr::from_bytes(name)))
    }

    /// Tries what makes a name, and once more without what has the name, if that is to be replaced.
    fn make<T>(
        &mut self,
        path: &[u8],
        try_it: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let replaces = self.replaces;
        let (above, name) = self.place(path)?;
        match try_it(above, name) {
            Err(Errno::EXIST) if replaces => {
                unlinkat(above, name, AtFlags::empty())?;
                Ok(try_it(above, name)?)
            }
            made => Ok(made?),
        }
    }

    /// Makes a directory that nobody else may look into yet.
    pub fn make_directory(&mut self, path: &[u8]) -> io::Result<()> {
        if self.replaces {
            let (above, name) = self.place(path)?;
            let known = statat(above, name, AtFlags::SYMLINK_NOFOLLOW);
            let kind = known.map(|known| FileType::from_raw_mode(known.st_mode));
            if kind == Ok(FileType::Directory) {
                return Ok(());
            }
        }
        self.make(path, |above, name| mkdirat(above, name, Mode::RWXU))
    }

    /// Makes a file that nobody else may look into yet.
    pub fn make_file(&mut self, path: &[u8]) -> io::Result<std::fs::File> {
        let flags = OFlags::WRONLY
            .union(OFlags::CREATE)
            .union(OFlags::EXCL)
            .union(OFlags::NOFOLLOW)
            .union(OFlags::CLOEXEC);
        let mode = Mode::RUSR.union(Mode::WUSR);
        self.make(path, |above, name| openat(above, name, flags, mode))
            .map(Into::into)
    }

    /// Makes a symbolic link, whatever its target is.
    pub fn make_symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let target = OsStr::from_bytes(target);
        self.make(path, |above, name| symlinkat(target, above, name))
    }

    /// Gives a file that was made before another name.
    pub fn make_link(&mut self, path: &[u8], made: &[u8]) -> io::Result<()> {
        let (above, made) = self.place(made)?;
        let above = above.try_clone_to_owned()?;
        self.make(path, |to, name| {
            linkat(&above, made, to, name, AtFlags::empty())
        })
    }

    /// What has a name, and since when; nothing if the name is free.
    pub fn look(&mut self, path: &[u8]) -> io::Result<Option<Stat>> {
        let (above, name) = self.place(path)?;
        match statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(known) => Ok(Some(known)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives what was made another name in its directory, in one step and instead of what has it.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let from = from.rsplit(|byte| *byte == b'/').next().unwrap_or(from);
        let (above, name) = self.place(to)?;
        Ok(renameat(above, OsStr::from_bytes(from), above, name)?)
    }

    /// Removes a file or a link.
    pub fn remove(&mut self, path: &[u8]) -> io::Result<()> {
        let (above, name) = self.place(path)?;
        Ok(unlinkat(above, name, AtFlags::empty())?)
    }

    /// Gives a directory its permissions and times; the root with an empty path.
    pub fn finish_directory(&mut self, path: &[u8], known: &Metadata) -> io::Result<()> {
        finish(self.directory(path)?, known)
    }

    /// Gives a symbolic link its times.
    pub fn finish_symlink(&mut self, path: &[u8], known: &Metadata) -> io::Result<()> {
        let (above, name) = self.place(path)?;
        let times = times(known);
        Ok(utimensat(above, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Gives a directory an extended attribute.
    pub fn set_attribute(&mut self, path: &[u8], name: &[u8], value: &[u8]) -> io::Result<()> {
        set_attribute(self.directory(path)?, name, value)
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &OsStr> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(OsStr::from_bytes)
}

/// Gives a file or directory its permissions and times.
pub fn finish(file: impl AsFd, known: &Metadata) -> io::Result<()> {
    fchmod(&file, Mode::from_raw_mode(known.mode() & PERMISSIONS))?;
    Ok(futimens(&file, &times(known))?)
}

/// Gives a file an extended attribute.
pub fn set_attribute(file: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    let name = OsStr::from_bytes(name);
    Ok(fsetxattr(file, name, value, XattrFlags::empty())?)
}

fn times(known: &Metadata) -> Timestamps {
    let spec = |time: Timestamp| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: spec(known.accessed()),
        last_modification: spec(known.modified()),
    }
}
