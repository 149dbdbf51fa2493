//! Names: metadata, creating, renaming, listing.

use std::hint::black_box;
use std::sync::Arc;

use crate::peer::{Done, Failure, Peer, PeerPath};
use crate::random::Random;
use crate::row::{Reach, Row, Scale, Unit, Workload};

pub fn rows() -> [Row; 6] {
    [
        Row {
            id: "stat_repeated",
            title: "stat at depth 10 in a tree of 100,000 files, one path",
            unit: Unit::Nanos,
            reach: Reach::AtMost(320.0),
            prepare: stat_repeated,
        },
        Row {
            id: "stat_random",
            title: "stat at depth 10 in a tree of 100,000 files, at random",
            unit: Unit::Nanos,
            reach: Reach::AtMost(320.0),
            prepare: stat_random,
        },
        Row {
            id: "create_remove",
            title: "create an empty file and remove it",
            unit: Unit::Nanos,
            reach: Reach::Ahead,
            prepare: create_remove,
        },
        Row {
            id: "rename_file",
            title: "rename a file",
            unit: Unit::Nanos,
            reach: Reach::Ahead,
            prepare: rename_file,
        },
        Row {
            id: "rename_directory",
            title: "rename a directory with 10,000 files inside",
            unit: Unit::Micros,
            reach: Reach::AtMost(12.0),
            prepare: rename_directory,
        },
        Row {
            id: "list",
            title: "list 100,000 entries (visitor)",
            unit: Unit::Millis,
            reach: Reach::AtMost(0.8),
            prepare: list,
        },
    ]
}

/// `/a/b/c/d/e/f/g/h/i/file`: ten by ten by ten directories, one chain below each.
fn deep_tree(peer: &dyn Peer, files: usize) -> Done<Vec<PeerPath>> {
    const LEAVES: usize = 1000;
    let mut leaves = Vec::with_capacity(LEAVES);
    for leaf in 0..LEAVES {
        let (a, b, c) = (leaf / 100, leaf / 10 % 10, leaf % 10);
        let mut path = String::new();
        let names = [format!("alpha{a}"), format!("beta{b}"), format!("gamma{c}")];
        for (depth, name) in names.iter().map(String::as_str).chain(CHAIN).enumerate() {
            path = format!("{path}/{name}");
            let first = match depth {
                0 => leaf % 100 == 0,
                1 => leaf % 10 == 0,
                _ => true,
            };
            if first {
                peer.create_dir(&peer.path(&path))?;
            }
        }
        leaves.push(path);
    }
    let order = Random::new(11).shuffled(files);
    let path = |file: usize| peer.path(&format!("{}/file{file:06}", leaves[file % LEAVES]));
    let paths: Vec<PeerPath> = order.into_iter().map(path).collect();
    paths
        .iter()
        .try_for_each(|path| peer.write_copied(path, b"x"))?;
    Ok(paths)
}

const CHAIN: [&str; 6] = ["delta", "epsilon", "zeta", "eta", "theta", "iota"];

fn stat_repeated(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let paths = deep_tree(&*peer, scale.pick(100_000, 10_000))?;
    stats(peer, paths[..1].to_vec(), scale)
}

fn stat_random(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let paths = deep_tree(&*peer, scale.pick(100_000, 10_000))?;
    stats(peer, paths, scale)
}

fn stats(peer: Arc<dyn Peer>, paths: Vec<PeerPath>, scale: Scale) -> Done<Workload> {
    let count = scale.pick(100_000, 10_000);
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            paths
                .iter()
                .cycle()
                .take(count)
                .try_for_each(|path| match peer.stat(path)? {
                    1 => Ok(()),
                    other => Err(Failure::Error(format!("{} has {other} bytes", path.text()))),
                })
        })?;
        Ok(count as u64)
    }))
}

fn create_remove(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let count = scale.pick(50_000, 5000);
    peer.create_dir(&peer.path("/d"))?;
    let paths: Vec<_> = (0..1000)
        .map(|file| peer.path(&format!("/d/file{file}")))
        .collect();
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            paths.iter().cycle().take(count).try_for_each(|path| {
                peer.write_copied(path, b"")?;
                peer.remove(path)
            })
        })?;
        Ok(count as u64)
    }))
}

fn rename_file(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let pairs = scale.pick(25_000, 2500);
    peer.create_dir(&peer.path("/d"))?;
    let (a, b) = (peer.path("/d/one"), peer.path("/d/another"));
    peer.write_copied(&a, b"x")?;
    there_and_back(peer, a, b, pairs)
}

fn rename_directory(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let (a, b) = (peer.path("/from"), peer.path("/to"));
    peer.create_dir(&a)?;
    for file in 0..scale.pick(10_000, 1000) {
        peer.write_copied(&peer.path(&format!("/from/file{file:06}")), b"x")?;
    }
    there_and_back(peer, a, b, 50)
}

fn there_and_back(peer: Arc<dyn Peer>, a: PeerPath, b: PeerPath, pairs: usize) -> Done<Workload> {
    Ok(Box::new(move |watch| {
        watch.measure(|| {
            (0..pairs).try_for_each(|_| {
                peer.rename(&a, &b)?;
                peer.rename(&b, &a)
            })
        })?;
        Ok(2 * pairs as u64)
    }))
}

fn list(peer: Arc<dyn Peer>, scale: Scale) -> Done<Workload> {
    let count = scale.pick(100_000, 10_000);
    let directory = peer.path("/d");
    peer.create_dir(&directory)?;
    for file in 0..count {
        peer.write_copied(&peer.path(&format!("/d/file{file:06}")), b"")?;
    }
    Ok(Box::new(move |watch| {
        let (mut names, mut bytes) = (0, 0);
        watch.measure(|| {
            peer.list(&directory, &mut |name| {
                names += 1;
                bytes += name.len();
            })
        })?;
        black_box(bytes);
        if names != count {
            return Err(Failure::Error(format!("listed {names} of {count} names")));
        }
        Ok(1)
    }))
}
