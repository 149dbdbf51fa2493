//! Whole-file operations by path.

use super::resolve::{Last, Tail, check_name};
use super::{Body, Content, Ino, MAX_LEN, Model, Refusal, Reply, refuse};
use crate::op::{Op, OpenHow, Outcome, Stamp};

const UMASK: u32 = 0o022;

impl Model {
    pub(super) fn run_on_content(&mut self, op: &Op) -> Reply {
        match op {
            Op::ReadAll { path } => {
                let ino = self.file_at(&path.0)?;
                let content = self.content(ino);
                Ok(Outcome::Bytes(content.read(0, content.len)))
            }
            Op::WriteAll { path, data, .. } => {
                let ino = self.open_file(&path.0, &REPLACE)?;
                *self.content_mut(ino) = Content::whole(&data.bytes());
                Ok(Outcome::Done)
            }
            Op::Append { path, data } => {
                let ino = self.open_file(&path.0, &APPEND)?;
                if data.len > 0 {
                    let end = self.content(ino).len;
                    self.write_to(ino, end, &data.bytes())?;
                }
                Ok(Outcome::Done)
            }
            Op::Truncate { path, len } => {
                let ino = self.file_at(&path.0)?;
                self.truncate(ino, *len)?;
                Ok(Outcome::Done)
            }
            Op::Touch { path } => self.touch(&path.0),
            Op::Copy { from, to } => self.copy(&from.0, &to.0),
            _ => self.run_on_handle(op),
        }
    }

    /// The existing regular file at `path`.
    fn file_at(&self, path: &[u8]) -> Result<Ino, Refusal> {
        let ino = self.lookup(path, Last::Follow)?;
        if self.is_dir(ino) {
            return refuse(libc::EISDIR);
        }
        Ok(ino)
    }

    /// Opens as open(2) does and answers the inode, made if it has to be.
    pub(super) fn open_file(&mut self, path: &[u8], how: &OpenHow) -> Result<Ino, Refusal> {
        let creates = how.create || how.create_new;
        let keeps = how.create_new || how.no_follow;
        let place = match (creates, keeps) {
            (true, true) => self.place(path, Last::Entry)?,
            (true, false) => match self.place(path, Last::Create) {
                Err(refusal) if refusal.errno == libc::EISDIR => {
                    return Err(self.slash_refusal(path, how));
                }
                other => other?,
            },
            (false, true) => self.place(path, Last::Keep)?,
            (false, false) => self.place(path, Last::Follow)?,
        };
        let named = matches!(place.tail, Tail::Name(_));
        if creates && named && place.slash {
            return Err(self.slash_refusal(path, how));
        }
        check_name(&place)?;
        let Some(ino) = place.ino else {
            let (Tail::Name(name), true) = (&place.tail, creates) else {
                return refuse(libc::ENOENT);
            };
            let body = Body::File(Content::default());
            return Ok(self.add_entry(place.parent, name, body, how.mode & 0o7777 & !UMASK));
        };
        if how.create_new {
            return refuse(libc::EEXIST);
        }
        match self.node(ino).body {
            Body::Link(_) => refuse(libc::ELOOP),
            Body::Dir(_) => refuse(libc::EISDIR),
            Body::File(_) => {
                if how.truncate {
                    self.set_len(ino, 0)?;
                }
                Ok(ino)
            }
        }
    }

    /// A slash behind the name of a file to be made. Linux does not look what is
    /// there; brimfs says what is wrong with it.
    fn slash_refusal(&self, path: &[u8], how: &OpenHow) -> Refusal {
        let keeps = how.create_new || how.no_follow;
        let last = if keeps { Last::Keep } else { Last::Follow };
        match self.lookup(path, last) {
            Err(refusal) if refusal.errno != libc::ENOENT => Refusal::by_design(refusal.errno),
            Ok(_) if how.create_new => Refusal::by_design(libc::EEXIST),
            _ => libc::EISDIR.into(),
        }
    }

    pub(super) fn content(&self, ino: Ino) -> &Content {
        match &self.node(ino).body {
            Body::File(content) => content,
            other => panic!("{ino} is no file: {other:?}"),
        }
    }

    /// Content about to change: the modification time moves.
    pub(super) fn content_mut(&mut self, ino: Ino) -> &mut Content {
        self.touch_file(ino);
        match &mut self.node_mut(ino).body {
            Body::File(content) => content,
            other => panic!("{ino} is no file: {other:?}"),
        }
    }

    pub(super) fn write_to(&mut self, ino: Ino, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if at
            .checked_add(bytes.len() as u64)
            .is_none_or(|end| end > MAX_LEN)
        {
            return Err(Refusal::by_design(libc::EFBIG));
        }
        self.content_mut(ino).write(at, bytes);
        Ok(())
    }

    /// As `set_len`; whether the time moves when the length does not is open.
    pub(super) fn truncate(&mut self, ino: Ino, len: u64) -> Result<(), Refusal> {
        let same = self.content(ino).len == len;
        self.set_len(ino, len)?;
        if same {
            self.node_mut(ino).modified = Stamp::Any;
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, ino: Ino, len: u64) -> Result<(), Refusal> {
        if len > MAX_LEN {
            return Err(Refusal::by_design(libc::EFBIG));
        }
        self.content_mut(ino).set_len(len);
        Ok(())
    }

    /// Makes an empty file, or moves the times of what is there.
    fn touch(&mut self, path: &[u8]) -> Reply {
        match self.lookup(path, Last::Follow) {
            Ok(ino) => self.touch_file(ino),
            Err(refusal) if refusal.errno != libc::ENOENT => return Err(refusal),
            Err(_) => {
                self.open_file(path, &APPEND)?;
            }
        }
        Ok(Outcome::Done)
    }

    /// Shares every chunk of `from`. `to` keeps its identity and mode if it exists, else it gets the mode.
    fn copy(&mut self, from: &[u8], to: &[u8]) -> Reply {
        let source = self.file_at(from)?;
        let (mode, nodes) = (self.node(source).mode, self.nodes.len());
        let target = self.open_file(to, &APPEND)?;
        if self.nodes.len() > nodes {
            self.node_mut(target).mode = mode;
        }
        let content = self.content(source).clone();
        let len = content.len;
        if source != target {
            *self.content_mut(target) = content;
        }
        Ok(Outcome::Number(len))
    }
}

const REPLACE: OpenHow = OpenHow {
    read: false,
    write: true,
    append: false,
    truncate: true,
    create: true,
    create_new: false,
    no_follow: false,
    mode: 0o666,
};

const APPEND: OpenHow = OpenHow {
    append: true,
    truncate: false,
    ..REPLACE
};
