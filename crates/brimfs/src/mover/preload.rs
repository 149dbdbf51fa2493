//! Cold → memory ahead of use, by a thread of its own.
//!
//! One task after the other, in the order of their files, several units by one call of the store. The
//! thread is started when there is something to do and ends when there is nothing left; it holds the
//! mover only from one batch to the next.

use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::base::error::{Error, ErrorKind, Fault, LimitInfo};
use crate::base::fork;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak, thread};
use crate::base::trace;
use crate::cold::segment::{Read, Store};
use crate::memory::chunk::Memory;
use crate::memory::tier::{Installed, Residents, Tier};

use super::fault_in::Coming;
use super::gc::Moved;
use super::watch::LOW;
use super::{Mover, split};

/// What one call of the store reads, in bytes of memory and in units.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_UNITS: usize = 256;

/// What a preload did.
#[derive(Debug)]
#[non_exhaustive]
pub struct PreloadReport {
    /// How many of the files were in memory as a whole when their turn was over.
    pub files: u64,
    /// What was brought in.
    pub loaded: Moved,
    /// What went wrong, at most once for each path.
    pub errors: Vec<Error>,
    /// Whether it ended early because of [`Preload::cancel`], or because the filesystem was closed.
    pub cancelled: bool,
    /// From the call to the end.
    pub duration: Duration,
}

/// Files on their way into memory; see [`FileSystem::preload`](crate::FileSystem::preload).
///
/// A clone is another handle of the same task. Dropping all of them lets it go on.
#[derive(Clone)]
pub struct Preload(Arc<Task>);

impl Preload {
    /// Sets the preloads of this process apart.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Whether it has ended, one way or another.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.report.get().is_some()
    }

    /// Waits until it has ended, for so long at the most if a limit is given; whether it has. A
    /// forked child does not wait: what its parent began does not go on there.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while !self.is_done() && self.0.born == fork::generation() {
            if !self.0.enlist() {
                break;
            }
            match until {
                None => thread::park(),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    thread::park_timeout(left);
                }
            }
        }
        self.is_done()
    }

    /// What it did, once it has ended.
    #[must_use]
    pub fn result(&self) -> Option<&PreloadReport> {
        self.0.report.get()
    }

    /// Ends it after what is being read just now. What came in stays.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Preload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_done() { "done" } else { "under way" };
        write!(
            f,
            "Preload({}, {} files, {state})",
            self.id(),
            self.0.files.len()
        )
    }
}

/// A file to bring in, and what it is called; or why it cannot be.
pub(crate) struct Wish {
    pub(crate) path: Box<[u8]>,
    pub(crate) file: Result<Weak<dyn Residents>, Fault>,
}

/// A file of a task.
struct Entry {
    path: Box<[u8]>,
    /// Unless it could not be found.
    file: Option<Weak<dyn Residents>>,
}

struct Task {
    id: u64,
    /// The filesystem that it is for.
    owner: u32,
    /// The process that it lives in.
    born: u32,
    begun: Instant,
    files: Vec<Entry>,
    cancelled: AtomicBool,
    /// Locked by the thread only, for as long as it reads.
    progress: Mutex<Progress>,
    report: OnceLock<PreloadReport>,
    /// Threads to wake at the end.
    waiters: Mutex<Vec<thread::Thread>>,
}

#[derive(Default)]
struct Progress {
    /// The file whose turn it is, and the unit in it.
    file: usize,
    unit: u64,
    loaded: Moved,
    /// Memory that what was brought in takes, in bytes, and how much it may take.
    taken: u64,
    allowed: Option<u64>,
    /// By the number of the file.
    faults: Vec<(usize, Fault)>,
}

impl Progress {
    fn next_file(&mut self) {
        (self.file, self.unit) = (self.file + 1, 0);
    }

    fn fail(&mut self, file: usize, fault: Fault) {
        if self.faults.iter().all(|(failed, _)| *failed != file) {
            self.faults.push((file, fault));
        }
    }
}

impl Task {
    fn new(owner: u32, wishes: Vec<Wish>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut progress = Progress::default();
        let mut files = Vec::with_capacity(wishes.len());
        for (number, wish) in wishes.into_iter().enumerate() {
            let file = wish.file.map_err(|fault| progress.fail(number, fault));
            files.push(Entry {
                path: wish.path,
                file: file.ok(),
            });
        }
        Task {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            owner,
            born: fork::generation(),
            begun: Instant::now(),
            files,
            cancelled: AtomicBool::new(false),
            progress: Mutex::new(progress),
            report: OnceLock::new(),
            waiters: Mutex::new(Vec::new()),
        }
    }

    /// Has the calling thread woken at the end; false if that has come.
    fn enlist(&self) -> bool {
        let mut waiters = self.waiters.lock();
        if self.report.get().is_some() {
            return false;
        }
        let me = thread::current();
        if waiters.iter().all(|waiter| waiter.id() != me.id()) {
            waiters.push(me);
        }
        true
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn finish(&self, cancelled: bool) {
        let mut progress = self.progress.lock();
        let mut faults = std::mem::take(&mut progress.faults);
        faults.sort_by_key(|(file, _)| *file);
        let seen = progress.file.min(self.files.len()) as u64;
        let failed = faults.iter().filter(|(file, _)| *file < progress.file);
        let report = PreloadReport {
            files: seen - failed.count() as u64,
            loaded: progress.loaded,
            errors: faults
                .into_iter()
                .map(|(file, fault)| fault.at("preload", &self.files[file].path))
                .collect(),
            cancelled,
            duration: self.begun.elapsed(),
        };
        drop(progress);
        // The first end counts.
        let _ = self.report.set(report);
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.iter().for_each(thread::Thread::unpark);
    }
}

/// The tasks that have not ended, and whether a thread works on them.
#[derive(Default)]
pub(super) struct Preloads {
    tasks: VecDeque<Arc<Task>>,
    /// The process that the thread lives in.
    worker: Option<u32>,
}

impl Preloads {
    /// Ends all of them.
    pub(super) fn abandon(&mut self) {
        for task in self.tasks.drain(..) {
            if task.born == fork::generation() {
                task.finish(true);
            }
        }
    }
}

/// A task for files of a filesystem that has nothing cold.
pub(crate) fn preloaded(owner: u32, wishes: Vec<Wish>) -> Preload {
    let task = Arc::new(Task::new(owner, wishes));
    task.progress.lock().file = task.files.len();
    task.finish(false);
    Preload(task)
}

fn work(mover: &Weak<Mover>) {
    while let Some(mover) = mover.upgrade() {
        match mover.next_task() {
            Some(task) => mover.load_some(&task),
            None => return,
        }
    }
}

/// A unit to read, and the number of its file.
struct Wanted {
    file: usize,
    holder: Arc<dyn Residents>,
    coming: Coming,
}

impl Mover {
    /// Brings files in, after those that were asked for before.
    pub(crate) fn preload(&self, owner: u32, wishes: Vec<Wish>) -> Preload {
        let task = Arc::new(Task::new(owner, wishes));
        let mut preloads = self.preloads.lock();
        preloads.tasks.push_back(task.clone());
        let here = Some(fork::generation());
        if preloads.worker != here {
            preloads.worker = here;
            let mover = self.watch.mover();
            thread::spawn(move || work(&mover));
        }
        Preload(task)
    }

    /// Ends all preloads for a filesystem, and waits until nothing is read for it any more.
    pub(crate) fn cancel_preloads(&self, owner: u32) {
        let is_ours = |task: &&Arc<Task>| task.owner == owner;
        let ours: Vec<Preload> = {
            let preloads = self.preloads.lock();
            let ours = preloads.tasks.iter().filter(is_ours);
            ours.cloned().map(Preload).collect()
        };
        ours.iter().for_each(Preload::cancel);
        for task in ours {
            task.wait(None);
        }
    }

    /// The task to work on; without one the thread is about to end.
    fn next_task(&self) -> Option<Arc<Task>> {
        let mut preloads = self.preloads.lock();
        preloads.tasks.retain(|task| {
            if task.is_cancelled() && task.report.get().is_none() {
                task.finish(true);
            }
            task.report.get().is_none()
        });
        let next = preloads.tasks.front().cloned();
        if next.is_none() {
            preloads.worker = None;
        }
        next
    }

    /// Brings one batch in, or ends the task if nothing is left.
    fn load_some(&self, task: &Task) {
        let mut progress = task.progress.lock();
        let allowed = *progress.allowed.get_or_insert_with(|| self.preload_room());
        let batch = self.wanted(task, &mut progress, allowed);
        match self.opened() {
            Some(store) if !batch.is_empty() => self.load(&store, batch, &mut progress),
            _ => {
                let is_over = progress.file >= task.files.len();
                drop(progress);
                if is_over {
                    task.finish(false);
                }
            }
        }
    }

    /// What a task may bring in without pushing out what it brought in itself: what memory holds
    /// at the low mark, except what does not leave it. In bytes.
    fn preload_room(&self) -> u64 {
        let Some(budget) = self.budget.upgrade() else {
            return 0;
        };
        let fixed = budget.used().saturating_sub(self.books.lock().bytes());
        (budget.usable() / 100 * LOW).saturating_sub(fixed)
    }

    /// The next cold units of a task, with memory for them.
    fn wanted(&self, task: &Task, progress: &mut Progress, allowed: u64) -> Vec<Wanted> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_UNITS {
            let file = progress.file;
            let Some(entry) = task.files.get(file) else {
                break;
            };
            let Some(holder) = entry.file.as_ref().and_then(Weak::upgrade) else {
                progress.fail(file, ErrorKind::NotFound.into());
                progress.next_file();
                continue;
            };
            let Some((index, cold)) = holder.next_cold(progress.unit) else {
                progress.next_file();
                continue;
            };
            let cost = Memory::cost(cold.len as usize) as u64;
            let room = match progress.taken + cost <= allowed {
                true => self.room(&holder, cold.len as usize),
                false => Err(no_room(cost, progress.taken, allowed)),
            };
            match room {
                Ok(filled) => {
                    bytes += cost;
                    progress.taken += cost;
                    progress.unit = index + 1;
                    let coming = Coming {
                        index,
                        cold,
                        filled,
                    };
                    batch.push(Wanted {
                        file,
                        holder,
                        coming,
                    });
                }
                Err(fault) => {
                    progress.fail(file, fault);
                    progress.next_file();
                }
            }
        }
        batch
    }

    fn load(&self, store: &Store, mut batch: Vec<Wanted>, progress: &mut Progress) {
        trace::span!("preload", units = batch.len());
        let reads = batch.iter_mut().map(|wanted| {
            let Coming { cold, filled, .. } = &mut wanted.coming;
            let (ticket, extent) = split(cold.location);
            Read {
                id: self.naming.id(cold.identity, ticket),
                extent,
                offset: 0,
                into: filled.bytes_mut(),
            }
        });
        let results = store.read_many(reads.collect());
        for (wanted, result) in batch.into_iter().zip(results) {
            let Wanted {
                file,
                holder,
                coming,
            } = wanted;
            let (index, bytes) = (coming.index, u64::from(coming.cold.len));
            let installed = match result {
                Ok(()) => self.arrive(&holder, coming),
                Err(_) => Installed::Stale,
            };
            if let Some(slot) = installed.slot() {
                // It is about to be used: that counts as an access already.
                self.touch(slot);
            }
            if installed == Installed::Stale
                && let Err(fault) = self.fault_in_unit(&holder, index)
            {
                progress.fail(file, fault);
                continue;
            }
            progress.loaded.add(bytes);
            self.counters.preloaded(bytes);
        }
    }
}

#[cold]
fn no_room(requested: u64, used: u64, limit: u64) -> Fault {
    let info = LimitInfo {
        requested,
        used,
        limit,
    };
    Fault::limit(ErrorKind::MemoryLimit, info)
}
