//! What changed in memory since the last commit: looked at while the gate is closed, content referred to or copied aside.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::base::error::Fault;
use crate::base::sync::{Arc, Weak};
use crate::cold::host_files::Spot;
use crate::cold::segment::{Extent, Id, RECORD_MAX, Record as Written, Store};
use crate::io::tree::Attributes;
use crate::journal::{Group, Record};
use crate::memory::tier::{Identity, Location};
use crate::memory::written::{Look as UnitLook, UnitLook as Unit};
use crate::mover::Mover;
use crate::mover::kept::{extent_of, lasting_id};
use crate::namespace::changes::Batch;
use crate::namespace::inode::{Body, FileType, Inode, NOTED, State};
use crate::namespace::times::Timestamp;

use super::super::capture::name_of;
use super::super::node_record::node_record;
use super::names::Names;
use super::steps::moment;

/// Where the bytes of a unit are to be had once the gate is open.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// Copied aside, from here on.
    Staged(usize),
    /// In the store.
    Stored(Extent, Id),
}

/// A unit of a file that is to be written.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) index: u64,
    pub(super) len: usize,
    /// The blocks that hold data; 0 for all.
    pub(super) blocks: u64,
    pub(super) identity: Identity,
    pub(super) source: Source,
    /// The copy that the unit knows itself.
    pub(super) copy: Option<Location>,
    /// It is too little to be a unit.
    pub(super) is_little: bool,
}

/// A file whose content is to be written.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) node: Weak<Inode>,
    pub(super) generation: u64,
    pub(super) len: u64,
    pub(super) pieces: SmallVec<[Piece; 1]>,
}

/// What a node is beside its content.
#[derive(Debug)]
pub(super) struct Traits {
    pub(super) kind: FileType,
    pub(super) attributes: Attributes,
    /// Of a symbolic link.
    pub(super) target: Box<[u8]>,
}

/// See the module's documentation.
pub(super) struct Look<'a> {
    mover: &'a Mover,
    segments: &'a Arc<Store>,
    names: &'a Names,
    pub(super) group: Group,
    /// All nodes that were looked at, for the next commit should this one fail.
    pub(super) nodes: Vec<Weak<Inode>>,
    pub(super) traits: BTreeMap<u64, Traits>,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) buffer: Vec<u8>,
    /// So much is copied aside before it is written to segments though the gate is closed, in bytes.
    stage_bytes: usize,
    /// References that the commit holds until it is done.
    pub(super) held: Vec<Extent>,
    staged: Vec<(u64, usize)>,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        mover: &'a Mover,
        segments: &'a Arc<Store>,
        names: &'a Names,
        stage_bytes: usize,
    ) -> Self {
        Look {
            mover,
            segments,
            names,
            group: Group::new(),
            nodes: Vec::new(),
            traits: BTreeMap::new(),
            jobs: BTreeMap::new(),
            buffer: Vec::new(),
            stage_bytes,
            held: Vec::new(),
            staged: Vec::new(),
        }
    }

    /// Looks at all of a batch. The gate is closed.
    ///
    /// # Errors
    /// Those of the disk, where so much is copied aside that it has to be written.
    pub(super) fn at(&mut self, batch: &Batch, nameless: &[u64]) -> Result<(), Fault> {
        for node in batch.nodes.iter().filter_map(Weak::upgrade) {
            self.node(&node)?;
        }
        for number in &batch.gone {
            self.gone(*number)?;
        }
        for number in nameless {
            self.group.push(&Record::NodeGone { number: *number })?;
        }
        Ok(())
    }

    /// A node is no more. The journal knows those that the host had.
    fn gone(&mut self, number: u64) -> Result<(), Fault> {
        match self.names.node(number) {
            Some(_) => self.group.push(&Record::NodeGone { number }),
            None => Ok(()),
        }
    }

    fn node(&mut self, node: &Arc<Inode>) -> Result<(), Fault> {
        let mut state = node.write_quietly();
        if state.mode & NOTED == 0 {
            return Ok(());
        }
        state.mode &= !NOTED;
        self.nodes.push(Arc::downgrade(node));
        let number = node.number();
        if state.links == 0 {
            return self.gone(number);
        }
        node_record(&mut self.group, node, &state)?;
        self.traits.insert(number, traits(node, &state));
        let seen = self.names.node(number).map(|seen| seen.generation);
        if node.kind() == FileType::File && seen != Some(state.generation()) {
            self.content(node, &mut state)?;
        }
        Ok(())
    }

    fn content(&mut self, node: &Arc<Inode>, state: &mut State) -> Result<(), Fault> {
        let (number, generation) = (node.number(), state.generation());
        let who = node.who(state);
        let Some(content) = state.content_mut() else {
            return Ok(());
        };
        let len = content.len();
        let mut pieces = SmallVec::new();
        content.look_written(&who, &mut |look| {
            match look {
                UnitLook::Little([]) => {}
                UnitLook::Little(bytes) => {
                    pieces.push(Piece {
                        index: 0,
                        len: bytes.len(),
                        blocks: 0,
                        identity: who.identity,
                        source: Source::Staged(self.buffer.len()),
                        copy: None,
                        is_little: true,
                    });
                    self.buffer.extend_from_slice(bytes);
                    self.staged.push((number, pieces.len() - 1));
                }
                UnitLook::Unit(unit) if unit.len == 0 => {}
                UnitLook::Unit(unit) => {
                    let piece = self.unit(unit)?;
                    if let Source::Staged(_) = piece.source {
                        self.staged.push((number, pieces.len()));
                    }
                    pieces.push(piece);
                }
            }
            Ok(())
        })?;
        let job = Job {
            node: Arc::downgrade(node),
            generation,
            len,
            pieces,
        };
        self.jobs.insert(number, job);
        if self.buffer.len() >= self.stage_bytes {
            self.flush()?;
        }
        Ok(())
    }

    fn unit(&mut self, unit: Unit<'_>) -> Result<Piece, Fault> {
        let beside = |slot| match unit.identity.is_chunk() {
            true => None,
            false => self.mover.copy_of(slot, unit.identity.version),
        };
        let own = unit.copy.map(|copy| copy.location);
        let copy = own.map(extent_of).or_else(|| unit.slot.and_then(beside));
        let source = match copy {
            Some(extent)
                if extent.len() >= unit.len
                    && self.names.is_kept(extent)
                    && self.segments.retain(extent) =>
            {
                self.held.push(extent);
                Source::Stored(extent, lasting_id(unit.identity))
            }
            _ => {
                let start = self.buffer.len();
                if !unit.bytes.append_to(&mut self.buffer) {
                    return Err(Fault::miss(unit.index));
                }
                Source::Staged(start)
            }
        };
        Ok(Piece {
            index: unit.index,
            len: unit.len,
            blocks: unit.blocks,
            identity: match source {
                Source::Staged(_) => name_of(&unit),
                Source::Stored(..) => unit.identity,
            },
            source,
            copy: own,
            is_little: false,
        })
    }

    /// Writes what was copied aside to segments: there is more of it than memory should hold.
    fn flush(&mut self) -> Result<(), Fault> {
        let mut places = Vec::new();
        for (number, at) in &self.staged {
            let piece = &self.jobs[number].pieces[*at];
            if let Source::Staged(start) = piece.source {
                debug_assert!(piece.len <= RECORD_MAX);
                places.push((lasting_id(piece.identity), start..start + piece.len));
            }
        }
        let parts: Vec<[&[u8]; 1]> = places
            .iter()
            .map(|(_, range)| [&self.buffer[range.clone()]])
            .collect();
        let records: Vec<Written<'_>> = places
            .iter()
            .zip(&parts)
            .map(|((id, _), parts)| Written { id: *id, parts })
            .collect();
        let extents = self.segments.append(&records)?;
        drop(records);
        for (((number, at), (id, _)), extent) in self.staged.drain(..).zip(&places).zip(extents) {
            self.held.push(extent);
            if let Some(job) = self.jobs.get_mut(&number) {
                job.pieces[at].source = Source::Stored(extent, *id);
            }
        }
        self.buffer.clear();
        Ok(())
    }
}

fn traits(node: &Arc<Inode>, state: &State) -> Traits {
    let known = node.describe(state);
    let time = |time: Timestamp| crate::journal::Time {
        seconds: time.seconds,
        nanos: time.nanos,
    };
    let modified = match node.kind() {
        FileType::File => Some(moment(time(known.modified()))),
        _ => None,
    };
    Traits {
        kind: node.kind(),
        attributes: Attributes {
            mode: known.mode() & 0o7777,
            owner: (known.uid(), known.gid()),
            modified,
        },
        target: match &state.body {
            Body::Symlink(target) => target.clone(),
            _ => Box::default(),
        },
    }
}

/// What names lead to after the batch, of those that changed.
pub(super) fn changed_names(names: &Group) -> Result<BTreeMap<Spot, Option<u64>>, Fault> {
    let mut changed = BTreeMap::new();
    for record in names.records() {
        match record {
            Ok(Record::Entry {
                directory,
                name,
                child,
            }) => {
                changed.insert((directory, name.into()), Some(child));
            }
            Ok(Record::EntryGone { directory, name }) => {
                changed.insert((directory, name.into()), None);
            }
            Ok(_) => {}
            Err(error) => return Err(super::super::corrupt(error.to_string())),
        }
    }
    Ok(changed)
}
