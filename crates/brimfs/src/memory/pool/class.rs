//! The size classes of small buffers: pure arithmetic, no memory.
//!
//! 16 bytes apart up to 256, then eight to each doubling, so that above 128
//! bytes less than 12.5 % of a buffer is padding.

use super::SMALL_MAX;

/// Number of classes. The last one is [`SMALL_MAX`].
pub(super) const COUNT: usize = LINEAR_COUNT + 8 * (SMALL_MAX / LINEAR_MAX).ilog2() as usize;

const LINEAR_STEP: usize = 16;
const LINEAR_MAX: usize = 256;
const LINEAR_COUNT: usize = LINEAR_MAX / LINEAR_STEP;

/// The smallest class that holds `len` bytes, at most [`SMALL_MAX`].
#[inline]
pub(super) const fn index(len: usize) -> usize {
    debug_assert!(len <= SMALL_MAX);
    let last = len.saturating_sub(1);
    if last < LINEAR_MAX {
        return last / LINEAR_STEP;
    }
    let doubling = last.ilog2() as usize;
    let eighth = (last >> (doubling - 3)) - 8;
    LINEAR_COUNT + 8 * (doubling - LINEAR_MAX.ilog2() as usize) + eighth
}

/// Bytes of each buffer of a class.
#[inline]
pub(super) const fn size(class: usize) -> usize {
    if class < LINEAR_COUNT {
        return (class + 1) * LINEAR_STEP;
    }
    let beyond = class - LINEAR_COUNT;
    let doubling = LINEAR_MAX.ilog2() as usize + beyond / 8;
    (beyond % 8 + 9) << (doubling - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_tight_monotone_and_stable() {
        let mut before = 0;
        for len in 1..=SMALL_MAX {
            let got = size(index(len));
            assert!(
                got >= len && got >= before,
                "{len} got {got} after {before}"
            );
            assert_eq!(size(index(got)), got, "{len}");
            if len > 128 {
                assert!((got - len) * 8 <= len, "{len} wastes {}", got - len);
            }
            let align = if got >= 1024 { 64 } else { 16 };
            assert_eq!(got % align, 0, "{len}");
            before = got;
        }
        assert_eq!(index(0), 0);
        assert_eq!(index(SMALL_MAX), COUNT - 1);
    }

    #[test]
    fn sizes_that_files_have_are_classes() {
        for exact in [16, 112, 128, 256, 512, 4096, 8192, 16384, 32768, SMALL_MAX] {
            assert_eq!(size(index(exact)), exact);
        }
    }

    #[test]
    fn every_class_is_the_class_of_its_size() {
        for class in 0..COUNT {
            assert_eq!(index(size(class)), class);
        }
    }
}
