//! A copy of a whole tree, as of one moment.
//!
//! Nodes and names are copied, content is shared: what is written on either side afterwards belongs to that side alone. A
//! node has the number that it was copied from, so both sides can be compared. 100,000 files take some 30 milliseconds,
//! in which nobody changes anything.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::base::sync::{Arc, Weak};
use crate::memory::content::Content;
use crate::namespace::changes::Changes;
use crate::namespace::directory::Directory;
use crate::namespace::inode::{Body, FileType, Inode, State};
use crate::namespace::volume::Volume;

/// What may be done with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing but reading.
    Frozen,
    /// Everything.
    Writable,
}

/// The root of a copy of the tree below `root`, in a volume of its own that is charged where this one is. O(nodes).
///
/// # Errors
/// The limits, for nodes and names and for content of a few bytes, which is copied. Nothing is left then.
pub(crate) fn twin(root: &Arc<Inode>, kind: Kind) -> Result<Arc<Inode>, Fault> {
    let changes = match kind {
        Kind::Frozen => Some(Box::new(Changes::none())),
        Kind::Writable => None,
    };
    let source = root.volume();
    let _still = source.close_gate(root);
    let (volume, made) = source.beside(changes)?;
    let mut copier = Copier {
        volume: &volume,
        linked: HashMap::default(),
        rest: vec![(root.clone(), made.clone())],
    };
    copy_traits(root, &root.read(), &made)?;
    while let Some((from, to)) = copier.rest.pop() {
        copier.names(&from, &to)?;
    }
    Ok(made)
}

struct Copier<'a> {
    volume: &'a Arc<Volume>,
    /// Copies of nodes with several names.
    linked: HashMap<u64, Arc<Inode>, FixedState>,
    /// Directories, and their copies that have no names yet.
    rest: Vec<(Arc<Inode>, Arc<Inode>)>,
}

impl Copier<'_> {
    fn names(&mut self, from: &Arc<Inode>, to: &Arc<Inode>) -> Result<(), Fault> {
        let state = from.read();
        let Some(map) = state.directory() else {
            return Ok(());
        };
        let parent = match to.read().directory() {
            Some(made) => made.parent.clone(),
            None => Weak::new(),
        };
        let budget = &self.volume.account.budget;
        let copy = map.twin(parent, budget, |node| self.node(node, to))?;
        to.write_quietly().body = Body::Directory(Box::new(copy));
        Ok(())
    }

    fn node(&mut self, from: &Arc<Inode>, parent: &Arc<Inode>) -> Result<Arc<Inode>, Fault> {
        if let Some(known) = self.linked.get(&from.number()) {
            return Ok(known.clone());
        }
        let mut state = from.write_quietly();
        let made = bare_node(self.volume, &state, from.number(), Arc::downgrade(parent))?;
        copy_content(from, &mut state, &made)?;
        copy_traits(from, &state, &made)?;
        match from.kind() {
            FileType::Directory => self.rest.push((from.clone(), made.clone())),
            _ if state.links > 1 => {
                self.linked.insert(from.number(), made.clone());
            }
            _ => {}
        }
        Ok(made)
    }
}

/// Gives a node that nobody else sees all that another one has beside names and content.
pub(super) fn copy_traits(from: &Inode, state: &State, made: &Inode) -> Result<(), Fault> {
    let traits = from.traits_for(made.volume(), state)?;
    let mut to = made.write_quietly();
    made.take_traits(&mut to, traits);
    to.set_generation(state.generation());
    to.links = state.links;
    Ok(())
}

/// Gives a file the content of another one, which is locked, in place of nothing.
pub(super) fn copy_content(
    from: &Arc<Inode>,
    state: &mut State,
    made: &Arc<Inode>,
) -> Result<(), Fault> {
    if let Some(content) = twin_content(from, state)? {
        let is_shared = content.shared().is_some();
        if let Some(to) = made.write_quietly().content_mut() {
            *to = content;
        }
        // A tier that wakes later takes a census of all trees.
        if is_shared && from.account().budget.is_tracking() {
            made.note_copy_of(from);
        }
    }
    Ok(())
}

/// The content of a file, which is locked, for another one.
pub(super) fn twin_content(from: &Arc<Inode>, state: &mut State) -> Result<Option<Content>, Fault> {
    let who = from.who(state);
    let Some(content) = state.content_mut() else {
        return Ok(None);
    };
    let copy = content.twin(&who)?;
    if copy.shared().is_some() {
        // What is another form now has another slot.
        from.track(state, 0, 1);
    }
    Ok(Some(copy))
}

/// A node without names for what another one is, which is locked; a file is empty. With this number.
pub(super) fn bare_node(
    volume: &Arc<Volume>,
    state: &State,
    number: u64,
    parent: Weak<Inode>,
) -> Result<Arc<Inode>, Fault> {
    let body = match &state.body {
        Body::File(_) => Body::File(Content::Empty),
        Body::Directory(_) => Body::Directory(Box::new(Directory::new(parent))),
        Body::Symlink(target) => Body::Symlink(target.clone()),
    };
    volume.restore_node(body, number)
}
