//! Opening a store to look at it: nothing in it changes.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use brimfs::FileSystem;

use crate::Outcome;

/// Opens a store for reading and hands it on. Where that fails the outcome says why.
pub(crate) fn with(
    store: &Path,
    work: impl FnOnce(&FileSystem) -> io::Result<Outcome>,
) -> io::Result<Outcome> {
    match FileSystem::builder().read_only(true).open(store) {
        Ok(fs) => work(&fs),
        Err(error) => Ok(Outcome::failed(error)),
    }
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
