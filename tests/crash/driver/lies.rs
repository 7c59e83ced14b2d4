//! Deliberate mistakes: a sync that says success and did nothing, or something else. Each must be noticed.

use std::collections::BTreeMap;
use std::time::Instant;

use sessionlog::fs::{Choice, Fault, SimFs};

use super::explore::{Effort, How, Tally, explore_points, guarded, play, recovered, try_one};
use super::sites::{Site, Watch, kind_of};
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
    /// Lies are told to who comes next, after a kill at each so-manieth moment of a script.
    pub every: usize,
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
            recovered(trace.conf, point, base.known_at(point), hop, record, prepare)
        }
        _ => {
            let mut world = World::fresh(trace.seed, trace.conf, record);
            world.order(&trace.faults);
            prepare(&world.fs);
            play(world, &trace.steps)
        }
    })
}

/// The syncs of the last part of a trace, each with the trace that skips it.
fn lies(base: Option<&World>, trace: &Trace) -> Result<(World, Vec<(Site, Trace)>), String> {
    let watch = Watch::default();
    let world = run_last(base, trace, base.is_none(), |fs| watch.on(fs))?;
    let lie = |number| trace.failing(vec![(number, Fault::Lie)]);
    Ok((world, watch.syncs().into_iter().map(|(number, site)| (site, lie(number))).collect()))
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

/// Skips syncs of these scripts, one at a time, and of those who come next after a kill.
pub fn lie_about_each(traces: &[Trace], eyes: &Eyes) -> Result<BTreeMap<Site, Lied>, String> {
    let mut all: BTreeMap<Site, Lied> = BTreeMap::new();
    let mut worlds = Vec::new();
    let mut here: BTreeMap<Site, Vec<(usize, Trace)>> = BTreeMap::new();
    let mut behind: BTreeMap<Site, Vec<(usize, Trace)>> = BTreeMap::new();
    for (i, trace) in traces.iter().enumerate() {
        let (world, syncs) = lies(None, trace)?;
        for (site, lie) in syncs {
            here.entry(site).or_default().push((i, lie));
        }
        for point in (i % eyes.every..world.points.len()).step_by(eyes.every) {
            let hop = Hop { point, how: How::Kill, faults: Faults::new() };
            for (site, lie) in lies(Some(&world), &trace.with(&hop))?.1 {
                behind.entry(site).or_default().push((i, lie));
            }
        }
        worlds.push(world);
    }
    let sites: Vec<Site> = here.keys().chain(behind.keys()).cloned().collect();
    for site in sites {
        if all.contains_key(&site) {
            continue;
        }
        let lied = all.entry(site.clone()).or_default();
        for (list, every) in [(here.remove(&site), eyes.all), (behind.remove(&site), false)] {
            let list = list.unwrap_or_default();
            // Some of everywhere.
            let step = if every { 1 } else { (list.len() / eyes.lies.max(1)).max(1) };
            for (i, lie) in list.iter().step_by(step) {
                if (!every && !lied.noticed.is_empty()) || eyes.until.is_some_and(|u| Instant::now() >= u) {
                    break;
                }
                let base = (!lie.hops.is_empty()).then(|| &worlds[*i]);
                lied.add(lie, &notice(base, lie, eyes, |_| ()));
            }
        }
    }
    Ok(all)
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
