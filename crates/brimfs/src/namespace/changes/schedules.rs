//! What must hold of the gate in every schedule, explored by shuttle.
//!
//! An operation changes two things and notes both; nobody who closes the gate may see the one without the other.

use super::*;
use crate::base::sync::thread;

/// An operation counts for this, in bytes: its two names of one byte.
const OPERATION: u64 = 2;

/// What is changed, and who commits it.
struct World {
    changes: Changes,
    first: AtomicU64,
    second: AtomicU64,
    /// Operations that commits found.
    kept: AtomicU64,
    /// Closes the gate for a look; commits do so one by one.
    commits: Mutex<()>,
    /// The next commits fail.
    is_broken: AtomicBool,
}

impl World {
    fn new(pending_max: u64) -> Arc<Self> {
        let world = Arc::new(World {
            changes: Changes::new(pending_max),
            first: AtomicU64::new(0),
            second: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            commits: Mutex::new(()),
            is_broken: AtomicBool::new(false),
        });
        let commits: Arc<dyn Commits> = world.clone();
        world.changes.attach(Arc::downgrade(&commits));
        world
    }

    fn step(&self, counter: &AtomicU64, directory: u64) {
        let _pass = self.changes.enter();
        let seen = counter.load(Ordering::SeqCst);
        thread::yield_now();
        counter.fetch_add(1, Ordering::SeqCst);
        self.changes.note_name(directory, b"a", None);
        assert!(counter.load(Ordering::SeqCst) > seen);
    }

    /// Changes both things within one pass of the gate, as whoever renames from one directory to another does: the
    /// passes within it are left in either order.
    fn operate(&self, is_turned: bool) {
        let operation = self.changes.enter();
        let pair = (self.changes.enter(), self.changes.enter());
        self.step(&self.first, 1);
        match is_turned {
            true => drop((pair.1, pair.0)),
            false => drop(pair),
        }
        self.step(&self.second, 2);
        drop(operation);
        assert_eq!(gate::depth(), 0);
    }

    fn count(batch: &Batch) -> u64 {
        let mut one = Group::new();
        one.push(&Record::EntryGone {
            directory: 1,
            name: b"a",
        })
        .expect("a name");
        assert_eq!(batch.names.len() % one.len(), 0);
        batch.names.len() / one.len()
    }

    /// What is there when all threads are done: everything is kept once somebody commits.
    fn assert_all_kept(&self, operations: u64) {
        self.is_broken.store(false, Ordering::SeqCst);
        self.commit().expect("nothing is broken");
        assert_eq!(self.kept.load(Ordering::SeqCst), 2 * operations);
    }
}

impl Commits for World {
    fn call(&self) -> bool {
        !self.is_broken.load(Ordering::SeqCst)
    }

    fn commit(&self) -> Result<(), Fault> {
        let _one = self.commits.lock();
        let closed = self.changes.close();
        let (first, second) = (
            self.first.load(Ordering::SeqCst),
            self.second.load(Ordering::SeqCst),
        );
        thread::yield_now();
        assert_eq!(first, second, "an operation is half done");
        let batch = closed.take();
        let found = World::count(&batch);
        let kept = self.kept.load(Ordering::SeqCst);
        assert_eq!(kept + found, first + second, "what was done is noted");
        drop(closed);
        if self.is_broken.load(Ordering::SeqCst) {
            self.changes.put_back(batch);
            return Err(ErrorKind::DiskFull.into());
        }
        self.kept.store(kept + found, Ordering::SeqCst);
        Ok(())
    }

    fn check(&self, _is_full: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn make_room(&self, _: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn is_each_call_durable(&self) -> bool {
        false
    }
}

fn spawn(world: &Arc<World>, work: impl FnOnce(&World) + Send + 'static) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || work(&world))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no thread panics");
    }
}

fn explore(schedule: fn()) {
    shuttle::check_random(schedule, 2000);
    shuttle::check_pct(schedule, 2000, 3);
}

#[test]
fn a_commit_sees_no_operation_half_done() {
    explore(|| {
        let world = World::new(u64::MAX);
        join([
            spawn(&world, |world| {
                world.operate(false);
                world.operate(true);
            }),
            spawn(&world, |world| world.operate(true)),
            spawn(&world, |world| {
                world.commit().expect("nothing is broken");
                world.commit().expect("nothing is broken");
            }),
        ]);
        world.assert_all_kept(3);
    });
}

#[test]
fn who_waits_for_a_commit_goes_on_after_it() {
    explore(|| {
        let world = World::new(OPERATION);
        let writers = [
            spawn(&world, |world| {
                world.operate(false);
                world.operate(true);
            }),
            spawn(&world, |world| world.operate(true)),
        ];
        // Whoever is called commits, as often as it takes.
        while world.kept.load(Ordering::SeqCst) < 6 {
            world.commit().expect("nothing is broken");
            thread::yield_now();
        }
        join(writers);
        world.assert_all_kept(3);
    });
}

#[test]
fn what_a_commit_could_not_keep_the_next_one_does() {
    explore(|| {
        let world = World::new(u64::MAX);
        world.is_broken.store(true, Ordering::SeqCst);
        let threads = [
            spawn(&world, |world| {
                world.operate(false);
                world.operate(true);
            }),
            spawn(&world, |world| {
                for _ in 0..2 {
                    let refused = world.commit().expect_err("it is broken");
                    assert_eq!(refused.kind(), ErrorKind::DiskFull);
                }
            }),
            // Removed nodes are noted outside of the gate.
            spawn(&world, |world| world.changes.note_gone(7)),
        ];
        join(threads);
        world.is_broken.store(false, Ordering::SeqCst);
        let closed = world.changes.close();
        let batch = closed.take();
        assert_eq!(World::count(&batch), 4);
        assert_eq!(batch.gone, [7]);
    });
}

#[test]
fn who_does_not_get_a_commit_does_not_wait_for_ever() {
    explore(|| {
        let world = World::new(OPERATION);
        world.is_broken.store(true, Ordering::SeqCst);
        let writer = spawn(&world, |world| {
            world.operate(false);
            world.operate(true);
            world.operate(false);
        });
        drop(world.commit());
        join([writer]);
        world.assert_all_kept(3);
    });
}
