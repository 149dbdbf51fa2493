//! Directories of this machine, and the lock file in them.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::base::{clock, fork};
use crate::io::beneath::Beneath;
use crate::io::directory::{Access, Directory, DirectoryLock, Holder, LockError, Sharing};
use crate::io::disk::{DiskFile, Place};
use crate::io::real;

/// The file that is locked; it stays when nobody holds it.
pub const LOCK_FILE: &str = "lock";

/// How a directory is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// For changes; created with mode 0700 if it is missing (its parent must be there).
    Create,
    /// For changes; it must be there.
    Existing,
    /// For reading.
    ReadOnly,
}

/// A directory of this machine, held open. Files go around the page cache where the filesystem lets
/// them, so that what is read is what lies on the medium.
#[derive(Debug)]
pub struct RealDirectory {
    beneath: Beneath,
    read_only: bool,
}

impl RealDirectory {
    /// Opens a directory, and creates it if `opening` says so. A created one is durable.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` or another error of the operating system.
    pub fn open(path: &Path, opening: Opening) -> io::Result<Self> {
        if opening == Opening::Create {
            create_directory(path)?;
        }
        Ok(RealDirectory {
            beneath: Beneath::open(path)?,
            read_only: opening == Opening::ReadOnly,
        })
    }

    /// A directory that is open already.
    #[cfg(target_os = "linux")]
    pub(super) fn within(beneath: Beneath, read_only: bool) -> Self {
        RealDirectory { beneath, read_only }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn lock_file(&self, sharing: Sharing) -> io::Result<Option<File>> {
        if sharing == Sharing::Exclusive {
            self.check_writable()?;
            return self.beneath.open_or_create(LOCK_FILE).map(Some);
        }
        match self.beneath.open_existing(LOCK_FILE, false) {
            // Nobody has written here yet, so there is nobody to keep out.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
}

fn create_directory(path: &Path) -> io::Result<()> {
    match private_builder().create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Beneath::open(parent)?.sync()
}

#[cfg(unix)]
fn private_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg(not(unix))]
fn private_builder() -> DirBuilder {
    DirBuilder::new()
}

impl Directory for RealDirectory {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.check_writable()?;
        Ok(real::named(self.beneath.create(name)?))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let write = access == Access::ReadWrite;
        if write {
            self.check_writable()?;
        }
        Ok(real::named(self.beneath.open_existing(name, write)?))
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        self.beneath.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        self.beneath.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        self.beneath.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.check_writable()?;
        self.beneath.sync()
    }

    fn lock(&self, sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError> {
        let Some(mut file) = self.lock_file(sharing)? else {
            return Ok(Box::new(RealLock {
                file: None,
                generation: 0,
            }));
        };
        let taken = match sharing {
            Sharing::Exclusive => file.try_lock(),
            Sharing::Shared => file.try_lock_shared(),
        };
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(read_holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        if sharing == Sharing::Exclusive {
            write_holder(&mut file)?;
        }
        fork::watch();
        let generation = fork::generation();
        Ok(Box::new(RealLock {
            file: Some(file),
            generation,
        }))
    }

    fn place(&self) -> io::Result<Place> {
        self.beneath.place()
    }
}

#[derive(Debug)]
struct RealLock {
    /// None where there was no file to lock.
    file: Option<File>,
    generation: u32,
}

impl DirectoryLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // A forked child has the same lock as its parent, and must not open it for others. The parent
        // opens it here even if a child still has the file.
        if let Some(file) = &self.file
            && fork::generation() == self.generation
        {
            // Nobody is to take a reader who comes next for this process. A reader's file refuses it.
            let _ = file.set_len(0);
            // Closing the file unlocks it too.
            let _ = file.unlock();
        }
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    // SAFETY: the call only reads and cannot fail.
    let process = unsafe { libc::getpid() };
    let started = process_start().unwrap_or_else(|| clock::wall_nanos() / 1_000_000_000);
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{process} {started}\n").as_bytes())
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    // Without its line break it is not complete yet.
    let (process, started) = text.strip_suffix('\n')?.split_once(' ')?;
    Some(Holder {
        process: process.parse().ok()?,
        started: started.parse().ok()?,
    })
}

/// When the process started, in seconds since 1970; `None` where the kernel does not say.
fn process_start() -> Option<i64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold anything; field 3 comes behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: i64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<i64>().ok()? + ticks / ticks_per_second()?)
}

#[cfg(unix)]
fn ticks_per_second() -> Option<i64> {
    // SAFETY: `sysconf` only reads; an unknown name gives -1.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    (ticks > 0).then_some(ticks)
}

#[cfg(not(unix))]
fn ticks_per_second() -> Option<i64> {
    None
}

#[cfg(test)]
mod tests;
