//! The block at the beginning of a segment that has a name, and the name. Pure, no I/O.
//!
//! docs/format.md draws it. A block is valid only if writing down what it says gives the same bytes.

use crate::io::disk::ALIGNMENT;

use super::format::SERIAL_MAX;

/// The format that is written, and the only one that is read.
pub(super) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"brimsegm";
const PREFIX: &str = "segment-";
/// Where the checksum lies, in bytes.
const CHECKSUM: usize = 60;

/// A block at an address that transfers may use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(4096))]
pub(super) struct Block(pub(super) [u8; ALIGNMENT]);

const _: () = assert!(align_of::<Block>() == ALIGNMENT);

/// Why a block is not the header of the segment that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It is that of another format.
    Format(u32),
    /// It is that of another store's segment.
    Store,
    /// It is that of the segment with this number.
    Serial(u64),
    Damaged,
}

impl Block {
    pub(super) fn zeroed() -> Self {
        Block([0; ALIGNMENT])
    }

    /// The header of a segment.
    pub(super) fn header(identity: &[u8; 16], serial: u64) -> Self {
        let mut block = Self::zeroed();
        block.0[..8].copy_from_slice(&MAGIC);
        block.0[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        block.0[16..32].copy_from_slice(identity);
        block.0[32..40].copy_from_slice(&serial.to_le_bytes());
        let checksum = crc32c::crc32c(&block.0[..CHECKSUM]);
        block.0[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Whether this is the header of a segment.
    pub(super) fn check(&self, identity: &[u8; 16], serial: u32) -> Result<(), BadHeader> {
        if !self.0.starts_with(&MAGIC) {
            return Err(BadHeader::Damaged);
        }
        // Another format can have another layout behind its number, so nothing else is looked at.
        match u32::from_le_bytes(self.array(8)) {
            FORMAT => {}
            0 => return Err(BadHeader::Damaged),
            // A header that would be whole as one of this format is one, and its number is damaged.
            _ if self.is_whole_as(FORMAT) => return Err(BadHeader::Damaged),
            other => return Err(BadHeader::Format(other)),
        }
        let (its_identity, its_serial) = (self.array(16), u64::from_le_bytes(self.array(32)));
        if *self != Self::header(&its_identity, its_serial) {
            return Err(BadHeader::Damaged);
        }
        if its_identity != *identity {
            return Err(BadHeader::Store);
        }
        if its_serial != u64::from(serial) {
            return Err(BadHeader::Serial(its_serial));
        }
        Ok(())
    }

    fn is_whole_as(&self, format: u32) -> bool {
        let mut block = self.clone();
        block.0[8..12].copy_from_slice(&format.to_le_bytes());
        crc32c::crc32c(&block.0[..CHECKSUM]) == u32::from_le_bytes(block.array(CHECKSUM))
    }

    fn array<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        std::array::from_fn(|byte| self.0[at + byte])
    }
}

/// The first block of a segment's file.
pub(crate) fn file_header(identity: &[u8; 16], serial: u32) -> Box<[u8; ALIGNMENT]> {
    Box::new(Block::header(identity, u64::from(serial)).0)
}

/// Name of a segment's file.
pub(super) fn file_name(serial: u32) -> String {
    format!("{PREFIX}{serial:016x}")
}

/// The serial number in the name of a segment's file; nothing for what this store never makes.
pub(crate) fn serial_of(name: &str) -> Option<u32> {
    let serial = u32::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()?;
    (serial <= SERIAL_MAX && file_name(serial) == name).then_some(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: [u8; 16] = [3; 16];

    #[test]
    fn a_header_is_that_of_one_segment_of_one_store() {
        let block = Block::header(&IDENTITY, 7);
        assert_eq!(block.check(&IDENTITY, 7), Ok(()));
        assert_eq!(block.check(&IDENTITY, 8), Err(BadHeader::Serial(7)));
        assert_eq!(block.check(&[4; 16], 7), Err(BadHeader::Store));
        let zeroes = Block::zeroed().check(&IDENTITY, 0);
        assert_eq!(zeroes, Err(BadHeader::Damaged));
    }

    #[test]
    fn every_bit_of_the_block_counts() {
        for bit in 0..8 * ALIGNMENT {
            let mut block = Block::header(&IDENTITY, 7);
            block.0[bit / 8] ^= 1 << (bit % 8);
            assert!(block.check(&IDENTITY, 7).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let mut block = Block::header(&IDENTITY, 7);
        block.0[8] = 2;
        assert_eq!(block.check(&IDENTITY, 7), Err(BadHeader::Damaged));
        // Another format has another checksum, at least.
        block.0[CHECKSUM] ^= 1;
        assert_eq!(block.check(&IDENTITY, 7), Err(BadHeader::Format(2)));
        block.0[8] = 0;
        assert_eq!(block.check(&IDENTITY, 7), Err(BadHeader::Damaged));
    }

    #[test]
    fn names_keep_their_number_and_others_have_none() {
        for serial in [0, 1, 0xabc, SERIAL_MAX] {
            assert_eq!(serial_of(&file_name(serial)), Some(serial));
        }
        assert_eq!(file_name(0xabc), "segment-0000000000000abc");
        for name in [
            "segment-",
            "segment-1",
            "segment-0000000000000ABC",
            "segment-+000000000000abc",
            "segment-00000000000000abc",
            "segment-0000000080000000",
            "segment-0000000100000000",
            "journal-0000000000000001",
        ] {
            assert_eq!(serial_of(name), None, "{name}");
        }
    }
}
