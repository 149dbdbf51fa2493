//! Counts everything anew and compares it with the counters. For tests.

use std::collections::HashSet;

use crate::base::sync::Arc;
use crate::fs::FileSystem;
use crate::memory::chunk::{Adopted, Chunk};
use crate::memory::content::Content;
use crate::memory::residence::Alone;
use crate::namespace::directory::DIRECTORY_COST;
use crate::namespace::inode::{Body, FileType, INODE_COST};
use crate::namespace::volume::ROOT;
use crate::namespace::walk::Walk;

#[derive(Default)]
struct Sums {
    quota: u64,
    resident: u64,
    kinds: [u64; 3],
    nodes: HashSet<u64>,
    chunks: HashSet<*const Chunk>,
    adopted: HashSet<*const Adopted>,
    tables: HashSet<*const ()>,
}

impl Sums {
    fn add_content(&mut self, content: &Content) {
        let (quota, resident) = content.charge();
        self.quota += quota;
        self.resident += resident;
        match content {
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
        let mut found = Ok(());
        let mut count = || found = self.compare();
        match self.volume().account.budget.tier() {
            Some(tier) => tier.while_still(&mut count),
            None => count(),
        }
        found
    }

    fn compare(&self) -> Result<(), String> {
        let volume = self.volume();
        let mut sums = Sums::default();
        let mut walk = Walk::new(self.root().clone(), b"/");
        while let Some((node, _)) = walk.advance() {
            if !sums.nodes.insert(node.number()) {
                continue;
            }
            sums.kinds[node.kind() as usize] += 1;
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
        let tier = volume.account.budget.tier();
        sums.resident += tier.map_or(0, |tier| tier.charged());
        sums.resident += stats.cached_paths + volume.extras.charged();
        let expect = |what: &str, counted: u64, counter: u64| {
            if counted == counter {
                Ok(())
            } else {
                Err(format!(
                    "{what}: counted {counted}, the counter says {counter}"
                ))
            }
        };
        expect("quota", sums.quota, stats.quota_used)?;
        expect("nodes", sums.nodes.len() as u64, stats.nodes)?;
        expect("files", sums.kinds[FileType::File as usize], stats.files)?;
        let directories = sums.kinds[FileType::Directory as usize];
        expect("directories", directories, stats.directories)?;
        expect("resident", sums.resident, stats.resident)
    }
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
