//! Who watches names and content, and what they are told.
//!
//! Who changes a name or content tells it with the lock of the directory, or of the file, still held, so that events
//! of one name come in the order of its changes. Telling takes the lock of the watch for a moment and waits for nobody: what
//! has no room is counted. Without a watch all of it is one look at a flag.
//!
//! Lock order: nodes, then a watch. No lock of a node is taken with that of a watch held.

mod event;
mod scope;

use std::fmt;

use crate::base::error::Fault;
use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{Arc, Mutex};
use crate::memory::budget::Budget;
use crate::namespace::inode::Inode;
use crate::namespace::volume::ROOT;

use event::Queue;
pub(crate) use event::Wake;
pub use event::{Event, EventKind};
use scope::{Scope, Spot};

/// The watches of a volume.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    is_watched: AtomicBool,
    all: Mutex<Vec<Arc<Watcher>>>,
}

impl Watches {
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    fn all(&self) -> Vec<Arc<Watcher>> {
        self.all.lock().clone()
    }

    /// Whether the node is a watched directory, or above one.
    pub(crate) fn is_above_one(&self, node: &Inode) -> bool {
        let all = self.all.lock();
        let mut scopes = all.iter().map(|watcher| watcher.inner.lock());
        scopes.any(|inner| inner.scope.is_below(node.number()))
    }

    fn add(&self, watcher: &Arc<Watcher>) {
        let mut all = self.all.lock();
        all.push(Arc::clone(watcher));
        self.is_watched.store(true, Ordering::SeqCst);
    }

    pub(crate) fn remove(&self, watcher: &Arc<Watcher>) {
        watcher.close();
        let mut all = self.all.lock();
        all.retain(|other| !Arc::ptr_eq(other, watcher));
        self.is_watched.store(!all.is_empty(), Ordering::SeqCst);
    }

    /// Nothing happens any more.
    pub(crate) fn end(&self) {
        for watcher in self.all() {
            watcher.end();
        }
    }

    /// Memory for what watches know, in bytes.
    pub(crate) fn charged(&self) -> u64 {
        let all = self.all.lock();
        all.iter().map(|watcher| watcher.inner.lock().charged).sum()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.end();
    }
}

/// What somebody watches, and what happened there that he has not read yet.
pub(crate) struct Watcher {
    inner: Mutex<Inner>,
    budget: Budget,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

struct Inner {
    scope: Scope,
    queue: Queue,
    /// Memory for the names that it knows, in bytes.
    charged: u64,
    /// There was no memory for a name: what happens to unknown files may have happened here.
    is_blind: bool,
}

/// What is there to be read.
pub(crate) enum Polled {
    Event(Event),
    Nothing,
    Ended,
}

/// From the root to a directory: numbers and names, of which the first is empty.
pub(crate) type Chain = Vec<(u64, Box<[u8]>)>;

/// A watched place: the way to a directory, by numbers and names, and the only name in it, if it is not all of them.
pub(crate) struct Target {
    pub(crate) chain: Chain,
    pub(crate) only: Option<Box<[u8]>>,
    pub(crate) is_recursive: bool,
}

impl Watcher {
    /// Begins to watch. What happens meanwhile is told or not. O(names watched).
    ///
    /// # Errors
    /// There is no memory for the names.
    pub(crate) fn begin(
        directory: &Arc<Inode>,
        target: Target,
        capacity: usize,
    ) -> Result<Arc<Self>, Fault> {
        let Target {
            chain,
            only,
            is_recursive,
        } = target;
        let watcher = Arc::new(Watcher {
            inner: Mutex::new(Inner {
                scope: Scope::new(chain, only, is_recursive),
                queue: Queue::new(capacity),
                charged: 0,
                is_blind: false,
            }),
            budget: directory.account().budget.clone(),
        });
        let watches = &directory.volume().watches;
        watches.add(&watcher);
        watcher
            .enter(directory, false)
            .inspect_err(|_| watches.remove(&watcher))?;
        Ok(watcher)
    }

    pub(crate) fn poll(&self, parks: bool) -> Polled {
        let mut inner = self.inner.lock();
        match inner.queue.pop() {
            Some(event) => Polled::Event(event),
            None if inner.queue.has_ended() => Polled::Ended,
            None => {
                if parks {
                    inner.queue.park_here();
                }
                Polled::Nothing
            }
        }
    }

    /// Calls this at the next event, or at once if there is one.
    pub(crate) fn call(&self, wake: Wake) {
        self.inner.lock().queue.call(wake);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.inner.lock().queue.has_ended()
    }

    /// Nobody reads any more.
    pub(crate) fn close(&self) {
        self.end();
        self.inner.lock().queue.clear();
    }

    /// Nothing is told any more. What was is there to be read.
    fn end(&self) {
        let mut inner = self.inner.lock();
        inner.queue.end();
        self.budget.release_name(std::mem::take(&mut inner.charged));
    }

    /// Learns the names below a directory, and tells of them if they are new here.
    ///
    /// # Errors
    /// There was no memory for a name.
    fn enter(&self, directory: &Arc<Inode>, tells: bool) -> Result<(), Fault> {
        let mut done = Ok(());
        let mut open = vec![Arc::clone(directory)];
        while let Some(directory) = open.pop() {
            let state = directory.read();
            let Some(names) = state.directory() else {
                continue;
            };
            // With the directory locked: who changes it next finds it known.
            let mut inner = self.inner.lock();
            for (name, child, _) in names.iter_from(0) {
                let number = directory.number();
                let spot = (number, Box::from(name));
                let is_known = inner
                    .scope
                    .knows(&spot, child.number(), child.is_directory());
                let Some(path) = inner.scope.path(number, name).filter(|_| !is_known) else {
                    continue;
                };
                done = done.and(self.know(&mut inner, spot, child));
                if tells {
                    inner.tell(EventKind::Created, path, None, child);
                }
            }
            if inner.scope.is_recursive() {
                let below = names.iter_from(0).map(|(_, child, _)| child);
                open.extend(below.filter(|child| child.is_directory()).cloned());
            }
        }
        done
    }

    /// Notes where a node is, if there is memory for that.
    fn know(&self, inner: &mut Inner, spot: Spot, node: &Inode) -> Result<(), Fault> {
        let is_directory = node.is_directory();
        if inner.queue.has_ended() || is_directory && !inner.scope.is_recursive() {
            return Ok(());
        }
        let cost = Scope::cost(&spot.1);
        let reserved = self.budget.reserve_name(cost);
        if reserved.is_err() {
            inner.is_blind = true;
            return reserved;
        }
        inner.charged += cost;
        inner.scope.add(spot, node.number(), is_directory);
        self.settle(inner);
        Ok(())
    }

    /// As [`Watcher::know`], of what has happened already: without memory it is blind from now on.
    fn follow_to(&self, inner: &mut Inner, spot: Spot, node: &Inode) {
        let _ = self.know(inner, spot, node);
    }

    fn forget(&self, inner: &mut Inner, spot: &Spot, node: &Inode) {
        inner.scope.remove(spot, node.number(), node.is_directory());
        self.settle(inner);
    }

    /// Gives back what the names that it knows do not cost.
    fn settle(&self, inner: &mut Inner) {
        if let Some(less) = inner.charged.checked_sub(inner.scope.footprint())
            && less > 0
        {
            inner.charged -= less;
            self.budget.release_name(less);
        }
    }

    fn created(&self, directory: u64, name: &[u8], node: &Arc<Inode>) {
        let mut inner = self.inner.lock();
        let Some(path) = inner.scope.path(directory, name) else {
            return inner.miss();
        };
        self.follow_to(&mut inner, (directory, name.into()), node);
        inner.tell(EventKind::Created, path, None, node);
        let is_recursive = inner.scope.is_recursive();
        drop(inner);
        if is_recursive && node.is_directory() {
            // Blind from now on, if not all could be learnt.
            let _ = self.enter(node, true);
        }
    }

    fn removed(&self, directory: u64, name: &[u8], node: &Inode) {
        let mut inner = self.inner.lock();
        match inner.scope.path(directory, name) {
            Some(path) => {
                self.forget(&mut inner, &(directory, name.into()), node);
                inner.tell(EventKind::Removed, path, None, node);
            }
            None => inner.miss(),
        }
        inner.lose(node);
    }

    fn moved(&self, change: &Move<'_>) {
        let Move { from, to, node, .. } = *change;
        let mut inner = self.inner.lock();
        let old = inner.scope.path(from.0, from.1);
        let new = inner.scope.path(to.0, to.1);
        let (was, is) = ((from.0, from.1.into()), (to.0, to.1.into()));
        if new.is_some()
            && let Some(replaced) = change.replaced
        {
            self.forget(&mut inner, &is, replaced);
        }
        match (old, new) {
            (Some(old), Some(new)) => {
                if !node.is_directory() {
                    self.forget(&mut inner, &was, node);
                }
                // A directory keeps what is below it.
                self.follow_to(&mut inner, is, node);
                inner.queue.forget_all();
                inner.tell(EventKind::Moved, new, Some(old), node);
            }
            (Some(old), None) => {
                self.forget(&mut inner, &was, node);
                inner.tell(EventKind::Removed, old, None, node);
            }
            (None, Some(_)) => {
                drop(inner);
                self.created(to.0, to.1, node);
                inner = self.inner.lock();
            }
            (None, None) => inner.miss(),
        }
        if let Some(replaced) = change.replaced {
            inner.lose(replaced);
        }
        inner.follow(node, to.1, change.above[0].as_ref());
    }

    fn exchanged(&self, change: &Move<'_>, other: &Arc<Inode>) {
        let Move { from, to, node, .. } = *change;
        let mut inner = self.inner.lock();
        let old = inner.scope.path(from.0, from.1);
        let new = inner.scope.path(to.0, to.1);
        let (was, is) = ((from.0, from.1.into()), (to.0, to.1.into()));
        match (old, new) {
            (Some(old), Some(new)) => {
                for (spot, node) in [(&was, node), (&is, other)] {
                    if !node.is_directory() {
                        self.forget(&mut inner, spot, node);
                    }
                }
                self.follow_to(&mut inner, is, node);
                self.follow_to(&mut inner, was, other);
                inner.queue.forget_all();
                inner.tell(EventKind::Exchanged, new, Some(old), node);
            }
            (Some(_), None) => {
                self.forget(&mut inner, &was, node);
                drop(inner);
                self.created(from.0, from.1, other);
                inner = self.inner.lock();
            }
            (None, Some(_)) => {
                self.forget(&mut inner, &is, other);
                drop(inner);
                self.created(to.0, to.1, node);
                inner = self.inner.lock();
            }
            (None, None) => inner.miss(),
        }
        inner.follow(node, to.1, change.above[0].as_ref());
        inner.follow(other, from.1, change.above[1].as_ref());
    }

    fn happened(&self, kind: EventKind, node: &Inode) {
        let mut inner = self.inner.lock();
        let paths = inner.scope.paths(node.number());
        if paths.is_empty() {
            return inner.miss();
        }
        if let [path] = &paths[..] {
            let event = event(kind, path.clone(), None, node);
            return inner.queue.push_once(event, node.number());
        }
        // By all of its names, of which an unread one does not stand for the others.
        for path in paths {
            inner
                .queue
                .push(event(kind, path, None, node), node.number());
        }
    }
}

impl Inner {
    fn tell(&mut self, kind: EventKind, path: Vec<u8>, from: Option<Vec<u8>>, node: &Inode) {
        self.queue.forget(node.number());
        let event = event(kind, path, from, node);
        self.queue.push(event, node.number());
    }

    /// If this was the watched directory nothing will happen there any more.
    fn lose(&mut self, node: &Inode) {
        if self.scope.is_below(node.number()) {
            if !self.scope.has_only_a_name() {
                let path = self.scope.top_path();
                self.tell(EventKind::Removed, path, None, node);
            }
            self.queue.end();
        }
    }

    /// Something happened to what it does not know.
    fn miss(&mut self) {
        if self.is_blind {
            self.queue.drop_one();
        }
    }

    /// The watched directory moves with one that is it or above it.
    fn follow(&mut self, node: &Inode, name: &[u8], above: Option<&Chain>) {
        if let Some(chain) = above
            && self.scope.is_below(node.number())
        {
            let old = self.scope.top_path();
            self.scope.move_chain(node.number(), name, chain.clone());
            if !self.scope.has_only_a_name() {
                let new = self.scope.top_path();
                self.queue.forget_all();
                self.tell(EventKind::Moved, new, Some(old), node);
            }
        }
    }
}

fn event(kind: EventKind, path: Vec<u8>, from: Option<Vec<u8>>, node: &Inode) -> Event {
    Event {
        kind,
        path,
        from,
        file_type: node.kind(),
    }
}

/// A name that becomes another one.
pub(crate) struct Move<'a> {
    pub(crate) from: (u64, &'a [u8]),
    pub(crate) to: (u64, &'a [u8]),
    pub(crate) node: &'a Arc<Inode>,
    pub(crate) replaced: Option<&'a Arc<Inode>>,
    /// The ways to where it goes, and to where the other one goes, if a watched directory moves with them.
    pub(crate) above: [Option<Chain>; 2],
}

/// A name leads to a node from now on. The directory is locked, and the node is not.
#[inline]
pub(crate) fn created(directory: &Inode, name: &[u8], node: &Arc<Inode>) {
    let watches = &directory.volume().watches;
    if watches.is_watched() {
        each(watches, |watcher| {
            watcher.created(directory.number(), name, node)
        });
    }
}

/// A name is gone. The directory is locked.
#[inline]
pub(crate) fn removed(directory: &Inode, name: &[u8], node: &Inode) {
    let watches = &directory.volume().watches;
    if watches.is_watched() {
        each(watches, |watcher| {
            watcher.removed(directory.number(), name, node)
        });
    }
}

/// A name became another one. Both directories are locked, and the node is not.
#[inline]
pub(crate) fn moved(change: &Move<'_>) {
    let watches = &change.node.volume().watches;
    if watches.is_watched() {
        each(watches, |watcher| watcher.moved(change));
    }
}

/// Two names changed places. Both directories are locked, and the nodes are not.
pub(crate) fn exchanged(change: &Move<'_>, other: &Arc<Inode>) {
    let watches = &change.node.volume().watches;
    if watches.is_watched() {
        each(watches, |watcher| watcher.exchanged(change, other));
    }
}

/// The content of a file changed. Its state is locked.
#[inline]
pub(crate) fn modified(file: &Inode) {
    let watches = &file.volume().watches;
    if watches.is_watched() {
        each(watches, |watcher| {
            watcher.happened(EventKind::Modified, file)
        });
    }
}

/// Content of a file left memory. Its state is locked.
#[inline]
pub(crate) fn spilled(file: &Inode) {
    let watches = &file.volume().watches;
    if watches.is_watched() {
        each(watches, |watcher| {
            watcher.happened(EventKind::Spilled, file)
        });
    }
}

#[cold]
fn each(watches: &Watches, tell: impl Fn(&Watcher)) {
    for watcher in watches.all() {
        tell(&watcher);
    }
}

/// The way from the root to a directory. No directory moves meanwhile. O(names in the directories on it).
pub(crate) fn chain_of(directory: &Arc<Inode>) -> Option<Chain> {
    let mut chain = Vec::new();
    let mut at = Arc::clone(directory);
    loop {
        if at.number() == ROOT {
            chain.push((ROOT, Box::default()));
            chain.reverse();
            return Some(chain);
        }
        let above = at.read().directory()?.parent.upgrade()?;
        let name = {
            let state = above.read();
            let mut names = state.directory()?.iter_from(0);
            let (name, _, _) = names.find(|(_, child, _)| Arc::ptr_eq(child, &at))?;
            Box::from(name)
        };
        chain.push((at.number(), name));
        at = above;
    }
}
