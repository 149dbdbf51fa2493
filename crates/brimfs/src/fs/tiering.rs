//! What a user says and asks about memory and the disk behind it.

use std::any::Any;
use std::time::Instant;

use bytes::Bytes;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::long_wait::long_wait;
use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::fs::whole;
use crate::handle::source::Source;
use crate::memory::pool;
use crate::memory::tier::Residents;
use crate::mover::{GcReport, Mover, Preload, Wish, preloaded};
use crate::namespace::inode::Inode;
use crate::namespace::log::Call;
use crate::namespace::path::AsPath;
use crate::namespace::priority::check_priority;

impl FileSystem {
    /// Says how much a file is worth keeping in memory: 0 to 10, 5 unless set.
    ///
    /// Two more double what the file counts for when something has to leave memory. 9 and 10 pin
    /// it: see [`FileSystem::pin`]. The priority belongs to the file, so all of its hard links have
    /// it, and it stays when the file is renamed or its content replaced; a copy begins with it.
    /// Content that copies share counts with the priority that was changed last among them. Takes
    /// effect at once. O(units in memory): one for a file of up to 1 MiB, else one a mebibyte.
    ///
    /// ```
    /// let fs = brimfs::FileSystem::new()?;
    /// fs.write("/index", "small and often used")?;
    /// fs.set_priority("/index", 8)?;
    /// assert_eq!(fs.priority("/index")?, 8);
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] above 10; [`ErrorKind::IsADirectory`], because it is files that
    /// have a priority; [`ErrorKind::NotFound`] and those of bad paths.
    pub fn set_priority(&self, path: impl AsPath, priority: u8) -> Result<()> {
        self.with_file("set the priority of", path.as_path_bytes(), |node| {
            check_priority(priority)?;
            node.set_priority(priority);
            Ok(())
        })
    }

    /// What [`FileSystem::set_priority`] said last, whether or not the file is pinned.
    ///
    /// # Errors
    /// As [`FileSystem::set_priority`].
    pub fn priority(&self, path: impl AsPath) -> Result<u8> {
        self.with_file("read the priority of", path.as_path_bytes(), |node| {
            Ok(node.priority())
        })
    }

    /// Keeps a file in memory: it counts as of priority 10 until [`FileSystem::unpin`], and its
    /// own priority waits beside that. What is on the disk stays there until it is read or
    /// [preloaded](FileSystem::preload).
    ///
    /// Pinned content leaves memory only if [`FileSystem::gc`] finds nothing else, and where more is
    /// pinned than memory can do without. Copies are not pinned. Pinning twice is pinning once.
    ///
    /// # Errors
    /// As [`FileSystem::set_priority`].
    pub fn pin(&self, path: impl AsPath) -> Result<()> {
        self.with_file("pin", path.as_path_bytes(), |node| {
            node.set_pin(true);
            Ok(())
        })
    }

    /// Takes [`FileSystem::pin`] back: the file's own priority counts again. That of 9 and 10
    /// pins by itself.
    ///
    /// # Errors
    /// As [`FileSystem::set_priority`].
    pub fn unpin(&self, path: impl AsPath) -> Result<()> {
        self.with_file("unpin", path.as_path_bytes(), |node| {
            node.set_pin(false);
            Ok(())
        })
    }

    /// Whether a file is pinned, be it by [`FileSystem::pin`] or by a priority of 9 or 10.
    ///
    /// # Errors
    /// As [`FileSystem::set_priority`].
    pub fn is_pinned(&self, path: impl AsPath) -> Result<bool> {
        self.with_file("read the priority of", path.as_path_bytes(), |node| {
            Ok(node.is_pinned())
        })
    }

    /// As [`FileSystem::write`], and the file has this priority from then on.
    ///
    /// # Errors
    /// As [`FileSystem::write`], and [`ErrorKind::InvalidArgument`] above 10. Nothing is changed then.
    pub fn write_with_priority(
        &self,
        path: impl AsPath,
        content: impl Into<Bytes>,
        priority: u8,
    ) -> Result<()> {
        let path = path.as_path_bytes();
        self.put(path, Source::Bytes(content.into()), Some(priority))
    }

    /// Brings files into memory ahead of use, in the background and in the order given. With a
    /// priority they have that from now on; `None` leaves it as it is.
    ///
    /// Counts as an access. Room is made as for a read: what is worth least by its priority and its
    /// accesses goes first. One preload brings in at most what memory holds at its low mark (90 % of
    /// the limit) beside nodes, names and other things that stay, so that it does not push out what it
    /// brought in itself: files that do not fit any more get [`ErrorKind::MemoryLimit`] in the result.
    /// Preloads run one after the other, all filesystems of a budget in one queue. Paths are looked up
    /// at once: O(paths), then the calling thread is free.
    ///
    /// ```
    /// let fs = brimfs::FileSystem::new()?;
    /// fs.write("/model.bin", vec![0; 4096])?;
    /// let preload = fs.preload(["/model.bin", "/missing"], Some(8))?;
    /// assert!(preload.wait(None));
    /// let report = preload.result().unwrap();
    /// assert_eq!((report.files, report.errors.len()), (1, 1));
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a priority above 10, [`ErrorKind::Closed`] and
    /// [`ErrorKind::Forked`]. What is wrong with a path or a file is in [`PreloadReport::errors`].
    ///
    /// [`PreloadReport::errors`]: crate::PreloadReport::errors
    pub fn preload<P: AsPath>(
        &self,
        paths: impl IntoIterator<Item = P>,
        priority: Option<u8>,
    ) -> Result<Preload> {
        self.logged_as(
            "preload",
            |()| 0,
            || priority.map_or(Ok(()), check_priority),
        )?;
        let wish = |path: P| self.wish(path.as_path_bytes(), priority);
        let wishes = paths.into_iter().map(wish).collect();
        let owner = self.volume().account.id;
        Ok(match self.mover() {
            Some(mover) => mover.preload(owner, wishes),
            None => preloaded(owner, wishes),
        })
    }

    /// Runs an operation that concerns no path in particular.
    fn logged_as<R>(
        &self,
        op: &'static str,
        measure: impl FnOnce(&R) -> u64,
        body: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R> {
        let volume = self.volume();
        let call = Call {
            op,
            path: None,
            other: None,
        };
        volume.logged(call, measure, || {
            let done = volume.check().and_then(|()| body());
            done.map_err(|fault| fault.during(op))
        })
    }

    fn wish(&self, path: &[u8], priority: Option<u8>) -> Wish {
        let file = whole::file(self.root(), path).map(|node| {
            priority.inspect(|priority| node.set_priority(*priority));
            let file: Arc<dyn Residents> = node;
            Arc::downgrade(&file)
        });
        Wish {
            path: path.into(),
            file,
        }
    }

    /// Changes the memory limit of the budget, which other filesystems may share. Content that is too much
    /// for a lower one is spilled first. O(1) for a higher one, else as long as the disk takes.
    ///
    /// # Errors
    /// As [`Budget::set_limit`](crate::Budget::set_limit); the limit stays.
    pub fn set_memory_limit(&self, bytes: u64) -> Result<()> {
        self.volume()
            .check()
            .map_err(|fault| fault.during("set the memory limit"))?;
        self.volume().account.budget.set_limit(bytes)
    }

    /// Makes memory free at once: spills what is least worth keeping until no more than `target` of the
    /// memory limit is resident, 0 to 1, and returns what it did.
    ///
    /// Exact to one unit: a file of up to 1 MiB, a chunk of 1 MiB of a larger one (and to a few KiB of
    /// tables that become smaller). The caches of
    /// paths go first and as a whole; pinned content goes when nothing else is left. What never leaves
    /// memory (nodes, names, content of up to 128 bytes, what views show, a buffer that was adopted
    /// as long as one of its chunks stays) can keep the target from being reached, which
    /// [`GcReport::reached`] says. Without a disk to spill to only caches and recycled
    /// memory are given back. If no more is resident than `target` says, nothing happens.
    ///
    /// Takes as long as the disk does; others can work meanwhile. All filesystems that share the
    /// budget are concerned.
    ///
    /// ```
    /// let fs = brimfs::FileSystem::builder().memory_limit(64 << 20).build()?;
    /// let report = fs.gc(0.5)?;
    /// assert!(report.reached());
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a target outside of 0 to 1; [`ErrorKind::DiskLimit`],
    /// [`ErrorKind::DiskFull`] and [`ErrorKind::Io`] from the disk. What went before stays on the disk.
    pub fn gc(&self, target: f64) -> Result<GcReport> {
        let moved = |report: &GcReport| report.written.bytes + report.dropped.bytes;
        self.logged_as("gc", moved, || self.collect(target))
    }

    fn collect(&self, target: f64) -> Result<GcReport, Fault> {
        if !(0.0..=1.0).contains(&target) {
            let text = format!("the target {target} is not a share of the memory limit, 0 to 1");
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
        let begun = Instant::now();
        let budget = &self.volume().account.budget;
        let mut report = GcReport {
            target: (budget.limit() as f64 * target) as u64,
            resident_before: budget.used(),
            ..GcReport::default()
        };
        if report.resident_before > report.target {
            report.caches = budget.empty_caches();
            if let Some(mover) = self.mover() {
                let spill = || mover.spill_down(budget, report.target);
                let (evicted, pinned) = long_wait(spill)?;
                (report.written, report.dropped) = (evicted.written, evicted.dropped);
                report.pinned_units = pinned;
            }
            let kept = pool::recycled();
            pool::trim(0);
            report.recycled = kept.saturating_sub(pool::recycled()) as u64;
        }
        report.resident_after = budget.used();
        report.duration = begun.elapsed();
        Ok(report)
    }

    /// What moves the content of this filesystem between memory and a disk, if anything does.
    pub(super) fn mover(&self) -> Option<&Mover> {
        let tier: &dyn Any = self.volume().account.budget.tier()?;
        tier.downcast_ref()
    }

    pub(super) fn with_file<R>(
        &self,
        op: &'static str,
        path: &[u8],
        mut body: impl FnMut(&Arc<Inode>) -> Result<R, Fault>,
    ) -> Result<R> {
        self.run(op, path, |root| body(&whole::file(root, path)?))
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::time::Duration;

    use crate::FileSystem;
    use crate::memory::guard::Shortage;

    const MIB: u64 = 1 << 20;

    #[test]
    fn content_goes_while_the_machine_is_short_and_memory_comes_back_after() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let fs = FileSystem::builder()
            .memory_limit(64 * MIB)
            .spill_dir(directory.path())
            .build()
            .expect("built");
        let bytes = vec![7; 100_000];
        for file in 0..400 {
            fs.write_slice(format!("/{file}"), &bytes).expect("written");
        }
        let budget = fs.volume().account.budget.clone();
        let mover = fs.mover().expect("there is a disk");
        assert!(budget.wake_tier());
        let before = budget.used();
        mover.follow(Shortage::By(8 * MIB));
        assert!(
            budget.used() <= before - 8 * MIB,
            "{before} {}",
            budget.used()
        );
        assert_eq!(budget.limit(), 64 * MIB);
        for file in 0..400 {
            assert!(fs.read(format!("/{file}")).expect("read") == bytes);
        }
        let (used, usable) = (budget.used(), budget.usable());
        assert!(used <= usable, "{used} of {usable}, {before} before");
        let withheld = budget.withheld();
        mover.follow(Shortage::Near);
        assert_eq!(budget.withheld(), withheld);
        for _ in 0..10 {
            mover.follow(Shortage::No);
        }
        assert_eq!(budget.withheld(), 0);
        let usable = budget.usable();
        mover.follow(Shortage::By(1 << 40));
        assert_eq!(
            budget.withheld(),
            usable / 2,
            "however short the machine is"
        );
    }
    #[test]
    fn a_search_in_vain_says_nothing_once_the_filesystem_was_emptied() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let fs = FileSystem::builder()
            .memory_limit(16 * MIB)
            .spill_dir(directory.path())
            .build()
            .expect("built");
        let mover = fs.mover().expect("there is a disk");
        mover.note_stuck(Duration::ZERO);
        assert!(!mover.is_stuck(), "asleep it has not looked");
        assert!(fs.volume().account.budget.wake_tier());
        assert!(!mover.is_stuck(), "awake it has not looked yet");
    }
}
