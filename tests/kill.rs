//! A process is killed with SIGKILL at random moments of a mixed load, again and again, on one store.
//!
//! `SESSIONLOG_KILL_ROUNDS` sets the number of kills (200), `SESSIONLOG_SEED` the seed, which every failure
//! prints; `SESSIONLOG_KEEP=1` leaves the store of a failure in place.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests report to whoever runs them")]

mod support;

#[path = "kill/check.rs"]
mod check;
#[path = "kill/journal.rs"]
mod journal;
#[path = "kill/load.rs"]
mod load;
#[path = "kill/model.rs"]
mod model;
#[path = "kill/removal.rs"]
mod removal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use sessionlog::Durability;

use check::{check, write_retries};
use journal::Journal;
use load::SESSIONS;
use model::Model;
use support::{Kid, Place, Rng, Watchdog, number, role, seed, text};

#[test]
#[ignore = "the other process of the tests in this file"]
fn child_process() {
    let Some((role, arguments)) = role() else { return };
    let dir = Path::new(&arguments[0]);
    let value = |at: usize| arguments[at].parse::<u64>().unwrap();
    match role.as_str() {
        "sync" => load::run(dir, value(1), value(2), Durability::Sync),
        "buffered" => load::run(dir, value(1), value(2), Durability::Buffered),
        "removal" => removal::run(dir, value(1)),
        other => panic!("no such role: {other}"),
    }
}

#[test]
fn after_each_of_200_kills_every_acknowledged_op_is_there_once_and_nothing_else() {
    kill_again_and_again("sync", Durability::Sync, number("SESSIONLOG_KILL_ROUNDS").unwrap_or(200));
}

#[test]
fn a_process_kill_loses_nothing_that_was_buffered() {
    kill_again_and_again(
        "buffered",
        Durability::Buffered,
        number("SESSIONLOG_KILL_ROUNDS").unwrap_or(200) / 4,
    );
}

fn kill_again_and_again(role: &str, durability: Durability, rounds: u64) {
    let _dog = Watchdog::new("the kill test", Duration::from_secs(420));
    let seed = seed();
    let mut place = Place::new();
    let mut models: Vec<Model> = (0..SESSIONS).map(Model::new).collect();
    let mut rng = Rng(seed);
    let (mut acknowledged, mut slowest) = (0, Duration::ZERO);
    for round in 1..=rounds {
        let mut kid = Kid::start(role, &[text(place.dir.path()), &round.to_string(), &seed.to_string()]);
        std::thread::sleep(Duration::from_millis(20 + rng.below(230)));
        kid.kill();
        let start = Instant::now();
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let journal = Journal::read(place.dir.path(), round);
            assert!(journal.failures.is_empty(), "ops failed: {:#?}", journal.failures);
            let full = round % 20 == 0 || round == rounds;
            check(place.dir.path(), durability, &mut models, &journal, round % 2 == 0, full);
            write_retries(place.dir.path(), &journal);
            acknowledged += journal.answered();
        }));
        slowest = slowest.max(start.elapsed());
        if let Err(panic) = checked {
            let kept = if number("SESSIONLOG_KEEP").is_some() { place.keep() } else { "not".into() };
            eprintln!("{role}: failed after kill {round}; SESSIONLOG_SEED={seed}; kept: {}", kept.display());
            std::panic::resume_unwind(panic);
        }
    }
    println!("{role}: {rounds} kills, {acknowledged} acknowledged ops, slowest check {slowest:?}");
    assert!(acknowledged as u64 > rounds, "nearly nothing happened between the kills");
}

#[test]
fn a_removed_session_never_comes_back_and_a_created_one_never_goes_whenever_the_process_is_killed() {
    let _dog = Watchdog::new("the removal test", Duration::from_secs(200));
    let seed = seed();
    let place = Place::new();
    let mut rng = Rng(seed);
    for round in 0..number("SESSIONLOG_KILL_ROUNDS").unwrap_or(200) / 4 {
        let mut kid = Kid::start("removal", &[text(place.dir.path()), &round.to_string()]);
        std::thread::sleep(Duration::from_millis(15 + rng.below(100)));
        kid.kill();
        removal::check(place.dir.path(), round, seed);
    }
}
