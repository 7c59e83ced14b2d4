//! Damage of every kind to every file of a small store. Each time: what the public API gives is what was written or an
//! error that names the file; no neighbour is harmed; reading changes nothing; the check finds it; the repair brings the
//! session back to writing, loses nothing that could be read before, and finds nothing when it is run again.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod cuts;
mod expect;
mod gone;
mod random;
mod store;
mod stories;
mod suite;

use std::panic::{AssertUnwindSafe, catch_unwind};

use store::{Base, LONG};
use suite::{Change, interrupt, run};

/// Every one of these files is damaged in each of these ways, one at a time, read and checked. The zeros behind the last
/// byte of a file (allocated ahead) are all alike: of them every sixteenth is flipped and cut at. The repair follows
/// for every third byte, and after every other kind of damage.
#[allow(clippy::print_stderr, reason = "the numbers")]
fn everything(base: &Base, which: &dyn Fn(&str) -> bool) -> usize {
    let (mut done, mut failures) = (0, Vec::new());
    let start = std::time::Instant::now();
    for (file, bytes) in base.files.iter().filter(|(file, _)| which(file)) {
        let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        // Of a long message a few bytes are enough.
        let telling = |at: &usize| {
            at.is_multiple_of(16384) || bytes[*at..].iter().take(8).any(|b| *b != LONG.as_bytes()[0])
        };
        let places = || (0..written).filter(telling).chain((written..bytes.len()).step_by(16));
        let mut changes = vec![Change::Remove, Change::Empty, Change::Zeros];
        changes.extend(base.older(file).into_iter().map(Change::Older));
        changes.extend(base.others(file).into_iter().map(Change::Swap));
        changes.extend(places().skip(1).map(Change::Cut));
        changes.extend(places().map(Change::Flip));
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
    let (files, size) = (base.files.len(), base.files.values().map(Vec::len).sum::<usize>());
    eprintln!(
        "{done} damages to {files} files of {size} bytes in {:?}, {} failures",
        start.elapsed(),
        failures.len()
    );
    let some: Vec<&str> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {done} failed:\n{}", failures.len(), some.join("\n\n"));
    done
}

#[test]
fn any_damage_to_a_store_that_was_closed_is_found_and_mended() {
    let done = everything(&Base::closed(), &|_| true);
    assert!(done > 20_000, "{done}");
}

#[test]
fn any_damage_to_a_store_that_crashed_is_found_and_mended() {
    let done = everything(&Base::crashed(), &|_| true);
    assert!(done > 20_000, "{done}");
}

#[test]
fn any_damage_around_a_checkpoint_is_found_and_mended() {
    let beta = |file: &str| file.contains("/beta~");
    let done = everything(&Base::long(true), &beta) + everything(&Base::long(false), &beta);
    assert!(done > 3_000, "{done}");
}

/// Damage that leads to every kind of step that a repair has.
fn serious(base: &Base) -> Vec<(String, Change)> {
    let mut out = vec![("/STORE".to_owned(), Change::Remove), ("/STORE".to_owned(), Change::Flip(20))];
    for (file, bytes) in &base.files {
        if file.starts_with("/catalog/") {
            out.extend([Change::Flip(1600), Change::Zeros].map(|c| (file.clone(), c)));
        }
        if !file.ends_with(".log") {
            continue;
        }
        let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        // The header, the state, a commit in the middle; and the end.
        let flips = [20, 150, written * 2 / 3].map(Change::Flip);
        let all = flips.into_iter().chain([Change::Cut(written / 2), Change::Remove, Change::Zeros]);
        out.extend(all.map(|c| (file.clone(), c)));
        out.extend(base.others(file).into_iter().take(1).map(|o| (file.clone(), Change::Swap(o))));
    }
    out
}

#[test]
#[allow(clippy::print_stderr, reason = "the numbers")]
fn a_repair_that_is_interrupted_anywhere_is_done_again_and_loses_nothing() {
    let (mut cuts, mut errors, mut failures) = (0, 0, Vec::new());
    let start = std::time::Instant::now();
    for base in [Base::closed(), Base::crashed()] {
        for (n, (file, change)) in serious(&base).into_iter().enumerate() {
            // A third of them in each of the two stores, each kind of damage in both.
            if n % 3 != usize::from(base.closed) {
                continue;
            }
            match catch_unwind(AssertUnwindSafe(|| interrupt(&base, &file, &change))) {
                Ok(done) => (cuts, errors) = (cuts + done.0, errors + done.1),
                Err(panic) => failures.push(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
            }
        }
    }
    let took = start.elapsed();
    eprintln!("{cuts} power cuts and kills, {errors} errors in {took:?}, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(cuts > 1000 && errors > 1000, "{cuts} {errors}");
}
