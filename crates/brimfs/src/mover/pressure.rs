//! A machine that is short of memory gets some back: the limit counts for less until it is not.

use crate::base::sync::atomic::Ordering;
use crate::memory::guard::{self, Shortage};
use crate::memory::pool;

use super::Mover;
use super::explain::SpillCause;

/// No more than one part in so many of what is usable is withheld.
const WITHHELD_SHARE: u64 = 2;
/// When the machine has enough again, one part in so many of what is withheld comes back at a time.
const RETURN_SHARE: u64 = 4;
/// Less than this comes back at once, in bytes.
const RETURN_LEAST: u64 = 16 << 20;

impl Mover {
    /// Looks at the machine, and follows what it has.
    pub(super) fn follow_machine(&self) {
        let Some(budget) = self.budget.upgrade() else {
            return;
        };
        let held = budget
            .used()
            .saturating_sub(self.charged.load(Ordering::Relaxed));
        self.follow(guard::shortage(held));
    }

    fn follow(&self, shortage: Shortage) {
        let Some(budget) = self.budget.upgrade() else {
            return;
        };
        let withheld = budget.withheld();
        match shortage {
            Shortage::No if withheld > 0 => {
                let back = (withheld / RETURN_SHARE).max(RETURN_LEAST);
                budget.withhold(withheld.saturating_sub(back));
            }
            Shortage::By(bytes) => {
                // What is not in use gives the machine nothing.
                let wanted = budget.spare() + withheld + bytes;
                let usable = budget.usable() + withheld;
                budget.withhold(wanted.min(usable / WITHHELD_SHARE));
                let over = budget.overdraft();
                // Nobody waits for this; whoever meets the disk's error in the foreground hears of it.
                drop(self.evict(SpillCause::Limit, over, |_| budget.overdraft() == 0));
                pool::trim(0);
            }
            Shortage::No | Shortage::Near => {}
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::any::Any;

    use super::*;
    use crate::FileSystem;

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
        let tier: &dyn Any = budget.tier().expect("there is a disk");
        let mover: &Mover = tier.downcast_ref().expect("the real one");
        mover.activate();
        mover.take_census();
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
        // But for what is kept back for who writes through.
        assert!(
            budget.used() <= before - 5 * MIB,
            "no more is taken meanwhile"
        );
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
}
