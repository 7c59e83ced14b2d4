//! How to check and how to repair.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::fs::Fs;
use crate::ids::SessionId;
use crate::store::{Env, Layout, Options, Settings, Wish, check_path};

/// How far a check or a repair has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// How many sessions are done.
    pub done: u64,
    /// How many there are.
    pub total: u64,
    /// The name of the directory that comes next.
    pub next: &'a str,
}

type Callback = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// What to check.
///
/// ```
/// use sessionlog::doctor::CheckOptions;
/// let options = CheckOptions::new().on_progress(|p| eprintln!("{} of {}", p.done, p.total));
/// ```
#[derive(Clone, Default)]
pub struct CheckOptions {
    pub(crate) store: Options,
    pub(crate) session: Option<SessionId>,
    progress: Option<Callback>,
}

/// What to repair, and whether to do it or only to say what would be done.
#[derive(Clone, Default)]
pub struct RepairOptions {
    pub(crate) check: CheckOptions,
    pub(crate) dry_run: bool,
}

impl CheckOptions {
    /// All of the store.
    pub fn new() -> CheckOptions {
        CheckOptions::default()
    }

    /// Options of the store that matter to reach it: file system, lock directory, network file systems.
    #[must_use]
    pub fn store(mut self, options: &Options) -> Self {
        self.store = options.clone();
        self
    }

    /// Only this session (and what belongs to the whole store).
    ///
    /// # Errors
    /// `InvalidId`.
    pub fn session(mut self, id: impl AsRef<str>) -> Result<Self> {
        self.session = Some(SessionId::new(id)?);
        Ok(self)
    }

    /// What to do whenever a session is begun: called on the calling thread.
    #[must_use]
    pub fn on_progress(mut self, callback: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    pub(crate) fn tell(&self, done: usize, total: usize, next: &str) {
        if let Some(callback) = &self.progress {
            callback(&Progress { done: done as u64, total: total as u64, next });
        }
    }
}

impl RepairOptions {
    /// All of the store, and really.
    pub fn new() -> RepairOptions {
        RepairOptions::default()
    }

    /// Says what would be done and changes nothing: the same steps as data. It takes no lock either, so it does not see that another
    /// process opened a session but wrote nothing since: the repair then leaves alone what the plan has steps for.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// As [`CheckOptions::store`].
    #[must_use]
    pub fn store(mut self, options: &Options) -> Self {
        self.check = self.check.store(options);
        self
    }

    /// As [`CheckOptions::session`].
    ///
    /// # Errors
    /// `InvalidId`.
    pub fn session(mut self, id: impl AsRef<str>) -> Result<Self> {
        self.check = self.check.session(id)?;
        Ok(self)
    }

    /// As [`CheckOptions::on_progress`].
    #[must_use]
    pub fn on_progress(mut self, callback: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.check = self.check.on_progress(callback);
        self
    }
}

impl fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions").field("session", &self.session).finish_non_exhaustive()
    }
}

impl fmt::Debug for RepairOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairOptions")
            .field("dry_run", &self.dry_run)
            .field("session", &self.check.session)
            .finish_non_exhaustive()
    }
}

/// How the store is reached.
pub(crate) fn reach(store: &Options) -> (Arc<dyn Fs>, Settings) {
    store.parts()
}

pub(crate) fn wish(settings: &Settings, read_only: bool) -> Wish<'_> {
    Wish {
        create: false,
        create_new: false,
        read_only,
        allow_network: settings.allow_network,
        lock_dir: settings.lock_dir.as_deref(),
    }
}

/// The store for who only looks, whatever is wrong with it, and what is wrong with its own file.
pub(crate) fn look(path: &Path, store: &Options) -> Result<(Arc<Env>, Option<crate::Error>)> {
    check_path(path, "look at a store")?;
    let (fs, mut settings) = reach(store);
    let (layout, fault) = Layout::examine(&fs, path, &wish(&settings, true))?;
    settings.read_only = true;
    Ok((Env::new(fs, layout, settings), fault))
}
