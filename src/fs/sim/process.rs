//! A simulated process: the handle through which everything is done.

use std::fmt;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::dir::SimDir;
use super::state::{Op, ROOT, State};
use crate::fs::{Dir, Fs, Ident, name};

/// A simulated disk, seen by one simulated process.
///
/// Deterministic: the same seed and the same calls give the same bytes, names, random numbers and times
/// (with several threads, as far as their order is the same; each process has random numbers of its own).
/// Clones are the same process. [`process_new`](SimFs::process_new) starts another one on the same disk,
/// [`kill`](SimFs::kill) ends one, and [`crash`](SimFs::crash) cuts the power for all.
///
/// # Stricter than a disk
/// - Nothing is durable but what a sync covered, and a sync covers no more than [`super::super`] says.
/// - A rename between two directories is two changes, one for each directory's sync.
/// - Listings come in an order that changes from call to call.
/// - To write or cut below the end of a live [`Map`](super::super::Map) is an error.
///
/// # Simpler than a disk
/// There are no links, pipes or modes; space is never short; names and files without a name stay in memory
/// until the next crash; a file has at most 1 GiB.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::path::Path;
/// use sessionlog::fs::{Fs, SimFs};
///
/// let sim = SimFs::new(1);
/// let root = sim.create_root(Path::new("/store"))?;
/// root.create("kept")?.write_at(b"bytes", 0)?;
/// root.sync()?; // The name is durable now; the content is not.
///
/// let sim = sim.crash();
/// let root = sim.open_root(Path::new("/store"))?;
/// assert_eq!(root.stat("kept")?.len, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
    process: u32,
    /// Tells this disk from every other one, copies of it included.
    device: u64,
}

impl SimFs {
    /// An empty disk and the first process on it.
    pub fn new(seed: u64) -> SimFs {
        SimFs::boot(State::new(seed))
    }

    fn boot(mut state: State) -> SimFs {
        // No two disks are the same device, however alike they are. It stands in no file, so it may differ from
        // run to run.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let process = state.start_process();
        let device = NEXT.fetch_add(1, Ordering::Relaxed);
        SimFs { state: Arc::new(Mutex::new(state)), process, device }
    }

    /// Starts another process on the same disk.
    pub fn process_new(&self) -> SimFs {
        let process = self.state.lock().start_process();
        SimFs { state: self.state.clone(), process, device: self.device }
    }

    /// Kills this process: its locks are released, and every handle that it opened fails from now on. What it
    /// wrote stays cached, as the machine is still running.
    pub fn kill(&self) {
        self.state.lock().kill(self.process);
    }

    /// Cuts the power: every process dies, every handle fails, and nothing survives that was not synced.
    /// Returns the first process after the restart.
    pub fn crash(&self) -> SimFs {
        let mut state = self.state.lock();
        let after = state.after_power_cut();
        state.cut_power();
        SimFs::boot(after)
    }

    /// What [`crash`](SimFs::crash) would return, on a copy of the disk: everything here goes on.
    pub fn crash_copy(&self) -> SimFs {
        SimFs::boot(self.state.lock().after_power_cut())
    }

    /// Sets the clock, in microseconds since 1970; it may jump back. Every operation and every look at it moves
    /// it on by one.
    pub fn set_now(&self, micros: u64) {
        self.state.lock().now = micros;
    }

    /// How many operations all processes have begun so far.
    pub fn ops(&self) -> u64 {
        self.state.lock().ops
    }

    /// How many of them could change what is cached or durable: creations, writes, cuts, syncs, renames and
    /// removals.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// Passes the gate.
    pub(super) fn enter(&self, op: Op) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        state.enter(self.process, op)?;
        Ok(state)
    }

    /// The state, for what is no operation: closing a file.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn ident(&self, inode: u64) -> Ident {
        Ident { device: self.device, inode }
    }

    pub(super) fn same_disk(&self, other: &SimFs) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    fn top(&self) -> SimDir {
        SimDir::new(self.clone(), ROOT, Path::new("/").to_path_buf())
    }
}

impl Fs for SimFs {
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        let mut dir = self.top();
        for name in components(path)? {
            dir = dir.child(name)?;
        }
        Ok(Arc::new(dir))
    }

    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        let mut dir = self.top();
        // The parent of `dir`, as long as it is not known that it holds its name durably: a process may have
        // been killed between creating and syncing.
        let mut unsure: Option<SimDir> = None;
        for name in components(path)? {
            let child = match dir.child(name) {
                Ok(child) => {
                    unsure = Some(dir);
                    child
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    if let Some(parent) = unsure.take() {
                        parent.sync()?;
                    }
                    match dir.create_dir(name) {
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                        _ => dir.sync()?,
                    }
                    dir.child(name)?
                }
                Err(e) => return Err(e),
            };
            dir = child;
        }
        if let Some(parent) = unsure {
            parent.sync()?;
        }
        Ok(Arc::new(dir))
    }

    fn now(&self) -> u64 {
        let mut state = self.state.lock();
        state.now = state.now.saturating_add(1);
        state.now
    }

    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_alive(self.process)?;
        for chunk in buf.chunks_mut(8) {
            let bytes = state.random(self.process).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
        Ok(())
    }

    fn process(&self) -> u32 {
        self.process
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs").field("process", &self.process).finish_non_exhaustive()
    }
}

/// The names from the top of the disk down to `path`.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => match part.to_str() {
                Some(part) => {
                    name::check(part)?;
                    names.push(part);
                }
                None => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path that is not UTF-8")),
            },
            Component::ParentDir => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "no `..` on the simulated disk"));
            }
        }
    }
    Ok(names)
}
