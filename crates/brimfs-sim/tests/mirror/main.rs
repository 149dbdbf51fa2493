//! Filesystems that mirror a tree of host files: what the host has is what memory has, others may change it, and after a
//! crash each file is old or new as a whole.
#![cfg(all(not(feature = "shuttle"), target_os = "linux"))]

mod basics;
mod crashes;
mod disks;
mod limits;
mod model;
mod outside;
mod race;
mod strange;
mod world;
