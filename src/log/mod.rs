//! log
pub(crate) mod catalog;
