//! A forked child. Forking is not possible without unsafe code, so the file system says that the process is
//! another one now, which is all that the store goes by.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sessionlog::fs::{Dir, DiskFs, Fs};
use sessionlog::{Batch, Error, ErrorKind, Keep, Outcome, Store};

use support::{Place, Watchdog};

#[derive(Debug, Clone)]
struct Forking {
    disk: Arc<DiskFs>,
    process: Arc<AtomicU32>,
}

impl Fs for Forking {
    fn open_root(&self, path: &Path) -> std::io::Result<Arc<dyn Dir>> {
        self.disk.open_root(path)
    }
    fn create_root(&self, path: &Path) -> std::io::Result<Arc<dyn Dir>> {
        self.disk.create_root(path)
    }
    fn now(&self) -> u64 {
        self.disk.now()
    }
    fn random(&self, buf: &mut [u8]) -> std::io::Result<()> {
        self.disk.random(buf)
    }
    fn process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }
}

#[test]
fn a_forked_child_is_told_so_by_every_call_and_takes_nothing_from_its_parent() {
    let _dog = Watchdog::new("the fork", Duration::from_secs(30));
    let place = Place::new();
    let process = Arc::new(AtomicU32::new(std::process::id()));
    let fs = Forking { disk: Arc::new(DiskFs::new()), process: process.clone() };
    let store =
        Store::options().create(true).linger(Duration::ZERO).fs(Arc::new(fs)).open(place.store()).unwrap();
    let session = store.session("s").unwrap();
    session.append("before").unwrap();
    session.archive(Keep::Nothing).unwrap();
    let reader = store.reader("s").unwrap();

    process.fetch_add(1, Ordering::Relaxed);
    let forked = |what: &str, error: Option<Error>| {
        let error = error.unwrap_or_else(|| panic!("{what} worked"));
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Forked, Outcome::NotApplied),
            "{what}: {error}"
        );
    };
    let patch = serde_json::json!({ "a": 1 });
    forked("append", session.append("x").err());
    forked("append_batch", session.append_batch(&Batch::new().message("x")).err());
    forked("submit", session.submit("x").err());
    forked("load", session.load().err());
    forked("tail", session.tail(1).err());
    forked("info", session.info().err());
    forked("patch", session.patch_attributes(&patch).err());
    forked("archive", session.archive(Keep::Nothing).err());
    forked("patch_archive", session.patch_archive(1, &patch).err());
    forked("remove_archive", session.remove_archive(1).err());
    forked("truncate", session.truncate().err());
    forked("sync", session.sync().err());
    forked("report", session.report().err());
    forked("close a session", session.clone().close().err());
    forked("reader.load", reader.load().err());
    forked("session", store.session("s").err());
    forked("open_session", store.open_session("s").err());
    forked("create_session", store.create_session("t").err());
    forked("remove_session", store.remove_session("s").err());
    forked("reader", store.reader("s").err());
    forked("sessions", store.sessions().err());
    forked("stats", store.stats().err());
    forked("close", store.close().err());
    drop(session.clone());
    drop(session);

    // The parent still holds the lock, and goes on.
    let shard = std::fs::read_dir(place.store().join("sessions")).unwrap().next().unwrap().unwrap().path();
    let lock = std::fs::read_dir(shard).unwrap().next().unwrap().unwrap().path().join("lock");
    let lock = std::fs::File::open(lock).unwrap();
    assert!(matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
    process.fetch_sub(1, Ordering::Relaxed);
    let session = store.session("s").unwrap();
    assert_eq!(session.append("after").unwrap().seq(), 1);
    assert!(session.report().unwrap().is_clean());
    drop(reader);
    store.close().unwrap();
}
