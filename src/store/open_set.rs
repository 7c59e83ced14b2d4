//! The sessions that are open for writing, in the order in which they were used last.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::session::Core;

/// Each stands under a use, of all that the store counts. One that is used again stays where it is, for to move it would cost every
/// append a lock of the store's: whoever looks for the one used longest ago moves those that were used since.
#[derive(Default)]
pub(super) struct OpenSet(Mutex<BTreeMap<u64, Weak<Core>>>);

impl OpenSet {
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// A session was opened at the use `now`, which is nobody else's.
    pub(super) fn add(&self, core: &Arc<Core>, now: u64) {
        let mut order = self.0.lock();
        core.filed.store(now, Ordering::Relaxed);
        order.insert(now, Arc::downgrade(core));
    }

    pub(super) fn remove(&self, core: &Core) {
        self.0.lock().remove(&core.filed.load(Ordering::Relaxed));
    }

    /// The session used longest ago of those that were used after `since`, which becomes its use: so the next call gives another.
    pub(super) fn next(&self, since: &mut u64) -> Option<Arc<Core>> {
        let mut order = self.0.lock();
        loop {
            let (&filed, weak) = order.range((Bound::Excluded(*since), Bound::Unbounded)).next()?;
            let weak = weak.clone();
            let Some(core) = weak.upgrade() else {
                order.remove(&filed);
                continue;
            };
            let used = core.used.load(Ordering::Relaxed);
            if used <= filed {
                *since = filed;
                return Some(core);
            }
            order.remove(&filed);
            core.filed.store(used, Ordering::Relaxed);
            order.insert(used, weak);
        }
    }
}
