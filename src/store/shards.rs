//! The directories between the store and its sessions: which of their names are durable, and what is in them.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::{Dir, Entry, Kind, Stamp, make_dirty, sync_anew};
use crate::ids::{SHARDS, hash_in, shard_of_hash};

/// What this process knows of the names in `sessions/`, and of those of the sessions.
///
/// A shard that is found may have been made by a process that died before its sync: it counts only when a sync of
/// this process covered it.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    known: Mutex<Known>,
    listed: Mutex<[Listed; SHARDS.len()]>,
}

/// The name of a session's directory, and the hash that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirName<S> {
    pub(crate) hash: u128,
    pub(crate) name: S,
}

/// The names of the sessions' directories in one shard: one text, for there may be many.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    text: String,
    /// Where each name ends in the text.
    ends: Vec<usize>,
    hashes: Vec<u128>,
}

impl Names {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = DirName<&str>> {
        let mut start = 0;
        self.ends.iter().zip(&self.hashes).map(move |(end, hash)| {
            let name = self.text.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
            DirName { hash: *hash, name }
        })
    }
}

impl<S: AsRef<str>> FromIterator<DirName<S>> for Names {
    fn from_iter<I: IntoIterator<Item = DirName<S>>>(names: I) -> Names {
        let mut all = Names::default();
        for DirName { hash, name } in names {
            all.text.push_str(name.as_ref());
            all.ends.push(all.text.len());
            all.hashes.push(hash);
        }
        all.text.shrink_to_fit();
        all.ends.shrink_to_fit();
        all.hashes.shrink_to_fit();
        all
    }
}

/// What was in a shard when it had this stamp.
#[derive(Debug, Default, Clone)]
struct Listed {
    stamp: Option<Stamp>,
    names: Arc<Names>,
}

#[derive(Debug, Default)]
struct Known {
    durable: HashSet<String>,
    /// A sync failed: a repeat proves nothing until there is a new entry to be synced.
    failed: bool,
}

impl Shards {
    /// Opens the shard, made if it is not there; its name is durable when this returns.
    pub(crate) fn open_or_create(&self, sessions: &dyn Dir, name: &str) -> io::Result<Arc<dyn Dir>> {
        let mut known = self.known.lock();
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

    /// Forgets what was in the shards.
    pub(crate) fn clear(&self) {
        *self.listed.lock() = Default::default();
    }

    /// The names of all sessions' directories, shard by shard: what exists. A shard that has not changed is not read
    /// again (if `trust`), and names that are the same as the last time are given in the same place.
    /// An error comes with the name of its shard.
    pub(crate) fn names(
        &self,
        sessions: &dyn Dir,
        trust: bool,
    ) -> Result<[Arc<Names>; SHARDS.len()], (&'static str, io::Error)> {
        let mut listed = self.listed.lock().clone();
        for (shard, listed) in SHARDS.into_iter().zip(&mut listed) {
            match look(sessions, shard, trust, listed) {
                // There is none, or what has the name is none.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    *listed = Listed::default();
                }
                done => done.map_err(|e| (shard, e))?,
            }
        }
        // Two listings at a time may put the older one here: it says itself how old it is.
        *self.listed.lock() = listed.clone();
        Ok(listed.map(|listed| listed.names))
    }
}

fn look(sessions: &dyn Dir, shard: &str, trust: bool, listed: &mut Listed) -> io::Result<()> {
    // The stamp first: what changes while the names are read changes the next one.
    let stamp = if trust { sessions.stamp(shard)? } else { None };
    if stamp.is_some() && stamp == listed.stamp {
        return Ok(());
    }
    let entries = sessions.open_dir(shard)?.list()?;
    // What is being made, and what is no session of ours (or is not where it is looked for), is passed over.
    let name = |e: Entry| {
        let hash = hash_in(&e.name).filter(|hash| shard_of_hash(*hash) == shard)?;
        (e.kind == Kind::Dir).then_some(DirName { hash, name: e.name })
    };
    let names: Names = entries.into_iter().filter_map(name).collect();
    listed.stamp = stamp;
    if *listed.names != names {
        listed.names = names.into();
    }
    Ok(())
}

/// Makes the names of the store's parts durable, once before the first write: whoever made them may have died before
/// its sync. (The name of its directory was durable before the `STORE` file was written.)
///
/// Where there is no room for the entry that this takes, a plain sync must do, unless one failed here: a quota of files that is
/// used up keeps nobody from removing sessions, or from what else needs no more files.
#[derive(Debug, Default)]
pub(crate) struct Anchor(Mutex<Held>);

#[derive(Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    NotYet,
    Failed,
    Yes,
}

impl Anchor {
    /// Says whether it was the first time.
    pub(crate) fn hold(&self, root: &dyn Dir, made: bool) -> io::Result<bool> {
        let mut held = self.0.lock();
        if *held == Held::Yes {
            return Ok(false);
        }
        if !made {
            let full =
                |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let failed = std::mem::replace(&mut *held, Held::Failed) == Held::Failed;
            match make_dirty(root) {
                Err(e) if failed || !full(&e) => return Err(e),
                _ => root.sync()?,
            }
        }
        *held = Held::Yes;
        Ok(true)
    }
}
