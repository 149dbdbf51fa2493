//! Archives made by hand, so that they can lie.
#![allow(dead_code, reason = "every test program uses its part of this")]

use std::io::Write;

use brimfs::{Error, ErrorKind, FileSystem};
use brimfs_transfer::{ExtractOptions, Source, Transferred, extract};

/// An entry of a zip as it is written, right or wrong.
#[derive(Clone)]
pub struct ZipEntry {
    pub name: Vec<u8>,
    pub local_name: Option<Vec<u8>>,
    pub packed: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub size: u32,
    pub crc: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Says that its data lies where that of another entry does.
    pub shares: Option<usize>,
}

impl ZipEntry {
    pub fn stored(name: &[u8], content: &[u8]) -> Self {
        ZipEntry {
            name: name.to_vec(),
            local_name: None,
            packed: content.to_vec(),
            method: 0,
            flags: 0,
            size: content.len() as u32,
            crc: crc32fast::hash(content),
            mode: 0o100_644,
            shares: None,
        }
    }

    pub fn deflated(name: &[u8], content: &[u8]) -> Self {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        ZipEntry {
            packed: encoder.finish().unwrap(),
            method: 8,
            ..Self::stored(name, content)
        }
    }
}

pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut offsets = Vec::new();
    for entry in entries {
        offsets.push(entry.shares.map_or(out.len(), |other| offsets[other]));
        if entry.shares.is_some() {
            continue;
        }
        let name = entry.local_name.as_ref().unwrap_or(&entry.name);
        out.extend(b"PK\x03\x04\x14\0");
        fixed(&mut out, entry);
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([0, 0]);
        out.extend(name);
        out.extend(&entry.packed);
    }
    let start = out.len();
    for (entry, offset) in entries.iter().zip(offsets) {
        out.extend(b"PK\x01\x02\x14\x03\x14\0");
        fixed(&mut out, entry);
        out.extend((entry.name.len() as u16).to_le_bytes());
        out.extend([0; 8]);
        out.extend((entry.mode << 16).to_le_bytes());
        out.extend((offset as u32).to_le_bytes());
        out.extend(&entry.name);
    }
    let size = out.len() - start;
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((size as u32).to_le_bytes());
    out.extend((start as u32).to_le_bytes());
    out.extend([0, 0]);
    out
}

/// What local and central headers have in common: from the flags to the sizes.
fn fixed(out: &mut Vec<u8>, entry: &ZipEntry) {
    out.extend(entry.flags.to_le_bytes());
    out.extend(entry.method.to_le_bytes());
    // 2001-02-03, 04:05:06.
    out.extend(((4u16 << 11) | (5 << 5) | 3).to_le_bytes());
    out.extend(((21u16 << 9) | (2 << 5) | 3).to_le_bytes());
    out.extend(entry.crc.to_le_bytes());
    out.extend((entry.packed.len() as u32).to_le_bytes());
    out.extend(entry.size.to_le_bytes());
}

/// An entry of a tar: `kind` is the type in its header.
pub fn tar_entry(name: &[u8], kind: u8, target: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let raw = header.as_mut_bytes();
    raw[..name.len()].copy_from_slice(name);
    raw[157..157 + target.len()].copy_from_slice(target);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o640);
    header.set_mtime(981_173_106);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

pub fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = entries.concat();
    out.extend([0; 1024]);
    out
}

pub fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Extracts into `/out` of a filesystem that must be as it was if that fails, and sound in any case.
#[track_caller]
pub fn attempt(
    archive: &[u8],
    options: &ExtractOptions,
) -> Result<(FileSystem, Transferred), Error> {
    let fs = filesystem();
    let before = fs.stats();
    let source = Source::Bytes(archive.to_vec().into());
    let done = extract(&fs, source, "/out", options, &mut |_| true);
    fs.audit().unwrap();
    if done.is_err() && options.atomic {
        assert_eq!(
            fs.read_dir("/").unwrap().count(),
            0,
            "something was left behind"
        );
        assert_eq!(fs.stats().quota_used, before.quota_used);
    }
    assert!(
        fs.read_dir("/")
            .unwrap()
            .all(|entry| entry.name() == b"out")
    );
    done.map(|done| (fs, done))
}

/// The archive is refused with this kind of error, whole and by streaming; gives the text.
#[track_caller]
pub fn refused(archive: &[u8], options: &ExtractOptions, kind: ErrorKind) -> String {
    let error = attempt(archive, options).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.path(), Some(&b"/out"[..]), "{error}");
    let streaming = ExtractOptions {
        atomic: false,
        ..*options
    };
    let streamed = attempt(archive, &streaming).unwrap_err();
    assert!(
        streamed.kind() == kind || kind == ErrorKind::BadArchive,
        "{streamed}"
    );
    error.to_string()
}

/// A filesystem with a budget of its own, so that its counters can be compared.
pub fn filesystem() -> FileSystem {
    FileSystem::builder().memory_limit(1 << 30).build().unwrap()
}
