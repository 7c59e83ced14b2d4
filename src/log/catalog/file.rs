//! Reading one catalog file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_128;

use super::index;
use crate::format::catalog::index::{Placed, key_of};
use crate::format::catalog::{
    CatalogEntry, Chain, EntryKind, FRAME_HEAD, FRAMES, Glance, HEADER, Header, HeaderError, MAX_BODY, Mark,
    Step, decode_marks,
};
use crate::format::is_zero;
use crate::fs::{Access, Dir, File, Ident, read_exact_at, read_up_to_at};
use crate::ids::{BirthId, Incarnation, StoreId};

/// The longest catalog file that is read, in bytes: just below 4 GiB, so that places in it fit into 32 bits.
/// The entries of ten million sessions fit into it.
const MAX_FILE: u64 = u32::MAX as u64;
/// How often a file is read again whose end looks bad. Its owner may be in the middle of a write.
const LOOKS: usize = 4;

/// Counts how often a whole file was read in this process.
static READINGS: AtomicU64 = AtomicU64::new(0);

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
    /// The last good frame, or where the first one would be.
    last: usize,
    /// The place behind the last good frame.
    chain: Chain,
    /// Behind the last good frame.
    pub(super) end: u64,
    /// What stands before this place in the bytes is on disk, and so is the name of the file: as far as the marks tell.
    durable: u64,
    pub(super) tail: Tail,
    /// Some good frames hold what only a newer program understands.
    pub(super) newer: bool,
    /// Which file this was, if it was read from one.
    ident: Option<Ident>,
    /// The reading of the whole file that this goes back to, with what came since: another number for each.
    pub(super) reading: u64,
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
    /// Of an entry with this body, which stands there.
    fn of(body: &[u8], start: usize) -> Result<Item, String> {
        let Glance { kind, id, birth, incarnation, .. } = Glance::at(body)?;
        let start = u32::try_from(start).map_err(|_| "it stands behind the first 4 GiB".to_owned())?;
        let len = body.len() as u32;
        Ok(Item { session: xxh3_128(id.as_bytes()), birth, incarnation, kind, start, len })
    }

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

    /// Reads the frames from its place on: their entries, or those of this life of a session `only`.
    fn read_on(mut self, only: Option<&BirthId>) -> Source {
        let bad = loop {
            let place = self.chain.offset();
            match self.chain.step(&self.bytes) {
                Step::Frame(body) => {
                    self.last = place;
                    if only.is_some_and(|birth| Glance::is_of_another(body, birth)) {
                        continue;
                    }
                    match Item::of(body, self.chain.offset() - body.len()) {
                        Ok(item) => self.items.push(item),
                        Err(_) => self.newer = true,
                    }
                }
                Step::End => break None,
                Step::Bad(what) => break Some(what),
            }
        };
        self.end = self.chain.offset() as u64;
        let published = Mark::of_published(self.header.salt, &self.bytes);
        self.durable = published.map_or(0, |mark| mark.durable);
        self.tail = match (decode_marks(self.header.salt, &self.bytes), bad) {
            (None, _) => Tail::Damaged("both durability marks are damaged"),
            (Some(durable), bad) if self.end < durable => {
                Tail::Damaged(bad.unwrap_or("entries that were durable are gone"))
            }
            (Some(_), Some(what)) => Tail::Torn(what),
            (Some(_), None) => Tail::Clean,
        };
        self
    }

    /// Where its entries stand; `None` if it is not good to its end, or was not read whole.
    pub(super) fn places(&self) -> Option<Vec<Placed>> {
        let at = |item: &Item| item.start - FRAME_HEAD as u32;
        let crc = |place: usize| Some(u32::from_le_bytes(*self.bytes.get(place..)?.first_chunk()?));
        let mut before = (FRAMES, crc(HEADER - 4)?);
        let mut places = Vec::with_capacity(self.items.len());
        for item in &self.items {
            if at(item) as usize != before.0 {
                return None;
            }
            places.push(Placed { key: key_of(&item.birth), offset: at(item), before: before.1 });
            before = ((item.start + item.len) as usize, crc(at(item) as usize)?);
        }
        (self.tail == Tail::Clean && before.0 as u64 == self.end).then_some(places)
    }

    /// Whether the entry is known to be on disk, in a file that has its name there.
    pub(super) fn has_durably(&self, item: &Item) -> bool {
        u64::from(item.start) + u64::from(item.len) <= self.durable
    }

    /// The place behind the last good frame.
    pub(super) fn chain(&self) -> Chain {
        self.chain
    }

    /// The process that writes it, or was the last to do so.
    pub(super) fn pid(&self) -> u32 {
        let mark = Mark::of(self.header.salt, &self.bytes);
        mark.map(|mark| mark.pid).filter(|pid| *pid != 0).unwrap_or(self.header.pid)
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
pub(super) fn decode(
    name: &str,
    store: &StoreId,
    bytes: Vec<u8>,
    only: Option<&BirthId>,
) -> Result<Source, Unreadable> {
    let (header, chain) = Header::decode(&bytes).map_err(|e| match e {
        HeaderError::Damaged(what) => Unreadable::Damaged(what),
        HeaderError::Newer(version) => Unreadable::Newer(version),
    })?;
    if header.store != *store {
        return Err(Unreadable::Foreign(header.store));
    }
    if salt_in(name) != Some(header.salt) {
        return Err(Unreadable::Damaged("the file does not have the name under which it was written"));
    }
    let source = Source {
        name: name.to_owned(),
        header,
        bytes,
        items: Vec::new(),
        last: FRAMES,
        chain,
        end: 0,
        durable: 0,
        tail: Tail::Clean,
        newer: false,
        ident: None,
        reading: READINGS.fetch_add(1, Ordering::Relaxed),
    };
    Ok(source.read_on(only))
}

/// Reads the file of this name; `None` if there is none (any more). Of a file that was read `before` only what came
/// since; of the entries those of these lives of sessions `only`, and perhaps others.
pub(super) fn load(
    dir: &dyn Dir,
    name: &str,
    store: &StoreId,
    before: Option<&Arc<Source>>,
    only: Option<&[BirthId]>,
) -> Option<Result<Arc<Source>, Unreadable>> {
    let file = match dir.open(name, Access::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => return Some(Err(Unreadable::Io(e.to_string()))),
    };
    if let Some(before) = before
        && let Ok(Some(source)) = grown(&*file, before)
    {
        return Some(Ok(source));
    }
    if let Some(source) = only.and_then(|births| load_of(dir, &*file, name, store, births)) {
        return Some(Ok(Arc::new(source)));
    }
    let alone = only.and_then(|births| if let [birth] = births { Some(birth) } else { None });
    let whole = load_from(&*file, name, store, alone);
    Some(whole.map(|source| Arc::new(Source { ident: file.ident().ok(), ..source })))
}

/// What a long file with an index says of these lives of sessions, and nothing else. `None` if it must be read whole.
fn load_of(
    dir: &dyn Dir,
    file: &dyn File,
    name: &str,
    store: &StoreId,
    births: &[BirthId],
) -> Option<Source> {
    let (source, index) = indexed(dir, file, name, store)?;
    let salt = source.header.salt;
    let (mut bytes, mut items, mut durable) = (Vec::new(), Vec::new(), u64::MAX);
    for (birth, place) in index.find_all(births)? {
        let mut frame = vec![0; FRAME_HEAD];
        read_exact_at(file, &mut frame, place.offset.into()).ok()?;
        let body = u32::from_le_bytes(*frame.last_chunk()?) as usize;
        frame.resize(FRAME_HEAD + Some(body).filter(|body| *body <= MAX_BODY)?, 0);
        read_exact_at(file, &mut frame, place.offset.into()).ok()?;
        let Step::Frame(body) = Chain::at(salt, place.offset as usize, place.before).take(&frame) else {
            return None;
        };
        // One that only a newer program understands makes a difference: see who reads all.
        items.extend(Some(Item::of(body, bytes.len()).ok()?).filter(|item| item.birth == birth));
        bytes.extend_from_slice(body);
        if u64::from(place.offset) + frame.len() as u64 > source.durable {
            durable = 0;
        }
    }
    Some(Source { bytes, items, durable, ..source })
}

/// The head of a long file, without entries, and the index of it. `None` if it has none, or anything is amiss with either.
pub(super) fn indexed(
    dir: &dyn Dir,
    file: &dyn File,
    name: &str,
    store: &StoreId,
) -> Option<(Source, index::Reader)> {
    let (head, len) = head_of(file).ok()?;
    if len < index::LONG {
        return None;
    }
    let source = decode(name, store, head, None).ok()?;
    let salt = source.header.salt;
    decode_marks(salt, &source.bytes).filter(|durable| *durable <= len)?;
    let index = index::Reader::open(dir, name, salt, len)?;
    Some((Source { end: len, tail: Tail::Clean, ..source }, index))
}

/// What has become of a file that was good to its end: the same, or the same and more frames. `None`, or an error, if it
/// must be read anew: whoever does that says what is wrong.
///
/// Frames are never changed, and the checksum of each covers all that stand before it: if the last one that was read
/// is still there, so are the others. That a single append may be taken back (of which a reader has seen the first
/// frames) is why it is looked at.
fn grown(file: &dyn File, before: &Arc<Source>) -> io::Result<Option<Arc<Source>>> {
    if before.tail != Tail::Clean || before.ident != Some(file.ident()?) {
        return Ok(None);
    }
    let (mut bytes, len) = head_of(file)?;
    if bytes.len() < FRAMES || bytes.get(..HEADER) != before.bytes.get(..HEADER) || len < before.end {
        return Ok(None);
    }
    let Some(known) = before.bytes.get(before.last..before.chain.offset()) else { return Ok(None) };
    let mut tail = Vec::new();
    read_rest(file, &mut tail, before.last as u64, len)?;
    let Some(new) = tail.strip_prefix(known) else { return Ok(None) };
    let durable = decode_marks(before.header.salt, &bytes);
    if is_zero(new) && durable.is_some_and(|durable| durable <= before.end) {
        return Ok(Some(before.clone()));
    }
    let read_before = before.bytes.get(FRAMES..before.chain.offset()).unwrap_or_default();
    if bytes.try_reserve_exact(read_before.len() + new.len()).is_err() {
        return Ok(None);
    }
    bytes.extend_from_slice(read_before);
    bytes.extend_from_slice(new);
    let source = Source {
        name: before.name.clone(),
        header: before.header.clone(),
        bytes,
        items: before.items.clone(),
        tail: Tail::Clean,
        ..**before
    };
    let source = source.read_on(None);
    // Its owner may be in the middle of a write; whoever reads all of it looks again.
    Ok((source.tail == Tail::Clean).then(|| Arc::new(source)))
}

/// Reads an open file.
pub(super) fn load_from(
    file: &dyn File,
    name: &str,
    store: &StoreId,
    only: Option<&BirthId>,
) -> Result<Source, Unreadable> {
    let mut looks = 0;
    loop {
        looks += 1;
        let bytes = bytes_of(file).map_err(|e| Unreadable::Io(e.to_string()))?;
        match decode(name, store, bytes, only) {
            Ok(source) if source.tail != Tail::Clean && looks < LOOKS => std::thread::yield_now(),
            done => return done,
        }
    }
}

/// All bytes of the file.
fn bytes_of(file: &dyn File) -> io::Result<Vec<u8>> {
    let (mut bytes, len) = head_of(file)?;
    if bytes.len() == FRAMES {
        read_rest(file, &mut bytes, FRAMES as u64, len)?;
    }
    Ok(bytes)
}

/// What stands in front of the frames, as far as it is there, and then the length of the file. The marks are read before
/// the length and the frames: its owner writes them in the other order, so that a mark that is seen is never ahead of the
/// frames that are seen.
fn head_of(file: &dyn File) -> io::Result<(Vec<u8>, u64)> {
    let mut bytes = vec![0; FRAMES];
    let head = read_up_to_at(file, &mut bytes, 0)?;
    bytes.truncate(head);
    let len = file.len()?;
    if len > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is longer than the limit"));
    }
    Ok((bytes, len))
}

/// Adds what stands at `[from, len)` to the bytes.
fn read_rest(file: &dyn File, bytes: &mut Vec<u8>, from: u64, len: u64) -> io::Result<()> {
    let have = bytes.len();
    let rest = usize::try_from(len.saturating_sub(from)).map_err(|_| io::ErrorKind::FileTooLarge)?;
    bytes.try_reserve_exact(rest).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(have + rest, 0);
    let read = read_up_to_at(file, bytes.get_mut(have..).unwrap_or_default(), from)?;
    bytes.truncate(have + read);
    Ok(())
}
