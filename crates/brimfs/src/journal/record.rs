//! The records inside of groups and checkpoints: what they say and how that is encoded. Pure.
//!
//! A record says the new state of one thing, never a difference, so that later ones replace earlier
//! ones. Decoding borrows from the bytes and allocates nothing.

use std::fmt;

use super::fields::{BadField, Fields, put_bytes, put_number, put_signed};
use super::format::{FORMAT, RECORD_BYTES_MAX};
use crate::base::error::{ErrorKind, Fault};

/// The longest name of an entry, in bytes.
const NAME_MAX: usize = 255;
/// The largest offset in a file, in bytes.
const FILE_END_MAX: u64 = i64::MAX as u64;

/// Whoever does not know a kind with this bit must not open the store.
const CRITICAL: u8 = 0x80;

/// The kinds of records. They go from 1 to 127 beside the critical bit.
mod kind {
    use super::CRITICAL;

    pub(super) const NODE: u8 = CRITICAL | 1;
    pub(super) const NODE_GONE: u8 = CRITICAL | 2;
    pub(super) const ENTRY: u8 = CRITICAL | 3;
    pub(super) const ENTRY_GONE: u8 = CRITICAL | 4;
    pub(super) const CONTENT: u8 = CRITICAL | 5;
    pub(super) const INLINE: u8 = CRITICAL | 6;
    pub(super) const HOLE: u8 = CRITICAL | 7;
    pub(super) const SEGMENT: u8 = CRITICAL | 8;
    pub(super) const SEGMENT_GONE: u8 = CRITICAL | 9;
    pub(super) const COUNTERS: u8 = CRITICAL | 10;
    pub(super) const MOVED: u8 = CRITICAL | 11;
    pub(super) const SEEN: u8 = CRITICAL | 12;
    pub(super) const SUMS: u8 = CRITICAL | 13;
    pub(super) const REDO: u8 = CRITICAL | 14;
    pub(super) const APPLIED: u8 = CRITICAL | 15;
    /// Kept free: several groups that count together.
    pub(super) const TRANSACTION: u8 = CRITICAL | 16;
    /// Kept free: a snapshot that persists.
    pub(super) const SNAPSHOT: u8 = CRITICAL | 17;
    /// Kept free: extents that several files share.
    pub(super) const SHARED_EXTENTS: u8 = CRITICAL | 18;
    pub(super) const OVERLAY: u8 = CRITICAL | 19;
}

/// Kinds of records that format 1 keeps free; a later version gives them a meaning.
pub const RESERVED_KINDS: [u8; 3] = [kind::TRANSACTION, kind::SNAPSHOT, kind::SHARED_EXTENTS];

/// What kind of thing a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// A point in time: seconds since 1970, and nanoseconds below a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanos: u32,
}

const NANOS: i64 = 1_000_000_000;

impl Time {
    fn as_nanos(self) -> Option<i64> {
        self.seconds
            .checked_mul(NANOS)?
            .checked_add(i64::from(self.nanos))
    }

    fn from_nanos(nanos: i64) -> Self {
        Time {
            seconds: nanos.div_euclid(NANOS),
            nanos: nanos.rem_euclid(NANOS) as u32,
        }
    }
}

/// A node, all of it but its content and its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its number, never given twice.
    pub number: u64,
    /// File, directory or symbolic link.
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group of the owner.
    pub gid: u32,
    /// Names that point to it.
    pub links: u64,
    /// Last access.
    pub accessed: Time,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of anything.
    pub changed: Time,
    /// Creation.
    pub created: Time,
    /// Bytes of content.
    pub len: u64,
    /// 0 to 10.
    pub priority: u8,
    /// Whether it stays in memory whatever its priority.
    pub pinned: bool,
    /// How often it was accessed.
    pub accesses: u64,
    /// Extended attributes.
    pub xattrs: Xattrs<'a>,
    /// Where a symbolic link leads; empty for others.
    pub target: &'a [u8],
}

/// Where a piece of a file's content lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Bytes of content.
    pub len: u64,
    /// Number of the segment.
    pub segment: u64,
    /// Bytes from the beginning of the segment.
    pub place: u64,
    /// Bytes that it takes there.
    pub stored: u64,
    /// Bytes of content of what is stored there, of which these are the first.
    pub record_len: u64,
    /// Whose content it is, as the segment's header has it.
    pub owner: u64,
    /// The part of the owner's content, as the segment's header has it.
    pub index: u32,
    /// Generation of the content, as the segment's header has it.
    pub generation: u64,
    /// The blocks of 16 KiB that hold data, the first in the lowest bit; 0 for all.
    pub blocks: u64,
}

/// Where the content of a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// Number of the file's node.
    pub node: u64,
    /// The extents are all there is; what the file had before, inline content too, is gone. Else they
    /// replace their ranges only.
    pub whole: bool,
    /// In the order in which they were put in.
    pub extents: Extents<'a>,
}

/// The state of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number, never given twice.
    pub number: u64,
    /// Bytes that are in use from its beginning.
    pub len: u64,
    /// Nothing is appended any more.
    pub sealed: bool,
}

/// Numbers that must not be given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The next new node gets this number.
    pub next_node: u64,
    /// The next new segment gets this number.
    pub next_segment: u64,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A node is new or changed.
    Node(Node<'a>),
    /// A node and its content are gone.
    NodeGone {
        /// Number of the node.
        number: u64,
    },
    /// A name in a directory is new or leads to another node.
    Entry {
        /// Number of the directory's node.
        directory: u64,
        /// 1 to 255 bytes without `/` and NUL.
        name: &'a [u8],
        /// Number of the node that it leads to.
        child: u64,
    },
    /// A name is gone.
    EntryGone {
        /// Number of the directory's node.
        directory: u64,
        /// As in [`Record::Entry`].
        name: &'a [u8],
    },
    /// Content lies in segments.
    Content(Content<'a>),
    /// Content lies in this record.
    Inline {
        /// Number of the file's node.
        node: u64,
        /// Bytes from the beginning of the file.
        offset: u64,
        /// The content.
        bytes: &'a [u8],
    },
    /// A range of a file has no content any more.
    Hole {
        /// Number of the file's node.
        node: u64,
        /// Bytes from the beginning of the file.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// A segment is new or grew.
    Segment(Segment),
    /// A segment is gone.
    SegmentGone {
        /// Number of the segment.
        number: u64,
    },
    /// What to go on counting from.
    Counters(Counters),
    /// What was last seen of the host file that mirrors a file. Sums that were known before are not any more.
    Seen {
        /// Number of the file's node.
        node: u64,
        /// What it was.
        stamp: HostStamp,
    },
    /// Checksums of blocks of a host file that was seen.
    Sums {
        /// Number of the file's node.
        node: u64,
        /// Number of the first block.
        first: u64,
        /// Four bytes for each block.
        sums: &'a [u8],
    },
    /// The group is not true before this was done to the host's tree.
    Redo(Redo<'a>),
    /// Every step of earlier groups was done.
    Applied,
    /// The same content lies elsewhere.
    Moved(Moved),
    /// Pages of a piece of content lie in a record of their own.
    Overlay(Overlay),
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They do not say what a record of this kind says.
    Malformed {
        /// Kind of the record with its critical bit; 0 if not even that can be read.
        kind: u8,
    },
    /// The record must be understood, and this version does not know its kind.
    Unknown {
        /// Kind of the record with its critical bit.
        kind: u8,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Malformed { kind } => {
                write!(f, "a record of kind {} is malformed", kind & !CRITICAL)
            }
            RecordError::Unknown { kind } => write!(
                f,
                "a record of kind {}, which format {FORMAT} of this version does not know, must be understood to open the store",
                kind & !CRITICAL
            ),
        }
    }
}

impl Record<'_> {
    /// Appends the record: its kind, the length of its body, the body.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what [`Record::decode`] would refuse: names, priorities and
    /// ranges that cannot be, a body of more than [`RECORD_BYTES_MAX`] bytes. Nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let start = out.len();
        out.push(self.kind());
        // Most bodies are short: their length takes the one byte that is kept for it.
        out.push(0);
        let body = out.len();
        let valid = self.put_body(out);
        let len = out.len() - body;
        if valid.is_err() || len as u64 > RECORD_BYTES_MAX {
            out.truncate(start);
            let text = format!(
                "a record of kind {} and {len} bytes cannot be stored",
                self.kind() & !CRITICAL
            );
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
        set_len(out, body, len);
        Ok(())
    }

    fn kind(&self) -> u8 {
        match self {
            Record::Node(_) => kind::NODE,
            Record::NodeGone { .. } => kind::NODE_GONE,
            Record::Entry { .. } => kind::ENTRY,
            Record::EntryGone { .. } => kind::ENTRY_GONE,
            Record::Content(_) => kind::CONTENT,
            Record::Inline { .. } => kind::INLINE,
            Record::Hole { .. } => kind::HOLE,
            Record::Segment(_) => kind::SEGMENT,
            Record::SegmentGone { .. } => kind::SEGMENT_GONE,
            Record::Counters(_) => kind::COUNTERS,
            Record::Seen { .. } => kind::SEEN,
            Record::Sums { .. } => kind::SUMS,
            Record::Redo(_) => kind::REDO,
            Record::Applied => kind::APPLIED,
            Record::Moved(_) => kind::MOVED,
            Record::Overlay(_) => kind::OVERLAY,
        }
    }

    fn put_body(&self, out: &mut Vec<u8>) -> Result<(), BadField> {
        match *self {
            Record::Node(node) => return node.put(out),
            Record::NodeGone { number } | Record::SegmentGone { number } => put_number(out, number),
            Record::Entry {
                directory,
                name,
                child,
            } => {
                put_number(out, directory);
                put_number(out, child);
                out.extend_from_slice(checked_name(name)?);
            }
            Record::EntryGone { directory, name } => {
                put_number(out, directory);
                out.extend_from_slice(checked_name(name)?);
            }
            Record::Content(content) => return content.put(out),
            Record::Inline {
                node,
                offset,
                bytes,
            } => {
                check_range(offset, bytes.len() as u64)?;
                put_number(out, node);
                put_number(out, offset);
                out.extend_from_slice(bytes);
            }
            Record::Hole { node, offset, len } => {
                check_range(offset, len)?;
                put_number(out, node);
                put_number(out, offset);
                put_number(out, len);
            }
            Record::Segment(segment) => {
                put_number(out, segment.number);
                put_number(out, segment.len);
                out.push(u8::from(segment.sealed));
            }
            Record::Counters(counters) => {
                put_number(out, counters.next_node);
                put_number(out, counters.next_segment);
            }
            Record::Seen { node, stamp } => {
                put_number(out, node);
                return stamp.put(out);
            }
            Record::Sums { node, first, sums } => {
                check_sums(sums)?;
                put_number(out, node);
                put_number(out, first);
                out.extend_from_slice(sums);
            }
            Record::Redo(redo) => return redo.put(out),
            Record::Applied => {}
            Record::Moved(moved) => return moved.put(out),
            Record::Overlay(overlay) => return overlay.put(out),
        }
        Ok(())
    }
}

/// Sets the length before a body that was put behind one byte for it.
fn set_len(out: &mut Vec<u8>, body: usize, len: usize) {
    if let Ok(short @ ..0x80) = u8::try_from(len) {
        out[body - 1] = short;
        return;
    }
    let mut prefix = Vec::with_capacity(4);
    put_number(&mut prefix, len as u64);
    let more = prefix.len() - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(body..body + len, body + more);
    out[body - 1..body + more].copy_from_slice(&prefix);
}

impl<'a> Record<'a> {
    /// Reads the body of a record. `None` for a kind that this version does not know and need not know.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn decode(kind: u8, body: &'a [u8]) -> Result<Option<Self>, RecordError> {
        let mut fields = Fields(body);
        let decoded = match kind {
            kind::NODE => Node::take(&mut fields).map(Record::Node),
            kind::NODE_GONE => fields.number().map(|number| Record::NodeGone { number }),
            kind::ENTRY => take_entry(&mut fields),
            kind::ENTRY_GONE => take_entry_gone(&mut fields),
            kind::CONTENT => Content::take(&mut fields).map(Record::Content),
            kind::INLINE => take_inline(&mut fields),
            kind::HOLE => take_hole(&mut fields),
            kind::SEGMENT => take_segment(&mut fields),
            kind::SEGMENT_GONE => fields.number().map(|number| Record::SegmentGone { number }),
            kind::COUNTERS => take_counters(&mut fields),
            kind::SEEN => take_seen(&mut fields),
            kind::SUMS => take_sums(&mut fields),
            kind::REDO => Redo::take(&mut fields).map(Record::Redo),
            kind::APPLIED => Ok(Record::Applied),
            kind::MOVED => Moved::take(&mut fields).map(Record::Moved),
            kind::OVERLAY => Overlay::take(&mut fields).map(Record::Overlay),
            unknown if unknown & CRITICAL != 0 => return Err(RecordError::Unknown { kind }),
            _ => return Ok(None),
        };
        match decoded {
            Ok(record) if fields.is_empty() => Ok(Some(record)),
            _ => Err(RecordError::Malformed { kind }),
        }
    }
}

fn take_entry<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    let (directory, child) = (fields.number()?, fields.number()?);
    let name = checked_name(fields.take(fields.0.len() as u64)?)?;
    Ok(Record::Entry {
        directory,
        name,
        child,
    })
}

fn take_entry_gone<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    let directory = fields.number()?;
    let name = checked_name(fields.take(fields.0.len() as u64)?)?;
    Ok(Record::EntryGone { directory, name })
}

fn take_inline<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    let (node, offset) = (fields.number()?, fields.number()?);
    let bytes = fields.take(fields.0.len() as u64)?;
    check_range(offset, bytes.len() as u64)?;
    Ok(Record::Inline {
        node,
        offset,
        bytes,
    })
}

fn take_hole<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    let (node, offset, len) = (fields.number()?, fields.number()?, fields.number()?);
    check_range(offset, len)?;
    Ok(Record::Hole { node, offset, len })
}

fn take_segment<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    Ok(Record::Segment(Segment {
        number: fields.number()?,
        len: fields.number()?,
        sealed: take_bool(fields)?,
    }))
}

fn take_counters<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    Ok(Record::Counters(Counters {
        next_node: fields.number()?,
        next_segment: fields.number()?,
    }))
}

fn take_bool(fields: &mut Fields<'_>) -> Result<bool, BadField> {
    match fields.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BadField),
    }
}

fn checked_name(name: &[u8]) -> Result<&[u8], BadField> {
    let plain = (1..=NAME_MAX).contains(&name.len())
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
        && !matches!(name, b"." | b"..");
    plain.then_some(name).ok_or(BadField)
}

fn check_range(offset: u64, len: u64) -> Result<(), BadField> {
    match offset.checked_add(len) {
        Some(..=FILE_END_MAX) => Ok(()),
        _ => Err(BadField),
    }
}

mod mirror;
mod parts;
mod places;

pub use mirror::{HostStamp, Redo};
use mirror::{check_sums, take_seen, take_sums};
pub use parts::{ExtentIter, Extents, XattrIter, Xattrs};
pub use places::{Moved, Overlay};

/// Reads the records of a verified payload one after the other. The kinds that need not be known are
/// passed over. After an error there is no more.
#[derive(Clone, Debug)]
pub struct Records<'a>(Fields<'a>);

impl<'a> Records<'a> {
    /// All records of a payload.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Records(Fields(payload))
    }

    fn take(&mut self) -> Result<Option<Record<'a>>, RecordError> {
        let malformed = |kind| move |BadField| RecordError::Malformed { kind };
        let kind = self.0.byte().map_err(malformed(0))?;
        let body = self.0.bytes().map_err(malformed(kind))?;
        Record::decode(kind, body)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.take() {
                Ok(None) => {}
                Ok(Some(record)) => return Some(Ok(record)),
                Err(error) => {
                    self.0 = Fields(&[]);
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
