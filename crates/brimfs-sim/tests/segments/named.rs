//! Segments with names: opened again, in part, by others, on a directory that is not theirs.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use brimfs::ErrorKind;
use brimfs::face::disk::{ALIGNMENT, Directory};
use brimfs::face::segment::{Compression, Load, Options, Protection, ReadError, Store};
use brimfs_sim::medium::Medium;

use crate::owner::{
    IDENTITY, Owner, Wanted, check, extents, named_options, open, open_to_read, text,
};
use crate::world::{SEGMENT, id_of, kind};

const LENS: [usize; 7] = [1, 100, 17_000, 700_000, 1 << 20, 900_000, 5000];

fn filled() -> Owner {
    let mut owner = Owner::new();
    owner.append(&LENS).expect("a disk that works");
    owner.append(&[300, 40_000]).expect("a disk that works");
    owner.commit().expect("a disk that works");
    owner
}

#[test]
fn everything_is_there_again_and_new_records_go_to_new_files() {
    for compression in [Compression::None, Compression::Lz4] {
        let mut options = named_options();
        options.compression = compression;
        let mut owner = Owner::new();
        let directory: Arc<dyn Directory> = Arc::new(owner.medium.clone());
        owner.store = Store::named(directory, options, IDENTITY, &[]).expect("an empty directory");
        owner.append(&LENS).expect("a disk that works");
        owner.commit().expect("a disk that works");
        for round in 0..3 {
            let before = owner.medium.names();
            let raw: Vec<_> = before.iter().map(|name| owner.medium.raw(name)).collect();
            owner.restart().expect("whole");
            owner.check();
            owner.append(&[2000, 30_000]).expect("a disk that works");
            owner.commit().expect("a disk that works");
            owner.check();
            for (name, raw) in before.iter().zip(raw) {
                assert!(owner.medium.raw(name) == raw, "{name} has changed");
            }
            assert_eq!(owner.medium.names().len(), before.len() + 1, "{round}");
        }
        assert_eq!(owner.medium.names()[0], "segment-0000000000000000");
    }
}

#[test]
fn the_last_release_of_a_segment_removes_its_file() {
    let mut owner = filled();
    let files = owner.medium.names().len();
    assert!(files >= 2);
    while !owner.wanted.is_empty() {
        owner.delete(owner.wanted.len() / 2);
        owner.commit().expect("a disk that works");
        owner.check();
    }
    assert!(owner.medium.names().is_empty());
    assert_eq!(owner.store.stats().disk_bytes, 0);
    // Numbers go on.
    owner.append(&[10]).expect("a disk that works");
    assert_eq!(owner.medium.names(), [format!("segment-{files:016x}")]);
}

#[test]
fn files_in_which_nothing_lives_are_removed_and_others_are_not() {
    let owner = filled();
    for name in [
        "journal-0000000000000001",
        "segment-00000000000000ff",
        "segment-1",
        "lock",
    ] {
        drop(owner.medium.create(name).expect("created"));
    }
    let last = owner.medium.names().len() - 4;
    let wanted: Vec<Wanted> = owner.committed[..4].to_vec();
    drop(owner.store);
    let mut owner = Owner::on(&owner.medium, wanted, 100).expect("whole");
    let kept = [
        "journal-0000000000000001",
        "lock",
        "segment-0000000000000000",
        "segment-1",
    ];
    assert!(last > 1);
    assert_eq!(owner.medium.names(), kept);
    owner.append(&[10]).expect("a disk that works");
    assert_eq!(owner.medium.names()[3], "segment-0000000000000100");
}

#[test]
fn a_file_counts_as_long_as_it_is_and_space_behind_its_records_is_dead() {
    let mut owner = filled();
    owner.append(&[1 << 20; 4]).expect("a disk that works");
    owner.commit().expect("a disk that works");
    owner.restart().expect("whole");
    owner.check();
    let stats = owner.store.stats();
    let headers = stats.segments * ALIGNMENT as u64;
    assert_eq!(
        stats.live_bytes + stats.dead_bytes + headers,
        stats.disk_bytes
    );

    // A limit below what is there refuses appends until something has gone.
    let mut options = named_options();
    options.disk_limit = 2 * SEGMENT;
    let directory: Arc<dyn Directory> = Arc::new(owner.medium.clone());
    let live = extents(&owner.committed);
    owner.store = Store::named(directory, options, IDENTITY, &live).expect("whole");
    assert!(owner.store.stats().disk_bytes > 2 * SEGMENT);
    let full = owner.append(&[10]).expect_err("no room");
    assert_eq!(full.kind(), ErrorKind::DiskLimit);
    owner.check();
    while !owner.wanted.is_empty() {
        owner.delete(0);
    }
    owner.commit().expect("a disk that works");
    owner.append(&[10]).expect("room");
}

#[test]
fn closing_gives_back_what_was_reserved() {
    let mut owner = Owner::new();
    owner.append(&[5000]).expect("a disk that works");
    let name = "segment-0000000000000000";
    // A small segment is reserved in four steps.
    assert_eq!(owner.medium.raw(name).len() as u64, SEGMENT / 4);
    // What is cut off has to be durable too.
    owner.store.sync().expect("a disk that works");
    owner.store.close().expect("a disk that works");
    assert_eq!(owner.medium.raw(name).len(), 3 * ALIGNMENT);
    assert!(owner.medium.pending().is_empty());
    owner.committed = owner.wanted.clone();
    owner.check();
    let calls = owner.medium.calls();
    owner.store.close().expect("nothing to do");
    assert_eq!(owner.medium.calls(), calls);
    owner.append(&[5000]).expect("in another file");
    owner.check();
    owner.restart().expect("whole");
    owner.check();
}

#[test]
fn references_are_counted() {
    let mut owner = Owner::new();
    owner.append(&[100, 200]).expect("a disk that works");
    let extent = owner.wanted[0].extent;
    for count in [1, 2, 3, 4, 5, 40] {
        for _ in 1..count {
            owner.copy(0);
        }
        owner.commit().expect("a disk that works");
        owner.restart().expect("whole");
        owner.check();
        for _ in 1..count {
            assert!(owner.store.release(extent));
            check(&owner.store, &owner.wanted).expect("still wanted");
            owner.wanted.pop();
        }
        owner.committed = owner.wanted.clone();
        owner.check();
    }
    assert!(owner.store.release(extent), "the last reference");
    assert!(!owner.store.release(extent) && !owner.store.retain(extent));
    let mut nowhere = extent.to_raw();
    nowhere[0] += 1;
    let nowhere = brimfs::face::segment::Extent::from_raw(nowhere);
    assert!(!owner.store.retain(nowhere) && !owner.store.release(nowhere));
    let index = owner.store.footprint().index;
    assert!(index <= 64, "{index} bytes for two records");
}

#[test]
fn a_sync_does_no_more_than_it_must() {
    let mut owner = Owner::new();
    let calls = |owner: &Owner| owner.medium.calls();
    owner.store.sync().expect("nothing to do");
    assert_eq!(calls(&owner), 1, "opening lists the directory");
    owner.append(&[100]).expect("a disk that works");
    let before = calls(&owner);
    owner.store.sync().expect("a disk that works");
    assert_eq!(calls(&owner), before + 2, "the file and its name");
    owner.store.sync().expect("nothing to do");
    assert_eq!(calls(&owner), before + 2);
    owner.append(&[100]).expect("a disk that works");
    let before = calls(&owner);
    owner.store.sync().expect("a disk that works");
    assert_eq!(calls(&owner), before + 1, "the name is durable already");
    // A segment that died needs none.
    owner
        .append(&[1 << 20, 1 << 20])
        .expect("a disk that works");
    for one in owner.wanted.drain(..) {
        assert!(owner.store.release(one.extent));
    }
    let before = calls(&owner);
    owner.store.sync().expect("nothing to do");
    assert_eq!(calls(&owner), before);
}

#[test]
fn what_is_missing_or_not_its_own_is_named() {
    let owner = filled();
    let (medium, live) = (owner.medium, extents(&owner.committed));
    drop(owner.store);
    let name = "segment-0000000000000000";
    let refused = |change: &dyn Fn(&Medium)| {
        let medium = medium.fork();
        change(&medium);
        let names = medium.names();
        let fault = open(&medium, &live).expect_err("not as it was");
        assert_eq!(medium.names(), names, "nothing is removed");
        let kind = fault.kind();
        let text = text(fault);
        assert!(text.contains(name), "{text}");
        (kind, text)
    };
    let (missing, text) = refused(&|medium| medium.lose(name));
    assert_eq!(missing, ErrorKind::Corrupt);
    assert!(text.contains("offset 4096"), "{text}");
    for len in [0, 100, 4096, 4097, 700_000] {
        let (short, _) = refused(&|medium| medium.damage(name, |raw| raw.truncate(len)));
        assert_eq!(short, ErrorKind::Corrupt, "cut to {len}");
    }
    for bit in 0..8 * 64 {
        let flip = |raw: &mut Vec<u8>| raw[bit / 8] ^= 1 << (bit % 8);
        let (kind, text) = refused(&|medium| medium.damage(name, flip));
        // The number of the format too: another one has a checksum that fits.
        assert_eq!(kind, ErrorKind::Corrupt, "bit {bit}: {text}");
    }
    let other = medium.raw("segment-0000000000000001");
    let (exchanged, text) = refused(&|medium| medium.damage(name, |raw| *raw = other.clone()));
    assert_eq!(exchanged, ErrorKind::Corrupt);
    assert!(text.contains("it is segment 0x1"), "{text}");

    let directory: Arc<dyn Directory> = Arc::new(medium.clone());
    let stranger = Store::named(directory, named_options(), [8; 16], &live);
    let text = crate::owner::text(stranger.expect_err("not its own"));
    assert!(text.contains("another store"), "{text}");
    open(&medium, &live).expect("all of that was another disk");
}

#[test]
fn extents_that_cannot_be_are_refused() {
    let owner = filled();
    let right = owner.committed[1].extent.to_raw();
    let changed = |change: &dyn Fn(&mut [u32; 3])| {
        let mut raw = right;
        change(&mut raw);
        let mut live = extents(&owner.committed);
        live.push(brimfs::face::segment::Extent::from_raw(raw));
        open(&owner.medium, &live)
            .map(drop)
            .map_err(|fault| fault.kind())
    };
    assert_eq!(changed(&|_| {}), Ok(()), "one more reference");
    for (number, change) in [
        &(|raw: &mut [u32; 3]| raw[0] += 70) as &dyn Fn(&mut [u32; 3]),
        &|raw| raw[1] += 1,
        &|raw| raw[1] &= 0xf000_0000,
        &|raw| raw[1] |= 0x0fff_ffff,
        &|raw| raw[2] += 1,
        &|raw| raw[2] &= 0xffff_0000,
        &|raw| raw[2] |= 0xffff,
        &|raw| *raw = [u32::MAX; 3],
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(changed(change), Err(ErrorKind::Corrupt), "change {number}");
    }
}

/// A segment of another store, with a header that says otherwise: the seals know.
#[test]
fn a_seal_is_that_of_one_store() {
    let owner = filled();
    let directory: Arc<dyn Directory> = Arc::new(Medium::new());
    let other = Store::named(directory.clone(), named_options(), [8; 16], &[]).expect("empty");
    let content = [5; 100];
    let record = brimfs::face::segment::Record {
        id: id_of(0),
        parts: &[&content],
    };
    other.append(&[record]).expect("a disk that works");
    let name = "segment-0000000000000000";
    let header = directory
        .open(name, brimfs::face::disk::Access::Read)
        .expect("there");
    let mut block = Block([0; ALIGNMENT]);
    brimfs::face::disk::read_full(&*header, 0, &mut block.0).expect("a disk that works");
    owner
        .medium
        .damage(name, |raw| raw[..ALIGNMENT].copy_from_slice(&block.0));
    let directory: Arc<dyn Directory> = Arc::new(owner.medium.clone());
    let live = &owner.committed[..1];
    let store = Store::named(directory, named_options(), [8; 16], &extents(live));
    let store = store.expect("the header is right");
    let read = store.read(id_of(0), live[0].extent, 0, &mut [0]);
    assert_eq!(read.map_err(kind), Err(ErrorKind::Corrupt));
}

#[repr(align(4096))]
struct Block([u8; ALIGNMENT]);

#[test]
fn flipped_bits_are_noticed() {
    let mut owner = Owner::new();
    owner.append(&[700, 17_000]).expect("a disk that works");
    owner.store.close().expect("a disk that works");
    let name = "segment-0000000000000000";
    let used: u64 = owner
        .wanted
        .iter()
        .map(|one| one.extent.stored_bytes())
        .sum();
    let mut noticed = 0;
    for byte in 4096..4096 + used as usize {
        let bit = 1 << (byte % 8);
        owner.medium.damage(name, |raw| raw[byte] ^= bit);
        match check(&owner.store, &owner.wanted) {
            Ok(()) => {}
            Err(text) => {
                assert!(!text.contains("wrong bytes"), "{text}");
                noticed += 1;
            }
        }
        owner.medium.damage(name, |raw| raw[byte] ^= bit);
    }
    // All but headers, which reading does not need, and padding.
    assert!(noticed >= used - 2 * (64 + 16), "{noticed} of {used}");
    owner.check();
}

#[test]
fn reading_only_changes_nothing() {
    let owner = filled();
    drop(
        owner
            .medium
            .create("segment-0000000000000044")
            .expect("created"),
    );
    let medium = owner.medium.fork();
    medium.set_read_only(true);
    let (names, raw) = (medium.names(), medium.fingerprint());
    let store = open_to_read(&medium, &extents(&owner.committed)).expect("whole");
    check(&store, &owner.committed).expect("readable");
    let parts: [&[u8]; 1] = [&[1]];
    let record = brimfs::face::segment::Record {
        id: id_of(0),
        parts: &parts,
    };
    let refused = store.append(&[record]).expect_err("for reading");
    assert_eq!(refused.kind(), ErrorKind::NotPermitted);
    let mut load = Load::default();
    store.load(&mut load, id_of(0), 1, |_, to| to.fill(1));
    let refused = store.write_load(&mut load).expect_err("for reading");
    assert_eq!(refused.kind(), ErrorKind::NotPermitted);
    let refused = store.compact(u64::MAX, &mut |_, _, _| true);
    assert_eq!(
        refused.expect_err("for reading").kind(),
        ErrorKind::NotPermitted
    );
    store.sync().expect("nothing to do");
    for one in &owner.committed {
        assert!(store.release(one.extent));
    }
    let read = store.read(id_of(0), owner.committed[0].extent, 0, &mut [0]);
    assert!(matches!(read, Err(ReadError::Gone)));
    store.close().expect("nothing to do");
    assert_eq!((medium.names(), medium.fingerprint()), (names, raw));
    assert_eq!(store.stats().leftover_files, 0);
}

#[test]
fn a_key_would_not_outlive_the_process() {
    let directory: Arc<dyn Directory> = Arc::new(Medium::new());
    let encrypted = Options {
        protection: Protection::Encrypted,
        ..named_options()
    };
    let refused = Store::named(directory, encrypted, IDENTITY, &[]);
    assert_eq!(
        refused.expect_err("encrypted").kind(),
        ErrorKind::InvalidArgument
    );
}

/// What compaction moves is at both places until its owner's commit, and is not moved again meanwhile.
#[test]
fn compaction_leaves_the_old_place_to_the_owner() {
    for budget in [1, u64::MAX] {
        let mut owner = Owner::new();
        owner.append(&[100_000; 15]).expect("a disk that works");
        owner.append(&[100_000; 15]).expect("a disk that works");
        for _ in 0..8 {
            owner.delete(1);
        }
        owner.copy(3);
        owner.copy(3);
        owner.commit().expect("a disk that works");
        owner.restart().expect("whole");
        let before = owner.wanted.clone();
        let mut moved = 0;
        loop {
            let more = owner.compact(budget).expect("a disk that works");
            owner.check();
            check(&owner.store, &before).expect("the old places are readable");
            if more == 0 {
                break;
            }
            moved += more;
        }
        assert!((7..24).contains(&moved), "{moved} records moved once each");
        let files = owner.medium.names().len();
        owner.commit().expect("a disk that works");
        assert!(
            owner.medium.names().len() < files,
            "now the old file has gone"
        );
        owner.check();
        owner.restart().expect("whole");
        owner.check();
    }
}

#[test]
fn a_sync_waits_for_what_another_one_makes_durable() {
    let mut owner = Owner::new();
    owner.append(&[1000]).expect("a disk that works");
    let (store, medium) = (&owner.store, &owner.medium);
    let meeting = Arc::new(Barrier::new(2));
    medium.meet_syncs(Some(meeting.clone()));
    let (done, is_done) = channel();
    thread::scope(|scope| {
        scope.spawn(|| store.sync().expect("a disk that works"));
        meeting.wait();
        medium.meet_syncs(None);
        scope.spawn(move || {
            store.sync().expect("a disk that works");
            done.send(()).expect("somebody listens");
        });
        let early = is_done.recv_timeout(Duration::from_millis(200));
        meeting.wait();
        assert!(early.is_err(), "nothing of it is durable");
    });
    is_done.try_recv().expect("the other one had its turn");
}

/// It has memory for one.
#[test]
fn one_compaction_works_at_a_time() {
    let mut owner = Owner::new();
    owner.append(&[100_000; 15]).expect("a disk that works");
    owner.append(&[100_000; 15]).expect("a disk that works");
    (0..8).for_each(|_| owner.delete(1));
    owner.commit().expect("a disk that works");
    owner.restart().expect("whole");
    let store = &owner.store;
    let (done, is_done) = channel();
    let mut asked = 0;
    thread::scope(|scope| {
        let first = store.compact(u64::MAX, &mut |_, _, _| {
            if asked == 0 {
                let done = done.clone();
                scope.spawn(move || {
                    let other = store.compact(u64::MAX, &mut |_, _, _| true);
                    other.expect("a disk that works");
                    done.send(()).expect("somebody listens");
                });
                let early = is_done.recv_timeout(Duration::from_millis(200));
                assert!(early.is_err(), "another one ended meanwhile");
            }
            asked += 1;
            true
        });
        first.expect("a disk that works");
    });
    assert!(asked > 0, "nothing was moved");
    is_done.try_recv().expect("the other one had its turn");
}

#[test]
fn what_was_moved_is_not_moved_again_by_the_same_compaction() {
    let mut owner = Owner::new();
    let fill = SEGMENT as usize / 100_000 + 10;
    owner
        .append(&vec![100_000; fill])
        .expect("a disk that works");
    let is_old = |owner: &Owner| owner.wanted[2].extent.to_raw()[0] == 0;
    while is_old(&owner) {
        owner.delete(2);
    }
    // Of the one that is being filled half is dead too.
    let rest = owner.wanted.len();
    (0..rest / 2).for_each(|_| owner.delete(2));
    owner.commit().expect("a disk that works");
    let mut moves = Vec::new();
    let done = owner.store.compact(u64::MAX, &mut |_, old, new| {
        moves.push((old, new));
        true
    });
    done.expect("a disk that works");
    assert!(
        moves.iter().any(|(old, _)| old.to_raw()[0] == 0),
        "{moves:?}"
    );
    let again = moves
        .iter()
        .find(|(old, _)| moves.iter().any(|(_, new)| new == old));
    assert_eq!(again, None, "{moves:?}");
}
