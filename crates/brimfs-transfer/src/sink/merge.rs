//! Moving a filled directory into one that exists: all of it, or nothing.

use brimfs::face::Fault;
use brimfs::{Error, ErrorKind, FileSystem, RenameMode};

use super::{Conflict, join};
use crate::failure::Outcome;

/// What was moved, to be taken back.
enum Step {
    Moved(Vec<u8>),
    Exchanged(Vec<u8>),
}

/// Moves what is in `from` into `to`, node by node; what was replaced is left in `from`. Directories that exist
/// keep their permissions. After a failure everything is where it was.
pub(super) fn merge(
    fs: &FileSystem,
    from: &[u8],
    to: &[u8],
    conflict: Conflict,
    op: &'static str,
) -> Outcome<()> {
    let mut steps = Vec::new();
    let merged = try_merge(fs, (from, to), conflict, op, &mut steps);
    if merged.is_err() {
        for step in steps.iter().rev() {
            // Somebody else may have changed what was moved: theirs stays then.
            drop(match step {
                Step::Moved(name) => {
                    fs.rename_with(join(to, name), join(from, name), RenameMode::NoReplace)
                }
                Step::Exchanged(name) => exchange(fs, &join(from, name), &join(to, name)),
            });
        }
    }
    Ok(merged?)
}

fn try_merge(
    fs: &FileSystem,
    (from, to): (&[u8], &[u8]),
    conflict: Conflict,
    op: &'static str,
    steps: &mut Vec<Step>,
) -> Result<(), Error> {
    let mut directories = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs.read_dir(join(from, &directory))? {
            let name = join(&directory, entry.name());
            let name = name.strip_prefix(b"/").unwrap_or(&name).to_vec();
            let (source, target) = (join(from, &name), join(to, &name));
            match fs.rename_with(&source, &target, RenameMode::NoReplace) {
                Ok(()) => {
                    steps.push(Step::Moved(name));
                    continue;
                }
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Err(_) => {}
            }
            let there = fs.symlink_metadata(&target)?;
            let is_directory = entry.file_type() == brimfs::FileType::Directory;
            let kind = match (is_directory, there.is_dir(), conflict) {
                (true, true, _) => {
                    directories.push(name);
                    continue;
                }
                (true, false, _) => ErrorKind::NotADirectory,
                (false, true, _) => ErrorKind::IsADirectory,
                (false, false, Conflict::Skip) => continue,
                (false, false, Conflict::Raise) => ErrorKind::AlreadyExists,
                (false, false, Conflict::Overwrite) => {
                    exchange(fs, &source, &target)?;
                    steps.push(Step::Exchanged(name));
                    continue;
                }
            };
            return Err(Fault::from(kind).at(op, &target));
        }
    }
    Ok(())
}

fn exchange(fs: &FileSystem, one: &[u8], other: &[u8]) -> Result<(), Error> {
    fs.rename_with(one, other, RenameMode::Exchange)
}
