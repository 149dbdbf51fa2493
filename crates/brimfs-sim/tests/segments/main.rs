//! The segment store: against an oracle, on a failing disk, on a damaged one, from many threads, on a
//! real one, and with names in a directory that loses power.
#![cfg(not(feature = "shuttle"))]

mod damage;
mod faults;
mod model;
mod named;
mod owner;
mod poison;
mod power;
mod real;
mod threads;
mod world;
