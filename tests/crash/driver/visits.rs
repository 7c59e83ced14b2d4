//! Another process comes and goes in the midst of an operation, at every one of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::explore::{Tally, guarded, run_script, threads};
use super::faults::crash_behind;
use super::rng::Rng;
use super::trace::{Trace, Visit};

/// Runs the script once for every operation of it, before which another process comes; then crashes at moments behind that.
/// `of` and `part` choose every so-manieth operation.
pub fn visits_everywhere(trace: &Trace, killed: bool, crashes: usize, (part, of): (u64, u64), tally: &Tally) {
    let ops = match guarded(|| run_script(trace, true)) {
        Ok(world) => world.points.last().map_or(0, |p| p.ops()),
        Err(what) => return tally.fail(trace.clone(), what),
    };
    let next = AtomicU64::new(part);
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(of, Ordering::Relaxed);
                    if number >= ops || tally.is_over() {
                        return;
                    }
                    let trace = Trace { visit: Some(Visit { number, killed }), ..trace.clone() };
                    tally.errors.fetch_add(1, Ordering::Relaxed);
                    match guarded(|| run_script(&trace, true)) {
                        Ok(world) => {
                            let mut rng = Rng::new(trace.seed ^ number << 1 ^ u64::from(killed));
                            crash_behind(&world, number, crashes, &trace, &mut rng, tally);
                        }
                        Err(what) => tally.fail(trace, what),
                    }
                }
            });
        }
    });
}
