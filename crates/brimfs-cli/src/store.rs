//! Opening a store to look at it: nothing in it changes.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use brimfs::{ErrorKind, FileSystem, Layout};

use crate::Outcome;

/// Opens a store for reading and hands it on. Where that fails the outcome says why.
pub(crate) fn with(
    store: &Path,
    work: impl FnOnce(&FileSystem) -> io::Result<Outcome>,
) -> io::Result<Outcome> {
    let layout = match is_mirror(store) {
        true => Layout::Mirror,
        false => Layout::Segments,
    };
    match FileSystem::builder()
        .read_only(true)
        .layout(layout)
        .open(store)
    {
        Ok(fs) => work(&fs),
        Err(error) if error.kind() == ErrorKind::Corrupt && layout == Layout::Segments => {
            let next = format!("`brimfs check {}` says which files are", store.display());
            Ok(Outcome::failed(format!("{error}; {next}")))
        }
        Err(error) => Ok(Outcome::failed(error)),
    }
}

/// Whether a directory is one that a filesystem mirrors.
fn is_mirror(store: &Path) -> bool {
    let side = std::fs::symlink_metadata(store.join(".brimfs"));
    side.is_ok_and(|found| found.is_dir())
}

/// A path in a store as it was given, or the root.
pub(crate) fn path(given: Option<&OsString>) -> &[u8] {
    given.map_or(b"/", |path| path.as_bytes())
}

/// Where a symbolic link leads; nothing for what is none.
pub(crate) fn target(fs: &FileSystem, path: &[u8]) -> Option<Vec<u8>> {
    let known = fs.symlink_metadata(path).ok()?;
    known.is_symlink().then(|| fs.read_link(path).ok())?
}

/// Writes a line.
pub(crate) fn line(out: &mut dyn Write, text: impl AsRef<[u8]>) -> io::Result<()> {
    out.write_all(text.as_ref())?;
    out.write_all(b"\n")
}
