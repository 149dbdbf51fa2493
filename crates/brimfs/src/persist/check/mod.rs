//! Checking a store without changing anything in it: whether records fit together, and every block of content.
//!
//! Opening stops at the first thing that is wrong; this goes on, and says of each file what is hurt. It reads the
//! journal as an opening does, then content segment by segment, so that a segment that cannot be read hides
//! no other. It judges records by the rules of `restore` and content by the segment store's own reading.

mod content;
mod report;
mod tree;

use std::path::Path;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::sync::Arc;
use crate::io::directory::{Directory, Sharing};
use crate::io::real_directory::{Opening, RealDirectory};
use crate::journal::{FORMAT, Identity, NodeKind, Recovered, recover};

use super::image::Image;
use super::open::refused;

pub use report::{CheckProgress, CheckReport, CheckStep, Problem};

use tree::Places;

/// Is told how far a check is, often.
pub type Progress<'a> = &'a mut dyn FnMut(CheckProgress);

/// Verifies all that is in a store: that the journal is whole, that its records fit together, and every block of
/// content. Changes nothing: a read-only medium will do, and others may read the store meanwhile.
///
/// What is wrong with the store is in the report, however much it is. Where the journal itself is damaged nothing else
/// can be judged, and the report has that one problem.
///
/// O(bytes of the store). Memory: what the journal says, some hundred bytes a file, and 12 MiB.
///
/// ```
/// # let place = std::env::temp_dir().join(format!("brimfs-check-{}", std::process::id()));
/// # let place = place.as_path();
/// let fs = brimfs::FileSystem::open_store(place)?;
/// fs.write("/a", "lasting")?;
/// fs.close()?;
/// let report = brimfs::check_store(place, &mut |_| {})?;
/// assert!(report.is_sound());
/// assert_eq!((report.files, report.bytes), (1, 7));
/// # std::fs::remove_dir_all(place).unwrap();
/// # Ok::<(), brimfs::Error>(())
/// ```
///
/// # Errors
/// Only where there is nothing to judge: [`ErrorKind::NotFound`] without a store, [`ErrorKind::StoreInUse`] if
/// somebody writes to it, who is named, [`ErrorKind::Unsupported`] for another format, [`ErrorKind::Io`] if the
/// directory cannot be read.
pub fn check_store(directory: impl AsRef<Path>, progress: Progress<'_>) -> Result<CheckReport> {
    let path = directory.as_ref();
    let opened = RealDirectory::open(path, Opening::ReadOnly).map_err(|error| {
        match error.kind() == std::io::ErrorKind::NotFound {
            true => ErrorKind::NotFound.into(),
            false => Fault::disk(error),
        }
    });
    opened
        .and_then(|directory| check_directory(Arc::new(directory), progress))
        .map_err(|fault| fault.at("check the store", path.as_os_str().as_encoded_bytes()))
}

/// As [`check_store`], in a directory that need not be the host's.
///
/// # Errors
/// As [`check_store`].
pub fn check_directory(
    directory: Arc<dyn Directory>,
    progress: Progress<'_>,
) -> Result<CheckReport, Fault> {
    let _lock = directory.lock(Sharing::Shared).map_err(refused)?;
    let mut report = CheckReport::new(FORMAT);
    progress(CheckProgress::at(CheckStep::Journal));
    let mut image = Image::default();
    let found = match recover(&*directory, &mut image) {
        Ok(found) => found,
        Err(fault) if is_damage(&fault) => {
            report.journal_lost = true;
            report.problems.push(Problem::of_store(fault.says()));
            return Ok(report);
        }
        Err(fault) => return Err(fault),
    };
    let Some(identity) = found.identity else {
        let text = "there is no store in this directory";
        return Err(Fault::text(ErrorKind::NotFound, text));
    };
    look_at_journal(&*directory, &found, &mut report)?;
    progress(CheckProgress::at(CheckStep::Records));
    let mut problems = Vec::new();
    let places = Places::of(&image, &mut problems);
    let pieces = content::pieces(&image, &places, &mut problems);
    count(&image, &places, &mut report);
    let lost = content::verify(
        &directory,
        identity,
        &pieces,
        &places,
        progress,
        &mut report,
    );
    problems.extend(lost);
    report.conclude(problems);
    Ok(report)
}

/// Whether an error is a finding, and no reason why nothing can be found.
fn is_damage(fault: &Fault) -> bool {
    matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::Io)
}

fn look_at_journal(
    directory: &dyn Directory,
    found: &Recovered,
    report: &mut CheckReport,
) -> Result<(), Fault> {
    let Identity(identity) = found.identity.unwrap_or(Identity([0; 16]));
    report.identity = identity;
    report.groups = found.tail.group;
    report.was_closed = found.closed;
    let taken = found.checkpoint.map_or(0, |position| position.group);
    let mut names: Vec<_> = directory.list().map_err(Fault::disk)?;
    names.sort_unstable();
    for name in names.iter().filter_map(|name| name.to_str()) {
        let digits = name.strip_prefix("checkpoint-");
        let group = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        if group.is_some_and(|group| group > taken) {
            let text = format!("{name} is damaged; the journal has what it had");
            report.problems.push(Problem::of_store(text));
        }
    }
    Ok(())
}

fn count(image: &Image, places: &Places<'_>, report: &mut CheckReport) {
    for (number, node) in &image.nodes {
        let Some(about) = &node.about else {
            continue;
        };
        if !places.has(*number) {
            report.unnamed += 1;
            continue;
        }
        match about.kind {
            NodeKind::File => {
                report.files += 1;
                report.bytes += about.len;
            }
            NodeKind::Directory => report.directories += 1,
            NodeKind::Symlink => report.symlinks += 1,
        }
    }
}

#[cfg(test)]
mod tests;
