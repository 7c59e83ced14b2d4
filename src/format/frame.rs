//! The frame: one commit with all its records, and the unit of atomicity.
//!
//! `[header][table: one entry for each record][bodies: extras, then payload, of each record]`. The frame's
//! checksum covers header and table, and the table holds a checksum for each body: so the extent of a commit
//! and everything about its records but their bytes can be trusted, and listed, before any body is read.

use std::fmt;
use std::ops::Deref;

use super::layout::layout;
use super::record::{Cursor, ENTRY_LEN, Entries, Entry, RecordKind, Records};
use super::sum::Seed;
use crate::limits::{MAX_FRAME, MAX_FRAME_RECORDS, MAX_NUMBER};

layout! {
    struct RawHeader, 63 {
        0 crc: u32,
        4 check: u16,
        6 others: u16,
        8 body_len: u32,
        12 prev_crc: u32,
        16 prev_len: u32,
        20 messages: u32,
        24 first_position: u64,
        32 base: u64,
        40 time: u64,
        48 span: u32,
        52 archives: u32,
        56 mark_delta: u16,
        58 epoch: u16,
        60 journal: u16,
        62 kind: u8,
    }
}

/// The length of a frame's header, in bytes: what [`peek`] wants to see.
pub(crate) const FRAME_HEADER_LEN: usize = RawHeader::LEN;

const _: () = assert!(MAX_FRAME <= u32::MAX as usize && MAX_FRAME_RECORDS * ENTRY_LEN < MAX_FRAME);

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Records that one leader wrote in one go.
    Commit = 1,
    /// The state with which a segment begins. Its record takes no position.
    Snapshot = 2,
    /// A run of records copied from the segment before, with their own positions.
    Carry = 3,
    /// The witness behind a segment's stated end. Its record takes no position.
    Next = 4,
}

impl FrameKind {
    fn from_number(number: u8) -> Option<FrameKind> {
        [FrameKind::Commit, FrameKind::Snapshot, FrameKind::Carry, FrameKind::Next]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// True where each record has a position of its own.
    fn takes_positions(self) -> bool {
        matches!(self, FrameKind::Commit | FrameKind::Carry)
    }
}

/// What the header of a frame says: its place in the chain, and the state after it in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: FrameKind,
    /// The checksum of the frame before it in this segment; 0 for the first.
    pub prev_crc: u32,
    /// The whole length of the frame before it; 0 for the first.
    pub prev_len: u32,
    pub first_position: u64,
    /// When its records were written, in microseconds since 1970.
    pub time: u64,
    pub base: u64,
    /// Positions below it were durable when this frame was written. At most `first_position`.
    pub mark: u64,
    pub span: u32,
    pub archives: u32,
    pub epoch: u16,
    pub journal: u16,
}

/// In `mark_delta`: too far back to say, so nothing is known to be durable.
const NO_MARK: u16 = u16::MAX;

/// How many records a frame has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) messages: u32,
    pub(super) others: u16,
}

impl Count {
    #[inline]
    pub(super) fn all(self) -> usize {
        (self.messages as usize).saturating_add(usize::from(self.others))
    }

    /// One more of this kind.
    #[inline]
    pub(super) fn add(&mut self, kind: RecordKind) {
        match kind {
            RecordKind::Message => self.messages = self.messages.saturating_add(1),
            _ => self.others = self.others.saturating_add(1),
        }
    }
}

impl FrameHeader {
    /// The sequence of the next message after this frame.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.base.saturating_add(u64::from(self.span))
    }

    /// The bytes of the header, its two checksums still zero.
    pub(super) fn encode(&self, count: Count, body_len: u32) -> [u8; FRAME_HEADER_LEN] {
        let mark_delta = u16::try_from(self.first_position.saturating_sub(self.mark)).unwrap_or(NO_MARK);
        RawHeader {
            crc: 0,
            check: 0,
            others: count.others,
            body_len,
            prev_crc: self.prev_crc,
            prev_len: self.prev_len,
            messages: count.messages,
            first_position: self.first_position,
            base: self.base,
            time: self.time,
            span: self.span,
            archives: self.archives,
            mark_delta,
            epoch: self.epoch,
            journal: self.journal,
            kind: self.kind as u8,
        }
        .encode()
    }
}

impl RawHeader {
    #[inline]
    fn count(&self) -> Count {
        Count { messages: self.messages, others: self.others }
    }

    /// The sequence of the first message in it, if it has any; else of the next one.
    #[inline]
    fn first_seq(&self) -> Option<u64> {
        self.base.checked_add(u64::from(self.span))?.checked_sub(u64::from(self.messages))
    }

    /// Length of table and of the whole frame, if they are within the limits.
    #[inline]
    fn lengths(&self) -> Result<(usize, usize), FrameFault> {
        let (count, body_len) = (self.count().all(), self.body_len as usize);
        if count == 0 || count > MAX_FRAME_RECORDS || body_len > MAX_FRAME - RawHeader::LEN {
            return Err(FrameFault::Length);
        }
        let table_len = count * ENTRY_LEN;
        if table_len > body_len {
            return Err(FrameFault::Length);
        }
        Ok((table_len, RawHeader::LEN + body_len))
    }

    /// Looks at what lengths and checksum do not say; the kind of the frame, if there is nothing wrong.
    #[inline]
    fn meaning(&self) -> Result<FrameKind, FrameFault> {
        let kind = FrameKind::from_number(self.kind).ok_or(FrameFault::Kind(self.kind))?;
        let end = self.first_position.saturating_add(self.count().all() as u64);
        if end > MAX_NUMBER {
            return Err(FrameFault::Field("first_position"));
        }
        // Each message has a position, so none has a sequence above it.
        if self.first_seq().is_none_or(|seq| seq > self.first_position) {
            return Err(FrameFault::Field("base"));
        }
        if self.mark_delta != NO_MARK && u64::from(self.mark_delta) > self.first_position {
            return Err(FrameFault::Field("mark_delta"));
        }
        Ok(kind)
    }

    #[inline]
    fn mark(&self) -> u64 {
        match self.mark_delta {
            NO_MARK => 0,
            delta => self.first_position.saturating_sub(u64::from(delta)),
        }
    }
}

/// The length of a frame of `count` records with `body_bytes` bytes of extras and payloads.
pub(crate) fn frame_len(count: usize, body_bytes: usize) -> usize {
    RawHeader::LEN + ENTRY_LEN * count + body_bytes
}

/// Where in `bytes`, which stand at `offset` of the file, a frame's header begins. `None` if nowhere.
///
/// The check of a header covers its own offset and the salt of its segment: a payload that looks like a header
/// passes it once in 65,536 times, so that nobody can make this search long by what he stores.
pub(crate) fn find_header(seed: Seed, offset: u64, bytes: &[u8]) -> Option<usize> {
    bytes.windows(FRAME_HEADER_LEN).enumerate().position(|(at, window)| {
        window.first_chunk::<FRAME_HEADER_LEN>().is_some_and(|header| {
            let raw = RawHeader::decode(header);
            raw.lengths().is_ok() && seed.of_header(offset + at as u64, header) == raw.check
        })
    })
}

/// What stands at an offset, as far as the header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    /// A header: its check is right, and its lengths are possible. The checksum of the frame is still to come.
    Frame {
        /// The length of the whole frame.
        len: usize,
        /// The length of header and table, which can be judged alone.
        head_len: usize,
    },
    /// Nothing but zeros (or nothing at all) in the place of a header. What follows it was not looked at.
    Zeros,
    /// No header.
    Fault(FrameFault),
}

/// Looks at the header that `bytes`, found at `offset` of the file, begin with: how much has to be read?
pub(crate) fn peek(seed: Seed, offset: u64, bytes: &[u8]) -> Peek {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER_LEN>() else {
        // The allocated zeros may end anywhere.
        return match is_zero(bytes) {
            true => Peek::Zeros,
            false => Peek::Fault(FrameFault::Short { need: RawHeader::LEN, have: bytes.len() }),
        };
    };
    let raw = RawHeader::decode(header);
    if raw.kind == 0 && is_zero(header) {
        return Peek::Zeros;
    }
    // No length is believed before the check.
    if seed.of_header(offset, header) != raw.check {
        return Peek::Fault(FrameFault::Header);
    }
    match raw.lengths() {
        Ok((table_len, len)) => Peek::Frame { len, head_len: RawHeader::LEN + table_len },
        Err(fault) => Peek::Fault(fault),
    }
}

/// The lengths of a frame, and of its header and table, as the header with which `bytes` begin claims them: within
/// the limits, and not checked. Only for who has bytes enough, and judges them by [`Table::parse`].
pub(crate) fn claimed_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let raw = RawHeader::decode(bytes.first_chunk()?);
    raw.lengths().ok().map(|(table_len, len)| (len, RawHeader::LEN + table_len))
}

/// True if all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Whole blocks are folded without a branch, so that the compiler can use the widest registers.
    let (blocks, rest) = bytes.as_chunks::<256>();
    blocks.iter().all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// Header and table of a frame, as they were written: all that is known of its records without their bodies.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    seed: Seed,
    kind: FrameKind,
    offset: u64,
    head: &'a [u8; FRAME_HEADER_LEN],
    table: &'a [u8],
    body_len: usize,
}

impl<'a> Table<'a> {
    /// Checks and takes header and table of the frame with which `bytes`, found at `offset` of the file, begin.
    /// The bodies need not be there.
    ///
    /// The order is the one of all checks here: lengths, then checksum, then meaning. That the frame belongs
    /// behind the one before it (`prev_crc`, `first_position`) is for the caller to compare.
    #[inline]
    pub(crate) fn parse(seed: Seed, offset: u64, bytes: &'a [u8]) -> Result<Table<'a>, FrameFault> {
        Table::take(seed, offset, bytes, false)
    }

    /// The same for bytes that [`parse`](Table::parse) has taken before, at the same offset: they are not summed up again.
    #[inline]
    pub(crate) fn again(seed: Seed, offset: u64, bytes: &'a [u8]) -> Result<Table<'a>, FrameFault> {
        Table::take(seed, offset, bytes, true)
    }

    // Always: a load calls it for each commit, and what it gives need not pass through memory then.
    #[inline(always)]
    fn take(seed: Seed, offset: u64, bytes: &'a [u8], known: bool) -> Result<Table<'a>, FrameFault> {
        let short = |need| FrameFault::Short { need, have: bytes.len() };
        let head = bytes.first_chunk::<FRAME_HEADER_LEN>().ok_or(short(FRAME_HEADER_LEN))?;
        let raw = RawHeader::decode(head);
        let (table_len, len) = raw.lengths()?;
        let head_len = RawHeader::LEN + table_len;
        let covered = bytes.get(..head_len).ok_or(short(head_len))?;
        if offset.checked_add(len as u64).is_none() {
            return Err(FrameFault::Length);
        }
        if !known && seed.of_frame(offset, covered) != raw.crc {
            return Err(FrameFault::Checksum);
        }
        let kind = raw.meaning()?;
        let table = covered.get(RawHeader::LEN..).unwrap_or_default();
        let body_len = len - head_len;
        if !known {
            let (total, count) = Entries::total(table)?;
            if total != body_len as u64 || count != raw.count() {
                return Err(FrameFault::Length);
            }
        }
        Ok(Table { seed, kind, offset, head, table, body_len })
    }

    #[inline]
    pub(crate) fn header(&self) -> FrameHeader {
        let raw = RawHeader::decode(self.head);
        FrameHeader {
            kind: self.kind,
            prev_crc: raw.prev_crc,
            prev_len: raw.prev_len,
            first_position: raw.first_position,
            base: raw.base,
            time: raw.time,
            mark: raw.mark(),
            span: raw.span,
            archives: raw.archives,
            epoch: raw.epoch,
            journal: raw.journal,
        }
    }

    /// The stored checksum: what the next frame names as its predecessor's.
    pub(crate) fn crc(&self) -> u32 {
        RawHeader::decode(self.head).crc
    }

    /// The length of the whole frame.
    pub(crate) fn len(&self) -> usize {
        self.head_len() + self.body_len
    }

    /// The length of header and table.
    pub(crate) fn head_len(&self) -> usize {
        RawHeader::LEN + self.table.len()
    }

    /// How many records there are; at least one.
    pub(crate) fn count(&self) -> usize {
        self.table.len() / ENTRY_LEN
    }

    /// The sequence of the first message in it, if it has any; else of the next one.
    #[inline]
    pub(crate) fn first_seq(&self) -> u64 {
        // `parse` has looked.
        RawHeader::decode(self.head).first_seq().unwrap_or_default()
    }

    /// The position behind the last record. Snapshot and witness take none.
    pub(crate) fn end_position(&self) -> u64 {
        let taken = if self.kind.takes_positions() { self.count() as u64 } else { 0 };
        self.header().first_position.saturating_add(taken)
    }

    /// What the table says of each record, in order.
    pub(crate) fn entries(&self) -> Entries<'a> {
        let end = self.offset.saturating_add(self.len() as u64);
        Entries { cursor: self.cursor(), end, next: self.header().next(), table: self.table }
    }

    /// The same for who keeps the table elsewhere meanwhile.
    #[inline]
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            seed: self.seed,
            index: 0,
            left: self.count(),
            position: self.header().first_position,
            seq: self.first_seq(),
            time: self.header().time,
            step: u64::from(self.kind.takes_positions()),
            entry_offset: self.offset.saturating_add(RawHeader::LEN as u64),
            body_offset: self.offset.saturating_add(self.head_len() as u64),
        }
    }
}

/// A whole frame with one message and nothing else, in whose head nothing is amiss. The body is checked by
/// [`verify`](Entry::verify).
pub(crate) struct Single<'a> {
    /// The length of the whole frame.
    pub len: usize,
    pub entry: Entry,
    pub body: &'a [u8],
}

impl<'a> Single<'a> {
    /// Checks and takes the frame with which `bytes`, found at `offset` of the file, begin. `None` if it is anything else,
    /// or has a fault: then [`Table::parse`] says which.
    #[inline]
    pub(crate) fn parse(seed: Seed, offset: u64, bytes: &'a [u8]) -> Option<Single<'a>> {
        // A long table is not summed up here, and again by who takes it.
        let raw = RawHeader::decode(bytes.first_chunk()?);
        let table = (raw.messages == 1 && raw.others == 0)
            .then(|| Table::parse(seed, offset, bytes).ok())
            .flatten()?;
        let (entry, body) = (table.cursor().next(table.table)?, bytes.get(table.head_len()..table.len())?);
        let message = table.kind.takes_positions();
        message.then(|| Single { len: table.len(), entry, body })
    }
}

/// A whole frame: its header and table are as they were written. The bodies are checked by
/// [`verify`](Frame::verify), or one by one by [`Record::verify`].
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    table: Table<'a>,
    bodies: &'a [u8],
}

impl<'a> Deref for Frame<'a> {
    type Target = Table<'a>;

    fn deref(&self) -> &Table<'a> {
        &self.table
    }
}

impl<'a> Frame<'a> {
    /// Checks and takes the frame with which `bytes`, found at `offset` of the file, begin. More bytes may
    /// follow it. See [`Table::parse`].
    pub(crate) fn parse(seed: Seed, offset: u64, bytes: &'a [u8]) -> Result<Frame<'a>, FrameFault> {
        let short = |need| FrameFault::Short { need, have: bytes.len() };
        let head = bytes.first_chunk::<FRAME_HEADER_LEN>().ok_or(short(FRAME_HEADER_LEN))?;
        let (table_len, len) = RawHeader::decode(head).lengths()?;
        let bodies = bytes.get(RawHeader::LEN + table_len..len).ok_or(short(len))?;
        Ok(Frame { table: Table::parse(seed, offset, bytes)?, bodies })
    }

    /// The records, in order, their bodies unchecked.
    pub(crate) fn records(&self) -> Records<'a> {
        Records { entries: self.table.entries(), bodies: self.bodies }
    }

    /// Checks all bodies.
    pub(crate) fn verify(&self) -> Result<(), FrameFault> {
        self.records().try_for_each(|record| record.verify())
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("offset", &self.offset)
            .field("len", &self.len())
            .field("count", &self.count())
            .field("header", &self.header())
            .finish_non_exhaustive()
    }
}

/// Why bytes are not a frame, or not the one that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFault {
    /// Fewer bytes than the frame says it has.
    Short { need: usize, have: usize },
    /// No frame begins here: the check of the header is wrong.
    Header,
    /// A frame of a kind that this version does not know. Certain only from [`Frame::parse`].
    Kind(u8),
    /// A length or count is over its limit, or the lengths do not add up.
    Length,
    /// Header or table is not what was written, or was written for another place.
    Checksum,
    /// Header and table are good, but the body of this record is not what was written.
    Body { index: usize, offset: u64 },
    /// A field has a value that no writer of this version writes.
    Field(&'static str),
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameFault::Short { need, have } => {
                write!(f, "a commit needs {need} bytes, but only {have} are there")
            }
            FrameFault::Header => f.write_str("no commit begins here"),
            FrameFault::Kind(kind) => {
                write!(f, "the kind of the commit is {kind}, which this version does not know")
            }
            FrameFault::Length => f.write_str("the lengths in the commit are impossible"),
            FrameFault::Checksum => f.write_str(
                "the checksum of the commit's header does not match: it was changed, or belongs elsewhere",
            ),
            FrameFault::Body { index, offset } => {
                write!(f, "the checksum of record {index} of the commit does not match its bytes at {offset}")
            }
            FrameFault::Field(name) => write!(f, "the field `{name}` of the commit has an impossible value"),
        }
    }
}

impl std::error::Error for FrameFault {}

/// The lengths of the table and of the whole frame that `bytes` seem to begin with.
#[cfg(any(test, all(fuzzing, feature = "sim")))]
pub(super) fn peek_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    RawHeader::decode(bytes.first_chunk()?).lengths().ok()
}

#[cfg(test)]
pub(super) fn fields() -> Vec<(usize, usize, &'static str)> {
    RawHeader::fields()
}
