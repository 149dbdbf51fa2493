//! What decoding takes of memory: a small multiple of the bytes that there are, whatever lengths they claim.
//!
//! A program of its own with one test, because it counts all that the process allocates.
#![cfg(not(feature = "shuttle"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brimfs::face::check_directory;
use brimfs::face::journal::{Piece, Record, Records, Visitor, recover, salvage};
use brimfs_sim::arbitrary::{STORES, payload};
use brimfs_sim::medium::{Medium, Random};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the system's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the system's.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most that is allocated at once by `work`, in bytes.
fn peak(work: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    work();
    MOST.load(Ordering::Relaxed) - before
}

/// Bytes in which large numbers are frequent, so that many lengths are wrong.
fn bytes(random: &mut Random) -> Vec<u8> {
    let len = random.below(1500);
    let byte = |random: &mut Random| match random.below(6) {
        0 => 0xf0 | random.number() as u8,
        _ => random.number() as u8,
    };
    (0..len).map(|_| byte(random)).collect()
}

struct Nobody;

impl Visitor for Nobody {
    fn restart(&mut self) {}

    fn record(&mut self, _: Record<'_>) -> Result<(), brimfs::face::Fault> {
        Ok(())
    }

    fn group(&mut self, _: u64) -> Result<(), brimfs::face::Fault> {
        Ok(())
    }
}

/// Walks everything that a payload has.
fn walk(payload: &[u8]) {
    for record in Records::new(payload).map_while(Result::ok) {
        match record {
            Record::Node(node) => assert_eq!(node.xattrs.iter().count() as u64, node.xattrs.len()),
            Record::Content(content) => {
                let extents = content.extents;
                assert_eq!(extents.iter().count() as u64, extents.len());
            }
            _ => {}
        }
    }
}

fn size(medium: &Medium) -> usize {
    let names = medium.names();
    names.iter().map(|name| medium.raw(name).len()).sum()
}

#[test]
fn decoding_takes_no_more_than_there_is() {
    const MIB: usize = 1 << 20;
    let mut most = [0, 0, 0];
    for seed in 0..1200 {
        let mut random = Random::new(seed);
        let bytes = bytes(&mut random);
        for payload in [bytes.clone(), payload(&bytes)] {
            assert_eq!(peak(|| walk(&payload)), 0, "seed {seed}: records borrow");
        }
        for (name, make) in STORES {
            let medium = make(&bytes);
            let there = size(&medium);
            let recovered = peak(|| drop(recover(&medium, &mut Nobody)));
            assert!(
                recovered <= 2 * there + MIB,
                "{name}, seed {seed}: {recovered} to recover {there}"
            );
            let mut ignore = |_: Piece<'_>| Ok(());
            let salvaged = peak(|| drop(salvage(&medium, &mut ignore)));
            assert!(
                salvaged <= 2 * there + MIB,
                "{name}, seed {seed}: {salvaged} to salvage {there}"
            );
            let medium = Arc::new(medium);
            let checked = peak(|| drop(check_directory(medium, &mut |_| {})));
            assert!(
                checked <= 16 * there + 4 * MIB,
                "{name}, seed {seed}: {checked} to check {there}"
            );
            for (most, found) in most.iter_mut().zip([recovered, salvaged, checked]) {
                *most = found.max(*most);
            }
        }
    }
    println!("at most {most:?} bytes to recover, salvage and check");
}
