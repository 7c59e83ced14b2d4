//! What the public interface promises, beyond the failures that have tests of their own.

#[path = "../common/mod.rs"]
mod common;

mod anywhere;
mod append;
mod archive;
mod closing;
mod files;
mod handles;
#[cfg(unix)]
mod kept;
mod listing;
mod options;
mod tickets;
