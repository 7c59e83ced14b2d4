//! The failures of FAILURES.md that a store has to survive, each by its number.
//!
//! Rows 1 and 2 have more cases in `lost_clear.rs`. The table of all rows with their tests is in
//! `src/doc/failures.md`.

#[path = "../common/mod.rs"]
mod common;

mod archives;
mod bytes;
mod catalog;
mod cut;
mod damage;
mod doctor;
mod errors;
mod heal;
mod syncs;
mod unconfirmed;
mod writers;
