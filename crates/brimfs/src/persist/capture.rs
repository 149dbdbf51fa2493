//! What changed, as records: nodes as they are when the gate is closed, and their content.
//!
//! Content that has a good copy in the segments is referred to where it lies. Other content is copied aside, written
//! to segments when there is enough of it, and referred to then. Little content goes with the records, so that one flush is
//! enough: that of a commit with little in all, and the few blocks of a chunk that differ from a copy of it.

mod early;
mod ended;
mod inlined;

use std::collections::HashMap;

use crate::base::error::Fault;
use crate::base::sync::{Arc, RwLockWriteGuard, Weak};
use crate::cold::segment::{Extent, RECORD_MAX, ReadError, Store};
use crate::journal::{self, Group, Record};
use crate::memory::chunk::CHUNK;
use crate::memory::tier::Identity;
use crate::memory::written::{Look, UnitLook};
use crate::mover::Mover;
use crate::mover::kept::{extent_of, lasting_id};
use crate::namespace::inode::{AHEAD_OVER, FileType, Inode, NOTED, State};
use crate::namespace::volume::ROOT;

use super::known::{Content, Known, Units};
use super::node_record::node_record;
use super::overlay::{Under, append_pages, push_layers};
use super::reserve::Reserve;
use super::staging::{Fresh, Staged, write};

pub(super) use ended::Captured;
pub(super) use inlined::Inlined;

/// Content of a commit that has no more than this to write goes with its records, in bytes.
const INLINE_BYTES: usize = 64 << 10;
/// What is written of a chunk instead of all of it: at most so many pages of 4 KiB at once, and so many before all
/// of it is written once more.
pub(super) const PATCH_PAGES: u32 = 64;
const PATCHES_MAX: u32 = 256;

/// How much a commit copies aside before it writes though the gate is closed, in bytes, where so much may wait for it.
pub(super) fn stage_bytes(pending_max: u64) -> u64 {
    pending_max / 2
}

/// What is asked for beside content where the disk is short, for headers and padding, in bytes.
const FLUSH_BYTES: u64 = 64 << 10;

/// Where the bytes of a unit lie, or will.
#[derive(Clone, Copy)]
enum Place {
    /// As the last commit had it.
    Same(Extent),
    /// There too, but less of it.
    Less(Extent),
    At(Extent),
    /// The number of what was staged.
    Staged(usize),
    /// As the last commit had it, but for blocks that go with the records.
    Patched(Extent),
}

impl Pending {
    /// Whether there is one unit without holes, which was copied aside. A record of bytes knows no holes.
    fn is_one_staged(&self) -> bool {
        matches!(
            self.units[..],
            [Unit {
                index: 0,
                blocks: 0,
                place: Place::Staged(_),
                ..
            }]
        )
    }
}

struct Unit {
    index: u64,
    len: usize,
    blocks: u64,
    identity: Identity,
    place: Place,
}

/// The new content of a file whose units are not all written yet.
struct Pending {
    node: Weak<Inode>,
    number: u64,
    generation: u64,
    len: u64,
    units: Vec<Unit>,
}

/// What becomes of the known nodes if the commit succeeds.
pub(super) enum Change {
    Node(u64),
    Content(u64, Content),
    Gone(u64),
}

/// See the module's documentation.
pub(super) struct Capture<'a> {
    mover: &'a Mover,
    segments: &'a Arc<Store>,
    known: &'a Known,
    /// The space that was promised; none where more is written than that.
    pub(super) promised: Option<&'a mut Reserve>,
    pub(super) group: Group,
    changes: Vec<Change>,
    /// Nodes that were looked at. Nothing here keeps one that is removed: what it took is free at once.
    pub(super) nodes: Vec<Weak<Inode>>,
    /// Those that were looked at before the gate was closed: the generations of their content, by number.
    early: HashMap<u64, u64>,
    pending: Vec<Pending>,
    /// Empty before and after, for the next commit to have: fresh memory costs more than what is copied into it.
    buffer: Vec<u8>,
    /// So much is copied aside before it is written though the gate is closed, in bytes.
    stage_bytes: usize,
    staged: Vec<Staged>,
    fresh: Vec<Fresh>,
    /// References that the commit holds and must give back if it fails.
    held: Vec<Extent>,
    /// Whether all content goes to segments.
    all_to_segments: bool,
    /// Whether content is looked at that did not change.
    is_looking_again: bool,
    inlined: Vec<Inlined>,
    /// Content that goes with the records, in bytes, beside what is very little.
    inline_bytes: u64,
}

impl<'a> Capture<'a> {
    pub(super) fn new(
        mover: &'a Mover,
        segments: &'a Arc<Store>,
        known: &'a Known,
        promised: Option<&'a mut Reserve>,
        buffer: Vec<u8>,
        stage_bytes: usize,
    ) -> Self {
        Capture {
            mover,
            segments,
            known,
            promised,
            group: Group::new(),
            changes: Vec::new(),
            nodes: Vec::new(),
            early: HashMap::new(),
            pending: Vec::new(),
            buffer,
            stage_bytes,
            staged: Vec::new(),
            fresh: Vec::new(),
            held: Vec::new(),
            all_to_segments: false,
            is_looking_again: false,
            inlined: Vec::new(),
            inline_bytes: 0,
        }
    }

    /// From now on all content goes to segments. The gate is closed.
    ///
    /// # Errors
    /// As [`Capture::node`].
    pub(super) fn move_to_segments(&mut self, inlined: &[Inlined]) -> Result<(), Fault> {
        self.all_to_segments = true;
        self.look_again(inlined)
    }

    /// Looks at all nodes of which the journal has content, changed or not: what left memory since lies elsewhere as a
    /// whole. The gate is closed.
    ///
    /// # Errors
    /// As [`Capture::node`].
    pub(super) fn look_again(&mut self, inlined: &[Inlined]) -> Result<(), Fault> {
        self.is_looking_again = true;
        let nodes = inlined.iter().filter_map(|inlined| inlined.node.upgrade());
        let mut nodes: Vec<_> = nodes.collect();
        // A node is among them once for each commit that had something of it.
        nodes.sort_unstable_by_key(|node| node.number());
        nodes.dedup_by_key(|node| node.number());
        for node in nodes {
            node.write_quietly().mode |= NOTED;
            self.node(node)?;
        }
        self.is_looking_again = false;
        Ok(())
    }

    /// Looks at a node, if that was not done yet. The gate is closed.
    ///
    /// # Errors
    /// Those of the disk, where so much is copied aside that it has to be written.
    pub(super) fn node(&mut self, node: Arc<Inode>) -> Result<(), Fault> {
        let state = node.write_quietly();
        match state.mode & NOTED {
            0 => Ok(()),
            _ => self.locked_node(&node, state),
        }
    }

    fn locked_node(
        &mut self,
        node: &Arc<Inode>,
        mut state: RwLockWriteGuard<'_, State>,
    ) -> Result<(), Fault> {
        state.mode &= !NOTED;
        self.nodes.push(Arc::downgrade(node));
        let number = node.number();
        if state.links == 0 {
            return self.gone(number);
        }
        node_record(&mut self.group, node, &state)?;
        self.changes.push(Change::Node(number));
        if node.kind() == FileType::File
            && (self.is_looking_again || self.said_generation(number) != Some(state.generation()))
        {
            self.content(node, &mut state)?;
        }
        Ok(())
    }

    /// A node is no more.
    pub(super) fn gone(&mut self, number: u64) -> Result<(), Fault> {
        let is_known = self.known.contains(number) || self.early.contains_key(&number);
        if number != ROOT && is_known {
            self.group.push(&Record::NodeGone { number })?;
            self.changes.push(Change::Gone(number));
        }
        Ok(())
    }

    fn content(&mut self, node: &Arc<Inode>, state: &mut State) -> Result<(), Fault> {
        let number = node.number();
        let generation = state.generation();
        let who = node.who(state);
        let Some(content) = state.content_mut() else {
            return Ok(());
        };
        let len = content.len();
        let mut units = Vec::new();
        let mut patched = Vec::new();
        let mut little = None;
        content.look_written(&who, &mut |look| {
            match look {
                Look::Little(bytes) => little = Some(bytes.to_vec()),
                Look::Unit(unit) if unit.len == 0 => {}
                Look::Unit(unit) => {
                    let unit = self.unit(node, unit)?;
                    if let Place::Patched(_) = unit.place {
                        patched.push(unit.index);
                    }
                    units.push(unit);
                }
            }
            Ok(())
        })?;
        if !patched.is_empty() {
            for chunk in &patched {
                content.settle_patch(*chunk, true);
            }
            self.inlined.push(Inlined {
                node: Arc::downgrade(node),
                chunks: patched,
            });
        }
        if let Some(bytes) = little {
            self.group.push(&Record::Content(journal::Content {
                node: number,
                whole: true,
                extents: journal::Extents::new(&[]),
            }))?;
            if !bytes.is_empty() {
                self.group.push(&Record::Inline {
                    node: number,
                    offset: 0,
                    bytes: &bytes,
                })?;
            }
            let content = Content {
                generation,
                units: Units::new(),
            };
            self.changes.push(Change::Content(number, content));
            return Ok(());
        }
        self.pending.push(Pending {
            node: Arc::downgrade(node),
            number,
            generation,
            len,
            units,
        });
        if self.buffer.len() >= self.stage_bytes {
            self.flush()?;
        }
        Ok(())
    }

    fn unit(&mut self, node: &Arc<Inode>, unit: UnitLook<'_>) -> Result<Unit, Fault> {
        let beside = |slot| match unit.identity.is_chunk() {
            true => None,
            false => self.mover.copy_of(slot, unit.identity.version),
        };
        let copy = match unit.copy {
            Some(copy) => Some(extent_of(copy.location)),
            None => unit.slot.and_then(beside),
        };
        let is_exact = unit.copy.is_none_or(|copy| copy.is_exact)
            && copy.is_some_and(|copy| copy.len() == unit.len);
        let known = self.known_content(node.number());
        let known = known.and_then(|known| known.unit(unit.index));
        let place = match copy {
            Some(extent) if known == Some(extent) && is_exact => Place::Same(extent),
            Some(extent) if known == Some(extent) => Place::Less(extent),
            Some(extent) if self.segments.retain(extent) => {
                self.held.push(extent);
                Place::At(extent)
            }
            _ if known.is_some() && self.is_patchable(&unit, known) => {
                self.patch(node.number(), &unit)?;
                Place::Patched(known.ok_or_else(|| Fault::miss(unit.index))?)
            }
            _ => match self.under(&unit, known) {
                Some(under) => Place::Staged(self.stage_pages(node, &unit, under)),
                None => Place::Staged(self.stage(node, &unit, copy)?),
            },
        };
        Ok(Unit {
            index: unit.index,
            len: unit.len,
            blocks: unit.blocks,
            identity: match place {
                Place::Staged(_) => name_of(&unit),
                _ => unit.identity,
            },
            place,
        })
    }

    /// Whether a chunk is what is known of it, but for some blocks.
    fn is_patchable(&self, unit: &UnitLook<'_>, known: Option<Extent>) -> bool {
        unit.patch.is_some_and(|patch| {
            let count = patch.pages.count();
            !self.all_to_segments
                && known == Some(extent_of(patch.base))
                && count <= PATCH_PAGES
                && patch.before + count <= PATCHES_MAX
        })
    }

    /// What pages of a chunk come to lie over that leave the journal.
    fn under(&self, unit: &UnitLook<'_>, known: Option<Extent>) -> Option<Under> {
        match self.all_to_segments {
            true => Under::of(self.segments, unit, known),
            false => None,
        }
    }

    /// Says in records which bytes of a chunk are other ones.
    fn patch(&mut self, number: u64, unit: &UnitLook<'_>) -> Result<(), Fault> {
        let pages = unit.patch.map(|patch| patch.pages).unwrap_or_default();
        for (start, end) in pages.runs() {
            let bytes = unit.bytes.part((start, end));
            if bytes.is_empty() {
                continue;
            }
            self.group.push(&Record::Inline {
                node: number,
                offset: unit.index * CHUNK as u64 + start as u64,
                bytes,
            })?;
            self.inline_bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Copies the bytes of a unit aside.
    fn stage(
        &mut self,
        node: &Arc<Inode>,
        unit: &UnitLook<'_>,
        copy: Option<Extent>,
    ) -> Result<usize, Fault> {
        let start = self.buffer.len();
        if !unit.bytes.append_to(&mut self.buffer) {
            // It is cold, and its copy has as many references as can be counted.
            self.buffer.resize(start + unit.len, 0);
            let id = lasting_id(unit.identity);
            let extent = copy.ok_or_else(|| Fault::miss(unit.index))?;
            self.segments
                .read(id, extent, 0, &mut self.buffer[start..])
                .map_err(|error| match error {
                    ReadError::Fault(fault) => fault,
                    ReadError::Gone => Fault::miss(unit.index),
                })?;
        }
        self.staged.push(Staged {
            node: Arc::downgrade(node),
            index: unit.index,
            identity: name_of(unit),
            start,
            len: unit.len,
            under: None,
        });
        Ok(self.fresh.len() + self.staged.len() - 1)
    }

    /// Copies pages of a chunk aside.
    fn stage_pages(&mut self, node: &Arc<Inode>, unit: &UnitLook<'_>, under: Under) -> usize {
        let start = self.buffer.len();
        append_pages(unit, under.pages, &mut self.buffer);
        self.staged.push(Staged {
            node: Arc::downgrade(node),
            index: unit.index,
            identity: unit.own.unwrap_or(unit.identity),
            start,
            len: self.buffer.len() - start,
            under: Some(under),
        });
        self.fresh.len() + self.staged.len() - 1
    }

    /// Writes all that was copied aside. Nobody needs it to be durable yet.
    fn flush(&mut self) -> Result<(), Fault> {
        let bytes = self.buffer.len() as u64 + FLUSH_BYTES;
        let staged = &mut self.staged;
        let mut write = || write(self.segments, &self.buffer, staged);
        let written = match &mut self.promised {
            Some(reserve) => reserve.spend(bytes, write),
            None => write(),
        }?;
        self.held.extend(written.iter().map(|fresh| fresh.extent));
        self.fresh.extend(written);
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left, and says in records where all content lies.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        self.settle_content()
    }

    /// Has the records say where all content lies that was looked at so far.
    fn settle_content(&mut self) -> Result<(), Fault> {
        let is_little = self.fresh.is_empty() && self.buffer.len() <= INLINE_BYTES;
        if is_little && !self.all_to_segments && self.pending.iter().all(Pending::is_one_staged) {
            return self.inline();
        }
        self.flush()?;
        for pending in std::mem::take(&mut self.pending) {
            self.place(pending)?;
        }
        Ok(())
    }

    /// Has all that was copied aside go with the records.
    fn inline(&mut self) -> Result<(), Fault> {
        self.inline_bytes += self.buffer.len() as u64;
        for (pending, staged) in self.pending.drain(..).zip(self.staged.drain(..)) {
            self.group.push(&Record::Content(journal::Content {
                node: pending.number,
                whole: true,
                extents: journal::Extents::new(&[]),
            }))?;
            self.group.push(&Record::Inline {
                node: pending.number,
                offset: 0,
                bytes: &self.buffer[staged.start..staged.start + staged.len],
            })?;
            self.inlined.push(Inlined {
                node: pending.node,
                chunks: Vec::new(),
            });
            let content = Content {
                generation: pending.generation,
                units: Units::new(),
            };
            self.changes.push(Change::Content(pending.number, content));
        }
        self.buffer.clear();
        Ok(())
    }

    fn place(&mut self, pending: Pending) -> Result<(), Fault> {
        let Pending {
            node: _,
            number,
            generation,
            len,
            units,
        } = pending;
        let extent_at = |place| match place {
            Place::Same(extent)
            | Place::Less(extent)
            | Place::At(extent)
            | Place::Patched(extent) => extent,
            Place::Staged(number) => self.fresh[number].extent,
        };
        let all: Units = units
            .iter()
            .map(|unit| (unit.index, extent_at(unit.place)))
            .collect();
        let content = Content {
            generation,
            units: all,
        };
        // What had no units may have had content that went with the records: all of it is replaced.
        let known = self.known_content(number);
        let known = known.filter(|known| !known.units.is_empty());
        let whole = known.is_none();
        for (index, _) in known.map_or(&[][..], |known| &known.units) {
            if content.unit(*index).is_none() {
                self.group.push(&Record::Hole {
                    node: number,
                    offset: index * CHUNK as u64,
                    len: CHUNK as u64,
                })?;
            }
        }
        let said: Vec<(&Unit, Extent)> = units
            .iter()
            .filter(|unit| whole || !matches!(unit.place, Place::Same(_) | Place::Patched(_)))
            .map(|unit| (unit, extent_at(unit.place)))
            .collect();
        let extents: Vec<journal::Extent> = said
            .iter()
            .map(|(unit, extent)| entry(self.segments, unit, *extent, len))
            .collect();
        // A record must not be longer than the journal takes.
        let mut is_first = true;
        for some in extents.chunks(EXTENTS_MAX) {
            self.group.push(&Record::Content(journal::Content {
                node: number,
                whole: whole && is_first,
                extents: journal::Extents::new(some),
            }))?;
            is_first = false;
        }
        if whole && extents.is_empty() {
            self.group.push(&Record::Content(journal::Content {
                node: number,
                whole,
                extents: journal::Extents::new(&[]),
            }))?;
        }
        for (unit, extent) in said {
            push_layers(&mut self.group, self.segments, (number, unit.index), extent)?;
        }
        self.changes.push(Change::Content(number, content));
        Ok(())
    }
}

/// By which name bytes are written: much of it by that of the chunk, which can know them as a copy then.
pub(super) fn name_of(unit: &UnitLook<'_>) -> Identity {
    let own = unit.own.filter(|_| unit.len as u64 > AHEAD_OVER);
    own.unwrap_or(unit.identity)
}

/// The most extents in one record.
pub(super) const EXTENTS_MAX: usize = 64 << 10;

fn entry(segments: &Store, unit: &Unit, extent: Extent, file_len: u64) -> journal::Extent {
    let offset = unit.index * CHUNK as u64;
    let (id, record) = match segments.stack_of(extent) {
        Some(stack) => (stack.id, stack.base),
        None => (lasting_id(unit.identity), extent),
    };
    let (segment, place, stored) = record.to_parts();
    debug_assert!(offset < file_len && unit.len <= RECORD_MAX);
    journal::Extent {
        offset,
        len: unit.len as u64,
        segment,
        place,
        stored,
        record_len: record.len() as u64,
        owner: id.inode,
        index: id.index,
        generation: id.generation,
        blocks: unit.blocks,
    }
}
