//! Every state of a chunk and every change between them, with a tier that only takes notes.

use std::sync::Mutex as Notes;

use super::*;
use crate::base::error::Fault;
use crate::base::sync::Weak;
use crate::memory::budget::Budget;
use crate::memory::chunk::{BLOCK, CHUNK, Memory, Span};
use crate::memory::guard::{Guard, GuardAction};
use crate::memory::ledger::UNLIMITED;
use crate::memory::tier::{ColdPart, Installed, Residents};

#[derive(Debug, Default)]
struct Notebook(Notes<Vec<String>>);

impl Notebook {
    fn note(&self, text: String) {
        self.0.lock().expect("no panic").push(text);
    }

    /// What was noted since the last time.
    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Tier for Notebook {
    fn is_active(&self) -> bool {
        true
    }
    fn admit(&self, _: Unit, _: Identity, size: u32, _: Worth) -> Option<Slot> {
        self.note(format!("admit {size}"));
        Slot::new(7)
    }
    fn remove(&self, slot: Slot) {
        self.note(format!("remove {}", slot.get()));
    }
    fn resize(&self, _: Slot, size: u32) {
        self.note(format!("resize {size}"));
    }
    fn touch(&self, _: Slot) {
        self.note("touch".into());
    }
    fn changed(&self, _: Slot, _: Identity) {
        self.note("changed".into());
    }
    fn forget(&self, location: Location) {
        self.note(format!("forget {}", location.0[0]));
    }
    fn prioritize(&self, _: Slot, _: u8) {}
    fn owned(&self, _: Slot, _: Unit) {
        self.note("owned".into());
    }
    fn owned_cold(&self, location: Location, _: Unit) {
        self.note(format!("owned cold {}", location.0[0]));
    }
    fn fault_in(&self, _: &Arc<dyn Residents>, _: u64) -> Result<(), Fault> {
        Ok(())
    }
    fn read_cold(&self, _: &Arc<dyn Residents>, _: &mut [ColdPart<'_>]) {}
    fn reclaim(&self, _: u64) -> Result<(), Fault> {
        Ok(())
    }
}

/// A holder that nothing is asked of.
struct Nobody;

impl Residents for Nobody {
    fn stage(&self, _: Slot, _: u64, _: &mut [u8]) -> Staged {
        Staged::Gone
    }
    fn commit_cold(self: Arc<Self>, _: Slot, _: u64, _: Identity, _: Location) -> bool {
        false
    }
    fn evict_clean(self: Arc<Self>, _: Slot, _: u64) -> bool {
        false
    }
    fn evict_known(self: Arc<Self>, _: Slot, _: u32, _: Location) -> bool {
        false
    }
    fn forget_copy(&self, _: Slot, _: u64) -> bool {
        false
    }
    fn cold(&self, _: u64) -> Option<Cold> {
        None
    }
    fn next_cold(&self, _: u64) -> Option<(u64, Cold)> {
        None
    }

    fn room(&self, _: usize) -> Result<Filled, Fault> {
        Err(Fault::miss(0))
    }
    fn install(self: Arc<Self>, _: u64, _: Identity, _: Filled) -> Installed {
        Installed::Stale
    }
    fn relocate(&self, _: u64, _: Location, _: Location) -> bool {
        false
    }
    fn admit_existing(self: Arc<Self>) {}
}

const LEN: usize = 3 * BLOCK + 100;

struct World {
    account: Arc<Account>,
    notes: Arc<Notebook>,
    chunk: Arc<Chunk>,
}

fn slot() -> Slot {
    Slot::new(7).expect("not zero")
}

fn place(number: u64) -> Location {
    Location([number, 0])
}

impl World {
    /// A chunk of ones that the tier knows.
    fn new() -> World {
        let budget = Budget::new(64 << 20);
        let notes = Arc::new(Notebook::default());
        assert!(budget.install_tier(notes.clone()));
        let guard = Guard::new(GuardAction::Off);
        let account = Arc::new(Account::new(UNLIMITED, budget, guard));
        let mut chunk = Chunk::empty(CHUNK, &account).expect("room");
        chunk
            .charge_mut()
            .grow_quota(LEN as u64, &mut 0)
            .expect("room");
        chunk.write(0, &[1; LEN]);
        let chunk = Arc::new(chunk);
        let world = World {
            account,
            notes,
            chunk,
        };
        world.admit();
        // What it takes, not what it holds.
        assert_eq!(world.notes.read(), [format!("admit {CHUNK}")]);
        world
    }

    fn admit(&self) {
        let unit = || {
            let holder: Weak<Nobody> = Weak::new();
            Unit { holder, index: 3 }
        };
        self.chunk.admit(&*self.notes, unit, Worth::default());
    }

    fn stage(&self) -> Staged {
        self.chunk.stage(slot(), &mut vec![0; CHUNK])
    }

    fn staged(&self) -> Identity {
        match self.stage() {
            Staged::Dirty { identity, .. } => identity,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the chunk away to a place; whether it went.
    fn evict(&self, staged: Option<(Identity, Location)>) -> bool {
        self.chunk.evict(slot(), staged).is_some()
    }

    fn make_cold(&self) -> Cold {
        let identity = self.staged();
        assert!(self.evict(Some((identity, place(1)))));
        assert_eq!(self.notes.read(), ["remove 7"]);
        self.chunk.cold().expect("it is cold")
    }

    fn install(&self, identity: Identity) -> bool {
        let mut bytes = Filled::new(&self.account, LEN).expect("room");
        bytes.bytes_mut().fill(1);
        self.chunk.install(identity, bytes).is_ok()
    }

    fn chunk_mut(&mut self) -> &mut Chunk {
        Arc::get_mut(&mut self.chunk).expect("one owner")
    }

    fn read(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![9; len];
        let hold = self.chunk.body.lock();
        let read = self.chunk.read(&hold, at, &mut bytes);
        read.is_ok().then_some(bytes)
    }
}

#[test]
fn dirty_to_cold_frees_the_memory_and_keeps_the_rest() {
    let world = World::new();
    let (quota, used) = (world.chunk.quota(), world.account.budget.used());
    assert_eq!(used, CHUNK as u64);
    let cold = world.make_cold();
    assert_eq!(world.account.budget.used(), 0);
    assert_eq!((world.chunk.quota(), world.chunk.data_end()), (quota, LEN));
    assert_eq!((cold.location, cold.len), (place(1), LEN as u32));
    assert!(cold.identity.is_chunk() && cold.identity.index == 3);
    assert_eq!(world.read(0, 1), None);
    assert_eq!(
        world.read(LEN, 10),
        Some(vec![0; 10]),
        "a hole needs no bytes"
    );
    assert_eq!(world.stage(), Staged::Gone, "the slot is free");
    drop(world.chunk);
    assert_eq!(world.notes.read(), ["forget 1"]);
    assert_eq!(world.account.quota.used(), 0);
}

#[test]
fn cold_to_clean_to_cold_costs_no_copy() {
    let world = World::new();
    let cold = world.make_cold();
    let other = Identity {
        version: cold.identity.version + 1,
        ..cold.identity
    };
    assert!(!world.install(other), "other bytes");
    assert_eq!(
        world.account.budget.used(),
        0,
        "what was not taken is free again"
    );
    assert!(world.install(cold.identity));
    assert!(!world.install(cold.identity), "it is here already");
    assert_eq!(world.read(LEN - 1, 2), Some(vec![1, 0]));
    world.admit();
    assert_eq!(world.stage(), Staged::Clean);
    assert!(world.evict(None));
    assert_eq!(world.chunk.cold(), Some(cold));
    assert_eq!(
        world.notes.read(),
        [format!("admit {}", Memory::cost(LEN)), "remove 7".into()]
    );
}

#[test]
fn clean_to_dirty_forgets_the_copy() {
    let mut world = World::new();
    let cold = world.make_cold();
    assert!(world.install(cold.identity));
    world.admit();
    world.notes.read();
    world.chunk_mut().write(5, b"x");
    assert_eq!(world.notes.read(), ["forget 1", "changed"]);
    assert!(!world.evict(None), "no copy is known");
    assert_ne!(world.staged(), cold.identity, "other bytes, another name");
}

#[test]
fn a_change_after_staging_is_noticed() {
    let mut world = World::new();
    let identity = world.staged();
    world.chunk_mut().write(0, b"y");
    assert!(!world.evict(Some((identity, place(1)))));
    let identity = world.staged();
    world.chunk_mut().cut(10);
    assert!(!world.evict(Some((identity, place(1)))));
    assert_eq!(world.chunk.cold(), None);
    assert!(!world.chunk.relocate(place(1), place(2)));
}

#[test]
fn cutting_and_punching_narrow_what_is_cold() {
    let mut world = World::new();
    let cold = world.make_cold();
    assert!(!world.chunk.punch_needs_memory(BLOCK, 2 * BLOCK));
    assert!(world.chunk_mut().punch(BLOCK, 2 * BLOCK));
    world.chunk_mut().cut(2 * BLOCK + 5);
    assert_eq!(world.chunk.quota(), BLOCK as u64 + 5);
    assert!(
        !world.chunk_mut().punch(0, 10),
        "bytes would have to be written"
    );
    assert_eq!(
        world.chunk.cold(),
        Some(cold),
        "the copy is good for the rest"
    );
    assert!(world.install(cold.identity));
    let mut expected = vec![1; 2 * BLOCK + 10];
    expected[BLOCK..2 * BLOCK].fill(0);
    expected[2 * BLOCK + 5..].fill(0);
    assert_eq!(world.read(0, 2 * BLOCK + 10), Some(expected));
    world.admit();
    assert_eq!(world.stage(), Staged::Clean);
}

#[test]
fn a_cold_chunk_is_copied_only_where_its_bytes_are_not_needed() {
    let world = World::new();
    world.make_cold();
    let span = |start, end| Span {
        start,
        end,
        replaced: true,
        dropped: 0,
    };
    let copy = |keep, span| {
        world
            .chunk
            .copy_for(keep, CHUNK, span, 0, &mut 0)
            .expect("room")
    };
    assert!(copy(CHUNK, span(0, LEN - 1)).is_none());
    assert!(copy(CHUNK, span(0, LEN)).is_some());
    assert!(copy(0, Span::NONE).is_some());
    let dropped = world.chunk.punched_whole(0, CHUNK);
    assert!(
        copy(
            CHUNK,
            Span {
                dropped,
                ..Span::NONE
            }
        )
        .is_some()
    );
}

#[test]
fn a_relocated_copy_is_found_at_its_new_place() {
    let world = World::new();
    let cold = world.make_cold();
    assert!(!world.chunk.relocate(place(9), place(2)));
    assert!(world.chunk.relocate(place(1), place(2)));
    let moved = world.chunk.cold().expect("it is cold");
    assert_eq!((moved.location, moved.identity), (place(2), cold.identity));
}

#[test]
fn pins_and_evicting_exclude_each_other() {
    let world = World::new();
    let identity = world.staged();
    let pin = Chunk::pin(&world.chunk).expect("it is here");
    assert_eq!(world.stage(), Staged::Pinned);
    assert!(!world.evict(Some((identity, place(1)))));
    drop(pin);
    assert!(world.evict(Some((identity, place(1)))));
    assert!(
        Chunk::pin(&world.chunk).is_none(),
        "there is nothing to keep"
    );
}

#[test]
fn a_run_is_pinned_or_broken_but_never_both() {
    let run = Run::default();
    assert!(run.pin() && run.pin());
    assert!(run.is_pinned() && !run.break_up());
    run.unpin();
    assert!(!run.break_up());
    run.unpin();
    assert!(!run.is_pinned() && run.break_up() && run.break_up());
    assert!(run.is_broken() && !run.pin() && !run.is_pinned());
}

#[test]
fn a_reader_keeps_a_shared_chunk_from_going() {
    let world = World::new();
    let identity = world.staged();
    let reading = Chunk::look(&world.chunk, Alone::NO);
    assert_eq!(world.notes.read(), ["touch"]);
    assert!(!world.evict(Some((identity, place(1)))));
    drop(reading);
    assert!(world.evict(Some((identity, place(1)))));
}
