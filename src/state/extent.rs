//! Where the messages of a range of sequences are in the log.

use serde::{Deserialize, Serialize};

/// `count` messages from sequence `seq` on, all of them at positions in `[from, to)`, in order.
///
/// The positions are bounds: journal records may lie between the messages. A range of sequences is a list
/// of extents, so that a stretch that was taken out can be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) seq: u64,
    pub(crate) count: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Extent {
    /// The sequence behind the last one.
    pub(crate) fn end(&self) -> u64 {
        self.seq.saturating_add(self.count)
    }

    /// Whether so many messages have room between the bounds.
    pub(crate) fn fits(&self) -> bool {
        self.to.checked_sub(self.from).is_some_and(|room| self.count <= room)
    }

    /// Adds one message at `position` to the last extent, or begins a new one if it cannot follow it.
    pub(crate) fn push(extents: &mut Vec<Extent>, seq: u64, position: u64) {
        match extents.last_mut() {
            Some(last) if last.end() == seq => {
                last.count += 1;
                last.to = position + 1;
            }
            _ => extents.push(Extent { seq, count: 1, from: position, to: position + 1 }),
        }
    }

    /// The sequence of the message with which the last `n` of a list begin; `None` if it has no message.
    pub(crate) fn last(extents: &[Extent], n: u64) -> Option<u64> {
        let mut left = n;
        for e in extents.iter().rev() {
            if e.count >= left {
                return Some(e.end() - left);
            }
            left -= e.count;
        }
        extents.first().map(|e| e.seq)
    }

    /// How many messages there are in a list.
    pub(crate) fn total<'a>(extents: impl IntoIterator<Item = &'a Extent>) -> u64 {
        extents.into_iter().fold(0, |total, e| total.saturating_add(e.count))
    }

    /// Splits a list before sequence `seq`, whose message is at `position`.
    pub(crate) fn split(extents: Vec<Extent>, seq: u64, position: u64) -> (Vec<Extent>, Vec<Extent>) {
        let mut before = Vec::new();
        let mut after = Vec::new();
        for e in extents {
            if e.end() <= seq {
                before.push(e);
            } else if e.seq >= seq {
                after.push(e);
            } else {
                let cut = position.clamp(e.from, e.to);
                before.push(Extent { seq: e.seq, count: seq - e.seq, from: e.from, to: cut });
                after.push(Extent { seq, count: e.end() - seq, from: cut, to: e.to });
            }
        }
        (before, after)
    }
}

/// A loss that a repair has accepted: `count` messages from sequence `seq` on (perhaps none), and whatever else
/// stood at positions in `[from, to)`. From then on it is no damage: the extents leave these sequences out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hole {
    pub(crate) seq: u64,
    pub(crate) count: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Hole {
    /// The first sequence from `seq` on that lies in no hole. The holes are in order.
    pub(crate) fn skip(holes: &[Hole], seq: u64) -> u64 {
        let behind = holes.partition_point(|h| h.end() <= seq);
        let mut seq = seq;
        for h in holes.get(behind..).unwrap_or_default() {
            if h.seq > seq {
                break;
            }
            seq = h.end();
        }
        seq
    }

    /// The sequence behind the last one.
    pub(crate) fn end(&self) -> u64 {
        self.seq.saturating_add(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_messages_are_counted_and_holes_are_not() {
        let list =
            vec![Extent { seq: 0, count: 5, from: 1, to: 9 }, Extent { seq: 8, count: 2, from: 12, to: 14 }];
        for (n, seq) in [(0, 10), (1, 9), (2, 8), (3, 4), (7, 0), (99, 0)] {
            assert_eq!(Extent::last(&list, n), Some(seq), "{n}");
        }
        assert_eq!(Extent::last(&[], 3), None);
        let holes = [Hole { seq: 3, count: 2, from: 0, to: 0 }, Hole { seq: 5, count: 1, from: 0, to: 0 }];
        assert_eq!([2, 3, 4, 5, 6].map(|s| Hole::skip(&holes, s)), [2, 6, 6, 6, 6]);
    }

    #[test]
    fn messages_in_a_row_share_one_extent_across_journal_records() {
        let mut list = Vec::new();
        Extent::push(&mut list, 0, 3);
        Extent::push(&mut list, 1, 4);
        Extent::push(&mut list, 2, 9);
        assert_eq!(list, [Extent { seq: 0, count: 3, from: 3, to: 10 }]);
    }

    #[test]
    fn a_split_loses_no_sequence() {
        let list =
            vec![Extent { seq: 0, count: 5, from: 1, to: 9 }, Extent { seq: 5, count: 2, from: 12, to: 14 }];
        for seq in 0..=7 {
            let (a, b) = Extent::split(list.clone(), seq, 7);
            let total: u64 = a.iter().chain(&b).map(|e| e.count).sum();
            assert_eq!(total, 7);
            assert!(a.iter().all(|e| e.end() <= seq));
            assert!(b.iter().all(|e| e.seq >= seq));
        }
    }
}
