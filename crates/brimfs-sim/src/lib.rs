//! The proof of brimfs: a reference model, random workloads, and drivers that
//! apply a workload to brimfs and to a real tmpfs.
//!
//! Nothing here is published, and the core never depends on it. The layers are
//! `run > {model, workload, drivers} > op`: [`op`] is pure data, [`model`] says
//! what an operation means, [`drivers`] do it, [`workload`] makes sequences of
//! them, and [`run`] compares. Beside them stand [`disk`], which fails on demand, [`medium`], a directory
//! on a disk that loses power, and [`tier`], a cold tier that takes content away from brimfs whenever it can.
//!
//! # How to run
//!
//! ```text
//! cargo test -p brimfs-sim                          everything, about three minutes
//! BRIMFS_CASES=100000 cargo test -p brimfs-sim --test model_vs_brimfs      a soak
//! cargo test -p brimfs-sim --test shuttle --features shuttle --release     schedules
//! ```
//!
//! # How to reproduce a failure
//!
//! A failing sequence prints one line, and after it the shortest sequence that
//! still fails, as a list of operations that can be pasted into a test:
//!
//! ```text
//! reproduce: BRIMFS_SEED=1234 BRIMFS_CASES=1 cargo test -p brimfs-sim --test brimfs_vs_tmpfs
//! ```
//!
//! `BRIMFS_SEED` is the number of the first sequence; sequence n of every run
//! is made from seed + n and from nothing else. Without it the default is
//! sequence 1, so that a run in CI always tries the same sequences.
//!
//! The comparison with tmpfs works below a fresh directory in `/dev/shm` that
//! it changes its root to. It needs root and says so where it cannot run.

#[cfg(not(feature = "shuttle"))]
pub mod arbitrary;
pub mod disk;
pub mod drivers;
pub mod medium;
pub mod model;
pub mod op;
pub mod run;
pub mod tally;
pub mod tier;
pub mod workload;
