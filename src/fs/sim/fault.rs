//! Operations that fail on order.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What passes the gate of a simulated disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimOp {
    /// A file or directory is opened.
    Open,
    /// A file or directory is created.
    Create,
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// A file is cut or extended.
    SetLen,
    /// A file is synced.
    Sync,
    /// A directory is synced.
    SyncDir,
    /// Something is renamed.
    Rename,
    /// A file or directory is removed.
    Remove,
    /// A directory is listed.
    List,
    /// A length, an identity or a file system is asked for.
    Stat,
    /// A lock is tried.
    Lock,
    /// A lock is released.
    Unlock,
    /// A file is mapped.
    Map,
}

impl SimOp {
    /// True if it changes what is cached or what is durable.
    pub fn is_change(self) -> bool {
        use SimOp::{Create, Remove, Rename, SetLen, Sync, SyncDir, Write};
        matches!(self, Create | Write | SetLen | Sync | SyncDir | Rename | Remove)
    }
}

/// One operation, before it is done.
#[derive(Debug, Clone, Copy)]
pub struct SimCall<'a> {
    /// What is to be done.
    pub op: SimOp,
    /// The process that does it.
    pub process: u32,
    /// How many operations began before it on this disk.
    pub number: u64,
    /// The directory in which it is done, by the path under which it was opened; that of the target for a
    /// rename.
    pub dir: &'a Path,
    /// The name in it: the target's for a rename, the prefix of a temporary name, empty where the directory
    /// itself is meant.
    pub name: &'a str,
}

impl fmt::Display for SimCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.number, self.op, self.dir.join(self.name).display())
    }
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with EIO and did nothing.
    Io,
    /// It fails with EIO and did it all the same. (Of a sync: everything is durable.)
    IoAfter,
    /// It fails with EIO half-way: of a write the first half is there. Other operations: as [`Fault::Io`].
    IoHalf,
    /// A sync fails with EIO and drops the dirty pages: they stay readable, count as clean, and are not on the
    /// medium; the next sync says success. Other operations: as [`Fault::Io`].
    DropDirty,
    /// It fails with ENOSPC. A sync that does so drops the dirty pages too (delayed allocation).
    NoSpace,
    /// It reads or writes so many bytes at most.
    Short(usize),
    /// It fails with EINTR and did nothing.
    Interrupted,
    /// It fails with EMFILE and did nothing.
    TooManyFiles,
    /// It fails with EROFS and did nothing.
    ReadOnly,
    /// A lie, and no fault that a disk should have: a sync does nothing and says success. It shows whether
    /// anybody notices. Other operations are done.
    Lie,
    /// Another lie: a sync covers everything but the last change, as if it had been made before that one, and
    /// says success. Other operations are done.
    Early,
    /// And another: a sync makes every other file durable, but not this one, and says success. That of a
    /// directory does nothing. Other operations are done.
    WrongFile,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        // The numbers of Linux. What a caller sees of them is the kind.
        match self {
            Fault::NoSpace => io::ErrorKind::StorageFull.into(),
            Fault::Interrupted => io::ErrorKind::Interrupted.into(),
            Fault::ReadOnly => io::ErrorKind::ReadOnlyFilesystem.into(),
            Fault::TooManyFiles => io::Error::other("too many open files (simulated)"),
            _ => io::Error::other("input/output error (simulated)"),
        }
    }
}

/// What becomes of an operation that passed the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Done,
    /// Only so many bytes of it.
    Short(usize),
    /// Half of it, and then the error.
    Half(Fault),
    /// All of it, and then the error.
    After(Fault),
    /// A sync that drops what it was to write.
    Drop(Fault),
    /// A sync that does nothing and says success.
    Lie,
    /// A sync that leaves out the last change.
    Early,
    /// A sync of all other files.
    Wrong,
}

impl Effect {
    /// How many of `len` bytes are read or written.
    pub(super) fn limit(self, len: usize) -> usize {
        match self {
            // Nothing at all would be the end of the file.
            Effect::Short(n) => len.min(n.max(1)),
            Effect::Half(_) => len / 2,
            _ => len,
        }
    }
}

type Fits = Arc<dyn Fn(&SimCall<'_>) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct Rule {
    pub(super) fits: Fits,
    pub(super) fault: Fault,
    /// So many that fit pass before.
    pub(super) skip: u64,
    /// And so many fail then.
    pub(super) times: u64,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({:?} {} times after {})", self.fault, self.times, self.skip)
    }
}

/// So many operations that failed are remembered.
const MAX_HITS: usize = 64;

/// The faults that are on order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rules: Vec<Rule>,
    /// The operations that failed by it, in words.
    pub(super) hits: Vec<String>,
    /// One of them said so.
    pub(super) told: bool,
}

impl Plan {
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What the plan does with this operation.
    pub(super) fn judge(&mut self, call: &SimCall<'_>) -> io::Result<Effect> {
        let mut fault = None;
        for rule in &mut self.rules {
            if rule.times == 0 || !(rule.fits)(call) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            fault = fault.or(Some(rule.fault));
        }
        let Some(fault) = fault else { return Ok(Effect::Done) };
        self.rules.retain(|rule| rule.times > 0);
        if self.hits.len() < MAX_HITS {
            self.hits.push(call.to_string());
        }
        self.told |= !matches!(fault, Fault::Lie | Fault::Early | Fault::WrongFile);
        let sync = matches!(call.op, SimOp::Sync | SimOp::SyncDir);
        match fault {
            Fault::IoAfter => Ok(Effect::After(fault)),
            Fault::IoHalf if call.op == SimOp::Write => Ok(Effect::Half(fault)),
            Fault::DropDirty | Fault::NoSpace if sync => Ok(Effect::Drop(fault)),
            Fault::Short(n) => Ok(Effect::Short(n)),
            Fault::Lie if sync => Ok(Effect::Lie),
            Fault::Early if sync => Ok(Effect::Early),
            Fault::WrongFile if sync => Ok(Effect::Wrong),
            Fault::Lie | Fault::Early | Fault::WrongFile => Ok(Effect::Done),
            _ => Err(fault.error()),
        }
    }
}
