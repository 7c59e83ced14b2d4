//! Repairing a store: what is found is planned, kept a copy of, and done under the session's lock.

use std::path::Path;
use std::sync::Arc;

use super::catalogs;
use super::check::{Place, missing, no_session, session_dirs};
use super::code::Severity;
use super::fresh::{self, Plan};
use super::options::{CheckOptions, RepairOptions, look, reach, wish};
use super::plan::{Action, Repair, Skipped, Step};
use super::quarantine::{Note, keep};
use super::session::look_at;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::SessionId;
use crate::log::LOCK_FILE;
use crate::session::{Phase, lock, locked};
use crate::store::{Env, Layout, Options, UNTOLD};

/// Does what is safe about the damage in a store, or says what would be done (see
/// [`RepairOptions::dry_run`]).
///
/// Each session is repaired under its writer's lock: a damaged one that another process has open is skipped, and so is one
/// that a newer program wrote. Whatever is taken away, and whatever is damaged, has a copy in `quarantine/` before, durable and
/// with a note. When this returns, everything it did is durable. A second repair finds nothing to do.
///
/// Reads every segment of every session, and writes what survives of damaged ones.
///
/// # Errors
/// `NotFound` if there is no store, or not the session that is asked for; `Unsupported` if a newer program made it;
/// `NoSpace`, `Io` if the quarantine or a catalog cannot be written; `Conflict` if this process has the store open
/// with other options: pass them by [`RepairOptions::store`]; `InvalidInput` for an empty path. What goes wrong with one session is in
/// [`Repair::skipped`].
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// use sessionlog::doctor::{RepairOptions, repair};
/// let plan = repair(store.path(), &RepairOptions::new().dry_run(true))?;
/// for step in &plan.steps {
///     println!("would {step}");
/// }
/// # Ok(()) }
/// ```
pub fn repair(path: impl AsRef<Path>, options: &RepairOptions) -> Result<Repair> {
    let path = path.as_ref();
    let mut out = Repair { dry_run: options.dry_run, ..Repair::default() };
    let (mut env, fault) = look(path, &options.check.store)?;
    let mut beside = Vec::new();
    let places = session_dirs(&env, &options.check, &mut beside)?;
    if let Some(id) = &options.check.session
        && places.is_empty()
        && beside.is_empty()
    {
        return Err(no_session("repair a session", id));
    }
    if let Some(fault) = fault
        && !restore_store(path, &env, &fault, options, &mut out)?
    {
        return Ok(out);
    }
    let store = match options.dry_run {
        true => None,
        false => Some(open_options(&options.check.store).open(path)?),
    };
    if let Some(store) = &store {
        env = store.env().clone();
    }
    let missing = missing(&env, &places, &*env.catalog.current()?, &options.check)?;
    for f in beside.into_iter().chain(missing).filter(|f| f.severity > Severity::Info) {
        let why = format!("{}: {}", f.what, f.remedy);
        out.skipped.push(Skipped { session: f.session, file: f.file, why });
    }
    for (done, place) in places.iter().enumerate() {
        options.check.tell(done, places.len(), &place.name);
        if let Err(e) = repair_session(&env, place, options.dry_run, &mut out) {
            if matches!(e.kind(), ErrorKind::NoSpace) {
                return Err(e);
            }
            out.skipped.push(Skipped { session: None, file: place.rel.clone(), why: e.to_string() });
        }
    }
    if options.check.session.is_none() {
        catalogs::rebuild(&env, &places, options.dry_run, &mut out)?;
    }
    Ok(out)
}

fn open_options(options: &Options) -> Options {
    options.clone().create(false).create_new(false).read_only(false)
}

/// Writes the store's own file anew. False if that cannot be.
fn restore_store(
    path: &Path,
    env: &Arc<Env>,
    fault: &Error,
    options: &RepairOptions,
    out: &mut Repair,
) -> Result<bool> {
    let (fs, settings) = reach(&options.check.store);
    let why = super::finding::reason(fault);
    let skip = |why: &str| Skipped { session: None, file: "STORE".to_owned(), why: why.to_owned() };
    let all = CheckOptions::new().store(&options.check.store);
    let places = session_dirs(env, &all, &mut Vec::new())?;
    if env.layout.id == UNTOLD {
        out.skipped.push(skip("there is no segment that tells the id of the store"));
        return Ok(false);
    }
    let beside = places.iter().any(|p| p.dir.stat(LOCK_FILE).is_ok());
    if !beside && settings.lock_dir.is_none() {
        out.skipped.push(skip(
            "the locks of this store do not lie beside its logs, and where they lie stood in this file: say it with \
             Options::lock_dir",
        ));
        return Ok(false);
    }
    let step = |action| Step { session: None, file: "STORE".to_owned(), action, why: why.clone() };
    let root = &env.layout.root;
    if let Ok(stat) = root.stat("STORE") {
        out.steps.push(step(Action::Quarantine { bytes: stat.len }));
        if !options.dry_run {
            let note =
                Note { session: None, file: "STORE", offset: 0, bytes: stat.len, why: &why, time: fs.now() };
            keep(&*fs, root, &**root, "STORE", &note)?;
            let io = |e| Error::io("take a store's own file away", root.path(), e);
            root.remove_file("STORE").and_then(|()| root.sync()).map_err(io)?;
        }
    }
    out.steps.push(step(Action::RestoreStore));
    if !options.dry_run {
        Layout::restore(&fs, path, &wish(&settings, false))?;
    }
    Ok(true)
}

fn repair_session(env: &Arc<Env>, place: &Place, dry_run: bool, out: &mut Repair) -> Result<()> {
    let mut skip = |session: Option<&SessionId>, why: String| {
        let session = session.map(|id| id.as_str().to_owned());
        out.skipped.push(Skipped { session, file: place.rel.clone(), why });
    };
    let merged = env.catalog.current()?;
    let look = || look_at(env, place, &merged);
    let Some(looked) = look()? else { return Ok(()) };
    if !fresh::is_needed(&looked) {
        return Ok(());
    }
    let id = looked.id.clone();
    let (plan, id) = match (fresh::plan(&looked), id) {
        (Ok(plan), Some(id)) => (plan, id),
        (Err(why), id) => {
            skip(id.as_ref(), why);
            return Ok(());
        }
        (Ok(_), None) => {
            skip(None, "nothing says which session this is".to_owned());
            return Ok(());
        }
    };
    if dry_run {
        // What this process has open it would close first.
        match env.catalog.holder(&id).filter(|h| h.pid != env.fs.process()) {
            Some(holder) => skip(Some(&id), locked(&id, Some(holder)).to_string()),
            None => out.steps.extend(plan.steps),
        }
        return Ok(());
    }
    drop((plan, looked));
    let core = loop {
        let core = env.claim(&id)?;
        if !core.phase.lock().is_over() {
            break core;
        }
        env.evict(&core);
        env.unclaim(&core);
    };
    let mut phase = core.phase.lock();
    let result = (|| {
        if matches!(*phase, Phase::Open(_) | Phase::Poisoned(_)) {
            // What cannot be closed in good order is what is to be repaired.
            let _ = core.park_locked(&mut phase);
        }
        let Some(held) = lock(env, &id, &*place.dir)? else {
            return Err(Error::new(ErrorKind::Conflict, "repair a session")
                .session(&id)
                .hint("it was removed or replaced meanwhile"));
        };
        // Under the lock it is looked at again: nobody changes it now.
        let Some(looked) = look()? else { return Ok(Vec::new()) };
        let steps = match fresh::is_needed(&looked).then(|| fresh::plan(&looked)) {
            Some(Ok(Plan { steps, fresh, copies })) => {
                fresh::perform(env, place, &looked, &id, fresh, &copies)?;
                steps
            }
            _ => Vec::new(),
        };
        drop(held);
        Ok(steps)
    })();
    drop(phase);
    env.unclaim(&core);
    match result {
        Ok(steps) => out.steps.extend(steps),
        Err(e) if e.kind() == ErrorKind::Locked => {
            out.skipped.push(Skipped {
                session: Some(id.as_str().to_owned()),
                file: place.rel.clone(),
                why: e.to_string(),
            });
        }
        Err(e) => return Err(e),
    }
    Ok(())
}
