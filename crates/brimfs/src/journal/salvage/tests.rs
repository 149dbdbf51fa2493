//! What is whole and stands in the wrong place, which only a look at all that it says of itself can tell.

use std::path::Path;

use super::super::{CheckpointWriter, Group, Options, Visitor, Writer, recover};
use super::*;
use crate::base::sync::Arc;
use crate::io::real_directory::{Opening, RealDirectory};

/// Two groups of a block fit in a file.
const OPTIONS: Options = Options {
    file_bytes: 20 << 10,
    step_bytes: 20 << 10,
};
const OURS: Identity = Identity([1; 16]);
const FOREIGN: Identity = Identity([2; 16]);
/// Content of a record in a checkpoint: a frame has room for one.
const CONTENT: usize = 200_000;

struct Nobody;

impl Visitor for Nobody {
    fn restart(&mut self) {}

    fn record(&mut self, _: Record<'_>) -> Result<(), Fault> {
        Ok(())
    }

    fn group(&mut self, _: u64) -> Result<(), Fault> {
        Ok(())
    }
}

/// A directory with a journal.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("a directory for tests"))
    }

    fn directory(&self) -> Arc<dyn Directory> {
        let opened = RealDirectory::open(self.0.path(), Opening::Create);
        Arc::new(opened.expect("opened"))
    }

    /// Groups with a node each, two to a file.
    fn journal(identity: Identity, nodes: &[u64]) -> Self {
        let place = Place::new();
        let found = recover(&*place.directory(), &mut Nobody).expect("empty");
        let mut writer =
            Writer::create(place.directory(), &found, identity, OPTIONS).expect("begun");
        for number in nodes {
            let mut group = Group::new();
            let record = Record::NodeGone { number: *number };
            group.push(&record).expect("encoded");
            writer.append(&group).expect("appended");
        }
        writer.sync().expect("durable");
        place
    }

    /// A checkpoint of one frame for each node, whose bytes are its number.
    fn checkpoint(group: u64, nodes: &[u8]) -> Self {
        let place = Place::new();
        let position = Position {
            group,
            ..Position::GENESIS
        };
        let begun = CheckpointWriter::begin(place.directory(), OURS, position);
        let mut image = begun.expect("begun");
        for node in nodes {
            let record = Record::Inline {
                node: u64::from(*node),
                offset: 0,
                bytes: &[*node; CONTENT],
            };
            image.push(&record).expect("added");
        }
        drop(image.finish().expect("current"));
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.0.path()).join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("read")
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(name);
        change(&mut bytes);
        std::fs::write(self.path(name), bytes).expect("written");
    }

    fn salvage(&self) -> Given {
        let mut given = Given::default();
        let found = salvage(&*self.directory(), &mut |piece| {
            given.take(&piece);
            Ok(())
        });
        given.found = found.expect("listed");
        given
    }
}

#[derive(Default)]
struct Given {
    /// Nodes before the first hole, and behind it.
    nodes: [Vec<u64>; 2],
    is_behind: bool,
    gaps: usize,
    found: Salvaged,
}

impl Given {
    fn take(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Restart => *self = Given::default(),
            Piece::Behind => self.is_behind = true,
            Piece::Gap => self.gaps += 1,
            Piece::Group(_) => {}
            Piece::Record(Record::NodeGone { number }) => {
                self.nodes[usize::from(self.is_behind)].push(*number);
            }
            Piece::Record(Record::Inline { node, bytes, .. }) => {
                assert!(bytes.iter().all(|byte| u64::from(*byte) == *node), "{node}");
                self.nodes[usize::from(self.is_behind)].push(*node);
            }
            Piece::Record(record) => panic!("nobody wrote {record:?}"),
        }
    }
}

/// The place of a group in a file of two.
fn nth(group: usize) -> std::ops::Range<usize> {
    let start = FIRST as usize + group * BLOCK as usize;
    start..start + BLOCK as usize
}

#[test]
fn what_is_whole_is_given_in_order() {
    let place = Place::journal(OURS, &[11, 12, 13, 14, 15]);
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![11, 12, 13, 14, 15], vec![]]);
    assert_eq!((given.gaps, given.found.group), (0, 5));
    assert_eq!(given.found.damage, [""; 0]);
}

/// Its header would say that what the file before has was never acknowledged.
#[test]
fn a_file_with_the_bytes_of_another_one_has_nothing() {
    let place = Place::journal(OURS, &[11, 12, 13, 14, 15]);
    let first = place.read(&journal_name(1));
    place.change(&journal_name(2), |bytes| *bytes = first);
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![11, 12], vec![15]]);
    assert_eq!((given.found.group, given.found.last_group), (2, 5));
}

#[test]
fn a_group_that_stands_in_another_file_too_is_one_group() {
    let place = Place::journal(OURS, &[11, 12, 13, 14, 15]);
    let first = place.read(&journal_name(1));
    place.change(&journal_name(2), |bytes| {
        bytes[nth(0)].copy_from_slice(&first[nth(0)]);
    });
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![11, 12], vec![14, 15]]);
    assert_eq!(given.found.group, 2);
}

/// Its header would say that what the file before has was never acknowledged.
#[test]
fn a_file_of_another_store_has_nothing() {
    let place = Place::journal(OURS, &[11, 12, 13, 14, 15]);
    let foreign = Place::journal(FOREIGN, &[21, 22, 23]);
    let mut second = foreign.read(&journal_name(2));
    // As if it went on from the first group.
    let header = FileHeader {
        first_group: 2,
        ..FileHeader::decode(&second).expect("a header")
    };
    second[..64].copy_from_slice(&header.encode());
    place.change(&journal_name(2), |bytes| *bytes = second);
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![11, 12], vec![15]]);
    assert_eq!(given.found.identity, Some(OURS));
    let text = &given.found.damage[0];
    assert!(text.ends_with("belongs to another store"), "{text}");
}

#[test]
fn a_group_of_another_store_is_not_given() {
    let place = Place::journal(OURS, &[11, 12, 13, 14, 15]);
    let foreign = Place::journal(FOREIGN, &[21, 22, 23]).read(&journal_name(1));
    place.change(&journal_name(1), |bytes| {
        bytes[nth(1)].copy_from_slice(&foreign[nth(1)]);
    });
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![11], vec![13, 14, 15]]);
    assert_eq!(given.found.group, 1);
}

/// As after a crash whose tail comes back later: the same store, number and place, and another past.
#[test]
fn a_group_that_follows_another_one_is_behind_a_hole() {
    let place = Place::journal(OURS, &[11, 12, 13, 14, 15]);
    let other = Place::journal(OURS, &[21, 22]).read(&journal_name(1));
    place.change(&journal_name(1), |bytes| {
        bytes[nth(1)].copy_from_slice(&other[nth(1)]);
    });
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![11], vec![22, 13, 14, 15]]);
    assert_eq!(given.found.group, 1);
    let text = &given.found.damage[0];
    let says = "group 1 is another one than the next one follows";
    assert!(text.starts_with(says), "{text}");
}

/// The bytes that a frame takes in the file.
fn frame(index: usize) -> std::ops::Range<usize> {
    let len = (48 + CONTENT).next_multiple_of(BLOCK as usize);
    let start = FIRST as usize + index * len;
    start..start + len
}

#[test]
fn a_frame_of_another_checkpoint_is_not_given() {
    let place = Place::checkpoint(7, &[1, 2, 3, 4]);
    let other = Place::checkpoint(8, &[11, 12, 13, 14]).read(&checkpoint_name(8));
    assert_eq!(place.salvage().nodes[0], [1, 2, 3, 4]);
    place.change(&checkpoint_name(7), |bytes| {
        assert!(FrameHeader::decode(&bytes[frame(1)]).is_some(), "a frame");
        bytes[frame(1)].copy_from_slice(&other[frame(1)]);
    });
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![1, 3, 4], vec![]]);
    assert_eq!(given.gaps, 1);
    assert!(given.found.is_partial);
}

#[test]
fn a_frame_with_other_bytes_is_not_given() {
    let place = Place::checkpoint(7, &[1, 2, 3, 4]);
    place.change(&checkpoint_name(7), |bytes| {
        bytes[frame(1).start + 100_000] ^= 4;
    });
    let given = place.salvage();
    assert_eq!(given.nodes, [vec![1, 3, 4], vec![]]);
    assert_eq!(given.gaps, 1);
    assert!(given.found.is_partial);
}
