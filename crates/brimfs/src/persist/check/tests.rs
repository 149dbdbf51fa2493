//! Records that contradict each other, which no store has that the writer of this crate wrote.

use super::super::image::Image;
use super::content;
use super::report::Problem;
use super::tree::Places;
use crate::journal::{Content, Extent, Extents, Node, NodeKind, Record, Time, Visitor, Xattrs};
use crate::memory::chunk::CHUNK;

fn node(number: u64, kind: NodeKind, len: u64) -> Record<'static> {
    Record::Node(Node {
        number,
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        links: 0,
        accessed: Time::default(),
        modified: Time::default(),
        changed: Time::default(),
        created: Time::default(),
        len,
        priority: 5,
        pinned: false,
        accesses: 0,
        xattrs: Xattrs::default(),
        target: &[],
    })
}

fn entry(directory: u64, name: &'static str, child: u64) -> Record<'static> {
    Record::Entry {
        directory,
        name: name.as_bytes(),
        child,
    }
}

const ROOT: u64 = crate::namespace::volume::ROOT;
const DIRECTORY: NodeKind = NodeKind::Directory;

/// What is wrong with these records, beside the root's own.
fn problems(records: &[Record<'_>]) -> Vec<String> {
    let mut image = Image::default();
    let root = [node(ROOT, DIRECTORY, 0)];
    for record in root.iter().chain(records) {
        image.record(*record).unwrap();
    }
    let mut problems = Vec::new();
    let places = Places::of(&image, &mut problems);
    content::pieces(
        &image,
        &places,
        &mut problems,
        &mut content::Lost::default(),
    );
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn what_fits_together_is_no_problem() {
    let found = problems(&[
        node(20, DIRECTORY, 0),
        node(21, NodeKind::File, 0),
        entry(ROOT, "d", 20),
        entry(20, "one", 21),
        entry(ROOT, "two", 21),
        // Removed while they were open.
        node(30, NodeKind::File, 5),
        node(31, DIRECTORY, 0),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn names_that_lead_nowhere_are_named() {
    let found = problems(&[
        node(20, DIRECTORY, 0),
        entry(ROOT, "d", 20),
        entry(20, "x", 9),
    ]);
    assert_eq!(
        found,
        ["/d/x: the name leads to node 9, which is not there"]
    );
}

#[test]
fn a_second_name_of_a_directory_is_none() {
    let found = problems(&[
        node(20, DIRECTORY, 0),
        entry(ROOT, "d", 20),
        entry(20, "up", ROOT),
        entry(ROOT, "e", 20),
    ]);
    let text = "the name leads to directory 20, which has another name already";
    assert!(found.contains(&format!("/e: {text}")), "{found:?}");
    assert!(
        found.iter().any(|line| line.starts_with("/d/up: ")),
        "{found:?}"
    );
}

#[test]
fn a_loop_of_directories_that_no_path_leads_to_is_found() {
    let found = problems(&[
        node(20, DIRECTORY, 0),
        node(21, DIRECTORY, 0),
        entry(20, "in", 21),
        entry(21, "back", 20),
    ]);
    let text = "which has no name: it has names in it (1), and no path leads to it";
    assert_eq!(
        found,
        [20, 21].map(|number| format!("node {number}, {text}"))
    );
}

#[test]
fn names_in_what_is_no_directory_are_found() {
    let found = problems(&[
        node(20, NodeKind::File, 0),
        entry(ROOT, "f", 20),
        entry(20, "in", ROOT),
        entry(77, "in", 20),
    ]);
    let of_file = "/f: it has names in it and is no directory";
    assert_eq!(found, [of_file, "directory 77 has names and is not there"]);
}

#[test]
fn content_that_can_lie_nowhere_is_found() {
    let good = Extent {
        offset: 0,
        len: CHUNK as u64,
        segment: 0,
        place: 4096,
        stored: 16 * 70_000,
        record_len: CHUNK as u64,
        owner: 20,
        index: 1 << 31,
        generation: 1,
        blocks: 0,
    };
    let bad = Extent { offset: 5, ..good };
    let nowhere = Extent {
        place: 4097,
        ..good
    };
    let of_one = |extent: &Extent| {
        let extents = [*extent];
        let content = Record::Content(Content {
            node: 20,
            whole: true,
            extents: Extents::new(&extents),
        });
        problems(&[
            node(20, NodeKind::File, 2 * CHUNK as u64),
            entry(ROOT, "f", 20),
            content,
        ])
    };
    let text = of_one(&bad).join("\n");
    assert!(text.starts_with("/f: bytes 5 to "), "{text}");
    assert!(text.contains("not at the beginning of a chunk"), "{text}");
    let text = of_one(&nowhere).join("\n");
    assert!(text.contains("said to lie where none can"), "{text}");
}
