//! Bytes to values and back, pure. `FORMAT.md` beside this file is the specification.

pub(crate) mod bin;
pub(crate) mod catalog;
