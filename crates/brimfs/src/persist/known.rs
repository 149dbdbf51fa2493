//! What is durable of each file's content: which generation, and where its units lie.
//!
//! The last commit's state, not that of memory. Each extent here is one reference to its record.

use smallvec::SmallVec;

use crate::cold::segment::Extent;

use super::numbers::Numbers;

/// The units of a file, in its order. Most have one.
pub(super) type Units = SmallVec<[(u64, Extent); 1]>;

/// The durable content of one file.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Of the content in memory when it was captured.
    pub(super) generation: u64,
    pub(super) units: Units,
}

impl Content {
    pub(super) fn unit(&self, index: u64) -> Option<Extent> {
        let at = self.units.binary_search_by_key(&index, |unit| unit.0);
        at.ok().map(|at| self.units[at].1)
    }
}

/// All nodes that are durable, by number. What is no file has no content here.
#[derive(Debug, Default)]
pub(super) struct Known {
    nodes: Numbers<Option<Content>>,
}

impl Known {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.nodes.get(number).is_some()
    }

    pub(super) fn content(&self, number: u64) -> Option<&Content> {
        self.nodes.get(number)?.as_ref()
    }

    /// Memory that this takes, but for units of files that have many, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        self.nodes.footprint()
    }

    /// Gives memory back that is mostly empty.
    pub(super) fn shrink(&mut self) {
        self.nodes.shrink();
    }

    /// A node without content, if it is not known already.
    pub(super) fn add(&mut self, number: u64) {
        self.nodes.get_or_insert_with(number, || None);
    }

    /// Replaces the content of a file. Adds the extents that it had and has no more to `freed`.
    pub(super) fn replace(&mut self, number: u64, content: Content, freed: &mut Vec<Extent>) {
        let known = self.nodes.get_or_insert_with(number, || None);
        if let Some(old) = known {
            let is_gone = |unit: &&(u64, Extent)| content.unit(unit.0) != Some(unit.1);
            freed.extend(old.units.iter().filter(is_gone).map(|unit| unit.1));
        }
        *known = Some(content);
    }

    /// Calls `visit` with every node, unit and extent.
    pub(super) fn each(&self, mut visit: impl FnMut(u64, u64, Extent)) {
        for (number, content) in self.nodes.iter() {
            for (index, extent) in content.iter().flat_map(|content| &content.units) {
                visit(number, *index, *extent);
            }
        }
    }

    /// A unit lies elsewhere from now on; says where it lay.
    pub(super) fn swing(&mut self, number: u64, index: u64, new: Extent) -> Option<Extent> {
        let content = self.nodes.get_mut(number)?.as_mut()?;
        let at = content.units.binary_search_by_key(&index, |unit| unit.0);
        let unit = content.units.get_mut(at.ok()?)?;
        Some(std::mem::replace(&mut unit.1, new))
    }

    /// Forgets a node. Adds the extents that it had to `freed`.
    pub(super) fn remove(&mut self, number: u64, freed: &mut Vec<Extent>) {
        if let Some(Some(old)) = self.nodes.remove(number) {
            freed.extend(old.units.iter().map(|unit| unit.1));
        }
    }
}
