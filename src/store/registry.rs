//! The stores that this process has open: a second opening of the same directory shares the first.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

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

struct Open {
    key: Key,
    lease: Weak<Lease>,
    env: Weak<Env>,
}

type Known = Vec<Open>;

fn known() -> &'static Mutex<Known> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

/// The open store at this place, or the one that `open` makes.
pub(crate) fn share(
    store: StoreId,
    root: Ident,
    fs: &Arc<dyn Fs>,
    settings: &Settings,
    open: impl FnOnce() -> Arc<Env>,
) -> Result<Arc<Lease>> {
    let key = Key { store, root, process: fs.process(), read_only: settings.read_only };
    loop {
        let mut known = known().lock();
        known.retain(|known| known.env.strong_count() > 0);
        let Some(found) = known.iter().find(|k| k.key == key) else {
            let lease = Arc::new(Lease { env: open() });
            known.push(Open { key, lease: Arc::downgrade(&lease), env: Arc::downgrade(&lease.env) });
            return Ok(lease);
        };
        match found.lease.upgrade() {
            Some(lease) if !lease.env.is_closed() => {
                if lease.env.settings.agrees(settings) {
                    return Ok(lease);
                }
                return Err(Error::new(ErrorKind::Conflict, "open a store")
                    .path(lease.env.layout.root.path())
                    .hint(
                        "this process has it open with other options; share the handle, or ask for the same",
                    ));
            }
            // It is being closed: its locks are free when that is through, and not before.
            _ => {
                let env = found.env.upgrade();
                known.retain(|k| k.key != key);
                drop(known);
                if let Some(env) = env {
                    env.wait_closed();
                }
            }
        }
    }
}
