//! An error in place of the crash, at every operation.

use std::sync::atomic::Ordering;

use sessionlog::fs::{Choice, Fault};

use super::explore::{How, Tally, guarded, on_all_cores, ran, recovered, some_of, try_one};
use super::rng::Rng;
use super::step::Step;
use super::trace::{Faults, Hop, Trace};
use super::world::World;

pub const FAULTS: [Fault; 7] = [
    Fault::Io,
    Fault::IoAfter,
    Fault::IoHalf,
    Fault::DropDirty,
    Fault::NoSpace,
    Fault::Interrupted,
    Fault::TooManyFiles,
];

/// Runs the script once for every operation of it, which fails, and goes on; then crashes at moments behind it.
/// `chosen` says which operations ([`some_of`]).
pub fn faults_everywhere(trace: &Trace, fault: Fault, crashes: usize, chosen: (u64, u64), tally: &Tally) {
    let Some(ops) = ran(trace, tally).map(|world| world.ops()) else { return };
    on_all_cores(some_of(ops, chosen), tally, |number| {
        one(&trace.failing(vec![(number, fault)]), crashes, tally);
    });
}

fn one(trace: &Trace, crashes: usize, tally: &Tally) {
    let number = trace.faults.first().map_or(0, |(number, _)| *number);
    tally.errors.fetch_add(1, Ordering::Relaxed);
    let Some(world) = ran(trace, tally) else { return };
    crash_behind(&world, number, crashes, trace, &mut Rng::new(trace.seed ^ number), tally);
}

/// Crashes behind an operation that failed.
pub(super) fn crash_behind(
    world: &World,
    number: u64,
    crashes: usize,
    trace: &Trace,
    rng: &mut Rng,
    tally: &Tally,
) {
    let first = world.points.partition_point(|p| p.ops() <= number);
    let behind = world.points.len() - first;
    for i in 0..crashes {
        if behind == 0 || tally.is_over() {
            return;
        }
        // The moments right behind the error, and some of the later ones.
        let near = if i % 2 == 0 { i / 2 } else { rng.below(behind as u64) as usize };
        let how = match i % 3 {
            0 => Choice::Nothing,
            _ => Choice::Seed(rng.next() >> 24),
        };
        try_one(world, first + near.min(behind - 1), how, trace, tally);
    }
}

/// The disk is full from step `at` on with so many bytes left, and has room again `later` steps on.
pub fn full_disk(trace: &Trace, at: usize, room: u64, later: usize, crashes: usize, tally: &Tally) {
    let mut steps = trace.steps.clone();
    let step = |arg| Step { verb: 'R', session: 0, arg };
    steps.insert(at.min(steps.len()), step(room.max(1)));
    steps.insert((at + 1 + later).min(steps.len()), step(0));
    // Errors are allowed from the beginning; this one never comes.
    let trace = Trace { steps, faults: vec![(u64::MAX, Fault::NoSpace)], ..trace.clone() };
    tally.errors.fetch_add(1, Ordering::Relaxed);
    let Some(world) = ran(&trace, tally) else { return };
    let mut rng = Rng::new(trace.seed ^ at as u64);
    for _ in 0..crashes {
        if tally.is_over() {
            return;
        }
        let number = rng.below(world.points.len() as u64) as usize;
        try_one(&world, number, Choice::Seed(rng.next() >> 24), &trace, tally);
    }
}

/// Crashes at the `chosen` moments of the script ([`some_of`]), and lets operations of the recovery fail, one at a time; then
/// crashes again behind it.
pub fn faults_in_recovery(trace: &Trace, chosen: (u64, u64), tries: usize, tally: &Tally) {
    let Some(world) = ran(trace, tally) else { return };
    on_all_cores(some_of(world.points.len() as u64, chosen), tally, |number| {
        let mut rng = Rng::new(trace.seed ^ number << 24);
        let number = number as usize;
        let how = match rng.below(3) {
            0 => How::Kill,
            1 => How::Cut(Choice::Nothing),
            _ => How::Cut(Choice::Seed(rng.next() >> 24)),
        };
        let point = &world.points[number];
        let knows = world.known_at(point);
        let recover = |faults: Faults| {
            let hop = Hop { point: number, how, faults };
            let mut first = 0;
            let done = guarded(|| recovered(trace.conf, point, &knows, &hop, true, |fs| first = fs.ops()));
            (trace.with(&hop), first, done)
        };
        let ops = match recover(Faults::new()) {
            (_, first, Ok(world)) => world.ops() - first,
            (trace, _, Err(what)) => return tally.fail(trace, what),
        };
        for _ in 0..tries {
            if tally.is_over() {
                return;
            }
            // Most of them while it opens and begins, not while it goes on.
            let failing = if rng.chance(70) { rng.below(ops.min(120)) } else { rng.below(ops) };
            let fault = FAULTS[rng.below(FAULTS.len() as u64) as usize];
            tally.errors.fetch_add(1, Ordering::Relaxed);
            let (trace, first, done) = recover(vec![(failing, fault)]);
            match done {
                Err(what) => tally.fail(trace, what),
                Ok(world) => crash_behind(&world, first + failing, 2, &trace, &mut rng, tally),
            }
        }
    });
}
