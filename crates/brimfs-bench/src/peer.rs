//! The one trait that brimfs and every other implementation is measured through.
//!
//! An adapter does each operation in the cheapest way its implementation offers; what it cannot do
//! it answers with [`Failure::Unsupported`], never with an imitation. It owns no timing.

use bytes::Bytes;

/// Why an operation has no result.
#[derive(Debug)]
pub enum Failure {
    /// The implementation has no such operation: the table shows a dash.
    Unsupported,
    /// It has, and it failed: the run ends.
    Error(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.to_string())
    }
}

pub type Done<T = ()> = Result<T, Failure>;

/// A path in the form that the implementation wants, made outside the measured time.
#[derive(Clone, Debug)]
pub enum PeerPath {
    Text(String),
    #[cfg(feature = "peers")]
    Object(object_store::path::Path),
}

impl PeerPath {
    /// The text of the path. Adapters that made it know that it is text.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            #[cfg(feature = "peers")]
            Self::Object(path) => path.as_ref(),
        }
    }
}

/// A file open for writing from its beginning to its end.
pub trait Stream {
    fn write(&mut self, piece: &[u8]) -> Done;
    /// The content is complete and the file is closed.
    fn finish(self: Box<Self>) -> Done;
}

/// A file open for reading from its beginning to its end.
pub trait Source {
    /// Bytes read, 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize>;
}

/// A file open for overwriting anywhere.
pub trait RandomWrite {
    fn write_at(&mut self, offset: u64, piece: &[u8]) -> Done;
}

/// What a filesystem says about its own memory, where it says anything.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    pub bytes: u64,
}

/// One implementation under measurement. Paths given to [`Peer::path`] are absolute.
pub trait Peer: Send + Sync {
    fn path(&self, absolute: &str) -> PeerPath {
        PeerPath::Text(absolute.to_owned())
    }

    /// Makes one directory; a flat store does nothing here.
    fn create_dir(&self, path: &PeerPath) -> Done;

    /// Creates or replaces a file with a copy of `content`.
    fn write_copied(&self, path: &PeerPath, content: &[u8]) -> Done;

    /// Creates or replaces a file with `content` itself, without copying it.
    fn write_adopted(&self, _path: &PeerPath, _content: &Bytes) -> Done {
        Err(Failure::Unsupported)
    }

    /// The whole content by reference.
    fn read_shared(&self, _path: &PeerPath) -> Done<Bytes> {
        Err(Failure::Unsupported)
    }

    /// Opens a file, copies up to `buffer.len()` bytes from its start, closes it.
    fn read_copied(&self, path: &PeerPath, buffer: &mut [u8]) -> Done<usize>;

    /// The length of a file, from its metadata.
    fn stat(&self, path: &PeerPath) -> Done<u64>;

    fn remove(&self, _path: &PeerPath) -> Done {
        Err(Failure::Unsupported)
    }

    fn rename(&self, _from: &PeerPath, _to: &PeerPath) -> Done {
        Err(Failure::Unsupported)
    }

    /// Visits the names in a directory, in any order, and returns how many there were.
    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done;

    /// Copies a file; both files can be written afterwards where the implementation can write at all.
    fn copy(&self, _from: &PeerPath, _to: &PeerPath) -> Done {
        Err(Failure::Unsupported)
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>>;

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>>;

    fn random_write(&self, _path: &PeerPath) -> Done<Box<dyn RandomWrite + '_>> {
        Err(Failure::Unsupported)
    }

    /// The address at which a view of the whole file starts, the view's length, without copying.
    fn view(&self, _path: &PeerPath) -> Done<(usize, usize)> {
        Err(Failure::Unsupported)
    }

    fn resident(&self) -> Option<Resident> {
        None
    }

    /// Gives up the instance before the process ends. Its memory goes with the process, so it is
    /// not taken apart: some candidates need minutes for a million files.
    fn discard(self: Box<Self>) {
        std::mem::forget(self);
    }
}
