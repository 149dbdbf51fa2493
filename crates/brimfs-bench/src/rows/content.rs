//! Whole small files: opening, reading and writing them.

use std::sync::Arc;

use bytes::Bytes;

use crate::peer::{Done, Failure, Peer, PeerPath};
use crate::random::Random;
use crate::row::{Reach, Row, Scale, Unit, Workload};

const SMALL: usize = 64;
const BLOCK: usize = 4096;

pub fn rows() -> [Row; 8] {
    let row = |id, title, most, prepare| Row {
        id,
        title,
        unit: Unit::Nanos,
        reach: Reach::AtMost(most),
        prepare,
    };
    [
        row(
            "open_read_repeated",
            "open + read 64 B + close, one file",
            200.0,
            open_repeated,
        ),
        row(
            "open_read",
            "open + read 64 B + close, 1,000 files at random",
            200.0,
            open_random,
        ),
        row(
            "read_copied",
            "read 4 KiB copied, 10,000 files at random",
            800.0,
            read_copied,
        ),
        row(
            "read_shared",
            "read 4 KiB by reference, same address as written",
            130.0,
            read_shared,
        ),
        row(
            "write_new",
            "write a new 4 KiB file, copied",
            1700.0,
            write_new,
        ),
        row(
            "write_new_adopted",
            "write a new 4 KiB file, adopted",
            1700.0,
            write_new_adopted,
        ),
        row(
            "overwrite",
            "overwrite a 4 KiB file, copied",
            1100.0,
            overwrite,
        ),
        row(
            "overwrite_adopted",
            "overwrite a 4 KiB file, adopted",
            1100.0,
            overwrite_adopted,
        ),
    ]
}

/// Files `/d/f…` with their paths in a random order, laid out in memory in that order.
fn files(peer: &dyn Peer, count: usize) -> Done<Vec<PeerPath>> {
    peer.create_dir(&peer.path("/d"))?;
    let order = Random::new(7).shuffled(count);
    Ok(order
        .into_iter()
        .map(|file| peer.path(&format!("/d/file{file:06}")))
        .collect())
}

fn open_repeated(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let paths = files(&*peer, 1)?;
    peer.write_copied(&paths[0], &[1; SMALL])?;
    reads(peer, paths, SMALL, scale.pick(100_000, 10_000))
}

fn open_random(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let paths = files(&*peer, 1000)?;
    paths
        .iter()
        .try_for_each(|path| peer.write_copied(path, &[1; SMALL]))?;
    reads(peer, paths, SMALL, scale.pick(100_000, 10_000))
}

fn read_copied(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let paths = files(&*peer, 10_000)?;
    paths
        .iter()
        .try_for_each(|path| peer.write_copied(path, &[1; BLOCK]))?;
    reads(peer, paths, BLOCK, scale.pick(50_000, 10_000))
}

fn reads(peer: Arc<dyn Peer>, paths: Vec<PeerPath>, size: usize, count: usize) -> Done<Workload> {
    let mut buffer = vec![0; size];
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            paths.iter().cycle().take(count).try_for_each(|path| {
                let length = peer.read_copied(path, &mut buffer)?;
                if length == size {
                    Ok(())
                } else {
                    Err(short(length, size))
                }
            })
        })?;
        Ok(count as u64)
    }))
}

fn read_shared(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let paths = files(&*peer, 10_000)?;
    for path in &paths {
        let content = Bytes::from(vec![1; BLOCK]);
        peer.write_adopted(path, &content)?;
        if peer.read_shared(path)?.as_ptr() != content.as_ptr() {
            return Err(Failure::Unsupported);
        }
    }
    let count = scale.pick(100_000, 10_000);
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            paths.iter().cycle().take(count).try_for_each(|path| {
                let length = peer.read_shared(path)?.len();
                if length == BLOCK {
                    Ok(())
                } else {
                    Err(short(length, BLOCK))
                }
            })
        })?;
        Ok(count as u64)
    }))
}

fn short(length: usize, wanted: usize) -> Failure {
    Failure::Error(format!("read {length} bytes instead of {wanted}"))
}

/// How content is handed over: the buffer itself, or a copy of it.
#[derive(Clone, Copy)]
enum Handing {
    Copied,
    Adopted,
}

fn put(peer: &dyn Peer, path: &PeerPath, content: &Bytes, handing: Handing) -> Done {
    match handing {
        Handing::Copied => peer.write_copied(path, content),
        Handing::Adopted => peer.write_adopted(path, content),
    }
}

fn write_new(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    writes_new(peer, scale, Handing::Copied)
}

fn write_new_adopted(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    writes_new(peer, scale, Handing::Adopted)
}

fn writes_new(peer: Arc<dyn Peer>, scale: Scale, handing: Handing) -> Done<Workload> {
    let paths = files(&*peer, scale.pick(10_000, 2000))?;
    let content = Bytes::from(vec![1; BLOCK]);
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            paths
                .iter()
                .try_for_each(|path| put(&*peer, path, &content, handing))
        })?;
        paths.iter().try_for_each(|path| peer.remove(path))?;
        Ok(paths.len() as u64)
    }))
}

fn overwrite(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    overwrites(peer, scale, Handing::Copied)
}

fn overwrite_adopted(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    overwrites(peer, scale, Handing::Adopted)
}

fn overwrites(peer: Arc<dyn Peer>, scale: Scale, handing: Handing) -> Done<Workload> {
    let paths = files(&*peer, 10_000)?;
    let content = Bytes::from(vec![1; BLOCK]);
    paths
        .iter()
        .try_for_each(|path| put(&*peer, path, &content, handing))?;
    let count = scale.pick(50_000, 10_000);
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            let mut paths = paths.iter().cycle().take(count);
            paths.try_for_each(|path| put(&*peer, path, &content, handing))
        })?;
        Ok(count as u64)
    }))
}
