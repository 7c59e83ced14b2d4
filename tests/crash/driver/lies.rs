//! Deliberate mistakes: a sync that says success and did nothing, or something else. Each must be noticed.

use std::collections::BTreeMap;
use std::time::Instant;

use sessionlog::fs::{Choice, Fault, SimFs, SimOp};

use super::explore::{Effort, How, Tally, explore_points, guarded, play, recovered, try_one};
use super::sites::{Site, Sync, Watch, kind_of, kind_of_path};
use super::trace::{Failure, Faults, Hop, Trace};
use super::world::World;

/// What came of the lies about one site.
#[derive(Debug, Default)]
pub struct Lied {
    /// How many syncs were skipped, one at a time.
    pub skipped: u64,
    /// How many crash states each took that was noticed.
    pub noticed: Vec<u64>,
    /// One that was noticed, and by what.
    pub example: Option<Failure>,
    /// Those that were not.
    pub unnoticed: Vec<Trace>,
}

impl Lied {
    fn add(&mut self, lie: &Trace, tally: &Tally) {
        self.skipped += 1;
        match tally.failures().pop() {
            Some(failure) => {
                self.noticed.push(tally.states());
                self.example.get_or_insert(failure);
            }
            None => self.unnoticed.push(lie.clone()),
        }
    }
}

/// How hard it is tried to notice a lie.
#[derive(Debug, Clone, Copy)]
pub struct Eyes {
    /// Crash states for one lie at most.
    pub states: u64,
    /// Of each kind of moment of a script, so many at which all are killed, and those who come next are lied to.
    pub kills: usize,
    /// So many lies about one site, until one is noticed.
    pub lies: usize,
    /// All syncs of the scripts themselves, whether others of the site were noticed or not.
    pub all: bool,
    pub until: Option<Instant>,
}

const EFFORT: Effort = Effort { bits: 4, seeds: 6, every: 8, kills: 2, second: 2, third: 0 };

/// The last part of a trace: the script itself, or what comes behind the last of its crashes (the only one), which
/// is one of the moments of `base`. `prepare` sees the machine before.
fn run_last(
    base: Option<&World>,
    trace: &Trace,
    record: bool,
    prepare: impl FnOnce(&SimFs),
) -> Result<World, String> {
    guarded(|| match (base, trace.hops.last()) {
        (Some(base), Some(hop)) => {
            let point = &base.points[hop.point];
            recovered(trace.conf, point, &base.known_at(point), hop, record, prepare)
        }
        _ => {
            let mut world = World::fresh(trace.seed, trace.conf, record);
            world.order(&trace.faults);
            prepare(&world.fs);
            play(world, &trace.steps)
        }
    })
}

/// The syncs of the last part of a trace.
fn syncs(base: Option<&World>, trace: &Trace) -> Result<(World, Vec<Sync>), String> {
    let watch = Watch::default();
    let world = run_last(base, trace, base.is_none(), |fs| watch.on(fs))?;
    Ok((world, watch.syncs()))
}

/// The moments right before a sync: so many of each kind of sync. Who dies there left the most for the next.
fn moments(world: &World, many: usize) -> Vec<(usize, String)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let all = world.points.iter().enumerate().filter_map(|(i, point)| {
        let mut words = point.label().splitn(3, ' ').skip(1);
        let (op, path) = (words.next()?, words.next()?);
        let op =
            [("Sync", SimOp::Sync), ("SyncDir", SimOp::SyncDir)].into_iter().find(|(name, _)| *name == op)?.1;
        Some((i, path.trim_end_matches('/').to_owned(), kind_of_path(op, path)?))
    });
    all.filter(|(_, _, kind)| {
        let count = seen.entry(kind.clone()).or_default();
        *count += 1;
        *count <= many
    })
    .map(|(i, path, _)| (i, path))
    .collect()
}

/// Tells the lie (`order` gives the order for it), and crashes everywhere behind it until somebody notices.
fn notice(base: Option<&World>, lie: &Trace, eyes: &Eyes, order: impl FnOnce(&SimFs)) -> Tally {
    let mut tally = Tally::new(eyes.until);
    tally.most = 1;
    tally.enough = eyes.states;
    let faults = lie.hops.last().map_or(&lie.faults, |hop| &hop.faults);
    let number = faults.iter().map(|(number, _)| *number).min().unwrap_or(0);
    let mut start = 0;
    let run = run_last(base, lie, true, |fs| {
        // The order was given already; numbers count from there.
        start = if lie.hops.is_empty() { 0 } else { fs.ops() };
        order(fs);
    });
    match run {
        Ok(world) => {
            let first = world.points.partition_point(|p| p.ops() <= start + number);
            // The plain crash first: it is the strictest.
            for point in first..world.points.len() {
                if !tally.is_over() {
                    try_one(&world, point, Choice::Nothing, lie, &tally);
                }
            }
            if !tally.is_over() {
                explore_points(&world, first, lie, &EFFORT, &tally);
            }
        }
        Err(what) => tally.fail(lie.clone(), what),
    }
    tally
}

/// A lie that can be told: in which script, and how.
struct Lie {
    script: usize,
    trace: Trace,
    /// Told to those who come after one who was killed before this very sync.
    apt: bool,
}

/// Skips syncs of these scripts, one at a time, and of those who come next after a kill.
pub fn lie_about_each(traces: &[Trace], eyes: &Eyes) -> Result<BTreeMap<Site, Lied>, String> {
    let mut worlds = Vec::new();
    let mut lies: BTreeMap<Site, Vec<Lie>> = BTreeMap::new();
    for (script, trace) in traces.iter().enumerate() {
        let (world, here) = syncs(None, trace)?;
        let lie = |trace: &Trace, sync: &Sync| trace.failing(vec![(sync.number, Fault::Lie)]);
        for sync in here {
            let trace = lie(trace, &sync);
            lies.entry(sync.site).or_default().push(Lie { script, trace, apt: false });
        }
        for (point, path) in moments(&world, eyes.kills) {
            let hop = Hop { point, how: How::Kill, faults: Faults::new() };
            let behind = trace.with(&hop);
            for sync in syncs(Some(&world), &behind)?.1 {
                let trace = lie(&behind, &sync);
                let apt = sync.path.trim_end_matches('/') == path;
                lies.entry(sync.site).or_default().push(Lie { script, trace, apt });
            }
        }
        worlds.push(world);
    }
    let mut all = BTreeMap::new();
    for (site, list) in lies {
        let mut lied = Lied::default();
        let is_own = |lie: &&Lie| lie.trace.hops.is_empty();
        let (own, behind): (Vec<&Lie>, Vec<&Lie>) = list.iter().partition(is_own);
        let (apt, other): (Vec<&Lie>, Vec<&Lie>) = behind.into_iter().partition(|lie| lie.apt);
        // Some of everywhere; one of each in turns, as any of them may be the one that is noticed.
        let some = |list| some(list, eyes.lies);
        let mut queues = [if eyes.all { own } else { some(own) }, some(apt), some(other)].map(Vec::into_iter);
        loop {
            let next: Vec<&Lie> = queues.iter_mut().filter_map(Iterator::next).collect();
            if next.is_empty() || eyes.until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            for lie in next {
                let own = lie.trace.hops.is_empty();
                if lied.noticed.is_empty() || eyes.all && own {
                    let base = (!own).then(|| &worlds[lie.script]);
                    lied.add(&lie.trace, &notice(base, &lie.trace, eyes, |_| ()));
                }
            }
            if !lied.noticed.is_empty() && !eyes.all {
                break;
            }
        }
        all.insert(site, lied);
    }
    Ok(all)
}

fn some(list: Vec<&Lie>, many: usize) -> Vec<&Lie> {
    let step = (list.len() / many.max(1)).max(1);
    list.into_iter().step_by(step).collect()
}

/// Mistakes that are made all the time: each has a name, a fault, and the kinds of syncs that it befalls.
pub const MISTAKES: [(&str, Fault, &str); 5] = [
    ("no directory is ever synced", Fault::Lie, "directory"),
    ("no file is ever synced", Fault::Lie, "file"),
    ("a directory is synced before its last change", Fault::Early, "directory"),
    ("a log is synced before its last write", Fault::Early, "<n>.log"),
    ("another file is synced", Fault::WrongFile, "file"),
];

/// Makes this mistake in one script after the other, until somebody notices.
pub fn mistake(traces: &[Trace], fault: Fault, kinds: &'static str, eyes: &Eyes) -> Lied {
    let mut lied = Lied::default();
    for trace in traces {
        let tally = notice(None, trace, eyes, |fs| {
            fs.fail_when(0, u64::MAX, fault, move |call| {
                kind_of(call).is_some_and(|kind| kind.starts_with(kinds) || kind.ends_with(kinds))
            });
        });
        lied.add(trace, &tally);
        if !lied.noticed.is_empty() {
            break;
        }
    }
    lied
}

/// One line for each.
pub fn table<'a>(rows: impl IntoIterator<Item = (String, &'a Lied)>) -> String {
    let mut out = String::new();
    for (name, lied) in rows {
        let mut took = lied.noticed.clone();
        took.sort_unstable();
        let median = took.get(took.len() / 2).copied().unwrap_or(0);
        let most = took.last().copied().unwrap_or(0);
        let count = took.len();
        out += &format!(
            "{:5} skipped {count:5} noticed, after {median:4} states (at most {most:5}): {name}\n",
            lied.skipped
        );
    }
    out
}
