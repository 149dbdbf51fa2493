//! The bodies of nodes and contents, and the lists in them, which are decoded as they are walked.

use std::fmt;

use super::{
    BadField, Content, Extent, Fields, NANOS, Node, NodeKind, Time, check_range, put_bytes,
    put_number, put_signed, take_bool,
};

const PRIORITY_MAX: u8 = 10;
const FLAG_KIND: u8 = 0b11;
/// The times are further from each other than 64 bits of nanoseconds reach.
const FLAG_FAR_TIMES: u8 = 0b100;
const FLAG_XATTRS: u8 = 0b1000;
const FLAG_PINNED: u8 = 0b1_0000;
const FLAGS: u8 = FLAG_KIND | FLAG_FAR_TIMES | FLAG_XATTRS | FLAG_PINNED;

impl<'a> Node<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), BadField> {
        let times = [self.accessed, self.modified, self.changed, self.created];
        let near = near_times(times);
        let target_fits = self.kind == NodeKind::Symlink || self.target.is_empty();
        let nanos_fit = times.iter().all(|time| i64::from(time.nanos) < NANOS);
        if !target_fits || !nanos_fit || self.priority > PRIORITY_MAX {
            return Err(BadField);
        }
        let mut flags = self.kind as u8;
        if near.is_none() {
            flags |= FLAG_FAR_TIMES;
        }
        if !self.xattrs.is_empty() {
            flags |= FLAG_XATTRS;
        }
        if self.pinned {
            flags |= FLAG_PINNED;
        }
        out.push(flags);
        out.push(self.priority);
        put_number(out, self.number);
        for number in [self.mode, self.uid, self.gid] {
            put_number(out, u64::from(number));
        }
        for number in [self.links, self.len, self.accesses] {
            put_number(out, number);
        }
        match near {
            Some([first, rest @ ..]) => {
                out.extend_from_slice(&first.to_le_bytes());
                for difference in rest {
                    put_signed(out, difference);
                }
            }
            None => {
                for time in times {
                    put_signed(out, time.seconds);
                    put_number(out, u64::from(time.nanos));
                }
            }
        }
        if self.kind == NodeKind::Symlink {
            put_bytes(out, self.target);
        }
        if !self.xattrs.is_empty() {
            self.xattrs.put(out);
        }
        Ok(())
    }

    pub(super) fn take(fields: &mut Fields<'a>) -> Result<Self, BadField> {
        let flags = fields.byte()?;
        let priority = fields.byte()?;
        if flags & !FLAGS != 0 || priority > PRIORITY_MAX {
            return Err(BadField);
        }
        let kind = match flags & FLAG_KIND {
            0 => NodeKind::File,
            1 => NodeKind::Directory,
            2 => NodeKind::Symlink,
            _ => return Err(BadField),
        };
        let number = fields.number()?;
        let (mode, uid, gid) = (
            fields.number_32()?,
            fields.number_32()?,
            fields.number_32()?,
        );
        let (links, len, accesses) = (fields.number()?, fields.number()?, fields.number()?);
        let [accessed, modified, changed, created] = if flags & FLAG_FAR_TIMES == 0 {
            take_near_times(fields)?
        } else {
            take_far_times(fields)?
        };
        let target = match kind {
            NodeKind::Symlink => fields.bytes()?,
            _ => &[],
        };
        let xattrs = if flags & FLAG_XATTRS == 0 {
            Xattrs::default()
        } else {
            Xattrs::take(fields)?
        };
        Ok(Node {
            number,
            kind,
            mode,
            uid,
            gid,
            links,
            accessed,
            modified,
            changed,
            created,
            len,
            priority,
            accesses,
            pinned: flags & FLAG_PINNED != 0,
            xattrs,
            target,
        })
    }
}

/// The first time in nanoseconds, and how far each of the others is from the one before it.
fn near_times(times: [Time; 4]) -> Option<[i64; 4]> {
    let mut near = [0; 4];
    let mut before = 0;
    for (place, time) in near.iter_mut().zip(times) {
        let nanos = time.as_nanos()?;
        *place = nanos.checked_sub(before)?;
        before = nanos;
    }
    Some(near)
}

fn take_near_times(fields: &mut Fields<'_>) -> Result<[Time; 4], BadField> {
    let first: [u8; 8] = fields.take(8)?.try_into().map_err(|_| BadField)?;
    let mut nanos = i64::from_le_bytes(first);
    let mut times = [Time::from_nanos(nanos); 4];
    for time in &mut times[1..] {
        nanos = nanos.checked_add(fields.signed()?).ok_or(BadField)?;
        *time = Time::from_nanos(nanos);
    }
    Ok(times)
}

fn take_far_times(fields: &mut Fields<'_>) -> Result<[Time; 4], BadField> {
    let mut times = [Time::default(); 4];
    for time in &mut times {
        let (seconds, nanos) = (fields.signed()?, fields.number_32()?);
        if i64::from(nanos) >= NANOS {
            return Err(BadField);
        }
        *time = Time { seconds, nanos };
    }
    Ok(times)
}

impl<'a> Content<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), BadField> {
        put_number(out, self.node);
        out.push(u8::from(self.whole));
        put_number(out, self.extents.len());
        for extent in self.extents.iter() {
            extent.check()?;
            extent.put(out);
        }
        Ok(())
    }

    pub(super) fn take(fields: &mut Fields<'a>) -> Result<Self, BadField> {
        let (node, whole) = (fields.number()?, take_bool(fields)?);
        let count = fields.number()?;
        let encoded = *fields;
        for _ in 0..count {
            Extent::take(fields)?.check()?;
        }
        let extents = Extents(List::Encoded(count, encoded));
        Ok(Content {
            node,
            whole,
            extents,
        })
    }
}

impl Extent {
    fn put(&self, out: &mut Vec<u8>) {
        for number in [
            self.offset,
            self.len,
            self.segment,
            self.place,
            self.stored,
            self.record_len,
            self.owner,
            u64::from(self.index),
            self.generation,
            self.blocks,
        ] {
            put_number(out, number);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, BadField> {
        Ok(Extent {
            offset: fields.number()?,
            len: fields.number()?,
            segment: fields.number()?,
            place: fields.number()?,
            stored: fields.number()?,
            record_len: fields.number()?,
            owner: fields.number()?,
            index: fields.number_32()?,
            generation: fields.number()?,
            blocks: fields.number()?,
        })
    }

    fn check(&self) -> Result<(), BadField> {
        check_range(self.offset, self.len)?;
        check_range(self.place, self.stored)
    }
}

/// A list to be encoded, or one that was checked and is decoded when it is walked.
#[derive(Clone, Copy)]
enum List<'a, T> {
    Items(&'a [T]),
    Encoded(u64, Fields<'a>),
}

/// The extents of a [`Content`].
#[derive(Clone, Copy)]
pub struct Extents<'a>(List<'a, Extent>);

impl<'a> Extents<'a> {
    /// Extents to be encoded.
    #[must_use]
    pub fn new(extents: &'a [Extent]) -> Self {
        Extents(List::Items(extents))
    }

    /// Number of extents.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self.0 {
            List::Items(items) => items.len() as u64,
            List::Encoded(count, _) => count,
        }
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One after the other. O(1) each.
    #[must_use]
    pub fn iter(&self) -> ExtentIter<'a> {
        ExtentIter(self.0)
    }
}

/// See [`Extents::iter`].
#[derive(Clone)]
pub struct ExtentIter<'a>(List<'a, Extent>);

impl Iterator for ExtentIter<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        match &mut self.0 {
            List::Items(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(*first)
            }
            List::Encoded(left, fields) => {
                *left = left.checked_sub(1)?;
                Extent::take(fields).ok()
            }
        }
    }
}

/// Name and value of an extended attribute.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The extended attributes of a [`Node`].
#[derive(Clone, Copy)]
pub struct Xattrs<'a>(List<'a, Pair<'a>>);

impl Default for Xattrs<'_> {
    fn default() -> Self {
        Xattrs(List::Items(&[]))
    }
}

impl<'a> Xattrs<'a> {
    /// Pairs of name and value to be encoded.
    #[must_use]
    pub fn new(pairs: &'a [(&'a [u8], &'a [u8])]) -> Self {
        Xattrs(List::Items(pairs))
    }

    /// Number of attributes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self.0 {
            List::Items(items) => items.len() as u64,
            List::Encoded(count, _) => count,
        }
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names and values, one pair after the other. O(1) each.
    #[must_use]
    pub fn iter(&self) -> XattrIter<'a> {
        XattrIter(self.0)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.len());
        for (name, value) in self.iter() {
            put_bytes(out, name);
            put_bytes(out, value);
        }
    }

    fn take(fields: &mut Fields<'a>) -> Result<Self, BadField> {
        let count = fields.number()?;
        let encoded = *fields;
        for _ in 0..count {
            take_pair(fields)?;
        }
        if count == 0 {
            return Err(BadField);
        }
        Ok(Xattrs(List::Encoded(count, encoded)))
    }
}

fn take_pair<'a>(fields: &mut Fields<'a>) -> Result<Pair<'a>, BadField> {
    Ok((fields.bytes()?, fields.bytes()?))
}

/// See [`Xattrs::iter`].
#[derive(Clone)]
pub struct XattrIter<'a>(List<'a, Pair<'a>>);

impl<'a> Iterator for XattrIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            List::Items(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(*first)
            }
            List::Encoded(left, fields) => {
                *left = left.checked_sub(1)?;
                take_pair(fields).ok()
            }
        }
    }
}

macro_rules! compared_by_items {
    ($($list:ident, $iter:ident;)*) => {
        $(
            impl PartialEq for $list<'_> {
                fn eq(&self, other: &Self) -> bool {
                    self.iter().eq(other.iter())
                }
            }

            impl Eq for $list<'_> {}

            impl fmt::Debug for $list<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_list().entries(self.iter()).finish()
                }
            }

            impl fmt::Debug for $iter<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_list().entries(self.clone()).finish()
                }
            }
        )*
    };
}

compared_by_items! {
    Extents, ExtentIter;
    Xattrs, XattrIter;
}
