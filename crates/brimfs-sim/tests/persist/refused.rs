//! What opening refuses, and leaves as it was.

use std::sync::Arc;

use brimfs::ErrorKind;
use brimfs::face::journal::{self, Group, Identity, NodeKind, Record, Writer, recover};
use brimfs_sim::medium::Medium;

use super::repair::{life, opened, repair};
use super::world::ROOMY;

fn node(number: u64, kind: NodeKind) -> Record<'static> {
    Record::Node(journal::Node {
        number,
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        links: 0,
        accessed: journal::Time::default(),
        modified: journal::Time::default(),
        changed: journal::Time::default(),
        created: journal::Time::default(),
        len: 0,
        priority: 5,
        pinned: false,
        accesses: 0,
        xattrs: journal::Xattrs::default(),
        target: &[],
    })
}

fn entry(directory: u64, name: &'static str, child: u64) -> Record<'static> {
    let name = name.as_bytes();
    Record::Entry {
        directory,
        name,
        child,
    }
}

/// A store with these records beside the root's.
fn of_records(records: &[Record<'_>]) -> Medium {
    struct Nothing;
    impl journal::Visitor for Nothing {
        fn restart(&mut self) {}
        fn record(&mut self, _: Record<'_>) -> Result<(), brimfs::face::Fault> {
            Ok(())
        }
        fn group(&mut self, _: u64) -> Result<(), brimfs::face::Fault> {
            Ok(())
        }
    }
    let medium = Medium::new();
    let found = recover(&medium, &mut Nothing).expect("empty");
    let directory = Arc::new(medium.clone());
    let options = journal::Options::default();
    let mut writer = Writer::create(directory, &found, Identity([7; 16]), options).expect("begun");
    let mut group = Group::new();
    for record in [node(1, NodeKind::Directory)].iter().chain(records) {
        group.push(record).expect("pushed");
    }
    writer.append(&group).expect("appended");
    writer.close().expect("closed");
    medium
}

#[test]
fn directories_without_a_path_are_refused_and_found_again() {
    let directory = NodeKind::Directory;
    let medium = of_records(&[
        node(20, directory),
        node(21, directory),
        node(22, NodeKind::File),
        entry(20, "below", 21),
        entry(21, "file", 22),
        // A loop that no path leads to.
        node(30, directory),
        node(31, directory),
        entry(30, "in", 31),
        entry(31, "back", 30),
    ]);
    let error = ROOMY.open(&medium).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let report = repair(&medium).expect("repaired");
    assert!(report.is_changed);
    let fs = ROOMY.open(&medium).expect("opened");
    assert!(
        fs.metadata("/lost+found/20/below/file")
            .expect("found")
            .is_file()
    );
    assert!(fs.metadata("/lost+found/30/in").expect("found").is_dir());
    assert!(!fs.exists("/lost+found/30/in/back"));
}

#[test]
fn an_opening_that_fails_leaves_nothing_behind() {
    let life = life(5, 6);
    let names = life.medium.names();
    for _ in 0..3 {
        let refused = ROOMY
            .builder()
            .quota(1000)
            .open_in(Arc::new(life.medium.clone()));
        let error = refused.expect_err("more is there than the quota allows");
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
        assert_eq!(life.medium.names(), names);
    }
    assert!(opened(&life.medium, ROOMY) == *life.last());
}

#[test]
fn content_without_a_journal_is_no_new_store() {
    let life = life(6, 6);
    for name in life.medium.names() {
        if name.starts_with("journal-") {
            life.medium.lose(&name);
        }
    }
    let names = life.medium.names();
    let error = ROOMY.open(&life.medium).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(life.medium.names(), names);
    assert!(repair(&life.medium).is_err());
}
