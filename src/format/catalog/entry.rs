//! What a catalog file says of sessions: the bodies of its frames.

use serde::{Deserialize, Serialize};

use super::MAX_BODY;
use crate::format::bin::{self, Values};
use crate::ids::{BirthId, Incarnation, SessionId};
use crate::limits;

/// The version byte before the body of every entry.
const ENTRY_VERSION: u8 = 1;
/// Attributes longer than this (in bytes of JSON: 16 KiB) are left out of a summary.
pub(crate) const MAX_SUMMARY_ATTRIBUTES: usize = 16 << 10;

const _: () = assert!(MAX_SUMMARY_ATTRIBUTES + 8 * limits::MAX_SESSION_ID < MAX_BODY);

/// The mark that a session was opened for writing. Durable before the first write of that writer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub(crate) struct Open {
    /// The session.
    pub(crate) id: SessionId,
    /// Its life.
    pub(crate) birth: BirthId,
    /// The writer.
    pub(crate) incarnation: Incarnation,
    /// The active segment that the writer found or started.
    pub(crate) segment: u64,
    /// The salt of that segment.
    pub(crate) salt: u64,
    /// When, in microseconds since 1970.
    pub(crate) time: u64,
}

/// Where a fork came from. (Nothing forks a session yet: the format has room for it.)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The session that was forked.
    pub parent: SessionId,
    /// The life of it that was forked.
    pub birth: BirthId,
    /// The first sequence number that is not shared.
    pub seq: u64,
}

/// What a session was like when its writer closed it cleanly.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub(crate) struct Summary {
    /// The session.
    pub(crate) id: SessionId,
    /// Its life.
    pub(crate) birth: BirthId,
    /// The writer that closed it.
    pub(crate) incarnation: Incarnation,
    /// The active segment.
    pub(crate) segment: u64,
    /// The salt of that segment.
    pub(crate) salt: u64,
    /// The log was durable up to this position: nothing behind it says more than that it was closed.
    pub(crate) position: u64,
    /// How many messages are live.
    pub(crate) message_count: u64,
    /// The sequence number of the first live message.
    pub(crate) base: u64,
    /// The sequence number of the next message.
    pub(crate) next: u64,
    /// The epoch of the sequences.
    pub(crate) epoch: u64,
    /// How many messages there are, archives included.
    pub(crate) total_messages: u64,
    /// The payload bytes of the live messages.
    pub(crate) live_bytes: u64,
    /// The payload bytes of all messages.
    pub(crate) total_bytes: u64,
    /// The estimated tokens of the live messages.
    pub(crate) live_tokens: u64,
    /// The estimated tokens of all messages.
    pub(crate) total_tokens: u64,
    /// How many archives there are.
    pub(crate) archives: u64,
    /// The bytes of the log on disk.
    pub(crate) log_bytes: u64,
    /// When the session was created, in microseconds since 1970.
    pub(crate) created: u64,
    /// The time of the last message, if there is one.
    pub(crate) last_message: Option<u64>,
    /// When the session last changed.
    pub(crate) modified: u64,
    /// The attributes, a JSON object; `{}` if they were omitted.
    pub(crate) attributes: String,
    /// The attributes were over [`MAX_SUMMARY_ATTRIBUTES`]: who needs them reads the session.
    pub(crate) attributes_omitted: bool,
    /// The version of the attributes.
    pub(crate) attributes_version: u64,
    /// Where it was forked from, if it was.
    pub(crate) lineage: Option<Lineage>,
}

impl Summary {
    /// The same place as an open mark would name it: what is left of a summary that is in doubt.
    pub(crate) fn place(&self) -> Open {
        Open {
            id: self.id.clone(),
            birth: self.birth,
            incarnation: self.incarnation,
            segment: self.segment,
            salt: self.salt,
            time: self.modified,
        }
    }
}

/// One statement about one life of a session.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(Deserialize))]
pub(crate) enum CatalogEntry {
    /// It was opened for writing.
    Open(Open),
    /// It was closed cleanly, and this is what it is like.
    Closed(Summary),
    /// This life of it was removed. Written *after* the rename that removes it is durable: a power cut in front
    /// of that brings the session back, and then the catalog must still know its open mark.
    Removed {
        /// The session.
        id: SessionId,
        /// The life that ended.
        birth: BirthId,
        /// The last writer that the remover knows of (the default if it knows none). A writer with a
        /// higher number came later: the session was restored.
        incarnation: Incarnation,
    },
    /// What was known of it may be out of date, because a catalog file was damaged: read the session.
    Doubt(Open),
}

impl CatalogEntry {
    /// The session.
    pub(crate) fn id(&self) -> &SessionId {
        match self {
            CatalogEntry::Open(mark) | CatalogEntry::Doubt(mark) => &mark.id,
            CatalogEntry::Closed(summary) => &summary.id,
            CatalogEntry::Removed { id, .. } => id,
        }
    }

    /// The life of the session.
    pub(crate) fn birth(&self) -> BirthId {
        match self {
            CatalogEntry::Open(mark) | CatalogEntry::Doubt(mark) => mark.birth,
            CatalogEntry::Closed(summary) => summary.birth,
            CatalogEntry::Removed { birth, .. } => *birth,
        }
    }

    /// The writer.
    pub(crate) fn incarnation(&self) -> Incarnation {
        match self {
            CatalogEntry::Open(mark) | CatalogEntry::Doubt(mark) => mark.incarnation,
            CatalogEntry::Closed(summary) => summary.incarnation,
            CatalogEntry::Removed { incarnation, .. } => *incarnation,
        }
    }

    /// Leaves out attributes that are too long for a summary, and says so in it.
    pub(crate) fn bounded(mut self) -> CatalogEntry {
        if let CatalogEntry::Closed(summary) = &mut self
            && summary.attributes.len() > MAX_SUMMARY_ATTRIBUTES
        {
            summary.attributes = "{}".to_owned();
            summary.attributes_omitted = true;
        }
        self
    }

    /// Whether a session can have these numbers.
    pub(crate) fn is_possible(&self) -> bool {
        let highest = match self {
            CatalogEntry::Open(mark) | CatalogEntry::Doubt(mark) => mark.segment,
            CatalogEntry::Closed(s) if s.base <= s.next && s.next <= s.position => s.segment.max(s.position),
            CatalogEntry::Closed(_) => return false,
            CatalogEntry::Removed { .. } => 0,
        };
        highest.max(self.incarnation().number) <= limits::MAX_NUMBER
    }

    /// Appends the body of its frame to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        bin::encode(ENTRY_VERSION, self, out)
    }

    /// Decodes the body of a frame whose checksum was good. An error means a newer program wrote it, or that no program
    /// can have written it.
    pub(crate) fn decode(body: &[u8]) -> Result<CatalogEntry, String> {
        let glance = Glance::at(body)?;
        glance.entry().ok_or_else(|| format!("an entry of kind {:?} in another form", glance.kind))
    }
}

/// Which statement an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Open,
    Closed,
    Removed,
    Doubt,
}

/// The beginning of an entry, which is the same in all kinds, borrowed from its bytes: all that merging needs,
/// at a fraction of the cost of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glance<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) id: &'a str,
    pub(crate) birth: BirthId,
    pub(crate) incarnation: Incarnation,
    rest: Values<'a>,
}

impl<'a> Glance<'a> {
    /// Looks at the body of a frame whose checksum was good. An error means a newer program wrote it.
    pub(crate) fn at(body: &'a [u8]) -> Result<Glance<'a>, String> {
        let (version, bytes) = bin::split(body)?;
        if version != ENTRY_VERSION {
            return Err(format!("an entry of version {version}"));
        }
        Glance::of(Values(bytes))
            .ok_or_else(|| "an entry of another kind, or with another beginning".to_owned())
    }

    fn of(mut values: Values<'a>) -> Option<Glance<'a>> {
        let kind = match values.bytes()? {
            [0] => EntryKind::Open,
            [1] => EntryKind::Closed,
            [2] => EntryKind::Removed,
            [3] => EntryKind::Doubt,
            [_] => return None,
        };
        let id = values.str().filter(|id| (1..=limits::MAX_SESSION_ID).contains(&id.len()))?;
        let birth = BirthId(values.bytes()?);
        let number = values.u64().filter(|number| *number <= limits::MAX_NUMBER)?;
        let incarnation = Incarnation { number, nonce: values.u64()? };
        Some(Glance { kind, id, birth, incarnation, rest: values })
    }

    /// The whole of it, with nothing left over.
    fn entry(&self) -> Option<CatalogEntry> {
        let (mut rest, id) = (self.rest, SessionId::new(self.id).ok()?);
        let entry = match self.kind {
            EntryKind::Open => CatalogEntry::Open(self.mark(id, &mut rest)?),
            EntryKind::Doubt => CatalogEntry::Doubt(self.mark(id, &mut rest)?),
            EntryKind::Closed => CatalogEntry::Closed(self.summary(id, &mut rest)?),
            EntryKind::Removed => {
                CatalogEntry::Removed { id, birth: self.birth, incarnation: self.incarnation }
            }
        };
        (rest.0.is_empty() && entry.is_possible()).then_some(entry)
    }

    fn mark(&self, id: SessionId, rest: &mut Values<'_>) -> Option<Open> {
        let Glance { birth, incarnation, .. } = *self;
        Some(Open { id, birth, incarnation, segment: rest.u64()?, salt: rest.u64()?, time: rest.u64()? })
    }

    // In the order of the fields on disk, which is that of their declaration: the compiler keeps the order of the calls.
    fn summary(&self, id: SessionId, rest: &mut Values<'_>) -> Option<Summary> {
        Some(Summary {
            id,
            birth: self.birth,
            incarnation: self.incarnation,
            segment: rest.u64()?,
            salt: rest.u64()?,
            position: rest.u64()?,
            message_count: rest.u64()?,
            base: rest.u64()?,
            next: rest.u64()?,
            epoch: rest.u64()?,
            total_messages: rest.u64()?,
            live_bytes: rest.u64()?,
            total_bytes: rest.u64()?,
            live_tokens: rest.u64()?,
            total_tokens: rest.u64()?,
            archives: rest.u64()?,
            log_bytes: rest.u64()?,
            created: rest.u64()?,
            last_message: if rest.bool()? { Some(rest.u64()?) } else { None },
            modified: rest.u64()?,
            attributes: rest.str()?.to_owned(),
            attributes_omitted: rest.bool()?,
            attributes_version: rest.u64()?,
            lineage: match rest.bool()? {
                false => None,
                true => Some(Lineage {
                    parent: SessionId::new(rest.str()?).ok()?,
                    birth: BirthId(rest.bytes()?),
                    seq: rest.u64()?,
                }),
            },
        })
    }

    /// Whether this body is one of another session than that of `birth`, seen without decoding it. `false` if it has to
    /// be looked at: it may be one of that session, or is in no form that this knows.
    #[inline]
    pub(crate) fn is_of_another(body: &[u8], birth: &BirthId) -> bool {
        // As `at` reads it: the version; kind and length of the id, each of one byte below 251; the id; the birth.
        let [ENTRY_VERSION, 0..=3, len @ 1..=250, rest @ ..] = body else { return false };
        let behind = rest.get(usize::from(*len)..).unwrap_or_default();
        behind.first_chunk().is_some_and(|found| *found != birth.0)
    }

    /// Segment, its salt, and, of a summary, the position.
    pub(crate) fn place(&self) -> Option<(u64, u64, Option<u64>)> {
        if self.kind == EntryKind::Removed {
            return None;
        }
        let mut rest = self.rest;
        let (segment, salt, third) = (rest.u64()?, rest.u64()?, rest.u64()?);
        let position = if self.kind == EntryKind::Closed { third } else { 0 };
        if segment.max(position) > limits::MAX_NUMBER {
            return None;
        }
        Some((segment, salt, (self.kind == EntryKind::Closed).then_some(third)))
    }
}
