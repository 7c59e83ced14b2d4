//! A stretch of a segment in memory, from which frames are parsed.

use std::io;
use std::sync::Arc;

use super::message::Buffer;
use crate::format::{FRAME_HEADER_LEN, Frame, FrameFault, Peek, Seed, peek};
use crate::fs::{File, read_up_to_at};

const FIRST: usize = 64 << 10;
const LARGEST: usize = 1 << 20;

/// What stands at an offset, as far as the trusted end of the segment.
pub(crate) enum At<'a> {
    /// A frame whose header and table are intact; bodies are not verified yet.
    Frame(Frame<'a>, &'a Arc<Buffer>, usize),
    /// The end: zeros or nothing.
    End,
    /// Bytes that are no frame.
    Fault(FrameFault),
}

/// Reads a file in growing windows, or not at all where the whole of it is mapped.
pub(crate) struct Window {
    buffer: Arc<Buffer>,
    /// The file offset of the first byte of the buffer.
    base: u64,
    next_size: usize,
}

impl Window {
    pub(crate) fn new() -> Window {
        Window { buffer: Arc::new(Buffer::Heap(Vec::new())), base: 0, next_size: FIRST }
    }

    /// A window over all that is ever needed of the file.
    pub(crate) fn mapped(buffer: Arc<Buffer>) -> Window {
        Window { buffer, base: 0, next_size: FIRST }
    }

    /// Reads `[from, to)` into the window in one go.
    pub(crate) fn fill(&mut self, file: &dyn File, from: u64, to: u64) -> io::Result<()> {
        let mut bytes = vec![0; to.saturating_sub(from) as usize];
        let have = read_up_to_at(file, &mut bytes, from)?;
        bytes.truncate(have);
        self.buffer = Arc::new(Buffer::Heap(bytes));
        self.base = from;
        Ok(())
    }

    fn covers(&self, from: u64, to: u64) -> bool {
        from >= self.base && to <= self.base + self.buffer.len() as u64
    }

    /// Makes `[offset, offset + need)` available, as far as the file goes up to `limit`.
    fn ensure(&mut self, file: &dyn File, offset: u64, need: usize, limit: u64) -> io::Result<()> {
        let want = (offset + need as u64).min(limit);
        if self.covers(offset, want) {
            return Ok(());
        }
        if matches!(*self.buffer, Buffer::Map(_)) && offset >= self.base && self.covers(offset, offset) {
            // A map covers the whole trusted extent: what lies behind it does not exist.
            return Ok(());
        }
        let to = (offset + self.next_size.max(need) as u64).min(limit);
        self.next_size = (self.next_size * 2).min(LARGEST);
        self.fill(file, offset, to)
    }

    /// The bytes from `offset` to the end of the window.
    pub(crate) fn bytes(&self, offset: u64) -> &[u8] {
        offset
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.buffer.get(at..))
            .unwrap_or_default()
    }

    /// The raw bytes `[offset, offset + len)`, fewer at the limit.
    pub(crate) fn raw(&mut self, file: &dyn File, offset: u64, len: usize, limit: u64) -> io::Result<&[u8]> {
        self.ensure(file, offset, len, limit)?;
        let bytes = self.bytes(offset);
        Ok(bytes.get(..len).unwrap_or(bytes))
    }

    /// What stands at `offset`; nothing at or behind `limit` is looked at.
    pub(crate) fn at(&mut self, file: &dyn File, seed: Seed, offset: u64, limit: u64) -> io::Result<At<'_>> {
        if offset >= limit {
            return Ok(At::End);
        }
        self.ensure(file, offset, FRAME_HEADER_LEN, limit)?;
        let bytes = self.bytes(offset);
        let left = usize::try_from(limit - offset).unwrap_or(usize::MAX);
        let bytes = bytes.get(..left).unwrap_or(bytes);
        let need = match peek(seed, offset, bytes) {
            Peek::Zeros => return Ok(At::End),
            Peek::Fault(fault) => {
                // Fewer bytes than a header and all of them zero: the allocated space ends here.
                return Ok(if crate::format::is_zero(bytes) { At::End } else { At::Fault(fault) });
            }
            Peek::Frame { len, .. } => len,
        };
        if need > left {
            return Ok(At::Fault(FrameFault::Short { need, have: left }));
        }
        self.ensure(file, offset, need, limit)?;
        let start = (offset - self.base) as usize;
        let bytes = self.buffer.get(start..).unwrap_or_default();
        let bytes = bytes.get(..left).unwrap_or(bytes);
        Ok(match Frame::parse(seed, offset, bytes) {
            Ok(frame) => At::Frame(frame, &self.buffer, start),
            Err(fault) => At::Fault(fault),
        })
    }
}
