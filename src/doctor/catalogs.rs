//! The catalog, written anew from the sessions where it is damaged or knows too little.

use std::sync::Arc;

use super::check::{Place, stale};
use super::plan::{Action, Repair, Skipped, Step};
use super::quarantine::{Note, keep};
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::{CatalogEntry, Open};
use crate::fs::Access;
use crate::log::scan::Ending;
use crate::session::{LoadedTail, Look, Phase, Whose, load_tail, lock, summary_of_state};
use crate::store::Env;

/// Takes damaged files away whose instances are gone, after every session has an entry from its log. Sessions that were
/// closed in good order and are not in the catalog get their summary.
pub(crate) fn rebuild(env: &Arc<Env>, places: &[Place], dry_run: bool, out: &mut Repair) -> Result<()> {
    let merged = env.catalog.merged()?;
    let mut damaged = Vec::new();
    for f in merged.findings.iter().filter(|f| f.damage) {
        if !damaged.iter().any(|(name, _)| *name == f.file) && is_dead(env, &f.file) {
            damaged.push((f.file.clone(), f.text.clone()));
        }
    }
    let step = |session: Option<String>, file: String, action, why: &str| Step {
        session,
        file,
        action,
        why: why.to_owned(),
    };
    let len = |name: &str| env.layout.catalog.stat(name).map_or(0, |s| s.len);
    for (name, why) in &damaged {
        let file = format!("catalog/{name}");
        let bytes = len(name);
        out.steps.push(step(None, file.clone(), Action::Quarantine { bytes }, why));
        if !dry_run {
            let note = Note { session: None, file: &file, offset: 0, bytes, why, time: env.now() };
            keep(&*env.fs, &env.layout.root, &*env.layout.catalog, name, &note)?;
        }
    }
    let mut written = false;
    for place in places {
        let known = merged.get(&place.name).is_some();
        let repaired = out.steps.iter().any(|s| s.file.starts_with(&place.rel));
        let old = stale(env, place, &merged);
        if known && damaged.is_empty() && old.is_none() || repaired {
            continue;
        }
        let Ok(LoadedTail { tail, plan }) = load_tail(env, Whose::Dir(&place.name), &place.dir, Look::Whole)
        else {
            continue;
        };
        // One that was removed since has nothing in the catalog, and is to have nothing.
        if !place.is_there(env) {
            continue;
        }
        let clean = tail.ending == Ending::Clean && !plan.report.has_damage();
        let session = Some(tail.state.id.as_str().to_owned());
        if clean {
            let why = match &old {
                Some(old) => old.as_str(),
                None if known => "what the catalog says of it may be outdated",
                None => "it is not in the catalog",
            };
            let done = if dry_run { Ok(true) } else { summarize(env, place) };
            match done {
                Ok(true) => out.steps.push(step(session, place.rel.clone(), Action::Summarize, why)),
                Ok(false) => {}
                Err(_) if !place.is_there(env) => {}
                // Its lock cannot be opened, say: no reason to leave the others alone.
                Err(e) if e.session_id().is_some() => {
                    out.skipped.push(Skipped { session, file: place.rel.clone(), why: e.to_string() });
                }
                Err(e) => return Err(e),
            }
        } else if !dry_run && (old.is_some() || !damaged.is_empty()) {
            let info = tail.info();
            env.settle()?;
            env.catalog.record(CatalogEntry::Doubt(Open {
                id: tail.state.id.clone(),
                birth: tail.state.birth,
                incarnation: tail.state.incarnation,
                segment: info.number,
                salt: info.salt,
                time: env.now(),
            }))?;
        }
        written |= !dry_run;
    }
    if written {
        env.catalog.sync()?;
    }
    for (name, why) in &damaged {
        let file = format!("catalog/{name}");
        if !dry_run {
            let catalog = &env.layout.catalog;
            let io = |e| Error::io("take a catalog file away", catalog.path().join(name), e);
            catalog.remove_file(name).and_then(|()| catalog.sync()).map_err(io)?;
        }
        out.steps.push(step(None, file, Action::TakeAway, why));
    }
    Ok(())
}

/// Whether nobody has this catalog file open for writing.
fn is_dead(env: &Env, name: &str) -> bool {
    let Ok(file) = env.layout.catalog.open(name, Access::Read) else { return false };
    let free = file.try_lock().unwrap_or(false);
    if free {
        // Dropping the file releases the lock just as well.
        let _ = file.unlock();
    }
    free
}

/// Records the summary of a session under its lock. False if somebody writes to it.
fn summarize(env: &Arc<Env>, place: &Place) -> Result<bool> {
    let loaded = load_tail(env, Whose::Dir(&place.name), &place.dir, Look::Whole)?;
    let id = loaded.tail.state.id.clone();
    let core = env.claim(&id)?;
    let phase = core.phase.lock();
    let result = (|| {
        if !matches!(*phase, Phase::Closed(_)) {
            return Ok(false);
        }
        let held = match lock(env, &id, &*place.dir) {
            Ok(Some(held)) => held,
            Ok(None) => return Ok(false),
            Err(e) if e.kind() == ErrorKind::Locked => return Ok(false),
            Err(e) => return Err(e),
        };
        let loaded = load_tail(env, Whose::Dir(&place.name), &place.dir, Look::Whole)?;
        let tail = &loaded.tail;
        if tail.ending != Ending::Clean || loaded.plan.report.has_damage() {
            return Ok(false);
        }
        // As a close does it: what stands above the mark was never synced, and may go with the power.
        let summary = summary_of_state(&tail.state, &tail.info(), tail.mark);
        // The catalog's directory may have been made a moment ago.
        env.settle()?;
        env.catalog.record(CatalogEntry::Closed(summary))?;
        env.catalog.sync()?;
        drop(held);
        Ok(true)
    })();
    drop(phase);
    env.unclaim(&core);
    result
}
