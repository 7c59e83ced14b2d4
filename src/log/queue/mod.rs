//! The commit queue of one session: leader/follower group commit.
//!
//! Threads and futures push ops. Who finds no leader becomes it, takes everything that is pending, commits
//! it in one go, and hands every member of the group its outcome, after the commit, on every way out.
//! While one group is being committed the next one collects.
//!
//! The queue knows nothing of files, records or errors: what is collected is a [`Batch`], what comes back an
//! [`Outcome`], and the work between the two a closure. So it can be model-checked by itself; all its locks
//! come in through `sync`, the seam where a model checker's go in.

mod group;
#[expect(
    clippy::module_inception,
    reason = "the folder is the queue with its parts, the file the queue itself"
)]
mod queue;
mod slot;
mod sync;
mod ticket;
mod turn;

#[cfg(test)]
mod tests;

pub(crate) use group::{Batch, Outcome};
pub(crate) use queue::Queue;
pub(crate) use ticket::Ticket;
