//! What nodes say about themselves, changed: permissions, owner, times, extended attributes.

use crate::base::error::{Fault, Result};
use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::namespace::inode::Inode;
use crate::namespace::meta::XattrMode;
use crate::namespace::path::AsPath;
use crate::namespace::resolve;
use crate::namespace::times::FileTimes;

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::base::error::ErrorKind;

impl FileSystem {
    /// Sets the permission bits of what a path leads to.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for bits beyond `0o7777`, [`ErrorKind::NotFound`].
    pub fn set_permissions(&self, path: impl AsPath, mode: u32) -> Result<()> {
        self.change("set permissions", path.as_path_bytes(), true, |node| {
            node.set_mode(mode)
        })
    }

    /// Sets user and group of what a path leads to; `None` leaves one as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::OutOfRange`] for the 65,537th pair in a filesystem.
    pub fn set_owner(&self, path: impl AsPath, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.change("set owner", path.as_path_bytes(), true, |node| {
            node.set_owner(uid, gid)
        })
    }

    /// As [`FileSystem::set_owner`], of a symbolic link itself.
    ///
    /// # Errors
    /// As [`FileSystem::set_owner`].
    pub fn set_owner_no_follow(
        &self,
        path: impl AsPath,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        self.change("set owner", path.as_path_bytes(), false, |node| {
            node.set_owner(uid, gid)
        })
    }

    /// Sets times of what a path leads to.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidArgument`] for 10^9 nanoseconds or more.
    pub fn set_times(&self, path: impl AsPath, times: FileTimes) -> Result<()> {
        self.change("set times", path.as_path_bytes(), true, |node| {
            node.set_times(times)
        })
    }

    /// As [`FileSystem::set_times`], of a symbolic link itself.
    ///
    /// # Errors
    /// As [`FileSystem::set_times`].
    pub fn set_times_no_follow(&self, path: impl AsPath, times: FileTimes) -> Result<()> {
        self.change("set times", path.as_path_bytes(), false, |node| {
            node.set_times(times)
        })
    }

    /// Sets an extended attribute: a name of 1 to 255 bytes, a value of up to 64 KiB.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], [`ErrorKind::AlreadyExists`] and [`ErrorKind::NoAttribute`] as
    /// `mode` asks, [`ErrorKind::MemoryLimit`], [`ErrorKind::NotFound`].
    pub fn set_xattr(
        &self,
        path: impl AsPath,
        name: impl AsPath,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.change("set attribute", path.as_path_bytes(), true, |node| {
            node.set_xattr(name.as_path_bytes(), value, mode)
        })
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`ErrorKind::NoAttribute`], [`ErrorKind::NotFound`].
    pub fn xattr(&self, path: impl AsPath, name: impl AsPath) -> Result<Vec<u8>> {
        self.change("read attribute", path.as_path_bytes(), true, |node| {
            node.xattr(name.as_path_bytes())
        })
    }

    /// The names of all extended attributes, sorted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn list_xattrs(&self, path: impl AsPath) -> Result<Vec<Vec<u8>>> {
        self.change("list attributes", path.as_path_bytes(), true, |node| {
            Ok(node.xattrs())
        })
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// [`ErrorKind::NoAttribute`], [`ErrorKind::NotFound`].
    pub fn remove_xattr(&self, path: impl AsPath, name: impl AsPath) -> Result<()> {
        self.change("remove attribute", path.as_path_bytes(), true, |node| {
            node.remove_xattr(name.as_path_bytes())
        })
    }

    fn change<R>(
        &self,
        op: &'static str,
        path: &[u8],
        follow: bool,
        mut change: impl FnMut(&Arc<Inode>) -> Result<R, Fault>,
    ) -> Result<R> {
        self.run(op, path, |root| {
            change(&resolve::resolve(root, path, follow)?.node)
        })
    }
}
