//! Compares the references that a store counts with those that there are. For tests.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::format::Extent;
use super::index::Segment;
use super::{HostFiles, Store};

type Counts<K> = HashMap<K, u32, FixedState>;

/// The references that the owners of records have, to what each extent stands for.
#[derive(Debug, Default)]
pub(crate) struct References {
    records: Counts<Extent>,
    /// By number.
    stacks: Counts<u32>,
    host_files: Counts<u32>,
}

impl References {
    pub(crate) fn add(&mut self, extent: Extent) {
        if let Some(number) = extent.stack() {
            *self.stacks.entry(number).or_default() += 1;
        } else if let Some((file, _)) = extent.host_file() {
            self.add_host_file(file);
        } else {
            *self.records.entry(extent).or_default() += 1;
        }
    }

    pub(crate) fn add_host_file(&mut self, file: u32) {
        *self.host_files.entry(file).or_default() += 1;
    }
}

/// How the references that are counted have to be those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// As many.
    Exact,
    /// As many or more: after a failed flush nothing is given up that may be durable.
    AtLeast,
}

impl Rule {
    fn check(self, what: &dyn std::fmt::Debug, counted: u32, there_are: u32) -> Result<(), String> {
        let is_right = match self {
            Rule::Exact => counted == there_are,
            Rule::AtLeast => counted >= there_are,
        };
        if is_right {
            return Ok(());
        }
        Err(format!(
            "{what:?} counts {counted} references, there are {there_are}"
        ))
    }

    /// Compares what is counted with all that there is.
    pub(super) fn compare<K: std::hash::Hash + Eq + Copy>(
        self,
        counted: impl IntoIterator<Item = (K, u32)>,
        mut there_are: Counts<K>,
        what: impl Fn(K) -> String,
    ) -> Result<(), String> {
        for (key, count) in counted {
            let wanted = there_are.remove(&key).unwrap_or(0);
            self.check(&format_args!("{}", what(key)), count, wanted)?;
        }
        match there_are.into_iter().next() {
            None => Ok(()),
            Some((key, count)) => Err(format!(
                "{} is not live, and there are {count} references to it",
                what(key)
            )),
        }
    }
}

impl Store {
    /// Compares what is counted of each record, stack and file of the host with `held`, which are all references but those
    /// that stacks have. O(records). Nobody may append, retain or release meanwhile.
    ///
    /// # Errors
    /// A sentence that names the first place where they differ.
    pub(crate) fn audit(&self, held: References, rule: Rule) -> Result<(), String> {
        let References {
            mut records,
            stacks,
            host_files,
        } = held;
        let counted = self.stacks.counts()?;
        rule.compare(counted, stacks, |number| format!("stack {number}"))?;
        for record in self.stacks.records() {
            *records.entry(record).or_default() += 1;
        }
        let counted = self.host_files.as_deref().map(HostFiles::counts);
        let counted = counted.into_iter().flatten();
        rule.compare(counted, host_files, |file| format!("host file {file}"))?;
        let mut by_segment: HashMap<u32, Counts<u32>, FixedState> = HashMap::default();
        let mut extents: HashMap<(u32, u32), Extent, FixedState> = HashMap::default();
        for (extent, count) in records {
            let place = (extent.serial(), extent.unit());
            if let Some(other) = extents.insert(place, extent) {
                return Err(format!("{extent:?} and {other:?} are one record"));
            }
            by_segment
                .entry(place.0)
                .or_default()
                .insert(place.1, count);
        }
        for segment in self.table.read().values() {
            let held = by_segment.remove(&segment.serial).unwrap_or_default();
            segment.audit(&extents, held, rule)?;
        }
        match by_segment.into_keys().next() {
            None => Ok(()),
            Some(serial) => Err(format!(
                "there is no segment {serial}, and somebody wants it"
            )),
        }
    }
}

impl Segment {
    fn audit(
        &self,
        extents: &HashMap<(u32, u32), Extent, FixedState>,
        held: Counts<u32>,
        rule: Rule,
    ) -> Result<(), String> {
        let serial = self.serial;
        let index = self.index();
        let held_bytes = held
            .keys()
            .map(|unit| extents[&(serial, *unit)].stored_bytes())
            .sum::<u64>();
        let counted = index.counts()?;
        let place = |unit: u32| match extents.get(&(serial, unit)) {
            Some(extent) => format!("{extent:?}"),
            None => format!("unit {unit} of segment {serial}"),
        };
        let records = counted.len() as u64;
        rule.compare(counted, held, place)?;
        if records != index.live_records() {
            let live = index.live_records();
            return Err(format!(
                "segment {serial} counts {live} records, it has {records}"
            ));
        }
        let live = index.live_bytes();
        if live != held_bytes && rule == Rule::Exact {
            return Err(format!(
                "segment {serial} counts {live} live bytes, it has {held_bytes}"
            ));
        }
        match index.is_settled() {
            true => Ok(()),
            false => Err(format!(
                "a record of segment {serial} is being written still"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pages::Pages;
    use crate::base::sync::Arc;
    use crate::cold::segment::{Id, Layer, Options, Record, Stack};
    use crate::io::real::RealDisk;

    fn held(extents: &[Extent]) -> References {
        let mut held = References::default();
        extents.iter().for_each(|extent| held.add(*extent));
        held
    }

    /// What an audit says.
    fn says(store: &Store, extents: &[Extent]) -> String {
        let audited = store.audit(held(extents), Rule::Exact);
        audited.err().unwrap_or_default()
    }

    #[test]
    fn each_reference_is_missed_and_each_that_is_too_many_is_seen() {
        let place = tempfile::tempdir().expect("a directory for tests");
        let options = Options::new(place.path(), 64 << 20);
        let store = Store::new(Arc::new(RealDisk), options).expect("a store");
        let id = Id {
            inode: 1,
            index: 0,
            generation: 1,
        };
        let parts: &[&[u8]] = &[&[7; 8192]];
        let extents = store.append(&[Record { id, parts }, Record { id, parts }]);
        let [one, two] = extents.expect("written")[..] else {
            panic!("two records");
        };
        assert_eq!(says(&store, &[one, two]), "");
        let missed = says(&store, &[one]);
        assert!(
            missed.contains("counts 1 references, there are 0"),
            "{missed}"
        );
        assert_eq!(store.audit(held(&[one]), Rule::AtLeast), Ok(()));
        let many = store.audit(held(&[one, two, two]), Rule::AtLeast);
        assert!(many.is_err_and(|text| text.contains("counts 1 references, there are 2")));
        assert!(store.retain(two) && store.retain(two) && store.retain(two) && store.retain(two));
        assert_eq!(says(&store, &[two, one, two, two, two, two]), "");

        // A stack has both.
        let stack = Stack {
            id,
            base: one,
            layers: vec![Layer {
                id,
                extent: two,
                pages: Pages::from_words([1, 0, 0, 0]),
            }],
        };
        let pile = store.pile(stack).expect("there is room");
        assert_eq!(says(&store, &[pile, two, two, two, two]), "");
        assert_eq!(
            says(&store, &[two, two, two, two]),
            "stack 0 counts 1 references, there are 0"
        );
        assert!(store.release(pile));
        let dead = says(&store, &[one, two, two, two, two]);
        assert!(
            dead.contains("is not live, and there are 1 references to it"),
            "{dead}"
        );
        (0..4).for_each(|_| assert!(store.release(two)));
        assert!(says(&store, &[two]).ends_with("and somebody wants it"));
        assert_eq!(says(&store, &[]), "");
    }
}
