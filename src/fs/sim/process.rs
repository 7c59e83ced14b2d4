//! A simulated process: the handle through which everything is done.

use std::fmt;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::choice::{Choice, Chooser};
use super::dir::SimDir;
use super::fault::{Effect, Fault, Rule, SimCall, SimOp};
use super::node::FileNode;
use super::snapshot::Snapshot;
use super::state::{ROOT, State};
use crate::fs::{Dir, Fs, name, sync_foreign};

/// A simulated disk, seen by one simulated process.
///
/// Deterministic: the same seed and the same calls give the same bytes, names, random numbers and times
/// (with several threads, as far as their order is the same; each process has random numbers of its own).
/// Clones are the same process. [`process_new`](SimFs::process_new) starts another one on the same disk,
/// [`kill`](SimFs::kill) ends one, and [`crash`](SimFs::crash) cuts the power for all. What the power cut leaves
/// of that which was not synced is a [`Choice`]; with [`record`](SimFs::record) every moment at which it might
/// come can be tried afterwards, and [`fail`](SimFs::fail) makes operations fail on order.
///
/// # Stricter than a disk
/// - Nothing is durable but what a sync covered, and a sync covers no more than [`super::super`] says.
/// - A rename between two directories is two changes, one for each directory's sync.
/// - Of what is not durable any subset may survive a power cut, torn at sectors.
/// - Listings come in an order that changes from call to call.
/// - To write or cut below the end of a live [`Map`](super::super::Map) is an error.
///
/// # Simpler than a disk
/// There are no links, pipes or modes; a rename within one directory is never half done; what a name is cut off
/// from keeps its room until the next crash; a file has at most 1 GiB.
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
    machine: Arc<Machine>,
    process: u32,
}

struct Machine {
    state: Mutex<State>,
}

impl SimFs {
    /// An empty disk and the first process on it.
    pub fn new(seed: u64) -> SimFs {
        SimFs::boot(State::new(seed))
    }

    pub(super) fn boot(mut state: State) -> SimFs {
        let process = state.start_process();
        SimFs { machine: Arc::new(Machine { state: Mutex::new(state) }), process }
    }

    /// Starts another process on the same disk.
    pub fn process_new(&self) -> SimFs {
        let process = self.state().start_process();
        SimFs { machine: self.machine.clone(), process }
    }

    /// Kills this process: its locks are released, and every handle that it opened fails from now on. What it
    /// wrote stays cached, as the machine is still running.
    pub fn kill(&self) {
        self.state().kill(self.process);
    }

    /// Cuts the power: every process dies, every handle fails, and nothing survives that was not synced.
    /// Returns the first process after the restart.
    pub fn crash(&self) -> SimFs {
        self.crash_with(Choice::Nothing)
    }

    /// Cuts the power, and of what was not synced this survives.
    pub fn crash_with(&self, choice: Choice) -> SimFs {
        let mut state = self.state();
        let after = state.after_power_cut(Chooser::new(choice));
        state.cut_power();
        SimFs::boot(after)
    }

    /// What [`crash`](SimFs::crash) would return, on a copy of the disk: everything here goes on.
    pub fn crash_copy(&self) -> SimFs {
        self.crash_copy_with(Choice::Nothing)
    }

    /// What [`crash_with`](SimFs::crash_with) would return, on a copy of the disk: everything here goes on.
    pub fn crash_copy_with(&self, choice: Choice) -> SimFs {
        SimFs::boot(self.state().after_power_cut(Chooser::new(choice)))
    }

    /// The changes that are not durable, in words and in the order of the bits of a [`Choice::Mask`].
    pub fn pending(&self) -> Vec<String> {
        self.state().pending()
    }

    /// The machine as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot::new(state.copy(), "now".to_owned(), state.control.tag())
    }

    /// From now on a snapshot is kept of each moment before an operation that changes something: crashes at
    /// all of them can be tried afterwards, at the cost of one run.
    pub fn record(&self) {
        self.state().control.start_recording();
    }

    /// The snapshots since [`record`](SimFs::record), which ends with this call.
    pub fn recorded(&self) -> Vec<Snapshot> {
        self.state().control.take_recorded()
    }

    /// Snapshots carry this from now on: whatever tells what the caller knew at that moment.
    pub fn set_tag(&self, tag: u64) {
        self.state().control.set_tag(tag);
    }

    /// Makes operation number `number` (see [`ops`](SimFs::ops)) fail.
    pub fn fail(&self, number: u64, fault: Fault) {
        self.fail_when(0, 1, fault, move |call| call.number == number);
    }

    /// Makes operations fail that fit: after the first `skip` of them, so many `times`. `fits` must not use the
    /// disk.
    pub fn fail_when(
        &self,
        skip: u64,
        times: u64,
        fault: Fault,
        fits: impl Fn(&SimCall<'_>) -> bool + Send + Sync + 'static,
    ) {
        self.state().control.plan.add(Rule { fits: Arc::new(fits), fault, skip, times });
    }

    /// Does this once, right before operation number `number` (see [`ops`](SimFs::ops)) begins, in the midst of whatever that belongs
    /// to: another process, say, comes and goes. It may use the disk.
    pub fn interrupt(&self, number: u64, visit: impl FnOnce() + Send + Sync + 'static) {
        self.state().control.interrupt(number, Box::new(visit));
    }

    /// No operation fails any more, except for want of room.
    pub fn heal(&self) {
        self.state().control.plan.clear();
    }

    /// The operations that failed (or were cut short) because they were made to, in words; the first 64 of them.
    pub fn struck(&self) -> Vec<String> {
        self.state().control.plan.hits.clone()
    }

    /// Whether one of them said that it failed. (A sync that lies does not.)
    pub fn has_failed(&self) -> bool {
        self.state().control.plan.told
    }

    /// Files may grow by so many bytes more; then the disk is full. `None` lifts it. Removing and cutting files
    /// gives room back.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// Makes the file system read-only, or writable again.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Sets the clock, in microseconds since 1970; it may jump back. Every operation and every look at it moves
    /// it on by one.
    pub fn set_now(&self, micros: u64) {
        self.state().now = micros;
    }

    /// How many operations all processes have begun so far.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// How many of them could change what is cached or durable: creations, writes, cuts, syncs, renames and
    /// removals.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Passes the gate and does the work, as far as no fault is in its way.
    pub(super) fn run<T>(
        &self,
        op: SimOp,
        dir: &Path,
        name: &str,
        work: impl FnOnce(&mut State, Effect) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut call = SimCall { op, process: self.process, number: 0, dir, name };
        let mut state = self.state();
        let now = state.ops;
        if let Some(visit) = state.control.interruption(now) {
            drop(state);
            visit();
            state = self.state();
        }
        let effect = state.enter(&mut call)?;
        let done = work(&mut state, effect);
        // What was opened and is not handed out is closed, which takes the state again.
        drop(state);
        let done = done?;
        match effect {
            Effect::After(fault) | Effect::Half(fault) | Effect::Drop(fault) => Err(fault.error()),
            _ => Ok(done),
        }
    }

    /// The state, for what is no operation.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.machine.state.lock()
    }

    pub(super) fn same_disk(&self, other: &SimFs) -> bool {
        Arc::ptr_eq(&self.machine, &other.machine)
    }

    pub(super) fn with_file<T>(&self, path: &Path, work: impl FnOnce(&mut FileNode) -> T) -> io::Result<T> {
        let names = components(path)?;
        let mut state = self.state();
        let inode = state.find(&names).ok_or(io::ErrorKind::NotFound)?;
        state.file(inode).map(work)
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
                        sync_name(&parent, &dir)?;
                    }
                    let made = match dir.create_dir(name) {
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                        made => made.is_ok(),
                    };
                    if let Err(e) = dir.sync() {
                        if made {
                            // The next attempt must not find it: its sync might say success without a reason.
                            let _ = dir.remove_dir(name);
                        }
                        return Err(e);
                    }
                    dir.child(name)?
                }
                Err(e) => return Err(e),
            };
            dir = child;
        }
        if let Some(parent) = unsure {
            sync_name(&parent, &dir)?;
        }
        Ok(Arc::new(dir))
    }

    fn now(&self) -> u64 {
        let mut state = self.state();
        state.now = state.now.saturating_add(1);
        state.now
    }

    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
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

/// Makes the name of a directory durable that was found. One that was made here, whose sync failed and which could not be
/// taken back, is empty.
fn sync_name(parent: &SimDir, found: &SimDir) -> io::Result<()> {
    if found.list()?.is_empty() { sync_foreign(parent) } else { parent.sync() }
}
