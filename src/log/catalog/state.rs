//! What this instance has said and still has to say, and the file in which it says it.

use super::handle::Identity;
use super::merge::SpreadMap;
use super::own::Own;
use super::witness::Witnesses;
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::{CatalogEntry, Header, Open};
use crate::fs::{Dir, Fs};
use crate::ids::BirthId;

/// After this many files that failed, the catalog writes no more until the store is opened again: each of
/// them holds a descriptor.
const MAX_LOST: usize = 8;

/// Guarded by the mutex of the catalog.
///
/// Invariant: every entry that this instance vouches for is durable in a file of its own, or in `unsynced`,
/// or in the file `own`, or it is an open mark in `vouched`.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The file that is written, if one was needed yet.
    pub(super) own: Option<Own>,
    /// The generation of the next file; none is used twice.
    next_generation: u32,
    /// Files that failed. They stay locked, and are never written again.
    pub(super) lost: Vec<Lost>,
    /// The open marks of the sessions that this instance has open: a new file repeats them.
    pub(super) vouched: SpreadMap<BirthId, Box<Open>>,
    /// What was appended to `own` (or a lost file) and is not durable yet.
    unsynced: Vec<Unsynced>,
    /// Somebody syncs `own` right now.
    pub(super) syncing: bool,
    /// Entries appended since a compaction began: they go to the new file too.
    pub(super) tail: Option<Vec<CatalogEntry>>,
    /// How long `own` was when it was last looked through for garbage.
    pub(super) lean: u64,
    pub(super) witnesses: Option<Witnesses>,
    /// How many bytes were read to look up witnesses alone, and how many there were to be read at the last time.
    pub(super) alone: u64,
    pub(super) total: u64,
    pub(super) closed: bool,
}

/// A file that failed.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) own: Own,
    pub(super) error: Error,
}

#[derive(Debug)]
struct Unsynced {
    end: u64,
    /// Its caller waits, and learns of a failure.
    awaited: bool,
    entry: CatalogEntry,
}

/// A place in a file up to which somebody waits for durability.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) generation: u32,
    pub(super) end: u64,
}

/// What is needed to write files.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) dir: &'a dyn Dir,
    pub(super) identity: &'a Identity,
}

impl State {
    /// Appends entries to the own file, which is started if there is none.
    pub(super) fn append(
        &mut self,
        at: Place<'_>,
        entries: Vec<CatalogEntry>,
        awaited: bool,
    ) -> Result<Ticket> {
        let ticket = match &mut self.own {
            None => self.start(at, &entries)?,
            Some(own) => {
                if let Err(failed) = own.append(at.dir, &entries) {
                    if failed.broken {
                        self.lose(&failed.error);
                    }
                    return Err(failed.error);
                }
                let (generation, end) = (own.generation(), own.end());
                let unsynced = entries.iter().map(|entry| Unsynced { end, awaited, entry: entry.clone() });
                self.unsynced.extend(unsynced);
                Ticket { generation, end }
            }
        };
        for entry in &entries {
            if let Some(witnesses) = &mut self.witnesses {
                witnesses.add(entry);
            }
            if matches!(entry, CatalogEntry::Closed(_) | CatalogEntry::Removed { .. }) {
                // An adopted entry of an older writer does not end the mark of ours.
                let ended = |mark: &Open| mark.incarnation.number <= entry.incarnation().number;
                if self.vouched.get(&entry.birth()).is_some_and(|mark| ended(mark)) {
                    self.vouched.remove(&entry.birth());
                }
            }
        }
        if let Some(tail) = &mut self.tail {
            tail.extend(entries);
        }
        Ok(ticket)
    }

    /// Nothing was written yet, and nothing was tried.
    pub(super) fn is_new(&self) -> bool {
        self.own.is_none() && self.next_generation == 0
    }

    /// Goes on in this file.
    pub(super) fn go_on(&mut self, own: Own) {
        self.next_generation = own.generation().saturating_add(1);
        self.own = Some(own);
    }

    /// Starts a file that repeats what this instance vouches for, and has the new entries behind that. All
    /// of it is durable when this returns.
    fn start(&mut self, at: Place<'_>, entries: &[CatalogEntry]) -> Result<Ticket> {
        if self.lost.len() >= MAX_LOST {
            let last = self.lost.last().map(|lost| lost.error.clone());
            let error = last.unwrap_or_else(|| Error::new(ErrorKind::Poisoned, "write the catalog"));
            return Err(error
                .with_kind(ErrorKind::Poisoned)
                .hint("too many catalog files failed; open the store again"));
        }
        let header = self.header(at)?;
        let vouched: Vec<_> =
            self.vouched.values().map(|mark| CatalogEntry::Open(Open::clone(mark))).collect();
        let unsynced = self.unsynced.iter().map(|u| &u.entry);
        let own = Own::prepare(at.dir, header, vouched.iter().chain(unsynced).chain(entries))?;
        if let Err(error) = own.publish(at.dir) {
            // The file may have its name, now or after a crash, unless its temporary name could be removed.
            if !own.discard(at.dir) {
                self.lost.push(Lost { own, error: error.clone() });
            }
            return Err(error);
        }
        self.unsynced.clear();
        self.lean = 0;
        let ticket = Ticket { generation: own.generation(), end: own.end() };
        self.own = Some(own);
        Ok(ticket)
    }

    /// The header of the next file.
    pub(super) fn header(&mut self, at: Place<'_>) -> Result<Header> {
        let generation = self.next_generation;
        self.next_generation = generation.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::Poisoned, "start a catalog file").hint("open the store again")
        })?;
        Ok(Header {
            store: at.identity.store,
            salt: at.identity.random(at.fs, at.dir)?,
            instance: at.identity.instance(at.fs, at.dir)?,
            generation,
            pid: at.identity.pid,
            host: at.identity.host(at.fs),
            started: at.fs.now(),
        })
    }

    /// Gives the own file up. Who waits for a sync of it gets the error; what nobody waits for is repeated
    /// in the next file.
    pub(super) fn lose(&mut self, error: &Error) {
        if let Some(own) = self.own.take() {
            self.lost.push(Lost { own, error: error.clone() });
        }
        self.unsynced.retain(|u| !u.awaited);
        for u in &mut self.unsynced {
            u.end = u64::MAX;
        }
        self.tail = None;
    }

    /// Makes sure that there is a file if something waits for one, and says what to wait for.
    pub(super) fn everything(&mut self, at: Place<'_>) -> Result<Option<Ticket>> {
        match &self.own {
            Some(own) => Ok(Some(Ticket { generation: own.generation(), end: own.end() })),
            None if self.unsynced.is_empty() => Ok(None),
            None => self.start(at, &[]).map(Some),
        }
    }

    /// What became of the entries before a ticket; `None` if they need a sync.
    pub(super) fn outcome(&self, ticket: Ticket) -> Option<Result<()>> {
        if let Some(lost) = self.lost.iter().find(|l| l.own.generation() == ticket.generation) {
            let durable = lost.own.synced() >= ticket.end;
            return Some(if durable { Ok(()) } else { Err(lost.error.clone()) });
        }
        match &self.own {
            // A file that is neither current nor lost was compacted or closed, and durable before that.
            Some(own) if own.generation() == ticket.generation => {
                (own.synced() >= ticket.end).then_some(Ok(()))
            }
            _ => Some(Ok(())),
        }
    }

    /// A sync of the file of this ticket returned.
    pub(super) fn synced(&mut self, ticket: Ticket, result: Result<()>) {
        let current = self.own.as_ref().is_some_and(|own| own.generation() == ticket.generation);
        match result {
            Ok(()) if current => {
                if let Some(own) = &mut self.own {
                    own.synced_to(ticket.end);
                }
                self.unsynced.retain(|u| u.end > ticket.end);
            }
            Err(error) if current => self.lose(&error),
            // The file was given up, or compacted away, while it was synced: nothing depends on it now.
            Ok(()) | Err(_) => {}
        }
    }

    /// Replaces the own file by its compacted successor, which is durable with all that it has to hold.
    pub(super) fn replace(&mut self, new: Own) -> Option<Own> {
        self.unsynced.clear();
        self.tail = None;
        self.lean = new.end();
        self.own.replace(new)
    }

    /// The names of all files that this instance holds.
    pub(super) fn names(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|l| &l.own);
        self.own.iter().chain(lost).map(|own| own.name().to_owned()).collect()
    }
}
