//! Keeping the directory small: the files of instances that are gone are taken over.
//!
//! The order is all that matters here: what is still needed of a dead file is durable in the own file before
//! the dead one is removed (also what others supersede with entries that a power cut may take), and the dead one stays
//! locked until then. A crash in between leaves both, and the same entries twice say the same. Of the files of one instance the older ones go first: who found an older one alone
//! would go on in it, and a power cut could bring a newer one back, which then spoke against what he had written.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::file::{self, Source, Tail, Unreadable};
use super::files::{self, Files, Names};
use super::handle::Catalog;
use super::index;
use super::merge::Going;
use super::own::lock_dead;
use super::report::Maintained;
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::{CatalogEntry, EntryKind, Header};
use crate::fs::{File, sync_anew};
use crate::ids::BirthId;

const DOING: &str = "maintain the catalog";
/// Files up to this size (64 KiB, with what is allocated ahead) are always taken over; longer ones if the own file is as
/// long, so that every byte is copied a bounded number of times.
const SMALL: u64 = 64 << 10;
/// More dead files than this are too many to read for each listing.
const MANY: usize = 8;

/// More sessions than this are not looked up one by one.
const FEW: usize = 64;

/// The file of an instance that is gone, locked by us.
struct Dead {
    name: String,
    file: Arc<dyn File>,
    len: u64,
    /// `None`: it is long and has an index, and was not read.
    read: Option<Result<Source, Unreadable>>,
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
            Some(Ok(source)) => matches!(source.tail, Tail::Damaged(_)),
            Some(Err(why)) => matches!(why, Unreadable::Damaged(_)),
            None => false,
        }
    }

    /// There is nothing in it, and nothing is lost of it.
    fn empty(&self) -> bool {
        self.source().is_some_and(|s| s.items.is_empty() && !s.newer && s.tail == Tail::Clean)
    }

    /// Some session was removed, as it says.
    fn removes(&self) -> bool {
        self.source().is_some_and(|s| s.items.iter().any(|item| item.kind == EntryKind::Removed))
    }

    /// What was read of it.
    fn source(&self) -> Option<&Source> {
        self.read.as_ref()?.as_ref().ok()
    }

    /// Whether it may be taken over at all: not if only a newer program, or nobody, understands all of it.
    fn ours(&self) -> bool {
        match &self.read {
            Some(Ok(source)) => source.understood(),
            Some(Err(why)) => matches!(why, Unreadable::Damaged(_)),
            None => true,
        }
    }
}

/// The lives of sessions that these files speak of, if nothing is lost of any and they are few.
fn few_births(dead: &[Dead]) -> Option<Vec<BirthId>> {
    let mut births = Vec::new();
    for dead in dead {
        let source = dead.source().filter(|s| s.tail == Tail::Clean && s.items.len() <= FEW)?;
        births.extend(source.items.iter().map(|item| item.birth));
    }
    births.sort_unstable();
    births.dedup();
    (1..=FEW).contains(&births.len()).then_some(births)
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
        // First: what is met from now on may need another one.
        self.damage_met.store(false, Ordering::Relaxed);
        let limit = SMALL.max(own_len);
        let dead = names.files.iter().filter(|name| !own.contains(name));
        let dead = dead.filter_map(|name| self.dead(name, limit)).filter(Dead::ours).collect();
        let (chosen, left) = choose(dead, limit);
        let mut chosen: Vec<Dead> =
            chosen.into_iter().map(|dead| self.read(dead)).filter(Dead::ours).collect();
        // Of those that are left on purpose nobody goes on in any, for they are long.
        let known: BTreeSet<String> = chosen.iter().chain(&left).map(|dead| dead.name.clone()).collect();
        let others: Vec<_> = names.files.difference(&known).collect();
        chosen.retain(|dead| !self.may_follow(dead, &others));
        done.left = left.len();
        for dead in &left {
            // Its owner wrote none, or the file was not long then: it was killed, say.
            if let Some(source) = dead.source() {
                let _ = index::write(&*self.dir, source, dead.len);
            }
        }
        drop(left);
        let adopted = self.adopt(&chosen, &mut done);
        self.state.lock().tail = None;
        adopted?;
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
            if let Some(file) = lock_dead(&*self.dir, name) {
                done.temporary += usize::from(self.dir.remove_file(name).is_ok());
                let _ = file.unlock();
            }
        }
    }

    /// The file of this name, if it is a dead one. One beyond the limit is not read if it has an index: it is left as it is.
    fn dead(&self, name: &str, limit: u64) -> Option<Dead> {
        let file = lock_dead(&*self.dir, name)?;
        let len = file.len().ok()?;
        let dead = Dead { name: name.to_owned(), file, len, read: None };
        let indexed = || file::indexed(&*self.dir, &*dead.file, name, &self.identity.store).is_some();
        Some(if len > limit && indexed() { dead } else { self.read(dead) })
    }

    /// The same, read in any case.
    fn read(&self, mut dead: Dead) -> Dead {
        let load = || file::load_from(&*dead.file, &dead.name, &self.identity.store, None);
        dead.read = dead.read.take().or_else(|| Some(load()));
        dead
    }

    /// Whether one of these may be an older file of the same instance.
    fn may_follow(&self, dead: &Dead, others: &[&String]) -> bool {
        let header = dead.source().map(|s| &s.header).filter(|header| header.generation > 0);
        header.is_some_and(|header| {
            let older = |h: &Header| h.instance == header.instance && h.generation < header.generation;
            others.iter().any(|name| !files::is_none_or(&*self.dir, name, |h| !older(h)))
        })
    }

    fn adopt(&self, chosen: &[Dead], done: &mut Maintained) -> Result<()> {
        if !chosen.iter().all(Dead::empty) {
            // What is said here from now on comes behind what is read.
            self.writable(DOING)?.tail = Some(Vec::new());
            let all = self.beside(chosen)?;
            self.carry(chosen, &all)?;
            done.findings = all.findings;
        }
        let mut chosen: Vec<_> = chosen.iter().collect();
        chosen.sort_by_key(|dead| dead.source().map(|s| (s.header.instance, s.header.generation)));
        for dead in chosen {
            let removed = self.dir.remove_file(&dead.name);
            let _ = self.dir.remove_file(&index::name_of(&dead.name));
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io(DOING, self.dir.path().join(&dead.name), e));
                }
                _ if dead.empty() => done.emptied += 1,
                _ => done.adopted += 1,
            }
        }
        // Not synced: if a power cut brings the files back, they say nothing new, or speak of what a removal still speaks against.
        Ok(())
    }

    /// These files and what others say of the same sessions.
    fn beside(&self, chosen: &[Dead]) -> Result<Files> {
        // What others say of other sessions matters only where something is lost that may have named any.
        let all = match few_births(chosen) {
            Some(births) => files::read_of(&*self.dir, &self.identity.store, &births)?,
            None => files::read_all(&*self.dir, &self.identity.store)?,
        };
        self.note_damage(&all.findings);
        for dead in chosen {
            // Locked and good a moment ago, and not to be read now: its entries would go with it.
            if dead.source().is_some() && !all.sources.iter().any(|source| source.name == dead.name) {
                let why = all.findings.iter().find(|finding| finding.file == dead.name);
                let why = why.map_or("it could not be read again", |finding| &finding.text);
                return Err(Error::io(DOING, self.dir.path().join(&dead.name), io::Error::other(why)));
            }
        }
        Ok(all)
    }

    /// Makes durable in the own file what is needed of these.
    fn carry(&self, chosen: &[Dead], all: &Files) -> Result<()> {
        let names: BTreeSet<&str> = chosen.iter().map(|dead| dead.name.as_str()).collect();
        let damaged = chosen.iter().any(Dead::damaged);
        let flags: Vec<bool> = all.sources.iter().map(|s| names.contains(s.name.as_str())).collect();
        let (own, said) = {
            let mut state = self.writable(DOING)?;
            // Before its name: who waits for something begins a file where there is none.
            let said = state.everything(self.place())?;
            (state.own.as_ref().map(|own| own.name().to_owned()), said)
        };
        let going = Going { chosen: &flags, own: own.as_deref(), damaged, unreliable: all.unreliable };
        let mut entries = going.carry(&all.sources);
        if damaged || chosen.iter().any(Dead::removes) {
            // A removal is not carried where nothing was there that it speaks against, and must not come back behind it.
            sync_anew(&*self.dir).map_err(|e| Error::io(DOING, self.dir.path(), e))?;
        }
        let mut state = self.writable(DOING)?;
        let since = state.tail.take().ok_or_else(|| {
            Error::new(ErrorKind::Conflict, DOING)
                .hint("the own file failed meanwhile; it is done another time")
        })?;
        entries.retain(|entry| !since.iter().any(|new| is_newer(new, entry)));
        if !entries.is_empty() {
            let _ = state.append(self.place(), entries, true)?;
        }
        // All that is said here by now; one sync does it for both, unless the file has failed in between.
        let now = state.everything(self.place())?;
        for ticket in now.into_iter().chain(said) {
            state = self.wait(state, ticket)?;
        }
        Ok(())
    }
}

/// Whether the first is what a writer of that life, or a later one, said since.
fn is_newer(new: &CatalogEntry, old: &CatalogEntry) -> bool {
    let (here, there) = (new.incarnation(), old.incarnation());
    new.birth() == old.birth() && (here.number > there.number || here == there)
}

/// Which files are taken over now, and which are left. Damaged ones are always among the first, because as long
/// as one is there no summary can be trusted.
fn choose(mut dead: Vec<Dead>, limit: u64) -> (Vec<Dead>, Vec<Dead>) {
    dead.sort_by_key(|dead| dead.len);
    let (mut chosen, mut rest): (Vec<_>, Vec<_>) =
        dead.into_iter().partition(|dead| dead.damaged() || dead.len <= limit);
    if rest.len() > MANY {
        let many = rest.len() - MANY;
        chosen.extend(rest.drain(..many));
    }
    (chosen, rest)
}
