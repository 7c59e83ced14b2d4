//! Crashes at every moment of a run, and crashes in the recovery from them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use sessionlog::fs::{Choice, SimFs, Snapshot};

use super::model::Know;
use super::rng::Rng;
use super::step::{Step, parse_steps};
use super::trace::{Failure, Faults, Hop, Trace};
use super::world::{Conf, Past, World};

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The power is cut.
    Cut(Choice),
    /// All processes are killed; the page cache stays.
    Kill,
    /// Nothing: another process reads.
    Look,
}

/// How much is tried at each moment.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// All subsets of so many unsynced changes or fewer.
    pub bits: u32,
    /// So many seeded ones at each moment besides.
    pub seeds: u64,
    /// Of so many first crashes one is recovered from with crashes in the recovery; 0 for none.
    pub every: u64,
    /// The same for kills.
    pub kills: u64,
    /// So many crashes at each moment of such a recovery.
    pub second: u64,
    /// Crashes in the recovery from crashes in the recovery, of so many one; 0 for none.
    pub third: u64,
}

impl Effort {
    /// What `cargo test` does.
    pub const USUAL: Effort = Effort { bits: 5, seeds: 3, every: 24, kills: 6, second: 1, third: 0 };
    /// What takes minutes.
    pub const FULL: Effort = Effort { bits: 8, seeds: 8, every: 12, kills: 2, second: 2, third: 50 };
}

/// What was tried, and what was found.
#[derive(Debug)]
pub struct Tally {
    /// Disks after a crash that were recovered and checked.
    pub states: AtomicU64,
    /// Moments at which a reader looked.
    pub looks: AtomicU64,
    /// Runs with an injected error.
    pub errors: AtomicU64,
    pub failures: Mutex<Vec<Failure>>,
    pub until: Option<Instant>,
    /// After so many failures no more is tried.
    pub most: usize,
    /// After so many states neither.
    pub enough: u64,
    stop: AtomicBool,
}

impl Tally {
    pub fn new(until: Option<Instant>) -> Tally {
        Tally {
            states: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            failures: Mutex::new(Vec::new()),
            until,
            most: 5,
            enough: u64::MAX,
            stop: AtomicBool::new(false),
        }
    }

    pub fn states(&self) -> u64 {
        self.states.load(Ordering::Relaxed)
    }

    pub fn failures(&self) -> Vec<Failure> {
        self.failures.lock().unwrap().clone()
    }

    pub fn failed(&self) -> bool {
        !self.failures.lock().unwrap().is_empty()
    }

    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.states() >= self.enough
            || self.until.is_some_and(|until| Instant::now() >= until)
    }

    pub fn fail(&self, trace: Trace, what: String) {
        let mut failures = self.failures.lock().unwrap();
        failures.push(Failure { trace, what });
        if failures.len() >= self.most {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// As many as cores.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(4, std::num::NonZero::get),
        n => n,
    }
}

/// 0 for what the machine has.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// From now on so many at once.
pub fn set_threads(threads: usize) {
    THREADS.store(threads, Ordering::Relaxed);
}

/// A panic is a failure like any other.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// What the next process does with what it found, to see whether one can go on from there.
fn sequel(number: usize) -> Vec<Step> {
    const SEQUELS: [&str; 6] =
        ["a0 a1", "u0 a0 A0:1 t0", "b0:3 m1 y0", "l D0 a0 c1", "A0:0 r0 a0", "a1 u0 K a0"];
    parse_steps(SEQUELS[number % SEQUELS.len()]).unwrap_or_default()
}

/// Runs the script of a trace, with its fault.
pub fn run_script(trace: &Trace, record: bool) -> Result<World, String> {
    let mut world = World::fresh(trace.seed, trace.conf, record);
    world.order(&trace.faults);
    if let Some(visit) = trace.visit {
        world.expect(visit);
    }
    play(world, &trace.steps)
}

/// The same, recorded; what goes wrong is told.
pub fn ran(trace: &Trace, tally: &Tally) -> Option<World> {
    guarded(|| run_script(trace, true)).map_err(|what| tally.fail(trace.clone(), what)).ok()
}

pub fn play(mut world: World, steps: &[Step]) -> Result<World, String> {
    let fs = world.fs.clone();
    let done = world.run(steps).and_then(|()| world.finish(true));
    let Some(call) = fs.struck().into_iter().next() else { return done };
    let mut world = done.map_err(|e| with_call(&e, &call))?;
    world.struck = Some(call);
    world.failed = fs.has_failed();
    Ok(world)
}

fn with_call(what: &str, call: &str) -> String {
    format!("{what} [struck: {call}]")
}

/// A failure at a moment of a run.
fn told(world: &World, number: usize, what: &str) -> String {
    let what = format!("{what} [at {}]", world.points[number].label());
    world.struck.as_ref().map_or(what.clone(), |call| with_call(&what, call))
}

/// The machine after the crash, recovered and gone on with.
fn recover(
    conf: Conf,
    point: &Snapshot,
    knows: &[Know],
    hop: &Hop,
    record: bool,
) -> Result<Option<World>, String> {
    match hop.how {
        How::Look => World::onlook(conf, &point.look(), knows, true).map(|()| None),
        _ => recovered(conf, point, knows, hop, record, |_| ()).map(Some),
    }
}

/// The same; `prepare` sees the machine before anything is done on it.
pub fn recovered(
    conf: Conf,
    point: &Snapshot,
    knows: &[Know],
    hop: &Hop,
    record: bool,
    prepare: impl FnOnce(&SimFs),
) -> Result<World, String> {
    let (fs, past) = match hop.how {
        How::Cut(choice) => (point.crash(choice), Past::PowerCut),
        _ => (point.kill_all(), Past::Killed),
    };
    // Somebody made room meanwhile.
    fs.set_room(None);
    let salt = match hop.how {
        How::Cut(Choice::Mask(x) | Choice::Seed(x)) => x as usize,
        _ => 0,
    };
    if past == Past::PowerCut && hop.point.wrapping_add(salt).is_multiple_of(3) {
        // Nobody has repaired anything yet.
        World::onlook(conf, &fs.process_new(), knows, false).map_err(|e| format!("read-only: {e}"))?;
    }
    prepare(&fs);
    let begun = World::begin(fs.clone(), conf, knows, past, record, &hop.faults);
    let world = begun.map_err(|e| fs.struck().first().map_or(e.clone(), |call| with_call(&e, call)))?;
    play(world, &sequel(hop.point.wrapping_add(salt)))
}

/// Everything that happens at one moment.
fn hows(point: &Snapshot, effort: &Effort, rng: &mut Rng) -> Vec<How> {
    let mut all = vec![How::Look, How::Kill];
    let pending = point.pending_count() as u32;
    if pending <= effort.bits {
        all.extend((0..1u64 << pending).map(|mask| How::Cut(Choice::Mask(mask))));
        // Nothing can be torn or lost then.
        if pending == 0 {
            return all;
        }
    } else {
        all.extend([How::Cut(Choice::Nothing), How::Cut(Choice::Everything)]);
        all.extend((0..(1u64 << effort.bits) / 2).map(|_| How::Cut(Choice::Mask(rng.next() >> 8))));
    }
    all.extend((0..effort.seeds).map(|_| How::Cut(Choice::Seed(rng.next() >> 24))));
    all
}

/// Tries everything at one moment of a run.
fn try_moment(world: &World, number: usize, trace: &Trace, effort: &Effort, tally: &Tally, rng: &mut Rng) {
    let point = &world.points[number];
    let knows = world.known_at(point);
    for how in hows(point, effort, rng) {
        if tally.is_over() {
            return;
        }
        // What a killed process left unsynced is lost only by a second crash.
        let one_of = if how == How::Kill { effort.kills } else { effort.every };
        let deep = how != How::Look && one_of > 0 && rng.below(one_of) == 0;
        let hop = Hop { point: number, how, faults: Faults::new() };
        let done = guarded(|| recover(trace.conf, point, &knows, &hop, deep));
        let counter = if how == How::Look { &tally.looks } else { &tally.states };
        counter.fetch_add(1, Ordering::Relaxed);
        let trace = trace.with(&hop);
        match done {
            Err(what) => tally.fail(trace, told(world, number, &what)),
            Ok(Some(next)) if deep => {
                // Crash again, while recovering and going on.
                let less = Effort { bits: 0, every: effort.third, third: 0, ..*effort };
                for second in 0..next.points.len() {
                    try_again(&next, second, &trace, &less, tally, rng);
                }
            }
            Ok(_) => {}
        }
    }
}

fn try_again(world: &World, number: usize, trace: &Trace, effort: &Effort, tally: &Tally, rng: &mut Rng) {
    let point = &world.points[number];
    let knows = world.known_at(point);
    let pending = point.pending_count();
    let wanted = if pending == 0 { 1 } else { effort.second };
    for i in 0..wanted {
        if tally.is_over() {
            return;
        }
        let how = match (i, pending) {
            (0, _) if rng.chance(50) => How::Cut(Choice::Nothing),
            (0, _) if rng.chance(20) => How::Kill,
            _ => How::Cut(Choice::Seed(rng.next() >> 24)),
        };
        let deep = effort.every > 0 && rng.below(effort.every) == 0;
        let hop = Hop { point: number, how, faults: Faults::new() };
        let done = guarded(|| recover(trace.conf, point, &knows, &hop, deep));
        tally.states.fetch_add(1, Ordering::Relaxed);
        let trace = trace.with(&hop);
        match done {
            Err(what) => tally.fail(trace, told(world, number, &what)),
            Ok(Some(next)) if deep => {
                let last = Effort { every: 0, second: 1, ..*effort };
                for third in 0..next.points.len() {
                    try_again(&next, third, &trace, &last, tally, rng);
                }
            }
            Ok(_) => {}
        }
    }
}

/// Cuts the power at one moment, and recovers.
pub fn try_one(world: &World, number: usize, choice: Choice, trace: &Trace, tally: &Tally) {
    let point = &world.points[number];
    let hop = Hop { point: number, how: How::Cut(choice), faults: Faults::new() };
    let done = guarded(|| recover(trace.conf, point, &world.known_at(point), &hop, false));
    tally.states.fetch_add(1, Ordering::Relaxed);
    if let Err(what) = done {
        tally.fail(trace.with(&hop), told(world, number, &what));
    }
}

/// Runs the script of `trace` once and tries everything at every moment of it, on all cores.
pub fn explore(trace: &Trace, effort: &Effort, tally: &Tally) {
    let Some(world) = ran(trace, tally) else { return };
    // What came before a fault is what would have been without it.
    let faulty = trace.faults.iter().map(|(number, _)| *number).min();
    let first = faulty.map_or(0, |number| world.points.partition_point(|p| p.ops() <= number));
    explore_points(&world, first, trace, effort, tally);
}

pub fn explore_points(world: &World, first: usize, trace: &Trace, effort: &Effort, tally: &Tally) {
    on_all_cores(first..world.points.len(), tally, |number| {
        let mut rng = Rng::new(trace.seed ^ (number as u64) << 20);
        try_moment(world, number, trace, effort, tally, &mut rng);
    });
}

/// Does this for each of these, as many at once as there are cores, until it is over.
pub fn on_all_cores<T>(these: impl Iterator<Item = T> + Send, tally: &Tally, work: impl Fn(T) + Sync) {
    let these = Mutex::new(these);
    let next = || these.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while let Some(this) = next().filter(|_| !tally.is_over()) {
                    work(this);
                }
            });
        }
    });
}

/// So manieth numbers below `end`: every `of`-th, from `part` on.
pub fn some_of(end: u64, (part, of): (u64, u64)) -> impl Iterator<Item = u64> + Send {
    (part..end).step_by(of as usize)
}

/// Explores several scripts.
pub fn explore_all(traces: &[Trace], effort: &Effort, tally: &Tally) {
    for trace in traces {
        if tally.is_over() {
            return;
        }
        explore(trace, effort, tally);
    }
}

/// Does it all again.
pub fn replay(trace: &Trace) -> Result<(), String> {
    let mut hops = trace.hops.iter().cloned();
    travel(trace, |_| hops.next()).1
}

/// Runs the script of a trace, and then from crash to crash: `next` chooses each, knowing how many moments the run
/// before it had. What came of it, with the trace that leads there.
pub fn travel(trace: &Trace, mut next: impl FnMut(usize) -> Option<Hop>) -> (Trace, Result<(), String>) {
    let mut way = Trace { hops: Vec::new(), ..trace.clone() };
    let mut world = match guarded(|| run_script(trace, true)) {
        Ok(world) => world,
        Err(what) => return (way, Err(what)),
    };
    while let Some(hop) = next(world.points.len()) {
        way.hops.push(hop.clone());
        let number = hop.point;
        let Some(point) = world.points.get(number) else {
            let what = format!("there are {} moments, and no moment {number}", world.points.len());
            return (way, Err(what));
        };
        let knows = world.known_at(point);
        match guarded(|| recover(trace.conf, point, &knows, &hop, true)) {
            Ok(Some(next)) => world = next,
            Ok(None) => break,
            Err(what) => return (way, Err(told(&world, number, &what))),
        }
    }
    (way, Ok(()))
}
