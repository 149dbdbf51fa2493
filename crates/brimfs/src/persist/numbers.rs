//! A map by node number. Numbers mostly come one after another, and so do the nodes of one directory:
//! pages of 64 keep neighbours together, and none of a page's places stands empty.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Numbers of one page: the bits of its map.
const PAGE: u64 = u64::BITS as u64;

/// See the module's documentation. Walks are in ascending order.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    pages: HashMap<u64, Page<T>, FixedState>,
    len: usize,
    /// Values that all pages have room for.
    room: usize,
}

/// The values of those numbers of a page that are present, in their order.
#[derive(Debug)]
struct Page<T> {
    present: u64,
    values: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Numbers {
            pages: HashMap::default(),
            len: 0,
            room: 0,
        }
    }
}

impl<T> Page<T> {
    /// Where the value is, or where it would be.
    fn place(&self, number: u64) -> Result<usize, usize> {
        let bit = 1 << (number % PAGE);
        let place = (self.present & (bit - 1)).count_ones() as usize;
        match self.present & bit {
            0 => Err(place),
            _ => Ok(place),
        }
    }
}

/// The numbers that a page's map says are there.
fn numbers_of(page: u64, mut present: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let bit = present.trailing_zeros();
        present &= present.checked_sub(1)?;
        Some(page * PAGE + u64::from(bit))
    })
}

impl<T> Numbers<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory that this takes, in bytes; O(1).
    pub(super) fn footprint(&self) -> u64 {
        (self.pages.allocation_size() + self.room * size_of::<T>()) as u64
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let page = self.pages.get(&(number / PAGE))?;
        page.values.get(page.place(number).ok()?)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let page = self.pages.get_mut(&(number / PAGE))?;
        let place = page.place(number).ok()?;
        page.values.get_mut(place)
    }

    /// The value of that number, which is made if there is none.
    pub(super) fn get_or_insert_with(&mut self, number: u64, new: impl FnOnce() -> T) -> &mut T {
        let page = self.pages.entry(number / PAGE).or_insert_with(|| Page {
            present: 0,
            values: Vec::new(),
        });
        let place = match page.place(number) {
            Ok(place) => place,
            Err(place) => {
                let before = page.values.capacity();
                page.values.insert(place, new());
                page.present |= 1 << (number % PAGE);
                self.room += page.values.capacity() - before;
                self.len += 1;
                place
            }
        };
        &mut page.values[place]
    }

    pub(super) fn insert(&mut self, number: u64, value: T) {
        let mut value = Some(value);
        let place = self.get_or_insert_with(number, || value.take().expect("called once"));
        if let Some(value) = value {
            *place = value;
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let page = self.pages.get_mut(&(number / PAGE))?;
        let place = page.place(number).ok()?;
        let value = page.values.remove(place);
        page.present &= !(1 << (number % PAGE));
        self.len -= 1;
        let before = page.values.capacity();
        if page.values.len() <= before / 4 {
            page.values.shrink_to_fit();
        }
        self.room -= before - page.values.capacity();
        if page.present == 0 {
            self.pages.remove(&(number / PAGE));
        }
        Some(value)
    }

    /// Gives memory back that is mostly empty.
    pub(super) fn shrink(&mut self) {
        if self.pages.len() < self.pages.capacity() / 8 {
            self.pages.shrink_to(2 * self.pages.len());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let mut pages: Vec<(&u64, &Page<T>)> = self.pages.iter().collect();
        pages.sort_unstable_by_key(|(page, _)| **page);
        pages
            .into_iter()
            .flat_map(|(number, page)| numbers_of(*number, page.present).zip(&page.values))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let mut pages: Vec<(&u64, &mut Page<T>)> = self.pages.iter_mut().collect();
        pages.sort_unstable_by_key(|(page, _)| **page);
        pages
            .into_iter()
            .flat_map(|(number, page)| numbers_of(*number, page.present).zip(&mut page.values))
    }

    /// Gives each page back once its values were taken.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (u64, T)> {
        let mut pages: Vec<(u64, Page<T>)> = self.pages.into_iter().collect();
        pages.sort_unstable_by_key(|(page, _)| *page);
        pages
            .into_iter()
            .flat_map(|(number, page)| numbers_of(number, page.present).zip(page.values))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.iter().map(|(number, _)| number)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(u64, &T) -> bool) {
        let gone = self.iter().filter(|(number, value)| !keep(*number, value));
        let gone: Vec<u64> = gone.map(|(number, _)| number).collect();
        for number in gone {
            self.remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Numbers, PAGE};

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u32),
        Default(u64),
        Remove(u64),
        Retain(u32),
    }

    fn number() -> impl Strategy<Value = u64> {
        // Neighbours, the edges of pages, and the last number of all.
        prop_oneof![0..3 * PAGE, (0..4u64).prop_map(|far| u64::MAX - far)]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (number(), 0..9u32).prop_map(|(number, value)| Step::Insert(number, value)),
            2 => number().prop_map(Step::Default),
            3 => number().prop_map(Step::Remove),
            1 => (2..5u32).prop_map(Step::Retain),
        ]
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(steps in prop::collection::vec(step(), 1..400)) {
            let mut map = Numbers::default();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(number, value) => {
                        map.insert(number, value);
                        model.insert(number, value);
                    }
                    Step::Default(number) => {
                        *map.get_or_insert_with(number, || 0) += 1;
                        *model.entry(number).or_insert(0) += 1;
                    }
                    Step::Remove(number) => {
                        prop_assert_eq!(map.remove(number), model.remove(&number));
                    }
                    Step::Retain(divisor) => {
                        map.retain(|_, value| value % divisor == 0);
                        model.retain(|_, value| *value % divisor == 0);
                    }
                }
                map.shrink();
                prop_assert_eq!(map.len, model.len());
                prop_assert_eq!(map.is_empty(), model.is_empty());
                let room: usize = map.pages.values().map(|page| page.values.capacity()).sum();
                prop_assert_eq!(map.room, room);
                prop_assert!(room <= 8 * model.len().max(1));
            }
            for (number, value) in map.iter_mut() {
                prop_assert_eq!(model.get(&number), Some(&*value));
            }
            for number in model.keys() {
                prop_assert_eq!(map.get(*number), model.get(number));
                prop_assert_eq!(map.get_mut(*number).copied(), model.get(number).copied());
            }
            prop_assert!(map.keys().eq(model.keys().copied()));
            prop_assert!(map.values().eq(model.values()));
            prop_assert!(map.into_sorted().eq(model));
        }
    }
}
