//! How journal files, groups and checkpoints are framed: names, headers, checksums. Pure, no I/O.
//!
//! docs/format.md draws the layouts. Numbers are little-endian, checksums CRC32C. A header is valid
//! only if encoding what it says gives the same bytes, so unused bytes are zero and every bit counts.

use crate::io::disk::ALIGNMENT;

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// Everything begins at a multiple of this, in bytes: an append never writes to a block that
/// holds something older.
pub const BLOCK: u64 = ALIGNMENT as u64;
/// The longest payload of one group, in bytes.
pub const GROUP_BYTES_MAX: u64 = 256 << 20;
/// The longest body of one record, in bytes.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;
/// The largest number of a group or a file: none is ever reached by counting.
pub(super) const NUMBER_MAX: u64 = 1 << 62;
/// More groups and files than anybody writes before a store is opened again.
pub(super) const NUMBERS_AHEAD: u64 = 1 << 48;
/// Where the first group of a journal file and the first frame of a checkpoint lie.
pub(super) const FIRST: u64 = BLOCK;
/// A checkpoint that is being written.
pub(super) const CHECKPOINT_UNFINISHED: &str = "checkpoint.new";

pub(super) const FILE_HEADER: usize = 64;
pub(super) const GROUP_HEADER: usize = 80;
pub(super) const FRAME_HEADER: usize = 48;
pub(super) const FOOTER: usize = 16;

const JOURNAL_MAGIC: [u8; 8] = *b"brimjrnl";
const CHECKPOINT_MAGIC: [u8; 8] = *b"brimckpt";
const GROUP_MAGIC: [u8; 4] = *b"brmg";
const FRAME_MAGIC: [u8; 4] = *b"brmf";

const JOURNAL_PREFIX: &str = "journal-";
const CHECKPOINT_PREFIX: &str = "checkpoint-";

/// The random number that all files of one store bear, so that those of another are never taken
/// for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub [u8; 16]);

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// Where the operating system has no randomness.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Identity(bytes))
    }
}

/// A place between two groups: what comes next goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the last group before it; 0 before the first.
    pub group: u64,
    /// Number of the journal file.
    pub file: u64,
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Checksum of the header of the last group before it; 0 before the first.
    pub chain: u32,
}

impl Position {
    /// Before everything.
    pub(super) const GENESIS: Position = Position {
        group: 0,
        file: 0,
        offset: 0,
        chain: 0,
    };
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// They are those of another format.
    Format(u32),
    Damaged,
}

/// What stands at the beginning of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) identity: Identity,
    pub(super) file: u64,
    pub(super) first_group: u64,
    /// Checksum of the header of the group before the first.
    pub(super) chain: u32,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut header = Encoder::new();
        header.bytes(&JOURNAL_MAGIC).u32(FORMAT).u32(0);
        header
            .bytes(&self.identity.0)
            .u64(self.file)
            .u64(self.first_group);
        header.u32(self.chain).u64(0);
        header.sealed()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        check_format(bytes, JOURNAL_MAGIC)?;
        let decoded = FileHeader {
            identity: identity_at(bytes, 16).ok_or(BadHeader::Damaged)?,
            file: u64_at(bytes, 32).ok_or(BadHeader::Damaged)?,
            first_group: u64_at(bytes, 40).ok_or(BadHeader::Damaged)?,
            chain: u32_at(bytes, 48).ok_or(BadHeader::Damaged)?,
        };
        let sane = is_number(decoded.file) && is_number(decoded.first_group);
        if sane && bytes.starts_with(&decoded.encode()) {
            return Ok(decoded);
        }
        Err(BadHeader::Damaged)
    }
}

/// What stands at the beginning of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CheckpointHeader {
    pub(super) identity: Identity,
    /// Behind the last group that the image contains.
    pub(super) position: Position,
}

impl CheckpointHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut header = Encoder::new();
        header.bytes(&CHECKPOINT_MAGIC).u32(FORMAT).u32(0);
        header.bytes(&self.identity.0).u64(self.position.group);
        header.u64(self.position.file).u64(self.position.offset);
        header.u32(self.position.chain);
        header.sealed()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        check_format(bytes, CHECKPOINT_MAGIC)?;
        let decoded = CheckpointHeader {
            identity: identity_at(bytes, 16).ok_or(BadHeader::Damaged)?,
            position: Position {
                group: u64_at(bytes, 32).ok_or(BadHeader::Damaged)?,
                file: u64_at(bytes, 40).ok_or(BadHeader::Damaged)?,
                offset: u64_at(bytes, 48).ok_or(BadHeader::Damaged)?,
                chain: u32_at(bytes, 56).ok_or(BadHeader::Damaged)?,
            },
        };
        let Position {
            group,
            file,
            offset,
            ..
        } = decoded.position;
        let sane = is_number(group) && is_number(file) && offset.is_multiple_of(BLOCK);
        if sane && bytes.starts_with(&decoded.encode()) {
            return Ok(decoded);
        }
        Err(BadHeader::Damaged)
    }

    /// What binds the frames of the checkpoint to it.
    pub(super) fn checksum(&self) -> u32 {
        checksum_of(&self.encode())
    }
}

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupKind {
    /// Records.
    Records,
    /// Written when the store was closed; has no payload.
    Closing,
    /// No group, but where the next one would be: the journal goes on in the next file, which is durable.
    Continued,
}

/// What stands before the payload of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) identity: Identity,
    pub(super) file: u64,
    pub(super) number: u64,
    /// The last group that was known to be durable when this one was written.
    pub(super) durable: u64,
    /// Bytes of payload behind the header.
    pub(super) len: u64,
    pub(super) kind: GroupKind,
    /// Checksum of the header of the group before.
    pub(super) chain: u32,
    pub(super) payload: u32,
}

impl GroupHeader {
    pub(super) fn encode(&self) -> [u8; GROUP_HEADER] {
        let mut header = Encoder::new();
        header.bytes(&GROUP_MAGIC).u32(self.kind as u32);
        header.bytes(&self.identity.0).u64(self.file);
        header.u64(self.number).u64(self.durable).u64(self.len);
        header.u32(FORMAT).u32(self.chain).u32(self.payload).u64(0);
        header.sealed()
    }

    /// The header and its checksum. O(1), and cheap for what is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        if !bytes.starts_with(&GROUP_MAGIC) {
            return None;
        }
        let decoded = GroupHeader {
            kind: match u32_at(bytes, 4)? {
                0 => GroupKind::Records,
                1 => GroupKind::Closing,
                2 => GroupKind::Continued,
                _ => return None,
            },
            identity: identity_at(bytes, 8)?,
            file: u64_at(bytes, 24)?,
            number: u64_at(bytes, 32)?,
            durable: u64_at(bytes, 40)?,
            len: u64_at(bytes, 48)?,
            chain: u32_at(bytes, 60)?,
            payload: u32_at(bytes, 64)?,
        };
        let encoded = decoded.encode();
        let numbers = is_number(decoded.file) && is_number(decoded.number);
        let sane = numbers && decoded.durable < decoded.number && decoded.len <= GROUP_BYTES_MAX;
        (sane && bytes.starts_with(&encoded)).then(|| (decoded, checksum_of(&encoded)))
    }
}

/// Bytes that a group with a payload of `len` bytes takes in the journal, its padding included.
pub(super) fn group_bytes(len: u64) -> u64 {
    (GROUP_HEADER as u64 + len).next_multiple_of(BLOCK)
}

/// What a frame of a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Records,
    Footer,
}

/// What stands before the payload of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: FrameKind,
    /// Counted from 0.
    pub(super) index: u64,
    /// The checkpoint that it belongs to.
    pub(super) checkpoint: u32,
    /// Bytes of payload behind the header.
    pub(super) len: u64,
    pub(super) payload: u32,
}

impl FrameHeader {
    /// Where the payload of a frame at `offset` begins, and how long the frame is with its padding.
    pub(super) fn payload_at(offset: u64, len: u64) -> (u64, u64) {
        let start = FRAME_HEADER as u64;
        (offset + start, (start + len).next_multiple_of(BLOCK))
    }
}

/// The longest payload of a frame: one record goes into one frame.
pub(super) const FRAME_BYTES_MAX: u64 = RECORD_BYTES_MAX + 16;

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut header = Encoder::new();
        let kind = match self.kind {
            FrameKind::Records => 1,
            FrameKind::Footer => 2,
        };
        header.bytes(&FRAME_MAGIC).u32(kind).u64(self.index);
        header.u64(self.len).u32(self.checkpoint).u32(self.payload);
        header.u32(FORMAT).u64(0);
        header.sealed()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let decoded = FrameHeader {
            kind: match u32_at(bytes, 4)? {
                1 => FrameKind::Records,
                2 => FrameKind::Footer,
                _ => return None,
            },
            index: u64_at(bytes, 8)?,
            len: u64_at(bytes, 16)?,
            checkpoint: u32_at(bytes, 24)?,
            payload: u32_at(bytes, 28)?,
        };
        let sane = decoded.len <= FRAME_BYTES_MAX;
        (sane && bytes.starts_with(&decoded.encode())).then_some(decoded)
    }
}

/// The payload of the last frame: what the frames before it hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) records: u64,
    /// Bytes of payload.
    pub(super) bytes: u64,
}

impl Footer {
    pub(super) fn encode(&self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        bytes[..8].copy_from_slice(&self.records.to_le_bytes());
        bytes[8..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == FOOTER).then_some(Footer {
            records: u64_at(bytes, 0)?,
            bytes: u64_at(bytes, 8)?,
        })
    }
}

/// Name of a journal file.
pub(super) fn journal_name(number: u64) -> String {
    format!("{JOURNAL_PREFIX}{number:016x}")
}

/// Name of the checkpoint as of a group.
pub(super) fn checkpoint_name(group: u64) -> String {
    format!("{CHECKPOINT_PREFIX}{group:016x}")
}

/// Whether a file of this name belongs to a journal.
pub(crate) fn is_file_name(name: &str) -> bool {
    journal_number(name).is_some() || checkpoint_group(name).is_some()
}

/// The number in the name of a journal file.
pub(super) fn journal_number(name: &str) -> Option<u64> {
    number(name.strip_prefix(JOURNAL_PREFIX)?).filter(|number| is_number(*number))
}

/// The group in the name of a checkpoint.
pub(super) fn checkpoint_group(name: &str) -> Option<u64> {
    number(name.strip_prefix(CHECKPOINT_PREFIX)?).filter(|group| is_number(*group))
}

fn is_number(number: u64) -> bool {
    (1..=NUMBER_MAX).contains(&number)
}

fn number(digits: &str) -> Option<u64> {
    let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 16 || !digits.bytes().all(plain) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// Another format can have another layout behind its number, so nothing else is looked at.
fn check_format(bytes: &[u8], magic: [u8; 8]) -> Result<(), BadHeader> {
    match u32_at(bytes, 8) {
        _ if !bytes.starts_with(&magic) => Err(BadHeader::Damaged),
        None | Some(0) => Err(BadHeader::Damaged),
        Some(FORMAT) => Ok(()),
        // A header that would be whole as one of this format is one, and its number is damaged.
        Some(_) if is_whole_as(bytes, FORMAT) => Err(BadHeader::Damaged),
        Some(other) => Err(BadHeader::Format(other)),
    }
}

fn is_whole_as(bytes: &[u8], format: u32) -> bool {
    let Some(header) = bytes.get(..FILE_HEADER) else {
        return false;
    };
    let mut header = header.to_vec();
    header[8..12].copy_from_slice(&format.to_le_bytes());
    u32_at(&header, FILE_HEADER - 4) == Some(crc32c::crc32c(&header[..FILE_HEADER - 4]))
}

/// The checksum at the end of a header.
fn checksum_of<const LEN: usize>(header: &[u8; LEN]) -> u32 {
    u32_at(header, LEN - 4).unwrap_or_default()
}

fn identity_at(bytes: &[u8], at: usize) -> Option<Identity> {
    let found = bytes.get(at..at + 16)?;
    Some(Identity(found.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let found = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(found.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let found = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(found.try_into().ok()?))
}

/// Puts the fields of a header one behind the other.
struct Encoder<const LEN: usize> {
    header: [u8; LEN],
    at: usize,
}

impl<const LEN: usize> Encoder<LEN> {
    fn new() -> Self {
        Encoder {
            header: [0; LEN],
            at: 0,
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.header[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    fn sealed(mut self) -> [u8; LEN] {
        debug_assert_eq!(self.at, LEN - 4, "the fields fill the header");
        let checksum = crc32c::crc32c(&self.header[..LEN - 4]);
        self.u32(checksum);
        self.header
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_say_what_was_put_in(
            identity: [u8; 16], numbers in [1..=NUMBER_MAX, 1..=NUMBER_MAX, 1..=NUMBER_MAX, 1..=NUMBER_MAX], chain: u32, payload: u32,
        ) {
            let [file, first_group, below, len] = numbers;
            let identity = Identity(identity);
            let header = FileHeader { identity, file, first_group, chain };
            prop_assert_eq!(FileHeader::decode(&header.encode()), Ok(header));

            let durable = below.min(first_group - 1);
            let len = len % (GROUP_BYTES_MAX + 1);
            let group = GroupHeader { identity, file, number: first_group, durable, len, kind: GroupKind::Closing, chain, payload };
            let encoded = group.encode();
            let checksum = u32::from_le_bytes(encoded[76..].try_into().expect("four"));
            prop_assert_eq!(GroupHeader::decode(&encoded), Some((group, checksum)));

            let position = Position { group: below, file, offset: len / BLOCK * BLOCK, chain };
            let checkpoint = CheckpointHeader { identity, position };
            prop_assert_eq!(CheckpointHeader::decode(&checkpoint.encode()), Ok(checkpoint));

            let len = len % (FRAME_BYTES_MAX + 1);
            let frame = FrameHeader { kind: FrameKind::Footer, index: below, checkpoint: chain, len, payload };
            prop_assert_eq!(FrameHeader::decode(&frame.encode()), Some(frame));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), which in 0..4usize) {
            let magic: &[u8] = [&JOURNAL_MAGIC[..], &CHECKPOINT_MAGIC, &GROUP_MAGIC, &FRAME_MAGIC][which];
            let some = magic.len().min(bytes.len());
            bytes[..some].copy_from_slice(&magic[..some]);
            prop_assert!(FileHeader::decode(&bytes).is_err());
            prop_assert!(CheckpointHeader::decode(&bytes).is_err());
            prop_assert!(GroupHeader::decode(&bytes).is_none());
            prop_assert!(FrameHeader::decode(&bytes).is_none());
            let _ = Footer::decode(&bytes);
        }

        #[test]
        fn names_keep_their_number(number in 1..=NUMBER_MAX) {
            prop_assert_eq!(journal_number(&journal_name(number)), Some(number));
            prop_assert_eq!(checkpoint_group(&checkpoint_name(number)), Some(number));
        }
    }

    #[test]
    fn every_bit_of_a_header_counts() {
        let identity = Identity([3; 16]);
        let file = FileHeader {
            identity,
            file: 1,
            first_group: 1,
            chain: 0,
        };
        let group = GroupHeader {
            identity,
            file: 1,
            number: 2,
            durable: 1,
            len: 10,
            kind: GroupKind::Records,
            chain: 5,
            payload: 6,
        };
        for bit in 0..FILE_HEADER * 8 {
            let mut bytes = file.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&bytes).is_err(), "bit {bit}");
        }
        for bit in 0..GROUP_HEADER * 8 {
            let mut bytes = group.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(GroupHeader::decode(&bytes), None, "bit {bit}");
        }
        let checkpoint = CheckpointHeader {
            identity,
            position: Position {
                group: 2,
                file: 1,
                offset: 2 * BLOCK,
                chain: 5,
            },
        };
        for bit in 0..FILE_HEADER * 8 {
            let mut bytes = checkpoint.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(CheckpointHeader::decode(&bytes).is_err(), "bit {bit}");
        }
        let frame = FrameHeader {
            kind: FrameKind::Records,
            index: 1,
            checkpoint: 5,
            len: 10,
            payload: 6,
        };
        for bit in 0..FRAME_HEADER * 8 {
            let mut bytes = frame.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let header = FileHeader {
            identity: Identity([3; 16]),
            file: 1,
            first_group: 1,
            chain: 0,
        };
        let mut bytes = header.encode();
        bytes[8] = 2;
        assert_eq!(FileHeader::decode(&bytes), Err(BadHeader::Damaged));
        // Another format has another checksum, at least.
        bytes[60] ^= 1;
        assert_eq!(FileHeader::decode(&bytes), Err(BadHeader::Format(2)));
        bytes[8] = 0;
        assert_eq!(FileHeader::decode(&bytes), Err(BadHeader::Damaged));
    }

    #[test]
    fn foreign_names_are_nobodys() {
        for name in [
            "journal-",
            "journal-1",
            "journal-000000000000000G",
            "journal-00000000000000001",
            "journal-000000000000000A",
            "journal-0000000000000000",
            "journal-+00000000000001",
            "lock",
            "checkpoint.new",
        ] {
            assert_eq!(journal_number(name), None, "{name}");
            assert_eq!(checkpoint_group(name), None, "{name}");
        }
    }
}
