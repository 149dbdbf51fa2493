//! From a path and options to an open file.

use std::time::Duration;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::handle::file::{Access, File};
use crate::handle::lock::{Hold, Mode};
use crate::handle::node::explained;
use crate::handle::wait::Wait;
use crate::memory::content::Content;
use crate::namespace::inode::{Body, FileType, Inode};
use crate::namespace::path::Last;
use crate::namespace::resolve::{self, Place};
use crate::namespace::tree;

/// Which file lock an open handle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LockMode {
    /// Shared for a handle that only reads, exclusive for any other.
    #[default]
    Auto,
    /// None: locks of others neither stop this handle nor are stopped by it.
    None,
    /// Shared, whatever the handle may do.
    Shared,
    /// Exclusive, whatever the handle may do.
    Exclusive,
}

/// How to open a file: as [`std::fs::OpenOptions`], and which file lock to take.
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
/// let fs = brimfs::FileSystem::new()?;
/// let mut file = brimfs::OpenOptions::new()
///     .append(true)
///     .create(true)
///     .lock_timeout(Some(Duration::from_secs(1)))
///     .open(&fs, "/log")?;
/// file.write_all(b"a line\n").unwrap();
/// # Ok::<(), brimfs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub(crate) access: Access,
    truncate: bool,
    create: bool,
    create_new: bool,
    no_follow: bool,
    mode: u32,
    lock: LockMode,
    pub(crate) wait: Option<Wait>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident => $($field:ident).+;)*) => {
        $($(#[$doc])* pub fn $name(&mut self, yes: bool) -> &mut Self {
            self.$($field).+ = yes;
            self
        })*
    };
}

impl OpenOptions {
    /// Options with nothing set: at least one of read, write and append is needed.
    #[must_use]
    pub fn new() -> Self {
        OpenOptions {
            access: Access::default(),
            truncate: false,
            create: false,
            create_new: false,
            no_follow: false,
            mode: 0o666,
            lock: LockMode::Auto,
            wait: None,
        }
    }

    setters! {
        /// Allows reading.
        read => access.read;
        /// Allows writing.
        write => access.write;
        /// Allows writing, always at the end.
        append => access.append;
        /// Empties an existing file, once the file lock is held.
        truncate => truncate;
        /// Creates the file if it is missing.
        create => create;
        /// Creates the file and fails if it exists, be it as a symbolic link.
        create_new => create_new;
        /// Fails with [`ErrorKind::TooManySymlinks`] if the path ends in a symbolic link.
        no_follow => no_follow;
    }

    /// Permission bits of a file that is created, less the filesystem's umask. Default `0o666`.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Which file lock to hold. Default [`LockMode::Auto`].
    pub fn lock(&mut self, lock: LockMode) -> &mut Self {
        self.lock = lock;
        self
    }

    /// How long to wait for the file lock: zero tries once, `None` waits for ever.
    ///
    /// Without a call the filesystem's own timeout counts.
    pub fn lock_timeout(&mut self, timeout: Option<Duration>) -> &mut Self {
        self.wait = Some(timeout.map_or(Wait::Forever, Wait::UpTo));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        let Access {
            read,
            write,
            append,
        } = self.access;
        let refuse = |text: &str| Err(Fault::text(ErrorKind::InvalidArgument, text));
        if !(read || write || append) {
            return refuse("open needs at least one of read, write and append");
        }
        if self.truncate && (append || !write) {
            return refuse("truncate needs write without append");
        }
        if (self.create || self.create_new) && !(write || append) {
            return refuse("create needs write or append");
        }
        if self.mode > 0o7777 {
            return refuse("the mode has bits beyond 0o7777");
        }
        Ok(())
    }

    fn lock_of(&self) -> Option<Mode> {
        match self.lock {
            LockMode::None => None,
            LockMode::Shared => Some(Mode::Shared),
            LockMode::Exclusive => Some(Mode::Exclusive),
            LockMode::Auto if self.access.write || self.access.append => Some(Mode::Exclusive),
            LockMode::Auto => Some(Mode::Shared),
        }
    }

    /// Opens or creates what `path` leads to.
    pub(crate) fn open_path(
        &self,
        root: &Arc<Inode>,
        path: &[u8],
        wait: Wait,
    ) -> Result<File, Fault> {
        if !(self.create || self.create_new) {
            let node = resolve::resolve(root, path, !self.no_follow)?.node;
            return self.open_node(node, path, wait);
        }
        loop {
            match resolve::resolve(root, path, !(self.no_follow || self.create_new)) {
                Ok(_) if self.create_new => return Err(ErrorKind::AlreadyExists.into()),
                Ok(found) => return self.open_node(found.node, path, wait),
                Err(fault) if fault.kind() == ErrorKind::NotFound => {}
                Err(fault) => return Err(fault),
            }
            match self.create_path(root, path) {
                // Somebody else was faster.
                Err(fault) if fault.kind() == ErrorKind::AlreadyExists && !self.create_new => {}
                result => return result,
            }
        }
    }

    /// Creates the file that `path` names, which must not exist.
    pub(crate) fn create_at(&self, root: &Arc<Inode>, path: &[u8]) -> Result<File, Fault> {
        self.create_path(root, path)
    }

    fn create_path(&self, root: &Arc<Inode>, path: &[u8]) -> Result<File, Fault> {
        let place = target_place(root, path, !(self.no_follow || self.create_new))?;
        let node = new_file(&place.place(), Content::Empty, self.mode)?;
        // Nobody knows the node yet, so the lock is free.
        let hold = self.hold(&node, Wait::Now)?;
        let name = place.name()?;
        let known_as = place.direct.then_some(path);
        let linked = tree::link(&place.place(), name, &node, known_as);
        let file = File::new(node, hold, self.access, path);
        linked.map(|()| file)
    }

    pub(crate) fn open_node(
        &self,
        node: Arc<Inode>,
        path: &[u8],
        wait: Wait,
    ) -> Result<File, Fault> {
        match node.kind() {
            FileType::File => {}
            FileType::Directory => return Err(ErrorKind::IsADirectory.into()),
            FileType::Symlink => return Err(ErrorKind::TooManySymlinks.into()),
        }
        let hold = self.hold(&node, wait)?;
        let file = File::new(node, hold, self.access, path);
        if self.truncate {
            file.node().empty_content()?;
        }
        Ok(file)
    }

    fn hold(&self, node: &Inode, wait: Wait) -> Result<Option<Hold>, Fault> {
        self.lock_of()
            .map(|mode| Hold::acquire(&node.lock, mode, wait))
            .transpose()
            .map_err(|fault| explained(fault, node, wait))
    }
}

impl Inode {
    /// Truncates as opening does: the change is noted even if the file was empty.
    fn empty_content(&self) -> Result<(), Fault> {
        let mut state = self.write();
        crate::handle::node::content_mut(&mut state)?.set_len(0, self.account())?;
        state.content_changed(clock::wall_nanos());
        Ok(())
    }
}

/// A node for a new file, with the permissions that the umask leaves.
pub(crate) fn new_file(
    place: &Place<'_>,
    content: Content,
    mode: u32,
) -> Result<Arc<Inode>, Fault> {
    let volume = place.directory.volume();
    volume.new_node(
        Body::File(content),
        mode & !volume.umask,
        clock::wall_nanos(),
    )
}

/// Where a file is to be created, symbolic links at the end of its path followed.
#[derive(Debug)]
pub(crate) struct Target {
    directory: Arc<Inode>,
    name: Vec<u8>,
    slash: bool,
    epoch: u64,
    /// No link was followed at the end: the path itself is that of the new file.
    pub(crate) direct: bool,
}

impl Target {
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            directory: self.directory.clone(),
            last: Last::Name {
                name: &self.name,
                slash: self.slash,
            },
            epoch: self.epoch,
        }
    }

    /// The name; a slash behind it asks for a directory.
    pub(crate) fn name(&self) -> Result<&[u8], Fault> {
        if self.slash {
            return Err(ErrorKind::IsADirectory.into());
        }
        Ok(&self.name)
    }
}

/// Follows dangling symbolic links to where the file would be.
pub(crate) fn target_place(root: &Arc<Inode>, path: &[u8], follow: bool) -> Result<Target, Fault> {
    let mut at = root.clone();
    let mut rest = path.to_vec();
    for step in 0..=40 {
        let place = resolve::place_from(root, &at, &rest)?;
        let (name, slash) = match place.new_name() {
            Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {
                return Err(ErrorKind::IsADirectory.into());
            }
            other => other?,
        };
        let link = match resolve::child(&place.directory, name) {
            Ok((node, _)) if follow => match &node.read().body {
                Body::Symlink(target) => Some(target.to_vec()),
                _ => None,
            },
            _ => None,
        };
        let Some(target) = link else {
            return Ok(Target {
                name: name.to_vec(),
                slash,
                epoch: place.epoch,
                direct: step == 0,
                directory: place.directory,
            });
        };
        at = place.directory.clone();
        rest = target;
    }
    Err(ErrorKind::TooManySymlinks.into())
}
