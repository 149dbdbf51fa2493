//! What a file holds, in the cheapest form that can hold it.
//!
//! | form | content | paid for by |
//! |---|---|---|
//! | `Empty`, `Inline` | up to 22 bytes, inside the inode | the inode |
//! | `Buf` | up to 64 KiB, one buffer of exact size | the inode |
//! | `Foreign` | an adopted buffer of any size | the inode |
//! | `Chunk` | up to 1 MiB without holes, can be shared | the chunk |
//! | `Table` | anything | its chunks |
//! | `Cold` | up to 1 MiB, in a cold tier | the inode (quota only) |
//!
//! Those without chunks are charged by the inode, because a counter pointer in each
//! would cost as much as the content; [`Content::charge`] says how much. Every
//! operation either does all it was asked to or changes nothing; one that needs bytes that are
//! cold changes nothing and says so ([`Fault::miss`]).

use std::fmt;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::memory::account::{Account, Charge};
use crate::memory::chunk::{BLOCK, CHUNK, Chunk, Memory, Owner};
use crate::memory::foreign::Foreign;
use crate::memory::fresh::{Fresh, adopted_table};
use crate::memory::pool::Buf;
use crate::memory::residence::Alone;
use crate::memory::shared::{Dense, Shared};
use crate::memory::small::{cold_len, cold_len_bytes};
use crate::memory::table::{MAX_LEN, Table};
use crate::memory::tier::{Location, Slot};

/// The most that lives inside the inode, in bytes.
pub(crate) const INLINE_MAX: usize = 22;
/// The most that lives in a bare buffer, in bytes; above it content can be shared with readers.
pub(crate) const BUF_MAX: usize = 64 << 10;

/// See the module's documentation.
pub(crate) enum Content {
    Empty,
    Inline {
        len: u8,
        bytes: [u8; INLINE_MAX],
    },
    Buf(Buf, Option<Slot>),
    Foreign(Foreign, Option<Slot>),
    Chunk(Arc<Chunk>),
    Table(Arc<Table>),
    Cold {
        /// The length, at most that of a chunk, lowest byte first.
        len: [u8; 3],
        /// The low half of the generation that was staged.
        version: u32,
        location: Location,
    },
}

impl Content {
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        match self {
            Content::Empty => 0,
            Content::Inline { len, .. } => u64::from(*len),
            Content::Buf(buf, _) => buf.len() as u64,
            Content::Foreign(foreign, _) => foreign.len() as u64,
            Content::Chunk(chunk) => chunk.data_end() as u64,
            Content::Table(table) => table.len(),
            Content::Cold { len, .. } => u64::from(cold_len(*len)),
        }
    }

    /// Whether the content is a table of chunks.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Content::Table(_))
    }

    /// Quota and resident bytes that the inode pays for itself.
    #[inline]
    pub(crate) fn charge(&self) -> (u64, u64) {
        match self {
            Content::Empty | Content::Chunk(_) | Content::Table(_) => (0, 0),
            Content::Inline { len, .. } => (u64::from(*len), 0),
            Content::Cold { len, .. } => (u64::from(cold_len(*len)), 0),
            Content::Buf(buf, _) => (buf.len() as u64, buf.capacity() as u64),
            Content::Foreign(foreign, _) => (foreign.len() as u64, foreign.len() as u64),
        }
    }

    /// Bytes that hold data, as the quota counts them, shared ones included.
    pub(crate) fn allocated(&self) -> u64 {
        match self {
            Content::Chunk(chunk) => chunk.quota(),
            Content::Table(table) => table.chunks().map(|(_, chunk)| chunk.quota()).sum(),
            _ => self.len(),
        }
    }

    /// The bytes, if they lie in one piece; a table counts as many.
    #[inline]
    pub(crate) fn dense(&self) -> Result<Option<Dense<'_>>, Fault> {
        Ok(Some(Dense::Slice(match self {
            Content::Empty => &[],
            Content::Inline { len, bytes } => &bytes[..*len as usize],
            Content::Buf(buf, _) => buf,
            Content::Foreign(foreign, _) => foreign,
            Content::Chunk(chunk) => {
                let hold = Chunk::look(chunk, Alone::ONLY);
                if hold.is_cold() {
                    return Err(Fault::miss(0));
                }
                let is_dense = chunk.is_dense();
                return Ok(is_dense.then_some(Dense::Chunk(chunk, hold)));
            }
            Content::Table(_) => return Ok(None),
            Content::Cold { .. } => return Err(Fault::miss(0)),
        })))
    }

    /// As [`Content::dense`]; nothing for a table.
    fn dense_or_none(&self) -> Result<Dense<'_>, Fault> {
        self.dense().map(|bytes| bytes.unwrap_or(Dense::Slice(&[])))
    }

    /// Reads at `offset` and returns how many bytes there were.
    #[inline]
    pub(crate) fn read(&self, offset: u64, to: &mut [u8]) -> Result<usize, Fault> {
        match self {
            Content::Empty => Ok(0),
            Content::Inline { len, bytes } => Ok(copy_from(&bytes[..*len as usize], offset, to)),
            Content::Buf(buf, _) => Ok(copy_from(buf, offset, to)),
            Content::Foreign(foreign, _) => Ok(copy_from(foreign, offset, to)),
            _ => self.read_chunks(offset, to),
        }
    }

    /// A reference to the content for reading without a lock, where it can give one as it is.
    pub(crate) fn shared(&self) -> Option<Shared> {
        match self {
            Content::Chunk(chunk) => Some(Shared::Chunk(chunk.clone())),
            Content::Table(table) => Some(Shared::Table(table.clone())),
            _ => None,
        }
    }

    /// As [`Content::shared`], changing the form of the content if needed.
    pub(crate) fn share(&mut self, account: &Arc<Account>) -> Result<Shared, Fault> {
        match self {
            Content::Empty | Content::Inline { .. } => {
                let bytes = self.dense_or_none()?;
                let mut chunk = Chunk::empty(bytes.len().max(1), account)?;
                chunk.write(0, &bytes);
                chunk.charge_mut().add_reserved_quota(bytes.len() as u64);
                drop(bytes);
                *self = Content::Chunk(Arc::new(chunk));
            }
            Content::Buf(..) | Content::Foreign(..) => self.share_owned(account)?,
            Content::Chunk(_) | Content::Table(_) => {}
            Content::Cold { .. } => return Err(Fault::miss(0)),
        }
        self.shared().ok_or_else(|| ErrorKind::Unsupported.into())
    }

    /// Moves what the inode paid for into chunks that pay for themselves.
    pub(super) fn share_owned(&mut self, account: &Arc<Account>) -> Result<(), Fault> {
        let (quota, resident) = self.charge();
        let len = quota as usize;
        let slots = Table::reserve_for(account, len.div_ceil(CHUNK))?;
        let charge = Charge::from_reserved(account, quota, resident);
        self.untrack(account);
        *self = match std::mem::replace(self, Content::Empty) {
            Content::Foreign(foreign, _) if len > CHUNK => {
                let table = adopted_table(Owner::Foreign(foreign), charge, slots);
                Content::Table(Arc::new(table))
            }
            Content::Foreign(foreign, _) => {
                let memory = Memory::Owned(Owner::Foreign(foreign));
                Content::Chunk(Arc::new(Chunk::dense(memory, len, charge)))
            }
            Content::Buf(buf, _) => {
                Content::Chunk(Arc::new(Chunk::dense(Memory::Buf(buf), len, charge)))
            }
            other => other,
        };
        Ok(())
    }

    /// Replaces the content as one step, which needs the quota of the difference only.
    pub(crate) fn install(&mut self, mut fresh: Fresh<'_>) -> Result<(), Fault> {
        debug_assert!(fresh.loan.is_none(), "given back under a lock");
        let account = fresh.account;
        let freed = self.disarm();
        let needed = fresh.content.allocated_when_armed();
        if let Err(fault) = account.quota.reserve(needed.saturating_sub(freed)) {
            self.arm();
            return Err(fault);
        }
        fresh.content.arm();
        let mut old = std::mem::replace(self, fresh.take());
        old.untrack(account);
        let resident = old.charge().1;
        drop(old);
        account.release(freed.saturating_sub(needed), resident);
        Ok(())
    }

    /// Takes content back out of a node that nobody got to see.
    pub(crate) fn withdraw<'a>(&mut self, account: &'a Arc<Account>) -> Fresh<'a> {
        let quota = self.disarm();
        account.quota.release(quota);
        let content = std::mem::replace(self, Content::Empty);
        Fresh::from((content, account))
    }

    /// The opposite of [`Content::withdraw`]: books the quota of fresh content.
    pub(crate) fn deposit(mut fresh: Fresh<'_>) -> Result<Self, Fault> {
        let needed = fresh.content.allocated_when_armed();
        fresh.account.quota.reserve(needed)?;
        fresh.content.arm();
        Ok(fresh.take())
    }

    /// Takes the quota over of all that goes with this content; returns how much that is.
    ///
    /// Who shares a chunk is looked at once, here: a moment later it may be another matter.
    fn disarm(&mut self) -> u64 {
        let mut taken = self.charge().0;
        match self {
            Content::Chunk(chunk) => {
                if let Some(chunk) = Arc::get_mut(chunk) {
                    taken += chunk.charge_mut().take_quota();
                }
            }
            Content::Table(table) => {
                if let Some(table) = Arc::get_mut(table) {
                    table.for_each_exclusive(|chunk| taken += chunk.charge_mut().take_quota());
                }
            }
            _ => {}
        }
        taken
    }

    /// Books quota that is reserved already onto the chunks that are charged none.
    fn arm(&mut self) {
        let book = |chunk: &mut Chunk| {
            if chunk.quota() == 0 {
                let needed = chunk.quota_needed();
                chunk.charge_mut().add_reserved_quota(needed);
            }
        };
        match self {
            Content::Chunk(chunk) => {
                if let Some(chunk) = Arc::get_mut(chunk) {
                    book(chunk);
                }
            }
            Content::Table(table) => {
                if let Some(table) = Arc::get_mut(table) {
                    table.for_each_exclusive(book);
                }
            }
            _ => {}
        }
    }

    fn allocated_when_armed(&self) -> u64 {
        // Fresh content is dense.
        self.len()
    }

    /// Writes at `offset`; a gap before it becomes a hole.
    pub(crate) fn write(
        &mut self,
        offset: u64,
        from: &[u8],
        account: &Arc<Account>,
    ) -> Result<(), Fault> {
        if from.is_empty() {
            return Ok(());
        }
        let end = offset
            .checked_add(from.len() as u64)
            .filter(|end| *end <= MAX_LEN)
            .ok_or(ErrorKind::FileTooLarge)?;
        let len = self.len();
        if matches!(self, Content::Table(_))
            || end.max(len) > CHUNK as u64
            || leaves_hole(len, offset)
        {
            return self.table_mut(account)?.write(offset, from, &mut 0);
        }
        self.write_dense(len as usize, offset as usize, from, account)
    }

    fn write_dense(
        &mut self,
        len: usize,
        offset: usize,
        from: &[u8],
        account: &Arc<Account>,
    ) -> Result<(), Fault> {
        let end = offset + from.len();
        let new_len = end.max(len);
        match self {
            Content::Empty | Content::Inline { .. } if new_len <= INLINE_MAX => {
                account.quota.reserve((new_len - len) as u64)?;
                let mut bytes = [0; INLINE_MAX];
                bytes[..len].copy_from_slice(&self.dense_or_none()?);
                bytes[offset..end].copy_from_slice(from);
                *self = Content::inline(&bytes[..new_len]);
                return Ok(());
            }
            Content::Buf(buf, _) if buf.capacity() >= new_len => {
                account.quota.reserve((new_len - len) as u64)?;
                buf.set_len(new_len);
                if offset > len {
                    buf[len..offset].fill(0);
                }
                buf[offset..end].copy_from_slice(from);
                return Ok(());
            }
            Content::Chunk(chunk) => {
                if let Some(chunk) = Arc::get_mut(chunk)
                    && chunk.capacity() >= new_len
                {
                    let more = chunk.quota_for(offset, end);
                    chunk.charge_mut().grow_quota(more, &mut 0)?;
                    chunk.write(offset, from);
                    return Ok(());
                }
            }
            _ => {}
        }
        // Only growth at the end is likely to go on, so only it gets room to spare.
        let room = if end > len && len > 0 {
            (len * 2).clamp(new_len, CHUNK)
        } else {
            new_len
        };
        let replaced = offset == 0 && end >= len;
        let old = match replaced {
            true => Dense::Slice(&[]),
            false => self.dense_or_none()?,
        };
        let fresh = Fresh::build(new_len, room, account, |to| {
            let kept = len.min(offset);
            to[..kept].copy_from_slice(&old[..kept]);
            to[kept..offset].fill(0);
            to[offset..end].copy_from_slice(from);
            if end < len {
                to[end..].copy_from_slice(&old[end..]);
            }
        })?;
        drop(old);
        self.install(fresh)
    }

    /// Writes whole chunks of an adopted buffer, whose memory is paid for, by reference.
    ///
    /// `offset` must be a multiple of the chunk size, and `from` end at one or at the end of
    /// the file or beyond; otherwise, and for anything smaller, copy with [`Content::write`].
    pub(crate) fn write_adopted(
        &mut self,
        offset: u64,
        owner: Owner,
        charge: Charge,
        account: &Arc<Account>,
    ) -> Result<(), Fault> {
        let len = owner.as_slice().len();
        debug_assert!(offset.is_multiple_of(CHUNK as u64) && len == CHUNK);
        let table = self.table_mut(account)?;
        table.adopt(offset / CHUNK as u64, Memory::Owned(owner), len, charge)
    }

    /// Sets the length; what is gained is a hole.
    pub(crate) fn set_len(&mut self, len: u64, account: &Arc<Account>) -> Result<(), Fault> {
        let old = self.len();
        if len == old {
            return Ok(());
        }
        if len == 0 {
            return self.install(Fresh::empty(account));
        }
        match self {
            Content::Inline { len: short, .. } if len < old => {
                *short = len as u8;
                account.quota.release(old - len);
            }
            Content::Cold { len: short, .. } if len < old => {
                *short = cold_len_bytes(len as u32);
                account.quota.release(old - len);
            }
            Content::Buf(buf, _) if len < old => {
                buf.set_len(len as usize);
                account.quota.release(old - len);
            }
            Content::Chunk(chunk) if len < old => match Arc::get_mut(chunk) {
                Some(chunk) => chunk.cut(len as usize),
                None => return self.cut_copy(len as usize, account),
            },
            Content::Foreign(..) if len < old && len <= BUF_MAX as u64 => {
                return self.cut_copy(len as usize, account);
            }
            _ => return self.table_mut(account)?.set_len(len),
        }
        Ok(())
    }

    fn cut_copy(&mut self, len: usize, account: &Arc<Account>) -> Result<(), Fault> {
        let bytes = self.dense_or_none()?;
        let fresh = Fresh::copied(&bytes[..len], account)?;
        drop(bytes);
        self.install(fresh)
    }

    /// Makes a range data, extending the file if needed.
    pub(crate) fn allocate(
        &mut self,
        offset: u64,
        len: u64,
        account: &Arc<Account>,
    ) -> Result<(), Fault> {
        let covered = offset.saturating_add(len) <= self.len();
        let own = match self {
            Content::Inline { .. } | Content::Buf(..) => true,
            Content::Chunk(chunk) => Arc::get_mut(chunk).is_some_and(|own| own.capacity() > 0),
            _ => false,
        };
        if covered && own {
            return Ok(());
        }
        self.table_mut(account)?.allocate(offset, len, &mut 0)
    }

    /// Makes a range read as zeros and gives back the blocks that it covers.
    pub(crate) fn punch(
        &mut self,
        offset: u64,
        len: u64,
        account: &Arc<Account>,
    ) -> Result<(), Fault> {
        if offset >= self.len() || len == 0 {
            return Ok(());
        }
        self.table_mut(account)?.punch(offset, len)
    }

    /// The first place at or after `offset` that is data (`data`), or a hole; the end is a hole.
    pub(crate) fn seek(&self, offset: u64, data: bool) -> Option<u64> {
        match self {
            Content::Table(table) => table.seek(offset, data),
            _ if offset >= self.len() => None,
            _ if data => Some(offset),
            _ => Some(self.len()),
        }
    }

    pub(crate) fn table_mut(&mut self, account: &Arc<Account>) -> Result<&mut Table, Fault> {
        if let Content::Empty = self {
            let slots = Table::reserve_for(account, 0)?;
            *self = Content::Table(Arc::new(Table::new(Vec::new(), 0, false, slots)));
        }
        if let Shared::Chunk(_) = self.share(account)? {
            let len = self.len();
            let slots = Table::reserve_for(account, 1)?;
            if let Content::Chunk(chunk) = std::mem::replace(self, Content::Empty) {
                chunk.becomes_part();
                let table = Table::new(vec![chunk], len, false, slots);
                *self = Content::Table(Arc::new(table));
            }
        }
        match self {
            Content::Table(table) => Table::make_mut(table),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Lets `look` see the adopted buffer that is the whole content.
    pub(crate) fn with_owner<R>(&self, look: impl FnOnce(Option<&Owner>) -> R) -> R {
        match self {
            Content::Chunk(chunk) => {
                let hold = Chunk::look(chunk, Alone::ONLY);
                look(chunk.owner(&hold))
            }
            Content::Table(table) => table.with_owner(Alone::of(table), look),
            _ => look(None),
        }
    }

    /// Gives back room that growth left over. Does nothing where memory is short.
    pub(crate) fn shrink_to_fit(&mut self, account: &Arc<Account>) {
        let (len, capacity) = match self {
            Content::Buf(buf, _) => (buf.len(), buf.capacity()),
            Content::Chunk(chunk) => match Arc::get_mut(chunk) {
                Some(chunk) => (chunk.data_end(), chunk.capacity()),
                None => return,
            },
            Content::Table(table) => {
                if let Some(table) = Arc::get_mut(table) {
                    // A failure leaves the table as it was: larger than it need be.
                    drop(table.shrink_tail());
                }
                return;
            }
            _ => return,
        };
        let exact = Memory::cost(len.max(1));
        if capacity <= exact + exact / 8 {
            return;
        }
        let fresh = match self.dense() {
            Ok(Some(bytes)) => Fresh::copied(&bytes, account),
            _ => return,
        };
        if let Ok(fresh) = fresh {
            // The quota does not change, so this cannot fail either.
            drop(self.install(fresh));
        }
    }

    /// Whether new content of `len` bytes can be written over this one without any allocation.
    pub(crate) fn fits_in_place(&mut self, len: usize) -> bool {
        match self {
            Content::Buf(buf, _) => {
                len > INLINE_MAX && len <= buf.len() && Buf::class_size(len) == buf.capacity()
            }
            Content::Chunk(chunk) => Arc::get_mut(chunk)
                .is_some_and(|chunk| chunk.data_end() == len && chunk.capacity() >= len),
            _ => false,
        }
    }

    /// Replaces the content where [`Content::fits_in_place`] says that it fits.
    pub(crate) fn overwrite(&mut self, from: &[u8], account: &Account) {
        match self {
            Content::Buf(buf, _) => {
                account.quota.release((buf.len() - from.len()) as u64);
                buf.set_len(from.len());
                buf.copy_from_slice(from);
            }
            Content::Chunk(chunk) => {
                if let Some(chunk) = Arc::get_mut(chunk) {
                    chunk.write(0, from);
                }
            }
            _ => debug_assert!(false, "overwritten without asking"),
        }
    }

    /// Gives the content up and what the inode paid for it.
    pub(crate) fn release(mut self, account: &Account) {
        self.untrack(account);
        let (quota, resident) = self.charge();
        drop(self);
        account.release(quota, resident);
    }

    fn inline(from: &[u8]) -> Self {
        let mut bytes = [0; INLINE_MAX];
        bytes[..from.len()].copy_from_slice(from);
        Content::Inline {
            len: from.len() as u8,
            bytes,
        }
    }
}

/// Copies what lies at `offset`; returns how much that is.
#[inline]
pub(super) fn copy_from(bytes: &[u8], offset: u64, to: &mut [u8]) -> usize {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let part = &bytes[start..bytes.len().min(start.saturating_add(to.len()))];
    to[..part.len()].copy_from_slice(part);
    part.len()
}

/// Whether a write at `offset` leaves a whole block without data behind the end.
fn leaves_hole(len: u64, offset: u64) -> bool {
    let block = BLOCK as u64;
    offset > len && len.next_multiple_of(block) < offset / block * block
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self {
            Content::Empty => "empty",
            Content::Inline { .. } => "inline",
            Content::Buf(..) => "buffer",
            Content::Foreign(..) => "foreign",
            Content::Cold { .. } => "cold content",
            Content::Chunk(_) => "chunk",
            Content::Table(_) => "table",
        };
        write!(f, "{form} of {} bytes", self.len())
    }
}
