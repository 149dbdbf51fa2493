//! How records lie in a segment: sizes, places, headers. Pure, no I/O.
//!
//! ARCHITECTURE.md draws the layout. Numbers are little-endian. A record begins at a multiple of
//! [`UNIT`] with its header; behind the header come the packed sizes of its blocks if it is
//! compressed, then the blocks, each with its seal.

use std::fmt;

use super::crypt::{Seals, TAG};
use crate::io::disk::ALIGNMENT;

/// Granularity of a record's place and size, in bytes.
pub(super) const UNIT: usize = 16;
/// What is sealed, verified and read as one, in bytes of content.
pub const BLOCK: usize = 16 << 10;
/// The most content in one record, in bytes.
pub const RECORD_MAX: usize = 1 << 20;
/// Header without its seal, in bytes.
pub(super) const HEADER: usize = 48;
/// Header with its seal, in bytes.
pub(super) const SEALED_HEADER: usize = HEADER + TAG;
/// Where the first record lies; before it there is room for the header of a named segment.
pub(super) const FIRST: u64 = ALIGNMENT as u64;
/// The largest segment, in bytes: what the bits for a place can tell apart.
pub const SEGMENT_BYTES_MAX: u64 = UNIT as u64 * (1 << UNIT_BITS);
/// The block number that stands for the header.
pub(super) const HEADER_BLOCK: u32 = u32::MAX;
/// The largest serial number of a segment; those above lie in no segment.
pub(super) const SERIAL_MAX: u32 = ELSEWHERE - 1;
/// Set where the serial number is that of a file of the host, and the place the number of its chunk; or that of a stack.
const ELSEWHERE: u32 = 1 << 30;
/// What tells the stack from the file of the host, which occupies nothing.
const STACK_UNITS: u32 = 1;
const SERIAL_BITS: u32 = (1 << 31) - 1;

const UNIT_BITS: u32 = 28;
const MAGIC: [u8; 2] = *b"bs";
const VERSION: u8 = 1;
/// The kind of record that holds content; other kinds are for journals.
const KIND_CONTENT: u8 = 1;
const FLAG_PACKED: u32 = 1;

/// Whose content a record holds. Bound into every seal, so that another chunk's or an earlier
/// generation's bytes are never taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// Number of the file's inode.
    pub inode: u64,
    /// Number of the chunk within the file.
    pub index: u32,
    /// Number that grows with every change of the content.
    pub generation: u64,
}

/// Where a record lies, how long its content is and what it occupies, in 12 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent([u32; 3]);

impl Extent {
    /// Serial number in 31 bits, unit in 28, occupied units in 17, length less one in 20.
    pub(super) fn new(serial: u32, unit: u32, len: usize, units: u32) -> Self {
        debug_assert!(serial <= SERIAL_BITS && unit >> UNIT_BITS == 0);
        debug_assert!((1..=RECORD_MAX).contains(&len) && units >> 17 == 0);
        let less = (len - 1) as u32;
        Extent([
            serial | (units >> 16) << 31,
            unit | (less & 0xf) << UNIT_BITS,
            (units & 0xffff) | (less >> 4) << 16,
        ])
    }

    /// `len` bytes of a chunk of a file of the host; nothing for a chunk beyond 2^28.
    pub(crate) fn of_host_file(file: u32, chunk: u64, len: usize) -> Option<Self> {
        let unit = u32::try_from(chunk).ok()?;
        let fits = file < ELSEWHERE && unit >> UNIT_BITS == 0 && (1..=RECORD_MAX).contains(&len);
        fits.then(|| Extent::new(file | ELSEWHERE, unit, len, 0))
    }

    /// What a stack of this number stands for, `len` bytes; nothing if there are no more numbers.
    pub(super) fn of_stack(number: u32, len: usize) -> Option<Self> {
        (number < ELSEWHERE).then(|| Extent::new(number | ELSEWHERE, 0, len, STACK_UNITS))
    }

    /// The number of the stack that the bytes are in.
    pub(super) fn stack(self) -> Option<u32> {
        let serial = self.serial();
        let is_stack = serial & ELSEWHERE != 0 && self.units() == STACK_UNITS;
        is_stack.then_some(serial & !ELSEWHERE)
    }

    /// The number of the host's file that the bytes lie in, and where in it they begin.
    pub(crate) fn host_file(self) -> Option<(u32, u64)> {
        let serial = self.serial();
        let is_host = serial & ELSEWHERE != 0 && self.units() != STACK_UNITS;
        is_host.then(|| {
            (
                serial & !ELSEWHERE,
                u64::from(self.unit()) * RECORD_MAX as u64,
            )
        })
    }

    /// The extent as three numbers, to be kept by somebody who does not know what they mean.
    #[must_use]
    pub fn to_raw(self) -> [u32; 3] {
        self.0
    }

    /// The opposite of [`Extent::to_raw`]. Numbers that came from nowhere lead nowhere: reading them fails.
    #[must_use]
    pub fn from_raw(raw: [u32; 3]) -> Self {
        Extent(raw)
    }

    /// Serial number of the segment.
    pub(super) fn serial(self) -> u32 {
        self.0[0] & SERIAL_BITS
    }

    /// Place of the record in the segment, in units.
    pub(super) fn unit(self) -> u32 {
        self.0[1] & ((1 << UNIT_BITS) - 1)
    }

    /// Place of the record in the segment, in bytes.
    pub(super) fn place(self) -> u64 {
        u64::from(self.unit()) * UNIT as u64
    }

    pub(super) fn units(self) -> u32 {
        (self.0[2] & 0xffff) | (self.0[0] >> 31) << 16
    }

    /// Length of the content in bytes, 1 to [`RECORD_MAX`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an extent is never empty")]
    pub fn len(self) -> usize {
        ((self.0[1] >> UNIT_BITS) | (self.0[2] >> 16) << 4) as usize + 1
    }

    /// What the record occupies on the disk, in bytes.
    #[must_use]
    pub fn stored_bytes(self) -> u64 {
        u64::from(self.units()) * UNIT as u64
    }
}

impl Extent {
    /// Serial number of the segment, place in it, and bytes occupied there, for a journal.
    pub(crate) fn to_parts(self) -> (u64, u64, u64) {
        (u64::from(self.serial()), self.place(), self.stored_bytes())
    }

    /// The opposite of [`Extent::to_parts`]; nothing if no record can lie there.
    pub(crate) fn from_parts(serial: u64, place: u64, stored: u64, len: u64) -> Option<Self> {
        let unit = UNIT as u64;
        let fits = serial <= u64::from(SERIAL_MAX)
            && (FIRST..SEGMENT_BYTES_MAX).contains(&place)
            && place.is_multiple_of(unit)
            && (1..=RECORD_MAX as u64).contains(&len)
            && stored.is_multiple_of(unit)
            && (stored / unit) >> 17 == 0;
        fits.then(|| {
            let units = (stored / unit) as u32;
            Extent::new(serial as u32, (place / unit) as u32, len as usize, units)
        })
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (serial, place) = (self.serial(), self.place());
        let (len, stored) = (self.len(), self.stored_bytes());
        write!(f, "Extent({serial}+{place}: {len} in {stored})")
    }
}

/// Number of blocks of a content of `len` bytes.
pub(super) fn blocks(len: usize) -> usize {
    len.div_ceil(BLOCK)
}

/// Length of one block of a content of `len` bytes.
pub(super) fn block_len(len: usize, block: usize) -> usize {
    (len - block * BLOCK).min(BLOCK)
}

/// Units that a record occupies if it is not compressed.
pub(super) fn plain_units(len: usize, seals: Seals) -> u32 {
    units(SEALED_HEADER + len + blocks(len) * seals.block_tag())
}

/// Units that a compressed record occupies whose blocks have `packed` bytes together.
pub(super) fn packed_units(len: usize, packed: usize, seals: Seals) -> u32 {
    units(SEALED_HEADER + table_bytes(len) + packed + blocks(len) * seals.block_tag())
}

/// Bytes of the table of packed sizes: two for each block, padded to whole units.
pub(super) fn table_bytes(len: usize) -> usize {
    (blocks(len) * 2).next_multiple_of(UNIT)
}

fn units(bytes: usize) -> u32 {
    bytes.div_ceil(UNIT) as u32
}

/// The bytes of a header that every seal of its record binds, with the number of the block last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header(pub(super) [u8; HEADER]);

impl Header {
    pub(super) fn new(id: Id, extent: Extent, seals: Seals) -> Self {
        let mut bytes = [0; HEADER];
        let packed = extent.units() != plain_units(extent.len(), seals);
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2] = VERSION;
        bytes[3] = KIND_CONTENT;
        bytes[4..8].copy_from_slice(&(if packed { FLAG_PACKED } else { 0 }).to_le_bytes());
        bytes[8..16].copy_from_slice(&id.inode.to_le_bytes());
        bytes[16..24].copy_from_slice(&id.generation.to_le_bytes());
        bytes[24..28].copy_from_slice(&id.index.to_le_bytes());
        bytes[28..32].copy_from_slice(&(extent.len() as u32).to_le_bytes());
        bytes[32..36].copy_from_slice(&extent.units().to_le_bytes());
        bytes[36..40].copy_from_slice(&extent.serial().to_le_bytes());
        bytes[40..44].copy_from_slice(&extent.unit().to_le_bytes());
        bytes[44..48].copy_from_slice(&HEADER_BLOCK.to_le_bytes());
        Header(bytes)
    }

    /// The same for one block.
    pub(super) fn of_block(self, block: u32) -> Self {
        let mut bytes = self.0;
        bytes[44..48].copy_from_slice(&block.to_le_bytes());
        Header(bytes)
    }

    /// What was read, if it can be the header of a record at that place. Not verified yet.
    pub(super) fn decode(
        bytes: &[u8; HEADER],
        serial: u32,
        unit: u32,
        seals: Seals,
    ) -> Option<(Id, Extent)> {
        let u32_at =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let (len, units) = (u32_at(28) as usize, u32_at(32));
        if !(1..=RECORD_MAX).contains(&len) || units > plain_units(len, seals) {
            return None;
        }
        let id = Id {
            inode: u64_at(8),
            generation: u64_at(16),
            index: u32_at(24),
        };
        let extent = Extent::new(serial, unit, len, units);
        // Everything else in a header follows from these two.
        (Header::new(id, extent, seals).0 == *bytes).then_some((id, extent))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEALS: Seals = Seals::Encrypted;

    #[test]
    fn an_extent_takes_twelve_bytes() {
        assert_eq!(size_of::<Extent>(), 12);
        assert!(plain_units(RECORD_MAX, SEALS) >> 17 == 0);
    }

    #[test]
    fn an_extent_of_a_host_file_is_no_other() {
        let last = (1 << UNIT_BITS) - 1;
        for (file, chunk, len) in [(0, 0, 1), (7, 3, 100), (SERIAL_MAX, last, RECORD_MAX)] {
            let extent = Extent::of_host_file(file, chunk, len).expect("it fits");
            assert_eq!(extent.host_file(), Some((file, chunk * RECORD_MAX as u64)));
            assert_eq!((extent.len(), extent.stored_bytes()), (len, 0));
        }
        assert_eq!(Extent::of_host_file(SERIAL_MAX + 1, 0, 1), None);
        assert_eq!(Extent::of_host_file(0, last + 1, 1), None);
        assert_eq!(Extent::new(SERIAL_MAX, 1, 1, 9).host_file(), None);
        for (number, len) in [(0, 1), (SERIAL_MAX, RECORD_MAX)] {
            let extent = Extent::of_stack(number, len).expect("it fits");
            assert_eq!((extent.stack(), extent.len()), (Some(number), len));
            assert_eq!(extent.host_file(), None);
        }
        assert_eq!(Extent::of_stack(SERIAL_MAX + 1, 1), None);
        assert_eq!(Extent::new(SERIAL_MAX, 1, 1, 1).stack(), None);
        let host = Extent::of_host_file(1, 0, 1).expect("it fits");
        assert_eq!(host.stack(), None);
    }

    proptest! {
        #[test]
        fn an_extent_keeps_its_numbers(
            serial in 0..=SERIAL_MAX, unit in 0u32..1 << UNIT_BITS, len in 1..=RECORD_MAX, units in 1u32..1 << 17,
        ) {
            let extent = Extent::new(serial, unit, len, units);
            prop_assert_eq!(
                (extent.serial(), extent.unit(), extent.len(), extent.units()),
                (serial, unit, len, units)
            );
        }

        #[test]
        fn a_header_is_decoded_at_its_place_only(
            inode: u64, index: u32, generation: u64, serial in 0..=SERIAL_MAX, unit in 0u32..1 << UNIT_BITS, len in 1..=RECORD_MAX,
        ) {
            let id = Id { inode, index, generation };
            let extent = Extent::new(serial, unit, len, plain_units(len, SEALS));
            let header = Header::new(id, extent, SEALS);
            prop_assert_eq!(Header::decode(&header.0, serial, unit, SEALS), Some((id, extent)));
            prop_assert_eq!(Header::decode(&header.0, serial ^ 1, unit, SEALS), None);
            prop_assert_eq!(Header::decode(&header.0, serial, unit ^ 1, SEALS), None);
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes: [u8; 24]) {
            let mut header = [0; HEADER];
            header[24..].copy_from_slice(&bytes);
            let _ = Header::decode(&header, 1, 1, SEALS);
        }
    }
}
