//! Archives, as callers see them.

use std::ops::Range;

use crate::state::{ArchiveState, Attributes};

/// How much stays live when a session is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Keep {
    /// Nothing: everything is archived.
    Nothing,
    /// The last so many messages.
    Messages(u64),
    /// The last so many turns: everything from the so-manieth last message on that was appended with
    /// `turn_start`. If there are fewer turns, everything stays.
    Turns(u64),
    /// As many of the last messages as have at most so many estimated tokens together; one without an estimate counts
    /// nothing. Reads those that have one, and is `Corrupt` if one of them is damaged.
    Tokens(u64),
    /// As many of the last messages as have at most so many bytes of payload together.
    Bytes(u64),
}

/// What an archive op did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveOutcome {
    /// The number of the new archive; `None` if there was nothing to archive.
    pub archive: Option<u64>,
    /// The sequences that were archived by this op.
    pub archived: Range<u64>,
    /// The sequences that are live after it.
    pub live: Range<u64>,
}

/// A numbered range of messages that were live once, and never change; its attributes may. A plain value.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// use serde_json::json;
/// let session = store.session("chat")?;
/// session.append("hello")?;
/// let done = session.archive_with(sessionlog::Keep::Nothing, &json!({"status": "new"}))?;
/// let number = done.archive.expect("there was something to archive");
/// session.patch_archive(number, &json!({"status": "summed up", "summary": "a greeting"}))?;
/// let archive = &session.archives()?[0];
/// assert_eq!((archive.number, &archive.seqs), (number, &(0..1)));
/// assert_eq!(archive.attributes["status"], "summed up");
/// assert_eq!(session.archived(number)?.count(), 1);
/// session.remove_archive(number)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Archive {
    /// Its number in the session, from 1, never given twice.
    pub number: u64,
    /// The sequences of its messages.
    pub seqs: Range<u64>,
    /// Bytes of payload.
    pub bytes: u64,
    /// The sum of the messages' token estimates.
    pub tokens: u64,
    /// When it was made, in microseconds since 1970 (UTC).
    pub created_micros: u64,
    /// When its attributes were changed last, in microseconds since 1970 (UTC).
    pub modified_micros: u64,
    /// Status, summary text, references: whatever the runtime keeps with it.
    pub attributes: Attributes,
}

impl From<&ArchiveState> for Archive {
    fn from(a: &ArchiveState) -> Archive {
        Archive {
            number: a.number,
            seqs: a.base..a.upto,
            bytes: a.sums.bytes,
            tokens: a.sums.tokens,
            created_micros: a.created,
            modified_micros: a.modified,
            attributes: a.attributes.clone(),
        }
    }
}
