//! Nodes that are looked at while the gate is open.

use crate::base::error::Fault;
use crate::base::sync::Weak;
use crate::namespace::changes::Changes;
use crate::namespace::inode::{Inode, NOTED};

use super::super::known::Content;
use super::Capture;

/// So often nodes are looked at while the gate is open,
const LOOKS_MAX: usize = 4;
/// as long as there were as many as this.
const MANY: usize = 64;

impl<'a> Capture<'a> {
    /// Looks at nodes with little content while the gate is open, so that it need not be closed for that long, and
    /// leaves the others. Whoever changes one of them before the gate is closed notes it once more, and what it is then
    /// is said behind what is said here; so nothing is seen half done. While there were many it looks again, at those
    /// that were noted meanwhile.
    ///
    /// # Errors
    /// As [`Capture::node`]; the nodes that were not looked at are left then too.
    pub(in crate::persist) fn look_early(
        &mut self,
        changes: &Changes,
        left: &mut Vec<Weak<Inode>>,
    ) -> Result<(), Fault> {
        for _ in 0..LOOKS_MAX {
            let mut nodes = changes.take_nodes();
            let count = nodes.len();
            let done = self.look_at(&mut nodes);
            left.append(&mut nodes);
            done?;
            if count < MANY {
                break;
            }
        }
        Ok(())
    }

    fn look_at(&mut self, nodes: &mut Vec<Weak<Inode>>) -> Result<(), Fault> {
        let mut done = Ok(());
        nodes.retain(|weak| {
            let Some(node) = weak.upgrade().filter(|_| done.is_ok()) else {
                return done.is_err();
            };
            let state = node.write_quietly();
            let is_left =
                state.links == 0 || state.content().is_some_and(|content| content.has_chunks());
            if !is_left && state.mode & NOTED != 0 {
                let generation = state.generation();
                done = self.locked_node(&node, state);
                self.early.insert(node.number(), generation);
            }
            is_left || done.is_err()
        });
        // What comes behind is newer.
        done.and_then(|()| self.settle_content())
    }

    /// The generation of the content of a node that was said last, in this commit or before.
    pub(super) fn said_generation(&self, number: u64) -> Option<u64> {
        let early = self.early.get(&number).copied();
        early.or_else(|| Some(self.known.content(number)?.generation))
    }

    /// The content of a node as it was before, if nothing of this commit is said of it yet.
    pub(super) fn known_content(&self, number: u64) -> Option<&'a Content> {
        match self.early.contains_key(&number) {
            true => None,
            false => self.known.content(number),
        }
    }
}
