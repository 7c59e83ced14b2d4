//! The handle on one op that was pushed.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::slot::Slot;

/// One op that was pushed: block on it with [`Queue::wait`](super::Queue::wait), poll it as a future, or drop
/// it, which withdraws nothing.
///
/// Polling does no I/O and never leads: it relies on somebody else who does, if need be the one the hook calls for. One task may poll at a time: the last that did is woken.
#[must_use = "what became of the op is told to its ticket alone"]
pub(crate) struct Ticket<R> {
    pub(super) slot: Arc<Slot<R>>,
    /// The number of the group in which the op was collected.
    pub(super) group: u64,
}

impl<R: Clone> Ticket<R> {
    /// The outcome, if the op is through.
    pub(crate) fn try_get(&self) -> Option<R> {
        self.slot.try_get()
    }

    /// True once the op is through.
    pub(crate) fn is_done(&self) -> bool {
        self.slot.is_done()
    }
}

impl<R: Clone> Future for Ticket<R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.slot.poll(context)
    }
}

impl<R: Clone> fmt::Debug for Ticket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("group", &self.group).field("done", &self.is_done()).finish()
    }
}
