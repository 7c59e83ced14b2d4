//! The state of a session: the fold of its log. Pure: no file is touched here.
//!
//! [`State`] is what a snapshot record holds and what every other record changes, by [`State::apply_message`]
//! and [`State::apply_op`]. The writer applies a record after it was written, the reader when it meets it;
//! both by the same code, so that they cannot differ.

mod attributes;
mod extent;
mod fold;
mod keys;
mod op;
#[cfg(test)]
mod spec_tests;

pub use attributes::Attributes;
pub(crate) use extent::{Extent, Hole};
pub(crate) use fold::{ArchiveState, Contradiction, MessageFacts, SegmentInfo, State, Sums};
pub(crate) use keys::{KeyEntry, Keys};
pub(crate) use op::{Checkpoint, Op, op_error};
