//! Deliberate mistakes: a sync that says success and did nothing. Each must be noticed.

use std::collections::BTreeMap;

use sessionlog::fs::{Fault, SimCall, SimOp};

use super::explore::{Effort, Tally, explore_points, guarded, run_script};
use super::step::Step;
use super::trace::{Failure, Trace};
use super::world::World;

/// A lie, and what came of it.
#[derive(Debug)]
pub struct Lied {
    /// The kind of sync.
    pub kind: String,
    /// The sync, where it is a single one.
    pub label: String,
    /// How many crash states it took to notice, or how many did not notice it.
    pub states: u64,
    /// What ran.
    pub script: Vec<Step>,
    /// How it was noticed.
    pub noticed: Option<Failure>,
}

/// One line for each kind of sync: how many were skipped, how many of these lies were noticed, and how many states
/// that took.
pub fn table(lies: &[Lied]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&Lied>> = BTreeMap::new();
    for lie in lies {
        kinds.entry(&lie.kind).or_default().push(lie);
    }
    let mut out = String::new();
    for (kind, lies) in kinds {
        let mut took: Vec<u64> = lies.iter().filter(|l| l.noticed.is_some()).map(|l| l.states).collect();
        took.sort_unstable();
        let median = took.get(took.len() / 2).copied().unwrap_or(0);
        let (noticed, most) = (took.len(), took.last().copied().unwrap_or(0));
        out += &format!(
            "{kind:60} {:4} skipped, {noticed:4} noticed, after {median} states (at most {most})\n",
            lies.len()
        );
    }
    out
}

const EFFORT: Effort = Effort { bits: 5, seeds: 6, every: 6, kills: 2, second: 2, third: 0 };

/// What kind of sync this is: of which file or directory.
pub fn kind_of(op: SimOp, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let name = |part: &str| {
        if part.contains(".log-") {
            "<n>.log-*.tmp"
        } else if part.ends_with(".log") {
            "<n>.log"
        } else if part.ends_with(".cat") {
            "*.cat"
        } else if part.starts_with("STORE-") {
            "STORE-*.tmp"
        } else if part.starts_with("new-") {
            "new-*.tmp"
        } else if part.contains('~') {
            "<session>"
        } else if part.len() == 2 && part != "ca" {
            "<xx>"
        } else if part.ends_with(".tmp") {
            "*.tmp"
        } else {
            part
        }
        .to_owned()
    };
    let path = parts.iter().map(|p| name(p)).collect::<Vec<_>>().join("/");
    match op {
        SimOp::Sync => Some(format!("file /{path}")),
        SimOp::SyncDir => Some(format!("directory /{path}")),
        _ => None,
    }
}

fn kind_of_call(call: &SimCall<'_>) -> Option<String> {
    kind_of(call.op, &call.dir.join(call.name).to_string_lossy())
}

/// The syncs of a run: number and label.
fn syncs(world: &World) -> Vec<(u64, String, String)> {
    world
        .points
        .iter()
        .filter_map(|point| {
            let mut words = point.label().split(' ');
            let number = words.next()?.parse().ok()?;
            let op = match words.next()? {
                "Sync" => SimOp::Sync,
                "SyncDir" => SimOp::SyncDir,
                _ => return None,
            };
            let path = words.collect::<Vec<_>>().join(" ");
            Some((number, kind_of(op, &path)?, point.label().to_owned()))
        })
        .collect()
}

/// Skips each single sync of the script, one at a time.
pub fn lie_about_each(trace: &Trace) -> Result<Vec<Lied>, String> {
    let world = guarded(|| run_script(trace, true))?;
    let mut out = Vec::new();
    for (number, kind, label) in syncs(&world) {
        let lie = Trace { fault: Some((number, Fault::Lie)), ..trace.clone() };
        out.push(notice(kind, label, lie, |_| ()));
    }
    Ok(out)
}

/// Skips all syncs of one kind, for every kind that the script has.
pub fn lie_about_kinds(trace: &Trace) -> Result<Vec<Lied>, String> {
    let world = guarded(|| run_script(trace, true))?;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for (number, kind, _) in syncs(&world) {
        kinds.entry(kind).or_insert(number);
    }
    let mut out = Vec::new();
    for (kind, first) in kinds {
        let lie = Trace { fault: Some((first, Fault::Lie)), ..trace.clone() };
        let this = kind.clone();
        out.push(notice(kind, "all".to_owned(), lie, move |world| {
            let this = this.clone();
            world.fs.fail_when(0, u64::MAX, Fault::Lie, move |call| kind_of_call(call) == Some(this.clone()));
        }));
    }
    Ok(out)
}

fn notice(kind: String, label: String, trace: Trace, prepare: impl FnOnce(&World)) -> Lied {
    let mut tally = Tally::new(None);
    tally.most = 1;
    tally.enough = 8_000;
    let number = trace.fault.map_or(0, |(number, _)| number);
    let script = trace.steps.clone();
    let run = guarded(|| {
        let mut world = World::fresh(trace.seed, trace.conf, true);
        world.fs.fail(number, Fault::Lie);
        prepare(&world);
        world.run(&trace.steps)?;
        world.finish(true)
    });
    match run {
        Ok(world) => {
            let first = world.points.partition_point(|p| p.ops() <= number);
            explore_points(&world, first, &trace, &EFFORT, &tally);
        }
        Err(what) => tally.fail(trace, what),
    }
    Lied { kind, label, states: tally.states(), script, noticed: tally.failures().pop() }
}
