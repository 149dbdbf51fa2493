//! Nodes and names cannot be spilled, so where content can they get no more than half.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::atomic::{AtomicI64, Ordering};
use crate::memory::budget::Budget;

/// Nodes, names and what belongs to them may take the limit over this.
const NAMES_SHARE: u64 = 2;

/// Bytes of nodes and names. Those that are older than the tier are not counted, and make this
/// less than zero when they go.
#[derive(Debug, Default)]
pub(super) struct Names(AtomicI64);

impl Budget {
    /// As [`Budget::reserve`], for a node or a name: nothing that is kept back, and with a tier no
    /// more than a half of the limit altogether.
    pub(crate) fn reserve_name(&self, bytes: u64) -> Result<(), Fault> {
        self.reserve_name_for(bytes, 0)
    }

    /// As [`Budget::reserve_name`], for what takes the place of `replaced` bytes that go at once: they
    /// do not count against the half.
    pub(crate) fn reserve_name_for(&self, bytes: u64, replaced: u64) -> Result<(), Fault> {
        self.count_name(bytes, replaced)?;
        let reserved = match self.reserve_spare(bytes) {
            Ok(()) => Ok(()),
            Err(fault) => self.reserve_hard(bytes, fault, false),
        };
        reserved.inspect_err(|_| self.discount_name(bytes))
    }

    /// Gives back what [`Budget::reserve_name`] gave.
    #[inline]
    pub(crate) fn release_name(&self, bytes: u64) {
        self.release(bytes);
        self.discount_name(bytes);
    }

    #[inline]
    fn count_name(&self, bytes: u64, replaced: u64) -> Result<(), Fault> {
        if !self.has_tier() {
            return Ok(());
        }
        let Names(names) = &self.0.names;
        let before = names.fetch_add(bytes as i64, Ordering::Relaxed);
        let most = self.limit() / NAMES_SHARE;
        let before = u64::try_from(before).unwrap_or(0);
        if before + bytes.saturating_sub(replaced) <= most {
            return Ok(());
        }
        names.fetch_sub(bytes as i64, Ordering::Relaxed);
        Err(refusal(bytes, before, most))
    }

    #[inline]
    fn discount_name(&self, bytes: u64) {
        if self.has_tier() {
            self.0.names.0.fetch_sub(bytes as i64, Ordering::Relaxed);
        }
    }
}

#[cold]
fn refusal(bytes: u64, before: u64, most: u64) -> Fault {
    let text = format!(
        "nodes and names cannot be spilled and may take half of it: this one needs {bytes} bytes, \
         {before} of {most} are taken"
    );
    Fault::text(ErrorKind::MemoryLimit, text)
}
