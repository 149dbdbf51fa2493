//! Which files were accessed most, for whoever remembers that when the mover is no more.

use std::cmp::Reverse;

use crate::base::sync::Weak;
use crate::memory::tier::{Residents, Unit};

use super::{Mover, kin};

/// So many units are looked at before others get at the books.
const BITE: usize = 1 << 10;
const COUNTS: usize = 1 << u8::BITS;

/// A file, and the accesses that count of its unit that has most of them: at least one.
#[derive(Debug)]
pub(crate) struct Warm {
    pub(crate) file: Weak<dyn Residents>,
    pub(crate) accesses: u8,
}

/// Which units are among those that were accessed most: with more accesses than this, and so many with as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    accesses: u8,
    ties: usize,
}

impl Cut {
    /// `units` says how many units have so many accesses.
    fn of(units: &[usize; COUNTS], most: usize) -> Self {
        let mut left = most;
        for accesses in (1..=u8::MAX).rev() {
            let count = units[usize::from(accesses)];
            if count > left {
                let ties = left;
                return Cut { accesses, ties };
            }
            left -= count;
        }
        Cut {
            accesses: 0,
            ties: 0,
        }
    }

    fn takes(&mut self, accesses: u8) -> bool {
        let is_tie = accesses == self.accesses && self.ties > 0;
        self.ties -= usize::from(is_tie);
        is_tie || accesses > self.accesses
    }
}

impl Mover {
    /// The files of the units in memory that were accessed most, of about `most` units, first those with the most accesses.
    /// O(units), and a look at the books for each thousand of them.
    pub(crate) fn warmest(&self, most: usize) -> Vec<Warm> {
        let mut units = [0; COUNTS];
        self.each_unit(|accesses, _| units[usize::from(accesses)] += 1);
        let mut cut = Cut::of(&units, most);
        let mut found: Vec<Warm> = Vec::new();
        self.each_unit(|accesses, unit| {
            // Others may have been accessed since.
            if cut.takes(accesses) && found.len() < most {
                let file = unit.holder.clone();
                found.push(Warm { file, accesses });
            }
        });
        found.sort_unstable_by_key(|warm| (kin::address(&warm.file), Reverse(warm.accesses)));
        found.dedup_by_key(|warm| kin::address(&warm.file));
        found.sort_unstable_by_key(|warm| Reverse(warm.accesses));
        found
    }

    fn each_unit(&self, mut visit: impl FnMut(u8, &Unit)) {
        let mut from = 0;
        loop {
            let books = self.books.lock();
            let end = books.slots().min(from + BITE);
            books.each_accessed(from..end, &mut visit);
            if end == books.slots() {
                return;
            }
            from = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_the_most_accesses_are_taken_and_no_more_than_was_asked_for() {
        let accesses = [3, 0, 1, 3, 200, 3, 0, 255, 1];
        let mut units = [0; COUNTS];
        for accesses in accesses {
            units[usize::from(accesses)] += 1;
        }
        let taken = |most| {
            let mut cut = Cut::of(&units, most);
            let taken = accesses.into_iter().filter(|accesses| cut.takes(*accesses));
            taken.collect::<Vec<u8>>()
        };
        assert_eq!(taken(0), []);
        assert_eq!(taken(1), [255]);
        assert_eq!(taken(4), [3, 3, 200, 255]);
        assert_eq!(taken(6), [3, 1, 3, 200, 3, 255]);
        let all = [3, 1, 3, 200, 3, 255, 1];
        assert_eq!((taken(7), taken(100)), (all.to_vec(), all.to_vec()));
    }
}
