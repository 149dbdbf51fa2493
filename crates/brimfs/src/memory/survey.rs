//! What is where in a file's content, unit by unit, for whoever asks or wants it back.
//!
//! Looks and changes nothing; takes the locks of chunks, one after the other.

use crate::memory::chunk::Chunk;
use crate::memory::content::Content;
use crate::memory::small::is_whole_file;
use crate::memory::table::Table;
use crate::memory::tier::{Cold, Identity, Location, Slot};

/// Where the bytes of a unit are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Resident {
        /// If the tier tracks it.
        slot: Option<Slot>,
        /// A copy that is good, and that the unit knows itself.
        stored: Option<Location>,
        /// It would go as a small file does, of which the tier may know a copy.
        is_whole: bool,
        is_viewed: bool,
    },
    Cold(Location),
}

/// A unit of a file's content, as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Surveyed {
    /// Bytes that hold data.
    pub(crate) bytes: u64,
    pub(crate) place: Place,
}

impl Surveyed {
    fn of(chunk: &Chunk, is_whole: bool) -> Self {
        Surveyed {
            bytes: chunk.quota_needed(),
            place: chunk.place(is_whole),
        }
    }
}

impl Content {
    /// Calls `visit` for every unit, in the order of the file.
    pub(crate) fn survey(&self, mut visit: impl FnMut(Surveyed)) {
        let whole = |place| Surveyed {
            bytes: self.len(),
            place,
        };
        let resident = |slot| Place::Resident {
            slot,
            stored: None,
            is_whole: true,
            is_viewed: false,
        };
        match self {
            Content::Empty => {}
            Content::Inline { .. } => visit(whole(resident(None))),
            Content::Buf(_, slot) | Content::Foreign(_, slot) => visit(whole(resident(*slot))),
            Content::Chunk(chunk) => visit(Surveyed::of(chunk, is_whole_file(chunk))),
            Content::Table(table) => table
                .chunks()
                .for_each(|(_, chunk)| visit(Surveyed::of(chunk, false))),
            Content::Cold { location, .. } => visit(whole(Place::Cold(*location))),
        }
    }

    /// The first unit from number `from` on that is cold.
    pub(crate) fn next_cold(&self, from: u64, who: Identity) -> Option<(u64, Cold)> {
        match self {
            Content::Table(table) => next_cold_chunk(table, from),
            _ if from == 0 => self.cold(0, who).map(|cold| (0, cold)),
            _ => None,
        }
    }
}

fn next_cold_chunk(table: &Table, from: u64) -> Option<(u64, Cold)> {
    let mut chunks = table.chunks_from(from);
    chunks.find_map(|(index, chunk)| Some((index, chunk.cold()?)))
}
