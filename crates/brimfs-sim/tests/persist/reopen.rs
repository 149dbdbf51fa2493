//! Closing and opening again, without any fault.

use std::sync::Arc;

use brimfs::{Durability, ErrorKind, FileSystem, FileTimes, OpenOptions, Timestamp};
use brimfs_sim::medium::{Image, Medium};

use super::world::audit;

const CHUNK: usize = 1 << 20;

fn open(medium: &Medium) -> FileSystem {
    FileSystem::builder()
        .memory_limit(64 << 20)
        .durability(Durability::Manual)
        .open_in(Arc::new(medium.clone()))
        .expect("opened")
}

fn close(fs: &FileSystem) {
    audit(fs).expect("counted right");
    fs.close().unwrap();
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at / 7 + at % 251) as u8 ^ seed)
        .collect()
}

#[test]
fn an_empty_store_is_empty_when_it_is_opened_again() {
    let medium = Medium::new();
    for _ in 0..3 {
        let fs = open(&medium);
        assert_eq!(fs.stats().nodes, 1);
        close(&fs);
    }
}

#[test]
fn content_of_every_form_comes_back() {
    let medium = Medium::new();
    let sizes = [
        0,
        1,
        22,
        23,
        128,
        129,
        4096,
        64 << 10,
        (64 << 10) + 1,
        CHUNK,
        CHUNK + 1,
        5 * CHUNK + 17,
    ];
    let fs = open(&medium);
    for (number, len) in sizes.into_iter().enumerate() {
        fs.write(format!("/f{len}"), pattern(len, number as u8))
            .unwrap();
    }
    close(&fs);
    for round in 0..3 {
        let fs = open(&medium);
        assert_eq!(fs.stats().files, sizes.len() as u64, "round {round}");
        assert_eq!(fs.stats().quota_used, sizes.iter().sum::<usize>() as u64);
        for (number, len) in sizes.into_iter().enumerate() {
            let read = fs.read(format!("/f{len}")).unwrap();
            assert!(
                read == pattern(len, number as u8),
                "{len} bytes, round {round}"
            );
        }
        close(&fs);
    }
}

#[test]
fn changes_of_some_chunks_come_back() {
    let medium = Medium::new();
    let mut oracle = pattern(6 * CHUNK, 1);
    let fs = open(&medium);
    fs.write("/f", oracle.clone()).unwrap();
    fs.sync().unwrap();
    for (round, at) in [3 * CHUNK + 5, 17, 5 * CHUNK - 2, 2 * CHUNK]
        .into_iter()
        .enumerate()
    {
        let fs = match round {
            0 => fs.clone(),
            _ => open(&medium),
        };
        let bytes = pattern(5000, round as u8 + 9);
        let file = OpenOptions::new().write(true).open(&fs, "/f").unwrap();
        file.write_at(at as u64, &bytes).unwrap();
        file.sync().unwrap();
        drop(file);
        let end = (at + bytes.len()).min(oracle.len());
        oracle[at..end].copy_from_slice(&bytes[..end - at]);
        if at + bytes.len() > end {
            oracle.extend_from_slice(&bytes[end - at..]);
        }
        close(&fs);
        let fs = open(&medium);
        assert!(fs.read("/f").unwrap() == oracle, "round {round}");
        close(&fs);
    }
}

#[test]
fn content_that_was_cut_or_punched_comes_back() {
    let cut_at = |len: usize, to: usize| (len, to, to..to);
    let punched = |len: usize, hole| (len, len, hole);
    for (len, to, hole) in [
        cut_at(60_000, 100),
        cut_at(500_000, 100_000),
        cut_at(CHUNK, 1),
        cut_at(2 * CHUNK, CHUNK + 1000),
        cut_at(3 * CHUNK, CHUNK + 1000),
        punched(CHUNK, 32_768..65_536),
        punched(2 * CHUNK, CHUNK..CHUNK + 100_000),
    ] {
        let medium = Medium::new();
        let mut oracle = pattern(len, 3);
        let fs = open(&medium);
        fs.write("/f", oracle.clone()).unwrap();
        close(&fs);
        let fs = open(&medium);
        let file = OpenOptions::new().write(true).open(&fs, "/f").unwrap();
        file.set_len(to as u64).unwrap();
        if !hole.is_empty() {
            file.punch_hole(hole.start as u64, hole.len() as u64)
                .unwrap();
        }
        drop(file);
        close(&fs);
        oracle[hole].fill(0);
        oracle.truncate(to);
        for _ in 0..2 {
            let fs = open(&medium);
            assert!(fs.read("/f").unwrap() == oracle, "{len} {to}");
            close(&fs);
        }
    }
}

#[test]
fn names_and_traits_come_back() {
    let medium = Medium::new();
    let fs = open(&medium);
    fs.create_dir_all("/a/b/c").unwrap();
    for number in 0..100 {
        fs.write(format!("/a/b/{number}"), format!("{number}"))
            .unwrap();
    }
    for number in (0..100).step_by(3) {
        fs.remove_file(format!("/a/b/{number}")).unwrap();
    }
    fs.rename("/a/b/1", "/a/one").unwrap();
    fs.rename("/a/b/2", "/a/b/4").unwrap();
    fs.rename("/a/b/c", "/d").unwrap();
    fs.hard_link("/a/one", "/d/uno").unwrap();
    fs.symlink("../a/one", "/d/link").unwrap();
    fs.set_permissions("/a", 0o711).unwrap();
    fs.set_owner("/a/one", Some(7), Some(8)).unwrap();
    fs.set_xattr("/a/one", "user.x", b"value", brimfs::XattrMode::Set)
        .unwrap();
    fs.set_priority("/a/one", 8).unwrap();
    fs.pin("/a/b/5").unwrap();
    let far = Timestamp {
        seconds: 20_000_000_000,
        nanos: 5,
    };
    let times = FileTimes {
        accessed: Some(far),
        modified: Some(Timestamp {
            seconds: -5,
            nanos: 7,
        }),
    };
    fs.set_times("/d/uno", times).unwrap();
    let before = tree(&fs);
    close(&fs);
    for _ in 0..2 {
        let fs = open(&medium);
        assert_eq!(tree(&fs), before);
        assert_eq!(fs.read("/d/link").unwrap(), "1");
        assert_eq!(fs.priority("/a/one").unwrap(), 8);
        close(&fs);
    }
}

/// Everything that can be told of every node, in the order of listing.
fn tree(fs: &FileSystem) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![Vec::from("/")];
    while let Some(path) = pending.pop() {
        let known = fs.symlink_metadata(&path).unwrap();
        let shown = String::from_utf8_lossy(&path).into_owned();
        let xattrs: Vec<_> = fs
            .list_xattrs(&path)
            .unwrap_or_default()
            .into_iter()
            .map(|name| (name.clone(), fs.xattr(&path, &name).unwrap()))
            .collect();
        lines.push(format!(
            "{shown} {} {:?} {:o} {} {} {} {} {:?} {:?} {:?} {xattrs:?}",
            known.ino(),
            known.file_type(),
            known.mode(),
            known.uid(),
            known.gid(),
            known.nlink(),
            known.len(),
            known.accessed(),
            known.modified(),
            known.changed(),
        ));
        if known.file_type().is_dir() {
            for entry in fs.read_dir(&path).unwrap() {
                pending.push([&path[..], b"/", entry.name()].concat());
            }
        }
    }
    lines
}

#[test]
fn what_is_not_synced_is_synced_by_dropping() {
    let medium = Medium::new();
    let fs = open(&medium);
    fs.write("/f", "kept").unwrap();
    drop(fs);
    assert_eq!(open(&medium).read("/f").unwrap(), "kept");
}

#[test]
fn a_store_is_open_once() {
    let medium = Medium::new();
    let fs = open(&medium);
    let again = FileSystem::builder()
        .memory_limit(64 << 20)
        .open_in(Arc::new(medium.clone()));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::StoreInUse);
    close(&fs);
    open(&medium).close().unwrap();
}

#[test]
fn more_than_memory_holds_is_written_and_read_back_after_opening() {
    let medium = Medium::new();
    let open = |medium: &Medium| {
        FileSystem::builder()
            .memory_limit(16 << 20)
            .open_in(Arc::new(medium.clone()))
            .expect("opened")
    };
    let fs = open(&medium);
    for number in 0..40u8 {
        fs.write(format!("/large{number}"), pattern(CHUNK + 5000, number))
            .unwrap();
        fs.write(format!("/small{number}"), pattern(5000, number))
            .unwrap();
    }
    close(&fs);
    let fs = open(&medium);
    assert!(fs.stats().resident < 12 << 20, "{:?}", fs.stats());
    for number in 0..40u8 {
        let large = fs.read(format!("/large{number}")).unwrap();
        assert!(large == pattern(CHUNK + 5000, number), "{number}");
        let small = fs.read(format!("/small{number}")).unwrap();
        assert!(small == pattern(5000, number), "{number}");
    }
    close(&fs);
}

/// What is there after the power went and came back, with all that was written.
fn after_crash(medium: &Medium) -> FileSystem {
    open(&medium.fork())
}

#[test]
fn little_that_is_synced_is_there_without_closing() {
    let medium = Medium::new();
    let fs = open(&medium);
    for number in 0..40usize {
        let len = number * 1000;
        fs.write("/f", pattern(len, number as u8)).unwrap();
        fs.write(format!("/{number}"), pattern(200, 7)).unwrap();
        fs.sync().unwrap();
        let again = after_crash(&medium);
        assert!(
            again.read("/f").unwrap() == pattern(len, number as u8),
            "{number}"
        );
        assert_eq!(again.stats().files, number as u64 + 2);
        again.close().unwrap();
    }
}

#[test]
fn blocks_that_are_overwritten_are_there_without_closing() {
    let medium = Medium::new();
    let mut oracle = pattern(4 * CHUNK + 100, 3);
    let fs = open(&medium);
    fs.write_slice("/f", &oracle).unwrap();
    fs.sync().unwrap();
    let mut at = 0;
    for round in 0..150u64 {
        at = (at * 31 + 777_777 * round as usize + 12_345) % (oracle.len() - 5000);
        let bytes = pattern(1 + (round as usize * 37) % 5000, round as u8);
        let file = OpenOptions::new().write(true).open(&fs, "/f").unwrap();
        file.write_at(at as u64, &bytes).unwrap();
        oracle[at..at + bytes.len()].copy_from_slice(&bytes);
        match round % 10 {
            3 => {
                let keep = oracle.len() - 1500;
                file.set_len(keep as u64).unwrap();
                oracle.truncate(keep);
            }
            7 => {
                file.append(&pattern(900, 5)).unwrap();
                oracle.extend_from_slice(&pattern(900, 5));
            }
            _ => {}
        }
        fs.sync().unwrap();
        if round % 7 == 0 {
            let again = after_crash(&medium);
            assert!(again.read("/f").unwrap() == oracle, "round {round}");
            again.sync().unwrap();
            again.close().unwrap();
        }
    }
    close(&fs);
    let fs = open(&medium);
    assert!(fs.read("/f").unwrap() == oracle);
}

#[test]
fn what_is_in_the_journal_moves_to_segments() {
    let medium = Medium::new();
    let fs = open(&medium);
    for number in 0..600u32 {
        fs.write(
            format!("/{}", number % 400),
            pattern(60 << 10, number as u8),
        )
        .unwrap();
        fs.sync().unwrap();
    }
    let again = after_crash(&medium);
    for number in 200..600u32 {
        let read = again.read(format!("/{}", number % 400)).unwrap();
        assert!(read == pattern(60 << 10, number as u8), "{number}");
    }
    let stats = again.stats();
    assert!(stats.tier.cold_bytes > 0, "{stats:?}");
}

#[test]
fn of_pages_that_are_overwritten_again_the_last_ones_count() {
    let medium = Medium::new();
    let mut oracle = pattern(CHUNK + 5, 3);
    let fs = open(&medium);
    fs.write_slice("/f", &oracle).unwrap();
    fs.sync().unwrap();
    let file = OpenOptions::new().write(true).open(&fs, "/f").unwrap();
    for (round, range) in [4096..8192, 0..12_288, 5000..5001, 0..4096, 100..9000]
        .into_iter()
        .enumerate()
    {
        let bytes = pattern(range.len(), round as u8 + 100);
        file.write_at(range.start as u64, &bytes).unwrap();
        oracle[range].copy_from_slice(&bytes);
        fs.sync().unwrap();
        assert!(
            after_crash(&medium).read("/f").unwrap() == oracle,
            "{round}"
        );
    }
}

#[test]
fn changes_of_the_root_come_back_each_time() {
    let medium = Medium::new();
    for mode in [0o700, 0o711, 0o722] {
        let fs = open(&medium);
        fs.set_permissions("/", mode).unwrap();
        close(&fs);
        assert_eq!(open(&medium).metadata("/").unwrap().mode(), mode);
    }
}

#[test]
fn readers_share_a_store_and_let_it_go_when_they_are_closed() {
    let place = std::env::temp_dir().join(format!("brimfs-readers-{}", std::process::id()));
    let reading = || {
        FileSystem::builder()
            .memory_limit(64 << 20)
            .read_only(true)
            .open(&place)
    };
    let missing = reading().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let fs = FileSystem::open_store(&place).unwrap();
    fs.write("/f", "kept").unwrap();
    let in_use = reading().unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::StoreInUse);
    assert!(in_use.to_string().ends_with("this process has it open"));
    close(&fs);
    let readers = [reading().unwrap(), reading().unwrap()];
    for fs in &readers {
        assert_eq!(fs.read("/f").unwrap(), "kept");
        let mut options = OpenOptions::new();
        let refused = options.write(true).open(fs, "/f").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnly);
    }
    let in_use = FileSystem::open_store(&place).unwrap_err();
    assert!(
        in_use.to_string().ends_with("it is open elsewhere"),
        "{in_use}"
    );
    for fs in &readers {
        close(fs);
    }
    FileSystem::open_store(&place).unwrap().close().unwrap();
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn what_is_cut_within_a_hole_takes_no_quota_when_it_is_opened_again() {
    let medium = Medium::new();
    let fs = open(&medium);
    for (path, cut) in [("/a", 1), ("/b", 20_000), ("/c", CHUNK as u64 + 1)] {
        let len = (CHUNK + (32 << 10)) as u64;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .open(&fs, path)
            .unwrap();
        file.write_at(0, &pattern(len as usize, 1)).unwrap();
        file.punch_hole(0, len - 1).unwrap();
        file.set_len(cut).unwrap();
        assert_eq!(fs.stats().quota_used, 0, "{path}");
    }
    let (len, cut) = (32 << 10, 1);
    fs.write("/d", pattern(len, 1)).unwrap();
    let file = OpenOptions::new().write(true).open(&fs, "/d").unwrap();
    file.punch_hole(0, len as u64 - 1).unwrap();
    file.set_len(cut).unwrap();
    assert_eq!(fs.stats().quota_used, 0);
    drop(file);
    close(&fs);
    let fs = open(&medium);
    assert_eq!(fs.stats().quota_used, 0);
    assert_eq!(fs.read("/d").unwrap(), "\0");
}

#[test]
fn blocks_that_were_allocated_in_holes_come_back() {
    let medium = Medium::new();
    let fs = open(&medium);
    let len = 200_000;
    fs.write("/a", "").unwrap();
    fs.truncate("/a", len).unwrap();
    fs.sync().unwrap();
    let file = OpenOptions::new().write(true).open(&fs, "/a").unwrap();
    file.allocate(0, len).unwrap();
    drop(file);
    assert_eq!(fs.stats().quota_used, len);
    close(&fs);
    assert_eq!(open(&medium).stats().quota_used, len);
}

#[test]
fn a_long_journal_is_replaced_by_a_checkpoint_while_changes_go_on() {
    let medium = Medium::new();
    let fs = open(&medium);
    let has_checkpoint = || {
        medium
            .names()
            .iter()
            .any(|name| name.starts_with("checkpoint-"))
    };
    let mut number = 0u32;
    while !has_checkpoint() {
        let content = pattern(60 << 10, number as u8);
        fs.write(format!("/{}", number % 50), content).unwrap();
        fs.sync().unwrap();
        number += 1;
        assert!(number < 100_000, "{:?}", medium.names());
    }
    fs.write("/last", "one").unwrap();
    fs.sync().unwrap();
    let again = after_crash(&medium);
    assert_eq!(again.read("/last").unwrap(), "one");
    for number in number - 50..number {
        let read = again.read(format!("/{}", number % 50)).unwrap();
        assert!(read == pattern(60 << 10, number as u8), "{number}");
    }
}

#[test]
fn calls_are_durable_after_a_rename_between_directories_too() {
    let medium = Medium::new();
    let fs = FileSystem::builder()
        .memory_limit(64 << 20)
        .durability(Durability::Sync)
        .open_in(Arc::new(medium.clone()))
        .expect("opened");
    fs.create_dir("/a").unwrap();
    fs.create_dir("/b").unwrap();
    for [from, to] in [["/a", "/b"], ["/b", "/a"], ["/", "/b"], ["/b", "/"]] {
        fs.write(format!("{from}/f"), "x").unwrap();
        fs.rename(format!("{from}/f"), format!("{to}/f")).unwrap();
        fs.write("/then", from).unwrap();
        let after = medium.crash(&Image::default());
        assert_eq!(open(&after).read("/then").unwrap(), from);
        assert_eq!(open(&after.fork()).read(format!("{to}/f")).unwrap(), "x");
        fs.remove_file(format!("{to}/f")).unwrap();
    }
}

#[test]
fn a_store_that_is_closed_gives_back_what_it_has_reserved() {
    let medium = Medium::new();
    let fs = open(&medium);
    fs.write("/content", pattern(300_000, 1)).unwrap();
    fs.sync().unwrap();
    let length = |medium: &Medium| {
        let names = medium.names().into_iter();
        let segments = names.filter(|name| name.starts_with("segment-"));
        segments.map(|name| medium.raw(&name).len()).sum::<usize>()
    };
    assert!(length(&medium) >= CHUNK, "nothing is reserved");
    fs.close().unwrap();
    assert!(length(&medium) < 400_000, "{} bytes", length(&medium));
    let crashed = medium.crash(&Image::default());
    assert_eq!(length(&crashed), length(&medium), "it is not durable");
}

/// What was a small file under another number is a file of its own.
#[test]
fn small_files_come_back_under_other_numbers() {
    let medium = Medium::new();
    let old = vec![7; 60_000];
    let fs = open(&medium);
    fs.write("/first", vec![1; 100_000]).unwrap();
    fs.write_slice("/small", &old).unwrap();
    fs.close().unwrap();
    let fs = open(&medium);
    let before = fs.snapshot().unwrap();
    fs.remove_file("/small").unwrap();
    fs.sync().unwrap();
    fs.restore(&before).unwrap();
    fs.copy("/first", "/copied").unwrap();
    drop(before);
    fs.close().unwrap();
    let fs = open(&medium);
    assert_eq!(fs.read("/small").unwrap(), old);
    assert_eq!(fs.read("/copied").unwrap(), vec![1; 100_000]);
}
