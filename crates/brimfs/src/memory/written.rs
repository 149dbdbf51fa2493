//! What makes content durable: a look at its units for a commit, and content that is cold from the start.
//!
//! Takes the locks of chunks, one after the other, under the inode's lock for writing.

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::base::error::ErrorKind;
use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::memory::account::Account;
use crate::memory::chunk::{CHUNK, Chunk};
use crate::memory::content::Content;
use crate::memory::delta::{Copied, Kept, Patch};
use crate::memory::residence::{Hold, NEVER_MAX};
use crate::memory::small::{Who, cold_len_bytes, is_whole_file};
use crate::memory::table::Table;
use crate::memory::tier::{Identity, Location, Slot};

/// Where the bytes of a unit are to be had.
pub(crate) enum Bytes<'a> {
    Slice(&'a [u8]),
    Chunk(&'a Chunk, &'a Hold),
    /// Only from the copy.
    Cold,
}

impl Bytes<'_> {
    /// Copies those from `start` on. They are not cold.
    pub(crate) fn copy_to(&self, start: usize, to: &mut [u8]) {
        match self {
            Bytes::Slice(bytes) => to.copy_from_slice(&bytes[start..start + to.len()]),
            Bytes::Chunk(chunk, hold) => {
                let is_there = chunk.read(hold, start, to).is_ok();
                debug_assert!(is_there, "a chunk is cold that was not");
            }
            Bytes::Cold => debug_assert!(false, "cold bytes are not to be had"),
        }
    }

    /// Appends them to a buffer. False if they are cold.
    pub(crate) fn append_to(&self, to: &mut Vec<u8>) -> bool {
        match self {
            Bytes::Slice(bytes) => {
                to.extend_from_slice(bytes);
                true
            }
            Bytes::Chunk(chunk, hold) => chunk.append_to(hold, to),
            Bytes::Cold => false,
        }
    }

    /// They need not be read from the copy.
    pub(crate) fn are_there(&self) -> bool {
        !matches!(self, Bytes::Cold)
    }

    /// Those of a part that is data, as far as it reaches.
    pub(crate) fn part(&self, range: (usize, usize)) -> &[u8] {
        match self {
            Bytes::Chunk(chunk, hold) => chunk.part(hold, range),
            _ => &[],
        }
    }
}

/// One unit of a file's content.
pub(crate) struct UnitLook<'a> {
    pub(crate) index: u64,
    /// Up to where it holds data, in bytes.
    pub(crate) len: usize,
    /// The blocks that hold data; 0 for all.
    pub(crate) blocks: u64,
    pub(crate) identity: Identity,
    /// The name that the chunk has by itself, if it is one: by that it can know a copy while it is all of a file.
    pub(crate) own: Option<Identity>,
    /// The tier may know a copy by this slot.
    pub(crate) slot: Option<Slot>,
    /// A good copy that the unit knows itself.
    pub(crate) copy: Option<Copied>,
    /// What may be written instead of all of it.
    pub(crate) patch: Option<&'a Patch>,
    pub(crate) bytes: Bytes<'a>,
}

/// A part of a file's content.
pub(crate) enum Look<'a> {
    /// All of it, so little that it is no unit.
    Little(&'a [u8]),
    Unit(UnitLook<'a>),
}

impl Content {
    /// Whether parts of it count by themselves for a commit.
    pub(crate) fn has_chunks(&self) -> bool {
        matches!(self, Content::Chunk(_) | Content::Table(_))
    }

    /// Shows all units, in the order of the file.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] without memory for a table; those of `visit`.
    pub(crate) fn look_written(
        &mut self,
        who: &Who<'_>,
        visit: &mut dyn FnMut(Look<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.look_written_from(who, 0, visit)
    }

    /// As [`Content::look_written`], from a unit's number on, until `visit` has enough.
    pub(crate) fn look_written_from<E: From<Fault>>(
        &mut self,
        who: &Who<'_>,
        from: u64,
        visit: &mut dyn FnMut(Look<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Content::Foreign(foreign, _) = self
            && foreign.len() > CHUNK
        {
            self.share_owned(who.account)?;
        }
        let whole = |bytes, slot| match bytes {
            bytes if <[u8]>::len(bytes) <= NEVER_MAX => Look::Little(bytes),
            bytes => Look::Unit(UnitLook {
                index: 0,
                len: bytes.len(),
                blocks: 0,
                identity: who.identity,
                own: None,
                slot,
                copy: None,
                patch: None,
                bytes: Bytes::Slice(bytes),
            }),
        };
        match self {
            Content::Table(table) => table
                .chunks_from(from)
                .try_for_each(|(index, chunk)| look_chunk(chunk, index, None, visit)),
            _ if from > 0 => Ok(()),
            Content::Empty => visit(Look::Little(&[])),
            Content::Inline { len, bytes } => visit(Look::Little(&bytes[..*len as usize])),
            Content::Buf(buf, slot) => visit(whole(buf, *slot)),
            Content::Foreign(foreign, slot) => visit(whole(foreign, *slot)),
            Content::Chunk(chunk) => {
                let name = is_whole_file(chunk).then_some(who.identity);
                look_chunk(chunk, 0, name, visit)
            }
            Content::Cold {
                version, location, ..
            } => visit(Look::Unit(UnitLook {
                identity: Identity {
                    version: u64::from(*version),
                    ..who.identity
                },
                own: None,
                // How long the copy is says its extent.
                copy: Some(Copied {
                    location: *location,
                    is_exact: true,
                }),
                patch: None,
                index: 0,
                len: self.len() as usize,
                blocks: 0,
                slot: None,
                bytes: Bytes::Cold,
            })),
        }
    }

    /// Has a unit know a copy of its bytes, if they are the ones with that name; says which slot it has.
    pub(crate) fn keep_written(
        &self,
        index: u64,
        identity: Identity,
        cold: Location,
        len: usize,
    ) -> Kept {
        match self {
            Content::Chunk(chunk) if index == 0 => chunk.keep_written(identity, cold, len),
            Content::Table(table) => match table.chunk(index) {
                Some(chunk) => chunk.keep_written(identity, cold, len),
                None => Kept::No,
            },
            _ => Kept::No,
        }
    }

    /// A commit has in hand what changed of a chunk (`taken`), or could not keep it.
    pub(crate) fn settle_patch(&self, index: u64, taken: bool) {
        let chunk = match self {
            Content::Chunk(chunk) if index == 0 => Some(chunk),
            Content::Table(table) => table.chunk(index),
            _ => None,
        };
        match chunk {
            Some(chunk) if taken => chunk.take_patch(),
            Some(chunk) => chunk.forget_patches(),
            None => {}
        }
    }

    /// The copy lies elsewhere that patches of a chunk lie over.
    pub(crate) fn swing_base(&self, index: u64, to: &dyn Fn(Location) -> Option<Location>) {
        let chunk = match self {
            Content::Chunk(chunk) if index == 0 => Some(chunk),
            Content::Table(table) => table.chunk(index),
            _ => None,
        };
        if let Some(chunk) = chunk {
            chunk.swing_base(to);
        }
    }

    /// A file of up to one chunk without holes that is cold from the start. Takes its quota.
    pub(crate) fn cold_whole(
        len: usize,
        version: u32,
        location: Location,
        account: &Account,
    ) -> Result<Self, Fault> {
        debug_assert!((1..=CHUNK).contains(&len));
        account.quota.reserve(len as u64)?;
        Ok(Content::Cold {
            len: cold_len_bytes(len as u32),
            version,
            location,
        })
    }

    /// A file of `len` bytes with these chunks, by their numbers.
    pub(crate) fn of_chunks(
        chunks: Vec<(u64, Arc<Chunk>)>,
        len: u64,
        account: &Arc<Account>,
    ) -> Result<Self, Fault> {
        let table = Table::sparse(chunks, len, account)?;
        Ok(Content::Table(Arc::new(table)))
    }
}

/// Shows a chunk. One that is all of a file goes by the file's name, as long as it knows no copy itself.
fn look_chunk<E>(
    chunk: &Arc<Chunk>,
    index: u64,
    name: Option<Identity>,
    visit: &mut dyn FnMut(Look<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let slot = chunk.slot();
    chunk.look_written(index, |hold, own, copy, patch| {
        visit(Look::Unit(UnitLook {
            index,
            len: chunk.data_end(),
            blocks: chunk.holes(),
            identity: name.filter(|_| copy.is_none()).unwrap_or(own),
            own: Some(own),
            slot,
            copy,
            patch: patch.as_ref(),
            bytes: match hold.is_cold() {
                true => Bytes::Cold,
                false => Bytes::Chunk(chunk, hold),
            },
        }))
    })
}
