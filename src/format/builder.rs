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
        FrameBuilder { buf: Vec::new(), count: 0, pushed: Count::default(), offset: 0, seed: Seed::NONE }
    }

    /// Starts a frame of exactly `count` records that will stand at `offset` of the file. What was in the
    /// buffer is gone.
    pub(crate) fn begin(&mut self, count: usize, offset: u64, seed: Seed) {
        assert!((1..=MAX_FRAME_RECORDS).contains(&count), "a frame of {count} records");
        self.buf.clear();
        self.buf.resize(frame_len(count, 0), 0);
        (self.count, self.pushed, self.offset, self.seed) = (count, Count::default(), offset, seed);
    }

    /// Adds the next record.
    #[expect(clippy::indexing_slicing, reason = "into our own buffer, by lengths computed here")]
    pub(crate) fn push(&mut self, meta: &EntryMeta, extras: &[u8], payload: &[u8]) {
        let index = self.pushed.all();
        assert!(index < self.count, "more than the {} records that were announced", self.count);
        let start = self.buf.len();
        assert!(extras.len() <= usize::from(u16::MAX), "extras of {} bytes", extras.len());
        assert!(
            payload.len() <= MAX_FRAME && start + extras.len() + payload.len() <= MAX_FRAME,
            "a frame over the limit"
        );
        self.buf.reserve(extras.len() + payload.len());
        self.buf.extend_from_slice(extras);
        self.buf.extend_from_slice(payload);

        let (extras_len, len) = (extras.len() as u16, payload.len() as u32);
        let crc = self.seed.of_body(self.offset + start as u64, &self.buf[start..]);
        let at = frame_len(index, 0);
        self.buf[at..at + ENTRY_LEN].copy_from_slice(&meta.encode(extras_len, len, crc));
        self.pushed.add(meta.kind);
    }

    /// Writes the header in front; then [`bytes`](Self::bytes) is the frame.
    #[expect(clippy::indexing_slicing, reason = "into our own buffer, by lengths computed here")]
    pub(crate) fn finish(&mut self, header: &FrameHeader) -> Finished {
        let pushed = self.pushed.all();
        assert!(self.count > 0 && pushed == self.count, "{pushed} of {} records", self.count);
        debug_assert!(header.mark <= header.first_position, "a mark ahead of its own frame");
        let len = self.buf.len() as u32;
        let mut header = header.encode(self.pushed, len - FRAME_HEADER_LEN as u32);
        let check = self.seed.of_header(self.offset, &header);
        header[4..6].copy_from_slice(&check.to_le_bytes());
        let head = &mut self.buf[..frame_len(self.count, 0)];
        head[..FRAME_HEADER_LEN].copy_from_slice(&header);
        let crc = self.seed.of_frame(self.offset, head);
        head[..4].copy_from_slice(&crc.to_le_bytes());
        Finished { crc, len }
    }

    /// The frame, once it is finished.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Gives memory back after a large frame: keeps room for `keep` bytes. What was in the buffer is gone.
    pub(crate) fn shrink(&mut self, keep: usize) {
        self.buf.clear();
        self.buf.shrink_to(keep);
        (self.count, self.pushed) = (0, Count::default());
    }
}
