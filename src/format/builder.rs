//! The writing side of a [frame](super::frame).

use super::frame::{Count, FRAME_HEADER_LEN, FrameHeader, frame_len};
use super::record::{ENTRY_LEN, EntryMeta};
use super::sum::Seed;
use crate::limits::{MAX_FRAME, MAX_FRAME_RECORDS};

/// Builds frames into one buffer that is used again and again: no allocation once it has grown.
///
/// `begin`, then `push` once for each record, then `finish`. Limits are checked at the call that a user makes,
/// long before; a frame that breaks one here is our mistake and panics, because no reader would accept it.
pub(crate) struct FrameBuilder {
    buf: Vec<u8>,
    count: usize,
    pushed: Count,
    /// The bytes of the bodies that are not in the buffer.
    aside: usize,
    offset: u64,
    seed: Seed,
}

/// What the next frame has to name: checksum and length of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub crc: u32,
    pub len: u32,
}

impl FrameBuilder {
    pub(crate) fn new() -> FrameBuilder {
        let (count, pushed) = (0, Count::default());
        FrameBuilder { buf: Vec::new(), count, pushed, aside: 0, offset: 0, seed: Seed::NONE }
    }

    /// Starts a frame of exactly `count` records that will stand at `offset` of the file. What was in the
    /// buffer is gone.
    pub(crate) fn begin(&mut self, count: usize, offset: u64, seed: Seed) {
        assert!((1..=MAX_FRAME_RECORDS).contains(&count), "a frame of {count} records");
        self.buf.clear();
        self.buf.resize(frame_len(count, 0), 0);
        (self.count, self.pushed, self.aside) = (count, Count::default(), 0);
        (self.offset, self.seed) = (offset, seed);
    }

    /// Adds the next record.
    #[expect(clippy::indexing_slicing, reason = "into our own buffer, by lengths computed here")]
    pub(crate) fn push(&mut self, meta: &EntryMeta, extras: &[u8], payload: &[u8]) {
        assert!(self.aside == 0, "a record behind others that are not in the buffer");
        let start = self.buf.len();
        self.buf.reserve(extras.len() + payload.len());
        self.buf.extend_from_slice(extras);
        self.buf.extend_from_slice(payload);
        let crc = self.seed.of_body(self.offset + start as u64, &self.buf[start..]);
        self.enter(meta, extras.len(), payload.len(), crc);
    }

    /// Adds the next record, of a long frame, without a copy of its body, which begins with so many bytes of extras: it
    /// stands behind [`bytes`](Self::bytes) and the bodies that were added before it, and none is in the buffer.
    pub(crate) fn push_aside(&mut self, meta: &EntryMeta, extras: usize, body: &[u8]) {
        assert!(self.buf.len() == frame_len(self.count, 0), "a record behind others that are in the buffer");
        let start = self.buf.len() + self.aside;
        let crc = self.seed.of_body(self.offset + start as u64, body);
        self.aside += body.len();
        self.enter(meta, extras, body.len() - extras, crc);
    }

    #[expect(clippy::indexing_slicing, reason = "into our own buffer, by lengths computed here")]
    fn enter(&mut self, meta: &EntryMeta, extras: usize, payload: usize, crc: u32) {
        let index = self.pushed.all();
        assert!(index < self.count, "more than the {} records that were announced", self.count);
        assert!(extras <= usize::from(u16::MAX), "extras of {extras} bytes");
        assert!(self.buf.len() + self.aside <= MAX_FRAME, "a frame over the limit");
        let at = frame_len(index, 0);
        let entry = meta.encode(extras as u16, payload as u32, crc);
        self.buf[at..at + ENTRY_LEN].copy_from_slice(&entry);
        self.pushed.add(meta.kind);
    }

    /// Writes the header in front; then [`bytes`](Self::bytes) is the frame, up to the bodies that are not in it.
    #[expect(clippy::indexing_slicing, reason = "into our own buffer, by lengths computed here")]
    pub(crate) fn finish(&mut self, header: &FrameHeader) -> Finished {
        let pushed = self.pushed.all();
        assert!(self.count > 0 && pushed == self.count, "{pushed} of {} records", self.count);
        debug_assert!(header.mark <= header.first_position, "a mark ahead of its own frame");
        let len = (self.buf.len() + self.aside) as u32;
        let mut header = header.encode(self.pushed, len - FRAME_HEADER_LEN as u32);
        let check = self.seed.of_header(self.offset, &header);
        header[4..6].copy_from_slice(&check.to_le_bytes());
        let head = &mut self.buf[..frame_len(self.count, 0)];
        head[..FRAME_HEADER_LEN].copy_from_slice(&header);
        let crc = self.seed.of_frame(self.offset, head);
        head[..4].copy_from_slice(&crc.to_le_bytes());
        Finished { crc, len }
    }

    /// The frame, once it is finished, but for the bodies that were added [aside](Self::push_aside).
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Gives memory back after a large frame: keeps room for `keep` bytes. What was in the buffer is gone.
    pub(crate) fn shrink(&mut self, keep: usize) {
        self.buf.clear();
        self.buf.shrink_to(keep);
        (self.count, self.pushed, self.aside) = (0, Count::default(), 0);
    }
}
