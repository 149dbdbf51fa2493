//! Small buffers: one shelf of spans per size class.
//!
//! A span is a few pages cut into objects of one class. Which of them are free
//! is a bitmap beside the span, not in it: the content of a free object is
//! never looked at.

use std::ptr::{self, NonNull};

use super::Pool;
use super::directory;
use super::unit::PAGE;
use crate::base::spin::{SpinGuard, SpinLock};
use crate::base::sync::atomic::Ordering;
use crate::memory::pool::{OutOfMemory, class};

/// How the spans of a class are cut.
#[derive(Clone, Copy)]
struct Cut {
    size: u32,
    /// `2^32 / size`, rounded up: turns an object's offset into its index. Exact,
    /// since offsets are multiples of the size and indexes below 2^16.
    inverse: u32,
    objects: u16,
    pages: u8,
}

/// Spans are at most half a slot.
const SPAN_PAGES_MAX: usize = 8;

static CUTS: [Cut; class::COUNT] = {
    let mut cuts = [cut(16); class::COUNT];
    let mut class = 0;
    while class < class::COUNT {
        cuts[class] = cut(class::size(class));
        class += 1;
    }
    cuts
};

/// The shortest span of which at most 1/32 is left over, else the one that wastes least.
const fn cut(size: usize) -> Cut {
    let mut best = 1;
    let mut pages = 1;
    while pages <= SPAN_PAGES_MAX {
        let waste = pages * PAGE % size;
        if waste * 32 <= pages * PAGE {
            best = pages;
            break;
        }
        if waste * best < best * PAGE % size * pages {
            best = pages;
        }
        pages += 1;
    }
    Cut {
        size: size as u32,
        inverse: (1_u64 << 32).div_ceil(size as u64) as u32,
        objects: (best * PAGE / size) as u16,
        pages: best as u8,
    }
}

/// A span's objects. Its address is in the directory of its unit. Everything
/// but `base` and `cut` is protected by the lock of its class.
pub(super) struct Span {
    base: usize,
    cut: Cut,
    live: u16,
    /// No word of `free` before this one has a bit set.
    lowest: u16,
    /// Neighbours on the shelf while some, not all, objects are free.
    previous: *mut Span,
    next: *mut Span,
    free: Box<[u64]>,
}

impl Span {
    fn new(base: usize, cut: Cut) -> Box<Self> {
        let objects = usize::from(cut.objects);
        let mut free = vec![u64::MAX; objects.div_ceil(64)].into_boxed_slice();
        if !objects.is_multiple_of(64) {
            *free.last_mut().expect("a span has objects") = (1 << (objects % 64)) - 1;
        }
        Box::new(Span {
            base,
            cut,
            live: 0,
            lowest: 0,
            previous: ptr::null_mut(),
            next: ptr::null_mut(),
            free,
        })
    }

    fn is_full(&self) -> bool {
        self.live == self.cut.objects
    }

    /// Takes the free object with the lowest address. There must be one.
    fn take(&mut self) -> NonNull<u8> {
        let mut word = usize::from(self.lowest);
        while self.free[word] == 0 {
            word += 1;
        }
        let bit = self.free[word].trailing_zeros() as usize;
        self.free[word] &= self.free[word] - 1;
        self.lowest = word as u16;
        self.live += 1;
        let address = self.base + (word * 64 + bit) * self.cut.size as usize;
        NonNull::new(ptr::with_exposed_provenance_mut(address)).expect("a mapped address")
    }

    fn put(&mut self, address: usize) {
        let offset = (address - self.base) as u64;
        let index = ((offset * u64::from(self.cut.inverse)) >> 32) as usize;
        let (word, bit) = (index / 64, 1 << (index % 64));
        debug_assert_eq!(index * self.cut.size as usize, offset as usize);
        debug_assert_eq!(self.free[word] & bit, 0, "given back twice");
        self.free[word] |= bit;
        self.lowest = self.lowest.min(word as u16);
        self.live -= 1;
    }
}

/// The spans of one class that have a free object. Owns every span of the
/// class; full ones are found again through the directory.
struct Shelf {
    /// Head of the list of spans with some objects live and some free.
    partial: *mut Span,
    /// At most one span without a live object, kept so that one buffer coming
    /// and going does not reach the page heap.
    idle: *mut Span,
}

// SAFETY: the pointers are to boxes that the shelf owns, reached under its lock only.
unsafe impl Send for Shelf {}

/// One size class. Apart from the others, since processors fetch cache lines in pairs.
#[repr(align(128))]
pub(super) struct Class {
    shelf: SpinLock<Shelf>,
}

impl Class {
    pub(super) fn new() -> Self {
        Class {
            shelf: SpinLock::new(Shelf {
                partial: ptr::null_mut(),
                idle: ptr::null_mut(),
            }),
        }
    }

    /// Keeps everybody else out.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop {
        self.shelf.lock()
    }

    /// Bytes of the empty span that the class keeps.
    pub(super) fn idle_bytes(&self) -> usize {
        let shelf = self.shelf.lock();
        // SAFETY: the shelf owns the span, and its lock is held.
        unsafe { shelf.idle.as_ref() }.map_or(0, |span| usize::from(span.cut.pages) * PAGE)
    }

    /// The empty span that the class keeps, for the page heap.
    pub(super) fn take_idle(&self) -> Option<Box<Span>> {
        let mut shelf = self.shelf.lock();
        let idle = std::mem::replace(&mut shelf.idle, ptr::null_mut());
        // SAFETY: spans come from boxes, an idle one is on no list, and no live
        // buffer leads to it.
        (!idle.is_null()).then(|| unsafe { Box::from_raw(idle) })
    }
}

impl Shelf {
    /// Takes an object, unless every span is full.
    #[inline]
    fn take(&mut self) -> Option<NonNull<u8>> {
        if self.partial.is_null() {
            let idle = std::mem::replace(&mut self.idle, ptr::null_mut());
            self.link(NonNull::new(idle)?);
        }
        let mut head = NonNull::new(self.partial)?;
        // SAFETY: the shelf owns the spans on its list, and its lock is held.
        let span = unsafe { head.as_mut() };
        let object = span.take();
        if span.is_full() {
            self.unlink(head);
        }
        Some(object)
    }

    /// Takes an object back. Gives the span for the page heap if it is one too many.
    #[inline]
    fn put(&mut self, mut at: NonNull<Span>, address: usize) -> Option<Box<Span>> {
        // SAFETY: the span of a live object is the shelf's, and the lock is held.
        let span = unsafe { at.as_mut() };
        let was_full = span.is_full();
        span.put(address);
        if span.live > 0 {
            if was_full {
                self.link(at);
            }
            return None;
        }
        if !was_full {
            self.unlink(at);
        }
        if self.idle.is_null() {
            self.idle = at.as_ptr();
            return None;
        }
        // SAFETY: spans come from boxes; this one is on no list, and nothing in it is live.
        Some(unsafe { Box::from_raw(at.as_ptr()) })
    }

    /// Puts a span that is on no list at the head of the partial ones.
    fn link(&mut self, mut at: NonNull<Span>) {
        // SAFETY: the shelf owns the span and the whole list, and its lock is held.
        unsafe {
            at.as_mut().previous = ptr::null_mut();
            at.as_mut().next = self.partial;
            if let Some(next) = self.partial.as_mut() {
                next.previous = at.as_ptr();
            }
        }
        self.partial = at.as_ptr();
    }

    /// Takes a span off the list of partial ones.
    fn unlink(&mut self, at: NonNull<Span>) {
        // SAFETY: the span is on the list, all of which the shelf owns, and its lock is held.
        unsafe {
            let (previous, next) = (at.as_ref().previous, at.as_ref().next);
            match previous.as_mut() {
                Some(previous) => previous.next = next,
                None => self.partial = next,
            }
            if let Some(next) = next.as_mut() {
                next.previous = previous;
            }
        }
    }
}

impl Pool {
    /// An object of a class.
    #[inline]
    pub(in crate::memory::pool) fn alloc_buf(
        &'static self,
        class: usize,
    ) -> Result<NonNull<u8>, OutOfMemory> {
        let mut shelf = self.classes[class].shelf.lock();
        match shelf.take() {
            Some(object) => Ok(object),
            None => self.alloc_from_new_span(class, shelf),
        }
    }

    /// The page heap is called without the lock of the class.
    #[cold]
    fn alloc_from_new_span(
        &'static self,
        class: usize,
        shelf: SpinGuard<'static, Shelf>,
    ) -> Result<NonNull<u8>, OutOfMemory> {
        drop(shelf);
        let cut = CUTS[class];
        let pages = usize::from(cut.pages);
        let base = self.alloc_pages(pages)?;
        let mut span = NonNull::from(Box::leak(Span::new(base, cut)));
        // SAFETY: the pages that were taken just now keep their unit mapped.
        let directory = unsafe { directory::lookup(base) };
        for page in 0..pages {
            let entry = directory.span(base + page * PAGE);
            entry.store(span.as_ptr(), Ordering::Relaxed);
        }
        // SAFETY: nobody else has seen the span yet.
        let (object, full) = unsafe { (span.as_mut().take(), span.as_ref().is_full()) };
        if !full {
            self.classes[class].shelf.lock().link(span);
        }
        Ok(object)
    }

    /// Takes an object back.
    ///
    /// # Safety
    /// It came from [`alloc_buf`](Pool::alloc_buf) of this pool for `class`, its
    /// span is `span`, and nobody uses it any more.
    #[inline]
    pub(super) unsafe fn free_buf(&self, object: NonNull<u8>, class: usize, span: NonNull<Span>) {
        let extra = self.classes[class]
            .shelf
            .lock()
            .put(span, object.as_ptr() as usize);
        if let Some(span) = extra
            && self.recycle_span(*span)
        {
            self.enforce_ceiling(0..0);
        }
    }

    /// Gives the pages of an empty span to the page heap. True if more is
    /// backed then than may be.
    #[cold]
    pub(super) fn recycle_span(&self, span: Span) -> bool {
        self.recycle_pages(span.base, usize::from(span.cut.pages))
    }
}
