//! The one state of a simulated disk and of the processes on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::choice::Chooser;
use super::fault::{Effect, Fault, SimCall};
use super::node::{Child, DirNode, FileNode};
use super::snapshot::Control;
use crate::fs::{Ident, Kind};

/// The inode of the topmost directory, which is always durable.
pub(super) const ROOT: u64 = 1;

/// The first reading of the clock: some day in 2026.
const START: u64 = 1_780_000_000_000_000;

/// Disk, clock, processes and locks.
///
/// Invariants: every inode that a directory names, cached or durable, is there; a lock is held by a living
/// process.
#[derive(Debug)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, FileNode>,
    pub(super) dirs: BTreeMap<u64, DirNode>,
    locks: BTreeMap<u64, Holder>,
    processes: BTreeMap<u32, Process>,
    next_inode: u64,
    next_opening: u64,
    next_process: u32,
    seed: u64,
    pub(super) now: u64,
    pub(super) ops: u64,
    pub(super) changes: u64,
    /// How many bytes files may still grow by; `None` if there is no end.
    pub(super) room: Option<u64>,
    pub(super) read_only: bool,
    /// Of each simulated machine its own, so that copies of one disk are never taken for each other.
    device: u64,
    power: bool,
    /// Faults, records and turns: those of this machine alone.
    pub(super) control: Control,
}

/// The next device.
static DEVICES: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone, Copy)]
struct Holder {
    opening: u64,
    process: u32,
}

#[derive(Debug, Clone)]
struct Process {
    alive: bool,
    /// Each has its own random numbers, so that they do not depend on what the others do meanwhile.
    random: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(ROOT, DirNode::default())]),
            locks: BTreeMap::new(),
            processes: BTreeMap::new(),
            next_inode: ROOT + 1,
            next_opening: 1,
            next_process: 1000,
            seed,
            now: START,
            ops: 0,
            changes: 0,
            room: None,
            read_only: false,
            device: DEVICES.fetch_add(1, Ordering::Relaxed),
            power: true,
            control: Control::default(),
        }
    }

    /// The gate: every operation of a process passes here, before it does anything.
    pub(super) fn enter(&mut self, call: &mut SimCall<'_>) -> io::Result<Effect> {
        self.check_alive(call.process)?;
        call.number = self.ops;
        self.ops += 1;
        self.now = self.now.saturating_add(1);
        if call.op.is_change() {
            self.changes += 1;
            if self.control.records() {
                let copy = self.copy();
                self.control.record(copy, call.to_string());
            }
            if self.read_only {
                return Err(Fault::ReadOnly.error());
            }
        }
        self.control.plan.judge(call)
    }

    /// Another machine in the same state: every process, lock and byte of the cache, but nobody's handles.
    pub(super) fn copy(&self) -> State {
        State {
            files: self.files.iter().map(|(inode, file)| (*inode, file.copy())).collect(),
            dirs: self.dirs.clone(),
            locks: self.locks.clone(),
            processes: self.processes.clone(),
            device: DEVICES.fetch_add(1, Ordering::Relaxed),
            control: Control::default(),
            ..*self
        }
    }

    pub(super) fn ident(&self, inode: u64) -> Ident {
        Ident { device: self.device, inode }
    }

    /// So many of `want` bytes can a file grow by: all, or what there is room for.
    pub(super) fn take_room(&mut self, want: u64) -> io::Result<u64> {
        let Some(room) = &mut self.room else { return Ok(want) };
        let taken = want.min(*room);
        if taken == 0 && want > 0 {
            return Err(Fault::NoSpace.error());
        }
        *room -= taken;
        Ok(taken)
    }

    fn give_room(&mut self, bytes: u64) {
        if let Some(room) = &mut self.room {
            *room = room.saturating_add(bytes);
        }
    }

    pub(super) fn check_alive(&self, process: u32) -> io::Result<()> {
        if !self.power {
            return Err(io::Error::other("the power of the simulated machine was cut"));
        }
        if !self.processes.get(&process).is_some_and(|p| p.alive) {
            return Err(io::Error::other("the simulated process was killed"));
        }
        Ok(())
    }

    pub(super) fn start_process(&mut self) -> u32 {
        let id = self.next_process;
        self.next_process = self.next_process.wrapping_add(1);
        let random = mix(self.seed ^ mix(u64::from(id)));
        self.processes.insert(id, Process { alive: true, random });
        id
    }

    pub(super) fn kill(&mut self, process: u32) {
        if let Some(p) = self.processes.get_mut(&process) {
            p.alive = false;
        }
        self.locks.retain(|_, holder| holder.process != process);
    }

    pub(super) fn kill_all(&mut self) {
        for process in self.processes.values_mut() {
            process.alive = false;
        }
        self.locks.clear();
    }

    /// The next random number of the process.
    pub(super) fn random(&mut self, process: u32) -> u64 {
        let Some(process) = self.processes.get_mut(&process) else { return 0 };
        process.random = process.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(process.random)
    }

    /// The directories and files that a power cut may leave, in the order in which their items are named and
    /// decided about.
    fn possible(&self) -> BTreeSet<u64> {
        let mut todo = vec![ROOT];
        let mut seen = BTreeSet::new();
        while let Some(inode) = todo.pop() {
            if seen.insert(inode)
                && let Some(dir) = self.dirs.get(&inode)
            {
                todo.extend(dir.possible_children().map(|child| child.inode));
            }
        }
        seen
    }

    /// Names the items of which a power cut now may leave any, and what each belongs to.
    pub(super) fn pending(&self) -> Vec<String> {
        let mut out = Vec::new();
        let possible = self.possible();
        let mut items = Vec::new();
        for inode in &possible {
            if let Some(dir) = self.dirs.get(inode) {
                dir.pending(&mut items);
            }
            out.extend(items.drain(..).map(|item| format!("{}: {item}", self.path_of(*inode))));
        }
        for inode in &possible {
            if let Some(file) = self.files.get(inode) {
                file.pending(&mut items);
            }
            out.extend(items.drain(..).map(|item| format!("{}: {item}", self.path_of(*inode))));
        }
        out
    }

    /// A path that leads to the inode now; its number if there is none.
    fn path_of(&self, inode: u64) -> String {
        let mut todo = vec![(ROOT, String::new())];
        let mut seen = BTreeSet::new();
        while let Some((next, path)) = todo.pop() {
            if next == inode {
                return if path.is_empty() { "/".to_owned() } else { path };
            }
            if let (true, Some(dir)) = (seen.insert(next), self.dirs.get(&next)) {
                todo.extend(dir.entries().map(|(name, child)| (child.inode, format!("{path}/{name}"))));
            }
        }
        format!("inode {inode}")
    }

    /// What a power cut leaves: another machine with the same disk in it.
    pub(super) fn after_power_cut(&self, mut chooser: Chooser) -> State {
        let mut after = State::new(mix(self.seed ^ mix(self.ops)));
        after.next_inode = self.next_inode;
        after.next_process = self.next_process;
        after.now = self.now;
        after.room = self.room;
        let possible = self.possible();
        if chooser.shows_old() {
            chooser.set_old(self.files.values().map(|file| file.durable().clone()).collect());
        }
        let mut dirs: BTreeMap<u64, DirNode> = BTreeMap::new();
        let mut files: BTreeMap<u64, FileNode> = BTreeMap::new();
        for inode in &possible {
            if let Some(dir) = self.dirs.get(inode) {
                dirs.insert(*inode, dir.after_power_cut(&mut chooser));
            }
        }
        for inode in &possible {
            if let Some(file) = self.files.get(inode) {
                files.insert(*inode, file.after_power_cut(&mut chooser));
            }
        }
        // Only what names lead to from the top is still there.
        after.dirs.clear();
        let mut todo = vec![ROOT];
        while let Some(inode) = todo.pop() {
            if let Some(dir) = dirs.remove(&inode) {
                todo.extend(dir.entries().map(|(_, child)| child.inode));
                after.dirs.insert(inode, dir);
            }
            if let Some(file) = files.remove(&inode) {
                after.files.insert(inode, file);
            }
        }
        after
    }

    pub(super) fn cut_power(&mut self) {
        self.power = false;
        self.locks.clear();
    }

    pub(super) fn file(&mut self, inode: u64) -> io::Result<&mut FileNode> {
        self.files.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn dir(&mut self, inode: u64) -> io::Result<&mut DirNode> {
        self.dirs.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Creates a file or directory under a name that must be free.
    pub(super) fn create(&mut self, parent: u64, name: &str, kind: Kind) -> io::Result<u64> {
        let inode = self.next_inode;
        let full = self.room == Some(0);
        let dir = self.dir(parent)?;
        dir.check_free(name)?;
        if full {
            return Err(Fault::NoSpace.error());
        }
        dir.edit(vec![(name.to_owned(), Some(Child { kind, inode }))]);
        self.next_inode += 1;
        match kind {
            Kind::Dir => drop(self.dirs.insert(inode, DirNode::default())),
            _ => drop(self.files.insert(inode, FileNode::default())),
        }
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: u64, name: &str, to: u64, new: &str) -> io::Result<()> {
        let child = self.dir(from)?.get(name)?;
        self.dir(to)?.check_free(new)?;
        if self.is_within(to, child.inode) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a directory cannot move into itself"));
        }
        let leaves = (name.to_owned(), None);
        let arrives = (new.to_owned(), Some(child));
        if from == to {
            self.dir(from)?.edit(vec![leaves, arrives]);
        } else {
            // Two directories, each durable by a sync of its own: a power cut between the two finds the name
            // in both, or in none.
            self.dir(from)?.edit(vec![leaves]);
            self.dir(to)?.edit(vec![arrives]);
        }
        Ok(())
    }

    /// True if `inode` is `top` or lies below it.
    fn is_within(&self, inode: u64, top: u64) -> bool {
        let mut todo = vec![top];
        let mut seen = BTreeSet::new();
        while let Some(next) = todo.pop() {
            if next == inode {
                return true;
            }
            if let (true, Some(dir)) = (seen.insert(next), self.dirs.get(&next)) {
                todo.extend(dir.entries().filter(|(_, c)| c.kind == Kind::Dir).map(|(_, c)| c.inode));
            }
        }
        false
    }

    /// Removes a name of this kind. What it stood for stays readable for those who have it open.
    pub(super) fn remove(&mut self, parent: u64, name: &str, kind: Kind) -> io::Result<()> {
        let child = self.dir(parent)?.get(name)?;
        match (child.kind, kind) {
            (Kind::Dir, Kind::Dir) => self.dir(child.inode)?.remove()?,
            (Kind::Dir, _) => return Err(io::ErrorKind::IsADirectory.into()),
            (_, Kind::Dir) => return Err(io::ErrorKind::NotADirectory.into()),
            _ => {}
        }
        self.dir(parent)?.edit(vec![(name.to_owned(), None)]);
        let freed = self.files.get(&child.inode).map_or(0, FileNode::len);
        self.give_room(freed);
        Ok(())
    }

    /// Writes as many of the bytes as there is room for.
    pub(super) fn write(&mut self, inode: u64, data: &[u8], offset: u64) -> io::Result<usize> {
        let len = self.file(inode)?.len();
        let end = offset.saturating_add(data.len() as u64);
        let mut data = data;
        if self.room.is_some() && end > len {
            // Only what grows the file needs room; what lies within it is written all the same.
            let taken = match self.take_room(end - len) {
                Ok(taken) => taken,
                Err(_) if offset < len => 0,
                Err(e) => return Err(e),
            };
            let fits = (len + taken).saturating_sub(offset);
            data = usize::try_from(fits).ok().and_then(|n| data.get(..n)).unwrap_or(data);
            if data.is_empty() {
                return Err(Fault::NoSpace.error());
            }
        }
        self.file(inode)?.write(data, offset)
    }

    pub(super) fn set_len(&mut self, inode: u64, new: u64) -> io::Result<()> {
        let len = self.file(inode)?.len();
        if new > len && self.take_room(new - len)? < new - len {
            return Err(Fault::NoSpace.error());
        }
        self.file(inode)?.set_len(new)?;
        self.give_room(len.saturating_sub(new));
        Ok(())
    }

    /// The file that a path leads to, in the cache.
    pub(super) fn find(&self, names: &[&str]) -> Option<u64> {
        names.iter().try_fold(ROOT, |inode, name| self.dirs.get(&inode)?.get(name).ok().map(|c| c.inode))
    }

    pub(super) fn new_opening(&mut self) -> u64 {
        let opening = self.next_opening;
        self.next_opening += 1;
        opening
    }

    /// Takes the lock on the inode for this opening; false if another one has it.
    pub(super) fn try_lock(&mut self, inode: u64, opening: u64, process: u32) -> bool {
        self.locks.entry(inode).or_insert(Holder { opening, process }).opening == opening
    }

    /// Gives the lock back if this opening has it.
    pub(super) fn unlock(&mut self, inode: u64, opening: u64) {
        if self.locks.get(&inode).is_some_and(|holder| holder.opening == opening) {
            self.locks.remove(&inode);
        }
    }
}

/// A good hash of 64 bits (the finisher of splitmix64).
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
