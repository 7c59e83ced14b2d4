//! What the catalog remembers of a session when it is opened: evidence from outside its log.

use super::files::Files;
use super::merge::{self, SpreadMap};
use crate::format::catalog::{CatalogEntry, EntryKind};
use crate::ids::{BirthId, Incarnation};

/// The latest that the catalog knows of one life of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Witness {
    /// The last writer.
    pub(crate) incarnation: Incarnation,
    /// Its active segment.
    pub(crate) segment: u64,
    /// The salt of that segment.
    pub(crate) salt: u64,
    /// Up to where the log was durable when it was closed, if it was closed cleanly and nothing speaks against that.
    pub(crate) position: Option<u64>,
    /// It was opened and not closed, or there is a doubt.
    pub(crate) open: bool,
    /// The entries contradict each other or a part of the catalog is lost. Segment and salt are those of
    /// some writer, but perhaps not of the last one.
    pub(crate) doubt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Doubt,
}

/// As small as it can be: there is one for each session of the store.
#[derive(Debug, Clone, Copy)]
struct Slot {
    incarnation: Incarnation,
    segment: u64,
    salt: u64,
    position: u64,
    state: State,
}

impl Slot {
    fn of(entry: &CatalogEntry) -> Option<Slot> {
        let (segment, salt, position, state) = match entry {
            CatalogEntry::Open(mark) => (mark.segment, mark.salt, 0, State::Open),
            CatalogEntry::Doubt(mark) => (mark.segment, mark.salt, 0, State::Doubt),
            CatalogEntry::Closed(s) => (s.segment, s.salt, s.position, State::Closed),
            CatalogEntry::Removed { .. } => return None,
        };
        Some(Slot { incarnation: entry.incarnation(), segment, salt, position, state })
    }
}

/// All witnesses, by birth id: it is random, so it needs no session id beside it.
#[derive(Debug)]
pub(super) struct Witnesses {
    slots: SpreadMap<BirthId, Slot>,
    unreliable: bool,
}

impl Witnesses {
    pub(super) fn new(files: &Files) -> Witnesses {
        let winners = merge::winners(&files.sources);
        let mut slots = SpreadMap::default();
        slots.reserve(winners.len());
        for (birth, winner) in winners {
            let Some((source, item)) = merge::at(&files.sources, winner) else { continue };
            let Some((segment, salt, position)) = source.glance(item).and_then(|g| g.place()) else {
                continue;
            };
            let state = match item.kind {
                _ if winner.doubt => State::Doubt,
                EntryKind::Closed => State::Closed,
                EntryKind::Open => State::Open,
                EntryKind::Doubt | EntryKind::Removed => State::Doubt,
            };
            let (incarnation, position) = (item.incarnation, position.unwrap_or(0));
            slots.insert(birth, Slot { incarnation, segment, salt, position, state });
        }
        Witnesses { slots, unreliable: files.unreliable }
    }

    /// Takes in an entry that was appended to the own file.
    pub(super) fn add(&mut self, entry: &CatalogEntry) {
        let birth = entry.birth();
        let (old, new) = (self.slots.get(&birth).map(|s| s.incarnation), entry.incarnation());
        if old.is_some_and(|old| old.number > new.number) {
            return;
        }
        let rival = old.is_some_and(|old| old.number == new.number && old.nonce != new.nonce);
        match Slot::of(entry) {
            Some(slot) if rival => {
                self.slots.insert(birth, Slot { state: State::Doubt, ..slot });
            }
            Some(slot) => {
                self.slots.insert(birth, slot);
            }
            None => {
                self.slots.remove(&birth);
            }
        }
    }

    pub(super) fn get(&self, birth: &BirthId) -> Option<Witness> {
        let slot = self.slots.get(birth)?;
        let doubt = self.unreliable || slot.state == State::Doubt;
        let closed = slot.state == State::Closed && !doubt;
        Some(Witness {
            incarnation: slot.incarnation,
            segment: slot.segment,
            salt: slot.salt,
            position: closed.then_some(slot.position),
            open: !closed,
            doubt,
        })
    }
}
