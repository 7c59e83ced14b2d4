//! Removing a session: one rename into the trash, and it has happened.

use std::io;
use std::sync::Arc;

use super::env::Env;
use crate::error::{Error, Result};
use crate::format::catalog::{CatalogEntry, Summary};
use crate::fs::{Dir, Kind, sync_anew};
use crate::ids::{BirthId, Incarnation, SessionId, is_session_dir, shard_of};
use crate::session::{Core, Look, Phase, Poison, Seen, Whose, load_tail, locate, lock, still_named};
use crate::state::State;

/// Removes the session from the disk; `false` if it was not there.
pub(crate) fn remove(env: &Arc<Env>, id: &SessionId) -> Result<bool> {
    loop {
        let core = env.claim(id)?;
        let removed = remove_claimed(env, &core, id);
        env.unclaim(&core);
        if let Some(removed) = removed.transpose() {
            return removed;
        }
    }
}

/// `None` if another thread removed it first: whatever is there under this id now has another place.
fn remove_claimed(env: &Arc<Env>, core: &Arc<Core>, id: &SessionId) -> Result<Option<bool>> {
    env.settle()?;
    // A commit under way ends first; ops behind it meet a removed session.
    let mut phase = core.phase.lock();
    if phase.is_over() {
        env.evict(core);
        return Ok(None);
    }
    let mut known = core.with_shared(|s| (s.state.birth, s.state.incarnation));
    let mut seen = core.with_shared(|s| Seen { birth: s.state.birth, position: s.state.position });
    let mut poisoned = None;
    let writer = match std::mem::replace(&mut *phase, Phase::Removed) {
        Phase::Open(writer) => Some(writer),
        Phase::Poisoned(poison) => {
            let Poison { writer, cause, told } = poison;
            poisoned = Some(Poison { writer: None, cause, told });
            writer
        }
        Phase::Closed(last) => {
            seen = last;
            None
        }
        Phase::Removed => None,
    };
    // A writer that has begun may stand in the catalog and not in the log yet.
    if let (Some(writer), Some((_, last))) = (&writer, &mut known) {
        *last = writer.incarnation().max(*last);
    }
    core.shared.lock().take();
    env.closed(core);
    let mut held = writer.and_then(|mut writer| writer.lock.take());
    let result = loop {
        let dir = match locate(env, id) {
            Ok(Some(dir)) => dir,
            // An earlier attempt may have failed between the rename and the syncs behind it.
            Ok(None) => break settle(env, id).map(|()| false),
            Err(e) => break Err(e),
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
            let loaded = load_tail(env, Whose::Id(id), &dir, Look::End);
            known = loaded.ok().map(|loaded| last_writer(env, &loaded.tail.state));
        }
        if let Some((birth, _)) = known {
            *core.life.lock() = Some(birth);
        }
        let gone = throw_away(env, id, known);
        drop(guard);
        break gone.map(|name| {
            discard(env, &name);
            true
        });
    };
    match result {
        // The session may still be there: the next op looks.
        Err(_) => *phase = poisoned.map_or(Phase::Closed(seen), Phase::Poisoned),
        // There was none, here either: handles on it begin the next one, as they would have.
        Ok(false) if seen.is_none() && poisoned.is_none() => {
            *core.life.lock() = None;
            *phase = Phase::Closed(None);
        }
        Ok(_) => {
            // Whatever is found under this id from now on is another: this life, if nobody could read it, was nobody's.
            core.life.lock().get_or_insert(BirthId([0; 16]));
            env.evict(core);
        }
    }
    result.map(Some)
}

/// The commit point and its syncs; gives the name in the trash. The caller holds the session's lock.
fn throw_away(env: &Env, id: &SessionId, known: Option<(BirthId, Incarnation)>) -> Result<String> {
    let io = |e| Error::io("remove a session", env.layout.sessions.path().join(id.shard()), e).session(id);
    let shard = env.layout.sessions.open_dir(id.shard()).map_err(io)?;
    let name = format!("{}~{:016x}", id.dir_name(), env.random_u64()?);
    shard.rename(&id.dir_name(), &*env.layout.trash, &name).map_err(|e| io(e).unknown())?;
    // That it is gone from here is all that counts. Where a power cut leaves it in the trash as well, or in neither
    // place, makes no difference.
    shard.sync().map_err(|e| io(e).unknown())?;
    if let Some((birth, incarnation)) = known {
        // Only now that it is gone for good: a power cut before that may bring the session back, and then the
        // catalog must not have forgotten its open mark. One that cannot say it only costs a look at a session
        // that is made anew under this id.
        let _ = env.catalog.record(CatalogEntry::Removed { id: id.clone(), birth, incarnation });
    }
    Ok(name)
}

/// Makes durable that the session is not there, and has the catalog forget it: an earlier sync may have failed, and a failed
/// sync must not be trusted when it is only repeated. A new entry makes the directory dirty again.
fn settle(env: &Env, id: &SessionId) -> Result<()> {
    let io = |e| Error::io("remove a session", env.layout.sessions.path().join(id.shard()), e).session(id);
    match env.layout.sessions.open_dir(id.shard()) {
        Ok(shard) => sync_anew(&*shard).map_err(io)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(e)),
    }
    forget(env, id);
    Ok(())
}

/// Takes a session that is not there from the catalog: its directory was lost, or the note of its removal was.
fn forget(env: &Env, id: &SessionId) {
    let Ok(merged) = env.catalog.current() else { return };
    if let Some(Summary { birth, incarnation, .. }) = merged.last_summary(&id.dir_name()) {
        let _ = env.catalog.record(CatalogEntry::Removed { id: id.clone(), birth, incarnation });
    }
}

/// Unlinks what earlier removals left in the trash. Their renames are made durable first: if one were undone by a
/// power cut after its files are gone, a session would be back without its content.
pub(crate) fn empty_trash(env: &Env) {
    let trash = &env.layout.trash;
    let sessions = &env.layout.sessions;
    for entry in trash.list().unwrap_or_default() {
        if entry.kind != Kind::Dir {
            continue;
        }
        let Some(dir_name) = name_before(&entry.name) else { continue };
        // The sync of whoever renamed it may have failed. Where there is no room to make sure, nothing is unlinked.
        let durable = match sessions.open_dir(shard_of(dir_name)) {
            Ok(shard) => sync_anew(&*shard),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        let Ok(dir) = trash.open_dir(&entry.name) else { continue };
        // A power cut between the two syncs of a removal may leave it in both places, and then it was never removed. What cannot
        // be looked at is not emptied.
        let there = still_named(env, dir_name, &*dir).unwrap_or(true);
        if durable.is_ok() && !there {
            note(env, dir_name, &dir);
            discard(env, &entry.name);
        }
    }
}

/// Has the catalog forget what lies in the trash: whoever removed it may have died before he could say so, or be about to, and a
/// session that is nowhere looks like one that was lost. What cannot be read was begun to be unlinked, behind such a note.
fn note(env: &Env, dir_name: &str, dir: &Arc<dyn Dir>) {
    if let Ok(loaded) = load_tail(env, Whose::Dir(dir_name), dir, Look::End) {
        let state = &loaded.tail.state;
        let (birth, incarnation) = last_writer(env, state);
        let _ = env.catalog.record(CatalogEntry::Removed { id: state.id.clone(), birth, incarnation });
    }
}

/// Who wrote to a session last: his open mark may stand in the catalog, and he in no log yet.
fn last_writer(env: &Env, state: &State) -> (BirthId, Incarnation) {
    let witness = env.catalog.witness(&state.id, &state.birth).ok().flatten();
    (state.birth, witness.map_or(state.incarnation, |w| w.incarnation.max(state.incarnation)))
}

/// The name that the directory of a session had before it came into the trash, where it is followed by `~<random>`.
/// `None` if what lies there was no session; it is left alone.
fn name_before(name: &str) -> Option<&str> {
    name.rsplit_once('~').map(|(dir_name, _)| dir_name).filter(|dir_name| is_session_dir(dir_name))
}

/// Unlinks one entry of the trash. What cannot be removed now waits for the next process.
fn discard(env: &Env, name: &str) {
    if let Ok(dir) = env.layout.trash.open_dir(name) {
        empty(&*dir);
        let _ = env.layout.trash.remove_dir(name);
    }
}

pub(crate) fn empty(dir: &dyn Dir) {
    for entry in dir.list().unwrap_or_default() {
        let _ = dir.remove_file(&entry.name);
    }
}
