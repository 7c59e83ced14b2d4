//! Messages in order, across segments and around damage.

use std::collections::VecDeque;
use std::iter;
use std::sync::Arc;

use super::message::{Buffer, Message};
use super::run::{Run, Step, Want};
use super::seek::seek;
use super::segment::Segment;
use super::view::View;
use super::window::{READ, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, Single};
use crate::ids::SessionId;
use crate::state::Extent;

/// Messages of a view, read in order. See `Messages` for what it promises.
pub(crate) struct Stream {
    pub(super) view: View,
    /// What is still to be read; the first is the one under way.
    pub(super) extents: VecDeque<Extent>,
    pub(super) run: Option<(Run, u64)>,
    /// Where the next run begins; `None` at the beginning of an extent.
    pub(super) position: Option<u64>,
    pub(super) ready: VecDeque<Result<Message>>,
    pub(super) bulk: bool,
    /// An error was handed out for the extent under way, so that what is missing of it is known.
    pub(super) failed: bool,
    pub(super) lost: Option<Error>,
    /// How often in a row the session was looked at again.
    pub(super) renewals: u32,
}

impl Stream {
    /// The session that it reads.
    pub(crate) fn session(&self) -> &SessionId {
        &self.view.id
    }

    /// How many messages are still to come, damage aside.
    pub(crate) fn remaining(&self) -> u64 {
        (self.ready.len() as u64).saturating_add(Extent::total(&self.extents))
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<Result<Message>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item.map_err(|e| e.session(&self.view.id)));
            }
            if self.run.as_ref().is_some_and(|(run, _)| run.under_way()) {
                if let Some(item) = self.record() {
                    return Some(item);
                }
            } else if let Some(message) = self.single() {
                return Some(Ok(message));
            }
            if !self.fill() {
                return self.lost.take().map(|e| Err(e.session(&self.view.id)));
            }
        }
    }

    /// The next message, if its commit is next, holds nothing else, and nothing is amiss. That is most of a long load, and
    /// takes two thirds of the time of the general way, on which all else is left.
    #[inline]
    fn single(&mut self) -> Option<Message> {
        let front = self.extents.front_mut().filter(|e| e.count > 0)?;
        let (run, stop) = self.run.as_mut()?;
        let Single { len, entry, body } = run.window.single(run.segment.seed, run.offset, run.limit)?;
        let wanted = entry.seq == front.seq && (front.from..*stop).contains(&entry.position);
        if !wanted || entry.verify(body).is_err() {
            return None;
        }
        run.offset += len as u64;
        front.count -= 1;
        front.seq += 1;
        self.failed = false;
        self.renewals = 0;
        Some(message(&entry, run.window.buffer(), self.view.mark))
    }

    /// The next message of the frame under way, if there is one.
    #[inline(never)]
    fn record(&mut self) -> Option<Result<Message>> {
        let (run, stop) = self.run.as_mut()?;
        let front = self.extents.front_mut().filter(|e| e.count > 0)?;
        let want = Want { positions: front.from..*stop, seqs: front.seq..front.end() };
        let e = iter::from_fn(|| run.record()).find(|e| want.holds(e))?;
        let expected = if self.failed { e.seq } else { front.seq };
        self.failed = false;
        self.renewals = 0;
        front.count = want.seqs.end - e.seq - 1;
        front.seq = e.seq + 1;
        let item = match run.fetch(&e) {
            Ok(window) => {
                let body = window.bytes(e.body_offset);
                match e.verify(body.get(..e.body_len()).unwrap_or_default()) {
                    Ok(()) => Ok(message(&e, window.buffer(), self.view.mark)),
                    Err(fault) => {
                        let what = format!("message {}: {fault}", e.seq);
                        Err(Error::corrupt(run.segment.path(), e.body_offset, what).session(&self.view.id))
                    }
                }
            }
            Err(fault) => Err(Error::io("read a segment", run.segment.path(), fault).session(&self.view.id)),
        };
        run.let_go();
        if e.seq > expected {
            let error = missing(&run.segment, run.frame, expected, e.seq);
            self.ready.push_back(item);
            return Some(Err(error.session(&self.view.id)));
        }
        Some(item)
    }

    /// Does one step, behind the last message of a frame; false when there is nothing more.
    fn fill(&mut self) -> bool {
        let Some(extent) = self.extents.front().copied() else { return false };
        if extent.count == 0 {
            self.extents.pop_front();
            self.run = None;
            self.position = None;
            self.failed = false;
            return true;
        }
        if self.run.is_none() && !self.start_run(&extent) {
            self.give_up(&extent);
            return true;
        }
        let Some((run, stop)) = &mut self.run else { return true };
        match run.step(&Want { positions: extent.from..*stop, seqs: extent.seq..extent.end() }) {
            Step::Frame => {}
            Step::End => self.finish_run(),
            Step::Failed(e) => {
                self.ready.push_back(Err(e));
                self.failed = true;
                if !run.resync() {
                    self.finish_run();
                }
            }
        }
        true
    }

    /// Opens the segment that comes next; false if there is none or it cannot be opened.
    fn start_run(&mut self, extent: &Extent) -> bool {
        let (position, seq) = match self.position {
            Some(p) => (p, None),
            None => (self.view.holder_of(extent, extent.seq), Some(extent.seq)),
        };
        if position >= extent.to {
            return false;
        }
        let Some((info, source, high)) = self.view.holder(position) else { return false };
        let stop = high.min(info.end).min(extent.to);
        if stop <= position {
            // A stretch that no segment holds: go on where one begins.
            self.position = Some(high.min(extent.to));
            return high < extent.to;
        }
        match source.segment(&self.view.dir, self.view.owner) {
            Ok(segment) => {
                let (offset, window) = seek(&segment, &info, position, seq);
                // To map a segment costs as much as to read so much of it.
                let much = extent.count.saturating_mul(info.mean_len()) > READ as u64;
                let map = self.bulk && much && self.view.map && source.pinned.is_none();
                let map = if map { segment.map(info.end_offset) } else { None };
                let window = map.map_or(window, Window::mapped);
                self.run = Some((Run::new(segment, window, offset, info.end_offset, self.bulk), stop));
                true
            }
            Err(e) if self.renew(&e, info.number) => true,
            Err(e) => {
                // The rest may still be readable from the segments behind this one.
                self.ready.push_back(Err(e));
                self.failed = true;
                self.position = Some(stop);
                true
            }
        }
    }

    fn finish_run(&mut self) {
        if let Some((_, stop)) = self.run.take() {
            self.position = Some(stop);
        }
    }

    /// No segment has the rest of this extent.
    fn give_up(&mut self, extent: &Extent) {
        if extent.to == 0 {
            let (first, last) = (extent.seq, extent.end() - 1);
            self.ready.push_back(Err(Error::new(ErrorKind::NotFound, "read messages")
                .path(self.view.dir.path())
                .hint(format!("messages {first} to {last} were removed while they were read"))));
        } else if !self.failed {
            let path = self
                .view
                .active
                .pinned
                .as_ref()
                .map_or_else(|| self.view.dir.path().to_path_buf(), |s| s.path());
            self.ready.push_back(Err(Error::corrupt(
                path,
                self.view.active_end.1,
                format!("messages {} to {} are in no segment that is here", extent.seq, extent.end() - 1),
            )));
        }
        if let Some(front) = self.extents.front_mut() {
            front.count = 0;
        }
    }
}

/// The message of an entry whose body was verified. The first byte of the buffer stands at `base` in the file.
#[inline]
fn message(e: &Entry, (buffer, base): (&Arc<Buffer>, u64), mark: u64) -> Message {
    let at = (e.body_offset - base) as usize;
    let (middle, end) = (at + e.extras_len, at + e.body_len());
    Message {
        buffer: Arc::clone(buffer),
        extras: at..middle,
        body: middle..end,
        seq: e.seq,
        time: e.time,
        flags: e.flags,
        codec: e.codec,
        confirmed: e.position < mark,
    }
}

fn missing(segment: &Segment, offset: u64, from: u64, to: u64) -> Error {
    Error::corrupt(
        segment.path(),
        offset,
        format!("messages {from} to {} are missing in front of this commit", to - 1),
    )
}
