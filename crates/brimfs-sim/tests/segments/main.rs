//! The segment store: against an oracle, on a failing disk, on a damaged one, from many threads, on a
//! real one.
#![cfg(not(feature = "shuttle"))]

mod damage;
mod faults;
mod model;
mod real;
mod threads;
mod world;
