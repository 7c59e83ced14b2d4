//! The ways through a segment: forward over frames, backward over their heads.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::resync::{Search, Wanted};
use super::segment::Segment;
use super::window::{At, Found, READ, Window};
use crate::error::{Error, Result};
use crate::format::{Cursor, Entry, Extras, Frame, FrameKind, RecordKind, SegmentHeader, Table};
use crate::state::SegmentInfo;

/// The estimate of a message's tokens, which stands in its extras. `bodies` holds what was read around it. To be `sure`
/// reads the payload too; then `None` is the answer if they are not what was written.
pub(super) fn tokens(
    segment: &Segment,
    bodies: &mut Window,
    entry: &Entry,
    sure: bool,
) -> Result<Option<u64>> {
    /// What is read at once on the way back.
    const STRETCH: u64 = 16 << 10;
    if entry.extras_len == 0 {
        return Ok(Some(0));
    }
    let needed = if sure { entry.body_len() } else { entry.extras_len };
    let (from, to) = (entry.body_offset, entry.body_offset + needed as u64);
    if !bodies.covers(from, to) {
        let from = to.saturating_sub(STRETCH).min(from);
        bodies.fill(&*segment.file, from, to).map_err(|e| Error::io("read a segment", segment.path(), e))?;
    }
    let body = bodies.bytes(from);
    let body = body.get(..needed).unwrap_or(body);
    if sure && entry.verify(body).is_err() {
        return Ok(None);
    }
    let extras = Extras::decode(body.get(..entry.extras_len).unwrap_or_default()).unwrap_or_default();
    Ok(Some(u64::from(extras.tokens.unwrap_or(0))))
}

/// Walks over the headers and tables of a segment's frames from its end to its beginning.
pub(super) struct Backward<'a> {
    segment: &'a Arc<Segment>,
    pub(super) window: Window,
    end: u64,
    len: u32,
    limit: u64,
    size: u64,
}

/// What is read at once on the way back, at first.
const BACK: u64 = 24 << 10;
/// And of a frame that is larger, where its head is: some 1,200 entries.
const HEAD: u64 = 16 << 10;

impl<'a> Backward<'a> {
    pub(super) fn new(segment: &'a Arc<Segment>, info: &SegmentInfo) -> Backward<'a> {
        Backward {
            segment,
            window: Window::new(),
            end: info.end_offset,
            len: info.end_len,
            limit: info.end_offset,
            size: BACK,
        }
    }

    /// The frame before the last one returned, and its offset.
    pub(super) fn step(&mut self) -> Result<Option<(Table<'_>, u64)>> {
        let segment = self.segment;
        let io = |e| Error::io("read a segment", segment.path(), e);
        let first = SegmentHeader::LEN as u64;
        if self.len == 0 || self.end <= first {
            return Ok(None);
        }
        let Some(offset) = self.end.checked_sub(u64::from(self.len)).filter(|o| *o >= first) else {
            return Err(Error::corrupt(
                segment.path(),
                self.end,
                "the length of the frame before is too large",
            ));
        };
        if self.window.bytes(offset).len() < self.len as usize {
            if u64::from(self.len) > self.size {
                // A large frame: its head alone; what a longer table takes is read as well.
                self.window.fill(&*segment.file, offset, offset + HEAD).map_err(io)?;
            } else {
                let from = self.end.saturating_sub(self.size).max(first);
                self.size = (self.size * 2).min(1 << 20);
                self.window.fill(&*segment.file, from, self.end).map_err(io)?;
            }
        }
        let damaged = |what: String| Error::corrupt(segment.path(), offset, what);
        match self.window.find(&*segment.file, segment.seed, offset, self.limit).map_err(io)? {
            Found::Frame { head_len, .. } => {
                let window = &mut self.window;
                let judged = window.judge(segment.seed, offset, head_len);
                let table = judged.and_then(|()| window.table(segment.seed, offset, head_len));
                let table = table.map_err(|fault| damaged(fault.to_string()))?;
                self.end = offset;
                self.len = table.header().prev_len;
                Ok(Some((table, offset)))
            }
            Found::End => Err(damaged(NOTHING.to_owned())),
            Found::Fault(fault) => Err(damaged(fault.to_string())),
        }
    }
}

const NOTHING: &str = "zeros or nothing where commits were written";

/// The messages that are looked for.
pub(super) struct Want {
    pub(super) positions: Range<u64>,
    pub(super) seqs: Range<u64>,
}

impl Want {
    #[inline]
    pub(super) fn holds(&self, e: &Entry) -> bool {
        e.kind == RecordKind::Message && self.positions.contains(&e.position) && self.seqs.contains(&e.seq)
    }

    /// No record in front of this one is wanted.
    fn begins_behind(&self, e: &Entry) -> bool {
        e.position < self.positions.start || (e.kind == RecordKind::Message && e.seq < self.seqs.start)
    }

    /// The first and the last that are wanted of a frame.
    fn ends<'a>(&self, table: &Table<'a>) -> Option<(Entry, Entry)> {
        let mut back = table.entries().rev();
        let last = back.find(|e| self.holds(e))?;
        let first = table
            .entries()
            .next()
            .filter(|e| self.holds(e))
            .or_else(|| back.take_while(|e| !self.begins_behind(e)).filter(|e| self.holds(e)).last());
        Some((first.unwrap_or(last), last))
    }
}

/// A walk forward over one segment.
pub(super) struct Run {
    pub(super) segment: Arc<Segment>,
    pub(super) window: Window,
    /// Of the frame that is next.
    pub(super) offset: u64,
    pub(super) limit: u64,
    /// The frame that [`Run::step`] met last: where it is, and what is still to come of it.
    pub(super) frame: u64,
    records: Cursor,
    /// Bodies of a large frame, a stretch at a time: the window has its table, and keeps that.
    bodies: Option<Window>,
    /// Where the last one ends that is wanted of it.
    bodies_end: u64,
    /// What follows will be wanted too.
    bulk: bool,
}

/// So many blocks that cannot be read are passed over, one after the other: a disk may take a second to say so of each.
const UNREADABLE: u32 = 64;

/// A frame that a run met.
pub(super) enum Whole<'a> {
    Frame(Frame<'a>),
    End,
    Failed(Error),
}

/// What a run met: of a large frame no more bodies were read than what is wanted of it.
pub(super) enum Step {
    /// A frame. Its records, or at least those that are wanted, come from [`Run::record`].
    Frame,
    /// Nothing that is wanted is here or behind it.
    End,
    Failed(Error),
}

impl Run {
    pub(super) fn new(segment: Arc<Segment>, window: Window, offset: u64, limit: u64, bulk: bool) -> Run {
        let (frame, bodies_end) = (offset, offset);
        Run { segment, window, offset, limit, frame, records: Cursor::END, bodies: None, bodies_end, bulk }
    }

    pub(super) fn whole(&mut self) -> Whole<'_> {
        if self.offset >= self.limit {
            return Whole::End;
        }
        let Run { segment, window, offset, limit, .. } = self;
        match window.at(&*segment.file, segment.seed, *offset, *limit) {
            Ok(At::Frame(frame)) => Whole::Frame(frame),
            Ok(At::End) => Whole::Failed(Error::corrupt(segment.path(), *offset, NOTHING)),
            Ok(At::Fault(fault)) => Whole::Failed(Error::corrupt(segment.path(), *offset, fault.to_string())),
            Err(e) => Whole::Failed(Error::io("read a segment", segment.path(), e)),
        }
    }

    /// Goes to the next frame. One without any of the wanted positions has no records.
    #[inline]
    pub(super) fn step(&mut self, want: &Want) -> Step {
        if self.offset >= self.limit {
            return Step::End;
        }
        let Run { segment, window, offset, limit, .. } = self;
        let (offset, limit) = (*offset, *limit);
        let damaged = |what: String| Step::Failed(Error::corrupt(segment.path(), offset, what));
        let io = |e| Step::Failed(Error::io("read a segment", segment.path(), e));
        let (len, head_len) = match window.find(&*segment.file, segment.seed, offset, limit) {
            Ok(Found::Frame { len, head_len }) => (len, head_len),
            Ok(Found::End) => return damaged(NOTHING.to_owned()),
            Ok(Found::Fault(fault)) => return damaged(fault.to_string()),
            Err(e) => return io(e),
        };
        let end = offset + len as u64;
        if let Err(fault) = window.judge(segment.seed, offset, head_len) {
            return damaged(fault.to_string());
        }
        let whole = window.covers(offset, end);
        let table = match window.table(segment.seed, offset, head_len) {
            Ok(table) => table,
            Err(fault) => return damaged(fault.to_string()),
        };
        let snapshot = table.header().kind == FrameKind::Snapshot;
        if !snapshot && table.header().first_position >= want.positions.end {
            return Step::End;
        }
        let (mut records, count, first_seq) = (table.cursor(), table.count(), table.first_seq());
        if snapshot || table.end_position() <= want.positions.start {
            records = Cursor::END;
        } else if !whole {
            match want.ends(&table) {
                None => records = Cursor::END,
                Some((first, last)) => {
                    records = records.at(&first);
                    self.bodies_end = last.body_offset + last.body_len() as u64;
                }
            }
        }
        window.expect(len / count.max(1), want.seqs.end.saturating_sub(first_seq));
        if !whole && records.left() > 0 && !window.is_mapped() && (count == 1 || self.bulk && len <= READ) {
            // What is in the window of it stays: it was judged.
            let limit = if self.bulk { limit } else { end };
            if let Err(e) = window.extend_ahead(&*segment.file, offset, end, limit) {
                return io(e);
            }
        }
        self.records = records;
        self.frame = offset;
        self.offset = end;
        Step::Frame
    }

    /// True if records of the frame that [`step`](Run::step) met are still to come.
    #[inline]
    pub(super) fn under_way(&self) -> bool {
        self.records.left() > 0
    }

    /// The next record of that frame.
    #[inline]
    pub(super) fn record(&mut self) -> Option<Entry> {
        self.records.next(self.window.bytes(self.records.entry_offset()))
    }

    /// A window with the body of one of its records, as far as it is there.
    #[inline]
    pub(super) fn fetch(&mut self, e: &Entry) -> io::Result<&Window> {
        let (from, len) = (e.body_offset, e.body_len());
        let to = from + len as u64;
        if self.window.covers(from, to) || self.window.reach(from, len) {
            return Ok(&self.window);
        }
        let bodies = self.bodies.get_or_insert_with(Window::new);
        bodies.expect(len, u64::MAX);
        bodies.extend_ahead(&*self.segment.file, from, to, self.bodies_end)?;
        Ok(bodies)
    }

    /// Lets go of bodies that were read on their own, once the last record was taken.
    pub(super) fn let_go(&mut self) {
        if !self.under_way() {
            self.bodies = None;
        }
    }

    /// Moves behind damage, and behind what cannot be read; false if nothing good follows.
    pub(super) fn resync(&mut self) -> bool {
        let Run { segment, limit, .. } = self;
        let (file, seed, wanted) = (&*segment.file, segment.seed, Wanted::Head);
        let search = Search { file, seed, limit: *limit, position: 0, wanted, unreadable: UNREADABLE };
        match search.behind(self.offset) {
            Ok(Some(found)) => {
                self.offset = found;
                true
            }
            _ => false,
        }
    }
}
