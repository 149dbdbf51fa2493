//! What a watch tells, and where it waits to be read.

use std::collections::{HashSet, VecDeque};
use std::mem;

use crate::base::sync::thread;
use crate::namespace::inode::FileType;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The name came to be: something was made, linked, copied or moved here from where nobody watches. If something else
    /// had the name before, that was replaced.
    Created,
    /// The content of the file changed. Several changes that nobody has read yet are one event.
    Modified,
    /// The name was changed from [`Event::from`] to [`Event::path`], with all that is below. If something else had the new name, that
    /// was replaced.
    Moved,
    /// The two names changed places, with all that is below.
    Exchanged,
    /// The name is gone: removed, or moved to where nobody watches; of a directory with all that is below.
    Removed,
    /// Content of the file left memory for the disk. Several times that nobody has read yet are one event.
    Spilled,
    /// So many events that came here are missing, because nobody read the ones before.
    Dropped(u64),
}

/// One event of a [`Watch`](crate::Watch).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Where, as of then: an absolute path without symbolic links. Empty for [`EventKind::Dropped`].
    pub path: Vec<u8>,
    /// The other path of [`EventKind::Moved`] and [`EventKind::Exchanged`].
    pub from: Option<Vec<u8>>,
    /// What is, or was, at the path.
    pub file_type: FileType,
}

/// How somebody who waits for an event is told that there is one.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// Events that nobody has read yet: so many at the most, and marks where some are missing.
pub(super) struct Queue {
    events: VecDeque<(Event, u64)>,
    capacity: usize,
    /// Files whose events of a kind are there to be read, and say all that a later one would.
    unread: HashSet<(u64, bool)>,
    has_ended: bool,
    parked: Vec<thread::Thread>,
    wake: Option<Wake>,
}

/// A node that no event is told of twice.
pub(super) const NOBODY: u64 = 0;

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Queue {
            events: VecDeque::new(),
            capacity: capacity.max(1),
            unread: HashSet::new(),
            has_ended: false,
            parked: Vec::new(),
            wake: None,
        }
    }

    /// Adds an event of a node, or counts it as dropped.
    pub(super) fn push(&mut self, event: Event, node: u64) {
        if self.has_ended {
            return;
        }
        if self.events.len() >= self.capacity {
            self.drop_one();
            return;
        }
        self.add(event, node);
    }

    /// As [`Queue::push`], of what is said once until it is read.
    pub(super) fn push_once(&mut self, event: Event, node: u64) {
        let key = (node, event.kind == EventKind::Spilled);
        if !self.unread.contains(&key) {
            if self.events.len() < self.capacity && !self.has_ended {
                self.unread.insert(key);
            }
            self.push(event, node);
        }
    }

    /// Counts an event that is not told.
    pub(super) fn drop_one(&mut self) {
        if self.has_ended {
            return;
        }
        if let Some((last, _)) = self.events.back_mut()
            && let EventKind::Dropped(count) = &mut last.kind
        {
            *count += 1;
            return;
        }
        let event = Event {
            kind: EventKind::Dropped(1),
            path: Vec::new(),
            from: None,
            file_type: FileType::File,
        };
        self.add(event, NOBODY);
    }

    fn add(&mut self, event: Event, node: u64) {
        self.events.push_back((event, node));
        self.tell();
    }

    /// From now on later events of a node are told again.
    pub(super) fn forget(&mut self, node: u64) {
        self.unread.remove(&(node, false));
        self.unread.remove(&(node, true));
    }

    /// The same of all nodes.
    pub(super) fn forget_all(&mut self) {
        self.unread.clear();
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let (event, node) = self.events.pop_front()?;
        match event.kind {
            EventKind::Modified => drop(self.unread.remove(&(node, false))),
            EventKind::Spilled => drop(self.unread.remove(&(node, true))),
            _ => {}
        }
        Some(event)
    }

    pub(super) fn end(&mut self) {
        self.has_ended = true;
        self.tell();
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.unread.clear();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Has this thread unparked at the next event.
    pub(super) fn park_here(&mut self) {
        self.parked.push(thread::current());
    }

    /// Has this called once, at the next event; at once if there is something to be read.
    pub(super) fn call(&mut self, wake: Wake) {
        match self.events.is_empty() && !self.has_ended {
            true => self.wake = Some(wake),
            false => wake(),
        }
    }

    fn tell(&mut self) {
        for thread in mem::take(&mut self.parked) {
            thread.unpark();
        }
        if let Some(wake) = self.wake.take() {
            wake();
        }
    }
}
