//! Where files come to lie: below one directory of a filesystem, and nowhere else.
//!
//! Paths are clean ([`crate::name`]) and every directory on the way is looked at, so that no symbolic link is
//! followed, be it one of the archive or one that was there. The atomic variant fills a hidden directory beside
//! the destination and moves what is in it when all of it is there.

mod merge;

use std::hash::{BuildHasher, RandomState};
use std::io::Read;

use brimfs::face::Fault;
use brimfs::{Error, ErrorKind, FileSystem, FileTimes, OpenOptions, RenameMode, Timestamp};

use crate::failure::{Failure, Outcome};
use crate::meter::Meter;

/// So much is copied at once, in bytes.
pub(crate) const PIECE: usize = 1 << 20;
/// Archives say who may do what, never that a file runs as somebody else.
pub(crate) const PERMISSIONS: u32 = 0o777;

/// What to do where a name is taken by a file or a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// Fail with [`ErrorKind::AlreadyExists`].
    #[default]
    Raise,
    /// Replace it, in one step per file. A directory is never replaced.
    Overwrite,
    /// Leave what is there.
    Skip,
}

/// What to do with symbolic links. Hard links and devices are never extracted: with `Skip` they are left out,
/// else an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Fail with [`ErrorKind::UnsafeArchive`].
    #[default]
    Reject,
    /// Leave them out.
    Skip,
    /// Make those whose target stays below the destination, and fail at others.
    Keep,
}

/// What a transfer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Files that were written.
    pub files: u64,
    /// Directories that were named, whether or not they were there.
    pub directories: u64,
    /// Symbolic links that were made.
    pub symlinks: u64,
    /// Entries that were left out: links, or names that were taken, as asked for.
    pub skipped: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// What is kept of a node beside its content.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) mode: Option<u32>,
    pub(crate) modified: Option<Timestamp>,
}

/// A name that a file may be written to.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: Vec<u8>,
    replaces: bool,
}

#[derive(Debug)]
pub(crate) struct Sink<'a> {
    fs: &'a FileSystem,
    op: &'static str,
    /// Where everything ends up, without links.
    destination: Vec<u8>,
    /// Where it is until then, in the atomic variant.
    staging: Option<Vec<u8>>,
    /// Directories above the destination that were made, to be removed after a failure.
    made: Vec<Vec<u8>>,
    conflict: Conflict,
    /// The directory that was looked at last.
    parent: Option<Vec<u8>>,
    /// Directories and what they get at the end: whoever fills one changes its times.
    directories: Vec<(Vec<u8>, Attributes)>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(
        fs: &'a FileSystem,
        op: &'static str,
        destination: &[u8],
        conflict: Conflict,
        atomic: bool,
    ) -> Outcome<Self> {
        let mut sink = Sink {
            fs,
            op,
            destination: destination.to_vec(),
            staging: None,
            made: Vec::new(),
            conflict,
            parent: None,
            directories: Vec::new(),
        };
        let (above, name) = split(destination);
        sink.make_all(above)?;
        match fs.metadata(destination) {
            Ok(known) if !known.is_dir() => {
                let fault = Fault::from(ErrorKind::NotADirectory);
                return Err(fault.at(op, destination).into());
            }
            Ok(_) => sink.destination = fs.canonicalize(destination)?,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            Err(_) if atomic => {
                let above = if above.is_empty() { b"/" } else { above };
                sink.destination = join(&fs.canonicalize(above)?, name);
            }
            Err(_) => {
                fs.create_dir(destination)?;
                sink.destination = fs.canonicalize(destination)?;
            }
        }
        if atomic {
            // The root has nothing beside it.
            let (above, name) = split(&sink.destination);
            let staging = hidden(above, name);
            fs.create_dir(&staging)?;
            sink.staging = Some(staging);
        }
        Ok(sink)
    }

    fn make_all(&mut self, path: &[u8]) -> Outcome<()> {
        let ends = (0..path.len()).filter(|at| *at > 0 && path[*at] == b'/');
        for end in ends.chain([path.len()]) {
            let path = &path[..end];
            if !path.is_empty() && !self.fs.try_exists(path)? {
                self.fs.create_dir(path)?;
                self.made.push(path.to_vec());
            }
        }
        Ok(())
    }

    fn root(&self) -> &[u8] {
        self.staging.as_deref().unwrap_or(&self.destination)
    }

    fn path(&self, name: &[u8]) -> Vec<u8> {
        join(self.root(), name)
    }

    /// Names the path that the caller knows, not one in a hidden directory.
    fn told(&self, error: Error, name: &[u8]) -> Failure {
        if self.staging.is_none() || std::error::Error::source(&error).is_some() {
            return error.into();
        }
        let fault = match error.limit() {
            Some(info) => Fault::limit(error.kind(), info),
            None => error.kind().into(),
        };
        fault.at(self.op, &join(&self.destination, name)).into()
    }

    /// An entry stands against what the archive had before, or against what was there.
    fn clash(&self, kind: ErrorKind, text: &str) -> Failure {
        match self.staging {
            Some(_) => Failure::bad(text),
            None => Failure::new(kind, text),
        }
    }

    /// Makes the directories above a name.
    pub(crate) fn make_parents(&mut self, name: &[u8]) -> Outcome<()> {
        let slash = name.iter().rposition(|byte| *byte == b'/');
        self.make_directories(slash.map_or(&[][..], |slash| &name[..slash]))
    }

    fn make_directories(&mut self, name: &[u8]) -> Outcome<()> {
        if name.is_empty() || self.parent.as_deref() == Some(name) {
            return Ok(());
        }
        let ends = (0..name.len()).filter(|at| name[*at] == b'/');
        for end in ends.chain([name.len()]) {
            let name = &name[..end];
            let path = self.path(name);
            match self.fs.symlink_metadata(&path) {
                Ok(known) if known.is_dir() => {}
                Ok(known) if known.is_symlink() => {
                    let text = "a symbolic link is where a directory should be";
                    return Err(Failure::unsafe_entry(text));
                }
                Ok(_) => {
                    let text = "a file is where a directory should be";
                    return Err(self.clash(ErrorKind::NotADirectory, text));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let made = self.fs.create_dir(&path);
                    made.map_err(|error| self.told(error, name))?;
                }
                Err(error) => return Err(self.told(error, name)),
            }
        }
        self.parent = Some(name.to_vec());
        Ok(())
    }

    pub(crate) fn directory(&mut self, name: &[u8], attributes: Attributes) -> Outcome<()> {
        self.make_directories(name)?;
        if !name.is_empty() {
            self.directories.push((name.to_vec(), attributes));
        }
        Ok(())
    }

    /// Where a file of that name is written, or nothing if the name is taken and skipped.
    pub(crate) fn place(&mut self, name: &[u8]) -> Outcome<Option<Place>> {
        if name.is_empty() {
            return Err(Failure::unsafe_entry("a file has no name of its own"));
        }
        self.make_parents(name)?;
        let known = match self.fs.symlink_metadata(self.path(name)) {
            Ok(known) => Some(known),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(self.told(error, name)),
        };
        if known.is_some_and(|known| known.is_dir()) {
            let text = "a directory is where a file should be";
            return Err(self.clash(ErrorKind::IsADirectory, text));
        }
        match self.conflict {
            Conflict::Raise if known.is_some() => {
                Err(self.clash(ErrorKind::AlreadyExists, "the name is taken"))
            }
            Conflict::Skip if known.is_some() => Ok(None),
            _ => Ok(Some(Place {
                name: name.to_vec(),
                replaces: known.is_some(),
            })),
        }
    }

    /// Writes a file as it streams, and leaves nothing of it after a failure. `buffer` holds a piece.
    pub(crate) fn file(
        &self,
        place: &Place,
        attributes: Attributes,
        from: &mut dyn Read,
        buffer: &mut [u8],
        tell: &mut dyn FnMut() -> Outcome<()>,
    ) -> Outcome<u64> {
        let target = self.path(&place.name);
        let path = if place.replaces {
            let (above, name) = split(&target);
            hidden(above, name)
        } else {
            target.clone()
        };
        let mut is_new = false;
        let done = self
            .fill(&path, &place.name, from, buffer, &mut is_new, tell)
            .and_then(|bytes| {
                let finish = || {
                    self.finish_node(&path, attributes)?;
                    if place.replaces {
                        self.fs.rename(&path, &target)?;
                    }
                    Ok(bytes)
                };
                finish().map_err(|error| self.told(error, &place.name))
            });
        if done.is_err() && is_new {
            // The failure that led here counts.
            drop(self.fs.remove_file(&path));
        }
        done
    }

    fn fill(
        &self,
        path: &[u8],
        name: &[u8],
        from: &mut dyn Read,
        buffer: &mut [u8],
        is_new: &mut bool,
        tell: &mut dyn FnMut() -> Outcome<()>,
    ) -> Outcome<u64> {
        let told = |error| self.told(error, name);
        let mut piece = read_piece(from, buffer)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true);
        let file = options.open(self.fs, path).map_err(told)?;
        *is_new = true;
        let mut offset = 0;
        while piece > 0 {
            let mut rest = &buffer[..piece];
            while !rest.is_empty() {
                let count = file.write_at(offset, rest).map_err(told)?;
                rest = &rest[count..];
                offset += count as u64;
            }
            if piece < buffer.len() {
                break;
            }
            tell()?;
            piece = read_piece(from, buffer)?;
        }
        Ok(offset)
    }

    fn finish_node(&self, path: &[u8], attributes: Attributes) -> Result<(), Error> {
        if let Some(mode) = attributes.mode {
            self.fs.set_permissions(path, mode & PERMISSIONS)?;
        }
        if attributes.modified.is_some() {
            self.fs.set_times(path, times(attributes))?;
        }
        Ok(())
    }

    pub(crate) fn symlink(
        &mut self,
        place: &Place,
        target: &[u8],
        attributes: Attributes,
    ) -> Outcome<()> {
        let path = self.path(&place.name);
        let (above, name) = split(&path);
        let made = if place.replaces {
            hidden(above, name)
        } else {
            path.clone()
        };
        let make = || {
            self.fs.symlink(target, &made)?;
            if attributes.modified.is_some() {
                self.fs.set_times_no_follow(&made, times(attributes))?;
            }
            if place.replaces {
                self.fs.rename(&made, &path)?;
            }
            Ok(())
        };
        make().map_err(|error| {
            if place.replaces {
                drop(self.fs.remove_file(&made));
            }
            self.told(error, &place.name)
        })
    }

    /// Gives directories their permissions and times, and moves everything into place.
    pub(crate) fn finish(mut self) -> Outcome<()> {
        for (name, attributes) in self.directories.iter().rev() {
            let done = self.finish_node(&self.path(name), *attributes);
            done.map_err(|error| self.told(error, name))?;
        }
        if let Some(staging) = self.staging.clone() {
            let moved = self
                .fs
                .rename_with(&staging, &self.destination, RenameMode::NoReplace);
            match moved {
                Ok(()) => self.staging = None,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    merge::merge(self.fs, &staging, &self.destination, self.conflict, self.op)?;
                }
                Err(error) => return Err(self.told(error, b"")),
            }
        }
        self.made.clear();
        Ok(())
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        // Whatever led here is told; what cannot be removed is somebody else's by now.
        if let Some(staging) = &self.staging {
            drop(self.fs.remove_dir_all(staging));
        }
        for path in self.made.iter().rev() {
            drop(self.fs.remove_dir(path));
        }
    }
}

/// Reads until the buffer is full or nothing is left.
pub(crate) fn read_piece(from: &mut dyn Read, buffer: &mut [u8]) -> Outcome<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::from_decoder(error)),
        }
    }
    Ok(filled)
}

/// A source that counts content, against the limits of the meter.
pub(crate) struct Counted<'a, R> {
    pub(crate) from: R,
    pub(crate) meter: &'a Meter,
    pub(crate) bytes: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(to)?;
        self.bytes += count as u64;
        let checked = self.meter.add(count as u64);
        checked
            .and_then(|()| self.meter.check_file(self.bytes))
            .map_err(Failure::carried)?;
        Ok(count)
    }
}

fn times(attributes: Attributes) -> FileTimes {
    FileTimes {
        accessed: None,
        modified: attributes.modified,
    }
}

/// A path and its last name; both may be empty.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|byte| *byte != b'/');
    let path = &path[..end.map_or(0, |last| last + 1)];
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !name.is_empty() {
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

/// A name that nobody has, beside `name`.
pub(crate) fn hidden(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let number = RandomState::new().hash_one(name);
    join(directory, format!(".brimfs-{number:016x}").as_bytes())
}
