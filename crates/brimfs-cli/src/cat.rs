//! `brimfs cat`: content to standard output, byte by byte as it is.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use brimfs::FileSystem;
use clap::Args;

use crate::{Outcome, store};

/// So much is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// Print the content of files in a store, unchanged
///
/// Files come one after the other. A file that cannot be read does not keep the
/// others from being printed. There is no JSON: what comes out is what is in the files.
///
/// The store is opened for reading only.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Directory of the store
    store: PathBuf,

    /// Files in the store
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<Outcome> {
    store::with(&arguments.store, |fs| {
        let mut outcome = Outcome::default();
        let mut piece = vec![0; PIECE];
        for path in &arguments.paths {
            if let Err(error) = print(fs, path.as_bytes(), &mut piece, out)? {
                outcome.failures.push(error.to_string());
            }
        }
        Ok(outcome)
    })
}

/// The outer error is one of the output, the inner one of the store.
fn print(
    fs: &FileSystem,
    path: &[u8],
    piece: &mut [u8],
    out: &mut dyn Write,
) -> io::Result<brimfs::Result<()>> {
    let file = match fs.open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut offset = 0;
    loop {
        match file.read_at(offset, piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => {
                out.write_all(&piece[..count])?;
                offset += count as u64;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}
