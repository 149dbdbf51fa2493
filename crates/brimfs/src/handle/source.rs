//! What new content is made of, and how it gets memory, whatever the state of that is.

use bytes::Bytes;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::handle::wait::Wait;
use crate::memory::account::Account;
use crate::memory::chunk::CHUNK;
use crate::memory::foreign::Foreign;
use crate::memory::fresh::Fresh;
use crate::memory::small::Wish;
use crate::namespace::inode::Inode;

/// So often room is made for one content, for others to take it, before it is written through.
const TURNS: usize = 256;

/// New content for a file, not yet looked at.
#[derive(Debug)]
pub enum Source<'a> {
    /// Bytes to copy.
    Slice(&'a [u8]),
    /// A Rust buffer to adopt (up to 512 bytes are copied).
    Bytes(Bytes),
    /// A buffer of another runtime to adopt.
    Foreign(Foreign),
}

impl<'s> Source<'s> {
    /// The content as it is to be kept. No lock but file locks may be held.
    pub(crate) fn fresh<'a>(self, node: &'a Inode, wait: Wait) -> Result<Fresh<'a>, Fault> {
        if node.is_built_in_pieces(self.len()) {
            return node.build_in_pieces(self.as_slice(), wait);
        }
        match self.build(node.account()) {
            Ok(fresh) => Ok(fresh),
            Err((fault, source)) => source.build_slowly(node, wait, fault),
        }
    }

    /// Builds the content, or gives back what it was to be made of.
    #[inline]
    fn build(self, account: &Arc<Account>) -> Result<Fresh<'_>, (Fault, Self)> {
        match self {
            Source::Slice(bytes) => Fresh::copied(bytes, account).map_err(|fault| (fault, self)),
            Source::Bytes(bytes) => {
                Fresh::bytes(bytes, account).map_err(|(fault, bytes)| (fault, Source::Bytes(bytes)))
            }
            Source::Foreign(foreign) => Fresh::foreign(foreign, account)
                .map_err(|(fault, foreign)| (fault, Source::Foreign(foreign))),
        }
    }

    #[cold]
    fn build_slowly<'a>(
        mut self,
        node: &'a Inode,
        wait: Wait,
        mut fault: Fault,
    ) -> Result<Fresh<'a>, Fault> {
        let account = node.account();
        let mut wish = Wish::default();
        for _ in 0..TURNS {
            let made = wish.reclaim(account, wait != Wait::Now, fault, |tier, bytes| {
                tier.try_reclaim(bytes)
            });
            if let Err(fault) = made {
                return self.write_through(node, wait, fault);
            }
            (fault, self) = match self.build(account) {
                Ok(fresh) => return Ok(fresh),
                Err(back) => back,
            };
        }
        self.write_through(node, wait, fault)
    }

    /// Builds the content where nothing goes that is in memory: in memory that is kept back, and if
    /// it is large chunk by chunk. A fault that is about something else is given back.
    fn write_through<'a>(
        self,
        node: &'a Inode,
        wait: Wait,
        fault: Fault,
    ) -> Result<Fresh<'a>, Fault> {
        let budget = &node.account().budget;
        if fault.short_of_memory().is_none() || budget.active_tier().is_none() {
            return Err(fault);
        }
        if self.len() > CHUNK {
            return node.build_in_pieces(self.as_slice(), wait);
        }
        let loan = budget.borrow_kept()?.ok_or(fault)?;
        let mut fresh = self.build(node.account()).map_err(|(fault, _)| fault)?;
        fresh.loan = Some(loan);
        Ok(fresh)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Source::Slice(bytes) => bytes,
            Source::Bytes(bytes) => bytes,
            Source::Foreign(foreign) => foreign,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }
}
