//! An image as a checkpoint, which makes the journal before it superfluous.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::io::directory::Directory;
use crate::journal::{self, CheckpointWriter, Counters, Extents, Record, Writer, Xattrs, recover};

use super::Persistence;
use super::image::{About, Entry, Image};
use super::mirror::{Mirror, Seen};

/// A checkpoint is written when the groups since the last one are more than this, and more than that
/// checkpoint, in bytes.
const CHECKPOINT_LEAST: u64 = 64 << 20;
/// On a small disk the journal has less, one part in so many.
const CHECKPOINT_SHARE: u64 = 16;

impl Persistence {
    pub(super) fn checkpoint_least(&self) -> u64 {
        CHECKPOINT_LEAST.min(self.capacity / CHECKPOINT_SHARE)
    }

    /// Writes a checkpoint if the journal has become long. Commits wait meanwhile, changes do not.
    ///
    /// # Errors
    /// Those of the disk and of reading the journal; the store is as it was.
    pub(super) fn checkpoint_if_due(&self) -> Result<(), Fault> {
        let mut core = self.core.lock();
        if self.mirror.as_ref().is_some_and(Mirror::has_undone) {
            return Ok(());
        }
        let Some(writer) = core
            .writer
            .as_ref()
            .filter(|_| core.is_checkpoint_due(self.checkpoint_least()))
        else {
            return Ok(());
        };
        let mut image = Image::default();
        let read = recover(&*self.directory, &mut image);
        let written = read.and_then(|_| {
            self.count_accesses(&mut image);
            write(&image, &self.directory, writer)
        });
        match written {
            Ok(bytes) => {
                core.appended = 0;
                core.checkpoint_bytes = bytes;
                core.checkpoint_vain = 0;
                Ok(())
            }
            Err(fault) => {
                // All is read again for the next one: not before there is more to gain.
                core.checkpoint_vain = core.appended;
                Err(fault)
            }
        }
    }
}

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
    for (number, node) in image.nodes.iter() {
        if let Some(about) = &node.about {
            push_node(&mut checkpoint, number, about)?;
        }
        if !node.extents.is_empty() {
            for (place, some) in node.extents.chunks(super::capture::EXTENTS_MAX).enumerate() {
                checkpoint.push(&Record::Content(journal::Content {
                    node: number,
                    whole: place == 0,
                    extents: Extents::new(some),
                }))?;
            }
        }
        for overlay in node.overlays.values().flatten() {
            checkpoint.push(&Record::Overlay(journal::Overlay {
                node: number,
                ..*overlay
            }))?;
        }
        for (offset, bytes) in node.patches.iter() {
            checkpoint.push(&Record::Inline {
                node: number,
                offset,
                bytes,
            })?;
        }
    }
    for (number, seen) in &image.seen {
        push_seen(&mut checkpoint, *number, seen)?;
    }
    if image.is_mirror {
        checkpoint.push(&Record::Applied)?;
    }
    for step in &image.steps {
        checkpoint.push(&Record::Redo(step.as_redo()))?;
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

fn push_seen(checkpoint: &mut CheckpointWriter, node: u64, seen: &Seen) -> Result<(), Fault> {
    let stamp = seen.stamp;
    checkpoint.push(&Record::Seen { node, stamp })?;
    for (first, sums) in seen.parts() {
        checkpoint.push(&Record::Sums {
            node,
            first,
            sums: &sums,
        })?;
    }
    Ok(())
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
        accesses: u64::from(about.accesses),
        xattrs: Xattrs::new(&pairs),
        target: &about.target,
    }))
}
