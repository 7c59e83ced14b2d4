//! Reading one catalog file.

use std::io;

use xxhash_rust::xxh3::xxh3_128;

use crate::format::catalog::{
    CatalogEntry, EntryKind, FRAMES, Glance, Header, HeaderError, Step, decode_marks,
};
use crate::fs::{Access, Dir, File, read_up_to_at};
use crate::ids::{BirthId, Incarnation, StoreId};

/// The longest catalog file that is read, in bytes: just below 4 GiB, so that places in it fit into 32 bits.
/// The entries of ten million sessions fit into it.
const MAX_FILE: u64 = u32::MAX as u64;
/// How often a file is read again whose end looks bad. Its owner may be in the middle of a write.
const LOOKS: usize = 4;

/// What a file ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing but zeros.
    Clean,
    /// Something that was never acknowledged: all that was known to be durable could be read.
    Torn(&'static str),
    /// Less could be read than was durable once. What is lost may have named any session.
    Damaged(&'static str),
}

/// What merging needs of an entry. The rest stays in the bytes of the file until somebody asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    /// The hash of the session id, as in the name of the session's directory.
    pub(super) session: u128,
    pub(super) birth: BirthId,
    pub(super) incarnation: Incarnation,
    pub(super) kind: EntryKind,
    start: u32,
    len: u32,
}

/// One file, read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) header: Header,
    pub(super) bytes: Vec<u8>,
    /// All good entries, oldest first.
    pub(super) items: Vec<Item>,
    /// Behind the last good frame.
    pub(super) end: u64,
    pub(super) tail: Tail,
    /// Some good frames hold what only a newer program understands.
    pub(super) newer: bool,
}

/// Why a file could not be read at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Its header is damaged, or it is not where it was written.
    Damaged(&'static str),
    /// A newer program wrote it.
    Newer(u16),
    /// It belongs to another store, and so says nothing of this one.
    Foreign(StoreId),
    /// The operating system failed.
    Io(String),
}

impl Item {
    /// The bytes of the entry, in those of its file.
    pub(super) fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        bytes.get(start..start + self.len as usize).unwrap_or_default()
    }

    /// The whole entry; `None` if only a newer program understands all of it.
    pub(super) fn entry(&self, bytes: &[u8]) -> Option<CatalogEntry> {
        CatalogEntry::decode(self.body(bytes)).ok()
    }
}

impl Source {
    /// The beginning of the entry.
    pub(super) fn glance(&self, item: &Item) -> Option<Glance<'_>> {
        Glance::at(item.body(&self.bytes)).ok()
    }

    /// Whether all of it is understood, to the last byte.
    pub(super) fn understood(&self) -> bool {
        !self.newer && self.items.iter().all(|item| item.entry(&self.bytes).is_some())
    }
}

/// The name of the file with this salt.
pub(super) fn name_of(salt: u64) -> String {
    format!("{salt:016x}.cat")
}

/// The salt of the file with this name; `None` if no catalog file is named like this.
pub(crate) fn salt_in(name: &str) -> Option<u64> {
    let hex = name.strip_suffix(".cat")?;
    let digits = hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digits { u64::from_str_radix(hex, 16).ok() } else { None }
}

/// Understands the bytes of a file.
pub(super) fn decode(name: &str, store: &StoreId, bytes: Vec<u8>) -> Result<Source, Unreadable> {
    let (header, mut chain) = Header::decode(&bytes).map_err(|e| match e {
        HeaderError::Damaged(what) => Unreadable::Damaged(what),
        HeaderError::Newer(version) => Unreadable::Newer(version),
    })?;
    if header.store != *store {
        return Err(Unreadable::Foreign(header.store));
    }
    if salt_in(name) != Some(header.salt) {
        return Err(Unreadable::Damaged("the file does not have the name under which it was written"));
    }
    let mut items = Vec::new();
    let mut newer = false;
    let bad = loop {
        match chain.step(&bytes) {
            Step::Frame(body) => match Glance::at(body) {
                Ok(Glance { kind, id, birth, incarnation, .. }) => {
                    let session = xxh3_128(id.as_bytes());
                    let (start, len) = (chain.offset() - body.len(), body.len());
                    items.push(Item {
                        session,
                        birth,
                        incarnation,
                        kind,
                        start: start as u32,
                        len: len as u32,
                    });
                }
                Err(_) => newer = true,
            },
            Step::End => break None,
            Step::Bad(what) => break Some(what),
        }
    };
    let tail = match (decode_marks(header.salt, &bytes), bad) {
        (None, _) => Tail::Damaged("both durability marks are damaged"),
        (Some(durable), bad) if (chain.offset() as u64) < durable => {
            Tail::Damaged(bad.unwrap_or("entries that were durable are gone"))
        }
        (Some(_), Some(what)) => Tail::Torn(what),
        (Some(_), None) => Tail::Clean,
    };
    let end = chain.offset() as u64;
    Ok(Source { name: name.to_owned(), header, bytes, items, end, tail, newer })
}

/// Reads the file of this name; `None` if there is none (any more).
pub(super) fn load(dir: &dyn Dir, name: &str, store: &StoreId) -> Option<Result<Source, Unreadable>> {
    match dir.open(name, Access::Read) {
        Ok(file) => Some(load_from(&*file, name, store)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => Some(Err(Unreadable::Io(e.to_string()))),
    }
}

/// Reads an open file.
pub(super) fn load_from(file: &dyn File, name: &str, store: &StoreId) -> Result<Source, Unreadable> {
    let mut looks = 0;
    loop {
        looks += 1;
        let bytes = bytes_of(file).map_err(|e| Unreadable::Io(e.to_string()))?;
        match decode(name, store, bytes) {
            Ok(source) if source.tail != Tail::Clean && looks < LOOKS => std::thread::yield_now(),
            done => return done,
        }
    }
}

/// All bytes of the file. The marks are read before the length and the frames: its owner writes them in
/// the other order, so that a mark that is seen is never ahead of the frames that are seen.
fn bytes_of(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FRAMES];
    let head = read_up_to_at(file, &mut bytes, 0)?;
    let len = file.len()?;
    if len > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is longer than the limit"));
    }
    if head < FRAMES {
        bytes.truncate(head);
        return Ok(bytes);
    }
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    bytes.try_reserve_exact(len.saturating_sub(FRAMES)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(len.max(FRAMES), 0);
    let read = read_up_to_at(file, bytes.get_mut(FRAMES..).unwrap_or_default(), FRAMES as u64)?;
    bytes.truncate(FRAMES + read);
    Ok(bytes)
}
