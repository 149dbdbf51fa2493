//! Waiting for file locks without a thread, for event loops.

use std::ops::Deref;

use crate::base::error::{ErrorKind, Fault};
use crate::base::lock_word::LockWord;
use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::handle::lock::{Mode, Ticket};
use crate::namespace::inode::{FileType, Inode};
use crate::namespace::resolve;

/// A place in the queue for the lock of a file. Dropping it leaves the queue, or gives the lock back
/// if it was granted.
#[derive(Debug)]
pub struct LockTicket(Ticket<NodeLock>);

/// The lock of a file that stays in place.
struct NodeLock(Arc<Inode>);

impl Deref for NodeLock {
    type Target = LockWord;

    fn deref(&self) -> &LockWord {
        &self.0.lock
    }
}

impl LockTicket {
    /// Whether the lock was granted.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.0.is_granted()
    }

    /// Runs a call that waits for no file lock, as [`at_once`](crate::face::at_once) does, and that may take this one.
    pub fn lend<R>(self, call: impl FnOnce() -> R) -> R {
        self.0.lend(call)
    }
}

impl FileSystem {
    /// Joins the queue for the lock of a file. `wake` is called on any thread when it is granted, unless
    /// that is so on return: it must wait for nothing and call nothing of this crate.
    ///
    /// # Errors
    /// Those of looking the path up, and what opening says to anything but a file.
    pub fn queue(
        &self,
        path: &[u8],
        exclusive: bool,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Result<LockTicket, Fault> {
        self.volume().check()?;
        let node = resolve::resolve(self.root(), path, true)?.node;
        let mode = match node.kind() {
            FileType::File if exclusive => Mode::Exclusive,
            FileType::File => Mode::Shared,
            FileType::Directory => return Err(ErrorKind::IsADirectory.into()),
            FileType::Symlink => return Err(ErrorKind::TooManySymlinks.into()),
        };
        Ok(LockTicket(Ticket::take(NodeLock(node), mode, wake)))
    }
}
