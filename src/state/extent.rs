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
        self.seq + self.count
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

#[cfg(test)]
mod tests {
    use super::*;

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
