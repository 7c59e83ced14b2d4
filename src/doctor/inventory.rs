//! Everything that the segment files of one session's directory hold, good or not.

use std::collections::VecDeque;
use std::sync::Arc;

use super::walk::{Met, is_there, walk};
use crate::error::{Error, Result};
use crate::format::{
    CRITICAL, Extras, Frame, FrameFault, FrameHeader, FrameKind, HeaderFault, Record, RecordKind, Seed,
    SegmentHeader, Successor,
};
use crate::fs::{Access, Dir, File, read_up_to_at};
use crate::ids::{BirthId, StoreId};
use crate::log::segment::open_error;
use crate::log::{parse_segment_name, segment_name};
use crate::state::{Op, State, op_error};

/// What a record is, as far as its place in the table tells, and its body if that is good.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Message { seq: u64, bytes: u64, tokens: u64 },
    Op(Option<Box<Op>>),
    Mark,
    Other,
}

/// One record of a frame.
#[derive(Debug, Clone)]
pub(crate) struct Rec {
    pub(crate) position: u64,
    pub(crate) what: What,
    pub(crate) time: u64,
    /// Its body is what was written.
    pub(crate) good: bool,
}

/// A frame whose header and table are good. The file may end before it does.
#[derive(Debug, Clone)]
pub(crate) struct FrameAt {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) crc: u32,
    pub(crate) header: FrameHeader,
    /// Of the first message in it, or else of the next one.
    pub(crate) first_seq: u64,
    pub(crate) end: u64,
    pub(crate) records: Vec<Rec>,
}

impl FrameAt {
    pub(crate) fn is_good(&self) -> bool {
        self.records.iter().all(|r| r.good)
    }

    pub(crate) fn until(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// Bytes that are not what was written.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) offset: u64,
    pub(crate) until: u64,
    pub(crate) what: String,
}

/// What the header of a file says.
#[derive(Debug, Clone)]
pub(crate) enum Head {
    Good(SegmentHeader),
    /// Whole, but it belongs elsewhere: the offset of what says so, and what it says.
    Foreign(u64, &'static str),
    Bad(HeaderFault),
}

/// One segment file, read to its last byte.
pub(crate) struct SegmentFile {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) len: u64,
    pub(crate) head: Head,
    /// Known when the header is good, or when somebody else told the salt.
    pub(crate) seed: Option<Seed>,
    pub(crate) frames: Vec<FrameAt>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) snapshot: Option<State>,
    pub(crate) successor: Option<Successor>,
    /// A newer program wrote it, or a part of it.
    pub(crate) newer: Option<String>,
}

/// All of them, in order of their numbers.
pub(crate) struct Inventory {
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) birth: Option<BirthId>,
}

impl SegmentFile {
    pub(crate) fn header(&self) -> Option<&SegmentHeader> {
        match &self.head {
            Head::Good(header) => Some(header),
            _ => None,
        }
    }

    /// Where the block ends with which the segment begins.
    pub(crate) fn head_end(&self) -> u64 {
        match self.header() {
            Some(h) => h.carry_end(),
            None => {
                let block = |f: &&FrameAt| matches!(f.header.kind, FrameKind::Snapshot | FrameKind::Carry);
                self.frames
                    .iter()
                    .filter(block)
                    .map(FrameAt::until)
                    .max()
                    .unwrap_or(SegmentHeader::LEN as u64)
            }
        }
    }

    /// The position behind everything carried.
    pub(crate) fn first_position(&self) -> Option<u64> {
        let commit = |f: &&FrameAt| f.header.kind == FrameKind::Commit;
        let first = self.frames.iter().find(commit).map(|f| f.header.first_position);
        match (&self.snapshot, self.header()) {
            (Some(_), Some(header)) => Some(header.first_position),
            (Some(state), None) => Some(state.position),
            // Without a state that agrees, nothing says that the header is right: the lower one hides no commit.
            (None, header) => header.map(|h| h.first_position).into_iter().chain(first).min(),
        }
    }

    /// True if header, state and carried records are what was written.
    pub(crate) fn head_is_good(&self) -> bool {
        let end = self.head_end();
        self.header().is_some() && self.snapshot.is_some() && !self.faults.iter().any(|f| f.offset < end)
    }

    /// The frames that count, in order: all below `sealed`, if the segment is known to end there, and else what the
    /// marks confirm or what nothing speaks against. A commit behind a torn one counts only if it was confirmed.
    pub(crate) fn trusted(&self, sealed: Option<u64>) -> Vec<&FrameAt> {
        let mut out: Vec<&FrameAt> = Vec::new();
        let mut pending: VecDeque<&FrameAt> = VecDeque::new();
        let (mut position, mut confirmed) = (self.first_position().unwrap_or(0), 0);
        // Where the last commit ends that is good: a mark above it proves that what is bad behind it was durable once.
        let mut whole = position;
        let head_end = self.head_end();
        let below = |f: &FrameAt| sealed.is_none_or(|end| f.offset < end);
        for (at, f) in self.frames.iter().enumerate().take_while(|(_, f)| below(f)) {
            match f.header.kind {
                FrameKind::Snapshot | FrameKind::Carry => {
                    if f.offset < head_end {
                        out.push(f);
                    }
                    continue;
                }
                FrameKind::Next => {}
                FrameKind::Commit => {
                    let behind = pending.back().map_or(position, |p| p.end);
                    let next = self.frames.iter().skip(at + 1).find(|f| f.header.kind == FrameKind::Commit);
                    // One that jumps over those behind it is not where it says.
                    let jumps = f.header.first_position > behind
                        && next.is_some_and(|n| (behind..f.end).contains(&n.header.first_position));
                    if f.header.first_position < behind || jumps {
                        continue;
                    }
                    pending.push_back(f);
                }
            }
            confirmed = confirmed.max(f.header.mark);
            while let Some(p) = pending.front() {
                let follows = out.last().is_some_and(|l| {
                    (l.crc, l.len, l.until()) == (p.header.prev_crc, p.header.prev_len, p.offset)
                });
                // What is not whole may be torn, unless it was durable once, or reading goes on behind it.
                let durable = p.end <= confirmed || sealed.is_some_and(|end| p.offset < end);
                let proven = confirmed > whole && pending.iter().any(|p| p.is_good());
                if !(durable || proven || p.is_good() && follows) {
                    break;
                }
                position = p.end;
                if p.is_good() {
                    whole = p.end;
                }
                out.extend(pending.pop_front());
            }
        }
        out
    }
}

/// Reads all segments in a session's directory.
///
/// # Errors
/// Only if the directory or a file cannot be read at all.
pub(crate) fn take(
    dir: &dyn Dir,
    store: StoreId,
    birth_hint: &[BirthId],
    salts: &[(u64, u64)],
    owner: impl Fn(&State) -> bool,
) -> Result<Inventory> {
    let listed = dir.list().map_err(|e| Error::io("list a session", dir.path(), e))?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|e| parse_segment_name(&e.name)).collect();
    numbers.sort_unstable();
    let mut segments = Vec::new();
    for number in numbers {
        segments.push(open(dir, number, store)?);
    }
    for s in &mut segments {
        let first = s.seed;
        scan(s, first).map_err(|e| Error::io("read a segment", dir.path().join(&s.name), e))?;
    }
    // Lives of other sessions, whose files came here.
    let foreign: Vec<BirthId> =
        segments.iter().filter_map(|s| s.snapshot.as_ref()).filter(|s| !owner(s)).map(|s| s.birth).collect();
    let birth = whose(&segments, birth_hint, &foreign, owner);
    for s in &mut segments {
        if let Head::Good(h) = &s.head
            && (foreign.contains(&h.birth) || birth.is_some_and(|birth| h.birth != birth))
        {
            s.head = Head::Foreign(32, "it belongs to another session, or to an earlier life of this one");
            (s.seed, s.snapshot, s.successor) = (None, None, None);
            s.frames.clear();
            s.faults.clear();
        }
    }
    // The salt of a segment whose header is gone: its neighbours, every later state and the catalog know it.
    let mut told: Vec<(u64, u64)> = salts.to_vec();
    for s in &segments {
        told.extend(s.successor.iter().map(|n| (n.number, n.salt)));
        told.extend(s.snapshot.iter().flat_map(|s| &s.segments).map(|i| (i.number, i.salt)));
    }
    for s in &mut segments {
        if s.seed.is_some() || matches!(s.head, Head::Good(_)) || s.newer.is_some() {
            continue;
        }
        let number = s.number;
        for (_, salt) in told.iter().filter(|(n, _)| *n == number) {
            let Some(birth) = birth else { break };
            let seed = Some(Seed::new(&birth, s.number, *salt));
            scan(s, seed).map_err(|e| Error::io("read a segment", dir.path().join(&s.name), e))?;
            if !s.frames.is_empty() {
                s.seed = seed;
                break;
            }
        }
    }
    Ok(Inventory { segments, birth })
}

fn open(dir: &dyn Dir, number: u64, store: StoreId) -> Result<SegmentFile> {
    let name = segment_name(number);
    let path = dir.path().join(&name);
    let file = dir.open(&name, Access::Read).map_err(|e| open_error(&path, e))?;
    let io = |e| Error::io("read a segment", &path, e);
    let len = file.len().map_err(io)?;
    let mut bytes = [0; SegmentHeader::LEN];
    let have = read_up_to_at(&*file, &mut bytes, 0).map_err(io)?;
    let mut newer = None;
    let head = match SegmentHeader::decode(bytes.get(..have).unwrap_or_default()) {
        Ok(h) if h.number != number => Head::Foreign(48, "it is another segment under this name"),
        Ok(h) if h.store != store => Head::Foreign(16, "it belongs to another store"),
        Ok(h) => Head::Good(h),
        Err(fault) => {
            newer = fault.is_unsupported().then(|| fault.to_string());
            Head::Bad(fault)
        }
    };
    let seed = match &head {
        Head::Good(h) => Some(h.seed()),
        _ => None,
    };
    let (frames, faults) = (Vec::new(), Vec::new());
    Ok(SegmentFile {
        number,
        name,
        file,
        len,
        head,
        seed,
        frames,
        faults,
        snapshot: None,
        successor: None,
        newer,
    })
}

/// Which life of the session the segments belong to: what a state of this session says, else what the catalog says,
/// else what all of them say that are not known to be another session's.
fn whose(
    segments: &[SegmentFile],
    hint: &[BirthId],
    foreign: &[BirthId],
    owner: impl Fn(&State) -> bool,
) -> Option<BirthId> {
    let stated =
        segments.iter().rev().filter_map(|s| s.snapshot.as_ref()).find(|s| owner(s)).map(|s| s.birth);
    let all = || {
        let births = segments.iter().filter_map(|s| s.header().map(|h| h.birth));
        let mut births: Vec<BirthId> = births.filter(|b| !foreign.contains(b)).collect();
        births.dedup();
        match births.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    };
    stated.or_else(|| hint.first().copied()).or_else(all)
}

fn scan(s: &mut SegmentFile, seed: Option<Seed>) -> std::io::Result<()> {
    let Some(seed) = seed else { return Ok(()) };
    let (mut frames, mut faults) = (Vec::new(), Vec::new());
    let (mut snapshot, mut successor, mut newer) = (None, None, None);
    let end = s.len;
    walk(&*s.file, seed, SegmentHeader::LEN as u64, end, &mut |met| match met {
        Met::Zeros { .. } => {}
        Met::Fault { offset, until, fault } => {
            if let FrameFault::Kind(_) = fault {
                newer = Some(fault.to_string());
            }
            faults.push(Fault { offset, until, what: fault.to_string() });
        }
        Met::Frame(offset, frame) => {
            let at = take_frame(offset, &frame, end, &mut faults, &mut newer);
            let whole = |r: &Record<'_>| is_there(r, end) && r.verify().is_ok();
            let body = frame.records().next().filter(whole).map(|r| r.payload);
            match at.header.kind {
                FrameKind::Snapshot => match body.map(State::decode) {
                    Some(Ok(state)) => snapshot = Some(state),
                    Some(Err(Ok(version))) => newer = Some(format!("a snapshot of version {version}")),
                    Some(Err(Err(what))) => faults.push(Fault { offset, until: at.until(), what }),
                    None => {}
                },
                FrameKind::Next => successor = body.and_then(Successor::decode),
                _ => {}
            }
            frames.push(at);
        }
    })?;
    if let Head::Good(h) = &s.head {
        let belongs = |s: &State| s.position == h.first_position && s.birth == h.birth;
        if snapshot.as_ref().is_some_and(|s| !belongs(s)) {
            let what = "the snapshot belongs to another segment".to_owned();
            let offset = SegmentHeader::LEN as u64;
            faults.push(Fault { offset, until: offset, what });
            snapshot = None;
        }
    }
    (s.frames, s.faults, s.snapshot, s.successor) = (frames, faults, snapshot, successor);
    s.newer = s.newer.take().or(newer);
    Ok(())
}

/// What the file, which ends at `end`, holds of a frame. That it ends too early is told already, and not of each record again.
fn take_frame(
    offset: u64,
    frame: &Frame<'_>,
    end: u64,
    faults: &mut Vec<Fault>,
    newer: &mut Option<String>,
) -> FrameAt {
    let mut records = Vec::with_capacity(frame.count());
    for r in frame.records() {
        let there = is_there(&r, end);
        let mut fault = r.verify().err().map(|f| f.to_string());
        let what = match r.kind {
            RecordKind::Message => {
                let extras = Extras::decode(r.extras);
                if let (Err(e), None) = (&extras, &fault) {
                    fault = Some((*e).to_owned());
                }
                let tokens = extras.ok().and_then(|e| e.tokens).unwrap_or(0);
                What::Message { seq: r.seq, bytes: r.payload.len() as u64, tokens: u64::from(tokens) }
            }
            RecordKind::Op if fault.is_some() || !there => What::Op(None),
            RecordKind::Op => match Op::decode(r.payload) {
                Ok(op) => What::Op(Some(Box::new(op))),
                Err(e) => {
                    match op_error(&e) {
                        (true, what) => *newer = Some(what),
                        (false, what) => fault = Some(what),
                    }
                    What::Op(None)
                }
            },
            RecordKind::Mark => What::Mark,
            RecordKind::Unknown(kind) if r.flags & CRITICAL != 0 => {
                *newer = Some(format!("a record of kind {kind}, which this version does not know"));
                What::Other
            }
            _ => What::Other,
        };
        let good = there && fault.is_none();
        if let Some(what) = fault.filter(|_| there) {
            let until = r.body_offset + (r.extras.len() + r.payload.len()) as u64;
            faults.push(Fault { offset: r.body_offset, until, what });
        }
        records.push(Rec { position: r.position, what, time: r.time, good });
    }
    FrameAt {
        offset,
        len: frame.len() as u32,
        crc: frame.crc(),
        header: frame.header(),
        first_seq: frame.first_seq(),
        end: frame.end_position(),
        records,
    }
}
