//! Snapshots, branches, and what became of a filesystem since.

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::base::error::ErrorKind;
use crate::base::error::{Fault, Result};
use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::memory::small::with_reclaim;
use crate::snapshot::{self, Diff, Kind, Usage};

impl FileSystem {
    /// The filesystem as it is at this moment, for reading: a filesystem of its own that nobody can change
    /// ([`ErrorKind::ReadOnly`]).
    ///
    /// It shares all content, the quota and the memory budget. What is written later is charged beside what the snapshot
    /// keeps; that is given back when the snapshot is closed or dropped. Only content of up to 128 bytes is copied, and
    /// each node takes the memory of a node. It does not wait for file locks and sees whole calls; nobody changes anything
    /// while it is made, which takes some 0.3 microseconds for each node. It lives as long as the process, also that of a
    /// filesystem that is kept in a directory.
    ///
    /// ```
    /// let fs = brimfs::FileSystem::new()?;
    /// fs.write("/a", "old")?;
    /// let before = fs.snapshot()?;
    /// fs.write("/a", "new")?;
    /// fs.write("/b", "too")?;
    /// assert_eq!(before.read("/a")?, "old");
    /// assert_eq!(fs.diff(&before)?.added, [b"/b"]);
    /// fs.restore(&before)?;
    /// assert_eq!(fs.read("/a")?, "old");
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] and [`ErrorKind::QuotaExceeded`], and nothing is left of it;
    /// [`ErrorKind::Unsupported`] for one that mirrors a tree of the host, whose files others change.
    pub fn snapshot(&self) -> Result<FileSystem> {
        self.twin("snapshot", Kind::Frozen)
    }

    /// A copy of the filesystem as it is at this moment, to be changed by itself: what is written on one side is not
    /// seen on the other. It shares content as a [`snapshot`](FileSystem::snapshot) does, and its quota, limits and memory
    /// budget are those of this filesystem, counted together. It is kept nowhere when the process ends.
    ///
    /// # Errors
    /// As [`FileSystem::snapshot`], and [`ErrorKind::NodeLimit`] if that was lowered.
    pub fn branch(&self) -> Result<FileSystem> {
        self.twin("branch", Kind::Writable)
    }

    /// Whether this is a [`snapshot`](FileSystem::snapshot).
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        let changes = self.volume().changes.as_ref();
        changes.is_some_and(|changes| changes.is_frozen())
    }

    /// What became of the filesystem since a snapshot of it was made, or of one that it was branched from.
    ///
    /// Renamed files and directories are found again. A file that was written anew counts as changed, even with the bytes that
    /// it had. O(nodes), no content is read; nobody changes anything meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the other one is no such snapshot.
    pub fn diff(&self, since: &FileSystem) -> Result<Diff> {
        let (since, volume) = (since.as_snapshot_of(self, "diff")?, self.volume());
        let compare = || {
            volume.check()?;
            let _still = volume.close_gate(self.root());
            snapshot::diff(since.root(), self.root())
        };
        compare().map_err(|fault| volume.verdict(fault).during("diff"))
    }

    /// Makes the filesystem what it was when a snapshot of it was made, or of one that it was branched from: names, content and
    /// attributes. As one step.
    ///
    /// What did not change stays as it is. Open handles of files that are in the snapshot go on with the content that
    /// these have there; file locks are not waited for. Files that are not in it are removed. O(nodes).
    ///
    /// # Errors
    /// As [`FileSystem::diff`]; limits, as [`FileSystem::snapshot`]; [`ErrorKind::ReadOnly`]; those of a full disk. Nothing is
    /// changed then.
    pub fn restore(&self, to: &FileSystem) -> Result<()> {
        let (to, volume) = (to.as_snapshot_of(self, "restore")?, self.volume());
        let restore = || {
            volume.check()?;
            with_reclaim(&volume.account, true, || {
                snapshot::restore(self.root(), to.root())
            })
        };
        volume
            .settle(restore())
            .map_err(|fault| volume.verdict(fault).during("restore"))
    }

    /// Content that this filesystem has for itself, and that it shares with its snapshots, its branches, and what it was
    /// branched from. Both together are what it would take of the quota alone. O(nodes and chunks), no content is read.
    ///
    /// Exact while nobody uses it: what is being read or viewed counts as shared.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`], [`ErrorKind::Forked`].
    pub fn usage(&self) -> Result<Usage> {
        let volume = self.volume();
        volume
            .check()
            .map_err(|fault| volume.verdict(fault).during("usage"))?;
        Ok(snapshot::usage(self.root()))
    }

    pub(super) fn twin(&self, op: &'static str, kind: Kind) -> Result<FileSystem> {
        let volume = self.volume();
        let twin = || {
            volume.check()?;
            if self
                .shared
                .persistence
                .as_ref()
                .is_some_and(|kept| kept.is_mirror())
            {
                let text =
                    "a filesystem that mirrors a tree of the host has no snapshots and branches";
                return Err(Fault::text(ErrorKind::Unsupported, text));
            }
            with_reclaim(&volume.account, true, || snapshot::twin(self.root(), kind))
        };
        let root = twin().map_err(|fault| volume.verdict(fault).during(op))?;
        let home = match &self.shared.persistence {
            Some(_) => Some(self.clone()),
            None => self.shared.home.clone(),
        };
        Ok(Self::twin_over(root, self.wait(), home))
    }

    /// Fails if this is no snapshot, or shares nothing with the other one.
    fn as_snapshot_of(&self, other: &FileSystem, op: &'static str) -> Result<&FileSystem> {
        let is_kin = Arc::ptr_eq(&self.volume().account, &other.volume().account);
        if is_kin && self.is_snapshot() {
            self.volume().check().map_err(|fault| fault.during(op))?;
            return Ok(self);
        }
        let text = "that is no snapshot of this filesystem, nor of one that it shares content with";
        Err(Fault::text(ErrorKind::InvalidArgument, text).during(op))
    }
}
