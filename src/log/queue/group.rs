//! What is committed together: the ops, who waits for them, and what they are told.

use std::sync::Arc;

use super::slot::{Slot, contained};

/// What a queue collects between two commits.
///
/// Batches are reused: a leader swaps a full one for an empty one, so that pushing allocates nothing once the
/// batches have grown to their usual size.
pub(crate) trait Batch: Default + Send + 'static {
    /// The number of ops in it.
    fn len(&self) -> usize;
    /// The bytes they take, for back pressure.
    fn bytes(&self) -> usize;
    /// Takes the ops out, and keeps the room they had (or less of it, if that is much).
    fn clear(&mut self);
}

/// What an op is told.
pub(crate) trait Outcome: Clone + Send + 'static {
    /// For ops whose leader panicked, or left them without an answer: nobody knows what became of them.
    fn aborted() -> Self;
}

/// The ops of one commit. As long as nobody leads it, it has one member per op, in the same order.
pub(super) struct Group<B, R> {
    pub(super) batch: B,
    /// `None` where nobody needs telling: the op of the leader itself.
    members: Vec<Option<Arc<Slot<R>>>>,
    pub(super) outcomes: Vec<R>,
}

impl<B: Batch, R> Default for Group<B, R> {
    fn default() -> Self {
        Group { batch: B::default(), members: Vec::new(), outcomes: Vec::new() }
    }
}

impl<B: Batch, R> Group<B, R> {
    /// Appends one op and its member. If `add` panics, or does not add exactly one op (a mistake of ours), the
    /// members are made to agree with the batch on the way out: an outcome must never reach another op.
    pub(super) fn add(&mut self, add: impl FnOnce(&mut B), member: Option<Arc<Slot<R>>>) {
        struct Agree<'g, B: Batch, R>(&'g mut Group<B, R>);
        impl<B: Batch, R> Drop for Agree<'_, B, R> {
            fn drop(&mut self) {
                self.0.members.resize(self.0.batch.len(), None);
            }
        }

        let agree = Agree(self);
        add(&mut agree.0.batch);
        agree.0.members.push(member);
        assert_eq!(agree.0.batch.len(), agree.0.members.len(), "`add` appends exactly one op");
    }

    /// True if there is nobody (left) to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }
}

impl<B: Batch, R: Outcome> Group<B, R> {
    /// Sees to it that every member has exactly one outcome: those without are aborted.
    pub(super) fn settle(&mut self) {
        self.outcomes.truncate(self.members.len());
        self.outcomes.resize_with(self.members.len(), R::aborted);
    }

    /// Takes the last op out and returns its outcome, which the leader keeps for itself.
    pub(super) fn take_last(&mut self) -> R {
        self.members.pop();
        self.outcomes.pop().unwrap_or_else(R::aborted)
    }

    /// Takes the ops out of the batch, for reuse.
    pub(super) fn clear_batch(&mut self) {
        if !contained(|| self.batch.clear()) {
            self.batch = B::default();
        }
    }

    /// Leaves every member its outcome.
    pub(super) fn publish(&mut self) {
        for (member, outcome) in self.members.iter().zip(self.outcomes.drain(..)) {
            if let Some(slot) = member {
                slot.publish(outcome);
            }
        }
    }

    /// Wakes the members, one by one.
    pub(super) fn wake(&mut self) {
        self.members.drain(..).flatten().for_each(|slot| slot.wake());
    }
}
