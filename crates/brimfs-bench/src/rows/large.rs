//! Large files: streams, overwrites in place, copies and views.

use std::sync::Arc;

use bytes::Bytes;

use crate::peer::{Done, Failure, Peer};
use crate::random::Random;
use crate::row::{Reach, Row, Scale, Unit, Workload};

const MIB: usize = 1 << 20;
const BLOCK: usize = 4096;

pub fn rows() -> [Row; 7] {
    let stream = |id, title, prepare| Row {
        id,
        title,
        unit: Unit::GigabytesPerSecond,
        reach: Reach::OfFloor(0.75),
        prepare,
    };
    [
        stream(
            "stream_write_1m",
            "write 1 GiB in pieces of 1 MiB",
            |peer, scale| stream_write(peer, scale, MIB),
        ),
        stream(
            "stream_write_64k",
            "write 1 GiB in pieces of 64 KiB",
            |peer, scale| stream_write(peer, scale, MIB / 16),
        ),
        stream(
            "stream_read_1m",
            "read 1 GiB in pieces of 1 MiB",
            |peer, scale| stream_read(peer, scale, MIB),
        ),
        stream(
            "stream_read_64k",
            "read 1 GiB in pieces of 64 KiB",
            |peer, scale| stream_read(peer, scale, MIB / 16),
        ),
        Row {
            id: "random_overwrite",
            title: "random 4 KiB overwrite in 256 MiB",
            unit: Unit::Nanos,
            reach: Reach::AtMost(750.0),
            prepare: random_overwrite,
        },
        Row {
            id: "copy",
            title: "copy (clone) of a 256 MiB file",
            unit: Unit::Micros,
            reach: Reach::AtMost(60.0),
            prepare: copy,
        },
        Row {
            id: "view",
            title: "view of a 256 MiB file, same address each time",
            unit: Unit::Nanos,
            reach: Reach::Ahead,
            prepare: view,
        },
    ]
}

fn write_file(peer: &dyn Peer, path: &str, size: usize, piece: &[u8]) -> Done {
    let mut stream = peer.stream(&peer.path(path))?;
    for _ in 0..size / piece.len() {
        stream.write(piece)?;
    }
    stream.finish()
}

fn stream_write(peer: Arc<dyn Peer>, scale: Scale, piece: usize) -> Done<Workload> {
    let size = scale.pick(1024 * MIB, 128 * MIB);
    let piece = vec![0x5a; piece];
    let path = peer.path("/large");
    Ok(Box::new(move |watch| {
        watch.measure(|| write_file(&*peer, "/large", size, &piece))?;
        match peer.remove(&path) {
            // The floor keeps no file of a stream.
            Ok(()) | Err(Failure::Error(_)) => Ok(size as u64),
            Err(failure) => Err(failure),
        }
    }))
}

/// 256 MiB read four times over: more than any cache, and every candidate's fits beside the others.
fn stream_read(peer: Arc<dyn Peer>, scale: Scale, piece: usize) -> Done<Workload> {
    let size = scale.pick(256 * MIB, 64 * MIB);
    let passes = scale.pick(4, 1);
    write_file(&*peer, "/large", size, &vec![0x5a; MIB])?;
    let path = peer.path("/large");
    let mut buffer = vec![0; piece];
    Ok(Box::new(move |watch| {
        let mut total = 0;
        watch
            .measure(|| {
                for _ in 0..passes {
                    let mut source = peer.source(&path)?;
                    loop {
                        match source.read(&mut buffer)? {
                            0 => break,
                            length => total += length,
                        }
                    }
                }
                Ok(())
            })
            .and_then(|()| match total {
                total if total == size * passes => Ok(total as u64),
                total => Err(Failure::Error(format!(
                    "read {total} bytes of {}",
                    size * passes
                ))),
            })
    }))
}

fn random_overwrite(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let size = scale.pick(256 * MIB, 64 * MIB);
    peer.write_copied(&peer.path("/large"), &vec![0; size])?;
    let path = peer.path("/large");
    let count = scale.pick(50_000, 10_000);
    let mut random = Random::new(13);
    let offsets: Vec<_> = (0..count)
        .map(|_| (random.below(size / BLOCK) * BLOCK) as u64)
        .collect();
    let piece = [0x5a; BLOCK];
    Ok(Box::new(move |watch| {
        let mut file = peer.random_write(&path)?;
        watch.measure(|| {
            offsets
                .iter()
                .try_for_each(|&offset| file.write_at(offset, &piece))
        })?;
        Ok(count as u64)
    }))
}

fn copy(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    const TIMES: u64 = 3;
    let size = scale.pick(256 * MIB, 64 * MIB);
    peer.write_copied(&peer.path("/large"), &vec![0x5a; size])?;
    let (from, to) = (peer.path("/large"), peer.path("/clone"));
    Ok(Box::new(move |watch| {
        for _ in 0..TIMES {
            watch.measure(|| peer.copy(&from, &to))?;
            if peer.stat(&to)? != size as u64 {
                return Err(Failure::Error("the copy has another length".to_owned()));
            }
            peer.remove(&to)?;
        }
        Ok(TIMES)
    }))
}

fn view(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let size = scale.pick(256 * MIB, 64 * MIB);
    let path = peer.path("/large");
    peer.write_adopted(&path, &Bytes::from(vec![0x5a; size]))?;
    let first = peer.view(&path)?;
    let count = scale.pick(20_000, 2000);
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            (0..count).try_for_each(|_| match peer.view(&path)? {
                found if found == first && found.1 == size => Ok(()),
                found => Err(Failure::Error(format!(
                    "{found:?} is not the view {first:?}"
                ))),
            })
        })?;
        Ok(count as u64)
    }))
}
