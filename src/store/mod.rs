//! The store: one directory, its sessions, and what they share.

mod absent;
mod env;
mod io_thread;
mod layout;
mod list;
mod open_set;
mod options;
mod registry;
mod remove;
mod roster;
mod shards;
mod stats;
#[expect(clippy::module_inception, reason = "the folder is the store with its parts, the file its handle")]
mod store;
mod sweep;

pub(crate) use env::{Env, Lease};
pub use io_thread::Event;
pub(crate) use io_thread::Job;
pub(crate) use layout::{Layout, UNTOLD, Wish};
pub use list::{ListOptions, Listing, SortBy};
pub use options::Options;
pub(crate) use options::{Settings, check_path};
pub use stats::StoreStats;
pub use store::Store;
