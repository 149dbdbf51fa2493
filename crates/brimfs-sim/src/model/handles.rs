//! Open files and views.

use super::{Content, Handle, Ino, MAX_LEN, Model, Refusal, Reply, View, refuse};
use crate::op::{Op, OpenHow, Outcome, Stamp, Whence};

impl Model {
    pub(super) fn run_on_handle(&mut self, op: &Op) -> Reply {
        match op {
            Op::Open { slot, path, how } => self.open(*slot, &path.0, how),
            Op::Close { slot } => self.close(*slot),
            Op::Read { slot, len } => {
                let handle = self.handle(*slot)?;
                let bytes = self.read_handle(handle, handle.at, *len)?;
                self.slots[*slot] = Some(Handle {
                    at: handle.at + bytes.len() as u64,
                    ..handle
                });
                Ok(Outcome::Bytes(bytes))
            }
            Op::ReadAt { slot, at, len } => {
                let handle = self.handle(*slot)?;
                Ok(Outcome::Bytes(self.read_handle(handle, *at, *len)?))
            }
            Op::Write { slot, data } => self.write(*slot, &data.bytes()),
            Op::WriteAt { slot, at, data } => {
                let handle = self.writable(*slot)?;
                if data.len > 0 {
                    let end = self.content(handle.ino).len;
                    let at = if handle.append { end } else { *at };
                    self.write_to(handle.ino, at, &data.bytes())?;
                }
                Ok(Outcome::Number(data.len.into()))
            }
            Op::Seek { slot, to } => self.seek(*slot, *to),
            Op::SetLen { slot, len } => {
                let handle = self.handle(*slot)?;
                if !handle.write {
                    // Linux says EINVAL here, and EBADF in every other such case.
                    return Err(Refusal::by_design(libc::EBADF));
                }
                self.truncate(handle.ino, *len)?;
                Ok(Outcome::Done)
            }
            Op::Allocate { slot, at, len } => {
                let ino = self.range_of(*slot, *at, *len)?;
                let grows = at + len > self.content(ino).len;
                self.content_mut(ino).allocate(*at, *len);
                if !grows {
                    // What can be read stays the same.
                    self.node_mut(ino).modified = Stamp::Any;
                }
                Ok(Outcome::Done)
            }
            Op::PunchHole { slot, at, len } => {
                let ino = self.range_of(*slot, *at, *len)?;
                self.content_mut(ino).punch(*at, *len);
                Ok(Outcome::Done)
            }
            Op::SeekData { slot, at } => {
                let handle = self.handle(*slot)?;
                Ok(Outcome::Offset(self.content(handle.ino).seek_data(*at)))
            }
            Op::SeekHole { slot, at } => {
                let handle = self.handle(*slot)?;
                Ok(Outcome::Offset(self.content(handle.ino).seek_hole(*at)))
            }
            Op::HandleStat { slot } => {
                let handle = self.handle(*slot)?;
                Ok(Outcome::Stat(self.stat(handle.ino)))
            }
            _ => self.run_on_view(op),
        }
    }

    fn handle(&self, slot: usize) -> Result<Handle, Refusal> {
        self.slots[slot].ok_or(libc::EBADF.into())
    }

    fn writable(&self, slot: usize) -> Result<Handle, Refusal> {
        let handle = self.handle(slot)?;
        if !handle.write {
            return refuse(libc::EBADF);
        }
        Ok(handle)
    }

    /// Opens into a slot that is free.
    fn open(&mut self, slot: usize, path: &[u8], how: &OpenHow) -> Reply {
        check_options(how)?;
        let ino = self.open_file(path, how)?;
        self.slots[slot] = Some(Handle {
            ino,
            at: 0,
            read: how.read,
            write: how.write || how.append,
            append: how.append,
        });
        Ok(Outcome::Done)
    }

    fn close(&mut self, slot: usize) -> Reply {
        let handle = self.handle(slot)?;
        self.slots[slot] = None;
        self.reap(handle.ino);
        Ok(Outcome::Done)
    }

    fn read_handle(&self, handle: Handle, at: u64, len: u32) -> Result<Vec<u8>, Refusal> {
        if !handle.read {
            return refuse(libc::EBADF);
        }
        Ok(self.content(handle.ino).read(at, len.into()))
    }

    fn write(&mut self, slot: usize, bytes: &[u8]) -> Reply {
        let handle = self.writable(slot)?;
        if !bytes.is_empty() {
            let end = self.content(handle.ino).len;
            let at = if handle.append { end } else { handle.at };
            self.write_to(handle.ino, at, bytes)?;
            self.slots[slot] = Some(Handle {
                at: at + bytes.len() as u64,
                ..handle
            });
        }
        Ok(Outcome::Number(bytes.len() as u64))
    }

    fn seek(&mut self, slot: usize, to: Whence) -> Reply {
        let handle = self.handle(slot)?;
        let target = match to {
            Whence::Start(at) => Some(at),
            Whence::Current(by) => handle.at.checked_add_signed(by),
            Whence::End(by) => self.content(handle.ino).len.checked_add_signed(by),
        };
        let at = target.filter(|at| *at <= MAX_LEN).ok_or(libc::EINVAL)?;
        self.slots[slot] = Some(Handle { at, ..handle });
        Ok(Outcome::Number(at))
    }

    /// The file behind a slot, for a range that must be neither empty nor too far.
    fn range_of(&self, slot: usize, at: u64, len: u64) -> Result<Ino, Refusal> {
        let handle = self.handle(slot)?;
        if len == 0 && !handle.write {
            // Two mistakes; Linux reports the length.
            return Err(Refusal::by_design(libc::EBADF));
        }
        if len == 0 {
            return refuse(libc::EINVAL);
        }
        if !handle.write {
            return refuse(libc::EBADF);
        }
        if at.checked_add(len).is_none_or(|end| end > MAX_LEN) {
            return Err(Refusal::by_design(libc::EFBIG));
        }
        Ok(handle.ino)
    }

    fn run_on_view(&mut self, op: &Op) -> Reply {
        match op {
            Op::View { slot, path } => {
                let ino = self.lookup(&path.0, super::resolve::Last::Follow)?;
                if self.is_dir(ino) {
                    return refuse(libc::EISDIR);
                }
                let content = self.view_of(ino);
                self.views[*slot] = Some(View { content });
                Ok(Outcome::Done)
            }
            Op::ReadView { slot } => {
                let view = self.views[*slot].as_ref().ok_or(libc::EBADF)?;
                Ok(Outcome::Bytes(view.content.read(0, view.content.len)))
            }
            Op::DropView { slot } => {
                let view = self.views[*slot].take();
                view.map(|_| Outcome::Done).ok_or(libc::EBADF.into())
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// A view pins the chunks that it shows, unless holes force it to have a copy
    /// of its own, which only the memory limit counts.
    fn view_of(&self, ino: Ino) -> Content {
        let content = self.content(ino);
        if content.is_dense() {
            content.clone()
        } else {
            Content::private(content.read(0, content.len))
        }
    }
}

/// The combinations that `OpenOptions` refuses, as the standard library does.
fn check_options(how: &OpenHow) -> Result<(), Refusal> {
    let access = how.read || how.write || how.append;
    let writes = how.write || how.append;
    let creates = how.truncate || how.create || how.create_new;
    let both = how.append && how.truncate;
    if !access || (creates && !writes) || (both && !how.create_new) {
        return refuse(libc::EINVAL);
    }
    if both || (how.truncate && !how.write) {
        // The standard library lets it pass, because a new file is empty anyway.
        return Err(Refusal::by_design(libc::EINVAL));
    }
    Ok(())
}
