//! The simulated disk: in memory, deterministic, and stricter than any real one.
//!
//! What the page cache shows and what is durable are kept apart for every file and every directory, and
//! what lies between the two is a list of changes in their order. A sync moves exactly what it promises
//! from the list to the medium; at a power cut any subset of the list survives, as a [`Choice`] says. Every
//! operation passes one gate ([`state::State::enter`]), where it is counted, recorded, and made to fail if
//! a test asked for that.
//!
//! For tests, those of this library and those of its users: behind the feature `sim`.

mod choice;
mod damage;
mod dir;
mod fault;
#[cfg(test)]
mod fault_tests;
mod file;
mod node;
mod process;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use choice::Choice;
pub use damage::Damage;
pub use fault::{Fault, SimCall, SimOp};
pub use process::SimFs;
pub use snapshot::Snapshot;
