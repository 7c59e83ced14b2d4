//! Files and directories of the simulated disk: what is cached, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

use crate::fs::{Kind, Map};

/// No simulated file grows beyond this, so that a wrong offset is an error and not the end of the memory.
const MAX_LEN: u64 = 1 << 30;

/// A file.
///
/// Invariant: `durable` with all of `pending` applied in order is `cached`.
#[derive(Debug, Clone, Default)]
pub(super) struct FileNode {
    /// What reads see. Shared with copies of the disk until either writes.
    cached: Arc<Vec<u8>>,
    /// What a power cut leaves for sure.
    durable: Arc<Vec<u8>>,
    /// What was changed since the last sync.
    pending: Vec<Change>,
    /// Maps that may be alive: their bytes must not change.
    maps: Vec<Weak<[u8]>>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Arc<[u8]> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => {
                let end = offset.saturating_add(data.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(target) = bytes.get_mut(*offset..end) {
                    target.copy_from_slice(data);
                }
            }
            Change::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

impl FileNode {
    pub(super) fn len(&self) -> u64 {
        self.cached.len() as u64
    }

    /// At most `buf.len()` bytes from `offset` on.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let rest = usize::try_from(offset).ok().and_then(|at| self.cached.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
        }
        n
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        checked_len(offset.saturating_add(data.len() as u64))?;
        self.check_maps(offset, "a write")?;
        self.change(Change::Write { offset: checked_len(offset)?, data: data.into() });
        Ok(data.len())
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        let new = checked_len(len)?;
        if len < self.len() {
            self.check_maps(len, "a cut")?;
        }
        self.change(Change::SetLen(new));
        Ok(())
    }

    /// Makes content and length durable.
    pub(super) fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for change in self.pending.drain(..) {
            change.apply(durable);
        }
    }

    /// A copy of the first `len` bytes, which are watched as long as it lives.
    pub(super) fn map(&mut self, len: usize) -> io::Result<Map> {
        let bytes = self.cached.get(..len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.maps.retain(|map| map.strong_count() > 0);
        self.maps.push(Arc::downgrade(&bytes));
        Ok(Map::from(bytes))
    }

    /// The file after a power cut that dropped all it could.
    pub(super) fn after_power_cut(&self) -> FileNode {
        FileNode { cached: self.durable.clone(), durable: self.durable.clone(), ..FileNode::default() }
    }

    fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.cached));
        self.pending.push(change);
    }

    /// A real disk would change the map silently, or kill its reader: here the breach itself is the error.
    fn check_maps(&self, from: u64, what: &str) -> io::Result<()> {
        let mapped = |map: &Weak<[u8]>| map.upgrade().is_some_and(|map| map.len() as u64 > from);
        if self.maps.iter().any(mapped) {
            return Err(io::Error::other(format!("{what} at byte {from} of a file that is mapped there")));
        }
        Ok(())
    }
}

fn checked_len(len: u64) -> io::Result<usize> {
    match usize::try_from(len) {
        Ok(checked) if len <= MAX_LEN => Ok(checked),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) kind: Kind,
    pub(super) inode: u64,
}

/// A directory.
///
/// Invariant: `durable` with all of `pending` applied in order is `cached`.
#[derive(Debug, Clone, Default)]
pub(super) struct DirNode {
    cached: BTreeMap<String, Child>,
    durable: BTreeMap<String, Child>,
    /// Each is one step: a rename within the directory is both of its edits or none.
    pending: Vec<Vec<Edit>>,
    /// It was removed: nothing can be created in it any more.
    gone: bool,
}

/// A name that from now on stands for this, or for nothing.
pub(super) type Edit = (String, Option<Child>);

fn apply(edits: &[Edit], entries: &mut BTreeMap<String, Child>) {
    for (name, child) in edits {
        match child {
            Some(child) => entries.insert(name.clone(), *child),
            None => entries.remove(name),
        };
    }
}

impl DirNode {
    pub(super) fn get(&self, name: &str) -> io::Result<Child> {
        self.cached.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, Child)> {
        self.cached.iter().map(|(name, child)| (name, *child))
    }

    pub(super) fn durable_children(&self) -> impl Iterator<Item = Child> {
        self.durable.values().copied()
    }

    /// Fails unless `name` can be created here.
    pub(super) fn check_free(&self, name: &str) -> io::Result<()> {
        if self.gone {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.cached.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    /// Changes entries in one step.
    pub(super) fn edit(&mut self, edits: Vec<Edit>) {
        apply(&edits, &mut self.cached);
        self.pending.push(edits);
    }

    /// Marks it as removed; only an empty one can be.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        if !self.cached.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.gone = true;
        Ok(())
    }

    /// Makes the entries durable.
    pub(super) fn sync(&mut self) {
        for edits in self.pending.drain(..) {
            apply(&edits, &mut self.durable);
        }
    }

    /// The directory after a power cut that dropped all it could.
    pub(super) fn after_power_cut(&self) -> DirNode {
        DirNode { cached: self.durable.clone(), durable: self.durable.clone(), ..DirNode::default() }
    }
}
