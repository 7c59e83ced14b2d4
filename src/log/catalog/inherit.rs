//! Going on in the file of an instance that is gone. To start a file takes two syncs, and to take over the old one another:
//! nearly half of what a process costs that opens a store, appends a message and ends.
//!
//! Only a file will do of which a sync has covered every frame, as its marks tell: so no sync that failed is hidden in it. And
//! one of these must have come behind the one of its name: who began it may have died before that, or met an error.
//!
//! Who goes on in it is its instance from then on, and later files of his are later ones of that instance. So there may be no
//! other file of it: that one may have been written after this one, or be somebody's who is alive. Nor may there be an index of
//! the file, which tells what stood in it when it was longer, if a power cut has shortened it.

use std::sync::Arc;

use super::file::{self, Tail};
use super::files;
use super::handle::Catalog;
use super::index;
use super::own::{Own, lock_dead};
use super::state::Place;
use crate::format::catalog::Mark;
use crate::fs::{Dir, File};

/// Among more files than this nobody looks for one: that would take longer than to start one.
const MANY: usize = 32;

impl Catalog {
    /// Goes on in the file of an instance that is gone, if nothing was written here yet and there is one that allows it; says
    /// whether it did.
    pub(crate) fn go_on(&self) -> bool {
        let Ok(mut state) = self.writable("go on in a catalog file") else { return false };
        if state.is_new()
            && let Some((own, instance)) = inherit(self.place())
        {
            self.identity.is_from_now_on(instance);
            state.go_on(own);
            return true;
        }
        false
    }
}

/// A file to go on in, and its instance.
fn inherit(at: Place<'_>) -> Option<(Own, u64)> {
    let names = files::names(at.dir).ok()?;
    if names.files.len() > MANY {
        return None;
    }
    let without_index = |name: &&String| !names.indexes.contains(&index::name_of(name));
    names.files.iter().filter(without_index).find_map(|name| {
        let file = lock_dead(at.dir, name)?;
        let own = durable_of(at, name, &file);
        if own.is_none() {
            // Closing the descriptor releases the lock just as well.
            let _ = file.unlock();
        }
        own
    })
}

/// The same of this file, which is locked, if all of it is durable.
fn durable_of(at: Place<'_>, name: &str, file: &Arc<dyn File>) -> Option<(Own, u64)> {
    let len = file.len().ok().filter(|len| *len < index::LONG)?;
    let source = file::load_from(&**file, name, &at.identity.store, None).ok()?;
    let mark = Mark::of_published(source.header.salt, &source.bytes)?;
    let durable = source.tail == Tail::Clean && mark.durable == source.end;
    let header = &source.header;
    // Somebody may have made up a file behind which no generation is left.
    let like_ours =
        header.host == at.identity.host(at.fs) && header.generation < u32::MAX / 2 && source.understood();
    let only = durable && like_ours && is_alone(at.dir, name, header.instance);
    only.then(|| (Own::go_on(file.clone(), len, &source, mark, at.identity.pid), header.instance))
}

/// Whether no other file is known to be of the same instance, and none may be. Asked with the lock held: nobody else can begin one
/// then.
fn is_alone(dir: &dyn Dir, name: &str, instance: u64) -> bool {
    let another = |other: &String| files::is_none_or(dir, other, |header| header.instance != instance);
    files::names(dir).is_ok_and(|names| names.files.iter().filter(|other| *other != name).all(another))
}
