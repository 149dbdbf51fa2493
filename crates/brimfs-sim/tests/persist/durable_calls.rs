//! With `Durability::Sync` a call is durable when it returns: what is left of a power failure has it.

use std::sync::Arc;

use brimfs::face::{Node, Source, Wait};
use brimfs::{Durability, ErrorKind, FileSystem, OpenOptions};
use brimfs_sim::medium::{Image, Medium};

fn open(medium: &Medium) -> FileSystem {
    FileSystem::builder()
        .memory_limit(64 << 20)
        .durability(Durability::Sync)
        .open_in(Arc::new(medium.clone()))
        .expect("opened")
}

/// What is there after a power failure that leaves what is durable, and nothing else.
fn found(medium: &Medium) -> FileSystem {
    open(&medium.crash(&Image::default()))
}

fn node(fs: &FileSystem, path: &str) -> Node {
    fs.resolve(path.as_bytes()).expect("there").0
}

#[test]
fn calls_of_faces_are_durable_too() {
    let medium = Medium::new();
    let fs = open(&medium);
    fs.write_with(b"/a", Source::Slice(b"one"), Wait::Forever)
        .unwrap();
    assert_eq!(found(&medium).read("/a").unwrap(), "one");
    fs.write_node(&node(&fs, "/a"), Source::Slice(b"two"), Wait::Forever)
        .unwrap();
    assert_eq!(found(&medium).read("/a").unwrap(), "two");
    fs.write_prioritized(b"/a", Source::Slice(b"three"), 7, Wait::Forever)
        .unwrap();
    assert_eq!(found(&medium).priority("/a").unwrap(), 7);
    fs.append_with(b"/a", b" four", Wait::Forever).unwrap();
    assert_eq!(found(&medium).read("/a").unwrap(), "three four");
    fs.truncate_with(b"/a", 5, Wait::Forever).unwrap();
    assert_eq!(found(&medium).read("/a").unwrap(), "three");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    fs.open_with(b"/b", &options, Wait::Forever).unwrap();
    assert!(found(&medium).exists("/b"));
    fs.open_node(&node(&fs, "/a"), b"/a", &options, Wait::Forever)
        .unwrap();
    assert_eq!(found(&medium).read("/a").unwrap(), "");
    fs.remove_in(&node(&fs, "/"), b"b").unwrap();
    assert!(!found(&medium).exists("/b"));
}

#[test]
fn a_handle_that_outlives_its_filesystem_accepts_nothing() {
    let medium = Medium::new();
    let fs = open(&medium);
    let file = fs.create("/a").unwrap();
    file.write_at(0, b"kept").unwrap();
    drop(fs);
    let refused = file.write_at(4, b"lost").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert_eq!(found(&medium).read("/a").unwrap(), "kept");
}

#[test]
fn calls_after_those_that_hold_several_nodes_are_durable_too() {
    let medium = Medium::new();
    let fs = open(&medium);
    fs.create_dir("/d").unwrap();
    fs.write("/a", "one").unwrap();
    fs.rename("/a", "/d/a").unwrap();
    fs.write("/b", "two").unwrap();
    assert_eq!(found(&medium).read("/b").unwrap(), "two");
    fs.hard_link("/b", "/d/b").unwrap();
    fs.write("/c", "three").unwrap();
    assert_eq!(found(&medium).read("/c").unwrap(), "three");
    fs.rename("/c", "/b").unwrap();
    fs.remove_dir_all("/d").unwrap();
    fs.write("/e", "four").unwrap();
    assert_eq!(found(&medium).read("/e").unwrap(), "four");
}
