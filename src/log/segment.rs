//! A segment file that is open for reading.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::message::Buffer;
use super::names::{parse_segment_name, segment_name};
use super::window::{At, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FrameKind, HeaderFault, Seed, SegmentHeader};
use crate::fs::{Access, Dir, Entry, File, Kind, read_up_to_at};
use crate::ids::{BirthId, StoreId};

/// Whose segment it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) store: StoreId,
    /// `None` when the session's birth id is learnt from this very file.
    pub(crate) birth: Option<BirthId>,
}

/// A segment file: its header is read and checked.
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn File>,
    /// Where it lies: its path is put together when somebody is told of it.
    dir: Arc<dyn Dir>,
    pub(crate) header: SegmentHeader,
    pub(crate) seed: Seed,
    map: OnceLock<Option<Arc<Buffer>>>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({})", self.path().display())
    }
}

impl Segment {
    pub(crate) fn open(dir: &Arc<dyn Dir>, number: u64, owner: Owner) -> Result<Segment> {
        let name = segment_name(number);
        let file = dir.open(&name, Access::Read).map_err(|e| open_error(&dir.path().join(&name), e))?;
        Segment::with_file(file, dir.clone(), number, owner)
    }

    pub(crate) fn with_file(
        file: Arc<dyn File>,
        dir: Arc<dyn Dir>,
        number: u64,
        owner: Owner,
    ) -> Result<Segment> {
        let path = dir.path().join(segment_name(number));
        let mut bytes = [0; SegmentHeader::LEN];
        let have = read_up_to_at(&*file, &mut bytes, 0).map_err(|e| Error::io("read a segment", &path, e))?;
        let header = SegmentHeader::decode(bytes.get(..have).unwrap_or_default())
            .map_err(|fault| header_error(&path, &fault))?;
        if header.number != number {
            return Err(Error::corrupt(
                &path,
                48,
                format!("this is segment {} under the name of another", header.number),
            ));
        }
        if header.store != owner.store {
            return Err(Error::corrupt(
                &path,
                16,
                "it belongs to another store; it was copied or moved here from elsewhere",
            ));
        }
        if owner.birth.is_some_and(|birth| birth != header.birth) {
            return Err(Error::corrupt(
                &path,
                32,
                "it belongs to another session, or to an earlier life of this one",
            ));
        }
        let seed = header.seed();
        Ok(Segment { file, dir, header, seed, map: OnceLock::new() })
    }

    /// The same, read through another descriptor of its file.
    pub(crate) fn through(&self, file: Arc<dyn File>) -> Segment {
        let Segment { ref dir, header, seed, .. } = *self;
        Segment { file, dir: dir.clone(), header, seed, map: OnceLock::new() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(segment_name(self.header.number))
    }

    /// Its directory got its own name.
    pub(super) fn moved_to(&mut self, dir: Arc<dyn Dir>) {
        self.dir = dir;
    }

    /// Whether the records that were carried into it from these positions can be read, every byte.
    pub(crate) fn copies_are_whole(&self, positions: &Range<u64>) -> io::Result<bool> {
        let (mut offset, end) = (SegmentHeader::LEN as u64, self.header.carry_end());
        let mut window = Window::new();
        while offset < end {
            let At::Frame(frame) = window.at(&*self.file, self.seed, offset, end)? else { return Ok(false) };
            let copied = frame.header().kind == FrameKind::Carry
                && frame.header().first_position < positions.end
                && frame.end_position() > positions.start;
            if copied && frame.verify().is_err() {
                return Ok(false);
            }
            offset += frame.len() as u64;
        }
        Ok(true)
    }

    /// The first `len` bytes, mapped, if this platform and file system can; kept for the next caller. Only for
    /// sealed segments, whose bytes below `len` never change.
    pub(crate) fn map(&self, len: u64) -> Option<Arc<Buffer>> {
        let mapped = self.map.get_or_init(|| {
            let len = usize::try_from(len).ok()?;
            // A file that is shorter than it should be must not be mapped beyond its end.
            if self.file.len().ok()? < len as u64 {
                return None;
            }
            self.file.map(len).ok().flatten().map(|m| Arc::new(Buffer::Map(m)))
        });
        mapped.clone().filter(|b| b.len() as u64 >= len)
    }
}

/// Why a segment cannot be opened: what is no file under its name is damage.
pub(crate) fn open_error(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::InvalidInput => {
            Error::corrupt(path, 0, "what has the name of a segment is no regular file")
        }
        _ => Error::io("open a segment", path, e),
    }
}

/// What a segment header's fault means to the caller.
pub(crate) fn header_error(path: &Path, fault: &HeaderFault) -> Error {
    if fault.is_unsupported() {
        return Error::new(ErrorKind::Unsupported, "read")
            .path(path)
            .hint(format!("{fault}; it was left untouched: use the program that wrote it, or a newer one"));
    }
    Error::corrupt(path, 0, fault.to_string())
}

/// The id of the store, from the first segment of any session that can be read; `None` if there is no session.
///
/// # Errors
/// `Io` if what tells it cannot be read; `Corrupt` if there are segments and none of them tells it. Neither means that
/// there is none.
pub(crate) fn first_store_id(sessions: &dyn Dir) -> Result<Option<StoreId>> {
    let mut trouble = None;
    let mut note = |path: PathBuf, e: io::Error| {
        if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            trouble.get_or_insert(Error::io("look for a segment", path, e));
        }
    };
    let mut silent = None;
    let mut dirs = |d: &dyn Dir| -> Vec<Arc<dyn Dir>> {
        let names = d.list().unwrap_or_else(|e| {
            note(d.path().to_path_buf(), e);
            Vec::new()
        });
        let open = |e: Entry| d.open_dir(&e.name).map_err(|error| note(d.path().join(&e.name), error)).ok();
        names.into_iter().filter(|e| e.kind == Kind::Dir).filter_map(open).collect()
    };
    let shards = dirs(sessions);
    let found: Vec<Arc<dyn Dir>> = shards.iter().flat_map(|shard| dirs(&**shard)).collect();
    for session in found {
        let names = session.list().unwrap_or_else(|e| {
            note(session.path().to_path_buf(), e);
            Vec::new()
        });
        for name in names.into_iter().map(|e| e.name).filter(|n| parse_segment_name(n).is_some()) {
            let mut bytes = [0; SegmentHeader::LEN];
            let read = session.open(&name, Access::Read).and_then(|f| read_up_to_at(&*f, &mut bytes, 0));
            match read.map(|have| SegmentHeader::decode(bytes.get(..have).unwrap_or_default())) {
                Ok(Ok(header)) => return Ok(Some(header.store)),
                Ok(Err(_)) => silent = Some(session.path().join(&name)),
                Err(e) => note(session.path().join(&name), e),
            }
        }
    }
    match (trouble, silent) {
        (Some(e), _) => Err(e),
        (None, Some(path)) => Err(Error::corrupt(path, 0, "no segment tells the id of the store")),
        (None, None) => Ok(None),
    }
}
