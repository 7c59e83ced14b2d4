//! Opening, parking and closing a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::core::{Core, Phase, Poison, Seen};
use super::create::First;
use super::files::{Look, SessionLock, Whose, load_tail, locate, lock};
use super::summary_of;
use super::writer::Writer;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::format::catalog::CatalogEntry;
use crate::store::Job;

impl Core {
    /// Makes the phase `Open` if the session is on disk; `false` if it is not there.
    pub(crate) fn ready(self: &Arc<Core>, phase: &mut Phase) -> Result<bool> {
        let seen = match phase {
            // Also while the store is being closed: what was handed over before is still done.
            Phase::Open(_) => return Ok(true),
            _ if self.env.is_closed() => return self.env.check().map(|()| false),
            Phase::Poisoned(poison) => {
                poison.told = true;
                return Err(self.poisoned(&poison.cause));
            }
            Phase::Removed => return Err(self.removed()),
            Phase::Closed(seen) => *seen,
        };
        self.env.check_writable()?;
        let life = *self.life.lock();
        for _ in 0..64 {
            let Some(dir) = locate(&self.env, &self.id)? else {
                if life.is_none() {
                    return Ok(false);
                }
                *self.life.lock() = None;
                *phase = Phase::Closed(None);
                return Err(self.changed(seen, "it is gone"));
            };
            // The lock of a session that was replaced between the two steps is worth nothing: start over.
            let Some(lock) = lock(&self.env, &self.id, &*dir)? else { continue };
            let loaded = load_tail(&self.env, Whose::Id(&self.id), &dir, Look::End)?;
            let state = &loaded.tail.state;
            let now = Seen { birth: state.birth, position: state.position };
            let (writer, shared) = Writer::found(&self.env, dir, lock, loaded);
            self.install(phase, writer, shared)?;
            if seen.is_some_and(|seen| seen != now) || life.is_some_and(|life| life != now.birth) {
                return Err(self.changed(seen, "another process wrote to it"));
            }
            return Ok(true);
        }
        Err(Error::new(ErrorKind::Conflict, "open a session")
            .session(&self.id)
            .hint("it is removed and created again all the time"))
    }

    fn changed(&self, seen: Option<Seen>, what: &str) -> Error {
        let at = seen.map(|seen| format!(" at position {}", seen.position)).unwrap_or_default();
        Error::new(ErrorKind::Conflict, "go on with a session")
            .session(&self.id)
            .hint(format!("it was closed here{at}, and {what} meanwhile; look at it, then go on"))
    }

    /// Makes the phase `Open`, creating the session if it is not there, with its `first` commit. `true` if it was
    /// created; that commit is acknowledged then.
    pub(crate) fn ready_or_create(
        self: &Arc<Core>,
        phase: &mut Phase,
        first: Option<&First<'_>>,
    ) -> Result<bool> {
        for _ in 0..16 {
            if self.ready(phase)? {
                return Ok(false);
            }
            // Whoever is open needs the thread: if there is none, nothing may be changed.
            self.env.io.start()?;
            match Writer::create(&self.env, &self.id, first) {
                Ok((writer, shared)) => {
                    let installed = self.install(phase, writer, shared);
                    // The commit is durable, even if the store was closed meanwhile.
                    return if first.is_some() { Ok(true) } else { installed.map(|()| true) };
                }
                // Somebody else created it between the two steps.
                Err(e) if e.kind() == ErrorKind::AlreadyExists && e.outcome() == Outcome::NotApplied => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "create a session").session(&self.id))
    }

    fn install(
        self: &Arc<Core>,
        phase: &mut Phase,
        writer: Writer,
        shared: super::core::Shared,
    ) -> Result<()> {
        self.env.io.start()?;
        *self.life.lock() = Some(shared.state.birth);
        *self.shared.lock() = Some(shared);
        *phase = Phase::Open(Box::new(writer));
        self.env.opened(self);
        if self.env.is_closed() {
            // The store was closed between the check and now, and will not look at this session again.
            let (closing, _) = self.close_phase(phase);
            closing.finish();
            return self.env.check();
        }
        if self.handles.load(Ordering::Acquire) == 0 {
            self.linger();
        }
        Ok(())
    }

    /// Closes the log in good order and gives up the lock: to be done with by [`Closing::finish`], after the
    /// catalog was synced.
    pub(crate) fn close_phase(&self, phase: &mut Phase) -> (Closing, Result<()>) {
        let now =
            self.with_shared(|s| (Seen { birth: s.state.birth, position: s.state.position }, s.lag().0));
        if self.env.is_forked() {
            return (Closing::default(), Ok(()));
        }
        let writer = match phase {
            Phase::Open(writer) => writer,
            Phase::Poisoned(poison) => {
                // Nothing more is written or synced; what is on disk decides at the next opening.
                let lock = poison.writer.take().and_then(|mut writer| writer.lock.take());
                self.shared.lock().take();
                self.env.closed(self);
                let closing = Closing { locks: lock.into_iter().collect(), dirty: false };
                return (closing, Err(self.poisoned(&poison.cause)));
            }
            Phase::Closed(_) | Phase::Removed => return (Closing::default(), Ok(())),
        };
        let mut result = Ok(());
        let (mut seen, buffered) = now.map_or((None, false), |(seen, buffered)| (Some(seen), buffered));
        let (mut dirty, mut poisoned) = (false, None);
        match writer.close_log(&self.env, &self.shared) {
            Ok(false) => {}
            Ok(true) => {
                let summary = self.shared.lock().as_ref().map(|s| {
                    seen = Some(Seen { birth: s.state.birth, position: s.state.position });
                    summary_of(s)
                });
                if let Some(summary) = summary {
                    match self.env.catalog.record(CatalogEntry::Closed(summary)) {
                        Ok(()) => dirty = true,
                        Err(e) => result = Err(e),
                    }
                }
            }
            Err(fault) => {
                // What cannot be closed is made durable all the same.
                let synced = if fault.poison { Ok(()) } else { writer.settle(&self.env, &self.shared, true) };
                let fault = synced.err().unwrap_or(fault);
                // How far our own close came is not known: what is found next is no sign of another writer.
                seen = None;
                let cause = fault.error.session(&self.id);
                result = Err(cause.clone());
                let poison = Poison { writer: None, cause, told: false };
                poisoned = (fault.poison && buffered).then_some(poison);
            }
        }
        let lock = writer.lock.take();
        self.shared.lock().take();
        // Who relies on what is perhaps not there any more is told at the next op.
        *phase = poisoned.map_or(Phase::Closed(seen), Phase::Poisoned);
        self.env.closed(self);
        (Closing { locks: lock.into_iter().collect(), dirty }, result)
    }

    /// Closes the session, once what was handed over is done, and gives up its lock. The next op opens it again.
    pub(crate) fn park(self: &Arc<Core>) -> Result<()> {
        self.complete();
        let mut phase = self.phase.lock();
        let done = self.park_locked(&mut phase);
        if let (Err(_), Phase::Poisoned(poison)) = (&done, &mut *phase) {
            poison.told = true;
        }
        done
    }

    pub(crate) fn park_locked(&self, phase: &mut Phase) -> Result<()> {
        let (closing, result) = self.close_phase(phase);
        let synced = if closing.dirty { self.env.catalog.sync() } else { Ok(()) };
        closing.finish();
        result.and(synced)
    }

    /// The last handle is gone: the session is closed when it was not used for a while.
    pub(crate) fn linger(self: &Arc<Core>) {
        // A time beyond all times means never.
        if let Some(due) = Instant::now().checked_add(self.env.settings.linger)
            && !self.timers.linger.swap(true, Ordering::AcqRel)
        {
            self.env.io.at(due, Job::Linger(self.clone(), self.used.load(Ordering::Relaxed)));
        }
    }
}

/// Sessions whose logs are closed and whose locks are still held.
#[derive(Default)]
pub(crate) struct Closing {
    locks: Vec<SessionLock>,
    /// A summary waits for the catalog's sync.
    pub(crate) dirty: bool,
}

impl Closing {
    pub(crate) fn absorb(&mut self, other: Closing) {
        self.locks.extend(other.locks);
        self.dirty |= other.dirty;
    }

    /// Releases the locks.
    pub(crate) fn finish(self) {
        drop(self.locks);
    }
}
