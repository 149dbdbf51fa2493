//! The calls on a real directory, and what must not lead out of it.

use std::path::PathBuf;

use super::*;
use crate::io::disk::{ALIGNMENT, read_full, write_full};

struct Place {
    outer: tempfile::TempDir,
    path: PathBuf,
    directory: RealDirectory,
}

fn place() -> Place {
    let outer = tempfile::tempdir().expect("a directory for tests");
    let path = outer.path().join("store");
    let directory = RealDirectory::open(&path, Opening::Create).expect("created");
    Place {
        outer,
        path,
        directory,
    }
}

fn aligned(memory: &mut Vec<u8>, fill: u8) -> &mut [u8] {
    memory.resize(2 * ALIGNMENT, 0);
    let start = memory.as_ptr().addr().next_multiple_of(ALIGNMENT) - memory.as_ptr().addr();
    let block = &mut memory[start..start + ALIGNMENT];
    block.fill(fill);
    block
}

#[test]
fn files_are_created_written_renamed_and_removed() {
    let Place { directory, .. } = &place();
    let mut memory = Vec::new();
    let file = directory.create("a").expect("created");
    let again = directory.create("a").expect_err("taken");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    file.allocate(0, 4 * ALIGNMENT as u64).expect("space");
    assert_eq!(file.len().expect("length"), 4 * ALIGNMENT as u64);
    write_full(&*file, ALIGNMENT as u64, aligned(&mut memory, 7)).expect("written");
    file.sync_data().expect("durable");
    file.truncate(2 * ALIGNMENT as u64).expect("cut");
    drop(directory.create("b").expect("created"));
    directory.rename("a", "b").expect("renamed over b");
    directory.sync().expect("durable");
    assert_eq!(directory.list().expect("listed"), ["b"]);

    let file = directory.open("b", Access::Read).expect("opened");
    let block = aligned(&mut memory, 0);
    read_full(&*file, ALIGNMENT as u64, block).expect("read");
    assert!(block.iter().all(|byte| *byte == 7));
    assert_eq!(file.len().expect("length"), 2 * ALIGNMENT as u64);
    assert!(write_full(&*file, 0, block).is_err());
    directory.remove("b").expect("removed");
    let gone = directory.open("b", Access::Read).expect_err("gone");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    assert!(directory.place().expect("looked at").total > 0);
}

#[test]
fn a_second_lock_names_the_process_that_holds_the_first() {
    let Place {
        path, directory, ..
    } = &place();
    let lock = directory.lock(Sharing::Exclusive).expect("free");
    let other = RealDirectory::open(path, Opening::Existing).expect("opened");
    for sharing in [Sharing::Exclusive, Sharing::Shared] {
        match other.lock(sharing) {
            Err(LockError::Held(Some(holder))) => {
                assert_eq!(holder.process, std::process::id());
                let now = clock::wall_nanos() / 1_000_000_000;
                assert!(
                    (now - 864_000..=now + 2).contains(&holder.started),
                    "{holder}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    drop(lock);
    let read = other.lock(Sharing::Shared).expect("free");
    let read_too = directory.lock(Sharing::Shared).expect("shared");
    assert!(matches!(
        directory.lock(Sharing::Exclusive),
        Err(LockError::Held(_))
    ));
    drop((read, read_too));
    assert!(directory.lock(Sharing::Exclusive).is_ok());
}

#[test]
fn reading_changes_nothing() {
    let Place {
        path, directory, ..
    } = &place();
    drop(directory.create("a").expect("created"));
    let reader = RealDirectory::open(path, Opening::ReadOnly).expect("opened");
    let refused = io::ErrorKind::ReadOnlyFilesystem;
    assert_eq!(reader.create("b").expect_err("refused").kind(), refused);
    assert_eq!(
        reader
            .open("a", Access::ReadWrite)
            .expect_err("refused")
            .kind(),
        refused
    );
    assert_eq!(
        reader.rename("a", "b").expect_err("refused").kind(),
        refused
    );
    assert_eq!(reader.remove("a").expect_err("refused").kind(), refused);
    assert!(matches!(
        reader.lock(Sharing::Exclusive),
        Err(LockError::Io(_))
    ));
    assert!(reader.lock(Sharing::Shared).is_ok());
    assert_eq!(reader.list().expect("listed"), ["a"]);
    let missing = RealDirectory::open(&path.join("x"), Opening::ReadOnly).expect_err("missing");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_leads_out_of_the_directory() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let Place {
        outer,
        path,
        directory,
    } = &place();
    let secret = outer.path().join("secret");
    std::fs::write(&secret, "x").expect("written");
    symlink(&secret, path.join("link")).expect("linked");
    symlink(&secret, path.join(LOCK_FILE)).expect("linked");
    std::fs::create_dir(path.join("inner")).expect("created");
    for name in [
        "link",
        "inner",
        "../secret",
        "..",
        "/etc/passwd",
        "inner/../link",
    ] {
        for access in [Access::Read, Access::ReadWrite] {
            assert!(directory.open(name, access).is_err(), "{name}");
        }
        assert!(directory.create(name).is_err(), "{name}");
    }
    assert!(directory.rename("link", "../out").is_err());
    assert!(directory.remove("../secret").is_err());
    assert!(matches!(
        directory.lock(Sharing::Exclusive),
        Err(LockError::Io(_))
    ));
    assert_eq!(std::fs::read(&secret).expect("still there"), b"x");

    // Another directory in its place is not the one that was opened.
    std::fs::rename(path, outer.path().join("moved")).expect("renamed");
    std::fs::create_dir(path).expect("created");
    drop(directory.create("mine").expect("created"));
    assert!(!path.join("mine").exists());
    let moved = outer.path().join("moved");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&moved), mode(&moved.join("mine"))), (0o700, 0o600));
}

/// What the kernel shows of processes and control groups lies on no medium: it refuses to make it durable, and whoever
/// does not ask it does not hear of that.
#[cfg(target_os = "linux")]
#[test]
fn the_system_is_asked_to_make_durable() {
    let refused = |done: io::Result<()>| {
        let error = done.expect_err("nothing there is durable");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    };
    let process = RealDirectory::open(Path::new("/proc/self"), Opening::Existing);
    let process = process.expect("a process sees itself");
    refused(process.sync());
    let file = process.open("comm", Access::ReadWrite).expect("its name");
    refused(file.sync_data());

    // A directory that is made is durable, or an error.
    let name = format!("brimfs-test-{}", std::process::id());
    for above in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new) {
        if !above.join("cgroup.procs").exists() {
            continue;
        }
        let group = above.join(&name);
        let made = RealDirectory::open(&group, Opening::Create);
        if std::fs::remove_dir(&group).is_ok() {
            return refused(made.map(drop));
        }
    }
    println!("SKIPPED: no control group can be made here");
}
