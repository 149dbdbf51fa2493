//! Opening a store whose files have names: what lives in them is said by whoever opens it.
//!
//! Reads the directory and one block of each file. Writes to no file that is there: what is appended later
//! goes to new ones.

use std::io;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::{Arc, Mutex, RwLock};
use crate::io::directory::{Access, Directory};
use crate::io::disk::{ALIGNMENT, read_full};

use super::crypt::{Sealer, Seals};
use super::file_header::{BadHeader, Block, FORMAT, file_name, serial_of};
use super::format::{Extent, FIRST, SEALED_HEADER, UNIT, plain_units};
use super::home::{Home, Named, context};
use super::index::Segment;
use super::options::{Options, Protection};
use super::space::{SegmentFile, Space};
use super::writer::Tail;
use super::{Store, Table};

impl Store {
    pub(super) fn open(
        directory: Arc<dyn Directory>,
        options: Options,
        identity: [u8; 16],
        live: &[Extent],
        read_only: bool,
    ) -> Result<Self, Fault> {
        if options.protection != Protection::Checksummed {
            let text = "segments with names are checksummed: a key would not outlive the process";
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
        options.check()?;
        let named = Named::new(directory, identity, read_only);
        let space = Space::new(options.disk_limit);
        let there = listed(&named)?;
        let mut live = live.to_vec();
        live.sort_unstable_by_key(|extent| (extent.serial(), extent.unit(), extent.to_raw()));
        let mut table = Table::default();
        for of_one in live.chunk_by(|one, next| one.serial() == next.serial()) {
            let segment = open_segment(&named, &space, of_one)?;
            table.insert(segment.serial, Arc::new(segment));
        }
        // Only now, when nothing can be wrong any more.
        if !read_only {
            let mut strays = there.iter().filter(|serial| !table.contains_key(*serial));
            strays.try_for_each(|serial| named.remove(*serial))?;
        }
        let next = there.iter().chain(table.keys()).max();
        let next = next.map_or(0, |last| last + 1);
        let longest = table.values().map(|segment| segment.file.reserved()).max();
        let sealer = Sealer::checksummed(&identity);
        let mut store = Store::with(Home::Named(Box::new(named)), sealer, space, options)?;
        store.longest = store.longest.max(longest.unwrap_or(0));
        store.tail = Mutex::new(Tail::starting_at(next));
        store.table = RwLock::new(table);
        Ok(store)
    }
}

/// The serial numbers of the segments whose files are there.
fn listed(named: &Named) -> Result<Vec<u32>, Fault> {
    let names = named.directory.list();
    let names = names.map_err(|error| context("listing", "the segments", error))?;
    let serials = names.iter().filter_map(|name| serial_of(name.to_str()?));
    Ok(serials.collect())
}

/// The segment in which these extents live, which are sorted and not none.
fn open_segment(named: &Named, space: &Arc<Space>, live: &[Extent]) -> Result<Segment, Fault> {
    let serial = live[0].serial();
    let name = file_name(serial);
    let file = match named.directory.open(&name, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let place = live[0].place();
            return Err(corrupt(&name, place, "content is missing with its file"));
        }
        opened => opened.map_err(|error| context("opening", &name, error))?,
    };
    let len = file.len();
    let len = len.map_err(|error| context("measuring", &name, error))?;
    if len < FIRST {
        return Err(corrupt(&name, 0, "the file is too short for its header"));
    }
    let mut header = Block::zeroed();
    let read = read_full(&*file, 0, &mut header.0);
    read.map_err(|error| context("reading", &name, error))?;
    let checked = header.check(&named.identity, serial);
    checked.map_err(|bad| bad_header(&name, bad))?;
    // Batches end at boundaries, so what is behind the last one is none.
    let used = len - len % ALIGNMENT as u64;
    for extent in live {
        let place = extent.place();
        let most = plain_units(extent.len(), Seals::Checksummed);
        let least = (SEALED_HEADER / UNIT) as u32;
        if place < FIRST || !(least..=most).contains(&extent.units()) {
            return Err(corrupt(&name, place, "no record can lie there"));
        }
        if place + extent.stored_bytes() > used {
            return Err(corrupt(
                &name,
                place,
                "the file is too short for its content",
            ));
        }
    }
    let file = SegmentFile::found(file, len, space);
    Segment::found(serial, file, used, live)
        .map_err(|place| corrupt(&name, place, "records are said to overlap"))
}

#[cold]
fn corrupt(name: &str, place: u64, text: &str) -> Fault {
    Fault::text(
        ErrorKind::Corrupt,
        format!("{name}, offset {place}: {text}"),
    )
}

#[cold]
fn bad_header(name: &str, bad: BadHeader) -> Fault {
    match bad {
        BadHeader::Format(format) => {
            let text = format!("{name} has format {format}; this version reads format {FORMAT}");
            Fault::text(ErrorKind::Unsupported, text)
        }
        BadHeader::Store => corrupt(name, 0, "it is a segment of another store"),
        BadHeader::Serial(other) => corrupt(name, 0, &format!("it is segment {other:#x}")),
        BadHeader::Damaged => corrupt(name, 0, "the header of the file fails its check"),
    }
}
