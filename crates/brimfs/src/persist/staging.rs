//! Bytes of content that were copied aside, and their way to the segments.

use crate::base::error::Fault;
use crate::base::sync::{Arc, Weak};
use crate::cold::segment::{Extent, Record, Store};
use crate::memory::tier::Identity;
use crate::mover::kept::lasting_id;
use crate::namespace::inode::Inode;

use super::overlay::Under;

/// Bytes that are copied aside, and where in the buffer.
pub(super) struct Staged {
    pub(super) node: Weak<Inode>,
    pub(super) index: u64,
    pub(super) identity: Identity,
    pub(super) start: usize,
    pub(super) len: usize,
    /// They are pages, and come to lie over this.
    pub(super) under: Option<Under>,
}

/// Bytes that were written, of a unit that may know them from now on.
pub(super) struct Fresh {
    pub(super) node: Weak<Inode>,
    pub(super) index: u64,
    pub(super) identity: Identity,
    pub(super) extent: Extent,
}

/// Writes all that was copied aside to segments; each has one reference then, the caller's.
///
/// # Errors
/// Those of the disk.
pub(super) fn write(
    segments: &Arc<Store>,
    buffer: &[u8],
    staged: &mut Vec<Staged>,
) -> Result<Vec<Fresh>, Fault> {
    let parts: Vec<[&[u8]; 1]> = staged
        .iter()
        .map(|staged| [&buffer[staged.start..staged.start + staged.len]])
        .collect();
    let record = |(staged, parts): (&Staged, _)| Record {
        id: lasting_id(staged.identity),
        parts,
    };
    let records: Vec<Record<'_>> = staged
        .iter()
        .zip(parts.iter().map(|part| &part[..]))
        .map(record)
        .collect();
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let extents = segments.append(&records)?;
    drop(records);
    let mut written = Vec::with_capacity(extents.len());
    let mut done = Ok(());
    for (staged, extent) in staged.drain(..).zip(extents) {
        let piled = match staged.under {
            Some(under) => under.pile(lasting_id(staged.identity), extent),
            None => Ok(extent),
        };
        match piled {
            Ok(extent) => written.push(Fresh {
                node: staged.node,
                index: staged.index,
                identity: staged.identity,
                extent,
            }),
            Err(fault) => done = Err(fault),
        }
    }
    if done.is_err() {
        for fresh in written.drain(..) {
            segments.release(fresh.extent);
        }
    }
    done.map(|()| written)
}
