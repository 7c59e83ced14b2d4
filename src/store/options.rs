//! How a store is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::io_thread::Event;
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{DiskFs, Fs};
use crate::limits;
use crate::session::Durability;

/// What is done with events of the background work.
pub(crate) type EventCallback = Arc<dyn Fn(&Event) + Send + Sync>;

/// How to open a store, in the manner of [`std::fs::OpenOptions`].
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use sessionlog::{Durability, Store};
/// use std::time::Duration;
///
/// let store = Store::options()
///     .create(true)
///     .durability(Durability::Buffered)
///     .sync_interval(Duration::from_millis(200))
///     .open(dir.path().join("store"))?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Options {
    create: bool,
    create_new: bool,
    fs: Option<Arc<dyn Fs>>,
    settings: Settings,
}

/// The settings that sessions see.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) segment_size: u64,
    pub(crate) max_payload: usize,
    pub(crate) max_open: Option<usize>,
    pub(crate) truncate_after: u64,
    pub(crate) linger: Duration,
    pub(crate) map: bool,
    pub(crate) allow_network: bool,
    pub(crate) lock_dir: Option<PathBuf>,
    /// Nothing happens in the background.
    pub(crate) by_hand: bool,
    pub(crate) events: Option<EventCallback>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("read_only", &self.read_only)
            .field("durability", &self.durability)
            .field("sync_interval", &self.sync_interval)
            .field("segment_size", &self.segment_size)
            .field("max_payload", &self.max_payload)
            .field("max_open", &self.max_open)
            .field("truncate_after", &self.truncate_after)
            .field("linger", &self.linger)
            .field("map", &self.map)
            .field("allow_network", &self.allow_network)
            .field("lock_dir", &self.lock_dir)
            .field("by_hand", &self.by_hand)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// True if two openings of one store can share it: they ask for the same.
    pub(crate) fn agrees(&self, other: &Settings) -> bool {
        // The callback is the first opener's business; all else decides what callers are promised.
        format!("{self:?}") == format!("{other:?}")
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("create", &self.create)
            .field("create_new", &self.create_new)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: false,
            create_new: false,
            fs: None,
            settings: Settings {
                read_only: false,
                durability: Durability::Sync,
                sync_interval: Duration::from_millis(100),
                segment_size: limits::DEFAULT_SEGMENT,
                max_payload: limits::DEFAULT_MAX_PAYLOAD,
                max_open: None,
                truncate_after: 1 << 20,
                linger: Duration::from_secs(1),
                map: true,
                allow_network: false,
                lock_dir: None,
                by_hand: false,
                events: None,
            },
        }
    }
}

/// Whoever forgot to say where must not find a store in whatever directory he is.
pub(crate) fn check_path(dir: &Path, doing: &'static str) -> Result<()> {
    if dir.as_os_str().is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, doing)
            .hint("the path is empty; the working directory is \".\""));
    }
    Ok(())
}

impl Options {
    /// The defaults: open what is there, for reading and writing, durability `Sync`.
    pub fn new() -> Options {
        Options::default()
    }

    /// Creates the store if it is not there. Off by default here; `Store::open` sets it.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Creates the store and fails with `AlreadyExists` if it is there.
    #[must_use]
    pub fn create_new(mut self, create_new: bool) -> Self {
        self.create_new = create_new;
        self
    }

    /// Opens for reading only: no lock is taken and no byte is written.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.settings.read_only = read_only;
        self
    }

    /// When ops are acknowledged unless they say otherwise. `Sync` by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// After how long at the latest what was appended as `Buffered` is synced: 1 ms to 1 hour, 100 ms by
    /// default.
    #[must_use]
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.settings.sync_interval = interval;
        self
    }

    /// The size at which a segment is full, in bytes: 16 KiB to 1 GiB, 8 MiB by default. It bounds what is read
    /// when a session is opened. A larger commit gets a segment of its own.
    #[must_use]
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.settings.segment_size = bytes;
        self
    }

    /// The largest payload of a message, in bytes: 1 to 64 MiB, 16 MiB by default.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.max_payload = bytes;
        self
    }

    /// How many sessions this process keeps open for writing (a lock, a directory and a segment each: three descriptors); beyond
    /// that the ones used longest ago are closed in the background, and opened again when they are used. If others are opened
    /// faster than that, up to a sixteenth more are open, and who opens another one closes one first. 1 or more. By default an
    /// eighth of the files that the process may have open when the store is opened, and 256 at most.
    #[must_use]
    pub fn max_open_sessions(mut self, sessions: usize) -> Self {
        self.settings.max_open = Some(sessions);
        self
    }

    /// How many bytes of archived messages the live log may hold before it is truncated in the background. 1 MiB
    /// by default; `truncate()` and closing truncate whatever there is.
    #[must_use]
    pub fn truncate_after(mut self, bytes: u64) -> Self {
        self.settings.truncate_after = bytes;
        self
    }

    /// How long a session stays open (and locked) after its last handle was dropped: 1 second by default, so
    /// that `store.session(id)?.append(..)` in a loop is fast.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// Whether sealed segments are mapped where much of them is read. On by default; off by itself on network file systems.
    /// Messages from a map have their bytes in the page cache, and may be read from the disk again when they are touched later:
    /// if that fails then, or the file was cut by somebody meanwhile, the process gets a signal (`SIGBUS`). Where it shows while
    /// the iterator reads, it is an error (on Linux). Without maps messages have memory of their own.
    #[must_use]
    pub fn map(mut self, map: bool) -> Self {
        self.settings.map = map;
        self
    }

    /// Allows a store on a network file system, whose locks and syncs may not keep what they promise. Off by
    /// default. Nothing is mapped there.
    #[must_use]
    pub fn allow_network(mut self, allow: bool) -> Self {
        self.settings.allow_network = allow;
        self
    }

    /// Puts the writers' locks into this directory instead of beside the logs. Fixed when the store is created, and
    /// written in it: whoever opens it later finds them without this, and gets `Conflict` with another. A relative path is
    /// made absolute here, for it would be another directory to each process.
    #[must_use]
    pub fn lock_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        self.settings.lock_dir = Some(std::path::absolute(&dir).unwrap_or(dir));
        self
    }

    /// What to do with failures of background work (interval syncs, truncation, closing and parking sessions).
    /// Called from the store's own thread, from the one whose op parked another session, or from the one that closes the store;
    /// must not block and must not call into the store.
    #[must_use]
    pub fn on_event(mut self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.events = Some(Arc::new(callback));
        self
    }

    /// Starts no thread: what the store would do in the background waits for [`Store::do_background`]. For tests that
    /// must go the same way each time. On the simulated disk, and with one thread that uses the store, they do.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn by_hand(mut self, by_hand: bool) -> Self {
        self.settings.by_hand = by_hand;
        self
    }

    /// Another file system than the disk: a simulated one, or a wrapper that counts.
    #[must_use]
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = Some(fs);
        self
    }

    /// Opens the store in `dir`. Replays nothing and reads one small file, however many sessions there are.
    ///
    /// # Errors
    /// `NotFound` if there is no store and it was not to be created; `AlreadyExists` with `create_new`;
    /// `Unsupported` for a newer format or a network file system; `Corrupt` if its `STORE` file is damaged;
    /// `Conflict` if this process has it open with other options (one that only reads may be beside one that writes);
    /// `InvalidInput` if `dir` holds something
    /// else, is no directory, or is empty, or for an option out of its range.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Store> {
        self.check()?;
        check_path(dir.as_ref(), "open a store")?;
        let fs = self.fs.clone().unwrap_or_else(|| Arc::new(DiskFs::new()));
        Store::open_with(fs, dir.as_ref(), self.create, self.create_new, self.settings.clone())
    }

    /// Those with which a store was opened.
    pub(crate) fn of(fs: Arc<dyn Fs>, settings: Settings) -> Options {
        Options { create: false, create_new: false, fs: Some(fs), settings }
    }

    /// The file system and the settings, for who works on a store that cannot be opened.
    pub(crate) fn parts(&self) -> (Arc<dyn Fs>, Settings) {
        let fs = self.fs.clone().unwrap_or_else(|| Arc::new(DiskFs::new()));
        (fs, self.settings.clone())
    }

    fn check(&self) -> Result<()> {
        let s = &self.settings;
        let bad = |what: String| Err(Error::new(ErrorKind::InvalidInput, "open a store").hint(what));
        if !(limits::MIN_SEGMENT..=limits::MAX_SEGMENT).contains(&s.segment_size) {
            return bad(format!("a segment has {} to {} bytes", limits::MIN_SEGMENT, limits::MAX_SEGMENT));
        }
        if !(1..=limits::MAX_PAYLOAD).contains(&s.max_payload) {
            return bad(format!("the largest payload has 1 to {} bytes", limits::MAX_PAYLOAD));
        }
        if s.max_open == Some(0) {
            return bad("at least one session must be allowed to be open".to_owned());
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&s.sync_interval) {
            return bad("the sync interval is 1 ms to 1 hour".to_owned());
        }
        if s.read_only && (self.create || self.create_new) {
            return bad("a store cannot be created read-only".to_owned());
        }
        Ok(())
    }
}
