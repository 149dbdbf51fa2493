//! Temporary files: the new content of files, links to files that get other names, symbolic links.

use crate::base::error::Fault;
use crate::cold::host_files::{SUM_BLOCK, Stamp, UNKNOWN, sum_of};
use crate::cold::segment::{ReadError, Store};
use crate::io::tree::{Attributes, Tree, TreeFile};
use crate::memory::chunk::CHUNK;

use super::Mirror;
use super::look::{Job, Piece, Source};
use super::steps::{on_host, temporary};

/// A file that was written.
#[derive(Debug)]
pub(super) struct WrittenFile {
    pub(super) stamp: Stamp,
    pub(super) sums: Vec<u32>,
}

/// Writes content to a temporary file and makes it durable. `staged` is what was copied aside.
///
/// # Errors
/// Those of the disk, and of reading what is cold.
pub(super) fn write(
    mirror: &Mirror,
    segments: &Store,
    job: &Job,
    staged: &[u8],
    attributes: &Attributes,
    number: u64,
) -> Result<WrittenFile, Fault> {
    let path = temporary(number);
    let failed = |error| on_host(&path, error);
    let file = mirror.tree().create(&path).map_err(failed)?;
    let mut sums = Vec::new();
    let mut chunk = Vec::new();
    for piece in &job.pieces {
        chunk.clear();
        match piece.source {
            Source::Staged(start) => {
                chunk.extend_from_slice(&staged[start..start + piece.len]);
            }
            Source::Stored(extent, id) => {
                chunk.resize(piece.len, 0);
                let read = segments.read(id, extent, 0, &mut chunk);
                read.map_err(|error| match error {
                    ReadError::Fault(fault) => fault,
                    ReadError::Gone => Fault::miss(piece.index),
                })?;
            }
        }
        put(&*file, piece, &mut chunk, job.len, &mut sums).map_err(failed)?;
    }
    file.set_len(job.len).map_err(failed)?;
    file.set_attributes(attributes).map_err(failed)?;
    mirror.flushed(&path, file.sync())?;
    let stat = file.stat().map_err(failed)?;
    Ok(WrittenFile {
        stamp: Stamp::from(&stat),
        sums,
    })
}

/// Writes the blocks of a chunk that hold data, and notes their checksums, which cover what follows to the end of a block too.
fn put(
    file: &dyn TreeFile,
    piece: &Piece,
    chunk: &mut Vec<u8>,
    file_len: u64,
    sums: &mut Vec<u32>,
) -> std::io::Result<()> {
    let base = piece.index * CHUNK as u64;
    let within = (file_len - base).min(CHUNK as u64) as usize;
    let blocks = piece.len.div_ceil(SUM_BLOCK);
    chunk.resize((blocks * SUM_BLOCK).min(within), 0);
    let first = (base / SUM_BLOCK as u64) as usize;
    if sums.len() < first + blocks {
        sums.resize(first + blocks, UNKNOWN);
    }
    let holds = |block: usize| piece.blocks == 0 || piece.blocks >> block & 1 == 1;
    let mut block = 0;
    while block < blocks {
        if !holds(block) {
            block += 1;
            continue;
        }
        let run = (block..blocks).take_while(|block| holds(*block)).count();
        let (start, end) = (
            block * SUM_BLOCK,
            ((block + run) * SUM_BLOCK).min(chunk.len()),
        );
        file.write_all_at(base + start as u64, &chunk[start..end])?;
        for (at, bytes) in chunk[start..end].chunks(SUM_BLOCK).enumerate() {
            sums[first + block + at] = sum_of(bytes);
        }
        block += run;
    }
    Ok(())
}

/// Gives a file one more name, a temporary one, which is to be its only one; a copy of it where the host has no hard links.
///
/// # Errors
/// Those of the disk.
pub(super) fn link(
    mirror: &Mirror,
    from: &[u8],
    attributes: &Attributes,
    number: u64,
) -> Result<(), Fault> {
    let to = temporary(number);
    match mirror.tree().link(from, &to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(on_host(from, error)),
        Err(_) => {
            let copied = copy(mirror.tree(), from, attributes, &to);
            let copy = copied.map_err(|error| on_host(from, error))?;
            mirror.flushed(&to, copy.sync())
        }
    }
}

fn copy(
    tree: &dyn Tree,
    from: &[u8],
    attributes: &Attributes,
    to: &[u8],
) -> std::io::Result<Box<dyn TreeFile>> {
    let (source, copy) = (tree.open(from)?, tree.create(to)?);
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        match source.read_at(at, &mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                copy.write_all_at(at, &buffer[..count])?;
                at += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    copy.set_attributes(attributes)?;
    Ok(copy)
}
