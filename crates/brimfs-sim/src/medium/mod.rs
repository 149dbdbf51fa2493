//! A simulated directory that keeps what was written apart from what is durable.
//!
//! Running programs see every write at once. Durable is only what a sync covered; the rest is
//! pending, item by item, and [`Medium::crash`] decides the [`Fate`] of each: kept, lost or torn. Names are
//! pending by themselves and become durable by a sync of the directory only. Every call has a number, so that
//! a test can stop the power after each of them, or make each of them fail. Nothing is left to chance: who
//! samples brings a [`Random`] with a seed.

mod content;
mod crash;
mod directory;
mod file;
mod random;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Barrier};

use parking_lot::Mutex;

use crate::disk::{Failure, Plan};

use content::Content;
pub use crash::{Disorder, Fate, Image, Item};
pub use random::Random;

/// How a read goes wrong that the disk reports as a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadDamage {
    /// One bit is another: counted from the beginning of what is read, modulo its length.
    Flipped(u64),
    /// What comes is what lies so many blocks of 4 KiB further on, modulo the length of the file.
    Misdirected(u64),
}

/// What stands in a file. Shared between images of a disk until one writes.
type Bytes = Arc<Content>;

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What a running program sees.
    current: Bytes,
    /// What outlives the power.
    durable: Bytes,
    /// How many have it open.
    open: usize,
}

/// Something that was done and is not durable.
#[derive(Clone, Debug)]
enum Pending {
    Write {
        inode: usize,
        offset: usize,
        bytes: Bytes,
    },
    Length {
        inode: usize,
        len: usize,
    },
    Linked {
        name: String,
        inode: usize,
    },
    Renamed {
        from: String,
        to: String,
        inode: usize,
    },
    Unlinked {
        name: String,
        inode: usize,
    },
}

impl Pending {
    /// The file whose sync makes it durable; none for names.
    fn file(&self) -> Option<usize> {
        match self {
            Pending::Write { inode, .. } | Pending::Length { inode, .. } => Some(*inode),
            _ => None,
        }
    }
}

impl Pending {
    /// The file that it gives a name, or takes one from.
    fn named(&self) -> Option<usize> {
        match self {
            Pending::Linked { inode, .. }
            | Pending::Renamed { inode, .. }
            | Pending::Unlinked { inode, .. } => Some(*inode),
            _ => None,
        }
    }
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug, Default)]
struct World {
    calls: u64,
    written: u64,
    stop: Option<u64>,
    plan: Option<Plan>,
    damage: Option<(u64, ReadDamage)>,
    capacity: Option<u64>,
    read_only: bool,
    locked: bool,
    inodes: Vec<Inode>,
    /// What stood in the file that was forgotten last.
    remains: Bytes,
    names: Names,
    durable_names: Names,
    pending: Vec<Pending>,
    /// What a crash before each call would find, if it is kept.
    film: Option<Vec<World>>,
    /// Where syncs of files meet somebody, before they do anything and once more.
    meeting: Option<Arc<Barrier>>,
}

impl World {
    /// All that a crash now depends on.
    fn frame(&self) -> World {
        let durable = |inode: &Inode| Inode {
            current: inode.durable.clone(),
            durable: inode.durable.clone(),
            open: 0,
        };
        World {
            calls: self.calls,
            capacity: self.capacity,
            read_only: self.read_only,
            inodes: self.inodes.iter().map(durable).collect(),
            remains: self.remains.clone(),
            durable_names: self.durable_names.clone(),
            pending: self.pending.clone(),
            ..World::default()
        }
    }

    /// Counts a call and says how it goes wrong, if it does.
    fn count(&mut self) -> io::Result<Option<Failure>> {
        if self.film.is_some() {
            let frame = self.frame();
            self.film.get_or_insert_default().push(frame);
        }
        let number = self.calls;
        self.calls += 1;
        if self.stop.is_some_and(|stop| number >= stop) {
            return Err(io::Error::other("the power is off"));
        }
        let due = |plan: &Plan| number == plan.call || plan.lasting && number > plan.call;
        Ok(self.plan.filter(due).map(|plan| plan.failure))
    }

    /// Counts a call that moves no bytes: it cannot be short, and repeats itself when interrupted.
    fn call(&mut self) -> io::Result<()> {
        match self.count()? {
            None | Some(Failure::Short | Failure::Interrupted) => Ok(()),
            Some(failure) => Err(failure.error()),
        }
    }

    /// Counts a call that changes something.
    fn change(&mut self) -> io::Result<()> {
        self.call()?;
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        let named = self.names.values();
        named
            .map(|inode| self.inodes[*inode].current.len() as u64)
            .sum()
    }

    fn check_space(&self, more: usize) -> io::Result<()> {
        if self
            .capacity
            .is_some_and(|capacity| self.used() + more as u64 > capacity)
        {
            return Err(Failure::Full.error());
        }
        Ok(())
    }

    fn set_len(&mut self, inode: usize, len: usize) {
        Arc::make_mut(&mut self.inodes[inode].current).set_len(len);
        self.pending.push(Pending::Length { inode, len });
    }

    /// Lets go of the content of files that nobody has open and that have no name any more, whatever a crash leaves.
    fn forget_nameless(&mut self) {
        let mut named = vec![false; self.inodes.len()];
        let names = self.names.values().chain(self.durable_names.values());
        names.for_each(|inode| named[*inode] = true);
        for item in &self.pending {
            if let Some(inode) = item.named() {
                named[inode] = true;
            }
        }
        let is_gone = |(inode, file): (usize, &Inode)| !named[inode] && file.open == 0;
        let gone: Vec<bool> = self.inodes.iter().enumerate().map(is_gone).collect();
        for (inode, _) in gone.iter().enumerate().filter(|(_, is_gone)| **is_gone) {
            let inode = std::mem::take(&mut self.inodes[inode]);
            if inode.current.len() > 0 {
                self.remains = inode.current;
            }
        }
        self.pending
            .retain(|item| item.file().is_none_or(|inode| !gone[inode]));
    }

    /// Takes out what a sync of the file covers, or of the directory.
    fn take_pending(&mut self, file: Option<usize>) -> Vec<Pending> {
        let (taken, left) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|item| item.file() == file);
        self.pending = left;
        taken
    }
}

/// A directory on a simulated disk. Clones are the same disk; [`Medium::fork`] makes another.
#[derive(Clone, Debug, Default)]
pub struct Medium {
    world: Arc<Mutex<World>>,
}

impl Medium {
    /// An empty directory on a disk without a limit that does not fail.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn of(world: World) -> Self {
        Medium {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// A disk of its own in the same state, faults that are planned included, and unlocked.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut world = self.world.lock().clone();
        world.locked = false;
        world.film = None;
        world.meeting = None;
        world.inodes.iter_mut().for_each(|inode| inode.open = 0);
        Self::of(world)
    }

    /// Number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.world.lock().calls
    }

    /// Bytes that were written so far, each as often as it was.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.world.lock().written
    }

    /// Turns the power off before call number `call`, the first being 0: it and all later ones fail and do
    /// nothing.
    pub fn stop_at(&self, call: Option<u64>) {
        self.world.lock().stop = call;
    }

    /// Keeps what a crash before each call from now on would find. One run then shows every crash that
    /// [`Medium::stop_at`] would show in a run of its own, also where runs differ.
    pub fn film(&self) {
        self.world.lock().film = Some(Vec::new());
    }

    /// What was filmed, and what a crash now would find, each good for [`Medium::crash`] and its kin only. Their
    /// numbers of calls rise. Ends the film.
    #[must_use]
    pub fn frames(&self) -> Vec<Medium> {
        let mut world = self.world.lock();
        let mut frames = world.film.take().unwrap_or_default();
        frames.push(world.frame());
        frames.into_iter().map(Self::of).collect()
    }

    /// Plans which call fails from now on. A sync of a file that fails loses what it should have covered, as on
    /// Linux: reads see the medium again, and no later sync brings it back. Names that a sync should have covered stay
    /// pending: a journaling filesystem keeps them or stops working.
    pub fn plan(&self, plan: Option<Plan>) {
        self.world.lock().plan = plan;
    }

    /// Has each sync of a file from now on wait here twice before it does anything: whoever waits here too knows that it has
    /// begun, and says when it may go on.
    pub fn meet_syncs(&self, meeting: Option<Arc<Barrier>>) {
        self.world.lock().meeting = meeting;
    }

    /// Plans what a read that has this number gives.
    pub fn damage_read(&self, damage: Option<(u64, ReadDamage)>) {
        self.world.lock().damage = damage;
    }

    /// Sets the bytes that all files together may have; `None` for no limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.world.lock().capacity = capacity;
    }

    /// Bytes that all files together have.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.world.lock().used()
    }

    /// Refuses every change, as a medium does that is mounted so.
    pub fn set_read_only(&self, read_only: bool) {
        self.world.lock().read_only = read_only;
    }

    /// Names of the files, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.world.lock().names.keys().cloned().collect()
    }

    /// What stands in a file.
    ///
    /// # Panics
    /// If there is no such file.
    #[must_use]
    pub fn raw(&self, name: &str) -> Vec<u8> {
        let world = self.world.lock();
        world.inodes[world.names[name]].current.to_vec()
    }

    /// Changes what stands in a file behind everybody's back, durably.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world.lock();
        let inode = world.names[name];
        let mut bytes = world.inodes[inode].current.to_vec();
        change(&mut bytes);
        let bytes = Arc::new(Content::new(&bytes));
        let inode = &mut world.inodes[inode];
        inode.current = bytes.clone();
        inode.durable = bytes;
    }

    /// Removes a file behind everybody's back, durably.
    pub fn lose(&self, name: &str) {
        let mut world = self.world.lock();
        world.names.remove(name);
        world.durable_names.remove(name);
    }
}
