//! Making files agree with state.
//!
//! [`plan`] compares what was found in a session's directory with the state that its log states, and decides;
//! it is pure, and its decisions are the labelled rows of one table. What a plan asks for is done by the
//! writer, under its lock; for a reader the plan only shapes the view and the report.

mod report;
mod table;

pub use report::{Finding, Report};
pub(crate) use table::{EndVerdict, Plan, plan};
