//! Where one op's outcome is left for whoever waits for it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use super::sync::{Condvar, Mutex};

/// The meeting place of one op and its leader. Each has a lock and a condition of its own, so that waking
/// one member wakes nobody else.
#[derive(Debug)]
pub(super) struct Slot<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<R> {
    /// Set once, by the leader, when the op's group is through.
    outcome: Option<R>,
    /// Leadership was passed to the thread that blocks here; it is that thread's until it passes it on.
    lead: bool,
    /// The task that polled last.
    waker: Option<Waker>,
}

/// What a blocked thread was woken for.
pub(super) enum Woken<R> {
    /// Its op is through.
    Done(R),
    /// It is the leader now.
    Lead,
}

impl<R: Clone> Slot<R> {
    pub(super) fn new() -> Slot<R> {
        Slot {
            state: Mutex::new(State { outcome: None, lead: false, waker: None }),
            changed: Condvar::default(),
        }
    }

    /// Makes a slot whose op is through fit for another op. Whoever calls it holds the op's only handle; the
    /// leader that published may still wake this slot once, which its next waiter takes for nothing.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        state.outcome = None;
        state.lead = false;
        let waker = state.waker.take();
        drop(state);
        drop(waker); // Foreign code, so it does not run under the lock.
    }

    /// Leaves the outcome, for whoever looks. Who waits is still to be woken.
    pub(super) fn publish(&self, outcome: R) {
        self.state.lock().outcome = Some(outcome);
    }

    /// Wakes whoever waits for the outcome.
    pub(super) fn wake(&self) {
        let waker = self.state.lock().waker.take();
        self.changed.notify_all();
        if let Some(waker) = waker {
            let _ = contained(|| waker.wake());
        }
    }

    /// Passes leadership to the thread that blocks here.
    pub(super) fn pass_lead(&self) {
        self.state.lock().lead = true;
        self.changed.notify_all();
    }

    /// Blocks until the outcome is there, or leadership.
    pub(super) fn wait(&self) -> Woken<R> {
        let mut state = self.state.lock();
        loop {
            if mem::take(&mut state.lead) {
                return Woken::Lead;
            }
            if let Some(outcome) = &state.outcome {
                return Woken::Done(outcome.clone());
            }
            state = self.changed.wait(state);
        }
    }

    pub(super) fn try_get(&self) -> Option<R> {
        self.state.lock().outcome.clone()
    }

    pub(super) fn is_done(&self) -> bool {
        self.state.lock().outcome.is_some()
    }

    /// The outcome, or a promise to wake this task (and no longer the one that polled before).
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<R> {
        let mut state = self.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        if state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        let before = state.waker.replace(context.waker().clone());
        drop(state);
        drop(before); // Foreign code, so it does not run under the lock.
        Poll::Pending
    }
}

/// Calls foreign code (a waker, the hook, `clear`) from the middle of telling a group its outcomes. If it panics, the
/// others must still be told, so the panic ends here (false); the process's panic hook has reported it.
pub(super) fn contained(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_ok()
}
