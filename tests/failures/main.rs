//! The failures of FAILURES.md that a store has to survive, each by its number.
//!
//! Rows 1 and 2 have more cases in `lost_clear.rs`; rows 11, 12, 23 to 25, 28 to 30, 32 and 35 belong to
//! parts of the store that come later (32 is met here as far as a session goes: `f32`).

#[path = "../common/mod.rs"]
mod common;

mod bytes;
mod catalog;
mod cut;
mod damage;
mod errors;
mod heal;
mod unconfirmed;
mod writers;
