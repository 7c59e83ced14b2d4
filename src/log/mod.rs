//! The log of a session: segments that are written, scanned and read, the queue in front of them, and the
//! catalog beside them.

pub(crate) mod catalog;
pub(crate) mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod message;
mod names;
pub(crate) mod queue;
mod renew;
pub(crate) mod resync;
mod run;
pub(crate) mod scan;
mod seek;
pub(crate) mod segment;
pub(crate) mod stream;
pub(crate) mod view;
pub(crate) mod window;
pub(crate) mod writer;

pub use message::{Message, Payload};
pub(crate) use names::{LOCK_FILE, parse_segment_name, segment_name};
pub(crate) use segment::first_store_id;
