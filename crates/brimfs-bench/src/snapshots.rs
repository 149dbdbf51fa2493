//! Snapshots of 100,000 files: wall time of making one, of comparing with it and of going back to it.

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
    ]
}

fn filled(scale: Scale, size: usize) -> Done<FileSystem> {
    let fs = FileSystem::builder().memory_limit(4 << 30).build()?;
    let each = scale.pick(100_000, 10_000) / DIRECTORIES;
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
