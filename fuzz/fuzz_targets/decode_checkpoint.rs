//! Arbitrary bytes for `brimfs_sim::arbitrary::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brimfs_sim::arbitrary::checkpoint(bytes));
