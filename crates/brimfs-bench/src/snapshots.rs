//! Snapshots and transactions of 100,000 files: wall time of making a snapshot, comparing with it, going back to it; of a commit.

use brimfs::FileSystem;

use crate::clock::Stopwatch;
use crate::disk::{DiskRow, PAGE, Sides};
use crate::peer::Done;
use crate::peers::SUBJECT;
use crate::row::{Reach, Scale, Unit};

const DIRECTORIES: usize = 100;
const SMALL: usize = 100;

pub fn rows() -> Vec<DiskRow> {
    let row = |id, title, reach, sides| DiskRow {
        id,
        title,
        unit: Unit::DiskMicros,
        reach,
        sides,
    };
    vec![
        row(
            "snapshot",
            "a snapshot of 100,000 files of 100 bytes in 100 directories",
            Reach::AtMost(30_000.0),
            |_, scale| making(scale, SMALL),
        ),
        row(
            "snapshot_4k",
            "the same, files of 4 KiB",
            Reach::AtMost(30_000.0),
            |_, scale| making(scale, PAGE),
        ),
        row(
            "snapshot_diff",
            "`diff` with a snapshot of 100,000 files, one of them changed",
            Reach::Shown,
            |_, scale| comparing(scale),
        ),
        row(
            "snapshot_restore",
            "`restore` of a snapshot of 100,000 files, one of them changed",
            Reach::Shown,
            |_, scale| restoring(scale),
        ),
        row(
            "transaction",
            "a transaction on 100,000 files that changes one of them, from its begin to its commit",
            Reach::Shown,
            |_, scale| changing(scale, 100_000),
        ),
        row(
            "transaction_100",
            "the same on 100 files",
            Reach::Shown,
            |_, scale| changing(scale, 100),
        ),
    ]
}

fn filled(scale: Scale, size: usize) -> Done<FileSystem> {
    filled_with(scale.pick(100_000, 10_000), size)
}

fn filled_with(files: usize, size: usize) -> Done<FileSystem> {
    let fs = FileSystem::builder().memory_limit(4 << 30).build()?;
    let each = files / DIRECTORIES;
    let content = vec![1; size];
    for directory in 0..DIRECTORIES {
        fs.create_dir(format!("/{directory}"))?;
        for file in 0..each {
            fs.write_slice(format!("/{directory}/file-{file}"), &content)?;
        }
    }
    Ok(fs)
}

fn making(scale: Scale, size: usize) -> Done<Sides> {
    let fs = filled(scale, size)?;
    let side = move |watch: &mut Stopwatch| {
        let snapshot = watch.measure(|| fs.snapshot())?;
        drop(snapshot);
        Ok(1)
    };
    Ok(vec![(SUBJECT, Box::new(side))])
}

fn comparing(scale: Scale) -> Done<Sides> {
    let fs = filled(scale, SMALL)?;
    let snapshot = fs.snapshot()?;
    fs.write("/0/file-0", "other")?;
    let side = move |watch: &mut Stopwatch| {
        watch.measure(|| fs.diff(&snapshot))?;
        Ok(1)
    };
    Ok(vec![(SUBJECT, Box::new(side))])
}

fn restoring(scale: Scale) -> Done<Sides> {
    let fs = filled(scale, SMALL)?;
    let snapshot = fs.snapshot()?;
    let side = move |watch: &mut Stopwatch| {
        fs.write("/0/file-0", "other")?;
        watch.measure(|| fs.restore(&snapshot))?;
        Ok(1)
    };
    Ok(vec![(SUBJECT, Box::new(side))])
}

fn changing(scale: Scale, files: usize) -> Done<Sides> {
    let fs = filled_with(scale.pick(files, files.min(10_000)), SMALL)?;
    let side = move |watch: &mut Stopwatch| {
        watch.measure(|| {
            let tx = fs.transaction()?;
            tx.write("/0/file-0", "other")?;
            tx.commit()
        })?;
        Ok(1)
    };
    Ok(vec![(SUBJECT, Box::new(side))])
}
