//! Seals: what makes a block confidential, bound to its record, and verifiable.

use std::fmt;
use std::io;

use zeroize::Zeroizing;

use super::cipher::Cipher;
use super::format::{HEADER, HEADER_BLOCK, Header};

/// Bytes of a tag, and of the room that a header has for its seal.
pub(super) const TAG: usize = 16;
const CRC: usize = 4;

/// The kind of seals a store makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seals {
    Encrypted,
    Checksummed,
}

impl Seals {
    /// Bytes behind each block.
    pub(super) const fn block_tag(self) -> usize {
        match self {
            Seals::Encrypted => TAG,
            Seals::Checksummed => CRC,
        }
    }
}

/// Makes and checks seals. The key is random, lives here only and is wiped when dropped.
pub(super) enum Sealer {
    Encrypted(Box<Cipher>),
    /// The number that tells this store's checksums from another's.
    Checksummed(u32),
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.seals())
    }
}

/// What was read is not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Sealer {
    /// # Errors
    /// The system has no randomness to give.
    pub(super) fn new(seals: Seals) -> io::Result<Self> {
        let unavailable = |error: getrandom::Error| io::Error::other(error.to_string());
        Ok(match seals {
            Seals::Encrypted => {
                let mut key = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *key).map_err(unavailable)?;
                Sealer::Encrypted(Box::new(Cipher::new(&key)))
            }
            Seals::Checksummed => {
                let mut salt = [0; 4];
                getrandom::fill(&mut salt).map_err(unavailable)?;
                Sealer::Checksummed(u32::from_le_bytes(salt))
            }
        })
    }

    /// The sealer of all who know a store's identity: checksums begin with it.
    pub(super) fn checksummed(identity: &[u8; 16]) -> Self {
        Sealer::Checksummed(crc32c::crc32c(identity))
    }

    pub(super) fn seals(&self) -> Seals {
        match self {
            Sealer::Encrypted(_) => Seals::Encrypted,
            Sealer::Checksummed(_) => Seals::Checksummed,
        }
    }

    /// Seals one block in place; `tag` has [`Seals::block_tag`] bytes.
    ///
    /// The nonce is the place of the block: serial number of the segment, unit of the record, number
    /// of the block. Serial numbers are never given twice and a place is written once, so no nonce
    /// serves two messages.
    pub(super) fn seal(&self, header: Header, data: &mut [u8], tag: &mut [u8]) {
        match self {
            Sealer::Encrypted(cipher) => {
                tag.copy_from_slice(&cipher.seal(&nonce(header), &header.0, data));
            }
            Sealer::Checksummed(salt) => {
                tag.copy_from_slice(&checksum(*salt, header, data).to_le_bytes());
            }
        }
    }

    /// Verifies one block and opens it in place. Broken data is left as it is or wiped.
    pub(super) fn open(&self, header: Header, data: &mut [u8], tag: &[u8]) -> Result<(), Broken> {
        match self {
            Sealer::Encrypted(cipher) => {
                let tag: &[u8; TAG] = tag.try_into().map_err(|_| Broken)?;
                cipher.open(&nonce(header), &header.0, data, tag)
            }
            Sealer::Checksummed(salt) => {
                let right = checksum(*salt, header, data).to_le_bytes();
                if right == *tag { Ok(()) } else { Err(Broken) }
            }
        }
    }

    /// The seal of a header, and of the table of packed sizes behind it.
    pub(super) fn seal_header(&self, header: Header, table: &[u8]) -> [u8; TAG] {
        let header = header.of_block(HEADER_BLOCK);
        match self {
            Sealer::Encrypted(cipher) => {
                let mut bound = [0; BOUND_MAX];
                let bound = bind(&mut bound, header, table);
                cipher.seal(&nonce(header), bound, &mut [])
            }
            Sealer::Checksummed(salt) => {
                let mut seal = [0; TAG];
                seal[..CRC].copy_from_slice(&checksum(*salt, header, table).to_le_bytes());
                seal
            }
        }
    }

    pub(super) fn open_header(
        &self,
        header: Header,
        table: &[u8],
        seal: &[u8; TAG],
    ) -> Result<(), Broken> {
        match self {
            Sealer::Encrypted(cipher) => {
                let header = header.of_block(HEADER_BLOCK);
                let mut bound = [0; BOUND_MAX];
                let bound = bind(&mut bound, header, table);
                cipher.open(&nonce(header), bound, &mut [], seal)
            }
            Sealer::Checksummed(_) if self.seal_header(header, table) == *seal => Ok(()),
            Sealer::Checksummed(_) => Err(Broken),
        }
    }
}

/// A header and the table of a record of the largest size.
const BOUND_MAX: usize = HEADER + 2 * super::format::RECORD_MAX / super::format::BLOCK;

fn bind<'a>(room: &'a mut [u8; BOUND_MAX], header: Header, table: &[u8]) -> &'a [u8] {
    room[..HEADER].copy_from_slice(&header.0);
    room[HEADER..HEADER + table.len()].copy_from_slice(table);
    &room[..HEADER + table.len()]
}

fn nonce(header: Header) -> [u8; 12] {
    header.0[36..48].try_into().expect("twelve bytes")
}

fn checksum(salt: u32, header: Header, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &header.0), data)
}

#[cfg(test)]
mod tests {
    use super::super::format::{Extent, Id};
    use super::*;

    const ID: Id = Id {
        inode: 1,
        index: 2,
        generation: 3,
    };

    fn header(id: Id, serial: u32, unit: u32) -> Header {
        Header::new(id, Extent::new(serial, unit, 100, 12), Seals::Encrypted).of_block(0)
    }

    #[test]
    fn a_seal_opens_for_its_own_block_only() {
        for seals in [Seals::Encrypted, Seals::Checksummed] {
            let sealer = Sealer::new(seals).expect("randomness");
            let mut data = *b"some bytes";
            let mut tag = vec![0; seals.block_tag()];
            let right = header(ID, 7, 300);
            sealer.seal(right, &mut data, &mut tag);
            assert_eq!(data == *b"some bytes", seals == Seals::Checksummed);
            let wrong = [
                header(Id { inode: 2, ..ID }, 7, 300),
                header(Id { index: 3, ..ID }, 7, 300),
                header(
                    Id {
                        generation: 4,
                        ..ID
                    },
                    7,
                    300,
                ),
                header(ID, 8, 300),
                header(ID, 7, 301),
                right.of_block(1),
            ];
            for other in wrong {
                assert_eq!(sealer.open(other, &mut data.clone(), &tag), Err(Broken));
            }
            let stranger = Sealer::new(seals).expect("randomness");
            assert_eq!(stranger.open(right, &mut data.clone(), &tag), Err(Broken));
            assert_eq!(sealer.open(right, &mut data, &tag), Ok(()));
            assert_eq!(data, *b"some bytes");
        }
    }

    #[test]
    fn every_bit_of_a_header_and_its_table_is_sealed() {
        for seals in [Seals::Encrypted, Seals::Checksummed] {
            let sealer = Sealer::new(seals).expect("randomness");
            let right = header(ID, 7, 300).of_block(HEADER_BLOCK);
            let table = [9; 16];
            let seal = sealer.seal_header(right, &table);
            assert_eq!(sealer.open_header(right, &table, &seal), Ok(()));
            for bit in 0..8 * TAG {
                let mut broken = seal;
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(sealer.open_header(right, &table, &broken), Err(Broken));
                let mut broken = table;
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(sealer.open_header(right, &broken, &seal), Err(Broken));
            }
            for bit in 0..8 * 44 {
                let mut broken = right;
                broken.0[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(sealer.open_header(broken, &table, &seal), Err(Broken));
            }
        }
    }
}
