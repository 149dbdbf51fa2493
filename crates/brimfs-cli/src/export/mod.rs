//! `brimfs export`: a store, or a part of it, as files of this machine.
//!
//! Goes through the tree, a directory before what is in it; permissions and times of directories come last, so that
//! one that takes no writes can be filled. What cannot be copied is said and the rest goes on.

mod nodes;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use brimfs::FileSystem;
use brimfs_transfer::host::Host;
use clap::Args;
use serde_json::json;

use crate::progress::Bar;
use crate::{Outcome, store, text};
use nodes::Exported;

/// Copy a store, or a part of it, to a directory of this machine
///
/// What is in a directory of the store, or one file, goes into a directory of this machine, which is made if it is
/// not there: content with its holes, permissions, times, symbolic and hard links, and extended attributes, where
/// this machine takes them.
///
/// Nothing outside of the directory is written, whatever links lie in it. Owners are not copied, nor are the
/// set-user-id and set-group-id bits. What cannot be copied is said, and the rest is copied all the same. The
/// store is opened for reading only.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct Arguments {
    /// Directory of the store
    store: PathBuf,

    /// What to copy: a path in the store [default: /]
    path: Option<OsString>,

    /// Where to copy it to: a directory that is empty, or that is not there yet
    directory: PathBuf,

    /// Copy into a directory that is not empty, and replace files that have the same names
    #[arg(short, long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    store::with(&arguments.store, |fs| {
        let path = store::path(arguments.path.as_ref());
        let mut bar = Bar::new();
        let exported = export(fs, arguments, path, &mut bar);
        drop(bar);
        match exported {
            Ok(exported) => tell(&exported, arguments, out),
            Err(text) => Ok(Outcome::failed(text)),
        }
    })
}

fn export(
    fs: &FileSystem,
    arguments: &Arguments,
    path: &[u8],
    bar: &mut Bar,
) -> Result<Exported, String> {
    // What is not there makes no directory.
    fs.symlink_metadata(path)
        .map_err(|error| error.to_string())?;
    let directory = &arguments.directory;
    check_apart(&arguments.store, directory)?;
    let host = Host::open(directory, arguments.force);
    let host = host.map_err(|error| format!("{}: {error}", directory.display()))?;
    let total = total(fs, path).map_err(|error| error.to_string())?;
    nodes::export(fs, path, host, total, bar).map_err(|error| error.to_string())
}

/// A store is no place to export to.
fn check_apart(store: &Path, directory: &Path) -> Result<(), String> {
    // Of a directory that will be made its parent counts.
    let there = directory.canonicalize().or_else(|_| {
        let parent = directory
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).canonicalize()
    });
    match (store.canonicalize(), there) {
        (Ok(store), Ok(there)) if there.starts_with(&store) => {
            Err(format!("{} lies in the store itself", directory.display()))
        }
        _ => Ok(()),
    }
}

/// How much content there is to copy, in bytes.
fn total(fs: &FileSystem, path: &[u8]) -> brimfs::Result<u64> {
    let files = fs.walk(path)?.map(|entry| entry.metadata());
    Ok(files
        .filter(|known| known.is_file())
        .map(|known| known.len())
        .sum())
}

fn tell(exported: &Exported, arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    let directory = arguments.directory.display();
    let Exported {
        files,
        directories,
        symlinks,
        links,
        bytes,
        refused,
        failures,
    } = exported;
    let refused_attributes = text::count(*refused, "extended attribute", "extended attributes");
    if arguments.json {
        let object = json!({
            "directory": directory.to_string(),
            "files": files,
            "directories": directories,
            "symlinks": symlinks,
            "hard_links": links,
            "bytes": bytes,
            "refused_attributes": refused,
            "failures": failures,
        });
        out.write_all(text::json_text(&object).as_bytes())?;
    } else {
        let things = [
            (*directories, "directory", "directories"),
            (*symlinks, "symbolic link", "symbolic links"),
            (*links, "hard link", "hard links"),
        ];
        let mut done = format!("Copied {}", text::count(*files, "file", "files"));
        done.push_str(&format!(" ({})", text::size(*bytes)));
        for (number, one, many) in things.into_iter().filter(|(number, ..)| *number > 0) {
            done.push_str(&format!(", {}", text::count(number, one, many)));
        }
        done.push_str(&format!(" to {directory}."));
        store::line(out, done)?;
        if *refused > 0 {
            store::line(
                out,
                format!("{refused_attributes} not taken by this machine."),
            )?;
        }
    }
    Ok(Outcome {
        failures: failures.clone(),
        code: 0,
    })
}

/// The last name of a path, or nothing for the root.
fn last_name(path: &[u8]) -> Option<&[u8]> {
    let name = Path::new(std::ffi::OsStr::from_bytes(path)).file_name()?;
    Some(name.as_bytes())
}
