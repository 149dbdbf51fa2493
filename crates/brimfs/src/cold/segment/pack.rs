//! Compression of records, block by block so that a block can be read alone.

use super::crypt::Seals;
use super::format::{BLOCK, block_len, blocks, packed_units, plain_units, table_bytes};
use super::options::Compression;
use super::writer::Parts;

/// The compressed blocks of a record.
pub(super) struct Packed {
    bytes: Vec<u8>,
    /// End of each block in `bytes`.
    ends: Vec<usize>,
    /// As it lies behind the header: the packed size of each block in two bytes.
    pub(super) table: Vec<u8>,
    pub(super) units: u32,
}

impl Packed {
    pub(super) fn block(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }
}

/// The record compressed, if that saves anything.
pub(super) fn pack(
    parts: &[&[u8]],
    len: usize,
    compression: Compression,
    seals: Seals,
) -> Option<Packed> {
    if compression == Compression::None {
        return None;
    }
    let mut bytes = Vec::with_capacity(len);
    let mut ends = Vec::with_capacity(blocks(len));
    let mut table = Vec::with_capacity(table_bytes(len));
    let mut source = Parts::new(parts);
    let mut plain = [0; BLOCK];
    let mut packed = vec![0; lz4_flex::block::get_maximum_output_size(BLOCK)];
    for block in 0..blocks(len) {
        let plain = &mut plain[..block_len(len, block)];
        source.copy_to(plain);
        let size = match lz4_flex::block::compress_into(plain, &mut packed) {
            Ok(size) if size < plain.len() => {
                bytes.extend_from_slice(&packed[..size]);
                size
            }
            _ => {
                bytes.extend_from_slice(plain);
                plain.len()
            }
        };
        ends.push(bytes.len());
        table.extend_from_slice(&(size as u16).to_le_bytes());
    }
    table.resize(table_bytes(len), 0);
    let units = packed_units(len, bytes.len(), seals);
    (units < plain_units(len, seals)).then_some(Packed {
        bytes,
        ends,
        table,
        units,
    })
}

/// A block of `packed` bytes as it was; `None` if it is none.
pub(super) fn unpack(packed: &[u8], into: &mut [u8]) -> Option<()> {
    if packed.len() == into.len() {
        into.copy_from_slice(packed);
        return Some(());
    }
    let size = lz4_flex::block::decompress_into(packed, into).ok()?;
    (size == into.len()).then_some(())
}
