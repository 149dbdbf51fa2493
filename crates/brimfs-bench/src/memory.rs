//! A million small files: what creating one costs, and what it takes in memory.
//!
//! Each candidate runs in a child process of its own, because memory that an earlier candidate gave
//! back to the allocator would hide what the next one takes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::clock::Stopwatch;
use crate::peer::{Done, Failure};
use crate::peers::{SUBJECT, candidates};
use crate::row::{Reach, Scale, Unit};
use crate::runner::Measured;

pub const CHILD_FLAG: &str = "--small-files-child";
const FILES_PER_DIRECTORY: usize = 1000;
const CONTENT_BYTES: usize = 100;
const CREATE: &str = "small_files_create";
const RSS: &str = "small_files_rss";
const RESIDENT: &str = "small_files_resident";

pub fn files(scale: Scale) -> usize {
    scale.pick(1_000_000, 100_000)
}

pub fn rows(scale: Scale) -> Vec<Measured> {
    let count = files(scale);
    let row = |id, what: &str, unit, most| Measured {
        id,
        title: format!("{count} files of {CONTENT_BYTES} bytes: {what}"),
        unit,
        reach: Reach::AtMost(most),
        samples: BTreeMap::new(),
    };
    vec![
        row(CREATE, "create one", Unit::Nanos, 600.0),
        row(RSS, "growth of the process per file", Unit::Bytes, 300.0),
        row(
            RESIDENT,
            "the filesystem's own count per file",
            Unit::Bytes,
            300.0,
        ),
    ]
}

/// Runs this program again for one candidate and reads the figures it prints.
pub fn in_child(name: &str, count: usize) -> Done<BTreeMap<String, f64>> {
    let output = Command::new(std::env::current_exe()?)
        .args([CHILD_FLAG, name, &count.to_string()])
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Error(format!("{name}: {}", text.trim())));
    }
    let mut figures = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((id, value)) = line.split_once(' ') {
            figures.insert(id.to_owned(), value.parse()?);
        }
    }
    Ok(figures)
}

/// The child's side: creates the files and prints one figure a line.
pub fn child(name: &str, count: usize) -> Done {
    let all = candidates();
    let candidate = all
        .iter()
        .find(|candidate| candidate.name == name)
        .ok_or_else(|| Failure::Error(format!("no candidate is called {name}")))?;
    let peer = (candidate.create)()?;
    let content = [0x5a_u8; CONTENT_BYTES];
    let mut watch = Stopwatch::default();
    let before = resident_set_bytes()?;
    for directory in 0..count.div_ceil(FILES_PER_DIRECTORY) {
        peer.create_dir(&peer.path(&format!("/d{directory:05}")))?;
        let paths: Vec<_> = (0..FILES_PER_DIRECTORY)
            .map(|file| peer.path(&format!("/d{directory:05}/file{file:05}")))
            .collect();
        watch.measure(|| {
            paths
                .iter()
                .try_for_each(|path| peer.write_copied(path, &content))
        })?;
    }
    let growth = resident_set_bytes()?.saturating_sub(before);
    println!("{CREATE} {}", watch.cpu_ns as f64 / count as f64);
    // The kernel's tmpfs keeps its files outside the process.
    if name != "tmpfs" {
        println!("{RSS} {}", growth as f64 / count as f64);
    }
    if let Some(resident) = peer.resident() {
        println!("{RESIDENT} {}", resident.bytes as f64 / count as f64);
    }
    debug_assert!(name != SUBJECT || peer.resident().is_some());
    peer.discard();
    Ok(())
}

fn resident_set_bytes() -> Done<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .unwrap_or_default()
        .parse()?;
    Ok(pages * 4096)
}
