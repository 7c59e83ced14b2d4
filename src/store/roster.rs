//! What a listing found of the sessions that are closed, kept for the next one.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use super::shards::{DirName, Names};
use crate::ids::SHARDS;
use crate::log::catalog::{Known, Merged, Place, SpreadMap};
use crate::session::SessionInfo;

/// The last roster that was made.
#[derive(Debug, Default)]
pub(crate) struct Rosters(Mutex<Arc<Roster>>);

/// All sessions of a store: pure, from what the catalog says and the names that are there.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    merged: Arc<Merged>,
    names: [Names; SHARDS.len()],
    /// Those that are closed, in order of their ids.
    pub(crate) closed: Vec<Arc<Closed>>,
    /// The directories of the others, which must be looked at each time.
    pub(crate) rest: Vec<DirName>,
}

/// A session that is closed.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) info: SessionInfo,
    dir: DirName,
    /// Where the catalog says what is in `info`.
    place: Place,
}

impl Rosters {
    /// Forgets what was found.
    pub(crate) fn clear(&self) {
        *self.0.lock() = Arc::default();
    }

    /// The roster of this catalog and these names: the last one if both are the same, otherwise a new one with what
    /// still holds of the last.
    pub(crate) fn of(&self, merged: Arc<Merged>, names: [Names; SHARDS.len()]) -> Arc<Roster> {
        let last = self.0.lock().clone();
        let same = |(a, b)| Arc::ptr_eq(a, b);
        if Arc::ptr_eq(&last.merged, &merged) && last.names.iter().zip(&names).all(same) {
            return last;
        }
        let new = Arc::new(last.followed_by(merged, names));
        *self.0.lock() = new.clone();
        new
    }
}

/// A name in a shard that has changed.
struct Found<'a> {
    dir: &'a DirName,
    /// Another name has the same hash: whose it is, both must be asked.
    twice: bool,
    known: bool,
}

impl Roster {
    fn followed_by(&self, merged: Arc<Merged>, names: [Names; SHARDS.len()]) -> Roster {
        let mut changed: [Option<SpreadMap<u128, Found<'_>>>; SHARDS.len()] = Default::default();
        let shard = |dir: &DirName| (dir.hash >> 124) as usize;
        let mut twice = Vec::new();
        for ((now, before), found) in names.iter().zip(&self.names).zip(&mut changed) {
            if Arc::ptr_eq(now, before) {
                continue;
            }
            let found = found.insert(SpreadMap::default());
            found.reserve(now.len());
            for dir in &**now {
                match found.entry(dir.hash) {
                    Entry::Vacant(free) => drop(free.insert(Found { dir, twice: false, known: false })),
                    Entry::Occupied(mut taken) => {
                        taken.get_mut().twice = true;
                        twice.push(dir.clone());
                    }
                }
            }
        }
        // What is closed as it was stays. The others are asked for: of shards that have not changed, and of those that have.
        let (mut kept, mut asked) = (Vec::with_capacity(self.closed.len()), twice);
        for was in &self.closed {
            let same = merged.place(was.dir.hash) == Some(was.place);
            match changed.get_mut(shard(&was.dir)) {
                Some(Some(found)) => {
                    let here = found.get_mut(&was.dir.hash);
                    if let Some(here) = here.filter(|f| same && !f.twice && *f.dir == was.dir) {
                        here.known = true;
                        kept.push(was.clone());
                    }
                }
                _ if same => kept.push(was.clone()),
                _ => asked.push(was.dir.clone()),
            }
        }
        let unchanged = |dir: &&DirName| matches!(changed.get(shard(dir)), Some(None));
        asked.extend(self.rest.iter().filter(unchanged).cloned());
        let found = changed.iter().flatten().flat_map(SpreadMap::values);
        asked.extend(found.filter(|f| !f.known).map(|f| f.dir.clone()));

        let (mut new, mut rest) = (Vec::new(), Vec::new());
        for dir in asked {
            let summary = merged.place(dir.hash).and_then(|place| match merged.get(&dir.name)? {
                Known::Closed(summary) => Some((place, SessionInfo::of_summary(&summary)?)),
                _ => None,
            });
            match summary {
                // Not of a directory with another name that ends like its own: whoever reads that says what it is.
                Some((place, info)) if info.id.dir_name() == *dir.name => {
                    new.push(Arc::new(Closed { info, dir, place }));
                }
                _ => rest.push(dir),
            }
        }
        new.sort_by(|a, b| a.info.id.cmp(&b.info.id));
        rest.sort_by(|a, b| a.name.cmp(&b.name));
        let mut kept = kept.into_iter();
        let mut closed = Vec::with_capacity(kept.len() + new.len());
        for new in new {
            let before = kept.as_slice().partition_point(|kept| kept.info.id < new.info.id);
            closed.extend(kept.by_ref().take(before));
            closed.push(new);
        }
        closed.extend(kept);
        Roster { merged, names, closed, rest }
    }
}
