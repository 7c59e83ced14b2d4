//! The commit queue under a model checker: the sources of `src/log/queue`, unchanged, with locks that a scheduler
//! controls, which tries one order of the threads after the other.
//!
//! `-- --schedules 400000 --seed 1` says how many and which; `-- --replay <script> <schedule>` repeats a failure from
//! what it printed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

// The queue names its locks by this crate.
extern crate self as parking_lot;
pub use locks::{Condvar, Mutex, MutexGuard};

mod locks;
#[allow(dead_code, reason = "the store uses more of it than the scripts")]
#[path = "../../../src/log/queue/mod.rs"]
mod queue;
mod scripts;

use locks::Mistake;
use scripts::{SCRIPTS, Script};

/// Preemptions that a schedule of the second kind may have, beyond what blocks.
const DEPTH: usize = 4;

thread_local! {
    /// Failures are expected, and not worth a message.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn config() -> Config {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.stack_size = 0x10000;
    if QUIET.get() {
        config.failure_persistence = FailurePersistence::None;
    }
    config
}

/// Runs a script under the schedules of one scheduler; the number that passed, or of the one that failed.
fn run(script: &'static Script, scheduler: impl Scheduler + 'static, until: Instant) -> Result<usize, usize> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    RUNS.store(0, SeqCst);
    let mut config = config();
    config.max_time = Some(until.saturating_duration_since(Instant::now()));
    let runner = Runner::new(scheduler, config);
    let done = catch_unwind(AssertUnwindSafe(|| {
        runner.run(|| {
            RUNS.fetch_add(1, SeqCst);
            (script.run)();
        })
    }));
    done.map_err(|_| RUNS.load(SeqCst))
}

fn both(script: &'static Script, seed: u64, count: usize, until: Instant) -> Result<usize, usize> {
    let random = run(script, RandomScheduler::new_from_seed(seed, count / 2), until)?;
    let pct = run(script, PctScheduler::new_from_seed(seed, DEPTH, count - count / 2), until);
    pct.map(|n| n + random).map_err(|n| n + random)
}

fn replay(name: &str, schedule: &str) -> ExitCode {
    let Some(script) = SCRIPTS.iter().find(|s| s.name == name) else {
        eprintln!("no script is called {name:?}");
        return ExitCode::from(2);
    };
    let done =
        run(script, ReplayScheduler::new_from_encoded(schedule), Instant::now() + Duration::from_secs(3600));
    println!("{name}: {}", if done.is_ok() { "passed" } else { "FAILED" });
    ExitCode::from(u8::from(done.is_err()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut schedules, mut seed, mut seconds) = (400_000, 1, 40);
    for pair in arguments.chunks(if arguments.first().is_some_and(|a| a == "--replay") { 3 } else { 2 }) {
        let number = || pair.get(1).and_then(|v| v.parse::<u64>().ok());
        match (pair[0].as_str(), number()) {
            ("--replay", _) if pair.len() == 3 => return replay(&pair[1], &pair[2]),
            ("--schedules", Some(n)) => schedules = n as usize,
            ("--seed", Some(n)) => seed = n,
            ("--seconds", Some(n)) => seconds = n,
            _ => {
                eprintln!("usage: [--schedules N] [--seed N] [--seconds N] | --replay <script> <schedule>");
                return ExitCode::from(2);
            }
        }
    }
    let start = Instant::now();
    let until = start + Duration::from_secs(seconds);
    let (mut total, mut failures) = (0, 0);
    for script in SCRIPTS {
        let begun = Instant::now();
        match both(script, seed, schedules * script.share / 100, until) {
            Ok(n) => {
                total += n;
                let (group, seconds) = (scripts::largest_group(), begun.elapsed().as_secs_f64());
                println!("{}: {n} schedules, groups of up to {group}, {seconds:.1} s", script.name);
            }
            Err(n) => {
                total += n;
                failures += 1;
                println!(
                    "{}: FAILED in schedule {n}; --seed {seed}, or --replay with what stands above",
                    script.name
                );
            }
        }
    }
    failures += mistakes(seed, until + Duration::from_secs(15));
    println!("{total} schedules, {failures} failures, {:.1} s", start.elapsed().as_secs_f64());
    ExitCode::from(u8::from(failures > 0))
}

/// Each mistake in the locks must be found: else the scripts prove nothing.
fn mistakes(seed: u64, until: Instant) -> usize {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            hook(info);
        }
    }));
    QUIET.set(true);
    println!("Now with mistakes in the locks, which must be found; deadlocks are expected:");
    let mut unseen = 0;
    for mistake in [Mistake::NotifyLost, Mistake::NotifyOne, Mistake::WaitTooLate] {
        locks::make(Some(mistake));
        // The scripts that are short, since some of them do not meet the mistake at all.
        let found = SCRIPTS.iter().find_map(|s| both(s, seed, 2_000, until).err().map(|n| (s.name, n)));
        match found {
            Some((name, n)) => println!("the mistake {mistake:?} is found: {name}, schedule {n}"),
            None => {
                println!("the mistake {mistake:?} is NOT found");
                unseen += 1;
            }
        }
    }
    locks::make(None);
    QUIET.set(false);
    unseen
}
