//! An image as a checkpoint, which makes the journal before it superfluous.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::io::directory::Directory;
use crate::journal::{self, CheckpointWriter, Counters, Extents, Record, Writer, Xattrs};

use super::image::{About, Entry, Image};

/// Writes what the journal says up to the writer's last durable group, and removes what that covers. Returns
/// how long it is, in bytes.
///
/// # Errors
/// Those of the disk; the store is as it was then, or has one checkpoint more.
pub(super) fn write(
    image: &Image,
    directory: &Arc<dyn Directory>,
    writer: &Writer,
) -> Result<u64, Fault> {
    let mut checkpoint =
        CheckpointWriter::begin(directory.clone(), writer.identity(), writer.durable())?;
    checkpoint.push(&Record::Counters(Counters {
        next_node: image.next_node,
        next_segment: 0,
    }))?;
    for (number, node) in &image.nodes {
        if let Some(about) = &node.about {
            push_node(&mut checkpoint, *number, about)?;
        }
        if !node.extents.is_empty() {
            for (place, some) in node.extents.chunks(super::capture::EXTENTS_MAX).enumerate() {
                checkpoint.push(&Record::Content(journal::Content {
                    node: *number,
                    whole: place == 0,
                    extents: Extents::new(some),
                }))?;
            }
        }
        for (offset, bytes) in &node.patches {
            checkpoint.push(&Record::Inline {
                node: *number,
                offset: *offset,
                bytes,
            })?;
        }
    }
    for (directory, names) in &image.directories {
        let mut names: Vec<(&[u8], Entry)> = names
            .iter()
            .map(|(name, entry)| (&name[..], *entry))
            .collect();
        names.sort_unstable_by_key(|(_, entry)| entry.serial);
        for (name, entry) in names {
            checkpoint.push(&Record::Entry {
                directory: *directory,
                name,
                child: entry.child,
            })?;
        }
    }
    let bytes = checkpoint.len();
    checkpoint.finish()?.remove()?;
    Ok(bytes)
}

fn push_node(checkpoint: &mut CheckpointWriter, number: u64, about: &About) -> Result<(), Fault> {
    let pairs: Vec<(&[u8], &[u8])> = about
        .xattrs
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    let [accessed, modified, changed, created] = about.times;
    checkpoint.push(&Record::Node(journal::Node {
        number,
        kind: about.kind,
        mode: about.mode,
        uid: about.owner.0,
        gid: about.owner.1,
        links: 0,
        accessed,
        modified,
        changed,
        created,
        len: about.len,
        priority: about.priority,
        pinned: about.pinned,
        accesses: 0,
        xattrs: Xattrs::new(&pairs),
        target: &about.target,
    }))
}
