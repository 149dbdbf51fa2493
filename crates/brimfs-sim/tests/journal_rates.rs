//! Rates of the journal on a real disk, to be read by people: nothing here is asserted.
//!
//! `cargo test --release -p brimfs-sim --test journal_rates -- --ignored --nocapture --test-threads 1`

#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use brimfs::face::Fault;
use brimfs::face::disk::{Access, Directory, Opening, RealDirectory};
use brimfs::face::journal::{
    CheckpointWriter, Group, Identity, Node, NodeKind, Options, Record, Time, Visitor, Writer,
    Xattrs, recover,
};

const APPENDS: u64 = 500;
const ROUNDS: usize = 7;

/// Two blocks at an aligned address.
#[repr(align(4096))]
struct Blocks([u8; 8192]);

static BLOCKS: Blocks = Blocks([7; 8192]);

#[derive(Clone, Copy)]
enum Space {
    /// Every append makes the file longer.
    None,
    /// Reserved, and never written.
    Reserved,
    /// Written with zeroes.
    Zeroed,
}

/// How the appends are done that the journal could use.
const WAYS: [(&str, i32, Space); 9] = [
    ("bare append, fdatasync", 0, Space::None),
    ("buffered, reserved, fdatasync", 0, Space::Reserved),
    ("buffered, zeroed, fdatasync", 0, Space::Zeroed),
    (
        "direct, reserved, fdatasync",
        libc::O_DIRECT,
        Space::Reserved,
    ),
    ("direct, zeroed, fdatasync", libc::O_DIRECT, Space::Zeroed),
    (
        "buffered, reserved, O_DSYNC",
        libc::O_DSYNC,
        Space::Reserved,
    ),
    ("buffered, zeroed, O_DSYNC", libc::O_DSYNC, Space::Zeroed),
    (
        "direct, reserved, O_DSYNC",
        libc::O_DIRECT | libc::O_DSYNC,
        Space::Reserved,
    ),
    (
        "direct, zeroed, O_DSYNC",
        libc::O_DIRECT | libc::O_DSYNC,
        Space::Zeroed,
    ),
];

fn per_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn directory(path: &Path) -> Arc<dyn Directory> {
    Arc::new(RealDirectory::open(path, Opening::Existing).expect("opened"))
}

fn prepared(path: &Path, space: Space, bytes: u64, flags: i32) -> File {
    let directory = directory(path);
    if directory
        .list()
        .expect("listed")
        .iter()
        .any(|name| name == "appended")
    {
        directory.remove("appended").expect("removed");
    }
    let file = directory.create("appended").expect("created");
    if !matches!(space, Space::None) {
        file.allocate(0, bytes).expect("space");
    }
    if matches!(space, Space::Zeroed) {
        let plain = OpenOptions::new().write(true).open(path.join("appended"));
        let zeroes = vec![0; bytes as usize];
        plain
            .expect("opened")
            .write_all_at(&zeroes, 0)
            .expect("written");
    }
    file.sync_data().expect("durable");
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags);
    options.open(path.join("appended")).expect("opened")
}

fn append_rate(path: &Path, len: usize, flags: i32, space: Space) -> f64 {
    let file = prepared(path, space, APPENDS * len as u64, flags);
    let begun = Instant::now();
    for number in 0..APPENDS {
        file.write_all_at(&BLOCKS.0[..len], number * len as u64)
            .expect("written");
        if flags & libc::O_DSYNC == 0 {
            file.sync_data().expect("durable");
        }
    }
    per_second(APPENDS, begun)
}

struct Ignore(u64);

impl Visitor for Ignore {
    fn restart(&mut self) {}

    fn record(&mut self, record: Record<'_>) -> Result<(), Fault> {
        // Something of every record is looked at.
        self.0 += match record {
            Record::Node(node) => node.len,
            Record::Entry { name, .. } => name.len() as u64,
            _ => 0,
        };
        Ok(())
    }

    fn group(&mut self, _number: u64) -> Result<(), Fault> {
        Ok(())
    }
}

fn writer(path: &Path) -> Writer {
    let directory = directory(path);
    let found = recover(&*directory, &mut Ignore(0)).expect("readable");
    let options = Options::default();
    let writer = match found.identity {
        Some(_) => Writer::open(directory, &found, options),
        None => Writer::create(directory, &found, Identity([1; 16]), options),
    };
    writer.expect("opened")
}

/// Groups of one record with `len` bytes of content, each made durable by itself.
fn journal_rate(writer: &mut Writer, len: usize) -> f64 {
    let begun = Instant::now();
    let mut group = Group::new();
    for node in 0..APPENDS {
        group.clear();
        let bytes = &BLOCKS.0[..len];
        group
            .push(&Record::Inline {
                node,
                offset: 0,
                bytes,
            })
            .expect("encoded");
        writer.append(&group).expect("appended");
        writer.sync().expect("durable");
    }
    per_second(APPENDS, begun)
}

#[test]
#[ignore = "a measurement"]
fn appends_that_are_made_durable() {
    let place = tempfile::tempdir_in("/var/tmp").expect("a directory on a disk");
    let store = tempfile::tempdir_in("/var/tmp").expect("a directory on a disk");
    let mut writer = writer(store.path());
    for len in [4096, 8192] {
        let mut rates = vec![Vec::new(); WAYS.len() + 1];
        for _ in 0..ROUNDS {
            for (rates, (_, flags, space)) in rates.iter_mut().zip(WAYS) {
                rates.push(append_rate(place.path(), len, flags, space));
            }
            // With its headers the group takes the same blocks.
            rates[WAYS.len()].push(journal_rate(&mut writer, len - 100));
        }
        println!(
            "appends of {len} bytes, a second; share of the bare ones, medians of {ROUNDS} rounds"
        );
        let names = WAYS.iter().map(|(name, ..)| *name).chain(["the journal"]);
        for (name, of_way) in names.zip(&rates) {
            let shares = of_way.iter().zip(&rates[0]).map(|(rate, bare)| rate / bare);
            println!(
                "  {name:32} {:8.0} {:6.2}",
                median(of_way.clone()),
                median(shares.collect())
            );
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn a_million_files_from_a_checkpoint() {
    const FILES: u64 = 1_000_000;
    let store = tempfile::tempdir_in("/var/tmp").expect("a directory on a disk");
    let mut writer = writer(store.path());
    writer.append(&Group::new()).expect("appended");
    let position = writer.sync().expect("durable");
    let begun = Instant::now();
    let mut image = CheckpointWriter::begin(directory(store.path()), writer.identity(), position)
        .expect("begun");
    for number in 1..=FILES {
        image
            .push(&Record::Node(small_file(number)))
            .expect("written");
        let name = format!("file-{number:08}.csv");
        let entry = Record::Entry {
            directory: 1 + number / 1000,
            name: name.as_bytes(),
            child: number,
        };
        image.push(&entry).expect("written");
    }
    image.finish().expect("current").remove().expect("removed");
    println!("written in {:.2?}", begun.elapsed());
    drop(writer);

    let directory = directory(store.path());
    let names = directory.list().expect("listed");
    let name = names
        .iter()
        .filter_map(|name| name.to_str())
        .find(|name| name.starts_with("checkpoint-"));
    let file = directory
        .open(name.expect("one"), Access::Read)
        .expect("opened");
    let bytes = file.len().expect("length");
    println!("{bytes} bytes, {} for each file", bytes / FILES);
    for _ in 0..3 {
        let begun = Instant::now();
        let mut seen = Ignore(0);
        recover(&*directory, &mut seen).expect("readable");
        let took = begun.elapsed();
        let rate = 2.0 * FILES as f64 / took.as_secs_f64() / 1e6;
        println!("recovered in {took:.2?}, {rate:.1} million records a second");
    }
}

fn small_file(number: u64) -> Node<'static> {
    let time = |nanos| Time {
        seconds: 1_700_000_000 + number as i64,
        nanos,
    };
    Node {
        number,
        kind: NodeKind::File,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        links: 1,
        accessed: time(1),
        modified: time(5000),
        changed: time(5000),
        created: time(1),
        len: 100,
        priority: 5,
        pinned: false,
        accesses: 1,
        xattrs: Xattrs::default(),
        target: &[],
    }
}
