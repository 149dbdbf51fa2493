//! Operations on names: directories, links, renames, and what an inode says of itself.

use super::resolve::{Last, Place, Tail, check_name};
use super::{Body, Dir, Ino, Model, Refusal, Reply, refuse};
use crate::op::{Kind, Op, Outcome, Raw, RenameHow, Stamp, XattrHow};

const UMASK: u32 = 0o022;

impl Model {
    pub(super) fn run(&mut self, op: &Op) -> Reply {
        // No call with a NUL byte reaches the kernel at all.
        if op.paths().iter().any(|path| path.0.contains(&0)) {
            return refuse(libc::EINVAL);
        }
        match op {
            Op::Mkdir { path, mode } => self.mkdir(&path.0, *mode),
            Op::MkdirAll { path } => self.mkdir_all(&path.0),
            Op::Rmdir { path } => self.rmdir(&path.0),
            Op::Unlink { path } => self.unlink(&path.0),
            Op::RmTree { path } => self.rm_tree(&path.0),
            Op::Rename { from, to, how } => self.rename(&from.0, &to.0, *how),
            Op::CopyTree { from, to } => self.copy_tree(&from.0, &to.0),
            Op::Symlink { target, link } => self.symlink(&target.0, &link.0),
            Op::ReadLink { path } => self.read_link(&path.0),
            Op::Link { existing, new } => self.link(&existing.0, &new.0),
            Op::Canonicalize { path } => self.canonicalize(&path.0),
            Op::ListDir { path } => self.list_dir(&path.0),
            Op::Walk { path } => self.walk(&path.0),
            Op::Glob { pattern } => self.glob(&pattern.0),
            Op::Stat { path } => {
                let ino = self.lookup(&path.0, Last::Follow)?;
                Ok(Outcome::Stat(self.stat(ino)))
            }
            Op::Lstat { path } => {
                let ino = self.lookup(&path.0, Last::Keep)?;
                Ok(Outcome::Stat(self.stat(ino)))
            }
            Op::Exists { path } => self.exists(&path.0),
            Op::Chmod { .. } | Op::Chown { .. } | Op::SetTimes { .. } => self.set_attributes(op),
            Op::SetXattr { .. }
            | Op::GetXattr { .. }
            | Op::ListXattrs { .. }
            | Op::RemoveXattr { .. } => self.xattrs(op),
            _ => self.run_on_content(op),
        }
    }

    /// The place for a new name. `is_dir`: a trailing slash is welcome.
    pub(super) fn place_for_new(
        &self,
        path: &[u8],
        is_dir: bool,
    ) -> Result<(Ino, Vec<u8>), Refusal> {
        let place = self.entry(path)?;
        let Tail::Name(name) = place.tail else {
            return refuse(libc::EEXIST);
        };
        if place.ino.is_some() {
            return refuse(libc::EEXIST);
        }
        if place.slash && !is_dir {
            return refuse(libc::ENOENT);
        }
        Ok((place.parent, name))
    }

    pub(super) fn add_entry(&mut self, parent: Ino, name: &[u8], body: Body, mode: u32) -> Ino {
        let ino = self.add_node(body, mode);
        self.dir_mut(parent).add(name, ino);
        ino
    }

    fn mkdir(&mut self, path: &[u8], mode: u32) -> Reply {
        let (parent, name) = self.place_for_new(path, true)?;
        self.add_dir(parent, &name, mode & !UMASK);
        Ok(Outcome::Done)
    }

    pub(super) fn add_dir(&mut self, parent: Ino, name: &[u8], mode: u32) -> Ino {
        let entries = Vec::new();
        self.add_entry(parent, name, Body::Dir(Dir { parent, entries }), mode)
    }

    /// Makes what is missing, component by component.
    fn mkdir_all(&mut self, path: &[u8]) -> Reply {
        if path.is_empty() {
            return refuse(libc::ENOENT);
        }
        let mut end = 0;
        while end < path.len() {
            let start = end + path[end..].iter().take_while(|byte| **byte == b'/').count();
            end = start
                + path[start..]
                    .iter()
                    .take_while(|byte| **byte != b'/')
                    .count();
            let so_far = &path[..end];
            match self.lookup(so_far, Last::Follow) {
                Ok(ino) if self.is_dir(ino) => {}
                Ok(_) if end == path.len() => return refuse(libc::EEXIST),
                Ok(_) => return refuse(libc::ENOTDIR),
                Err(refusal) if refusal.errno == libc::ENOENT && start < end => {
                    self.mkdir(so_far, 0o777)?;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(Outcome::Done)
    }

    fn rmdir(&mut self, path: &[u8]) -> Reply {
        let place = self.entry(path)?;
        let name = match &place.tail {
            Tail::Root => return refuse(libc::EBUSY),
            Tail::Dot => return refuse(libc::EINVAL),
            Tail::DotDot => return refuse(libc::ENOTEMPTY),
            Tail::Name(name) => name,
        };
        let ino = place.ino.ok_or(libc::ENOENT)?;
        let Body::Dir(dir) = &self.node(ino).body else {
            return refuse(libc::ENOTDIR);
        };
        if !dir.entries.is_empty() {
            return refuse(libc::ENOTEMPTY);
        }
        self.dir_mut(place.parent).remove(name);
        self.drop_name(ino);
        Ok(Outcome::Done)
    }

    fn unlink(&mut self, path: &[u8]) -> Reply {
        let place = self.entry(path)?;
        let Tail::Name(name) = &place.tail else {
            return refuse(libc::EISDIR);
        };
        let ino = place.ino.ok_or(libc::ENOENT)?;
        if self.is_dir(ino) {
            return refuse(libc::EISDIR);
        }
        if place.slash {
            return refuse(libc::ENOTDIR);
        }
        self.dir_mut(place.parent).remove(name);
        self.drop_name(ino);
        Ok(Outcome::Done)
    }

    fn rename(&mut self, from: &[u8], to: &[u8], how: RenameHow) -> Reply {
        // The directories of both come first, then the old name, then the new one.
        let old = self.place(from, Last::Entry)?;
        let new = self.place(to, Last::Entry)?;
        let Tail::Name(old_name) = &old.tail else {
            return refuse(libc::EBUSY);
        };
        let Tail::Name(new_name) = &new.tail else {
            if how == RenameHow::NoReplace {
                // Linux says EEXIST here, which tells less.
                return Err(Refusal::by_design(libc::EBUSY));
            }
            return refuse(libc::EBUSY);
        };
        check_name(&old)?;
        let old_ino = old.ino.ok_or(libc::ENOENT)?;
        check_name(&new)?;
        self.check_rename(&old, old_ino, &new, how)?;
        if new.ino == Some(old_ino) {
            return Ok(Outcome::Done);
        }
        if how == RenameHow::Exchange {
            let new_ino = new.ino.ok_or(libc::ENOENT)?;
            self.replace_entry(old.parent, old_name, new_ino);
            self.replace_entry(new.parent, new_name, old_ino);
            return Ok(Outcome::Done);
        }
        self.dir_mut(old.parent).remove(old_name);
        match new.ino {
            Some(gone) => {
                self.replace_entry(new.parent, new_name, old_ino);
                self.drop_name(gone);
            }
            None => {
                self.dir_mut(new.parent).add(new_name, old_ino);
                self.set_parent(old_ino, new.parent);
            }
        }
        Ok(Outcome::Done)
    }

    fn check_rename(
        &self,
        old: &Place,
        old_ino: Ino,
        new: &Place,
        how: RenameHow,
    ) -> Result<(), Refusal> {
        let exchange = how == RenameHow::Exchange;
        if how == RenameHow::NoReplace && new.ino.is_some() {
            return refuse(libc::EEXIST);
        }
        if exchange {
            let new_ino = new.ino.ok_or(libc::ENOENT)?;
            if new.slash && !self.is_dir(new_ino) {
                return refuse(libc::ENOTDIR);
            }
        }
        let old_is_dir = self.is_dir(old_ino);
        if !old_is_dir && (old.slash || new.slash && !exchange) {
            return refuse(libc::ENOTDIR);
        }
        if old_is_dir && self.is_ancestor(old_ino, new.parent) {
            return refuse(libc::EINVAL);
        }
        let Some(new_ino) = new.ino.filter(|ino| *ino != old_ino) else {
            return Ok(());
        };
        let new_is_dir = self.is_dir(new_ino);
        if new_is_dir && self.is_ancestor(new_ino, old.parent) {
            return refuse(if exchange {
                libc::EINVAL
            } else {
                libc::ENOTEMPTY
            });
        }
        match (old_is_dir, new_is_dir) {
            _ if exchange => Ok(()),
            (true, false) => refuse(libc::ENOTDIR),
            (false, true) => refuse(libc::EISDIR),
            (true, true) if !self.dir(new_ino).entries.is_empty() => refuse(libc::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    /// Lets an existing entry name another inode. It keeps its place in the order.
    fn replace_entry(&mut self, parent: Ino, name: &[u8], ino: Ino) {
        let entries = &mut self.dir_mut(parent).entries;
        let entry = entries.iter_mut().find(|entry| entry.0 == name);
        entry.expect("an existing entry").1 = ino;
        self.set_parent(ino, parent);
    }

    fn set_parent(&mut self, ino: Ino, parent: Ino) {
        if let Body::Dir(dir) = &mut self.node_mut(ino).body {
            dir.parent = parent;
        }
    }

    fn symlink(&mut self, target: &[u8], link: &[u8]) -> Reply {
        if target.is_empty() {
            return refuse(libc::ENOENT);
        }
        let (parent, name) = self.place_for_new(link, false)?;
        self.add_entry(parent, &name, Body::Link(target.to_vec()), 0o777);
        Ok(Outcome::Done)
    }

    fn read_link(&self, path: &[u8]) -> Reply {
        let ino = self.lookup(path, Last::Keep)?;
        match &self.node(ino).body {
            Body::Link(target) => Ok(Outcome::Bytes(target.clone())),
            _ => refuse(libc::EINVAL),
        }
    }

    fn link(&mut self, existing: &[u8], new: &[u8]) -> Reply {
        let ino = self.lookup(existing, Last::Keep)?;
        let (parent, name) = self.place_for_new(new, false)?;
        if self.is_dir(ino) {
            return refuse(libc::EPERM);
        }
        self.dir_mut(parent).add(&name, ino);
        self.node_mut(ino).names += 1;
        Ok(Outcome::Done)
    }

    fn canonicalize(&self, path: &[u8]) -> Reply {
        let place = self.place(path, Last::Follow)?;
        let ino = place.ino.ok_or(libc::ENOENT)?;
        let mut found = match (&place.tail, self.is_dir(ino)) {
            (Tail::Name(name), false) => {
                let mut found = self.path_of_dir(place.parent);
                found.push(b'/');
                found.extend_from_slice(name);
                found
            }
            _ => self.path_of_dir(ino),
        };
        if found.is_empty() {
            found.push(b'/');
        }
        Ok(Outcome::Bytes(found))
    }

    fn list_dir(&self, path: &[u8]) -> Reply {
        let ino = self.lookup(path, Last::Follow)?;
        let Body::Dir(dir) = &self.node(ino).body else {
            return refuse(libc::ENOTDIR);
        };
        let names = dir.entries.iter().map(|entry| Raw(entry.0.clone()));
        Ok(Outcome::Names(names.collect()))
    }

    fn exists(&self, path: &[u8]) -> Reply {
        match self.lookup(path, Last::Follow) {
            Ok(_) => Ok(Outcome::Flag(true)),
            // A mistake of the caller's, which Linux does not tell from a missing file.
            Err(_) if path.is_empty() => Err(Refusal::by_design(libc::ENOENT)),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(Outcome::Flag(false)),
            Err(refusal) => Err(refusal),
        }
    }

    fn set_attributes(&mut self, op: &Op) -> Reply {
        match op {
            Op::Chmod { path, mode } => {
                let ino = self.lookup(&path.0, Last::Follow)?;
                self.node_mut(ino).mode = mode & 0o7777;
            }
            Op::Chown {
                path,
                uid,
                gid,
                follow,
            } => {
                let ino = self.lookup(&path.0, following(*follow))?;
                let node = self.node_mut(ino);
                node.uid = uid.unwrap_or(node.uid);
                node.gid = gid.unwrap_or(node.gid);
            }
            Op::SetTimes {
                path,
                modified,
                follow,
            } => {
                let ino = self.lookup(&path.0, following(*follow))?;
                self.node_mut(ino).modified = Stamp::Set(*modified);
            }
            other => unreachable!("{other:?}"),
        }
        Ok(Outcome::Done)
    }

    fn xattrs(&mut self, op: &Op) -> Reply {
        match op {
            Op::SetXattr {
                path,
                name,
                value,
                how,
            } => {
                let ino = self.lookup(&path.0, Last::Follow)?;
                let xattrs = &mut self.node_mut(ino).xattrs;
                match (how, xattrs.contains_key(name)) {
                    (XattrHow::Create, true) => refuse(libc::EEXIST),
                    (XattrHow::Replace, false) => refuse(libc::ENODATA),
                    _ => {
                        xattrs.insert(name.clone(), value.bytes());
                        Ok(Outcome::Done)
                    }
                }
            }
            Op::GetXattr { path, name } => {
                let ino = self.lookup(&path.0, Last::Follow)?;
                let value = self.node(ino).xattrs.get(name).ok_or(libc::ENODATA)?;
                Ok(Outcome::Bytes(value.clone()))
            }
            Op::ListXattrs { path } => {
                let ino = self.lookup(&path.0, Last::Follow)?;
                Ok(Outcome::Names(
                    self.node(ino).xattrs.keys().cloned().collect(),
                ))
            }
            Op::RemoveXattr { path, name } => {
                let ino = self.lookup(&path.0, Last::Follow)?;
                let removed = self.node_mut(ino).xattrs.remove(name);
                removed.map(|_| Outcome::Done).ok_or(libc::ENODATA.into())
            }
            other => unreachable!("{other:?}"),
        }
    }

    pub(super) fn touch_file(&mut self, ino: Ino) {
        self.node_mut(ino).modified = Stamp::Moved;
    }

    pub(super) fn kind(&self, ino: Ino) -> Kind {
        super::kind_of(&self.node(ino).body)
    }
}

fn following(follow: bool) -> Last {
    if follow { Last::Follow } else { Last::Keep }
}
