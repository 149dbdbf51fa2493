//! `brimfs stat`: what is known about a store, or about one node in it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use brimfs::FileSystem;
use brimfs::face::journal::FORMAT;
use clap::Args;
use serde_json::{Value, json};

use crate::{Outcome, store, text};

/// Describe a store, or one file, directory or link in it
///
/// Without a path the store as a whole is described. A symbolic link is not followed.
///
/// Times are UTC. The store is opened for reading only.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directory of the store
    store: PathBuf,

    /// What to describe: a path in the store
    path: Option<OsString>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    store::with(&arguments.store, |fs| {
        let described = match &arguments.path {
            Some(path) => node(fs, path.as_bytes(), arguments.json),
            None => whole(fs, &arguments.store, arguments.json),
        };
        match described {
            Ok(text) => {
                out.write_all(text.as_bytes())?;
                Ok(Outcome::default())
            }
            Err(text) => Ok(Outcome::failed(text)),
        }
    })
}

fn node(fs: &FileSystem, path: &[u8], json: bool) -> Result<String, String> {
    let known = fs.symlink_metadata(path);
    let known = known.map_err(|error| error.to_string())?;
    let target = store::target(fs, path);
    // Those of a link are those of what it leads to, so they are left out.
    let xattrs = match known.is_symlink() {
        true => Vec::new(),
        false => fs.list_xattrs(path).map_err(|error| error.to_string())?,
    };
    let attributes = xattrs.iter().map(|name| text::printable(name));
    let attributes: Vec<String> = attributes.collect();
    let worth = match known.is_file() {
        true => Some(worth(fs, path).map_err(|error| error.to_string())?),
        false => None,
    };
    if json {
        let mut object = text::object(path, &known, target.as_deref());
        object.insert("attributes".into(), attributes.into());
        if let Some((priority, pinned)) = worth {
            object.insert("priority".into(), priority.into());
            object.insert("pinned".into(), pinned.into());
        }
        return Ok(text::json_text(&Value::Object(object)));
    }
    let mut rows = vec![("type", text::kind(known.file_type()).to_owned())];
    if let Some(target) = &target {
        rows.push(("leads to", text::printable(target)));
    }
    rows.extend([
        ("size", exact(known.len())),
        ("allocated", exact(known.allocated())),
        (
            "mode",
            format!("{:04o} {}", known.mode(), text::mode(&known)),
        ),
        ("owner", format!("{}, group {}", known.uid(), known.gid())),
        ("names", known.nlink().to_string()),
        ("inode", known.ino().to_string()),
        ("modified", text::precise(known.modified())),
        ("changed", text::precise(known.changed())),
        ("accessed", text::precise(known.accessed())),
        ("created", text::precise(known.created())),
    ]);
    if let Some((priority, pinned)) = worth {
        let pinned = if pinned { ", pinned" } else { "" };
        rows.push(("priority", format!("{priority}{pinned}")));
    }
    if !attributes.is_empty() {
        rows.push(("attributes", attributes.join(", ")));
    }
    Ok(table(&text::printable(path), &rows))
}

/// The priority of a file, and whether it is pinned.
fn worth(fs: &FileSystem, path: &[u8]) -> brimfs::Result<(u8, bool)> {
    Ok((fs.priority(path)?, fs.is_pinned(path)?))
}

#[derive(Default)]
struct Totals {
    files: u64,
    bytes: u64,
    allocated: u64,
    directories: u64,
    symlinks: u64,
    more_names: u64,
}

fn totals(fs: &FileSystem) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let mut seen = HashSet::new();
    for entry in fs.walk("/").map_err(|error| error.to_string())? {
        let known = entry.metadata();
        if known.is_dir() {
            totals.directories += 1;
        } else if known.nlink() > 1 && !seen.insert(known.ino()) {
            totals.more_names += 1;
        } else if known.is_symlink() {
            totals.symlinks += 1;
        } else {
            totals.files += 1;
            totals.bytes += known.len();
            totals.allocated += known.allocated();
        }
    }
    Ok(totals)
}

fn whole(fs: &FileSystem, directory: &Path, json: bool) -> Result<String, String> {
    let totals = totals(fs)?;
    let on_disk =
        on_disk(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    if json {
        return Ok(text::json_text(&json!({
            "store": directory.to_string_lossy(),
            "format": FORMAT,
            "files": totals.files,
            "bytes": totals.bytes,
            "allocated": totals.allocated,
            "directories": totals.directories,
            "symlinks": totals.symlinks,
            "more_names": totals.more_names,
            "disk_bytes": on_disk,
        })));
    }
    let rows = [
        ("format", FORMAT.to_string()),
        ("files", totals.files.to_string()),
        ("content", exact(totals.bytes)),
        ("allocated", exact(totals.allocated)),
        ("directories", totals.directories.to_string()),
        ("symbolic links", totals.symlinks.to_string()),
        ("further names", totals.more_names.to_string()),
        ("on disk", exact(on_disk)),
    ];
    Ok(table(&directory.display().to_string(), &rows))
}

/// What the files of a store take on the medium, in bytes.
fn on_disk(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let known = entry?.metadata()?;
        if known.is_file() {
            bytes += known.blocks() * 512;
        }
    }
    Ok(bytes)
}

fn exact(bytes: u64) -> String {
    match bytes {
        ..1024 => text::size(bytes),
        _ => format!("{bytes} bytes ({})", text::size(bytes)),
    }
}

fn table(title: &str, rows: &[(&str, String)]) -> String {
    let mut text = format!("{title}\n");
    for (name, value) in rows {
        text.push_str(&format!("  {name:<16}{value}\n"));
    }
    text
}
