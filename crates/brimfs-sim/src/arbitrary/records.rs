//! Payloads: records that make sense each by itself, bodies that do not, and anything else.

use brimfs::face::journal::{
    Content, Counters, Extent, Extents, Moved, Node, NodeKind, Overlay, Pages, Record, Segment,
    Time, Xattrs,
};

use super::source::Source;

const CHUNK: u64 = 1 << 20;
const NAMES: [&[u8]; 8] = [
    b"a",
    b"b",
    b"c",
    b"lost+found",
    b"damaged",
    b"..",
    b"x/y",
    b"\xff\n",
];

/// Adds records until the bytes say that it is enough.
pub(super) fn put(source: &mut Source<'_>, out: &mut Vec<u8>) {
    while !source.is_empty() {
        match source.byte() {
            0..20 => return,
            20..24 => out.extend_from_slice(source.take(9)),
            24..28 => {
                let (kind, len) = (0x81 + source.below(24) as u8, source.below(40) as usize);
                let body = source.take(len);
                out.extend_from_slice(&[kind, body.len() as u8]);
                out.extend_from_slice(body);
            }
            _ => put_record(source, out),
        }
    }
}

/// The record of a node of which nothing is told but its kind and length.
pub(super) fn node(number: u64, kind: NodeKind, len: u64) -> Record<'static> {
    Record::Node(Node {
        number,
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        links: 0,
        accessed: Time::default(),
        modified: Time::default(),
        changed: Time::default(),
        created: Time::default(),
        len,
        priority: 5,
        pinned: false,
        accesses: 0,
        xattrs: Xattrs::default(),
        target: &[],
    })
}

fn extent(source: &mut Source<'_>) -> Extent {
    let mut either = |usual: u64| match source.below(3) {
        0 => source.number(),
        _ => usual,
    };
    Extent {
        len: either(CHUNK),
        record_len: either(CHUNK),
        owner: either(2),
        generation: either(1),
        blocks: either(0),
        place: either(4096),
        stored: either(4096),
        offset: CHUNK.wrapping_mul(either(0)),
        segment: source.number(),
        index: source.number() as u32,
    }
}

fn overlay(node: u64, offset: u64, segment: u64, source: &mut Source<'_>) -> Record<'static> {
    Record::Overlay(Overlay {
        node,
        offset,
        layer: source.below(2) as u32,
        segment,
        place: 4096,
        stored: 4096 + 128,
        generation: 1,
        pages: Pages::from_words([source.number(), 0, 0, source.below(2)]),
    })
}

fn put_record(source: &mut Source<'_>, out: &mut Vec<u8>) {
    let extents = [extent(source), extent(source)];
    let pairs: [(&[u8], &[u8]); 2] = [(b"user.a", source.take(3)), (b"user.a", b"")];
    let (one, two) = (source.number(), source.number());
    let name = NAMES[source.below(8) as usize];
    let record = match source.below(16) {
        0..5 => {
            let kind = match source.below(4) {
                0 | 1 => NodeKind::Directory,
                2 => NodeKind::File,
                _ => NodeKind::Symlink,
            };
            let len = match kind {
                NodeKind::File => two,
                _ => 0,
            };
            match node(one, kind, len) {
                Record::Node(mut node) => {
                    if kind == NodeKind::Symlink {
                        node.target = name;
                    }
                    node.modified.seconds = source.number() as i64;
                    node.xattrs = Xattrs::new(&pairs[..source.below(3) as usize]);
                    Record::Node(node)
                }
                other => other,
            }
        }
        5..9 => Record::Entry {
            directory: one,
            name,
            child: two,
        },
        9 => Record::EntryGone {
            directory: one,
            name,
        },
        10 => Record::NodeGone { number: one },
        11 => Record::Content(Content {
            node: one,
            whole: source.below(2) == 0,
            extents: Extents::new(&extents[..source.below(3) as usize]),
        }),
        12 => Record::Inline {
            node: one,
            offset: two,
            bytes: source.take(20),
        },
        13 => Record::Hole {
            node: one,
            offset: two,
            len: source.number(),
        },
        14 => Record::Moved(Moved {
            node: one,
            offset: extents[0].offset,
            segment: two,
            place: 4096,
            stored: source.number(),
        }),
        _ => match source.below(4) {
            3 => overlay(one, extents[0].offset, two, source),
            0 => Record::Segment(Segment {
                number: one,
                len: two,
                sealed: true,
            }),
            1 => Record::SegmentGone { number: one },
            _ => Record::Counters(Counters {
                next_node: one,
                next_segment: two,
            }),
        },
    };
    // What cannot be written down is left out.
    let _ = record.encode(out);
}
