//! The bytes of a catalog file: header, marks and chained frames. `FORMAT.md` has the layout in words.

use super::sum::started;
use crate::ids::StoreId;

mod entry;
pub(crate) mod index;

pub use entry::Lineage;
pub(crate) use entry::{CatalogEntry, EntryKind, Glance, Open, Summary};

/// What every catalog file begins with.
pub(crate) const MAGIC: [u8; 8] = *b"SLOGCATL";
/// The version of the file format that this code writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;

/// The assumed unit in which a write is torn. The header and each mark have one of their own, so that
/// writing a mark endangers nothing else.
const SECTOR: usize = 512;
/// Where the longest host name ends, and the checksum of the header begins.
const HEADER_CRC: usize = HOST + MAX_HOST;
const HOST: usize = 60;
/// The longest host name in a header, in bytes; a longer one is cut.
pub(crate) const MAX_HOST: usize = 64;
/// The bytes of the header.
pub(crate) const HEADER: usize = HEADER_CRC + 4;
/// Where the two marks lie.
pub(crate) const MARKS: [usize; 2] = [SECTOR, 2 * SECTOR];
/// The bytes of a mark.
pub(crate) const MARK: usize = 16;
/// Where the first frame begins.
pub(crate) const FRAMES: usize = 3 * SECTOR;
/// The bytes before the body of a frame: checksum and length.
pub(crate) const FRAME_HEAD: usize = 8;
/// The longest body of a frame, in bytes: 1 MiB.
pub(crate) const MAX_BODY: usize = 1 << 20;

const _: () = assert!(HEADER == 128 && HEADER <= SECTOR && MARK <= SECTOR);
const _: () = assert!(FRAMES == MARKS[1] + SECTOR);

/// The header of a catalog file: who writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The store to which it belongs.
    pub(crate) store: StoreId,
    /// Random, in every checksum of the file; in hexadecimal it is the file's name.
    pub(crate) salt: u64,
    /// Random, the same in all files of one open store instance.
    pub(crate) instance: u64,
    /// Orders the files of one instance: a later one has a higher number.
    pub(crate) generation: u32,
    /// The process, for information.
    pub(crate) pid: u32,
    /// The machine, for information.
    pub(crate) host: String,
    /// When the file was started, in microseconds since 1970.
    pub(crate) started: u64,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// It is not what was written.
    Damaged(&'static str),
    /// A newer program wrote it, in this version.
    Newer(u16),
}

impl Header {
    /// Its bytes, and the chain that continues behind them.
    pub(crate) fn encode(&self) -> (Vec<u8>, Chain) {
        let mut end = self.host.len().min(MAX_HOST);
        while !self.host.is_char_boundary(end) {
            end -= 1;
        }
        let host = self.host.as_bytes().get(..end).unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(end as u16).to_le_bytes());
        out.extend_from_slice(&self.pid.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.instance.to_le_bytes());
        out.extend_from_slice(&self.started.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(host);
        out.resize(HEADER_CRC, 0);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        (out, Chain::new(self.salt, crc))
    }

    /// Reads the header at the beginning of a file. Its length and the place of its checksum are the same
    /// in all versions, so that a damaged header is never taken for a newer one.
    pub(crate) fn decode(file: &[u8]) -> Result<(Header, Chain), HeaderError> {
        const SHORT: HeaderError = HeaderError::Damaged("the file is too short for its header");
        let covered = file.get(..HEADER_CRC).ok_or(SHORT)?;
        let crc = u32::from_le_bytes(array(file, HEADER_CRC).ok_or(SHORT)?);
        if !covered.starts_with(&MAGIC) {
            return Err(HeaderError::Damaged("it does not begin like a catalog file"));
        }
        if crc32fast::hash(covered) != crc {
            return Err(HeaderError::Damaged("the checksum of the header is wrong"));
        }
        let version = u16::from_le_bytes(array(file, 8).ok_or(SHORT)?);
        if version > VERSION {
            return Err(HeaderError::Newer(version));
        }
        let host_len = usize::from(u16::from_le_bytes(array(file, 10).ok_or(SHORT)?));
        let host = covered
            .get(HOST..HOST.saturating_add(host_len))
            .ok_or(HeaderError::Damaged("the host name is too long"))?;
        let salt = u64::from_le_bytes(array(file, 32).ok_or(SHORT)?);
        let header = Header {
            store: StoreId(array(file, 16).ok_or(SHORT)?),
            salt,
            instance: u64::from_le_bytes(array(file, 40).ok_or(SHORT)?),
            generation: u32::from_le_bytes(array(file, 56).ok_or(SHORT)?),
            pid: u32::from_le_bytes(array(file, 12).ok_or(SHORT)?),
            host: String::from_utf8_lossy(host).into_owned(),
            started: u64::from_le_bytes(array(file, 48).ok_or(SHORT)?),
        };
        Ok((header, Chain::new(salt, crc)))
    }
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// Everything before this offset is on disk.
    pub(crate) durable: u64,
    /// Which of the two places it stands in.
    pub(crate) index: usize,
    /// The process that wrote it, for information; 0 where a program wrote it that did not say.
    pub(crate) pid: u32,
}

impl Mark {
    /// Its bytes.
    pub(crate) fn encode(self, salt: u64) -> [u8; MARK] {
        let place = MARKS.get(self.index).copied().unwrap_or_default();
        let crc = mark_crc(salt, place, self.durable);
        let bytes = self.durable.to_le_bytes().into_iter().chain(crc.to_le_bytes());
        let mut out = [0; MARK];
        for (to, from) in out.iter_mut().zip(bytes.chain(self.pid.to_le_bytes())) {
            *to = from;
        }
        out
    }

    /// The one that tells how far the file was durable; `None` if neither is good, which no crash leaves
    /// behind, because one of the two is always older than the last sync.
    pub(crate) fn of(salt: u64, file: &[u8]) -> Option<Mark> {
        Mark::both(salt, file).into_iter().flatten().max()
    }

    /// The same, if the file was synced since it had its name durably: until then one of its marks says 0.
    pub(crate) fn of_published(salt: u64, file: &[u8]) -> Option<Mark> {
        match Mark::both(salt, file) {
            [Some(a), Some(b)] if a.durable > 0 && b.durable > 0 => Some(a.max(b)),
            _ => None,
        }
    }

    fn both(salt: u64, file: &[u8]) -> [Option<Mark>; 2] {
        [0, 1].map(|index| {
            let place = MARKS.get(index).copied()?;
            let durable = u64::from_le_bytes(array(file, place)?);
            let crc = u32::from_le_bytes(array(file, place + 8)?);
            let pid = u32::from_le_bytes(array(file, place + 12)?);
            (crc == mark_crc(salt, place, durable)).then_some(Mark { durable, index, pid })
        })
    }
}

/// How far the file was durable, as far as its marks tell.
pub(crate) fn decode_marks(salt: u64, file: &[u8]) -> Option<u64> {
    Some(Mark::of(salt, file)?.durable)
}

fn mark_crc(salt: u64, place: usize, durable: u64) -> u32 {
    placed_crc(salt, place, &durable.to_le_bytes())
}

/// Of bytes that count in one place of one file only.
fn placed_crc(salt: u64, place: usize, covered: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&(place as u64).to_le_bytes());
    crc.update(covered);
    crc.finalize()
}

/// A place between two frames: what the checksum of the next one covers besides its own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The CRC-32 of the salt.
    seed: u32,
    offset: usize,
    crc: u32,
}

/// What lies at a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A good frame with this body; the chain now stands behind it.
    Frame(&'a [u8]),
    /// Nothing but zeros up to the end of the file.
    End,
    /// Something else.
    Bad(&'static str),
}

impl Chain {
    /// The place of the first frame, behind a header with this checksum.
    fn new(salt: u64, crc: u32) -> Chain {
        Chain { seed: crc32fast::hash(&salt.to_le_bytes()), offset: FRAMES, crc }
    }

    /// A place in a file with this salt: the frame before it, or the header, has this checksum.
    pub(crate) fn at(salt: u64, offset: usize, crc: u32) -> Chain {
        Chain { offset, ..Chain::new(salt, crc) }
    }

    /// The file offset of the place.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Appends the frame of an entry to `out` and moves behind it.
    pub(crate) fn push(&mut self, entry: &CatalogEntry, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        out.resize(start + FRAME_HEAD, 0);
        let encoded = entry.encode(out);
        let body = out.get(start + FRAME_HEAD..).unwrap_or_default();
        let bounded = match body.len() {
            len if len > MAX_BODY => Err(format!("an entry of {len} bytes; the limit is {MAX_BODY}")),
            _ => Ok(()),
        };
        if let Err(e) = encoded.and(bounded) {
            out.truncate(start);
            return Err(e);
        }
        let len = body.len() as u32;
        put(out, start + 4, len);
        let crc = self.crc_of(out.get(start + 4..).unwrap_or_default());
        put(out, start, crc);
        self.offset += out.len() - start;
        self.crc = crc;
        Ok(())
    }

    /// Looks at what lies at this place of a file's bytes, and moves behind it if it is a good frame.
    pub(crate) fn step<'a>(&mut self, file: &'a [u8]) -> Step<'a> {
        self.take(file.get(self.offset..).unwrap_or_default())
    }

    /// The same, of the bytes from this place on.
    pub(crate) fn take<'a>(&mut self, rest: &'a [u8]) -> Step<'a> {
        let (Some(crc), Some(len)) = (array(rest, 0), array(rest, 4)) else {
            return if rest.iter().all(|b| *b == 0) { Step::End } else { Step::Bad("a frame is cut short") };
        };
        let (len, crc) = (u32::from_le_bytes(len), u32::from_le_bytes(crc));
        if len == 0 {
            let zeros = rest.iter().all(|b| *b == 0);
            return if zeros { Step::End } else { Step::Bad("there are bytes behind the end") };
        }
        let size = len as usize;
        if size > MAX_BODY {
            return Step::Bad("a frame is longer than the limit");
        }
        let Some(covered) = rest.get(4..FRAME_HEAD + size) else {
            return Step::Bad("a frame is cut short");
        };
        if self.crc_of(covered) != crc {
            return Step::Bad("the checksum of a frame is wrong");
        }
        self.offset += FRAME_HEAD + size;
        self.crc = crc;
        Step::Frame(covered.get(4..).unwrap_or_default())
    }

    /// Of a frame at this place, whose length and body these bytes are.
    #[inline]
    fn crc_of(&self, covered: &[u8]) -> u32 {
        started(self.seed ^ self.crc, self.offset as u64, covered)
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Puts the right checksums over the header, the marks and the frames of a file that was changed.
#[cfg(any(test, all(fuzzing, feature = "sim")))]
pub(super) fn reseal(file: &mut [u8]) {
    let Some(covered) = file.get(..HEADER_CRC) else { return };
    let crc = crc32fast::hash(covered);
    put(file, HEADER_CRC, crc);
    let Ok((header, mut chain)) = Header::decode(file) else { return };
    for place in MARKS {
        if let Some(durable) = array(file, place) {
            put(file, place + 8, mark_crc(header.salt, place, u64::from_le_bytes(durable)));
        }
    }
    loop {
        let at = chain.offset;
        let Some(len) = array(file, at + 4).map(u32::from_le_bytes).filter(|len| *len > 0) else { return };
        let covered = file.get(at + 4..).and_then(|rest| rest.get(..(len as usize).checked_add(4)?));
        let Some(covered) = covered else { return };
        let crc = chain.crc_of(covered);
        put(file, at, crc);
        if !matches!(chain.step(file), Step::Frame(_)) {
            return;
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
