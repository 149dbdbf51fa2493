//! What differs between the host's tree and what was last seen of it.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::cold::host_files::Stamp;
use crate::io::tree::{Listed, SIDE, TreeKind, TreeStat, join};
use crate::namespace::inode::{Body, FileType, Inode};
use crate::namespace::volume::ROOT;
use crate::persist::mirror::names::STALE;
use crate::persist::mirror::steps::{on_host, stat};

use super::{Difference, Merge, What};

impl Merge<'_> {
    pub(super) fn compare(&mut self) -> Result<Vec<Difference>, Fault> {
        let mut found = Vec::new();
        let mut open = vec![ROOT];
        while let Some(directory) = open.pop() {
            let path = self.mirror.files.directory(directory);
            let Some(listed) = self.list(&path)? else {
                continue;
            };
            let mut there: HashMap<Box<[u8]>, TreeStat, FixedState> = listed
                .into_iter()
                .map(|listed| (listed.name, listed.stat))
                .collect();
            for (name, child) in self.names.children(directory) {
                let path = join(&path, name);
                let what = match there.remove(name) {
                    None => Some(What::Removed),
                    Some(stat) => self.compare_one(child, &path, stat)?,
                };
                if self
                    .names
                    .node(child)
                    .is_some_and(|node| node.kind == FileType::Directory)
                    && what.is_none()
                {
                    open.push(child);
                }
                let spot = (directory, name.into());
                found.extend(what.map(|what| Difference { spot, path, what }));
            }
            let added = there.into_iter().map(|(name, stat)| Difference {
                path: join(&path, &name),
                spot: (directory, name),
                what: What::Added(stat),
            });
            found.extend(added);
        }
        // The order of names is nobody's business, but the same each time.
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    pub(super) fn compare_node(&self, number: u64) -> Result<Vec<Difference>, Fault> {
        let mut found = Vec::new();
        let homes = self.names.node(number).map(|node| node.homes.clone());
        for spot in homes.into_iter().flatten() {
            let path = self.names.path(spot.0, &spot.1);
            let there = stat(self.mirror.tree(), &path).map_err(|error| on_host(&path, error))?;
            let what = match there {
                None => Some(What::Removed),
                Some(stat) => self.compare_one(number, &path, stat)?,
            };
            found.extend(what.map(|what| Difference { spot, path, what }));
        }
        Ok(found)
    }

    fn compare_one(&self, child: u64, path: &[u8], stat: TreeStat) -> Result<Option<What>, Fault> {
        let Some(node) = self.names.node(child) else {
            return Ok(Some(What::Added(stat)));
        };
        if kind_of(stat.kind) != Some(node.kind) {
            return Ok(Some(What::Changed(stat)));
        }
        Ok(match node.kind {
            FileType::Directory => None,
            FileType::File => {
                let seen = node.file.and_then(|file| self.mirror.files.stamp(file));
                match seen {
                    Some(seen) if self.scope.is_same(&seen, &Stamp::from(&stat)) => {
                        let is_told = node.generation != STALE;
                        (!is_told && self.scope.is_opening()).then_some(What::Known(stat))
                    }
                    _ => Some(What::Changed(stat)),
                }
            }
            FileType::Symlink => {
                let target = self.mirror.tree().read_link(path);
                let target = target.map_err(|error| on_host(path, error))?;
                let is_same = |node: &Arc<Inode>| match &node.read().body {
                    Body::Symlink(known) => **known == *target,
                    _ => false,
                };
                let live = self.live.get(&child);
                live.is_some_and(|node| !is_same(node))
                    .then_some(What::Changed(stat))
            }
        })
    }

    /// What is in a directory, but for what cannot be mirrored. Nothing if it went.
    pub(super) fn list(&mut self, path: &[u8]) -> Result<Option<Vec<Listed>>, Fault> {
        let mut listed = match self.mirror.tree().list(path) {
            Ok(listed) => listed,
            Err(error) if !path.is_empty() && is_no_directory(&error) => return Ok(None),
            Err(error) => return Err(on_host(path, error)),
        };
        let before = listed.len();
        listed.retain(|listed| listed.stat.kind != TreeKind::Other);
        self.report.skipped += (before - listed.len()) as u64;
        listed.retain(|listed| !path.is_empty() || *listed.name != *SIDE);
        Ok(Some(listed))
    }
}

fn is_no_directory(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

pub(super) fn kind_of(kind: TreeKind) -> Option<FileType> {
    match kind {
        TreeKind::File => Some(FileType::File),
        TreeKind::Directory => Some(FileType::Directory),
        TreeKind::Symlink => Some(FileType::Symlink),
        TreeKind::Other => None,
    }
}
