//! Changes that come together or not at all, and whom they get in the way of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use brimfs::{Durability, ErrorKind, FileSystem, OpenOptions, Timestamp};
use brimfs_sim::drivers::brimfs::Brimfs;
use brimfs_sim::medium::{Disorder, Medium, Random};
use brimfs_sim::op::{Op, SLOTS, System};
use brimfs_sim::run::{Plan, explore};

use super::property::{is_worth_trying, limits_of, same};
use super::seen::{Tree, tree};
use super::volatile;

/// Readers never see one file without the other, however many commit.
#[test]
fn what_a_transaction_changes_is_seen_together() {
    const ROUNDS: u64 = 400;
    const LOOKS: u64 = 10;
    let fs = volatile();
    for path in ["/a", "/b"] {
        fs.write(path, "0").expect("written");
    }
    let (over, seen, won) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let write = || {
        // Until somebody looked often enough, too.
        while count(&won) < ROUNDS || count(&seen) < LOOKS {
            let tx = fs.transaction().expect("begun");
            let number = tx.read("/a").expect("read");
            let number = String::from_utf8_lossy(&number).parse::<u64>();
            let number = number.expect("a number") + 1;
            for path in ["/a", "/b"] {
                tx.write(path, number.to_string()).expect("written");
            }
            match tx.commit() {
                Ok(()) => drop(won.fetch_add(1, Ordering::Relaxed)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let now = fs.snapshot().expect("made");
                let read = |path| now.read(path).expect("read");
                assert_eq!(read("/a"), read("/b"));
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        let writers = [scope.spawn(write), scope.spawn(write)];
        for writer in writers {
            writer.join().expect("no panic");
        }
        over.store(true, Ordering::Relaxed);
    });
    // No update was lost.
    assert_eq!(fs.read("/a").expect("read"), count(&won).to_string());
    fs.audit().expect("as counted");
}

type Work = fn(&FileSystem) -> brimfs::Result<()>;

/// What a transaction and others do to the same tree, and the path that both are about, if they are.
const MEETINGS: &[(&str, Work, Work, Option<&str>)] = &[
    (
        "other files",
        |tx| tx.write("/d/a", "x"),
        |fs| fs.write("/d/b", "y"),
        None,
    ),
    (
        "the same file",
        |tx| tx.write("/d/a", "x"),
        |fs| fs.append("/d/a", b"y").map(drop),
        Some("/d/a"),
    ),
    (
        "the same new name",
        |tx| tx.write("/new", "x"),
        |fs| fs.create_dir("/new"),
        Some("/new"),
    ),
    (
        "new names beside each other",
        |tx| tx.create_dir("/new"),
        |fs| fs.create_dir("/other"),
        None,
    ),
    (
        "removed and changed",
        |tx| tx.remove_file("/d/a"),
        |fs| fs.write("/d/a", "y"),
        Some("/d/a"),
    ),
    (
        "changed and removed",
        |tx| tx.write("/d/a", "x"),
        |fs| fs.remove_file("/d/a"),
        Some("/d/a"),
    ),
    (
        "removed twice",
        |tx| tx.remove_file("/d/a"),
        |fs| fs.remove_file("/d/a"),
        Some("/d/a"),
    ),
    (
        "new in a directory that is gone",
        |tx| tx.write("/e/x", "x"),
        |fs| fs.remove_dir("/e"),
        Some("/e"),
    ),
    (
        "a directory gone that has something",
        |tx| tx.remove_dir("/e"),
        |fs| fs.write("/e/x", "y"),
        Some("/e"),
    ),
    (
        "a tree gone, a file in it changed",
        |tx| tx.remove_dir_all("/d"),
        |fs| fs.write("/d/a", "y"),
        Some("/d/a"),
    ),
    (
        "a file in a directory that moved",
        |tx| tx.write("/d/a", "x"),
        |fs| fs.rename("/d", "/moved"),
        None,
    ),
    (
        "a directory moved with what is new",
        |tx| tx.rename("/d", "/moved"),
        |fs| fs.write("/d/new", "y"),
        None,
    ),
    (
        "moved to two places",
        |tx| tx.rename("/d/a", "/x"),
        |fs| fs.rename("/d/a", "/y"),
        Some("/d/a"),
    ),
    (
        "each into the other",
        |tx| tx.rename("/d", "/e/d"),
        |fs| fs.rename("/e", "/d/e"),
        Some("/d"),
    ),
    (
        "into what is new on its side",
        |tx| {
            tx.create_dir("/n")?;
            tx.rename("/d/a", "/n/a")
        },
        |fs| fs.write("/d/b", "y"),
        None,
    ),
    (
        "other attributes of another file",
        |tx| tx.set_permissions("/d/a", 0o600),
        |fs| fs.set_permissions("/d/b", 0o640),
        None,
    ),
    (
        "attributes and content",
        |tx| tx.set_permissions("/d/a", 0o600),
        |fs| fs.write("/d/a", "y"),
        Some("/d/a"),
    ),
    (
        "names of a directory and its attributes",
        |tx| tx.write("/d/new", "x"),
        |fs| fs.set_permissions("/d", 0o700),
        None,
    ),
    (
        "another name of it",
        |tx| tx.hard_link("/d/a", "/x"),
        |fs| fs.write("/d/a", "y"),
        Some("/d/a"),
    ),
    (
        "a name that is given back",
        |tx| tx.remove_file("/d/a").and_then(|()| tx.write("/d/a", "x")),
        |fs| fs.write("/d/b", "y"),
        None,
    ),
    ("nothing", |_| Ok(()), |fs| fs.remove_dir_all("/d"), None),
    (
        "nothing else",
        |tx| tx.remove_dir_all("/d"),
        |_| Ok(()),
        None,
    ),
];

#[test]
fn only_what_both_sides_change_is_a_conflict() {
    for (what, mine, theirs, expected) in MEETINGS {
        let start = || {
            let fs = volatile();
            for directory in ["/d", "/e"] {
                fs.create_dir(directory).expect("made");
            }
            for path in ["/d/a", "/d/b"] {
                fs.write(path, path).expect("written");
            }
            fs
        };
        let fs = start();
        let tx = fs.transaction().expect("begun");
        mine(&tx).unwrap_or_else(|error| panic!("{what}: {error}"));
        theirs(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
        let before = tree(&fs);
        match (tx.commit(), expected) {
            (Ok(()), None) => {
                assert!(tx.files().is_closed());
                // As if one had come behind the other.
                let serial = start();
                let done = theirs(&serial).and_then(|()| mine(&serial));
                if done.is_ok() {
                    same(what, &untimed(tree(&serial)), &untimed(tree(&fs))).expect("the same");
                }
            }
            (Err(error), Some(path)) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{what}");
                assert_eq!(error.path(), Some(path.as_bytes()), "{what}");
                same(what, &before, &tree(&fs)).expect("unchanged");
                // It goes on, and is refused again.
                tx.write("/more", "x").expect("written");
                assert_eq!(tx.commit().expect_err(what).kind(), ErrorKind::Conflict);
            }
            (done, _) => panic!("{what}: {done:?}, expected {expected:?}"),
        }
        drop(tx);
        fs.audit().unwrap_or_else(|why| panic!("{what}: {why}"));
    }
}

fn untimed(mut tree: Tree) -> Tree {
    for seen in tree.values_mut() {
        seen.modified = Timestamp::default();
    }
    tree
}

#[test]
fn a_file_in_a_directory_that_moved_is_changed_where_it_is() {
    let fs = volatile();
    fs.create_dir_all("/d/e").expect("made");
    fs.write("/d/e/a", "old").expect("written");
    let tx = fs.transaction().expect("begun");
    tx.write("/d/e/a", "new").expect("written");
    fs.rename("/d/e", "/moved").expect("moved");
    let handle = OpenOptions::new()
        .read(true)
        .lock(brimfs::LockMode::None)
        .open(&fs, "/moved/a")
        .expect("open");
    tx.commit().expect("committed");
    assert_eq!(fs.read("/moved/a").expect("read"), "new");
    assert_eq!(handle.metadata().expect("known").len(), 3);
    assert!(!fs.exists("/d/e"));
}

#[test]
fn a_transaction_that_ends_otherwise_changes_nothing() {
    let fs = volatile();
    fs.write("/a", "content").expect("written");
    let before = tree(&fs);
    let used = fs.stats().quota_used;
    let tx = fs.transaction().expect("begun");
    tx.write("/a", vec![1; 100_000]).expect("written");
    tx.rollback();
    assert_eq!(tx.commit().expect_err("it ended").kind(), ErrorKind::Closed);
    assert_eq!(
        tx.write("/b", "x").expect_err("it ended").kind(),
        ErrorKind::Closed
    );
    let dropped = fs.transaction().expect("begun");
    dropped.write("/b", "x").expect("written");
    drop(dropped);
    assert_eq!(tree(&fs), before);
    assert_eq!(fs.stats().quota_used, used);
    // None of what is only read.
    let snapshot = fs.snapshot().expect("made");
    assert_eq!(
        snapshot.transaction().expect_err("a snapshot").kind(),
        ErrorKind::ReadOnly
    );
}

#[test]
fn files_that_are_open_or_locked_are_waited_for_or_refused() {
    let fs = FileSystem::builder()
        .spill(false)
        .lock_timeout(Some(Duration::from_millis(20)))
        .build()
        .expect("built");
    fs.write("/a", "old").expect("written");
    fs.write("/b", "old").expect("written");
    let tx = fs.transaction().expect("begun");
    tx.write("/a", "new").expect("written");
    let own = OpenOptions::new().read(true).open(&tx, "/a").expect("open");
    let error = tx.commit().expect_err("it is open");
    assert_eq!(error.kind(), ErrorKind::FileInUse);
    assert!(
        error.to_string().contains("1 files of the transaction"),
        "{error}"
    );
    drop(own);
    let read = OpenOptions::new().read(true).open(&fs, "/a").expect("open");
    let error = std::thread::scope(|scope| scope.spawn(|| tx.commit()).join().expect("no panic"));
    let error = error.expect_err("somebody reads it");
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::LockTimeout, Some(&b"/a"[..]))
    );
    assert_eq!(fs.read("/a").expect("read"), "old");
    drop(read);
    // Others do not matter.
    let _other = OpenOptions::new()
        .write(true)
        .open(&fs, "/b")
        .expect("open");
    tx.commit().expect("committed");
    assert_eq!(fs.read("/a").expect("read"), "new");
}

/// A crash finds all of a transaction or nothing of it.
#[test]
fn a_store_keeps_whole_transactions() {
    let medium = Medium::new();
    let open = |medium: &Medium| {
        let builder = FileSystem::builder()
            .memory_limit(64 << 20)
            .durability(Durability::Manual);
        builder.open_in(Arc::new(medium.clone())).expect("opened")
    };
    let fs = open(&medium);
    for number in 0..5 {
        fs.write(format!("/{number}"), vec![0; 10 << (number * 3)])
            .expect("written");
    }
    fs.sync().expect("durable");
    let before = tree(&fs);
    let tx = fs.transaction().expect("begun");
    for number in 0..5 {
        tx.write(format!("/{number}"), vec![1; 10 << (number * 3)])
            .expect("written");
    }
    tx.rename("/4", "/d").expect("moved");
    medium.film();
    tx.commit().expect("committed");
    let after = tree(&fs);
    fs.sync().expect("durable");
    let mut random = Random::new(7);
    let mut found = BTreeSet::new();
    for frame in medium.frames() {
        for _ in 0..8 {
            let image = frame.sample_image(Disorder::Any, &mut random);
            let crashed = tree(&open(&frame.crash(&image)));
            match (crashed == before, crashed == after) {
                (true, _) => found.insert("before"),
                (_, true) => found.insert("after"),
                _ => panic!("neither: {crashed:?}"),
            };
        }
    }
    assert_eq!(found.len(), 2, "{found:?}");
}

/// What becomes of a path that at most one side changed. Directories count their directories themselves.
fn merged(base: &Tree, mine: &Tree, theirs: &Tree) -> Result<Tree, Vec<u8>> {
    let paths: BTreeSet<&Vec<u8>> = [base, mine, theirs]
        .into_iter()
        .flat_map(BTreeMap::keys)
        .collect();
    let mut merged = Tree::new();
    for path in paths {
        let (base, mine, theirs) = (base.get(path), mine.get(path), theirs.get(path));
        let seen = match (mine == base, theirs == base) {
            (_, true) => mine,
            (true, false) => theirs,
            (false, false) => return Err(path.clone()),
        };
        if let Some(seen) = seen {
            merged.insert(path.clone(), seen.clone());
        }
    }
    Ok(merged)
}

fn without_counts(mut tree: Tree) -> Tree {
    for seen in tree
        .values_mut()
        .filter(|seen| seen.kind == brimfs::FileType::Directory)
    {
        seen.links = 0;
    }
    tree
}

fn moves(op: &Op) -> bool {
    matches!(op, Op::Rename { .. } | Op::Link { .. })
}

struct Tally {
    committed: AtomicU64,
    refused: AtomicU64,
}

/// Operations before, beside and within a transaction. Where nothing moves, paths say what must come out.
fn trial(seed: u64, ops: &[Op], mut system: Brimfs, tally: &Tally) -> Result<(), String> {
    let may_move = seed.is_multiple_of(3);
    let usable =
        |system: &Brimfs, op: &Op| is_worth_trying(system.fs(), op) && (may_move || !moves(op));
    let (first, rest) = ops.split_at(ops.len() / 2);
    for op in first {
        if is_worth_trying(system.fs(), op) {
            drop(system.apply(op));
        }
    }
    close_all(&mut system);
    let fs = system.fs().clone();
    let base = tree(&fs);
    let tx = match fs.transaction() {
        Ok(tx) => tx,
        Err(error) if is_limit(error.kind()) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let mut inside = Brimfs::over(tx.files());
    for (number, op) in rest.iter().enumerate() {
        // Mostly one side only, so that some get through.
        let is_mine = number % 16 == 0 || (seed / 2 + number as u64 / 8).is_multiple_of(2);
        let side = if is_mine { &mut inside } else { &mut system };
        if usable(side, op) {
            drop(side.apply(op));
        }
    }
    close_all(&mut inside);
    close_all(&mut system);
    let (mine, theirs) = (tree(&tx), tree(&fs));
    let expected = merged(
        &without_counts(base),
        &without_counts(mine),
        &without_counts(theirs.clone()),
    );
    match tx.commit() {
        Ok(()) => {
            tally.committed.fetch_add(1, Ordering::Relaxed);
            if !may_move {
                let expected = expected
                    .map_err(|path| format!("both changed {}", String::from_utf8_lossy(&path)))?;
                same("what was committed", &expected, &without_counts(tree(&fs)))?;
            }
        }
        Err(error) if error.kind() == ErrorKind::Conflict || is_limit(error.kind()) => {
            tally.refused.fetch_add(1, Ordering::Relaxed);
            same("what was refused", &theirs, &tree(&fs))?;
        }
        Err(error) => return Err(error.to_string()),
    }
    drop((inside, tx));
    let mut patience = 2000;
    while let Err(why) = fs.audit() {
        if patience == 0 {
            return Err(why);
        }
        patience -= 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn is_limit(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::QuotaExceeded | ErrorKind::NodeLimit | ErrorKind::MemoryLimit
    )
}

fn close_all(system: &mut Brimfs) {
    for slot in 0..SLOTS {
        drop(system.apply(&Op::Close { slot }));
        drop(system.apply(&Op::DropView { slot }));
    }
}

fn explore_with(cases: u64, make: impl Fn(u64) -> Result<Brimfs, String> + Sync) {
    let tally = Tally {
        committed: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    };
    let plan = Plan::from_env(cases);
    let many = plan.cases >= cases;
    explore("snapshots", plan, 80, |seed, ops| {
        trial(seed, ops, make(seed)?, &tally)
    });
    let (committed, refused) = (tally.committed.into_inner(), tally.refused.into_inner());
    println!("{committed} transactions were committed, {refused} refused");
    assert!(!many || committed > 0 && refused > 0);
}

#[test]
fn a_transaction_merges_what_only_one_side_changed() {
    explore_with(400, |seed| Brimfs::new(limits_of(seed)));
}

#[test]
fn a_transaction_merges_what_is_spilled() {
    explore_with(100, |seed| Brimfs::with_disk(limits_of(seed)));
}

/// Of many commits that wait for a lock the first one gets it, and the others learn at once that it was faster.
#[test]
fn commits_that_wait_for_locks_have_their_turns() {
    const COMMITS: u64 = 20;
    let fs = volatile();
    for path in ["/a", "/b"] {
        fs.write(path, vec![1; 100_000]).expect("written");
    }
    let held = ["/a", "/b"].map(|path| {
        let open = OpenOptions::new().write(true).open(&fs, path);
        open.expect("open")
    });
    let change = |number: u64| {
        let tx = fs.transaction().expect("begun");
        // Half of them in another order.
        let mut paths = ["/a", "/b"];
        paths.rotate_left(number as usize % 2);
        for path in paths {
            tx.truncate(path, number).expect("truncated");
        }
        tx.write(format!("/new{number}"), "").expect("written");
        tx.commit().map_err(|error| error.kind())
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let change = &change;
        let commit = |number| scope.spawn(move || change(number));
        let commits: Vec<_> = (1..=COMMITS).map(commit).collect();
        while fs.stats().lock_waiters < COMMITS {
            std::thread::yield_now();
        }
        drop(held);
        let ended = commits.into_iter().map(|commit| commit.join());
        ended.map(|done| done.expect("no panic")).collect()
    });
    let conflict = Err(ErrorKind::Conflict);
    let conflicts = done.iter().filter(|done| **done == conflict).count();
    assert_eq!(conflicts as u64, COMMITS - 1, "{done:?}");
    assert_eq!(fs.stats().lock_waiters, 0);
    assert_eq!(fs.read_dir("/").expect("read").count(), 3);
}
