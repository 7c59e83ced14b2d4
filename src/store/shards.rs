//! The directories between the store and its sessions: which of their names are durable.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::{Dir, Kind, sync_anew};

/// What this process knows of the names in `sessions/`.
///
/// A shard that is found may have been made by a process that died before its sync: it counts only when a sync of
/// this process covered it.
#[derive(Debug, Default)]
pub(crate) struct Shards(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    durable: HashSet<String>,
    /// A sync failed: a repeat proves nothing until there is a new entry to be synced.
    failed: bool,
}

impl Shards {
    /// Opens the shard, made if it is not there; its name is durable when this returns.
    pub(crate) fn open_or_create(&self, sessions: &dyn Dir, name: &str) -> io::Result<Arc<dyn Dir>> {
        let mut known = self.0.lock();
        let made = match sessions.open_dir(name) {
            Ok(shard) if known.durable.contains(name) => return Ok(shard),
            Ok(_) => false,
            Err(e) if e.kind() == io::ErrorKind::NotFound => match sessions.create_dir(name) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                done => done.is_ok(),
            },
            Err(e) => return Err(e),
        };
        let here = sessions.list()?;
        // Whoever made it may have met a sync that failed.
        if std::mem::replace(&mut known.failed, true) || !made {
            sync_anew(sessions)?;
        } else {
            sessions.sync()?;
        }
        known.failed = false;
        known.durable.extend(here.into_iter().filter(|e| e.kind == Kind::Dir).map(|e| e.name));
        sessions.open_dir(name)
    }
}

/// Makes the names of the store's parts durable, once before the first write: whoever made them may have died before
/// its sync. (The name of its directory was durable before the `STORE` file was written.)
#[derive(Debug, Default)]
pub(crate) struct Anchor(Mutex<bool>);

impl Anchor {
    pub(crate) fn hold(&self, root: &dyn Dir, made: bool) -> io::Result<()> {
        let mut held = self.0.lock();
        if !*held {
            if !made {
                sync_anew(root)?;
            }
            *held = true;
        }
        Ok(())
    }
}
