//! The crash proof: crashes at every operation, crashes in the recovery from them, errors at every operation,
//! and mistakes that are made on purpose.

#![allow(clippy::print_stderr, reason = "the numbers are for who runs it")]

mod driver;
mod exhaustive;
mod histories;
mod lies;
mod regressions;
