//! What users say and ask about memory and the disk behind it: priorities, pins, `gc`, `explain`.
#![cfg(not(feature = "shuttle"))]

use std::sync::Arc;

use brimfs::{ErrorKind, FileSystem, Kept, OpenOptions, PolicyKind, Result, SpillCause, Timestamp};
use brimfs_sim::disk::SimDisk;

const MIB: u64 = 1 << 20;
const KIB: usize = 1 << 10;

fn spilling(limit: u64) -> FileSystem {
    spilling_to(&Arc::new(SimDisk::new()), limit)
}

fn spilling_to(disk: &Arc<SimDisk>, limit: u64) -> FileSystem {
    FileSystem::builder()
        .memory_limit(limit)
        .spill_disk(disk.clone(), "/spill")
        .disk_limit(1 << 30)
        .build()
        .expect("a filesystem with a disk")
}

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 31 + seed * 17 + at / 251) as u8)
        .collect()
}

fn path(file: usize) -> String {
    format!("/f{file}")
}

/// Spills something: before that nothing is tracked.
fn wake(fs: &FileSystem) {
    fs.write_slice("/ballast", &content(0, 64 * KIB))
        .expect("written");
    fs.set_priority("/ballast", 0).expect("a file");
    fs.gc(less(fs, 1)).expect("collected");
    assert!(fs.explain("/ballast").expect("a file").cold.units > 0);
}

/// Files of so many bytes, named by their number.
fn fill(fs: &FileSystem, count: usize, len: usize) {
    for file in 0..count {
        let path = format!("/f{file}");
        fs.write_slice(path, &content(file, len)).expect("written");
    }
}

/// So many bytes less than are resident, as a share of the limit.
fn less(fs: &FileSystem, bytes: u64) -> f64 {
    let stats = fs.stats();
    (stats.resident - bytes) as f64 / stats.memory_limit as f64
}

fn is_resident(fs: &FileSystem, path: &str) -> bool {
    let found = fs.explain(path).expect("a file");
    assert!(found.resident.units + found.cold.units > 0, "{found}");
    found.cold.units == 0
}

fn now() -> i128 {
    Timestamp::from(std::time::SystemTime::now()).as_nanos()
}

#[test]
fn a_priority_is_a_number_up_to_ten_of_a_file() -> Result<()> {
    let fs = FileSystem::new()?;
    fs.create_dir("/d")?;
    fs.write("/d/a", "a")?;
    assert_eq!(fs.priority("/d/a")?, 5);
    for priority in 0..=10 {
        fs.set_priority("/d/a", priority)?;
        assert_eq!(fs.priority("/d/a")?, priority);
        assert_eq!(fs.is_pinned("/d/a")?, priority >= 9);
    }
    let error = fs.set_priority("/d/a", 11).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text =
        "set the priority of \"/d/a\": invalid argument: priority 11 is above 10, the highest";
    assert_eq!(error.to_string(), text);
    let too_much = OpenOptions::new().read(true).priority(11).open(&fs, "/d/a");
    assert_eq!(too_much.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let too_much = fs.write_with_priority("/d/b", "b", 11).unwrap_err();
    assert_eq!(too_much.kind(), ErrorKind::InvalidArgument);
    assert!(!fs.exists("/d/b"));
    for result in [fs.set_priority("/d", 1), fs.pin("/d"), fs.unpin("/d")] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::IsADirectory);
    }
    assert_eq!(
        fs.priority("/d").unwrap_err().kind(),
        ErrorKind::IsADirectory
    );
    assert_eq!(fs.priority("/x").unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

#[test]
fn a_priority_stays_with_the_file_and_goes_along_with_copies() -> Result<()> {
    let fs = FileSystem::new()?;
    fs.write_with_priority("/a", vec![1; 100_000], 7)?;
    assert_eq!(fs.priority("/a")?, 7);
    fs.write("/a", "overwritten")?;
    fs.append("/a", b" and longer")?;
    fs.truncate("/a", 3)?;
    assert_eq!(fs.priority("/a")?, 7);
    fs.write_with_priority("/a", "again", 3)?;
    assert_eq!(fs.priority("/a")?, 3);
    fs.hard_link("/a", "/link")?;
    fs.symlink("/a", "/symlink")?;
    fs.set_priority("/symlink", 2)?;
    fs.rename("/a", "/b")?;
    assert_eq!((fs.priority("/b")?, fs.priority("/link")?), (2, 2));

    fs.pin("/b")?;
    fs.copy("/b", "/copy")?;
    assert_eq!((fs.priority("/copy")?, fs.is_pinned("/copy")?), (2, false));
    fs.write_with_priority("/old", "old", 8)?;
    fs.copy("/b", "/old")?;
    assert_eq!(
        fs.priority("/old")?,
        8,
        "a file that was there keeps its own"
    );
    fs.create_dir("/from")?;
    fs.write_with_priority("/from/x", "x", 1)?;
    fs.copy_dir_all("/from", "/to")?;
    assert_eq!(fs.priority("/to/x")?, 1);

    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .priority(6)
        .open(&fs, "/new")?;
    assert_eq!(fs.priority("/new")?, 6);
    OpenOptions::new()
        .read(true)
        .priority(4)
        .open(&fs, "/new")?;
    assert_eq!(fs.priority("/new")?, 4);
    OpenOptions::new().read(true).open(&fs, "/new")?;
    assert_eq!(fs.priority("/new")?, 4);
    Ok(())
}

#[test]
fn a_pin_stands_beside_the_priority() -> Result<()> {
    let fs = FileSystem::new()?;
    fs.write_with_priority("/a", "a", 3)?;
    fs.pin("/a")?;
    fs.pin("/a")?;
    assert_eq!((fs.is_pinned("/a")?, fs.priority("/a")?), (true, 3));
    fs.set_priority("/a", 4)?;
    fs.write("/a", "changed")?;
    assert_eq!((fs.is_pinned("/a")?, fs.priority("/a")?), (true, 4));
    fs.unpin("/a")?;
    assert_eq!((fs.is_pinned("/a")?, fs.priority("/a")?), (false, 4));
    fs.set_priority("/a", 9)?;
    fs.unpin("/a")?;
    assert!(fs.is_pinned("/a")?, "by its priority");
    Ok(())
}

#[test]
fn what_has_the_lower_priority_is_spilled_first() -> Result<()> {
    let fs = spilling(16 * MIB);
    wake(&fs);
    for file in 0..800 {
        let priority = if file % 2 == 0 { 8 } else { 2 };
        let bytes = content(file, 8 * KIB);
        fs.write_with_priority(format!("/f{file}"), bytes, priority)?;
    }
    fs.gc(less(&fs, 3 * MIB))?;
    let resident = |rest: usize| {
        let files = (0..800).filter(|file| file % 2 == rest);
        files
            .filter(|file| is_resident(&fs, &format!("/f{file}")))
            .count()
    };
    let (high, low) = (resident(0), resident(1));
    assert!(
        high > 300 && low < 50,
        "{high} of priority 8, {low} of priority 2"
    );

    // The other way round, for what is in memory.
    for file in (0..800).step_by(2) {
        fs.set_priority(format!("/f{file}"), 0)?;
    }
    fs.set_priority("/f798", 8)?;
    fs.gc(less(&fs, 2 * MIB))?;
    assert!(is_resident(&fs, "/f798"));
    assert!(resident(0) < high);
    Ok(())
}

#[test]
fn what_was_built_in_pieces_has_the_priority_too() -> Result<()> {
    let fs = spilling(16 * MIB);
    wake(&fs);
    fs.write_with_priority("/large", content(1, 4 << 20), 8)?;
    let why = fs.explain("/large")?;
    assert_eq!((why.resident.units, why.priority_counted), (4, 8), "{why}");
    let value = why.score.expect("tracked").value;
    fs.set_priority("/large", 4)?;
    let lower = fs.explain("/large")?.score.expect("tracked").value;
    assert!((value / lower - 4.0).abs() < 0.2, "{value} and {lower}");
    Ok(())
}

#[test]
fn a_file_that_is_accessed_often_counts_one_priority_higher() -> Result<()> {
    let counted = |threshold: Option<u8>, reads: usize| -> Result<u8> {
        let fs = FileSystem::builder()
            .memory_limit(16 * MIB)
            .spill_disk(Arc::new(SimDisk::new()), "/spill")
            .priority_boost_threshold(threshold)
            .build()?;
        wake(&fs);
        fs.write_slice("/a", &content(1, 4096))?;
        for _ in 0..reads {
            fs.read("/a")?;
        }
        fs.explain("/a").map(|why| why.priority_counted)
    };
    assert_eq!((counted(Some(10), 9)?, counted(Some(10), 10)?), (5, 6));
    assert_eq!((counted(Some(3), 2)?, counted(Some(3), 3)?), (5, 6));
    assert_eq!(counted(None, 100)?, 5);
    Ok(())
}

#[test]
fn gc_frees_what_it_was_asked_for_exact_to_one_unit() -> Result<()> {
    for (len, unit) in [
        (700, 1024),
        (16 * KIB - 5, 16 * KIB),
        (100_000, MIB as usize),
    ] {
        let fs = spilling(16 * MIB);
        wake(&fs);
        fill(&fs, 6 * MIB as usize / len, len);
        for bytes in [MIB, 1_234_567, 2 * MIB] {
            let target = less(&fs, bytes);
            let report = fs.gc(target)?;
            assert!(report.reached(), "{report}");
            assert!(report.target.abs_diff(report.resident_before - bytes) <= 1);
            // The tables of the store shrink when one of its segments is full.
            let slack = (unit + 48 * KIB) as u64;
            assert!(
                report.resident_after + slack > report.target,
                "{len}: {report}"
            );
            assert!(
                report.written.units > 0 && report.dropped.units == 0,
                "{report}"
            );
            assert_eq!(report.resident_after, fs.stats().resident);
            let nothing = fs.gc(target)?;
            assert_eq!((nothing.written.units, nothing.caches), (0, 0), "{nothing}");
        }
        for file in 0..6 * MIB as usize / len {
            assert_eq!(fs.read(format!("/f{file}"))?, content(file, len));
        }
        fs.audit().expect("the counters");
    }
    Ok(())
}

#[test]
fn gc_takes_pinned_files_last_and_what_is_clean_without_writing() -> Result<()> {
    let fs = spilling(16 * MIB);
    wake(&fs);
    fill(&fs, 400, 8 * KIB);
    for file in 0..100 {
        fs.pin(format!("/f{file}"))?;
    }
    let pinned = |fs: &FileSystem| {
        (0..100)
            .filter(|file| is_resident(fs, &format!("/f{file}")))
            .count()
    };
    let report = fs.gc(less(&fs, 260 * 8 * KIB as u64))?;
    assert_eq!((pinned(&fs), report.pinned_units), (100, 0), "{report}");
    let report = fs.gc(0.0)?;
    assert_eq!((pinned(&fs), report.pinned_units), (0, 100), "{report}");
    assert!(!report.reached(), "nodes stay: {report}");

    fs.write_slice("/large", &content(3, 2 << 20))?;
    fs.gc(0.0)?;
    assert_eq!(fs.read("/large")?, content(3, 2 << 20));
    let why = fs.explain("/large")?;
    assert_eq!(
        (why.clean.units, why.resident.units, why.cold.units),
        (2, 2, 0),
        "{why}"
    );
    let report = fs.gc(0.0)?;
    assert_eq!(
        (report.written.units, report.dropped.units),
        (0, 2),
        "{report}"
    );
    assert_eq!(report.dropped.bytes, 2 << 20);
    fs.audit().expect("the counters");
    Ok(())
}

#[test]
fn gc_leaves_what_a_view_shows() -> Result<()> {
    let fs = spilling(16 * MIB);
    fs.write_slice("/a", &content(1, 3 << 20))?;
    let view = fs.view("/a")?;
    fs.gc(0.0)?;
    let why = fs.explain("/a")?;
    assert_eq!(
        (why.resident.units, why.kept),
        (3, Some(Kept::Viewed)),
        "{why}"
    );
    assert_eq!(view[..], content(1, 3 << 20));
    drop(view);
    fs.gc(0.0)?;
    assert_eq!(fs.explain("/a")?.cold.units, 3);
    Ok(())
}

#[test]
fn gc_without_a_disk_gives_caches_and_recycled_memory_back() -> Result<()> {
    let fs = FileSystem::builder()
        .memory_limit(64 * MIB)
        .spill(false)
        .build()?;
    fill(&fs, 1000, 4 * KIB);
    for file in 0..1000 {
        assert!(fs.exists(format!("/f{file}")));
    }
    assert!(fs.stats().cached_paths > 0);
    let before = fs.stats().resident;
    let report = fs.gc(0.0)?;
    assert_eq!(report.resident_before, before);
    assert_eq!(report.resident_after, before - report.caches);
    assert!(report.caches > 0 && !report.reached(), "{report}");
    assert_eq!((report.written.units, fs.stats().cached_paths), (0, 0));
    let nothing = fs.gc(1.0)?;
    assert!(nothing.reached() && nothing.caches == 0, "{nothing}");
    Ok(())
}

#[test]
fn gc_refuses_what_is_no_share() {
    let fs = FileSystem::new().expect("a filesystem");
    for target in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
        let error = fs.gc(target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let text = format!("{target} is not a share of the memory limit");
        assert!(error.to_string().contains(&text), "{error}");
    }
    fs.close().unwrap();
    assert_eq!(fs.gc(0.5).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn an_error_of_the_disk_is_one_of_gc_and_harms_nothing() -> Result<()> {
    let fs = FileSystem::builder()
        .memory_limit(16 * MIB)
        .spill_disk(Arc::new(SimDisk::new()), "/spill")
        .disk_limit(4 * MIB)
        .build()?;
    fill(&fs, 800, 8 * KIB);
    let error = fs.gc(0.1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskLimit, "{error}");
    for file in 0..800 {
        assert_eq!(fs.read(format!("/f{file}"))?, content(file, 8 * KIB));
    }
    fs.audit().expect("the counters");
    Ok(())
}

#[test]
fn explain_says_where_a_file_is_and_why() -> Result<()> {
    let fs = FileSystem::builder()
        .memory_limit(64 * MIB)
        .spill(false)
        .build()?;
    fs.write_slice("/a", &content(1, 4096))?;
    assert_eq!(fs.explain("/a")?.kept, Some(Kept::NoDisk));

    let fs = spilling(16 * MIB);
    fs.write_slice("/early", &content(1, 4096))?;
    assert_eq!(fs.explain("/early")?.kept, Some(Kept::NeverShort));
    wake(&fs);
    fs.write("/small", "small")?;
    fs.write_slice("/a", &content(1, 4096))?;
    fs.write_slice("/pinned", &content(1, 4096))?;
    fs.pin("/pinned")?;
    fs.create("/sparse")?.set_len(3 << 20)?;
    let kept = |path: &str| fs.explain(path).map(|why| why.kept);
    assert_eq!(kept("/small")?, Some(Kept::Small));
    assert_eq!(kept("/a")?, Some(Kept::Worth));
    assert_eq!(kept("/pinned")?, Some(Kept::Pinned));
    let sparse = fs.explain("/sparse")?;
    assert_eq!(
        (sparse.kept, sparse.holes, sparse.len),
        (None, 3 << 20, 3 << 20)
    );
    fs.read("/a")?;
    let why = fs.explain("/a")?;
    assert_eq!(
        (why.accesses, why.resident.bytes, why.spilled),
        (1, 4096, None)
    );
    let score = why.score.expect("tracked");
    assert!(score.left > 0.0 && score.left <= score.value && !score.is_proven);
    assert!(
        why.to_string()
            .ends_with("is in memory because other content is worth less.")
    );

    let before = now();
    fs.gc(0.0)?;
    let why = fs.explain("/a")?;
    assert_eq!(
        (why.cold.bytes, why.resident.units, why.kept),
        (4096, 0, None)
    );
    let spilled = why.spilled.expect("spilled just now");
    assert_eq!(spilled.cause, SpillCause::Gc);
    let tick = 250_000_000;
    assert!((before - tick..=now() + tick).contains(&spilled.at.as_nanos()));
    let text = why.to_string();
    assert!(
        text.starts_with("\"/a\" has 4096 bytes: 4096 bytes in 1 unit on the disk only"),
        "{text}"
    );
    assert!(
        text.ends_with("seconds ago, because gc was called."),
        "{text}"
    );
    assert_eq!(fs.explain("/").unwrap_err().kind(), ErrorKind::IsADirectory);
    assert_eq!(fs.explain("/x").unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

#[test]
fn explain_tells_apart_why_memory_was_needed() -> Result<()> {
    let fs = spilling(16 * MIB);
    fill(&fs, 1000, 64 * KIB);
    let mut causes = Vec::new();
    for file in 0..1000 {
        if let Some(spilled) = fs.explain(format!("/f{file}"))?.spilled {
            causes.push(spilled.cause);
        }
    }
    assert!(causes.len() > 600, "{}", causes.len());
    assert!(!causes.contains(&SpillCause::Gc));
    Ok(())
}

#[test]
fn every_policy_can_be_chosen() -> Result<()> {
    for kind in PolicyKind::ALL {
        let fs = FileSystem::builder()
            .memory_limit(8 * MIB)
            .spill_disk(Arc::new(SimDisk::new()), "/spill")
            .disk_limit(1 << 30)
            .policy(kind)
            .compression(brimfs::Compression::Lz4)
            .build()?;
        fill(&fs, 300, 64 * KIB);
        for file in 0..300 {
            assert_eq!(
                fs.read(format!("/f{file}"))?,
                content(file, 64 * KIB),
                "{kind}"
            );
        }
        assert!(fs.tier_stats().swaps_out > 100, "{kind}");
        let disk = fs.tier_stats().disk.expect("it was needed");
        assert!(disk.live < fs.tier_stats().cold_bytes, "compressed");
    }
    Ok(())
}

#[test]
fn operations_are_counted_where_they_succeed() -> Result<()> {
    let fs = FileSystem::new()?;
    for file in 0..10 {
        fs.write_slice(path(file), &content(file, 300_000))?;
        fs.append(path(file), b"more")?;
    }
    fs.write_with_priority("/x", "x", 3)?;
    let file = OpenOptions::new().read(true).write(true).open(&fs, "/f1")?;
    file.write_at(0, b"changed")?;
    file.read_at(0, &mut [0; 10])?;
    drop(file);
    fs.read("/f2")?;
    fs.view("/f2")?;
    fs.remove_file("/f3")?;
    for wrong in ["/missing", "/"] {
        fs.read(wrong).unwrap_err();
        fs.open(wrong).unwrap_err();
        fs.write(format!("{wrong}/"), "").unwrap_err();
        fs.remove_file(wrong).unwrap_err();
    }
    let stats = fs.stats();
    let calls = [stats.opens, stats.reads, stats.writes, stats.removals].map(|count| count.calls);
    assert_eq!(calls, [1, 3, 22, 1]);
    let means = [stats.opens, stats.reads, stats.writes, stats.removals].map(|count| count.mean);
    assert!(means.iter().all(|mean| !mean.is_zero()), "{means:?}");
    assert_eq!((stats.hits(), stats.misses, stats.hit_rate()), (3, 0, 1.0));
    Ok(())
}

#[test]
fn hits_and_misses_are_told_apart() -> Result<()> {
    let fs = spilling(16 * MIB);
    assert!((fs.stats().hit_rate() - 1.0).abs() < f64::EPSILON);
    fill(&fs, 100, 8 * KIB);
    fs.gc(0.0)?;
    for _ in 0..3 {
        for file in 0..100 {
            assert_eq!(fs.read(path(file))?, content(file, 8 * KIB));
        }
    }
    let stats = fs.stats();
    assert_eq!(
        (stats.reads.calls, stats.hits(), stats.misses),
        (300, 200, 100)
    );
    assert!((stats.hit_rate() - 2.0 / 3.0).abs() < 1e-9);
    let tier = stats.tier;
    assert_eq!(
        (tier.swaps_out, tier.swaps_in, tier.cold_units),
        (100, 100, 100)
    );
    fs.write_slice("/large", &content(1, 5 << 20))?;
    fs.gc(0.0)?;
    let tier = fs.stats().tier;
    assert_eq!((tier.cold_units, tier.cold_files), (105, 101));
    assert_eq!(tier.cold_bytes, (5 << 20) + 100 * 8192);
    fs.copy("/large", "/copy")?;
    fs.remove_file("/large")?;
    assert_eq!(fs.stats().tier.cold_files, 101, "the copy has them still");
    fs.remove_file("/copy")?;
    assert_eq!(fs.stats().tier.cold_files, 100);
    Ok(())
}
