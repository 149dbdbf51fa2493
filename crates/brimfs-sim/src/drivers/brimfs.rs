//! brimfs as a system under test, through its public API.

use brimfs::{
    Budget, Builder, File, FileSystem, FileTimes, FileType, LockMode, Metadata, OpenOptions,
    RenameMode, Timestamp, View, XattrMode,
};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

#[cfg(feature = "shuttle")]
use shuttle::sync::Arc;
#[cfg(not(feature = "shuttle"))]
use std::sync::Arc;

use brimfs::face::disk::Directory;

use crate::disk::SimDisk;
use crate::model::Limits;
use crate::op::{
    Answer, Counters, Data, Failure, Kind, Op, OpenHow, Outcome, Raw, RenameHow, SLOTS, Stamp,
    Stat, System, Whence, XattrHow,
};
use crate::tier::{Hostile, Manners};

/// A filesystem with the handles and views of one workload.
#[derive(Debug)]
pub struct Brimfs {
    slots: [Option<File>; SLOTS],
    views: [Option<View>; SLOTS],
    fs: FileSystem,
    resident_when_empty: u64,
    thief: Thief,
}

/// What takes content away after every operation.
#[derive(Debug)]
enum Thief {
    Nobody,
    Tier(Arc<Hostile>),
    /// The real one, asked for everything.
    Collector,
}

impl From<brimfs::Error> for Failure {
    fn from(error: brimfs::Error) -> Self {
        Failure {
            errno: error.errno(),
            text: format!("{:?}: {error}", error.kind()),
        }
    }
}

/// What `Read`, `Write` and `Seek` report: a brimfs error inside.
fn io_failure(error: std::io::Error) -> Failure {
    let text = error.to_string();
    match error.downcast::<brimfs::Error>() {
        Ok(error) => error.into(),
        Err(error) => Failure {
            errno: error.raw_os_error().unwrap_or(0),
            text,
        },
    }
}

fn done<T>(_: T) -> Outcome {
    Outcome::Done
}

impl Brimfs {
    /// An empty filesystem whose nodes belong to user 0, and whose handles take no file locks.
    pub fn new(limits: Limits) -> Result<Self, String> {
        // Large enough never to be what fails; memory limits have tests of their own.
        let builder = FileSystem::builder().memory_limit(1 << 30).spill(false);
        Self::build(limits, builder, Thief::Nobody)
    }

    /// As [`Brimfs::new`], and everything is spilled to a simulated disk after every operation.
    pub fn with_disk(limits: Limits) -> Result<Self, String> {
        let disk = Arc::new(SimDisk::new());
        let builder = FileSystem::builder()
            .memory_limit(32 << 20)
            .spill_disk(disk, "/spill")
            .disk_limit(1 << 30);
        Self::build(limits, builder, Thief::Collector)
    }

    /// As [`Brimfs::new`], with a tier that takes content away.
    pub fn with_tier(
        limits: Limits,
        memory_limit: u64,
        manners: Manners,
        seed: u64,
    ) -> Result<Self, String> {
        let budget = Budget::new(memory_limit);
        let tier = Hostile::install(&budget, manners, seed);
        let builder = FileSystem::builder().budget(&budget);
        Self::build(limits, builder, Thief::Tier(tier))
    }

    /// As [`Brimfs::new`], kept in a directory that may not be empty. The counters and
    /// [`System::check_empty`] count on one that is.
    pub fn with_store(
        limits: Limits,
        builder: Builder,
        directory: Arc<dyn Directory>,
    ) -> Result<Self, String> {
        Self::prepared(limits, builder, Thief::Nobody, |builder| {
            builder.open_in(directory)
        })
    }

    /// A filesystem that is there.
    #[must_use]
    pub fn over(fs: &FileSystem) -> Self {
        Self::driving(fs.clone(), Thief::Nobody)
    }

    /// The filesystem itself.
    #[must_use]
    pub fn fs(&self) -> &FileSystem {
        &self.fs
    }

    fn build(limits: Limits, builder: Builder, thief: Thief) -> Result<Self, String> {
        Self::prepared(limits, builder, thief, Builder::build)
    }

    fn prepared(
        limits: Limits,
        builder: Builder,
        thief: Thief,
        build: impl FnOnce(Builder) -> brimfs::Result<FileSystem>,
    ) -> Result<Self, String> {
        let mut builder = builder
            .lock_timeout(Some(Duration::ZERO))
            .umask(0o022)
            .owner(0, 0);
        if let Some(quota) = limits.quota {
            builder = builder.quota(quota);
        }
        if let Some(max_nodes) = limits.max_nodes {
            builder = builder.max_nodes(max_nodes);
        }
        let fs = build(builder).map_err(|error| error.to_string())?;
        Ok(Self::driving(fs, thief))
    }

    fn driving(fs: FileSystem, thief: Thief) -> Self {
        Brimfs {
            slots: Default::default(),
            views: Default::default(),
            resident_when_empty: fs.stats().resident,
            fs,
            thief,
        }
    }

    fn apply_to_path(&mut self, op: &Op) -> Answer {
        let fs = &self.fs;
        match op {
            Op::Mkdir { path, mode } => Ok(fs.create_dir_with(&path.0, *mode).map(done)?),
            Op::MkdirAll { path } => Ok(fs.create_dir_all(&path.0).map(done)?),
            Op::Rmdir { path } => Ok(fs.remove_dir(&path.0).map(done)?),
            Op::Unlink { path } => Ok(fs.remove_file(&path.0).map(done)?),
            Op::RmTree { path } => Ok(fs.remove_dir_all(&path.0).map(done)?),
            Op::Rename { from, to, how } => {
                let mode = match how {
                    RenameHow::Replace => RenameMode::Replace,
                    RenameHow::NoReplace => RenameMode::NoReplace,
                    RenameHow::Exchange => RenameMode::Exchange,
                };
                Ok(fs.rename_with(&from.0, &to.0, mode).map(done)?)
            }
            Op::Copy { from, to } => Ok(Outcome::Number(fs.copy(&from.0, &to.0)?)),
            Op::CopyTree { from, to } => Ok(fs.copy_dir_all(&from.0, &to.0).map(done)?),
            Op::Symlink { target, link } => Ok(fs.symlink(&target.0, &link.0).map(done)?),
            Op::ReadLink { path } => Ok(Outcome::Bytes(fs.read_link(&path.0)?)),
            Op::Link { existing, new } => Ok(fs.hard_link(&existing.0, &new.0).map(done)?),
            Op::Canonicalize { path } => Ok(Outcome::Bytes(fs.canonicalize(&path.0)?)),
            Op::Stat { path } => Ok(Outcome::Stat(stat_of(&fs.metadata(&path.0)?))),
            Op::Lstat { path } => Ok(Outcome::Stat(stat_of(&fs.symlink_metadata(&path.0)?))),
            Op::Exists { path } => Ok(Outcome::Flag(fs.try_exists(&path.0)?)),
            Op::Touch { path } => Ok(fs.touch(&path.0).map(done)?),
            Op::ReadAll { path } => Ok(Outcome::Bytes(fs.read(&path.0)?.to_vec())),
            Op::WriteAll { path, data, adopt } => {
                let written = if *adopt {
                    fs.write(&path.0, data.bytes())
                } else {
                    fs.write_slice(&path.0, &data.bytes())
                };
                Ok(written.map(done)?)
            }
            Op::Append { path, data } => Ok(fs.append(&path.0, &data.bytes()).map(done)?),
            Op::Truncate { path, len } => Ok(fs.truncate(&path.0, *len).map(done)?),
            Op::ListDir { .. } | Op::Walk { .. } | Op::Glob { .. } => self.list(op),
            Op::View { slot, path } => {
                self.views[*slot] = Some(self.fs.view(&path.0)?);
                Ok(Outcome::Done)
            }
            Op::ReadView { slot } => {
                let view = self.views[*slot].as_ref().ok_or(libc::EBADF)?;
                Ok(Outcome::Bytes(view.to_vec()))
            }
            Op::DropView { slot } => {
                let view = self.views[*slot].take();
                view.map(done).ok_or(libc::EBADF.into())
            }
            _ => self.apply_to_attributes(op),
        }
    }

    fn list(&self, op: &Op) -> Answer {
        let names = match op {
            Op::ListDir { path } => {
                let entries = self.fs.read_dir(&path.0)?;
                entries.map(|entry| Raw(entry.name().to_vec())).collect()
            }
            Op::Glob { pattern } => self.fs.glob(&pattern.0)?.into_iter().map(Raw).collect(),
            Op::Walk { path } => {
                let entries = self.fs.walk(&path.0)?;
                let below = entries
                    .filter(|entry| entry.depth() > 0)
                    .map(|entry| (Raw(entry.path().to_vec()), kind_of(entry.file_type())));
                return Ok(Outcome::Tree(below.collect()));
            }
            other => unreachable!("{other:?}"),
        };
        Ok(Outcome::Names(names))
    }

    fn apply_to_attributes(&self, op: &Op) -> Answer {
        let fs = &self.fs;
        match op {
            Op::Chmod { path, mode } => Ok(fs.set_permissions(&path.0, *mode).map(done)?),
            Op::Chown {
                path,
                uid,
                gid,
                follow: true,
            } => Ok(fs.set_owner(&path.0, *uid, *gid).map(done)?),
            Op::Chown { path, uid, gid, .. } => {
                Ok(fs.set_owner_no_follow(&path.0, *uid, *gid).map(done)?)
            }
            Op::SetTimes {
                path,
                modified,
                follow,
            } => {
                let times = FileTimes {
                    accessed: None,
                    modified: Some(Timestamp {
                        seconds: *modified,
                        nanos: 0,
                    }),
                };
                let change = if *follow {
                    fs.set_times(&path.0, times)
                } else {
                    fs.set_times_no_follow(&path.0, times)
                };
                Ok(change.map(done)?)
            }
            Op::SetXattr {
                path,
                name,
                value,
                how,
            } => {
                let mode = match how {
                    XattrHow::Set => XattrMode::Set,
                    XattrHow::Create => XattrMode::Create,
                    XattrHow::Replace => XattrMode::Replace,
                };
                Ok(fs
                    .set_xattr(&path.0, &name.0, &value.bytes(), mode)
                    .map(done)?)
            }
            Op::GetXattr { path, name } => Ok(Outcome::Bytes(fs.xattr(&path.0, &name.0)?)),
            Op::ListXattrs { path } => {
                let names = fs.list_xattrs(&path.0)?;
                Ok(Outcome::Names(names.into_iter().map(Raw).collect()))
            }
            Op::RemoveXattr { path, name } => Ok(fs.remove_xattr(&path.0, &name.0).map(done)?),
            other => unreachable!("{other:?}"),
        }
    }

    fn apply_to_handle(&mut self, op: &Op) -> Answer {
        if let Op::Open { slot, path, how } = op {
            let file = open(&self.fs, path, how)?;
            self.slots[*slot] = Some(file);
            return Ok(Outcome::Done);
        }
        if let Op::Close { slot } = op {
            let file = self.slots[*slot].take();
            return file.map(done).ok_or(libc::EBADF.into());
        }
        let file = |slot: usize| self.slots[slot].as_ref().ok_or(Failure::from(libc::EBADF));
        match op {
            Op::Read { slot, len } => {
                let mut bytes = vec![0; *len as usize];
                let got = file(*slot)?.read(&mut bytes).map_err(io_failure)?;
                bytes.truncate(got);
                Ok(Outcome::Bytes(bytes))
            }
            Op::ReadAt { slot, at, len } => {
                // Not zeroes: whoever forgets to write a hole's is found out.
                let mut bytes = Data {
                    seed: 0xa5,
                    len: *len,
                }
                .bytes();
                let got = file(*slot)?.read_at(*at, &mut bytes)?;
                bytes.truncate(got);
                Ok(Outcome::Bytes(bytes))
            }
            Op::Write { slot, data } => {
                let written = file(*slot)?.write(&data.bytes()).map_err(io_failure)?;
                Ok(Outcome::Number(written as u64))
            }
            Op::WriteAt { slot, at, data } => {
                let written = file(*slot)?.write_at(*at, &data.bytes())?;
                Ok(Outcome::Number(written as u64))
            }
            Op::Seek { slot, to } => {
                let to = match *to {
                    Whence::Start(at) => SeekFrom::Start(at),
                    Whence::Current(by) => SeekFrom::Current(by),
                    Whence::End(by) => SeekFrom::End(by),
                };
                Ok(Outcome::Number(file(*slot)?.seek(to).map_err(io_failure)?))
            }
            Op::SetLen { slot, len } => Ok(done(file(*slot)?.set_len(*len)?)),
            Op::Allocate { slot, at, len } => Ok(done(file(*slot)?.allocate(*at, *len)?)),
            Op::PunchHole { slot, at, len } => Ok(done(file(*slot)?.punch_hole(*at, *len)?)),
            Op::SeekData { slot, at } => Ok(Outcome::Offset(file(*slot)?.seek_data(*at)?)),
            Op::SeekHole { slot, at } => Ok(Outcome::Offset(file(*slot)?.seek_hole(*at)?)),
            Op::HandleStat { slot } => Ok(Outcome::Stat(stat_of(&file(*slot)?.metadata()?))),
            other => unreachable!("{other:?}"),
        }
    }
}

impl System for Brimfs {
    fn name(&self) -> &'static str {
        "brimfs"
    }

    fn apply(&mut self, op: &Op) -> Option<Answer> {
        let answer = match op {
            Op::Open { .. }
            | Op::Close { .. }
            | Op::Read { .. }
            | Op::Write { .. }
            | Op::Seek { .. }
            | Op::ReadAt { .. }
            | Op::WriteAt { .. }
            | Op::SetLen { .. }
            | Op::Allocate { .. }
            | Op::PunchHole { .. }
            | Op::SeekData { .. }
            | Op::SeekHole { .. }
            | Op::HandleStat { .. } => self.apply_to_handle(op),
            _ => self.apply_to_path(op),
        };
        match &self.thief {
            Thief::Nobody => {}
            Thief::Tier(tier) => tier.torment(),
            Thief::Collector => {
                if let Err(error) = self.fs.gc(0.0) {
                    return Some(Err(error.into()));
                }
            }
        }
        Some(answer)
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn counters(&self) -> Option<Counters> {
        let stats = self.fs.stats();
        Some(Counters {
            quota_used: stats.quota_used,
            files: stats.files,
            directories: stats.directories,
            symlinks: stats.symlinks,
            open_handles: stats.open_handles,
            views: stats.views,
        })
    }

    fn audit(&self) -> Result<(), String> {
        self.fs.audit()?;
        match &self.thief {
            Thief::Tier(tier) => tier.check(),
            _ => Ok(()),
        }
    }

    fn check_empty(&self) -> Result<(), String> {
        self.fs.clear_caches();
        let stats = self.fs.stats();
        if stats.nodes != 1 || stats.quota_used != 0 {
            return Err(format!("not empty: {stats:?}"));
        }
        if stats.resident != self.resident_when_empty {
            let before = self.resident_when_empty;
            return Err(format!(
                "resident {} bytes, {before} at first",
                stats.resident
            ));
        }
        match &self.thief {
            Thief::Tier(tier) => tier.check_empty(),
            _ => Ok(()),
        }
    }
}

fn open(fs: &FileSystem, path: &Raw, how: &OpenHow) -> Result<File, brimfs::Error> {
    OpenOptions::new()
        .read(how.read)
        .write(how.write)
        .append(how.append)
        .truncate(how.truncate)
        .create(how.create)
        .create_new(how.create_new)
        .mode(how.mode)
        .no_follow(how.no_follow)
        .lock(LockMode::None)
        .open(fs, &path.0)
}

fn kind_of(kind: FileType) -> Kind {
    if kind.is_dir() {
        Kind::Dir
    } else if kind.is_symlink() {
        Kind::Link
    } else {
        Kind::File
    }
}

fn stat_of(found: &Metadata) -> Stat {
    let kind = kind_of(found.file_type());
    Stat {
        kind,
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        nlink: found.nlink(),
        len: if kind == Kind::Dir { 0 } else { found.len() },
        ino: found.ino(),
        modified: Stamp::from_seconds(found.modified().seconds),
    }
}
