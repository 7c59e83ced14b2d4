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

type Known = Vec<(Key, Weak<Lease>)>;

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
    let mut known = known().lock();
    known.retain(|(_, lease)| lease.strong_count() > 0);
    let found = known.iter().filter(|(k, _)| *k == key).find_map(|(_, lease)| lease.upgrade());
    if let Some(lease) = found.filter(|l| !l.env.is_closed()) {
        if !lease.env.settings.agrees(settings) {
            return Err(Error::new(ErrorKind::Conflict, "open a store")
                .path(lease.env.layout.root.path())
                .hint("this process has it open with other options; share the handle, or ask for the same"));
        }
        return Ok(lease);
    }
    let lease = Arc::new(Lease { env: open() });
    known.push((key, Arc::downgrade(&lease)));
    Ok(lease)
}
