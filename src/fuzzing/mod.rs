//! What the fuzzers in `fuzz/` run, one function for each target, and the replay of their corpus on stable.
//!
//! Not in a normal build: there is no such module without `--cfg fuzzing` (which `cargo fuzz` sets) or `cfg(test)`.
//! It has the right to panic, and that is its way to report: whatever fails here is a defect of the library.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::print_stderr,
    reason = "a fuzzer's checks are assertions"
)]

mod crash;
mod damage;
mod decode;
mod doctor;
#[cfg(test)]
mod forge;
#[cfg(test)]
mod forge_values;
#[cfg(test)]
mod forged;
mod image;
mod input;
mod model;
mod ops;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod seeds;
mod store;

pub use damage::damage;
pub use decode::decode;
pub use ops::ops;
