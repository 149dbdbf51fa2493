//! A tree gets what changed in a copy of it, unless both sides changed the same.
//!
//! Both are compared with the tree that they were once. A third tree is built aside that has the changes of both, and
//! the one tree becomes that one, as with [`restore`](super::restore()).

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::handle::lock::{self, Mode};
use crate::handle::node::explained;
use crate::handle::wait::Wait;
use crate::namespace::changes::Changes;
use crate::namespace::inode::{HAS_FAR_TIMES, Inode};
use crate::namespace::path;
use crate::namespace::volume::{ROOT, Volume};
use crate::namespace::walk::Walk;

use super::delta::{ByNumber, Delta, Names};
use super::restore::become_what;
use super::twin::{bare_node, copy_content, copy_traits};

/// What became of an attempt to commit.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It is done.
    Done,
    /// Both sides changed what is, or was, at this path.
    Conflict(Vec<u8>),
    /// Somebody has the lock of a file that it changes. To be tried again.
    Locked(Arc<Inode>, Vec<u8>),
}

/// A file lock, held beyond a call as a writer does.
#[derive(Debug)]
pub(crate) struct Held(Arc<Inode>);

impl Held {
    /// # Errors
    /// Those of a file lock.
    pub(crate) fn wait(node: Arc<Inode>, wait: Wait) -> Result<Self, Fault> {
        lock::acquire(&node.lock, Mode::Exclusive, wait)
            .map_err(|fault| explained(fault, &node, wait))?;
        Ok(Held(node))
    }

    fn is_of(&self, node: &Arc<Inode>) -> bool {
        Arc::ptr_eq(&self.0, node)
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock::release(&self.0.lock, Mode::Exclusive);
    }
}

/// Gives the tree below `root` what was changed below `work` since both were as the one below `base`, as one step. Nobody
/// changes `work` meanwhile. Of the file locks that it takes the caller may have some. O(nodes).
///
/// # Errors
/// As [`restore`](super::restore()). Nothing is changed then, nor where the answer is another one than
/// [`Committed::Done`].
pub(crate) fn commit(
    root: &Arc<Inode>,
    base: &Arc<Inode>,
    work: &Arc<Inode>,
    locked: &[Held],
) -> Result<Committed, Fault> {
    let mine = Delta::of(base, work);
    if mine.is_empty() {
        return Ok(Committed::Done);
    }
    let mut refused = None;
    let done = become_what(root, || {
        let theirs = Delta::of(base, root);
        let mut conflict = |spot: &Spot| {
            refused = Some(Committed::Conflict(spot.path(base)));
            ErrorKind::Conflict
        };
        if let Some(spot) = meeting(&mine, &theirs) {
            return Err(conflict(&spot).into());
        }
        let to = match theirs.is_empty() {
            true => work.clone(),
            false => merge(base, work, &mine, &theirs)?.map_err(|spot| conflict(&spot))?,
        };
        let held = hold_files(&mine, root, locked).map_err(|busy| {
            refused = Some(busy);
            ErrorKind::WouldBlock
        })?;
        Ok((to, held))
    });
    match (refused, done) {
        (Some(refused), Err(_)) => Ok(refused),
        (_, done) => done.map(|()| Committed::Done),
    }
}

/// What both sides changed.
enum Spot {
    /// A node of the older tree.
    Node(u64),
    /// A name in a directory of it.
    Name(u64, Box<[u8]>),
}

impl Spot {
    /// Where it is in the older tree.
    fn path(&self, base: &Arc<Inode>) -> Vec<u8> {
        let (number, name) = match self {
            Spot::Node(number) => (*number, None),
            Spot::Name(number, name) => (*number, Some(name)),
        };
        let mut walk = Walk::new(base.clone(), b"/");
        while let Some((node, _)) = walk.advance() {
            if node.number() == number {
                let path = walk.current_path();
                return name.map_or_else(|| path.to_vec(), |name| path::join(path, name));
            }
        }
        name.map_or_else(Vec::new, |name| name.to_vec())
    }
}

/// Something that both sides changed.
fn meeting(mine: &Delta, theirs: &Delta) -> Option<Spot> {
    let twice = mine
        .touched
        .keys()
        .filter(|number| theirs.touched.contains_key(*number));
    let named = mine.names.iter().filter_map(|(number, names)| {
        let others = theirs.names.get(number)?;
        let name = names.keys().find(|name| others.contains_key(*name))?;
        Some(Spot::Name(*number, name.clone()))
    });
    // What is new in a directory that the other side removed.
    let lost = [(mine, theirs), (theirs, mine)]
        .into_iter()
        .flat_map(|(one, other)| {
            let changed = one.names.keys();
            changed
                .filter(|number| other.gone.contains(*number))
                .map(|number| Spot::Node(*number))
        });
    let twice = twice.map(|number| Spot::Node(*number));
    twice.chain(named).chain(lost).next()
}

/// Locks the files of the tree below `root` that change, but for those that are `locked`, or says which one somebody else
/// has locked.
fn hold_files(mine: &Delta, root: &Arc<Inode>, locked: &[Held]) -> Result<Vec<Held>, Committed> {
    let mut held: Vec<Held> = Vec::new();
    let mut walk = Walk::new(root.clone(), b"/");
    while let Some((node, _)) = walk.advance() {
        let is_held = |held: &Held| held.is_of(&node);
        let is_changed = !node.is_directory() && mine.touched.contains_key(&node.number());
        // One with several names comes several times.
        if !is_changed
            || node.read().links > 1 && held.iter().any(is_held)
            || locked.iter().any(is_held)
        {
            continue;
        }
        match Held::wait(node.clone(), Wait::Now) {
            Ok(lock) => held.push(lock),
            Err(_) => return Err(Committed::Locked(node, walk.current_path().to_vec())),
        }
    }
    Ok(held)
}

/// A tree with the changes of both sides, or a directory that would be inside itself.
fn merge(
    base: &Arc<Inode>,
    work: &Arc<Inode>,
    mine: &Delta,
    theirs: &Delta,
) -> Result<Result<Arc<Inode>, Spot>, Fault> {
    let (volume, made) = base.volume().beside(Some(Box::new(Changes::none())))?;
    let mut merger = Merger {
        volume: &volume,
        next: base.volume().next_number(),
        mine,
        theirs,
        linked: ByNumber::default(),
        known: 0,
        rest: Vec::new(),
    };
    let from = merger.source(work);
    copy_traits(&from, &from.read(), &made)?;
    merger.rest.push((work.clone(), made.clone()));
    while let Some((from, to)) = merger.rest.pop() {
        merger.names(&from, &to)?;
    }
    let expected = mine.known - mine.gone.len() - theirs.gone.len();
    if merger.known == expected {
        return Ok(Ok(made));
    }
    let moved = mine
        .touched
        .values()
        .flatten()
        .find(|node| node.is_directory());
    Ok(Err(Spot::Node(moved.map_or(ROOT, |node| node.number()))))
}

struct Merger<'a> {
    volume: &'a Arc<Volume>,
    /// The number that no node of the older tree has, nor any greater one.
    next: u64,
    mine: &'a Delta,
    theirs: &'a Delta,
    /// Copies of nodes with several names.
    linked: ByNumber<Arc<Inode>>,
    /// How many directories of the older tree are there.
    known: usize,
    /// Directories, and their copies that have no names yet.
    rest: Vec<(Arc<Inode>, Arc<Inode>)>,
}

impl Merger<'_> {
    /// The side of a node that changed, if one did.
    fn source(&self, node: &Arc<Inode>) -> Arc<Inode> {
        let touched = self.theirs.touched.get(&node.number());
        touched.and_then(Option::as_ref).unwrap_or(node).clone()
    }

    fn names(&mut self, from: &Arc<Inode>, to: &Arc<Inode>) -> Result<(), Fault> {
        let number = from.number();
        to.write_quietly().links = 2;
        // One that only they have stands for itself.
        let own = self.mine.directories.get(&number).unwrap_or(from).clone();
        let none = Names::default();
        let changed = self.theirs.names.get(&number).unwrap_or(&none);
        if number < self.next {
            self.known += 1;
            self.keep_time(to, [Some(&own), self.theirs.directories.get(&number)]);
        }
        let state = own.read();
        let kept = state
            .directory()
            .into_iter()
            .flat_map(|names| names.iter_from(0));
        let kept = kept.filter(|(name, _, _)| !changed.contains_key(*name));
        for (name, node, _) in kept {
            self.add(to, name, node)?;
        }
        for (name, node) in changed {
            if let Some(node) = node {
                self.add(to, name, node)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, to: &Arc<Inode>, name: &[u8], from: &Arc<Inode>) -> Result<(), Fault> {
        let node = self.node(from, to)?;
        let mut state = to.write_quietly();
        if let Some(names) = state.directory_mut() {
            names.reserve(name, &self.volume.account.budget)?;
            names.subdirectories += u32::from(node.is_directory());
            names.insert(name, node);
            state.links = 2 + state.directory().map_or(0, |names| names.subdirectories);
        }
        Ok(())
    }

    fn node(&mut self, from: &Arc<Inode>, parent: &Arc<Inode>) -> Result<Arc<Inode>, Fault> {
        if let Some(known) = self.linked.get(&from.number()) {
            return Ok(known.clone());
        }
        let source = self.source(from);
        let mut state = source.write_quietly();
        let made = bare_node(self.volume, &state, source.number(), Arc::downgrade(parent))?;
        copy_content(&source, &mut state, &made)?;
        copy_traits(&source, &state, &made)?;
        if source.is_directory() {
            self.rest.push((from.clone(), made.clone()));
        } else if state.links > 1 {
            self.linked.insert(source.number(), made.clone());
        }
        Ok(made)
    }

    /// Names on both sides may have changed: the later change is when the directory was modified.
    fn keep_time(&self, made: &Inode, sides: [Option<&Arc<Inode>>; 2]) {
        let modified = sides
            .into_iter()
            .flatten()
            .map(|side| side.read().times.modified)
            .max();
        let mut state = made.write_quietly();
        if let (Some(modified), 0) = (modified, state.mode & HAS_FAR_TIMES) {
            state.times.modified = modified;
        }
    }
}
