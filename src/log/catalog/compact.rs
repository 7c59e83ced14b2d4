//! Rewriting the own file without its garbage.
//!
//! The new file is written and synced while others go on appending to the old one. What they appended
//! meanwhile is added under the lock, and only then the new file gets its name and takes over. So nobody waits
//! longer than for a few short syncs.

use std::sync::atomic::Ordering;

use super::file::Tail;
use super::files;
use super::handle::Catalog;
use super::merge::Going;
use super::own::Own;
use super::state::{Lost, State};
use crate::error::{Error, Result};
use crate::format::catalog::{CatalogEntry, FRAME_HEAD, FRAMES};

const DOING: &str = "compact the catalog";
/// A shorter file (1 MiB) is not worth it.
const LONG: u64 = 1 << 20;

impl Catalog {
    /// Whether it is time to call [`maintain`](Catalog::maintain) again. Cheap.
    pub(crate) fn is_due(&self) -> bool {
        !self.read_only && (self.damage_met.load(Ordering::Relaxed) || long(&self.state.lock()).is_some())
    }

    /// Rewrites the own file if it is long and more than half of it is garbage; says whether it did.
    pub(super) fn compact(&self) -> Result<bool> {
        let generation = {
            let mut state = self.writable(DOING)?;
            let Some(generation) = long(&state) else { return Ok(false) };
            state.tail = Some(Vec::new());
            generation
        };
        let result = self.rewrite(generation);
        let mut state = self.state.lock();
        state.tail = None;
        if !matches!(result, Ok(true)) {
            // All of it is needed, or it cannot be done now.
            state.lean = state.own.as_ref().map_or(0, |own| own.end());
        }
        result
    }

    fn rewrite(&self, generation: u32) -> Result<bool> {
        let all = files::read_all(&*self.dir, &self.identity.store)?;
        let name = match &self.writable(DOING)?.own {
            Some(own) if own.generation() == generation => own.name().to_owned(),
            _ => return Ok(false),
        };
        let Some(old) = all.sources.iter().find(|s| s.name == name) else { return Ok(false) };
        if matches!(old.tail, Tail::Damaged(_)) || old.newer {
            return Ok(false);
        }
        let chosen: Vec<bool> = all.sources.iter().map(|s| s.name == name).collect();
        let going = Going { chosen: &chosen, own: None, damaged: false, unreliable: all.unreliable };
        let live = going.carry(&all.sources);
        let header = {
            let mut state = self.writable(DOING)?;
            if size(&live) > old.end / 2 {
                return Ok(false);
            }
            state.header(self.place())?
        };
        let mut new = Own::prepare(&*self.dir, header, &live)?;

        let mut guard = self.writable(DOING)?;
        let state = &mut *guard;
        let current = state.own.as_ref().is_some_and(|own| own.generation() == generation);
        let Some(tail) = state.tail.take().filter(|_| current) else {
            new.discard(&*self.dir);
            return Ok(false);
        };
        if let Err(failed) = new.append(&*self.dir, &tail) {
            new.discard(&*self.dir);
            return Err(failed.error);
        }
        if let Err(e) = new.file().sync() {
            let error = Error::io(DOING, self.dir.path().join(new.name()), e);
            new.discard(&*self.dir);
            return Err(error);
        }
        if let Err(error) = new.publish(&*self.dir) {
            // Both files may be there from now on, and the new one counts as the later. So the old one takes
            // no more entries, and the next file is a later one than both.
            state.lose(&error);
            state.lost.push(Lost { own: new, error: error.clone() });
            return Err(error);
        }
        // Not before: this tells that its name is durable.
        new.synced_to(new.end());
        let old = state.replace(new);
        drop(guard);
        self.wake.notify_all();
        if let Some(old) = old {
            // If it stays, or comes back after a power cut, it is a dead file that says nothing new.
            let _ = self.dir.remove_file(old.name());
            old.release();
        }
        Ok(true)
    }
}

/// The generation of the own file if that is long, and has doubled since it was last looked through.
fn long(state: &State) -> Option<u32> {
    let own = state.own.as_ref()?;
    (own.end() > LONG && own.end() / 2 >= state.lean).then(|| own.generation())
}

/// How long a file with these entries is.
fn size(entries: &[CatalogEntry]) -> u64 {
    let mut scratch = Vec::new();
    let frames: usize = entries
        .iter()
        .map(|entry| {
            scratch.clear();
            // An entry that cannot be encoded is refused when the file is written.
            let _ = entry.encode(&mut scratch);
            FRAME_HEAD + scratch.len()
        })
        .sum();
    (FRAMES + frames) as u64
}
