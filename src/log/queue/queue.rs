//! The queue itself: what is pending, who leads, and who is next.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::group::{Batch, Group, Outcome};
use super::slot::{Slot, Woken, contained};
use super::sync::{Condvar, Mutex, MutexGuard};
use super::ticket::Ticket;
use super::turn::{LeadFn, Leading, Turn};

/// The most slots kept for reuse: as many as threads may reasonably block on one session at a time.
const MAX_FREE_SLOTS: usize = 1024;
/// The most groups kept for reuse: one collects, one is committed, and some are still telling their members.
const MAX_SPARE_GROUPS: usize = 4;

/// The commit queue of one session.
///
/// Invariants, whenever the lock is free:
/// 1. The collecting group has as many members as its batch has ops, in the same order.
/// 2. If leadership is free, no thread that could lead is blocked on a pending op: whoever blocks while it is
///    free takes it instead, and whoever gives it up passes it to such a thread. So nobody is forgotten.
/// 3. If leadership is free and ops are pending, the hook is called after the last of them was pushed, or
///    after the last leader ended; or the background thread, whose turn that was, comes again. So nothing is.
/// 4. Who wakes others holds no leadership, and all of its group have their outcomes: a waker may push, and even wait.
pub(crate) struct Queue<B, R> {
    pub(super) inner: Mutex<Inner<B, R>>,
    /// Pending ops were taken, or a turn has ended.
    moved: Condvar,
    /// Slots whose op is through. They have a lock of their own, so that the members of a finished group do
    /// not stand in the way of the next leader when they all wake at once.
    free: Mutex<Vec<Arc<Slot<R>>>>,
    on_orphans: Box<dyn Fn() + Send + Sync>,
}

pub(super) struct Inner<B, R> {
    /// Somebody leads, or was woken to do so; otherwise leadership is free.
    led: bool,
    /// What was pushed since the last leader began.
    pub(super) collecting: Group<B, R>,
    /// The number of the collecting group: an op is pending as long as its group has this number.
    number: u64,
    /// How many groups are through. There were `number` of them so far: one less is, while somebody leads.
    ended: u64,
    /// The first thread that blocked on a pending op: the next leader. One is enough, because a leader takes
    /// all pending ops with it.
    next: Option<Arc<Slot<R>>>,
    /// How many threads wait until something has `moved`.
    waiting: usize,
    spare: Vec<Group<B, R>>,
}

impl<B: Batch, R> Inner<B, R> {
    /// Keeps an empty group for reuse.
    pub(super) fn put_back(&mut self, group: Group<B, R>) {
        if self.spare.len() < MAX_SPARE_GROUPS {
            self.spare.push(group);
        }
    }
}

/// What a leader does once it has released the lock.
pub(super) enum After<R> {
    /// Wakes the next leader, to whom leadership has passed.
    Wake(Arc<Slot<R>>),
    /// Calls the hook: ops are pending and nobody is there to lead.
    Orphans,
    /// Comes again, once its members are told.
    ComeAgain,
    /// Nothing: nothing is pending.
    Rest,
}

impl<B: Batch, R: Outcome> Queue<B, R> {
    /// An empty queue.
    ///
    /// `on_orphans` is called, without a lock held, when ops are pending, nobody leads, and no blocked thread
    /// could: it has to see to it that [`Queue::lead_pending`] runs soon. It may be called more often than
    /// needed, so it should be cheap.
    pub(crate) fn new(on_orphans: impl Fn() + Send + Sync + 'static) -> Self {
        Queue {
            inner: Mutex::new(Inner {
                led: false,
                collecting: Group::default(),
                number: 0,
                ended: 0,
                next: None,
                waiting: 0,
                spare: Vec::new(),
            }),
            moved: Condvar::default(),
            free: Mutex::new(Vec::new()),
            on_orphans: Box::new(on_orphans),
        }
    }

    /// Adds one op for which perhaps nobody will block: the hook is called if nobody leads. (If somebody does,
    /// the end of that turn sees to the op.)
    ///
    /// `add` appends exactly one op to the batch. It runs under the lock, so it must be short; if it panics it
    /// leaves the batch without the op or with all of it.
    pub(crate) fn push_detached(&self, add: impl FnOnce(&mut B)) -> Ticket<R> {
        let mut inner = self.inner.lock();
        let ticket = self.push_to(&mut inner, add);
        let orphaned = !inner.led;
        drop(inner);
        if orphaned {
            (self.on_orphans)();
        }
        ticket
    }

    /// Blocks until the op is through, and leads its group if nobody else does.
    pub(crate) fn wait(&self, ticket: Ticket<R>, lead: &mut LeadFn<'_, B, R>) -> R {
        let Ticket { slot, group } = ticket;
        let mut inner = self.inner.lock();
        let pending = inner.number == group;
        if pending && !inner.led {
            let group = self.begin(&mut inner);
            drop(inner);
            self.lead(group, Turn::Once, lead);
        } else {
            if pending {
                inner.next.get_or_insert_with(|| Arc::clone(&slot));
            }
            drop(inner);
        }
        self.block(slot, lead)
    }

    /// [`push_detached`](Queue::push_detached) and [`wait`](Queue::wait) in one, so without the hook. Without
    /// company it is the short way: one lock to begin, one to end, and no slot.
    pub(crate) fn submit_and_wait(&self, add: impl FnOnce(&mut B), lead: &mut LeadFn<'_, B, R>) -> R {
        let mut inner = self.inner.lock();
        if inner.led {
            let Ticket { slot, .. } = self.push_to(&mut inner, add);
            inner.next.get_or_insert_with(|| Arc::clone(&slot));
            drop(inner);
            return self.block(slot, lead);
        }
        inner.collecting.add(add, None);
        let group = self.begin(&mut inner);
        drop(inner);
        let mut leading = Leading::new(self, group, Turn::Once);
        leading.run(lead);
        // The leader's own op is the last one: it was added and the group taken under the same lock.
        leading.take_last()
    }

    /// Gives back the memory that is kept for reuse, if nothing is pending: of a queue that nobody uses for a while.
    pub(crate) fn rest(&self) {
        let mut inner = self.inner.lock();
        if inner.led || !inner.collecting.is_empty() {
            return;
        }
        inner.spare = Vec::new();
        inner.collecting = Group::default();
        drop(inner);
        *self.free.lock() = Vec::new();
    }

    /// For the background thread: leads until nothing is pending or a blocked thread takes over. False if
    /// somebody else leads (whose end will see to what is pending) or nothing was there.
    pub(crate) fn lead_pending(&self, lead: &mut LeadFn<'_, B, R>) -> bool {
        let mut led = false;
        loop {
            let mut inner = self.inner.lock();
            if inner.led || inner.collecting.is_empty() {
                return led;
            }
            let group = self.begin(&mut inner);
            drop(inner);
            if !self.lead(group, Turn::Background, lead) {
                return true;
            }
            led = true;
        }
    }

    /// Returns when every op that was pushed before this call is through; leads what nobody else does.
    pub(crate) fn complete(&self, lead: &mut LeadFn<'_, B, R>) {
        let mut inner = self.inner.lock();
        let last = inner.number + u64::from(!inner.collecting.is_empty());
        while inner.ended < last {
            inner = self.lead_or_wait(inner, lead);
        }
    }

    /// Returns when fewer than `bytes` are pending (or nothing is): waits for a leader to take them, or leads
    /// itself. For callers who are about to push and want the memory bounded.
    pub(crate) fn make_room(&self, bytes: usize, lead: &mut LeadFn<'_, B, R>) {
        let mut inner = self.inner.lock();
        while inner.collecting.batch.bytes() >= bytes && !inner.collecting.is_empty() {
            inner = self.lead_or_wait(inner, lead);
        }
    }

    /// Leads what is pending, or waits until whoever leads has got on.
    fn lead_or_wait<'q>(
        &'q self,
        mut inner: MutexGuard<'q, Inner<B, R>>,
        lead: &mut LeadFn<'_, B, R>,
    ) -> MutexGuard<'q, Inner<B, R>> {
        if !inner.led {
            let group = self.begin(&mut inner);
            drop(inner);
            self.lead(group, Turn::Once, lead);
            return self.inner.lock();
        }
        inner.waiting += 1;
        inner = self.moved.wait(inner);
        inner.waiting -= 1;
        inner
    }

    /// True if ops are pending and nobody leads; then nobody who could is blocked either, and
    /// [`Queue::lead_pending`] has work.
    pub(crate) fn has_orphans(&self) -> bool {
        let inner = self.inner.lock();
        !inner.led && !inner.collecting.is_empty()
    }

    /// True if nothing is pending and nobody leads.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        !inner.led && inner.collecting.is_empty()
    }

    fn push_to(&self, inner: &mut Inner<B, R>, add: impl FnOnce(&mut B)) -> Ticket<R> {
        let slot = self.free.lock().pop().unwrap_or_else(|| Arc::new(Slot::new()));
        inner.collecting.add(add, Some(Arc::clone(&slot)));
        Ticket { slot, group: inner.number }
    }

    /// Takes what is pending, and leadership (which may be the caller's already).
    fn begin(&self, inner: &mut Inner<B, R>) -> Group<B, R> {
        inner.led = true;
        inner.number += 1;
        inner.next = None; // Its op is among those that are taken.
        if inner.waiting > 0 {
            self.moved.notify_all();
        }
        let empty = inner.spare.pop().unwrap_or_default();
        mem::replace(&mut inner.collecting, empty)
    }

    /// Leads one group. True if there is more, which only a background turn does itself.
    fn lead(&self, group: Group<B, R>, turn: Turn, lead: &mut LeadFn<'_, B, R>) -> bool {
        let mut leading = Leading::new(self, group, turn);
        leading.run(lead);
        leading.end()
    }

    /// Waits at the slot of an op whose only handle this thread holds, and leads when told to.
    fn block(&self, slot: Arc<Slot<R>>, lead: &mut LeadFn<'_, B, R>) -> R {
        loop {
            match slot.wait() {
                Woken::Done(outcome) => {
                    slot.reset();
                    let mut free = self.free.lock();
                    if free.len() < MAX_FREE_SLOTS {
                        free.push(slot);
                    }
                    return outcome;
                }
                Woken::Lead => {
                    let group = self.begin(&mut self.inner.lock());
                    self.lead(group, Turn::Once, lead);
                }
            }
        }
    }

    /// Ends a turn, and decides who is next. Consumes the guard, so that what follows is done without the lock.
    pub(super) fn pass_on(&self, mut inner: MutexGuard<'_, Inner<B, R>>, turn: Turn) -> After<R> {
        inner.ended += 1;
        if inner.waiting > 0 {
            self.moved.notify_all();
        }
        if let Some(next) = inner.next.take() {
            return After::Wake(next);
        }
        inner.led = false;
        match (inner.collecting.is_empty(), turn) {
            (true, _) => After::Rest,
            (false, Turn::Once) => After::Orphans,
            (false, Turn::Background) => After::ComeAgain,
        }
    }

    pub(super) fn follow_up(&self, after: After<R>) -> bool {
        match after {
            After::Wake(next) => next.pass_lead(),
            After::Orphans => {
                let _ = contained(|| (self.on_orphans)());
            }
            After::ComeAgain => return true,
            After::Rest => {}
        }
        false
    }
}

impl<B: Batch, R: Outcome> fmt::Debug for Queue<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Queue")
            .field("pending", &inner.collecting.len())
            .field("leading", &inner.led)
            .finish()
    }
}
