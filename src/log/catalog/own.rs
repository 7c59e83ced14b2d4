//! The one file to which this instance appends.
//!
//! - Up to `end` there are good frames, from there on zeros: a frame that could not be written whole is
//!   taken back before anything else is written.
//! - Nothing is written beyond `allocated`, except more zeros: so most syncs change no metadata, and there
//!   is room for a few entries more when the disk is full.
//! - The file is locked from before it has its name until it is dropped or released.

use std::io;
use std::sync::Arc;

use super::file::{self, name_of};
use super::index;
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::{CatalogEntry, Chain, FRAMES, Header, MARKS, encode_mark};
use crate::fs::{Dir, File, write_all_at};
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
    /// Behind the last good frame.
    chain: Chain,
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
        let allocated = room(0, end);
        for (i, place) in MARKS.into_iter().enumerate() {
            head.resize(place, 0);
            head.extend_from_slice(&encode_mark(header.salt, place, if i == 0 { end } else { 0 }));
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
            chain,
            allocated,
            synced: end,
            mark: 1,
        })
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
        let wanted = room(self.allocated, end);
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
    /// tells damage from a torn end. It needs no sync of its own, and if it cannot be written the marks are
    /// merely older than they could be.
    pub(super) fn synced_to(&mut self, upto: u64) {
        if upto <= self.synced {
            return;
        }
        self.synced = upto;
        let Some(place) = MARKS.get(self.mark).copied() else { return };
        let mark = encode_mark(self.salt, place, upto);
        if write_all_at(&*self.file, &mark, place as u64).is_ok() {
            self.mark = 1 - self.mark;
        }
    }

    /// Syncs what is not durable yet, and gives back the space that was allocated ahead.
    pub(super) fn finish(&mut self, dir: &dyn Dir) -> Result<()> {
        let end = self.end();
        if self.file.set_len(end).is_ok() {
            self.allocated = end;
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

/// How much to allocate for `end` bytes, when `allocated` bytes are.
fn room(mut allocated: u64, end: u64) -> u64 {
    while allocated < end.saturating_add(RESERVE) {
        allocated += allocated.clamp(FIRST, STEP);
    }
    allocated
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

fn too_large(what: String) -> Error {
    Error::new(ErrorKind::TooLarge, "write the catalog").hint(what)
}
