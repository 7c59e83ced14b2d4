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
                *stays = true;
                continue;
            }
            let summary = place.and_then(|place| match merged.get(name)? {
                Known::Closed(summary) => Some((place, SessionInfo::of_summary(&summary)?)),
                _ => None,
            });
            match summary {
                Some(summary) => new.push(summary),
                None => rest.push(name.clone()),
            }
        }
        new.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        let all = self.closed.len() + new.len();
        let mut out =
            Roster { places: Vec::with_capacity(all), closed: Vec::with_capacity(all), ..Roster::default() };
        let mut new = new.into_iter().peekable();
        for ((place, info), _) in self.places.iter().zip(&self.closed).zip(stays).filter(|(_, stays)| *stays)
        {
            while let Some((place, info)) = new.next_if(|(_, new)| new.id < info.id) {
                out.places.push(place);
                out.closed.push(info);
            }
            out.places.push(*place);
            out.closed.push(info.clone());
        }
        for (place, info) in new {
            out.places.push(place);
            out.closed.push(info);
        }
        Roster { merged, names, rest, ..out }
    }
}
