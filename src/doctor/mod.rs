//! Looking after a store: [`check`] finds out what is wrong, [`repair`] does what is safe about it, [`dump`] shows
//! the frames of one segment file.
//!
//! A store needs none of it in daily life: what a crash leaves behind is healed when a session is opened. The doctor is
//! for bytes that were durable and are not what was written any more: rotten blocks, lost or exchanged files.
//!
//! # The rules
//! - [`check`] reads every byte of every segment and changes nothing, not even where a crash left something to do.
//! - [`repair`] takes a session's lock first. Of every file that it takes away, and of every damaged one that keeps its place
//!   because its beginning is good, a copy is in `quarantine/` before, synced, with a note beside it that says whence it came and
//!   why. It deletes nothing there.
//! - A session is brought back to writing by a new segment, with a number and positions that were never used, that states
//!   what survives: every message that can be read, and every attribute that any surviving record has. What is lost is
//!   written down as an accepted hole: reading passes over it without an error, its sequences are not given again, the
//!   message count leaves it out, and the epoch rises by one.
//! - A session from a newer program, or one that another process has open, is left alone, and named in [`Repair::skipped`] if
//!   it is damaged. Where nothing is wrong nothing is said, whoever has it open. What this process has open is closed first.
//! - A session whose whole directory is gone cannot be brought back, nor does anything tell for certain that nobody removed it: it is
//!   named, in the findings and in [`Repair::skipped`], as long as the catalog has its summary.
//! - A second repair finds nothing to do.
//! - Bytes that cannot be read (an I/O error) are not damage: the session is skipped, and named. Copy the file past the error
//!   first, with the unreadable blocks as zeros, and put the copy in its place.
//! - What must be carried into the new segment is at most 1 GiB, as much as a segment holds; a session that needs more is skipped.
//!
//! ```
//! # fn main() -> sessionlog::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("store");
//! use sessionlog::doctor::{self, CheckOptions, RepairOptions};
//!
//! let store = sessionlog::Store::open(&path)?;
//! store.session("chat")?.append("hello")?;
//! store.close()?;
//!
//! let checkup = doctor::check(&path, &CheckOptions::new())?;
//! assert!(!checkup.has_damage());
//! let plan = doctor::repair(&path, &RepairOptions::new().dry_run(true))?;
//! assert!(plan.steps.is_empty());
//! # Ok(()) }
//! ```

mod catalogs;
mod check;
mod code;
mod dump;
mod finding;
mod fresh;
mod inventory;
mod options;
mod plan;
mod quarantine;
mod repair;
mod salvage;
mod session;
mod survivors;
mod walk;

pub use check::check;
pub use code::{Code, Severity};
pub use dump::dump;
pub use finding::{Checkup, Finding};
pub use options::{CheckOptions, Progress, RepairOptions};
pub use plan::{Action, Repair, Skipped, Step};
pub use repair::repair;
