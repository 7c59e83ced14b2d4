//! The fold: how each record changes the state.

use serde::{Deserialize, Serialize};

use super::{Attributes, Extent, Hole, KeyEntry, Keys, Op, attributes};
use crate::format::{Lineage, bin};
use crate::ids::{BirthId, Incarnation, SessionId};
use crate::limits::MAX_NUMBER;

/// Bytes of payload and estimated tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
}

/// A numbered, immutable range of messages that were live once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArchiveState {
    pub(crate) number: u64,
    pub(crate) base: u64,
    pub(crate) upto: u64,
    pub(crate) extents: Vec<Extent>,
    pub(crate) sums: Sums,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    #[serde(with = "attributes::text")]
    pub(crate) attributes: Attributes,
}

/// A sealed segment, as its successors know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentInfo {
    pub(crate) number: u64,
    pub(crate) salt: u64,
    /// The first position it holds, carried ones included.
    pub(crate) low: u64,
    /// The first position behind its carry block.
    pub(crate) first: u64,
    /// The position behind its last trusted record.
    pub(crate) end: u64,
    /// The offset behind its last trusted frame.
    pub(crate) end_offset: u64,
    /// The length of that frame.
    pub(crate) end_len: u32,
    /// The sequence of the first message it holds, carried ones included.
    pub(crate) low_seq: u64,
}

impl SegmentInfo {
    /// How many bytes of the file one of its records takes on an average.
    pub(crate) fn mean_len(&self) -> u64 {
        self.end_offset / self.end.saturating_sub(self.low).max(1)
    }
}

/// The state of a session. See the module.
///
/// Invariants: `base <= next`; the live extents and the accepted holes cover exactly `[base, next)`; archives are in order of their
/// numbers; `truncated <= base`; `modified` never goes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) id: SessionId,
    pub(crate) birth: BirthId,
    pub(crate) lineage: Option<Box<Lineage>>,
    pub(crate) created: u64,
    pub(crate) incarnation: Incarnation,
    /// The position of the next record.
    pub(crate) position: u64,
    pub(crate) epoch: u16,
    pub(crate) base: u64,
    pub(crate) next: u64,
    /// How many messages are live: `next - base`, less what lies in accepted holes.
    pub(crate) message_count: u64,
    pub(crate) live: Vec<Extent>,
    pub(crate) live_sums: Sums,
    /// Every message that was ever appended, by number and sums.
    pub(crate) total_messages: u64,
    pub(crate) total_sums: Sums,
    pub(crate) archives: Vec<ArchiveState>,
    /// How many archives were ever made.
    pub(crate) archives_made: u32,
    #[serde(with = "attributes::text")]
    pub(crate) attributes: Attributes,
    /// The position of the last record that changed the attributes; 0 if none did.
    pub(crate) attributes_version: u64,
    pub(crate) modified: u64,
    pub(crate) last_message: Option<u64>,
    /// How many journal records there ever were, wrapping.
    pub(crate) journal: u16,
    /// The live log was truncated up to this sequence: nothing below it is in what `load` reads.
    pub(crate) truncated: u64,
    /// Bytes of archived messages that the live log still holds: the debt.
    pub(crate) dead_bytes: u64,
    pub(crate) segments: Vec<SegmentInfo>,
    /// Numbers of segments that went on purpose.
    pub(crate) released: Vec<u64>,
    /// Losses that a repair has accepted, in the order of their sequences.
    pub(crate) holes: Vec<Hole>,
    pub(crate) keys: Keys,
    /// The log holds records of a kind that may be ignored: nothing of it is rewritten or removed.
    pub(crate) frozen: bool,
    /// A key record whose messages are still to come (always in the same commit).
    #[serde(skip)]
    pub(crate) pending_key: Option<Box<(u128, u128, u32)>>,
}

/// What the fold has to know of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageFacts {
    pub(crate) seq: u64,
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
    pub(crate) time: u64,
}

/// A record that cannot follow the state it meets: damage that a checksum did not see, or a lost record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contradiction(pub(crate) String);

const VERSION: u8 = 1;

impl State {
    /// The state of a session that was born just now and has no record.
    pub(crate) fn new(id: SessionId, birth: BirthId, now: u64) -> State {
        State {
            id,
            birth,
            lineage: None,
            created: now,
            incarnation: Incarnation::default(),
            position: 1,
            epoch: 0,
            base: 0,
            next: 0,
            message_count: 0,
            live: Vec::new(),
            live_sums: Sums::default(),
            total_messages: 0,
            total_sums: Sums::default(),
            archives: Vec::new(),
            archives_made: 0,
            attributes: Attributes::default(),
            attributes_version: 0,
            modified: now,
            last_message: None,
            journal: 0,
            truncated: 0,
            dead_bytes: 0,
            segments: Vec::new(),
            released: Vec::new(),
            holes: Vec::new(),
            keys: Keys::default(),
            frozen: false,
            pending_key: None,
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(256);
        bin::encode(VERSION, self, &mut out)?;
        Ok(out)
    }

    /// Reads a snapshot; `Err(Ok(version))` if a newer program wrote it.
    pub(crate) fn decode(body: &[u8]) -> Result<State, Result<u8, String>> {
        let (version, rest) = bin::split(body).map_err(Err)?;
        if version != VERSION {
            return Err(Ok(version));
        }
        let state: State = bin::decode(rest).map_err(Err)?;
        state.check().map_err(Err)?;
        Ok(state)
    }

    /// What a snapshot must satisfy whatever its checksum says.
    pub(crate) fn check(&self) -> Result<(), String> {
        // Each message has a position, so the next one has none below its sequence.
        if self.position.max(self.incarnation.number) > MAX_NUMBER || self.next > self.position {
            return Err("its numbers are impossible".to_owned());
        }
        self.check_holes()?;
        if self.keys.iter().any(|k| k.seq > self.next) {
            return Err("a key is one of messages that do not exist".to_owned());
        }
        if !self.covers(&self.live, self.base, self.next) {
            return Err("the live extents do not cover the live range".to_owned());
        }
        if self.message_count != Extent::total(&self.live) {
            return Err("the live range does not agree with message_count".to_owned());
        }
        if self.truncated > self.base {
            return Err("more was truncated than archived".to_owned());
        }
        if !self.archives.windows(2).all(|w| matches!(w, [a, b] if a.number < b.number)) {
            return Err("the archives are out of order".to_owned());
        }
        self.check_archives()?;
        self.check_segments()
    }

    /// Whether these extents and the holes are `[base, upto)`, at positions that there are.
    fn covers(&self, extents: &[Extent], base: u64, upto: u64) -> bool {
        let mut seq = base;
        for e in extents {
            if e.seq != Hole::skip(&self.holes, seq) || e.to > self.position || !e.fits() {
                return false;
            }
            seq = e.end();
        }
        base <= upto && seq <= upto && Hole::skip(&self.holes, seq) >= upto
    }

    /// The archives were live once, one behind the other.
    fn check_archives(&self) -> Result<(), String> {
        let mut base = 0;
        for a in &self.archives {
            let behind = base <= a.base && a.upto <= self.base;
            if !behind || a.number > self.archives_made.into() || !self.covers(&a.extents, a.base, a.upto) {
                return Err(format!("archive {} cannot hold what it states", a.number));
            }
            base = a.upto;
        }
        Ok(())
    }

    fn check_holes(&self) -> Result<(), String> {
        let mut seq = 0;
        for h in &self.holes {
            if h.seq < seq || h.end() > self.next {
                return Err("the losses that were accepted are out of order".to_owned());
            }
            seq = h.end();
        }
        Ok(())
    }

    fn check_segments(&self) -> Result<(), String> {
        let mut number = 0;
        for s in &self.segments {
            let rises = s.low <= s.first && s.first <= s.end && s.end <= self.position;
            let ends = u64::from(s.end_len) <= s.end_offset && s.end_offset <= MAX_NUMBER;
            if s.number <= number || !rises || !ends || s.low_seq > self.next {
                return Err(format!("segment {} cannot be as it is stated", s.number));
            }
            number = s.number;
        }
        // What is released is removed.
        let released = |n: &u64| *n > MAX_NUMBER || self.segments.iter().any(|s| s.number == *n);
        match number > MAX_NUMBER || self.released.iter().any(released) {
            true => Err("a segment is needed and released, or has an impossible number".to_owned()),
            false => Ok(()),
        }
    }

    /// The time of a record that is written at wall-clock time `now`: never before the one in front of it.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        now.max(self.modified)
    }

    pub(crate) fn archive(&self, number: u64) -> Option<&ArchiveState> {
        let at = self.archives.binary_search_by_key(&number, |a| a.number).ok()?;
        self.archives.get(at)
    }

    /// A message takes the next position. (That there is one, and a next sequence, its frame's header has said.)
    pub(crate) fn apply_message(&mut self, m: MessageFacts) -> Result<(), Contradiction> {
        if m.seq != self.next {
            return Err(Contradiction(format!("message {} where {} was expected", m.seq, self.next)));
        }
        let position = self.position;
        if let Some((key, digest, count)) = self.pending_key.take().map(|key| *key) {
            self.keys.push(KeyEntry { key, digest, position, seq: m.seq, count, epoch: self.epoch });
        }
        Extent::push(&mut self.live, m.seq, position);
        self.position += 1;
        self.next += 1;
        self.message_count += 1;
        self.total_messages = self.total_messages.saturating_add(1);
        for sums in [&mut self.live_sums, &mut self.total_sums] {
            sums.bytes = sums.bytes.saturating_add(m.bytes);
            sums.tokens = sums.tokens.saturating_add(m.tokens);
        }
        self.modified = self.modified.max(m.time);
        self.last_message = Some(m.time);
        Ok(())
    }

    /// A journal record takes the next position.
    pub(crate) fn apply_op(&mut self, op: &Op, time: u64) -> Result<(), Contradiction> {
        let position = self.position;
        match op {
            Op::Opened { incarnation } => {
                if incarnation.number <= self.incarnation.number || incarnation.number > MAX_NUMBER {
                    return Err(Contradiction(format!(
                        "writer {incarnation} came after writer {}",
                        self.incarnation
                    )));
                }
                self.incarnation = *incarnation;
            }
            Op::Attributes { patch } => {
                self.attributes.merge(&Attributes::read(patch).map_err(Contradiction)?);
                self.attributes_version = position;
            }
            Op::Key { key, digest, count } => self.pending_key = Some(Box::new((*key, *digest, *count))),
            Op::Archive { number, base, upto, at, bytes, tokens, attributes } => {
                if *base != self.base || *upto < *base || *upto > self.next {
                    return Err(Contradiction(format!(
                        "an archive of [{base}, {upto}) where [{}, {}) was live",
                        self.base, self.next
                    )));
                }
                let made = self.archives_made.saturating_add(1);
                if *number != u64::from(made) || made == self.archives_made {
                    return Err(Contradiction(format!("archive {number} came after {}", self.archives_made)));
                }
                let attributes = Attributes::parse(attributes.as_str()).map_err(Contradiction)?;
                let (archived, live) = Extent::split(self.live.clone(), *upto, *at);
                if !archived.iter().chain(&live).all(Extent::fits) {
                    return Err(Contradiction(format!("message {upto} cannot be at position {at}")));
                }
                self.live = live;
                self.base = *upto;
                self.message_count = Extent::total(&self.live);
                self.live_sums.bytes = self.live_sums.bytes.saturating_sub(*bytes);
                self.live_sums.tokens = self.live_sums.tokens.saturating_sub(*tokens);
                self.dead_bytes = self.dead_bytes.saturating_add(*bytes);
                self.archives_made = made;
                self.archives.push(ArchiveState {
                    number: *number,
                    base: *base,
                    upto: *upto,
                    extents: archived,
                    sums: Sums { bytes: *bytes, tokens: *tokens },
                    created: time,
                    modified: time,
                    attributes,
                });
            }
            Op::ArchiveAttributes { number, patch } => {
                let patch = Attributes::read(patch).map_err(Contradiction)?;
                let archive = self.archive_mut(*number)?;
                archive.attributes.merge(&patch);
                // There may be many.
                archive.attributes.pack();
                archive.modified = time;
            }
            Op::ArchiveRemoved { number } => {
                self.archive_mut(*number)?;
                self.archives.retain(|a| a.number != *number);
            }
            Op::Released { segments } => {
                self.released.extend(segments.iter().copied());
                self.released.sort_unstable();
                self.released.dedup();
                self.segments.retain(|s| !segments.contains(&s.number));
            }
            Op::Close | Op::CloseWith(_) => {}
        }
        self.position += 1;
        self.journal = self.journal.wrapping_add(1);
        // A close may go with the power: nothing that anybody sees is another without it.
        if !matches!(op, Op::Close | Op::CloseWith(_)) {
            self.modified = self.modified.max(time);
        }
        Ok(())
    }

    /// Takes over what a frame behind a damaged stretch says of the state in front of it: `next` messages so
    /// far and the position `position`. The lost messages stay in the live range, as holes.
    pub(crate) fn adopt(&mut self, next: u64, position: u64) {
        let lost = next.saturating_sub(self.next);
        let room = position.saturating_sub(self.position);
        if lost > 0 && lost <= room {
            self.live.push(Extent { seq: self.next, count: lost, from: self.position, to: position });
            self.total_messages = self.total_messages.saturating_add(lost);
            self.next = next;
            self.message_count = self.message_count.saturating_add(lost);
        }
        self.position = position;
        self.pending_key = None;
    }

    /// A record that changes nothing (a mark, or an unknown one that may be ignored) takes the next position.
    pub(crate) fn apply_ignored(&mut self) {
        self.position += 1;
    }

    fn archive_mut(&mut self, number: u64) -> Result<&mut ArchiveState, Contradiction> {
        self.archives
            .iter_mut()
            .find(|a| a.number == number)
            .ok_or_else(|| Contradiction(format!("a record about archive {number}, which does not exist")))
    }

    /// The sealed segments in which no extent of the live range or of an archive has a record. `current_low`
    /// is the first position that the active segment holds: what several segments hold is read from the newest.
    pub(crate) fn unreachable(&self, current_low: u64) -> Vec<u64> {
        let mut high = current_low;
        let mut out = Vec::new();
        for s in self.segments.iter().rev() {
            let top = s.end.min(high);
            let own = s.low..top;
            let needed = self
                .live
                .iter()
                .chain(self.archives.iter().flat_map(|a| &a.extents))
                .any(|e| e.count > 0 && e.from < own.end && own.start < e.to);
            if !needed || own.is_empty() {
                out.push(s.number);
            } else {
                high = high.min(s.low);
            }
        }
        out.reverse();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(SessionId::new("s").unwrap(), BirthId([7; 16]), 100)
    }

    fn message(s: &mut State, bytes: u64) {
        let seq = s.next;
        s.apply_message(MessageFacts { seq, bytes, tokens: 1, time: 0 }).unwrap();
    }

    fn archive(s: &mut State, upto: u64, at: u64, bytes: u64) {
        let op = Op::Archive {
            number: u64::from(s.archives_made) + 1,
            base: s.base,
            upto,
            at,
            bytes,
            tokens: 0,
            attributes: String::new(),
        };
        s.apply_op(&op, 5).unwrap();
    }

    #[test]
    fn an_archive_moves_the_base_and_the_count_follows() {
        let mut s = state();
        (0..10).for_each(|_| message(&mut s, 3));
        archive(&mut s, 8, 9, 24);
        assert_eq!((s.base, s.next, s.message_count), (8, 10, 2));
        assert_eq!(s.live_sums.bytes, 6);
        assert_eq!(s.live, [Extent { seq: 8, count: 2, from: 9, to: 11 }]);
        assert_eq!(s.archive(1).unwrap().extents, [Extent { seq: 0, count: 8, from: 1, to: 9 }]);
        assert_eq!(State::decode(&s.encode().unwrap()).unwrap(), s);
    }

    #[test]
    fn sums_and_counts_that_nobody_wrote_overflow_nowhere() {
        let mut s = state();
        (0..3).for_each(|_| message(&mut s, 3));
        (s.dead_bytes, s.total_messages) = (u64::MAX, u64::MAX);
        let all = Sums { bytes: u64::MAX, tokens: u64::MAX };
        (s.live_sums, s.total_sums) = (all, all);
        let mut s = State::decode(&s.encode().unwrap()).unwrap();
        message(&mut s, 3);
        archive(&mut s, 1, 2, 3);
        s.adopt(9, 20);
        assert_eq!((s.dead_bytes, s.total_messages, s.total_sums), (u64::MAX, u64::MAX, all));
        // The next archive would get a number that has no room.
        s.archives_made = u32::MAX;
        let (base, upto) = (s.base, s.base + 1);
        for number in [u64::from(u32::MAX), 1 << 32] {
            let attributes = String::new();
            let op = Op::Archive { number, base, upto, at: 3, bytes: 3, tokens: 0, attributes };
            assert!(s.apply_op(&op, 5).is_err(), "{number}");
        }
        // Extents of more messages than there are sequences.
        let end = Extent { seq: u64::MAX, count: 9, from: 0, to: 9 };
        let mut s = state();
        (s.base, s.next, s.position) = (u64::MAX, u64::MAX, u64::MAX);
        s.live = vec![end, Extent { count: u64::MAX, to: u64::MAX, ..end }];
        assert!(State::decode(&s.encode().unwrap()).is_err());
    }

    #[test]
    fn time_never_goes_back_when_the_clock_does() {
        let mut s = state();
        s.apply_message(MessageFacts { seq: 0, bytes: 1, tokens: 0, time: 900 }).unwrap();
        assert_eq!(s.clock(300), 900);
        assert_eq!(s.clock(1000), 1000);
    }

    #[test]
    fn a_record_that_cannot_follow_is_a_contradiction() {
        let mut s = state();
        message(&mut s, 1);
        assert!(s.apply_message(MessageFacts { seq: 5, bytes: 1, tokens: 0, time: 0 }).is_err());
        let op = Op::Archive {
            number: 1,
            base: 0,
            upto: 2,
            at: 0,
            bytes: 0,
            tokens: 0,
            attributes: String::new(),
        };
        assert!(s.apply_op(&op, 0).is_err());
        assert!(s.apply_op(&Op::ArchiveRemoved { number: 1 }, 0).is_err());
    }

    #[test]
    fn a_segment_is_unreachable_only_when_no_archive_needs_it() {
        let mut s = state();
        (0..10).for_each(|_| message(&mut s, 1));
        archive(&mut s, 10, 11, 10);
        let info = |number, low, end| SegmentInfo {
            number,
            salt: 0,
            low,
            first: low,
            end,
            end_offset: 0,
            end_len: 0,
            low_seq: 0,
        };
        s.segments = vec![info(1, 1, 6), info(2, 6, 12)];
        assert!(s.unreachable(12).is_empty());
        s.apply_op(&Op::ArchiveRemoved { number: 1 }, 0).unwrap();
        assert_eq!(s.unreachable(13), [1, 2]);
    }

    #[test]
    fn a_snapshot_whose_ranges_disagree_is_refused() {
        let mut s = state();
        message(&mut s, 1);
        s.message_count = 7;
        assert!(State::decode(&s.encode().unwrap()).is_err());
    }
}
