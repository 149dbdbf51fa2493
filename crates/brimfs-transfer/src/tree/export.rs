//! From a filesystem to the host.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use brimfs::{AsPath, Error, ErrorKind, FileSystem, LockMode, Metadata, OpenOptions};
use rustix::fs::FileType;

use super::Filter;
use crate::extract::piece;
use crate::failure::{Failure, Outcome};
use crate::host::{self, Host};
use crate::meter::{Limits, Meter, Report};
use crate::name::stays_inside;
use crate::sink::{Conflict, Links, Transferred, hidden, split};

/// How to export.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportOptions {
    /// What to do where a name is taken. A file is replaced in one step.
    pub conflict: Conflict,
    /// What to do with symbolic links.
    pub links: Links,
    /// Leave files that have the same length and time of change on the host, whatever `conflict` says.
    pub changed_only: bool,
}

/// Copies what is in a directory of the filesystem into one of the host, which is made if it is missing.
///
/// Content with its holes, permissions (without set-user-id and the like) and times are copied, hard links become
/// files of their own. Each file is written under a hidden name and takes its own when it is whole; what was copied
/// before a failure stays. O(bytes), on one thread.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`], [`ErrorKind::IsADirectory`] and [`ErrorKind::NotADirectory`] for what is in the
/// way, [`ErrorKind::UnsafeArchive`] for links that are not to be, [`ErrorKind::Cancelled`], those of reading, and
/// those of the host.
pub fn export_tree(
    fs: &FileSystem,
    path: impl AsPath,
    to: &Path,
    options: &ExportOptions,
    filter: &mut Filter<'_>,
    report: &mut Report<'_>,
) -> Result<Transferred, Error> {
    let path = path.as_path_bytes();
    try_export(fs, path, to, options, filter, report)
        .map_err(|failure| failure.at("export", to.as_os_str().as_bytes()))
}

fn try_export(
    fs: &FileSystem,
    path: &[u8],
    to: &Path,
    options: &ExportOptions,
    filter: &mut Filter<'_>,
    report: &mut Report<'_>,
) -> Outcome<Transferred> {
    if !fs.metadata(path)?.is_dir() {
        let text = "what is exported is a directory";
        return Err(Failure::new(ErrorKind::NotADirectory, text));
    }
    let root = fs.canonicalize(path)?;
    let mut export = Export {
        fs,
        host: Host::open(to, true).map_err(Failure::Io)?,
        options: *options,
        meter: Meter::new(Limits::default()),
        total: total(fs, &root)?,
        buffer: piece(),
        done: Transferred::default(),
        report,
    };
    let mut directories = Vec::new();
    let mut walk = fs.walk(&root)?;
    while let Some(entry) = walk.next() {
        let known = entry.metadata();
        let below = &entry.path()[root.len()..];
        let below = below.strip_prefix(b"/").unwrap_or(below).to_vec();
        if below.is_empty() {
            continue;
        }
        if !filter(&below, known.is_dir()) {
            walk.skip_current_dir();
            export
                .meter
                .tell(export.report, Some(export.total), &below)?;
            continue;
        }
        let copied = export.node(entry.path(), &below, &known);
        copied.map_err(|failure| failure.of(&below))?;
        if known.is_dir() {
            directories.push((below, known));
        }
    }
    for (below, known) in directories.iter().rev() {
        let finished = export.host.finish_directory(below, known);
        finished.map_err(Failure::Io)?;
    }
    export.done.bytes = export.meter.bytes();
    Ok(export.done)
}

fn total(fs: &FileSystem, root: &[u8]) -> Outcome<u64> {
    let files = fs.walk(root)?.map(|entry| entry.metadata());
    Ok(files
        .filter(Metadata::is_file)
        .map(|known| known.len())
        .sum())
}

struct Export<'a, 'r> {
    fs: &'a FileSystem,
    host: Host,
    options: ExportOptions,
    meter: Meter,
    total: u64,
    buffer: Vec<u8>,
    done: Transferred,
    report: &'a mut Report<'r>,
}

impl Export<'_, '_> {
    fn node(&mut self, path: &[u8], below: &[u8], known: &Metadata) -> Outcome<()> {
        if known.is_symlink() && self.options.links != Links::Keep {
            if self.options.links == Links::Reject {
                return Err(Failure::unsafe_entry("a symbolic link"));
            }
            self.done.skipped += 1;
        } else if self.wants(below, known)? {
            if known.is_dir() {
                self.host.make_directory(below).map_err(Failure::Io)?;
                self.done.directories += 1;
            } else {
                self.replace(path, below, known)?;
            }
        } else {
            self.done.skipped += 1;
        }
        self.meter.entry();
        self.meter.tell(self.report, Some(self.total), below)
    }

    /// Whether a node is to be written, going by what has its name.
    fn wants(&mut self, below: &[u8], known: &Metadata) -> Outcome<bool> {
        let Some(there) = self.host.look(below).map_err(Failure::Io)? else {
            return Ok(true);
        };
        let kind = FileType::from_raw_mode(there.st_mode);
        let refuse = |kind, text: &str| Err(Failure::new(kind, text));
        match (known.is_dir(), kind == FileType::Directory) {
            (true, true) => return Ok(true),
            (true, false) => {
                return refuse(
                    ErrorKind::NotADirectory,
                    "something else is where a directory should be",
                );
            }
            (false, true) => {
                return refuse(
                    ErrorKind::IsADirectory,
                    "a directory is where a file should be",
                );
            }
            (false, false) => {}
        }
        let modified = known.modified();
        let same = kind == FileType::RegularFile
            && known.is_file()
            && there.st_size as u64 == known.len()
            && there.st_mtime == modified.seconds
            && there.st_mtime_nsec as u32 == modified.nanos;
        if self.options.changed_only && same {
            return Ok(false);
        }
        match self.options.conflict {
            Conflict::Raise => refuse(ErrorKind::AlreadyExists, "the name is taken"),
            Conflict::Skip => Ok(false),
            Conflict::Overwrite => Ok(true),
        }
    }

    /// Writes a file or a link under a hidden name, and gives it its own.
    fn replace(&mut self, path: &[u8], below: &[u8], known: &Metadata) -> Outcome<()> {
        let (above, name) = split(below);
        let fresh = hidden(above, name);
        let fresh = fresh.strip_prefix(b"/").unwrap_or(&fresh);
        let made = if known.is_symlink() {
            self.symlink(path, below, fresh, known)
        } else {
            self.file(path, below, fresh)
        };
        made.and_then(|()| self.host.rename(fresh, below).map_err(Failure::Io))
            .inspect_err(|_| {
                // The failure that led here counts.
                drop(self.host.remove(fresh));
            })
    }

    fn symlink(
        &mut self,
        path: &[u8],
        below: &[u8],
        fresh: &[u8],
        known: &Metadata,
    ) -> Outcome<()> {
        let target = self.fs.read_link(path)?;
        if !stays_inside(below, &target) {
            return Err(Failure::unsafe_entry("a symbolic link that leads out"));
        }
        let made = self.host.make_symlink(fresh, &target);
        made.and_then(|()| self.host.finish_symlink(fresh, known))
            .map_err(Failure::Io)?;
        self.done.symlinks += 1;
        Ok(())
    }

    fn file(&mut self, path: &[u8], below: &[u8], fresh: &[u8]) -> Outcome<()> {
        let mut options = OpenOptions::new();
        let options = options.read(true).no_follow(true).lock(LockMode::Shared);
        let from = options.open(self.fs, path)?;
        let to = self.host.make_file(fresh).map_err(Failure::Io)?;
        self.content(&from, &to, below)?;
        host::finish(&to, &from.metadata()?).map_err(Failure::Io)?;
        self.done.files += 1;
        Ok(())
    }

    /// Copies what holds data; what does not stays a hole.
    fn content(&mut self, from: &brimfs::File, to: &File, below: &[u8]) -> Outcome<()> {
        let on_host = |error: io::Error| Failure::Io(error);
        let mut offset = 0;
        while let Some(start) = from.seek_data(offset)? {
            let end = from.seek_hole(start)?.unwrap_or_else(|| from.len());
            offset = start;
            while offset < end {
                let len = self.buffer.len().min((end - offset) as usize);
                let count = from.read_at(offset, &mut self.buffer[..len])?;
                if count == 0 {
                    break;
                }
                to.write_all_at(&self.buffer[..count], offset)
                    .map_err(on_host)?;
                offset += count as u64;
                self.meter.add(count as u64)?;
                self.meter.tell(self.report, Some(self.total), below)?;
            }
            offset = offset.max(end);
        }
        to.set_len(from.len()).map_err(on_host)
    }
}
