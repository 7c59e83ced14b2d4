//! What a listing found of the sessions that are closed, kept for the next one.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use super::shards::{DirName, Names};
use crate::ids::{SHARDS, shard_number};
use crate::log::catalog::{Merged, Place, SpreadMap};
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
    pub(crate) closed: Vec<Arc<SessionInfo>>,
    /// Whence that is known, of each.
    origins: Vec<Origin>,
    /// The directories of the others, which must be looked at each time.
    pub(crate) rest: Vec<DirName>,
}

#[derive(Debug, Clone, Copy)]
struct Origin {
    /// Of its id.
    hash: u128,
    /// Where the catalog says it.
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
    /// Another name ends in the same hash: both are asked for.
    twice: bool,
    known: bool,
}

impl Roster {
    fn followed_by(&self, merged: Arc<Merged>, names: [Names; SHARDS.len()]) -> Roster {
        let mut changed: [Option<SpreadMap<u128, Found<'_>>>; SHARDS.len()] = Default::default();
        let mut asked = Vec::new();
        for ((now, before), found) in names.iter().zip(&self.names).zip(&mut changed) {
            if Arc::ptr_eq(now, before) {
                continue;
            }
            let found = found.insert(SpreadMap::default());
            if self.closed.is_empty() {
                asked.extend(now.iter().cloned());
                continue;
            }
            found.reserve(now.len());
            for dir in &**now {
                match found.entry(dir.hash) {
                    Entry::Vacant(free) => drop(free.insert(Found { dir, twice: false, known: false })),
                    Entry::Occupied(mut taken) => {
                        taken.get_mut().twice = true;
                        asked.push(dir.clone());
                    }
                }
            }
        }
        // What is closed as it was stays. The others are asked for: of shards that have not changed, and of those that have.
        let mut kept = Vec::with_capacity(self.closed.len());
        for (info, origin) in self.closed.iter().zip(&self.origins) {
            let same = merged.place(origin.hash) == Some(origin.place);
            match changed.get_mut(shard_number(origin.hash)) {
                Some(Some(found)) => {
                    let here = found.get_mut(&origin.hash).filter(|f| same && !f.twice);
                    if let Some(here) = here.filter(|f| info.id.has_slug_of(&f.dir.name)) {
                        here.known = true;
                        kept.push((info.clone(), *origin));
                    }
                }
                _ if same => kept.push((info.clone(), *origin)),
                _ => asked.push(DirName { hash: origin.hash, name: info.id.dir_name().into() }),
            }
        }
        let unchanged = |dir: &&DirName| matches!(changed.get(shard_number(dir.hash)), Some(None));
        asked.extend(self.rest.iter().filter(unchanged).cloned());
        let found = changed.iter().flatten().flat_map(SpreadMap::values);
        asked.extend(found.filter(|f| !f.known).map(|f| f.dir.clone()));

        let (mut closed, mut rest) = (Vec::with_capacity(asked.len()), Vec::new());
        for dir in asked {
            match merged.closed(dir.hash) {
                Some(known) => closed.push((known, dir)),
                None => rest.push(dir),
            }
        }
        // In the order in which they are listed they lie in memory too.
        closed.sort_unstable_by(|(a, _), (b, _)| a.id.cmp(b.id));
        let mut new = Vec::with_capacity(closed.len());
        for (known, dir) in closed {
            // Not of a directory with another name that ends like its own: whoever reads that says what it is.
            let info = known.summary().and_then(|summary| SessionInfo::of_summary(summary));
            match info.filter(|info| info.id.has_slug_of(&dir.name)) {
                Some(info) => new.push((info, Origin { hash: dir.hash, place: known.place })),
                None => rest.push(dir),
            }
        }
        // What is read, and what cannot be, comes in the order of the names.
        rest.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        // One behind the other, and not with their attributes in between: who lists again walks over them.
        let new: Vec<_> = new.into_iter().map(|(info, origin)| (Arc::new(info), origin)).collect();
        let mut all = Vec::with_capacity(kept.len() + new.len());
        let mut kept = kept.into_iter();
        for new in new {
            let before = kept.as_slice().partition_point(|(kept, _)| kept.id < new.0.id);
            all.extend(kept.by_ref().take(before));
            all.push(new);
        }
        all.extend(kept);
        let (closed, origins) = all.into_iter().unzip();
        Roster { merged, names, closed, origins, rest }
    }
}
