//! Content in several records: one that holds all of it, and some that lie over it and hold pages.
//!
//! A stack has an extent of its own, by which it is read, retained and released like a record; that extent is never
//! written down. It holds one reference to each of its records, and gives them back when it dies. Who moves a record swaps
//! the stacks that have it. Its lock is a leaf.

use crate::base::error::{ErrorKind, Fault};
use crate::base::pages::Pages;
use crate::base::sync::{Arc, Mutex};

use super::Store;
use super::format::{Extent, Id};
use super::reader::{Read, ReadError};

/// A record with pages that lie over others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layer {
    pub(crate) id: Id,
    pub(crate) extent: Extent,
    /// As the record holds them, one behind the other.
    pub(crate) pages: Pages,
}

/// The records of a content; later layers take precedence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stack {
    /// The record that is as long as the content.
    pub(crate) id: Id,
    pub(crate) base: Extent,
    pub(crate) layers: Vec<Layer>,
}

impl Stack {
    pub(crate) fn records(&self) -> impl Iterator<Item = Extent> {
        let layers = self.layers.iter().map(|layer| layer.extent);
        std::iter::once(self.base).chain(layers)
    }

    /// Pages in all layers, each as often as it is there.
    pub(crate) fn pages(&self) -> u32 {
        self.layers.iter().map(|layer| layer.pages.count()).sum()
    }

    /// The same where records lie elsewhere, of which `to` says where.
    pub(crate) fn moved(&self, to: impl Fn(Extent) -> Option<Extent>) -> Stack {
        let mut stack = self.clone();
        let layers = stack.layers.iter_mut().map(|layer| &mut layer.extent);
        for extent in std::iter::once(&mut stack.base).chain(layers) {
            *extent = to(*extent).unwrap_or(*extent);
        }
        stack
    }
}

#[derive(Debug)]
struct Entry {
    stack: Arc<Stack>,
    references: u32,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Stacks(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// What the layers take, in bytes.
    heap: u64,
}

/// The same for every stack of so many layers: one that is swapped for another has as many.
fn heap_bytes(stack: &Stack) -> u64 {
    (size_of::<Stack>() + stack.layers.len() * size_of::<Layer>()) as u64
}

impl Table {
    fn get(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(number as usize)?.as_mut()
    }
}

impl Stacks {
    fn add(&self, mut stack: Stack) -> Option<Extent> {
        stack.layers.shrink_to_fit();
        let mut table = self.0.lock();
        let len = stack.base.len();
        let number = match table.free.last() {
            Some(number) => *number,
            None => u32::try_from(table.entries.len()).ok()?,
        };
        let extent = Extent::of_stack(number, len)?;
        table.heap += heap_bytes(&stack);
        let entry = Some(Entry {
            stack: Arc::new(stack),
            references: 1,
        });
        match table.free.pop() {
            Some(number) => table.entries[number as usize] = entry,
            None => table.entries.push(entry),
        }
        Some(extent)
    }

    fn get(&self, number: u32) -> Option<Arc<Stack>> {
        let mut table = self.0.lock();
        table.get(number).map(|entry| entry.stack.clone())
    }

    pub(super) fn retain(&self, number: u32) -> bool {
        let mut table = self.0.lock();
        let entry = table.get(number);
        let more = entry.and_then(|entry| {
            entry.references = entry.references.checked_add(1)?;
            Some(())
        });
        more.is_some()
    }

    /// A reference less. The stack, if that was the last one.
    fn release(&self, number: u32) -> Option<Option<Arc<Stack>>> {
        let mut table = self.0.lock();
        let entry = table.get(number)?;
        entry.references -= 1;
        if entry.references > 0 {
            return Some(None);
        }
        let dead = table.entries[number as usize].take()?;
        table.heap -= heap_bytes(&dead.stack);
        table.free.push(number);
        Some(Some(dead.stack))
    }

    /// The references of each stack, by number. For tests.
    ///
    /// # Errors
    /// What is counted of the memory that they take is wrong.
    pub(super) fn counts(&self) -> Result<Vec<(u32, u32)>, String> {
        let table = self.0.lock();
        let there = table.entries.iter().flatten();
        let heap: u64 = there.map(|entry| heap_bytes(&entry.stack)).sum();
        if heap != table.heap {
            return Err(format!("stacks take {heap} bytes and not {}", table.heap));
        }
        let numbered = table.entries.iter().enumerate();
        Ok(numbered
            .filter_map(|(number, entry)| Some((number as u32, entry.as_ref()?.references)))
            .collect())
    }

    /// What all stacks lie in, each record as often as it is in one. For tests.
    pub(super) fn records(&self) -> Vec<Extent> {
        let table = self.0.lock();
        let there = table.entries.iter().flatten();
        there.flat_map(|entry| entry.stack.records()).collect()
    }

    /// What the table takes, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        let table = self.0.lock();
        let entries = table.entries.capacity() * size_of::<Option<Entry>>();
        table.heap + (entries + table.free.capacity() * size_of::<u32>()) as u64
    }
}

impl Store {
    /// Has several records count as one. The stack has one reference then, and takes over one to each of its records.
    ///
    /// # Errors
    /// [`ErrorKind::DiskLimit`] if there are more stacks than can be told apart: the references are the caller's still.
    pub(crate) fn pile(&self, stack: Stack) -> Result<Extent, Fault> {
        self.stacks.add(stack).ok_or_else(|| {
            let text = "a store has room for 2^30 chunks with pages that lie over them";
            Fault::text(ErrorKind::DiskLimit, text)
        })
    }

    /// The records of a stack; nothing for any other extent.
    pub(crate) fn stack_of(&self, extent: Extent) -> Option<Arc<Stack>> {
        self.stacks.get(extent.stack()?)
    }

    /// All stacks that have some record of which `is_wanted` is true, with their extents.
    pub(crate) fn stacks_with(
        &self,
        is_wanted: impl Fn(Extent) -> bool,
    ) -> Vec<(Extent, Arc<Stack>)> {
        let table = self.stacks.0.lock();
        let stacks = table.entries.iter().enumerate().filter_map(|(at, entry)| {
            let stack = &entry.as_ref()?.stack;
            let extent = Extent::of_stack(at as u32, stack.base.len())?;
            Some((extent, stack))
        });
        let wanted = stacks.filter(|(_, stack)| stack.records().any(&is_wanted));
        wanted
            .map(|(extent, stack)| (extent, stack.clone()))
            .collect()
    }

    /// A stack has the same content in other records from now on. False if it is no more that stack.
    pub(crate) fn swap(&self, extent: Extent, old: &Arc<Stack>, new: Stack) -> bool {
        let mut table = self.stacks.0.lock();
        let entry = extent.stack().and_then(|number| table.get(number));
        match entry.filter(|entry| Arc::ptr_eq(&entry.stack, old)) {
            Some(entry) => {
                entry.stack = Arc::new(new);
                true
            }
            None => false,
        }
    }

    pub(super) fn release_stack(&self, number: u32) -> bool {
        let Some(released) = self.stacks.release(number) else {
            return false;
        };
        if let Some(stack) = released {
            for record in stack.records() {
                self.release(record);
            }
        }
        true
    }

    /// Reads a part of a stack: all that the base has of it, and over that what the layers have.
    pub(super) fn read_stack(
        &self,
        number: u32,
        offset: usize,
        into: &mut [u8],
    ) -> Result<(), ReadError> {
        let mut stack = self.stacks.get(number).ok_or(ReadError::Gone)?;
        loop {
            match self.read_records(&stack, offset, into) {
                // Of a record that was moved meanwhile the stack knows the new place.
                Err(ReadError::Gone) => {
                    let now = self.stacks.get(number).ok_or(ReadError::Gone)?;
                    if Arc::ptr_eq(&now, &stack) {
                        return Err(ReadError::Gone);
                    }
                    stack = now;
                }
                done => return done,
            }
        }
    }

    fn read_records(&self, stack: &Stack, offset: usize, into: &mut [u8]) -> Result<(), ReadError> {
        self.read(stack.id, stack.base, offset, into)?;
        let end = offset + into.len();
        let mut pages = Vec::new();
        for layer in &stack.layers {
            let places = layer.pages.places_in(stack.base.len());
            let seen: Vec<_> = places
                .filter_map(|(start, place, len)| {
                    let (from, to) = (start.max(offset), (start + len).min(end));
                    (from < to).then(|| (from - offset, place + (from - start), to - from))
                })
                .collect();
            let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
                continue;
            };
            // What is wanted of a record lies together.
            let (start, stop) = (first.1, last.1 + last.2);
            pages.resize(stop - start, 0);
            self.read_one(Read {
                id: layer.id,
                extent: layer.extent,
                offset: start,
                into: &mut pages,
            })?;
            for (at, place, len) in seen {
                into[at..at + len].copy_from_slice(&pages[place - start..place - start + len]);
            }
        }
        Ok(())
    }
}
