//! The whole tier at its limit: a filesystem that holds more than its memory.
//!
//! The floor of reading is the disk itself, with direct transfers, in the same rounds: nothing of either
//! side is in the page cache. Times are wall times but for the rows of resident content.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use brimfs::face::disk::{read_full, write_full};
use brimfs::{File, FileSystem, LockMode, OpenOptions, TierStats};

use crate::clock::Stopwatch;
use crate::disk::{Bytes, DiskRow, MIB, PAGE, PlaceToWork, Side, Sides};
use crate::peer::{Done, Failure};
use crate::peers::{FLOOR, SUBJECT};
use crate::random::Random;
use crate::row::{Reach, Scale, Unit};

const KIB64: usize = 64 << 10;
/// The share of slow writes that does not count: one in a thousand.
const TAIL: usize = 1000;

pub fn rows() -> Vec<DiskRow> {
    let row = |id, title, unit, reach, sides| DiskRow {
        id,
        title,
        unit,
        reach,
        sides,
    };
    let mut rows = vec![
        row(
            "spill_churn_4k",
            "200,000 files of 4 KiB in 64 MiB: overwrite all, read all, every byte checked",
            Unit::DiskKiloOps,
            Reach::Shown,
            |place, scale| churn(place, scale.pick(200_000, 40_000), PAGE, 64 * MIB),
        ),
        row(
            "spill_churn_16k",
            "1,024 files of 16 KiB in 8 MiB: the same",
            Unit::DiskKiloOps,
            Reach::Shown,
            |place, _| churn(place, 1024, 16 << 10, 8 * MIB),
        ),
        row(
            "spill_tail_one",
            "write 64 KiB at the limit of 64 MiB, one writer: 99.9th percentile",
            Unit::DiskMicros,
            Reach::AtMost(20_000.0),
            |place, scale| tail(place, scale, 1),
        ),
        row(
            "spill_tail_four",
            "the same, four writers",
            Unit::DiskMicros,
            Reach::AtMost(20_000.0),
            |place, scale| tail(place, scale, 4),
        ),
        row(
            "spill_hit_small",
            "read 4 KiB of a resident file of 4 KiB, tier active; floor: without a tier",
            Unit::Nanos,
            Reach::FloorPlus(30.0),
            |place, scale| hits(place, scale, 1000, PAGE),
        ),
        row(
            "spill_hit_large",
            "read 4 KiB of a resident file of 32 MiB, tier active; floor: without a tier",
            Unit::Nanos,
            Reach::FloorPlus(30.0),
            |place, scale| hits(place, scale, 1, 32 * MIB),
        ),
        row(
            "spill_fs_read_4k",
            "random read of spilled files of 4 KiB; floor: 4 KiB pread",
            Unit::DiskMicros,
            Reach::TimesFloor(1.5),
            |place, scale| read_small(place, scale.pick(200_000, 40_000)),
        ),
        row(
            "spill_fs_read_in_large",
            "random read of 4 KiB in a cold file of 1 GiB; floor: 4 KiB pread",
            Unit::DiskMicros,
            Reach::TimesFloor(3.0),
            read_large,
        ),
    ];
    rows.extend(stream_rows());
    rows
}

fn stream_rows() -> Vec<DiskRow> {
    let row = |id, title, sides| DiskRow {
        id,
        title,
        unit: Unit::DiskGigabytesPerSecond,
        reach: Reach::Shown,
        sides,
    };
    vec![
        row(
            "spill_fs_stream_64k",
            "read a cold file of 1 GiB by 64 KiB; floor: 1 MiB reads",
            |place, scale| stream(place, scale, KIB64),
        ),
        row("spill_fs_stream_1m", "the same by 1 MiB", |place, scale| {
            stream(place, scale, MIB)
        }),
        row("spill_fs_stream_8m", "the same by 8 MiB", |place, scale| {
            stream(place, scale, 8 * MIB)
        }),
    ]
}

fn filesystem(place: &PlaceToWork, limit: usize) -> Done<FileSystem> {
    let builder = FileSystem::builder()
        .memory_limit(limit as u64)
        .disk_limit(16 << 30)
        .spill_dir(&place.directory);
    Ok(builder.build()?)
}

fn open(fs: &FileSystem, path: &str) -> Done<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    Ok(options.lock(LockMode::None).open(fs, path)?)
}

/// What a file holds in a round: no two files or rounds hold the same.
fn fill(buffer: &mut [u8], file: usize, round: usize) {
    let mut random = Random::new((file as u64) << 20 | round as u64);
    for word in buffer.chunks_exact_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes());
    }
}

fn churn(place: &PlaceToWork, files: usize, len: usize, limit: usize) -> Done<Sides> {
    let fs = filesystem(place, limit)?;
    let order = Random::new(3).shuffled(files);
    let mut buffer = vec![0; len];
    let mut round = 0;
    let side: Side = Box::new(move |watch| {
        round += 1;
        watch.measure(|| -> Done {
            for file in 0..files {
                fill(&mut buffer, file, round);
                fs.write_slice(format!("/f{file}"), &buffer)?;
            }
            for &file in &order {
                let read = fs.read(format!("/f{file}"))?;
                fill(&mut buffer, file, round);
                if read[..] != buffer[..] {
                    return Err(Failure::Error(format!("file {file} is wrong")));
                }
            }
            Ok(())
        })?;
        let stats = fs.stats();
        if stats.resident_peak > stats.memory_limit {
            return Err(Failure::Error(format!("over the limit: {stats:?}")));
        }
        Ok(2 * files as u64)
    });
    Ok(vec![(SUBJECT, side)])
}

fn tail(place: &PlaceToWork, scale: Scale, writers: usize) -> Done<Sides> {
    let fs = filesystem(place, 64 * MIB)?;
    let writes = scale.pick(32_768, 4_096) / writers;
    let block = Bytes::random(KIB64);
    let write = move |fs: &FileSystem, block: &[u8], writer: usize| -> Done<Vec<u64>> {
        let mut times = Vec::with_capacity(writes);
        for number in 0..writes {
            let path = format!("/w{writer}-{}", number % 4096);
            let begun = Instant::now();
            fs.write_slice(path, block)?;
            times.push(begun.elapsed().as_nanos() as u64);
        }
        Ok(times)
    };
    let side: Side = Box::new(move |watch| {
        let (fs, block) = (&fs, block.get());
        let mut times = std::thread::scope(|scope| -> Done<Vec<u64>> {
            let start = |writer| scope.spawn(move || write(fs, block, writer));
            let started: Vec<_> = (0..writers).map(start).collect();
            let mut times = Vec::new();
            for writer in started {
                let own = writer.join();
                times.extend(own.map_err(|_| Failure::Error("a writer panicked".into()))??);
            }
            Ok(times)
        })?;
        times.sort_unstable();
        watch.wall_ns = times[times.len() - 1 - times.len() / TAIL];
        Ok(1)
    });
    Ok(vec![(SUBJECT, side)])
}

/// Reads at random through open handles: what is measured is the content, not the path.
fn hits(place: &PlaceToWork, scale: Scale, files: usize, len: usize) -> Done<Sides> {
    let reads = scale.pick(1_000_000, 100_000);
    let spilling = filesystem(place, 128 * MIB)?;
    // More than there is memory for, so that the tier works; then room for what is read.
    let ballast = Bytes::random(MIB);
    for number in 0..160 {
        spilling.write_slice(format!("/ballast{number}"), ballast.get())?;
    }
    if spilling.tier_stats().swaps_out == 0 {
        return Err(Failure::Error("nothing was spilled".into()));
    }
    for number in 0..160 {
        spilling.remove_file(format!("/ballast{number}"))?;
    }
    let plain = FileSystem::builder().memory_limit(128 << 20).build()?;
    let side = |fs: FileSystem| -> Done<Side> {
        let content = Bytes::random(len);
        let mut handles = Vec::new();
        for file in 0..files {
            let handle = open(&fs, &format!("/f{file}"))?;
            handle.write_at(0, content.get())?;
            handles.push(handle);
        }
        let mut random = Random::new(5);
        let mut page = [0; PAGE];
        Ok(Box::new(move |watch| {
            let choices: Vec<(usize, u64)> = (0..reads)
                .map(|_| {
                    let at = random.below(len / PAGE) * PAGE;
                    (random.below(files), at as u64)
                })
                .collect();
            watch.measure(|| -> Done {
                for (file, at) in &choices {
                    handles[*file].read_at(*at, &mut page)?;
                }
                Ok(())
            })?;
            let _ = &fs;
            Ok(reads as u64)
        }))
    };
    Ok(vec![(SUBJECT, side(spilling)?), (FLOOR, side(plain)?)])
}

/// A file of the disk itself, as long as what is read.
fn floor_file(place: &PlaceToWork, total: usize) -> Done<Box<dyn brimfs::face::disk::DiskFile>> {
    let file = place.file()?;
    file.allocate(0, total as u64)?;
    let block = Bytes::random(MIB);
    for at in (0..total).step_by(MIB) {
        write_full(&*file, at as u64, block.get())?;
    }
    file.sync_data()?;
    Ok(file)
}

fn floor_pages(place: &PlaceToWork, total: usize, reads: usize) -> Done<Side> {
    let file = floor_file(place, total)?;
    let mut room = Bytes::random(PAGE);
    let mut random = Random::new(17);
    Ok(Box::new(move |watch| {
        let pages: Vec<usize> = (0..reads).map(|_| random.below(total / PAGE)).collect();
        watch.measure(|| -> Done {
            for page in &pages {
                read_full(&*file, (page * PAGE) as u64, room.get_mut())?;
            }
            Ok(())
        })?;
        Ok(reads as u64)
    }))
}

/// Most files are cold; only reads that go to the disk are counted, the time of the others is not left out.
fn read_small(place: &PlaceToWork, files: usize) -> Done<Sides> {
    let reads = files / 20;
    let fs = filesystem(place, 96 * MIB)?;
    let mut buffer = vec![0; PAGE];
    for file in 0..files {
        fill(&mut buffer, file, 0);
        fs.write_slice(format!("/f{file}"), &buffer)?;
    }
    let mut random = Random::new(17);
    let misses = |stats: TierStats| stats.swaps_in + stats.reads_through;
    let side: Side = Box::new(move |watch| {
        let paths: Vec<String> = (0..reads)
            .map(|_| format!("/f{}", random.below(files)))
            .collect();
        let before = misses(fs.tier_stats());
        watch.measure(|| -> Done {
            for path in &paths {
                fs.read(path)?;
            }
            Ok(())
        })?;
        Ok((misses(fs.tier_stats()) - before).max(1))
    });
    let floor = floor_pages(place, files * PAGE, reads)?;
    Ok(vec![(SUBJECT, side), (FLOOR, floor)])
}

fn write_large(place: &PlaceToWork, total: usize, limit: usize) -> Done<(FileSystem, File)> {
    let fs = filesystem(place, limit)?;
    let file = open(&fs, "/large")?;
    let mut block = Bytes::random(MIB);
    for at in (0..total).step_by(MIB) {
        fill(&mut block.get_mut()[..8], at, 1);
        file.write_at(at as u64, block.get())?;
    }
    Ok((fs, file))
}

fn read_large(place: &PlaceToWork, scale: Scale) -> Done<Sides> {
    let total = scale.pick(1024 * MIB, 256 * MIB);
    let reads = scale.pick(10_000, 2_000);
    let (fs, file) = write_large(place, total, 32 * MIB)?;
    let mut random = Random::new(17);
    let mut page = [0; PAGE];
    let side: Side = Box::new(move |watch| {
        let pages: Vec<usize> = (0..reads).map(|_| random.below(total / PAGE)).collect();
        watch.measure(|| -> Done {
            for page_number in &pages {
                file.read_at((page_number * PAGE) as u64, &mut page)?;
            }
            Ok(())
        })?;
        let _ = &fs;
        Ok(reads as u64)
    });
    let floor = floor_pages(place, total, reads)?;
    Ok(vec![(SUBJECT, side), (FLOOR, floor)])
}

fn stream(place: &PlaceToWork, scale: Scale, step: usize) -> Done<Sides> {
    let total = scale.pick(1024 * MIB, 256 * MIB);
    let (fs, file) = write_large(place, total, 128 * MIB)?;
    let buffer = Rc::new(RefCell::new(Bytes::random(8 * MIB)));
    let own = buffer.clone();
    let side: Side = Box::new(move |watch: &mut Stopwatch| {
        let mut own = own.borrow_mut();
        watch.measure(|| -> Done {
            for at in (0..total).step_by(step) {
                file.read_at(at as u64, &mut own.get_mut()[..step])?;
            }
            Ok(())
        })?;
        let _ = &fs;
        Ok(total as u64)
    });
    let disk = floor_file(place, total)?;
    let floor: Side = Box::new(move |watch| {
        let mut buffer = buffer.borrow_mut();
        watch.measure(|| -> Done {
            for at in (0..total).step_by(MIB) {
                read_full(&*disk, at as u64, &mut buffer.get_mut()[..MIB])?;
            }
            Ok(())
        })?;
        Ok(total as u64)
    });
    Ok(vec![(SUBJECT, side), (FLOOR, floor)])
}
