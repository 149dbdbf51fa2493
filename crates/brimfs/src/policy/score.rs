//! What a chunk is worth: the weights of priorities, values and their rounding.
//!
//! Pure arithmetic on integers, so that every machine decides alike. Knows no
//! queue and no entry.
//!
//! The value of a chunk is what its absence would cost per byte that it takes:
//!
//! ```text
//! value = weight(priority) · frequency · (swap-in cost + size) / size
//! ```
//!
//! in the manner of GreedyDual-Size (Cao and Irani, USITS 1997) with a frequency
//! (GDSF, Cherkasova 1998). The cost of bringing a chunk back is a fixed latency,
//! expressed as the bytes that the disk could have moved in that time, and its bytes.
//!
//! Of a new chunk the priority is nearly all that is known. One that came back or was accessed
//! again speaks for itself too, so there the square root of the weight is taken.

/// The highest priority; the lowest is 0.
pub const PRIORITY_MAX: u8 = 10;
/// The priority of what nobody gave one; its weight is √2.
pub const PRIORITY_DEFAULT: u8 = 5;
/// From this priority on chunks can be pinned.
pub const PRIORITY_PINNED: u8 = 9;
/// The highest priority that the automatic boost leads to, and as what pinned ones count that are too many.
pub const PRIORITY_BOOSTED_MAX: u8 = 8;

/// The swap-in latency times the disk's bandwidth, in bytes, unless told otherwise.
pub const SWAP_IN_COST_DEFAULT: u64 = 128 << 10;
/// More than any disk: a second at a terabyte per second.
const SWAP_IN_COST_MAX: u64 = 1 << 40;

/// Values are counted in units of 1/256.
const ONE: u64 = 256;
/// No value is above this: 2^28 times that of a large chunk accessed once.
const VALUE_MAX: u64 = 1 << VALUE_BITS_MAX;
const VALUE_BITS_MAX: u32 = 37;

/// A weight for each priority, in units of 1/256.
pub(crate) type Weights = [u64; PRIORITY_MAX as usize + 1];
/// `2^((p-4)/2)`.
pub(crate) static WEIGHTS: Weights = [64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048];
/// Their square roots, `2^((p-4)/4)`.
pub(crate) static WEIGHTS_ROOT: Weights = [128, 152, 181, 215, 256, 304, 362, 431, 512, 609, 724];

/// Steps of a factor of two, as a power of two: values are rounded to about 3 %.
const STEP_BITS: u32 = 4;
/// How many rounded values there are.
pub(crate) const CLASSES: usize = ((VALUE_BITS_MAX - STEP_BITS + 2) << STEP_BITS) as usize;

/// The weight of a priority relative to that of 4: `2^((p-4)/2)`. Above 10 counts as 10.
pub fn weight(priority: u8) -> f64 {
    WEIGHTS[priority.min(PRIORITY_MAX) as usize] as f64 / ONE as f64
}

/// A rounded value: a class, and what all of its members are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// Below [`CLASSES`]; grows with the worth.
    pub(crate) class: u16,
    /// In units of 1/256, at least 1.
    pub(crate) worth: u64,
}

impl Value {
    /// Rounds to the nearest of the values that are told apart.
    pub(crate) fn round(exact: u64) -> Value {
        let exact = exact.clamp(1, VALUE_MAX);
        let bits = u64::BITS - exact.leading_zeros();
        if bits <= STEP_BITS + 1 {
            let class = exact as u16;
            return Value {
                class,
                worth: exact,
            };
        }
        let shift = bits - STEP_BITS - 1;
        // Rounding up may carry into the next power of two, which is what the next class is.
        let mantissa = (exact + (1 << (shift - 1))) >> shift;
        let class = (u64::from(shift) << STEP_BITS) + mantissa;
        Value {
            class: class as u16,
            worth: mantissa << shift,
        }
    }

    /// So much and no rounder, for showing.
    pub(crate) fn exact(worth: u64) -> Value {
        Value { class: 0, worth }
    }

    /// The worth as a number: 1 is a large chunk of priority 4 that was accessed once.
    pub(crate) fn as_f64(self) -> f64 {
        self.worth as f64 / ONE as f64
    }
}

/// What the value of a chunk rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Valued {
    /// In bytes.
    pub(crate) size: u32,
    /// How often it is accessed while others are accessed once.
    pub(crate) frequency: u8,
    pub(crate) priority: u8,
    pub(crate) clean: bool,
    /// [`WEIGHTS`] or [`WEIGHTS_ROOT`].
    pub(crate) weights: &'static Weights,
}

/// How chunks are valued. See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    swap_in_cost: u64,
}

impl Scale {
    pub(crate) fn new(swap_in_cost: u64) -> Self {
        Scale {
            swap_in_cost: swap_in_cost.min(SWAP_IN_COST_MAX),
        }
    }

    /// The value of a chunk. A dirty one would have to be written before it goes; writes are appended
    /// in batches, so that costs its bytes once and no latency.
    pub(crate) fn value(self, chunk: Valued) -> Value {
        let size = u64::from(chunk.size.max(1));
        let weight = chunk.weights[chunk.priority.min(PRIORITY_MAX) as usize];
        let written = if chunk.clean { 0 } else { size };
        // At most 2^11 · (2^8 · 2^41 + 2^32), which fits.
        let cost = u64::from(chunk.frequency.max(1)) * self.cost(chunk.size) + written;
        Value::round(weight * cost / size)
    }

    /// What bringing a chunk of `size` bytes back costs, in bytes.
    pub(crate) fn cost(self, size: u32) -> u64 {
        self.swap_in_cost + u64::from(size)
    }

    /// What bringing so many chunks back costs, in bytes.
    pub(crate) fn cost_of_all(self, chunks: u32, bytes: u64) -> u128 {
        u128::from(self.swap_in_cost) * u128::from(chunks) + u128::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(size: u32, frequency: u8, priority: u8, clean: bool, cost: u64) -> Value {
        Scale::new(cost).value(Valued {
            size,
            frequency,
            priority,
            clean,
            weights: &WEIGHTS,
        })
    }

    #[test]
    fn weights_double_every_two_priorities() {
        for priority in 0..=PRIORITY_MAX {
            let exact = 2f64.powf((f64::from(priority) - 4.0) / 2.0);
            assert!((weight(priority) / exact - 1.0).abs() < 0.006);
            let root = WEIGHTS_ROOT[priority as usize] as f64 / ONE as f64;
            assert!((root / exact.sqrt() - 1.0).abs() < 0.006);
        }
        assert_eq!(weight(200), weight(PRIORITY_MAX));
    }

    #[test]
    fn a_small_chunk_is_worth_more_than_a_large_one() {
        let worth = |size, clean| value(size, 1, 4, clean, SWAP_IN_COST_DEFAULT).as_f64();
        assert!((worth(4096, true) / 33.0 - 1.0).abs() < 0.04);
        assert!((worth(1 << 20, true) / 1.125 - 1.0).abs() < 0.04);
        // A dirty one costs its bytes once more.
        assert!((worth(1 << 20, false) / 2.125 - 1.0).abs() < 0.04);
    }

    proptest! {
        #[test]
        fn rounding_keeps_the_order_and_three_percent(a in 1..=VALUE_MAX, b in 1..=VALUE_MAX) {
            let (low, high) = (Value::round(a.min(b)), Value::round(a.max(b)));
            prop_assert!(low.class <= high.class && low.worth <= high.worth);
            prop_assert_eq!(low.class == high.class, low.worth == high.worth);
            prop_assert!(usize::from(high.class) < CLASSES);
            let error = low.worth.abs_diff(a.min(b)) as f64 / a.min(b) as f64;
            prop_assert!(error < 0.032, "{}", error);
        }

        #[test]
        fn no_chunk_overflows(size: u32, frequency: u8, priority: u8, clean: bool, cost: u64) {
            let value = value(size, frequency, priority, clean, cost);
            prop_assert!(value.worth >= 1 && usize::from(value.class) < CLASSES);
        }
    }
}
