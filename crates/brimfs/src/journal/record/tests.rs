//! Round trips, and decoding of what nobody wrote.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::base::pages::Pages;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A record that owns what the real one borrows.
#[derive(Clone, Debug)]
struct Owned {
    which: u8,
    numbers: [u64; 7],
    small: [u32; 4],
    times: [(i64, u32); 4],
    bytes: Vec<u8>,
    pairs: Pairs,
    extents: Vec<Extent>,
    bit: bool,
}

fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
}

fn time() -> impl Strategy<Value = (i64, u32)> {
    let seconds = prop_oneof![3 => 1_600_000_000i64..1_900_000_000, 1 => any::<i64>()];
    (seconds, 0..1_000_000_000u32)
}

fn extent() -> impl Strategy<Value = Extent> {
    (
        [number(), number(), number(), number(), number(), number()],
        [number(), number(), number()],
        any::<u32>(),
    )
        .prop_map(
            |(
                [offset, len, segment, place, stored, generation],
                [record_len, owner, blocks],
                index,
            )| Extent {
                offset: offset >> 2,
                len: len >> 2,
                segment,
                place: place >> 2,
                stored: stored >> 2,
                record_len,
                owner,
                index,
                generation,
                blocks,
            },
        )
}

fn owned() -> impl Strategy<Value = Owned> {
    let numbers = std::array::from_fn::<_, 7, _>(|_| number());
    let times = std::array::from_fn::<_, 4, _>(|_| time());
    let pairs = vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..200)), 0..3);
    (
        0..18u8,
        numbers,
        any::<[u32; 4]>(),
        times,
        vec(1..=255u8, 1..300),
        pairs,
        vec(extent(), 0..20),
        any::<bool>(),
    )
        .prop_map(
            |(which, numbers, small, times, bytes, pairs, extents, bit)| Owned {
                which,
                numbers,
                small,
                times,
                bytes,
                pairs,
                extents,
                bit,
            },
        )
}

/// Lends the record that `owned` stands for to `use_it`.
fn with_record<R>(owned: &Owned, use_it: impl FnOnce(Record<'_>) -> R) -> R {
    let [a, b, c, ..] = owned.numbers;
    let name: Vec<u8> = owned
        .bytes
        .iter()
        .map(|byte| byte | 0x80)
        .take(255)
        .collect();
    let name = &name[..];
    let record = match owned.which {
        0..=2 => return with_node(owned, |node| use_it(Record::Node(node))),
        3 => Record::NodeGone { number: a },
        4 => Record::Entry {
            directory: a,
            name,
            child: b,
        },
        5 => Record::EntryGone { directory: a, name },
        6 => {
            let extents = Extents::new(&owned.extents);
            Record::Content(Content {
                node: a,
                whole: owned.bit,
                extents,
            })
        }
        7 => Record::Inline {
            node: a,
            offset: b >> 2,
            bytes: &owned.bytes,
        },
        8 => Record::Hole {
            node: a,
            offset: b >> 2,
            len: c >> 2,
        },
        9 => Record::Segment(Segment {
            number: a,
            len: b,
            sealed: owned.bit,
        }),
        10 => Record::SegmentGone { number: a },
        11 => Record::Moved(Moved {
            node: a,
            offset: b >> 2,
            segment: c,
            place: b,
            stored: a,
        }),
        12 => Record::Seen {
            node: a,
            stamp: stamp(owned),
        },
        13 => Record::Sums {
            node: a,
            first: b,
            sums: &owned.bytes[..owned.bytes.len() / 4 * 4],
        },
        14 => Record::Redo(redo(owned, name)),
        15 => Record::Applied,
        16 => Record::Overlay(Overlay {
            node: a,
            offset: b >> 2,
            layer: c as u32,
            segment: c,
            place: b >> 2,
            stored: c >> 2,
            generation: a,
            pages: Pages::from_words([a, b, c, 1]),
        }),
        _ => Record::Counters(Counters {
            next_node: a,
            next_segment: b,
        }),
    };
    use_it(record)
}

fn stamp(owned: &Owned) -> HostStamp {
    let [modified, changed, ..] = owned.times.map(|(seconds, nanos)| Time { seconds, nanos });
    HostStamp {
        inode: owned.numbers[1],
        len: owned.numbers[2],
        modified,
        changed,
    }
}

fn redo<'a>(owned: &Owned, path: &'a [u8]) -> Redo<'a> {
    let [a, b, ..] = owned.numbers;
    let [mode, uid, gid, _] = owned.small;
    match b % 6 {
        0 => Redo::Move {
            from: path,
            to: b"to/here",
            inode: a,
        },
        1 => Redo::MakeDirectory { path, mode },
        2 => Redo::Place {
            temporary: a,
            to: path,
        },
        3 => Redo::Remove { path, inode: a },
        4 => Redo::RemoveDirectory { path, inode: a },
        _ => Redo::Attributes {
            path,
            inode: a,
            mode,
            owner: (uid, gid),
            modified: owned.bit.then(|| stamp(owned).modified),
        },
    }
}

fn with_node<R>(owned: &Owned, use_it: impl FnOnce(Node<'_>) -> R) -> R {
    let pairs: Vec<(&[u8], &[u8])> = owned
        .pairs
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    let [accessed, modified, changed, created] =
        owned.times.map(|(seconds, nanos)| Time { seconds, nanos });
    let [mode, uid, gid, priority] = owned.small;
    let kind = [NodeKind::File, NodeKind::Directory, NodeKind::Symlink][owned.which as usize];
    use_it(Node {
        number: owned.numbers[0],
        kind,
        mode,
        uid,
        gid,
        links: owned.numbers[1],
        accessed,
        modified,
        changed,
        created,
        len: owned.numbers[2],
        priority: (priority % 11) as u8,
        pinned: priority % 2 == 1,
        accesses: owned.numbers[3],
        xattrs: Xattrs::new(&pairs),
        target: if kind == NodeKind::Symlink {
            &owned.bytes
        } else {
            &[]
        },
    })
}

fn encoded(all: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for owned in all {
        with_record(owned, |record| {
            record.encode(&mut bytes).expect("a record that can be")
        });
    }
    bytes
}

proptest! {
    #[test]
    fn records_come_back(all in vec(owned(), 0..20)) {
        let bytes = encoded(&all);
        let mut records = Records::new(&bytes);
        for owned in &all {
            let found = records.next().expect("as many as were put in").expect("well formed");
            with_record(owned, |record| {
                prop_assert_eq!(found, record);
                Ok(())
            })?;
        }
        prop_assert!(records.next().is_none());
    }

    #[test]
    fn changed_bytes_are_read_without_a_panic(
        all in vec(owned(), 1..5), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut: prop::sample::Index,
    ) {
        let mut bytes = encoded(&all);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(1 + cut.index(bytes.len()));
        walk(&bytes);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(kind in 0x81..=0x8eu8, body in vec(any::<u8>(), 0..200)) {
        if let Ok(Some(record)) = Record::decode(kind, &body) {
            let mut again = Vec::new();
            // Only the lengths of numbers can differ: what was decoded can be encoded.
            record.encode(&mut again).expect("decoded before");
        }
        walk(&body);
    }
}

fn walk(bytes: &[u8]) {
    for record in Records::new(bytes).flatten() {
        match record {
            Record::Content(content) => {
                assert_eq!(content.extents.iter().count() as u64, content.extents.len())
            }
            Record::Node(node) => assert_eq!(node.xattrs.iter().count() as u64, node.xattrs.len()),
            _ => {}
        }
    }
}

#[test]
fn unknown_kinds_are_refused_if_they_are_critical_and_passed_over_if_not() {
    let mut bytes = vec![5, 2, 0, 0];
    Record::NodeGone { number: 7 }
        .encode(&mut bytes)
        .expect("encoded");
    let found: Vec<_> = Records::new(&bytes).collect();
    assert_eq!(found, [Ok(Record::NodeGone { number: 7 })]);

    for kind in RESERVED_KINDS {
        let refused = Records::new(&[kind, 0])
            .next()
            .expect("one")
            .expect_err("unknown");
        assert_eq!(refused, RecordError::Unknown { kind });
        let text = refused.to_string();
        assert!(
            text.contains(&format!("kind {}", kind & 0x7f)) && text.contains("format 1"),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_is_not_encoded() {
    let mut bytes = vec![1];
    let entry = |name| Record::Entry {
        directory: 1,
        name,
        child: 2,
    };
    let long = [b'x'; 256];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
        let refused = entry(name).encode(&mut bytes).expect_err("no name");
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
    let beyond = Record::Hole {
        node: 1,
        offset: FILE_END_MAX,
        len: 1,
    };
    assert!(beyond.encode(&mut bytes).is_err());
    let large = vec![0; RECORD_BYTES_MAX as usize];
    assert!(
        Record::Inline {
            node: 1,
            offset: 0,
            bytes: &large
        }
        .encode(&mut bytes)
        .is_err()
    );
    assert_eq!(bytes, [1], "nothing is left of what was refused");
}

#[test]
fn a_small_file_takes_few_bytes() {
    let time = |nanos| Time {
        seconds: 1_700_000_000,
        nanos,
    };
    let mut bytes = Vec::new();
    let node = Node {
        number: 1_000_000,
        kind: NodeKind::File,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        links: 1,
        accessed: time(5),
        modified: time(900),
        changed: time(900),
        created: time(5),
        len: 100,
        priority: 5,
        pinned: false,
        accesses: 0,
        xattrs: Xattrs::default(),
        target: &[],
    };
    Record::Node(node).encode(&mut bytes).expect("encoded");
    assert!(bytes.len() <= 32, "{} bytes", bytes.len());
}
