//! Every operation of every script: a crash there, or an error.

use std::time::{Duration, Instant};

use crate::driver::{Effort, Tally, explore, random_script, scripts};

/// How long to go on with random scripts beyond what is always done, in seconds.
fn seconds() -> u64 {
    std::env::var("SESSIONLOG_CRASH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// A slow machine does fewer states, not a longer run.
const LIMIT: Duration = Duration::from_secs(200);

fn verdict(what: &str, tally: &Tally, start: Instant) {
    use std::sync::atomic::Ordering::Relaxed;
    eprintln!(
        "{what}: {} crash states, {} looks, {} runs with errors, {} failures in {:.1} s",
        tally.states(),
        tally.looks.load(Relaxed),
        tally.errors.load(Relaxed),
        tally.failures().len(),
        start.elapsed().as_secs_f64()
    );
    let failures = tally.failures();
    for failure in &failures {
        eprintln!("{failure}");
    }
    assert!(failures.is_empty(), "{} failures; replay them with the torture example", failures.len());
}

#[test]
fn a_crash_at_every_operation_leaves_a_state_that_was() {
    let start = Instant::now();
    let tally = Tally::new(Some(start + LIMIT));
    for (name, trace) in scripts(1) {
        let (before, began) = (tally.states(), Instant::now());
        explore(&trace, &Effort::USUAL, &tally);
        eprintln!("  {name}: {} states, {:.1} s", tally.states() - before, began.elapsed().as_secs_f64());
    }
    verdict("crashes", &tally, start);
    assert!(tally.states() >= 30_000, "{} crash states are too few", tally.states());
}

#[test]
fn random_histories_survive_crashes_too() {
    let start = Instant::now();
    let tally = Tally::new(Some(start + Duration::from_secs(20 + seconds())));
    let effort = Effort { bits: 2, seeds: 2, every: 40, kills: 10, second: 2, third: 0 };
    for seed in 0..if seconds() > 0 { u64::MAX } else { 24 } {
        if tally.is_over() {
            break;
        }
        explore(&random_script(seed, 25), &effort, &tally);
    }
    verdict("random histories", &tally, start);
}
