//! Where a piece of content lies now, and where pages that lie over it do.

use super::{BadField, Extent, Fields, check_range, put_number};
use crate::base::pages::Pages;

/// The new place of a piece of a file's content. Everything else about the extent stays, and what lies over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Number of the file's node.
    pub node: u64,
    /// Where the extent begins in the file, in bytes.
    pub offset: u64,
    /// As in [`Extent::segment`].
    pub segment: u64,
    /// As in [`Extent::place`].
    pub place: u64,
    /// As in [`Extent::stored`].
    pub stored: u64,
}

impl Moved {
    pub(super) fn put(self, out: &mut Vec<u8>) -> Result<(), BadField> {
        check_range(self.offset, 0)?;
        let Moved {
            node,
            offset,
            segment,
            place,
            stored,
        } = self;
        for number in [node, offset, segment, place, stored] {
            put_number(out, number);
        }
        Ok(())
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, BadField> {
        let (node, offset) = (fields.number()?, fields.number()?);
        check_range(offset, 0)?;
        Ok(Moved {
            node,
            offset,
            segment: fields.number()?,
            place: fields.number()?,
            stored: fields.number()?,
        })
    }
}

/// Pages that lie over an extent, one behind the other, in a record of the same owner and index. They take precedence over
/// the extent, over layers of smaller numbers, and over what was inline in these pages before the layer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Number of the file's node.
    pub node: u64,
    /// Where the extent begins in the file, in bytes.
    pub offset: u64,
    /// Number of the layer, from 0: the next one, or that of one that lies here from now on.
    pub layer: u32,
    /// As in [`Extent::segment`].
    pub segment: u64,
    /// As in [`Extent::place`].
    pub place: u64,
    /// As in [`Extent::stored`].
    pub stored: u64,
    /// As in [`Extent::generation`].
    pub generation: u64,
    /// Which pages. One at the end of what the extent's record holds is as long as that reaches.
    pub pages: Pages,
}

impl Overlay {
    pub(super) fn put(self, out: &mut Vec<u8>) -> Result<(), BadField> {
        self.check()?;
        put_number(out, self.node);
        put_number(out, self.offset);
        put_number(out, u64::from(self.layer));
        for number in [self.segment, self.place, self.stored, self.generation] {
            put_number(out, number);
        }
        for word in self.pages.to_words() {
            out.extend_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, BadField> {
        let (node, offset) = (fields.number()?, fields.number()?);
        let layer = fields.number_32()?;
        let (segment, place) = (fields.number()?, fields.number()?);
        let (stored, generation) = (fields.number()?, fields.number()?);
        let mut words = [0; 4];
        for word in &mut words {
            let bytes: [u8; 8] = fields.take(8)?.try_into().map_err(|_| BadField)?;
            *word = u64::from_le_bytes(bytes);
        }
        let overlay = Overlay {
            node,
            offset,
            layer,
            segment,
            place,
            stored,
            generation,
            pages: Pages::from_words(words),
        };
        overlay.check()?;
        Ok(overlay)
    }

    fn check(&self) -> Result<(), BadField> {
        check_range(self.offset, 0)?;
        check_range(self.place, self.stored)?;
        match self.pages == Pages::default() {
            true => Err(BadField),
            false => Ok(()),
        }
    }

    /// What there is to know of its record, as an extent of the same owner: where it lies and how long it is. Nothing if the
    /// pages are not inside of what `base` holds.
    #[must_use]
    pub fn record_over(&self, base: &Extent) -> Option<Extent> {
        let len = self
            .pages
            .bytes_in(usize::try_from(base.record_len).ok()?)? as u64;
        Some(Extent {
            len,
            segment: self.segment,
            place: self.place,
            stored: self.stored,
            record_len: len,
            generation: self.generation,
            blocks: 0,
            ..*base
        })
    }
}
