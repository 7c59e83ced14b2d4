//! Removing a session: one rename into the trash, and it has happened.

use std::io;
use std::sync::Arc;

use super::env::Env;
use crate::error::{Error, Result};
use crate::format::catalog::CatalogEntry;
use crate::fs::Dir;
use crate::ids::{BirthId, Incarnation, SessionId};
use crate::session::{Core, Phase, load_tail, locate, lock};

/// Removes the session from the disk; `false` if it was not there.
pub(crate) fn remove(env: &Arc<Env>, id: &SessionId) -> Result<bool> {
    let core = env.claim(id);
    let removed = remove_claimed(env, &core, id);
    env.unclaim(&core);
    removed
}

fn remove_claimed(env: &Arc<Env>, core: &Arc<Core>, id: &SessionId) -> Result<bool> {
    env.settle()?;
    // A commit under way ends first; ops behind it meet a removed session.
    let mut phase = core.phase.lock();
    let mut known = core.with_shared(|s| (s.state.birth, s.state.incarnation));
    let held = match std::mem::replace(&mut *phase, Phase::Removed) {
        Phase::Open(mut writer) | Phase::Poisoned(mut writer, _) => writer.lock.take(),
        Phase::Closed(_) | Phase::Removed => None,
    };
    core.shared.lock().take();
    let was_open = held.is_some();
    if was_open {
        env.closed(core);
    }
    let mut held = held;
    let result = loop {
        let Some(dir) = locate(env, id)? else {
            // An earlier attempt may have failed between the rename and the syncs behind it.
            break settle(env, id).map(|()| false);
        };
        let guard = match held.take() {
            Some(guard) => guard,
            None => match lock(env, id, &*dir) {
                Ok(Some(guard)) => guard,
                Ok(None) => continue,
                Err(e) => break Err(e),
            },
        };
        if known.is_none() {
            // A session that cannot be read can be removed all the same.
            known =
                load_tail(env, Some(id), &*dir).ok().map(|l| (l.tail.state.birth, l.tail.state.incarnation));
        }
        let gone = throw_away(env, id, known);
        drop(guard);
        break gone.map(|()| true);
    };
    if result.is_err() {
        // The session may still be there: the next op looks.
        *phase = Phase::Closed(None);
    } else {
        env.evict(core);
    }
    drop(phase);
    if matches!(result, Ok(true)) {
        empty_trash(env);
    }
    result
}

/// The commit point and its syncs. The caller holds the session's lock.
fn throw_away(env: &Env, id: &SessionId, known: Option<(BirthId, Incarnation)>) -> Result<()> {
    let io = |e| Error::io("remove a session", env.layout.sessions.path().join(id.shard()), e).session(id);
    let shard = env.layout.sessions.open_dir(&id.shard()).map_err(io)?;
    if let Some((birth, incarnation)) = known {
        // Durable first: after the rename a listing must not take this life's summary for another's. A catalog
        // that cannot say it only costs a look at the session, so its failure stops nothing.
        let removed = CatalogEntry::Removed { id: id.clone(), birth, incarnation };
        let _ = env.catalog.record(removed).and_then(|()| env.catalog.sync());
    }
    let name = format!("{}~{:016x}", id.dir_name(), env.random_u64()?);
    shard.rename(&id.dir_name(), &*env.layout.trash, &name).map_err(|e| io(e).unknown())?;
    // The target first: between the two syncs a crash may leave it in both places, never in none.
    env.layout.trash.sync().and_then(|()| shard.sync()).map_err(|e| io(e).unknown())
}

/// Makes durable that the session is not there: an earlier sync may have failed, and a failed sync must not be
/// trusted when it is only repeated. A new entry makes the directory dirty again.
fn settle(env: &Env, id: &SessionId) -> Result<()> {
    let io = |e| Error::io("remove a session", env.layout.sessions.path().join(id.shard()), e).session(id);
    let shard = match env.layout.sessions.open_dir(&id.shard()) {
        Ok(shard) => shard,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(e)),
    };
    for dir in [&env.layout.trash, &shard] {
        let (name, _) = dir.create_temp("sync-").map_err(io)?;
        dir.remove_file(&name).and_then(|()| dir.sync()).map_err(io)?;
    }
    Ok(())
}

/// Unlinks what lies in the trash. What cannot be removed now waits for the next removal.
fn empty_trash(env: &Env) {
    let trash = &env.layout.trash;
    for entry in trash.list().unwrap_or_default() {
        if let Ok(dir) = trash.open_dir(&entry.name)
            && !still_named(env, &entry.name, &*dir)
        {
            empty(&*dir);
            let _ = trash.remove_dir(&entry.name);
        }
    }
}

/// Whether what lies in the trash still stands under its session's name as well: a power cut between the two
/// syncs of a removal may leave that, and then the session is there, and was never removed.
fn still_named(env: &Env, name: &str, dir: &dyn Dir) -> bool {
    let Some((dir_name, _)) = name.rsplit_once('~') else { return false };
    let hash = dir_name.rsplit_once('~').and_then(|(_, hash)| hash.get(..2));
    let Some(shard) = hash.map(|hash| env.layout.sessions.open_dir(hash)) else { return false };
    match shard.and_then(|shard| shard.stat(dir_name)) {
        Ok(stat) => dir.ident().is_ok_and(|ident| ident == stat.ident),
        // What cannot be looked at is not emptied.
        Err(e) => e.kind() != io::ErrorKind::NotFound,
    }
}

fn empty(dir: &dyn Dir) {
    for entry in dir.list().unwrap_or_default() {
        let _ = dir.remove_file(&entry.name);
    }
}
