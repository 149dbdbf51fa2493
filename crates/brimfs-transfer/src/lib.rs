//! Archives and host trees, into and out of a brimfs filesystem.
//!
//! [`extract`] and [`archive`] read and write zip and tar, the latter plain or packed; [`import_tree`] and
//! [`export_tree`] copy directories of the host. All four stream: what they hold in memory is a few buffers
//! and, of a zip, its list of entries.
//!
//! ```
//! use brimfs_transfer::{ArchiveOptions, ExtractOptions, Format, Source, Target};
//!
//! let fs = brimfs::FileSystem::new()?;
//! fs.create_dir_all("/data/raw")?;
//! fs.write_slice("/data/raw/a.csv", b"id\n1\n")?;
//! let options = ArchiveOptions { format: Some(Format::TarZst), ..Default::default() };
//! brimfs_transfer::archive(&fs, &[b"/data"], Target::File(b"/data.tar.zst"), &options, &mut |_| true)?;
//!
//! let source = Source::File(fs.open("/data.tar.zst")?);
//! let done = brimfs_transfer::extract(&fs, source, "/copy", &ExtractOptions::default(), &mut |_| true)?;
//! assert_eq!((done.files, done.bytes), (1, 5));
//! assert_eq!(fs.read("/copy/data/raw/a.csv")?, &b"id\n1\n"[..]);
//! # Ok::<(), brimfs::Error>(())
//! ```
//!
//! Uses the public interface of `brimfs` and the errors of its `face`, and is used by the faces alone: the
//! crates behind the formats never enter the dependency graph of the core.

mod codec;
mod extract;
mod failure;
mod format;
#[doc(hidden)]
pub mod host;
mod meter;
mod name;
mod pack;
mod sink;
mod source;
mod tar;
mod tree;
mod zip;

pub use extract::{ExtractOptions, extract};
pub use format::Format;
pub use meter::{Limits, Progress, Report};
pub use name::BadNames;
pub use pack::{ArchiveOptions, Target, archive};
pub use sink::{Conflict, Links, Transferred};
pub use source::Source;
pub use tree::{ExportOptions, Filter, ImportOptions, export_tree, import_tree};
