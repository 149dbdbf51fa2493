//! Whole files: read, write, copy, view. Each locks the file for the length of the call.

use bytes::Bytes;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::operations::Operation;
use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::handle::again::retry;
use crate::handle::lock::Mode;
use crate::handle::node::{self, Locked};
use crate::handle::open::{self, Spot, Target, new_file};
use crate::handle::source::Source;
use crate::handle::view::View;
use crate::handle::wait::Wait;
use crate::memory::content::Content;
use crate::memory::fresh::Fresh;
use crate::memory::shared::Shared;
use crate::memory::small::with_reclaim;
use crate::namespace::inode::{Body, FileType, Inode, NOTED, PERMISSIONS};
use crate::namespace::path::AsPath;
use crate::namespace::priority::check_priority;
use crate::namespace::resolve::{self, Place};
use crate::namespace::tree;

/// The file that a path leads to.
pub(crate) fn file(root: &Arc<Inode>, path: &[u8]) -> Result<Arc<Inode>, Fault> {
    let node = resolve::resolve(root, path, true)?.node;
    match node.kind() {
        FileType::Directory => Err(ErrorKind::IsADirectory.into()),
        _ => Ok(node),
    }
}

/// The file that a path leads to, or where it would be.
#[inline]
fn file_spot(root: &Arc<Inode>, path: &[u8]) -> Result<Spot, Fault> {
    match open::spot(root, path, true)? {
        Spot::Taken(node) if node.is_directory() => Err(ErrorKind::IsADirectory.into()),
        spot => Ok(spot),
    }
}

/// Creates a file that has its content, and its priority if one is given, from the start.
///
/// Gives the content back if somebody else created one of that name meanwhile.
fn create_with<'a>(
    target: &Target,
    path: &[u8],
    mut fresh: Fresh<'a>,
    priority: Option<u8>,
    wait: Wait,
) -> Result<Option<Fresh<'a>>, Fault> {
    let account = fresh.account;
    // Given back last, when what was made with it can go.
    let loan = fresh.loan.take();
    let may_wait = wait != Wait::Now;
    let directory = &target.place.directory;
    let content = Content::deposit(fresh)?;
    let volume = directory.volume();
    if let Err(fault) = with_reclaim(account, may_wait, || volume.reserve_file()) {
        content.release(account);
        return Err(fault);
    }
    let mode = 0o666 & !volume.umask;
    let node = volume.new_reserved_node(Body::File(content), mode, clock::wall_nanos());
    if let Some(priority) = priority {
        node.set_priority(priority);
    }
    match with_reclaim(account, may_wait, || target.link(&node, path)) {
        Ok(()) => {
            node.introduce_new();
            Ok(None)
        }
        Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {
            let mut fresh = node::content_mut(&mut node.write())?.withdraw(account);
            fresh.loan = loan;
            Ok(Some(fresh))
        }
        Err(fault) => Err(fault),
    }
}

/// Creates or replaces a file; returns whether it was created. It has this priority from then on, if
/// one is given.
#[inline]
pub(crate) fn write_path(
    root: &Arc<Inode>,
    path: &[u8],
    source: Source<'_>,
    priority: Option<u8>,
    wait: Wait,
) -> Result<bool, Fault> {
    let replaced = |node: &Arc<Inode>| {
        priority.inspect(|priority| node.set_priority(*priority));
        false
    };
    let mut target = match file_spot(root, path)? {
        Spot::Taken(node) => return node.write_whole(source, wait).map(|()| replaced(&node)),
        Spot::Free(target) => target,
    };
    let mut fresh = source.fresh(root, wait)?;
    loop {
        fresh = match create_with(&target, path, fresh, priority, wait)? {
            None => return Ok(true),
            Some(fresh) => fresh,
        };
        target = match file_spot(root, path)? {
            Spot::Free(target) => target,
            Spot::Taken(node) => {
                let fresh = root.repay(fresh)?;
                let _locked = Locked::new(&node, Mode::Exclusive, wait)?;
                return node.install_content(fresh).map(|()| replaced(&node));
            }
        }
    }
}

/// Makes `to` a file with the content of `from`, sharing its chunks.
pub(crate) fn copy_path(
    root: &Arc<Inode>,
    from: &[u8],
    to: &[u8],
    wait: Wait,
) -> Result<u64, Fault> {
    let source = file(root, from)?;
    let Copied {
        shared,
        traits,
        cost,
    } = share(&source, wait)?;
    let len = shared.len();
    loop {
        let target = match file_spot(root, to)? {
            Spot::Taken(node) if Arc::ptr_eq(&source, &node) => return Ok(len),
            Spot::Taken(node) => {
                let _locked = Locked::new(&node, Mode::Exclusive, wait)?;
                node.share_content(shared, cost)?;
                node.note_copy_of(&source);
                return Ok(len);
            }
            Spot::Free(target) => target,
        };
        let node = copied_file(&target.place.directory, &source, shared.clone(), traits)?;
        match target.link_for(&node, to, cost) {
            // Somebody else was faster.
            Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {}
            result => return result.map(|()| len),
        }
    }
}

/// What a new file inherits from the one that it is a copy of.
#[derive(Clone, Copy)]
struct Traits {
    mode: u32,
    priority: u8,
}

/// What a copy is made of.
struct Copied {
    shared: Shared,
    traits: Traits,
    /// What a commit writes of the copy's content at the most, in bytes.
    cost: u64,
}

/// A new file with shared content and the traits of what it was copied from.
fn copied_file(
    directory: &Inode,
    source: &Arc<Inode>,
    shared: Shared,
    traits: Traits,
) -> Result<Arc<Inode>, Fault> {
    let node = new_file(directory, shared.into_content(), 0o666)?;
    node.set_mode(traits.mode)?;
    // What is shared keeps its worth: the tier is not told.
    node.write().set_priority(traits.priority);
    node.note_copy_of(source);
    Ok(node)
}

/// Copies a file into a directory under a name that is free there.
pub(crate) fn copy_into(
    place: &Place<'_>,
    name: &[u8],
    source: &Arc<Inode>,
    wait: Wait,
) -> Result<(), Fault> {
    let Copied {
        shared,
        traits,
        cost,
    } = share(source, wait)?;
    let node = copied_file(&place.directory, source, shared, traits)?;
    tree::link_for(&place.directory, name, &node, None, cost)
}

/// A reference to a file's content, and what goes with it.
fn share(source: &Arc<Inode>, wait: Wait) -> Result<Copied, Fault> {
    let _locked = Locked::new(source, Mode::Shared, wait)?;
    retry(source, wait, || {
        let mut state = source.write_quietly();
        let traits = Traits {
            mode: u32::from(state.mode & PERMISSIONS),
            priority: state.priority(),
        };
        let shared = node::content_mut(&mut state)?.share(source.account())?;
        source.track(&mut state, 0, 1);
        let cost = match &source.volume().changes {
            Some(_) => shared.cost_of_copy(state.mode & NOTED == 0),
            None => 0,
        };
        Ok(Copied {
            shared,
            traits,
            cost,
        })
    })
}

impl FileSystem {
    /// The content of a file: an adopted buffer as it is, without a copy; anything else in one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::IsADirectory`], those of bad paths, and
    /// [`ErrorKind::LockTimeout`] or [`ErrorKind::WouldBlock`] if a writer has it open.
    #[inline]
    pub fn read(&self, path: impl AsPath) -> Result<Bytes> {
        let path = path.as_path_bytes();
        self.counted(Operation::Read, || {
            self.run_measured(
                "read",
                path,
                |bytes: &Bytes| bytes.len() as u64,
                |root| {
                    let node = file(root, path)?;
                    node.read_whole(self.wait())
                },
            )
        })
    }

    /// As [`FileSystem::read`], as text.
    ///
    /// # Errors
    /// As [`FileSystem::read`], and [`ErrorKind::InvalidData`] for what is not UTF-8.
    pub fn read_to_string(&self, path: impl AsPath) -> Result<String> {
        let path = path.as_path_bytes();
        let bytes = self.read(path)?;
        String::from_utf8(bytes.into()).map_err(|error| {
            let text = format!("no UTF-8 at byte {}", error.utf8_error().valid_up_to());
            Fault::text(ErrorKind::InvalidData, text).at("read", path)
        })
    }

    /// Creates a file or replaces its content, as one step.
    ///
    /// The buffer is kept as it is, without a copy, and handed out again by
    /// [`FileSystem::read`]; only up to 512 bytes are copied. It is charged with its length.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`], [`ErrorKind::MemoryLimit`], [`ErrorKind::NodeLimit`],
    /// [`ErrorKind::IsADirectory`], [`ErrorKind::NotFound`] for the directory, those of bad paths,
    /// and those of the file lock as [`FileSystem::read`]. Nothing is changed then.
    #[inline]
    pub fn write(&self, path: impl AsPath, content: impl Into<Bytes>) -> Result<()> {
        let path = path.as_path_bytes();
        self.put(path, Source::Bytes(content.into()), None)
    }

    /// As [`FileSystem::write`], copying the bytes.
    ///
    /// # Errors
    /// As [`FileSystem::write`].
    #[inline]
    pub fn write_slice(&self, path: impl AsPath, content: &[u8]) -> Result<()> {
        self.put(path.as_path_bytes(), Source::Slice(content), None)
    }

    /// Creates or replaces a file, which has this priority from then on, if one is given.
    #[inline]
    pub(super) fn put(&self, path: &[u8], source: Source<'_>, priority: Option<u8>) -> Result<()> {
        let len = source.len() as u64;
        self.counted(Operation::Write, || {
            self.run_once(
                "write",
                path,
                |()| len,
                |root| {
                    priority.map_or(Ok(()), check_priority)?;
                    write_path(root, path, source, priority, self.wait()).map(drop)
                },
            )
        })
    }

    /// Writes at the end of a file, which is created if it is missing; returns where that was.
    ///
    /// # Errors
    /// As [`FileSystem::write`].
    pub fn append(&self, path: impl AsPath, content: &[u8]) -> Result<u64> {
        let path = path.as_path_bytes();
        self.counted(Operation::Write, || {
            self.run_once(
                "append",
                path,
                |_| content.len() as u64,
                |root| append_path(root, path, content, self.wait()),
            )
        })
    }

    /// Sets the length of a file; what is gained reads as zeros and costs nothing.
    ///
    /// # Errors
    /// As [`File::set_len`](crate::File::set_len) and [`FileSystem::read`].
    pub fn truncate(&self, path: impl AsPath, len: u64) -> Result<()> {
        let path = path.as_path_bytes();
        self.run("truncate", path, |root| {
            truncate_path(root, path, len, self.wait())
        })
    }

    /// Copies a file, sharing its chunks: O(1) in its size until one of both is changed. Replaces
    /// the content of an existing file; a new one gets the permissions and the priority of the old.
    /// Returns the length.
    ///
    /// # Errors
    /// As [`FileSystem::read`] for `from` and [`FileSystem::write`] for `to`.
    pub fn copy(&self, from: impl AsPath, to: impl AsPath) -> Result<u64> {
        let (from, to) = (from.as_path_bytes(), to.as_path_bytes());
        self.run_two(
            "copy",
            (from, to),
            |len| *len,
            |root| copy_path(root, from, to, self.wait()),
        )
    }

    /// The content of a file as one slice, without a copy; see [`View`].
    ///
    /// # Errors
    /// As [`FileSystem::read`], and [`ErrorKind::MemoryLimit`] if the content has to be gathered
    /// and there is no room to.
    pub fn view(&self, path: impl AsPath) -> Result<View> {
        let path = path.as_path_bytes();
        self.counted(Operation::Read, || {
            self.run_measured(
                "view",
                path,
                |view: &View| view.len() as u64,
                |root| {
                    let node = file(root, path)?;
                    let _locked = Locked::new(&node, Mode::Shared, self.wait())?;
                    node.view_content()
                },
            )
        })
    }
}

pub(crate) fn append_path(
    root: &Arc<Inode>,
    path: &[u8],
    content: &[u8],
    wait: Wait,
) -> Result<u64, Fault> {
    loop {
        let target = match file_spot(root, path)? {
            Spot::Taken(node) => {
                let _locked = Locked::new(&node, Mode::Exclusive, wait)?;
                return node.append_content(content);
            }
            Spot::Free(target) => target,
        };
        let fresh = Source::Slice(content).fresh(root, wait)?;
        if create_with(&target, path, fresh, None, wait)?.is_none() {
            return Ok(0);
        }
    }
}

pub(crate) fn truncate_path(
    root: &Arc<Inode>,
    path: &[u8],
    len: u64,
    wait: Wait,
) -> Result<(), Fault> {
    let node = file(root, path)?;
    let _locked = Locked::new(&node, Mode::Exclusive, wait)?;
    node.set_content_len(len)
}
