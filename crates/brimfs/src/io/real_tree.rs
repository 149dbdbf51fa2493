//! Trees of files of this machine: every call goes beneath a directory that is held open.
//!
//! A path is walked component by component, each opened without following a symbolic link, so whoever swaps a
//! directory for a link gets an error and never leads outside.

use std::path::Path;
use std::{fmt, io};

use crate::io::tree::Tree;

/// Opens a directory of this machine as a tree, and creates it if `create` says so and it is missing.
///
/// # Errors
/// `NotFound`, `NotADirectory` or another error of the operating system; `Unsupported` where it has no calls
/// beneath a descriptor.
pub fn open_tree(path: &Path, create: bool) -> io::Result<Box<dyn Tree>> {
    imp::open(path, create).map(|tree| Box::new(tree) as Box<dyn Tree>)
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;
    use std::path::Path;

    pub(super) fn open(_path: &Path, _create: bool) -> io::Result<super::RealTree> {
        let text =
            "the mirror layout needs calls beneath a descriptor, which this system is not used for";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}

/// An open directory and what is below it.
pub struct RealTree {
    #[cfg(target_os = "linux")]
    root: std::fs::File,
}

impl fmt::Debug for RealTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RealTree")
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::ffi::{CString, OsString};
    use std::fs::{File, Metadata};
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, RawFd};
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::Path;

    use super::RealTree;
    use crate::base::sync::Arc;
    use crate::io::beneath::{Beneath, names_of};
    use crate::io::directory::Directory;
    use crate::io::host_memory::process_owner;
    use crate::io::real_directory::{Opening, RealDirectory};
    use crate::io::tree::{
        Attributes, Listed, Moment, SIDE, Tree, TreeFile, TreeKind, TreeStat, is_plain_path, split,
    };

    const DIRECTORY: i32 = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;

    pub(super) fn open(path: &Path, create: bool) -> io::Result<RealTree> {
        if create {
            drop(RealDirectory::open(path, Opening::Create)?);
        }
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options.read(true),
            libc::O_DIRECTORY | libc::O_CLOEXEC,
        );
        options.open(path).map(|root| RealTree { root })
    }

    fn c_name(name: &[u8]) -> io::Result<CString> {
        CString::new(name).map_err(io::Error::from)
    }

    fn check(code: i32) -> io::Result<()> {
        if code == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    fn open_at(at: RawFd, name: &[u8], flags: i32) -> io::Result<File> {
        let name = c_name(name)?;
        loop {
            // SAFETY: the descriptor is open and the name ends with NUL.
            let found = unsafe { libc::openat(at, name.as_ptr(), flags, 0o600) };
            if found >= 0 {
                // SAFETY: the call gave a new descriptor, which nobody else has.
                return Ok(unsafe { File::from_raw_fd(found) });
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // A symbolic link, which is not followed.
                Some(libc::ELOOP) => return Err(io::ErrorKind::NotADirectory.into()),
                _ => return Err(error),
            }
        }
    }

    /// What is held open while a name in it is used.
    enum Parent<'a> {
        Root(&'a File),
        Below(File),
    }

    impl Parent<'_> {
        fn fd(&self) -> RawFd {
            match self {
                Parent::Root(file) => file.as_raw_fd(),
                Parent::Below(file) => file.as_raw_fd(),
            }
        }
    }

    impl RealTree {
        fn directory(&self, path: &[u8]) -> io::Result<Parent<'_>> {
            if !is_plain_path(path) {
                return Err(not_plain(path));
            }
            let mut at = Parent::Root(&self.root);
            if path.is_empty() {
                return Ok(at);
            }
            for name in path.split(|byte| *byte == b'/') {
                at = Parent::Below(open_at(at.fd(), name, libc::O_PATH | DIRECTORY)?);
            }
            Ok(at)
        }

        fn parent<'a>(&'a self, path: &[u8]) -> io::Result<(Parent<'a>, CString)> {
            let (directory, name) = split(path).ok_or_else(|| not_plain(path))?;
            if !is_plain_path(name) {
                return Err(not_plain(path));
            }
            Ok((self.directory(directory)?, c_name(name)?))
        }

        fn readable_directory(&self, path: &[u8]) -> io::Result<File> {
            let parent = self.directory(path)?;
            open_at(parent.fd(), b".", libc::O_RDONLY | DIRECTORY)
        }
    }

    fn not_plain(path: &[u8]) -> io::Error {
        let path = String::from_utf8_lossy(path);
        let text = format!("{path:?} is no path beneath a directory");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    }

    fn stat_at(at: RawFd, name: &CString) -> io::Result<TreeStat> {
        let mut found = std::mem::MaybeUninit::<libc::stat64>::uninit();
        // SAFETY: the descriptor is open, the name ends with NUL, and there is room for the answer.
        let code = unsafe {
            libc::fstatat64(
                at,
                name.as_ptr(),
                found.as_mut_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
            )
        };
        check(code)?;
        // SAFETY: the call succeeded, so it filled it.
        let found = unsafe { found.assume_init() };
        Ok(TreeStat {
            kind: kind_of(found.st_mode),
            inode: found.st_ino,
            links: found.st_nlink,
            len: u64::try_from(found.st_size).unwrap_or(0),
            mode: found.st_mode & 0o7777,
            owner: (found.st_uid, found.st_gid),
            accessed: moment(found.st_atime, found.st_atime_nsec),
            modified: moment(found.st_mtime, found.st_mtime_nsec),
            changed: moment(found.st_ctime, found.st_ctime_nsec),
        })
    }

    fn kind_of(mode: u32) -> TreeKind {
        match mode & libc::S_IFMT {
            libc::S_IFREG => TreeKind::File,
            libc::S_IFDIR => TreeKind::Directory,
            libc::S_IFLNK => TreeKind::Symlink,
            _ => TreeKind::Other,
        }
    }

    fn moment(seconds: i64, nanos: i64) -> Moment {
        Moment {
            seconds,
            nanos: u32::try_from(nanos).unwrap_or(0),
        }
    }

    fn stat_of(found: &Metadata) -> TreeStat {
        TreeStat {
            kind: kind_of(found.mode()),
            inode: found.ino(),
            links: found.nlink(),
            len: found.size(),
            mode: found.mode() & 0o7777,
            owner: (found.uid(), found.gid()),
            accessed: moment(found.atime(), found.atime_nsec()),
            modified: moment(found.mtime(), found.mtime_nsec()),
            changed: moment(found.ctime(), found.ctime_nsec()),
        }
    }

    /// What only a privileged process may do is left undone.
    fn as_permitted(done: io::Result<()>) -> io::Result<()> {
        match done {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP)
                ) =>
            {
                Ok(())
            }
            done => done,
        }
    }

    fn set_attributes(file: &File, attributes: &Attributes) -> io::Result<()> {
        let found = file.metadata()?;
        let (uid, gid) = attributes.owner;
        if (found.uid(), found.gid()) != (uid, gid) {
            // SAFETY: the descriptor is open.
            as_permitted(check(unsafe { libc::fchown(file.as_raw_fd(), uid, gid) }))?;
        }
        // After the owner: a change of that takes bits away.
        // SAFETY: the descriptor is open.
        let mode = unsafe { libc::fchmod(file.as_raw_fd(), attributes.mode & 0o7777) };
        as_permitted(check(mode))?;
        if let Some(modified) = attributes.modified {
            let times = [
                libc::timespec {
                    tv_sec: 0,
                    tv_nsec: libc::UTIME_OMIT,
                },
                libc::timespec {
                    tv_sec: modified.seconds,
                    tv_nsec: i64::from(modified.nanos),
                },
            ];
            // SAFETY: the descriptor is open and both times are there.
            let set = unsafe { libc::futimens(file.as_raw_fd(), times.as_ptr()) };
            as_permitted(check(set))?;
        }
        Ok(())
    }

    #[derive(Debug)]
    struct RealTreeFile(File);

    impl TreeFile for RealTreeFile {
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
            self.0.read_at(into, offset)
        }

        fn write_all_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
            self.0.write_all_at(from, offset)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn set_attributes(&self, attributes: &Attributes) -> io::Result<()> {
            set_attributes(&self.0, attributes)
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync_all()
        }

        fn stat(&self) -> io::Result<TreeStat> {
            self.0.metadata().map(|found| stat_of(&found))
        }
    }

    impl Tree for RealTree {
        fn side(&self, create: bool) -> io::Result<Option<Arc<dyn Directory>>> {
            let open = || open_at(self.root.as_raw_fd(), SIDE, libc::O_RDONLY | DIRECTORY);
            let file = match open() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !create {
                        return Ok(None);
                    }
                    self.make_directory(SIDE, 0o700)?;
                    self.root.sync_all()?;
                    open()?
                }
                found => found?,
            };
            let (user, _) = process_owner();
            if create && user != 0 && file.metadata()?.uid() != user {
                let text = "the directory for side data belongs to another user";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            let directory = RealDirectory::within(Beneath::over(file), !create);
            Ok(Some(Arc::new(directory)))
        }

        fn list(&self, path: &[u8]) -> io::Result<Vec<Listed>> {
            let directory = self.readable_directory(path)?;
            let fd = directory.as_raw_fd();
            let mut listed = Vec::new();
            for name in names_of(&directory)? {
                let name: Vec<u8> = OsString::into_vec(name);
                match stat_at(fd, &c_name(&name)?) {
                    Ok(stat) => listed.push(Listed {
                        name: name.into(),
                        stat,
                    }),
                    // It went meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(listed)
        }

        fn stat(&self, path: &[u8]) -> io::Result<TreeStat> {
            if path.is_empty() {
                return self.root.metadata().map(|found| stat_of(&found));
            }
            let (parent, name) = self.parent(path)?;
            stat_at(parent.fd(), &name)
        }

        fn open(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
            let (parent, name) = self.parent(path)?;
            let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC;
            let file = match open_at(parent.fd(), name.as_bytes(), flags) {
                // A socket, or a device that is not there.
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                opened => opened?,
            };
            if !file.metadata()?.is_file() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            Ok(Box::new(RealTreeFile(file)))
        }

        fn create(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
            let (parent, name) = self.parent(path)?;
            let flags =
                libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
            let file = open_at(parent.fd(), name.as_bytes(), flags)?;
            Ok(Box::new(RealTreeFile(file)))
        }

        fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
            let (parent, name) = self.parent(path)?;
            let mut target = vec![0; libc::PATH_MAX as usize + 1];
            // SAFETY: the descriptor is open, the name ends with NUL, and the buffer is as long as is said.
            let len = unsafe {
                libc::readlinkat(
                    parent.fd(),
                    name.as_ptr(),
                    target.as_mut_ptr().cast(),
                    target.len(),
                )
            };
            match usize::try_from(len) {
                Ok(len) => {
                    target.truncate(len);
                    Ok(target)
                }
                Err(_) => Err(io::Error::last_os_error()),
            }
        }

        fn symlink(&self, target: &[u8], path: &[u8]) -> io::Result<()> {
            let (parent, name) = self.parent(path)?;
            let target = c_name(target)?;
            // SAFETY: the descriptor is open and both texts end with NUL.
            check(unsafe { libc::symlinkat(target.as_ptr(), parent.fd(), name.as_ptr()) })
        }

        fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
            let ((from, old), (to, new)) = (self.parent(from)?, self.parent(to)?);
            // Without flags a symbolic link is linked itself.
            // SAFETY: both descriptors are open and both names end with NUL.
            check(unsafe { libc::linkat(from.fd(), old.as_ptr(), to.fd(), new.as_ptr(), 0) })
        }

        fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
            let ((from, old), (to, new)) = (self.parent(from)?, self.parent(to)?);
            // SAFETY: both descriptors are open and both names end with NUL.
            check(unsafe { libc::renameat(from.fd(), old.as_ptr(), to.fd(), new.as_ptr()) })
        }

        fn remove(&self, path: &[u8]) -> io::Result<()> {
            let (parent, name) = self.parent(path)?;
            // SAFETY: the descriptor is open and the name ends with NUL.
            check(unsafe { libc::unlinkat(parent.fd(), name.as_ptr(), 0) })
        }

        fn make_directory(&self, path: &[u8], mode: u32) -> io::Result<()> {
            let (parent, name) = self.parent(path)?;
            // SAFETY: the descriptor is open and the name ends with NUL.
            check(unsafe { libc::mkdirat(parent.fd(), name.as_ptr(), mode & 0o7777) })
        }

        fn remove_directory(&self, path: &[u8]) -> io::Result<()> {
            let (parent, name) = self.parent(path)?;
            // SAFETY: the descriptor is open and the name ends with NUL.
            check(unsafe { libc::unlinkat(parent.fd(), name.as_ptr(), libc::AT_REMOVEDIR) })
        }

        fn set_attributes(&self, path: &[u8], attributes: &Attributes) -> io::Result<()> {
            let (parent, name) = self.parent(path)?;
            let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC;
            let file = open_at(parent.fd(), name.as_bytes(), flags)?;
            let found = file.metadata()?;
            if !found.is_file() && !found.is_dir() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            set_attributes(&file, attributes)
        }

        fn sync(&self, path: &[u8]) -> io::Result<()> {
            self.readable_directory(path)?.sync_all()
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
