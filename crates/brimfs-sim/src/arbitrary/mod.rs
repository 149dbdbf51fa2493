//! Stores that no writer wrote, made of arbitrary bytes, and what holds whatever the bytes are: nothing panics, a
//! check and an opening agree, and what a repair makes of it is sound.
//!
//! Properties and fuzz targets share these functions. Headers and checksums are written here once more, as
//! docs/format.md draws them and without the product's code, so that bytes get past them to what lies behind.

mod files;
mod records;
mod source;

use std::sync::Arc;

use brimfs::face::journal::Records;
use brimfs::face::{check_directory, repair_directory};
use brimfs::{ErrorKind, FileSystem, LockMode, OpenOptions};

use crate::medium::Medium;
use files::Writer;
use source::Source;

/// Bytes that are read of a file at once.
const READ: u64 = 1 << 20;

/// Takes the bytes for the payload of a group: whatever is a record there can be written down again.
///
/// # Panics
/// If it cannot, or is another one then.
pub fn records(bytes: &[u8]) {
    let mut count = 0;
    for record in Records::new(bytes).map_while(Result::ok) {
        let mut again = Vec::new();
        record.encode(&mut again).expect("what was decoded");
        let mut decoded = Records::new(&again);
        assert_eq!(decoded.next(), Some(Ok(record)));
        assert_eq!(decoded.next(), None);
        count += 1;
    }
    // A kind and a length at least.
    assert!(count <= bytes.len() / 2);
}

/// A payload of records, most of which make sense each by itself.
#[must_use]
pub fn payload(bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    records::put(&mut Source(bytes), &mut payload);
    payload
}

/// Makes a store of bytes.
pub type Maker = fn(&[u8]) -> Medium;

/// What makes stores of bytes, by name.
pub const STORES: [(&str, Maker); 4] = [
    ("journal", journal_of),
    ("checkpoint", checkpoint_of),
    ("segments", segments_of),
    ("store", store_of),
];

/// A journal of a few files whose groups are whole, most of them, and hold anything.
fn journal_of(bytes: &[u8]) -> Medium {
    let mut source = Source(bytes);
    let medium = Medium::new();
    let mut writer = Writer::new(1);
    for _ in 0..1 + source.below(3) {
        writer.journal_file(&medium, &mut source);
    }
    medium
}

/// A checkpoint whose frames are whole, most of them, and a journal file behind it.
fn checkpoint_of(bytes: &[u8]) -> Medium {
    let mut source = Source(bytes);
    let medium = Medium::new();
    let mut writer = Writer::new(2);
    writer.checkpoint(&medium, &mut source);
    if source.below(8) > 0 {
        writer.journal_file(&medium, &mut source);
    }
    medium
}

/// Segments with records whose headers are whole, most of them, and a journal that refers to them.
fn segments_of(bytes: &[u8]) -> Medium {
    let mut source = Source(bytes);
    let medium = Medium::new();
    let mut writer = Writer::new(3);
    let extents = writer.segments(&medium, &mut source);
    writer.journal_of(&medium, &extents, &mut source);
    medium
}

/// A directory whose files begin as those of a store do, mostly, and go on anyhow.
fn store_of(bytes: &[u8]) -> Medium {
    let medium = Medium::new();
    files::any_files(&medium, &mut Source(bytes));
    medium
}

/// Makes journal files of the bytes, and judges them.
///
/// # Panics
/// See [`judge`].
pub fn journal(bytes: &[u8]) {
    judge(&journal_of(bytes));
}

/// Makes a checkpoint of the bytes, and judges it.
///
/// # Panics
/// See [`judge`].
pub fn checkpoint(bytes: &[u8]) {
    judge(&checkpoint_of(bytes));
}

/// Makes segments of the bytes, and judges them.
///
/// # Panics
/// See [`judge`].
pub fn segments(bytes: &[u8]) {
    judge(&segments_of(bytes));
}

/// Makes any files of the bytes, and judges them.
///
/// # Panics
/// See [`judge`].
pub fn store(bytes: &[u8]) {
    judge(&store_of(bytes));
}

/// What holds of every store, whatever is in it: a check that finds nothing wrong means that it can be opened and read, one
/// that finds something that it can be repaired unless its whole journal is lost, and a repair that nothing is wrong any more.
///
/// # Panics
/// If that is not so.
pub fn judge(medium: &Medium) {
    let checked = check_directory(Arc::new(medium.fork()), &mut |_| {});
    let opened = open(medium);
    match checked {
        Err(fault) => {
            // Where there is nothing, a store can begin.
            let is_none = fault.kind() == ErrorKind::NotFound;
            assert!(is_none || opened.is_err(), "{fault:?}");
        }
        Ok(report) if report.is_sound() => read(opened),
        Ok(report) => {
            let medium = medium.fork();
            let repaired = repair_directory(Arc::new(medium.clone()), None, &mut |_| {});
            if let Err(fault) = repaired {
                // Or it has the last number that there is.
                let is_none_left = fault.kind() == ErrorKind::Unsupported;
                assert!(
                    report.journal_lost || is_none_left,
                    "{fault:?}: {:#?}",
                    report.problems
                );
                return;
            }
            let again = check_directory(Arc::new(medium.fork()), &mut |_| {});
            let problems = again.expect("a store").problems;
            assert!(
                problems.is_empty(),
                "{:#?}, then {problems:#?}",
                report.problems
            );
            read(open(&medium));
        }
    }
}

fn open(medium: &Medium) -> Result<FileSystem, brimfs::Error> {
    let builder = FileSystem::builder()
        .memory_limit(64 << 20)
        .disk_limit(1 << 30)
        .durability(brimfs::Durability::Manual);
    builder.open_in(Arc::new(medium.fork()))
}

/// Reads everything. An opening may have failed for limits, which are no damage.
fn read(opened: Result<FileSystem, brimfs::Error>) {
    let fs = match opened {
        Ok(fs) => fs,
        Err(error) => {
            let is_damage = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io);
            assert!(!is_damage, "{error}");
            return;
        }
    };
    fs.audit().expect("a clean audit");
    let mut buffer = vec![0; READ as usize];
    for entry in fs.walk("/").expect("walked") {
        if !entry.metadata().is_file() {
            continue;
        }
        let how = OpenOptions::new().read(true).lock(LockMode::None).clone();
        let file = how.open(&fs, entry.path()).expect("opened");
        let mut at = 0;
        while let Some(start) = file.seek_data(at).expect("data") {
            let end = file.seek_hole(start).expect("a hole");
            let end = end.unwrap_or(entry.metadata().len()).min(start + READ);
            let part = &mut buffer[..(end - start) as usize];
            let read = file.read_at(start, part).expect("content that was checked");
            assert_eq!(read, part.len());
            at = end;
        }
    }
    fs.close().expect("closed");
}
