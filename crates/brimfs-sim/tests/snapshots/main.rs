//! Snapshots, branches, `diff` and `restore`.
#![cfg(not(feature = "shuttle"))]

mod property;
mod seen;
mod transactions;

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brimfs::{Durability, ErrorKind, FileSystem, Layout, LockMode, OpenOptions, XattrMode};
use brimfs_sim::disk::SimDisk;
use brimfs_sim::medium::Medium;

use seen::tree;

fn remove_all(fs: &FileSystem) -> brimfs::Result<()> {
    for entry in fs.read_dir("/")? {
        fs.remove_dir_all([b"/", entry.name()].concat())?;
    }
    for name in fs.list_xattrs("/")? {
        fs.remove_xattr("/", &name)?;
    }
    Ok(())
}

fn volatile() -> FileSystem {
    let builder = FileSystem::builder().memory_limit(256 << 20).spill(false);
    builder.build().expect("a filesystem")
}

/// Two threads move a file between two directories and keep two others equal; each snapshot finds it in one of both, and
/// the second of the others not ahead of the first.
#[test]
fn a_snapshot_sees_whole_calls_in_their_order() {
    let fs = volatile();
    for directory in ["/a", "/b"] {
        fs.create_dir(directory).expect("made");
    }
    fs.write("/a/file", "content").expect("written");
    for file in ["/first", "/second"] {
        fs.write(file, vec![0; 8]).expect("written");
    }
    let is_over = AtomicBool::new(false);
    let mover = || {
        while !is_over.load(Ordering::Relaxed) {
            fs.rename("/a/file", "/b/file").expect("moved");
            fs.rename("/b/file", "/a/file").expect("moved");
        }
    };
    let counter = || {
        let mut count = 0_u64;
        while !is_over.load(Ordering::Relaxed) {
            count += 1;
            for file in ["/first", "/second"] {
                fs.write(file, count.to_le_bytes().to_vec())
                    .expect("written");
            }
        }
    };
    let number = |fs: &FileSystem, path: &str| {
        let bytes = fs.read(path).expect("read");
        u64::from_le_bytes(bytes[..].try_into().expect("eight bytes"))
    };
    std::thread::scope(|scope| {
        scope.spawn(mover);
        scope.spawn(counter);
        for _ in 0..300 {
            let snapshot = fs.snapshot().expect("made");
            let places = [b"/a", b"/b"].map(|place| {
                let names = snapshot.read_dir(place).expect("listed");
                names.count()
            });
            assert_eq!(places[0] + places[1], 1);
            let (first, second) = (number(&snapshot, "/first"), number(&snapshot, "/second"));
            assert!(
                first == second || first == second + 1,
                "{first} and {second}"
            );
            let diff = fs.diff(&snapshot).expect("compared");
            assert_eq!((diff.added.len(), diff.removed.len()), (0, 0), "{diff:?}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    fs.audit().expect("as counted");
}

#[test]
fn nobody_changes_a_snapshot() {
    let fs = volatile();
    fs.create_dir("/d").expect("made");
    fs.write("/d/f", "content").expect("written");
    let snapshot = fs.snapshot().expect("made");
    assert!(snapshot.is_snapshot() && !fs.is_snapshot());
    let kinds = [
        snapshot.write("/d/f", "other").map(drop),
        snapshot.write("/d/g", "other").map(drop),
        snapshot.append("/d/f", b"other").map(drop),
        snapshot.truncate("/d/f", 1),
        snapshot.remove_file("/d/f"),
        snapshot.remove_dir_all("/d"),
        snapshot.create_dir("/e"),
        snapshot.create_dir_all("/e/e"),
        snapshot.rename("/d/f", "/d/g"),
        snapshot.hard_link("/d/f", "/d/g"),
        snapshot.symlink("f", "/d/g"),
        snapshot.copy("/d/f", "/d/g").map(drop),
        snapshot.copy_dir_all("/d", "/e"),
        snapshot.set_permissions("/d/f", 0o600),
        snapshot.set_xattr("/d/f", "user.a", b"b", XattrMode::Set),
        snapshot.create("/d/g").map(drop),
        OpenOptions::new()
            .write(true)
            .open(&snapshot, "/d/f")
            .map(drop),
        snapshot.restore(&snapshot),
    ]
    .map(|done| done.expect_err("it never changes").kind());
    assert_eq!(kinds, [ErrorKind::ReadOnly; 18]);
    assert_eq!(snapshot.read("/d/f").expect("read"), "content");
    assert_eq!(tree(&snapshot), tree(&fs));
}

#[test]
fn open_handles_go_on_with_what_was_restored() {
    let fs = volatile();
    fs.write("/kept", "before").expect("written");
    let snapshot = fs.snapshot().expect("made");
    let open = |path: &str| {
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .lock(LockMode::None)
            .clone();
        options.open(&fs, path).expect("opened")
    };
    let (mut kept, mut new) = (open("/kept"), open("/new"));
    kept.write_all(b"after!").expect("written");
    new.write_all(b"new").expect("written");
    fs.rename("/kept", "/moved").expect("renamed");
    fs.restore(&snapshot).expect("restored");
    let mut text = String::new();
    kept.seek(SeekFrom::Start(0)).expect("moved");
    kept.read_to_string(&mut text).expect("read");
    assert_eq!(text, "before");
    kept.write_all(b", and more").expect("written");
    assert_eq!(fs.read("/kept").expect("read"), "before, and more");
    assert_eq!(snapshot.read("/kept").expect("read"), "before");
    // It has no name any more, as if it had been removed.
    new.write_all(b", still").expect("written");
    assert_eq!(new.metadata().expect("known").nlink(), 0);
    assert!(!fs.exists("/new") && !fs.exists("/moved"));
}

#[test]
fn each_side_outlives_the_other() {
    let fs = volatile();
    for number in 0..100 {
        fs.write_slice(format!("/{number}"), &vec![number; 100 << (number % 12)])
            .expect("written");
    }
    let before = tree(&fs);
    let snapshot = fs.snapshot().expect("made");
    let branch = snapshot.branch().expect("made");
    branch.write("/0", "of the branch").expect("written");
    branch.write("/large", vec![1; 3 << 20]).expect("written");
    let used = fs.stats().quota_used;
    let own = branch.usage().expect("counted");
    assert!(own.private >= 3 << 20 && own.private < 4 << 20, "{own:?}");
    assert!(own.shared > 0, "{own:?}");
    fs.remove_file("/99").expect("removed");
    assert_eq!(fs.stats().quota_used, used, "the snapshot has it still");
    drop(fs);
    assert_eq!(tree(&snapshot), before);
    drop(snapshot);
    assert_eq!(branch.read("/0").expect("read"), "of the branch");
    branch.audit().expect("as counted");
    remove_all(&branch).expect("removed");
    let stats = branch.stats();
    assert_eq!((stats.quota_used, stats.resident), (0, 0));
}

fn spilling(disk: &Arc<SimDisk>, limit: u64) -> FileSystem {
    FileSystem::builder()
        .memory_limit(limit)
        .spill_disk(disk.clone(), "/spill")
        .disk_limit(1 << 30)
        .build()
        .expect("a filesystem with a disk")
}

#[test]
fn a_snapshot_of_what_is_cold_reads_nothing() {
    let disk = Arc::new(SimDisk::new());
    let fs = spilling(&disk, 32 << 20);
    for number in 0..500_u32 {
        let content = number.to_le_bytes().repeat(200 + number as usize * 4);
        fs.write(format!("/{number}"), content).expect("written");
    }
    fs.gc(0.0).expect("collected");
    let before = fs.stats();
    let snapshot = fs.snapshot().expect("made");
    let after = fs.stats();
    let read = |stats: &brimfs::Stats| stats.tier.disk.expect("a disk").read;
    assert_eq!(read(&after), read(&before));
    assert_eq!(after.quota_used, before.quota_used);
    for number in 0..500_u32 {
        fs.write(format!("/{number}"), "other").expect("written");
    }
    for number in 0..500_u32 {
        let content = number.to_le_bytes().repeat(200 + number as usize * 4);
        assert_eq!(snapshot.read(format!("/{number}")).expect("read"), content);
    }
}

/// Content that a snapshot alone still has can leave memory, whether the tier was awake when it was made or not.
#[test]
fn what_only_a_snapshot_has_makes_room() {
    for fills in [1, 6] {
        let fs = spilling(&Arc::new(SimDisk::new()), 32 << 20);
        let content = |seed: u32, number: u32| (seed + number).to_le_bytes().repeat(64 << 10);
        for number in 0..4 * fills {
            fs.write(format!("/{number}"), content(1, number))
                .expect("written");
        }
        let snapshot = fs.snapshot().expect("made");
        for round in 0..6 {
            for number in 0..32 {
                fs.write(format!("/{number}"), content(round, number))
                    .expect("written");
            }
        }
        for number in 0..4 * fills {
            assert_eq!(
                snapshot.read(format!("/{number}")).expect("read"),
                content(1, number)
            );
        }
    }
}

#[test]
fn what_is_no_snapshot_of_it_is_refused() {
    let (fs, other) = (volatile(), volatile());
    fs.write("/a", "content").expect("written");
    let strange = other.snapshot().expect("made");
    for no_snapshot in [&fs, &other, &strange] {
        let found = fs.diff(no_snapshot).expect_err("it is none");
        assert_eq!(found.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            fs.restore(no_snapshot).expect_err("it is none").kind(),
            ErrorKind::InvalidArgument
        );
    }
    let closed = fs.snapshot().expect("made");
    closed.close().expect("closed");
    assert_eq!(
        fs.restore(&closed).expect_err("it is closed").kind(),
        ErrorKind::Closed
    );
    assert_eq!(fs.read("/a").expect("read"), "content");
    fs.close().expect("closed");
    assert_eq!(
        fs.snapshot().expect_err("it is closed").kind(),
        ErrorKind::Closed
    );
}

#[test]
fn a_snapshot_that_does_not_fit_leaves_nothing() {
    let fs = FileSystem::builder()
        .memory_limit(2 << 20)
        .spill(false)
        .build()
        .expect("a filesystem");
    for number in 0..6000 {
        fs.write_slice(format!("/{number}"), &[1; 100])
            .expect("written");
    }
    let before = fs.stats();
    let kind = fs.snapshot().expect_err("there is no room").kind();
    assert_eq!(kind, ErrorKind::MemoryLimit);
    fs.clear_caches();
    let after = fs.stats();
    assert_eq!(after.quota_used, before.quota_used);
    assert!(after.resident <= before.resident);
    fs.audit().expect("as counted");
}

#[test]
fn a_mirror_has_no_snapshots() {
    let place = std::env::temp_dir().join(format!("brimfs-snapshots-{}", std::process::id()));
    let fs = FileSystem::builder()
        .layout(Layout::Mirror)
        .open(&place)
        .expect("opened");
    let kinds = [fs.snapshot(), fs.branch()].map(|made| made.expect_err("not of a mirror").kind());
    fs.close().expect("closed");
    std::fs::remove_dir_all(&place).expect("removed");
    assert_eq!(kinds, [ErrorKind::Unsupported; 2]);
}

/// Accesses to a snapshot are counted by units that the store shares, for nodes with numbers that it knows.
#[test]
fn accesses_to_a_snapshot_are_none_to_the_store() {
    let medium = Medium::new();
    let open = || {
        let builder = FileSystem::builder()
            .memory_limit(64 << 20)
            .durability(Durability::Manual);
        builder.open_in(Arc::new(medium.clone())).expect("opened")
    };
    let fs = open();
    // Too little to be counted itself.
    fs.write("/a", vec![1; 100]).expect("written");
    fs.sync().expect("durable");
    let branch = fs.branch().expect("made");
    branch.write("/a", vec![2; 1000]).expect("written");
    for _ in 0..30 {
        assert_eq!(branch.read("/a").expect("read").len(), 1000);
    }
    fs.write("/b", "more").expect("written");
    let before = tree(&fs);
    fs.close().expect("closed");
    drop((fs, branch));
    assert_eq!(tree(&open()), before);
}
