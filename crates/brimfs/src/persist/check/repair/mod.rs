//! Repairing a store: all that can be saved is saved, and the rest listed.
//!
//! Nothing that is there is written to, and nothing is removed: what is saved goes to new files behind all others, a
//! checkpoint makes it count in one step, and only then damaged files are set aside by another name. A mark
//! keeps writers away until all of that is done, so that a repair that was interrupted can be run again. Judges
//! as a check does, and writes by the means of the filesystem.

mod aside;
mod content;
mod names;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::sync::Arc;
use crate::cold::segment::{Options, Protection, Store};
use crate::io::directory::{Directory, Sharing};
use crate::io::real_directory::{LOCK_FILE, Opening};
use crate::journal::{
    self, Counters, Group, Identity, NodeKind, Record, Recovered, Writer, recover,
};

use super::content::{DISK_LIMIT, Lost, Source};
use super::report::{CheckProgress, CheckReport, CheckStep};
use super::tree::Places;
use super::{Progress, Read, judge, list, read_journal};
use crate::persist::image::Image;
use crate::persist::open::{SEGMENT_BYTES, refused};
use crate::persist::{checkpoint, corrupt};

use aside::{Keeping, Marker};
use content::{Rewriter, Wanted};
use names::Findings;
pub use report::{Loss, RepairReport};

/// Saves all that can be saved of a damaged store, and lists the rest. A sound store is not changed.
///
/// Without `output` the store is repaired where it is. No byte of a file that is there is overwritten: damaged files stay
/// in the directory under names that begin with `damaged-`, which takes space until they are removed by hand. With
/// `output`, a directory that is empty or not there yet, a new store is written to it and the damaged one only read,
/// which is right for a disk that is failing.
///
/// Files that are whole stay where they are. Of a file with damaged content what can be read is saved as
/// `/lost+found/damaged/NUMBER-NAME`, with holes in place of what cannot; its names are gone, so that nobody takes it
/// for the whole file. What has lost its name is found as `/lost+found/NUMBER`. Where the journal is damaged the tree is
/// that before the damage; files whose later state is known in full are saved beside it, as `/lost+found/later/NUMBER`. All of
/// that is listed in the report, and in `/lost+found/report-N.txt`.
///
/// A repair that was interrupted, at any point, leaves all that was there; running it again finishes it.
///
/// O(bytes of the store) for reading; writes what has to move, with `output` everything.
///
/// # Errors
/// As [`check_store`](crate::check_store); [`ErrorKind::Corrupt`] if nothing can be saved; [`ErrorKind::AlreadyExists`] if
/// `output` has anything in it; those of writing. Nothing is lost then.
pub fn repair_store(
    directory: impl AsRef<Path>,
    output: Option<&Path>,
    progress: Progress<'_>,
) -> Result<RepairReport> {
    let path = directory.as_ref();
    let at = |path: &Path, fault: Fault| {
        fault.at("repair the store", path.as_os_str().as_encoded_bytes())
    };
    let opening = match output {
        Some(_) => Opening::ReadOnly,
        None => Opening::Existing,
    };
    let source = super::open(path, opening).map_err(|fault| at(path, fault))?;
    let target = output
        .map(|output| super::open(output, Opening::Create).map_err(|fault| at(output, fault)));
    repair_directory(source, target.transpose()?, progress).map_err(|fault| at(path, fault))
}

/// As [`repair_store`], in directories that need not be the host's.
///
/// # Errors
/// As [`repair_store`].
pub fn repair_directory(
    directory: Arc<dyn Directory>,
    output: Option<Arc<dyn Directory>>,
    progress: Progress<'_>,
) -> Result<RepairReport, Fault> {
    let sharing = match output {
        Some(_) => Sharing::Shared,
        None => Sharing::Exclusive,
    };
    if sharing == Sharing::Exclusive && is_empty(&*directory)? {
        return Err(super::no_store());
    }
    let _lock = directory.lock(sharing).map_err(refused)?;
    let mut before = CheckReport::new(journal::FORMAT);
    progress(CheckProgress::at(CheckStep::Journal));
    let Some(read) = read_journal(&*directory, &mut before)? else {
        let why = before
            .problems
            .pop()
            .map_or_else(String::new, |problem| problem.text);
        return Err(corrupt(format!(
            "nothing can be saved without a journal: {why}"
        )));
    };
    let lost = judge(&directory, &read, progress, &mut before);
    let repair = Repair {
        source: directory,
        lost,
        before,
        progress,
    };
    match output {
        None => repair.in_place(read),
        Some(output) => repair.to(read, &output),
    }
}

/// The group of a checkpoint, and the journal file that goes on from there: what is before is superfluous.
type Covers = (u64, u64);

/// Whether there is nothing but what opening a directory leaves.
fn is_empty(directory: &dyn Directory) -> Result<bool, Fault> {
    Ok(list(directory)?.iter().all(|name| name == LOCK_FILE))
}

struct Repair<'a> {
    source: Arc<dyn Directory>,
    lost: Lost,
    before: CheckReport,
    progress: Progress<'a>,
}

impl Repair<'_> {
    fn in_place(mut self, read: Read) -> Result<RepairReport, Fault> {
        let directory = self.source.clone();
        let marker = Marker::look(&*directory)?;
        let mut report = RepairReport {
            before: self.before.clone(),
            is_changed: false,
            losses: Vec::new(),
            set_aside: Vec::new(),
        };
        if self.before.is_sound() && !marker.was_there {
            return Ok(report);
        }
        marker.set(&*directory)?;
        report.is_changed = true;
        let (image, covers) = if self.before.is_sound() {
            // What was interrupted had come as far as this.
            let taken = read.found.and_then(|found| found.checkpoint);
            let covers = taken.map_or((0, 0), |at| (at.group, at.file));
            (read.gathered.image, covers)
        } else {
            let kept: Arc<dyn Directory> = Arc::new(Keeping {
                directory: directory.clone(),
                number: marker.number,
            });
            let (image, covers, losses) = self.replace(read, &kept, marker.number)?;
            report.losses = losses;
            (image, covers)
        };
        let wanted: BTreeSet<u64> = image
            .nodes
            .values()
            .flat_map(|node| {
                let overlays = node.overlays.values().flatten();
                let overlays = overlays.map(|overlay| overlay.segment);
                node.extents
                    .iter()
                    .map(|extent| extent.segment)
                    .chain(overlays)
            })
            .collect();
        report.set_aside =
            marker.set_aside(&*directory, covers, |serial| wanted.contains(&serial))?;
        marker.clear(&*directory)?;
        Ok(report)
    }

    /// Saves what can be saved beside what is there, and makes it current.
    fn replace(
        &mut self,
        mut read: Read,
        directory: &Arc<dyn Directory>,
        number: u64,
    ) -> Result<(Image, Covers, Vec<Loss>), Fault> {
        let (last, identity, found) = (read.last_group, read.identity, read.found.take());
        let (image, losses) = self.save(read, directory, identity, false, number)?;
        let found = match found {
            // A crash before the end leaves a journal that is as whole as it was.
            Some(found) => found,
            None => Recovered::behind_all(&**directory, identity, last)?,
        };
        let writer = Writer::open(directory.clone(), &found, journal::Options::default())?;
        let covers = make_current(&image, directory, writer)?;
        Ok((image, covers, losses))
    }

    fn to(mut self, read: Read, output: &Arc<dyn Directory>) -> Result<RepairReport, Fault> {
        let mut report = RepairReport {
            before: self.before.clone(),
            is_changed: false,
            losses: Vec::new(),
            set_aside: Vec::new(),
        };
        if self.before.is_sound() {
            return Ok(report);
        }
        let _lock = output.lock(Sharing::Exclusive).map_err(refused)?;
        if !is_empty(&**output)? {
            let text = "the output is not empty";
            return Err(Fault::text(ErrorKind::AlreadyExists, text));
        }
        let marker = Marker::look(&**output)?;
        marker.set(&**output)?;
        let identity = Identity::random().map_err(Fault::disk)?;
        let (image, losses) = self.save(read, output, identity, true, marker.number)?;
        let found = recover(&**output, &mut Image::default())?;
        let options = journal::Options::default();
        let writer = Writer::create(output.clone(), &found, identity, options)?;
        make_current(&image, output, writer)?;
        marker.clear(&**output)?;
        report.is_changed = true;
        report.losses = losses;
        Ok(report)
    }

    /// Writes content that has to move to `target`, durably, and says what the store is then.
    fn save(
        &mut self,
        read: Read,
        target: &Arc<dyn Directory>,
        identity: Identity,
        is_all: bool,
        number: u64,
    ) -> Result<(Image, Vec<Loss>), Fault> {
        let Read {
            mut gathered,
            identity: own,
            ..
        } = read;
        let mut image = std::mem::take(&mut gathered.image);
        let mut losses = Vec::new();
        names::drop_impossible(&mut image, &mut losses);
        gathered
            .versions
            .retain(|number, _| names::IN_USE.contains(number));
        names::complete(&mut image, &mut losses);
        let mut doubtful = gathered.suspects.clone();
        doubtful.extend(self.lost.nowhere.keys());
        match gathered.has_gaps {
            true => doubtful.extend(names::complete_files(&mut image)),
            false => image.nodes.retain(|_, node| node.about.is_some()),
        }
        let versions = add_versions(&mut image, &mut gathered);
        let mut own_nodes = doubtful.clone();
        own_nodes.extend(versions.keys());
        let pieces = {
            let places = Places::of(&image, &mut Vec::new());
            super::content::pieces(&image, &places, &mut Vec::new(), &mut self.lost)
        };
        own_nodes.extend(self.lost.nowhere.keys());
        let store = Store::named(target.clone(), options(), identity.0, &[])?;
        let source = Source {
            directory: &self.source,
            identity: own,
        };
        let wanted = Wanted {
            segments: (!is_all).then_some(&self.lost.segments),
            nodes: &own_nodes,
        };
        let rewriter = Rewriter::new(source, &store, &image, wanted, &mut *self.progress);
        let mut rewritten = rewriter.run(&pieces)?;
        store.close()?;
        let mut hurt = std::mem::take(&mut rewritten.lost);
        for (number, ranges) in &self.lost.nowhere {
            hurt.entry(*number)
                .or_default()
                .extend(ranges.iter().cloned());
        }
        for number in doubtful {
            hurt.entry(number).or_default();
        }
        rewritten.apply(&mut image, &own_nodes);
        hurt.retain(|number, _| {
            let about = image
                .nodes
                .get(*number)
                .and_then(|node| node.about.as_ref());
            about.is_some_and(|about| about.kind == NodeKind::File)
        });
        let findings = Findings { hurt, versions };
        let losses = names::arrange(&mut image, &gathered, &findings, losses, number)?;
        check_image(&image)?;
        Ok((image, losses))
    }
}

/// Gives later states numbers of their own. Returns the number and the group of the file of each.
fn add_versions(image: &mut Image, gathered: &mut super::Gathered) -> BTreeMap<u64, (u64, u64)> {
    let last = gathered.versions.keys().next_back().copied().unwrap_or(0);
    image.next_node = image.next_node.max(last.saturating_add(1));
    let mut numbers = BTreeMap::new();
    for (original, mut version) in std::mem::take(&mut gathered.versions) {
        names::take_content_of_none(&mut version.node);
        let number = image.next_node;
        image.next_node += 1;
        image.nodes.insert(number, version.node);
        numbers.insert(number, (original, version.group));
    }
    numbers
}

/// What is about to be written must be what opening takes.
fn check_image(image: &Image) -> Result<(), Fault> {
    let mut problems = Vec::new();
    let places = Places::of(image, &mut problems);
    super::content::pieces(image, &places, &mut problems, &mut Lost::default());
    match problems.first() {
        None => Ok(()),
        Some(problem) => Err(corrupt(format!(
            "what was saved does not fit together ({problem}); the store is as it was"
        ))),
    }
}

fn options() -> Options {
    let mut options = Options::new("", DISK_LIMIT);
    options.protection = Protection::Checksummed;
    options.segment_bytes = Some(SEGMENT_BYTES);
    options
}

/// Has an image count from now on, durably. Returns the group and the journal file of its checkpoint.
fn make_current(
    image: &Image,
    directory: &Arc<dyn Directory>,
    mut writer: Writer,
) -> Result<Covers, Fault> {
    let mut group = Group::new();
    group.push(&Record::Counters(Counters {
        next_node: image.next_node,
        next_segment: 0,
    }))?;
    writer.append(&group)?;
    let position = writer.sync()?;
    checkpoint::write(image, directory, &writer)?;
    writer.close()?;
    Ok((position.group, position.file))
}
