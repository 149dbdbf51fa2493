//! Several changes that come together or not at all.

use std::fmt;
use std::ops::Deref;

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::base::error::ErrorKind;
use crate::base::error::{Error, Fault, Result};
use crate::base::sync::Mutex;
use crate::fs::FileSystem;
use crate::memory::small::with_reclaim;
use crate::snapshot::{self, Committed, Held, Kind};

/// What a transaction makes gets numbers so far from those of the filesystem that both never meet.
const APART: u64 = 1 << 40;

/// A [branch](FileSystem::branch) whose changes come back together, or not at all: see [`FileSystem::transaction`].
///
/// It is used as the filesystem that it is. Dropping it without a [`commit`](Transaction::commit) forgets what was changed.
pub struct Transaction {
    origin: FileSystem,
    /// What both were when it began.
    base: FileSystem,
    work: FileSystem,
    /// Held while it ends.
    ending: Mutex<()>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transaction { origin, .. } = self;
        f.debug_struct("Transaction")
            .field("origin", origin)
            .finish_non_exhaustive()
    }
}

impl Deref for Transaction {
    type Target = FileSystem;

    fn deref(&self) -> &FileSystem {
        &self.work
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.rollback();
    }
}

impl FileSystem {
    /// Begins a transaction: a branch of this filesystem, on which everything works, and whose changes are committed as one
    /// step or not at all.
    ///
    /// ```
    /// let fs = brimfs::FileSystem::new()?;
    /// fs.write("/stock", "10")?;
    /// let tx = fs.transaction()?;
    /// tx.write("/stock", "9")?;
    /// tx.write("/order", "1")?;
    /// assert!(!fs.exists("/order"));
    /// tx.commit()?;
    /// assert_eq!(fs.read("/stock")?, "9");
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    ///
    /// Nobody waits for a transaction, and it sees nothing of what others do meanwhile. It takes the time and memory of
    /// two [snapshots](FileSystem::snapshot).
    ///
    /// # Errors
    /// As [`FileSystem::branch`]; [`ErrorKind::ReadOnly`] of a snapshot.
    pub fn transaction(&self) -> Result<Transaction> {
        if self.is_snapshot() {
            return Err(Fault::from(ErrorKind::ReadOnly).during("begin a transaction"));
        }
        let base = self.twin("begin a transaction", Kind::Frozen)?;
        let work = base.twin("begin a transaction", Kind::Writable)?;
        work.volume()
            .go_on_from(base.volume().next_number() + APART);
        Ok(Transaction {
            origin: self.clone(),
            base,
            work,
            ending: Mutex::new(()),
        })
    }
}

impl Transaction {
    /// Has the filesystem have all that was changed, as one step, and ends the transaction.
    ///
    /// What others changed meanwhile stays. Locks the files that it changes as a writer does, all of them or none, and waits for
    /// them as long as the filesystem says. O(nodes), and nobody changes anything meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if somebody else changed, moved or removed what it changes, moves or removes, or gave a name
    /// that it gives; [`ErrorKind::FileInUse`] while files of it are open; those of a file lock; limits;
    /// [`ErrorKind::Closed`] if it ended before. Nothing is changed then, and the transaction goes on.
    pub fn commit(&self) -> Result<()> {
        let _one_at_a_time = self.ending.lock();
        let (volume, work) = (self.origin.volume(), self.work.volume());
        let fail = |fault: Fault| volume.verdict(fault).during("commit");
        work.check().and_then(|()| volume.check()).map_err(fail)?;
        let _still = work.close_gate(self.work.root());
        let open = work.handles.sum();
        if open > 0 {
            let text = format!("{open} files of the transaction are still open");
            return Err(fail(Fault::text(ErrorKind::FileInUse, text)));
        }
        // Locks that were waited for: whoever let go of one while trying the next time would have to queue for it again.
        let mut locked: Vec<Held> = Vec::new();
        loop {
            let (root, base, work) = (self.origin.root(), self.base.root(), self.work.root());
            let committed = with_reclaim(&volume.account, true, || {
                snapshot::commit(root, base, work, &locked)
            });
            match volume.settle(committed).map_err(fail)? {
                Committed::Done => break,
                Committed::Conflict(path) => return Err(at(ErrorKind::Conflict.into(), &path)),
                Committed::Locked(node, path) => {
                    // All wait in the order of the numbers, so that no two wait for each other.
                    locked.retain(|held| held.number() < node.number());
                    let wait = self.origin.wait();
                    locked.push(Held::wait(node, wait).map_err(|fault| at(fault, &path))?);
                }
            }
        }
        drop(_still);
        self.end();
        Ok(())
    }

    /// Forgets what was changed, and ends the transaction. Does nothing the second time.
    pub fn rollback(&self) {
        let _one_at_a_time = self.ending.lock();
        self.end();
    }

    /// The branch that is changed; closed once the transaction ended.
    #[must_use]
    pub fn files(&self) -> &FileSystem {
        &self.work
    }

    fn end(&self) {
        for side in [&self.work, &self.base] {
            let closed = side.close();
            debug_assert!(closed.is_ok(), "what is kept nowhere has nothing to lose");
        }
    }
}

#[cold]
fn at(fault: Fault, path: &[u8]) -> Error {
    fault.at("commit", path)
}
