//! What the operating system says of the process's memory while it spills. A process of its own,
//! so that nothing else counts.

#![cfg(target_os = "linux")]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use brimfs::FileSystem;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 12 * MIB;
const FILES: u64 = 20_000;
const LEN: usize = 4096;

/// Resident pages of the process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse::<u64>().ok());
    pages.expect("the second field is a number") * 4096
}

fn fill(buffer: &mut [u8], file: u64, round: u64) {
    let mut state = (file << 8 | round).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in buffer.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn the_process_stays_as_small_as_the_limit_says() {
    let mut hashes = vec![0_u64; FILES as usize];
    hashes.fill(1);
    let mut buffer = vec![0; LEN];
    let before = resident();
    let fs = FileSystem::builder()
        .memory_limit(LIMIT)
        .spill(true)
        .build()
        .expect("a filesystem that spills");
    let allowed = before + LIMIT + LIMIT / 10 + 16 * MIB;
    let mut most = 0;
    for round in 0..2 {
        for file in 0..FILES {
            fill(&mut buffer, file, round);
            hashes[file as usize] = hash(&buffer);
            let written = fs.write_slice(format!("/f{file}"), &buffer);
            if let Err(error) = &written
                && error.kind() == brimfs::ErrorKind::Io
            {
                println!("SKIPPED: {error}");
                return;
            }
            written.expect("written");
            if file % 1000 == 0 {
                most = most.max(resident());
            }
        }
        for step in 0..FILES {
            let file = step * 7919 % FILES;
            let read = fs.read(format!("/f{file}")).expect("read");
            assert_eq!(hash(&read), hashes[file as usize], "file {file}");
            if step % 1000 == 0 {
                most = most.max(resident());
            }
        }
    }
    assert!(most <= allowed, "{most} bytes resident, {allowed} allowed");
    let stats = fs.stats();
    assert!(stats.resident_peak <= LIMIT, "{stats:?}");
    let tier = fs.tier_stats();
    assert!(tier.cold_bytes > 3 * LIMIT, "{tier:?}");
    // A batch may be under way in the background.
    let mut patience = 500;
    while let Err(why) = fs.audit() {
        assert!(patience > 0, "the counters: {why}");
        patience -= 1;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
