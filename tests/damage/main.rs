//! Damage of every kind to every file of a small store. Each time: what the public API gives is what was written or an
//! error that names the file; no neighbour is harmed; reading changes nothing; the check finds it; the repair brings the
//! session back to writing, loses nothing that could be read before, and finds nothing when it is run again.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;
mod expect;
mod store;
mod suite;

use std::panic::{AssertUnwindSafe, catch_unwind};

use store::Base;
use suite::{Change, run};

/// Every one of these files is damaged in each of these ways, one at a time.
fn everything(base: &Base, step: usize) -> usize {
    let (mut done, mut failures) = (0, Vec::new());
    let start = std::time::Instant::now();
    let step: usize = std::env::var("STEP").ok().and_then(|s| s.parse().ok()).unwrap_or(step);
    for (file, bytes) in &base.files {
        let mut changes = vec![Change::Remove, Change::Empty, Change::Zeros];
        changes.extend(base.older(file).into_iter().map(Change::Older));
        changes.extend(base.others(file).into_iter().map(Change::Swap));
        let cut = if bytes.len() > 2048 { 7 } else { 1 };
        changes.extend((1..bytes.len()).step_by(cut * step).map(Change::Cut));
        changes.extend((0..bytes.len()).step_by(step).map(Change::Flip));
        for change in changes {
            // One run shows all that is wrong, not the first.
            let outcome = catch_unwind(AssertUnwindSafe(|| run(base, file, &change)));
            if let Err(panic) = outcome {
                let text = panic.downcast_ref::<String>().cloned();
                failures.push(text.unwrap_or_else(|| format!("{file}: {change:?}: it panicked")));
            }
            done += 1;
        }
    }
    eprintln!("{done} in {:?}; {:?}", start.elapsed(), base.files.iter().map(|(n, b)| (n, b.len())).collect::<Vec<_>>());
    let some: Vec<&str> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {done} failed:\n{}", failures.len(), some.join("\n\n"));
    done
}

#[test]
fn any_damage_to_a_store_that_was_closed_is_found_and_mended() {
    let done = everything(&Base::closed(), 1);
    assert!(done > 5000, "{done}");
}

#[test]
fn any_damage_to_a_store_that_crashed_is_found_and_mended() {
    let done = everything(&Base::crashed(), 1);
    assert!(done > 5000, "{done}");
}
