//! log

pub(crate) mod queue;
