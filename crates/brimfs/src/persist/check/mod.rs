//! Checking a store without changing anything in it: whether records fit together, and every block of content.
//!
//! Opening stops at the first thing that is wrong; this goes on, and says of each file what is hurt. It reads the
//! journal as an opening does, then content segment by segment, so that a segment that cannot be read hides
//! no other. It judges records by the rules of `restore` and content by the segment store's own reading.

mod content;
mod mended;
mod repair;
mod report;
mod salvage;
mod tree;

use std::path::Path;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::sync::Arc;
use crate::cold::segment::serial_of;
use crate::io::directory::{Directory, Sharing};
use crate::io::real_directory::{Opening, RealDirectory};
use crate::io::tree::SIDE;
use crate::journal::{FORMAT, Identity, NodeKind, Recovered, recover};

use super::image::{Image, NODE_MAX};
use super::open::{no_directory, refused};

pub use repair::{Loss, RepairReport, repair_directory, repair_store};
pub use report::{CheckProgress, CheckReport, CheckStep, Problem};

use content::Lost;
use salvage::Gathered;
use tree::Places;

/// Is told how far a check is, often.
pub type Progress<'a> = &'a mut dyn FnMut(CheckProgress);

/// Verifies all that is in a store: that the journal is whole, that its records fit together, and every block of
/// content. Changes nothing: a read-only medium will do, and others may read the store meanwhile.
///
/// What is wrong with the store is in the report, however much it is. Where the journal itself is damaged, what is judged
/// is the last state before the damage, and the report has what is known of later ones.
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
    open(path, Opening::ReadOnly)
        .and_then(|directory| check_directory(directory, progress))
        .map_err(|fault| fault.at("check the store", path.as_os_str().as_encoded_bytes()))
}

fn open(path: &Path, opening: Opening) -> Result<Arc<dyn Directory>, Fault> {
    let opened = RealDirectory::open(path, opening);
    let opened = opened.map_err(|error| no_directory(error, opening))?;
    let names = Directory::list(&opened).map_err(Fault::disk)?;
    if names.iter().any(|name| name.as_encoded_bytes() == SIDE) {
        let text = "the directory is one of the layout \"mirror\", whose files are the host's";
        return Err(Fault::text(ErrorKind::Unsupported, text));
    }
    Ok(Arc::new(opened))
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
    let Some(read) = read_journal(&*directory, &mut report)? else {
        return Ok(report);
    };
    judge(&directory, &read, progress, &mut report);
    Ok(report)
}

/// What a journal says, and whose it is.
struct Read {
    gathered: Gathered,
    identity: Identity,
    /// The greatest number of a group that there is.
    last_group: u64,
    /// What recovery found, if the journal is whole.
    found: Option<Recovered>,
}

/// Reads the journal, as far as that is possible; nothing if it says nothing at all, which the report has.
///
/// # Errors
/// Where there is no store, or another format.
fn read_journal(
    directory: &dyn Directory,
    report: &mut CheckReport,
) -> Result<Option<Read>, Fault> {
    let mut image = Image::default();
    match recover(directory, &mut image) {
        Ok(found) => {
            let Some(identity) = found.identity else {
                return match list(directory)?.iter().any(|name| is_content(name)) {
                    true => Ok(nothing_said(
                        report,
                        "there is content and no journal".into(),
                    )),
                    false => Err(no_store()),
                };
            };
            look_at_journal(directory, &found, report)?;
            Ok(Some(Read {
                gathered: Gathered::of(image),
                identity,
                last_group: found.tail.group,
                found: Some(found),
            }))
        }
        Err(fault) if is_damage(&fault) => read_damaged(directory, &fault, report),
        Err(fault) => Err(fault),
    }
}

fn read_damaged(
    directory: &dyn Directory,
    fault: &Fault,
    report: &mut CheckReport,
) -> Result<Option<Read>, Fault> {
    report.journal_damaged = true;
    let (gathered, found) = salvage::salvage(directory)?;
    let Some(identity) = found.identity else {
        return Ok(nothing_said(report, fault.says()));
    };
    report.identity = identity.0;
    report.groups = found.group;
    let mut texts = vec![fault.says()];
    texts.extend(
        found
            .damage
            .into_iter()
            .filter(|text| *text != fault.says()),
    );
    report
        .problems
        .extend(texts.into_iter().map(Problem::of_store));
    Ok(Some(Read {
        gathered,
        identity,
        last_group: found.last_group,
        found: None,
    }))
}

fn nothing_said(report: &mut CheckReport, text: String) -> Option<Read> {
    report.journal_damaged = true;
    report.journal_lost = true;
    report.problems.push(Problem::of_store(text));
    None
}

fn no_store() -> Fault {
    Fault::text(ErrorKind::NotFound, "there is no store in this directory")
}

fn list(directory: &dyn Directory) -> Result<Vec<String>, Fault> {
    let mut names: Vec<String> = directory
        .list()
        .map_err(Fault::disk)?
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn is_content(name: &str) -> bool {
    serial_of(name).is_some()
}

/// Judges what was read, and says what of content is lost.
fn judge(
    directory: &Arc<dyn Directory>,
    read: &Read,
    progress: Progress<'_>,
    report: &mut CheckReport,
) -> Lost {
    progress(CheckProgress::at(CheckStep::Records));
    let gathered = &read.gathered;
    let image = &gathered.image;
    let (mut problems, mut lost) = (Vec::new(), Lost::default());
    let places = Places::of(image, &mut problems);
    let pieces = content::pieces(image, &places, &mut problems, &mut lost);
    count(image, &places, report);
    problems.extend(doubts(gathered, &places));
    let bad = image.bad_numbers(NODE_MAX);
    problems.extend(bad.map(|(ino, text)| Problem {
        ino,
        ..Problem::of_store(text)
    }));
    problems.extend(content::verify(
        directory,
        read.identity,
        &pieces,
        &places,
        progress,
        report,
        &mut lost,
    ));
    report.conclude(problems);
    lost
}

/// What damage of the journal means for files.
fn doubts(gathered: &Gathered, places: &Places<'_>) -> Vec<Problem> {
    let suspects = gathered.suspects.iter().map(|number| {
        let text =
            "a part of what the checkpoint says of it is damaged; what is left may not be all";
        content::problem(places, *number, None, text.to_owned())
    });
    let versions = gathered.versions.iter().map(|(number, version)| {
        let text = format!(
            "a later state of it, as of group {}, lies behind the damage of the journal",
            version.group
        );
        let mut problem = content::problem(places, *number, None, text);
        if problem.paths.is_empty() {
            problem.paths.extend(later_path(gathered, places, *number));
        }
        problem
    });
    suspects.chain(versions).collect()
}

/// The name that a node got behind the damage, in a directory that was there before.
fn later_path(gathered: &Gathered, places: &Places<'_>, number: u64) -> Option<Vec<u8>> {
    let (directory, name) = gathered.later_names.get(&number)?;
    let mut path = places.paths(*directory).into_iter().next()?;
    if path != b"/" {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Some(path)
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
    for name in list(directory)? {
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
    for (number, node) in image.nodes.iter() {
        let Some(about) = &node.about else {
            continue;
        };
        if !places.has(number) {
            report.unnamed += 1;
            continue;
        }
        match about.kind {
            NodeKind::File => {
                report.files += 1;
                report.bytes = report.bytes.saturating_add(about.len);
            }
            NodeKind::Directory => report.directories += 1,
            NodeKind::Symlink => report.symlinks += 1,
        }
    }
}

#[cfg(test)]
mod tests;
