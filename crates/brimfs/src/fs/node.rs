//! What the faces need beyond paths: nodes, tickets for caches of their own, and calls that say
//! how long they may wait.
//!
//! Errors come without a path ([`Fault`]), so that an answer of `WouldBlock` costs nothing; the
//! face adds operation and path when it has an error to report.

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::operations::Operation;
use crate::base::sync::{Arc, Weak};
use crate::fs::{FileSystem, whole};
use crate::handle::file::File;
use crate::handle::lock::Mode;
use crate::handle::node::{Locked, Stored};
use crate::handle::open::OpenOptions;
use crate::handle::source::Source;
use crate::handle::view::View;
use crate::handle::wait::Wait;
use crate::memory::budget::Budget;
use crate::memory::tier::Residents;
use crate::namespace::cache::Stamp;
use crate::namespace::inode::{FileType, Inode};
use crate::namespace::log::Call;
use crate::namespace::meta::Metadata;
use crate::namespace::path;
use crate::namespace::priority::check_priority;
use crate::namespace::resolve::{self, Place};
use crate::namespace::tree;
use crate::namespace::walk::{self, DirEntryRef};
use crate::policy::PRIORITY_MAX;

/// A file, directory or symbolic link, whatever becomes of its names.
#[derive(Clone, Debug)]
pub struct Node(Arc<Inode>);

impl Node {
    /// File, directory or symbolic link.
    #[must_use]
    pub fn kind(&self) -> FileType {
        self.0.kind()
    }

    /// The inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.0.number()
    }

    /// See [`FileSystem::priority`].
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.0.priority()
    }

    /// Sets [`Node::priority`]; more than 10 counts as 10.
    pub fn set_priority(&self, priority: u8) {
        self.0.set_priority(priority.min(PRIORITY_MAX));
    }

    /// See [`FileSystem::is_pinned`].
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.0.is_pinned()
    }

    /// See [`FileSystem::pin`] and [`FileSystem::unpin`].
    pub fn set_pin(&self, pinned: bool) {
        self.0.set_pin(pinned);
    }

    /// The file as a tier sees it.
    #[must_use]
    pub fn residents(&self) -> Arc<dyn Residents> {
        self.0.clone()
    }

    /// What is known about it now.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    /// A number that grows with every change of a directory's names; 0 for anything else.
    #[must_use]
    pub fn directory_stamp(&self) -> u64 {
        self.0.read().directory().map_or(0, |map| map.stamp)
    }

    /// Calls `visit` with every name of a directory under one read lock, after the stamp that
    /// belongs to them.
    pub fn visit(&self, visit: impl FnMut(DirEntryRef<'_>)) -> Result<(), Fault> {
        let mut visit = visit;
        walk::visit(&self.0, |entry| {
            visit(entry);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// As [`Node::visit`], with the serial of every name: they grow from one to the next, and a
    /// name keeps its serial as long as it is there and the directory's numbering, which is
    /// returned, stays the same.
    pub fn visit_numbered(&self, mut visit: impl FnMut(u32, &[u8])) -> Result<u16, Fault> {
        let state = self.0.read();
        let map = state.directory().ok_or(ErrorKind::NotADirectory)?;
        map.iter_from(0)
            .for_each(|(name, _, next)| visit(next - 1, name));
        Ok(map.numbering)
    }
}

/// Where a path led, for a cache: costs nothing to keep and a few nanoseconds to check.
#[derive(Clone, Debug)]
pub struct NodeTicket {
    node: Weak<Inode>,
    stamp: Stamp,
}

/// Memory that a face's cache is charged for. Dropping it gives the charge back.
#[derive(Debug)]
pub struct CacheCharge {
    budget: Budget,
    bytes: u64,
}

impl Drop for CacheCharge {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

impl FileSystem {
    /// The node that a path leads to, and a ticket for it if the answer may be kept.
    pub fn resolve(&self, path: &[u8]) -> Result<(Node, Option<NodeTicket>), Fault> {
        self.volume().check()?;
        let found = resolve::resolve(self.root(), path, true)?;
        let ticket = found.keep.then(|| NodeTicket {
            node: Arc::downgrade(&found.node),
            stamp: found.stamp,
        });
        Ok((Node(found.node), ticket))
    }

    /// The node of a ticket, if its path still leads there.
    #[inline]
    #[must_use]
    pub fn redeem(&self, ticket: &NodeTicket) -> Option<Node> {
        self.volume().check().ok()?;
        let node = ticket.node.upgrade()?;
        self.volume()
            .cache
            .stands(ticket.stamp, &node)
            .then_some(Node(node))
    }

    /// Whether the path of a ticket still leads where it led.
    #[inline]
    #[must_use]
    pub fn ticket_valid(&self, ticket: &NodeTicket) -> bool {
        self.redeem(ticket).is_some()
    }

    /// Charges a face's cache to the memory limit; `None` if there is no room to spare.
    #[must_use]
    pub fn charge_cache(&self, bytes: u64) -> Option<CacheCharge> {
        let budget = self.volume().account.budget.clone();
        budget.reserve_spare(bytes).ok()?;
        Some(CacheCharge { budget, bytes })
    }

    /// How long calls of this filesystem wait for a file lock.
    #[must_use]
    pub fn default_wait(&self) -> Wait {
        self.wait()
    }

    /// Whether operations are logged. The calls with a [`Wait`] are not: whoever makes one of several
    /// of them puts that into the log with [`FileSystem::log_call`].
    #[inline]
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.volume().log.get().is_some()
    }

    /// Runs an operation of a face and puts it into the log, if there is one; `measure` says how many
    /// bytes it moved.
    #[inline]
    pub fn log_call<R>(
        &self,
        op: &'static str,
        path: &[u8],
        measure: impl FnOnce(&R) -> u64,
        body: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let call = Call::on(op, path);
        self.volume().logged(call, measure, body)
    }

    /// Runs an operation that may change something, which is durable afterwards if that is due.
    #[inline(always)]
    fn changing<R>(&self, body: impl FnOnce() -> Result<R, Fault>) -> Result<R, Fault> {
        let volume = self.volume();
        volume.settle(volume.check().and_then(|()| body()))
    }

    /// Lets `look` see the whole content of a file. It runs under the file's locks: no waiting in it.
    #[inline]
    pub fn look<R>(
        &self,
        node: &Node,
        wait: Wait,
        look: impl FnOnce(Stored<'_>) -> R,
    ) -> Result<R, Fault> {
        self.volume().check()?;
        let counted = self.counted(Operation::Read, || {
            let looked = node.0.look(wait, |stored| {
                let is_pieces = matches!(stored, Stored::Pieces(_));
                (is_pieces, look(stored))
            });
            match looked {
                Ok((false, found)) => Ok(found),
                // What is to be read elsewhere is counted there.
                Ok((true, found)) => Err(Ok(found)),
                Err(fault) => Err(Err(fault)),
            }
        });
        counted.or_else(|uncounted| uncounted)
    }

    /// Reads from a file under a shared file lock.
    pub fn read_node(
        &self,
        node: &Node,
        offset: u64,
        to: &mut [u8],
        wait: Wait,
    ) -> Result<usize, Fault> {
        self.volume().check()?;
        let _locked = Locked::new(&node.0, Mode::Shared, wait)?;
        self.counted(Operation::Read, || node.0.read_content(offset, to))
    }

    /// Reads the whole content of a file under a shared file lock, if `to` is as long as that; else says how long
    /// it is. The length may change though the lock is held where the file mirrors one that others change.
    pub fn read_node_exactly(
        &self,
        node: &Node,
        to: &mut [u8],
        wait: Wait,
    ) -> Result<Result<(), u64>, Fault> {
        self.volume().check()?;
        let _locked = Locked::new(&node.0, Mode::Shared, wait)?;
        self.counted(Operation::Read, || node.0.read_exactly(to))
    }

    /// Replaces the content of a file.
    #[inline]
    pub fn write_node(&self, node: &Node, source: Source<'_>, wait: Wait) -> Result<(), Fault> {
        self.changing(|| self.counted(Operation::Write, || node.0.write_whole(source, wait)))
    }

    /// Creates or replaces a file; returns whether it was created.
    pub fn write_with(&self, path: &[u8], source: Source<'_>, wait: Wait) -> Result<bool, Fault> {
        self.changing(|| {
            self.counted(Operation::Write, || {
                whole::write_path(self.root(), path, source, None, wait)
            })
        })
    }

    /// As [`FileSystem::write_with`], and sets the file's priority.
    pub fn write_prioritized(
        &self,
        path: &[u8],
        source: Source<'_>,
        priority: u8,
        wait: Wait,
    ) -> Result<bool, Fault> {
        self.changing(|| {
            check_priority(priority)?;
            self.counted(Operation::Write, || {
                whole::write_path(self.root(), path, source, Some(priority), wait)
            })
        })
    }

    /// Writes at the end of a file, which is created if it is missing.
    pub fn append_with(&self, path: &[u8], content: &[u8], wait: Wait) -> Result<u64, Fault> {
        self.changing(|| {
            self.counted(Operation::Write, || {
                whole::append_path(self.root(), path, content, wait)
            })
        })
    }

    /// Sets the length of a file.
    pub fn truncate_with(&self, path: &[u8], len: u64, wait: Wait) -> Result<(), Fault> {
        self.changing(|| whole::truncate_path(self.root(), path, len, wait))
    }

    /// Copies a file, sharing its chunks.
    pub fn copy_with(&self, from: &[u8], to: &[u8], wait: Wait) -> Result<u64, Fault> {
        self.patiently(wait, |root| whole::copy_path(root, from, to, wait))
    }

    /// A view of a file.
    pub fn view_node(&self, node: &Node, wait: Wait) -> Result<View, Fault> {
        self.volume().check()?;
        let _locked = Locked::new(&node.0, Mode::Shared, wait)?;
        self.counted(Operation::Read, || node.0.view_content())
    }

    /// Opens a path; `options` say whether to create.
    pub fn open_with(&self, path: &[u8], options: &OpenOptions, wait: Wait) -> Result<File, Fault> {
        let opened = self.changing(|| {
            options.check()?;
            self.counted(Operation::Open, || {
                options.open_path(self.root(), path, wait)
            })
        });
        opened.map(|opened| opened.into_file(path))
    }

    /// Opens a node that exists; `path` is for messages.
    #[inline]
    pub fn open_node(
        &self,
        node: &Node,
        path: &[u8],
        options: &OpenOptions,
        wait: Wait,
    ) -> Result<File, Fault> {
        let opened = self.changing(|| {
            options.check()?;
            self.counted(Operation::Open, || options.open_node(node.0.clone(), wait))
        });
        opened.map(|opened| opened.into_file(path))
    }

    /// Removes a file or symbolic link from the directory that a node is.
    pub fn remove_in(&self, directory: &Node, name: &[u8]) -> Result<(), Fault> {
        self.changing(|| {
            let place = self.place_in(directory, name)?;
            self.counted(Operation::Remove, || {
                tree::unlink(&place, name, false).map(drop)
            })
        })
    }

    fn place_in<'a>(&self, directory: &Node, name: &'a [u8]) -> Result<Place<'a>, Fault> {
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return Err(ErrorKind::InvalidArgument.into());
        }
        if name.len() > path::NAME_MAX {
            return Err(ErrorKind::NameTooLong.into());
        }
        Ok(Place {
            directory: directory.0.clone(),
            last: path::Last::Name { name, slash: false },
            epoch: self.volume().cache.epoch(),
        })
    }
}
