//! The files of a store, written as docs/format.md draws them; now and then with another number in a field.

use brimfs::face::disk::Directory;
use brimfs::face::journal::{Content, Extent, Extents, NodeKind, Overlay, Pages, Record};

use super::records;
use super::source::Source;
use crate::medium::Medium;

const BLOCK: usize = 4096;
const CHUNK: u64 = 1 << 20;
/// Content between two checksums, in bytes.
const PIECE: usize = 16 << 10;
/// The number in the header of a record that stands where a piece has its own.
const NO_PIECE: u32 = u32::MAX;

/// Puts the fields of a header one behind the other.
struct Fields(Vec<u8>);

impl Fields {
    fn new(magic: &[u8]) -> Self {
        Fields(magic.to_vec())
    }

    fn u32(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&(number as u32).to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The checksum of all before it, at the end.
    fn sealed(self) -> Vec<u8> {
        let checksum = crc32c::crc32c(&self.0);
        self.u32(checksum.into()).0
    }
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put(medium: &Medium, name: &str, content: Vec<u8>) {
    if medium.names().iter().any(|there| there == name) {
        medium.lose(name);
    }
    drop(medium.create(name).expect("created"));
    medium.damage(name, |bytes| *bytes = content);
}

/// Goes on where it was, from file to file.
pub(super) struct Writer {
    identity: [u8; 16],
    /// Of the last journal file.
    file: u64,
    /// Of the last group.
    group: u64,
    /// The checksum in its header.
    chain: u32,
}

impl Writer {
    pub(super) fn new(identity: u8) -> Self {
        Writer {
            identity: [identity; 16],
            file: 0,
            group: 0,
            chain: 0,
        }
    }

    fn file_header(&self, source: &mut Source<'_>) -> Vec<u8> {
        let header = Fields::new(b"brimjrnl").u32(source.twisted(1)).u32(0);
        let header = header.bytes(&self.identity).u64(source.twisted(self.file));
        let header = header.u64(source.twisted(self.group + 1));
        let mut header = header
            .u32(source.twisted(self.chain.into()))
            .u64(0)
            .sealed();
        header.resize(BLOCK, 0);
        header
    }

    /// A group with a payload, or with another `kind`.
    fn group(&mut self, kind: u64, payload: &[u8], source: &mut Source<'_>) -> Vec<u8> {
        let number = self.group + 1;
        let header = Fields::new(b"brmg").u32(source.twisted(kind));
        let header = header.bytes(&self.identity).u64(source.twisted(self.file));
        let header = header.u64(source.twisted(number));
        let header = header.u64(source.twisted(self.group));
        let header = header.u64(source.twisted(payload.len() as u64)).u32(1);
        let header = header.u32(source.twisted(self.chain.into()));
        let checksum = crc32c::crc32c(payload);
        let header = header.u32(source.twisted(checksum.into())).u64(0);
        let mut group = header.sealed();
        if kind < 2 {
            self.group = number;
            self.chain = u32::from_le_bytes(group[76..80].try_into().expect("four"));
        }
        group.extend_from_slice(payload);
        pad(&mut group, BLOCK);
        group
    }

    pub(super) fn journal_file(&mut self, medium: &Medium, source: &mut Source<'_>) {
        self.file += 1;
        let mut content = self.file_header(source);
        for _ in 0..source.below(4) {
            let mut payload = Vec::new();
            if self.group == 0 && source.twisted(0) == 0 {
                let root = records::node(1, NodeKind::Directory, 0);
                root.encode(&mut payload).expect("a root");
            }
            records::put(source, &mut payload);
            content.extend(self.group(0, &payload, source));
        }
        match source.below(4) {
            0 => content.extend(self.group(1, &[], source)),
            1 => content.extend(self.group(2, &[], source)),
            2 => content.extend_from_slice(source.take(100)),
            _ => {}
        }
        let name = format!("journal-{:016x}", source.twisted(self.file));
        put(medium, &name, content);
    }

    /// A journal with one group.
    pub(super) fn journal_with(&mut self, medium: &Medium, payload: &[u8]) {
        let nothing = &mut Source(&[]);
        self.file += 1;
        let mut whole = Vec::new();
        let root = records::node(1, NodeKind::Directory, 0);
        root.encode(&mut whole).expect("a root");
        whole.extend_from_slice(payload);
        let mut content = self.file_header(nothing);
        content.extend(self.group(0, &whole, nothing));
        content.extend(self.group(1, &[], nothing));
        put(medium, &format!("journal-{:016x}", self.file), content);
    }

    pub(super) fn checkpoint(&mut self, medium: &Medium, source: &mut Source<'_>) {
        self.group = 1 + source.below(8);
        self.chain = source.byte().into();
        self.file = source.below(3);
        let header = Fields::new(b"brimckpt").u32(source.twisted(1)).u32(0);
        let header = header.bytes(&self.identity);
        let header = header.u64(source.twisted(self.group));
        let header = header.u64(source.twisted(self.file + 1));
        let header = header.u64(source.twisted(BLOCK as u64));
        let mut content = header.u32(self.chain.into()).sealed();
        let checksum = u32::from_le_bytes(content[60..64].try_into().expect("four"));
        content.resize(BLOCK, 0);
        let (mut bytes, mut records) = (0, 0);
        let frames = source.below(4);
        for index in 0..=frames {
            let mut payload = Vec::new();
            if index == 0 {
                let root = records::node(1, NodeKind::Directory, 0);
                root.encode(&mut payload).expect("a root");
            }
            let is_footer = index == frames;
            if is_footer {
                payload = Fields::new(&[])
                    .u64(source.twisted(records))
                    .u64(source.twisted(bytes))
                    .0;
            } else {
                records::put(source, &mut payload);
            }
            let all = brimfs::face::journal::Records::new(&payload);
            records += all.take_while(Result::is_ok).count() as u64;
            bytes += payload.len() as u64;
            let frame = Fields::new(b"brmf").u32(source.twisted(1 + u64::from(is_footer)));
            let frame = frame.u64(source.twisted(index));
            let frame = frame.u64(source.twisted(payload.len() as u64));
            let frame = frame.u32(source.twisted(checksum.into()));
            let frame = frame.u32(source.twisted(crc32c::crc32c(&payload).into()));
            content.extend(frame.u32(1).u64(0).sealed());
            content.extend_from_slice(&payload);
            pad(&mut content, BLOCK);
        }
        let name = format!("checkpoint-{:016x}", source.twisted(self.group));
        put(medium, &name, content);
    }

    /// Segments with records, and what would refer to them.
    pub(super) fn segments(&self, medium: &Medium, source: &mut Source<'_>) -> Vec<Extent> {
        let mut extents = Vec::new();
        for serial in 0..1 + source.below(2) {
            let header = Fields::new(b"brimsegm").u32(source.twisted(1)).u32(0);
            let header = header.bytes(&self.identity).u64(source.twisted(serial));
            let mut content = header.bytes(&[0; 20]).sealed();
            content.resize(BLOCK, 0);
            for _ in 0..source.below(4) {
                extents.push(self.record(serial, &mut content, source));
            }
            pad(&mut content, BLOCK);
            let cut = source.twisted(content.len() as u64) as usize;
            content.truncate(cut);
            put(medium, &format!("segment-{serial:016x}"), content);
        }
        extents
    }

    /// A record, compressed as it says or not, with content of little variety.
    fn record(&self, segment: u64, content: &mut Vec<u8>, source: &mut Source<'_>) -> Extent {
        let place = content.len() as u64;
        let len = 1 + 300 * source.below(256) as usize + source.below(256) as usize;
        let pieces = len.div_ceil(PIECE);
        let is_packed = source.below(2) == 0;
        let (mut table, mut parts) = (Vec::new(), Vec::new());
        for piece in 0..pieces {
            let whole = PIECE.min(len - piece * PIECE);
            let few = 1 + source.below(64) as usize;
            let stored = match is_packed {
                // Blocks that nobody compressed: most do not come apart.
                true => source.take(few).to_vec(),
                false => vec![source.byte(); whole],
            };
            let size = source.twisted(stored.len() as u64) as u16;
            table.extend_from_slice(&size.to_le_bytes());
            parts.push(stored);
        }
        match is_packed {
            true => pad(&mut table, 16),
            false => table.clear(),
        }
        let tags = 4 * pieces;
        let stored = 64 + table.len() + parts.iter().map(Vec::len).sum::<usize>() + tags;
        let units = stored.div_ceil(16) as u64;
        let extent = Extent {
            offset: CHUNK * source.below(3),
            len: source.twisted(len as u64),
            segment: source.twisted(segment),
            place: source.twisted(place),
            stored: source.twisted(16 * units),
            record_len: source.twisted(len as u64),
            owner: [2, 3, 1 << 63 | 5, 1 << 63 | 6][source.below(4) as usize],
            index: source.below(2) as u32,
            generation: source.twisted(1),
            blocks: 0,
        };
        let header = |piece: u32| {
            let header = Fields::new(b"bs\x01\x01").u32(is_packed.into());
            let header = header.u64(extent.owner).u64(extent.generation);
            let header = header.u32(extent.index.into()).u32(len as u64).u32(units);
            header.u32(segment).u32(place / 16).u32(piece.into()).0
        };
        let salt = crc32c::crc32c(&self.identity);
        let seal = |header: &[u8], bytes: &[u8]| {
            crc32c::crc32c_append(crc32c::crc32c_append(salt, header), bytes)
        };
        let mut record = header(NO_PIECE);
        let checksum = seal(&record, &table);
        record.extend_from_slice(&checksum.to_le_bytes());
        record.resize(64, 0);
        record.extend_from_slice(&table);
        for (piece, part) in parts.iter().enumerate() {
            let checksum = seal(&header(piece as u32), part);
            record.extend_from_slice(part);
            let checksum = source.twisted(checksum.into()) as u32;
            record.extend_from_slice(&checksum.to_le_bytes());
        }
        content.extend_from_slice(&record);
        pad(content, 16);
        extent
    }

    /// A journal with one file or two that have these extents.
    pub(super) fn journal_of(
        &mut self,
        medium: &Medium,
        extents: &[Extent],
        source: &mut Source<'_>,
    ) {
        let mut payload = Vec::new();
        let names: [&[u8]; 2] = [b"a", b"b"];
        for (number, name) in (2..4).zip(names) {
            let end = extents
                .iter()
                .map(|extent| extent.offset.saturating_add(extent.len));
            let len = source.twisted(end.max().unwrap_or(0));
            let file = records::node(number, NodeKind::File, len.min(1 << 40));
            let content = Record::Content(Content {
                node: number,
                whole: true,
                extents: Extents::new(extents),
            });
            let entry = Record::Entry {
                directory: 1,
                name,
                child: number,
            };
            for record in [file, content, entry] {
                // Extents that cannot be written down are left out, all of them.
                let _ = record.encode(&mut payload);
            }
            if let [base, rest @ ..] = extents {
                for (layer, over) in rest.iter().enumerate() {
                    let overlay = Record::Overlay(Overlay {
                        node: number,
                        offset: base.offset,
                        layer: source.twisted(layer as u64) as u32,
                        segment: over.segment,
                        place: over.place,
                        stored: over.stored,
                        generation: over.generation,
                        pages: Pages::from_words([1 | source.number(), 0, 0, 0]),
                    });
                    let _ = overlay.encode(&mut payload);
                }
            }
            if source.below(2) == 0 {
                break;
            }
        }
        records::put(source, &mut payload);
        self.journal_with(medium, &payload);
    }
}

/// Files with names and beginnings of a store's, and any bytes behind them.
pub(super) fn any_files(medium: &Medium, source: &mut Source<'_>) {
    const KINDS: [(&str, &[u8]); 3] = [
        ("journal-", b"brimjrnl\x01\0\0\0"),
        ("checkpoint-", b"brimckpt\x01\0\0\0"),
        ("segment-", b"brimsegm\x01\0\0\0"),
    ];
    while !source.is_empty() {
        let what = source.byte();
        let (prefix, magic) = KINDS[usize::from(what) % 3];
        let number = source.number();
        let len = usize::from(source.byte()) * 64;
        let mut content = match what & 0x40 {
            0 => magic.to_vec(),
            _ => Vec::new(),
        };
        content.extend_from_slice(source.take(len));
        if what & 0x80 == 0 {
            pad(&mut content, BLOCK);
        }
        put(medium, &format!("{prefix}{number:016x}"), content);
    }
}
