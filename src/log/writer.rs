//! The writing end of a segment: frames behind one another into allocated space, one sync for many.
//!
//! The order of the steps that make a segment come into being is written here, once.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::names::segment_name;
use super::scan::Tail;
use super::segment::{Owner, Segment};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    EntryMeta, Frame, FrameBuilder, FrameHeader, FrameKind, Record, RecordKind, SegmentHeader, Successor,
    frame_len,
};
use crate::fs::{Access, Dir, File, write_all_at, write_at_counted};
use crate::limits::MAX_NUMBER;
use crate::state::{Op, SegmentInfo, State};

/// Room that an ordinary commit leaves free in the allocated space, so that an intent, a close and the
/// witness can be written when the disk is full.
pub(crate) const RESERVE: u64 = 1024;
const BLOCK: u64 = 4096;
/// Space is allocated ahead in steps that grow with what this process has written of the segment, up to this.
const LARGEST_STEP: u64 = 1 << 20;
/// Written in pieces of this size. Larger ones make larger pieces of the page cache too: loads that map them gain by it,
/// but each small write into one costs twice as much, and those are more.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bodies of so many bytes are written from where they lie: a second write takes less time than a copy of them.
const ASIDE: usize = 64 << 10;

/// The active segment of a session that this process writes.
///
/// Invariants: everything below `end` is whole frames; everything from `end` to `allocated` is zeros; only the
/// descriptor that wrote syncs, and after a sync that failed nothing is written or synced any more.
pub(crate) struct SegmentWriter {
    pub(crate) segment: Arc<Segment>,
    file: Arc<dyn File>,
    pub(crate) low: u64,
    pub(crate) low_seq: u64,
    /// Where the carry block ends and the commits of this segment begin.
    pub(crate) start: u64,
    /// The offset behind the last record that states the whole state.
    pub(crate) checkpoint: u64,
    pub(crate) end: u64,
    pub(crate) last_crc: u32,
    pub(crate) last_len: u32,
    allocated: u64,
    /// What was allocated when this process began to write.
    begun: u64,
    /// The position behind the last record written.
    pub(crate) position: u64,
    /// Positions below it are durable.
    pub(crate) durable: u64,
    /// The mark that the last frame written carries.
    pub(crate) marked: u64,
    builder: FrameBuilder,
    /// Ordinary frames were written since the segment began or was opened.
    pub(crate) used: bool,
}

/// What a write that failed left behind.
pub(crate) enum WriteFault {
    /// It was taken back: nothing of it will ever be seen.
    TakenBack(Error),
    /// It could not be taken back: the writer must not go on.
    Broken(Error),
}

/// The summary that goes into a frame's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) base: u64,
    /// The sequences of the live range, those of accepted holes included: with `base` it gives the next one.
    pub(crate) span: u64,
    pub(crate) archives: u32,
    pub(crate) epoch: u16,
    pub(crate) journal: u16,
    /// When the records are written.
    pub(crate) time: u64,
}

impl After {
    pub(crate) fn of(state: &State, time: u64) -> After {
        After {
            base: state.base,
            span: state.next - state.base,
            archives: state.archives_made,
            epoch: state.epoch,
            journal: state.journal,
            time,
        }
    }

    /// What a journal record changes of it.
    pub(crate) fn after_op(&mut self, op: &Op) {
        if let Op::Archive { upto, .. } = op {
            self.span = (self.base + self.span).saturating_sub(*upto);
            self.base = *upto;
            self.archives = self.archives.saturating_add(1);
        }
        self.journal = self.journal.wrapping_add(1);
    }
}

/// A record to be written.
pub(crate) struct NewRecord<'a> {
    pub(crate) meta: EntryMeta,
    pub(crate) extras: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The content of a segment that is about to be born: header, snapshot, carried records.
pub(crate) struct Birth {
    header: SegmentHeader,
    bytes: Vec<u8>,
    builder: FrameBuilder,
    last: (u32, u32),
    low: u64,
    low_seq: Option<u64>,
    next_seq: u64,
    /// The sequence behind the messages carried so far.
    carried_next: u64,
    position: u64,
}

impl Birth {
    /// Begins with the snapshot of `state`, which is the state after everything that will be carried.
    pub(crate) fn new(header: SegmentHeader, state: &State) -> Result<Birth> {
        let refused = |what| Error::new(ErrorKind::Corrupt, "write a snapshot").session(&state.id).hint(what);
        // Nobody could read a session again whose last segment begins with what is refused.
        state.check().map_err(refused)?;
        if header.number > MAX_NUMBER {
            return Err(refused("there are no numbers left for its segments".to_owned()));
        }
        let body =
            state.encode().map_err(|e| Error::new(ErrorKind::InvalidInput, "write a snapshot").hint(e))?;
        if body.len() > crate::limits::MAX_SNAPSHOT {
            return Err(Error::new(ErrorKind::TooLarge, "write a snapshot").hint(format!(
                "the state of this session takes {} bytes; remove archives or attributes",
                body.len()
            )));
        }
        let mut birth = Birth {
            last: (0, 0),
            low: header.first_position,
            low_seq: None,
            next_seq: state.next,
            carried_next: 0,
            position: state.position,
            bytes: vec![0; SegmentHeader::LEN],
            builder: FrameBuilder::new(),
            header,
        };
        let after = After::of(state, state.modified);
        birth.frame(
            FrameKind::Snapshot,
            state.position,
            after,
            |b| {
                let meta = EntryMeta { kind: RecordKind::Snapshot, flags: 0, codec: 0 };
                b.push(&meta, &[], &body);
                1
            },
            1,
        );
        Ok(birth)
    }

    fn frame(
        &mut self,
        kind: FrameKind,
        first: u64,
        after: After,
        push: impl FnOnce(&mut FrameBuilder) -> usize,
        count: usize,
    ) {
        let seed = self.header.seed();
        self.builder.begin(count, self.bytes.len() as u64, seed);
        push(&mut self.builder);
        let header = frame_header(kind, self.last, first, first, after);
        let done = self.builder.finish(&header);
        self.bytes.extend_from_slice(self.builder.bytes());
        self.last = (done.crc, done.len);
    }

    /// Copies the records of a frame at these positions, as they are.
    pub(crate) fn carry(&mut self, frame: &Frame<'_>, positions: Range<u64>) {
        let wanted = |r: &Record<'_>| positions.contains(&r.position);
        let count = frame.records().filter(wanted).count();
        let Some(first) = frame.records().find(wanted).map(|r| r.position) else { return };
        let messages = || frame.records().filter(wanted).filter(|r| r.kind == RecordKind::Message);
        let n = messages().count() as u64;
        // Readers find their way by the sequence behind each frame: it never falls within the block.
        let base = messages().next().map_or(self.carried_next, |r| r.seq);
        self.carried_next = base + n;
        if n > 0 && self.low_seq.is_none() {
            self.low_seq = Some(base);
        }
        self.low = self.low.min(first);
        let time = frame.header().time;
        let after = After { base, span: n, archives: 0, epoch: 0, journal: 0, time };
        self.frame(
            FrameKind::Carry,
            first,
            after,
            |b| {
                for r in frame.records().filter(wanted) {
                    b.push(&r.meta(), r.extras, r.payload);
                }
                count
            },
            count,
        );
    }

    /// How many bytes it has so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives the header back, to begin anew.
    pub(crate) fn into_header(self) -> SegmentHeader {
        self.header
    }

    /// Creates the segment, durably: content and sync, then its name and sync of the directory. Until the name was
    /// tried an error leaves everything as it was.
    ///
    /// # Errors
    /// `Err((error, false))`: nothing happened. `Err((error, true))`: the name may or may not be there; the
    /// writer must not go on.
    pub(crate) fn publish(self, dir: &Arc<dyn Dir>) -> Result<SegmentWriter, (Error, bool)> {
        let name = segment_name(self.header.number);
        let path = dir.path().join(&name);
        let (temp, file) = dir
            .create_temp(&format!("{name}-"))
            .map_err(|e| (Error::io("create a segment", dir.path(), e), false))?;
        let written = self
            .fill(&*file, &path)
            .and_then(|done| file.sync().map(|()| done).map_err(|e| write_error(&path, e)));
        let filled = match written {
            Ok(done) => done,
            Err(e) => {
                // A leftover under a temporary name is harmless; the next opening removes it.
                let _ = dir.remove_file(&temp);
                return Err((e, false));
            }
        };
        if let Err(e) = dir.rename(&temp, &**dir, &name) {
            let _ = dir.remove_file(&temp);
            return Err((Error::io("name a new segment", &path, e).unknown(), true));
        }
        dir.sync().map_err(|e| (name_error(&path, e).unknown(), true))?;
        self.writer(file, dir.clone(), filled).map_err(|e| (e, true))
    }

    /// Creates the first segment of a session under its name at once: the directory has a temporary name itself, and
    /// nobody looks into it. Nothing of it is durable before [`SegmentWriter::sync_unseen`].
    pub(crate) fn unseen(self, dir: &Arc<dyn Dir>) -> Result<SegmentWriter> {
        let name = segment_name(self.header.number);
        let path = dir.path().join(&name);
        let file = dir.create(&name).map_err(|e| Error::io("create a segment", dir.path(), e))?;
        let filled = self.fill(&*file, &path)?;
        self.writer(file, dir.clone(), filled)
    }

    fn writer(
        self,
        file: Arc<dyn File>,
        dir: Arc<dyn Dir>,
        (header, end, allocated): (SegmentHeader, u64, u64),
    ) -> Result<SegmentWriter> {
        let owner = Owner { store: header.store, birth: Some(header.birth) };
        let segment = Segment::with_file(file.clone(), dir, header.number, owner)?;
        Ok(SegmentWriter {
            segment: Arc::new(segment),
            file,
            low: self.low,
            low_seq: self.low_seq.unwrap_or(self.next_seq),
            start: end,
            checkpoint: end,
            end,
            last_crc: self.last.0,
            last_len: self.last.1,
            allocated,
            begun: 0,
            position: self.position,
            // Of what lies below it nothing is in an unseen segment.
            durable: self.position,
            marked: self.position,
            builder: self.builder,
            used: false,
        })
    }

    fn fill(&self, file: &dyn File, path: &Path) -> Result<(SegmentHeader, u64, u64)> {
        let mut header = self.header;
        header.carry_len = u32::try_from(self.bytes.len() - SegmentHeader::LEN).map_err(|_| {
            Error::new(ErrorKind::TooLarge, "start a segment").hint("more than 4 GiB to carry")
        })?;
        let io = |e| write_error(path, e);
        let end = self.bytes.len() as u64;
        let head = header.encode();
        write_all_at(file, &head, 0).map_err(io)?;
        write_all_at(file, self.bytes.get(SegmentHeader::LEN..).unwrap_or_default(), head.len() as u64)
            .map_err(io)?;
        let allocated = (end + RESERVE + BLOCK).next_multiple_of(BLOCK);
        write_zeros(file, end, allocated).map_err(io)?;
        Ok((header, end, allocated))
    }
}

fn write_error(path: &Path, e: io::Error) -> Error {
    Error::io("write a new segment", path, e)
}

fn name_error(path: &Path, e: io::Error) -> Error {
    Error::io("make the name of a new segment durable", path, e)
}

fn frame_header(kind: FrameKind, last: (u32, u32), first: u64, mark: u64, after: After) -> FrameHeader {
    FrameHeader {
        kind,
        prev_crc: last.0,
        prev_len: last.1,
        first_position: first,
        time: after.time,
        base: after.base,
        mark,
        span: u32::try_from(after.span).unwrap_or(u32::MAX),
        archives: after.archives,
        epoch: after.epoch,
        journal: after.journal,
    }
}

fn write_zeros(file: &dyn File, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        // Up to a multiple of their length: pieces across one would be several in the page cache.
        let piece = ZEROS.len() - from as usize % ZEROS.len();
        let n = piece.min((to - from) as usize);
        write_all_at(file, ZEROS.get(..n).unwrap_or_default(), from)?;
        from += n as u64;
    }
    Ok(())
}

impl SegmentWriter {
    /// Goes on in a segment that ended clean.
    pub(crate) fn resume(dir: &Arc<dyn Dir>, tail: &Tail) -> Result<SegmentWriter> {
        const DOING: &str = "open a segment to write";
        let name = segment_name(tail.segment.header.number);
        let path = dir.path().join(&name);
        let io = |e| Error::io(DOING, &path, e);
        let changed = |what: &'static str| Error::new(ErrorKind::Conflict, DOING).path(&path).hint(what);
        let file = dir.open(&name, Access::Write).map_err(io)?;
        let same = file.ident().and_then(|a| Ok(a == tail.segment.file.ident()?));
        if !same.map_err(io)? {
            return Err(changed("the file changed meanwhile; open the session again"));
        }
        let allocated = file.len().map_err(io)?;
        let from = tail.trusted.offset;
        if !tail.write_end_again(&*file).map_err(|e| io(e).offset(from))? {
            let what = "its end is not what it was when it was read; open the session again";
            return Err(changed(what).offset(from));
        }
        Ok(SegmentWriter {
            segment: Arc::new(tail.segment.through(file.clone())),
            file,
            low: tail.low,
            low_seq: tail.low_seq,
            start: tail.segment.header.carry_end(),
            checkpoint: tail.checkpoint,
            end: tail.offset,
            last_crc: tail.last_crc,
            last_len: tail.last_len,
            allocated: allocated.max(tail.offset),
            begun: allocated,
            position: tail.state.position,
            // What stands above was never synced: whoever seals this segment must sync it first.
            durable: tail.mark,
            marked: tail.mark,
            builder: FrameBuilder::new(),
            used: true,
        })
    }

    /// Its directory got its own name: messages name the file by it from now on.
    pub(crate) fn moved_to(&mut self, dir: Arc<dyn Dir>) {
        if let Some(segment) = Arc::get_mut(&mut self.segment) {
            segment.moved_to(dir);
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.segment.header.number
    }

    /// What successors are told of it.
    pub(crate) fn info(&self) -> SegmentInfo {
        let h = &self.segment.header;
        SegmentInfo {
            number: h.number,
            salt: h.salt,
            low: self.low,
            first: h.first_position,
            end: self.position,
            end_offset: self.end,
            end_len: self.last_len,
            low_seq: self.low_seq,
        }
    }

    /// Writes one frame behind the end: not durable before [`SegmentWriter::sync`].
    ///
    /// `bodies` are those of all records, if they lie behind one another: many are not copied then.
    /// `keep_reserve` is for ordinary commits; intents may use the reserve.
    pub(crate) fn write<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
        bytes: usize,
        bodies: Option<&[u8]>,
        after: After,
        keep_reserve: bool,
    ) -> Result<(), WriteFault> {
        let count = records.len();
        self.has_numbers(count, after)?;
        let len = frame_len(count, bytes) as u64;
        let allocated = self.make_room(len, if keep_reserve { RESERVE } else { 0 })?;
        self.builder.begin(count, self.end, self.segment.seed);
        let aside =
            bodies.filter(|bodies| bodies.len() >= ASIDE && bodies.len() == bytes).unwrap_or_default();
        let mut rest = aside;
        for r in records {
            if aside.is_empty() {
                self.builder.push(&r.meta, r.extras, r.payload);
                continue;
            }
            let (body, behind) = rest.split_at(r.extras.len() + r.payload.len());
            self.builder.push_aside(&r.meta, r.extras.len(), body);
            rest = behind;
        }
        let header = frame_header(
            FrameKind::Commit,
            (self.last_crc, self.last_len),
            self.position,
            self.durable,
            after,
        );
        let done = self.builder.finish(&header);
        self.put(aside)?;
        if allocated > self.allocated {
            self.allocate_ahead(allocated);
        }
        self.end += u64::from(done.len);
        (self.last_crc, self.last_len) = (done.crc, done.len);
        self.position += count as u64;
        self.marked = self.durable;
        self.used = true;
        self.builder.shrink(1 << 20);
        Ok(())
    }

    /// Refuses what no reader would accept, or read as it was meant.
    fn has_numbers(&self, count: usize, after: After) -> Result<(), WriteFault> {
        let what = if self.position.saturating_add(count as u64) > MAX_NUMBER {
            "there are no positions left in this session"
        } else if after.span > u64::from(u32::MAX) {
            "more than 4,294,967,295 messages would be live: archive some"
        } else {
            return Ok(());
        };
        let error = Error::new(ErrorKind::TooLarge, "write to a segment").path(self.segment.path());
        Err(WriteFault::TakenBack(error.hint(what)))
    }

    /// Writes the built frame at the end, with what lies aside of it, or takes it back.
    fn put(&mut self, aside: &[u8]) -> Result<(), WriteFault> {
        let bytes = self.builder.bytes();
        let len = (bytes.len() + aside.len()) as u64;
        let (mut taken, mut done) = write_at_counted(&*self.file, bytes, self.end);
        if done.is_ok() && !aside.is_empty() {
            let (more, rest) = write_at_counted(&*self.file, aside, self.end + bytes.len() as u64);
            (taken, done) = (taken + more, rest);
        }
        let Err(e) = done else { return Ok(()) };
        // Of a call that finds no room it is known that it wrote nothing.
        let room = matches!(
            e.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let error = Error::io("write to a segment", self.segment.path(), e);
        // The zeros must be durable too: of two writes to one place that nobody synced, a power cut may leave the
        // first.
        let mut zeros = write_zeros(&*self.file, self.end, self.end + len);
        if zeros.is_err() && room {
            // There is none for all the zeros either: a limit of file size that came down, or a file system that never
            // overwrites in place.
            zeros = write_zeros(&*self.file, self.end, self.end + taken as u64);
        }
        match zeros.and_then(|()| self.file.sync()) {
            Ok(()) => Err(WriteFault::TakenBack(error)),
            Err(_) => Err(WriteFault::Broken(error.unknown())),
        }
    }

    /// Makes sure of a reserve behind a commit of `len` bytes, which makes its own room where it stands: zeros there would be
    /// written for nothing. Up to where the file is allocated once the commit is written.
    fn make_room(&self, len: u64, reserve: u64) -> Result<u64, WriteFault> {
        let end = self.end + len;
        if end + reserve <= self.allocated {
            return Ok(self.allocated);
        }
        let least = (end + reserve).next_multiple_of(BLOCK);
        write_zeros(&*self.file, self.allocated.max(end), least).map(|()| least).map_err(|e| {
            // Zeros behind the end are no content: what was written of them is harmless, but takes room.
            let _ = self.file.set_len(self.allocated);
            WriteFault::TakenBack(Error::io("allocate space in a segment", self.segment.path(), e))
        })
    }

    /// The file is allocated up to there. Goes on for the commits that follow, as long as there is room.
    fn allocate_ahead(&mut self, allocated: u64) {
        let step = self.allocated.saturating_sub(self.begun).clamp(BLOCK, LARGEST_STEP);
        let want = (self.allocated + step).next_multiple_of(BLOCK);
        self.allocated = allocated;
        if want <= allocated {
            return;
        }
        match write_zeros(&*self.file, allocated, want) {
            Ok(()) => self.allocated = want,
            // Others may need the room.
            Err(_) => _ = self.file.set_len(allocated),
        }
    }

    /// Gives back the memory in which frames are built, until the next one.
    pub(crate) fn rest(&mut self) {
        self.builder.shrink(0);
    }

    /// Makes everything written so far durable. An error ends the writer.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.durable == self.position {
            return Ok(());
        }
        self.file.sync().map_err(|e| {
            let error = Error::io("sync a segment", self.segment.path(), e).with_kind(ErrorKind::Poisoned);
            error.unknown().hint("what was not acknowledged may or may not be on disk; open the session again, its log decides")
        })?;
        self.durable = self.position;
        Ok(())
    }

    /// The first sync of a segment that was begun [unseen](Birth::unseen): what was written, then its name.
    pub(crate) fn sync_unseen(&mut self, dir: &dyn Dir) -> Result<()> {
        self.file.sync().map_err(|e| write_error(&self.segment.path(), e))?;
        dir.sync().map_err(|e| name_error(&self.segment.path(), e))?;
        self.durable = self.position;
        Ok(())
    }

    /// Puts the witness of the successor behind the end, where no commit will ever stand: a later opening can
    /// tell a lost successor from one that never was. Not synced: it is evidence, not state.
    pub(crate) fn bear_witness(&mut self, number: u64, salt: u64, after: After) {
        let body = Successor { number, salt }.encode();
        self.builder.begin(1, self.end, self.segment.seed);
        let meta = EntryMeta { kind: RecordKind::Next, flags: 0, codec: 0 };
        self.builder.push(&meta, &[], &body);
        let last = (self.last_crc, self.last_len);
        let header = frame_header(FrameKind::Next, last, self.position, self.durable, after);
        let len = u64::from(self.builder.finish(&header).len);
        if write_all_at(&*self.file, self.builder.bytes(), self.end).is_ok() {
            // The allocated rest is given back; a file that could not be cut is only larger than it need be.
            let _ = self.file.set_len(self.end + len);
        }
    }

    /// Gives back the allocated space behind the end, but for what takes none: who goes on in the segment changes no metadata
    /// as long as that lasts.
    pub(crate) fn trim(&mut self) {
        let kept = self.end.next_multiple_of(BLOCK);
        if kept < self.allocated && self.file.set_len(kept).is_ok() {
            self.allocated = kept;
        }
    }
}
