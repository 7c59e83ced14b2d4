//! What the catalog tells its callers: plain values.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::file::{Item, Source};
use super::files::Files;
use super::merge::{self, SpreadMap, Winners};
use crate::format::catalog::{CatalogEntry, EntryKind, Summary};
use crate::ids::hash_in;

/// Something about the files that a person may want to know. Nothing was changed because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The name of the file in the catalog directory.
    pub(crate) file: String,
    /// Where in it.
    pub(crate) offset: u64,
    /// What, in a sentence.
    pub(crate) text: String,
    /// What was durable in it once is not what was written.
    pub(crate) damage: bool,
}

/// What the catalog knows of a session.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all sessions of a store are closed ones")]
pub(crate) enum Known {
    /// It was closed cleanly and not opened for writing since.
    Closed(Summary),
    /// It is, or was last, open for writing: read the session.
    Open,
    /// The entries contradict each other, or what could have superseded them is lost: read the session.
    Doubt,
}

/// Where a summary was read: in which reading of a file, and as which of its entries. Equal places hold the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    reading: u64,
    item: u32,
}

/// The summary of a session that was closed cleanly and not opened for writing since, still in the bytes of its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed<'a> {
    pub(crate) place: Place,
    source: &'a Source,
    item: &'a Item,
}

/// What is known of a session, with the summary still in the bytes of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Closed { source: u32, item: u32 },
    Open,
    Doubt,
}

/// All files of the catalog, as one.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// By the hash of the session id, which is also the end of its directory's name: a map by whole names
    /// would spend most of its time on making them.
    sessions: SpreadMap<u128, Said>,
    sources: Vec<Arc<Source>>,
    /// What is wrong with the files.
    pub(crate) findings: Vec<Finding>,
    /// A file could not be read, or not as far as it once was durable, and may have named any session.
    /// No session is `Closed` then.
    pub(crate) unreliable: bool,
}

impl Merged {
    /// With these files, for the summaries in them, and what is known of sessions so far.
    pub(super) fn new(files: Files, sessions: SpreadMap<u128, Said>) -> Merged {
        let Files { sources, findings, unreliable } = files;
        Merged { sessions, sources, findings, unreliable }
    }

    /// Adds what these entries say.
    pub(super) fn with(mut self, winners: Winners) -> Merged {
        self.sessions.reserve(winners.len());
        for winner in winners.into_values() {
            let Some((_, item)) = merge::at(&self.sources, winner) else { continue };
            let said = match item.kind {
                _ if winner.doubt => Said::Doubt,
                EntryKind::Removed => continue,
                EntryKind::Doubt => Said::Doubt,
                EntryKind::Open => Said::Open,
                EntryKind::Closed => Said::Closed { source: winner.source as u32, item: winner.index as u32 },
            };
            self.add(item.session, said);
        }
        self
    }

    /// What is known of all sessions but these.
    pub(super) fn without<S: BuildHasher>(&self, sessions: &HashSet<u128, S>) -> SpreadMap<u128, Said> {
        let mut rest = self.sessions.clone();
        for session in sessions {
            rest.remove(session);
        }
        rest
    }

    /// How many sessions something is known of.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The summaries of all sessions that were closed cleanly and not opened since, also those without the attributes.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = Summary> {
        self.sessions.keys().filter_map(|hash| self.closed(*hash)?.abridged())
    }

    /// The last word about the session in the directory of this name, if that is a summary, also one without the attributes.
    pub(crate) fn last_summary(&self, dir_name: &str) -> Option<Summary> {
        self.closed(hash_in(dir_name)?)?.abridged()
    }

    /// What any entry of any file, outdated or not, says of the session in the directory of this name: its ids,
    /// and the segments that were named, each with its salt.
    pub(crate) fn mentions(&self, dir_name: &str) -> Vec<CatalogEntry> {
        let Some(hash) = hash_in(dir_name) else { return Vec::new() };
        let of = |s: &Arc<Source>| -> Vec<CatalogEntry> {
            s.items.iter().filter(|i| i.session == hash).filter_map(|i| i.entry(&s.bytes)).collect()
        };
        self.sources.iter().flat_map(of).collect()
    }

    /// Adds what is known of one life of a session. Two lives that were not removed are a doubt: the
    /// catalog cannot tell which of them the directory holds.
    fn add(&mut self, session: u128, said: Said) {
        let said = match said {
            Said::Closed { .. } if self.unreliable => Said::Doubt,
            said => said,
        };
        match self.sessions.entry(session) {
            Entry::Vacant(free) => {
                free.insert(said);
            }
            Entry::Occupied(mut taken) => {
                taken.insert(Said::Doubt);
            }
        }
    }

    /// The files, as they were read.
    pub(super) fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// Whether these are the files, none of them changed, with the same to be said about them.
    pub(super) fn is_of(&self, files: &Files) -> bool {
        let mut pairs = self.sources.iter().zip(&files.sources);
        (self.unreliable, &self.findings) == (files.unreliable, &files.findings)
            && self.sources.len() == files.sources.len()
            && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// The last word about the session whose id has this hash, if that is a summary.
    pub(crate) fn closed(&self, hash: u128) -> Option<Closed<'_>> {
        let Said::Closed { source, item: number } = *self.sessions.get(&hash)? else { return None };
        let source = self.sources.get(source as usize)?;
        let item = source.items.get(number as usize)?;
        let place = Place { reading: source.reading, item: number };
        Some(Closed { place, source, item })
    }

    /// Where the last word about the session whose id has this hash stands, if that is a summary.
    pub(crate) fn place(&self, hash: u128) -> Option<Place> {
        let Said::Closed { source, item } = *self.sessions.get(&hash)? else { return None };
        Some(Place { reading: self.sources.get(source as usize)?.reading, item })
    }

    /// What is known of the session in the directory of this name ([`SessionId::dir_name`]); `None` if
    /// nothing is, and then the session is to be read as well. Summaries are decoded here, when they are
    /// asked for.
    ///
    /// [`SessionId::dir_name`]: crate::ids::SessionId::dir_name
    pub(crate) fn get(&self, dir_name: &str) -> Option<Known> {
        let hash = hash_in(dir_name)?;
        Some(match self.sessions.get(&hash)? {
            Said::Open => Known::Open,
            Said::Doubt => Known::Doubt,
            Said::Closed { .. } => {
                self.closed(hash).and_then(|closed| closed.summary()).map_or(Known::Doubt, Known::Closed)
            }
        })
    }
}

impl<'a> Closed<'a> {
    /// The text of the session's id.
    pub(crate) fn id(&self) -> &'a str {
        self.source.glance(self.item).map_or("", |glance| glance.id)
    }

    /// The summary, decoded; `None` if not all that is known of the session is in it, or only a newer program understands it.
    pub(crate) fn summary(&self) -> Option<Summary> {
        self.abridged().filter(|summary| !summary.attributes_omitted)
    }

    /// The same, also without attributes that were too long for it.
    fn abridged(&self) -> Option<Summary> {
        match self.item.entry(&self.source.bytes)? {
            CatalogEntry::Closed(summary) => Some(summary),
            _ => None,
        }
    }
}

/// Who has a session open for writing, as far as the catalog tells: for messages, not for decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The process.
    pub(crate) pid: u32,
    /// The machine; empty if it has no name.
    pub(crate) host: String,
    /// Since when, in microseconds since 1970.
    pub(crate) since: u64,
}

/// What maintenance did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Maintained {
    /// Files of dead instances whose entries were taken over.
    pub(crate) adopted: usize,
    /// Files of dead instances that were removed because there was nothing in them.
    pub(crate) emptied: usize,
    /// Temporary files that a crash left behind and that were removed.
    pub(crate) temporary: usize,
    /// Files of dead instances that were left for a later time.
    pub(crate) left: usize,
    /// The own file was rewritten without its garbage.
    pub(crate) compacted: bool,
    /// What is wrong with the files.
    pub(crate) findings: Vec<Finding>,
}
