//! Reading zip: the list of entries first, then their data, by several threads.
//!
//! The list is checked as a whole before a byte is unpacked: names, sizes, and that no two entries share data.

mod unpack;

use std::collections::HashMap;

use brimfs::Timestamp;
use rawzip::{
    CompressionMethod, CreatorSystem, ErrorKind, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipArchive,
    ZipArchiveEntryWayfinder, ZipFileHeaderRecord, ZipLocator,
};

use crate::extract::{Extraction, Kind, unsupported};
use crate::failure::{Failure, Outcome};
use crate::meter::Report;
use crate::sink::{Attributes, Conflict, Place};
use crate::source::Seekable;

/// The bits of a mode that say what it is.
const TYPE: u32 = 0o170_000;
/// The longest target of a link.
const TARGET_MAX: u64 = 4096;

type Archive = ZipArchive<Seekable>;

/// One entry whose data is wanted.
struct Job {
    /// As it stands in the archive.
    name: Vec<u8>,
    place: Place,
    entry: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    attributes: Attributes,
}

/// An entry of the list.
struct Listed {
    name: Vec<u8>,
    /// Its path below the destination.
    path: Vec<u8>,
    kind: Kind,
    entry: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    attributes: Attributes,
}

pub(crate) fn extract(
    from: Seekable,
    extraction: &mut Extraction<'_>,
    report: &mut Report<'_>,
) -> Outcome<()> {
    let len = from.len()?;
    let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let located = ZipLocator::new().locate_in_reader(from, &mut buffer, len);
    let archive = located.map_err(|(_, error)| failure(error))?;
    let (mut listed, total) = list(&archive, &mut buffer, extraction)?;
    check_apart(&archive, &listed, &mut buffer)?;

    let directories = listed.extract_if(.., |listed| listed.kind == Kind::Directory);
    for listed in directories.collect::<Vec<_>>() {
        let made = extraction.directory(&listed.path, listed.attributes);
        made.map_err(|failure| failure.of(&listed.name))?;
    }
    for listed in &listed {
        let made = extraction.sink.make_parents(&listed.path);
        made.map_err(|failure| failure.of(&listed.name))?;
    }
    let links: Vec<_> = listed
        .extract_if(.., |listed| listed.kind == Kind::Symlink)
        .collect();
    let jobs = jobs(listed, extraction)?;
    unpack::all(&archive, &jobs, total, extraction, report)?;
    for job in self::jobs(links, extraction)? {
        let linked = unpack::target(&archive, &job, extraction.meter)
            .and_then(|target| extraction.symlink(&job.place, &target, job.attributes));
        linked.map_err(|failure| failure.of(&job.name))?;
    }
    Ok(())
}

/// Reads the list, checking what it declares. Gives the bytes of all files too.
fn list(
    archive: &Archive,
    buffer: &mut [u8],
    extraction: &mut Extraction<'_>,
) -> Outcome<(Vec<Listed>, u64)> {
    let meter = extraction.meter;
    meter.check_entries(archive.entries_hint())?;
    let (mut all, mut count, mut total) = (Vec::new(), 0, 0u64);
    let mut entries = archive.entries(buffer);
    while let Some(record) = entries.next_entry().map_err(failure)? {
        count += 1;
        let name = record.file_path();
        let name = name.as_bytes();
        let kind = kind(&record);
        let Some(path) = extraction.admit(name, kind)? else {
            continue;
        };
        let checked = check(&record, kind, extraction).and_then(|size| {
            total = total.saturating_add(size);
            meter.check_total(total)
        });
        checked.map_err(|failure| failure.of(name))?;
        all.push(Listed {
            name: name.to_vec(),
            path,
            kind,
            entry: record.wayfinder(),
            method: record.compression_method(),
            attributes: attributes(&record),
        });
    }
    if count != archive.entries_hint() {
        let text = format!("{count} entries where {} should be", archive.entries_hint());
        return Err(Failure::bad(text));
    }
    Ok((all, total))
}

/// Type and permissions, where the system that wrote the entry has such.
fn mode(record: &ZipFileHeaderRecord<'_>) -> u32 {
    match record.version_made_by().creator_system() {
        CreatorSystem::UNIX | CreatorSystem::MACOS => record.external_attributes() >> 16,
        _ => 0,
    }
}

fn kind(record: &ZipFileHeaderRecord<'_>) -> Kind {
    match mode(record) & TYPE {
        0o120_000 => Kind::Symlink,
        0o020_000 | 0o060_000 | 0o010_000 | 0o140_000 => Kind::Special,
        _ if record.is_dir() => Kind::Directory,
        _ => Kind::File,
    }
}

/// Checks what an entry says of itself, and gives its size.
fn check(
    record: &ZipFileHeaderRecord<'_>,
    kind: Kind,
    extraction: &Extraction<'_>,
) -> Outcome<u64> {
    let flags = record.flags();
    let method = record.compression_method();
    if flags.is_encrypted() || flags.has_strong_encryption() || method == CompressionMethod::AES {
        return Err(unsupported("it is encrypted"));
    }
    let size = record.uncompressed_size_hint();
    match kind {
        Kind::Directory if size > 0 => Err(Failure::bad("a directory with content")),
        Kind::Directory => Ok(0),
        Kind::Symlink if size > TARGET_MAX => {
            Err(Failure::limit("the target of a link is too long"))
        }
        _ => {
            let meter = extraction.meter;
            unpack::check_method(method)?;
            meter.check_file(size)?;
            meter.check_ratio(size, record.compressed_size_hint())?;
            Ok(size)
        }
    }
}

fn attributes(record: &ZipFileHeaderRecord<'_>) -> Attributes {
    let mode = mode(record);
    let time = record.last_modified();
    Attributes {
        // Some write permissions without a type, which say nothing about the file they came from.
        mode: (mode & TYPE != 0).then_some(mode),
        modified: Some(Timestamp {
            seconds: unpack::seconds(&time),
            nanos: time.nanosecond(),
        }),
    }
}

/// Checks that no two entries share bytes, none reaches into the list, and local headers have the same names.
fn check_apart(archive: &Archive, listed: &[Listed], buffer: &mut [u8]) -> Outcome<()> {
    let mut ranges = Vec::with_capacity(listed.len());
    for listed in listed {
        let bad = |error| failure(error).of(&listed.name);
        let entry = archive.get_entry(listed.entry).map_err(bad)?;
        let local = entry.local_header(buffer).map_err(bad)?;
        if local.file_path().as_bytes() != listed.name {
            return Err(Failure::bad("its local header has another name").of(&listed.name));
        }
        let (start, end) = entry.compressed_data_range();
        let header = 30 + listed.name.len() as u64;
        ranges.push((start.saturating_sub(header), end));
    }
    ranges.sort_unstable();
    let mut free = 0;
    for (start, end) in ranges {
        if start < free {
            return Err(Failure::bad("entries overlap"));
        }
        free = end;
    }
    if free > archive.directory_offset() {
        return Err(Failure::bad("an entry reaches into the list of entries"));
    }
    Ok(())
}

/// Where entries go; of those with one name the first or the last, if that is what was asked for.
fn jobs(listed: Vec<Listed>, extraction: &mut Extraction<'_>) -> Outcome<Vec<Job>> {
    let mut jobs: Vec<Job> = Vec::with_capacity(listed.len());
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    for listed in listed {
        let name = listed.name;
        let before = known.get(&listed.path).copied();
        match (before, extraction.options.conflict) {
            (Some(_), Conflict::Raise) => {
                return Err(Failure::bad("the name is there twice").of(&name));
            }
            (Some(_), Conflict::Skip) => {
                extraction.done.skipped += 1;
                continue;
            }
            _ => {}
        }
        let place = extraction.place(&listed.path);
        let Some(place) = place.map_err(|failure| failure.of(&name))? else {
            continue;
        };
        let job = Job {
            name,
            place,
            entry: listed.entry,
            method: listed.method,
            attributes: listed.attributes,
        };
        match before {
            Some(at) => jobs[at] = job,
            None => {
                known.insert(listed.path, jobs.len());
                jobs.push(job);
            }
        }
    }
    Ok(jobs)
}

/// What reading the structure of the archive met.
fn failure(error: rawzip::Error) -> Failure {
    let text = error.to_string();
    match error.into_kind() {
        ErrorKind::IO(error) => Failure::from_decoder(error),
        ErrorKind::Eof => Failure::bad("it ends in the middle"),
        ErrorKind::MissingEndOfCentralDirectory => {
            Failure::bad("its end is missing, where the entries are listed")
        }
        _ => Failure::bad(text),
    }
}
