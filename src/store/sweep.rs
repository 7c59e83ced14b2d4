//! Clearing away what crashes left: half-made sessions, and removed ones whose files were not unlinked yet.

use std::sync::Arc;

use super::env::Env;
use super::remove::{empty, empty_trash};
use crate::fs::{Access, Dir, Entry, Kind, is_sync_leftover};
use crate::log::LOCK_FILE;
use crate::session::{UNBORN, unborn_name};

/// Clears everything but the shards. Done by each process that writes, as are they, one after the other. What cannot be
/// removed now waits for the next one.
pub(crate) fn sweep(env: &Env) {
    empty_trash(env);
    for dir in [&env.layout.root, &env.layout.trash, &env.layout.sessions] {
        clear(&**dir);
    }
}

/// Clears a shard.
pub(crate) fn sweep_shard(env: &Env, name: &str) {
    let Ok(shard) = env.layout.sessions.open_dir(name) else { return };
    for entry in clear(&*shard) {
        if entry.name.starts_with(UNBORN) && entry.name.ends_with(".tmp") {
            abandon(env, &shard, &entry.name);
        }
    }
}

/// Removes what syncs left there, and gives all other names.
fn clear(dir: &dyn Dir) -> Vec<Entry> {
    let mut rest = dir.list().unwrap_or_default();
    rest.retain(|entry| {
        let left = entry.kind == Kind::File && is_sync_leftover(&entry.name);
        if left {
            let _ = dir.remove_file(&entry.name);
        }
        !left
    });
    rest
}

/// Removes a half-made session if its maker is dead: he held its lock before anything else was in it.
fn abandon(env: &Env, shard: &Arc<dyn Dir>, name: &str) {
    let Ok(dir) = shard.open_dir(name) else { return };
    let elsewhere = env.layout.locks.as_ref().map(|locks| (locks, unborn_name(name)));
    let lock = match &elsewhere {
        Some((locks, lock_name)) => locks.open(lock_name, Access::Write),
        None => dir.open(LOCK_FILE, Access::Write),
    };
    let Ok(lock) = lock else { return };
    if !lock.try_lock().unwrap_or(false) {
        return;
    }
    // A session gets its own name under this very lock. If it has it by now, it is alive.
    let unborn = shard.stat(name).is_ok_and(|stat| dir.ident().is_ok_and(|ident| ident == stat.ident));
    if unborn {
        empty(&*dir);
        if shard.remove_dir(name).is_ok()
            && let Some((locks, lock_name)) = &elsewhere
        {
            let _ = locks.remove_file(lock_name);
        }
    }
}
