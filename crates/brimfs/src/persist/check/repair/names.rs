//! Names after a repair: what is whole stays where it is, the rest is beneath `/lost+found`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use crate::base::clock;
use crate::base::error::Fault;
use crate::journal::{NodeKind, Record, Time, Visitor};
use crate::namespace::volume::ROOT;
use crate::persist::image::{About, Entry, Image, NODE_MAX, Names, Node, Patches};
use crate::persist::restore::check_name;

use super::super::report::Problem;
use super::super::salvage::Gathered;
use super::super::tree::Places;
use super::report::Loss;

const LOST_AND_FOUND: &[u8] = b"lost+found";
/// Files of which parts are missing.
const DAMAGED: &[u8] = b"damaged";
/// Later states of files, from behind damage of the journal.
const LATER: &[u8] = b"later";
/// The longest name, and the longest report that is kept in the store, in bytes.
const NAME_MAX: usize = 255;
const REPORT_MAX: usize = 256 << 10;

/// What content says about where files belong.
pub(super) struct Findings {
    /// Files of which parts are missing, and which parts, as far as that is known.
    pub(super) hurt: BTreeMap<u64, Vec<Range<u64>>>,
    /// Later states: the number that each got, the one of its file, and the group.
    pub(super) versions: BTreeMap<u64, (u64, u64)>,
}

/// The numbers that nodes may have: behind them there is room for those that a repair makes.
pub(super) const IN_USE: RangeInclusive<u64> = ROOT..=NODE_MAX - (1 << 32);

/// Drops nodes whose numbers none can have.
pub(super) fn drop_impossible(image: &mut Image, losses: &mut Vec<Loss>) {
    let bad: Vec<(Option<u64>, String)> = image.bad_numbers(*IN_USE.end()).collect();
    losses.extend(bad.into_iter().map(|(ino, text)| Loss {
        paths: Vec::new(),
        ino,
        ranges: Vec::new(),
        now: None,
        text,
    }));
    image.nodes.retain(|number, _| IN_USE.contains(&number));
    image
        .directories
        .retain(|number, _| IN_USE.contains(number));
    if image.next_node > *IN_USE.end() {
        image.next_node = 0;
    }
}

/// Gives attributes to directories that have names and none, and takes content from what is no file.
pub(super) fn complete(image: &mut Image, losses: &mut Vec<Loss>) {
    let numbers: BTreeSet<u64> = image.directories.keys().copied().chain([ROOT]).collect();
    for number in numbers {
        let node = image.nodes.get_or_insert_with(number, Node::default);
        let kind = node.about.as_ref().map(|about| about.kind);
        if kind == Some(NodeKind::Directory) {
            continue;
        }
        if kind.is_some() && number != ROOT {
            image.directories.remove(&number);
            continue;
        }
        node.about = Some(about(NodeKind::Directory, 0o755, 0));
        losses.push(Loss {
            paths: Vec::new(),
            ino: Some(number),
            ranges: Vec::new(),
            now: None,
            text: "the attributes of the directory are lost".into(),
        });
    }
    for (number, node) in image.nodes.iter_mut() {
        if take_content_of_none(node) {
            losses.push(Loss {
                paths: Vec::new(),
                ino: Some(number),
                ranges: Vec::new(),
                now: None,
                text: "it had content and is no file: the content is lost".into(),
            });
        }
    }
    // Names may be all that is known of a node.
    let named = image.directories.values().flat_map(Names::values);
    let named = named
        .map(|entry| entry.child)
        .filter(|child| IN_USE.contains(child));
    let last = image.nodes.keys().chain(named).max();
    image.next_node = image.next_node.max(last.unwrap_or(ROOT) + 1);
}

/// Takes content from what is no file. False if it had none.
pub(super) fn take_content_of_none(node: &mut Node) -> bool {
    let kind = node.about.as_ref().map(|about| about.kind);
    let has_content = !node.extents.is_empty() || !node.patches.is_empty();
    let takes = has_content && kind.is_some_and(|kind| kind != NodeKind::File);
    if takes {
        node.extents.clear();
        node.overlays.clear();
        node.patches = Patches::default();
    }
    takes
}

/// Gives a length to files of which only content is known.
pub(super) fn complete_files(image: &mut Image) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for (number, node) in image.nodes.iter_mut() {
        if node.about.is_some() {
            continue;
        }
        let extents = node
            .extents
            .iter()
            .map(|extent| extent.offset.saturating_add(extent.len));
        let patches = node.patches.iter();
        let patches = patches.map(|(offset, bytes)| offset.saturating_add(bytes.len() as u64));
        let len = extents.chain(patches).max().unwrap_or(0);
        node.about = Some(about(NodeKind::File, 0o600, len));
        numbers.insert(number);
    }
    numbers
}

/// A name of the image that does not stay, or a node that has none that does.
struct Plan {
    gone: Vec<(u64, Box<[u8]>)>,
    found: Vec<Found>,
    losses: Vec<Loss>,
}

/// For `/lost+found`: the node, beneath which directory and by which name.
type Found = (u64, Option<&'static [u8]>, Vec<u8>, Loss);

/// Puts the names in order. Returns what was not left as it was.
///
/// # Errors
/// None that a sound image gives.
pub(super) fn arrange(
    image: &mut Image,
    gathered: &Gathered,
    findings: &Findings,
    mut losses: Vec<Loss>,
    number: u64,
) -> Result<Vec<Loss>, Fault> {
    let mut plan = plan(image, gathered, findings, &mut losses);
    for (directory, name) in plan.gone {
        if let Some(names) = image.directories.get_mut(&directory) {
            names.remove(&name);
            if names.is_empty() {
                image.directories.remove(&directory);
            }
        }
    }
    losses.append(&mut plan.losses);
    let mut places = LostAndFound::default();
    for (node, below, name, mut loss) in plan.found {
        loss.now = Some(places.put(image, node, below, &name)?);
        losses.push(loss);
    }
    losses.sort_by(|one, other| (&one.paths, one.ino).cmp(&(&other.paths, other.ino)));
    if !losses.is_empty() {
        places.put_report(image, &losses, number)?;
    }
    Ok(losses)
}

fn plan(image: &Image, gathered: &Gathered, findings: &Findings, losses: &mut [Loss]) -> Plan {
    let mut problems: Vec<Problem> = Vec::new();
    let places = Places::of(image, &mut problems);
    for loss in losses {
        loss.paths = loss
            .ino
            .map_or_else(Vec::new, |number| places.paths(number));
    }
    let mut plan = Plan {
        gone: Vec::new(),
        found: Vec::new(),
        losses: Vec::new(),
    };
    let mut names_are_lost = gathered.has_gaps;
    for (directory, names) in &image.directories {
        if !places.has(*directory) {
            names_are_lost = true;
        }
        for (name, entry) in names {
            names_are_lost |= plan.judge(image, &places, findings, (*directory, name), *entry);
        }
    }
    for (number, ranges) in &findings.hurt {
        if findings.versions.contains_key(number) || places.has(*number) || names_are_lost {
            plan.damaged(&places, findings, *number, ranges);
        }
    }
    for (number, (original, group)) in &findings.versions {
        if !findings.hurt.contains_key(number) {
            let text = format!("a later state of it, as of group {group}, was saved");
            let name = original.to_string().into_bytes();
            let mut loss = loss(&places, *original, text);
            loss.paths.extend(
                super::super::later_path(gathered, &places, *original)
                    .filter(|_| !places.has(*original)),
            );
            plan.found.push((*number, Some(LATER), name, loss));
        }
    }
    if names_are_lost {
        for number in roots(image, &places, findings, &mut plan.gone) {
            let text = "the name that led to it is lost".to_owned();
            let name = number.to_string().into_bytes();
            plan.found
                .push((number, None, name, loss(&places, number, text)));
        }
    }
    plan
}

impl Plan {
    /// Decides whether a name stays. True if a name is lost that led to something.
    fn judge(
        &mut self,
        image: &Image,
        places: &Places<'_>,
        findings: &Findings,
        place: (u64, &[u8]),
        entry: Entry,
    ) -> bool {
        let (directory, name) = place;
        let child = image
            .nodes
            .get(entry.child)
            .and_then(|node| node.about.as_ref());
        let text = match child.map(|about| about.kind) {
            None => "what the name led to is lost",
            Some(_) if check_name(directory, name).is_err() => "this can be no name",
            Some(NodeKind::Directory)
                if places.has(directory) && !places.is_first(place, entry.child) =>
            {
                "the directory has another name"
            }
            Some(_) if findings.hurt.contains_key(&entry.child) => {
                self.gone.push((directory, name.into()));
                return false;
            }
            Some(_) => return false,
        };
        self.gone.push((directory, name.into()));
        self.losses.push(Loss {
            paths: vec![places.path(place)],
            ino: Some(entry.child),
            ranges: Vec::new(),
            now: None,
            text: text.to_owned(),
        });
        child.is_some()
    }

    fn damaged(
        &mut self,
        places: &Places<'_>,
        findings: &Findings,
        number: u64,
        ranges: &[Range<u64>],
    ) {
        let version = findings.versions.get(&number);
        let original = version.map_or(number, |(original, _)| *original);
        let mut name = number.to_string().into_bytes();
        if let Some(last) = places.name(original) {
            name.push(b'-');
            name.extend_from_slice(&last[..last.len().min(NAME_MAX - 24)]);
        }
        let text = match (version, ranges.is_empty()) {
            (Some((_, group)), _) => {
                format!("a later state of it, as of group {group}, is damaged")
            }
            (None, true) => "it is damaged, and it is not known where".to_owned(),
            (None, false) => "it is damaged".to_owned(),
        };
        let mut loss = loss(places, original, text);
        loss.ranges = joined(ranges.to_vec());
        self.found.push((number, Some(DAMAGED), name, loss));
    }
}

fn loss(places: &Places<'_>, number: u64, text: String) -> Loss {
    Loss {
        paths: places.paths(number),
        ino: Some(number),
        ranges: Vec::new(),
        now: None,
        text,
    }
}

fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Nodes that no path leads to, such that paths from them lead to all others of that kind. Names by which a directory
/// would be in two places are added to `gone`.
fn roots(
    image: &Image,
    places: &Places<'_>,
    findings: &Findings,
    gone: &mut Vec<(u64, Box<[u8]>)>,
) -> Vec<u64> {
    let is_put = |number: &u64| {
        places.has(*number)
            || findings.hurt.contains_key(number)
            || findings.versions.contains_key(number)
    };
    let numbers = image.nodes.keys();
    let lost: BTreeSet<u64> = numbers.filter(|number| !is_put(number)).collect();
    let below = |number: &u64| {
        image
            .directories
            .get(number)
            .into_iter()
            .flat_map(Names::iter)
    };
    let named: BTreeSet<u64> = lost
        .iter()
        .flat_map(below)
        .map(|(_, entry)| entry.child)
        .collect();
    let mut reached = BTreeSet::new();
    let mut roots = Vec::new();
    // Those that nothing names come first; what is left then are loops.
    let first = lost.iter().filter(|number| !named.contains(number));
    for number in first.chain(lost.iter()) {
        if !reached.insert(*number) {
            continue;
        }
        roots.push(*number);
        let mut open = vec![*number];
        while let Some(directory) = open.pop() {
            for (name, entry) in below(&directory) {
                let is_new = !places.has(entry.child) && reached.insert(entry.child);
                if is_new {
                    open.push(entry.child);
                } else if is_directory(image, entry.child) {
                    gone.push((directory, name.clone()));
                }
            }
        }
    }
    roots
}

fn is_directory(image: &Image, number: u64) -> bool {
    let node = image.nodes.get(number);
    let about = node.and_then(|node| node.about.as_ref());
    about.is_some_and(|about| about.kind == NodeKind::Directory)
}

fn now() -> Time {
    let nanos = clock::wall_nanos();
    Time {
        seconds: nanos.div_euclid(1_000_000_000),
        nanos: nanos.rem_euclid(1_000_000_000) as u32,
    }
}

fn about(kind: NodeKind, mode: u32, len: u64) -> About {
    About {
        kind,
        priority: 5,
        pinned: false,
        accesses: 0,
        mode,
        owner: (0, 0),
        times: [now(); 4],
        len,
        target: Box::default(),
        xattrs: Default::default(),
    }
}

/// The directory for what was found, made when it is needed.
#[derive(Default)]
struct LostAndFound {
    top: Option<(u64, Vec<u8>)>,
    below: BTreeMap<&'static [u8], (u64, Vec<u8>)>,
}

impl LostAndFound {
    fn put(
        &mut self,
        image: &mut Image,
        node: u64,
        below: Option<&'static [u8]>,
        name: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let (directory, path) = self.directory(image, below)?;
        let name = free_name(image, directory, name);
        enter(image, directory, &name, node)?;
        Ok([&path[..], b"/", &name].concat())
    }

    fn directory(
        &mut self,
        image: &mut Image,
        below: Option<&'static [u8]>,
    ) -> Result<(u64, Vec<u8>), Fault> {
        let top = match &self.top {
            Some(top) => top.clone(),
            None => make(image, ROOT, b"", LOST_AND_FOUND)?,
        };
        self.top = Some(top.clone());
        let Some(name) = below else {
            return Ok(top);
        };
        let made = match self.below.get(name) {
            Some(made) => made.clone(),
            None => make(image, top.0, &top.1, name)?,
        };
        self.below.insert(name, made.clone());
        Ok(made)
    }

    fn put_report(&mut self, image: &mut Image, losses: &[Loss], number: u64) -> Result<(), Fault> {
        let mut text = String::from("What a repair of this store could not save as it was:\n\n");
        for (place, loss) in losses.iter().enumerate() {
            let line = format!("{loss}\n");
            if text.len() + line.len() > REPORT_MAX {
                text += &format!("and {} more\n", losses.len() - place);
                break;
            }
            text += &line;
        }
        let node = add(image, about(NodeKind::File, 0o600, text.len() as u64));
        image.record(Record::Inline {
            node,
            offset: 0,
            bytes: text.as_bytes(),
        })?;
        let name = format!("report-{number}.txt");
        self.put(image, node, None, name.as_bytes()).map(drop)
    }
}

fn add(image: &mut Image, about: About) -> u64 {
    let number = image.next_node.max(ROOT + 1);
    image.next_node = number + 1;
    image.nodes.get_or_insert_with(number, Node::default).about = Some(about);
    number
}

fn enter(image: &mut Image, directory: u64, name: &[u8], child: u64) -> Result<(), Fault> {
    image.record(Record::Entry {
        directory,
        name,
        child,
    })
}

/// The directory of this name, or of one like it if something else has it.
fn make(image: &mut Image, parent: u64, path: &[u8], name: &[u8]) -> Result<(u64, Vec<u8>), Fault> {
    let there = image
        .directories
        .get(&parent)
        .and_then(|names| names.get(name))
        .copied();
    if let Some(there) = there.filter(|there| is_directory(image, there.child)) {
        return Ok((there.child, [path, b"/", name].concat()));
    }
    let name = free_name(image, parent, name);
    let number = add(image, about(NodeKind::Directory, 0o700, 0));
    enter(image, parent, &name, number)?;
    Ok((number, [path, b"/", &name].concat()))
}

fn free_name(image: &Image, directory: u64, name: &[u8]) -> Vec<u8> {
    let names = image.directories.get(&directory);
    let is_taken = |name: &[u8]| names.is_some_and(|names| names.contains_key(name));
    let mut free = name.to_vec();
    let mut number = 0;
    while is_taken(&free) {
        number += 1;
        free = [name, format!(".{number}").as_bytes()].concat();
    }
    free
}
