//! Arbitrary bytes, taken piece by piece.

/// What is left of the bytes. When there are none any more it gives zeroes, with which everything ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl<'a> Source<'a> {
    /// Nothing is left.
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which is 1 to 256.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.byte()) % bound
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Eight bytes as a number.
    pub(super) fn wide(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.iter_mut().for_each(|byte| *byte = self.byte());
        u64::from_le_bytes(bytes)
    }

    /// Numbers that meet each other, and some that nothing can bear.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..200 => u64::from(byte % 8),
            200..210 => self.wide(),
            210..230 => u64::MAX >> self.below(64),
            230.. => 1 << self.below(64),
        }
    }

    /// `usual`, or now and then something else.
    pub(super) fn twisted(&mut self, usual: u64) -> u64 {
        match self.byte() {
            0xfc.. => self.number(),
            0xfa..0xfc => usual.wrapping_add(self.number()),
            _ => usual,
        }
    }
}
