//! A node, all of it but its content, as a record.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::journal::{Group, Node, NodeKind, Record, Time, Xattrs};
use crate::namespace::inode::{Body, FileType, Inode, PERMISSIONS, State};
use crate::namespace::times::Timestamp;

/// Appends the record of a node.
pub(super) fn node_record(
    group: &mut Group,
    node: &Arc<Inode>,
    state: &State,
) -> Result<(), Fault> {
    let known = node.describe(state);
    let time = |time: Timestamp| Time {
        seconds: time.seconds,
        nanos: time.nanos,
    };
    let xattrs = node.xattrs_of(state);
    let pairs: Vec<(&[u8], &[u8])> = xattrs
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    group.push(&Record::Node(Node {
        number: node.number(),
        kind: match node.kind() {
            FileType::File => NodeKind::File,
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => NodeKind::Symlink,
        },
        mode: u32::from(state.mode & PERMISSIONS),
        uid: known.uid(),
        gid: known.gid(),
        links: u64::from(state.links),
        accessed: time(known.accessed()),
        modified: time(known.modified()),
        changed: time(known.changed()),
        created: time(known.created()),
        len: state.content().map_or(0, |content| content.len()),
        priority: state.priority(),
        pinned: state.has_pin(),
        accesses: u64::from(state.accesses()),
        xattrs: Xattrs::new(&pairs),
        target: match &state.body {
            Body::Symlink(target) => target,
            _ => &[],
        },
    }))
}
