//! Zero-copy views: a file's content as one slice, pinned as it was.
//!
//! A view holds references to chunks, and pins them. Whoever writes to the file afterwards
//! finds them shared and copies what he changes, so the slice never changes.

use std::fmt;
use std::ops::Deref;

use crate::base::sync::Arc;
use crate::memory::shared::Pinned;

/// The content of a file at one moment, as one slice of bytes.
///
/// Costs no copy, except that the first view of a file that does not lie in one piece gathers
/// it, and that every view of a file with holes does. Later writes to the file do not change it.
/// What it pins stays charged until the last clone is dropped.
///
/// ```
/// let fs = brimfs::FileSystem::new()?;
/// fs.write("/a", b"before".as_slice())?;
/// let view = fs.view("/a")?;
/// fs.write("/a", b"after".as_slice())?;
/// assert_eq!(&view[..], b"before");
/// # Ok::<(), brimfs::Error>(())
/// ```
#[derive(Clone)]
pub struct View {
    held: Arc<Held>,
    start: usize,
    len: usize,
}

struct Held(Pinned);

// SAFETY: `first` points into memory that the pinned content owns a share of. Nobody writes to it
// while it is shared (`Content` copies shared chunks before it changes them), nobody evicts it while
// it is pinned.
unsafe impl Send for Held {}
// SAFETY: as above; access through a view only reads.
unsafe impl Sync for Held {}

impl View {
    /// A view of content that was pinned.
    pub(crate) fn new(content: Pinned) -> Self {
        let len = content.len;
        View {
            held: Arc::new(Held(content)),
            start: 0,
            len,
        }
    }

    /// A part of the view that keeps all of it alive.
    ///
    /// # Panics
    /// If the range does not lie within the view.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> View {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of a view of {} bytes",
            self.len
        );
        View {
            held: self.held.clone(),
            start: self.start + range.start,
            len: range.end - range.start,
        }
    }
}

impl Deref for View {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        debug_assert!(self.start + self.len <= self.held.0.len);
        // SAFETY: `new` took `first` and `len` from content that `held` keeps alive and
        // unchanged; `slice` never leaves them.
        unsafe { std::slice::from_raw_parts(self.held.0.first.add(self.start), self.len) }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} bytes)", self.len)
    }
}
