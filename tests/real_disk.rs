//! What only a real disk does: limits of the kernel, a file system that is full, copies that are made while the store
//! is written, several processes that are killed at once.
//!
//! `SESSIONLOG_SEED` sets the seed, which every failure prints.

#![cfg(unix)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests report to whoever runs them")]

mod support;

#[path = "real_disk/book.rs"]
mod book;
#[path = "real_disk/copy.rs"]
mod copy;
#[path = "real_disk/cut.rs"]
mod cut;
#[path = "real_disk/full.rs"]
mod full;
#[path = "real_disk/limit.rs"]
mod limit;
#[path = "real_disk/storm.rs"]
mod storm;

use std::path::Path;

#[test]
#[ignore = "the other process of the tests in this file"]
fn child_process() {
    let Some((role, arguments)) = support::role() else { return };
    let dir = Path::new(&arguments[0]);
    let value = |at: usize| arguments[at].parse::<u64>().unwrap();
    match role.as_str() {
        "limit" => limit::run(dir),
        "storm" => storm::run(dir, value(1), value(2)),
        other => panic!("no such role: {other}"),
    }
}

/// Prints the seed if the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SESSIONLOG_SEED={}", self.0);
        }
    }
}
