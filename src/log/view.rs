//! What a reader sees of a session at one moment, and the ways through it: forward over messages, backward
//! over their headers.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::message::{Buffer, Message};
use super::resync::next_frame;
use super::segment::{Owner, Segment};
use super::window::{At, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Extras, Frame, FrameFault, FrameKind, RecordKind, SegmentHeader, TURN_START};
use crate::fs::Dir;
use crate::state::{Extent, SegmentInfo};

/// A segment that a view can read: opened when first needed, closed when nobody reads it any more.
pub(crate) struct Source {
    pub(crate) info: SegmentInfo,
    open: Mutex<Opened>,
    /// The active segment stays open.
    pinned: Option<Arc<Segment>>,
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

    fn segment(&self, dir: &dyn Dir, owner: Owner) -> Result<Arc<Segment>> {
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
                &segment.path,
                56,
                "it is another segment than the one that was sealed here",
            ));
        }
        open.segment = Arc::downgrade(&segment);
        Ok(segment)
    }

    /// Keeps the segment readable for the views that name it, though its file is removed.
    pub(crate) fn keep(&self, dir: &dyn Dir, owner: Owner) {
        if let Ok(segment) = self.segment(dir, owner) {
            self.open.lock().kept = Some(segment);
        }
    }
}

/// Segments and extents at one moment. What it reads never changes: appends go behind `active`'s end, and a
/// segment file is immutable below its end.
#[derive(Clone)]
pub(crate) struct View {
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
    pub(crate) tokens: u64,
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
    fn holder(&self, position: u64) -> Option<(SegmentInfo, Arc<Source>, u64)> {
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
    fn holder_of(&self, extent: &Extent, seq: u64) -> u64 {
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

    /// Visits the headers of the messages of the extents from the last to the first, until told to stop.
    ///
    /// # Errors
    /// The first damage on the way.
    pub(crate) fn walk_back(&self, mut visit: impl FnMut(Head) -> ControlFlow<()>) -> Result<()> {
        let mut heads = Vec::new();
        for extent in self.extents.iter().rev() {
            let mut to = extent.to;
            while to > extent.from {
                let Some((info, source, _)) = self.holder(to - 1) else { break };
                let segment = source.segment(&*self.dir, self.owner)?;
                let mut back = Backward::new(&segment, &info);
                while let Some((frame, _)) = back.step()? {
                    let first = frame.header().first_position;
                    if first < to {
                        heads.clear();
                        for r in frame.records() {
                            let inside = r.position >= extent.from && r.position < to;
                            let mine = r.seq >= extent.seq && r.seq < extent.end();
                            if r.kind == RecordKind::Message && inside && mine {
                                let extras = Extras::decode(r.extras).unwrap_or_default();
                                heads.push(Head {
                                    seq: r.seq,
                                    position: r.position,
                                    bytes: r.payload.len() as u64,
                                    tokens: u64::from(extras.tokens.unwrap_or(0)),
                                    turn_start: r.flags & TURN_START != 0,
                                });
                            }
                        }
                        for head in heads.drain(..).rev() {
                            if visit(head).is_break() {
                                return Ok(());
                            }
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
            let segment = source.segment(&*self.dir, self.owner)?;
            let start = seek(&segment, &info, position, None)?;
            let mut run = Run { segment, window: Window::new(), offset: start, limit: info.end_offset };
            let path = run.segment.path.clone();
            loop {
                let offset = run.offset;
                match run.step() {
                    Step::Frame(frame, _, _) => {
                        if frame.header().first_position >= stop && frame.header().kind != FrameKind::Snapshot
                        {
                            break;
                        }
                        let len = frame.len() as u64;
                        if frame.header().kind != FrameKind::Snapshot {
                            let damaged = |f: FrameFault| Error::corrupt(&path, offset, f.to_string());
                            frame.verify().map_err(damaged)?;
                            take(&frame, position..stop)?;
                            position = position.max(frame.end_position()).min(stop);
                        }
                        run.offset += len;
                    }
                    Step::End => break,
                    Step::Failed(e) => return Err(e),
                }
            }
            position = position.max(stop);
        }
        Ok(())
    }
}

/// The offset of the first frame that ends behind `position` and, if `seq` is given, holds it or a later one.
/// Walks from the nearer end.
fn seek(segment: &Arc<Segment>, info: &SegmentInfo, position: u64, seq: Option<u64>) -> Result<u64> {
    let start = SegmentHeader::LEN as u64;
    let wanted = seq.unwrap_or(0);
    if position <= info.low && wanted <= info.low_seq {
        return Ok(start);
    }
    let mut back = Backward::new(segment, info);
    let mut best = info.end_offset;
    loop {
        match back.step() {
            Ok(Some((frame, offset))) => {
                if frame.header().kind == FrameKind::Snapshot
                    || frame.end_position() <= position
                    || (seq.is_some() && frame.header().next() <= wanted)
                {
                    return Ok(best);
                }
                best = offset;
            }
            Ok(None) => return Ok(best),
            // Damage on the way back: the way from the front goes around it.
            Err(_) => return Ok(start),
        }
    }
}

/// Walks a segment's frames from its end to its beginning.
struct Backward<'a> {
    segment: &'a Arc<Segment>,
    window: Window,
    end: u64,
    len: u32,
    limit: u64,
    size: u64,
}

impl<'a> Backward<'a> {
    fn new(segment: &'a Arc<Segment>, info: &SegmentInfo) -> Backward<'a> {
        Backward {
            segment,
            window: Window::new(),
            end: info.end_offset,
            len: info.end_len,
            limit: info.end_offset,
            size: 32 << 10,
        }
    }

    /// The frame before the last one returned, and its offset.
    fn step(&mut self) -> Result<Option<(Frame<'_>, u64)>> {
        let segment = self.segment;
        let io = |e| Error::io("read a segment", &segment.path, e);
        let first = SegmentHeader::LEN as u64;
        if self.len == 0 || self.end <= first {
            return Ok(None);
        }
        let Some(offset) = self.end.checked_sub(u64::from(self.len)).filter(|o| *o >= first) else {
            return Err(Error::corrupt(
                &segment.path,
                self.end,
                "the length of the frame before is too large",
            ));
        };
        if self.window.bytes(offset).len() < self.len as usize {
            let from = self.end.saturating_sub(self.size.max(u64::from(self.len))).max(first);
            self.size = (self.size * 2).min(1 << 20);
            self.window.fill(&*segment.file, from, self.end).map_err(io)?;
        }
        match self.window.at(&*segment.file, segment.seed, offset, self.limit).map_err(io)? {
            At::Frame(frame, _, _) => {
                self.end = offset;
                self.len = frame.header().prev_len;
                Ok(Some((frame, offset)))
            }
            At::End => Err(Error::corrupt(&segment.path, offset, "zeros where a commit was written")),
            At::Fault(fault) => Err(Error::corrupt(&segment.path, offset, fault.to_string())),
        }
    }
}

/// A walk forward over one segment.
pub(super) struct Run {
    segment: Arc<Segment>,
    window: Window,
    offset: u64,
    limit: u64,
}

enum Step<'a> {
    Frame(Frame<'a>, &'a Arc<Buffer>, usize),
    End,
    Failed(Error),
}

impl Run {
    fn step(&mut self) -> Step<'_> {
        if self.offset >= self.limit {
            return Step::End;
        }
        let Run { segment, window, offset, limit } = self;
        match window.at(&*segment.file, segment.seed, *offset, *limit) {
            Ok(At::Frame(frame, buffer, at)) => Step::Frame(frame, buffer, at),
            Ok(At::End) => Step::Failed(Error::corrupt(
                &segment.path,
                *offset,
                "zeros or nothing where commits were written",
            )),
            Ok(At::Fault(fault)) => Step::Failed(Error::corrupt(&segment.path, *offset, fault.to_string())),
            Err(e) => Step::Failed(Error::io("read a segment", &segment.path, e)),
        }
    }

    /// Moves behind damage; false if nothing good follows.
    fn resync(&mut self) -> bool {
        match next_frame(&*self.segment.file, self.segment.seed, self.offset, self.limit, 0) {
            Ok(Some(found)) => {
                self.offset = found;
                true
            }
            _ => false,
        }
    }
}

/// Messages of a view, read in order. See `Messages` for what it promises.
pub(crate) struct Stream {
    pub(super) view: View,
    /// What is still to be read; the first is the one under way.
    pub(super) extents: VecDeque<Extent>,
    pub(super) run: Option<(Run, u64)>,
    /// Where the next run begins; `None` at the beginning of an extent.
    pub(super) position: Option<u64>,
    ready: VecDeque<Result<Message>>,
    bulk: bool,
    /// An error was handed out for the extent under way, so that what is missing of it is known.
    pub(super) failed: bool,
    lost: Option<Error>,
    /// How often in a row the session was looked at again.
    pub(super) renewals: u32,
}

impl Stream {
    /// How many messages are still to come, damage aside.
    pub(crate) fn remaining(&self) -> u64 {
        self.ready.len() as u64 + self.extents.iter().map(|e| e.count).sum::<u64>()
    }

    pub(crate) fn next(&mut self) -> Option<Result<Message>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if !self.fill() {
                return self.lost.take().map(Err);
            }
        }
    }

    /// Does one step; false when there is nothing more.
    fn fill(&mut self) -> bool {
        let Some(extent) = self.extents.front().copied() else { return false };
        if extent.count == 0 {
            self.extents.pop_front();
            self.run = None;
            self.position = None;
            self.failed = false;
            return true;
        }
        if self.run.is_none() && !self.start_run(&extent) {
            self.give_up(&extent);
            return true;
        }
        let Some((run, stop)) = &mut self.run else { return true };
        let (base, stop, segment) = (run.offset, *stop, run.segment.clone());
        match run.step() {
            Step::Frame(frame, buffer, at) => {
                let h = frame.header();
                let (kind, first, end, len) =
                    (h.kind, h.first_position, frame.end_position(), frame.len() as u64);
                if first >= stop && kind != FrameKind::Snapshot {
                    self.finish_run();
                    return true;
                }
                if kind != FrameKind::Snapshot && end > extent.from {
                    let Some(front) = self.extents.front_mut() else { return false };
                    for r in frame.records() {
                        let inside = r.position >= extent.from && r.position < stop;
                        let wanted = r.seq >= front.seq && r.seq < front.end();
                        if r.kind != RecordKind::Message || !inside || !wanted {
                            continue;
                        }
                        if r.seq > front.seq && !self.failed {
                            self.ready.push_back(Err(missing(&segment, base, front.seq, r.seq)));
                        }
                        self.failed = false;
                        self.renewals = 0;
                        front.count = front.end() - r.seq - 1;
                        front.seq = r.seq + 1;
                        if let Err(fault) = r.verify() {
                            self.ready.push_back(Err(Error::corrupt(
                                &segment.path,
                                r.body_offset,
                                format!("message {}: {fault}", r.seq),
                            )));
                            continue;
                        }
                        let body = at + (r.body_offset - base) as usize;
                        let payload = body + r.extras.len();
                        self.ready.push_back(Ok(Message {
                            buffer: buffer.clone(),
                            extras: body..payload,
                            body: payload..payload + r.payload.len(),
                            seq: r.seq,
                            time: r.time,
                            flags: r.flags,
                            codec: r.codec,
                            confirmed: r.position < self.view.mark,
                        }));
                    }
                }
                run.offset += len;
            }
            Step::End => self.finish_run(),
            Step::Failed(e) => {
                self.ready.push_back(Err(e));
                self.failed = true;
                if !run.resync() {
                    self.finish_run();
                }
            }
        }
        true
    }

    /// Opens the segment that comes next; false if there is none or it cannot be opened.
    fn start_run(&mut self, extent: &Extent) -> bool {
        let (position, seq) = match self.position {
            Some(p) => (p, None),
            None => (self.view.holder_of(extent, extent.seq), Some(extent.seq)),
        };
        if position >= extent.to {
            return false;
        }
        let Some((info, source, high)) = self.view.holder(position) else { return false };
        let stop = high.min(info.end).min(extent.to);
        if stop <= position {
            // A stretch that no segment holds: go on where one begins.
            self.position = Some(high.min(extent.to));
            return high < extent.to && self.start_run(extent);
        }
        let opened = source.segment(&*self.view.dir, self.view.owner).and_then(|segment| {
            let offset = seek(&segment, &info, position, seq)?;
            Ok((segment, offset))
        });
        match opened {
            Ok((segment, offset)) => {
                let sealed = source.pinned.is_none();
                let map =
                    if self.bulk && self.view.map && sealed { segment.map(info.end_offset) } else { None };
                let window = map.map_or_else(Window::new, Window::mapped);
                self.run = Some((Run { segment, window, offset, limit: info.end_offset }, stop));
                true
            }
            Err(e) if self.renew(&e, info.number) => true,
            Err(e) => {
                // The rest may still be readable from the segments behind this one.
                self.ready.push_back(Err(e));
                self.failed = true;
                self.position = Some(stop);
                true
            }
        }
    }

    fn finish_run(&mut self) {
        if let Some((_, stop)) = self.run.take() {
            self.position = Some(stop);
        }
    }

    /// No segment has the rest of this extent.
    fn give_up(&mut self, extent: &Extent) {
        if extent.to == 0 {
            let (first, last) = (extent.seq, extent.end() - 1);
            self.ready.push_back(Err(Error::new(ErrorKind::NotFound, "read messages")
                .path(self.view.dir.path())
                .hint(format!("messages {first} to {last} were removed while they were read"))));
        } else if !self.failed {
            let path = self
                .view
                .active
                .pinned
                .as_ref()
                .map_or_else(|| self.view.dir.path().to_path_buf(), |s| s.path.clone());
            self.ready.push_back(Err(Error::corrupt(
                path,
                self.view.active_end.1,
                format!("messages {} to {} are in no segment that is here", extent.seq, extent.end() - 1),
            )));
        }
        if let Some(front) = self.extents.front_mut() {
            front.count = 0;
        }
    }
}

fn missing(segment: &Segment, offset: u64, from: u64, to: u64) -> Error {
    Error::corrupt(
        &segment.path,
        offset,
        format!("messages {from} to {} are missing in front of this commit", to - 1),
    )
}
