//! Real filesystems of a small size, ext4 and xfs in a file of their own: filled to the brim, and looked at as
//! they would be after the power went off. Skipped, and says so, where none can be made or mounted.
#![cfg(all(target_os = "linux", not(feature = "shuttle")))]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use brimfs::face::disk::{Disk, RealDisk};
use brimfs::{Durability, Error, ErrorKind, FileSystem, check_store};

const MIB: u64 = 1 << 20;
/// How a filesystem is called, how it is made, the least that it can have, and what mounting a copy of it takes.
const KINDS: [(&str, &[&str], u64, &str); 2] = [
    ("ext4", &["mkfs.ext4", "-q", "-F"], 48 * MIB, "loop"),
    ("xfs", &["mkfs.xfs", "-q", "-f"], 300 * MIB, "loop,nouuid"),
];

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match done {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        )),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// A filesystem in a file, mounted until it is dropped.
struct Mounted {
    file: PathBuf,
    at: PathBuf,
    options: &'static str,
}

impl Mounted {
    fn new(file: PathBuf, options: &'static str) -> Result<Self, String> {
        let at = file.with_extension("mounted");
        fs::create_dir(&at).map_err(|error| error.to_string())?;
        let paths = [&file, &at].map(|path| path.to_str().expect("a plain path"));
        run("mount", &["-o", options, paths[0], paths[1]])?;
        Ok(Mounted { file, at, options })
    }

    /// What lies in the file now, as a filesystem of its own: what the kernel did not write out is lost, as when the power
    /// goes off.
    fn after_power_off(&self, name: &str) -> Mounted {
        let copy = self.file.with_file_name(name);
        let paths = [&self.file, &copy].map(|path| path.to_str().expect("a plain path"));
        let written = || fs::metadata(&self.file).and_then(|about| about.modified());
        loop {
            // What the kernel writes in between would make it a copy of no moment.
            let before = written().expect("a time");
            run("cp", &["--sparse=always", paths[0], paths[1]]).expect("room for a copy");
            if written().expect("a time") == before {
                break;
            }
        }
        Mounted::new(copy, self.options).expect("one more is mounted")
    }

    fn store(&self) -> PathBuf {
        self.at.join("store")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let at = self.at.to_str().expect("a plain path");
        if run("umount", &[at]).is_err() {
            // A test that fails may have a store open still.
            let _ = run("umount", &["--lazy", at]);
        }
        let _ = fs::remove_file(&self.file);
    }
}

/// Runs a test on each kind of filesystem that can be had.
fn on_each(test: fn(&Mounted)) {
    for (kind, maker, bytes, options) in KINDS {
        let outer = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let path = outer.path().join(kind);
        let file = fs::File::create(&path).expect("a file");
        file.set_len(bytes).expect("a long one");
        let mut arguments = maker[1..].to_vec();
        arguments.push(path.to_str().expect("a plain path"));
        match run(maker[0], &arguments).and_then(|()| Mounted::new(path.clone(), options)) {
            Ok(mounted) => {
                println!("{kind}");
                test(&mounted);
            }
            Err(why) => println!("SKIPPED: {kind}: {why}"),
        }
    }
}

fn open(path: &Path) -> FileSystem {
    let above = path.parent().expect("a directory above");
    let all = RealDisk.probe(above).expect("a directory").total;
    let builder = FileSystem::builder()
        .memory_limit(16 * MIB)
        // Not reached; a segment is a fraction of it.
        .disk_limit(2 * all)
        .durability(Durability::Manual);
    builder.open(path).expect("a store that opens")
}

fn content(number: usize) -> Vec<u8> {
    let lens = [100, 5000, 70_000, 300_000, 1_200_000];
    let mut state = number as u64 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..lens[number % lens.len()]).map(|_| next()).collect()
}

fn put(fs: &FileSystem, number: usize) -> Result<(), Error> {
    fs.write(format!("/{number}"), content(number))
}

/// Removed content gives its place back a moment later, when nobody keeps a copy of it any more.
fn put_patiently(fs: &FileSystem, number: usize) {
    for _ in 0..1000 {
        match put(fs, number) {
            Err(error) if error.kind() == ErrorKind::DiskFull => {
                thread::sleep(Duration::from_millis(20));
            }
            done => return done.expect("there is space again"),
        }
    }
    panic!("there is no space for {number}");
}

/// How many of the first files are there, none left out, all of them whole.
fn whole(fs: &FileSystem) -> usize {
    let count = fs.read_dir("/").expect("listed").count();
    for number in 0..count {
        let read = fs.read(format!("/{number}"));
        let read = read.unwrap_or_else(|error| panic!("{number} of {count}: {error}"));
        assert!(read == content(number), "{number} of {count}");
    }
    count
}

fn check(path: &Path) {
    let report = check_store(path, &mut |_| {}).expect("a store");
    assert!(report.is_sound(), "{:?}", report.problems);
}

/// Writes until that fails: how many files were accepted, how many of them are durable, and the error.
fn fill(fs: &FileSystem) -> (usize, usize, Error) {
    let mut durable = 0;
    for accepted in 0.. {
        if accepted % 5 == 0 {
            match fs.sync() {
                Ok(()) => durable = accepted,
                Err(error) => return (accepted, durable, error),
            }
        }
        if let Err(error) = put(fs, accepted) {
            return (accepted, durable, error);
        }
    }
    unreachable!("a disk has an end")
}

#[test]
fn a_full_filesystem_is_an_error_of_the_writer_and_nothing_is_lost() {
    on_each(|mounted| {
        let store = mounted.store();
        let fs = open(&store);
        let (accepted, durable, error) = fill(&fs);
        assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
        println!("{accepted} files were accepted, {durable} of them durable: {error}");
        assert!(durable > 20);
        assert_eq!(whole(&fs), accepted, "what was accepted is readable");

        let copy = mounted.after_power_off("full");
        check(&copy.store());
        // Writing would take a little space.
        let after = FileSystem::builder()
            .memory_limit(16 * MIB)
            .read_only(true)
            .open(copy.store())
            .expect("a store that opens");
        let found = whole(&after);
        assert!((durable..=accepted).contains(&found), "{found}");
        after.close().expect("closed");
        drop(copy);
        // A full disk refuses no removal.
        for number in accepted / 8..accepted {
            fs.remove_file(format!("/{number}")).expect("removed");
        }
        fs.sync().expect("removing takes less than it gives");
        assert_eq!(whole(&fs), accepted / 8);
    });
}

#[test]
fn a_filesystem_that_was_full_goes_on_when_files_are_removed() {
    on_each(|mounted| {
        let store = mounted.store();
        let fs = open(&store);
        let (accepted, ..) = fill(&fs);
        for number in accepted / 8..accepted {
            fs.remove_file(format!("/{number}")).expect("removed");
        }
        fs.sync().expect("removing takes less than it gives");
        for number in accepted / 8..accepted / 2 {
            put_patiently(&fs, number);
        }
        fs.close().expect("closed");
        check(&store);
        assert_eq!(whole(&open(&store)), accepted / 2);
    });
}

/// Takes all that is free, with a file that is given.
fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    let mut len = MIB as usize;
    while len >= 4096 {
        let written = file.write_all(&vec![1; len]).and_then(|()| file.sync_all());
        if written.is_err() {
            len /= 2;
        }
    }
}

#[test]
fn what_was_accepted_is_durable_though_others_fill_the_disk() {
    on_each(|mounted| {
        let store = mounted.store();
        let others = mounted.at.join("others");
        let fs = open(&store);
        let mut next = 0;
        for round in 0..4 {
            for _ in 0..12 {
                put(&fs, next).expect("there is space");
                next += 1;
            }
            fill_up(&others);
            fs.sync()
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
            // What is little may fit still.
            let refused = put(&fs, next).err().map(|error| error.kind());
            let is_fair = refused.is_none_or(|kind| kind == ErrorKind::DiskFull);
            assert!(is_fair, "{refused:?}");
            next = whole(&fs);
            fs.sync()
                .unwrap_or_else(|error| panic!("round {round}, once more: {error}"));
            if round % 2 == 1 {
                fs::remove_file(&others).expect("removed");
            } else {
                fs::write(&others, b"").expect("emptied");
            }
        }
        fill_up(&others);
        fs.close().expect("closed");
        // A full disk is opened too, and emptied.
        let fs = open(&store);
        assert_eq!(whole(&fs), next);
        for number in next / 2..next {
            fs.remove_file(format!("/{number}")).expect("removed");
        }
        fs.close().expect("closed");
        check(&store);
        assert_eq!(whole(&open(&store)), next / 2);
    });
}

#[test]
fn what_was_synced_outlives_the_power() {
    on_each(|mounted| {
        let mut fs = open(&mounted.store());
        let mut next = 0;
        for round in 0..8 {
            for _ in 0..round + 1 {
                put(&fs, next).expect("written");
                next += 1;
            }
            fs.sync().expect("durable");
            let durable = next;
            for _ in 0..round % 3 {
                put(&fs, next).expect("written");
                next += 1;
            }
            if round % 4 == 2 {
                fs.close().expect("closed");
            }
            let copy = mounted.after_power_off(&format!("round{round}"));
            check(&copy.store());
            let after = open(&copy.store());
            let found = whole(&after);
            assert!((durable..=next).contains(&found), "round {round}: {found}");
            // It goes on from there.
            put(&after, found).expect("written");
            after.sync().expect("durable");
            after.close().expect("closed");
            check(&copy.store());
            drop(copy);
            if round % 4 == 2 {
                fs = open(&mounted.store());
            }
        }
        fs.close().expect("closed");
        assert_eq!(whole(&open(&mounted.store())), next);
    });
}
