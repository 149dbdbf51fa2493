//! A store to look at, and the command as users run it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use brimfs::{Durability, FileSystem, FileTimes, Timestamp};
use tempfile::TempDir;

pub const MIB: usize = 1 << 20;

pub fn brimfs(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brimfs"));
    command.args(arguments);
    command
}

/// Standard output of a command that has to succeed.
pub fn said(arguments: &[&str]) -> String {
    let output = brimfs(arguments);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that has to fail.
pub fn failure(arguments: &[&str]) -> String {
    let output = brimfs(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Bytes that no two places share.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len).collect()
}

pub struct Store {
    pub place: TempDir,
}

impl Store {
    pub fn with(fill: impl FnOnce(&FileSystem)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let store = Store { place };
        store.change(fill);
        store
    }

    /// Opens the store for writing, and closes it.
    pub fn change(&self, change: impl FnOnce(&FileSystem)) {
        let fs = self.open();
        change(&fs);
        fs.close().unwrap();
    }

    pub fn open(&self) -> FileSystem {
        let builder = FileSystem::builder().durability(Durability::Manual);
        builder.memory_limit(64 << 20).open(self.path()).unwrap()
    }

    /// A bit of everything.
    pub fn usual() -> Self {
        Self::with(|fs| {
            fs.create_dir_all("/docs/deep").unwrap();
            fs.write("/docs/a.txt", "first line\nno newline at the end")
                .unwrap();
            fs.write("/docs/deep/large", noise(5 * MIB / 2, 1)).unwrap();
            fs.write("/empty", "").unwrap();
            fs.hard_link("/docs/a.txt", "/second name").unwrap();
            fs.symlink("docs/a.txt", "/link").unwrap();
            fs.symlink("/nowhere", "/dangling").unwrap();
            fs.write(b"/b\xffd", "bytes").unwrap();
            let holes = fs.create("/holes").unwrap();
            holes.set_len(8 * MIB as u64).unwrap();
            holes.write_at(4 * MIB as u64, b"middle").unwrap();
            drop(holes);
            fs.set_permissions("/docs/a.txt", 0o640).unwrap();
            fs.set_permissions("/docs/deep", 0o500).unwrap();
            fs.set_xattr(
                "/docs/a.txt",
                "user.origin",
                b"here",
                brimfs::XattrMode::Set,
            )
            .unwrap();
            let time = Timestamp {
                seconds: 981_173_106,
                nanos: 7,
            };
            let times = FileTimes {
                accessed: Some(time),
                modified: Some(time),
            };
            fs.set_times("/docs/a.txt", times).unwrap();
        })
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    pub fn name(&self) -> &str {
        self.path().to_str().unwrap()
    }

    /// The files of the store with this prefix, sorted.
    pub fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with(prefix)
            })
            .collect();
        files.sort();
        files
    }

    /// Every file of the store with its bytes, to see that nothing changed.
    pub fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.files("").into_iter();
        files
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    }

    /// Flips a bit of the byte at `offset`.
    pub fn flip(file: &Path, offset: u64) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(file)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
    }

    /// Which segment has these bytes, and where.
    pub fn find(&self, bytes: &[u8]) -> (PathBuf, u64) {
        for path in self.files("segment-") {
            let content = std::fs::read(&path).unwrap();
            let found = content
                .windows(bytes.len())
                .position(|window| window == bytes);
            if let Some(at) = found {
                return (path, at as u64);
            }
        }
        panic!("no segment has these bytes");
    }
}
