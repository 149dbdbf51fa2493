//! What other processes see of one that spills: its memory, as a control group counts it, and what
//! is left of it when it is killed.
#![cfg(all(target_os = "linux", not(feature = "shuttle")))]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use brimfs::{ErrorKind, FileSystem};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 32 * MIB;
/// For the process itself: its code, stacks, and the test around it.
const PROCESS: u64 = 8 * MIB;
const SECRET: &[u8] = b"a secret that nobody else must ever read";
const DIRECTORY: &str = "BRIMFS_TEST_SPILL_DIRECTORY";

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// Starts a test of this file as a process of its own. It waits for a line before it begins.
fn start(test: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().expect("a running test has a file"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process")
}

fn begin(child: &mut Child) {
    let input = child.stdin.as_mut().expect("its input is a pipe");
    input.write_all(b"begin\n").expect("it waits for a line");
}

/// Reads what a process says until it says a word, or ends.
fn wait_for(child: &mut Child, word: &str) -> bool {
    let output = child.stdout.as_mut().expect("its output is a pipe");
    let mut lines = BufReader::new(output).lines();
    lines.any(|line| line.is_ok_and(|line| line.contains(word)))
}

fn filesystem_of_a_child() -> FileSystem {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    let directory = std::env::var_os(DIRECTORY).expect("the parent names one");
    FileSystem::builder()
        .memory_limit(LIMIT)
        .spill_dir(directory)
        .build()
        .expect("a filesystem that spills")
}

fn fill(buffer: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in buffer.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

/// Whether the directory is on a disk; without one there is nothing to test.
fn can_spill(directory: &Path) -> bool {
    let fs = FileSystem::builder()
        .memory_limit(16 * MIB)
        .spill_dir(directory)
        .build()
        .expect("a filesystem that spills");
    let file = vec![1; MIB as usize];
    for number in 0..40 {
        if let Err(error) = fs.write_slice(format!("/f{number}"), &file) {
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            println!("SKIPPED: {error}");
            return false;
        }
    }
    true
}

/// A control group of its own below that of the test, which goes when it is dropped.
struct Group(PathBuf);

impl Group {
    /// Nothing where groups cannot be made: not root, or no controller of memory.
    fn new(bytes: u64) -> Option<Group> {
        let mine = fs::read_to_string("/proc/self/cgroup").ok()?;
        let of = |mark: &str| mine.lines().find_map(|line| Some(line.split_once(mark)?.1));
        let name = format!("brimfs-test-{}", std::process::id());
        let places = [
            of(":memory:").map(|own| ("/sys/fs/cgroup/memory", own, "memory.limit_in_bytes")),
            of("0::").map(|own| ("/sys/fs/cgroup", own, "memory.max")),
        ];
        for (root, own, limit) in places.into_iter().flatten() {
            let group = Path::new(root)
                .join(own.trim_start_matches('/'))
                .join(&name);
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Group(group);
            if fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                // Where there is swap, it is not for hiding in.
                let total = group.0.join("memory.memsw.limit_in_bytes");
                drop(fs::write(total, bytes.to_string()));
                drop(fs::write(group.0.join("memory.swap.max"), "0"));
                return Some(group);
            }
        }
        None
    }

    fn add(&self, child: &Child) {
        fs::write(self.0.join("cgroup.procs"), child.id().to_string()).expect("it can be moved");
    }

    /// The most that was ever counted, where the kernel says so.
    fn peak(&self) -> Option<u64> {
        ["memory.max_usage_in_bytes", "memory.peak"]
            .iter()
            .find_map(|file| {
                fs::read_to_string(self.0.join(file))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

/// Runs a child in a group with this much memory.
fn run_within(bytes: u64, test: &str, directory: &Path) -> Option<(ExitStatus, Option<u64>)> {
    let group = Group::new(bytes)?;
    let mut child = start(test, directory);
    group.add(&child);
    begin(&mut child);
    wait_for(&mut child, "nothing that it ever says");
    let status = child.wait().expect("it ends");
    Some((status, group.peak()))
}

#[test]
fn a_control_group_never_kills_what_spills() {
    let directory = directory();
    if !can_spill(directory.path()) {
        return;
    }
    let bytes = LIMIT + LIMIT / 10 + 16 * MIB + PROCESS;
    // A process that does take more is killed: the group is one.
    let Some((status, _)) = run_within(bytes, "child_that_takes_too_much", directory.path()) else {
        println!("SKIPPED: no control group can be made here");
        return;
    };
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    let spilled = run_within(
        bytes,
        "child_that_spills_ten_times_its_memory",
        directory.path(),
    );
    let (status, peak) = spilled.expect("a group could be made before");
    assert!(status.success(), "{status}, peak {peak:?} of {bytes}");
    println!("peak {peak:?} of {bytes}");
}

#[test]
#[ignore = "a process that another test starts"]
fn child_that_takes_too_much() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    let memory = vec![1_u8; 4 * LIMIT as usize];
    println!(
        "{}",
        memory.iter().map(|byte| u64::from(*byte)).sum::<u64>()
    );
}

#[test]
#[ignore = "a process that another test starts"]
fn child_that_spills_ten_times_its_memory() {
    let fs = filesystem_of_a_child();
    let lens = [16 << 10, 200 << 10, 3 * MIB as usize];
    let mut buffer = vec![0; 3 * MIB as usize];
    let mut written = 0;
    let mut files = 0;
    while written < 10 * LIMIT {
        let part = &mut buffer[..lens[files % lens.len()]];
        fill(part, files as u64);
        fs.write_slice(format!("/f{files}"), part).expect("written");
        written += part.len() as u64;
        files += 1;
    }
    for step in 0..files {
        let file = step * 7919 % files;
        let read = fs.read(format!("/f{file}")).expect("read");
        let part = &mut buffer[..lens[file % lens.len()]];
        fill(part, file as u64);
        assert!(read[..] == *part, "file {file}");
    }
    let stats = fs.stats();
    assert!(stats.resident_peak <= LIMIT, "{stats:?}");
}

/// The files of a process that lie, or lay, in a directory.
fn open_files(process: u32, directory: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(format!("/proc/{process}/fd")).expect("Linux lists descriptors");
    let paths = found.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| fs::read_link(path).is_ok_and(|target| target.starts_with(directory)))
        .collect()
}

fn holds(raw: &[u8], text: &[u8]) -> bool {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == text[0]) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[test]
fn nothing_is_left_of_a_process_that_was_killed_while_it_spilled() {
    let directory = directory();
    if !can_spill(directory.path()) {
        return;
    }
    let mut child = start("child_that_spills_a_secret_for_ever", directory.path());
    begin(&mut child);
    assert!(wait_for(&mut child, "spilled"), "it spills");
    let files: Vec<fs::File> = open_files(child.id(), directory.path())
        .iter()
        .map(|path| fs::File::open(path).expect("our own child's"))
        .collect();
    child.kill().expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    let left = fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 0, "files are left");
    assert!(!files.is_empty(), "it held segments");
    let mut bytes = 0;
    for file in &files {
        assert_eq!(file.metadata().expect("an open file").nlink(), 0);
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut &*file, &mut raw).expect("readable");
        bytes += raw.iter().filter(|byte| **byte != 0).count() as u64;
        assert!(!holds(&raw, SECRET) && !holds(&raw, &SECRET[..10]));
    }
    assert!(bytes > LIMIT, "only {bytes} bytes to search");
    // The same search finds it where nothing hides it.
    let plain = directory.path().join("plain");
    fs::write(&plain, planted()).expect("room");
    assert!(holds(&fs::read(&plain).expect("readable"), SECRET));
}

/// A file full of a secret.
fn planted() -> Vec<u8> {
    let noise = [0xa5; 1000];
    [noise.as_slice(), &SECRET.repeat(300), &noise].concat()
}

#[test]
#[ignore = "a process that another test starts"]
fn child_that_spills_a_secret_for_ever() {
    let fs = filesystem_of_a_child();
    let secret = planted();
    for file in 0_u64.. {
        let path = format!("/f{}", file % 20_000);
        fs.write_slice(path, &secret).expect("written");
        if file % 100 == 0 && fs.tier_stats().swapped_out > 3 * LIMIT {
            println!("spilled");
        }
    }
}
