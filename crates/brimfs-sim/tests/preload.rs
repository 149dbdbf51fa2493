//! Files that are brought into memory ahead of use.
#![cfg(not(feature = "shuttle"))]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use brimfs::{ErrorKind, FileSystem, Result};
use brimfs_sim::disk::{Failure, Plan, SimDisk};

const MIB: u64 = 1 << 20;
const KIB: usize = 1 << 10;

struct World {
    fs: FileSystem,
    disk: Arc<SimDisk>,
}

impl World {
    fn new(limit: u64) -> World {
        let disk = Arc::new(SimDisk::new());
        let fs = FileSystem::builder()
            .memory_limit(limit)
            .spill_disk(disk.clone(), "/spill")
            .disk_limit(1 << 30)
            .build()
            .expect("a filesystem with a disk");
        World { fs, disk }
    }

    /// Files of so many bytes, named by their number, all of them on the disk only.
    fn with_cold_files(limit: u64, count: usize, len: usize) -> World {
        let world = World::new(limit);
        for file in 0..count {
            let bytes = content(file, len);
            world.fs.write_slice(path(file), &bytes).expect("written");
        }
        world.fs.gc(0.0).expect("collected");
        assert_eq!(world.cold(count), count);
        world
    }

    fn cold(&self, count: usize) -> usize {
        let is_cold = |file: &usize| self.fs.explain(path(*file)).expect("a file").cold.units > 0;
        (0..count).filter(is_cold).count()
    }

    /// Runs `body` while no read of the disk gets any further.
    fn while_reads_hang(&self, body: impl FnOnce()) {
        let (begun, hangs): (Sender<()>, Receiver<()>) = channel();
        let (release, released): (Sender<()>, Receiver<()>) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                self.disk.damage(0, |_| {
                    begun.send(()).expect("somebody waits");
                    released.recv().expect("somebody releases");
                });
            });
            hangs.recv().expect("it hangs");
            body();
            release.send(()).expect("it hangs still");
        });
    }
}

fn path(file: usize) -> String {
    format!("/f{file}")
}

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 31 + seed * 17 + at / 251) as u8)
        .collect()
}

#[test]
fn files_come_in_together_and_whole() -> Result<()> {
    let world = World::with_cold_files(16 * MIB, 500, 4 * KIB);
    world.fs.write_slice("/large", &content(7, 3_500_000))?;
    world.fs.gc(0.0)?;
    let before = world.disk.calls().reads;
    let paths = (0..500).map(path).chain(["/large".to_owned()]);
    let preload = world.fs.preload(paths, None)?;
    assert!(preload.wait(None) && preload.is_done());
    let report = preload.result().expect("it is done");
    assert_eq!(
        (report.files, report.errors.len(), report.cancelled),
        (501, 0, false)
    );
    assert_eq!(
        (report.loaded.units, report.loaded.bytes),
        (504, 500 * 4096 + 3_500_000)
    );
    let reads = world.disk.calls().reads - before;
    assert!(reads < 100, "{reads} reads of the disk");
    let tier = world.fs.tier_stats();
    assert_eq!((tier.preloads, tier.preloaded), (504, report.loaded.bytes));
    assert_eq!(world.cold(500), 0);

    let before = world.disk.calls().total;
    for file in 0..500 {
        assert_eq!(world.fs.read(path(file))?, content(file, 4 * KIB));
    }
    assert_eq!(world.fs.read("/large")?, content(7, 3_500_000));
    assert_eq!(world.disk.calls().total, before, "no read of the disk");
    let again = world.fs.preload(["/large"], None)?;
    assert!(again.id() > preload.id() && again.wait(None));
    let report = again.result().expect("it is done");
    assert_eq!(
        (report.files, report.loaded.units),
        (1, 0),
        "it was there already"
    );
    world.fs.audit().expect("the counters");
    Ok(())
}

#[test]
fn what_is_wrong_with_a_path_is_in_the_result() -> Result<()> {
    let world = World::with_cold_files(16 * MIB, 3, 4 * KIB);
    world.fs.create_dir("/d")?;
    let paths = ["/missing", "/f0", "/d", "/f1"];
    let preload = world.fs.preload(paths, Some(7))?;
    assert!(preload.wait(None));
    let report = preload.result().expect("it is done");
    let errors: Vec<_> = report
        .errors
        .iter()
        .map(|error| (error.path(), error.kind()))
        .collect();
    let missing = (Some(b"/missing".as_slice()), ErrorKind::NotFound);
    let directory = (Some(b"/d".as_slice()), ErrorKind::IsADirectory);
    assert_eq!(errors, [missing, directory]);
    assert_eq!(
        report.errors[0].to_string(),
        "preload \"/missing\": no such file or directory"
    );
    assert_eq!(report.files, 2);
    let priorities = [world.fs.priority("/f0")?, world.fs.priority("/f2")?];
    assert_eq!(priorities, [7, 5]);
    let error = world.fs.preload(["/f0"], Some(11)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    Ok(())
}

#[test]
fn without_a_disk_all_is_there_already() -> Result<()> {
    let fs = FileSystem::builder()
        .memory_limit(16 * MIB)
        .spill(false)
        .build()?;
    fs.write("/a", "a")?;
    let preload = fs.preload(["/a", "/b"], None)?;
    let report = preload.result().expect("done at once");
    assert_eq!((report.files, report.errors.len()), (1, 1));
    let nothing = fs.preload::<&str>([], None)?;
    assert_eq!(nothing.result().expect("done at once").files, 0);
    fs.close().unwrap();
    assert_eq!(
        fs.preload(["/a"], None).unwrap_err().kind(),
        ErrorKind::Closed
    );
    Ok(())
}

#[test]
fn what_does_not_fit_does_not_push_out_what_came_before() -> Result<()> {
    let world = World::with_cold_files(12 * MIB, 400, 60 * KIB);
    let preload = world.fs.preload((0..400).map(path), None)?;
    assert!(preload.wait(None));
    let report = preload.result().expect("it is done");
    assert_eq!(report.files as usize + report.errors.len(), 400);
    assert!(
        report
            .errors
            .iter()
            .all(|error| error.kind() == ErrorKind::MemoryLimit)
    );
    assert!(report.files > 60, "{report:?}");
    let here = report.files as usize;
    let missing = world.cold(here);
    assert!(
        missing <= here / 20,
        "{missing} of the first {here} are cold again"
    );
    let stats = world.fs.stats();
    assert!(stats.resident_peak <= stats.memory_limit);
    world.fs.audit().expect("the counters");
    Ok(())
}

#[test]
fn a_preload_makes_room_like_a_reader() -> Result<()> {
    let world = World::with_cold_files(12 * MIB, 40, 60 * KIB);
    for file in 0..200 {
        let bytes = content(file, 60 * KIB);
        world
            .fs
            .write_with_priority(format!("/other{file}"), bytes, 2)?;
    }
    let preload = world.fs.preload((0..40).map(path), None)?;
    assert!(preload.wait(None));
    assert_eq!(preload.result().expect("it is done").files, 40);
    assert_eq!(world.cold(40), 0, "what has the lower priority went");
    Ok(())
}

#[test]
fn a_wait_can_be_limited_and_a_preload_cancelled() -> Result<()> {
    let world = World::with_cold_files(16 * MIB, 1000, 4 * KIB);
    let (mut first, mut second) = (None, None);
    world.while_reads_hang(|| {
        let preload = world.fs.preload((0..1000).map(path), None).expect("begun");
        assert!(!preload.wait(Some(Duration::from_millis(20))) && !preload.is_done());
        assert!(preload.result().is_none());
        let waiting = world.fs.preload(["/f999"], None).expect("queued");
        preload.cancel();
        waiting.cancel();
        (first, second) = (Some(preload), Some(waiting));
    });
    for preload in [first, second].into_iter().flatten() {
        assert!(preload.wait(Some(Duration::from_secs(60))));
        let report = preload.result().expect("it is done");
        assert!(report.cancelled && report.files < 1000, "{report:?}");
        assert!(report.errors.is_empty());
    }
    assert!(
        world.cold(1000) > 500,
        "what was being read came in and no more"
    );
    Ok(())
}

#[test]
fn many_threads_wait_for_one_preload() -> Result<()> {
    let world = World::with_cold_files(16 * MIB, 1000, 4 * KIB);
    let preload = world.fs.preload((0..1000).map(path), None)?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let preload = preload.clone();
            scope.spawn(move || assert!(preload.wait(None)));
        }
    });
    assert_eq!(preload.result().expect("it is done").files, 1000);
    Ok(())
}

#[test]
fn closing_and_dropping_end_what_is_under_way() -> Result<()> {
    let world = World::with_cold_files(16 * MIB, 1000, 4 * KIB);
    let preload = world.fs.preload((0..1000).map(path), None)?;
    world.fs.close().unwrap();
    assert!(preload.is_done(), "closing waits for it");
    let report = preload.result().expect("it is done");
    assert!(report.cancelled || report.files == 1000);

    let world = World::with_cold_files(16 * MIB, 1000, 4 * KIB);
    let preload = world.fs.preload((0..1000).map(path), None)?;
    drop(world);
    assert!(preload.wait(Some(Duration::from_secs(60))));
    Ok(())
}

#[test]
fn files_that_are_removed_meanwhile_are_no_more() -> Result<()> {
    let world = World::with_cold_files(16 * MIB, 1000, 4 * KIB);
    let mut preload = None;
    world.while_reads_hang(|| {
        preload = Some(world.fs.preload((0..1000).map(path), None).expect("begun"));
        for file in 900..1000 {
            world.fs.remove_file(path(file)).expect("removed");
        }
    });
    let preload = preload.expect("begun");
    assert!(preload.wait(None));
    let report = preload.result().expect("it is done");
    assert_eq!((report.files, report.errors.len()), (900, 100));
    assert!(
        report
            .errors
            .iter()
            .all(|error| error.kind() == ErrorKind::NotFound)
    );
    world.fs.audit().expect("the counters");
    Ok(())
}

#[test]
fn damage_and_failures_are_errors_of_their_files() -> Result<()> {
    let world = World::with_cold_files(16 * MIB, 8, 64 * KIB);
    world.disk.damage(0, |bytes| bytes[70_000] ^= 1);
    let preload = world.fs.preload((0..8).map(path), None)?;
    assert!(preload.wait(None));
    let report = preload.result().expect("it is done");
    let kinds: Vec<_> = report.errors.iter().map(|error| error.kind()).collect();
    assert_eq!((report.files, kinds), (7, vec![ErrorKind::Corrupt]));
    world.fs.gc(0.0)?;
    let broken = Plan {
        call: world.disk.calls().total,
        failure: Failure::Io,
        lasting: true,
    };
    world.disk.plan(Some(broken));
    let preload = world.fs.preload((0..8).map(path), None)?;
    assert!(preload.wait(None));
    assert_eq!(preload.result().expect("it is done").errors.len(), 8);
    world.disk.plan(None);
    let preload = world.fs.preload((0..8).map(path), None)?;
    assert!(preload.wait(None));
    assert_eq!(preload.result().expect("it is done").files, 7);
    Ok(())
}
