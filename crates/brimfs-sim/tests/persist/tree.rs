//! Everything that can be told of a filesystem, for comparing.

use std::collections::HashMap;

use brimfs::{FileSystem, LockMode, OpenOptions};

/// Files up to this length are read as a whole, others where they hold data, in bytes.
const WHOLE_MAX: u64 = 32 << 20;

/// One line for each node and name, in the order of listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(pub Vec<String>);

/// A number for the content of each file, by its path.
pub type Contents = HashMap<Vec<u8>, u64>;

/// The whole tree with its content, all of which is read.
pub fn tree(fs: &FileSystem) -> Result<Tree, brimfs::Error> {
    let contents = contents(fs)?;
    tree_with(fs, &contents)
}

/// The whole tree with content that is known otherwise: none is read.
pub fn tree_with(fs: &FileSystem, contents: &Contents) -> Result<Tree, brimfs::Error> {
    let mut lines = Vec::new();
    for entry in fs.walk("/")? {
        let (path, known) = (entry.path(), entry.metadata());
        let mut line = format!(
            "{} {} {:?} {:o} {}:{} links {} len {} {:?} {:?}",
            path.escape_ascii(),
            known.ino(),
            known.file_type(),
            known.mode(),
            known.uid(),
            known.gid(),
            known.nlink(),
            known.len(),
            known.modified(),
            known.changed(),
        );
        if known.is_symlink() {
            line += &format!(" -> {}", fs.read_link(path)?.escape_ascii());
        } else {
            for name in fs.list_xattrs(path)? {
                let value = fs.xattr(path, &name)?;
                line += &format!(" {}={}", name.escape_ascii(), value.escape_ascii());
            }
        }
        if known.is_file() {
            let (priority, pinned) = (fs.priority(path)?, fs.is_pinned(path)?);
            line += &format!(" priority {priority} pinned {pinned}");
            match contents.get(path) {
                Some(digest) => line += &format!(" content {digest:x}"),
                None => line += " content unknown",
            }
        }
        lines.push(line);
    }
    Ok(Tree(lines))
}

/// Fast, as all content of every image goes through it.
fn digest(bytes: &[u8]) -> u64 {
    (bytes.len() as u64) << 32 | u64::from(crc32c::crc32c(bytes))
}

/// Reads everything.
pub fn contents(fs: &FileSystem) -> Result<Contents, brimfs::Error> {
    let mut contents = Contents::new();
    for entry in fs.walk("/")? {
        if entry.metadata().is_file() {
            let digest = content(fs, entry.path(), entry.metadata().len())?;
            contents.insert(entry.path().to_vec(), digest);
        }
    }
    Ok(contents)
}

fn content(fs: &FileSystem, path: &[u8], len: u64) -> Result<u64, brimfs::Error> {
    if len <= WHOLE_MAX {
        return Ok(digest(&fs.read(path)?));
    }
    let file = OpenOptions::new()
        .read(true)
        .lock(LockMode::None)
        .open(fs, path)?;
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(start) = file.seek_data(at)? {
        let end = file.seek_hole(start)?.unwrap_or(len);
        let mut bytes = vec![0; (end - start) as usize];
        let read = file.read_at(start, &mut bytes)?;
        assert_eq!(read, bytes.len(), "data that is there");
        all.extend(digest(&bytes).to_le_bytes());
        all.extend(start.to_le_bytes());
        at = end;
    }
    Ok(digest(&all))
}

impl Tree {
    /// Only the root, of which nothing is said.
    pub fn is_bare(&self) -> bool {
        self.0.len() == 1
    }

    /// The lines that only one of both has.
    pub fn difference(&self, other: &Tree) -> String {
        let only = |one: &Tree, other: &Tree, sign: &str| -> String {
            let lines = one.0.iter().filter(|line| !other.0.contains(line));
            lines.map(|line| format!("  {sign} {line}\n")).collect()
        };
        let mut text = only(self, other, "found   ") + &only(other, self, "expected");
        if text.is_empty() && self != other {
            text = format!("  only the order differs: {:?}\n  {:?}\n", self.0, other.0);
        }
        text
    }
}
