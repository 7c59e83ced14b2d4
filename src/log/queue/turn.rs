//! One turn of a leader: from taking the pending ops to telling their members.

use std::mem;

use super::group::{Batch, Group, Outcome};
use super::queue::Queue;

/// The work of a leader: commits the batch, and pushes one outcome per op, in their order.
///
/// Ops left without an outcome are told [`Outcome::aborted`]; if it panics, all are. It may push into its own
/// queue, but must not wait there: it would wait for itself.
pub(super) type LeadFn<'a, B, R> = dyn FnMut(&mut B, &mut Vec<R>) + 'a;

/// How a leader came to its turn, which says how it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Somebody who has an op of its own, or needs room: one group, then it hands over.
    Once,
    /// The background thread: comes again as long as there is nobody else.
    Background,
}

/// A turn of a leader. However it ends, by return or by panic, every member of the group has its outcome, leadership passes
/// on, and the members are woken, in this order: the next leader can begin while they wake.
pub(super) struct Leading<'q, B: Batch, R: Outcome> {
    queue: &'q Queue<B, R>,
    group: Group<B, R>,
    turn: Turn,
    returned: bool,
    ended: bool,
}

impl<'q, B: Batch, R: Outcome> Leading<'q, B, R> {
    pub(super) fn new(queue: &'q Queue<B, R>, group: Group<B, R>, turn: Turn) -> Self {
        Leading { queue, group, turn, returned: false, ended: false }
    }

    /// Commits the group.
    pub(super) fn run(&mut self, lead: &mut LeadFn<'_, B, R>) {
        lead(&mut self.group.batch, &mut self.group.outcomes);
        self.returned = true;
        self.group.settle();
    }

    /// Takes the last op of the group out, whose outcome the leader keeps for itself.
    pub(super) fn take_last(&mut self) -> R {
        self.group.take_last()
    }

    /// Ends the turn. True if the leader is to come again.
    pub(super) fn end(&mut self) -> bool {
        self.ended = true;
        if !self.returned {
            // What it said before it panicked is worth nothing: it had not finished.
            self.group.outcomes.clear();
            self.turn = Turn::Once;
            self.group.settle();
        }
        self.group.clear_batch();
        let mut group = mem::take(&mut self.group);
        // Before anybody learns that the turn has ended: who was waited for is told then, whoever is woken first.
        group.publish();
        let mut inner = self.queue.inner.lock();
        if group.is_empty() {
            inner.put_back(group);
            let after = self.queue.pass_on(inner, self.turn);
            return self.queue.follow_up(after);
        }
        let after = self.queue.pass_on(inner, self.turn);
        let again = self.queue.follow_up(after);
        group.wake();
        self.queue.inner.lock().put_back(group);
        again
    }
}

impl<B: Batch, R: Outcome> Drop for Leading<'_, B, R> {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}
