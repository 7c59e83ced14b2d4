//! What waits in a session's commit queue: ops with their bytes in one arena, so that handing one over
//! allocates nothing in steady state (a session that rests for a moment gives the memory back).

use std::ops::Range;

use serde_json::Value;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::archive::{ArchiveOutcome, Keep};
use super::lead::Verdict;
use super::message::{AppendOptions, Appended, Batch, Durability, NewMessage};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Extras, TURN_START};
use crate::limits;
use crate::log::queue;
use crate::state::Attributes;

/// A message in the arena.
pub(crate) struct PendingMessage {
    pub(crate) extras: Range<usize>,
    pub(crate) payload: Range<usize>,
    pub(crate) codec: u8,
    pub(crate) flags: u8,
    pub(crate) tokens: u32,
}

/// A change of attributes.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    pub(crate) text: String,
    /// Only if the attributes were last changed at this version.
    pub(crate) expect: Option<u64>,
}

pub(crate) struct AppendOp {
    /// Indices into the arena's messages.
    pub(crate) messages: Range<usize>,
    /// Bytes of payloads and extras.
    pub(crate) bytes: usize,
    pub(crate) durability: Durability,
    pub(crate) expect: Option<(u64, Option<u64>)>,
    /// Hash of the key and digest of the content.
    pub(crate) key: Option<(u128, u128)>,
    pub(crate) patch: Option<Box<Patch>>,
}

/// Ops that are not appends.
pub(crate) enum Control {
    /// Bring the session into being if it is not there; `true`: it must not be there.
    Create {
        strict: bool,
    },
    Archive {
        keep: Keep,
        attributes: String,
    },
    ArchiveAttributes {
        number: u64,
        patch: String,
    },
    RemoveArchive {
        number: u64,
    },
    Truncate,
    Sync,
}

pub(crate) enum PendingOp {
    Append(AppendOp),
    Control(Box<Control>),
}

/// So many ops, messages and records keep their room from commit to commit, until the session rests: to give that of 10,000
/// back takes nearly 100 us of the next one.
pub(super) const KEPT: usize = 1 << 14;
/// And so many bytes.
const KEPT_BYTES: usize = 2 << 20;

/// The arena.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) ops: Vec<PendingOp>,
    pub(crate) messages: Vec<PendingMessage>,
    pub(crate) bytes: Vec<u8>,
    /// Room for what the leader decides of them.
    pub(crate) verdicts: Vec<Verdict>,
}

impl queue::Batch for Pending {
    fn len(&self) -> usize {
        self.ops.len()
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn clear(&mut self) {
        self.ops.clear();
        self.messages.clear();
        self.bytes.clear();
        // One huge message must not keep its memory for the life of the session.
        self.bytes.shrink_to(KEPT_BYTES);
        self.messages.shrink_to(KEPT);
        self.ops.shrink_to(KEPT);
        self.verdicts.clear();
        self.verdicts.shrink_to(KEPT);
    }
}

impl Pending {
    pub(crate) fn push_control(&mut self, control: Control) {
        self.ops.push(PendingOp::Control(Box::new(control)));
    }

    /// Adds an append whose messages were checked.
    pub(crate) fn push_append(
        &mut self,
        messages: &[NewMessage<'_>],
        options: &AppendOptions<'_>,
        patch: Option<Box<Patch>>,
        durability: Durability,
    ) {
        let first = self.messages.len();
        let start = self.bytes.len();
        if let [_, _, ..] = messages {
            self.messages.reserve(messages.len());
            self.bytes.reserve(messages.iter().map(|m| m.payload.len()).sum());
        }
        for m in messages {
            let at = self.bytes.len();
            extras_of(m).encode(&mut self.bytes);
            let middle = self.bytes.len();
            self.bytes.extend_from_slice(&m.payload);
            self.messages.push(PendingMessage {
                extras: at..middle,
                payload: middle..self.bytes.len(),
                codec: m.codec.into(),
                flags: if m.turn_start { TURN_START } else { 0 },
                tokens: m.tokens.unwrap_or(0),
            });
        }
        let key = options.key.map(|k| (xxh3_128(k.as_bytes()), digest(messages, patch.as_deref())));
        self.ops.push(PendingOp::Append(AppendOp {
            messages: first..self.messages.len(),
            bytes: self.bytes.len() - start,
            durability,
            expect: options.expect,
            key,
            patch,
        }));
    }
}

fn extras_of<'a>(m: &'a NewMessage<'_>) -> Extras<'a> {
    Extras { tag: m.tag, tokens: m.tokens, id: m.id, parent: m.parent, ..Extras::default() }
}

/// A digest of everything that makes two appends the same.
fn digest(messages: &[NewMessage<'_>], patch: Option<&Patch>) -> u128 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let mut extras = Vec::new();
    for m in messages {
        extras.clear();
        extras_of(m).encode(&mut extras);
        part(&[m.codec.into(), u8::from(m.turn_start)]);
        part(&extras);
        part(&m.payload);
    }
    if let Some(patch) = patch {
        part(patch.text.as_bytes());
    }
    hash.digest128()
}

/// Checks the limits of an append at the call.
pub(crate) fn check(
    messages: &[NewMessage<'_>],
    options: &AppendOptions<'_>,
    max_payload: usize,
    max_batch: usize,
) -> Result<()> {
    let too_large = |what: String| Err(Error::new(ErrorKind::TooLarge, "append").hint(what));
    let invalid = |what| Err(Error::new(ErrorKind::InvalidInput, "append").hint(what));
    if messages.len() > limits::MAX_BATCH_MESSAGES {
        return too_large(format!("a batch has at most {} messages", limits::MAX_BATCH_MESSAGES));
    }
    let mut sum = 0usize;
    for m in messages {
        if m.payload.len() > max_payload {
            return too_large(format!(
                "the payload has {} bytes; this store takes {max_payload} (Options::max_payload raises it up to {})",
                m.payload.len(),
                limits::MAX_PAYLOAD
            ));
        }
        if matches!(m.codec.to_u8(), 2..128) {
            return invalid("the codecs 2 to 127 belong to this library; 128 to 255 are yours");
        }
        sum += m.payload.len();
        for (what, text) in [("tag", m.tag), ("id", m.id), ("parent id", m.parent)] {
            if text.is_some_and(|t| t.len() > limits::MAX_LABEL) {
                return too_large(format!("the {what} of a message has at most {} bytes", limits::MAX_LABEL));
            }
        }
    }
    if sum > max_batch {
        return too_large(format!("the batch has {sum} bytes of payload; at most {max_batch} fit"));
    }
    match options.key {
        Some(key) if key.len() > limits::MAX_LABEL => {
            too_large(format!("an idempotency key has at most {} bytes", limits::MAX_LABEL))
        }
        Some("") => invalid("the idempotency key is empty"),
        Some(_) if messages.is_empty() => {
            invalid("an idempotency key belongs to messages, and there are none")
        }
        _ => Ok(()),
    }
}

/// Checks a batch's patch.
pub(crate) fn check_patch(patch: Option<&Value>, expect: Option<u64>) -> Result<Option<Box<Patch>>> {
    let Some(patch) = patch else { return Ok(None) };
    let text = patch_text(patch)?;
    Ok(Some(Box::new(Patch { text, expect })))
}

/// The checked text of a merge patch.
pub(crate) fn patch_text(patch: &Value) -> Result<String> {
    Attributes::check_patch(patch).map_err(|what| {
        let kind = if what.contains("the limit is") { ErrorKind::TooLarge } else { ErrorKind::InvalidInput };
        Error::new(kind, "change attributes").hint(what)
    })
}

pub(crate) fn check_batch(batch: &Batch<'_>) -> Result<()> {
    if batch.messages.is_empty() && batch.patch.is_none() {
        return Err(Error::new(ErrorKind::InvalidInput, "append a batch").hint("the batch is empty"));
    }
    Ok(())
}

/// What a done op answers.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    Appended(Appended),
    Archived(Box<ArchiveOutcome>),
    Nothing,
}

/// The outcome of a queued op.
pub(crate) type Reply = Result<Done>;

impl queue::Outcome for Reply {
    fn aborted() -> Reply {
        Err(Error::new(ErrorKind::Poisoned, "commit")
            .unknown()
            .hint("the thread that led this commit panicked; open the session again"))
    }
}
