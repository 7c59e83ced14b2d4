//! The store's one background thread: it leads commits that nobody blocks on, syncs what was buffered, writes
//! marks when sessions are idle, truncates, and closes sessions without handles. In bounded steps.

use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{JoinHandle, ThreadId};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::env::Env;
use super::options::EventCallback;
use super::sweep::{sweep, sweep_shard};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{SHARDS, SessionId};
use crate::session::Core;

/// Something that failed in the background, where no call was there to tell.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// What was being done.
    pub doing: &'static str,
    /// The session, where it was one's.
    pub session: Option<SessionId>,
    /// What went wrong.
    pub error: Error,
}

impl Event {
    pub(crate) fn new(doing: &'static str, session: Option<&SessionId>, error: Error) -> Event {
        Event { doing, session: session.cloned(), error }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "background work failed to {}: {}", self.doing, self.error)
    }
}

/// One step of background work.
pub(crate) enum Job {
    /// Lead the commit of ops that nobody blocks on.
    Lead(Arc<Core>),
    /// Sync what was buffered.
    Sync(Arc<Core>),
    /// Write a mark if the session was not used since.
    Mark(Arc<Core>, u64),
    /// Truncate the live log.
    Truncate(Arc<Core>),
    /// Close the session if nobody has a handle and it was not used since.
    Linger(Arc<Core>, u64),
    /// Close some of the sessions used longest ago: too many are open.
    Park(Arc<Env>),
    /// Tidy the catalog, and clear away what crashes left.
    Maintain(Arc<Env>),
    /// Clear away what crashes left in the first of these shards, then in the others.
    Sweep(Arc<Env>, Range<usize>),
}

struct Timed {
    due: Instant,
    order: u64,
    job: Job,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Timed) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Timed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    // The heap gives the greatest first, and the earliest is wanted.
    fn cmp(&self, other: &Timed) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

#[derive(Default)]
struct Todo {
    ready: VecDeque<Job>,
    timed: BinaryHeap<Timed>,
    order: u64,
    stop: bool,
    running: bool,
    id: Option<ThreadId>,
    thread: Option<JoinHandle<()>>,
}

struct Desk {
    todo: Mutex<Todo>,
    wake: Condvar,
    events: Option<EventCallback>,
    /// There is no thread: who tests the store says when something is done.
    by_hand: bool,
}

/// What the thread had not begun when it was ended.
#[derive(Default)]
pub(crate) struct Undone {
    /// The sessions whose commits it was to lead.
    pub(crate) leads: Vec<Arc<Core>>,
    /// It was to tidy the catalog.
    pub(crate) maintain: bool,
}

/// The thread, and what it has to do. Started when first needed.
pub(crate) struct IoThread {
    desk: Arc<Desk>,
}

impl IoThread {
    pub(crate) fn new(events: Option<EventCallback>, by_hand: bool) -> IoThread {
        let (todo, wake) = (Mutex::default(), Condvar::new());
        IoThread { desk: Arc::new(Desk { todo, wake, events, by_hand }) }
    }

    /// Starts the thread, once.
    pub(crate) fn start(&self) -> Result<()> {
        let mut todo = self.desk.todo.lock();
        if todo.running || todo.stop || self.desk.by_hand {
            return Ok(());
        }
        let desk = self.desk.clone();
        let thread = std::thread::Builder::new()
            .name("sessionlog-io".to_owned())
            .spawn(move || run(&desk))
            .map_err(|e| Error::new(ErrorKind::Io, "start the background thread").with_source(e))?;
        todo.id = Some(thread.thread().id());
        todo.thread = Some(thread);
        todo.running = true;
        Ok(())
    }

    /// True in the thread itself.
    pub(crate) fn is_here(&self) -> bool {
        self.desk.todo.lock().id == Some(std::thread::current().id())
    }

    /// False if the thread is told to end already, and does nothing more.
    pub(crate) fn now(&self, job: Job) -> bool {
        let mut todo = self.desk.todo.lock();
        if !todo.stop {
            todo.ready.push_back(job);
            self.desk.wake.notify_one();
        }
        !todo.stop
    }

    pub(crate) fn at(&self, due: Instant, job: Job) {
        let mut todo = self.desk.todo.lock();
        if todo.stop {
            return;
        }
        todo.order += 1;
        let order = todo.order;
        let earliest = todo.timed.peek().is_none_or(|t| due < t.due);
        todo.timed.push(Timed { due, order, job });
        if earliest {
            self.desk.wake.notify_one();
        }
    }

    /// Does on this thread what was due by `until`, what is to be done anyhow, and what that leads to.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn do_until(&self, until: Instant) {
        let next = || self.desk.todo.lock().ready.pop_front();
        {
            let todo = &mut *self.desk.todo.lock();
            while todo.timed.peek().is_some_and(|t| t.due <= until) {
                todo.ready.extend(todo.timed.pop().map(|timed| timed.job));
            }
        }
        while let Some(job) = next() {
            self.desk.work(job);
        }
    }

    /// Whether something is to be done now, besides parking.
    pub(crate) fn is_waited_for(&self) -> bool {
        let todo = self.desk.todo.lock();
        todo.ready.iter().any(|job| !matches!(job, Job::Park(_)))
            || todo.timed.peek().is_some_and(|t| t.due <= Instant::now())
    }

    pub(crate) fn report(&self, event: Event) {
        self.desk.report(event);
    }

    /// Ends the thread and waits for it. What it was still to do is given back, done by closing anyhow, or left to the next process.
    pub(crate) fn stop(&self) -> Undone {
        let mut undone = Undone::default();
        let thread = {
            let mut todo = self.desk.todo.lock();
            todo.stop = true;
            for job in todo.ready.drain(..) {
                match job {
                    Job::Lead(core) => undone.leads.push(core),
                    Job::Maintain(_) => undone.maintain = true,
                    _ => {}
                }
            }
            todo.timed.clear();
            self.desk.wake.notify_one();
            todo.thread.take()
        };
        // The last handle may be dropped by a job of this very thread.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
        undone
    }
}

impl Desk {
    fn report(&self, event: Event) {
        if let Some(callback) = &self.events {
            callback(&event);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut todo = self.todo.lock();
        loop {
            if todo.stop {
                return None;
            }
            let now = Instant::now();
            if todo.timed.peek().is_some_and(|t| t.due <= now)
                && let Some(timed) = todo.timed.pop()
            {
                return Some(timed.job);
            }
            if let Some(job) = todo.ready.pop_front() {
                return Some(job);
            }
            match todo.timed.peek().map(|t| t.due) {
                Some(due) => {
                    self.wake.wait_until(&mut todo, due);
                }
                None => self.wake.wait(&mut todo),
            }
        }
    }

    fn work(&self, job: Job) {
        // A panic in one job must not end the work for all sessions.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(self, job)));
        if done.is_err() {
            let error = Error::new(ErrorKind::Io, "do background work").hint("a job panicked");
            self.report(Event::new("do background work", None, error));
        }
    }
}

fn run(desk: &Desk) {
    while let Some(job) = desk.next() {
        desk.work(job);
    }
}

fn step(desk: &Desk, job: Job) {
    let failed = |doing, core: &Core, result: Result<()>| {
        if let Err(e) = result {
            desk.report(Event::new(doing, Some(&core.id), e));
        }
    };
    match job {
        Job::Lead(core) => {
            core.timers.orphans.store(false, Ordering::Release);
            core.drain();
        }
        Job::Sync(core) => {
            core.timers.sync.store(false, Ordering::Release);
            failed("sync a session", &core, core.background_sync());
        }
        Job::Mark(core, used) => {
            core.timers.mark.store(false, Ordering::Release);
            failed("mark a session", &core, core.background_mark(used));
        }
        Job::Truncate(core) => {
            core.timers.truncate.store(false, Ordering::Release);
            failed("truncate a session", &core, core.background_truncate());
        }
        Job::Linger(core, used) => {
            core.timers.linger.store(false, Ordering::Release);
            failed("close a session", &core, core.background_linger(used));
        }
        Job::Park(env) => env.park_some(),
        Job::Maintain(env) => {
            // First: what grows from now on may need another one.
            env.maintaining.store(false, Ordering::Release);
            if let Err(e) = env.catalog.maintain() {
                desk.report(Event::new("tidy the catalog", None, e));
            }
            sweep(&env);
            // Many processes live too short for all shards: so each does one, and they do not all begin with the same.
            let now = env.now();
            let first = (now ^ (now / 1_000)) as usize % SHARDS.len();
            step(desk, Job::Sweep(env, first..first + SHARDS.len()));
        }
        Job::Sweep(env, mut shards) => {
            if let Some(shard) = shards.next().and_then(|i| SHARDS.get(i % SHARDS.len())) {
                sweep_shard(&env, shard);
                env.io.now(Job::Sweep(env.clone(), shards));
            }
        }
    }
}
