//! Extraction: the public call, and what both formats do with an entry.

use brimfs::{AsPath, Error, ErrorKind, FileSystem};

use crate::codec::Unpacked;
use crate::failure::{Failure, Outcome};
use crate::format::Format;
use crate::meter::{Limits, Meter, Report};
use crate::name::{self, BadNames};
use crate::sink::{Attributes, Conflict, Links, PIECE, Place, Sink, Transferred};
use crate::source::{self, Opened, Source};

/// How to extract.
#[derive(Clone, Copy, Debug)]
pub struct ExtractOptions {
    /// The format; `None` goes by the first bytes.
    pub format: Option<Format>,
    /// What the archive may hold.
    pub limits: Limits,
    /// What to do where a name is taken.
    pub conflict: Conflict,
    /// What to do with links.
    pub links: Links,
    /// What to do with names that lead out.
    pub bad_names: BadNames,
    /// All or nothing: a hidden directory is filled beside the destination and moved there at the end. Else
    /// entries are there as soon as they are whole, and stay if a later one fails.
    pub atomic: bool,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        ExtractOptions {
            format: None,
            limits: Limits::default(),
            conflict: Conflict::default(),
            links: Links::default(),
            bad_names: BadNames::default(),
            atomic: true,
        }
    }
}

/// Extracts an archive into a directory, which is made if it is missing, as are those above it.
///
/// Every name, size and link is taken for a lie until it is checked; the quota and the memory limit are charged
/// as bytes arrive. Permissions (without set-user-id and the like) and times are those of the archive, owners are
/// not. With [`ExtractOptions::atomic`] a destination that is missing appears in one step; into one that exists
/// nodes are moved one by one, and back if one of them cannot. What is replaced counts against the quota until
/// the end. O(bytes); a zip is unpacked by as many threads as there are processors, up to four.
///
/// # Errors
/// [`ErrorKind::BadArchive`], [`ErrorKind::UnsafeArchive`], [`ErrorKind::ArchiveLimit`],
/// [`ErrorKind::Unsupported`] for what is encrypted, sparse, or packed in another way,
/// [`ErrorKind::AlreadyExists`], [`ErrorKind::Cancelled`], [`ErrorKind::Io`] of the host, and those of writing.
pub fn extract(
    fs: &FileSystem,
    source: Source<'_>,
    destination: impl AsPath,
    options: &ExtractOptions,
    report: &mut Report<'_>,
) -> Result<Transferred, Error> {
    let destination = destination.as_path_bytes();
    try_extract(fs, source, destination, options, report)
        .map_err(|failure| failure.at("extract", destination))
}

fn try_extract(
    fs: &FileSystem,
    source: Source<'_>,
    destination: &[u8],
    options: &ExtractOptions,
    report: &mut Report<'_>,
) -> Outcome<Transferred> {
    let opened = source::open(fs, source, options.format)?;
    let meter = Meter::new(options.limits);
    let sink = Sink::new(fs, "extract", destination, options.conflict, options.atomic)?;
    let mut extraction = Extraction {
        sink,
        options: *options,
        meter: &meter,
        seen: 0,
        done: Transferred::default(),
    };
    match opened {
        Opened::Zip(from) => crate::zip::extract(from, &mut extraction, report)?,
        Opened::Tar(format, from) => {
            let from = Unpacked::new(format, from, &meter)?;
            crate::tar::extract(from, &mut extraction, report)?;
        }
    }
    let Extraction { sink, mut done, .. } = extraction;
    sink.finish()?;
    done.bytes = meter.bytes();
    Ok(done)
}

/// What an entry is, of those that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    /// A device, a pipe, a socket.
    Special,
}

/// One extraction under way.
pub(crate) struct Extraction<'a> {
    pub(crate) sink: Sink<'a>,
    pub(crate) options: ExtractOptions,
    pub(crate) meter: &'a Meter,
    seen: u64,
    pub(crate) done: Transferred,
}

impl Extraction<'_> {
    /// Counts an entry and gives its path, or nothing if an entry of this kind is left out.
    pub(crate) fn admit(&mut self, raw: &[u8], kind: Kind) -> Outcome<Option<Vec<u8>>> {
        self.seen += 1;
        self.meter.check_entries(self.seen)?;
        let text = match kind {
            Kind::File | Kind::Directory => None,
            Kind::Symlink if self.options.links == Links::Keep => None,
            Kind::Symlink => Some("a symbolic link"),
            Kind::HardLink => Some("a hard link"),
            Kind::Special => Some("a device, a pipe or a socket"),
        };
        match text {
            Some(_) if self.options.links == Links::Skip => {
                self.done.skipped += 1;
                self.meter.entry();
                return Ok(None);
            }
            Some(text) => return Err(Failure::unsafe_entry(text).of(raw)),
            None => {}
        }
        let limits = &self.meter.limits;
        let clean = name::clean(raw, self.options.bad_names, limits.depth);
        clean.map(Some).map_err(|failure| failure.of(raw))
    }

    pub(crate) fn directory(&mut self, name: &[u8], attributes: Attributes) -> Outcome<()> {
        self.sink.directory(name, attributes)?;
        self.done.directories += 1;
        self.meter.entry();
        Ok(())
    }

    /// Where a file or link goes; nothing if it is skipped because the name is taken.
    pub(crate) fn place(&mut self, name: &[u8]) -> Outcome<Option<Place>> {
        let place = self.sink.place(name)?;
        if place.is_none() {
            self.done.skipped += 1;
            self.meter.entry();
        }
        Ok(place)
    }

    pub(crate) fn symlink(
        &mut self,
        place: &Place,
        target: &[u8],
        attributes: Attributes,
    ) -> Outcome<()> {
        if !name::stays_inside(&place.name, target) {
            return Err(Failure::unsafe_entry("a symbolic link that leads out"));
        }
        self.sink.symlink(place, target, attributes)?;
        self.done.symlinks += 1;
        self.meter.entry();
        Ok(())
    }
}

pub(crate) fn piece() -> Vec<u8> {
    vec![0; PIECE]
}

pub(crate) fn unsupported(text: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Unsupported, text)
}
