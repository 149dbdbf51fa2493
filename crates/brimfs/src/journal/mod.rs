//! The journal: what makes the metadata of a store durable, and finds it again after a crash.
//!
//! Appends groups of records to a chain of files, writes checkpoints that make old groups superfluous, and
//! recovers the newest checkpoint and every whole group after it. A group counts as a whole or not at
//! all. Knows what records say, not what they mean: recovery hands them to a [`Visitor`]. Calls
//! `io` and `base` only. docs/format.md draws the files.

mod buffer;
mod checkpoint;
mod fields;
mod format;
mod group;
mod record;
mod recovery;
mod salvage;
mod scan;
mod writer;

use std::io;

use crate::base::error::{ErrorKind, Fault};
pub use crate::base::pages::Pages;

pub use checkpoint::{CheckpointWriter, Covered};
pub(crate) use format::is_file_name;
pub use format::{BLOCK, FORMAT, GROUP_BYTES_MAX, Identity, Position, RECORD_BYTES_MAX};
pub use group::Group;
pub use record::{
    Content, Counters, Extent, ExtentIter, Extents, HostStamp, Moved, Node, NodeKind, Overlay,
    RESERVED_KINDS, Record, RecordError, Records, Redo, Segment, Time, XattrIter, Xattrs,
};
pub use recovery::{Recovered, Visitor, recover};
pub use salvage::{Piece, Salvaged, salvage};
pub use writer::{Options, Writer, make_durable};

/// An error of the disk, with what was being done to which file.
#[cold]
fn context(doing: &str, name: &str, error: io::Error) -> Fault {
    Fault::disk(io::Error::new(
        error.kind(),
        format!("{doing} {name}: {error}"),
    ))
}

#[cold]
fn corrupt(text: String) -> Fault {
    Fault::text(ErrorKind::Corrupt, text)
}

#[cold]
fn unknown_format(name: &str, format: u32) -> Fault {
    let text = format!("{name} has format {format}; this version reads format {FORMAT}");
    Fault::text(ErrorKind::Unsupported, text)
}

#[cold]
fn record_fault(name: &str, offset: u64, error: RecordError) -> Fault {
    let kind = match error {
        RecordError::Malformed { .. } => ErrorKind::Corrupt,
        RecordError::Unknown { .. } => ErrorKind::Unsupported,
    };
    Fault::text(kind, format!("{name}, offset {offset}: {error}"))
}

#[cfg(test)]
mod tests;
