//! Which files were copied from which: how to find content whose first file is gone.
//!
//! A unit that copies share is known by one of its files. When that one is removed or written
//! anew, the others are found along what was copied, in either direction and over any number of
//! files that are no more. One note per copy, whatever the size of the file.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::base::sync::{Arc, Weak};
use crate::memory::tier::Residents;

/// A file, for as long as anybody keeps a reference to it, also one that does not keep it alive.
type Address = usize;

/// So many files of a family are asked at the most.
const ASKED_MAX: usize = 256;
/// There are at least so many notes when they are looked through for the first time.
const PRUNE_LEAST: usize = 1024;

/// What a note takes in the table, in bytes, about.
const NOTE_COST: usize = 96;

#[derive(Debug)]
struct File {
    /// Keeps the address from being given to another file.
    own: Weak<dyn Residents>,
    next: Vec<Address>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Kin {
    files: HashMap<Address, File>,
    notes: usize,
    /// Notes that were left when they were looked through last.
    left: usize,
}

pub(super) fn address(file: &Weak<dyn Residents>) -> Address {
    file.as_ptr().cast::<()>().addr()
}

impl Kin {
    /// Notes that two files have the same content now.
    pub(super) fn note(&mut self, one: &Weak<dyn Residents>, other: &Weak<dyn Residents>) {
        for (from, to) in [(one, other), (other, one)] {
            let file = self.files.entry(address(from)).or_insert_with(|| File {
                own: from.clone(),
                next: Vec::new(),
            });
            if file.next.last() != Some(&address(to)) {
                file.next.push(address(to));
                self.notes += 1;
            }
        }
    }

    /// The living files that may share what this one has, or had; the nearest first.
    pub(super) fn of(&self, file: &Weak<dyn Residents>) -> Vec<Arc<dyn Residents>> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([address(file)]);
        let mut queue = VecDeque::from([address(file)]);
        while let Some(at) = queue.pop_front() {
            let Some(known) = self.files.get(&at) else {
                continue;
            };
            if at != address(file) {
                found.extend(known.own.upgrade());
            }
            if found.len() >= ASKED_MAX {
                break;
            }
            queue.extend(known.next.iter().filter(|next| seen.insert(**next)));
        }
        found
    }

    /// Whether so many notes came that those that lead nowhere should go.
    pub(super) fn is_due(&self) -> bool {
        self.notes >= PRUNE_LEAST && self.notes > self.left * 2
    }

    /// The files that are no more.
    pub(super) fn dead(&self) -> HashSet<Address> {
        let dead = self
            .files
            .iter()
            .filter(|(_, file)| file.own.strong_count() == 0);
        dead.map(|(address, _)| *address).collect()
    }

    /// Forgets files that are no more and through which nobody looks: what was copied from and to
    /// one of them counts as copied from each other.
    pub(super) fn forget(&mut self, files: &HashSet<Address>) {
        for address in files {
            let Some(File { next, .. }) = self.files.remove(address) else {
                continue;
            };
            for at in &next {
                if let Some(file) = self.files.get_mut(at) {
                    file.next.retain(|next| next != address);
                }
            }
            for pair in next.windows(2) {
                self.join(pair[0], pair[1]);
            }
        }
        self.files.retain(|_, file| !file.next.is_empty());
        self.notes = self.files.values().map(|file| file.next.len()).sum();
        self.left = self.notes;
    }

    fn join(&mut self, one: Address, other: Address) {
        for (from, to) in [(one, other), (other, one)] {
            if from != to
                && let Some(file) = self.files.get_mut(&from)
                && !file.next.contains(&to)
            {
                file.next.push(to);
            }
        }
    }

    /// Memory of the table, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        (self.notes * size_of::<Address>() + self.files.capacity() * NOTE_COST) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::{ErrorKind, Fault};
    use crate::memory::tier::{Cold, Filled, Identity, Installed, Location, Slot, Staged};

    /// A file of which nothing is asked.
    struct Nobody;

    impl Residents for Nobody {
        fn next_cold(&self, _: u64) -> Option<(u64, Cold)> {
            None
        }

        fn stage(&self, _: Slot, _: u64, _: &mut [u8]) -> Staged {
            Staged::Gone
        }
        fn commit_cold(self: Arc<Self>, _: Slot, _: u64, _: Identity, _: Location) -> bool {
            false
        }
        fn evict_clean(self: Arc<Self>, _: Slot, _: u64) -> bool {
            false
        }
        fn evict_known(self: Arc<Self>, _: Slot, _: u32, _: Location) -> bool {
            false
        }
        fn forget_copy(&self, _: Slot, _: u64) -> bool {
            false
        }
        fn cold(&self, _: u64) -> Option<Cold> {
            None
        }
        fn room(&self, _: usize) -> Result<Filled, Fault> {
            Err(ErrorKind::Unsupported.into())
        }
        fn install(self: Arc<Self>, _: u64, _: Identity, _: Filled) -> Installed {
            Installed::Stale
        }
        fn relocate(&self, _: u64, _: Location, _: Location) -> bool {
            false
        }
        fn admit_existing(self: Arc<Self>) {}
    }

    fn files(count: usize) -> Vec<Option<Arc<dyn Residents>>> {
        let file = |_| Some(Arc::new(Nobody) as Arc<dyn Residents>);
        (0..count).map(file).collect()
    }

    fn weak(file: &Option<Arc<dyn Residents>>) -> Weak<dyn Residents> {
        Arc::downgrade(file.as_ref().expect("it is alive"))
    }

    #[test]
    fn relatives_are_found_through_files_that_are_no_more() {
        let mut kin = Kin::default();
        let mut files = files(4);
        let first = weak(&files[0]);
        for pair in [0, 1, 2].map(|at| (weak(&files[at]), weak(&files[at + 1]))) {
            kin.note(&pair.0, &pair.1);
            kin.note(&pair.0, &pair.1);
        }
        assert_eq!(kin.of(&first).len(), 3);
        assert_eq!(kin.of(&weak(&files[3])).len(), 3);
        files[..3].fill(None);
        let found = kin.of(&first);
        assert_eq!(found.len(), 1);
        let last = files[3].as_ref().expect("it is alive");
        assert!(Arc::ptr_eq(&found[0], last));
    }

    #[test]
    fn what_leads_nowhere_is_forgotten_and_what_is_needed_is_not() {
        let mut kin = Kin::default();
        let template = files(1);
        let mut kept = Vec::new();
        let mut asked = Vec::new();
        for round in 0..10_000 {
            let mut copy = files(1);
            kin.note(&weak(&template[0]), &weak(&copy[0]));
            if round % 1_000 == 0 {
                let file = weak(&copy[0]);
                let second = files(1);
                kin.note(&file, &weak(&second[0]));
                asked.push(file);
                kept.push(second);
                copy[0] = None;
            }
            if kin.is_due() {
                let mut dead = kin.dead();
                asked.iter().for_each(|file| {
                    dead.remove(&address(file));
                });
                kin.forget(&dead);
            }
        }
        assert!(kin.notes <= 2 * PRUNE_LEAST, "{} notes", kin.notes);
        assert!(kin.footprint() < 1 << 20);
        for (file, second) in asked.iter().zip(&kept) {
            let found = kin.of(file);
            let second = second[0].as_ref().expect("it is alive");
            assert!(found.iter().any(|found| Arc::ptr_eq(found, second)));
        }
        drop(template);
    }
}
