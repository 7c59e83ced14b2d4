//! What the integration tests share: a file system that watches and fails, directories, and small readers.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "every test binary uses its part of it")]

mod child;
mod spy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use child::{Child, child_dir};
use sessionlog::fs::{Access, Dir, File, Fs, Kind, SimFs, read_exact_at};
use sessionlog::{ErrorKind, Messages, Options, Session, Store};
pub use spy::{Action, Call, Counts, Op, Spy};

/// A directory for one store, removed with it.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Another name beside the store.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn open(&self) -> Store {
        Store::open(self.path()).unwrap()
    }
}

/// The path of the store on simulated disks.
pub const SIM: &str = "/store";

pub fn sim_options(fs: impl Fs) -> Options {
    Options::new().create(true).fs(Arc::new(fs))
}

pub fn sim_store(fs: &SimFs) -> Store {
    sim_options(fs.clone()).open(SIM).unwrap()
}

pub fn texts(messages: Messages) -> Vec<String> {
    messages.map(|m| String::from_utf8(m.unwrap().payload().to_vec()).unwrap()).collect()
}

pub fn live(session: &Session) -> Vec<String> {
    texts(session.load().unwrap())
}

pub fn numbered(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|i| format!("m{i}")).collect()
}

/// Appends "m0" or what comes next, so many.
pub fn fill(session: &Session, count: u64) {
    let next = session.info().map_or(0, |i| i.live.end);
    for i in next..next + count {
        assert_eq!(session.append(&format!("m{i}")).unwrap().seq(), i);
    }
}

pub fn kind<T>(result: sessionlog::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

/// Waits for something that a background thread does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `work` on a thread of its own and fails if it does not end in time, instead of hanging.
pub fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (tx, rx) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = tx.send(work());
    });
    match rx.recv_timeout(limit) {
        Ok(out) => {
            thread.join().unwrap();
            out
        }
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs: {what}"),
        Err(_) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!(),
        },
    }
}

/// Every file below a directory of the real disk, with its content.
pub fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            if entry.file_type().unwrap().is_dir() {
                out.insert(name, Vec::new());
                todo.push(path);
            } else {
                out.insert(name, std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    out
}

/// Copies a store as a killed process leaves it: everything written is there, no lock is held.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The session directories of a store on the real disk.
pub fn session_dirs(store: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for shard in std::fs::read_dir(store.join("sessions")).unwrap() {
        let shard = shard.unwrap();
        if shard.file_type().unwrap().is_dir() {
            out.extend(std::fs::read_dir(shard.path()).unwrap().map(|d| d.unwrap().path()));
        }
    }
    out.retain(|p| p.file_name().unwrap().to_str().unwrap().contains('~'));
    out.sort();
    out
}

/// The segments of a session's directory on the real disk, the active one last.
pub fn segments(session_dir: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(session_dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    out.sort();
    out
}

/// The one session directory of a simulated store.
pub fn sim_session(fs: &SimFs) -> Arc<dyn Dir> {
    let sessions = fs.open_root(Path::new(SIM)).unwrap().open_dir("sessions").unwrap();
    let mut found = Vec::new();
    for shard in sessions.list().unwrap() {
        let shard = sessions.open_dir(&shard.name).unwrap();
        for entry in shard.list().unwrap() {
            if entry.kind == Kind::Dir && entry.name.contains('~') {
                found.push(shard.open_dir(&entry.name).unwrap());
            }
        }
    }
    assert_eq!(found.len(), 1, "one session was expected");
    found.remove(0)
}

/// The names of a simulated session's segments, the active one last.
pub fn sim_segments(dir: &dyn Dir) -> Vec<String> {
    let mut names: Vec<String> = dir.list().unwrap().into_iter().map(|e| e.name).collect();
    names.retain(|n| n.ends_with(".log"));
    names.sort();
    names
}

/// A file of a simulated disk.
pub fn sim_read(dir: &dyn Dir, name: &str) -> Vec<u8> {
    content(&*dir.open(name, Access::Read).unwrap())
}

fn content(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}

/// Replaces the content of a file of a simulated disk, durably.
pub fn sim_write(dir: &dyn Dir, name: &str, bytes: &[u8]) {
    let file = dir.open(name, Access::Write).unwrap();
    file.set_len(0).unwrap();
    sessionlog::fs::write_all_at(&*file, bytes, 0).unwrap();
    file.sync().unwrap();
}

/// Everything below the store's root on a simulated disk, with its content.
pub fn sim_files(fs: &SimFs) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut todo = vec![(String::new(), fs.open_root(Path::new(SIM)).unwrap())];
    while let Some((prefix, dir)) = todo.pop() {
        for entry in dir.list().unwrap() {
            let name = format!("{prefix}/{}", entry.name);
            // The background may remove something at any time: a catalog file that it adopted, or what was half made.
            if entry.kind == Kind::Dir {
                let Ok(dir) = dir.open_dir(&entry.name) else { continue };
                out.insert(name.clone(), Vec::new());
                todo.push((name, dir));
            } else if let Ok(file) = dir.open(&entry.name, Access::Read) {
                out.insert(name, content(&*file));
            }
        }
    }
    out
}

/// Random numbers that a seed repeats.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Where this text stands in a segment. A few letters may stand anywhere among random bytes: so where it is a message of its own,
/// there.
pub fn place_of(bytes: &[u8], text: &str) -> usize {
    let places =
        || bytes.windows(text.len()).enumerate().filter(|(_, w)| *w == text.as_bytes()).map(|(at, _)| at);
    // In front of it is its entry, of 13 bytes: first the length, then other things, then the kind.
    let is_message = |at: &usize| {
        let entry = at.checked_sub(13).map(|from| &bytes[from..*at]);
        entry.is_some_and(|entry| entry[..4] == (text.len() as u32).to_le_bytes() && entry[10] == 1)
    };
    places().find(is_message).or_else(|| places().next()).unwrap()
}
