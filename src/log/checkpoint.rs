//! The short way to the state of a segment that was closed in good order: from a checkpoint near its end.
//!
//! A close record may state the whole state behind it. What stands in front of it is not read then, as it is not of
//! sealed segments: its bytes are verified when somebody reads them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::scan::{End, Ending, Tail, states};
use super::segment::Segment;
use super::window::{At, BLOCK, READ, Window};
use super::writer::SegmentWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Frame, FrameHeader, FrameKind, RecordKind, SegmentHeader, frame_len};
use crate::state::{Checkpoint, Op, State};

/// A checkpoint is worth its bytes, and perhaps a block of the disk, where so much stands between it and the last one: to read
/// as much takes some 50 us.
const APART: u64 = 128 << 10;
/// And it is worth a so-manieth part of what need not be read.
const SHARE: u64 = 8;
/// How far from the end one is looked for.
const REACH: u64 = 1 << 20;
/// In so many zeros a mark ends: the flags and the codec of its record.
const MARK_ZEROS: usize = 2;
/// None is longer, so that the last one is always within that reach.
const LONGEST: u64 = REACH / SHARE / 2;

/// How much stands behind the last record of the segment that states the whole state, if that is enough for another one.
pub(crate) fn is_due(log: &SegmentWriter) -> Option<u64> {
    log.end.checked_sub(log.checkpoint).filter(|behind| *behind >= APART)
}

/// The close record that is written behind this state, at this time, so far `behind` the last checkpoint: with one, if that is
/// worth its bytes.
pub(crate) fn close_with(log: &SegmentWriter, behind: u64, mut state: State, time: u64) -> Result<Op> {
    let told = |what: String| Error::new(ErrorKind::InvalidInput, "state a session").hint(what);
    state.apply_op(&Op::Close, time).map_err(|e| told(e.0))?;
    let len = state.encode().map_err(told)?.len() as u64;
    if len > LONGEST.min(behind / SHARE) {
        return Ok(Op::Close);
    }
    Ok(Op::CloseWith(Box::new(Checkpoint { low: log.low, low_seq: log.low_seq, state })))
}

impl Tail {
    /// The tail of a segment that was closed in good order, from the last checkpoint on. `None` if there is none, or anything
    /// is amiss: [`Tail::open`] reads everything, and says what.
    pub(crate) fn from_checkpoint(segment: &Arc<Segment>) -> Option<Tail> {
        let file = &*segment.file;
        let (begin, len) = (segment.header.carry_end(), file.len().ok()?);
        if len < begin + APART {
            return None;
        }
        let mut window = Window::new();
        // Whoever comes after a crash needs the snapshot.
        let first = window.at(file, segment.seed, SegmentHeader::LEN as u64, begin).ok()?;
        if !matches!(first, At::Frame(frame) if frame.header().kind == FrameKind::Snapshot && frame.verify().is_ok())
        {
            return None;
        }
        let mut from = len - READ as u64;
        window.fill(file, from, len).ok()?;
        // A clean close ends in a mark, whose last two bytes are zeros. More of them stand behind it, up to the next block.
        let zeros = window.bytes(from).iter().rev().take_while(|byte| **byte == 0).count();
        let behind = zeros.checked_sub(MARK_ZEROS).filter(|behind| *behind < BLOCK as usize)?;
        let end = len - behind as u64;
        let last = end.checked_sub(frame_len(1, 0) as u64)?;
        let (mut at, mut behind): (u64, Option<FrameHeader>) = (last, None);
        loop {
            if at < from {
                from = end.saturating_sub(REACH).max(begin);
                if at < from {
                    return None;
                }
                window.fill(file, from, end).ok()?;
            }
            let At::Frame(frame) = window.at(file, segment.seed, at, end).ok()? else { return None };
            let header = frame.header();
            match behind {
                None if frame.entries().next()?.kind != RecordKind::Mark => return None,
                Some(behind) if (behind.prev_crc, behind.prev_len) != (frame.crc(), frame.len() as u32) => {
                    return None;
                }
                _ => {}
            }
            if let Some(checkpoint) = checkpoint_in(&frame) {
                let (crc, len) = (frame.crc(), frame.len() as u32);
                checkpoint.check(segment.header.birth, frame.end_position()).ok()?;
                let mut tail = begun(segment, *checkpoint, &header, at, (crc, len))?;
                tail.advance().ok()?;
                let clean = tail.ending == Ending::Clean && !tail.torn && tail.damage.is_empty();
                return (clean && tail.offset == end).then_some(tail);
            }
            at = at.checked_sub(header.prev_len.into()).filter(|at| header.prev_len > 0 && *at >= begin)?;
            behind = Some(header);
        }
    }
}

/// The checkpoint that a good frame ends in.
fn checkpoint_in(frame: &Frame<'_>) -> Option<Box<Checkpoint>> {
    if frame.entries().next_back()?.kind != RecordKind::Op || frame.verify().is_err() {
        return None;
    }
    match Op::decode(frame.records().last()?.payload).ok()? {
        Op::CloseWith(checkpoint) => Some(checkpoint),
        _ => None,
    }
}

/// The tail as it was when this frame, at `at`, had been folded.
fn begun(
    segment: &Arc<Segment>,
    checkpoint: Checkpoint,
    header: &FrameHeader,
    at: u64,
    (crc, len): (u32, u32),
) -> Option<Tail> {
    let Checkpoint { low, low_seq, state } = checkpoint;
    if !states(header, &state) || low > segment.header.first_position || low_seq > state.next {
        return None;
    }
    let offset = at + u64::from(len);
    let before =
        End { position: header.first_position, offset: at, len: header.prev_len, crc: header.prev_crc };
    Some(Tail {
        segment: segment.clone(),
        low,
        low_seq,
        offset,
        last_crc: crc,
        last_len: len,
        mark: header.mark,
        trusted: before,
        above: VecDeque::from([End { position: state.position, offset, len, crc }]),
        checkpoint: offset,
        ending: Ending::Closing,
        essential: state.position,
        torn: false,
        zeros: (0, 0),
        damage: Vec::new(),
        next: None,
        state,
    })
}
