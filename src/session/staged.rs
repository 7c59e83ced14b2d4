//! A commit on its way: its records in order, with their bytes in the queue's arena or here.

use std::ops::Range;

use super::cut::Recent;
use super::pending::{KEPT, PendingMessage};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{CRITICAL, EntryMeta, RecordKind, TURN_START, frame_len};
use crate::log::view::Head;
use crate::log::writer::{After, NewRecord};
use crate::state::{Contradiction, MessageFacts, Op, State};

/// Reused from commit to commit, so that nothing is allocated in steady state; given back when the session rests.
#[derive(Default)]
pub(crate) struct Staged {
    records: Vec<Staging>,
    bodies: Vec<u8>,
    bytes: usize,
    /// Where the bodies lie in the arena, if they do so behind one another.
    together: Option<Range<usize>>,
    time: u64,
    after: Option<After>,
    recent: Recent,
}

enum Staging {
    Op { op: Op, body: Range<usize>, meta: EntryMeta },
    Message { extras: Range<usize>, payload: Range<usize>, tokens: u32, meta: EntryMeta },
    Mark { meta: EntryMeta },
}

impl Staged {
    /// Begins anew, on top of `state`, at time `time`.
    pub(crate) fn begin(&mut self, state: &State, time: u64) {
        self.records.clear();
        self.bodies.clear();
        // One huge batch must not keep its memory for the life of the session.
        self.records.shrink_to(KEPT);
        self.bodies.shrink_to(KEPT);
        self.bytes = 0;
        self.together = Some(0..0);
        self.time = time;
        self.after = Some(After::of(state, time));
    }

    pub(crate) fn op(&mut self, op: Op) -> Result<()> {
        let start = self.bodies.len();
        op.encode(&mut self.bodies)
            .map_err(|e| Error::new(ErrorKind::InvalidInput, "write a journal record").hint(e))?;
        self.bytes += self.bodies.len() - start;
        self.together = None;
        if let Some(after) = &mut self.after {
            after.after_op(&op);
        }
        let meta = EntryMeta { kind: RecordKind::Op, flags: CRITICAL, codec: 0 };
        self.records.push(Staging::Op { op, body: start..self.bodies.len(), meta });
        Ok(())
    }

    pub(crate) fn message(&mut self, m: &PendingMessage) {
        let body = m.extras.start..m.payload.end;
        self.together = match self.together.take() {
            Some(before) if before.is_empty() => Some(body.clone()),
            Some(before) if before.end == body.start => Some(before.start..body.end),
            _ => None,
        };
        self.bytes += body.len();
        if let Some(after) = &mut self.after {
            after.span += 1;
        }
        let meta = EntryMeta { kind: RecordKind::Message, flags: m.flags, codec: m.codec };
        let (extras, payload) = (m.extras.clone(), m.payload.clone());
        self.records.push(Staging::Message { extras, payload, tokens: m.tokens, meta });
    }

    pub(crate) fn mark(&mut self) {
        let meta = EntryMeta { kind: RecordKind::Mark, flags: 0, codec: 0 };
        self.records.push(Staging::Mark { meta });
    }

    /// The bytes of its frame.
    pub(crate) fn frame_len(&self) -> u64 {
        frame_len(self.records.len(), self.bytes) as u64
    }

    /// The bytes of its bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn after(&self) -> Option<After> {
        self.after
    }

    /// All bodies, if they lie behind one another in the arena.
    pub(crate) fn together<'a>(&self, arena: &'a [u8]) -> Option<&'a [u8]> {
        arena.get(self.together.clone()?)
    }

    /// The records, with the arena behind the messages.
    pub(crate) fn records<'a>(&'a self, arena: &'a [u8]) -> impl ExactSizeIterator<Item = NewRecord<'a>> {
        self.records.iter().map(move |r| match r {
            Staging::Op { body, meta, .. } => NewRecord {
                meta: *meta,
                extras: &[],
                payload: self.bodies.get(body.clone()).unwrap_or_default(),
            },
            Staging::Message { extras, payload, meta, .. } => NewRecord {
                meta: *meta,
                extras: arena.get(extras.clone()).unwrap_or_default(),
                payload: arena.get(payload.clone()).unwrap_or_default(),
            },
            Staging::Mark { meta } => NewRecord { meta: *meta, extras: &[], payload: &[] },
        })
    }

    /// Folds the records into the state, and is empty.
    pub(crate) fn apply(&mut self, state: &mut State) -> Result<(), Contradiction> {
        let old = self.records.len().saturating_sub(Recent::MOST);
        for (i, r) in self.records.drain(..).enumerate() {
            match r {
                Staging::Op { op, .. } => state.apply_op(&op, self.time)?,
                Staging::Message { payload, tokens, meta, .. } => {
                    let (seq, bytes, tokens) = (state.next, payload.len() as u64, u64::from(tokens));
                    if i >= old {
                        self.recent.push(Head {
                            seq,
                            position: state.position,
                            bytes,
                            tokens: Some(tokens),
                            turn_start: meta.flags & TURN_START != 0,
                        });
                    }
                    state.apply_message(MessageFacts { seq, bytes, tokens, time: self.time })?;
                }
                Staging::Mark { .. } => state.apply_ignored(),
            }
        }
        Ok(())
    }

    /// The last messages that went into the state through here.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }
}
