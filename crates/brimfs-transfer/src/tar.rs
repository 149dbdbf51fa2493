//! Reading tar: one pass over the stream, header by header.
//!
//! The headers are the crate's; the loop around them is here, because extended headers have to be bounded before
//! they are read, and because what contradicts itself is to be an error and not a guess.

use std::io::Read;

use ::tar::{EntryType, Header, PaxExtensions};
use brimfs::Timestamp;

use crate::codec::Unpacked;
use crate::extract::{Extraction, Kind, piece, unsupported};
use crate::failure::{Failure, Outcome};
use crate::meter::Report;
use crate::sink::{Attributes, Counted, read_piece};

const BLOCK: usize = 512;
/// The longest extended header, in bytes: names and attributes of one entry.
const EXTENDED_MAX: u64 = 1 << 20;
/// Extended headers before one entry.
const EXTENDED_COUNT_MAX: u32 = 8;
/// Padding behind the end mark, in bytes.
const TAIL_MAX: u64 = 16 << 20;

/// Whether a block is a header, going by its checksum.
pub(crate) fn checksum_is_right(block: &[u8]) -> bool {
    let Some(header) = block.first_chunk::<BLOCK>() else {
        return false;
    };
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    Header::from_byte_slice(header)
        .cksum()
        .is_ok_and(|said| said == sum)
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Timestamp>,
    count: u32,
}

/// One entry, with its data still to be read.
struct Entry {
    name: Vec<u8>,
    target: Vec<u8>,
    kind: Kind,
    size: u64,
    attributes: Attributes,
}

pub(crate) fn extract(
    mut from: Unpacked<'_>,
    extraction: &mut Extraction<'_>,
    report: &mut Report<'_>,
) -> Outcome<()> {
    let mut buffer = piece();
    while let Some(entry) = next(&mut from)? {
        let name = entry.name.clone();
        let mut data = Data {
            from: &mut from,
            left: entry.size,
        };
        one(&entry, &mut data, &mut buffer, extraction, report).map_err(|error| error.of(&name))?;
        let left = data.left;
        skip(&mut from, left + padding(entry.size))?;
        extraction.meter.tell(report, None, &name)?;
    }
    Ok(())
}

fn one(
    entry: &Entry,
    data: &mut Data<'_, '_>,
    buffer: &mut [u8],
    extraction: &mut Extraction<'_>,
    report: &mut Report<'_>,
) -> Outcome<()> {
    let Some(name) = extraction.admit(&entry.name, entry.kind)? else {
        return Ok(());
    };
    if entry.kind == Kind::Directory {
        return extraction.directory(&name, entry.attributes);
    }
    let meter = extraction.meter;
    meter.check_file(entry.size)?;
    meter.check_total(meter.bytes().saturating_add(entry.size))?;
    let Some(place) = extraction.place(&name)? else {
        return Ok(());
    };
    if entry.kind == Kind::Symlink {
        return extraction.symlink(&place, &entry.target, entry.attributes);
    }
    let mut counted = Counted {
        from: data,
        meter,
        bytes: 0,
    };
    let mut tell = || meter.tell(report, None, &entry.name);
    let sink = &extraction.sink;
    sink.file(&place, entry.attributes, &mut counted, buffer, &mut tell)?;
    extraction.done.files += 1;
    meter.entry();
    Ok(())
}

/// Reads up to the data of the next entry; nothing at the end mark.
fn next(from: &mut Unpacked<'_>) -> Outcome<Option<Entry>> {
    let mut extended = Extended::default();
    loop {
        let mut block = [0; BLOCK];
        match read_piece(from, &mut block)? {
            0 => return Err(Failure::bad("it ends without an end mark")),
            BLOCK => {}
            _ => return Err(Failure::bad("it ends in the middle")),
        }
        if block.iter().all(|byte| *byte == 0) {
            if extended.count > 0 {
                return Err(Failure::bad("an extended header without an entry"));
            }
            return tail(from).map(|()| None);
        }
        if !checksum_is_right(&block) {
            return Err(Failure::bad("a header has a wrong checksum"));
        }
        let header = Header::from_byte_slice(&block);
        let size = header.entry_size();
        let size = size.map_err(|_| Failure::bad("a header has no readable size"))?;
        let kind = header.entry_type();
        if !is_extended(kind) {
            return entry(header, kind, size, extended).map(Some);
        }
        extended.count += 1;
        if extended.count > EXTENDED_COUNT_MAX {
            return Err(Failure::bad("too many extended headers"));
        }
        let data = extended_data(from, size)?;
        match kind {
            EntryType::GNULongName => extended.name = Some(until_nul(&data)),
            EntryType::GNULongLink => extended.target = Some(until_nul(&data)),
            EntryType::XHeader => pax(&data, &mut extended)?,
            _ => pax_global(&data)?,
        }
    }
}

fn is_extended(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XHeader
            | EntryType::XGlobalHeader
    )
}

fn extended_data(from: &mut Unpacked<'_>, size: u64) -> Outcome<Vec<u8>> {
    if size > EXTENDED_MAX {
        let text = format!("an extended header of more than {EXTENDED_MAX} bytes");
        return Err(Failure::limit(text));
    }
    let mut data = vec![0; size as usize];
    if read_piece(from, &mut data)? < data.len() {
        return Err(Failure::bad("it ends in the middle"));
    }
    skip(from, padding(size))?;
    Ok(data)
}

fn entry(header: &Header, kind: EntryType, size: u64, extended: Extended) -> Outcome<Entry> {
    let name = extended
        .name
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let is_directory = name.ends_with(b"/");
    let kind = match kind {
        EntryType::Regular | EntryType::Continuous if is_directory => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
        EntryType::GNUSparse => return Err(unsupported("a sparse file").of(&name)),
        other => {
            let text = format!("an entry of the unknown type {:?}", other.as_byte() as char);
            return Err(unsupported(text).of(&name));
        }
    };
    let target = extended
        .target
        .or_else(|| header.link_name_bytes().map(|target| target.into_owned()));
    let seconds = header
        .mtime()
        .ok()
        .and_then(|time| i64::try_from(time).ok());
    let modified = seconds.map(|seconds| Timestamp { seconds, nanos: 0 });
    // Of links some writers say the size of the file that they lead to, and add no data.
    let has_data = matches!(kind, Kind::File | Kind::Directory | Kind::Special);
    Ok(Entry {
        name,
        target: target.unwrap_or_default(),
        kind,
        size: if has_data {
            extended.size.unwrap_or(size)
        } else {
            0
        },
        attributes: Attributes {
            mode: header.mode().ok(),
            modified: extended.modified.or(modified),
        },
    })
}

fn pax(data: &[u8], extended: &mut Extended) -> Outcome<()> {
    for pair in PaxExtensions::new(data) {
        let pair = pair.map_err(|_| Failure::bad("an extended header is malformed"))?;
        let value = pair.value_bytes();
        match pair.key_bytes() {
            b"path" => extended.name = Some(value.to_vec()),
            b"linkpath" => extended.target = Some(value.to_vec()),
            b"size" => {
                let size = str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                let text = "an extended header has no readable size";
                extended.size = Some(size.ok_or_else(|| Failure::bad(text))?);
            }
            b"mtime" => extended.modified = moment(value),
            key if key.starts_with(b"GNU.sparse.") => return Err(unsupported("a sparse file")),
            _ => {}
        }
    }
    Ok(())
}

/// What holds for all entries that follow: comments and the like.
fn pax_global(data: &[u8]) -> Outcome<()> {
    for pair in PaxExtensions::new(data) {
        let pair = pair.map_err(|_| Failure::bad("an extended header is malformed"))?;
        if matches!(pair.key_bytes(), b"path" | b"linkpath" | b"size") {
            return Err(Failure::bad("one name or size for all entries"));
        }
    }
    Ok(())
}

/// Seconds with a fraction, as text.
fn moment(text: &[u8]) -> Option<Timestamp> {
    let text = str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}")[..9].parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some(Timestamp {
            seconds: seconds.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        });
    }
    Some(Timestamp { seconds, nanos })
}

fn until_nul(data: &[u8]) -> Vec<u8> {
    let end = data.iter().position(|byte| *byte == 0);
    data[..end.unwrap_or(data.len())].to_vec()
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn skip(from: &mut Unpacked<'_>, mut count: u64) -> Outcome<()> {
    let mut nowhere = [0; 16 << 10];
    while count > 0 {
        let len = count.min(nowhere.len() as u64) as usize;
        if read_piece(from, &mut nowhere[..len])? < len {
            return Err(Failure::bad("it ends in the middle"));
        }
        count -= len as u64;
    }
    Ok(())
}

/// Reads what is behind the end mark, so that checksums at the end of the packed stream are compared.
fn tail(from: &mut Unpacked<'_>) -> Outcome<()> {
    let mut nowhere = [0; 16 << 10];
    let mut count = 0;
    loop {
        let read = read_piece(from, &mut nowhere)?;
        count += read as u64;
        if read < nowhere.len() {
            return Ok(());
        }
        if count > TAIL_MAX {
            let text = format!("more than {TAIL_MAX} bytes behind the end mark");
            return Err(Failure::limit(text));
        }
    }
}

/// The data of one entry: as long as its header says.
struct Data<'a, 'b> {
    from: &'a mut Unpacked<'b>,
    left: u64,
}

impl Read for Data<'_, '_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let len = self.left.min(to.len() as u64) as usize;
        if len == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut to[..len])?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}
