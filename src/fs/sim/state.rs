//! The one state of a simulated disk and of the processes on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::node::{Child, DirNode, FileNode};
use crate::fs::Kind;

/// The inode of the topmost directory, which is always durable.
pub(super) const ROOT: u64 = 1;

/// The first reading of the clock: some day in 2026.
const START: u64 = 1_780_000_000_000_000;

/// What passes the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Open,
    Create,
    Read,
    Write,
    SetLen,
    Sync,
    SyncDir,
    Rename,
    Remove,
    List,
    Stat,
    Lock,
    Unlock,
    Map,
}

impl Op {
    /// True if it changes what is cached or what is durable.
    fn is_change(self) -> bool {
        use Op::{Create, Remove, Rename, SetLen, Sync, SyncDir, Write};
        matches!(self, Create | Write | SetLen | Sync | SyncDir | Rename | Remove)
    }
}

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
    power: bool,
}

#[derive(Debug, Clone, Copy)]
struct Holder {
    opening: u64,
    process: u32,
}

#[derive(Debug)]
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
            power: true,
        }
    }

    /// The gate: every operation of a process passes here, before it does anything.
    pub(super) fn enter(&mut self, process: u32, op: Op) -> io::Result<()> {
        self.check_alive(process)?;
        self.ops += 1;
        self.changes += u64::from(op.is_change());
        self.now = self.now.saturating_add(1);
        Ok(())
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

    /// The next random number of the process.
    pub(super) fn random(&mut self, process: u32) -> u64 {
        let Some(process) = self.processes.get_mut(&process) else { return 0 };
        process.random = process.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(process.random)
    }

    /// What a power cut leaves that drops everything unsynced: another machine with the same disk in it.
    pub(super) fn after_power_cut(&self) -> State {
        let mut after = State::new(mix(self.seed ^ mix(self.ops)));
        after.next_inode = self.next_inode;
        after.next_process = self.next_process;
        after.now = self.now;
        // Only what durable names lead to from the top is still there.
        let mut todo = vec![Child { kind: Kind::Dir, inode: ROOT }];
        let mut seen = BTreeSet::new();
        while let Some(child) = todo.pop() {
            if !seen.insert(child.inode) {
                continue;
            }
            if let Some(dir) = self.dirs.get(&child.inode) {
                todo.extend(dir.durable_children());
                after.dirs.insert(child.inode, dir.after_power_cut());
            }
            if let Some(file) = self.files.get(&child.inode) {
                after.files.insert(child.inode, file.after_power_cut());
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
        let dir = self.dir(parent)?;
        dir.check_free(name)?;
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
        Ok(())
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
