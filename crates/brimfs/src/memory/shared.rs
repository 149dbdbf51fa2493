//! References to content that outlive the lock it was found under: reads in flight and views.
//!
//! What a reference leads to never changes, but its bytes can go to a cold tier and come back,
//! unless they are pinned. Calls `memory` only, and no tier.

use std::ops::Deref;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::memory::account::Account;
use crate::memory::chunk::Chunk;
use crate::memory::content::Content;
use crate::memory::fresh::Fresh;
use crate::memory::residence::{Alone, NEVER_MAX, Pin, Seen};
use crate::memory::small::Who;
use crate::memory::table::Table;
use crate::memory::tier::{Cold, Identity};

/// A reference to content that outlives the lock it was taken under.
#[derive(Clone, Debug)]
pub(crate) enum Shared {
    Chunk(Arc<Chunk>),
    Table(Arc<Table>),
}

/// Content in one piece, for as long as it is looked at.
pub(crate) enum Dense<'a> {
    Slice(&'a [u8]),
    Chunk(&'a Chunk, Seen<'a>),
}

impl Deref for Dense<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Dense::Slice(bytes) => bytes,
            // Both were looked at when this was made.
            Dense::Chunk(chunk, hold) => chunk.dense_bytes(hold).unwrap_or(&[]),
        }
    }
}

/// Where a read stopped because bytes are cold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    /// Bytes that were read before.
    pub(crate) done: usize,
    /// Bytes to read from the cold unit now.
    pub(crate) len: usize,
    /// The number of the unit.
    pub(crate) index: u64,
    /// Where in the unit to read.
    pub(crate) start: usize,
    /// The unit's cold bytes; `None` if they came back meanwhile.
    pub(crate) cold: Option<Cold>,
}

impl Shared {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Shared::Chunk(chunk) => chunk.data_end() as u64,
            Shared::Table(table) => table.len(),
        }
    }

    /// Reads at `offset` and returns how many bytes there were.
    pub(crate) fn read(&self, offset: u64, to: &mut [u8]) -> Result<usize, Missing> {
        match self {
            Shared::Table(table) => table.read(Alone::of(table), offset, to),
            Shared::Chunk(chunk) => {
                let len = chunk.data_end() as u64;
                let count = (to.len() as u64).min(len.saturating_sub(offset)) as usize;
                if count > 0 {
                    let hold = Chunk::look(chunk, Alone::NO);
                    let start = offset as usize;
                    chunk
                        .read(&hold, start, &mut to[..count])
                        .map_err(|(extent, cold)| Missing {
                            done: extent.start - start,
                            len: extent.end - extent.start,
                            index: 0,
                            start: extent.start,
                            cold,
                        })?;
                }
                Ok(count)
            }
        }
    }

    /// Reads what is in memory and names the rest; returns how many bytes there are of both.
    pub(crate) fn read_resident(
        &self,
        offset: u64,
        to: &mut [u8],
        mut name: impl FnMut(Missing),
    ) -> usize {
        let mut done = 0;
        loop {
            match self.read(offset + done as u64, &mut to[done..]) {
                Ok(count) => return done + count,
                Err(missing) => {
                    done += missing.done;
                    name(Missing { done, ..missing });
                    done += missing.len;
                }
            }
        }
    }

    /// Whether one cold chunk is all there is, so that a view of it needs no copy.
    pub(crate) fn is_one_cold_chunk(&self) -> bool {
        let chunk = match self {
            Shared::Chunk(chunk) => Some(chunk),
            Shared::Table(table) => table.chunk(0).filter(|_| table.is_one_piece()),
        };
        chunk.is_some_and(|chunk| chunk.data_end() as u64 == self.len() && chunk.cold().is_some())
    }

    pub(crate) fn into_content(self) -> Content {
        match self {
            Shared::Chunk(chunk) => Content::Chunk(chunk),
            Shared::Table(table) => Content::Table(table),
        }
    }
}

impl Content {
    /// The same content for another node: shared, or copied where that takes no more than a reference. Reads nothing
    /// from the disk.
    ///
    /// # Errors
    /// The limits, for what is copied and for tables.
    pub(crate) fn twin(&mut self, who: &Who<'_>) -> Result<Content, Fault> {
        let copied = |bytes: &[u8]| Content::deposit(Fresh::copied(bytes, who.account)?);
        match self {
            Content::Empty => return Ok(Content::Empty),
            Content::Inline { len, bytes } => return copied(&bytes[..*len as usize]),
            Content::Buf(buf, _) if buf.len() <= NEVER_MAX => return copied(buf),
            Content::Cold { .. } => self.share_cold(who),
            _ => {}
        }
        self.share(who.account).map(Shared::into_content)
    }

    /// Makes a small file that is cold a chunk that is.
    fn share_cold(&mut self, who: &Who<'_>) {
        let len = self.len() as usize;
        if let Content::Cold {
            version, location, ..
        } = *self
        {
            let identity = Identity {
                version: u64::from(version),
                ..who.identity
            };
            let chunk = Chunk::cold_file(identity, location, len, who.account);
            *self = Content::Chunk(Arc::new(chunk));
        }
    }

    /// Whether both are the same bytes because nobody wrote any since one became the other's [`twin`](Content::twin).
    pub(crate) fn is_twin_of(&self, other: &Content) -> bool {
        match (self, other) {
            (Content::Chunk(one), Content::Chunk(other)) => Arc::ptr_eq(one, other),
            (Content::Table(one), Content::Table(other)) => {
                Arc::ptr_eq(one, other) || one.has_chunks_of(other)
            }
            (Content::Empty, Content::Empty) => true,
            (one, other) => match (one.little(), other.little()) {
                (Some(one), Some(other)) => one == other,
                _ => false,
            },
        }
    }

    /// The bytes of what is copied instead of being shared.
    fn little(&self) -> Option<&[u8]> {
        match self {
            Content::Inline { len, bytes } => Some(&bytes[..*len as usize]),
            Content::Buf(buf, _) if buf.len() <= NEVER_MAX => Some(buf),
            _ => None,
        }
    }
}

/// How many views of a filesystem are alive.
#[derive(Debug, Default)]
pub(crate) struct Views(AtomicU64);

impl Views {
    pub(crate) fn alive(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Content in one piece that stays where it is for as long as this lives.
pub(crate) struct Pinned {
    /// Where it lies; valid while `self` lives.
    pub(crate) first: *const u8,
    pub(crate) len: usize,
    _pin: Pin,
    _content: Shared,
    views: Arc<Views>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.views.0.fetch_sub(1, Ordering::Release);
    }
}

impl Pinned {
    /// Pins content that lies in one piece; `None` if it does not, or is cold.
    pub(crate) fn new(content: &Content, account: &Account, views: &Arc<Views>) -> Option<Self> {
        // Whether there is a tier is settled before there is content.
        let is_needed = account.budget.has_tier();
        let (first, len, pin) = match content {
            Content::Chunk(chunk) => pin_chunk(chunk, Alone::of(chunk), is_needed)?,
            Content::Table(table) => table.pin(Alone::of(table), is_needed)?,
            _ => return None,
        };
        let content = content.shared()?;
        views.0.fetch_add(1, Ordering::Relaxed);
        Some(Pinned {
            first,
            len,
            _pin: pin,
            _content: content,
            views: views.clone(),
        })
    }
}

/// Pins a chunk by itself and says where its bytes lie.
pub(crate) fn pin_chunk(
    chunk: &Arc<Chunk>,
    outer: Alone,
    is_needed: bool,
) -> Option<(*const u8, usize, Pin)> {
    let pin = match is_needed {
        true => Chunk::pin(chunk)?,
        false => Pin::Unneeded,
    };
    let hold = Chunk::look(chunk, outer);
    let bytes = chunk.dense_bytes(&hold)?;
    Some((bytes.as_ptr(), bytes.len(), pin))
}
