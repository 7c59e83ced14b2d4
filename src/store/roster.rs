//! What a listing found of the sessions that are closed, kept for the next one.

use std::borrow::Cow;
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
    names: [Arc<Names>; SHARDS.len()],
    /// Those that are closed, in order of their ids.
    pub(crate) closed: Vec<Arc<SessionInfo>>,
    /// Whence that is known, of each.
    origins: Vec<Origin>,
    /// The directories of the others, which must be looked at each time.
    pub(crate) rest: Vec<DirName<Box<str>>>,
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
    pub(crate) fn of(&self, merged: Arc<Merged>, names: [Arc<Names>; SHARDS.len()]) -> Arc<Roster> {
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
    fn followed_by(&self, merged: Arc<Merged>, names: [Arc<Names>; SHARDS.len()]) -> Roster {
        // The names in the shards that have changed, without those that turn out to be known.
        let mut changed: [Option<SpreadMap<u128, &str>>; SHARDS.len()] = Default::default();
        let mut asked: Vec<DirName<Cow<'_, str>>> = Vec::new();
        for ((now, before), found) in names.iter().zip(&self.names).zip(&mut changed) {
            if Arc::ptr_eq(now, before) {
                continue;
            }
            let found = found.insert(SpreadMap::default());
            if self.closed.is_empty() {
                asked.extend(now.iter().map(borrowed));
                continue;
            }
            found.reserve(now.len());
            for dir in now.iter() {
                match found.entry(dir.hash) {
                    Entry::Vacant(free) => _ = free.insert(dir.name),
                    // Another name ends in the same hash: at most one of them has the slug of the id.
                    Entry::Occupied(_) => asked.push(borrowed(dir)),
                }
            }
        }
        // What is closed as it was stays. The others are asked for: of shards that have not changed, and of those that have.
        let mut kept = Vec::with_capacity(self.closed.len());
        for (info, origin) in self.closed.iter().zip(&self.origins) {
            let same = merged.place(origin.hash) == Some(origin.place);
            match changed.get_mut(shard_number(origin.hash)) {
                Some(Some(found)) => {
                    if same
                        && let Entry::Occupied(here) = found.entry(origin.hash)
                        && info.id.has_slug_of(here.get())
                    {
                        here.remove();
                        kept.push((info.clone(), *origin));
                    }
                }
                _ if same => kept.push((info.clone(), *origin)),
                _ => asked.push(DirName { hash: origin.hash, name: info.id.dir_name().into() }),
            }
        }
        let unchanged = |dir: &&DirName<Box<str>>| matches!(changed.get(shard_number(dir.hash)), Some(None));
        let rest = self.rest.iter().filter(unchanged);
        asked.extend(rest.map(|dir| borrowed(DirName { hash: dir.hash, name: &*dir.name })));
        let found = changed.iter().flatten().flatten();
        asked.extend(found.map(|(hash, name)| borrowed(DirName { hash: *hash, name })));

        let (new, rest) = decoded(&merged, asked);
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

fn borrowed(dir: DirName<&str>) -> DirName<Cow<'_, str>> {
    DirName { hash: dir.hash, name: Cow::Borrowed(dir.name) }
}

type Known = (Arc<SessionInfo>, Origin);

/// So many of them lie in memory one behind the other.
const RUN: usize = 512;

/// Those of these that are closed, in order of their ids, and the others, in order of their names.
fn decoded(merged: &Merged, asked: Vec<DirName<Cow<'_, str>>>) -> (Vec<Known>, Vec<DirName<Box<str>>>) {
    let (mut known, mut rest) = (Vec::with_capacity(asked.len()), Vec::new());
    for dir in asked {
        match merged.closed(dir.hash) {
            Some(closed) => known.push((closed, dir)),
            None => rest.push(dir),
        }
    }
    // As they stand in the catalog's files, one behind the other.
    known.sort_unstable_by_key(|(closed, _)| closed.place);
    let ids: Vec<&str> = known.iter().map(|(closed, _)| closed.id()).collect();
    // In the order in which they are listed they lie in memory too, and run by run the texts of their ids, not in between: who
    // lists again walks over both.
    let mut infos = Vec::with_capacity(known.len());
    let mut run = Vec::with_capacity(RUN);
    for numbers in in_order(&ids).chunks(RUN) {
        for (closed, dir) in numbers.iter().filter_map(|number| known.get(*number)) {
            // Not of a directory with another name that ends like its own: whoever reads that says what it is.
            let info = closed.summary().and_then(SessionInfo::of_summary);
            match info.filter(|info| info.id.has_slug_of(&dir.name)) {
                Some(info) => run.push((info, Origin { hash: dir.hash, place: closed.place })),
                None => rest.push(dir.clone()),
            }
        }
        infos.extend(run.drain(..).map(|(info, origin)| (Arc::new(info), origin)));
    }
    // What is read, and what cannot be, comes in the order of the names.
    let owned = |dir: DirName<Cow<'_, str>>| DirName { hash: dir.hash, name: dir.name.into() };
    let mut rest: Vec<DirName<Box<str>>> = rest.into_iter().map(owned).collect();
    rest.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    (infos, rest)
}

/// The numbers of these texts in their order. What they all begin with is passed over, and mostly eight bytes behind that tell
/// the order of two: they lie beside the numbers, and the texts anywhere.
fn in_order(texts: &[&str]) -> Vec<usize> {
    let first = texts.first().map_or(&[][..], |text| text.as_bytes());
    let common = texts.iter().fold(first.len(), |common, text| {
        first.iter().zip(text.as_bytes()).take(common).take_while(|(a, b)| a == b).count()
    });
    let key = |text: &&str| {
        let mut key = [0; 8];
        let rest = text.as_bytes().iter().skip(common);
        key.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(key).swap_bytes()
    };
    let mut keys: Vec<(u64, usize)> = texts.iter().map(key).zip(0..).collect();
    let text = |number: usize| texts.get(number);
    keys.sort_unstable_by(|(a, i), (b, j)| a.cmp(b).then_with(|| text(*i).cmp(&text(*j))));
    keys.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_come_in_their_order(
            prefix in ".{0,12}",
            texts in proptest::collection::hash_set("[\\x00ab\u{e9}]{0,14}", 0..60),
        ) {
            let texts: Vec<String> = texts.into_iter().map(|text| format!("{prefix}{text}")).collect();
            let mut wanted: Vec<&str> = texts.iter().map(|text| &**text).collect();
            let ordered: Vec<&str> = in_order(&wanted).into_iter().map(|number| wanted[number]).collect();
            wanted.sort_unstable();
            prop_assert_eq!(ordered, wanted);
        }
    }

    #[test]
    fn names_come_back_as_they_were_put_in() {
        let all = [(7, "a~1"), (8, ""), (9, "b~2")].map(|(hash, name)| DirName { hash, name });
        let names: Names = all.into_iter().collect();
        assert_eq!((names.iter().collect::<Vec<_>>(), names.len()), (all.to_vec(), 3));
        assert_ne!(names, all.into_iter().take(2).collect());
    }
}
