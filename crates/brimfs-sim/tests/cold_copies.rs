//! Copies on the disk of content that came back: what keeps them, what ends them, and that they stand in
//! nobody's way.
#![cfg(not(feature = "shuttle"))]

use std::sync::Arc;
use std::time::Duration;

use brimfs::{ErrorKind, FileSystem, OpenOptions, Result, TierStats};
use brimfs_sim::disk::{Failure, Plan, SimDisk};

const MIB: u64 = 1 << 20;
const KIB: usize = 1 << 10;

fn spilling(memory_limit: u64, disk_limit: u64) -> FileSystem {
    spilling_to(&Arc::new(SimDisk::new()), memory_limit, disk_limit)
}

fn spilling_to(disk: &Arc<SimDisk>, memory_limit: u64, disk_limit: u64) -> FileSystem {
    FileSystem::builder()
        .memory_limit(memory_limit)
        .spill_disk(disk.clone(), "/spill")
        .disk_limit(disk_limit)
        .build()
        .expect("a filesystem with a disk")
}

/// Bytes that depend on the seed and compress badly.
fn content(seed: usize, len: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len.div_ceil(8)).flatten().take(len).collect()
}

/// Spills all that can go; returns how many units were written, and how many were not.
fn spill(fs: &FileSystem) -> (u64, u64) {
    let report = fs.gc(0.0).expect("collected");
    (report.written.units, report.dropped.units)
}

fn written(fs: &FileSystem) -> u64 {
    fs.tier_stats().disk.map_or(0, |disk| disk.written)
}

fn is_clean(fs: &FileSystem, path: &str) -> bool {
    let why = fs.explain(path).expect("a file");
    assert_eq!(why.cold.units, 0, "it came back: {why}");
    why.clean == why.resident
}

/// What the tier says, as soon as it is so, or after ten seconds.
fn settled(fs: &FileSystem, is_so: impl Fn(&TierStats) -> bool) -> TierStats {
    for _ in 0..1000 {
        if is_so(&fs.tier_stats()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    fs.tier_stats()
}

fn end(fs: &FileSystem) {
    for name in fs.read_dir("/").expect("the root") {
        let path = [b"/".as_slice(), name.name()].concat();
        fs.remove_file(path).expect("removed");
    }
    fs.audit().expect("the counters");
    // A batch may be under way in the background; what it writes for files that went is given up.
    let is_empty =
        |tier: &TierStats| tier.cold_units == 0 && tier.disk.is_none_or(|disk| disk.live == 0);
    let tier = settled(fs, is_empty);
    assert!(is_empty(&tier), "{tier:?}");
    assert_eq!((tier.cold_bytes, tier.cold_files), (0, 0));
    assert_eq!(fs.stats().quota_used, 0);
    fs.audit().expect("the counters");
    assert!(
        fs.tier_stats().disk.is_none(),
        "an empty filesystem has no disk"
    );
}

const SIZES: [usize; 6] = [129, 4 * KIB, 30_000, 64 * KIB, 100_000, 1 << 20];

#[test]
fn what_was_not_changed_goes_again_without_a_write() -> Result<()> {
    let fs = spilling(32 * MIB, 1 << 30);
    let mut files = Vec::new();
    for (seed, len) in SIZES.into_iter().enumerate() {
        let (copied, adopted) = (format!("/copied{len}"), format!("/adopted{len}"));
        fs.write_slice(&copied, &content(seed, len))?;
        fs.write(&adopted, content(seed, len))?;
        files.push((copied, content(seed, len)));
        files.push((adopted, content(seed, len)));
    }
    let units = files.len() as u64;
    assert_eq!(spill(&fs), (units, 0));
    let (before, swapped) = (written(&fs), fs.tier_stats().swapped_out);
    for round in 1..4 {
        for (path, bytes) in &files {
            assert!(fs.read(path)? == bytes[..], "{path}");
            assert!(is_clean(&fs, path), "{path}");
            assert!(fs.explain(path)?.spilled.is_some(), "{path}");
        }
        let tier = fs.tier_stats();
        assert_eq!(tier.swaps_in, round * units);
        assert_eq!((tier.cold_units, tier.cold_files), (units, units));
        assert_eq!(spill(&fs), (0, units));
        let tier = fs.tier_stats();
        assert_eq!((tier.swaps_out, tier.swapped_out), (units, swapped));
        assert_eq!(tier.evictions, (round + 1) * units);
    }
    assert_eq!(written(&fs), before, "not a byte");
    fs.audit().expect("the counters");
    end(&fs);
    Ok(())
}

#[test]
fn what_leaves_the_content_as_it_is_leaves_the_copy() -> Result<()> {
    let fs = spilling(32 * MIB, 1 << 30);
    let bytes = content(1, 5000);
    fs.write_slice("/a", &bytes)?;
    spill(&fs);
    let before = written(&fs);
    fs.read("/a")?;
    fs.rename("/a", "/b")?;
    fs.hard_link("/b", "/link")?;
    fs.remove_file("/b")?;
    fs.set_priority("/link", 7)?;
    fs.pin("/link")?;
    fs.unpin("/link")?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).open(&fs, "/link")?;
    file.set_len(5000)?;
    file.allocate(0, 5000)?;
    assert_eq!(file.write_at(10, b"")?, 0);
    drop(file);
    assert!(is_clean(&fs, "/link"));
    assert_eq!(spill(&fs), (0, 1));
    assert_eq!(written(&fs), before);
    assert_eq!(fs.read("/link")?, bytes);
    end(&fs);
    Ok(())
}

type Change = (&'static str, fn(&FileSystem) -> Result<()>);

const CHANGES: [Change; 13] = [
    ("a byte", |fs| {
        let file = OpenOptions::new().write(true).open(fs, "/a")?;
        file.write_at(17, b"x").map(drop)
    }),
    ("the end", |fs| fs.append("/a", b"more").map(drop)),
    ("a cut", |fs| fs.truncate("/a", 2000)),
    ("a cut to what never goes", |fs| fs.truncate("/a", 100)),
    ("a cut to nothing", |fs| fs.truncate("/a", 0)),
    ("a hole behind", |fs| fs.truncate("/a", 2_000_000)),
    ("a hole", |fs| {
        let file = OpenOptions::new().write(true).open(fs, "/a")?;
        file.punch_hole(0, 3000)
    }),
    ("room behind", |fs| {
        let file = OpenOptions::new().write(true).open(fs, "/a")?;
        file.allocate(0, 300_000)
    }),
    ("as much", |fs| {
        let len = fs.metadata("/a")?.len() as usize;
        fs.write_slice("/a", &content(99, len))
    }),
    ("as much, adopted", |fs| {
        let len = fs.metadata("/a")?.len() as usize;
        fs.write("/a", content(99, len))
    }),
    ("less", |fs| fs.write_slice("/a", &content(99, 700))),
    ("another file's", |fs| {
        fs.write_slice("/b", &content(98, 900))?;
        fs.copy("/b", "/a")?;
        fs.remove_file("/b")
    }),
    ("another file", |fs| {
        fs.write_slice("/b", &content(98, 900))?;
        fs.rename("/b", "/a")
    }),
];

#[test]
fn every_change_ends_the_copy_and_frees_its_place() -> Result<()> {
    for (len, (what, change)) in [5000, 100_000]
        .into_iter()
        .flat_map(|len| CHANGES.map(|change| (len, change)))
    {
        let fs = spilling(32 * MIB, 1 << 30);
        let model = FileSystem::builder().spill(false).build()?;
        for fs in [&fs, &model] {
            fs.write_slice("/a", &content(1, len))?;
            fs.write_slice("/other", &content(2, 700))?;
        }
        spill(&fs);
        for path in ["/a", "/other"] {
            fs.read(path)?;
            assert!(is_clean(&fs, path));
        }
        change(&fs)?;
        change(&model)?;
        let why = fs.explain("/a")?;
        assert_eq!((why.clean.units, why.spilled), (0, None), "{what}: {why}");
        let tier = fs.tier_stats();
        assert_eq!((tier.cold_units, tier.cold_bytes), (1, 700), "{what}");
        assert!(tier.disk.is_some_and(|disk| disk.live < 1000), "{what}");

        let (_, clean) = spill(&fs);
        assert_eq!(clean, 1, "{what}");
        assert!(fs.read("/a")? == model.read("/a")?, "{what}");
        assert_eq!(fs.read("/other")?, content(2, 700));
        end(&fs);
    }
    Ok(())
}

#[test]
fn a_file_that_was_cut_while_it_was_cold_has_no_copy_when_it_is_back() -> Result<()> {
    let fs = spilling(32 * MIB, 1 << 30);
    fs.write_slice("/a", &content(1, 5000))?;
    spill(&fs);
    fs.truncate("/a", 3000)?;
    assert_eq!(fs.explain("/a")?.cold.bytes, 3000);
    assert_eq!(fs.read("/a")?, content(1, 5000)[..3000]);
    assert!(!is_clean(&fs, "/a"));
    assert_eq!(fs.tier_stats().cold_units, 0);
    assert_eq!(spill(&fs), (1, 0));
    assert_eq!(fs.read("/a")?, content(1, 5000)[..3000]);
    end(&fs);
    Ok(())
}

#[test]
fn copies_and_views_of_a_file_that_is_back_are_no_matter_of_its_copy() -> Result<()> {
    for len in [5000, 100_000] {
        let fs = spilling(32 * MIB, 1 << 30);
        let bytes = content(1, len);
        fs.write_slice("/a", &bytes)?;
        spill(&fs);
        fs.read("/a")?;
        fs.copy("/a", "/b")?;
        let why = fs.explain("/b")?;
        assert_eq!(why.clean.units, 0, "not by this name: {why}");
        spill(&fs);
        assert!(fs.read("/a")? == bytes && fs.read("/b")? == bytes);
        fs.remove_file("/a")?;
        spill(&fs);
        assert!(fs.read("/b")? == bytes, "{len}");
        spill(&fs);
        assert!(fs.view("/b")?[..] == bytes);
        spill(&fs);
        assert!(fs.read("/b")? == bytes);

        // The original goes while a copy has the chunk that came back.
        fs.write_slice("/c", &bytes)?;
        spill(&fs);
        fs.read("/c")?;
        fs.copy("/c", "/d")?;
        fs.write_slice("/c", &content(2, len))?;
        spill(&fs);
        assert!(fs.read("/d")? == bytes && fs.read("/c")? == content(2, len));
        fs.audit().expect("the counters");
        end(&fs);
    }
    Ok(())
}

/// More than the disk takes beside copies of what is in memory, but not more than both together.
#[test]
fn copies_give_way_where_the_disk_limit_is_short() -> Result<()> {
    for len in [8 * KIB, 100_000, 3 << 20] {
        let fs = spilling(10 * MIB, 18 * MIB);
        let count = 15 * MIB as usize / len;
        let path = |file: usize| format!("/f{file}");
        let mut seeds: Vec<usize> = (0..count).collect();
        for file in 0..count {
            fs.write_slice(path(file), &content(file, len))?;
        }
        for round in 1..4 {
            for step in 0..count {
                let file = step * 389 % count;
                assert!(fs.read(path(file))? == content(seeds[file], len));
                if step % 5 == round {
                    seeds[file] += 1000;
                    fs.write_slice(path(file), &content(seeds[file], len))?;
                }
            }
        }
        let tier = fs.tier_stats();
        let disk = tier.disk.expect("in use");
        assert!(disk.bytes <= disk.limit, "{tier:?}");
        end(&fs);
    }
    Ok(())
}

#[test]
fn copies_give_way_where_the_disk_is_full() -> Result<()> {
    let disk = Arc::new(SimDisk::new());
    let fs = spilling_to(&disk, 10 * MIB, 1 << 30);
    let (count, len) = (6 * MIB as usize / 60_000, 60_000);
    for file in 0..count {
        fs.write_slice(format!("/f{file}"), &content(file, len))?;
    }
    spill(&fs);
    for file in 0..count {
        assert!(fs.read(format!("/f{file}"))? == content(file, len));
    }
    // All that is there has a copy: nobody can write if none of them goes.
    disk.set_capacity(Some(disk.used()));
    for file in 0..count / 2 {
        fs.write_slice(format!("/g{file}"), &content(1000 + file, len))?;
    }
    for file in 0..count / 2 {
        assert!(fs.read(format!("/g{file}"))? == content(1000 + file, len));
        assert!(fs.read(format!("/f{file}"))? == content(file, len));
    }
    disk.set_capacity(None);
    end(&fs);
    Ok(())
}

#[test]
fn a_disk_that_fails_takes_nothing_with_the_copies() -> Result<()> {
    let disk = Arc::new(SimDisk::new());
    let fs = spilling_to(&disk, 10 * MIB, 1 << 30);
    for file in 0..40 {
        fs.write_slice(format!("/f{file}"), &content(file, 60_000))?;
    }
    spill(&fs);
    for file in 0..40 {
        fs.read(format!("/f{file}"))?;
    }
    fs.write_slice("/new", &content(99, 60_000))?;
    for failure in [Failure::Full, Failure::Io] {
        disk.plan(Some(Plan {
            call: disk.calls().total,
            failure,
            lasting: true,
        }));
        let error = fs.gc(0.0).expect_err("what is new cannot be written");
        let kinds = [ErrorKind::DiskFull, ErrorKind::Io];
        assert!(kinds.contains(&error.kind()), "{error}");
        disk.plan(None);
        for file in 0..40 {
            let bytes = fs.read(format!("/f{file}"))?;
            assert!(bytes == content(file, 60_000), "{failure:?}: {file}");
        }
        assert!(fs.read("/new")? == content(99, 60_000));
    }
    end(&fs);
    Ok(())
}

#[test]
fn compaction_moves_copies_of_what_is_in_memory() -> Result<()> {
    let fs = spilling(64 * MIB, 1 << 30);
    let len = 64 * KIB;
    let count = 1600;
    for file in 0..count {
        fs.write_slice(format!("/f{file}"), &content(file, len))?;
    }
    spill(&fs);
    for file in (0..count).step_by(4) {
        fs.read(format!("/f{file}"))?;
    }
    for file in (0..count).filter(|file| file % 4 > 0) {
        fs.remove_file(format!("/f{file}"))?;
    }
    // Memory has to be short for the thread in the background to be there.
    let dead = |tier: &TierStats| tier.disk.map_or(0, |disk| disk.dead);
    assert!(dead(&fs.tier_stats()) > 64 * MIB);
    fs.write_slice("/ballast", &content(1, 9 << 20))?;
    let tier = settled(&fs, |tier| dead(tier) < 32 * MIB);
    assert!(dead(&tier) < 32 * MIB, "{tier:?}");
    fs.remove_file("/ballast")?;
    let clean = (0..count)
        .step_by(4)
        .filter(|file| is_clean(&fs, &format!("/f{file}")));
    assert_eq!(clean.count(), count / 4);
    assert_eq!(spill(&fs), (0, count as u64 / 4));
    for file in (0..count).step_by(4) {
        assert!(fs.read(format!("/f{file}"))? == content(file, len));
    }
    end(&fs);
    Ok(())
}
