//! Every operation of every script: a crash there, or an error.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::driver::{
    Effort, FAULTS, Tally, Trace, explore, faults_everywhere, faults_in_recovery, full_disk, random_script,
    run_script, scripts, traces, visits_everywhere,
};

/// One at a time: each uses all cores.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

/// How long each of them may go on beyond what it always does, in seconds; then everything is tried.
fn seconds() -> u64 {
    std::env::var("SESSIONLOG_CRASH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// A slow machine does fewer states, not a longer run.
fn limit(usual: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(usual.max(seconds())))
}

/// `least`: a suite that tries less than this tries nothing, whatever its result.
fn verdict(what: &str, tally: &Tally, start: Instant, least: u64) {
    eprintln!(
        "{what}: {} crash states, {} looks, {} runs with errors, {} failures in {:.1} s",
        tally.states(),
        tally.looks.load(Relaxed),
        tally.errors.load(Relaxed),
        tally.failures().len(),
        start.elapsed().as_secs_f64()
    );
    let failures = tally.failures();
    let told: String = failures.iter().take(10).map(|failure| format!("{failure}\n")).collect();
    assert!(
        failures.is_empty(),
        "{} failures; replay them with the torture example:\n{told}",
        failures.len()
    );
    let tried = tally.states() + tally.errors.load(Relaxed);
    assert!(tried >= least, "{what}: {tried} states and runs with errors are too few");
}

/// What leads to a failure leads there again, on a busy machine too.
#[test]
fn every_run_goes_the_same_way_each_time() {
    let run = |trace: &Trace| {
        let world = run_script(trace, true).unwrap();
        let points = world.points.iter();
        points.map(|p| format!("{} {} {} {:?}", p.ops(), p.label(), p.tag(), p.pending())).collect::<Vec<_>>()
    };
    let random = (0..40).map(|seed| random_script(seed, 40));
    for trace in traces(3).into_iter().chain(random) {
        let runs = std::thread::scope(|scope| {
            let others: Vec<_> = (0..3).map(|_| scope.spawn(|| run(&trace))).collect();
            others.into_iter().map(|other| other.join().unwrap()).collect::<Vec<_>>()
        });
        for other in &runs[1..] {
            let differs = runs[0].iter().zip(other).position(|(a, b)| a != b);
            assert_eq!(differs.map(|at| (&runs[0][at], &other[at])), None, "{trace}");
            assert_eq!(runs[0].len(), other.len(), "{trace}");
        }
    }
}

#[test]
fn a_crash_at_every_operation_leaves_a_state_that_was() {
    let _turn = TURN.lock();
    let start = Instant::now();
    let tally = Tally::new(limit(340));
    let effort = if seconds() > 0 { Effort::FULL } else { Effort::USUAL };
    for (name, trace) in scripts(1) {
        let (before, began) = (tally.states(), Instant::now());
        explore(&trace, &effort, &tally);
        eprintln!("  {name}: {} states, {:.1} s", tally.states() - before, began.elapsed().as_secs_f64());
    }
    verdict("crashes", &tally, start, 100_000);
}

#[test]
fn an_error_at_every_operation_is_told_truly() {
    let _turn = TURN.lock();
    let start = Instant::now();
    let tally = Tally::new(limit(60));
    // Every fault in every script, at every so-manieth operation.
    let of = if seconds() > 0 { 1 } else { 11 };
    for (i, fault) in FAULTS.into_iter().enumerate() {
        for (j, (_, trace)) in scripts(2).into_iter().enumerate() {
            faults_everywhere(&trace, fault, 5, ((i + 3 * j) as u64 % of, of), &tally);
        }
    }
    verdict("errors", &tally, start, 1_000);
}

/// Readers without locks come at every moment anyway; this one writes, takes over what dead ones left, and clears up.
#[test]
fn another_process_in_the_midst_of_any_operation_harms_nothing() {
    let _turn = TURN.lock();
    let start = Instant::now();
    let tally = Tally::new(limit(60));
    let of = if seconds() > 0 { 1 } else { 3 };
    // A sync that fails for one process may take along what another one has just changed: that nobody can tell.
    let sound = |trace: &Trace| trace.steps.iter().all(|step| step.verb != 'E');
    for (i, trace) in traces(6).into_iter().filter(sound).enumerate() {
        for killed in [false, true] {
            visits_everywhere(&trace, killed, 5, ((2 * i as u64 + u64::from(killed)) % of, of), &tally);
        }
    }
    verdict("visits", &tally, start, 1_000);
}

#[test]
fn an_error_in_a_recovery_harms_nothing() {
    let _turn = TURN.lock();
    let start = Instant::now();
    let tally = Tally::new(limit(30));
    let of = if seconds() > 0 { 1 } else { 40 };
    for (i, (_, trace)) in scripts(5).into_iter().enumerate() {
        faults_in_recovery(&trace, (i as u64 % of, of), 8, &tally);
    }
    verdict("errors in recoveries", &tally, start, 200);
}

#[test]
fn a_full_disk_loses_nothing_and_works_again_with_room() {
    let _turn = TURN.lock();
    let start = Instant::now();
    let tally = Tally::new(limit(40));
    // After so many bytes, from the very beginning, when there is no store yet, and from the middle.
    let scripts = scripts(3);
    for (i, room) in (1..24_000).step_by(if seconds() > 0 { 64 } else { 512 }).enumerate() {
        for trace in [&scripts[i % scripts.len()].1, &scripts[(i * 7 + 2) % scripts.len()].1] {
            full_disk(trace, 0, room, i % 5, 6, &tally);
            full_disk(trace, trace.steps.len() / 2, room, i % 5, 6, &tally);
        }
    }
    for (i, (_, trace)) in scripts.into_iter().enumerate() {
        for at in 0..trace.steps.len() {
            let room = [1, 700, 3000, 9000][(i + at) % 4];
            full_disk(&trace, at, room, 1 + at % 4, 12, &tally);
        }
    }
    verdict("full disks", &tally, start, 200);
}

#[test]
fn random_histories_survive_crashes_too() {
    let _turn = TURN.lock();
    let start = Instant::now();
    let tally = Tally::new(limit(30));
    let effort = Effort { bits: 2, seeds: 2, every: 60, kills: 20, second: 1, third: 0 };
    for seed in 0..if seconds() > 0 { u64::MAX } else { 12 } {
        if tally.is_over() {
            break;
        }
        explore(&random_script(seed, 25), &effort, &tally);
    }
    verdict("random histories", &tally, start, 1_000);
}
