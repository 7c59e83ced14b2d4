//! What is known of a session without reading its messages.

use std::ops::Range;

use super::core::Shared;
use crate::format::catalog::{Lineage, Summary};
use crate::ids::{BirthId, SessionId};
use crate::state::{Attributes, SegmentInfo, State};

/// Whether somebody has a session open for writing, as far as a listing can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenState {
    /// It was closed in good order.
    Closed,
    /// It is open in this process.
    OpenHere,
    /// It was opened for writing and not closed: a writer in another process is at work, or died.
    Open,
}

/// A summary of a session: a plain value. There is no way to save one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The session.
    pub id: SessionId,
    /// This life of it.
    pub birth: BirthId,
    /// How many messages are live: `live.end - live.start`, less those that a repair gave up for lost.
    pub message_count: u64,
    /// The sequences that are live.
    pub live: Range<u64>,
    /// The epoch in which sequences mean what they do.
    pub epoch: u64,
    /// How many messages were ever appended.
    pub total_messages: u64,
    /// Bytes of payload in the live range.
    pub live_bytes: u64,
    /// Bytes of payload ever appended.
    pub total_bytes: u64,
    /// The sum of the token estimates of the live messages.
    pub live_tokens: u64,
    /// The sum of all token estimates.
    pub total_tokens: u64,
    /// How many archives there are.
    pub archives: u64,
    /// When it was created, in microseconds since 1970 (UTC).
    pub created_micros: u64,
    /// When the last message was appended.
    pub last_message_micros: Option<u64>,
    /// When anything in it changed last.
    pub modified_micros: u64,
    /// Its attributes.
    pub attributes: Attributes,
    /// The version of the attributes, for `patch_attributes_if`.
    pub attributes_version: u64,
    /// The session it was forked from, if it was. Nothing forks sessions yet.
    pub lineage: Option<Lineage>,
    /// Whether somebody writes to it.
    pub open: OpenState,
}

impl SessionInfo {
    pub(crate) fn of_state(s: &State, open: OpenState) -> SessionInfo {
        SessionInfo {
            id: s.id.clone(),
            birth: s.birth,
            message_count: s.message_count,
            live: s.base..s.next,
            epoch: u64::from(s.epoch),
            total_messages: s.total_messages,
            live_bytes: s.live_sums.bytes,
            total_bytes: s.total_sums.bytes,
            live_tokens: s.live_sums.tokens,
            total_tokens: s.total_sums.tokens,
            archives: s.archives.len() as u64,
            created_micros: s.created,
            last_message_micros: s.last_message,
            modified_micros: s.modified,
            attributes: s.attributes.clone(),
            attributes_version: s.attributes_version,
            lineage: s.lineage.as_deref().cloned(),
            open,
        }
    }

    /// From the catalog's summary of the last clean close.
    pub(crate) fn of_summary(s: Summary) -> Option<SessionInfo> {
        Some(SessionInfo {
            id: s.id,
            birth: s.birth,
            message_count: s.message_count,
            live: s.base..s.next,
            epoch: s.epoch,
            total_messages: s.total_messages,
            live_bytes: s.live_bytes,
            total_bytes: s.total_bytes,
            live_tokens: s.live_tokens,
            total_tokens: s.total_tokens,
            archives: s.archives,
            created_micros: s.created,
            last_message_micros: s.last_message,
            modified_micros: s.modified,
            attributes: Attributes::parse(s.attributes).ok()?,
            attributes_version: s.attributes_version,
            lineage: s.lineage,
            open: OpenState::Closed,
        })
    }
}

/// What the catalog is told of a session at a clean close.
pub(crate) fn summary_of(shared: &Shared) -> Summary {
    summary_of_state(&shared.state, &shared.active_info(), shared.mark)
}

/// The same for one whose active segment is this, and whose log is durable up to this position.
pub(crate) fn summary_of_state(s: &State, active: &SegmentInfo, position: u64) -> Summary {
    let log_bytes = s.segments.iter().fold(active.end_offset, |sum, i| sum.saturating_add(i.end_offset));
    Summary {
        id: s.id.clone(),
        birth: s.birth,
        incarnation: s.incarnation,
        segment: active.number,
        salt: active.salt,
        position,
        message_count: s.message_count,
        base: s.base,
        next: s.next,
        epoch: u64::from(s.epoch),
        total_messages: s.total_messages,
        live_bytes: s.live_sums.bytes,
        total_bytes: s.total_sums.bytes,
        live_tokens: s.live_sums.tokens,
        total_tokens: s.total_sums.tokens,
        archives: s.archives.len() as u64,
        log_bytes,
        created: s.created,
        last_message: s.last_message,
        modified: s.modified,
        attributes: s.attributes.to_text().into_owned(),
        attributes_version: s.attributes_version,
        attributes_omitted: false,
        lineage: s.lineage.as_deref().cloned(),
    }
}
