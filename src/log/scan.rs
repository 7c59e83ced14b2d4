//! The fold of the last segment: snapshot, carry block, and the commits behind them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::resync::{Search, Wanted};
use super::segment::Segment;
use super::window::{At, READ, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    CRITICAL, Extras, Frame, FrameFault, FrameHeader, FrameKind, Record, RecordKind, SegmentHeader, Successor,
};
use crate::fs::{File, read_exact_at, write_all_at};
use crate::state::{Checkpoint, Contradiction, MessageFacts, Op, SegmentInfo, State, op_error};

/// A stretch of a segment that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    /// The offset of the next good frame, or of the end.
    pub(crate) until: u64,
    pub(crate) what: String,
    /// It may hide a journal record: what the session's state was behind it is not certain.
    pub(crate) hides_state: bool,
}

/// Where a frame ends: the position and the offset behind it, its length and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) position: u64,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

/// How the segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A writer is still at work, or died.
    Open,
    /// A close record, and not the mark behind it.
    Closing,
    /// A close record and a mark that says that all in front of it is durable, or the catalog's word for it; nothing but zeros behind.
    Clean,
}

/// The fold of a segment up to its last good frame; can go on when the file has grown.
pub(crate) struct Tail {
    pub(crate) segment: Arc<Segment>,
    pub(crate) state: State,
    /// The first position in it, carried ones included.
    pub(crate) low: u64,
    /// The sequence of the first message in it, carried ones included.
    pub(crate) low_seq: u64,
    /// The offset behind the last good frame.
    pub(crate) offset: u64,
    pub(crate) last_crc: u32,
    pub(crate) last_len: u32,
    /// Positions below it are durable: some frame says so.
    pub(crate) mark: u64,
    /// Where the frames below the mark end: what stands behind may be in the page cache alone.
    pub(crate) trusted: End,
    /// Where the good frames above the mark end, in order.
    pub(super) above: VecDeque<End>,
    /// The offset behind the last record that states the whole state.
    pub(crate) checkpoint: u64,
    pub(crate) ending: Ending,
    /// The position behind the last record that says more than that the log was closed: what must be durable at a clean end.
    pub(crate) essential: u64,
    /// Bytes behind the end that are neither zeros nor a good frame.
    pub(crate) torn: bool,
    /// Up to this offset nothing but zeros lay behind the end, so many looks ago.
    pub(super) zeros: (u64, u8),
    pub(crate) damage: Vec<Damage>,
    /// The successor that the witness behind the end names: number and salt.
    pub(crate) next: Option<(u64, u64)>,
}

impl Tail {
    /// Reads the snapshot and the carry block, and folds the commits behind them.
    pub(crate) fn open(segment: Arc<Segment>) -> Result<Tail> {
        let start = SegmentHeader::LEN as u64;
        let carry_end = segment.header.carry_end();
        let mut window = Window::new();
        let io = |e| Error::io("read a segment", segment.path(), e);
        let corrupt = |at: u64, what: String| Error::corrupt(segment.path(), at, what);

        let mut offset = start;
        let (mut last_crc, mut last_len) = (0u32, 0u32);
        let (mut state, mut damage) = (None, Vec::new());
        let (mut low, mut low_seq) = (segment.header.first_position, None);
        while offset < carry_end {
            let at = window.at(&*segment.file, segment.seed, offset, carry_end).map_err(io)?;
            let frame = match at {
                At::Frame(frame) => frame,
                At::End => {
                    return Err(corrupt(offset, "zeros where the state of the session was written".into()));
                }
                At::Fault(fault @ FrameFault::Kind(_)) => return Err(unsupported(&segment, offset, &fault)),
                At::Fault(fault) => {
                    return Err(corrupt(offset, format!("the state of the session cannot be read: {fault}")));
                }
            };
            match (frame.verify(), frame.header().kind) {
                (Ok(()), _) => {}
                // A copy is looked up and never folded: what rots in it is one message's damage, and no state's.
                (Err(fault), FrameKind::Carry) => damage.push(Damage {
                    offset,
                    until: offset + frame.len() as u64,
                    what: fault.to_string(),
                    hides_state: false,
                }),
                (Err(fault), _) => return Err(corrupt(offset, fault.to_string())),
            }
            if frame.header().prev_crc != last_crc || frame.header().prev_len != last_len {
                return Err(corrupt(offset, "this frame does not follow the one before it".into()));
            }
            match (frame.header().kind, &state) {
                (FrameKind::Snapshot, None) => {
                    let body = frame.records().next().map(|r| r.payload).unwrap_or_default();
                    state = Some(read_snapshot(&segment, offset, body)?);
                }
                (FrameKind::Carry, Some(_)) => {
                    low = low.min(frame.header().first_position);
                    if low_seq.is_none() {
                        low_seq = frame.records().find(|r| r.kind == RecordKind::Message).map(|r| r.seq);
                    }
                }
                _ => return Err(corrupt(offset, "a frame of this kind does not belong here".into())),
            }
            (last_crc, last_len) = (frame.crc(), frame.len() as u32);
            offset += frame.len() as u64;
        }
        let state = state.ok_or_else(|| corrupt(start, "there is no state snapshot".into()))?;
        let number = segment.header.number;
        let later = |n: &u64| *n >= number;
        if state.position != segment.header.first_position
            || state.birth != segment.header.birth
            || state.segments.last().is_some_and(|s| later(&s.number))
            || state.released.iter().any(later)
        {
            return Err(corrupt(start, "the snapshot belongs to another segment".into()));
        }
        let mark = state.position;
        let mut tail = Tail {
            low_seq: low_seq.unwrap_or(state.next),
            low,
            state,
            offset,
            last_crc,
            last_len,
            mark,
            trusted: End { position: mark, offset, len: last_len, crc: last_crc },
            above: VecDeque::new(),
            checkpoint: carry_end,
            ending: Ending::Open,
            essential: mark,
            torn: false,
            zeros: (0, 0),
            damage,
            next: None,
            segment,
        };
        tail.advance()?;
        Ok(tail)
    }

    /// Folds the frames that came since. Bytes behind the last good frame that are no frame are a torn tail
    /// or a commit in flight, unless a later frame's mark proves that they were durable once.
    pub(crate) fn advance(&mut self) -> Result<()> {
        let segment = self.segment.clone();
        let io = |e| Error::io("read a segment", segment.path(), e);
        let mut limit = segment.file.len().map_err(io)?;
        let mut window = Window::new();
        self.torn = false;
        loop {
            let offset = self.offset;
            let fault = match window.at(&*segment.file, segment.seed, offset, limit).map_err(io)? {
                At::End => match self.behind(&mut window, offset, limit)? {
                    None => return Ok(()),
                    Some(fault) => fault,
                },
                At::Frame(frame) => match self.follows(&frame) {
                    Ok(()) => {
                        if !self.fold(&frame)? {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(fault) => fault,
                },
                // Its checksum is right: a newer program wrote it.
                At::Fault(fault @ FrameFault::Kind(_)) => return Err(unsupported(&segment, offset, &fault)),
                At::Fault(fault) => fault,
            };
            if self.ending == Ending::Clean {
                // Whatever it is, the end is not clean any more: nothing may be appended behind it.
                self.ending = Ending::Closing;
            }
            match self.skip_damage(&mut window, fault, limit)? {
                Skip::Behind => {}
                Skip::Torn => {
                    self.torn = true;
                    return Ok(());
                }
                Skip::LookAgain => {
                    window = Window::new();
                    limit = segment.file.len().map_err(io)?;
                }
            }
        }
    }

    /// Looks behind zeros: an allocated tail is zeros to its end. Anything else there is a later frame whose
    /// predecessor was lost, or the remains of one. What was zeros is not read at each look, but for what comes next.
    fn behind(&mut self, window: &mut Window, offset: u64, limit: u64) -> Result<Option<FrameFault>> {
        /// So often.
        const LOOKS: u8 = 32;
        let io = |e| Error::io("read a segment", self.segment.path(), e);
        let (zeros, looks) = if self.zeros.1 < LOOKS { self.zeros } else { (0, 0) };
        let mut at = offset;
        while at < limit {
            let len = if at == offset { READ } else { 4 * READ };
            let bytes = window.raw(&*self.segment.file, at, len, limit).map_err(io)?;
            if bytes.is_empty() {
                break;
            }
            if !crate::format::is_zero(bytes) {
                return Ok(Some(FrameFault::Field("zeros in front of other bytes")));
            }
            at = (at + bytes.len() as u64).max(zeros);
        }
        self.zeros = (at.min(limit), looks + 1);
        Ok(None)
    }

    /// Checks everything that ties a frame to its place.
    fn follows(&self, frame: &Frame<'_>) -> Result<(), FrameFault> {
        let h = frame.header();
        if h.prev_crc != self.last_crc || h.prev_len != self.last_len {
            return Err(FrameFault::Field("the link to the frame before it"));
        }
        if h.first_position != self.state.position {
            return Err(FrameFault::Field("the position"));
        }
        if !matches!(h.kind, FrameKind::Commit | FrameKind::Next) {
            return Err(FrameFault::Field("the kind"));
        }
        frame.verify()
    }

    /// Folds a good frame; false if nothing may follow it.
    fn fold(&mut self, frame: &Frame<'_>) -> Result<bool> {
        let h = frame.header();
        if h.kind == FrameKind::Next {
            let body = frame.records().next().map(|r| r.payload).unwrap_or_default();
            self.next = Successor::decode(body).map(|s| (s.number, s.salt));
            return Ok(false);
        }
        let mut ending = Ending::Open;
        for record in frame.records() {
            let mut essential = record.kind != RecordKind::Mark;
            match self.apply(&record) {
                Ok(Some(Op::Close)) => (ending, essential) = (Ending::Closing, false),
                Ok(Some(Op::CloseWith(_))) => {
                    ending = Ending::Closing;
                    self.checkpoint = self.offset + frame.len() as u64;
                }
                Ok(_) => {}
                Err(Refusal::Unsupported(what)) => {
                    return Err(Error::new(ErrorKind::Unsupported, "read")
                        .path(self.segment.path())
                        .offset(record.body_offset)
                        .session(self.state.id.as_str())
                        .hint(format!(
                            "{what}; it was left untouched: use the program that wrote it, or a newer one"
                        )));
                }
                Err(Refusal::Damaged(what)) => {
                    self.damage.push(Damage {
                        offset: self.offset,
                        until: self.offset + frame.len() as u64,
                        what,
                        hides_state: true,
                    });
                    self.state.position = self.state.position.max(record.position + 1);
                }
            }
            if essential {
                self.essential = record.position + 1;
            }
            let marked = record.kind == RecordKind::Mark && frame.count() == 1;
            if marked && self.ending == Ending::Closing && h.mark >= self.essential {
                ending = Ending::Clean;
            }
        }
        self.state.position = frame.end_position();
        if !states(&h, &self.state) && !self.damage.iter().any(|d| d.hides_state) {
            self.damage.push(Damage {
                offset: self.offset,
                until: self.offset + frame.len() as u64,
                what: "the state that this commit states is not the one that its records lead to".into(),
                hides_state: true,
            });
        }
        self.ending = ending;
        self.last_crc = frame.crc();
        self.last_len = frame.len() as u32;
        self.offset += frame.len() as u64;
        self.above.push_back(self.end());
        self.confirm(h.mark);
        Ok(true)
    }

    fn end(&self) -> End {
        End { position: self.state.position, offset: self.offset, len: self.last_len, crc: self.last_crc }
    }

    /// Everything below `mark` was durable when this was written.
    fn confirm(&mut self, mark: u64) {
        self.mark = self.mark.max(mark);
        while let Some(end) = self.above.front().filter(|end| end.position <= self.mark) {
            self.trusted = *end;
            self.above.pop_front();
        }
    }

    /// Somebody else bears witness that this writer closed the log when it was durable up to `position`: if nothing is missing
    /// of that, and what stands behind says no more, the end is clean.
    pub(crate) fn was_closed_at(&mut self, position: u64) {
        if !self.torn && (self.essential..=self.state.position).contains(&position) {
            self.confirm(position);
            self.ending = Ending::Clean;
        }
    }

    fn apply(&mut self, record: &Record<'_>) -> Result<Option<Op>, Refusal> {
        match record.kind {
            RecordKind::Message => {
                let extras = Extras::decode(record.extras).map_err(|e| Refusal::Damaged(e.to_owned()))?;
                self.state.apply_message(MessageFacts {
                    seq: record.seq,
                    bytes: record.payload.len() as u64,
                    tokens: u64::from(extras.tokens.unwrap_or(0)),
                    time: record.time,
                })?;
                Ok(None)
            }
            RecordKind::Op => {
                let op = Op::decode(record.payload).map_err(|e| match op_error(&e) {
                    (true, what) => Refusal::Unsupported(what),
                    (false, what) => Refusal::Damaged(what),
                })?;
                let number = self.segment.header.number;
                if matches!(&op, Op::Released { segments } if segments.iter().any(|n| *n >= number)) {
                    return Err(Refusal::Damaged(
                        "a record releases the segment that it is in, or a later one".into(),
                    ));
                }
                self.state.apply_op(&op, record.time)?;
                if let Op::CloseWith(checkpoint) = &op {
                    self.confirm_state(checkpoint, record.position + 1)?;
                }
                Ok(Some(op))
            }
            RecordKind::Mark => {
                self.state.apply_ignored();
                Ok(None)
            }
            RecordKind::Unknown(kind) if record.flags & CRITICAL == 0 => {
                let _ = kind;
                self.state.frozen = true;
                self.state.apply_ignored();
                Ok(None)
            }
            RecordKind::Unknown(kind) => Err(Refusal::Unsupported(format!(
                "a record of kind {kind}, which this version does not know"
            ))),
            RecordKind::Snapshot | RecordKind::Next => {
                Err(Refusal::Damaged("a record of this kind does not belong in a commit".into()))
            }
        }
    }

    /// A checkpoint states the state behind it, whatever was lost in front of it.
    fn confirm_state(&mut self, checkpoint: &Checkpoint, position: u64) -> Result<(), Contradiction> {
        let Checkpoint { low, low_seq, state: stated } = checkpoint;
        if self.damage.is_empty() {
            let same = (low, low_seq, stated) == (&self.low, &self.low_seq, &self.state);
            return if same {
                Ok(())
            } else {
                Err(Contradiction("a checkpoint states another state".into()))
            };
        }
        checkpoint.check(self.state.birth, position).map_err(Contradiction)?;
        if stated.id != self.state.id {
            return Err(Contradiction("a checkpoint of another session".into()));
        }
        self.state = stated.clone();
        self.damage.iter_mut().for_each(|damage| damage.hides_state = false);
        Ok(())
    }

    /// Behind a fault: if a later frame's mark says that this stretch was durable, it is damage; the fold goes
    /// on behind it. Otherwise nobody was ever told of these bytes, and this is the end.
    fn skip_damage(&mut self, window: &mut Window, fault: FrameFault, limit: u64) -> Result<Skip> {
        let segment = self.segment.clone();
        let io = |e| Error::io("read a segment", segment.path(), e);
        let position = self.state.position;
        let mut proof = None;
        let mut first = None;
        let mut at = self.offset;
        let search = || Search {
            file: &*segment.file,
            seed: segment.seed,
            limit,
            position,
            wanted: Wanted::Whole,
            unreadable: 0,
        };
        while let Some(found) = search().behind(at).map_err(io)? {
            first.get_or_insert(found);
            let At::Frame(frame) = window.at(&*segment.file, segment.seed, found, limit).map_err(io)? else {
                break;
            };
            if frame.header().mark > position {
                proof = first;
                break;
            }
            at = found + frame.len() as u64 - 1;
        }
        let Some(resume) = proof else { return Ok(Skip::Torn) };
        // A writer may be at work: what was in flight when it was read may be whole now. The proof was read
        // later, so a second look decides.
        let mut fresh = Window::new();
        let now = segment.file.len().map_err(io)?;
        if let At::Frame(frame) = fresh.at(&*segment.file, segment.seed, self.offset, now).map_err(io)?
            && self.follows(&frame).is_ok()
        {
            return Ok(Skip::LookAgain);
        }
        let At::Frame(frame) = window.at(&*segment.file, segment.seed, resume, limit).map_err(io)? else {
            return Ok(Skip::Torn);
        };
        let h = frame.header();
        let ops = frame.entries().filter(|e| e.kind == RecordKind::Op).count() as u16;
        let next = frame.first_seq();
        let hides_state = h.journal.wrapping_sub(ops) != self.state.journal
            || h.epoch != self.state.epoch
            || next < self.state.next
            || next - self.state.next > h.first_position.saturating_sub(position);
        self.damage.push(Damage {
            offset: self.offset,
            until: resume,
            what: format!(
                "{fault}; the commits at positions {position} to {} were durable once",
                h.first_position
            ),
            hides_state,
        });
        self.state.adopt(next, h.first_position);
        self.state.journal = h.journal.wrapping_sub(ops);
        self.offset = resume;
        self.last_crc = h.prev_crc;
        self.last_len = h.prev_len;
        self.above.push_back(self.end());
        self.confirm(h.mark);
        Ok(Skip::Behind)
    }

    /// Writes what stands above the mark once more, as it is. At a clean end that is the close record and marks: nobody synced them, or
    /// their sync failed in another process, after which a sync alone would not bring them to the disk. False if they are not
    /// what they were when they were read.
    pub(crate) fn write_end_again(&self, file: &dyn File) -> io::Result<bool> {
        let (from, mut at) = (self.trusted.offset, 0);
        let mut bytes = vec![0; self.offset.saturating_sub(from) as usize];
        read_exact_at(file, &mut bytes, from)?;
        let mut last = (self.trusted.crc, self.trusted.len);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let frame = Frame::parse(self.segment.seed, from + at as u64, rest).ok();
            let follows = |f: &Frame<'_>| (f.header().prev_crc, f.header().prev_len) == last;
            let Some(frame) = frame.filter(|f| follows(f) && f.verify().is_ok()) else { return Ok(false) };
            last = (frame.crc(), frame.len() as u32);
            at += frame.len();
        }
        let same = last == (self.last_crc, self.last_len);
        if same && !bytes.is_empty() {
            write_all_at(file, &bytes, from)?;
        }
        Ok(same)
    }

    /// What successors, and views, know of the segment.
    pub(crate) fn info(&self) -> SegmentInfo {
        let h = &self.segment.header;
        SegmentInfo {
            number: h.number,
            salt: h.salt,
            low: self.low,
            first: h.first_position,
            end: self.state.position,
            end_offset: self.offset,
            end_len: self.last_len,
            low_seq: self.low_seq,
        }
    }

    /// True if damage may hide a journal record.
    pub(crate) fn uncertain(&self) -> bool {
        self.damage.iter().any(|d| d.hides_state)
    }
}

/// Whether a commit states this state as the one behind it.
pub(super) fn states(h: &FrameHeader, s: &State) -> bool {
    let told = (h.base, u64::from(h.span), h.epoch, h.archives, h.journal);
    told == (s.base, s.next.saturating_sub(s.base), s.epoch, s.archives_made, s.journal)
}

/// How the fold goes on behind bytes that are no frame.
enum Skip {
    Behind,
    Torn,
    LookAgain,
}

enum Refusal {
    Unsupported(String),
    Damaged(String),
}

impl From<Contradiction> for Refusal {
    fn from(c: Contradiction) -> Refusal {
        Refusal::Damaged(format!("the records contradict each other: {}", c.0))
    }
}

fn unsupported(segment: &Segment, offset: u64, fault: &FrameFault) -> Error {
    Error::new(ErrorKind::Unsupported, "read")
        .path(segment.path())
        .offset(offset)
        .hint(format!("{fault}; it was left untouched: use the program that wrote it, or a newer one"))
}

fn read_snapshot(segment: &Segment, offset: u64, body: &[u8]) -> Result<State> {
    State::decode(body).map_err(|e| match e {
        Ok(version) => Error::new(ErrorKind::Unsupported, "read").path(segment.path()).hint(format!(
            "a snapshot of version {version}, written by a newer program; it was left untouched"
        )),
        Err(what) => Error::corrupt(segment.path(), offset, format!("the snapshot cannot be read: {what}")),
    })
}
