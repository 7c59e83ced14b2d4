//! The handle on a store.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::env::{Env, Lease};
use super::layout::{Layout, Wish};
use super::list::{ListOptions, Listing, list};
use super::options::{Options, Settings};
use super::stats::{StoreStats, stats};
use super::{registry, remove};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Fs;
use crate::ids::{SessionId, StoreId};
use crate::session::{Core, Reader, Session};

/// A store: one directory with any number of sessions. Any number of processes may have it open at once.
///
/// Cheap to clone, `Send + Sync`; all methods take `&self`. Opening the same directory a second time in one
/// process shares the first. When the last handle (store, session or reader) is dropped the store is closed.
#[derive(Clone)]
pub struct Store {
    lease: Arc<Lease>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.path()).finish()
    }
}

impl Store {
    /// Opens the store in `dir`, and creates it if it is not there.
    ///
    /// # Errors
    /// As [`Options::open`].
    ///
    /// ```
    /// # fn main() -> sessionlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("store");
    /// let store = sessionlog::Store::open(&path)?;
    /// store.session("chat:1")?.append("hello")?;
    /// store.close()?;
    /// # Ok(()) }
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        Options::new().create(true).open(dir)
    }

    /// Options for opening a store.
    pub fn options() -> Options {
        Options::new()
    }

    pub(crate) fn open_with(
        fs: Arc<dyn Fs>,
        path: &Path,
        create: bool,
        create_new: bool,
        settings: Settings,
    ) -> Result<Store> {
        let wish = Wish {
            create,
            create_new,
            read_only: settings.read_only,
            allow_network: settings.allow_network,
            lock_dir: settings.lock_dir.as_deref(),
        };
        let layout = Layout::open(&fs, path, &wish)?;
        let root = layout.root.ident().map_err(|e| Error::io("open a store", path, e))?;
        let lease = registry::share(layout.id, root, &fs.clone(), &settings.clone(), || {
            Env::new(fs, layout, settings)
        })?;
        Ok(Store { lease })
    }

    /// The options with which this store can be reached again.
    pub(crate) fn own_options(&self) -> Result<Options> {
        let env = &self.lease.env;
        env.check()?;
        Ok(Options::of(env.fs.clone(), env.settings.clone()))
    }

    /// What the handle stands for.
    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.lease.env
    }

    /// The store's id: random, fixed when it was created.
    pub fn id(&self) -> StoreId {
        self.lease.env.layout.id
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.lease.env.layout.root.path()
    }

    /// The session `id`, for writing. If it is there it is opened (and locked) now; if not, it begins with its
    /// first op, so that looking for a session leaves nothing behind.
    ///
    /// # Errors
    /// `InvalidId`; `Locked` at once if another process is its writer; `Corrupt` if no state can be read; `Poisoned`, once, if a
    /// sync failed in the background and what was acknowledged as `Buffered` may be gone; `Unsupported` for a newer format;
    /// `ReadOnly`, `Closed`, `Forked`, `Io`.
    pub fn session(&self, id: impl AsRef<str>) -> Result<Session> {
        self.claim_and(id, Core::open_now).map(|(session, _)| session)
    }

    /// The session `id`, which must be there.
    ///
    /// # Errors
    /// `NotFound`; otherwise as [`Store::session`].
    pub fn open_session(&self, id: impl AsRef<str>) -> Result<Session> {
        let (session, there) = self.claim_and(id, Core::open_now)?;
        if there {
            return Ok(session);
        }
        Err(Error::new(ErrorKind::NotFound, "open a session")
            .session(session.id())
            .hint("there is no session of this id; Store::session begins one"))
    }

    /// A new session `id`, which must not be there. It is on disk when this returns.
    ///
    /// # Errors
    /// `AlreadyExists`, or `Locked` if it is there and another process writes to it; otherwise as [`Store::session`].
    pub fn create_session(&self, id: impl AsRef<str>) -> Result<Session> {
        self.lease.env.check_writable()?;
        self.claim_and(id, Core::create_now).map(|(session, ())| session)
    }

    /// Reads the session `id` without becoming its writer: takes no lock, and works while another process
    /// writes to it.
    ///
    /// # Errors
    /// `NotFound`, `InvalidId`, `Corrupt`, `Unsupported`, `Closed`, `Forked`, `Io`.
    pub fn reader(&self, id: impl AsRef<str>) -> Result<Reader> {
        let id = SessionId::new(id)?;
        let env = &self.lease.env;
        env.check()?;
        let reader = Reader::open(env, &id)?.map(|r| r.with_lease(self.lease.clone()));
        reader.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read a session")
                .session(&id)
                .hint("there is no session of this id")
        })
    }

    /// The sessions, all of them, in order of their ids.
    ///
    /// # Errors
    /// `Closed`, `Forked`, `Io`. A session that cannot be read stops nothing: it is in
    /// [`Listing::unreadable`].
    pub fn sessions(&self) -> Result<Listing> {
        self.sessions_with(&ListOptions::new())
    }

    /// The sessions that the options ask for. Reads the catalog, and the logs of those sessions alone that are
    /// open somewhere or of which the catalog is in doubt; never misses a session and never shows a stale
    /// count as current.
    ///
    /// What was found is kept until the store is closed (1.0 KB for each session that is closed and has a few
    /// attributes), and the next listing reads what has changed since: the directories whose dates changed, or changed
    /// in the last 3 seconds, and the ends of the catalog's files. On network file systems, and where directories have
    /// no dates to rely on, it reads all names each time.
    ///
    /// # Errors
    /// As [`Store::sessions`].
    pub fn sessions_with(&self, options: &ListOptions) -> Result<Listing> {
        self.lease.env.check()?;
        list(&self.lease.env, options)
    }

    /// Removes a session with all its archives: one step, durable when it returns, and it never comes back.
    /// `false` if there was none; of one whose directory was lost, [`check`](crate::doctor::check) does not warn any more.
    /// Repeat it after an error: the disk is asked, not the memory.
    ///
    /// # Errors
    /// `Locked` if another process writes to it; `InvalidId`, `ReadOnly`, `Closed`, `Forked`, `Io`.
    pub fn remove_session(&self, id: impl AsRef<str>) -> Result<bool> {
        let id = SessionId::new(id)?;
        self.lease.env.check()?;
        self.lease.env.check_writable()?;
        remove::remove(&self.lease.env, &id)
    }

    /// Counts sessions and bytes. Looks at every session's directory.
    ///
    /// # Errors
    /// `Closed`, `Forked`, `Io`.
    pub fn stats(&self) -> Result<StoreStats> {
        self.lease.env.check()?;
        stats(&self.lease.env)
    }

    /// Does on this thread what the store would have done in the background: what it was to do at once, and what was due by
    /// `until`, which may be an instant that is still to come, so that time need not pass. Of a store that was opened
    /// [`by_hand`](Options::by_hand); otherwise its own thread does it.
    #[cfg(any(test, feature = "sim"))]
    pub fn do_background(&self, until: std::time::Instant) {
        self.env().io.do_until(until);
    }

    /// Does what was handed over, syncs everything, closes all sessions in good order, ends the background thread and releases
    /// all locks, for every handle of this process; later calls say `Closed`. The last drop does the same, without
    /// telling what went wrong.
    ///
    /// # Errors
    /// The first error of closing a session or the catalog: what was acknowledged is safe all the same, but for `Poisoned`
    /// what was acknowledged as `Buffered` and not synced.
    pub fn close(&self) -> Result<()> {
        self.lease.env.check()?;
        self.lease.env.close()
    }

    /// A handle on the session, and what `work` says of it. One that another thread removes between the two
    /// steps, or that was poisoned, is out of this process's list then: the next claim is of what comes after it.
    fn claim_and<T>(
        &self,
        id: impl AsRef<str>,
        work: impl Fn(&Arc<Core>) -> Result<Option<T>>,
    ) -> Result<(Session, T)> {
        let id = SessionId::new(id)?;
        self.lease.env.check()?;
        loop {
            let session = Session::claim(&self.lease, &id)?;
            if let Some(done) = work(session.core())? {
                return Ok((session, done));
            }
        }
    }
}
