//! From the host into a filesystem.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use brimfs::{AsPath, Error, FileSystem, Timestamp};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use super::Filter;
use crate::extract::{piece, unsupported};
use crate::failure::{Failure, Outcome};
use crate::host::DIRECTORY;
use crate::meter::{Limits, Meter, Report};
use crate::name::stays_inside;
use crate::sink::{Attributes, Conflict, Counted, Links, Sink, Transferred, join};

/// How to import.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// What to copy at most; the ratio says nothing here.
    pub limits: Limits,
    /// What to do where a name is taken.
    pub conflict: Conflict,
    /// What to do with symbolic links, and with devices, pipes and sockets.
    pub links: Links,
    /// All or nothing, as [`ExtractOptions::atomic`](crate::ExtractOptions::atomic).
    pub atomic: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            limits: Limits::default(),
            conflict: Conflict::default(),
            links: Links::default(),
            atomic: true,
        }
    }
}

/// Copies what is in a directory of the host into one of the filesystem, which is made if it is missing.
///
/// Content, permissions and times of changes are copied; hard links become files of their own. What changes on the
/// host meanwhile is copied as it was found. O(bytes), on one thread.
///
/// # Errors
/// Those of [`extract`](crate::extract()), but for those of archives; links that are not to be are
/// [`ErrorKind::UnsafeArchive`](brimfs::ErrorKind::UnsafeArchive) too.
pub fn import_tree(
    fs: &FileSystem,
    host: &Path,
    destination: impl AsPath,
    options: &ImportOptions,
    filter: &mut Filter<'_>,
    report: &mut Report<'_>,
) -> Result<Transferred, Error> {
    let destination = destination.as_path_bytes();
    let path = host.as_os_str().as_bytes();
    try_import(fs, host, destination, options, filter, report)
        .map_err(|failure| failure.at("import", path))
}

fn try_import(
    fs: &FileSystem,
    host: &Path,
    destination: &[u8],
    options: &ImportOptions,
    filter: &mut Filter<'_>,
    report: &mut Report<'_>,
) -> Outcome<Transferred> {
    let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
    let root = rustix::fs::open(host, flags, Mode::empty()).map_err(from_host)?;
    let meter = Meter::new(options.limits);
    let sink = Sink::new(fs, "import", destination, options.conflict, options.atomic)?;
    let mut import = Import {
        sink,
        links: options.links,
        meter: &meter,
        seen: 0,
        buffer: piece(),
        done: Transferred::default(),
        report,
    };
    let mut levels = vec![Level::open(Vec::new(), root)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let path = join(&level.path, name.as_bytes());
        let path = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
        let entered = import.node(level, &name, &path, filter);
        if let Some(below) = entered.map_err(|failure| failure.of(&path))? {
            meter.limits.check_depth(levels.len())?;
            levels.push(below);
        }
    }
    let Import { sink, mut done, .. } = import;
    sink.finish()?;
    done.bytes = meter.bytes();
    Ok(done)
}

/// A directory that is being copied, and the names in it that wait, the next one last.
struct Level {
    path: Vec<u8>,
    directory: OwnedFd,
    names: Vec<OsString>,
}

impl Level {
    fn open(path: Vec<u8>, directory: OwnedFd) -> Outcome<Self> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(from_host)? {
            let name = entry.map_err(from_host)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Level {
            path,
            directory,
            names,
        })
    }
}

struct Import<'a, 'r> {
    sink: Sink<'a>,
    links: Links,
    meter: &'a Meter,
    seen: u64,
    buffer: Vec<u8>,
    done: Transferred,
    report: &'a mut Report<'r>,
}

impl Import<'_, '_> {
    /// Copies one node; of a directory gives what is in it.
    fn node(
        &mut self,
        level: &Level,
        name: &OsString,
        path: &[u8],
        filter: &mut Filter<'_>,
    ) -> Outcome<Option<Level>> {
        let known = statat(&level.directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let known = known.map_err(from_host)?;
        let kind = FileType::from_raw_mode(known.st_mode);
        if !filter(path, kind == FileType::Directory) {
            self.meter.tell(self.report, None, path)?;
            return Ok(None);
        }
        self.seen += 1;
        self.meter.check_entries(self.seen)?;
        let mut below = None;
        match kind {
            FileType::Directory => {
                let directory = openat(&level.directory, name, DIRECTORY, Mode::empty());
                let directory = directory.map_err(from_host)?;
                self.sink.directory(path, attributes(&known))?;
                self.done.directories += 1;
                below = Some(Level::open(path.to_vec(), directory)?);
            }
            FileType::RegularFile => self.file(level, name, path)?,
            FileType::Symlink if self.links == Links::Keep => {
                let target = readlinkat(&level.directory, name, Vec::new()).map_err(from_host)?;
                self.symlink(path, target.as_bytes(), &known)?;
            }
            _ if self.links == Links::Skip => self.done.skipped += 1,
            FileType::Symlink => return Err(Failure::unsafe_entry("a symbolic link")),
            _ => return Err(unsupported("a device, a pipe or a socket")),
        }
        self.meter.entry();
        self.meter.tell(self.report, None, path)?;
        Ok(below)
    }

    fn file(&mut self, level: &Level, name: &OsString, path: &[u8]) -> Outcome<()> {
        // Of a pipe that took the place of the file nobody waits for the other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&level.directory, name, flags, Mode::empty()).map_err(from_host)?;
        let known = fstat(&file).map_err(from_host)?;
        if FileType::from_raw_mode(known.st_mode) != FileType::RegularFile {
            return Err(unsupported("no file any more"));
        }
        let Some(place) = self.sink.place(path)? else {
            self.done.skipped += 1;
            return Ok(());
        };
        let mut counted = Counted {
            from: HostFile(file.into()),
            meter: self.meter,
            bytes: 0,
        };
        let (meter, report) = (self.meter, &mut *self.report);
        let mut tell = || meter.tell(report, None, path);
        let attributes = attributes(&known);
        self.sink.file(
            &place,
            attributes,
            &mut counted,
            &mut self.buffer,
            &mut tell,
        )?;
        self.done.files += 1;
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], known: &Stat) -> Outcome<()> {
        if !stays_inside(path, target) {
            return Err(Failure::unsafe_entry("a symbolic link that leads out"));
        }
        match self.sink.place(path)? {
            Some(place) => {
                self.sink.symlink(&place, target, attributes(known))?;
                self.done.symlinks += 1;
            }
            None => self.done.skipped += 1,
        }
        Ok(())
    }
}

/// A file of the host, whose errors are the host's.
struct HostFile(File);

impl Read for HostFile {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(to);
        read.map_err(|error| Failure::Io(error).carried())
    }
}

fn from_host(error: rustix::io::Errno) -> Failure {
    Failure::Io(error.into())
}

fn attributes(known: &Stat) -> Attributes {
    Attributes {
        mode: Some(known.st_mode),
        modified: Some(Timestamp {
            seconds: known.st_mtime,
            nanos: known.st_mtime_nsec as u32,
        }),
    }
}
