//! The catalog: a derived summary of all sessions for listing, and a witness from outside the logs.
//!
//! It never is the truth. That a session exists is told by its directory, what is in it by its log. The
//! catalog may be missing, old or damaged, and then the listing reads the sessions themselves; what it must
//! never do is show a stale count as current. So every session has a durable open mark here before its
//! writer's first write, a summary replaces the mark only after a clean close, and every doubt reads as
//! "read the session".
//!
//! Each open store instance appends to a file of its own, which it keeps locked while it lives. Nobody else
//! writes to it; when the instance is gone, another one goes on in it, or adopts what still matters and removes it.
//!
//! - `file` reads one file, `files` all of them;
//! - `merge` holds the rules of precedence, pure;
//! - `index` finds what a long file says of one session;
//! - `own` is the file that this instance appends to, `state` what guards it, `group` how callers share a sync;
//! - `inherit` goes on in a dead file, `adopt` and `compact` keep the directory small;
//! - `witness` and `report` are what comes out.

mod adopt;
mod compact;
mod file;
mod files;
mod group;
mod handle;
mod index;
mod inherit;
mod merge;
mod own;
mod report;
mod state;
mod witness;

#[cfg(test)]
mod tests;

#[cfg(any(test, all(fuzzing, feature = "sim")))]
pub(crate) use file::salt_in;
pub(crate) use handle::{Announced, Catalog};
pub(crate) use merge::SpreadMap;
pub(crate) use report::{Finding, Holder, Known, Merged, Place};
