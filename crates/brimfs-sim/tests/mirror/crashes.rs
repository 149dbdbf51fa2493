//! A process that dies at each of its calls of the host; bytes that were not flushed are lost. Names that were not
//! flushed stay, which is what the death of a process means; that directories are flushed is only counted here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use brimfs::FileSystem;
use brimfs::face::disk::{
    Access, Attributes, Directory, DirectoryLock, DiskFile, Listed, LockError, Moment, Nameless,
    Place as Medium, Sharing, Tree, TreeFile, TreeStat, open_tree,
};

use super::world::{Node, Place, builder, tree_of};

/// Where the process is, in calls that change something.
#[derive(Debug)]
struct Fate {
    left: u64,
    done: u64,
    syncs: u64,
    /// Files with bytes that no flush covered.
    unsynced: Vec<Arc<Box<dyn TreeFile>>>,
}

type Shared = Arc<Mutex<Fate>>;

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

fn alive(fate: &Shared) -> io::Result<()> {
    match fate.lock().unwrap().left {
        0 => Err(dead()),
        _ => Ok(()),
    }
}

/// A call that changes something: it is done, or the process is dead.
fn call(fate: &Shared) -> io::Result<()> {
    let mut fate = fate.lock().unwrap();
    if fate.left == 0 {
        return Err(dead());
    }
    fate.left -= 1;
    fate.done += 1;
    Ok(())
}

#[derive(Debug)]
struct Mortal {
    tree: Box<dyn Tree>,
    fate: Shared,
}

impl Mortal {
    fn new(place: &Path, left: u64) -> (Arc<Self>, Shared) {
        let fate = Arc::new(Mutex::new(Fate {
            left,
            done: 0,
            syncs: 0,
            unsynced: Vec::new(),
        }));
        let tree = open_tree(place, false).expect("a tree");
        let mortal = Mortal {
            tree,
            fate: fate.clone(),
        };
        (Arc::new(mortal), fate)
    }
}

#[derive(Debug)]
struct MortalFile {
    file: Arc<Box<dyn TreeFile>>,
    fate: Shared,
}

impl TreeFile for MortalFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        alive(&self.fate)?;
        self.file.read_at(offset, into)
    }
    fn write_all_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        call(&self.fate)?;
        self.fate.lock().unwrap().unsynced.push(self.file.clone());
        self.file.write_all_at(offset, from)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        call(&self.fate)?;
        self.file.set_len(len)
    }
    fn set_attributes(&self, attributes: &Attributes) -> io::Result<()> {
        call(&self.fate)?;
        self.file.set_attributes(attributes)
    }
    fn sync(&self) -> io::Result<()> {
        call(&self.fate)?;
        let mut fate = self.fate.lock().unwrap();
        fate.unsynced.retain(|file| !Arc::ptr_eq(file, &self.file));
        Ok(())
    }
    fn stat(&self) -> io::Result<TreeStat> {
        alive(&self.fate)?;
        self.file.stat()
    }
}

impl Tree for Mortal {
    fn side(&self, create: bool) -> io::Result<Option<Arc<dyn Directory>>> {
        alive(&self.fate)?;
        let side = self.tree.side(create)?;
        Ok(side.map(|directory| {
            let fate = self.fate.clone();
            Arc::new(MortalDirectory { directory, fate }) as Arc<dyn Directory>
        }))
    }
    fn list(&self, path: &[u8]) -> io::Result<Vec<Listed>> {
        alive(&self.fate)?;
        self.tree.list(path)
    }
    fn stat(&self, path: &[u8]) -> io::Result<TreeStat> {
        alive(&self.fate)?;
        self.tree.stat(path)
    }
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
        alive(&self.fate)?;
        let file = Arc::new(self.tree.open(path)?);
        let fate = self.fate.clone();
        Ok(Box::new(MortalFile { file, fate }))
    }
    fn create(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
        call(&self.fate)?;
        let file = Arc::new(self.tree.create(path)?);
        let fate = self.fate.clone();
        Ok(Box::new(MortalFile { file, fate }))
    }
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        alive(&self.fate)?;
        self.tree.read_link(path)
    }
    fn symlink(&self, target: &[u8], path: &[u8]) -> io::Result<()> {
        call(&self.fate)?;
        self.tree.symlink(target, path)
    }
    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        call(&self.fate)?;
        self.tree.link(from, to)
    }
    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        call(&self.fate)?;
        self.tree.rename(from, to)
    }
    fn remove(&self, path: &[u8]) -> io::Result<()> {
        call(&self.fate)?;
        self.tree.remove(path)
    }
    fn make_directory(&self, path: &[u8], mode: u32) -> io::Result<()> {
        call(&self.fate)?;
        self.tree.make_directory(path, mode)
    }
    fn remove_directory(&self, path: &[u8]) -> io::Result<()> {
        call(&self.fate)?;
        self.tree.remove_directory(path)
    }
    fn set_attributes(&self, path: &[u8], attributes: &Attributes) -> io::Result<()> {
        call(&self.fate)?;
        self.tree.set_attributes(path, attributes)
    }
    fn sync(&self, path: &[u8]) -> io::Result<()> {
        call(&self.fate)?;
        self.fate.lock().unwrap().syncs += 1;
        self.tree.stat(path).map(drop)
    }
}

#[derive(Debug)]
struct MortalDirectory {
    directory: Arc<dyn Directory>,
    fate: Shared,
}

#[derive(Debug)]
struct MortalDiskFile {
    file: Box<dyn DiskFile>,
    fate: Shared,
}

impl DiskFile for MortalDiskFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        alive(&self.fate)?;
        self.file.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<usize> {
        call(&self.fate)?;
        self.file.write_at(offset, from)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        call(&self.fate)?;
        self.file.allocate(offset, len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        call(&self.fate)?;
        self.file.truncate(len)
    }
    fn len(&self) -> io::Result<u64> {
        alive(&self.fate)?;
        self.file.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        call(&self.fate)
    }
    fn nameless(&self) -> Nameless {
        self.file.nameless()
    }
}

impl MortalDirectory {
    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let fate = self.fate.clone();
        Box::new(MortalDiskFile { file, fate })
    }
}

impl Directory for MortalDirectory {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        call(&self.fate)?;
        self.directory.create(name).map(|file| self.wrap(file))
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        alive(&self.fate)?;
        self.directory
            .open(name, access)
            .map(|file| self.wrap(file))
    }
    fn list(&self) -> io::Result<Vec<OsString>> {
        alive(&self.fate)?;
        self.directory.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        call(&self.fate)?;
        self.directory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        call(&self.fate)?;
        self.directory.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        call(&self.fate)
    }
    fn lock(&self, sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError> {
        alive(&self.fate)?;
        self.directory.lock(sharing)
    }
    fn place(&self) -> io::Result<Medium> {
        self.directory.place()
    }
}

type Contents = BTreeMap<String, Node>;

/// The lives of one filesystem: each is some changes and a sync.
fn lives() -> Vec<fn(&FileSystem) -> brimfs::Result<()>> {
    vec![
        |fs| {
            fs.write("/a", vec![1; 70_000])?;
            fs.write("/old", "replaced")?;
            fs.create_dir_all("/x/y")?;
            fs.write("/x/y/z", "z")?;
            fs.symlink("a", "/link")
        },
        |fs| {
            fs.rename("/a", "/x/b")?;
            fs.write("/x/y/z", vec![2; 1_200_000])?;
            fs.rename("/x", "/w")?;
            fs.remove_file("/old")?;
            fs.hard_link("/w/b", "/twin")
        },
        |fs| {
            // Two directories change places, and a name becomes one.
            fs.create_dir("/v")?;
            fs.write("/v/in", "v")?;
            fs.rename("/w/y", "/u")?;
            fs.remove_file("/link")?;
            fs.create_dir("/link")?;
            fs.write("/link/file", "below what was a link")?;
            fs.write("/twin", "both names")
        },
        |fs| {
            fs.rename("/v", "/t")?;
            fs.rename("/u", "/v")?;
            fs.rename("/t", "/u")?;
            fs.remove_dir_all("/link")?;
            fs.remove_dir_all("/w")
        },
    ]
}

fn start() -> Place {
    let place = Place::new();
    place.put("old", "of the beginning");
    place.put("kept/file", vec![9; 5000]);
    place
}

/// What the tree is after each life.
fn history() -> Vec<Contents> {
    let place = start();
    let fs = place.open();
    let mut all = vec![place.tree()];
    for life in lives() {
        life(&fs).expect("it can be done");
        fs.sync().expect("a disk without faults");
        assert_eq!(tree_of(&fs), place.tree());
        all.push(place.tree());
    }
    all
}

/// Runs all lives until the process dies; returns how many were acknowledged, and how many calls there were.
fn run(place: &Place, left: u64) -> (usize, u64, u64) {
    let (tree, fate) = Mortal::new(place.root(), left);
    let mut acknowledged = 0;
    if let Ok(fs) = builder().open_tree(tree) {
        for life in lives() {
            if life(&fs).is_err() || fs.sync().is_err() {
                break;
            }
            acknowledged += 1;
        }
        drop(fs);
    }
    let fate = fate.lock().unwrap();
    for file in &fate.unsynced {
        file.set_len(0).expect("what was not flushed is lost");
    }
    (acknowledged, fate.done, fate.syncs)
}

/// Each file is as it was before or after the life that was interrupted.
fn check_files(place: &Place, before: &Contents, after: &Contents, what: &str) {
    for (path, node) in place.tree() {
        if let Node::File(_) = &node {
            let is_whole = before
                .values()
                .chain(after.values())
                .any(|known| *known == node);
            assert!(is_whole, "{what}: {path} is {node:?}");
        }
    }
}

#[test]
fn every_call_may_be_the_last() {
    let history = history();
    let (all, calls, syncs) = run(&start(), u64::MAX);
    assert_eq!(all, lives().len());
    assert!(syncs > lives().len() as u64, "directories are flushed");
    let mut found = BTreeMap::new();
    for last in 0..calls {
        let place = start();
        let (acknowledged, _, _) = run(&place, last);
        let what = format!("dead after call {last} of {calls}, {acknowledged} syncs acknowledged");
        let next = (acknowledged + 1).min(history.len() - 1);
        check_files(&place, &history[acknowledged], &history[next], &what);
        if last % 3 == 0 {
            // It dies once more while it is opened.
            let (tree, _) = Mortal::new(place.root(), last / 3 % 17);
            drop(builder().open_tree(tree));
        }
        let fs = place.open();
        let tree = tree_of(&fs);
        assert_eq!(tree, place.tree(), "{what}");
        let state = (acknowledged..=next).find(|state| history[*state] == tree);
        let state = state.unwrap_or_else(|| {
            panic!(
                "{what}: {tree:#?}\nis neither {:#?}\nnor {:#?}",
                history[acknowledged], history[next]
            )
        });
        *found.entry(state - acknowledged).or_insert(0) += 1;
        assert_eq!(fs.external_changes().lost, 0, "{what}");
        fs.write("/after", "it goes on").unwrap();
        fs.close().unwrap();
        assert_eq!(place.get("after"), b"it goes on");
    }
    println!("{calls} calls; states behind the acknowledged one: {found:?}");
    assert!(
        found.len() == 2,
        "some died before a commit counted and some after: {found:?}"
    );
}

/// A tree in which one file bears the times that it had.
#[derive(Debug)]
pub struct Frozen {
    tree: Box<dyn Tree>,
    name: &'static str,
    changed: Moment,
    inode: u64,
}

impl Frozen {
    pub fn new(root: &Path, name: &'static str, was: &fs::Metadata) -> Arc<Self> {
        Arc::new(Frozen {
            tree: open_tree(root, false).expect("a tree"),
            name,
            changed: Moment {
                seconds: was.ctime(),
                nanos: was.ctime_nsec() as u32,
            },
            inode: was.ino(),
        })
    }

    fn freeze(&self, mut stat: TreeStat) -> TreeStat {
        if stat.inode == self.inode {
            stat.changed = self.changed;
        }
        stat
    }
}

#[derive(Debug)]
struct FrozenFile(Box<dyn TreeFile>, u64, Moment);

impl TreeFile for FrozenFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, into)
    }
    fn write_all_at(&self, _offset: u64, _from: &[u8]) -> io::Result<()> {
        Err(dead())
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(dead())
    }
    fn set_attributes(&self, _attributes: &Attributes) -> io::Result<()> {
        Err(dead())
    }
    fn sync(&self) -> io::Result<()> {
        Err(dead())
    }
    fn stat(&self) -> io::Result<TreeStat> {
        let mut stat = self.0.stat()?;
        if stat.inode == self.1 {
            stat.changed = self.2;
        }
        Ok(stat)
    }
}

impl Tree for Frozen {
    fn side(&self, create: bool) -> io::Result<Option<Arc<dyn Directory>>> {
        self.tree.side(create)
    }
    fn list(&self, path: &[u8]) -> io::Result<Vec<Listed>> {
        let mut listed = self.tree.list(path)?;
        for found in &mut listed {
            if *found.name == *self.name.as_bytes() {
                found.stat = self.freeze(found.stat);
            }
        }
        Ok(listed)
    }
    fn stat(&self, path: &[u8]) -> io::Result<TreeStat> {
        self.tree.stat(path).map(|stat| self.freeze(stat))
    }
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
        let file = self.tree.open(path)?;
        Ok(Box::new(FrozenFile(file, self.inode, self.changed)))
    }
    fn create(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
        self.tree.create(path)
    }
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.tree.read_link(path)
    }
    fn symlink(&self, target: &[u8], path: &[u8]) -> io::Result<()> {
        self.tree.symlink(target, path)
    }
    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.tree.link(from, to)
    }
    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.tree.rename(from, to)
    }
    fn remove(&self, path: &[u8]) -> io::Result<()> {
        self.tree.remove(path)
    }
    fn make_directory(&self, path: &[u8], mode: u32) -> io::Result<()> {
        self.tree.make_directory(path, mode)
    }
    fn remove_directory(&self, path: &[u8]) -> io::Result<()> {
        self.tree.remove_directory(path)
    }
    fn set_attributes(&self, path: &[u8], attributes: &Attributes) -> io::Result<()> {
        self.tree.set_attributes(path, attributes)
    }
    fn sync(&self, path: &[u8]) -> io::Result<()> {
        self.tree.sync(path)
    }
}
