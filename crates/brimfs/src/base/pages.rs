//! Sets of pages: parts of 4 KiB of a chunk, which is 1 MiB.

/// A page, in bytes.
pub const PAGE: usize = 4 << 10;
/// Pages of a chunk.
const COUNT: usize = 256;
const WORDS: usize = COUNT / 64;

/// A set of pages of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pages([u64; WORDS]);

impl Pages {
    /// Those that a range of bytes touches.
    pub(crate) fn touched(start: usize, end: usize) -> Self {
        let mut pages = Pages::default();
        for page in start / PAGE..end.div_ceil(PAGE) {
            pages.0[page / 64] |= 1 << (page % 64);
        }
        pages
    }

    /// A set as the journal has it: the first page in the lowest bit of the first number.
    #[must_use]
    pub const fn from_words(words: [u64; WORDS]) -> Self {
        Pages(words)
    }

    /// The opposite of [`Pages::from_words`].
    #[must_use]
    pub const fn to_words(self) -> [u64; WORDS] {
        self.0
    }

    pub(crate) fn add(&mut self, other: Pages) {
        for (mine, other) in self.0.iter_mut().zip(other.0) {
            *mine |= other;
        }
    }

    pub(crate) fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(crate) fn has(self, page: usize) -> bool {
        page < COUNT && self.0[page / 64] >> (page % 64) & 1 == 1
    }

    /// Those that lie side by side, as ranges of bytes.
    pub(crate) fn runs(self) -> impl Iterator<Item = (usize, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = (at..COUNT).find(|page| self.has(*page))?;
            let end = (start..).find(|page| !self.has(*page)).unwrap_or(start);
            at = end;
            Some((start * PAGE, end * PAGE))
        })
    }

    /// How many bytes they have in a chunk of `len`, whose last page may be a part of one. Nothing if there are none, or if one
    /// begins behind the end.
    pub(crate) fn bytes_in(self, len: usize) -> Option<usize> {
        let (_, end) = self.runs().last()?;
        let is_inside = (end - PAGE) < len;
        is_inside.then(|| self.count() as usize * PAGE - end.saturating_sub(len))
    }

    /// Where they lie in a chunk of `len` bytes, one run after the other: place in the chunk, place among the pages, length.
    pub(crate) fn places_in(self, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut before = 0;
        self.runs().map(move |(start, end)| {
            let run = end.min(len).saturating_sub(start);
            let place = (start, before, run);
            before += run;
            place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_what_was_touched() {
        let mut pages = Pages::touched(5000, 9000);
        pages.add(Pages::touched(1 << 19, (1 << 19) + 1));
        let runs: Vec<_> = pages.runs().collect();
        assert_eq!(runs, [(4096, 12288), (1 << 19, (1 << 19) + 4096)]);
        assert_eq!(pages.count(), 3);
        assert_eq!(Pages::from_words(pages.to_words()), pages);
        assert_eq!(
            Pages::touched(0, 1 << 20).runs().collect::<Vec<_>>(),
            [(0, 1 << 20)]
        );
    }

    #[test]
    fn the_last_page_is_as_long_as_the_chunk_is() {
        let mut pages = Pages::touched(0, 1);
        pages.add(Pages::touched(8192, 8193));
        assert_eq!(pages.bytes_in(1 << 20), Some(8192));
        assert_eq!(pages.bytes_in(9000), Some(4096 + 808));
        assert_eq!(pages.bytes_in(8193), Some(4097));
        assert_eq!(pages.bytes_in(8192), None);
        assert_eq!(Pages::default().bytes_in(8192), None);
        let places: Vec<_> = pages.places_in(9000).collect();
        assert_eq!(places, [(0, 0, 4096), (8192, 4096, 808)]);
    }
}
