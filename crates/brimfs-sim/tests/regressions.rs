//! The shortest sequences that once failed, one test each, against the model
//! and, where there is one, a tmpfs.
#![cfg(not(feature = "shuttle"))]

use brimfs_sim::drivers::brimfs::Brimfs;
use brimfs_sim::drivers::tmpfs::TmpFs;
use brimfs_sim::model::Limits;
use brimfs_sim::op::{Data, Op, OpenHow, Raw, RenameHow, System, XattrHow};
use brimfs_sim::run::Trial;
use brimfs_sim::tier::Manners;

fn path(text: &str) -> Raw {
    Raw::from(text)
}

fn data(len: u32) -> Data {
    Data { seed: 7, len }
}

fn write(at: &str, len: u32) -> Op {
    Op::WriteAll {
        path: path(at),
        data: data(len),
        adopt: false,
    }
}

fn mkdir(at: &str) -> Op {
    Op::Mkdir {
        path: path(at),
        mode: 0o777,
    }
}

fn symlink(target: &str, link: &str) -> Op {
    Op::Symlink {
        target: path(target),
        link: path(link),
    }
}

fn open(slot: usize, at: &str, append: bool) -> Op {
    Op::Open {
        slot,
        path: path(at),
        how: OpenHow {
            read: true,
            write: true,
            append,
            create: true,
            mode: 0o666,
            ..OpenHow::default()
        },
    }
}

fn rename(from: &str, to: &str, how: RenameHow) -> Op {
    Op::Rename {
        from: path(from),
        to: path(to),
        how,
    }
}

fn copy(from: &str, to: &str) -> Op {
    Op::Copy {
        from: path(from),
        to: path(to),
    }
}

fn agree_within(limits: Limits, ops: &[Op]) {
    let brimfs = Brimfs::new(limits).expect("a filesystem");
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(brimfs)];
    let unlimited = limits.quota.is_none() && limits.max_nodes.is_none();
    match TmpFs::new() {
        Ok(tmpfs) if unlimited => systems.push(Box::new(tmpfs)),
        Ok(_) => {}
        Err(why) => println!("brimfs alone: {why}"),
    }
    if let Err(why) = Trial::new(limits, systems).run(ops) {
        panic!("{why}");
    }
}

/// With a tier that takes everything away after every operation.
fn agree_when_cold(ops: &[Op]) {
    let limits = Limits::default();
    let brimfs = Brimfs::with_tier(limits, 256 << 20, Manners::WORST, 1).expect("a filesystem");
    if let Err(why) = Trial::new(limits, vec![Box::new(brimfs)]).run(ops) {
        panic!("{why}");
    }
}

fn agree(ops: &[Op]) {
    agree_within(Limits::default(), ops);
}

#[test]
fn a_link_that_was_looked_at_is_not_taken_for_its_target() {
    let link = || path("/a");
    agree(&[
        write("/b", 5),
        symlink("/b", "/a"),
        Op::Lstat { path: link() },
        Op::ReadAll { path: link() },
        Op::Stat { path: link() },
    ]);
}

#[test]
fn making_directories_through_a_dangling_link_says_that_the_name_is_taken() {
    agree(&[symlink("/a", "/b"), Op::MkdirAll { path: path("/b") }]);
}

#[test]
fn at_the_node_limit_a_name_that_is_taken_is_still_taken() {
    let limits = Limits {
        max_nodes: Some(2),
        ..Limits::default()
    };
    agree_within(
        limits,
        &[mkdir("/a"), mkdir("/a"), symlink("x", "/a"), mkdir("/b")],
    );
}

#[test]
fn renames_report_what_linux_reports_first() {
    use RenameHow::{Exchange, NoReplace};
    agree(&[
        mkdir("/b"),
        symlink("/a", "/b/d"),
        rename("/b", "/b/d", NoReplace),
        write("/c", 1),
        rename("/c", "/c/", NoReplace),
        rename("/b", "/b/missing", Exchange),
        rename("/c/", "/missing", Exchange),
    ]);
}

#[test]
fn nothing_is_created_through_a_dangling_link_with_a_slash() {
    agree(&[
        symlink("/b", "/a"),
        write("/a/", 1),
        symlink("/no/where", "/d"),
        write("/d/", 1),
    ]);
}

#[test]
fn a_slash_behind_a_link_to_a_file_is_refused() {
    agree(&[
        mkdir("/b"),
        write("/b/a", 1),
        symlink("/b/a", "/c"),
        Op::Stat { path: path("/c/") },
        Op::SetXattr {
            path: path("/c/"),
            name: path("user.a"),
            value: data(1),
            how: XattrHow::Set,
        },
    ]);
}

#[test]
fn allocating_keeps_what_is_there() {
    let whole = || Op::ReadAt {
        slot: 0,
        at: 0,
        len: 100_000,
    };
    let allocate = |len| Op::Allocate {
        slot: 0,
        at: 0,
        len,
    };
    for len in [2, 700, 16_384, 70_000] {
        agree(&[
            open(0, "/a", false),
            Op::Write {
                slot: 0,
                data: data(len),
            },
            allocate(17),
            whole(),
            allocate(90_000),
            whole(),
        ]);
    }
}

#[test]
fn allocating_shared_content_pays_for_a_copy() {
    agree(&[
        write("/a", 16_383),
        copy("/a", "/b"),
        open(0, "/b", false),
        Op::Allocate {
            slot: 0,
            at: 0,
            len: 1,
        },
    ]);
}

#[test]
fn writing_nothing_to_the_end_moves_nothing() {
    agree(&[
        write("/a", 10),
        open(0, "/a", true),
        Op::Write {
            slot: 0,
            data: data(0),
        },
        Op::Read { slot: 0, len: 3 },
    ]);
}

#[test]
fn punching_and_writing_again_charges_what_is_there() {
    agree(&[
        open(0, "/a", false),
        Op::WriteAt {
            slot: 0,
            at: 0,
            data: data(77_317),
        },
        Op::PunchHole {
            slot: 0,
            at: 1,
            len: 77_316,
        },
        Op::Allocate {
            slot: 0,
            at: 16_383,
            len: 2,
        },
        Op::SeekHole { slot: 0, at: 0 },
    ]);
}

#[test]
fn making_directories_that_fails_half_way_changes_nothing() {
    let limits = Limits {
        max_nodes: Some(4),
        ..Limits::default()
    };
    let make = |at: &str| Op::MkdirAll { path: path(at) };
    let look = |at: &str| Op::Stat { path: path(at) };
    agree_within(
        limits,
        &[
            mkdir("/a"),
            look("/a"),
            make("/a/b/c/d"),
            look("/a"),
            look("/"),
            make("/b/../c/d/e"),
            look("/"),
            make("/b/../b/./c"),
            look("/"),
            look("/b/c"),
        ],
    );
}

#[test]
fn a_hole_in_a_cold_chunk_that_a_copy_shares_is_in_one_of_them() {
    let whole = |slot| Op::ReadAt {
        slot,
        at: 0,
        len: 90_000,
    };
    let holes = [
        (0, 16_384),
        (16_384, 16_384),
        (16_384, 100_000),
        (20_000, 100_000),
        (1, 20_000),
        (0, 100_000),
    ];
    for (at, len) in holes {
        agree_when_cold(&[
            write("/a", 40_000),
            copy("/a", "/b"),
            open(0, "/a", false),
            open(1, "/b", false),
            Op::PunchHole { slot: 1, at, len },
            whole(0),
            whole(1),
            // What was cut off does not come back.
            Op::WriteAt {
                slot: 1,
                at: 80_000,
                data: data(10),
            },
            whole(0),
            whole(1),
            Op::SeekHole { slot: 1, at: 0 },
        ]);
    }
}
