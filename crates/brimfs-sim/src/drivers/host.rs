//! Operations as system calls of the calling thread.
//!
//! Paths go to the kernel as they are. Whoever runs this has changed the root.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::tmpfs::check;
use crate::op::{
    Answer, Data, Failure, Kind, Op, OpenHow, Outcome, Raw, RenameHow, SLOTS, Stamp, Stat, Whence,
    XattrHow,
};

/// The handles of one workload.
#[derive(Debug, Default)]
pub(super) struct Host {
    slots: [Option<File>; SLOTS],
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure {
            // The standard library refuses NUL bytes without asking the kernel.
            errno: error.raw_os_error().unwrap_or(libc::EINVAL),
            text: error.to_string(),
        }
    }
}

fn path(raw: &Raw) -> &Path {
    Path::new(OsStr::from_bytes(&raw.0))
}

fn c_string(raw: &Raw) -> io::Result<CString> {
    Ok(CString::new(raw.0.clone())?)
}

fn done<T>(_: T) -> Outcome {
    Outcome::Done
}

impl Host {
    /// `None` for what the kernel has no call for.
    pub(super) fn apply(&mut self, op: &Op) -> Option<Answer> {
        if op.paths().iter().any(|path| path.0.contains(&0)) {
            // No call with a NUL byte reaches the kernel.
            return Some(Err(libc::EINVAL.into()));
        }
        let answer = match op {
            Op::Glob { .. }
            | Op::SeekData { .. }
            | Op::SeekHole { .. }
            | Op::View { .. }
            | Op::ReadView { .. }
            | Op::DropView { .. } => return None,
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
            | Op::HandleStat { .. } => self.apply_to_handle(op),
            Op::Chmod { .. }
            | Op::Chown { .. }
            | Op::SetTimes { .. }
            | Op::SetXattr { .. }
            | Op::GetXattr { .. }
            | Op::ListXattrs { .. }
            | Op::RemoveXattr { .. } => apply_to_attributes(op),
            _ => apply_to_path(op),
        };
        Some(answer)
    }

    fn apply_to_handle(&mut self, op: &Op) -> Answer {
        if let Op::Open { slot, path, how } = op {
            let file = open(path, how)?;
            self.slots[*slot] = Some(file);
            return Ok(Outcome::Done);
        }
        let slot = |slot: usize| self.slots[slot].as_ref().ok_or(Failure::from(libc::EBADF));
        match op {
            Op::Close { slot } => {
                let file = self.slots[*slot].take();
                file.map(done).ok_or(libc::EBADF.into())
            }
            Op::Read { slot: at, len } => read_up_to(*len, |to| Ok(slot(*at)?.read(to)?)),
            Op::ReadAt { slot: n, at, len } => {
                read_up_to(*len, |to| Ok(slot(*n)?.read_at(to, *at)?))
            }
            Op::Write { slot: n, data } => {
                let written = slot(*n)?.write(&data.bytes())?;
                Ok(Outcome::Number(written as u64))
            }
            Op::WriteAt { slot: n, at, data } => {
                let written = slot(*n)?.write_at(&data.bytes(), *at)?;
                Ok(Outcome::Number(written as u64))
            }
            Op::Seek { slot: n, to } => {
                let to = match *to {
                    Whence::Start(at) => SeekFrom::Start(at),
                    Whence::Current(by) => SeekFrom::Current(by),
                    Whence::End(by) => SeekFrom::End(by),
                };
                Ok(Outcome::Number(slot(*n)?.seek(to)?))
            }
            Op::SetLen { slot: n, len } => Ok(done(slot(*n)?.set_len(*len)?)),
            Op::Allocate { slot: n, at, len } => fallocate(slot(*n)?, 0, *at, *len),
            Op::PunchHole { slot: n, at, len } => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                fallocate(slot(*n)?, mode, *at, *len)
            }
            Op::HandleStat { slot: n } => Ok(Outcome::Stat(stat_of(&slot(*n)?.metadata()?))),
            other => unreachable!("{other:?}"),
        }
    }
}

fn apply_to_path(op: &Op) -> Answer {
    match op {
        Op::Mkdir { path: at, mode } => {
            let made = fs::DirBuilder::new().mode(*mode).create(path(at));
            Ok(made.map(done)?)
        }
        Op::MkdirAll { path: at } if at.0.is_empty() => Err(libc::ENOENT.into()),
        Op::MkdirAll { path: at } => mkdir_all(at),
        Op::Rmdir { path: at } => Ok(fs::remove_dir(path(at)).map(done)?),
        Op::Unlink { path: at } => Ok(fs::remove_file(path(at)).map(done)?),
        Op::RmTree { path: at } => remove_tree(at),
        Op::Rename { from, to, how } => rename(from, to, *how),
        Op::Copy { from, to } => copy(path(from), path(to)),
        Op::CopyTree { from, to } => {
            if !fs::metadata(path(from))?.is_dir() {
                return Err(libc::ENOTDIR.into());
            }
            copy_tree(path(from), path(to))
        }
        Op::Symlink { target, link } => {
            Ok(std::os::unix::fs::symlink(path(target), path(link)).map(done)?)
        }
        Op::ReadLink { path: at } => {
            let target = fs::read_link(path(at))?;
            Ok(Outcome::Bytes(target.into_os_string().into_vec()))
        }
        Op::Link { existing, new } => Ok(fs::hard_link(path(existing), path(new)).map(done)?),
        Op::Canonicalize { path: at } => {
            let found = fs::canonicalize(path(at))?;
            Ok(Outcome::Bytes(found.into_os_string().into_vec()))
        }
        Op::ListDir { path: at } => {
            let names = fs::read_dir(path(at))?
                .map(|entry| Ok(Raw(entry?.file_name().into_vec())))
                .collect::<io::Result<_>>()?;
            Ok(Outcome::Names(names))
        }
        Op::Walk { path: at } => walk(at),
        Op::Stat { path: at } => Ok(Outcome::Stat(stat_of(&fs::metadata(path(at))?))),
        Op::Lstat { path: at } => Ok(Outcome::Stat(stat_of(&fs::symlink_metadata(path(at))?))),
        Op::Exists { path: at } => Ok(Outcome::Flag(path(at).try_exists()?)),
        Op::Touch { path: at } => touch(at),
        Op::ReadAll { path: at } => {
            let how = OpenHow {
                read: true,
                ..OpenHow::default()
            };
            let mut bytes = Vec::new();
            open(at, &how)?.read_to_end(&mut bytes)?;
            Ok(Outcome::Bytes(bytes))
        }
        Op::WriteAll { path: at, data, .. } => Ok(fs::write(path(at), data.bytes()).map(done)?),
        Op::Append { path: at, data } => append(at, *data),
        Op::Truncate { path: at, len } => {
            let len = i64::try_from(*len).map_err(|_| Failure::from(libc::EINVAL))?;
            let at = c_string(at)?;
            // SAFETY: a NUL-terminated path that outlives the call.
            Ok(check(unsafe { libc::truncate(at.as_ptr(), len) }).map(done)?)
        }
        other => unreachable!("{other:?}"),
    }
}

fn open(at: &Raw, how: &OpenHow) -> Result<File, Failure> {
    let mut flags = 0;
    if how.no_follow {
        flags |= libc::O_NOFOLLOW;
    }
    let file = fs::OpenOptions::new()
        .read(how.read)
        .write(how.write)
        .append(how.append)
        .truncate(how.truncate)
        .create(how.create)
        .create_new(how.create_new)
        .mode(how.mode)
        .custom_flags(flags)
        .open(path(at))?;
    // Linux opens directories for reading and fails at the first read.
    if file.metadata()?.is_dir() {
        return Err(libc::EISDIR.into());
    }
    Ok(file)
}

fn read_up_to(len: u32, read: impl FnOnce(&mut [u8]) -> Result<usize, Failure>) -> Answer {
    let mut bytes = vec![0; len as usize];
    let got = read(&mut bytes)?;
    bytes.truncate(got);
    Ok(Outcome::Bytes(bytes))
}

fn fallocate(file: &File, mode: libc::c_int, at: u64, len: u64) -> Answer {
    let signed = |value: u64| i64::try_from(value).map_err(|_| Failure::from(libc::EINVAL));
    let (at, len) = (signed(at)?, signed(len)?);
    // SAFETY: an open descriptor; takes no pointers.
    Ok(check(unsafe { libc::fallocate(file.as_raw_fd(), mode, at, len) }).map(done)?)
}

/// Component by component, as `mkdir -p` does; but a failure leaves nothing behind, as in brimfs.
fn mkdir_all(raw: &Raw) -> Answer {
    let mut made = Vec::new();
    let result = make_missing(raw, &mut made);
    if result.is_err() {
        for dir in made.iter().rev() {
            fs::remove_dir(path(dir))?;
        }
    }
    result
}

fn make_missing(raw: &Raw, made: &mut Vec<Raw>) -> Answer {
    let ends = (1..=raw.0.len())
        .filter(|end| raw.0[end - 1] != b'/' && raw.0.get(*end).is_none_or(|byte| *byte == b'/'));
    for end in ends {
        let so_far = Raw(raw.0[..end].to_vec());
        match fs::metadata(path(&so_far)) {
            Ok(found) if found.is_dir() => {}
            Ok(_) if end == raw.0.len() => return Err(libc::EEXIST.into()),
            Ok(_) => return Err(libc::ENOTDIR.into()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                fs::create_dir(path(&so_far))?;
                made.push(so_far);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome::Done)
}

/// A slash behind a symbolic link does not make it the directory that it leads to.
fn remove_tree(top: &Raw) -> Answer {
    let slashes = top.0.iter().rev().take_while(|byte| **byte == b'/').count();
    let bare = Raw(top.0[..top.0.len() - slashes].to_vec());
    if !fs::symlink_metadata(path(&bare))?.is_dir() {
        return Ok(fs::remove_file(path(top)).map(done)?);
    }
    Ok(fs::remove_dir_all(path(&bare)).map(done)?)
}

fn rename(from: &Raw, to: &Raw, how: RenameHow) -> Answer {
    let flags = match how {
        RenameHow::Replace => 0,
        RenameHow::NoReplace => libc::RENAME_NOREPLACE,
        RenameHow::Exchange => libc::RENAME_EXCHANGE,
    };
    let (from, to) = (c_string(from)?, c_string(to)?);
    let cwd = libc::AT_FDCWD;
    // SAFETY: NUL-terminated paths that outlive the call.
    let result = unsafe { libc::renameat2(cwd, from.as_ptr(), cwd, to.as_ptr(), flags) };
    Ok(check(result).map(done)?)
}

/// Copies content as brimfs does: the target keeps its identity, nothing happens to itself.
fn copy(from: &Path, to: &Path) -> Answer {
    let mut source = File::open(from)?;
    let found = source.metadata()?;
    if found.is_dir() {
        return Err(libc::EISDIR.into());
    }
    let is_new = fs::metadata(to).is_err();
    let mut options = fs::OpenOptions::new();
    let mut target = options.write(true).create(true).truncate(false).open(to)?;
    if target.metadata()?.ino() != found.ino() {
        target.set_len(0)?;
        io::copy(&mut source, &mut target)?;
    }
    if is_new {
        target.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777))?;
    }
    Ok(Outcome::Number(found.len()))
}

fn copy_tree(from: &Path, to: &Path) -> Answer {
    let mode = fs::metadata(from)?.mode() & 0o7777;
    let entries: Vec<_> = fs::read_dir(from)?.collect::<io::Result<_>>()?;
    fs::create_dir(to)?;
    for entry in entries {
        let below = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &below)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, below)?;
        } else {
            copy(&entry.path(), &below)?;
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(Outcome::Done)
}

fn walk(top: &Raw) -> Answer {
    let mut found = Vec::new();
    if !fs::symlink_metadata(path(top))?.is_dir() {
        return Ok(Outcome::Tree(found));
    }
    let mut todo = vec![top.0.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(OsStr::from_bytes(&dir))? {
            let entry = entry?;
            let mut below = dir.clone();
            if !below.ends_with(b"/") {
                below.push(b'/');
            }
            below.extend_from_slice(entry.file_name().as_bytes());
            let kind = kind_of(entry.file_type()?);
            if kind == Kind::Dir {
                todo.push(below.clone());
            }
            found.push((Raw(below), kind));
        }
    }
    Ok(Outcome::Tree(found))
}

fn touch(at: &Raw) -> Answer {
    match fs::metadata(path(at)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            append(at, Data { seed: 0, len: 0 })?;
        }
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    let at = c_string(at)?;
    // SAFETY: a NUL-terminated path; no times means now.
    let result = unsafe { libc::utimensat(libc::AT_FDCWD, at.as_ptr(), std::ptr::null(), 0) };
    Ok(check(result).map(done)?)
}

fn append(at: &Raw, data: Data) -> Answer {
    let mut options = fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(path(at))?;
    Ok(file.write_all(&data.bytes()).map(done)?)
}

fn apply_to_attributes(op: &Op) -> Answer {
    match op {
        Op::Chmod { path: at, mode } => {
            Ok(fs::set_permissions(path(at), fs::Permissions::from_mode(*mode)).map(done)?)
        }
        Op::Chown {
            path: at,
            uid,
            gid,
            follow,
        } => {
            let change = if *follow {
                std::os::unix::fs::chown(path(at), *uid, *gid)
            } else {
                std::os::unix::fs::lchown(path(at), *uid, *gid)
            };
            Ok(change.map(done)?)
        }
        Op::SetTimes {
            path: at,
            modified,
            follow,
        } => set_times(at, *modified, *follow),
        Op::SetXattr {
            path: at,
            name,
            value,
            how,
        } => {
            let flags = match how {
                XattrHow::Set => 0,
                XattrHow::Create => libc::XATTR_CREATE,
                XattrHow::Replace => libc::XATTR_REPLACE,
            };
            let (at, name, value) = (c_string(at)?, c_string(name)?, value.bytes());
            let data = value.as_ptr().cast();
            // SAFETY: NUL-terminated strings and a buffer with its own length.
            let result =
                unsafe { libc::setxattr(at.as_ptr(), name.as_ptr(), data, value.len(), flags) };
            Ok(check(result).map(done)?)
        }
        Op::GetXattr { path: at, name } => {
            let (at, name) = (c_string(at)?, c_string(name)?);
            read_attribute(|to, len| {
                // SAFETY: NUL-terminated strings and a buffer with its own length.
                unsafe { libc::getxattr(at.as_ptr(), name.as_ptr(), to.cast(), len) }
            })
            .map(Outcome::Bytes)
        }
        Op::ListXattrs { path: at } => {
            let at = c_string(at)?;
            let list = read_attribute(|to, len| {
                // SAFETY: a NUL-terminated string and a buffer with its own length.
                unsafe { libc::listxattr(at.as_ptr(), to.cast(), len) }
            })?;
            let names = list
                .split(|byte| *byte == 0)
                .filter(|name| !name.is_empty());
            Ok(Outcome::Names(
                names.map(|name| Raw(name.to_vec())).collect(),
            ))
        }
        Op::RemoveXattr { path: at, name } => {
            let (at, name) = (c_string(at)?, c_string(name)?);
            // SAFETY: NUL-terminated strings that outlive the call.
            Ok(check(unsafe { libc::removexattr(at.as_ptr(), name.as_ptr()) }).map(done)?)
        }
        other => unreachable!("{other:?}"),
    }
}

fn read_attribute(read: impl FnOnce(*mut u8, usize) -> isize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; 128 << 10];
    let got = read(bytes.as_mut_ptr(), bytes.len());
    bytes.truncate(usize::try_from(got).map_err(|_| io::Error::last_os_error())?);
    Ok(bytes)
}

fn set_times(at: &Raw, modified: i64, follow: bool) -> Answer {
    let at = c_string(at)?;
    let omit = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::UTIME_OMIT,
    };
    let times = [
        omit,
        libc::timespec {
            tv_sec: modified,
            tv_nsec: 0,
        },
    ];
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: a NUL-terminated path and two times, both outlive the call.
    let result = unsafe { libc::utimensat(libc::AT_FDCWD, at.as_ptr(), times.as_ptr(), flags) };
    Ok(check(result).map(done)?)
}

fn kind_of(kind: fs::FileType) -> Kind {
    if kind.is_dir() {
        Kind::Dir
    } else if kind.is_symlink() {
        Kind::Link
    } else {
        Kind::File
    }
}

fn stat_of(found: &fs::Metadata) -> Stat {
    let kind = kind_of(found.file_type());
    Stat {
        kind,
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        nlink: found.nlink(),
        len: if kind == Kind::Dir { 0 } else { found.len() },
        ino: found.ino(),
        modified: Stamp::from_seconds(found.mtime()),
    }
}
