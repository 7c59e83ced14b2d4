//! A stretch of a segment in memory, from which frames are parsed.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use super::message::Buffer;
use crate::format::{FRAME_HEADER_LEN, Frame, FrameFault, Peek, Seed, Single, Table, claimed_lengths, peek};
use crate::fs::{File, read_up_to_at};

/// What is read at once, and the largest buffer that a thread keeps for the next window. Small enough that what is copied into
/// it is still in the cache of the processor when it is checked; a larger one would be new memory for each load, whose pages
/// take the system longer than the reading.
pub(super) const READ: usize = 64 << 10;
/// What is read at once of long messages, and what of a map is brought into memory at once in the end.
const AHEAD: usize = 256 << 10;
/// What a disk fails to read at once.
pub(super) const BLOCK: u64 = 4096;

thread_local! {
    /// A buffer that no message is in any more, kept with what is in it. A short read would spend a good part of its time on
    /// getting and clearing one.
    static LAST: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A header and table that takes no time to check.
const SHORT: usize = 1 << 10;

/// What stands at an offset, as far as the trusted end of the segment.
pub(crate) enum At<'a> {
    /// A frame whose header and table are intact; bodies are not verified yet.
    Frame(Frame<'a>),
    /// The end: zeros or nothing.
    End,
    /// Bytes that are no frame.
    Fault(FrameFault),
}

/// What stands at an offset, as far as the header tells.
pub(crate) enum Found {
    /// A frame of this length; its first `head_len` bytes, header and table, are in the window.
    Frame {
        len: usize,
        head_len: usize,
    },
    End,
    Fault(FrameFault),
}

/// Reads a file window by window, or not at all where the whole of it is mapped.
pub(crate) struct Window {
    buffer: Arc<Buffer>,
    /// How much of the buffer counts, from its front. Nothing is taken from what lies behind: see [`Window::bytes`]. Memory is
    /// used again without being cleared, so it may be what an earlier read found in the same place; and of a map it was not
    /// brought into memory yet, and perhaps cannot be.
    len: usize,
    /// The file offset of the first byte of the buffer.
    base: u64,
    /// The frame whose header and table, which are in the buffer, were found good: offset and length of these.
    judged: Option<(u64, usize)>,
    /// How much is read, or brought into memory of a map, the next time.
    ahead: usize,
    /// Something could not be read, so nothing is read any more but whole blocks: a disk may take long to fail.
    careful: bool,
}

impl Window {
    pub(crate) fn new() -> Window {
        let buffer = Arc::new(Buffer::Heap(Vec::new()));
        Window { buffer, len: 0, base: 0, judged: None, ahead: READ, careful: false }
    }

    /// A window over all that is ever needed of the file, which is read forwards.
    pub(crate) fn mapped(buffer: Arc<Buffer>) -> Window {
        Window { buffer, len: 0, base: 0, judged: None, ahead: READ, careful: false }
    }

    /// Reads `[from, to)` into the window in one go: into the memory that it has, if no message is left in that.
    pub(crate) fn fill(&mut self, file: &dyn File, from: u64, to: u64) -> io::Result<()> {
        self.fill_behind(file, from, to, 0)
    }

    /// The same, of what is no map, and what of it is in the window is not read again. Where a writer is at work, a frame in flight may be
    /// pieced together of before and after: its checksum says so, as it does where one read met that.
    pub(crate) fn extend(&mut self, file: &dyn File, from: u64, to: u64) -> io::Result<()> {
        self.extend_ahead(file, from, to, to)
    }

    /// The same, and reads on up to `limit`, as far as is read at once.
    pub(super) fn extend_ahead(&mut self, file: &dyn File, from: u64, to: u64, limit: u64) -> io::Result<()> {
        let have = self.bytes(from).len();
        if (from + have as u64) < to { self.fill_ahead(file, from, to, limit, have) } else { Ok(()) }
    }

    /// Reads `[from, to)`, but for the first `have` bytes, and on.
    fn fill_ahead(&mut self, file: &dyn File, from: u64, to: u64, limit: u64, have: usize) -> io::Result<()> {
        let ahead = if self.careful { to.next_multiple_of(BLOCK) } else { from + self.ahead as u64 };
        let ahead = ahead.min(limit).max(to);
        match self.fill_behind(file, from, ahead, have) {
            // What was not asked for may be what cannot be read.
            Err(_) if ahead > to => {
                self.careful = true;
                self.fill_behind(file, from, to, have)
            }
            done => done,
        }
    }

    /// Reads `[from, to)` but for the first `have` bytes, which are in the window.
    fn fill_behind(&mut self, file: &dyn File, from: u64, to: u64, have: usize) -> io::Result<()> {
        let len = to.saturating_sub(from) as usize;
        let at = if have > 0 { from.saturating_sub(self.base) as usize } else { 0 };
        let kept = at..at + have;
        match Arc::get_mut(&mut self.buffer) {
            Some(Buffer::Heap(bytes)) if bytes.len() >= len => bytes.copy_within(kept, 0),
            _ => {
                let spare = || LAST.try_with(Cell::take).unwrap_or_default();
                let mut bytes = if len <= READ { spare() } else { Vec::new() };
                if bytes.len() < len {
                    bytes = vec![0; len];
                }
                if let Some((new, old)) = bytes.get_mut(..have).zip(self.buffer.get(kept)) {
                    new.copy_from_slice(old);
                }
                self.buffer = Arc::new(Buffer::Heap(bytes));
            }
        }
        (self.base, self.len) = (from, have);
        self.judged = self.judged.filter(|(offset, len)| *offset == from && *len <= have);
        let Some(Buffer::Heap(bytes)) = Arc::get_mut(&mut self.buffer) else { return Ok(()) };
        let rest = bytes.get_mut(have..len).unwrap_or_default();
        self.len += read_up_to_at(file, rest, from + have as u64)?;
        Ok(())
    }

    pub(crate) fn is_mapped(&self) -> bool {
        matches!(*self.buffer, Buffer::Map(_))
    }

    /// Of a map it is asked only forwards: what was passed over was not brought into memory.
    pub(crate) fn covers(&self, from: u64, to: u64) -> bool {
        from >= self.base && to <= self.base + self.len as u64
    }

    /// Makes `[offset, offset + need)` available, as far as the file goes up to `limit`.
    pub(crate) fn ensure(&mut self, file: &dyn File, offset: u64, need: usize, limit: u64) -> io::Result<()> {
        let want = (offset + need as u64).min(limit);
        if let Buffer::Map(map) = &*self.buffer {
            // What lies behind the end of the map is not trusted.
            if want.min(map.len() as u64) <= self.len as u64 || self.reach(offset, need) {
                return Ok(());
            }
            // Who touched it would be killed. Reading says what is wrong, and where.
            *self = Window::new();
        }
        if self.covers(offset, want) {
            return Ok(());
        }
        self.fill_ahead(file, offset, want, limit, 0)
    }

    /// Brings `[offset, offset + need)` of the map into memory, and something more; false if that cannot be had.
    pub(super) fn reach(&mut self, offset: u64, need: usize) -> bool {
        let Buffer::Map(map) = &*self.buffer else { return false };
        let (from, ahead) = (self.len.max(offset as usize), self.ahead.max(need));
        let to = (offset as usize + ahead).min(map.len());
        let done = from >= to || map.populate(from, to - from).is_ok();
        if done {
            self.len = self.len.max(to);
            self.ahead = (self.ahead * 2).min(AHEAD);
        }
        done
    }

    /// So many frames, or bodies, of about this length follow. Of long ones more is read at once: who keeps them keeps all that
    /// was read with them, and that is to be theirs.
    pub(super) fn expect(&mut self, len: usize, count: u64) {
        if !self.is_mapped() {
            let all = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(len);
            self.ahead = all.clamp(READ / 4, if len > READ / 4 { AHEAD } else { READ });
        }
    }

    /// The bytes from `offset` to the end of the window.
    pub(crate) fn bytes(&self, offset: u64) -> &[u8] {
        offset
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.buffer.get(at..self.len))
            .unwrap_or_default()
    }

    /// The raw bytes `[offset, offset + len)`, fewer at the limit.
    pub(crate) fn raw(&mut self, file: &dyn File, offset: u64, len: usize, limit: u64) -> io::Result<&[u8]> {
        let bytes = self.raw_ahead(file, offset, len, limit)?;
        Ok(bytes.get(..len).unwrap_or(bytes))
    }

    /// The same, and what was read behind them.
    pub(super) fn raw_ahead(
        &mut self,
        file: &dyn File,
        offset: u64,
        len: usize,
        limit: u64,
    ) -> io::Result<&[u8]> {
        self.ensure(file, offset, len, limit)?;
        let bytes = self.bytes(offset);
        let left = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        Ok(bytes.get(..left).unwrap_or(bytes))
    }

    /// What stands at `offset`; nothing at or behind `limit` is looked at.
    pub(crate) fn at(&mut self, file: &dyn File, seed: Seed, offset: u64, limit: u64) -> io::Result<At<'_>> {
        let need = match self.find(file, seed, offset, limit)? {
            Found::Frame { len, .. } => len,
            Found::End => return Ok(At::End),
            Found::Fault(fault) => return Ok(At::Fault(fault)),
        };
        self.extend(file, offset, limit.min(offset + need as u64))?;
        let bytes = self.bytes(offset);
        Ok(match Frame::parse(seed, offset, bytes.get(..need).unwrap_or(bytes)) {
            Ok(frame) => At::Frame(frame),
            Err(fault) => At::Fault(no_frame(seed, offset, bytes, fault)),
        })
    }

    /// Brings header and table of the frame at `offset` into the window, however long its bodies are; nothing at
    /// or behind `limit` is looked at.
    pub(crate) fn find(&mut self, file: &dyn File, seed: Seed, offset: u64, limit: u64) -> io::Result<Found> {
        if offset >= limit {
            return Ok(Found::End);
        }
        self.ensure(file, offset, FRAME_HEADER_LEN, limit)?;
        let bytes = self.bytes(offset);
        let left = usize::try_from(limit - offset).unwrap_or(usize::MAX);
        let bytes = bytes.get(..left).unwrap_or(bytes);
        if let Some((len, head_len)) = claimed_lengths(bytes)
            && len <= bytes.len()
        {
            // All of it is here: the checksum over header and table, which is next, says everything.
            return Ok(Found::Frame { len, head_len });
        }
        Ok(match peek(seed, offset, bytes) {
            Peek::Zeros => Found::End,
            // Fewer bytes than a header and all of them zero: the allocated space ends here.
            Peek::Fault(_) if bytes.len() < FRAME_HEADER_LEN && crate::format::is_zero(bytes) => Found::End,
            Peek::Fault(fault) => Found::Fault(fault),
            Peek::Frame { len, .. } if len > left => {
                Found::Fault(FrameFault::Short { need: len, have: left })
            }
            Peek::Frame { len, head_len, .. } => {
                self.ensure(file, offset, head_len, limit)?;
                Found::Frame { len, head_len }
            }
        })
    }

    /// Checks header and table that [`find`](Self::find) brought in, if they are long, so that it is done once while they
    /// stay in the window. Short ones are sooner checked again.
    pub(crate) fn judge(&mut self, seed: Seed, offset: u64, head_len: usize) -> Result<(), FrameFault> {
        if head_len > SHORT && self.judged != Some((offset, head_len)) {
            self.table(seed, offset, head_len)?;
            self.judged = Some((offset, head_len));
        }
        Ok(())
    }

    /// Header and table that [`find`](Self::find) brought in.
    pub(crate) fn table(&self, seed: Seed, offset: u64, head_len: usize) -> Result<Table<'_>, FrameFault> {
        let bytes = self.bytes(offset);
        let head = bytes.get(..head_len).unwrap_or(bytes);
        if self.judged == Some((offset, head_len)) {
            return Table::again(seed, offset, head);
        }
        Table::parse(seed, offset, head).map_err(|fault| no_frame(seed, offset, bytes, fault))
    }

    /// The frame at `offset`, if it holds one message, lies in the window whole, and nothing is amiss in its head.
    #[inline]
    pub(crate) fn single(&self, seed: Seed, offset: u64, limit: u64) -> Option<Single<'_>> {
        let bytes = self.bytes(offset);
        let left = usize::try_from(limit.checked_sub(offset)?).unwrap_or(usize::MAX);
        Single::parse(seed, offset, bytes.get(..left).unwrap_or(bytes))
    }

    /// The buffer behind the window, for messages whose bytes were verified, and the file offset of its first byte.
    pub(crate) fn buffer(&self) -> (&Arc<Buffer>, u64) {
        (&self.buffer, self.base)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if let Some(Buffer::Heap(bytes)) = Arc::get_mut(&mut self.buffer)
            && !bytes.is_empty()
            && bytes.len() <= READ
        {
            // A thread that ends has nowhere to keep it.
            let _ = LAST.try_with(|last| {
                let other = last.take();
                last.set(if other.len() < bytes.len() { std::mem::take(bytes) } else { other });
            });
        }
    }
}

/// What a fault means where lengths were taken on trust: perhaps no frame begins here at all.
fn no_frame(seed: Seed, offset: u64, bytes: &[u8], fault: FrameFault) -> FrameFault {
    match peek(seed, offset, bytes) {
        Peek::Fault(first) => first,
        Peek::Frame { .. } | Peek::Zeros => fault,
    }
}
