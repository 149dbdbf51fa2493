//! Content that the journal has, until it moves to segments.

use crate::base::sync::Weak;
use crate::cold::segment::Extent;
use crate::mover::kept::{extent_of, moved};
use crate::namespace::inode::Inode;

/// A node with content that goes with the records, until it is written to segments.
pub(in crate::persist) struct Inlined {
    pub(in crate::persist) node: Weak<Inode>,
    /// The chunks that are patched; none of content that is inline as a whole.
    pub(in crate::persist) chunks: Vec<u64>,
}

impl Inlined {
    /// Has chunks that are patched know where that lies now over which the patches are.
    pub(in crate::persist) fn swing(&self, to: impl Fn(Extent) -> Option<Extent>) {
        let Some(node) = self.node.upgrade() else {
            return;
        };
        let state = node.write_quietly();
        for chunk in &self.chunks {
            if let Some(content) = state.content() {
                content.swing_base(*chunk, &|base| Some(moved(base, to(extent_of(base))?)));
            }
        }
    }

    /// The next commit writes all of the chunks.
    pub(in crate::persist) fn forget_patches(&self) {
        let Some(node) = self.node.upgrade() else {
            return;
        };
        let state = node.write_quietly();
        for chunk in &self.chunks {
            if let Some(content) = state.content() {
                content.settle_patch(*chunk, false);
            }
        }
    }
}
