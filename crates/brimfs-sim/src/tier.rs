//! A cold tier of the worst kind, for tests: it takes content away whenever it can, refuses to
//! track some of it, moves cold copies about, and can be told to fail.
//!
//! Keeps what is cold in a map and checks every name against every byte it gives back. What it
//! sees that must not be (a slot or location that it never gave or that is free) it remembers
//! as a complaint, which [`Hostile::check`] reports.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use brimfs::face::{
    Cold, ColdPart, Fault, Identity, Installed, Location, Residents, Slot, Staged, Tier, Unit,
    WeakBudget, Worth,
};
use brimfs::{Budget, ErrorKind, LimitInfo};

#[cfg(feature = "shuttle")]
use shuttle::sync::{Arc, Mutex, MutexGuard};
#[cfg(not(feature = "shuttle"))]
use {
    parking_lot::{Mutex, MutexGuard},
    std::sync::Arc,
};

/// The most that a unit holds.
const UNIT_MAX: usize = 1 << 20;

/// How a tier misbehaves, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Units that are not tracked.
    pub refuses: u64,
    /// Units that go whenever something happens.
    pub evicts: u64,
    /// Reads that bring the unit back instead.
    pub installs: u64,
    /// Calls that fail as a disk does.
    pub fails: u64,
}

impl Manners {
    /// Everything goes after every operation.
    pub const WORST: Manners = Manners {
        refuses: 0,
        evicts: 100,
        installs: 0,
        fails: 0,
    };

    /// A bit of everything but failures.
    pub const ERRATIC: Manners = Manners {
        refuses: 10,
        evicts: 50,
        installs: 30,
        fails: 0,
    };
}

/// See the module's documentation.
pub struct Hostile {
    budget: WeakBudget,
    state: Mutex<State>,
}

struct State {
    manners: Manners,
    random: u64,
    next_slot: u32,
    next_location: u64,
    slots: BTreeMap<u32, Unit>,
    store: HashMap<Location, (Identity, Vec<u8>)>,
    /// Copies of small files that are resident.
    kept: HashMap<u32, (Identity, Location)>,
    complaints: Vec<String>,
    /// Units that went and units that came back.
    moved: (u64, u64),
    /// Small files that went for a copy that was kept.
    went_clean: u64,
}

impl State {
    fn chance(&mut self, percent: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < percent
    }

    fn new_location(&mut self) -> Location {
        self.next_location += 1;
        Location([self.next_location, !self.next_location])
    }

    /// Gives a copy that no file knows another place, now and then.
    fn move_somewhere(&mut self, location: Location) -> Location {
        if !self.chance(20) {
            return location;
        }
        let new = self.new_location();
        let copy = self.store.remove(&location);
        self.store.extend(copy.map(|copy| (new, copy)));
        new
    }

    /// Gives up a copy that was kept.
    fn drop_kept(&mut self, slot: u32) {
        if let Some((_, location)) = self.kept.remove(&slot) {
            self.store.remove(&location);
        }
    }

    fn expect_slot(&mut self, what: &str, slot: Slot) {
        if !self.slots.contains_key(&slot.get()) {
            self.complaints.push(format!("{what} of free {slot:?}"));
        }
    }
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hostile")
    }
}

fn broken() -> Fault {
    Fault::text(ErrorKind::Io, "the disk of this test is broken")
}

/// Room for the bytes of any unit.
fn buffer() -> Vec<u8> {
    vec![0xa5; UNIT_MAX]
}

impl Hostile {
    /// Installs a new tier in a budget that has none.
    ///
    /// # Panics
    /// If the budget has one.
    pub fn install(budget: &Budget, manners: Manners, seed: u64) -> Arc<Self> {
        let tier = Arc::new(Hostile {
            budget: budget.downgrade(),
            state: Mutex::new(State {
                manners,
                random: seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15),
                next_slot: 0,
                next_location: 0,
                slots: BTreeMap::new(),
                store: HashMap::new(),
                kept: HashMap::new(),
                complaints: Vec::new(),
                moved: (0, 0),
                went_clean: 0,
            }),
        });
        assert!(budget.install_tier(tier.clone()), "the first tier");
        tier
    }

    fn state(&self) -> MutexGuard<'_, State> {
        #[cfg(feature = "shuttle")]
        return self.state.lock().expect("no panic under the lock");
        #[cfg(not(feature = "shuttle"))]
        return self.state.lock();
    }

    /// Changes how it misbehaves.
    pub fn set_manners(&self, manners: Manners) {
        self.state().manners = manners;
    }

    /// Units that went cold and units that came back so far.
    pub fn moved(&self) -> (u64, u64) {
        self.state().moved
    }

    /// Small files that went without being written, because a copy was kept.
    pub fn went_clean(&self) -> u64 {
        self.state().went_clean
    }

    /// Units that are tracked, and cold copies.
    pub fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.slots.len(), state.store.len())
    }

    /// What the tier saw that must not be.
    ///
    /// # Errors
    /// The first complaint.
    pub fn check(&self) -> Result<(), String> {
        match self.state().complaints.first() {
            Some(complaint) => Err(complaint.clone()),
            None => Ok(()),
        }
    }

    /// As [`Hostile::check`], when nothing is left to be tracked or cold.
    ///
    /// # Errors
    /// The first complaint, or what was left.
    pub fn check_empty(&self) -> Result<(), String> {
        self.check()?;
        match self.held() {
            (0, 0) => Ok(()),
            (slots, copies) => Err(format!("{slots} slots and {copies} cold copies are left")),
        }
    }

    /// Takes away what its manners let it, and moves some of what is cold.
    pub fn torment(&self) {
        let slots: Vec<u32> = {
            let mut state = self.state();
            let percent = state.manners.evicts;
            let all: Vec<u32> = state.slots.keys().copied().collect();
            let wanted = all.into_iter().filter(|_| state.chance(percent));
            wanted.collect()
        };
        let mut buffer = buffer();
        for slot in slots {
            if self.state().chance(10) {
                self.forget_copy(slot);
            }
            self.evict(slot, &mut buffer);
        }
    }

    /// Gives up the copy of a unit that is resident, as a tier does whose disk is short.
    fn forget_copy(&self, number: u32) {
        let unit = {
            let mut state = self.state();
            state.drop_kept(number);
            state.slots.get(&number).cloned()
        };
        if let (Some(slot), Some(unit)) = (Slot::new(number), unit)
            && let Some(holder) = unit.holder.upgrade()
        {
            holder.forget_copy(slot, unit.index);
        }
    }

    /// Takes away all that can go, whatever the manners.
    pub fn evict_all(&self) {
        let slots: Vec<u32> = self.state().slots.keys().copied().collect();
        let mut buffer = buffer();
        for slot in slots {
            self.evict(slot, &mut buffer);
        }
    }

    /// Takes one unit away; `false` if it stays.
    fn evict(&self, number: u32, buffer: &mut [u8]) -> bool {
        let (slot, unit) = {
            let state = self.state();
            match (Slot::new(number), state.slots.get(&number)) {
                (Some(slot), Some(unit)) => (slot, unit.clone()),
                _ => return false,
            }
        };
        let Some(holder) = unit.holder.upgrade() else {
            return false;
        };
        if self.evict_kept(slot, holder.clone()) {
            return true;
        }
        let done = match holder.stage(slot, unit.index, buffer) {
            Staged::Clean => holder.evict_clean(slot, unit.index),
            Staged::Dirty { identity, len } => {
                let bytes = buffer[..len].to_vec();
                let location = {
                    let mut state = self.state();
                    let location = state.new_location();
                    state.store.insert(location, (identity, bytes));
                    location
                };
                let done = holder.commit_cold(slot, unit.index, identity, location);
                if !done {
                    self.state().store.remove(&location);
                }
                done
            }
            Staged::Pinned | Staged::Busy | Staged::Gone => false,
        };
        self.state().moved.0 += u64::from(done);
        done
    }

    /// Takes a small file away whose copy was kept; the copy is given up if that fails.
    fn evict_kept(&self, slot: Slot, holder: Arc<dyn Residents>) -> bool {
        let (identity, location) = {
            let mut state = self.state();
            let Some((identity, location)) = state.kept.remove(&slot.get()) else {
                return false;
            };
            (identity, state.move_somewhere(location))
        };
        let done = holder.evict_known(slot, identity.version as u32, location);
        let mut state = self.state();
        if done {
            state.moved.0 += 1;
            state.went_clean += 1;
        } else {
            state.store.remove(&location);
        }
        done
    }

    /// Gives a cold copy another place, as compaction does.
    fn relocate(&self, holder: &Arc<dyn Residents>, index: u64, old: Location) {
        let new = {
            let mut state = self.state();
            let Some(kept) = state.store.get(&old).cloned() else {
                return;
            };
            let new = state.new_location();
            state.store.insert(new, kept);
            new
        };
        let gone = match holder.relocate(index, old, new) {
            true => old,
            false => new,
        };
        self.state().store.remove(&gone);
    }

    /// The bytes of a cold unit; `None` if other ones lie there, or none.
    fn load(&self, cold: Cold) -> Result<Option<Vec<u8>>, Fault> {
        let mut state = self.state();
        let percent = state.manners.fails;
        if state.chance(percent) {
            return Err(broken());
        }
        Ok(match state.store.get(&cold.location) {
            Some((identity, bytes)) if *identity == cold.identity => Some(bytes.clone()),
            _ => None,
        })
    }

    /// Nothing if the reader is to look again.
    fn read_part(
        &self,
        holder: &Arc<dyn Residents>,
        part: &mut ColdPart<'_>,
    ) -> Result<Option<()>, Fault> {
        let (installs, moves) = {
            let mut state = self.state();
            let percent = state.manners.installs;
            (state.chance(percent), state.chance(20))
        };
        if moves {
            self.relocate(holder, part.index, part.cold.location);
        }
        if installs {
            match self.fault_in(holder, part.index) {
                // Reading needs no memory.
                Err(fault) if fault.kind() == ErrorKind::MemoryLimit => {}
                done => return done.map(|()| None),
            }
        }
        let Some(bytes) = self.load(part.cold)? else {
            return Ok(None);
        };
        match bytes.get(part.offset..part.offset + part.to.len()) {
            Some(found) => part.to.copy_from_slice(found),
            None => {
                let complaint = format!("{} + {} of {}", part.offset, part.to.len(), bytes.len());
                self.state().complaints.push(complaint);
            }
        }
        Ok(Some(()))
    }
}

impl Tier for Hostile {
    fn is_active(&self) -> bool {
        true
    }

    fn admit(&self, unit: Unit, _: Identity, size: u32, worth: Worth) -> Option<Slot> {
        let mut state = self.state();
        // No filesystem here ever had another life.
        if size as usize > UNIT_MAX || worth.priority > 10 || worth.accesses > 0 {
            let complaint = format!("a unit of {size} bytes and {worth:?}");
            state.complaints.push(complaint);
        }
        let percent = state.manners.refuses;
        if state.chance(percent) {
            return None;
        }
        state.next_slot += 1;
        let number = state.next_slot;
        state.slots.insert(number, unit);
        Slot::new(number)
    }

    fn remove(&self, slot: Slot) {
        let mut state = self.state();
        state.expect_slot("removal", slot);
        state.drop_kept(slot.get());
        let unit = state.slots.remove(&slot.get());
        drop(state);
        drop(unit);
    }

    fn resize(&self, slot: Slot, _: u32) {
        self.state().expect_slot("a new size", slot);
    }

    fn touch(&self, slot: Slot) {
        self.state().expect_slot("a touch", slot);
    }

    fn changed(&self, slot: Slot, identity: Identity) {
        let mut state = self.state();
        state.expect_slot("a change", slot);
        let kept = state.kept.get(&slot.get());
        if kept.is_some_and(|(kept, _)| *kept != identity) {
            state.drop_kept(slot.get());
        }
    }

    fn keep(&self, slot: Slot, identity: Identity, location: Location) {
        let mut state = self.state();
        state.expect_slot("a copy", slot);
        let copy = state.store.get(&location).map(|(identity, _)| *identity);
        if copy != Some(identity) {
            let complaint = format!("{identity:?} is to be kept where {copy:?} lies");
            state.complaints.push(complaint);
        }
        state.kept.insert(slot.get(), (identity, location));
    }

    fn forget(&self, location: Location) {
        let mut state = self.state();
        if state.store.remove(&location).is_none() {
            state.complaints.push(format!("{location:?} was free"));
        }
    }

    fn prioritize(&self, slot: Slot, _: u8) {
        self.state().expect_slot("a priority", slot);
    }

    fn owned(&self, slot: Slot, unit: Unit) {
        let mut state = self.state();
        state.expect_slot("an owner", slot);
        let address = unit.holder.as_ptr().addr();
        let old = state.slots.insert(slot.get(), unit);
        if old.as_ref().map(|old| old.holder.as_ptr().addr()) != Some(address) {
            state.drop_kept(slot.get());
        }
        drop(state);
        drop(old);
    }

    fn owned_cold(&self, location: Location, _: Unit) {
        let mut state = self.state();
        if !state.store.contains_key(&location) {
            state
                .complaints
                .push(format!("{location:?} is owned and free"));
        }
    }

    fn fault_in(&self, holder: &Arc<dyn Residents>, index: u64) -> Result<(), Fault> {
        let Some(cold) = holder.cold(index) else {
            return Ok(());
        };
        let Some(bytes) = self.load(cold)? else {
            return Ok(());
        };
        let mut room = loop {
            match holder.room(bytes.len()) {
                Err(fault) if fault.kind() == ErrorKind::MemoryLimit => {
                    self.reclaim(bytes.len() as u64)?;
                }
                room => break room?,
            }
        };
        room.bytes_mut().copy_from_slice(&bytes);
        match holder.clone().install(index, cold.identity, room) {
            Installed::Stale => {}
            Installed::Small(_) | Installed::Chunk(_) => self.state().moved.1 += 1,
        }
        Ok(())
    }

    fn read_cold(&self, holder: &Arc<dyn Residents>, parts: &mut [ColdPart<'_>]) {
        for part in parts {
            part.result = self.read_part(holder, part).transpose();
        }
    }

    fn collect(&self) {
        self.evict_all();
    }

    fn reclaim(&self, bytes: u64) -> Result<(), Fault> {
        let Some(budget) = self.budget.upgrade() else {
            return Ok(());
        };
        let before = budget.used();
        let slots: Vec<u32> = self.state().slots.keys().copied().collect();
        let mut buffer = buffer();
        let mut some = false;
        for slot in slots {
            some |= self.evict(slot, &mut buffer);
            if budget.used() + bytes <= before {
                return Ok(());
            }
        }
        if some || budget.used() + bytes <= budget.usable() {
            return Ok(());
        }
        Err(Fault::limit(
            ErrorKind::MemoryLimit,
            LimitInfo {
                requested: bytes,
                used: budget.used(),
                limit: budget.usable(),
            },
        ))
    }
}
