//! A tree of the host on a strange disk: one that is full, knows no hard links, takes no writes, or fails to flush; and that
//! writes down what is done with it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use brimfs::face::disk::{
    Access, Attributes, Directory, DirectoryLock, DiskFile, Listed, LockError, Nameless,
    Place as Medium, Sharing, Tree, TreeFile, TreeStat, open_tree,
};

/// What is strange about the disk.
#[derive(Debug, Default)]
pub struct Rules {
    /// So much is there, in bytes, taken or free.
    pub capacity: Option<u64>,
    pub no_links: bool,
    /// A directory finds no space.
    pub no_directories: bool,
    pub read_only: bool,
    /// The flush with this number fails, counted from 0.
    pub failing_flush: Option<usize>,
    pub flushes: usize,
    /// What was done, in order: words and paths.
    pub done: Vec<String>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Strange {
    tree: Box<dyn Tree>,
    disk: Disk,
}

#[derive(Clone, Debug)]
struct Disk {
    root: PathBuf,
    rules: Arc<Mutex<Rules>>,
}

impl Strange {
    pub fn new(root: &Path, rules: Rules) -> (Arc<Self>, Arc<Mutex<Rules>>) {
        let rules = Arc::new(Mutex::new(rules));
        let disk = Disk {
            root: root.to_path_buf(),
            rules: rules.clone(),
        };
        let tree = open_tree(root, false).expect("a tree");
        (Arc::new(Strange { tree, disk }), rules)
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

/// What all files below a directory take.
pub fn taken(root: &Path) -> u64 {
    let mut open = vec![root.to_path_buf()];
    let mut taken = 0;
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => open.push(entry.path()),
                Ok(about) => taken += about.blocks() * 512,
                Err(_) => {}
            }
            // For the name.
            taken += 256;
        }
    }
    taken
}

impl Disk {
    fn note(&self, what: &str, path: &[u8]) {
        let path = String::from_utf8_lossy(path);
        let mut rules = self.rules.lock().unwrap();
        rules.done.push(format!("{what} {path}"));
    }

    fn change(&self, what: &str, path: &[u8], bytes: u64) -> io::Result<()> {
        if self.rules.lock().unwrap().read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let capacity = self.rules.lock().unwrap().capacity;
        if capacity.is_some_and(|capacity| bytes > 0 && taken(&self.root) + bytes > capacity) {
            return Err(full());
        }
        self.note(what, path);
        Ok(())
    }

    fn flush(&self, what: &str, path: &[u8]) -> io::Result<()> {
        let mut rules = self.rules.lock().unwrap();
        let number = rules.flushes;
        rules.flushes += 1;
        if rules.failing_flush == Some(number) {
            return Err(io::Error::other("the disk failed"));
        }
        let path = String::from_utf8_lossy(path);
        rules.done.push(format!("{what} {path}"));
        Ok(())
    }
}

#[derive(Debug)]
struct StrangeFile {
    file: Box<dyn TreeFile>,
    path: Vec<u8>,
    disk: Disk,
}

impl TreeFile for StrangeFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn write_all_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.disk.change("write", &self.path, from.len() as u64)?;
        self.file.write_all_at(offset, from)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn set_attributes(&self, attributes: &Attributes) -> io::Result<()> {
        self.file.set_attributes(attributes)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.flush("flush", &self.path)?;
        self.file.sync()
    }
    fn stat(&self) -> io::Result<TreeStat> {
        self.file.stat()
    }
}

/// For a name.
const NAME: u64 = 256;

impl Tree for Strange {
    fn side(&self, create: bool) -> io::Result<Option<Arc<dyn Directory>>> {
        if self.tree.side(false)?.is_none() && create {
            self.disk.change("side", b"", NAME)?;
        }
        Ok(self.tree.side(create)?.map(|directory| {
            let disk = self.disk.clone();
            Arc::new(StrangeDirectory { directory, disk }) as Arc<dyn Directory>
        }))
    }
    fn list(&self, path: &[u8]) -> io::Result<Vec<Listed>> {
        self.tree.list(path)
    }
    fn stat(&self, path: &[u8]) -> io::Result<TreeStat> {
        self.tree.stat(path)
    }
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
        self.tree.open(path)
    }
    fn create(&self, path: &[u8]) -> io::Result<Box<dyn TreeFile>> {
        self.disk.change("create", path, NAME)?;
        Ok(Box::new(StrangeFile {
            file: self.tree.create(path)?,
            path: path.to_vec(),
            disk: self.disk.clone(),
        }))
    }
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.tree.read_link(path)
    }
    fn symlink(&self, target: &[u8], path: &[u8]) -> io::Result<()> {
        self.disk.change("symlink", path, NAME)?;
        self.tree.symlink(target, path)
    }
    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        if self.disk.rules.lock().unwrap().no_links {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        self.disk.change("link", to, NAME)?;
        self.tree.link(from, to)
    }
    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.disk.change("rename", &[from, b" ", to].concat(), 0)?;
        self.tree.rename(from, to)
    }
    fn remove(&self, path: &[u8]) -> io::Result<()> {
        self.disk.change("remove", path, 0)?;
        self.tree.remove(path)
    }
    fn make_directory(&self, path: &[u8], mode: u32) -> io::Result<()> {
        if self.disk.rules.lock().unwrap().no_directories {
            return Err(full());
        }
        self.disk.change("make", path, 4096)?;
        self.tree.make_directory(path, mode)
    }
    fn remove_directory(&self, path: &[u8]) -> io::Result<()> {
        self.disk.change("remove", path, 0)?;
        self.tree.remove_directory(path)
    }
    fn set_attributes(&self, path: &[u8], attributes: &Attributes) -> io::Result<()> {
        self.disk.change("attributes", path, 0)?;
        self.tree.set_attributes(path, attributes)
    }
    fn sync(&self, path: &[u8]) -> io::Result<()> {
        self.tree.stat(path)?;
        self.disk.flush("flush", path)
    }
}

#[derive(Debug)]
struct StrangeDirectory {
    directory: Arc<dyn Directory>,
    disk: Disk,
}

#[derive(Debug)]
struct StrangeDiskFile {
    file: Box<dyn DiskFile>,
    name: String,
    disk: Disk,
}

impl StrangeDiskFile {
    /// Writing where there is something already takes no space.
    fn grows(&self, end: u64) -> io::Result<u64> {
        Ok(end.saturating_sub(self.file.len()?))
    }
}

impl DiskFile for StrangeDiskFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<usize> {
        let grows = self.grows(offset + from.len() as u64)?;
        self.disk.change("write", self.name.as_bytes(), grows)?;
        self.file.write_at(offset, from)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let grows = self.grows(offset + len)?;
        self.disk.change("allocate", self.name.as_bytes(), grows)?;
        self.file.allocate(offset, len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.change("truncate", self.name.as_bytes(), 0)?;
        self.file.truncate(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.flush("flush", self.name.as_bytes())
    }
    fn nameless(&self) -> Nameless {
        self.file.nameless()
    }
}

impl StrangeDirectory {
    fn wrap(&self, name: &str, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(StrangeDiskFile {
            file,
            name: format!("side:{name}"),
            disk: self.disk.clone(),
        })
    }
}

impl Directory for StrangeDirectory {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.change("create", name.as_bytes(), NAME)?;
        Ok(self.wrap(name, self.directory.create(name)?))
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        if access == Access::ReadWrite {
            self.disk.change("open", name.as_bytes(), 0)?;
        }
        Ok(self.wrap(name, self.directory.open(name, access)?))
    }
    fn list(&self) -> io::Result<Vec<OsString>> {
        self.directory.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.change("rename", from.as_bytes(), 0)?;
        self.directory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.change("remove", name.as_bytes(), 0)?;
        self.directory.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.flush("flush", b"side:")
    }
    fn lock(&self, sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError> {
        if sharing == Sharing::Exclusive {
            self.disk.change("lock", b"", 0)?;
        }
        self.directory.lock(sharing)
    }
    fn place(&self) -> io::Result<Medium> {
        let place = self.directory.place()?;
        Ok(match self.disk.rules.lock().unwrap().capacity {
            None => place,
            Some(capacity) => Medium {
                free: capacity.saturating_sub(taken(&self.disk.root)),
                total: capacity,
                ..place
            },
        })
    }
}
