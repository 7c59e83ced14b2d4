//! What a reader sees of a session at one moment.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::run::{Backward, Run, Whole, tokens};
use super::seek::seek;
use super::segment::{Owner, Segment};
use super::stream::Stream;
use super::window::Window;
use crate::error::{Error, Result};
use crate::format::{Entry, Frame, FrameFault, FrameKind, RecordKind, TURN_START};
use crate::fs::Dir;
use crate::ids::SessionId;
use crate::state::{Extent, SegmentInfo};

/// A segment that a view can read: opened when first needed, closed when nobody reads it any more.
pub(crate) struct Source {
    pub(crate) info: SegmentInfo,
    open: Mutex<Opened>,
    /// The active segment stays open.
    pub(super) pinned: Option<Arc<Segment>>,
}

#[derive(Default)]
struct Opened {
    segment: Weak<Segment>,
    /// Its file is going: it stays open for the views that are left.
    kept: Option<Arc<Segment>>,
}

impl Source {
    pub(crate) fn sealed(info: SegmentInfo) -> Arc<Source> {
        Arc::new(Source { info, open: Mutex::default(), pinned: None })
    }

    /// The active segment; the end in `info` is where the view's trust ends.
    pub(crate) fn active(info: SegmentInfo, segment: Arc<Segment>) -> Arc<Source> {
        Arc::new(Source { info, open: Mutex::default(), pinned: Some(segment) })
    }

    pub(crate) fn segment(&self, dir: &Arc<dyn Dir>, owner: Owner) -> Result<Arc<Segment>> {
        if let Some(pinned) = &self.pinned {
            return Ok(pinned.clone());
        }
        let mut open = self.open.lock();
        if let Some(segment) = open.segment.upgrade() {
            return Ok(segment);
        }
        let segment = Arc::new(Segment::open(dir, self.info.number, owner)?);
        if segment.header.salt != self.info.salt {
            return Err(Error::corrupt(
                segment.path(),
                56,
                "it is another segment than the one that was sealed here",
            ));
        }
        open.segment = Arc::downgrade(&segment);
        Ok(segment)
    }

    /// Keeps the segment readable for the views that name it, though its file is removed.
    pub(crate) fn keep(&self, dir: &Arc<dyn Dir>, owner: Owner) {
        if let Ok(segment) = self.segment(dir, owner) {
            self.open.lock().kept = Some(segment);
        }
    }
}

/// Segments and extents at one moment. What it reads never changes: appends go behind `active`'s end, and a
/// segment file is immutable below its end.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) id: SessionId,
    pub(crate) dir: Arc<dyn Dir>,
    pub(crate) owner: Owner,
    /// The sealed segments, in order of their numbers.
    pub(crate) sealed: Arc<Vec<Arc<Source>>>,
    pub(crate) active: Arc<Source>,
    /// The end of the active segment, which moves on while `active` stays.
    pub(crate) active_end: (u64, u64, u32),
    pub(crate) extents: Vec<Extent>,
    /// Positions below it are durable.
    pub(crate) mark: u64,
    /// Whether sealed segments may be mapped.
    pub(crate) map: bool,
    /// The live range goes on where it cannot be read: what a reader is told behind the last message.
    pub(crate) lost: Option<Error>,
}

/// A message's header, met on the way back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
    /// An estimate; `None` if the message is damaged, and it was asked for to be sure.
    pub(crate) tokens: Option<u64>,
    pub(crate) turn_start: bool,
}

impl View {
    fn infos(&self) -> impl DoubleEndedIterator<Item = (SegmentInfo, &Arc<Source>)> {
        let (end, end_offset, end_len) = self.active_end;
        let active = SegmentInfo { end, end_offset, end_len, ..self.active.info };
        self.sealed.iter().map(|s| (s.info, s)).chain(std::iter::once((active, &self.active)))
    }

    /// The segment from which `position` is read, the position at which that ends, and its facts: what several
    /// segments hold is read from the newest, because a copy is checked and synced before its name exists.
    pub(super) fn holder(&self, position: u64) -> Option<(SegmentInfo, Arc<Source>, u64)> {
        let mut high = u64::MAX;
        for (info, source) in self.infos().rev() {
            if info.low <= position {
                return Some((info, source.clone(), high));
            }
            high = high.min(info.low);
        }
        None
    }

    /// The newest segment that may hold message `seq` of this extent.
    pub(super) fn holder_of(&self, extent: &Extent, seq: u64) -> u64 {
        for (info, _) in self.infos().rev() {
            if info.low < extent.to && info.low_seq <= seq {
                return info.low.max(extent.from);
            }
            if info.low <= extent.from {
                break;
            }
        }
        extent.from
    }

    /// The messages `[from, to)` of the view's extents, in order.
    pub(crate) fn messages(&self, from: u64, to: u64, bulk: bool) -> Stream {
        let extents: VecDeque<Extent> = self
            .extents
            .iter()
            .filter_map(|e| {
                let seq = e.seq.max(from);
                let end = e.end().min(to);
                (seq < end).then(|| Extent { seq, count: end - seq, ..*e })
            })
            .collect();
        // Who asks for the end is told that it is not the end.
        let ends = self.extents.last().is_none_or(|e| e.end() <= to);
        let lost = self.lost.clone().filter(|_| ends);
        Stream {
            view: self.clone(),
            extents,
            run: None,
            position: None,
            ready: VecDeque::new(),
            bulk,
            failed: false,
            lost,
            renewals: 0,
        }
    }

    /// Visits the headers of the messages of the extents from the last to the first, until told to stop. To be `sure` of
    /// the tokens costs reading the payloads.
    ///
    /// # Errors
    /// The first damage on the way.
    pub(crate) fn walk_back(&self, sure: bool, mut visit: impl FnMut(Head) -> ControlFlow<()>) -> Result<()> {
        for extent in self.extents.iter().rev() {
            let mut to = extent.to;
            while to > extent.from {
                let Some((info, source, _)) = self.holder(to - 1) else { break };
                let segment = source.segment(&self.dir, self.owner)?;
                let mut back = Backward::new(&segment, &info);
                let mut bodies = Window::new();
                while let Some((table, _)) = back.step()? {
                    let first = table.header().first_position;
                    let wanted = |e: &Entry| {
                        let inside = e.position >= extent.from && e.position < to;
                        let mine = e.seq >= extent.seq && e.seq < extent.end();
                        e.kind == RecordKind::Message && inside && mine
                    };
                    for e in table.entries().rev().filter(wanted) {
                        let head = Head {
                            seq: e.seq,
                            position: e.position,
                            bytes: e.len as u64,
                            tokens: tokens(&segment, &mut bodies, &e, sure)?,
                            turn_start: e.flags & TURN_START != 0,
                        };
                        if visit(head).is_break() {
                            return Ok(());
                        }
                    }
                    if first <= extent.from {
                        break;
                    }
                }
                to = info.low.min(to - 1).max(extent.from);
            }
        }
        Ok(())
    }

    /// Hands the commits that hold the records at positions `[from, end)` to `take`, in order, each with the
    /// range of positions that counts: what a new segment carries.
    ///
    /// # Errors
    /// Any damage: what cannot be read whole is not carried.
    pub(crate) fn frames(
        &self,
        from: u64,
        mut take: impl FnMut(&Frame<'_>, Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let end = self.active_end.0;
        let mut position = from;
        while position < end {
            let Some((info, source, high)) = self.holder(position) else { break };
            let stop = high.min(info.end);
            if stop <= position {
                // A stretch that no segment holds, as a repair leaves it: go on where one begins.
                position = high;
                continue;
            }
            let segment = source.segment(&self.dir, self.owner)?;
            let (start, window) = seek(&segment, &info, position, None);
            let mut run = Run::new(segment.clone(), window, start, info.end_offset, true);
            loop {
                let offset = run.offset;
                match run.whole() {
                    Whole::Frame(frame) => {
                        if frame.header().first_position >= stop && frame.header().kind != FrameKind::Snapshot
                        {
                            break;
                        }
                        let len = frame.len() as u64;
                        if frame.header().kind != FrameKind::Snapshot {
                            let damaged =
                                |f: FrameFault| Error::corrupt(segment.path(), offset, f.to_string());
                            frame.verify().map_err(damaged)?;
                            take(&frame, position..stop)?;
                            position = position.max(frame.end_position()).min(stop);
                        }
                        run.offset += len;
                    }
                    Whole::End => break,
                    Whole::Failed(e) => return Err(e),
                }
            }
            position = position.max(stop);
        }
        Ok(())
    }
}
