//! One session in this process: the queue in front of its writer, and what readers see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::lead::lead;
use super::pending::{Control, Done, Pending, Reply};
use super::reader::Reader;
use super::writer::{Writer, view_of_tail};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Dir;
use crate::ids::{BirthId, SessionId};
use crate::log::queue::{Queue, Ticket};
use crate::log::scan::Tail;
use crate::log::view::{Source, View};
use crate::log::writer::SegmentWriter;
use crate::recovery::Report;
use crate::state::{Extent, State};
use crate::store::{Env, Job};

/// What readers of this process see of a session that is open for writing: every acknowledged op, nothing
/// else. Locked for moments only.
pub(crate) struct Shared {
    pub(crate) dir: Arc<dyn Dir>,
    pub(crate) state: State,
    pub(crate) sealed: Arc<Vec<Arc<Source>>>,
    active: Arc<Source>,
    end: (u64, u64, u32),
    /// Positions below it are durable.
    pub(crate) mark: u64,
    /// The mark that stands in the log.
    marked: u64,
    pub(crate) report: Report,
    /// Positions below it hold what a caller may wait for.
    essential: u64,
    map: bool,
    store: crate::ids::StoreId,
    /// Why the live range is not all there, if it is not.
    pub(crate) lost: Option<Error>,
}

impl Shared {
    /// True if archived messages of so many bytes are still in the live log, and may go from it.
    pub(crate) fn owes_truncation(&self, after: u64) -> bool {
        self.state.dead_bytes >= after && !self.state.frozen
    }

    pub(crate) fn of_tail(env: &Env, dir: Arc<dyn Dir>, tail: &Tail, report: Report) -> Shared {
        let view = view_of_tail(env, dir.clone(), tail);
        Shared {
            dir,
            state: tail.state.clone(),
            sealed: view.sealed,
            active: view.active,
            end: view.active_end,
            mark: tail.mark,
            marked: tail.mark,
            report,
            essential: 0,
            map: env.maps(),
            store: env.layout.id,
            lost: None,
        }
    }

    pub(crate) fn of_writer(
        env: &Env,
        dir: Arc<dyn Dir>,
        log: &SegmentWriter,
        state: State,
        sealed: Arc<Vec<Arc<Source>>>,
        report: Report,
    ) -> Shared {
        let info = log.info();
        Shared {
            dir,
            state,
            sealed,
            active: Source::active(info, log.segment.clone()),
            end: (info.end, info.end_offset, info.end_len),
            mark: log.durable,
            marked: log.marked,
            report,
            essential: 0,
            map: env.maps(),
            store: env.layout.id,
            lost: None,
        }
    }

    /// The active segment is read through the descriptor of its writer: one less for each open session.
    pub(crate) fn read_through(&mut self, log: &SegmentWriter) {
        self.active = Source::active(self.active.info, log.segment.clone());
    }

    /// The log has moved on.
    pub(crate) fn moved(&mut self, log: &SegmentWriter, essential: u64) {
        self.essential = essential;
        self.end = (log.position, log.end, log.last_len);
        self.mark = log.durable;
        self.marked = log.marked;
    }

    /// The active segment as it is now.
    pub(crate) fn active_info(&self) -> crate::state::SegmentInfo {
        let (end, end_offset, end_len) = self.end;
        crate::state::SegmentInfo { end, end_offset, end_len, ..self.active.info }
    }

    /// Whether something written is not synced, and whether something synced is above the last mark.
    pub(crate) fn lag(&self) -> (bool, bool) {
        (self.mark < self.essential, self.marked < self.mark)
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn rest(&mut self) {
        self.state.live.shrink_to_fit();
    }

    pub(crate) fn view(&self, extents: Vec<Extent>) -> View {
        View {
            id: self.state.id.clone(),
            dir: self.dir.clone(),
            owner: crate::log::segment::Owner { store: self.store, birth: Some(self.state.birth) },
            sealed: self.sealed.clone(),
            active: self.active.clone(),
            active_end: self.end,
            extents,
            mark: self.mark,
            map: self.map,
            lost: self.lost.clone(),
        }
    }
}

/// Where a session stands in this process.
pub(crate) enum Phase {
    /// Not open: never was, or parked. What was seen of it then, so that another writer's work is noticed.
    Closed(Option<Seen>),
    /// Open for writing.
    Open(Box<Writer>),
    /// A sync failed: nothing that was acknowledged and not durable can be relied on, and no handle that may have been told so
    /// writes any more.
    Poisoned(Poison),
    /// Removed through this store.
    Removed,
}

impl Phase {
    /// True if nothing comes of it any more, and another [`Core`] may have its place.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Phase::Poisoned(Poison { writer: None, told: true, .. }) | Phase::Removed)
    }
}

/// Why a session is poisoned.
pub(crate) struct Poison {
    /// It stays as it is, descriptor and all, until the session is opened again (as another [`Core`]), or closed.
    pub(crate) writer: Option<Box<Writer>>,
    pub(crate) cause: Error,
    /// Some call has ended with it. One that failed in the background is kept until then: what was acknowledged and not durable
    /// may be gone, and whoever opens the session next is told before he relies on what is there.
    pub(crate) told: bool,
}

/// What a session was when it was parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) birth: BirthId,
    pub(crate) position: u64,
}

/// One session in this process. Handles share it.
pub(crate) struct Core {
    pub(crate) id: SessionId,
    pub(crate) env: Arc<Env>,
    pub(crate) queue: Queue<Pending, Reply>,
    /// The leader of a commit holds it, and whoever opens or closes.
    pub(crate) phase: Mutex<Phase>,
    pub(crate) shared: Mutex<Option<Shared>>,
    pub(crate) handles: AtomicUsize,
    /// Where it stands among those that are open for writing.
    pub(crate) filed: AtomicU64,
    /// The life of it that its handles stand for, once it was open here.
    pub(crate) life: Mutex<Option<BirthId>>,
    /// When it was used last: a count of the store's, not a time.
    pub(crate) used: AtomicU64,
    pub(crate) timers: Timers,
}

/// Which background jobs are on their way for a session.
#[derive(Default)]
pub(crate) struct Timers {
    pub(crate) sync: AtomicBool,
    pub(crate) mark: AtomicBool,
    pub(crate) linger: AtomicBool,
    pub(crate) truncate: AtomicBool,
    pub(crate) orphans: AtomicBool,
}

impl Core {
    pub(crate) fn new(env: &Arc<Env>, id: SessionId) -> Arc<Core> {
        Arc::new_cyclic(|me: &std::sync::Weak<Core>| {
            let me = me.clone();
            Core {
                id,
                queue: Queue::new(move || {
                    // Ops that nobody blocks on: the store's own thread leads their commit.
                    let Some(core) = me.upgrade() else { return };
                    let listed = core.timers.orphans.swap(true, Ordering::AcqRel);
                    // If that thread is gone, or will be, who closes the store has perhaps looked already.
                    if core.env.is_closed() || !listed && !core.env.io.now(Job::Lead(core.clone())) {
                        core.drain();
                    }
                }),
                env: env.clone(),
                phase: Mutex::new(Phase::Closed(None)),
                shared: Mutex::new(None),
                handles: AtomicUsize::new(0),
                filed: AtomicU64::new(0),
                life: Mutex::new(None),
                used: AtomicU64::new(0),
                timers: Timers::default(),
            }
        })
    }

    /// Hands an op to the queue and waits for its outcome, leading the commit if nobody else does.
    pub(crate) fn run(self: &Arc<Core>, add: impl FnOnce(&mut Pending)) -> Reply {
        self.env.check()?;
        self.touch();
        self.queue.submit_and_wait(add, &mut |batch, out| lead(self, batch, out))
    }

    pub(crate) fn control(self: &Arc<Core>, control: Control) -> Result<Done> {
        self.run(|pending| pending.push_control(control))
    }

    /// Hands an op over without waiting.
    pub(crate) fn submit(self: &Arc<Core>, add: impl FnOnce(&mut Pending)) -> Result<Ticket<Reply>> {
        self.env.check()?;
        self.touch();
        self.env.io.start()?;
        self.queue.make_room(super::handle::MAX_WAITING, &mut |batch, out| lead(self, batch, out));
        let ticket = self.queue.push_detached(add);
        if self.env.is_closed() {
            // The thread that would have led this commit may be gone already.
            self.drain();
        }
        Ok(ticket)
    }

    fn touch(&self) {
        self.used.store(self.env.tick(), Ordering::Relaxed);
    }

    /// Opens the session for writing if it is there: `Some(false)` if it is not. `None` if there is nothing to be done with this
    /// any more, and another [`Core`] has its place, or may.
    pub(crate) fn open_now(self: &Arc<Core>) -> Result<Option<bool>> {
        self.env.check()?;
        self.touch();
        let mut phase = self.phase.lock();
        if self.retire(&mut phase)? { Ok(None) } else { self.ready(&mut phase).map(Some) }
    }

    /// Creates the session, which must not be there. `None` as in [`Core::open_now`].
    pub(crate) fn create_now(self: &Arc<Core>) -> Result<Option<()>> {
        self.env.check()?;
        if self.retire(&mut self.phase.lock())? {
            return Ok(None);
        }
        match self.control(Control::Create { strict: true }) {
            Err(e) if e.kind() == ErrorKind::NotFound && self.retire(&mut self.phase.lock())? => Ok(None),
            done => done.map(|_| Some(())),
        }
    }

    /// True if it is over: it was removed through this store, or is poisoned. Who opens that gets another [`Core`], and what is
    /// on disk decides from there on, while the handles on this one stay as they are. The descriptor that saw the failure goes
    /// now, and the lock.
    ///
    /// # Errors
    /// `Poisoned` if nobody was told of it so far.
    fn retire(self: &Arc<Core>, phase: &mut Phase) -> Result<bool> {
        let Phase::Poisoned(poison) = phase else {
            let removed = matches!(phase, Phase::Removed);
            if removed {
                self.env.evict(self);
            }
            return Ok(removed);
        };
        let told = std::mem::replace(&mut poison.told, true);
        let error = self.poisoned(&poison.cause);
        self.close_phase(phase).0.finish();
        self.env.evict(self);
        if told { Ok(true) } else { Err(error) }
    }

    /// The state of a session that exists; `None` if it does not.
    pub(crate) fn with_shared<T>(&self, f: impl FnOnce(&Shared) -> T) -> Option<T> {
        self.shared.lock().as_ref().map(f)
    }

    /// What is on disk, for who reads while no writer of this process has the session open; `None` if it is not there, and was not.
    /// Never what was made under this id behind the life of it that is known here.
    pub(crate) fn on_disk(&self) -> Result<Option<Reader>> {
        let known = *self.life.lock();
        let found = Reader::open(&self.env, &self.id)?;
        let life = found.as_ref().map(|reader| reader.with_state(|s| s.birth));
        if known.is_some() && life != known { Err(self.removed()) } else { Ok(found) }
    }

    /// The error for a session that was removed.
    pub(crate) fn removed(&self) -> Error {
        Error::new(ErrorKind::NotFound, "use a session")
            .session(&self.id)
            .hint("it was removed; Store::session begins a new one under this id")
    }

    /// The error for a session of which a commit failed for good.
    pub(crate) fn poisoned(&self, cause: &Error) -> Error {
        Error::new(ErrorKind::Poisoned, "write to a session")
            .session(&self.id)
            .because(cause, "open it again with Store::session or Store::open_session")
    }
}
