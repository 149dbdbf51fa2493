//! What a mirror takes of memory and of the disk for spilling.

use std::fs;

use brimfs::FileSystem;

use super::world::Place;

const FILES: u64 = 5_000;

fn name(number: u64) -> String {
    format!("a-name-of-some-length-{number:08}")
}

#[test]
fn what_is_known_of_the_host_is_charged_to_the_memory_limit() {
    let place = Place::new();
    let used = |fs: &FileSystem| fs.stats().resident;
    let fs = place.open();
    let before = used(&fs);
    fs.close().expect("it can be closed");
    for number in 0..FILES {
        fs::write(place.path(&name(number)), b"x").expect("a file");
    }
    let volatile = FileSystem::builder().spill(false).build().expect("one");
    let empty = used(&volatile);
    for number in 0..FILES {
        volatile
            .write(format!("/{}", name(number)), "")
            .expect("room");
    }
    let nodes = used(&volatile) - empty;
    let fs = place.open();
    let opened = used(&fs);
    // Its name three times more, and what was last seen of it.
    let least = before + nodes + FILES * (3 * name(0).len() as u64 + 100);
    assert!(opened >= least, "{opened} is less than {least}");
    let most = before + nodes + FILES * 600;
    assert!(opened <= most, "{opened} is more than {most}");
    fs.audit().expect("all counters are right");
    // As much again when it is opened from the journal.
    fs.close().expect("it can be closed");
    let fs = place.open();
    assert!(used(&fs) >= least, "{} is less than {least}", used(&fs));
    for number in 0..FILES {
        fs::remove_file(place.path(&name(number))).expect("it is there");
    }
    let removed = fs.refresh(None).expect("a look").removed;
    assert_eq!(removed, FILES);
    fs.sync().expect("a disk without faults");
    fs.audit().expect("all counters are right");
    let emptied = used(&fs);
    let most = before + FILES * 100;
    assert!(emptied <= most, "{emptied} is more than {most}");
}

/// What a commit put on the host needs no other copy to leave memory.
#[test]
fn what_the_host_has_is_not_spilled() {
    for len in [100_000, 1 << 20, 5 << 20] {
        let place = Place::new();
        let fs = place.open();
        fs.write("/whole", vec![1; len]).expect("room");
        let file = fs.create("/parts").expect("room");
        for at in (0..len).step_by(60_000) {
            let part = vec![2; 60_000.min(len - at)];
            file.write_at(at as u64, &part).expect("room");
        }
        drop(file);
        fs.sync().expect("a disk without faults");
        let report = fs.gc(0.0).expect("all of it can go");
        assert_eq!(report.written.bytes, 0, "{len}: it was written once more");
        assert!(report.dropped.bytes >= 2 * len as u64, "{report:?}");
        assert!(fs.read("/parts").expect("there") == vec![2; len][..]);
        assert!(fs.read("/whole").expect("there") == vec![1; len][..]);
    }
}
