//! What the host has, as nodes of the tree: their content is cold and lies in the host's files.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::cold::segment::Extent;
use crate::io::tree::{Moment, TreeStat};
use crate::memory::chunk::{CHUNK, Chunk};
use crate::memory::content::Content;
use crate::memory::delta::ColdForm;
use crate::memory::tier::Location;
use crate::mover::Mover;
use crate::namespace::inode::{Body, Inode};
use crate::namespace::restored::{Restored, XattrPairs};
use crate::namespace::times::Timestamp;
use crate::namespace::watch;

fn timestamp(moment: Moment) -> Timestamp {
    Timestamp {
        seconds: moment.seconds,
        nanos: moment.nanos,
    }
}

/// Gives a node the attributes that the host has. Its own, which the host knows not, stay.
///
/// # Errors
/// See [`Inode::restore`].
pub(super) fn attributes(node: &Arc<Inode>, stat: &TreeStat, is_new: bool) -> Result<(), Fault> {
    let (priority, pinned, accesses, created) = {
        let state = node.read();
        let created = match is_new {
            // The host may not know; no time is earlier than this one.
            true => timestamp(stat.modified),
            false => Timestamp::from_nanos(state.times.created),
        };
        let (priority, pinned) = (state.priority(), state.has_pin());
        (priority, pinned, state.accesses(), created)
    };
    node.restore(Restored {
        mode: stat.mode,
        owner: stat.owner,
        times: [
            timestamp(stat.accessed),
            timestamp(stat.modified),
            timestamp(stat.changed),
            created,
        ],
        priority,
        pinned,
        accesses,
        xattrs: &XattrPairs::new(),
    })
}

/// Gives a file the content of a file of the host, cold; what it had is gone. Returns the generation that it has then.
///
/// # Errors
/// [`ErrorKind::QuotaExceeded`] and [`ErrorKind::MemoryLimit`]: nothing has changed then.
pub(super) fn content(mover: &Mover, node: &Arc<Inode>, file: u32, len: u64) -> Result<u64, Fault> {
    let account = node.account();
    let generation = node.read().generation() + 1;
    let content = if len == 0 {
        Content::Empty
    } else if len <= CHUNK as u64 {
        let location = locate(mover, node, file, 0, len as usize, false)?;
        Content::cold_whole(len as usize, generation as u32, location, account)
            .inspect_err(|_| mover.forget_unused(location))?
    } else {
        table(mover, node, file, len)?
    };
    let mut state = node.write_quietly();
    let old = std::mem::replace(&mut state.body, Body::File(content));
    state.set_generation(generation);
    watch::modified(node);
    drop(state);
    match old {
        Body::File(content) => content.release(account),
        other => drop(other),
    }
    Ok(generation)
}

fn table(mover: &Mover, node: &Arc<Inode>, file: u32, len: u64) -> Result<Content, Fault> {
    let account = node.account();
    let mut chunks = Vec::new();
    for index in 0..len.div_ceil(CHUNK as u64) {
        let part = (len - index * CHUNK as u64).min(CHUNK as u64) as usize;
        let form = ColdForm {
            identity: Chunk::fresh_identity(index),
            location: locate(mover, node, file, index, part, true)?,
            len: part,
            data_end: part,
            blocks: Chunk::blocks_of(0, part).unwrap_or(0),
        };
        let location = form.location;
        let chunk = Chunk::cold_from(form, account);
        let chunk = chunk.inspect_err(|_| mover.forget_unused(location))?;
        chunks.push((index, Arc::new(chunk)));
    }
    Content::of_chunks(chunks, len, account)
}

fn locate(
    mover: &Mover,
    node: &Arc<Inode>,
    file: u32,
    index: u64,
    len: usize,
    is_part: bool,
) -> Result<Location, Fault> {
    let too_large = || {
        Fault::text(
            ErrorKind::FileTooLarge,
            "a mirrored file of 256 TiB or more",
        )
    };
    let extent = Extent::of_host_file(file, index, len).ok_or_else(too_large)?;
    let location = mover.locate(node.unit(index), extent, is_part);
    location.ok_or_else(|| Fault::text(ErrorKind::Corrupt, "a file of the host that nobody knows"))
}

/// Whether all content is in memory, or where memory put it.
pub(super) fn is_own(node: &Arc<Inode>) -> bool {
    use crate::memory::tier::Residents;
    let mut from = 0;
    while let Some((index, cold)) = node.next_cold(from) {
        let extent = crate::mover::kept::extent_of(cold.location);
        if extent.host_file().is_some() {
            return false;
        }
        from = index + 1;
    }
    true
}
