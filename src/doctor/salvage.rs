//! The state of a session from whatever survives of its log: the newest state that can be read, and every record
//! behind it. Where records are missing, the headers of the commits behind them say what they did.

use super::inventory::{FrameAt, Inventory, What};
use super::survivors::{Survivors, messages_of};
use crate::format::FrameKind;
use crate::format::catalog::{CatalogEntry, Summary};
use crate::ids::{BirthId, SessionId};
use crate::state::{ArchiveState, Attributes, Extent, Hole, KeyEntry, MessageFacts, Op, State, Sums};

/// The state that survives, and what it cost.
pub(crate) struct Salvage {
    pub(crate) state: State,
    /// Sequences and positions that are given up now.
    pub(crate) lost: Vec<Hole>,
    /// Records are missing, or may be: what they were is not known.
    pub(crate) gaps: bool,
}

/// Folds what survives. `None` if nothing says which session this is.
pub(crate) fn salvage(
    inventory: &Inventory,
    survivors: &Survivors<'_>,
    id: Option<&SessionId>,
    said: &[CatalogEntry],
) -> Option<Salvage> {
    let birth = inventory.birth?;
    let newest =
        inventory.segments.iter().rev().filter_map(|s| s.snapshot.as_ref()).find(|s| s.birth == birth);
    let mut gaps = false;
    let mut state = match newest {
        Some(state) => state.clone(),
        None => {
            gaps = true;
            scratch(id?, birth, survivors)
        }
    };
    roll(&mut state, survivors, &mut gaps);
    let accepted = state.holes.clone();
    let summary = said.iter().filter_map(|e| match e {
        CatalogEntry::Closed(s) if s.birth == birth => Some(s),
        _ => None,
    });
    if let Some(summary) = summary.max_by_key(|s| (s.incarnation.number, s.position)) {
        adopt_summary(&mut state, summary, survivors, &mut gaps);
    }
    for entry in said.iter().filter(|e| e.birth() == birth) {
        if entry.incarnation().number > state.incarnation.number {
            state.incarnation = entry.incarnation();
        }
    }
    let lost = recount(&mut state, survivors, &accepted);
    state.pending_key = None;
    Some(Salvage { state, lost, gaps })
}

/// Where no state can be read: as if the session began with the first record that can.
fn scratch(id: &SessionId, birth: BirthId, survivors: &Survivors<'_>) -> State {
    let first = survivors.values().next();
    let mut state = State::new(id.clone(), birth, first.map_or(0, |s| s.record.time));
    let seq = survivors.values().find_map(|s| match s.record.what {
        What::Message { seq, .. } => Some(seq),
        _ => None,
    });
    state.position = survivors.keys().next().copied().unwrap_or(1);
    state.next = seq.unwrap_or(0);
    state.base = state.next;
    state.total_messages = state.next;
    if let Some(s) = first.filter(|s| s.frame.header.kind == FrameKind::Commit) {
        // The archives in front of it are not known any more, only how many there were.
        state.archives_made = s.frame.header.archives;
        state.epoch = s.frame.header.epoch;
        state.base = state.base.min(s.frame.header.base);
    }
    state.truncated = state.base;
    state
}

/// The sequence of the message behind this position, if it is near: no record in front of it has a higher one.
fn ahead(survivors: &Survivors<'_>, position: u64) -> u64 {
    const NEAR: usize = 64;
    let mut near = survivors.range(position..).take(NEAR);
    let seq = near.find_map(|(_, s)| match s.record.what {
        What::Message { seq, .. } => Some(seq),
        _ => None,
    });
    seq.unwrap_or(u64::MAX)
}

fn roll(state: &mut State, survivors: &Survivors<'_>, gaps: &mut bool) {
    let mut most = (u64::MAX, u64::MAX);
    for (position, s) in survivors.range(state.position..) {
        let frame = s.frame;
        if most.0 != frame.end {
            most = (frame.end, ahead(survivors, frame.end));
        }
        let most = most.1;
        let commit = frame.header.kind == FrameKind::Commit;
        if *position > state.position {
            *gaps = true;
            state.pending_key = None;
            state.position = *position;
        }
        if commit && *position == frame.header.first_position {
            pass(state, frame.first_seq.min(most));
        }
        match &s.record.what {
            // It is not what its frame says: those behind it are.
            What::Message { seq, .. } if *seq >= most && *seq != state.next => state.position += 1,
            What::Message { seq, bytes, tokens } => {
                pass(state, *seq);
                let facts = MessageFacts { seq: *seq, bytes: *bytes, tokens: *tokens, time: s.record.time };
                if !s.record.good {
                    // What it was appended with is known all the same: a repeat is one, if anything of it is there.
                    if let Some((key, digest, count)) = state.pending_key.take().map(|key| *key)
                        && survivors
                            .range(*position..*position + u64::from(count))
                            .any(|(_, s)| s.record.good && matches!(s.record.what, What::Message { .. }))
                    {
                        let (position, epoch) = (state.position, state.epoch);
                        state.keys.push(KeyEntry { key, digest, position, seq: *seq, count, epoch });
                    }
                    pass(state, seq + 1);
                    state.position += 1;
                } else if state.apply_message(facts).is_err() {
                    state.position += 1;
                }
            }
            What::Op(Some(op)) => match &**op {
                // Whatever is missing in front of it, this is what it all led to.
                Op::CloseWith(stated) if stated.check(state.birth, position + 1).is_ok() => {
                    *state = stated.state.clone();
                    *gaps = false;
                }
                op => apply(state, op, s.record.time, survivors),
            },
            What::Op(None) => {
                *gaps = true;
                state.position += 1;
            }
            What::Mark | What::Other => state.apply_ignored(),
        }
        if commit && position + 1 == frame.end {
            agree(state, frame, survivors, most);
        }
    }
}

/// The messages below `seq` were appended, whether they can be read or not.
fn pass(state: &mut State, seq: u64) {
    if seq > state.next {
        state.total_messages += seq - state.next;
        state.next = seq;
    }
}

fn apply(state: &mut State, op: &Op, time: u64, survivors: &Survivors<'_>) {
    // No message has a sequence above its position.
    if let Op::Archive { number, base, upto, .. } = op
        && base <= upto
        && *upto <= state.position
    {
        if *base > state.base {
            archive_unseen(state, *base, number.saturating_sub(1), survivors);
        }
        pass(state, *upto);
        state.archives_made = u32::try_from(number.saturating_sub(1)).unwrap_or(state.archives_made);
    }
    if state.apply_op(op, time).is_err() {
        // It speaks of something that is lost.
        state.position += 1;
        state.journal = state.journal.wrapping_add(1);
    }
}

/// What the header of a commit says of the state behind it.
fn agree(state: &mut State, frame: &FrameAt, survivors: &Survivors<'_>, most: u64) {
    let h = &frame.header;
    if h.base > state.base && h.base <= most {
        archive_unseen(state, h.base, u64::from(h.archives), survivors);
    }
    pass(state, h.next().min(most));
    state.archives_made = state.archives_made.max(h.archives);
    (state.epoch, state.journal) = (h.epoch, h.journal);
}

/// An archive was made whose intent is lost: `[base, upto)` is known all the same, and its messages are.
fn archive_unseen(state: &mut State, upto: u64, number: u64, survivors: &Survivors<'_>) {
    pass(state, upto);
    let of = |e: &Extent| messages_of(survivors, e).into_iter().find(|m| m.1 >= upto).map(|m| m.0);
    let at = state.live.iter().find_map(of).unwrap_or(state.position);
    let (extents, live) = Extent::split(std::mem::take(&mut state.live), upto, at);
    let after = state.archives.last().map_or(1, |a| a.number + 1);
    let number = number.max(after);
    state.archives.push(ArchiveState {
        number,
        base: state.base,
        upto,
        extents,
        sums: Sums::default(),
        created: state.modified,
        modified: state.modified,
        attributes: Attributes::default(),
    });
    state.live = live;
    state.base = upto;
    state.archives_made = state.archives_made.max(u32::try_from(number).unwrap_or(u32::MAX));
}

/// The log was closed in good order behind the last record that can be read: what the catalog says of it then.
fn adopt_summary(state: &mut State, s: &Summary, survivors: &Survivors<'_>, gaps: &mut bool) {
    if s.position <= state.position || s.incarnation.number < state.incarnation.number {
        return;
    }
    *gaps = true;
    pass(state, s.next);
    if s.base > state.base {
        let number = u64::from(state.archives_made) + 1;
        archive_unseen(state, s.base, number.max(s.archives), survivors);
    }
    if !s.attributes_omitted
        && s.attributes_version > state.attributes_version
        && let Ok(attributes) = Attributes::parse(s.attributes.as_str())
    {
        state.attributes = attributes;
        state.attributes_version = s.attributes_version;
    }
    state.epoch = state.epoch.max(u16::try_from(s.epoch).unwrap_or(u16::MAX));
    state.total_messages = state.total_messages.max(s.total_messages);
    state.total_sums.bytes = state.total_sums.bytes.max(s.total_bytes);
    state.total_sums.tokens = state.total_sums.tokens.max(s.total_tokens);
    state.modified = state.modified.max(s.modified);
    state.last_message = state.last_message.max(s.last_message);
    state.lineage = state.lineage.take().or_else(|| s.lineage.clone().map(Box::new));
    state.position = s.position;
}

/// Extents, sums and counts from the messages that can be read; everything else in the ranges is a hole.
fn recount(state: &mut State, survivors: &Survivors<'_>, accepted: &[Hole]) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut range = |extents: &mut Vec<Extent>, base: u64, upto: u64| -> Sums {
        let (mut new, mut sums, mut next, mut from) = (Vec::new(), Sums::default(), base, 0);
        for (position, seq, bytes, tokens) in extents.iter().flat_map(|e| messages_of(survivors, e)) {
            if seq < next || seq >= upto {
                continue;
            }
            if seq > next {
                holes.push(Hole { seq: next, count: seq - next, from, to: position });
            }
            Extent::push(&mut new, seq, position);
            (next, from) = (seq + 1, position + 1);
            sums.bytes += bytes;
            sums.tokens += tokens;
        }
        if next < upto {
            holes.push(Hole { seq: next, count: upto - next, from, to: from });
        }
        *extents = new;
        sums
    };
    for a in &mut state.archives {
        a.sums = range(&mut a.extents, a.base, a.upto);
    }
    state.live_sums = range(&mut state.live, state.base, state.next);
    state.message_count = Extent::total(&state.live);
    holes.sort_by_key(|h| h.seq);
    // Ranges that touch make one hole out of two at their border; what is known already is not lost anew.
    let known = |h: &Hole| {
        let mut seq = h.seq;
        while seq < h.seq + h.count {
            let after = Hole::skip(accepted, seq);
            if after == seq {
                return false;
            }
            seq = after;
        }
        true
    };
    let lost = holes.iter().filter(|h| !known(h)).copied().collect();
    state.holes = holes;
    lost
}
