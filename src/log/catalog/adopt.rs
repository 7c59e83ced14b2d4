//! Keeping the directory small: the files of instances that are gone are taken over.
//!
//! The order is all that matters here: what is still needed of a dead file is durable in the own file before
//! the dead one is removed, and the dead one stays locked until then. A crash in between leaves both, and the
//! same entries twice say the same.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::file::{self, Source, Tail, Unreadable};
use super::files::{self, Names};
use super::handle::Catalog;
use super::index;
use super::merge;
use super::report::Maintained;
use crate::error::{Error, Result};
use crate::fs::{Access, File};

const DOING: &str = "maintain the catalog";
/// Files up to this size (64 KiB) are always taken over; longer ones if the own file is as long, so that
/// every byte is copied a bounded number of times.
const SMALL: u64 = 64 << 10;
/// More dead files than this are too many to read for each listing.
const MANY: usize = 8;

/// The file of an instance that is gone, locked by us.
struct Dead {
    name: String,
    file: Arc<dyn File>,
    read: Result<Source, Unreadable>,
}

impl Drop for Dead {
    fn drop(&mut self) {
        // Closing the descriptor, which comes next, releases the lock just as well.
        let _ = self.file.unlock();
    }
}

impl Dead {
    /// What is lost of it may have named any session.
    fn damaged(&self) -> bool {
        match &self.read {
            Ok(source) => matches!(source.tail, Tail::Damaged(_)),
            Err(why) => matches!(why, Unreadable::Damaged(_)),
        }
    }

    /// There is nothing in it, and nothing is lost of it.
    fn empty(&self) -> bool {
        self.read.as_ref().is_ok_and(|s| s.items.is_empty() && !s.newer && s.tail == Tail::Clean)
    }

    fn len(&self) -> u64 {
        self.read.as_ref().map_or(0, |source| source.end)
    }

    /// Whether it may be taken over at all: not if only a newer program, or nobody, understands all of it.
    fn ours(&self) -> bool {
        match &self.read {
            Ok(source) => source.understood(),
            Err(why) => matches!(why, Unreadable::Damaged(_)),
        }
    }
}

impl Catalog {
    /// Takes over the files of instances that are gone, removes what crashes left, and rewrites the own file
    /// if it is long and mostly garbage. Meant to be called now and then; the work is bounded by what was
    /// written since, and nothing waits for it except another maintenance.
    ///
    /// # Errors
    /// What was not done is done by the next call; no entry is lost.
    pub(crate) fn maintain(&self) -> Result<Maintained> {
        let mut done = Maintained::default();
        if self.read_only {
            return Ok(done);
        }
        // Asked before the lock is taken: in a forked child nobody might ever release it.
        drop(self.writable(DOING)?);
        let _turn = self.maintaining.lock();
        let (own, own_len) = {
            let state = self.writable(DOING)?;
            (state.names(), state.own.as_ref().map_or(0, |own| own.end()))
        };
        let names = files::names(&*self.dir)?;
        self.sweep(&names, &mut done);
        let dead = names.files.iter().filter(|name| !own.contains(name)).filter_map(|name| self.dead(name));
        let (chosen, left) = choose(dead.filter(Dead::ours).collect(), own_len);
        done.left = left.len();
        for dead in &left {
            // Its owner wrote none, or the file was not long then: it was killed, say.
            if let (Ok(source), Ok(len)) = (&dead.read, dead.file.len()) {
                let _ = index::write(&*self.dir, source, len);
            }
        }
        drop(left);
        self.adopt(&chosen, &mut done)?;
        drop(chosen);
        done.compacted = self.compact()?;
        Ok(done)
    }

    /// Removes temporary files whose makers are gone, and indexes whose files are. What cannot be removed now is left for
    /// later.
    fn sweep(&self, names: &Names, done: &mut Maintained) {
        for name in &names.indexes {
            if index::file_of(name).is_some_and(|file| !names.files.contains(&file)) {
                let _ = self.dir.remove_file(name);
            }
        }
        for name in &names.temporary {
            if let Some(file) = self.lock_dead(name) {
                done.temporary += usize::from(self.dir.remove_file(name).is_ok());
                let _ = file.unlock();
            }
        }
    }

    /// Opens and locks a file, unless it is alive, gone, or cannot be opened.
    fn lock_dead(&self, name: &str) -> Option<Arc<dyn File>> {
        let file = self.dir.open(name, Access::Write).ok()?;
        if !file.try_lock().ok()? {
            return None;
        }
        // Another adopter may have removed it between the opening and the locking.
        match (self.dir.stat(name), file.ident()) {
            (Ok(stat), Ok(ident)) if stat.ident == ident => Some(file),
            _ => None,
        }
    }

    fn dead(&self, name: &str) -> Option<Dead> {
        let file = self.lock_dead(name)?;
        let read = file::load_from(&*file, name, &self.identity.store, None);
        Some(Dead { name: name.to_owned(), file, read })
    }

    fn adopt(&self, chosen: &[Dead], done: &mut Maintained) -> Result<()> {
        if chosen.is_empty() {
            return Ok(());
        }
        if !chosen.iter().all(Dead::empty) {
            let names: BTreeSet<&str> = chosen.iter().map(|dead| dead.name.as_str()).collect();
            let all = files::read_all(&*self.dir, &self.identity.store)?;
            for dead in chosen {
                // Locked and good a moment ago, and not to be read now: its entries would go with it.
                if dead.read.is_ok() && !all.sources.iter().any(|source| source.name == dead.name) {
                    let why = all.findings.iter().find(|finding| finding.file == dead.name);
                    let why = why.map_or("it could not be read again", |finding| &finding.text);
                    return Err(Error::io(DOING, self.dir.path().join(&dead.name), io::Error::other(why)));
                }
            }
            let flags: Vec<bool> = all.sources.iter().map(|s| names.contains(s.name.as_str())).collect();
            let damaged = chosen.iter().any(Dead::damaged);
            let entries = merge::carry(&all.sources, &flags, damaged, all.unreliable);
            done.findings = all.findings;
            if !entries.is_empty() {
                let mut state = self.writable(DOING)?;
                let ticket = state.append(self.place(), entries, true)?;
                drop(self.wait(state, ticket)?);
            }
        }
        for dead in chosen {
            let removed = self.dir.remove_file(&dead.name);
            if dead.len() >= index::LONG {
                let _ = self.dir.remove_file(&index::name_of(&dead.name));
            }
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(DOING, self.dir.path().join(&dead.name), e));
                }
                _ if dead.empty() => done.emptied += 1,
                _ => done.adopted += 1,
            }
        }
        // Not synced: if a power cut brings the files back, they say nothing new.
        Ok(())
    }
}

/// Which files are taken over now, and which are left. Damaged ones are always taken over, because as long
/// as one is there no summary can be trusted.
fn choose(mut dead: Vec<Dead>, own_len: u64) -> (Vec<Dead>, Vec<Dead>) {
    dead.sort_by_key(Dead::len);
    let limit = SMALL.max(own_len);
    let (mut chosen, mut rest): (Vec<_>, Vec<_>) =
        dead.into_iter().partition(|dead| dead.damaged() || dead.len() <= limit);
    if rest.len() > MANY {
        let many = rest.len() - MANY;
        chosen.extend(rest.drain(..many));
    }
    (chosen, rest)
}
