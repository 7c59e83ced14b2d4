//! Syncs of the store's directories, and which of them failed.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::fs::{Dir, make_dirty};

/// The directories whose last sync failed, as far as this process knows: to repeat it would prove nothing.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    failed: Mutex<HashSet<PathBuf>>,
}

impl Syncs {
    /// Makes durable what this process has just changed in the directory.
    pub(crate) fn sync(&self, dir: &dyn Dir) -> io::Result<()> {
        let done = dir.sync();
        self.note(dir, done.is_ok());
        done
    }

    /// Makes durable what somebody else may have left there without a sync, or after one that failed: as
    /// [`sync_anew`](crate::fs::sync_anew). Where there is no room for an entry, and no sync is known to have failed, a plain one
    /// must do: a quota of files that is used up keeps nobody from what needs no more of them.
    pub(crate) fn anew(&self, dir: &dyn Dir) -> io::Result<()> {
        match make_dirty(dir) {
            Err(e) if !is_full(&e) || self.failed.lock().contains(dir.path()) => Err(e),
            _ => self.sync(dir),
        }
    }

    fn note(&self, dir: &dyn Dir, good: bool) {
        let mut failed = self.failed.lock();
        if good {
            failed.remove(dir.path());
        } else {
            failed.insert(dir.path().to_path_buf());
        }
    }
}

fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
