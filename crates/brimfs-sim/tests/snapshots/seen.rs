//! What a user sees of a whole filesystem.

use std::collections::BTreeMap;

use brimfs::{FileSystem, FileType, LockMode, OpenOptions, Timestamp};

/// Of a longer file only so many bytes are looked at.
const LOOKED_AT: u64 = 2 << 20;

/// What a user sees of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: FileType,
    pub mode: u32,
    pub owner: (u32, u32),
    pub modified: Timestamp,
    pub links: u64,
    pub content: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen {
            kind,
            mode,
            owner,
            modified,
            links,
            content,
            xattrs,
        } = self;
        let sum = content
            .iter()
            .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        let len = content.len();
        write!(
            f,
            "{kind:?} of {len} bytes (sum {sum:x}), {mode:o} {owner:?} {modified:?}, {links} names, {xattrs:?}"
        )
    }
}

/// All bytes of a file, or the first ones of a long one and how many there are.
fn content(fs: &FileSystem, path: &[u8], len: u64) -> Vec<u8> {
    let file = OpenOptions::new()
        .read(true)
        .lock(LockMode::None)
        .open(fs, path)
        .expect("a file");
    let mut content = vec![0; len.min(LOOKED_AT) as usize];
    let count = file.read_at(0, &mut content).expect("it is read");
    content.truncate(count);
    content.extend(len.to_le_bytes());
    content
}

pub type Tree = BTreeMap<Vec<u8>, Seen>;

fn seen(fs: &FileSystem, path: &[u8]) -> Seen {
    let meta = fs.symlink_metadata(path).expect("it was listed");
    let content = match meta.file_type() {
        FileType::File => content(fs, path, meta.len()),
        FileType::Symlink => fs.read_link(path).expect("a link"),
        FileType::Directory => Vec::new(),
    };
    let names = match meta.file_type() {
        // Attributes are reached through what a link leads to.
        FileType::Symlink => Vec::new(),
        _ => fs.list_xattrs(path).expect("listed"),
    };
    let value = |name: Vec<u8>| {
        let value = fs.xattr(path, &name).expect("it is there");
        (name, value.to_vec())
    };
    let mut xattrs: Vec<_> = names.into_iter().map(value).collect();
    xattrs.sort();
    Seen {
        kind: meta.file_type(),
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        modified: match meta.file_type() {
            FileType::Directory => Timestamp::default(),
            _ => meta.modified(),
        },
        links: meta.nlink(),
        content,
        xattrs,
    }
}

pub fn tree(fs: &FileSystem) -> Tree {
    let walk = fs.walk("/").expect("a root");
    walk.map(|entry| (entry.path().to_vec(), seen(fs, entry.path())))
        .collect()
}
