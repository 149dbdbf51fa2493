//! A tree becomes what it was.
//!
//! Everything that can fail comes first and changes nothing that anybody sees: content is shared, nodes that are
//! missing and directories that differ are built aside. What is the same stays as it is, open handles and all.

use std::mem;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::clock;
use crate::base::error::Fault;
use crate::base::sync::{Arc, Weak};
use crate::memory::content::Content;
use crate::namespace::changes::CHANGE;
use crate::namespace::directory::Directory;
use crate::namespace::inode::{HAS_FAR_TIMES, Inode};
use crate::namespace::restored::Traits;
use crate::namespace::tree::note_name;
use crate::namespace::volume::Volume;
use crate::namespace::walk::Walk;
use crate::namespace::watch;

use super::diff::{Origin, is_same, is_same_body, origin};
use super::twin::{bare_node, copy_content, copy_traits, twin_content};

/// Gives the tree below `root` the names, content and attributes that the one below `to` has, which nobody changes. As
/// one step. O(nodes).
///
/// # Errors
/// The limits, [`ReadOnly`](crate::ErrorKind::ReadOnly), and what a disk says that takes no more. Nothing is changed
/// then.
pub(crate) fn restore(root: &Arc<Inode>, to: &Arc<Inode>) -> Result<(), Fault> {
    become_what(root, || Ok((to.clone(), ())))
}

/// As [`restore`], to the tree that `choose` names when nobody changes this one any more. What comes with that tree is
/// dropped at the end.
///
/// # Errors
/// Those of `choose`, too.
pub(super) fn become_what<R>(
    root: &Arc<Inode>,
    mut choose: impl FnMut() -> Result<(Arc<Inode>, R), Fault>,
) -> Result<(), Fault> {
    let volume = root.volume();
    loop {
        if let Some(changes) = &volume.changes {
            changes.check()?;
        }
        let still = volume.close_gate(root);
        let (to, kept) = choose()?;
        let mut plan = Plan::new(volume);
        plan.nodes(root, &to)?;
        plan.names(root, &to)?;
        let cost = plan.cost();
        match &volume.changes {
            Some(changes) if !changes.has_room(cost) => {
                drop((plan, still, kept));
                changes.make_room(cost)?;
            }
            _ => {
                let moving = volume.cache.begin_move();
                let left = plan.apply();
                drop((moving, still));
                volume.cache.clear();
                // What only open handles keep goes with them, outside of all locks.
                drop((left, kept));
                return Ok(());
            }
        }
    }
}

/// A node that is to have what another one has.
struct Changed {
    node: Arc<Inode>,
    like: Arc<Inode>,
    /// Nothing where the node keeps its own.
    content: Option<Content>,
    traits: Traits,
}

/// A directory that gets other names.
struct Renamed {
    node: Arc<Inode>,
    names: Directory,
    /// When it had got them, in nanoseconds.
    modified: i64,
}

struct Plan<'a> {
    volume: &'a Arc<Volume>,
    /// The nodes with a name, those that keep one taken out.
    left: HashMap<Origin, Arc<Inode>, FixedState>,
    /// The node that stands for each one of the other tree, by its number there.
    stands: HashMap<u64, Arc<Inode>, FixedState>,
    changed: Vec<Changed>,
    /// Files and links that get another number of names.
    links: Vec<(Arc<Inode>, u32)>,
    renamed: Vec<Renamed>,
    /// Directories that may have moved, and where they are.
    parents: Vec<(Arc<Inode>, Weak<Inode>)>,
}

impl Drop for Plan<'_> {
    fn drop(&mut self) {
        for renamed in self.renamed.drain(..) {
            drop(renamed.names.give_up(&self.volume.account.budget));
        }
        for changed in self.changed.drain(..) {
            changed.traits.discard(&self.volume.account.budget);
            if let Some(content) = changed.content {
                content.release(&self.volume.account);
            }
        }
    }
}

impl<'a> Plan<'a> {
    fn new(volume: &'a Arc<Volume>) -> Self {
        Plan {
            volume,
            left: HashMap::default(),
            stands: HashMap::default(),
            changed: Vec::new(),
            links: Vec::new(),
            renamed: Vec::new(),
            parents: Vec::new(),
        }
    }

    /// Finds the node that stands for each one of the other tree, or makes it.
    fn nodes(&mut self, root: &Arc<Inode>, to: &Arc<Inode>) -> Result<(), Fault> {
        let mut walk = Walk::new(root.clone(), b"/");
        while let Some((node, _)) = walk.advance() {
            self.left.insert(origin(&node), node);
        }
        self.left.remove(&origin(root));
        self.node(root.clone(), to)?;
        let mut walk = Walk::new(to.clone(), b"/");
        // The root stands for the root, whenever it was created.
        let _ = walk.advance();
        while let Some((like, _)) = walk.advance() {
            if self.stands.contains_key(&like.number()) {
                continue;
            }
            match self.left.remove(&origin(&like)) {
                Some(node) => self.node(node, &like)?,
                None => self.new_node(&like)?,
            }
        }
        Ok(())
    }

    /// A node that is there stands for one of the other tree.
    fn node(&mut self, node: Arc<Inode>, like: &Arc<Inode>) -> Result<(), Fault> {
        self.stands.insert(like.number(), node.clone());
        let links = like.read().links;
        if !like.is_directory() && node.read().links != links {
            self.links.push((node.clone(), links));
        }
        if is_same(&node, like) {
            return Ok(());
        }
        let mut state = like.write_quietly();
        let mut content = None;
        if !is_same_body(&node.read(), &state) {
            content = twin_content(like, &mut state)?;
        }
        let traits = like.traits_for(self.volume, &state);
        if let (Err(_), Some(content)) = (&traits, content.take_if(|_| traits.is_err())) {
            content.release(&self.volume.account);
        }
        let changed = Changed {
            node,
            like: like.clone(),
            content,
            traits: traits?,
        };
        self.changed.push(changed);
        Ok(())
    }

    fn new_node(&mut self, like: &Arc<Inode>) -> Result<(), Fault> {
        let mut state = like.write_quietly();
        let number = self.volume.take_number();
        let node = bare_node(self.volume, &state, number, Weak::new())?;
        copy_content(like, &mut state, &node)?;
        copy_traits(like, &state, &node)?;
        self.stands.insert(like.number(), node);
        Ok(())
    }

    /// Builds the names of each directory that has other ones.
    fn names(&mut self, root: &Arc<Inode>, to: &Arc<Inode>) -> Result<(), Fault> {
        let mut rest = vec![(root.clone(), to.clone(), Weak::new())];
        while let Some((node, like, parent)) = rest.pop() {
            let state = like.read();
            let Some(names) = state.directory() else {
                continue;
            };
            for (_, child, _) in names
                .iter_from(0)
                .filter(|(_, child, _)| child.is_directory())
            {
                let stands = self.stand_in(child);
                rest.push((stands, child.clone(), Arc::downgrade(&node)));
            }
            if !self.has_names(&node, names) {
                let budget = &self.volume.account.budget;
                let twin = names.twin(parent.clone(), budget, |child| Ok(self.stand_in(child)))?;
                self.renamed.push(Renamed {
                    node: node.clone(),
                    names: twin,
                    modified: state.times.modified,
                });
            }
            self.parents.push((node, parent));
        }
        Ok(())
    }

    fn stand_in(&self, like: &Inode) -> Arc<Inode> {
        let node = self.stands.get(&like.number());
        node.expect("every node of the other tree was looked at")
            .clone()
    }

    fn has_names(&self, node: &Inode, wanted: &Directory) -> bool {
        let state = node.read();
        let is_there = |names: &Directory| {
            names.len() == wanted.len()
                && wanted.iter_from(0).all(|(name, like, _)| {
                    let there = names.get(name);
                    there.is_some_and(|there| Arc::ptr_eq(there, &self.stand_in(like)))
                })
        };
        state.directory().is_some_and(is_there)
    }

    /// What a commit writes of it at the most, in bytes.
    fn cost(&self) -> u64 {
        let content = |node: &Inode| node.cost_when_new();
        let changed = self.changed.iter().map(|changed| content(&changed.like));
        let names = self
            .renamed
            .iter()
            .flat_map(|renamed| renamed.names.iter_from(0));
        let named = names.map(|(_, node, _)| content(node) + CHANGE);
        let gone = self.left.len() as u64 * CHANGE;
        changed.sum::<u64>() + named.sum::<u64>() + gone
    }

    /// Does it; returns what is to be dropped when no lock is held.
    fn apply(mut self) -> Vec<Arc<Inode>> {
        let now = clock::wall_nanos();
        let mut gone = Vec::new();
        for changed in mem::take(&mut self.changed) {
            changed.apply(now);
        }
        for (node, links) in mem::take(&mut self.links) {
            let mut state = node.write();
            state.links = links;
            state.times.node_changed(now);
        }
        for renamed in mem::take(&mut self.renamed) {
            renamed.apply(now, &mut gone);
        }
        for (node, parent) in mem::take(&mut self.parents) {
            if let Some(names) = node.write_quietly().directory_mut() {
                names.parent = parent;
            }
        }
        for node in mem::take(&mut self.left).into_values() {
            let mut state = node.write();
            state.links = 0;
            state.times.node_changed(now);
            let budget = &self.volume.account.budget;
            if let Some(names) = state.directory_mut() {
                for (name, child, _) in names.iter_from(0) {
                    note_name(&node, name, None);
                    watch::removed(&node, name, child);
                }
                gone.extend(names.take_all(budget));
            }
            drop(state);
            gone.push(node);
        }
        gone
    }
}

impl Changed {
    fn apply(self, now: i64) {
        let Changed {
            node,
            like,
            content,
            traits,
        } = self;
        let mut state = node.write();
        node.take_traits(&mut state, traits);
        if let Some(content) = content {
            let len = content.len();
            let before = state.content_mut().map(|to| mem::replace(to, content));
            state.content_restored();
            node.track(&mut state, 0, len);
            node.note_content(&mut state, len);
            watch::modified(&node);
            drop(state);
            node.note_copy_of(&like);
            if let Some(before) = before {
                before.release(node.account());
            }
            state = node.write();
        }
        state.times.node_changed(now);
        node.tell_priority(&state);
    }
}

impl Renamed {
    /// The nodes whose names go are added to `gone`.
    fn apply(self, now: i64, gone: &mut Vec<Arc<Inode>>) {
        let Renamed {
            node,
            mut names,
            modified,
        } = self;
        let mut state = node.write();
        state.links = 2 + names.subdirectories;
        state.times.node_changed(now);
        if state.mode & HAS_FAR_TIMES == 0 {
            state.times.modified = modified;
        }
        let Some(had) = state.directory_mut() else {
            return;
        };
        for (name, child, _) in had.iter_from(0) {
            if names.get(name).is_none() {
                note_name(&node, name, None);
                watch::removed(&node, name, child);
            }
        }
        for (name, child, _) in names.iter_from(0) {
            if had.get(name).is_none_or(|had| !Arc::ptr_eq(had, child)) {
                note_name(&node, name, Some(child));
                child.note(&mut child.write_quietly());
                if let Some(replaced) = had.get(name) {
                    watch::removed(&node, name, replaced);
                }
                watch::created(&node, name, child);
            }
        }
        names.follow(had);
        let had = mem::replace(had, names);
        gone.extend(had.give_up(&node.account().budget));
    }
}
