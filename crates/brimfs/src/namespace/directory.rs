//! The map of one directory: names in the order of their creation, found by hash.
//!
//! Sixteen bytes an entry, five for the index, and the bytes of the name. What
//! the map occupies beyond a small first allotment is charged when it grows.

use std::mem;

use hashbrown::HashTable;

use crate::base::error::{ErrorKind, Fault};
use crate::base::hash::hash_bytes;
use crate::base::sync::{Arc, Weak};
use crate::memory::budget::Budget;
use crate::namespace::inode::Inode;

/// What every directory may hold before its map is charged: part of a directory's price.
const FREE_ENTRIES: usize = 8;
const FREE_NAMES: usize = 128;

/// Entries, or bytes of names, from which on a directory counts as large.
const LARGE: usize = 4096;

/// What a directory costs beside its inode, in bytes.
pub(crate) const DIRECTORY_COST: u64 = (size_of::<Directory>()
    + FREE_ENTRIES * (size_of::<Entry>() + INDEX_COST * 2)
    + FREE_NAMES) as u64;

/// Bytes of the index per place: a number and a control byte.
const INDEX_COST: usize = 5;

#[derive(Debug)]
struct Entry {
    /// `None` once the name is gone; the place is reused when the map is compacted.
    node: Option<Arc<Inode>>,
    /// Where the name is in `names`: one byte of length, then the bytes.
    name: u32,
    /// Grows with every entry, so that a listing can go on where it stopped.
    serial: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Directory {
    entries: Vec<Entry>,
    index: HashTable<u32>,
    names: Vec<u8>,
    live: u32,
    next_serial: u32,
    charged: u64,
    pub(crate) parent: Weak<Inode>,
    pub(crate) subdirectories: u32,
    /// Set when the directory itself was removed: nothing may be created in it any more.
    pub(crate) removed: bool,
    /// Changes when serials are given anew.
    pub(crate) numbering: u16,
    /// Grows with every change of a name.
    pub(crate) stamp: u64,
}

impl Directory {
    pub(crate) fn new(parent: Weak<Inode>) -> Self {
        Directory {
            entries: Vec::new(),
            index: HashTable::new(),
            names: Vec::new(),
            live: 0,
            next_serial: 0,
            charged: 0,
            parent,
            subdirectories: 0,
            removed: false,
            numbering: 0,
            stamp: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.live as usize
    }

    /// What the map is charged for, in bytes.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }

    #[inline]
    fn name_at(names: &[u8], at: u32) -> &[u8] {
        let at = at as usize;
        let len = names[at] as usize;
        &names[at + 1..at + 1 + len]
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<usize> {
        let found = self.index.find(hash_bytes(name), |place| {
            Self::name_at(&self.names, self.entries[*place as usize].name) == name
        })?;
        Some(*found as usize)
    }

    #[inline]
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<Inode>> {
        self.entries[self.find(name)?].node.as_ref()
    }

    /// Makes and pays for room for one more name. Changes nothing visible.
    pub(crate) fn reserve(&mut self, name: &[u8], budget: &Budget) -> Result<(), Fault> {
        if self.next_serial == u32::MAX || self.entries.len() >= (u32::MAX - 1) as usize {
            self.compact();
        }
        if self.names.len() + 1 + name.len() > u32::MAX as usize {
            return Err(Fault::text(
                ErrorKind::NodeLimit,
                "the names of one directory take more than 4 GiB",
            ));
        }
        let full = self.entries.len() == self.entries.capacity()
            || self.names.len() + 1 + name.len() > self.names.capacity()
            || self.index.len() == self.index.capacity();
        if full {
            self.grow(name, budget)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn grow(&mut self, name: &[u8], budget: &Budget) -> Result<(), Fault> {
        let doubled = |len: usize, capacity: usize, more: usize, least: usize| {
            if len + more <= capacity {
                capacity
            } else {
                // A large directory grows by half, so that less of it stands empty.
                let grown = capacity + capacity / if capacity < LARGE { 1 } else { 2 };
                grown.max(len + more).max(least)
            }
        };
        let entries = doubled(self.entries.len(), self.entries.capacity(), 1, FREE_ENTRIES);
        let more = 1 + name.len();
        let names = doubled(self.names.len(), self.names.capacity(), more, FREE_NAMES);
        let places = if self.index.len() == self.index.capacity() {
            (self.index.len() + 1).max(FREE_ENTRIES - 1)
        } else {
            self.index.len()
        };
        // While the parts move, both of their places exist; an upper bound of that is
        // reserved first and set right afterwards.
        let bound = (entries * size_of::<Entry>() + names + places.next_power_of_two() * 20) as u64;
        budget.reserve_name_for(bound, self.charged)?;
        self.entries.reserve_exact(entries - self.entries.len());
        self.names.reserve_exact(names - self.names.len());
        let (stored, listed) = (&self.names, &self.entries);
        self.index.reserve(places - self.index.len(), |place| {
            hash_bytes(Self::name_at(stored, listed[*place as usize].name))
        });
        self.charged += bound;
        self.settle(budget);
        Ok(())
    }

    fn footprint(&self) -> u64 {
        let entries = self.entries.capacity().saturating_sub(FREE_ENTRIES) * size_of::<Entry>();
        let names = self.names.capacity().saturating_sub(FREE_NAMES);
        let index = self
            .index
            .allocation_size()
            .saturating_sub(FREE_ENTRIES * INDEX_COST * 2);
        (entries + names + index) as u64
    }

    /// Brings the charge to what the map occupies, which is never more than it is charged for.
    fn settle(&mut self, budget: &Budget) {
        let footprint = self.footprint().min(self.charged);
        budget.release_name(self.charged - footprint);
        self.charged = footprint;
    }

    /// Adds a name that is not there; `reserve` was called for it.
    pub(crate) fn insert(&mut self, name: &[u8], node: Arc<Inode>) {
        debug_assert!(!name.is_empty() && name.len() <= 255);
        let place = self.entries.len() as u32;
        let at = self.names.len() as u32;
        self.names.push(name.len() as u8);
        self.names.extend_from_slice(name);
        self.entries.push(Entry {
            node: Some(node),
            name: at,
            serial: self.next_serial,
        });
        self.next_serial += 1;
        self.live += 1;
        self.stamp += 1;
        let (stored, listed) = (&self.names, &self.entries);
        self.index.insert_unique(hash_bytes(name), place, |place| {
            hash_bytes(Self::name_at(stored, listed[*place as usize].name))
        });
    }

    /// Lets an existing name point to another node; returns the one before.
    pub(crate) fn replace(&mut self, name: &[u8], node: Arc<Inode>) -> Option<Arc<Inode>> {
        let place = self.find(name)?;
        self.stamp += 1;
        self.entries[place].node.replace(node)
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, name: &[u8], budget: &Budget) -> Option<Arc<Inode>> {
        self.remove_if(name, budget, |_| Ok(true)).ok().flatten()
    }

    /// Takes a name out if `check` says so of its node; `None` if it does not.
    ///
    /// # Errors
    /// What `check` answers; [`ErrorKind::NotFound`].
    pub(crate) fn remove_if(
        &mut self,
        name: &[u8],
        budget: &Budget,
        check: impl FnOnce(&Inode) -> Result<bool, ErrorKind>,
    ) -> Result<Option<Arc<Inode>>, ErrorKind> {
        let (stored, listed) = (&self.names, &mut self.entries);
        let found = self
            .index
            .find_entry(hash_bytes(name), |place| {
                Self::name_at(stored, listed[*place as usize].name) == name
            })
            .map_err(|_| ErrorKind::NotFound)?;
        let node = &mut listed[*found.get() as usize].node;
        if !check(node.as_ref().ok_or(ErrorKind::NotFound)?)? {
            return Ok(None);
        }
        let node = node.take();
        found.remove();
        self.live -= 1;
        self.stamp += 1;
        let dead = self.entries.len() - self.live as usize;
        if self.live == 0 {
            self.reset(budget);
        } else if dead > 32 && dead > self.live as usize {
            self.compact();
            self.settle(budget);
        }
        Ok(node)
    }

    /// Empties the map down to its first allotment.
    fn reset(&mut self, budget: &Budget) {
        let grown = self.entries.capacity() > FREE_ENTRIES
            || self.names.capacity() > FREE_NAMES
            || self.charged > 0;
        if grown {
            self.entries = Vec::new();
            self.names = Vec::new();
            self.index = HashTable::new();
            self.settle(budget);
        } else {
            self.entries.clear();
            self.names.clear();
            self.index.clear();
        }
    }

    /// Drops the places of removed names, keeping order and serials.
    fn compact(&mut self) {
        let mut names = Vec::with_capacity(self.names.len() / 2);
        self.entries.retain_mut(|entry| {
            let name = Self::name_at(&self.names, entry.name);
            let keep = entry.node.is_some();
            if keep {
                let at = names.len() as u32;
                names.push(name.len() as u8);
                names.extend_from_slice(name);
                entry.name = at;
            }
            keep
        });
        self.names = names;
        self.names.shrink_to_fit();
        self.entries.shrink_to(self.entries.len() * 2);
        if self.next_serial == u32::MAX {
            // Listings under way may repeat or miss names once in four thousand million.
            for (serial, entry) in self.entries.iter_mut().enumerate() {
                entry.serial = serial as u32;
            }
            self.next_serial = self.entries.len() as u32;
            self.numbering = self.numbering.wrapping_add(1);
        }
        self.index.clear();
        let (stored, listed) = (&self.names, &self.entries);
        let hash = |place: &u32| hash_bytes(Self::name_at(stored, listed[*place as usize].name));
        for place in 0..listed.len() as u32 {
            self.index.insert_unique(hash(&place), place, hash);
        }
        self.index.shrink_to(self.entries.len() * 2, hash);
    }

    /// Names and nodes from `serial` on, in order, with the serial to go on from after each.
    pub(crate) fn iter_from(&self, serial: u32) -> impl Iterator<Item = (&[u8], &Arc<Inode>, u32)> {
        let start = if serial == 0 {
            0
        } else {
            self.entries.partition_point(|entry| entry.serial < serial)
        };
        self.entries[start..].iter().filter_map(|entry| {
            let node = entry.node.as_ref()?;
            Some((
                Self::name_at(&self.names, entry.name),
                node,
                entry.serial.saturating_add(1),
            ))
        })
    }

    /// The same names in the same order, with the nodes that `twin` gives for these. What the map takes is reserved.
    ///
    /// # Errors
    /// Those of `twin`; [`ErrorKind::MemoryLimit`].
    pub(crate) fn twin(
        &self,
        parent: Weak<Inode>,
        budget: &Budget,
        mut twin: impl FnMut(&Arc<Inode>) -> Result<Arc<Inode>, Fault>,
    ) -> Result<Self, Fault> {
        let bound = self.footprint();
        budget.reserve_name_for(bound, 0)?;
        let mut entries = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let node = entry.node.as_ref().map(&mut twin).transpose();
            let node = node.inspect_err(|_| budget.release_name(bound))?;
            entries.push(Entry { node, ..*entry });
        }
        let mut made = Directory {
            entries,
            index: self.index.clone(),
            names: self.names.clone(),
            charged: bound,
            parent,
            ..*self
        };
        made.settle(budget);
        Ok(made)
    }

    /// Goes on where another map of the same directory ends, for those who list it or remember how it was.
    pub(crate) fn follow(&mut self, before: &Directory) {
        self.numbering = before.numbering.wrapping_add(1);
        self.stamp = before.stamp + 1;
    }

    /// Gives back what the map is charged for; returns the nodes that it had.
    pub(crate) fn give_up(mut self, budget: &Budget) -> Vec<Arc<Inode>> {
        let nodes = self.take_nodes().collect();
        budget.release_name(mem::take(&mut self.charged));
        nodes
    }

    /// Takes all nodes out of a directory that stays.
    pub(crate) fn take_all(&mut self, budget: &Budget) -> Vec<Arc<Inode>> {
        let nodes = self.take_nodes().collect();
        self.removed = true;
        self.stamp += 1;
        self.reset(budget);
        nodes
    }

    /// Takes all nodes out, for dropping a tree without recursion.
    pub(crate) fn take_nodes(&mut self) -> impl Iterator<Item = Arc<Inode>> + use<> {
        self.live = 0;
        self.index = HashTable::new();
        std::mem::take(&mut self.entries)
            .into_iter()
            .filter_map(|entry| entry.node)
    }
}
