//! Finding a message's place in a segment.
//!
//! Frames lie one behind the other and say how long the one before is; no table says where a message is. What is near an end
//! is found by walking there. All else is found by an interpolation search (Peterson 1957) over offsets, for a frame can be
//! recognized wherever the search comes down: its checksum covers its offset and the salt of its segment.

use std::ops::Range;
use std::sync::Arc;

use super::run::Backward;
use super::segment::Segment;
use super::window::{Found, Window};
use crate::format::{FRAME_HEADER_LEN, FrameKind, SegmentHeader, Table, find_header};
use crate::state::SegmentInfo;

/// What is looked for: the first frame that ends behind `position` and, if `seq` is given, holds it or a later one.
#[derive(Clone, Copy)]
struct Goal {
    position: u64,
    seq: Option<u64>,
}

/// Where a frame lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    /// It is the one, or nothing in front of it is.
    Here,
    /// It is the one or behind it.
    Behind,
}

/// A place in the segment, and the sequence (or the position, if none is looked for) with which it begins.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    key: u64,
}

impl Goal {
    fn side(&self, table: &Table<'_>) -> Side {
        let header = table.header();
        let before = header.kind == FrameKind::Snapshot
            || table.end_position() <= self.position
            || self.seq.is_some_and(|seq| header.next() <= seq);
        let first = match self.seq {
            Some(seq) => table.first_seq() <= seq,
            None => header.first_position <= self.position,
        };
        match (before, first) {
            (true, _) => Side::Before,
            (false, true) => Side::Here,
            (false, false) => Side::Behind,
        }
    }

    /// What is compared with the keys of places.
    fn key(&self) -> u64 {
        self.seq.unwrap_or(self.position)
    }

    fn place(&self, offset: u64, table: &Table<'_>) -> Place {
        let key = if self.seq.is_some() { table.first_seq() } else { table.header().first_position };
        Place { offset, key }
    }

    /// The place behind a frame.
    fn behind(&self, offset: u64, table: &Table<'_>) -> Place {
        let key = if self.seq.is_some() { table.header().next() } else { table.end_position() };
        Place { offset: offset + table.len() as u64, key }
    }
}

/// The offset of the first frame that ends behind `position` and, if `seq` is given, holds it or a later one;
/// and a window on what was read to find it.
pub(super) fn seek(
    segment: &Arc<Segment>,
    info: &SegmentInfo,
    position: u64,
    seq: Option<u64>,
) -> (u64, Window) {
    let goal = Goal { position, seq };
    let start = SegmentHeader::LEN as u64;
    if position <= info.low && seq.unwrap_or(0) <= info.low_seq {
        return (start, Window::new());
    }
    let near = |seq: &u64| {
        let ahead = seq.saturating_sub(info.low_seq);
        ahead < NEAR && ahead * 4 < info.end.saturating_sub(info.low)
    };
    if seq.is_some_and(|seq| near(&seq))
        && let Some(found) = from_the_front(segment, info, goal)
    {
        return found;
    }
    let low = Place { offset: start, key: if seq.is_some() { info.low_seq } else { info.low } };
    // Where nearly all records are messages this is right; else the search comes down too early at first.
    let high = Place { offset: info.end_offset, key: low.key + info.end.saturating_sub(info.low) };
    let mut to_search = u64::from(info.end_len) <= LONG && goal.key() + MANY < high.key;
    if to_search && let Some(found) = between(segment, info, goal, low, high) {
        return found;
    }
    to_search = !to_search;
    let mut back = Backward::new(segment, info);
    let (mut best, mut frames) = (info.end_offset, 0);
    loop {
        match back.step() {
            Ok(Some((table, offset))) => {
                let side = goal.side(&table);
                if side == Side::Before {
                    return (best, back.window);
                }
                best = offset;
                if side == Side::Here {
                    return (best, back.window);
                }
                frames += 1;
                let passed = info.end_offset - offset;
                if to_search && frames >= FEW && (frames >= MANY || passed >= FAR) && passed <= frames * LONG
                {
                    to_search = false;
                    if let Some(found) = between(segment, info, goal, low, goal.place(offset, &table)) {
                        return found;
                    }
                }
            }
            Ok(None) => return (best, back.window),
            // Damage on the way back: the way from the front goes around it.
            Err(_) => return (start, Window::new()),
        }
    }
}

/// A message with fewer than so many before it in its segment, and not a quarter of all, is looked for from the front.
const NEAR: u64 = 16;

/// The rest of the way back is searched and not walked once so many frames are passed, or so many bytes: a few frames at least,
/// and none so long, on an average, that there cannot be many more.
const MANY: u64 = 24;
const FEW: u64 = 3;
const FAR: u64 = 24 << 10;
const LONG: u64 = 16 << 10;

/// From the front, over a few frames. `None` if it is not there, or anything is in the way.
fn from_the_front(segment: &Segment, info: &SegmentInfo, goal: Goal) -> Option<(u64, Window)> {
    let mut window = Window::new();
    let mut offset = SegmentHeader::LEN as u64;
    for _ in 0..2 * NEAR {
        let table = read(&mut window, segment, offset, info.end_offset)?;
        if goal.side(&table) != Side::Before {
            return Some((offset, window));
        }
        offset += table.len() as u64;
    }
    None
}

/// The frame at `offset`, as far as its table.
fn read<'w>(window: &'w mut Window, segment: &Segment, offset: u64, limit: u64) -> Option<Table<'w>> {
    match window.find(&*segment.file, segment.seed, offset, limit) {
        Ok(Found::Frame { head_len, .. }) => window.table(segment.seed, offset, head_len).ok(),
        _ => None,
    }
}

/// What is nearer than this in front of the goal is walked.
const WALK: u64 = 16 << 10;
/// So far in front of where the goal should be the search comes down.
const SHORT_OF: u64 = 4 << 10;
/// So many times; from the sixth on in the middle.
const TURNS: u32 = 32;

/// From `low`, where a frame begins and the goal does not lie in front of, to `high`, behind it. `None` if anything is in the way:
/// damage, or frames too long to search through.
fn between(
    segment: &Segment,
    info: &SegmentInfo,
    goal: Goal,
    mut low: Place,
    end: Place,
) -> Option<(u64, Window)> {
    let wanted = goal.key();
    let mut window = Window::new();
    let (mut high, mut misses) = (end, 0);
    for turn in 0..TURNS {
        if low.offset >= high.offset {
            high = end;
        }
        let span = high.offset.saturating_sub(low.offset);
        let part = u128::from(span) * u128::from(wanted.saturating_sub(low.key))
            / u128::from(high.key.saturating_sub(low.key).max(1));
        let ahead = if turn < 6 { u64::try_from(part).unwrap_or(span).min(span) } else { span / 2 };
        if ahead <= WALK {
            let until = low.offset + 2 * WALK;
            while low.offset < until {
                let table = read(&mut window, segment, low.offset, info.end_offset)?;
                if goal.side(&table) != Side::Before {
                    return Some((low.offset, window));
                }
                low = goal.behind(low.offset, &table);
            }
            continue;
        }
        let at = low.offset + ahead - SHORT_OF;
        let Some(offset) = next_frame(&mut window, segment, at..high.offset, info.end_offset) else {
            // Where a long frame lies the way goes on in front of it, and over it in one step.
            misses += 1;
            if misses == MISSES {
                return None;
            }
            high.offset = at;
            continue;
        };
        let table = read(&mut window, segment, offset, info.end_offset)?;
        match goal.side(&table) {
            Side::Before => low = goal.behind(offset, &table),
            Side::Here => return Some((offset, window)),
            Side::Behind => high = goal.place(offset, &table),
        }
    }
    None
}

/// What is searched through at once for the beginning of a frame, and at most.
const PIECE: u64 = 8 << 10;
const MOST: u64 = 16 << 10;
/// So often nothing is found there, and then frames are too long for this.
const MISSES: u32 = 3;

/// The offset of the first frame that begins in the first bytes of this range.
fn next_frame(window: &mut Window, segment: &Segment, range: Range<u64>, limit: u64) -> Option<u64> {
    let end = range.end.min(range.start + MOST);
    let mut from = range.start;
    while from < end {
        // A header may begin in it and end behind it.
        let to = (from + PIECE).min(end + FRAME_HEADER_LEN as u64 - 1).min(limit);
        window.fill(&*segment.file, from, to).ok()?;
        let mut offset = from;
        while let Some(found) = find_header(segment.seed, offset, window.bytes(offset)) {
            offset += found as u64;
            if offset >= end {
                return None;
            }
            // Bytes that look like a header may have come over what is in the window of the rest.
            if read(window, segment, offset, limit).is_some() {
                return Some(offset);
            }
            offset += 1;
        }
        if to < from + PIECE {
            return None;
        }
        from = to - (FRAME_HEADER_LEN as u64 - 1);
    }
    None
}
