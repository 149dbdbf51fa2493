//! A directory of the host for one test, and looks at it that do not go through brimfs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use brimfs::{Builder, Durability, FileSystem, Layout};

/// A directory that is gone with the test.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("brimfs-mirror-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a directory for the test");
        Place(path)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Puts a file of the host there, with all directories above it.
    pub fn put(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("directories");
        fs::write(path, bytes).expect("a file");
    }

    pub fn get(&self, below: &str) -> Vec<u8> {
        fs::read(self.path(below)).unwrap_or_else(|error| panic!("{below}: {error}"))
    }

    pub fn inode(&self, below: &str) -> u64 {
        fs::symlink_metadata(self.path(below))
            .expect("it is there")
            .ino()
    }

    pub fn open(&self) -> FileSystem {
        builder().open(self.root()).expect("a mirror")
    }

    /// All that the host has, but for side data.
    pub fn tree(&self) -> BTreeMap<String, Node> {
        let mut tree = BTreeMap::new();
        let mut open = vec![(self.0.clone(), String::new())];
        while let Some((path, name)) = open.pop() {
            for entry in fs::read_dir(path).expect("a directory") {
                let entry = entry.expect("an entry");
                let file = entry
                    .file_name()
                    .into_string()
                    .expect("names of tests are text");
                let name = format!("{name}/{file}");
                if name == "/.brimfs" {
                    continue;
                }
                let kind = entry.file_type().expect("a kind");
                let node = if kind.is_dir() {
                    open.push((entry.path(), name.clone()));
                    Node::Directory
                } else if kind.is_symlink() {
                    let target = fs::read_link(entry.path()).expect("a link");
                    Node::Symlink(target.into_os_string().into_string().expect("text"))
                } else {
                    Node::File(fs::read(entry.path()).expect("a file"))
                };
                tree.insert(name, node);
            }
        }
        tree
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(String),
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Node::Directory => f.write_str("directory"),
            Node::Symlink(target) => write!(f, "-> {target}"),
            Node::File(bytes) => {
                let sum: u64 = bytes
                    .iter()
                    .zip(1..)
                    .map(|(byte, at)| u64::from(*byte) * at)
                    .sum();
                write!(f, "{} bytes #{sum:x}", bytes.len())
            }
        }
    }
}

/// Nothing is committed that nobody asked for.
pub fn builder() -> Builder {
    FileSystem::builder()
        .layout(Layout::Mirror)
        .memory_limit(64 << 20)
        .durability(Durability::Manual)
}

/// All that brimfs has.
pub fn tree_of(fs: &FileSystem) -> BTreeMap<String, Node> {
    let mut tree = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let shown = if path.is_empty() { "/" } else { &path };
        for entry in fs.read_dir(shown).expect("a directory") {
            let name = String::from_utf8(entry.name().to_vec()).expect("text");
            let path = format!("{path}/{name}");
            let kind = fs.symlink_metadata(&path).expect("it is there").file_type();
            let node = if kind.is_dir() {
                open.push(path.clone());
                Node::Directory
            } else if kind.is_symlink() {
                let target = fs.read_link(&path).expect("a link");
                Node::Symlink(String::from_utf8(target).expect("text"))
            } else {
                Node::File(fs.read(&path).expect("a file").to_vec())
            };
            tree.insert(path, node);
        }
    }
    brimfs_sim::run::audit(fs).expect("counted right");
    tree
}
