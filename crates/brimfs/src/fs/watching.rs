//! Being told what happens.

use std::fmt;
use std::time::Duration;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::sync::{Arc, Weak};
use crate::fs::FileSystem;
use crate::fs::names::existing_name;
use crate::handle::wait::Patience;
use crate::memory::small::with_reclaim;
use crate::namespace::path::AsPath;
use crate::namespace::resolve;
use crate::namespace::volume::Volume;
use crate::namespace::watch::{Event, Polled, Target, Wake, Watcher, chain_of};

/// How many events wait to be read, unless somebody says otherwise.
const CAPACITY: usize = 4096;

/// What to watch, and how; see [`FileSystem::watch`].
#[derive(Clone, Debug)]
pub struct WatchOptions {
    is_recursive: bool,
    capacity: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions {
            is_recursive: false,
            capacity: CAPACITY,
        }
    }
}

impl WatchOptions {
    /// The names of one directory, and 4,096 events.
    #[must_use]
    pub fn new() -> Self {
        WatchOptions::default()
    }

    /// Also what is below the directories in it, at any depth.
    #[must_use]
    pub fn recursive(mut self, is_recursive: bool) -> Self {
        self.is_recursive = is_recursive;
        self
    }

    /// How many events wait to be read at the most, one at least; what comes then is counted as
    /// [dropped](crate::EventKind::Dropped).
    #[must_use]
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// As [`FileSystem::watch`].
    pub fn watch(&self, fs: &FileSystem, path: impl AsPath) -> Result<Watch> {
        let path = path.as_path_bytes();
        if fs.is_snapshot() {
            let text = "a snapshot never changes: there is nothing to watch";
            return Err(Fault::text(ErrorKind::ReadOnly, text).at("watch", path));
        }
        let canonical = fs.canonicalize(path)?;
        let begin = || {
            let root = fs.root();
            let _moves = root.volume().moves.lock();
            let node = resolve::resolve(root, &canonical, false)?.node;
            let (directory, only) = match node.is_directory() {
                true => (node, None),
                false => {
                    let place = resolve::place(root, &canonical)?;
                    let (name, _) = existing_name(&place)?;
                    (place.directory.clone(), Some(Box::from(name)))
                }
            };
            let target = Target {
                chain: chain_of(&directory).ok_or(ErrorKind::NotFound)?,
                is_recursive: self.is_recursive && only.is_none(),
                only,
            };
            Watcher::begin(&directory, target, self.capacity)
        };
        let begun = with_reclaim(&fs.volume().account, true, begin);
        let watcher = begun.map_err(|fault: Fault| fault.at("watch", path))?;
        // Somebody may have closed it meanwhile.
        if fs.is_closed() {
            fs.volume().watches.end();
        }
        Ok(Watch {
            watcher,
            volume: Arc::downgrade(fs.root().volume()),
        })
    }
}

/// What happened below a path, to be read; an iterator that waits. Dropping it ends it.
pub struct Watch {
    watcher: Arc<Watcher>,
    volume: Weak<Volume>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// The next event, if there is one.
    #[must_use]
    pub fn try_next(&self) -> Option<Event> {
        match self.watcher.poll(false) {
            Polled::Event(event) => Some(event),
            Polled::Nothing | Polled::Ended => None,
        }
    }

    /// Whether there will be no event any more, but those that can be read: the filesystem was closed, or the watched directory
    /// removed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.watcher.has_ended()
    }

    /// Waits for the next event, so long at the most. `None` if there was none or there will be none any more.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`].
    pub fn next_within(&self, limit: Option<Duration>) -> Result<Option<Event>> {
        let mut patience = Patience::new(limit);
        loop {
            match self.watcher.poll(true) {
                Polled::Event(event) => return Ok(Some(event)),
                Polled::Ended => return Ok(None),
                Polled::Nothing if patience.exhausted() => return Ok(None),
                Polled::Nothing => {}
            }
            if patience.interrupted() {
                return Err(Fault::from(ErrorKind::Interrupted).during("watch"));
            }
            patience.park();
        }
    }

    /// Ends it: what is not read is forgotten.
    pub fn close(&self) {
        match self.volume.upgrade() {
            Some(volume) => volume.watches.remove(&self.watcher),
            None => self.watcher.close(),
        }
    }

    /// Has `wake` called once on any thread when there is something to be read or it has ended; at once if that is so.
    /// It must wait for nothing and call nothing of this crate.
    #[doc(hidden)]
    pub fn call_at_next(&self, wake: Wake) {
        self.watcher.call(wake);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for each event; ends when there will be none any more, or at an interrupt.
impl Iterator for &Watch {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_within(None).ok().flatten()
    }
}

impl FileSystem {
    /// Watches a directory, or with [`WatchOptions::recursive`] all below it, or one name: what is created, modified, moved,
    /// removed and spilled there is told in order, to be read from the [`Watch`].
    ///
    /// Nobody waits for who reads: what there is no room for is counted as [dropped](crate::EventKind::Dropped). The
    /// path is followed if the directory moves; a watched directory that is removed ends the watch, a watched name stays. Takes
    /// O(names watched) time, and their memory and 96 bytes for each.
    ///
    /// ```
    /// use brimfs::EventKind;
    ///
    /// let fs = brimfs::FileSystem::new()?;
    /// let watch = fs.watch("/")?;
    /// fs.write("/a", "1")?;
    /// fs.rename("/a", "/b")?;
    /// let kinds: Vec<_> = std::iter::from_fn(|| watch.try_next()).map(|event| event.kind).collect();
    /// assert_eq!(kinds, [EventKind::Created, EventKind::Moved]);
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of looking the path up; [`ErrorKind::MemoryLimit`]; [`ErrorKind::ReadOnly`] of a snapshot, which never changes.
    pub fn watch(&self, path: impl AsPath) -> Result<Watch> {
        WatchOptions::new().watch(self, path)
    }
}
