//! Packing: the public call, and the walk that both formats share.

mod tar;
mod zip;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use brimfs::{Error, ErrorKind, FileSystem, LockMode, Metadata, OpenOptions};

use crate::failure::{Failure, Outcome};
use crate::format::Format;
use crate::meter::{Limits, Meter, Report};
use crate::sink::{Links, PIECE, Transferred, hidden, join, split};

/// How to pack.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveOptions {
    /// The format; `None` goes by the ending of the target's name.
    pub format: Option<Format>,
    /// How much effort to spend, in the scale of the format: 0 to 9, for zstd 1 to 22. `None` is its default.
    pub level: Option<u32>,
    /// What to do with symbolic links. What is packed is trusted: `Keep` keeps all of them, as they are.
    pub links: Links,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        ArchiveOptions {
            format: None,
            level: None,
            links: Links::Keep,
        }
    }
}

/// Where an archive is written to.
pub enum Target<'a> {
    /// A file of the filesystem, which appears whole, or is replaced in one step.
    File(&'a [u8]),
    /// A file of the host, which appears whole, or is replaced in one step.
    Host(&'a Path),
    /// Anything that takes bytes.
    Stream(&'a mut dyn Write),
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File(path) => write!(f, "Target::File({:?})", String::from_utf8_lossy(path)),
            Target::Host(path) => write!(f, "Target::Host({path:?})"),
            Target::Stream(_) => f.write_str("Target::Stream"),
        }
    }
}

/// Packs files and directories with all that is in them, each under its last name; of the root what is in it.
///
/// The archive holds content, permissions, times of changes, and symbolic links. Hard links become files of their
/// own. Each file is locked while it is read. An archive that is written into a directory that it packs leaves
/// itself out. O(bytes), on one thread.
///
/// # Errors
/// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidArgument`] for two paths with one last name, or where neither
/// options nor name say the format; [`ErrorKind::UnsafeArchive`] for links if they are rejected;
/// [`ErrorKind::Cancelled`]; those of locks and of writing. No file is left then, nor an old one changed.
pub fn archive<P: AsRef<[u8]>>(
    fs: &FileSystem,
    paths: &[P],
    target: Target<'_>,
    options: &ArchiveOptions,
    report: &mut Report<'_>,
) -> Result<Transferred, Error> {
    let paths: Vec<&[u8]> = paths.iter().map(AsRef::as_ref).collect();
    let about = match &target {
        Target::File(path) => path.to_vec(),
        Target::Host(path) => path.as_os_str().as_bytes().to_vec(),
        Target::Stream(_) => paths.first().map_or(Vec::new(), |path| path.to_vec()),
    };
    try_archive(fs, &paths, target, options, report)
        .map_err(|failure| failure.at("archive", &about))
}

fn try_archive(
    fs: &FileSystem,
    paths: &[&[u8]],
    target: Target<'_>,
    options: &ArchiveOptions,
    report: &mut Report<'_>,
) -> Outcome<Transferred> {
    let named = match &target {
        Target::File(path) => Format::from_file_name(path),
        Target::Host(path) => Format::from_file_name(path.as_os_str().as_bytes()),
        Target::Stream(_) => None,
    };
    let format = options.format.or(named);
    let format =
        format.ok_or_else(|| invalid("the format is not said, nor does the name end in one"))?;
    let mut packing = Packing {
        fs,
        links: options.links,
        roots: roots(fs, paths)?,
        left_out: Vec::new(),
        meter: Meter::new(Limits::default()),
        total: 0,
        done: Transferred::default(),
        report,
    };
    match target {
        Target::Stream(stream) => packing.run(format, options.level, stream)?,
        Target::Host(path) => {
            let fresh = hidden(b"", b"");
            let fresh = path.with_file_name(OsStr::from_bytes(&fresh[1..]));
            let file = File::create_new(&fresh).map_err(Failure::Io)?;
            let done = packing
                .run(format, options.level, file)
                .and_then(|()| std::fs::rename(&fresh, path).map_err(Failure::Io));
            if let Err(failure) = done {
                // The failure that led here counts.
                drop(std::fs::remove_file(&fresh));
                return Err(failure);
            }
        }
        Target::File(path) => {
            let (above, name) = split(path);
            let fresh = hidden(above, name);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(fs, &fresh)?;
            packing.left_out.push(file.ino());
            if let Ok(old) = fs.metadata(path) {
                packing.left_out.push(old.ino());
            }
            let done = packing.run(format, options.level, &file).and_then(|()| {
                file.close();
                Ok(fs.rename(&fresh, path)?)
            });
            if let Err(failure) = done {
                file.close();
                // The failure that led here counts.
                drop(fs.remove_file(&fresh));
                return Err(failure);
            }
        }
    }
    let mut done = packing.done;
    done.bytes = packing.meter.bytes();
    Ok(done)
}

fn invalid(text: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::InvalidArgument, text)
}

/// The paths with the names they get; the root has none.
fn roots(fs: &FileSystem, paths: &[&[u8]]) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut known = HashMap::new();
    let mut roots = Vec::new();
    for path in paths {
        fs.symlink_metadata(path)?;
        let mut name = split(path).1.to_vec();
        if name == b"." || name == b".." {
            name = split(&fs.canonicalize(path)?).1.to_vec();
        }
        if known.insert(name.clone(), ()).is_some() {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(invalid(format!("two paths end in {name:?}")));
        }
        roots.push((path.to_vec(), name));
    }
    Ok(roots)
}

/// One archive being written.
struct Packing<'a, 'r> {
    fs: &'a FileSystem,
    links: Links,
    roots: Vec<(Vec<u8>, Vec<u8>)>,
    /// The archive itself, and the one that it replaces.
    left_out: Vec<u64>,
    meter: Meter,
    total: u64,
    done: Transferred,
    report: &'a mut Report<'r>,
}

/// What both formats write.
trait Pack {
    fn directory(&mut self, name: &[u8], known: &Metadata) -> Outcome<()>;
    fn symlink(&mut self, name: &[u8], target: &[u8], known: &Metadata) -> Outcome<()>;
    fn file(
        &mut self,
        name: &[u8],
        known: &Metadata,
        len: u64,
        content: &mut dyn io::Read,
    ) -> Outcome<()>;
    /// Writes what comes last, and everything that is still held.
    fn finish(self: Box<Self>) -> Outcome<()>;
}

impl Packing<'_, '_> {
    fn run(&mut self, format: Format, level: Option<u32>, to: impl Write) -> Outcome<()> {
        let to = BufWriter::with_capacity(PIECE, Carrying(to));
        let mut pack: Box<dyn Pack + '_> = match format {
            Format::Zip => Box::new(zip::Writer::new(to, level)?),
            format => Box::new(tar::Writer::new(format, to, level)?),
        };
        for (root, _) in &self.roots {
            for entry in self.fs.walk(root)? {
                let known = entry.metadata();
                if known.is_file() && !self.left_out.contains(&known.ino()) {
                    self.total += known.len();
                }
            }
        }
        for (root, name) in std::mem::take(&mut self.roots) {
            for entry in self.fs.walk(&root)? {
                let below = entry.path()[root.len().min(entry.path().len())..].to_vec();
                let below = below.strip_prefix(b"/").unwrap_or(&below);
                let name = if name.is_empty() {
                    below.to_vec()
                } else {
                    join(&name, below)
                };
                self.node(pack.as_mut(), entry.path(), &name, &entry.metadata())
                    .map_err(|failure| failure.of(&name))?;
            }
        }
        pack.finish()
    }

    fn node(
        &mut self,
        pack: &mut dyn Pack,
        path: &[u8],
        name: &[u8],
        known: &Metadata,
    ) -> Outcome<()> {
        if name.is_empty() || self.left_out.contains(&known.ino()) {
            return Ok(());
        }
        if known.is_dir() {
            pack.directory(name, known)?;
            self.done.directories += 1;
        } else if known.is_symlink() {
            match self.links {
                Links::Keep => {
                    pack.symlink(name, &self.fs.read_link(path)?, known)?;
                    self.done.symlinks += 1;
                }
                Links::Skip => self.done.skipped += 1,
                Links::Reject => return Err(Failure::unsafe_entry("a symbolic link")),
            }
        } else {
            let mut options = OpenOptions::new();
            let file = options
                .read(true)
                .lock(LockMode::Shared)
                .open(self.fs, path)?;
            let len = file.len();
            let mut content = Content {
                file: &file,
                offset: 0,
                meter: &self.meter,
                total: self.total,
                name,
                report: &mut *self.report,
            };
            pack.file(name, &file.metadata()?, len, &mut content)?;
            self.done.files += 1;
        }
        self.meter.entry();
        self.meter.tell(self.report, Some(self.total), name)
    }
}

/// A file that is read, told of as it is.
struct Content<'a, 'r> {
    file: &'a brimfs::File,
    offset: u64,
    meter: &'a Meter,
    total: u64,
    name: &'a [u8],
    report: &'a mut Report<'r>,
}

impl io::Read for Content<'_, '_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(self.offset, to);
        let count = read.map_err(|error| Failure::from(error).carried())?;
        let before = self.offset / PIECE as u64;
        self.offset += count as u64;
        let mut told = self.meter.add(count as u64);
        if self.offset / PIECE as u64 > before {
            told = told.and_then(|()| self.meter.tell(self.report, Some(self.total), self.name));
        }
        told.map_err(Failure::carried)?;
        Ok(count)
    }
}

/// A target whose errors are its own, and not those of what is packed.
struct Carrying<W>(W);

impl<W: Write> Write for Carrying<W> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self.0.write(from) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(Failure::Io(error).carried())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| Failure::Io(error).carried())
    }
}

/// A level in the scale of a format.
fn level(level: Option<u32>, default: u32, least: u32, most: u32) -> Outcome<u32> {
    match level {
        None => Ok(default),
        Some(level) if (least..=most).contains(&level) => Ok(level),
        Some(level) => Err(invalid(format!(
            "level {level} is not in {least} to {most}"
        ))),
    }
}
