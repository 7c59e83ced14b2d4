//! What a listing found of the sessions that are closed, kept for the next one.

use std::sync::Arc;

use parking_lot::Mutex;

use super::shards::Names;
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
    pub(crate) closed: Vec<SessionInfo>,
    /// Where the catalog says that, of each.
    places: Vec<Place>,
    /// The directories of the others, which must be looked at each time.
    pub(crate) rest: Vec<Box<str>>,
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

impl Roster {
    fn followed_by(&self, merged: Arc<Merged>, names: [Names; SHARDS.len()]) -> Roster {
        let before: SpreadMap<Place, usize> = self.places.iter().copied().zip(0..).collect();
        let mut stays = vec![false; self.closed.len()];
        let (mut new, mut rest) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|names| &**names) {
            let place = merged.place(name);
            if let Some(stays) = place.and_then(|place| stays.get_mut(*before.get(&place)?)) {
                if std::mem::replace(stays, true) {
                    // Two directories whose names end alike: whose it is, all names must be asked.
                    return Roster::default().followed_by(merged, names);
                }
                continue;
            }
            let summary = place.and_then(|place| match merged.get(name)? {
                Known::Closed(summary) => Some((place, SessionInfo::of_summary(&summary)?)),
                _ => None,
            });
            match summary {
                // Not of a directory with another name that ends like its own: whoever reads that says what it is.
                Some(summary) if summary.1.id.dir_name() == **name => new.push(summary),
                _ => rest.push(name.clone()),
            }
        }
        let kept = self.places.iter().zip(&self.closed).zip(stays).filter(|(_, stays)| *stays);
        let mut all: Vec<_> = kept.map(|((place, info), _)| (*place, info.clone())).chain(new).collect();
        // Two runs, of which the first is in order already: it merges them.
        all.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        let (places, closed) = all.into_iter().unzip();
        Roster { merged, names, closed, places, rest }
    }
}
