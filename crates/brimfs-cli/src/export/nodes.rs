//! Node by node from the store to the host.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use brimfs::{FileSystem, Metadata};
use brimfs_transfer::host::{self, Host};

use super::last_name;
use crate::progress::Bar;
use crate::text;

/// So much is copied at once, in bytes.
const PIECE: usize = 1 << 20;

/// What was exported, and what was not.
#[derive(Debug, Default)]
pub(super) struct Exported {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) symlinks: u64,
    /// Further names of files that were copied.
    pub(super) links: u64,
    /// Length of all files that were copied.
    pub(super) bytes: u64,
    /// Extended attributes that the host does not take.
    pub(super) refused: u64,
    pub(super) failures: Vec<String>,
}

/// Copies the tree at a path: a directory's content into the host's, anything else by its name.
pub(super) fn export(
    fs: &FileSystem,
    path: &[u8],
    host: Host,
    total: u64,
    bar: &mut Bar,
) -> brimfs::Result<Exported> {
    let mut export = Export {
        fs,
        host,
        bar,
        done: 0,
        total,
        piece: vec![0; PIECE],
        first_names: HashMap::new(),
        exported: Exported::default(),
    };
    let mut directories = Vec::new();
    let mut walk = fs.walk(path)?;
    while let Some(entry) = walk.next() {
        let known = entry.metadata();
        let place = match entry.depth() {
            0 if known.is_dir() => &[],
            0 => last_name(path).unwrap_or_default(),
            _ => below(path, entry.path()),
        };
        if let Err(text) = export.node(entry.path(), place, &known) {
            export.fail(entry.path(), &text);
            walk.skip_current_dir();
        } else if known.is_dir() {
            directories.push((place.to_vec(), entry.path().to_vec(), known));
        }
    }
    for (place, path, known) in directories.iter().rev() {
        if place.is_empty() && !export.host.is_new {
            continue;
        }
        if let Err(error) = export.host.finish_directory(place, known) {
            let text = format!("its permissions and times: {error}");
            export.fail(path, &text);
        }
    }
    Ok(export.exported)
}

/// The path of what was found at `path`, from `start` on.
fn below<'a>(start: &[u8], path: &'a [u8]) -> &'a [u8] {
    let rest = &path[start.len()..];
    rest.strip_prefix(b"/").unwrap_or(rest)
}

struct Export<'a> {
    fs: &'a FileSystem,
    host: Host,
    bar: &'a mut Bar,
    /// Bytes of content, of how many.
    done: u64,
    total: u64,
    piece: Vec<u8>,
    /// Where files that have more names were copied to, by inode number.
    first_names: HashMap<u64, Vec<u8>>,
    exported: Exported,
}

/// Names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

impl Export<'_> {
    fn fail(&mut self, path: &[u8], text: &str) {
        let text = format!("{}: {text}", text::printable(path));
        self.exported.failures.push(text);
    }

    fn node(&mut self, path: &[u8], place: &[u8], known: &Metadata) -> Result<(), String> {
        if known.is_dir() {
            return self.directory(path, place);
        }
        if let Some(first) = self.first_names.get(&known.ino()) {
            let made = self.host.make_link(place, first);
            made.map_err(|error| format!("cannot be linked here: {error}"))?;
            self.exported.links += 1;
            return Ok(());
        }
        match known.is_symlink() {
            true => self.symlink(path, place, known)?,
            false => self.file(path, place, known)?,
        }
        if known.nlink() > 1 {
            self.first_names.insert(known.ino(), place.to_vec());
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], place: &[u8]) -> Result<(), String> {
        if !place.is_empty() {
            let made = self.host.make_directory(place);
            made.map_err(|error| cannot_be_made(&error))?;
            self.exported.directories += 1;
        }
        for (name, value) in self.attributes(path)? {
            let set = self.host.set_attribute(place, &name, &value);
            self.note_attribute(set)?;
        }
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], place: &[u8], known: &Metadata) -> Result<(), String> {
        let target = self.fs.read_link(path).map_err(|error| error.reason())?;
        let made = self.host.make_symlink(place, &target);
        made.map_err(|error| cannot_be_made(&error))?;
        self.exported.symlinks += 1;
        let finished = self.host.finish_symlink(place, known);
        finished.map_err(|error| format!("its times: {error}"))
    }

    fn file(&mut self, path: &[u8], place: &[u8], known: &Metadata) -> Result<(), String> {
        let made = self.host.make_file(place);
        let file = made.map_err(|error| cannot_be_made(&error))?;
        let end = self.done + known.len();
        let copied = self.content(path, &file);
        self.done = end;
        if let Err(text) = copied {
            // A part of a file would pass for the whole.
            return Err(match self.host.remove(place) {
                Ok(()) => text,
                Err(error) => format!("{text}; what there is of it cannot be removed: {error}"),
            });
        }
        self.exported.files += 1;
        self.exported.bytes += known.len();
        for (name, value) in self.attributes(path)? {
            self.note_attribute(host::set_attribute(&file, &name, &value))?;
        }
        let finished = host::finish(&file, known);
        finished.map_err(|error| format!("its permissions and times: {error}"))
    }

    /// Copies what holds data; what does not stays a hole.
    fn content(&mut self, path: &[u8], to: &File) -> Result<(), String> {
        let in_store = |error: brimfs::Error| error.reason();
        let on_host = |error: io::Error| format!("cannot be written: {error}");
        let from = self.fs.open(path).map_err(in_store)?;
        let before = self.done;
        let mut offset = 0;
        while let Some(start) = from.seek_data(offset).map_err(in_store)? {
            let end = from.seek_hole(start).map_err(in_store)?;
            let end = end.unwrap_or_else(|| from.len());
            offset = start;
            while offset < end {
                let len = self.piece.len().min((end - offset) as usize);
                let piece = &mut self.piece[..len];
                let count = from.read_at(offset, piece).map_err(in_store)?;
                if count == 0 {
                    break;
                }
                to.write_all_at(&piece[..count], offset).map_err(on_host)?;
                offset += count as u64;
                self.done = before + offset;
                self.bar.show("copying", self.done, self.total);
            }
            offset = end;
        }
        to.set_len(from.len()).map_err(on_host)
    }

    fn attributes(&self, path: &[u8]) -> Result<Attributes, String> {
        let in_store = |error: brimfs::Error| error.reason();
        let names = self.fs.list_xattrs(path).map_err(in_store)?;
        let pairs = names.into_iter().map(|name| {
            let value = self.fs.xattr(path, &name)?;
            Ok((name, value))
        });
        pairs
            .collect::<brimfs::Result<_>>()
            .map_err(|error| error.reason())
    }

    fn note_attribute(&mut self, set: io::Result<()>) -> Result<(), String> {
        match set {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                Err(format!("its attributes: {error}"))
            }
            // Which names and sizes there are is the host's own matter.
            Err(_) => {
                self.exported.refused += 1;
                Ok(())
            }
        }
    }
}

fn cannot_be_made(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "something has that name there already".to_owned(),
        _ => format!("this machine cannot have it: {error}"),
    }
}
