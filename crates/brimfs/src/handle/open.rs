//! From a path and options to an open file.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::handle::file::{Access, File};
use crate::handle::lock::{Hold, Mode};
use crate::handle::node::explained;
use crate::handle::wait::Wait;
use crate::memory::content::Content;
use crate::memory::small::with_reclaim;
use crate::namespace::cache::{Stamp, Why};
use crate::namespace::inode::{Body, FileType, Inode};
use crate::namespace::meta::check_mode;
use crate::namespace::path::Last;
use crate::namespace::priority::check_priority;
use crate::namespace::resolve::{self, LINKS_MAX};
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
    priority: Option<u8>,
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
            priority: None,
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

    /// The priority that the file has from then on, 0 to 10, whether or not it is created; see
    /// [`FileSystem::set_priority`](crate::FileSystem::set_priority).
    ///
    /// Opening with more than 10 fails with [`ErrorKind::InvalidArgument`].
    pub fn priority(&mut self, priority: u8) -> &mut Self {
        self.priority = Some(priority);
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
        if let Some(priority) = self.priority {
            check_priority(priority)?;
        }
        check_mode(self.mode)
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
    ) -> Result<Opened, Fault> {
        if !(self.create || self.create_new) {
            let node = resolve::resolve(root, path, !self.no_follow)?.node;
            return self.open_node(node, wait);
        }
        loop {
            let target = match spot(root, path, !(self.no_follow || self.create_new))? {
                Spot::Taken(_) if self.create_new => return Err(ErrorKind::AlreadyExists.into()),
                Spot::Taken(node) => return self.open_node(node, wait),
                Spot::Free(target) => target,
            };
            match self.create_path(&target, path, wait) {
                // Somebody else was faster.
                Err(fault) if fault.kind() == ErrorKind::AlreadyExists && !self.create_new => {}
                result => return result,
            }
        }
    }

    fn create_path(&self, target: &Target, path: &[u8], wait: Wait) -> Result<Opened, Fault> {
        let directory = &target.place.directory;
        let (account, may_wait) = (directory.account(), wait != Wait::Now);
        let node = with_reclaim(account, may_wait, || {
            new_file(directory, Content::Empty, self.mode)
        })?;
        // Nobody knows the node yet, so the lock is free.
        let hold = self.hold(&node, Wait::Now)?;
        self.set_priority(&node);
        let linked = with_reclaim(account, may_wait, || target.link(&node, path));
        self.opened(node, hold, linked)
    }

    pub(crate) fn open_node(&self, node: Arc<Inode>, wait: Wait) -> Result<Opened, Fault> {
        match node.kind() {
            FileType::File => {}
            FileType::Directory => return Err(ErrorKind::IsADirectory.into()),
            FileType::Symlink => return Err(ErrorKind::TooManySymlinks.into()),
        }
        if (self.access.write || self.access.append)
            && let Some(changes) = &node.volume().changes
        {
            changes.check()?;
        }
        let hold = self.hold(&node, wait)?;
        self.set_priority(&node);
        let emptied = match self.truncate {
            true => node.empty_content(),
            false => Ok(()),
        };
        self.opened(node, hold, emptied)
    }

    /// Gives the lock back if the last step failed.
    #[inline]
    fn opened(
        &self,
        node: Arc<Inode>,
        mut hold: Option<Hold>,
        done: Result<(), Fault>,
    ) -> Result<Opened, Fault> {
        if done.is_err()
            && let Some(hold) = &mut hold
        {
            hold.release(&node.lock);
        }
        let access = self.access;
        done.map(|()| Opened { node, hold, access })
    }

    #[inline]
    fn set_priority(&self, node: &Arc<Inode>) {
        if let Some(priority) = self.priority {
            node.set_priority(priority);
        }
    }

    fn hold(&self, node: &Inode, wait: Wait) -> Result<Option<Hold>, Fault> {
        self.lock_of()
            .map(|mode| Hold::acquire(&node.lock, mode, wait))
            .transpose()
            .map_err(|fault| explained(fault, node, wait))
    }
}

/// What is to become a file; without its path, which makes a file large to pass on.
#[must_use]
#[derive(Debug)]
pub(crate) struct Opened {
    node: Arc<Inode>,
    hold: Option<Hold>,
    access: Access,
}

impl Opened {
    #[inline]
    pub(crate) fn into_file(self, path: &[u8]) -> File {
        File::new(self.node, self.hold, self.access, path)
    }
}

impl Inode {
    /// Truncates as opening does: the change is noted even if the file was empty.
    fn empty_content(self: &Arc<Self>) -> Result<(), Fault> {
        let mut state = self.change()?;
        crate::handle::node::content_mut(&mut state)?.set_len(0, self.account())?;
        self.mark_changed(&mut state);
        Ok(())
    }
}

/// A node for a new file, with the permissions that the umask leaves.
pub(crate) fn new_file(
    directory: &Inode,
    content: Content,
    mode: u32,
) -> Result<Arc<Inode>, Fault> {
    let volume = directory.volume();
    volume.new_node(
        Body::File(content),
        mode & !volume.umask,
        clock::wall_nanos(),
    )
}

/// What is in the place where a file is to be opened or created.
#[derive(Debug)]
pub(crate) enum Spot {
    Taken(Arc<Inode>),
    Free(Target),
}

/// Where a file can be created.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Home,
    /// No link was followed at the end: the path itself is that of the new file.
    direct: bool,
}

/// A directory and a name that is free in it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) directory: Arc<Inode>,
    name: SmallVec<[u8; 64]>,
    epoch: u64,
}

impl Target {
    /// Puts a new node there; `path` is the one that led here.
    pub(crate) fn link(&self, node: &Arc<Inode>, path: &[u8]) -> Result<(), Fault> {
        let home = &self.place;
        let path = self.direct.then_some((path, home.epoch));
        tree::link(&home.directory, &home.name, node, path)
    }

    /// As [`Target::link`], of a node of whose content a commit writes so many bytes at the most.
    pub(crate) fn link_for(&self, node: &Arc<Inode>, path: &[u8], cost: u64) -> Result<(), Fault> {
        let home = &self.place;
        let path = self.direct.then_some((path, home.epoch));
        tree::link_for(&home.directory, &home.name, node, path, cost)
    }
}

/// Looks where `path` leads, to the place of a dangling symbolic link too.
#[inline]
pub(crate) fn spot(root: &Arc<Inode>, path: &[u8], follow: bool) -> Result<Spot, Fault> {
    if let Some((node, _)) = root.volume().cache.get(path, follow) {
        return Ok(Spot::Taken(node));
    }
    let mut target = None;
    let mut at = root.clone();
    for _ in 0..=LINKS_MAX {
        let rest = target.as_deref().unwrap_or(path);
        let place = resolve::place_from(root, &at, rest)?;
        let name = match place.last {
            Last::Name { name, slash: false } => name,
            // A slash behind the name asks for a directory, which is not created here.
            _ => {
                return match resolve::resolve_from(root, &at, rest) {
                    Err(fault) if fault.kind() == ErrorKind::NotFound => {
                        Err(ErrorKind::IsADirectory.into())
                    }
                    result => result.map(Spot::Taken),
                };
            }
        };
        let next = match resolve::child(&place.directory, name) {
            Ok((node, stamp)) => match link_target(&node, follow) {
                Some(next) => next,
                None => {
                    if target.is_none() {
                        let (epoch, names) = (place.epoch, stamp);
                        let stamp = Stamp { epoch, names };
                        root.volume()
                            .cache
                            .put(path, &node, stamp, false, Why::LookedUp);
                    }
                    return Ok(Spot::Taken(node));
                }
            },
            Err(fault) if fault.kind() == ErrorKind::NotFound => {
                return Ok(Spot::Free(Target {
                    direct: target.is_none(),
                    place: Home {
                        name: SmallVec::from_slice(name),
                        epoch: place.epoch,
                        directory: place.directory,
                    },
                }));
            }
            Err(fault) => return Err(fault),
        };
        at = place.directory.clone();
        target = Some(next);
    }
    Err(ErrorKind::TooManySymlinks.into())
}

fn link_target(node: &Inode, follow: bool) -> Option<Vec<u8>> {
    if node.kind() != FileType::Symlink || !follow {
        return None;
    }
    match &node.read().body {
        Body::Symlink(target) => Some(target.to_vec()),
        _ => None,
    }
}
