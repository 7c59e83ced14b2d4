//! The directories between the store and its sessions: which of their names are durable.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::{Dir, Kind};

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
        match sessions.open_dir(name) {
            Ok(shard) if known.durable.contains(name) => return Ok(shard),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => match sessions.create_dir(name) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            },
            Err(e) => return Err(e),
        }
        if known.failed {
            let entry = sessions.create_temp_dir("sync-")?;
            sessions.remove_dir(&entry)?;
        }
        let here = sessions.list()?;
        known.failed = true;
        sessions.sync()?;
        known.failed = false;
        known.durable.extend(here.into_iter().filter(|e| e.kind == Kind::Dir).map(|e| e.name));
        sessions.open_dir(name)
    }
}
