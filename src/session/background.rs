//! What the store's thread does for a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core::{Core, Phase};
use super::lead::{lead, schedule, with_writer};
use super::writer::{Fault, Writer};
use crate::error::Result;

impl Core {
    /// Returns when everything that was handed over before this call is through.
    pub(crate) fn complete(self: &Arc<Core>) {
        self.queue.complete(&mut |batch, out| lead(self, batch, out));
    }

    /// Leads the commits of everything that waits, unless somebody else does.
    pub(crate) fn drain(self: &Arc<Core>) {
        while self.queue.has_orphans() {
            if !self.queue.lead_pending(&mut |batch, out| lead(self, batch, out)) {
                return;
            }
        }
    }

    /// Runs `work`, for which no call waits, on the open writer. If it poisons that, and something that was acknowledged may be
    /// gone with it, the next call is told.
    fn unasked<T>(
        self: &Arc<Core>,
        phase: &mut Phase,
        work: impl FnOnce(&mut Writer) -> Result<T, Fault>,
    ) -> Result<T> {
        let buffered = self.with_shared(|s| s.lag().0) == Some(true);
        let done = with_writer(self, phase, work);
        if let Phase::Poisoned(poison) = phase {
            poison.told = !buffered;
        }
        done
    }

    pub(crate) fn is_open(&self, phase: &Phase) -> bool {
        matches!(phase, Phase::Open(_))
    }

    /// Syncs what was appended as `Buffered`.
    pub(crate) fn background_sync(self: &Arc<Core>) -> Result<()> {
        let mut phase = self.phase.lock();
        if !self.is_open(&phase) {
            return Ok(());
        }
        self.unasked(&mut phase, |w| w.settle(&self.env, &self.shared, true))?;
        drop(phase);
        schedule(self);
        Ok(())
    }

    /// If the session is idle: writes a mark, so that little lies above the last one, and gives back the memory that it
    /// keeps for the next commits.
    pub(crate) fn background_mark(self: &Arc<Core>, used: u64) -> Result<()> {
        let Some(mut phase) = self.phase.try_lock() else { return Ok(()) };
        if !self.is_open(&phase) {
            return Ok(());
        }
        if self.used.load(Ordering::Relaxed) != used {
            drop(phase);
            schedule(self);
            return Ok(());
        }
        let due = self.with_shared(|s| s.lag()).is_some_and(|(unsynced, unmarked)| unmarked && !unsynced);
        let done = match due {
            true => self.unasked(&mut phase, |w| w.write_mark(&self.env, &self.shared)),
            false => Ok(()),
        };
        if let Phase::Open(writer) = &mut *phase {
            writer.rest();
            self.queue.rest();
            if let Some(shared) = self.shared.lock().as_mut() {
                shared.rest();
            }
        }
        done
    }

    /// Pays what archives owe, if it is due, and removes what nobody reaches.
    pub(crate) fn background_truncate(self: &Arc<Core>) -> Result<()> {
        let mut phase = self.phase.lock();
        if !self.is_open(&phase) {
            return Ok(());
        }
        let due = self.with_shared(|s| s.owes_truncation(self.env.settings.truncate_after)) == Some(true);
        self.unasked(&mut phase, |w| {
            if due {
                w.truncate(&self.env, &self.shared)?;
            }
            w.release(&self.env, &self.shared)
        })
    }

    /// Closes the session if nobody has a handle on it and it was not used for a while.
    pub(crate) fn background_linger(self: &Arc<Core>, used: u64) -> Result<()> {
        if self.handles.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        if self.used.load(Ordering::Relaxed) != used {
            self.linger();
            return Ok(());
        }
        let result = {
            let mut phase = self.phase.lock();
            // Somebody may have come while this waited.
            if self.handles.load(Ordering::Acquire) > 0 {
                return Ok(());
            }
            match *phase {
                // It was said when it happened, and nobody is left to be told.
                Phase::Poisoned(..) => {
                    self.close_phase(&mut phase).0.finish();
                    Ok(())
                }
                _ => self.park_locked(&mut phase),
            }
        };
        self.env.forget(self);
        result
    }
}
