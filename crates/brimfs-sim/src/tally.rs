//! How many crashes a test tried, and how much survived them: printed, and kept for the total of all tests, each of
//! which may run in a process of its own (`.ci/crashes.py` adds them up).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What the crashes of one test left.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Images of a disk that lost power, each opened and compared.
    pub images: u64,
    /// Those of them with something that a sync had acknowledged.
    pub after_sync: u64,
    /// Images of a second crash, while what the first one left was opened and worked on.
    pub second: u64,
    /// How many images by what might have survived, which is what was done and not durable, and what did.
    survived: BTreeMap<(usize, usize), u64>,
}

impl Tally {
    /// An image of which `of` steps that were not durable `survived` did.
    pub fn note(&mut self, was_synced: bool, survived: usize, of: usize) {
        self.image(was_synced);
        *self.survived.entry((of, survived)).or_default() += 1;
    }

    /// An image of which the rest is not known: all that was durable is there.
    pub fn image(&mut self, was_synced: bool) {
        self.images += 1;
        self.after_sync += u64::from(was_synced);
    }

    /// Images of which `survived` of `of` that were not durable did.
    #[must_use]
    pub fn count(&self, survived: usize, of: usize) -> u64 {
        self.survived.get(&(of, survived)).copied().unwrap_or(0)
    }

    /// Prints all that for a test, and keeps it below `directory`, which is the `CARGO_TARGET_TMPDIR` of the test.
    ///
    /// # Panics
    /// If the directory cannot be written to.
    pub fn finish(&self, directory: &str, test: &str) {
        let synced = 100 * self.after_sync / self.images.max(1);
        println!(
            "{test}: {} images, {synced} % after a sync, {} second crashes",
            self.images, self.second
        );
        let mut kept = format!(
            "images {}\nafter_sync {}\nsecond {}\n",
            self.images, self.after_sync, self.second
        );
        for ((of, survived), count) in &self.survived {
            println!("  {survived} of {of} that were not durable survived: {count}");
            let _ = writeln!(kept, "survived {survived} {of} {count}");
        }
        let directory = Path::new(directory).join("crashes");
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join(test.replace([' ', ','], "-")), kept).expect("written");
    }

    /// So many images at least, nine of ten of them after a sync.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn check_enough(&self, least: u64) {
        let (images, after_sync) = (self.images, self.after_sync);
        assert!(
            images >= least && after_sync * 10 >= images * 9,
            "{images} images of {least}, {after_sync} of them after a sync"
        );
    }
}
