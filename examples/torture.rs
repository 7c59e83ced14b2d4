//! Crashes without end, on the simulated disk.
//!
//! ```text
//! cargo run --release --features sim --example torture -- --seconds 30 --seed 1
//! cargo run --release --features sim --example torture -- --forever
//! cargo run --release --features sim --example torture -- --states 5000000 --threads 1
//! cargo run --release --features sim --example torture -- --replay '<trace>'
//! ```
//!
//! `--random` leaves out the scripts; `--lies` skips every single sync of every script, one at a time, and says
//! which of these mistakes nobody noticed.
//!
//! First the scripts that try everything once, then random ones until the time is over. A failure is printed with
//! the trace that leads to it; `--replay` does it again. Ends with `N crash states, M failures`, and with exit
//! code 1 if there was a failure.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its reader")]

#[path = "../tests/crash/driver/mod.rs"]
mod driver;

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use driver::{
    Effort, Eyes, FAULTS, MISTAKES, Rng, Tally, Trace, explore, faults_everywhere, faults_in_recovery,
    full_disk, lie_about_each, mistake, random_script, scripts, set_threads, table, traces,
};

struct Args {
    seed: u64,
    until: Option<Instant>,
    /// So many crash states, however long it takes.
    states: u64,
    threads: Option<usize>,
    replay: Option<Trace>,
    random: bool,
    lies: bool,
}

fn args() -> Result<Args, String> {
    let until = Some(Instant::now() + Duration::from_secs(30));
    let mut out =
        Args { seed: 1, until, states: u64::MAX, threads: None, replay: None, random: false, lies: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        match arg.as_str() {
            "--seconds" => out.until = Some(Instant::now() + Duration::from_secs(number(value()?)?)),
            "--seed" => out.seed = number(value()?)?,
            "--forever" => out.until = None,
            "--states" => (out.until, out.states) = (None, number(value()?)?),
            "--threads" => out.threads = Some(number(value()?)?.max(1) as usize),
            "--lies" => out.lies = true,
            "--random" => out.random = true,
            "--replay" => out.replay = Some(value()?.parse()?),
            _ => return Err(format!("{arg:?} is unknown; see the head of examples/torture.rs")),
        }
    }
    Ok(out)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(e) => {
            eprintln!("torture: {e}");
            return ExitCode::FAILURE;
        }
    };
    // What panics is a failure with a trace; the panic's own words would only be in the way.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(trace) = args.replay {
        return match trace.replay() {
            Ok(()) => {
                println!("nothing wrong with it");
                ExitCode::SUCCESS
            }
            Err(what) => {
                println!("{what}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(threads) = args.threads {
        set_threads(threads);
    }
    if args.lies {
        return lies(args.seed);
    }
    let mut tally = Tally::new(args.until);
    tally.most = 10;
    tally.enough = args.states;
    let tally = tally;
    println!("seed {}", args.seed);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| run(args.seed, args.random, &tally));
        let mut shown = 0;
        let mut told = Instant::now();
        while !work.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
            for failure in tally.failures().iter().skip(shown) {
                println!("FAILURE: {failure}");
                shown += 1;
            }
            if told.elapsed() >= Duration::from_secs(5) {
                println!(
                    "{} crash states so far, {} failures, {:.0} s",
                    tally.states(),
                    tally.failures().len(),
                    began.elapsed().as_secs_f64()
                );
                told = Instant::now();
            }
        }
        for failure in tally.failures().iter().skip(shown) {
            println!("FAILURE: {failure}");
        }
    });
    let failures = tally.failures().len();
    println!(
        "{} looks by readers, {} runs with errors",
        tally.looks.load(Ordering::Relaxed),
        tally.errors.load(Ordering::Relaxed)
    );
    println!("took {:.0} s", began.elapsed().as_secs_f64());
    println!("{} crash states, {failures} failures", tally.states());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every sync of every script, skipped.
fn lies(seed: u64) -> ExitCode {
    let eyes = Eyes { states: 1000, kills: 8, lies: 24, all: true, until: None };
    let traces = traces(seed);
    let mut unseen = 0;
    for (name, fault, kinds) in MISTAKES {
        let lied = mistake(&traces, fault, kinds, &eyes);
        unseen += u32::from(lied.noticed.is_empty());
        print!("{}", table([(name.to_owned(), &lied)]));
    }
    let all = match lie_about_each(&traces, &eyes) {
        Ok(all) => all,
        Err(what) => {
            println!("FAILURE: {what}");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", table(all.iter().map(|(site, lied)| (format!("{}, {}", site.call, site.kind), lied))));
    for (site, lied) in all.iter().filter(|(_, lied)| lied.noticed.is_empty()) {
        unseen += 1;
        println!("never noticed: {}, {}", site.call, site.kind);
        for lie in lied.unnoticed.iter().take(3) {
            println!("    {lie}");
        }
    }
    println!("{} places and {} mistakes, {unseen} never noticed", all.len(), MISTAKES.len());
    ExitCode::SUCCESS
}

fn run(seed: u64, random: bool, tally: &Tally) {
    let usual = Effort::USUAL;
    if !random {
        for (name, trace) in scripts(seed) {
            if tally.is_over() {
                return;
            }
            println!("script: {name}");
            explore(&trace, &usual, tally);
        }
    }
    let mut rng = Rng::new(seed);
    for round in 0u64.. {
        if tally.is_over() {
            return;
        }
        let script = random_script(rng.next() >> 24, 5 + rng.below(40));
        let effort = Effort {
            bits: rng.below(5) as u32,
            seeds: 1 + rng.below(4),
            every: 20,
            kills: 4,
            second: 1 + rng.below(2),
            third: if rng.chance(30) { 40 } else { 0 },
        };
        match round % 5 {
            0 | 1 => explore(&script, &effort, tally),
            2 => {
                let fault = FAULTS[rng.below(FAULTS.len() as u64) as usize];
                faults_everywhere(&script, fault, 6, (rng.below(4), 4), tally);
            }
            3 => faults_in_recovery(&script, (rng.below(8), 8), 6, tally),
            _ => {
                let at = rng.below(script.steps.len() as u64) as usize;
                full_disk(&script, at, rng.below(20_000), rng.below(8) as usize, 60, tally);
            }
        }
    }
}
