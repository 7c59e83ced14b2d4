//! The stores that this process has open: a second opening of the same directory shares the first.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::env::{Env, Lease};
use super::options::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, Ident};
use crate::ids::StoreId;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    store: StoreId,
    root: Ident,
    process: u32,
    read_only: bool,
}

/// Whether a store that this process had open has let go of everything.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Gone {
    /// Every lock is released.
    pub(crate) fn set(&self) {
        *self.done.lock() = true;
        self.changed.notify_all();
    }

    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let mut done = self.done.lock();
        if !*done {
            self.changed.wait_for(&mut done, limit);
        }
        *done
    }
}

/// So long an opening waits for the store's closing in another thread. Longer means that it never ends: the
/// closing waits for the thread that opens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

struct Entry {
    key: Key,
    lease: Weak<Lease>,
    gone: Arc<Gone>,
}

fn known() -> &'static Mutex<Vec<Entry>> {
    static KNOWN: OnceLock<Mutex<Vec<Entry>>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

/// The open store at this place, or the one that `open` makes. One that is being closed still holds locks: its
/// end is waited for.
pub(crate) fn share(
    store: StoreId,
    root: Ident,
    fs: &Arc<dyn Fs>,
    settings: &Settings,
    open: impl FnOnce() -> Arc<Env>,
) -> Result<Arc<Lease>> {
    let key = Key { store, root, process: fs.process(), read_only: settings.read_only };
    let mut patient = true;
    loop {
        let mut known = known().lock();
        known.retain(|e| !e.gone.wait(Duration::ZERO));
        let mut closing = None;
        for entry in known.iter().filter(|e| e.key == key) {
            match entry.lease.upgrade().filter(|l| !l.env.is_closed()) {
                Some(lease) => {
                    // If that turns out to be the last one, its store is closed, and others need not wait.
                    drop(known);
                    return agreed(lease, settings);
                }
                None => closing = Some(entry.gone.clone()),
            }
        }
        if let Some(gone) = closing.filter(|_| patient) {
            drop(known);
            patient = gone.wait(PATIENCE);
            continue;
        }
        let lease = Arc::new(Lease { env: open() });
        known.push(Entry { key, lease: Arc::downgrade(&lease), gone: lease.env.gone.clone() });
        return Ok(lease);
    }
}

fn agreed(lease: Arc<Lease>, settings: &Settings) -> Result<Arc<Lease>> {
    if lease.env.settings.agrees(settings) {
        return Ok(lease);
    }
    Err(Error::new(ErrorKind::Conflict, "open a store")
        .path(lease.env.layout.root.path())
        .hint("this process has it open with other options; share the handle, or ask for the same"))
}
