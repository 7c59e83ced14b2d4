//! The records of a [frame](super::frame): entries of its table, and the bodies they speak of.

use std::fmt;
use std::ops::Deref;

use super::frame::{Count, FrameFault};
use super::layout::layout;
use super::sum::Seed;

/// Set in the entry of a message with which a turn starts.
pub(crate) const TURN_START: u8 = 1 << 0;
/// Set in the entry of a record that a reader must understand: if its kind is unknown, the session is
/// `Unsupported`. A record of unknown kind without it may be passed over.
pub(crate) const CRITICAL: u8 = 1 << 1;

layout! {
    struct RawEntry, 13 {
        0 len: u32,
        4 crc: u32,
        8 extras_len: u16,
        10 kind: u8,
        11 flags: u8,
        12 codec: u8,
    }
}

/// The length of one entry of a frame's table, in bytes.
pub(crate) const ENTRY_LEN: usize = RawEntry::LEN;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// A message of the caller.
    Message,
    /// A journal record: attributes, an intent, and so on.
    Op,
    /// The state of the session.
    Snapshot,
    /// The witness that a successor exists.
    Next,
    /// Nothing but a new durable-up-to mark.
    Mark,
    /// A kind of a later version (never 0); its flags say whether it may be passed over.
    Unknown(u8),
}

impl RecordKind {
    pub(crate) fn from_number(number: u8) -> RecordKind {
        match number {
            1 => RecordKind::Message,
            2 => RecordKind::Op,
            3 => RecordKind::Snapshot,
            4 => RecordKind::Next,
            5 => RecordKind::Mark,
            other => RecordKind::Unknown(other),
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            RecordKind::Message => 1,
            RecordKind::Op => 2,
            RecordKind::Snapshot => 3,
            RecordKind::Next => 4,
            RecordKind::Mark => 5,
            RecordKind::Unknown(other) => other,
        }
    }
}

/// What the entry of a record says besides lengths and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryMeta {
    pub kind: RecordKind,
    /// [`TURN_START`], [`CRITICAL`]; other bits are kept and mean nothing.
    pub flags: u8,
    pub codec: u8,
}

impl EntryMeta {
    /// The bytes of the entry with this checksum.
    pub(super) fn encode(&self, extras_len: u16, len: u32, crc: u32) -> [u8; ENTRY_LEN] {
        RawEntry { len, crc, extras_len, kind: self.kind.number(), flags: self.flags, codec: self.codec }
            .encode()
    }
}

/// The entries of a frame's table, one after the other.
#[derive(Clone)]
pub(crate) struct Entries<'a> {
    pub(super) cursor: Cursor,
    /// Where the bodies that are left end in the file.
    pub(super) end: u64,
    /// The sequence behind the messages that are left.
    pub(super) next: u64,
    /// The entries that are left.
    pub(super) table: &'a [u8],
}

impl Entries<'_> {
    /// The length of all bodies that a table speaks of, and the number of its records, if its entries are such as a
    /// writer writes.
    #[inline]
    pub(super) fn total(table: &[u8]) -> Result<(u64, Count), FrameFault> {
        let (mut sum, mut messages, mut nameless) = (0u64, 0u32, 0u32);
        let (entries, _) = table.as_chunks::<ENTRY_LEN>();
        // Without a branch: of a large batch this is a good part of what its end costs.
        for entry in entries {
            let entry = RawEntry::decode(entry);
            // At most MAX_FRAME_RECORDS of less than 2^33: this cannot overflow.
            sum += u64::from(entry.extras_len) + u64::from(entry.len);
            messages += u32::from(entry.kind == RecordKind::Message.number());
            nameless += u32::from(entry.kind == 0);
        }
        if nameless > 0 {
            return Err(FrameFault::Field("kind"));
        }
        let others = u16::try_from(entries.len() - messages as usize).unwrap_or(u16::MAX);
        Ok((sum, Count { messages, others }))
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    #[inline]
    fn next(&mut self) -> Option<Entry> {
        let entry = self.cursor.next(self.table)?;
        self.table = self.table.get(ENTRY_LEN..).unwrap_or_default();
        Some(entry)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.cursor.left, Some(self.cursor.left))
    }
}

impl DoubleEndedIterator for Entries<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let (table, bytes) = self.table.split_last_chunk::<ENTRY_LEN>()?;
        let before = self.cursor.left.checked_sub(1)?;
        let at = self.cursor;
        let position = at.position.saturating_add(at.step.saturating_mul(before as u64));
        let mut entry = Cursor { index: at.index + before, position, ..at }.decode(bytes);
        // `Table::parse` has added up the lengths, and the messages.
        self.end = self.end.saturating_sub(entry.body_len() as u64);
        entry.body_offset = self.end;
        if entry.kind == RecordKind::Message {
            self.next = self.next.saturating_sub(1);
            entry.seq = self.next;
        }
        self.cursor.left = before;
        self.table = table;
        Some(entry)
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// What a table says of one record.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// The place in the frame, from 0.
    pub index: usize,
    pub position: u64,
    pub kind: RecordKind,
    /// [`TURN_START`], [`CRITICAL`].
    pub flags: u8,
    pub codec: u8,
    /// When its commit was written, in microseconds since 1970.
    pub time: u64,
    /// The sequence of a message; 0 for all else. It is not stored, but counted.
    pub seq: u64,
    /// The length of the extras, in bytes.
    pub extras_len: usize,
    /// The length of the payload, in bytes.
    pub len: usize,
    /// The file offset of the extras; the payload lies directly behind them.
    pub body_offset: u64,
    /// The stored checksum.
    pub crc: u32,
    seed: Seed,
}

/// The records of a frame that are still to come, without the table itself: that is handed in again for each.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    pub(super) seed: Seed,
    pub(super) index: usize,
    pub(super) left: usize,
    pub(super) position: u64,
    /// Of the next message.
    pub(super) seq: u64,
    pub(super) time: u64,
    pub(super) step: u64,
    pub(super) entry_offset: u64,
    pub(super) body_offset: u64,
}

impl Cursor {
    /// With nothing to come.
    pub(crate) const END: Cursor = Cursor {
        seed: Seed::NONE,
        index: 0,
        left: 0,
        position: 0,
        seq: 0,
        time: 0,
        step: 0,
        entry_offset: 0,
        body_offset: 0,
    };

    /// How many records are still to come.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// The file offset of the next entry of the table.
    #[inline]
    pub(crate) fn entry_offset(&self) -> u64 {
        self.entry_offset
    }

    /// The same from this message on, which lies ahead.
    pub(crate) fn at(self, entry: &Entry) -> Cursor {
        debug_assert!(entry.kind == RecordKind::Message, "its sequence is the one to go on with");
        let ahead = entry.index.saturating_sub(self.index);
        Cursor {
            index: entry.index,
            left: self.left.saturating_sub(ahead),
            position: entry.position,
            seq: entry.seq,
            entry_offset: self.entry_offset.saturating_add((ahead * ENTRY_LEN) as u64),
            body_offset: entry.body_offset,
            ..self
        }
    }

    /// The next record: `table` is what stands at [`entry_offset`](Cursor::entry_offset), and was judged before.
    #[inline]
    pub(crate) fn next(&mut self, table: &[u8]) -> Option<Entry> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.decode(table.first_chunk()?);
        self.index += 1;
        self.position = self.position.saturating_add(self.step);
        self.seq += u64::from(entry.kind == RecordKind::Message);
        self.entry_offset = self.entry_offset.saturating_add(ENTRY_LEN as u64);
        self.body_offset = self.body_offset.saturating_add(entry.body_len() as u64);
        Some(entry)
    }

    /// What stands in the next entry of the table, and what is known of it from those in front of it.
    #[inline]
    fn decode(&self, entry: &[u8; ENTRY_LEN]) -> Entry {
        let raw = RawEntry::decode(entry);
        let kind = RecordKind::from_number(raw.kind);
        Entry {
            index: self.index,
            position: self.position,
            kind,
            flags: raw.flags,
            codec: raw.codec,
            time: self.time,
            seq: if kind == RecordKind::Message { self.seq } else { 0 },
            extras_len: raw.extras_len.into(),
            len: raw.len as usize,
            body_offset: self.body_offset,
            crc: raw.crc,
            seed: self.seed,
        }
    }
}

impl Entry {
    /// The length of extras and payload together.
    #[inline]
    pub(crate) fn body_len(&self) -> usize {
        self.extras_len + self.len
    }

    /// Checks extras and payload.
    #[inline]
    pub(crate) fn verify(&self, body: &[u8]) -> Result<(), FrameFault> {
        match self.seed.of_body(self.body_offset, body) == self.crc {
            true => Ok(()),
            false => Err(FrameFault::Body { index: self.index, offset: self.body_offset }),
        }
    }

    /// What a copy of this record carries besides extras and payload.
    pub(crate) fn meta(&self) -> EntryMeta {
        EntryMeta { kind: self.kind, flags: self.flags, codec: self.codec }
    }
}

/// The records of a frame, one after the other.
#[derive(Clone)]
pub(crate) struct Records<'a> {
    pub(super) entries: Entries<'a>,
    pub(super) bodies: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let entry = self.entries.next()?;
        // `Table::parse` has added up the lengths, so both splits succeed.
        let (body, bodies) = self.bodies.split_at_checked(entry.body_len())?;
        let (extras, payload) = body.split_at_checked(entry.extras_len)?;
        self.bodies = bodies;
        Some(Record { entry, extras, payload, body })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Records<'_> {}

/// One record: everything its entry says, and its body. The body is unchecked until
/// [`verify`](Record::verify) said so.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    entry: Entry,
    /// For [`Extras::decode`](super::Extras::decode).
    pub extras: &'a [u8],
    pub payload: &'a [u8],
    body: &'a [u8],
}

impl<'a> Deref for Record<'a> {
    type Target = Entry;

    #[inline]
    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Record<'_> {
    /// Checks extras and payload.
    #[inline]
    pub(crate) fn verify(&self) -> Result<(), FrameFault> {
        self.entry.verify(self.body)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("index", &self.index)
            .field("position", &self.position)
            .field("meta", &self.meta())
            .field("extras", &self.extras.len())
            .field("payload", &self.payload.len())
            .field("body_offset", &self.body_offset)
            .finish_non_exhaustive()
    }
}

/// The length of the body that an entry speaks of.
#[cfg(any(test, all(fuzzing, feature = "sim")))]
pub(super) fn body_len(entry: &[u8; ENTRY_LEN]) -> usize {
    let raw = RawEntry::decode(entry);
    usize::from(raw.extras_len) + raw.len as usize
}

#[cfg(test)]
pub(super) fn fields() -> Vec<(usize, usize, &'static str)> {
    RawEntry::fields()
}
