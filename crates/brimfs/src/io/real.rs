//! The disks of this machine.
//!
//! Transfers go around the page cache (direct I/O). Where a filesystem refuses that, they go
//! through it, and every transfer is written out and dropped from it before the call returns.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::io::disk::{Disk, DiskFile, Nameless, Place};

/// The disks of this machine, as the operating system mounts them.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_nameless(&self, directory: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (file, direct, nameless) = create(directory)?;
        Ok(Box::new(RealFile {
            file,
            direct: AtomicBool::new(direct),
            nameless,
        }))
    }

    fn probe(&self, directory: &Path) -> io::Result<Place> {
        if !std::fs::metadata(directory)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        host::probe(directory)
    }
}

/// Born without a name where the system can do that, and open for direct I/O where it can.
fn create(directory: &Path) -> io::Result<(File, bool, Nameless)> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let open = |flags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .mode(0o600)
                // O_EXCL here means that no name can be given to the file later.
                .custom_flags(libc::O_TMPFILE | libc::O_EXCL | flags)
                .open(directory)
        };
        let unsupported = |error: &io::Error| {
            matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOENT)
            )
        };
        match open(libc::O_DIRECT) {
            Ok(file) => return Ok((file, true, Nameless::Born)),
            Err(error) if !unsupported(&error) => return Err(error),
            Err(_) => {}
        }
        match open(0) {
            Ok(file) => return Ok((file, false, Nameless::Born)),
            Err(error) if !unsupported(&error) => return Err(error),
            Err(_) => {}
        }
    }
    let file = create_and_unlink(directory)?;
    let direct = host::go_direct(&file);
    Ok((file, direct, Nameless::Unlinked))
}

/// A file that was opened by its name, for direct I/O where it can.
pub(super) fn named(file: File) -> Box<dyn DiskFile> {
    let direct = AtomicBool::new(host::go_direct(&file));
    Box::new(RealFile {
        file,
        direct,
        nameless: Nameless::Named,
    })
}

/// Looks at the filesystem that an open file or directory lies on.
#[cfg(target_os = "linux")]
pub(super) fn probe_file(file: &File) -> io::Result<Place> {
    system::probe_file(file)
}

/// For systems where a file is born with a name.
fn create_and_unlink(directory: &Path) -> io::Result<File> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    for _ in 0..100 {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".brimfs-{:016x}-{number}", u64::from_ne_bytes(random));
        let path = directory.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
        }
        match options.open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[derive(Debug)]
struct RealFile {
    file: File,
    direct: AtomicBool,
    nameless: Nameless,
}

impl RealFile {
    /// Does `transfer`, and again through the page cache if direct I/O may be why it was refused.
    /// The second value says whether the page cache has to be looked after.
    fn transfer(
        &self,
        mut transfer: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<(usize, bool)> {
        if !self.direct.load(Ordering::Relaxed) {
            return Ok((transfer()?, true));
        }
        match transfer() {
            Err(error)
                if error.kind() == io::ErrorKind::InvalidInput
                    && host::leave_direct(&self.file) =>
            {
                self.direct.store(false, Ordering::Relaxed);
                Ok((transfer()?, true))
            }
            other => Ok((other?, false)),
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let (count, cached) = self.transfer(|| host::read_at(&self.file, offset, into))?;
        if cached {
            host::drop_cached(&self.file, offset, count as u64);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<usize> {
        let (count, cached) = self.transfer(|| host::write_at(&self.file, offset, from))?;
        if cached {
            host::write_out(&self.file, offset, count as u64)?;
            host::drop_cached(&self.file, offset, count as u64);
        }
        Ok(count)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset
            .checked_add(len)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if host::allocate(&self.file, offset, len)? {
            return Ok(());
        }
        if self.file.metadata()?.len() < end {
            self.file.set_len(end)?;
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn nameless(&self) -> Nameless {
        self.nameless
    }
}

#[cfg(unix)]
mod host {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) use super::system::*;

    pub(super) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        file.read_at(into, offset)
    }

    pub(super) fn write_at(file: &File, offset: u64, from: &[u8]) -> io::Result<usize> {
        file.write_at(from, offset)
    }
}

#[cfg(windows)]
mod host {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub(super) use super::system::*;

    pub(super) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        file.seek_read(into, offset)
    }

    pub(super) fn write_at(file: &File, offset: u64, from: &[u8]) -> io::Result<usize> {
        file.seek_write(from, offset)
    }
}

/// What Linux has calls for.
#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use crate::io::disk::Place;

    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const RAMFS_MAGIC: u64 = 0x8584_58f6;

    pub(in super::super) fn probe(directory: &Path) -> io::Result<Place> {
        probe_file(&File::open(directory)?)
    }

    pub(in super::super) fn probe_file(file: &File) -> io::Result<Place> {
        let mut found = MaybeUninit::<libc::statfs>::zeroed();
        // SAFETY: `found` is room for the result, and the descriptor is open.
        if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: zeroes are a valid `statfs`, and the call filled them in.
        let found = unsafe { found.assume_init() };
        let block = u64::try_from(found.f_frsize).unwrap_or(0);
        let magic = found.f_type as u64 & 0xffff_ffff;
        Ok(Place {
            free: block.saturating_mul(found.f_bavail),
            total: block.saturating_mul(found.f_blocks),
            in_memory: matches!(magic, TMPFS_MAGIC | RAMFS_MAGIC),
        })
    }

    /// False where the filesystem cannot reserve space.
    pub(in super::super) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<bool> {
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let (offset, len) = (
            libc::off64_t::try_from(offset).map_err(too_large)?,
            libc::off64_t::try_from(len).map_err(too_large)?,
        );
        loop {
            // SAFETY: a call on an open descriptor that touches no memory of ours.
            if unsafe { libc::fallocate64(file.as_raw_fd(), 0, offset, len) } == 0 {
                return Ok(true);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(false),
                _ => return Err(error),
            }
        }
    }

    pub(in super::super) fn go_direct(file: &File) -> bool {
        set_direct(file, true)
    }

    pub(in super::super) fn leave_direct(file: &File) -> bool {
        set_direct(file, false)
    }

    fn set_direct(file: &File, on: bool) -> bool {
        // SAFETY: both calls work on the flags of an open descriptor and on no memory.
        unsafe {
            let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
            let flags = match (flags, on) {
                (..0, _) => return false,
                (flags, true) => flags | libc::O_DIRECT,
                (flags, false) => flags & !libc::O_DIRECT,
            };
            libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) == 0
        }
    }

    pub(in super::super) fn write_out(file: &File, offset: u64, len: u64) -> io::Result<()> {
        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: a call on an open descriptor that touches no memory of ours.
        let code =
            unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, len as i64, flags) };
        let error = io::Error::last_os_error();
        match code {
            0 => Ok(()),
            // A filesystem without the call keeps its own bounds.
            _ if matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::ESPIPE | libc::EINVAL)
            ) =>
            {
                Ok(())
            }
            _ => Err(error),
        }
    }

    pub(in super::super) fn drop_cached(file: &File, offset: u64, len: u64) {
        // SAFETY: advice on an open descriptor; it touches no memory of ours.
        unsafe {
            libc::posix_fadvise(
                file.as_raw_fd(),
                offset as i64,
                len as i64,
                libc::POSIX_FADV_DONTNEED,
            );
        }
    }
}

/// Other systems: no space reserved, no page cache managed, and free space is not known.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use crate::io::disk::Place;

    pub(in super::super) fn probe(_directory: &Path) -> io::Result<Place> {
        Ok(Place {
            free: u64::MAX,
            total: u64::MAX,
            in_memory: false,
        })
    }

    pub(in super::super) fn allocate(_: &File, _: u64, _: u64) -> io::Result<bool> {
        Ok(false)
    }

    pub(in super::super) fn go_direct(_: &File) -> bool {
        false
    }

    pub(in super::super) fn leave_direct(_: &File) -> bool {
        false
    }

    pub(in super::super) fn write_out(_: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    pub(in super::super) fn drop_cached(_: &File, _: u64, _: u64) {}
}
