//! Content that is built but not yet in a file.
//!
//! Its memory is reserved, its quota is not: replacing content needs quota for
//! the difference only, and that is known when both sides are.

use bytes::Bytes;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::memory::account::{Account, Charge};
use crate::memory::budget::Loan;
use crate::memory::chunk::{Adopted, CHUNK, Chunk, Memory, Owner};
use crate::memory::content::{BUF_MAX, Content, INLINE_MAX};
use crate::memory::foreign::Foreign;
use crate::memory::pool::{Buf, Slot};
use crate::memory::run::Run;
use crate::memory::table::Table;

/// Up to here copying a Rust buffer costs less than counting references to it, in bytes.
const COPY_MAX: usize = 512;

/// See the module's documentation. Dropping it gives the memory back.
#[derive(Debug)]
pub(crate) struct Fresh<'a> {
    pub(crate) content: Content,
    pub(crate) account: &'a Arc<Account>,
    /// Of the memory, if it is borrowed: to be given back when the content is where it can go from,
    /// and no lock is held.
    pub(crate) loan: Option<Loan<'a>>,
}

impl<'a> From<(Content, &'a Arc<Account>)> for Fresh<'a> {
    #[inline]
    fn from((content, account): (Content, &'a Arc<Account>)) -> Self {
        let loan = None;
        Fresh {
            content,
            account,
            loan,
        }
    }
}

impl<'a> Fresh<'a> {
    pub(crate) fn empty(account: &'a Arc<Account>) -> Self {
        Fresh::from((Content::Empty, account))
    }

    /// A copy of a slice, contiguous whatever its size.
    pub(crate) fn copied(from: &[u8], account: &'a Arc<Account>) -> Result<Self, Fault> {
        if from.is_empty() {
            return Ok(Self::empty(account));
        }
        if from.len() > CHUNK {
            let table = copied_run(from.len(), account, |to, at| {
                to.copy_from_slice(&from[at..at + to.len()]);
                Ok(())
            })?;
            return Ok(Fresh::from((Content::Table(Arc::new(table)), account)));
        }
        Self::build(from.len(), from.len(), account, |to| {
            to.copy_from_slice(from);
        })
    }

    /// A Rust buffer by reference; a very small one is copied. Gives the buffer back if it fails.
    pub(crate) fn bytes(bytes: Bytes, account: &'a Arc<Account>) -> Result<Self, (Fault, Bytes)> {
        let len = bytes.len();
        if len <= COPY_MAX {
            return Self::copied(&bytes, account).map_err(|fault| (fault, bytes));
        }
        let reserve = || {
            let slots = Table::reserve_for(account, len.div_ceil(CHUNK))?;
            Ok((slots, Charge::reserve(account, 0, len as u64)?))
        };
        let (slots, charge) = match reserve() {
            Ok(reserved) => reserved,
            Err(fault) => return Err((fault, bytes)),
        };
        let owner = Owner::Rust(bytes);
        let content = if len <= CHUNK {
            Content::Chunk(Arc::new(Chunk::dense(Memory::Owned(owner), len, charge)))
        } else {
            Content::Table(Arc::new(adopted_table(owner, charge, slots)))
        };
        Ok(Fresh::from((content, account)))
    }

    /// A buffer of another runtime by reference, at any size. Gives it back if it fails.
    pub(crate) fn foreign(
        foreign: Foreign,
        account: &'a Arc<Account>,
    ) -> Result<Self, (Fault, Foreign)> {
        if foreign.is_empty() {
            return Ok(Self::empty(account));
        }
        match account.budget.reserve(foreign.len() as u64) {
            Ok(()) => Ok(Fresh::from((Content::Foreign(foreign, None), account))),
            Err(fault) => Err((fault, foreign)),
        }
    }

    /// Content of `len` bytes, at most a chunk, with memory for `room`, which `fill` writes.
    pub(crate) fn build(
        len: usize,
        room: usize,
        account: &'a Arc<Account>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Self, Fault> {
        if len <= INLINE_MAX && room <= INLINE_MAX {
            let mut bytes = [0; INLINE_MAX];
            fill(&mut bytes[..len]);
            let content = Content::Inline {
                len: len as u8,
                bytes,
            };
            return Ok(Fresh::from((content, account)));
        }
        let cost = Memory::cost(room) as u64;
        account.reserve(0, cost)?;
        if room <= BUF_MAX {
            let mut buf = Buf::alloc(room).inspect_err(|_| account.release(0, cost))?;
            buf.set_len(len);
            fill(&mut buf);
            let content = Content::Buf(buf, None);
            return Ok(Fresh::from((content, account)));
        }
        let charge = Charge::from_reserved(account, 0, cost);
        let mut memory = Memory::alloc(room)?;
        if let Some(bytes) = memory.writable() {
            fill(&mut bytes[..len]);
        }
        let content = Content::Chunk(Arc::new(Chunk::dense(memory, len, charge)));
        Ok(Fresh::from((content, account)))
    }

    /// One chunk of content that is built chunk by chunk.
    pub(crate) fn chunk(from: &[u8], account: &Arc<Account>) -> Result<Chunk, Fault> {
        let charge = Charge::reserve(account, 0, Memory::cost(from.len()) as u64)?;
        let mut memory = Memory::alloc(from.len())?;
        if let Some(bytes) = memory.writable() {
            bytes[..from.len()].copy_from_slice(from);
        }
        Ok(Chunk::dense(memory, from.len(), charge))
    }

    /// The content; whoever takes it takes over its memory charge.
    pub(crate) fn take(mut self) -> Content {
        std::mem::replace(&mut self.content, Content::Empty)
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        let content = std::mem::replace(&mut self.content, Content::Empty);
        let resident = content.charge().1;
        drop(content);
        self.account.budget.release(resident);
    }
}

/// A table of one contiguous run; `fill` is called with each chunk's bytes and their offset.
pub(crate) fn copied_run(
    len: usize,
    account: &Arc<Account>,
    mut fill: impl FnMut(&mut [u8], usize) -> Result<(), Fault>,
) -> Result<Table, Fault> {
    let count = len.div_ceil(CHUNK);
    let table = Table::reserve_for(account, count)?;
    let mut charge = Charge::reserve(account, 0, (count * CHUNK) as u64)?;
    let mut chunks = Vec::with_capacity(count);
    let run = Arc::new(Run::default());
    for (index, mut slot) in Slot::alloc_run(count)?.into_iter().enumerate() {
        let at = index * CHUNK;
        let part = (len - at).min(CHUNK);
        fill(&mut slot[..part], at)?;
        let share = charge.split(0, CHUNK as u64);
        chunks.push(Arc::new(Chunk::in_run(
            Memory::Slot(slot),
            part,
            share,
            &run,
        )));
    }
    Ok(Table::new(chunks, len as u64, true, table))
}

/// Cuts an adopted buffer into chunks without touching its bytes.
///
/// The slices share the memory charge; `charge`'s quota is divided among them.
pub(crate) fn adopted_table(owner: Owner, mut charge: Charge, table: Charge) -> Table {
    let len = owner.as_slice().len();
    let account = charge.account().clone();
    let armed = charge.quota() > 0;
    let resident = charge.take_resident();
    let adopted = Adopted::from_reserved(owner, account.budget.clone(), resident);
    let run = Arc::new(Run::default());
    let chunks = (0..len.div_ceil(CHUNK))
        .map(|index| {
            let start = index * CHUNK;
            let part = (len - start).min(CHUNK);
            let share = charge.split(if armed { part as u64 } else { 0 }, 0);
            let memory = Memory::Slice(adopted.clone(), start, part);
            Arc::new(Chunk::in_run(memory, part, share, &run))
        })
        .collect();
    Table::new(chunks, len as u64, true, table)
}

/// A contiguous copy of `len` bytes that is charged to the memory budget only; `fill` is called
/// with parts of it and where they are.
pub(crate) fn private_copy(
    len: usize,
    account: &Arc<Account>,
    mut fill: impl FnMut(&mut [u8], usize) -> Result<(), Fault>,
) -> Result<Content, Fault> {
    if len <= CHUNK {
        let room = len.max(1);
        let charge = Charge::reserve(account, 0, Memory::cost(room) as u64)?;
        let mut memory = Memory::alloc(room)?;
        if let Some(bytes) = memory.writable() {
            fill(&mut bytes[..len], 0)?;
        }
        let chunk = Chunk::dense(memory, len, charge);
        return Ok(Content::Chunk(Arc::new(chunk)));
    }
    copied_run(len, account, fill).map(|run| Content::Table(Arc::new(run)))
}
