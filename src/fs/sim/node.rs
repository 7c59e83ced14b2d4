//! Files and directories of the simulated disk: what is cached, what is durable, and what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Weak};

use super::choice::{Chooser, SECTOR};
use crate::fs::{Kind, Map};

/// No simulated file grows beyond this, so that a wrong offset is an error and not the end of the memory.
const MAX_LEN: u64 = 1 << 30;

/// A file.
///
/// Invariant: `durable` with all of `pending` applied in order is `cached`, until a sync failed and dropped what
/// was pending.
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
    /// Two items: the content, and (if it grew the file) the length.
    Write {
        offset: usize,
        data: Arc<[u8]>,
        grows: bool,
    },
    SetLen(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data, .. } => put(bytes, *offset, data),
            Change::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset.saturating_add(data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(target) = bytes.get_mut(offset..end) {
        target.copy_from_slice(data);
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
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        n
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let end = checked_len(offset.saturating_add(data.len() as u64))?;
        self.check_maps(offset, "a write")?;
        let grows = end > self.cached.len();
        self.change(Change::Write { offset: checked_len(offset)?, data: data.into(), grows });
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

    /// A sync that came before the last change.
    pub(super) fn sync_but_last(&mut self) {
        let last = self.pending.pop();
        self.sync();
        self.pending.extend(last);
    }

    /// A sync that failed: what was pending stays readable and counts as clean, but did not get to the medium.
    pub(super) fn drop_dirty(&mut self) {
        self.pending.clear();
    }

    /// A copy of the first `len` bytes, which are watched as long as it lives.
    pub(super) fn map(&mut self, len: usize) -> io::Result<Map> {
        let bytes = self.cached.get(..len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.maps.retain(|map| map.strong_count() > 0);
        self.maps.push(Arc::downgrade(&bytes));
        Ok(Map::from(bytes))
    }

    /// The file on a copy of the disk, where nobody has it mapped.
    pub(super) fn copy(&self) -> FileNode {
        FileNode { maps: Vec::new(), ..self.clone() }
    }

    pub(super) fn durable(&self) -> &Arc<Vec<u8>> {
        &self.durable
    }

    /// Names the items that a power cut may take or leave.
    pub(super) fn pending(&self, out: &mut Vec<String>) {
        for change in &self.pending {
            match change {
                Change::Write { offset, data, grows } => {
                    let end = offset + data.len();
                    out.push(format!("content {offset}..{end}"));
                    if *grows {
                        out.push(format!("length {end}"));
                    }
                }
                Change::SetLen(len) => out.push(format!("length {len}")),
            }
        }
    }

    /// The file after a power cut.
    pub(super) fn after_power_cut(&self, chooser: &mut Chooser) -> FileNode {
        if self.pending.is_empty() {
            return FileNode {
                cached: self.durable.clone(),
                durable: self.durable.clone(),
                ..FileNode::default()
            };
        }
        let mut bytes = self.durable.to_vec();
        let mut len = bytes.len();
        // Sectors behind the durable end that were written, in vain.
        let mut unwritten = BTreeSet::new();
        for change in &self.pending {
            match change {
                Change::Write { offset, data, grows } => {
                    let content = chooser.content();
                    let end = offset + data.len();
                    for sector in offset / SECTOR..end.div_ceil(SECTOR) {
                        let (from, to) = ((sector * SECTOR).max(*offset), ((sector + 1) * SECTOR).min(end));
                        if content.keeps(sector) {
                            put(&mut bytes, from, data.get(from - offset..to - offset).unwrap_or_default());
                            unwritten.remove(&sector);
                        } else if sector * SECTOR >= self.durable.len() {
                            unwritten.insert(sector);
                        }
                    }
                    if *grows && chooser.item() {
                        len = len.max(end);
                    }
                }
                Change::SetLen(new) => {
                    if chooser.item() {
                        bytes.truncate(*new);
                        len = *new;
                    }
                }
            }
        }
        bytes.resize(len, 0);
        for sector in unwritten {
            let Some(target) = bytes.get_mut(sector * SECTOR..) else { continue };
            if let Some(old) = chooser.old_sector() {
                for (to, from) in target.iter_mut().zip(old) {
                    *to = from;
                }
            }
        }
        let bytes = Arc::new(bytes);
        FileNode { cached: bytes.clone(), durable: bytes, ..FileNode::default() }
    }

    /// Changes the file on the medium and in the cache, as a fault of the device does.
    pub(super) fn damage(&mut self, change: impl Fn(&mut Vec<u8>)) {
        change(Arc::make_mut(&mut self.cached));
        change(Arc::make_mut(&mut self.durable));
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
/// Invariant: `durable` with all of `pending` applied in order is `cached`, until a sync failed and dropped what
/// was pending.
#[derive(Debug, Clone, Default)]
pub(super) struct DirNode {
    cached: Arc<BTreeMap<String, Child>>,
    durable: Arc<BTreeMap<String, Child>>,
    /// Each is one step: a rename within the directory is both of its edits or none.
    pending: Vec<Arc<[Edit]>>,
    /// What failed syncs dropped. The next entry that changes makes the directory dirty again, with them.
    dropped: Vec<Arc<[Edit]>>,
    /// How often its entries changed.
    changes: u64,
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

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// All that its names stand for, or may stand for after a power cut.
    pub(super) fn possible_children(&self) -> impl Iterator<Item = Child> {
        let added = self.pending.iter().flat_map(|edits| edits.iter().filter_map(|(_, child)| *child));
        self.durable.values().copied().chain(added)
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
        apply(&edits, Arc::make_mut(&mut self.cached));
        self.changes += 1;
        self.pending.append(&mut self.dropped);
        self.pending.push(edits.into());
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
        if self.pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for edits in self.pending.drain(..) {
            apply(&edits, durable);
        }
    }

    /// A sync that came before the last change.
    pub(super) fn sync_but_last(&mut self) {
        let last = self.pending.pop();
        self.sync();
        self.pending.extend(last);
    }

    /// A sync that failed: what was pending stays visible and counts as clean, but did not get to the medium.
    pub(super) fn drop_dirty(&mut self) {
        self.dropped.append(&mut self.pending);
    }

    /// Names the items that a power cut may take or leave.
    pub(super) fn pending(&self, out: &mut Vec<String>) {
        for edits in &self.pending {
            let words: Vec<String> = edits
                .iter()
                .map(|(name, child)| format!("{}{name}", if child.is_some() { "+" } else { "-" }))
                .collect();
            out.push(format!("entry {}", words.join(" ")));
        }
    }

    /// The directory after a power cut.
    pub(super) fn after_power_cut(&self, chooser: &mut Chooser) -> DirNode {
        let mut entries = self.durable.clone();
        for edits in &self.pending {
            if chooser.item() {
                apply(edits, Arc::make_mut(&mut entries));
            }
        }
        DirNode { cached: entries.clone(), durable: entries, ..DirNode::default() }
    }
}
