//! The records of a session that can still be read, each from the newest segment that has it.

use std::collections::BTreeMap;

use super::inventory::{FrameAt, Inventory, Rec, What};
use crate::format::FrameKind;
use crate::state::Extent;

/// Where a record is.
#[derive(Clone, Copy)]
pub(crate) struct Survivor<'a> {
    pub(crate) record: &'a Rec,
    pub(crate) frame: &'a FrameAt,
    /// The index of its segment in the inventory.
    pub(crate) segment: usize,
}

/// By position. Also those whose body is lost and whose entry is not: they say what is missing.
pub(crate) type Survivors<'a> = BTreeMap<u64, Survivor<'a>>;

/// Where each segment ends for its successors, by its number.
pub(crate) type Ends = BTreeMap<u64, u64>;

/// What the newest state and the headers behind say of where segments end.
pub(crate) fn sealed_ends(inventory: &Inventory) -> Ends {
    let mut ends = Ends::new();
    for s in &inventory.segments {
        if let Some(h) = s.header().filter(|h| h.prev_number > 0) {
            ends.insert(h.prev_number, h.prev_end_offset);
        }
        for info in s.snapshot.iter().flat_map(|s| &s.segments) {
            ends.insert(info.number, info.end_offset);
        }
    }
    ends
}

/// Picks for each position the record that counts.
///
/// What a segment holds behind its stated end was above the last mark when its successor began, and is carried there; it
/// counts only if that copy is lost, and only below the position with which the successor goes on.
pub(crate) fn survivors<'a>(inventory: &'a Inventory, ends: &Ends) -> Survivors<'a> {
    let mut out = Survivors::new();
    let mut limit = u64::MAX;
    let mut above: Vec<(usize, u64)> = Vec::new();
    for (index, s) in inventory.segments.iter().enumerate().rev() {
        above.push((index, limit));
        limit = limit.min(s.first_position().unwrap_or(u64::MAX));
    }
    for (index, limit) in above.into_iter().rev() {
        let Some(s) = inventory.segments.get(index) else { continue };
        for frame in s.trusted(None) {
            add(&mut out, frame, index, limit, false);
        }
    }
    for (index, s) in inventory.segments.iter().enumerate() {
        for frame in s.trusted(ends.get(&s.number).copied()) {
            add(&mut out, frame, index, u64::MAX, true);
        }
    }
    out
}

fn add<'a>(out: &mut Survivors<'a>, frame: &'a FrameAt, segment: usize, limit: u64, replace: bool) {
    if !matches!(frame.header.kind, FrameKind::Commit | FrameKind::Carry) {
        return;
    }
    for record in frame.records.iter().filter(|r| r.position < limit) {
        let new = Survivor { record, frame, segment };
        match out.get_mut(&record.position) {
            Some(old) => {
                if !old.record.good || record.good && replace {
                    *old = new;
                }
            }
            None => {
                out.insert(record.position, new);
            }
        }
    }
}

/// The messages of an extent that can be read: position, sequence, bytes, tokens.
pub(crate) fn messages_of(all: &Survivors<'_>, e: &Extent) -> Vec<(u64, u64, u64, u64)> {
    let mut out: Vec<(u64, u64, u64, u64)> = Vec::new();
    for (position, s) in all.range(e.from..e.to.max(e.from)) {
        if let What::Message { seq, bytes, tokens } = s.record.what
            && s.record.good
            && (e.seq..e.end()).contains(&seq)
            && out.last().is_none_or(|l| l.1 < seq)
        {
            out.push((*position, seq, bytes, tokens));
        }
    }
    out
}
