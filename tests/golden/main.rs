//! Compatibility: stores of format version 1 that are opened and read for ever, the bytes that a workload writes, and
//! what a newer program leaves behind.
//!
//! The stores under `v1/` are never made anew. If the format has to change before it is released, remove them and run
//! this test with `SESSIONLOG_WRITE_GOLDEN=1`.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod craft;
mod newer;
mod still;
mod stores;
mod workload;
