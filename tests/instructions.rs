//! How much work an append is, in instructions, which are the same on a busy machine: counted by callgrind, where that is
//! installed.

#![allow(clippy::print_stdout, reason = "what was counted is worth a line")]

mod common;

use std::process::Command;

use common::Place;
use sessionlog::{AppendOptions, Batch, Durability};

/// Tells the child how many messages stand in the session, and how many appends it is to do.
const WORK: &str = "SESSIONLOG_TEST_INSTRUCTIONS";
const APPENDS: u64 = 500;

#[test]
#[ignore = "the process that is counted"]
fn child_process() {
    let work = std::env::var(WORK).unwrap();
    let (before, appends) = work.split_once(' ').unwrap();
    let (before, appends): (u64, u64) = (before.parse().unwrap(), appends.parse().unwrap());
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    let options = AppendOptions::new().durability(Durability::Buffered);
    for _ in 0..before / 1000 {
        session.append_batch_with(&(0..1000).map(|_| "message").collect::<Batch<'_>>(), &options).unwrap();
    }
    for _ in 0..appends {
        session.append_with(&[b'x'; 1024], &options).unwrap();
    }
    // No close: what is counted is appending.
    std::process::exit(0);
}

/// The instructions of a process that does that.
fn counted(before: u64, appends: u64) -> u64 {
    let place = Place::new();
    let out = place.beside("callgrind");
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
        .arg(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--ignored", "--test-threads=1"])
        .env(WORK, format!("{before} {appends}"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(out).unwrap();
    let total = text.lines().find_map(|l| l.strip_prefix("totals: ").or_else(|| l.strip_prefix("summary: ")));
    total.and_then(|t| t.split_whitespace().next()?.parse().ok()).expect("callgrind says a total")
}

fn per_append(before: u64) -> u64 {
    (counted(before, 2 * APPENDS) - counted(before, APPENDS)) / APPENDS
}

#[test]
fn an_append_takes_as_many_instructions_in_a_large_session_as_in_a_small_one() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: nothing was counted");
        return;
    }
    let (small, large) = (per_append(1_000), per_append(50_000));
    println!("instructions per append of 1 KiB: {small} behind 1,000 messages, {large} behind 50,000");
    assert!(small.abs_diff(large) < small / 20, "{small} and {large}");
    // As tests are optimized; some 6,350 where the processor has an instruction for checksums.
    assert!(small < 12_000, "{small}");
}
