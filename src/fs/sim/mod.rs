//! The simulated disk: in memory, deterministic, and stricter than any real one.
//!
//! What the page cache shows and what is durable are kept apart for every file and every directory, and
//! what lies between the two is a list of changes in their order. A sync moves exactly what it promises
//! from the list to the medium; a power cut drops the list. Every operation passes one gate
//! ([`state::State::enter`]) where it is counted: the place for faults.

mod dir;
mod file;
mod node;
mod process;
mod state;
#[cfg(test)]
mod tests;

pub use process::SimFs;
