//! `brimfs ls`: names in a store.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use brimfs::{FileSystem, Metadata};
use clap::Args;
use serde_json::Value;

use crate::{Outcome, store, text};

/// List what is in a directory of a store
///
/// Names are sorted. Of a file the name is printed.
///
/// Times are UTC. Names are printed as they are, but on a terminal, where what cannot be printed is escaped.
/// The store is opened for reading only.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directory of the store
    store: PathBuf,

    /// What to list: a path in the store [default: /]
    path: Option<OsString>,

    /// Print type and permissions, names of the node, owner, group, size and time of the last change, too
    #[arg(short, long)]
    long: bool,

    /// List what is below, too, by paths from where the listing begins
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Print JSON, with all that is known of each
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    store::with(&arguments.store, |fs| {
        let path = store::path(arguments.path.as_ref());
        let mut listing = Listing {
            fs,
            arguments,
            out,
            printed: 0,
        };
        listing.begin()?;
        let listed = listing.list(path)?;
        listing.end()?;
        Ok(match listed {
            Ok(()) => Outcome::default(),
            Err(error) => Outcome::failed(error),
        })
    })
}

struct Entry {
    name: Vec<u8>,
    known: Metadata,
}

struct Listing<'a> {
    fs: &'a FileSystem,
    arguments: &'a Arguments,
    out: &'a mut dyn Write,
    printed: u64,
}

impl Listing<'_> {
    fn begin(&mut self) -> io::Result<()> {
        match self.arguments.json {
            true => self.out.write_all(b"["),
            false => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        match self.arguments.json {
            true => self.out.write_all(b"\n]\n"),
            false => Ok(()),
        }
    }

    /// The outer error is one of the output, the inner one of the store.
    fn list(&mut self, path: &[u8]) -> io::Result<brimfs::Result<()>> {
        let known = match self.fs.symlink_metadata(path) {
            Ok(known) => known,
            Err(error) => return Ok(Err(error)),
        };
        // A link to a directory is a directory here, any other is itself.
        let is_directory =
            known.is_dir() || self.fs.metadata(path).is_ok_and(|known| known.is_dir());
        if !is_directory {
            return self.print(path, path, &known).map(Ok);
        }
        let mut open = match self.entries(path) {
            Ok(entries) => vec![(path.to_vec(), entries)],
            Err(error) => return Ok(Err(error)),
        };
        while let Some((directory, entries)) = open.last_mut() {
            let Some(Entry { name, known }) = entries.next() else {
                open.pop();
                continue;
            };
            let place = join(directory, &name);
            let below = &place[path.len()..];
            let below = &below[below.iter().take_while(|byte| **byte == b'/').count()..];
            self.print(below, &place, &known)?;
            if self.arguments.recursive && known.is_dir() {
                match self.entries(&place) {
                    Ok(entries) => open.push((place, entries)),
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(()))
    }

    fn entries(&self, path: &[u8]) -> brimfs::Result<std::vec::IntoIter<Entry>> {
        let listed = self.fs.read_dir(path)?;
        let mut entries: Vec<Entry> = listed
            .map(|entry| Entry {
                name: entry.name().to_vec(),
                known: entry.metadata(),
            })
            .collect();
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries.into_iter())
    }

    fn print(&mut self, name: &[u8], place: &[u8], known: &Metadata) -> io::Result<()> {
        let target = match known.is_symlink() {
            true => store::target(self.fs, place),
            false => None,
        };
        self.printed += 1;
        if self.arguments.json {
            let object = Value::Object(text::object(place, known, target.as_deref()));
            let comma = if self.printed > 1 { "," } else { "" };
            return write!(self.out, "{comma}\n{object}");
        }
        if self.arguments.long {
            write!(
                self.out,
                "{} {:>3} {:>5} {:>5} {:>12} {} ",
                text::mode(known),
                known.nlink(),
                known.uid(),
                known.gid(),
                known.len(),
                text::time(known.modified())
            )?;
        }
        let mut line = text::shown(name);
        if let Some(target) = target.filter(|_| self.arguments.long) {
            line.extend_from_slice(b" -> ");
            line.extend(text::shown(&target));
        }
        store::line(self.out, line)
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
