//! Where an archive cuts the live range.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::archive::Keep;
use super::core::Shared;
use crate::error::{Error, Result};
use crate::log::view::{Head, View};
use crate::state::Sums;

/// The last messages of a session that is busy. Most archives follow soon on an append and keep few messages: they find their
/// cut here, and read nothing. Given back when the session rests.
#[derive(Default)]
pub(crate) struct Recent {
    heads: VecDeque<Head>,
}

impl Recent {
    /// So many are kept, and of a commit those among its last so many records.
    pub(crate) const MOST: usize = 64;

    pub(crate) fn push(&mut self, head: Head) {
        if self.heads.len() == Self::MOST {
            self.heads.pop_front();
        }
        self.heads.push_back(head);
    }
}

/// What an archive op would move: the messages before `upto`, which stand before the position `at`, and their sums.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) upto: u64,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
}

/// The live range, taken out of the lock: the way back over it may read the disk.
pub(crate) struct Live {
    pub(crate) base: u64,
    pub(crate) next: u64,
    position: u64,
    sums: Sums,
    view: View,
}

impl Live {
    pub(crate) fn of(shared: &Shared) -> Live {
        let s = &shared.state;
        let view = shared.view(s.live.clone());
        Live { base: s.base, next: s.next, position: s.position, sums: s.live_sums, view }
    }

    /// Walks back over what is kept: in memory, if it is all there, or on disk.
    ///
    /// # Errors
    /// Damage that was met on the way, on disk.
    pub(crate) fn cut(&self, keep: Keep, recent: Option<&Recent>) -> Result<Cut> {
        if matches!(keep, Keep::Nothing | Keep::Messages(0) | Keep::Turns(0)) {
            return Ok(self.all());
        }
        if matches!(keep, Keep::Messages(n) if n >= self.next - self.base) {
            return Ok(self.nothing());
        }
        // Tokens decide only where they are known to be what was written: that takes a look at the disk.
        let by_tokens = matches!(keep, Keep::Tokens(_));
        if !by_tokens && let Some(cut) = recent.and_then(|recent| self.in_memory(keep, recent)) {
            return Ok(cut);
        }
        let mut walk = Walk::new(self, keep);
        self.view.walk_back(by_tokens, |head| walk.visit(&head))?;
        if let Some(seq) = walk.damaged {
            // How many tokens it has decides, and cannot be known: reading it says what is wrong.
            let found = self.view.messages(seq, seq + 1, false).next().transpose();
            return found.and_then(|_| Err(Error::corrupt(self.view.dir.path(), 0, "a message is damaged")));
        }
        // If the way back ended at the base, all of it is kept.
        Ok(if walk.done { walk.cut } else { self.nothing() })
    }

    /// The same over the recent messages, as far as they are the last of the live range; `None` if they are too few.
    fn in_memory(&self, keep: Keep, recent: &Recent) -> Option<Cut> {
        let mut walk = Walk::new(self, keep);
        for (head, seq) in recent.heads.iter().rev().zip((self.base..self.next).rev()) {
            if head.seq != seq {
                return None;
            }
            if walk.visit(head).is_break() {
                return Some(walk.cut);
            }
            if seq == self.base {
                // All of it is kept.
                return Some(self.nothing());
            }
        }
        None
    }

    fn all(&self) -> Cut {
        Cut { upto: self.next, at: self.position, bytes: self.sums.bytes, tokens: self.sums.tokens }
    }

    fn nothing(&self) -> Cut {
        Cut { upto: self.base, at: 0, bytes: 0, tokens: 0 }
    }
}

/// A way back over the last messages, up to where enough is kept.
struct Walk<'a> {
    live: &'a Live,
    keep: Keep,
    kept: u64,
    turns: u64,
    bytes: u64,
    tokens: u64,
    /// What is archived if all that was met so far, and may be, is kept.
    cut: Cut,
    done: bool,
    /// This message decides, and is damaged.
    damaged: Option<u64>,
}

impl<'a> Walk<'a> {
    fn new(live: &'a Live, keep: Keep) -> Walk<'a> {
        let cut = live.all();
        Walk { live, keep, kept: 0, turns: 0, bytes: 0, tokens: 0, cut, done: false, damaged: None }
    }

    fn visit(&mut self, head: &Head) -> ControlFlow<()> {
        let Some(estimate) = head.tokens else {
            self.damaged = Some(head.seq);
            return ControlFlow::Break(());
        };
        self.kept += 1;
        self.bytes += head.bytes;
        self.tokens += estimate;
        self.turns += u64::from(head.turn_start);
        let (take, stop) = match self.keep {
            Keep::Messages(n) => (true, self.kept >= n),
            Keep::Tokens(n) => (self.tokens <= n, self.tokens > n),
            Keep::Bytes(n) => (self.bytes <= n, self.bytes > n),
            Keep::Turns(n) => (head.turn_start && self.turns <= n, self.turns >= n),
            Keep::Nothing => (false, true),
        };
        if take {
            let sums = self.live.sums;
            self.cut = Cut {
                upto: head.seq,
                at: head.position,
                bytes: sums.bytes.saturating_sub(self.bytes),
                tokens: sums.tokens.saturating_sub(self.tokens),
            };
        }
        self.done = stop;
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
