//! Counts everything anew and compares it with the counters. For tests.

use std::collections::HashSet;

use crate::base::sync::Arc;
use crate::cold::segment::{References, Rule};
use crate::fs::FileSystem;
use crate::memory::chunk::{Adopted, Chunk};
use crate::memory::content::Content;
use crate::memory::residence::Alone;
use crate::memory::tier::Location;
use crate::mover::Mover;
use crate::namespace::directory::DIRECTORY_COST;
use crate::namespace::inode::{Body, FileType, INODE_COST};
use crate::namespace::volume::ROOT;
use crate::namespace::walk::Walk;

#[derive(Default)]
struct Sums {
    quota: u64,
    resident: u64,
    chunks: HashSet<*const Chunk>,
    adopted: HashSet<*const Adopted>,
    tables: HashSet<*const ()>,
    /// Where units have copies on the disk.
    copies: Vec<Location>,
}

impl Sums {
    fn add_content(&mut self, content: &Content) {
        let (quota, resident) = content.charge();
        self.quota += quota;
        self.resident += resident;
        match content {
            Content::Cold { location, .. } => self.copies.push(*location),
            Content::Chunk(chunk) => self.add_chunk(chunk),
            Content::Table(table) if self.tables.insert(Arc::as_ptr(table).cast()) => {
                self.resident += table.charged();
                table.chunks().for_each(|(_, chunk)| self.add_chunk(chunk));
            }
            _ => {}
        }
    }

    fn add_chunk(&mut self, chunk: &Arc<Chunk>) {
        if !self.chunks.insert(Arc::as_ptr(chunk)) {
            return;
        }
        self.quota += chunk.quota();
        self.resident += chunk.charged();
        chunk.swing(&mut |location| {
            self.copies.push(location);
            None
        });
        let hold = Chunk::look(chunk, Alone::NO);
        if let Some((adopted, _)) = hold.slice_of()
            && self.adopted.insert(Arc::as_ptr(adopted))
        {
            self.resident += adopted.charged();
        }
    }
}

impl FileSystem {
    /// Counts everything anew and compares it with the counters. O(nodes and chunks).
    ///
    /// Exact while nobody changes the filesystem, no unlinked file is open, no view is alive and
    /// no other filesystem draws on the same budget.
    ///
    /// # Errors
    /// A sentence that names the first counter that is wrong.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<(), String> {
        self.audit_with(&[])
    }

    /// As [`FileSystem::audit`], where these share its quota and its budget: its snapshots and branches.
    ///
    /// # Errors
    /// As [`FileSystem::audit`].
    #[doc(hidden)]
    pub fn audit_with(&self, twins: &[FileSystem]) -> Result<(), String> {
        let mut found = Ok(());
        let mut count = || {
            found = match &self.shared.persistence {
                None => self.compare(twins, References::default(), Rule::Exact),
                Some(persistence) => {
                    let mut found = Ok(());
                    persistence.audit(&mut |held, rule| found = self.compare(twins, held, rule));
                    found
                }
            };
        };
        match self.volume().account.budget.tier() {
            Some(tier) => tier.while_still(&mut count),
            None => count(),
        }
        found
    }

    /// `held` are references to what is on the disk that nobody here has.
    fn compare(&self, twins: &[FileSystem], held: References, rule: Rule) -> Result<(), String> {
        let mut sums = Sums::default();
        for fs in twins.iter().chain([self]) {
            fs.count(&mut sums)?;
        }
        let stats = self.counters();
        let tier = self.volume().account.budget.tier();
        sums.resident += tier.map_or(0, |tier| tier.charged());
        expect("quota", sums.quota, stats.quota_used)?;
        expect("resident", sums.resident, stats.resident)?;
        self.compare_references(&sums.copies, held, rule)
    }

    /// Adds what the tree has, and compares how many nodes that are.
    fn count(&self, sums: &mut Sums) -> Result<(), String> {
        let (volume, mut nodes, mut kinds) = (self.volume(), HashSet::new(), [0; 3]);
        let mut walk = Walk::new(self.root().clone(), b"/");
        while let Some((node, _)) = walk.advance() {
            if !nodes.insert(node.number()) {
                continue;
            }
            kinds[node.kind() as usize] += 1;
            let state = node.read();
            sums.resident += state.body.node_cost();
            sums.resident += match node.number() {
                ROOT => 0,
                _ => INODE_COST,
            };
            if let Body::File(content) = &state.body {
                check_chunks(content)?;
                sums.add_content(content);
            }
        }
        sums.resident -= DIRECTORY_COST;
        let stats = self.counters();
        sums.resident += stats.cached_paths + volume.extras.charged() + volume.watches.charged();
        expect("nodes", nodes.len() as u64, stats.nodes)?;
        expect("files", kinds[FileType::File as usize], stats.files)?;
        let directories = kinds[FileType::Directory as usize];
        expect("directories", directories, stats.directories)
    }

    /// Compares what is counted of each record on the disk with those who have it.
    fn compare_references(
        &self,
        copies: &[Location],
        mut held: References,
        rule: Rule,
    ) -> Result<(), String> {
        let tier = self.volume().account.budget.tier();
        let tier: Option<&dyn std::any::Any> = tier.map(|tier| tier as _);
        let Some(mover) = tier.and_then(|tier| tier.downcast_ref::<Mover>()) else {
            return Ok(());
        };
        match mover.audit(copies, &mut held)? {
            Some(store) => store.audit(held, rule),
            None => Ok(()),
        }
    }
}

fn expect(what: &str, counted: u64, counter: u64) -> Result<(), String> {
    if counted == counter {
        return Ok(());
    }
    Err(format!(
        "{what}: counted {counted}, the counter says {counter}"
    ))
}

fn check_chunks(content: &Content) -> Result<(), String> {
    let check = |chunk: &Chunk| {
        if chunk.quota() == chunk.quota_needed() {
            return Ok(());
        }
        let (has, needs) = (chunk.quota(), chunk.quota_needed());
        Err(format!("{chunk:?} is charged {has} and needs {needs}"))
    };
    match content {
        Content::Chunk(chunk) => check(chunk),
        Content::Table(table) => table.chunks().try_for_each(|(_, chunk)| check(chunk)),
        _ => Ok(()),
    }
}
