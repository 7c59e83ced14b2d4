//! sessionlog: a durable, embedded store for the sessions of agent runtimes.
#![allow(missing_docs, dead_code, unused_imports, reason = "under construction")]

mod codec;
mod error;
mod format;
pub mod fs;
mod ids;
pub mod limits;
mod log;
mod state;

pub use error::{Error, ErrorKind, Outcome, Result};
pub use ids::{BirthId, Incarnation, SessionId, StoreId};
