//! What the sessions of one open store share.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::io_thread::{Event, IoThread, Job};
use super::layout::Layout;
use super::open_set::OpenSet;
use super::options::Settings;
use super::registry::{Gone, PATIENCE};
use super::roster::Rosters;
use super::shards::{Anchor, Shards};
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::Open;
use crate::fs::{Fs, sync_anew};
use crate::ids::SessionId;
use crate::log::catalog::{Announced, Catalog};
use crate::session::{Closing, Core, Phase};

/// An open store, behind all its handles. It lives as long as the last session or background job that knows
/// it; what callers hold is a [`Lease`].
pub(crate) struct Env {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) layout: Layout,
    pub(crate) settings: Settings,
    pub(crate) catalog: Catalog,
    pub(crate) io: IoThread,
    pub(crate) shards: Shards,
    pub(crate) rosters: Rosters,
    process: u32,
    closed: AtomicBool,
    clock: AtomicU64,
    open: OpenSet,
    /// The step that parks some is under way, or will be at once.
    parking: AtomicBool,
    maintained: AtomicBool,
    /// That is under way, or will be at once.
    pub(crate) maintaining: AtomicBool,
    anchor: Anchor,
    /// Set when it is closed and every lock is free.
    pub(crate) gone: Arc<Gone>,
    max_open: usize,
    sessions: Mutex<HashMap<SessionId, Arc<Core>>>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("root", &self.layout.root.path()).finish_non_exhaustive()
    }
}

/// How many sessions are open at once where nobody says how many: with three descriptors each they leave most to others.
fn max_open(fs: &dyn Fs) -> usize {
    fs.most_files().map_or(256, |files| (files / 8).clamp(8, 256) as usize)
}

/// So many sessions are parked with one sync of the catalog, and may wait for it.
const PARKED_AT_ONCE: usize = 8;

impl Env {
    pub(crate) fn new(fs: Arc<dyn Fs>, layout: Layout, settings: Settings) -> Arc<Env> {
        let catalog = Catalog::new(fs.clone(), layout.catalog.clone(), layout.id, settings.read_only);
        Arc::new(Env {
            max_open: settings.max_open.unwrap_or_else(|| max_open(&*fs)),
            process: fs.process(),
            catalog,
            shards: Shards::default(),
            rosters: Rosters::default(),
            io: IoThread::new(settings.events.clone(), settings.by_hand),
            closed: AtomicBool::new(false),
            clock: AtomicU64::new(0),
            open: OpenSet::default(),
            parking: AtomicBool::new(false),
            maintained: AtomicBool::new(false),
            maintaining: AtomicBool::new(false),
            anchor: Anchor::default(),
            gone: Arc::default(),
            sessions: Mutex::new(HashMap::new()),
            fs,
            layout,
            settings,
        })
    }

    /// Whether this process is a fork of the one that opened the store.
    pub(crate) fn is_forked(&self) -> bool {
        self.fs.process() != self.process
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Every call begins here.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_forked() {
            return Err(Error::new(ErrorKind::Forked, "use a store")
                .path(self.layout.root.path())
                .hint("open the store anew in this process"));
        }
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "use a store").path(self.layout.root.path()));
        }
        Ok(())
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.settings.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, "write to a store")
                .path(self.layout.root.path())
                .hint("it was opened with Options::read_only(true); Store::reader reads a session"));
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> u64 {
        self.fs.now()
    }

    /// Counts uses, to tell which session was used longest ago.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn random_u64(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.fs
            .random(&mut bytes)
            .map_err(|e| Error::io("get random numbers", self.layout.root.path(), e))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Whether sealed segments may be mapped.
    pub(crate) fn maps(&self) -> bool {
        self.settings.map && !self.layout.network
    }

    /// Makes the store itself durable, before anything is acknowledged in it: who made it may have been killed
    /// between giving the `STORE` file its name and syncing it, and then this process saw it in the cache alone. Then looks for
    /// a catalog file to go on in (not over a network, where what is read may be older than what is there).
    pub(crate) fn settle(&self) -> Result<()> {
        let root = &self.layout.root;
        let first = self.anchor.hold(&**root, self.layout.made);
        if first.map_err(|e| Error::io("sync a store's directory", root.path(), e))? && !self.layout.network {
            self.catalog.go_on();
        }
        Ok(())
    }

    /// Makes a session's name durable. That of the directory in which it stands was, before anything was made there.
    pub(crate) fn sync_name(&self, id: &SessionId) -> Result<()> {
        let sessions = &self.layout.sessions;
        let io = |e| Error::io("sync a directory", sessions.path().join(id.shard()), e).session(id);
        sessions.open_dir(id.shard()).and_then(|shard| sync_anew(&*shard)).map_err(io)
    }

    /// The session's place in this process, made if it is not there, and counted as used: whoever claims it
    /// unclaims it.
    ///
    /// # Errors
    /// `Closed`, `Forked`.
    pub(crate) fn claim(self: &Arc<Env>, id: &SessionId) -> Result<Arc<Core>> {
        let mut sessions = self.sessions.lock();
        // Under the lock: `close` takes all sessions out under it, and sees no others.
        self.check()?;
        let core = sessions.entry(id.clone()).or_insert_with(|| Core::new(self, id.clone()));
        core.handles.fetch_add(1, Ordering::AcqRel);
        Ok(core.clone())
    }

    /// One user less. A session without users is closed after a while, or forgotten if it is not open.
    pub(crate) fn unclaim(&self, core: &Arc<Core>) {
        if core.handles.fetch_sub(1, Ordering::AcqRel) > 1 || self.is_forked() {
            return;
        }
        self.forget(core);
    }

    /// Marks a session as open in the catalog: durable when it returns.
    pub(crate) fn mark_open(self: &Arc<Env>, open: Open) -> Result<()> {
        self.settle()?;
        self.catalog.mark_open(open)?;
        self.maintain_if_due();
        Ok(())
    }

    /// Writes such a mark. It counts when it is confirmed.
    pub(crate) fn announce_open(&self, open: Open) -> Result<Announced> {
        self.settle()?;
        self.catalog.announce_open(open)
    }

    /// Makes it durable.
    pub(crate) fn confirm_open(self: &Arc<Env>, announced: Announced) -> Result<()> {
        self.catalog.confirm_open(announced)?;
        self.maintain_if_due();
        Ok(())
    }

    fn maintain_if_due(self: &Arc<Env>) {
        // Whoever writes to the catalog anyhow looks once after what dead processes left in it, and then whenever it has grown.
        let due = !self.maintained.swap(true, Ordering::AcqRel) || self.catalog.is_due();
        if due && !self.maintaining.swap(true, Ordering::AcqRel) {
            self.io.now(Job::Maintain(self.clone()));
        }
    }

    /// A session was opened for writing. If there are too many, the ones used longest ago are parked in the background, several with
    /// one sync of the catalog; if there are far too many, because it does not keep up, some are parked here.
    pub(crate) fn opened(self: &Arc<Env>, core: &Arc<Core>) {
        self.open.add(core, self.tick());
        let most = self.max_open.saturating_add(self.max_open / 16);
        self.park(self.open.len().saturating_sub(most), || false);
        if self.open.len() > self.max_open {
            self.park_soon();
        }
    }

    pub(crate) fn closed(&self, core: &Core) {
        self.open.remove(core);
    }

    fn park_soon(self: &Arc<Env>) {
        if !self.parking.swap(true, Ordering::AcqRel) {
            self.io.now(Job::Park(self.clone()));
        }
    }

    /// One step of the work in the background: a few sessions, or one if something else waits for the thread.
    pub(crate) fn park_some(self: &Arc<Env>) {
        // First: what is opened from now on may need another step.
        self.parking.store(false, Ordering::Release);
        let parked = self.park(self.open.len().saturating_sub(self.max_open), || self.io.is_waited_for());
        if parked && self.open.len() > self.max_open {
            self.park_soon();
        }
    }

    /// Parks so many of the sessions used longest ago, or a few of them, as far as they are not at work; no more after the first
    /// when that is `enough`. True if any was.
    fn park(&self, count: usize, enough: impl Fn() -> bool) -> bool {
        let cores: [OnceCell<Arc<Core>>; PARKED_AT_ONCE] = Default::default();
        let report = |core, e| self.io.report(Event::new("park a session", core, e));
        let (mut phases, mut closing) = (Vec::new(), Closing::default());
        let mut since = 0;
        for core in cores.iter().take(count) {
            if !phases.is_empty() && enough() {
                break;
            }
            let is_idle = |core: &Arc<Core>| core.phase.try_lock().is_some_and(|phase| core.is_open(&phase));
            let oldest = (0..self.open.len()).map_while(|_| self.open.next(&mut since)).find(is_idle);
            let Some(oldest) = oldest else { break };
            let core = core.get_or_init(|| oldest);
            let Some(mut phase) = core.phase.try_lock().filter(|phase| core.is_open(phase)) else { continue };
            let (one, done) = core.close_phase(&mut phase);
            closing.absorb(one);
            if let Err(e) = done {
                report(Some(&core.id), e);
            }
            // Nobody opens it before its lock is free.
            phases.push(phase);
        }
        if closing.dirty
            && let Err(e) = self.catalog.sync()
        {
            report(None, e);
        }
        closing.finish();
        !phases.is_empty()
    }

    /// Forgets a session that nobody has a handle on, if it holds no lock; otherwise it is looked at again
    /// after a while. One that is being closed at this moment still holds its lock: a second place for it in
    /// this process would find it taken.
    pub(crate) fn forget(&self, core: &Arc<Core>) {
        let mut sessions = self.sessions.lock();
        if core.handles.load(Ordering::Acquire) > 0
            || !sessions.get(&core.id).is_some_and(|c| Arc::ptr_eq(c, core))
        {
            return;
        }
        let idle = match core.phase.try_lock() {
            // It waits for somebody to be told.
            Some(phase) if matches!(&*phase, Phase::Poisoned(p) if !p.told && p.writer.is_none()) => return,
            // What was handed over and is still to be done will open it again. Nobody leads while this is held.
            Some(phase) => {
                let open = match &*phase {
                    Phase::Open(_) => true,
                    Phase::Poisoned(poison) => poison.writer.is_some(),
                    Phase::Closed(_) | Phase::Removed => false,
                };
                !open && core.queue.is_idle()
            }
            None => false,
        };
        if idle {
            sessions.remove(&core.id);
        } else {
            drop(sessions);
            core.linger();
        }
    }

    /// A removed session leaves: the next one of this id is another.
    pub(crate) fn evict(&self, core: &Arc<Core>) {
        let mut sessions = self.sessions.lock();
        if sessions.get(&core.id).is_some_and(|c| Arc::ptr_eq(c, core)) {
            sessions.remove(&core.id);
        }
    }

    pub(crate) fn open_sessions(&self) -> u64 {
        self.open.len() as u64
    }

    pub(crate) fn all(&self) -> Vec<Arc<Core>> {
        self.sessions.lock().values().cloned().collect()
    }

    /// Waits until a close that has begun is through: only then are all locks free.
    pub(crate) fn wait_closed(&self) {
        // The store's own thread is waited for by who closes it.
        if !self.is_forked() && !self.io.is_here() {
            self.gone.wait(PATIENCE);
        }
    }

    /// Syncs and closes all sessions, ends the background work, releases every lock. Once; whoever comes second
    /// waits for the first.
    pub(crate) fn close(&self) -> Result<()> {
        if self.is_forked() {
            return Ok(());
        }
        if self.is_closed() {
            self.wait_closed();
            return Ok(());
        }
        // What was handed over before this call is still done.
        for core in self.all() {
            core.complete();
        }
        if self.closed.swap(true, Ordering::AcqRel) {
            self.wait_closed();
            return Ok(());
        }
        let _gone = SetOnDrop(&self.gone);
        let undone = self.io.stop();
        for core in undone.leads {
            // Also of sessions that are not listed any more, because they were removed.
            core.complete();
        }
        // Lives that are all too short for it would leave one file each.
        if undone.maintain
            && let Err(e) = self.catalog.maintain()
        {
            self.io.report(Event::new("tidy the catalog", None, e));
        }
        let mut closing = Closing::default();
        let mut result = Ok(());
        let mut cores: Vec<Arc<Core>> = self.sessions.lock().drain().map(|(_, c)| c).collect();
        // In the same order each time.
        cores.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        for core in cores {
            // What came while this began is refused, or done.
            core.complete();
            let mut phase = core.phase.lock();
            let (one, done) = core.close_phase(&mut phase);
            closing.absorb(one);
            if result.is_ok() {
                result = done;
            }
        }
        // One sync of the catalog for all of them, before the first lock goes.
        let synced = self.catalog.close();
        closing.finish();
        self.rosters.clear();
        self.shards.clear();
        result.and(synced)
    }
}

struct SetOnDrop<'a>(&'a Gone);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// What every handle holds: when the last one goes, the store is closed.
pub(crate) struct Lease {
    pub(crate) env: Arc<Env>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(e) = self.env.close() {
            self.env.io.report(Event::new("close the store", None, e));
        }
    }
}
