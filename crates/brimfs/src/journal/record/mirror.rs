//! Records of a mirrored tree: what was last seen of its files, and what a commit is about to do with them.

use super::{
    BadField, Fields, NANOS, Record, Time, checked_name, put_bytes, put_number, put_signed,
};

/// What tells one state of a host file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStamp {
    /// The number of its inode.
    pub inode: u64,
    /// Bytes of content.
    pub len: u64,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of anything.
    pub changed: Time,
}

/// One step that makes the host's tree what the records of the same group say. Paths are names joined by `/`. A step that
/// names an inode is done only as long as the path leads to it, so each can be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redo<'a> {
    /// A directory gets another path.
    Move {
        /// Where it is.
        from: &'a [u8],
        /// Where it goes.
        to: &'a [u8],
        /// Its inode.
        inode: u64,
    },
    /// A directory comes into being.
    MakeDirectory {
        /// Where.
        path: &'a [u8],
        /// Permission bits.
        mode: u32,
    },
    /// A temporary file or link takes its place.
    Place {
        /// Its number.
        temporary: u64,
        /// Where it goes.
        to: &'a [u8],
    },
    /// A name that leads to no directory goes.
    Remove {
        /// Which.
        path: &'a [u8],
        /// The inode that it leads to.
        inode: u64,
    },
    /// An empty directory goes.
    RemoveDirectory {
        /// Which.
        path: &'a [u8],
        /// Its inode.
        inode: u64,
    },
    /// A file or directory gets these attributes.
    Attributes {
        /// Which.
        path: &'a [u8],
        /// Its inode.
        inode: u64,
        /// Permission bits.
        mode: u32,
        /// User and group.
        owner: (u32, u32),
        /// Last change of the content; nothing for a directory.
        modified: Option<Time>,
    },
}

const MOVE: u8 = 1;
const MAKE_DIRECTORY: u8 = 2;
const PLACE: u8 = 3;
const REMOVE: u8 = 4;
const REMOVE_DIRECTORY: u8 = 5;
const ATTRIBUTES: u8 = 6;
const ATTRIBUTES_OF_FILE: u8 = 7;

fn put_time(out: &mut Vec<u8>, time: Time) -> Result<(), BadField> {
    if i64::from(time.nanos) >= NANOS {
        return Err(BadField);
    }
    put_signed(out, time.seconds);
    put_number(out, u64::from(time.nanos));
    Ok(())
}

fn take_time(fields: &mut Fields<'_>) -> Result<Time, BadField> {
    let (seconds, nanos) = (fields.signed()?, fields.number_32()?);
    if i64::from(nanos) >= NANOS {
        return Err(BadField);
    }
    Ok(Time { seconds, nanos })
}

/// Names that can be, joined by `/`; at least one.
fn checked_path(path: &[u8]) -> Result<&[u8], BadField> {
    path.split(|byte| *byte == b'/')
        .try_for_each(|name| checked_name(name).map(drop))?;
    Ok(path)
}

fn put_path(out: &mut Vec<u8>, path: &[u8]) -> Result<(), BadField> {
    put_bytes(out, checked_path(path)?);
    Ok(())
}

fn take_path<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], BadField> {
    checked_path(fields.bytes()?)
}

impl HostStamp {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), BadField> {
        put_number(out, self.inode);
        put_number(out, self.len);
        put_time(out, self.modified)?;
        put_time(out, self.changed)
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, BadField> {
        Ok(HostStamp {
            inode: fields.number()?,
            len: fields.number()?,
            modified: take_time(fields)?,
            changed: take_time(fields)?,
        })
    }
}

impl<'a> Redo<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), BadField> {
        match *self {
            Redo::Move { from, to, inode } => {
                out.push(MOVE);
                put_number(out, inode);
                put_path(out, from)?;
                put_path(out, to)
            }
            Redo::MakeDirectory { path, mode } => {
                out.push(MAKE_DIRECTORY);
                put_number(out, u64::from(mode));
                put_path(out, path)
            }
            Redo::Place { temporary, to } => {
                out.push(PLACE);
                put_number(out, temporary);
                put_path(out, to)
            }
            Redo::Remove { path, inode } => {
                out.push(REMOVE);
                put_number(out, inode);
                put_path(out, path)
            }
            Redo::RemoveDirectory { path, inode } => {
                out.push(REMOVE_DIRECTORY);
                put_number(out, inode);
                put_path(out, path)
            }
            Redo::Attributes {
                path,
                inode,
                mode,
                owner: (uid, gid),
                modified,
            } => {
                out.push(match modified {
                    Some(_) => ATTRIBUTES_OF_FILE,
                    None => ATTRIBUTES,
                });
                put_number(out, inode);
                for number in [mode, uid, gid] {
                    put_number(out, u64::from(number));
                }
                put_path(out, path)?;
                modified.map_or(Ok(()), |time| put_time(out, time))
            }
        }
    }

    pub(super) fn take(fields: &mut Fields<'a>) -> Result<Self, BadField> {
        Ok(match fields.byte()? {
            MOVE => {
                let inode = fields.number()?;
                let (from, to) = (take_path(fields)?, take_path(fields)?);
                Redo::Move { from, to, inode }
            }
            MAKE_DIRECTORY => Redo::MakeDirectory {
                mode: fields.number_32()?,
                path: take_path(fields)?,
            },
            PLACE => Redo::Place {
                temporary: fields.number()?,
                to: take_path(fields)?,
            },
            REMOVE => Redo::Remove {
                inode: fields.number()?,
                path: take_path(fields)?,
            },
            REMOVE_DIRECTORY => Redo::RemoveDirectory {
                inode: fields.number()?,
                path: take_path(fields)?,
            },
            kind @ (ATTRIBUTES | ATTRIBUTES_OF_FILE) => {
                let inode = fields.number()?;
                let mode = fields.number_32()?;
                let owner = (fields.number_32()?, fields.number_32()?);
                let path = take_path(fields)?;
                let modified = match kind {
                    ATTRIBUTES => None,
                    _ => Some(take_time(fields)?),
                };
                Redo::Attributes {
                    path,
                    inode,
                    mode,
                    owner,
                    modified,
                }
            }
            _ => return Err(BadField),
        })
    }
}

pub(super) fn take_seen<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    Ok(Record::Seen {
        node: fields.number()?,
        stamp: HostStamp::take(fields)?,
    })
}

pub(super) fn take_sums<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, BadField> {
    let (node, first) = (fields.number()?, fields.number()?);
    let sums = check_sums(fields.take(fields.0.len() as u64)?)?;
    Ok(Record::Sums { node, first, sums })
}

pub(super) fn check_sums(sums: &[u8]) -> Result<&[u8], BadField> {
    match sums.len() % 4 {
        0 => Ok(sums),
        _ => Err(BadField),
    }
}
