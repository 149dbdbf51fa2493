//! Which units are worth looking at: a bit per unit and kind of free memory.
//!
//! A store of many gigabytes has hundreds of units, most of them full.

/// Kinds of free memory that a unit may have.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Free pages beside live ones in one slot.
    Loose,
    /// A free slot that is backed.
    WarmSlot,
    /// A free slot.
    FreeSlot,
}

const KINDS: usize = 3;

/// Bits by the unit's index and [`Kind`].
#[derive(Default)]
pub(super) struct Ready {
    words: Vec<[u64; KINDS]>,
}

impl Ready {
    /// Starts over for `units` units, of which none has anything.
    pub(super) fn reset(&mut self, units: usize) {
        self.words.clear();
        self.words.resize(units.div_ceil(64), [0; KINDS]);
    }

    /// Notes what the unit at `at` has, in the order of the kinds.
    #[inline]
    pub(super) fn note(&mut self, at: usize, has: [bool; KINDS]) {
        for (word, has) in self.words[at / 64].iter_mut().zip(has) {
            *word = *word & !(1 << (at % 64)) | u64::from(has) << (at % 64);
        }
    }

    /// The units that have `kind`, by address.
    pub(super) fn units(&self, kind: Kind) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(move |(i, kinds)| {
            let mut left = kinds[kind as usize];
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(i * 64 + bit)
            })
        })
    }
}
