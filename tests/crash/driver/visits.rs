//! Another process comes and goes in the midst of an operation, at every one of them.

use std::sync::atomic::Ordering;

use super::explore::{Tally, on_all_cores, ran, some_of};
use super::faults::crash_behind;
use super::rng::Rng;
use super::trace::{Trace, Visit};

/// Runs the script once for every operation of it, before which another process comes; then crashes at moments behind that.
/// `chosen` says which operations ([`some_of`]).
pub fn visits_everywhere(trace: &Trace, killed: bool, crashes: usize, chosen: (u64, u64), tally: &Tally) {
    let Some(ops) = ran(trace, tally).map(|world| world.ops()) else { return };
    on_all_cores(some_of(ops, chosen), tally, |number| {
        let trace = Trace { visit: Some(Visit { number, killed }), ..trace.clone() };
        tally.errors.fetch_add(1, Ordering::Relaxed);
        let Some(world) = ran(&trace, tally) else { return };
        let mut rng = Rng::new(trace.seed ^ number << 1 ^ u64::from(killed));
        crash_behind(&world, number, crashes, &trace, &mut rng, tally);
    });
}
