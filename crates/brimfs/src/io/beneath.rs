//! Calls on names beneath a directory that is held open.
//!
//! Linux resolves them at the descriptor. Elsewhere they go by the path, which is as good as long as
//! nobody moves the directory.

#[cfg(not(target_os = "linux"))]
pub(super) use by_path::Beneath;
#[cfg(target_os = "linux")]
pub(super) use linux::{Beneath, names_of};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{CStr, CString, OsString};
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use crate::io::directory::check_file_name;
    use crate::io::host_memory::process_owner;

    /// See the module's documentation.
    #[derive(Debug)]
    pub(in super::super) struct Beneath(File);

    impl Beneath {
        pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
            let mut options = File::options();
            options.read(true).custom_flags(libc::O_DIRECTORY);
            options.open(path).map(Beneath)
        }

        /// Beneath a directory that is open already.
        pub(in super::super) fn over(directory: File) -> Self {
            Beneath(directory)
        }

        pub(in super::super) fn create(&self, name: &str) -> io::Result<File> {
            self.open_at(name, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)
        }

        pub(in super::super) fn open_or_create(&self, name: &str) -> io::Result<File> {
            let file = self.open_at(name, libc::O_RDWR | libc::O_CREAT | libc::O_NONBLOCK)?;
            check_regular(&file, true)?;
            Ok(file)
        }

        pub(in super::super) fn open_existing(&self, name: &str, write: bool) -> io::Result<File> {
            let access = if write { libc::O_RDWR } else { libc::O_RDONLY };
            let file = self.open_at(name, access | libc::O_NONBLOCK)?;
            check_regular(&file, write)?;
            Ok(file)
        }

        fn open_at(&self, name: &str, flags: i32) -> io::Result<File> {
            let name = c_name(name)?;
            let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
            loop {
                // SAFETY: the descriptor is open and `name` ends with NUL.
                let found =
                    unsafe { libc::openat(self.0.as_raw_fd(), name.as_ptr(), flags, 0o600) };
                if found >= 0 {
                    // SAFETY: the call gave a new descriptor, which nobody else has.
                    return Ok(unsafe { File::from_raw_fd(found) });
                }
                retry_if_interrupted()?;
            }
        }

        pub(in super::super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            let (from, to) = (c_name(from)?, c_name(to)?);
            let here = self.0.as_raw_fd();
            // SAFETY: the descriptor is open and both names end with NUL.
            check(unsafe { libc::renameat(here, from.as_ptr(), here, to.as_ptr()) })
        }

        pub(in super::super) fn remove(&self, name: &str) -> io::Result<()> {
            let name = c_name(name)?;
            // SAFETY: the descriptor is open and `name` ends with NUL.
            check(unsafe { libc::unlinkat(self.0.as_raw_fd(), name.as_ptr(), 0) })
        }

        pub(in super::super) fn sync(&self) -> io::Result<()> {
            self.0.sync_all()
        }

        pub(in super::super) fn list(&self) -> io::Result<Vec<OsString>> {
            names_of(&self.0)
        }

        pub(in super::super) fn place(&self) -> io::Result<crate::io::disk::Place> {
            crate::io::real::probe_file(&self.0)
        }
    }

    /// The names in an open directory.
    pub(in super::super) fn names_of(directory: &File) -> io::Result<Vec<OsString>> {
        // A stream of its own: a duplicate would share the place in the directory.
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the descriptor is open and the name ends with NUL.
        let found = unsafe { libc::openat(directory.as_raw_fd(), c".".as_ptr(), flags) };
        if found < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call gave a new descriptor, which nobody else has.
        let listed = unsafe { File::from_raw_fd(found) };
        let mut stream = Stream::new(listed)?;
        let mut names = Vec::new();
        while let Some(name) = stream.next()? {
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    struct Stream(*mut libc::DIR);

    impl Stream {
        fn new(directory: File) -> io::Result<Self> {
            let descriptor = directory.into_raw_fd();
            // SAFETY: the descriptor is open and given away to the stream.
            let stream = unsafe { libc::fdopendir(descriptor) };
            if stream.is_null() {
                let error = io::Error::last_os_error();
                // SAFETY: a stream that was not made does not own the descriptor.
                drop(unsafe { File::from_raw_fd(descriptor) });
                return Err(error);
            }
            Ok(Stream(stream))
        }

        fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
            // SAFETY: errno is this thread's own; the stream is open and used by one thread.
            let entry = unsafe {
                *libc::__errno_location() = 0;
                libc::readdir64(self.0)
            };
            if entry.is_null() {
                let error = io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(0) | None => Ok(None),
                    Some(_) => Err(error),
                };
            }
            // SAFETY: an entry holds a name that ends with NUL, until the next call on the stream.
            let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
            Ok(Some(name.to_bytes().to_vec()))
        }
    }

    impl Drop for Stream {
        fn drop(&mut self) {
            // SAFETY: the stream is open, and this is its only owner.
            unsafe { libc::closedir(self.0) };
        }
    }

    fn c_name(name: &str) -> io::Result<CString> {
        check_file_name(name)?;
        CString::new(name).map_err(io::Error::from)
    }

    fn check(code: i32) -> io::Result<()> {
        if code == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    fn retry_if_interrupted() -> io::Result<()> {
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted {
            return Ok(());
        }
        Err(error)
    }

    fn check_regular(file: &File, write: bool) -> io::Result<()> {
        let found = file.metadata()?;
        if !found.is_file() {
            let text = "not a regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (user, _) = process_owner();
        if write && user != 0 && found.uid() != user {
            let text = "the file belongs to another user";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod by_path {
    use std::ffi::OsString;
    use std::fs::File;
    use std::io;
    use std::path::{Path, PathBuf};

    use crate::io::directory::check_file_name;

    /// See the module's documentation.
    #[derive(Debug)]
    pub(in super::super) struct Beneath(PathBuf);

    impl Beneath {
        pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
            if !std::fs::metadata(path)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            path.canonicalize().map(Beneath)
        }

        fn path(&self, name: &str) -> io::Result<PathBuf> {
            check_file_name(name)?;
            Ok(self.0.join(name))
        }

        pub(in super::super) fn create(&self, name: &str) -> io::Result<File> {
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            private(&mut options).open(self.path(name)?)
        }

        pub(in super::super) fn open_or_create(&self, name: &str) -> io::Result<File> {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            private(&mut options).open(self.path(name)?)
        }

        pub(in super::super) fn open_existing(&self, name: &str, write: bool) -> io::Result<File> {
            let path = self.path(name)?;
            if !std::fs::symlink_metadata(&path)?.is_file() {
                let text = "not a regular file";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            File::options().read(true).write(write).open(path)
        }

        pub(in super::super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            std::fs::rename(self.path(from)?, self.path(to)?)
        }

        pub(in super::super) fn remove(&self, name: &str) -> io::Result<()> {
            std::fs::remove_file(self.path(name)?)
        }

        pub(in super::super) fn sync(&self) -> io::Result<()> {
            #[cfg(unix)]
            File::open(&self.0)?.sync_all()?;
            Ok(())
        }

        pub(in super::super) fn list(&self) -> io::Result<Vec<OsString>> {
            std::fs::read_dir(&self.0)?
                .map(|entry| Ok(entry?.file_name()))
                .collect()
        }

        pub(in super::super) fn place(&self) -> io::Result<crate::io::disk::Place> {
            use crate::io::disk::Disk;
            crate::io::real::RealDisk.probe(&self.0)
        }
    }

    fn private(options: &mut std::fs::OpenOptions) -> &mut std::fs::OpenOptions {
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
        options
    }
}
