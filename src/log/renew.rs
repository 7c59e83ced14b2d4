//! A segment that vanished under a reader was released: the session is looked at again, and the reading goes on
//! in what holds its messages now.

use std::collections::VecDeque;
use std::sync::Arc;

use super::names::parse_segment_name;
use super::scan::Tail;
use super::segment::Segment;
use super::stream::Stream;
use super::view::{Source, View};
use crate::error::{Error, ErrorKind, Result};
use crate::state::{Extent, State};

/// How often in a row a reading looks again before it says what it found.
const RENEWALS: u32 = 16;

impl Stream {
    /// After `error` at segment `number`: true if the session has moved on and the reading can go on there.
    pub(super) fn renew(&mut self, error: &Error, number: u64) -> bool {
        if error.kind() != ErrorKind::NotFound || self.renewals >= RENEWALS {
            return false;
        }
        self.renewals += 1;
        let Ok((view, state)) = newest(&self.view) else { return false };
        if view.sealed.iter().any(|s| s.info.number == number) {
            // Its segment is still named and is not there: that is damage.
            return false;
        }
        self.extents = self.extents.iter().flat_map(|e| places(&state, e)).collect();
        self.view = view;
        self.run = None;
        self.position = None;
        self.failed = false;
        true
    }
}

/// The session as its newest segment shows it now.
fn newest(view: &View) -> Result<(View, State)> {
    let dir = &view.dir;
    let names = dir.list().map_err(|e| Error::io("list a session", dir.path(), e))?;
    let number = names.iter().filter_map(|e| parse_segment_name(&e.name)).max();
    let number = number.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "read a session").path(dir.path()).hint("it was removed meanwhile")
    })?;
    let tail = Tail::open(Arc::new(Segment::open(dir, number, view.owner)?))?;
    let info = tail.info();
    let fresh = View {
        id: view.id.clone(),
        dir: dir.clone(),
        owner: view.owner,
        sealed: Arc::new(tail.state.segments.iter().map(|s| Source::sealed(*s)).collect()),
        active: Source::active(info, tail.segment.clone()),
        active_end: (info.end, info.end_offset, info.end_len),
        extents: Vec::new(),
        mark: tail.mark,
        map: view.map,
        lost: None,
    };
    Ok((fresh, tail.state))
}

/// Where the messages of `wanted` are now: in the live range or in archives. What is in neither gets an extent
/// without positions: it was removed.
fn places(state: &State, wanted: &Extent) -> VecDeque<Extent> {
    let all = || state.archives.iter().flat_map(|a| &a.extents).chain(&state.live).filter(|e| e.count > 0);
    let mut out = VecDeque::new();
    let mut seq = wanted.seq;
    while seq < wanted.end() {
        let piece = match all().find(|e| e.seq <= seq && seq < e.end()) {
            Some(e) => Extent { seq, count: e.end().min(wanted.end()) - seq, ..*e },
            None => {
                let next = all().map(|e| e.seq).filter(|s| *s > seq).min().unwrap_or(u64::MAX);
                Extent { seq, count: next.min(wanted.end()) - seq, from: 0, to: 0 }
            }
        };
        seq = piece.end();
        out.push_back(piece);
    }
    out
}
