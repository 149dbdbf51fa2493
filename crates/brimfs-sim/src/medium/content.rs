//! What stands in a file: pages that images of a disk share until one of them writes.
//!
//! A page of zeroes is none, whoever wrote it, so equal contents have equal pages and the space that a store
//! reserves ahead costs nothing.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use brimfs::face::disk::ALIGNMENT;

const PAGE: usize = ALIGNMENT;
const ZEROES: [u8; PAGE] = [0; PAGE];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    len: usize,
    /// So many that they hold `len` bytes. What is behind those in the last one is zero.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        for (number, page) in self.pages.iter().enumerate() {
            if let Some(page) = page {
                (number, &page[..]).hash(state);
            }
        }
    }
}

impl Content {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut content = Content::default();
        content.set_len(bytes.len());
        content.write(0, bytes);
        content
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts it, or makes it longer by zeroes.
    pub(super) fn set_len(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE), None);
        if len < self.len && !len.is_multiple_of(PAGE) {
            let last = len / PAGE;
            let kept = self.page(last, 0..len % PAGE).to_vec();
            self.pages[last] = None;
            self.change(last, 0, &kept);
        }
        self.len = len;
    }

    fn page(&self, number: usize, range: Range<usize>) -> &[u8] {
        match &self.pages[number] {
            Some(page) => &page[range],
            None => &ZEROES[range],
        }
    }

    fn change(&mut self, number: usize, start: usize, bytes: &[u8]) {
        if bytes.len() == PAGE {
            let is_zero = bytes == ZEROES;
            let whole = || Arc::new(bytes.try_into().expect("a whole page"));
            self.pages[number] = (!is_zero).then(whole);
            return;
        }
        let page = &mut self.pages[number];
        let changed = Arc::make_mut(page.get_or_insert_with(|| Arc::new(ZEROES)));
        changed[start..start + bytes.len()].copy_from_slice(bytes);
        if *changed == ZEROES {
            *page = None;
        }
    }

    /// Reads what is there of a range that begins at `offset`, into as many bytes.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) {
        for part in parts(offset, into.len()) {
            let from = self.page(part.page, part.within.clone());
            into[part.from..][..from.len()].copy_from_slice(from);
        }
    }

    /// Writes bytes within its length.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        for part in parts(offset, bytes.len()) {
            let bytes = &bytes[part.from..][..part.within.len()];
            self.change(part.page, part.within.start, bytes);
        }
    }

    /// Writes a range of another one within its length, whose pages are shared where they fall on pages.
    pub(super) fn paste(&mut self, offset: usize, other: &Content, range: Range<usize>) {
        for part in parts(offset, range.len()) {
            let from = range.start + part.from;
            if part.within.len() == PAGE && from.is_multiple_of(PAGE) {
                self.pages[part.page] = other.pages[from / PAGE].clone();
                continue;
            }
            let mut bytes = vec![0; part.within.len()];
            other.read(from, &mut bytes);
            self.change(part.page, part.within.start, &bytes);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }
}

/// A part of a range that lies in one page.
struct Part {
    page: usize,
    within: Range<usize>,
    /// Where it begins in the range.
    from: usize,
}

fn parts(offset: usize, len: usize) -> impl Iterator<Item = Part> {
    let end = offset + len;
    let pages = offset / PAGE..end.div_ceil(PAGE).max(offset / PAGE);
    pages.filter_map(move |page| {
        let first = page * PAGE;
        let within = offset.max(first) - first..end.min(first + PAGE) - first;
        let from = (first + within.start) - offset;
        (!within.is_empty()).then_some(Part { page, within, from })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::Random;

    #[test]
    fn it_is_what_a_vector_is() {
        let mut random = Random::new(1);
        let (mut content, mut plain) = (Content::default(), Vec::<u8>::new());
        let (mut other, mut other_plain) = (content.clone(), plain.clone());
        for _ in 0..3000 {
            let len = random.below(5 * PAGE as u64) as usize;
            // On pages, often.
            let mut at = |below: usize| {
                let at = random.below(below as u64 + 1) as usize;
                if random.one_in(2) {
                    at / PAGE * PAGE
                } else {
                    at
                }
            };
            let (start, end) = (at(plain.len()), at(plain.len()));
            let (start, end) = (start.min(end), start.max(end));
            match random.below(5) {
                0 => {
                    content.set_len(len);
                    plain.resize(len, 0);
                }
                1 | 2 => {
                    let fill = random.below(3) as u8;
                    content.write(start, &vec![fill; end - start]);
                    plain[start..end].fill(fill);
                }
                3 => {
                    let end = end.min(start + other_plain.len());
                    let from =
                        random.below((other_plain.len() - (end - start)) as u64 + 1) as usize;
                    let from = if random.one_in(2) { 0 } else { from };
                    let range = from..from + (end - start);
                    content.paste(start, &other, range.clone());
                    plain[start..end].copy_from_slice(&other_plain[range]);
                }
                _ => (other, other_plain) = (content.clone(), plain.clone()),
            }
            assert_eq!(content.to_vec(), plain);
            assert_eq!(
                content,
                Content::new(&plain),
                "equal contents have equal pages"
            );
        }
    }
}
