//! A store in a real directory: what is appended comes back, and what cannot be read is refused.

use std::path::Path;

use super::*;
use crate::base::sync::Arc;
use crate::io::directory::Directory;
use crate::io::real_directory::{Opening, RealDirectory};

const OPTIONS: Options = Options {
    file_bytes: 64 << 10,
    step_bytes: 16 << 10,
};

/// Numbers of nodes that came, by the group that they came in.
#[derive(Default)]
struct Seen {
    nodes: Vec<u64>,
    groups: Vec<u64>,
}

impl Visitor for Seen {
    fn restart(&mut self) {
        *self = Self::default();
    }

    fn record(&mut self, record: Record<'_>) -> Result<(), Fault> {
        if let Record::NodeGone { number } = record {
            self.nodes.push(number);
        }
        Ok(())
    }

    fn group(&mut self, number: u64) -> Result<(), Fault> {
        self.groups.push(number);
        Ok(())
    }
}

fn directory(path: &Path) -> Arc<dyn Directory> {
    Arc::new(RealDirectory::open(path, Opening::Create).expect("opened"))
}

fn open(directory: &Arc<dyn Directory>) -> (Writer, Seen) {
    let mut seen = Seen::default();
    let found = recover(&**directory, &mut seen).expect("readable");
    let writer = match found.identity {
        Some(_) => Writer::open(directory.clone(), &found, OPTIONS),
        None => Writer::create(directory.clone(), &found, Identity([1; 16]), OPTIONS),
    };
    (writer.expect("opened"), seen)
}

fn group(nodes: std::ops::Range<u64>) -> Group {
    let mut group = Group::new();
    for number in nodes {
        group.push(&Record::NodeGone { number }).expect("encoded");
    }
    group
}

#[test]
fn groups_come_back_in_order_over_files_and_openings() {
    let place = tempfile::tempdir().expect("a directory for tests");
    let directory = directory(place.path());
    let mut next = 0;
    for opening in 0..4 {
        let (mut writer, seen) = open(&directory);
        assert!(seen.nodes.iter().copied().eq(0..next));
        assert!(seen.groups.windows(2).all(|pair| pair[0] < pair[1]));
        for size in [1, 10, 30_000] {
            writer.append(&group(next..next + size)).expect("appended");
            next += size;
        }
        let position = writer.sync().expect("durable");
        assert_eq!(
            (position.group, position),
            (writer.last_group(), writer.durable())
        );
        if opening % 2 == 0 {
            writer.close().expect("closed");
        }
    }
    assert!(
        directory.list().expect("listed").len() > 4,
        "files were filled"
    );
}

#[test]
fn a_checkpoint_takes_the_place_of_what_it_covers() {
    let place = tempfile::tempdir().expect("a directory for tests");
    let directory = directory(place.path());
    let (mut writer, _) = open(&directory);
    writer.append(&group(0..50_000)).expect("appended");
    writer.append(&group(50_000..100_000)).expect("appended");
    let position = writer.sync().expect("durable");
    let mut image =
        CheckpointWriter::begin(directory.clone(), writer.identity(), position).expect("begun");
    for number in 0..100_000 {
        image.push(&Record::NodeGone { number }).expect("added");
    }
    // The journal goes on meanwhile.
    writer.append(&group(100_000..100_001)).expect("appended");
    writer.sync().expect("durable");
    let covered = image.finish().expect("current");
    assert_eq!(covered.position(), position);
    assert!(covered.remove().expect("removed") > 0);
    drop(writer);
    let (_, seen) = open(&directory);
    assert!(seen.nodes.iter().copied().eq(0..100_001));
    assert_eq!(seen.groups, [2, 3]);
}

#[test]
fn an_abandoned_checkpoint_leaves_nothing() {
    let place = tempfile::tempdir().expect("a directory for tests");
    let directory = directory(place.path());
    let (mut writer, _) = open(&directory);
    let begin = |position| CheckpointWriter::begin(directory.clone(), Identity([1; 16]), position);
    let early = begin(writer.durable()).expect_err("there is no group yet");
    assert_eq!(early.kind(), ErrorKind::InvalidArgument);
    writer.append(&group(0..1)).expect("appended");
    let position = writer.sync().expect("durable");
    let before = directory.list().expect("listed");
    let mut image = begin(position).expect("begun");
    image.push(&Record::NodeGone { number: 1 }).expect("added");
    drop(image);
    assert_eq!(directory.list().expect("listed"), before);
}

#[test]
fn another_format_and_unknown_records_are_refused_by_name() {
    let place = tempfile::tempdir().expect("a directory for tests");
    let directory = directory(place.path());
    let (mut writer, _) = open(&directory);
    let mut group = group(0..3);
    group.push_raw(17, b"x");
    writer.append(&group).expect("appended");
    writer.sync().expect("durable");
    let (mut writer, seen) = open(&directory);
    assert_eq!(
        seen.nodes,
        [0, 1, 2],
        "what need not be known is passed over"
    );

    group.push_raw(RESERVED_KINDS[1], b"x");
    writer.append(&group).expect("appended");
    let refused = recover(&*directory, &mut Seen::default()).expect_err("a snapshot");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let text = refused.during("open").to_string();
    assert!(
        text.contains("journal-0000000000000002, offset 4096") && text.contains("kind 17"),
        "{text}"
    );

    drop(writer);
    let file = place.path().join("journal-0000000000000001");
    let mut bytes = std::fs::read(&file).expect("read");
    bytes[8] = 2;
    // With the checksum of format 1 it would be that one, damaged.
    bytes[60] ^= 1;
    std::fs::write(&file, &bytes).expect("written");
    let refused = recover(&*directory, &mut Seen::default()).expect_err("format 2");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let text = refused.during("open").to_string();
    assert!(
        text.contains("journal-0000000000000001 has format 2"),
        "{text}"
    );
}

#[test]
fn a_store_is_neither_created_twice_nor_opened_before() {
    let place = tempfile::tempdir().expect("a directory for tests");
    let directory = directory(place.path());
    let found = recover(&*directory, &mut Seen::default()).expect("readable");
    let early = Writer::open(directory.clone(), &found, OPTIONS).expect_err("no store");
    assert_eq!(early.kind(), ErrorKind::InvalidArgument);
    drop(open(&directory));
    let found = recover(&*directory, &mut Seen::default()).expect("readable");
    let again = Writer::create(directory, &found, Identity([2; 16]), OPTIONS);
    assert_eq!(
        again.expect_err("a store").kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn a_group_that_is_too_long_is_refused_before_it_is_built() {
    let place = tempfile::tempdir().expect("a directory for tests");
    let (mut writer, _) = open(&directory(place.path()));
    let refused = writer.reserve(GROUP_BYTES_MAX + 1).expect_err("too long");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    writer.append(&group(0..1)).expect("nothing is wrong");
}
