//! A forked child of a process whose filesystem spills. A process of its own, because of the fork.
#![cfg(all(target_os = "linux", not(feature = "shuttle")))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use brimfs::FileSystem;
use brimfs_sim::disk::SimDisk;

/// Waits until the thread that frees memory in the background has done what there was to do.
fn wait_for_quiet(fs: &FileSystem) {
    let mut before = fs.tier_stats();
    loop {
        std::thread::sleep(Duration::from_millis(700));
        let now = fs.tier_stats();
        if now == before {
            return;
        }
        before = now;
    }
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    tasks.count()
}

#[test]
fn a_forked_child_drops_a_filesystem_whose_thread_it_does_not_have() {
    let fs = FileSystem::builder()
        .memory_limit(8 << 20)
        .spill_disk(Arc::new(SimDisk::new()), "/spill")
        .disk_limit(1 << 30)
        .build()
        .expect("a filesystem");
    let before = threads();
    for file in 0..3_000 {
        let written = fs.write_slice(format!("/f{file}"), &[7; 4_000]);
        written.expect("it spills");
    }
    assert!(threads() > before, "the thread was never called");
    wait_for_quiet(&fs);
    // SAFETY: nobody else holds a lock now; the child drops the filesystem and leaves without running
    // anything else of the parent. The alarm ends it if it hangs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::alarm(20) };
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(fs)));
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(dropped.is_err())) };
    }
    let mut status = -1;
    // SAFETY: `status` is a valid place for the result.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child panicked or was ended by a signal");
    assert_eq!(fs.read("/f0").expect("the parent goes on").len(), 4_000);
}
