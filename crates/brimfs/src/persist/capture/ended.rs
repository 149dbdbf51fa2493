//! What is left of a capture when the commit has ended.

use crate::base::sync::Weak;
use crate::cold::segment::Extent;
use crate::namespace::inode::Inode;

use super::super::staging::Fresh;
use super::{Capture, Change, Inlined};

/// What a commit is to know when it has ended.
pub(in crate::persist) struct Captured {
    pub(in crate::persist) changes: Vec<Change>,
    pub(in crate::persist) nodes: Vec<Weak<Inode>>,
    pub(in crate::persist) fresh: Vec<Fresh>,
    pub(in crate::persist) held: Vec<Extent>,
    pub(in crate::persist) inlined: Vec<Inlined>,
    pub(in crate::persist) inline_bytes: u64,
    /// Length of the group, in bytes.
    pub(in crate::persist) said: u64,
    /// For the next commit.
    pub(in crate::persist) buffer: Vec<u8>,
}

impl Capture<'_> {
    /// Nothing more is captured.
    pub(in crate::persist) fn end(self) -> Captured {
        let mut buffer = self.buffer;
        buffer.clear();
        buffer.shrink_to(self.stage_bytes);
        Captured {
            changes: self.changes,
            nodes: self.nodes,
            fresh: self.fresh,
            held: self.held,
            inlined: self.inlined,
            inline_bytes: self.inline_bytes,
            said: self.group.len(),
            buffer,
        }
    }
}
