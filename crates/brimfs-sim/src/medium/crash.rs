//! What a crash leaves of a disk.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::content::Content;
use super::{Bytes, Medium, Names, Pending, Random, World};

/// What became of a pending item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It reached the medium.
    Kept,
    /// It did not.
    Lost,
    /// Some of it did. Of a write: a beginning of it if `unit` is 1, else some units of so many bytes.
    /// Of a length: the file ends in between. Names are kept then.
    Torn {
        /// 1, 512 or 4096 bytes.
        unit: u32,
        /// Decides which.
        pattern: u64,
    },
}

/// What a pending item is, for whoever decides its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// So many bytes were written.
    Write(usize),
    /// A file got another length.
    Length,
    /// A name appeared, moved or went.
    Name,
}

/// Which items may be lost while later ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disorder {
    /// Names and lengths are kept in the order in which they were made, as in a journaling filesystem; writes
    /// in any order.
    Journaled,
    /// Everything by itself.
    Any,
}

/// What a crash does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Of each pending item, in the order in which they were done. Those without are lost.
    pub fates: Vec<Fate>,
    /// Where a file grew and nothing was written, there is what another file had there, not zeroes.
    pub stale: bool,
}

/// All combinations are tried where there are no more items than this.
const ITEMS_MAX: usize = 6;

impl Medium {
    /// What is not durable, in the order in which it was done.
    #[must_use]
    pub fn pending(&self) -> Vec<Item> {
        let world = self.world.lock();
        let item = |pending: &Pending| match pending {
            Pending::Write { bytes, .. } => Item::Write(bytes.len()),
            Pending::Length { .. } => Item::Length,
            _ => Item::Name,
        };
        world.pending.iter().map(item).collect()
    }

    /// The disk after the power came back: everything is durable, no fault is planned, nobody has the lock.
    #[must_use]
    pub fn crash(&self, image: &Image) -> Medium {
        let world = self.world.lock();
        let mut after = World {
            inodes: world.inodes.clone(),
            remains: world.remains.clone(),
            durable_names: world.durable_names.clone(),
            capacity: world.capacity,
            read_only: world.read_only,
            ..World::default()
        };
        for (number, item) in world.pending.iter().enumerate() {
            match image.fates.get(number) {
                None | Some(Fate::Lost) => {}
                Some(Fate::Kept) => after.keep_with(item, image.stale),
                Some(Fate::Torn { unit, pattern }) => {
                    after.keep_part(item, *unit as usize, *pattern, image.stale);
                }
            }
        }
        for inode in &mut after.inodes {
            inode.current = inode.durable.clone();
            inode.open = 0;
        }
        after.names = after.durable_names.clone();
        Medium::of(after)
    }

    /// A number that equal contents have in common and others hardly ever.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let world = self.world.lock();
        let mut hasher = DefaultHasher::new();
        for (name, inode) in &world.names {
            (name, &world.inodes[*inode].current).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A number that only equal images of equal frames have in common, as long as the frames of a film are kept. Not all
    /// equal disks have it in common, but no content is looked at.
    #[must_use]
    pub fn key(&self, image: &Image) -> u64 {
        let world = self.world.lock();
        let mut hasher = DefaultHasher::new();
        let address = |bytes: &Bytes| Arc::as_ptr(bytes) as usize;
        for (name, inode) in &world.durable_names {
            (name, address(&world.inodes[*inode].durable)).hash(&mut hasher);
        }
        for (item, fate) in world.pending.iter().zip(&image.fates) {
            if *fate == Fate::Lost {
                continue;
            }
            (fate, image.stale).hash(&mut hasher);
            match item {
                Pending::Write { bytes, .. } => address(bytes).hash(&mut hasher),
                Pending::Length { inode, len } => (inode, len).hash(&mut hasher),
                named => format!("{named:?}").hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// Images that a crash now may leave: all combinations of kept and lost and, for each write, each way of tearing
    /// it, where there are few pending items; else at most `samples` of them.
    #[must_use]
    pub fn images(&self, disorder: Disorder, samples: usize, random: &mut Random) -> Vec<Image> {
        let items = self.pending();
        let mut images = Vec::new();
        if items.len() <= ITEMS_MAX && 1 << items.len() <= samples {
            for subset in 0..1u64 << items.len() {
                let fates = (0..items.len()).map(|item| kept_if(subset >> item & 1 == 1));
                images.push(fates.collect());
            }
            images.extend(torn_subsets(&items, random));
        } else {
            images.extend([vec![Fate::Kept; items.len()], Vec::new()]);
        }
        while images.len() < samples && !items.is_empty() && items.len() > ITEMS_MAX {
            images.push(sampled(&items, random));
        }
        if images.len() > samples {
            // The first ones are the plain subsets; which of the torn ones follow is drawn.
            for place in (1..images.len()).rev() {
                images.swap(place, random.below(place as u64 + 1) as usize);
            }
            images.truncate(samples);
        }
        if disorder == Disorder::Journaled {
            images
                .iter_mut()
                .for_each(|fates| put_in_order(&items, fates));
        }
        let mut seen = HashSet::new();
        images.retain(|fates| seen.insert(fates.clone()));
        let grows = items.contains(&Item::Length);
        let both = |fates: Vec<Fate>| {
            let stale = grows && disorder == Disorder::Any;
            let image = |stale| Image {
                fates: fates.clone(),
                stale,
            };
            [Some(image(false)), stale.then(|| image(true))]
        };
        images.into_iter().flat_map(both).flatten().collect()
    }

    /// One image, drawn.
    #[must_use]
    pub fn sample_image(&self, disorder: Disorder, random: &mut Random) -> Image {
        let items = self.pending();
        let mut fates = match random.below(8) {
            0 => vec![Fate::Lost; items.len()],
            1 => vec![Fate::Kept; items.len()],
            _ => sampled(&items, random),
        };
        if disorder == Disorder::Journaled {
            put_in_order(&items, &mut fates);
        }
        let stale = disorder == Disorder::Any && random.one_in(2);
        Image { fates, stale }
    }
}

fn kept_if(kept: bool) -> Fate {
    if kept { Fate::Kept } else { Fate::Lost }
}

fn tearings(item: Item) -> &'static [u32] {
    match item {
        Item::Write(..=4096) => &[1, 512],
        Item::Write(_) => &[1, 512, 4096],
        Item::Length => &[4096],
        Item::Name => &[],
    }
}

/// Each item torn in each way, with every combination of the others.
fn torn_subsets(items: &[Item], random: &mut Random) -> Vec<Vec<Fate>> {
    let mut images = Vec::new();
    for (torn, item) in items.iter().enumerate() {
        for &unit in tearings(*item) {
            for subset in 0..1u64 << (items.len() - 1) {
                let mut fates: Vec<_> = (0..items.len() - 1)
                    .map(|other| kept_if(subset >> other & 1 == 1))
                    .collect();
                let pattern = random.number();
                fates.insert(torn, Fate::Torn { unit, pattern });
                images.push(fates);
            }
        }
    }
    images
}

fn sampled(items: &[Item], random: &mut Random) -> Vec<Fate> {
    // From nearly all lost to nearly all kept.
    let kept = random.below(9);
    let mut fate = |item: &Item| {
        let units = tearings(*item);
        if !units.is_empty() && random.one_in(4) {
            let unit = units[random.below(units.len() as u64) as usize];
            let pattern = random.number();
            return Fate::Torn { unit, pattern };
        }
        kept_if(random.below(8) < kept)
    };
    items.iter().map(&mut fate).collect()
}

/// The first name or length that is not kept ends them all.
fn put_in_order(items: &[Item], fates: &mut [Fate]) {
    let mut ended = false;
    for (item, fate) in items.iter().zip(fates) {
        if matches!(item, Item::Write(_)) {
            continue;
        }
        if ended {
            *fate = Fate::Lost;
        } else if *fate != Fate::Kept {
            ended = true;
        }
    }
}

impl World {
    /// Makes an item durable.
    pub(super) fn keep(&mut self, item: &Pending) {
        self.keep_with(item, false);
    }

    fn keep_with(&mut self, item: &Pending, stale: bool) {
        match item {
            Pending::Write {
                inode,
                offset,
                bytes,
            } => self.store(*inode, *offset, bytes, 0..bytes.len()),
            Pending::Length { inode, len } => self.set_durable_len(*inode, *len, stale),
            named => keep_name(&mut self.durable_names, named),
        }
    }

    fn keep_part(&mut self, item: &Pending, unit: usize, pattern: u64, stale: bool) {
        match item {
            Pending::Write {
                inode,
                offset,
                bytes,
            } if unit == 1 => {
                let len = pattern as usize % (bytes.len() + 1);
                self.store(*inode, *offset, bytes, 0..len);
            }
            Pending::Write {
                inode,
                offset,
                bytes,
            } => {
                let mut chosen = Random::new(pattern);
                for start in (0..bytes.len()).step_by(unit) {
                    if chosen.one_in(2) {
                        let part = start..(start + unit).min(bytes.len());
                        self.store(*inode, offset + start, bytes, part);
                    }
                }
            }
            Pending::Length { inode, len } => {
                let had = self.inodes[*inode].durable.len();
                let (low, high) = (had.min(*len), had.max(*len));
                let between = low + pattern as usize % (high - low + 1) / unit * unit;
                self.set_durable_len(*inode, between, stale);
            }
            named => keep_name(&mut self.durable_names, named),
        }
    }

    /// What lies behind the end of the file did not get its length, and is lost.
    fn store(&mut self, inode: usize, offset: usize, bytes: &Content, part: Range<usize>) {
        let durable = Arc::make_mut(&mut self.inodes[inode].durable);
        let len = part.len().min(durable.len().saturating_sub(offset));
        durable.paste(offset, bytes, part.start..part.start + len);
    }

    fn set_durable_len(&mut self, inode: usize, len: usize, stale: bool) {
        let had = self.inodes[inode].durable.len();
        let other = match inode.checked_sub(1) {
            Some(before) if stale && self.inodes[before].current.len() == 0 => self.remains.clone(),
            Some(before) if stale => self.inodes[before].current.clone(),
            _ => Bytes::default(),
        };
        let durable = Arc::make_mut(&mut self.inodes[inode].durable);
        durable.set_len(len);
        let end = other.len().min(len);
        if had < end {
            durable.paste(had, &other, had..end);
        }
    }
}

fn keep_name(names: &mut Names, item: &Pending) {
    let mut leave = |name: &String, inode: usize| {
        if names.get(name) == Some(&inode) {
            names.remove(name);
        }
    };
    match item {
        Pending::Linked { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        Pending::Renamed { from, to, inode } => {
            leave(from, *inode);
            names.insert(to.clone(), *inode);
        }
        Pending::Unlinked { name, inode } => leave(name, *inode),
        Pending::Write { .. } | Pending::Length { .. } => {}
    }
}

#[cfg(test)]
mod tests;
