//! The one file to which this instance appends.
//!
//! - Up to `end` there are good frames, from there on zeros: a frame that could not be written whole is
//!   taken back before anything else is written.
//! - Nothing is written beyond `allocated`, except more zeros: so most syncs change no metadata, and there
//!   is room for a few entries more when the disk is full.
//! - The file is locked from before it has its name until it is dropped or released.

use std::io;
use std::sync::Arc;

use super::file::{self, Source, name_of};
use super::index;
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::{CatalogEntry, Chain, FRAMES, Header, MARKS, Mark};
use crate::fs::{Access, Dir, File, write_all_at};
use crate::ids::StoreId;

/// The space that is allocated at first; it doubles from there.
const FIRST: u64 = 4 << 10;
/// The largest step in which space is allocated.
const STEP: u64 = 64 << 10;
/// The room that is kept behind the last frame, for a full disk.
const RESERVE: u64 = 1 << 10;
/// How often a temporary file is made anew because a sweep in another process took it for a dead one's.
const ATTEMPTS: usize = 8;

#[derive(Debug)]
pub(super) struct Own {
    name: String,
    /// Its name until it is published.
    temporary: String,
    file: Arc<dyn File>,
    salt: u64,
    generation: u32,
    pid: u32,
    /// Behind the last good frame.
    chain: Chain,
    /// Where this instance began to write.
    begun: u64,
    allocated: u64,
    synced: u64,
    /// Which of the two marks is written next: the one that is older.
    mark: usize,
}

/// A failed append: nothing was appended.
pub(super) struct Failed {
    pub(super) error: Error,
    /// What was written could not be taken back: the file must not be written again.
    pub(super) broken: bool,
}

impl Own {
    /// Writes a new file with these entries under a temporary name, locked and synced.
    pub(super) fn prepare<'a>(
        dir: &dyn Dir,
        header: Header,
        entries: impl IntoIterator<Item = &'a CatalogEntry>,
    ) -> Result<Own> {
        let (mut head, mut chain) = header.encode();
        let mut frames = Vec::new();
        for entry in entries {
            chain.push(entry, &mut frames).map_err(too_large)?;
        }
        let end = chain.offset() as u64;
        let allocated = room(0, 0, end);
        for (index, place) in MARKS.into_iter().enumerate() {
            head.resize(place, 0);
            let mark = Mark { durable: if index == 0 { end } else { 0 }, index, pid: header.pid };
            head.extend_from_slice(&mark.encode(header.salt));
        }
        head.resize(FRAMES, 0);
        head.append(&mut frames);
        head.resize(usize::try_from(allocated).unwrap_or(head.len()).max(head.len()), 0);

        let doing = "start a catalog file";
        let fail = |e| Error::io(doing, dir.path(), e);
        let (temporary, file) = locked_temp(dir).map_err(fail)?;
        if let Err(e) = write_all_at(&*file, &head, 0).and_then(|()| file.sync()) {
            // Whoever sweeps next removes what stays here now.
            let _ = dir.remove_file(&temporary);
            return Err(fail(e));
        }
        Ok(Own {
            name: name_of(header.salt),
            temporary,
            file,
            salt: header.salt,
            generation: header.generation,
            pid: header.pid,
            chain,
            begun: 0,
            allocated,
            synced: end,
            mark: 1,
        })
    }

    /// Goes on in a file of this length that another instance left: nothing but zeros stands behind its frames, and all of them
    /// are durable. The caller has the lock on it.
    pub(super) fn go_on(file: Arc<dyn File>, len: u64, source: &Source, mark: Mark, pid: u32) -> Own {
        let end = source.end;
        Own {
            name: source.name.clone(),
            temporary: String::new(),
            file,
            salt: source.header.salt,
            generation: source.header.generation,
            pid,
            chain: source.chain(),
            begun: end,
            allocated: len,
            synced: end,
            mark: 1 - mark.index,
        }
    }

    /// Gives it its name, durably. After an error it may or may not have the name, now or after a crash.
    pub(super) fn publish(&self, dir: &dyn Dir) -> Result<()> {
        dir.rename(&self.temporary, dir, &self.name)
            .and_then(|()| dir.sync())
            .map_err(|e| Error::io("start a catalog file", dir.path().join(&self.name), e))
    }

    /// Removes a file that was never published. True if that worked; if not, whoever sweeps next does it.
    pub(super) fn discard(&self, dir: &dyn Dir) -> bool {
        dir.remove_file(&self.temporary).is_ok()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    pub(super) fn end(&self) -> u64 {
        self.chain.offset() as u64
    }

    pub(super) fn synced(&self) -> u64 {
        self.synced
    }

    /// Appends entries, all or none; a sync is needed for them to be durable.
    pub(super) fn append(&mut self, dir: &dyn Dir, entries: &[CatalogEntry]) -> Result<(), Failed> {
        let mut chain = self.chain;
        let mut bytes = Vec::new();
        for entry in entries {
            let pushed = chain.push(entry, &mut bytes);
            pushed.map_err(|what| Failed { error: too_large(what), broken: false })?;
        }
        let (start, end) = (self.end(), chain.offset() as u64);
        let fail = |e| Error::io("write the catalog", dir.path().join(&self.name), e);
        let wanted = room(self.begun, self.allocated, end);
        if let Err(e) = zero(&*self.file, self.allocated, wanted) {
            // What was written of the zeros changes nothing: zeros are the end. It is given back because
            // others may need the room.
            let _ = self.file.set_len(self.allocated);
            if end > self.allocated {
                return Err(Failed { error: fail(e), broken: false });
            }
        } else {
            self.allocated = wanted;
        }
        if let Err(e) = write_all_at(&*self.file, &bytes, start) {
            let broken = zero(&*self.file, start, end).is_err();
            return Err(Failed { error: fail(e), broken });
        }
        self.chain = chain;
        Ok(())
    }

    /// Notes that a sync made everything before `upto` durable, in the file too: with this mark a reader
    /// tells damage from a torn end, and who goes on in it that it has its name durably. It needs no sync of its
    /// own, and if it cannot be written the marks are merely older than they could be.
    pub(super) fn synced_to(&mut self, upto: u64) {
        if upto <= self.synced {
            return;
        }
        self.synced = upto;
        let Some(place) = MARKS.get(self.mark).copied() else { return };
        let mark = Mark { durable: upto, index: self.mark, pid: self.pid }.encode(self.salt);
        if write_all_at(&*self.file, &mark, place as u64).is_ok() {
            self.mark = 1 - self.mark;
        }
    }

    /// Syncs what is not durable yet, and gives back the space that was allocated ahead, but for what takes none: who goes on
    /// in the file changes no metadata as long as that lasts.
    pub(super) fn finish(&mut self, dir: &dyn Dir) -> Result<()> {
        let end = self.end();
        let kept = end.next_multiple_of(FIRST);
        if kept < self.allocated && self.file.set_len(kept).is_ok() {
            self.allocated = kept;
        }
        if self.synced < end {
            let fail = |e| Error::io("sync the catalog", dir.path().join(&self.name), e);
            self.file.sync().map_err(fail)?;
            self.synced_to(end);
        }
        Ok(())
    }

    /// Writes the index of the file, if it is long. Nothing may be appended to it any more.
    pub(super) fn write_index(&self, dir: &dyn Dir, store: &StoreId) -> io::Result<()> {
        let len = self.file.len()?;
        if len < index::LONG {
            return Ok(());
        }
        // One that cannot be read has none.
        file::load_from(&*self.file, &self.name, store, None).map_or(Ok(()), |s| index::write(dir, &s, len))
    }

    /// Lets go of the lock, explicitly: a forked child may still have the descriptor.
    pub(super) fn release(&self) {
        // The descriptor is closed right after this, which releases it just as well.
        let _ = self.file.unlock();
    }
}

/// How much to allocate for `end` bytes, when `allocated` bytes are: more and more, from where this instance began.
fn room(begun: u64, mut allocated: u64, end: u64) -> u64 {
    while allocated < end.saturating_add(RESERVE) {
        allocated += allocated.saturating_sub(begun).clamp(FIRST, STEP);
    }
    // One that an older program closed ends anywhere.
    allocated.next_multiple_of(FIRST)
}

fn zero(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let len = usize::try_from(to.saturating_sub(from)).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if len == 0 { Ok(()) } else { write_all_at(file, &vec![0; len], from) }
}

/// A temporary file that is locked, and still has its name.
fn locked_temp(dir: &dyn Dir) -> io::Result<(String, Arc<dyn File>)> {
    for _ in 0..ATTEMPTS {
        let (name, file) = dir.create_temp("catalog-")?;
        if !file.try_lock()? {
            continue;
        }
        match dir.stat(&name) {
            Ok(stat) if stat.ident == file.ident()? => return Ok((name, file)),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("temporary files disappear as soon as they are made"))
}

/// Opens and locks a file, unless it is alive, gone, or cannot be opened.
pub(super) fn lock_dead(dir: &dyn Dir, name: &str) -> Option<Arc<dyn File>> {
    let file = dir.open(name, Access::Write).ok()?;
    if !file.try_lock().ok()? {
        return None;
    }
    // Who took it over may have removed it between the opening and the locking.
    match (dir.stat(name), file.ident()) {
        (Ok(stat), Ok(ident)) if stat.ident == ident => Some(file),
        _ => None,
    }
}

fn too_large(what: String) -> Error {
    Error::new(ErrorKind::TooLarge, "write the catalog").hint(what)
}
