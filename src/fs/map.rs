//! Bytes of a file in memory, mapped where that is possible: the one file with `unsafe` in it.
#![allow(unsafe_code, reason = "mapping a file cannot be had without it; every block carries its proof")]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

/// The first bytes of a file, for reading.
///
/// It lives on when the file is closed, renamed or removed. Clones are cheap and share the bytes.
///
/// # The rule that makes it sound
/// A file with a final name is never overwritten or cut below the end of its durable records, nor recycled (rule 1 for
/// files): only what was not acknowledged as durable may be taken back, or, in a segment that is not sealed, be
/// written once more as it is. Whoever calls [`super::File::map`] promises to ask
/// for no more than such a prefix; the store maps sealed segments alone. So the bytes
/// never change under the reader, here or in another process, and never vanish (which would kill the
/// process with a signal at the next access). The simulated disk answers a write or a cut that breaks this
/// rule with an error, so that a test notices it.
#[derive(Clone)]
pub struct Map(Bytes);

#[derive(Clone)]
enum Bytes {
    #[cfg(not(miri))]
    Mapped(Arc<memmap2::Mmap>),
    Owned(Arc<[u8]>),
}

// Readers on other threads hold messages that borrow from a map.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Map>();
};

impl Map {
    /// Maps the first `len` bytes of `file`; `UnexpectedEof` if it is shorter. `None` where files cannot be
    /// mapped (under Miri).
    pub(super) fn of_file(file: &File, len: usize) -> io::Result<Option<Map>> {
        // Pages that lie wholly behind the end of the file can be mapped, but to touch one is fatal.
        if file.metadata()?.len() < len as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if len == 0 {
            return Ok(Some(Map::from(Vec::new())));
        }
        #[cfg(miri)]
        return Ok(None);
        #[cfg(not(miri))]
        {
            // SAFETY: A mapping is unsound if the mapped bytes change or the file is cut below them while it
            // lives. `len` does not go beyond the end of the file (checked above), and the caller has
            // promised that the prefix is one that the store never writes again: sealed segments are
            // not overwritten or cut below the end of what is durable in them, and not recycled, by any thread or
            // process that goes through this library; removing or renaming the file leaves its pages alone. The
            // directories are 0700, so only the user's own programs could break this from outside, as they
            // could write to this process's memory. The mapping is private and read-only, so nothing
            // changes through it either.
            let map = unsafe { memmap2::MmapOptions::new().len(len).map(file)? };
            Ok(Some(Map(Bytes::Mapped(Arc::new(map)))))
        }
    }

    /// Tells the system that reads will be scattered, so that it does not read ahead. A hint: it cannot fail.
    pub fn advise_random(&self) {
        #[cfg(all(unix, not(miri)))]
        if let Bytes::Mapped(map) = &self.0 {
            let _ = map.advise(memmap2::Advice::Random);
        }
    }

    /// Brings `len` bytes from `offset` on into memory at once, which is cheaper than a fault for each page of a long read.
    /// Where the system cannot do that it is a hint, and no error.
    ///
    /// # Errors
    /// They cannot be had, because the disk fails or because somebody cut the file: to touch them would kill the process with
    /// a signal. Reading the file says why. (Only Linux tells, since 5.14.)
    pub fn populate(&self, offset: usize, len: usize) -> io::Result<()> {
        #[cfg(all(unix, not(miri)))]
        if let Bytes::Mapped(map) = &self.0 {
            let len = len.min(map.len().saturating_sub(offset));
            if len == 0 {
                return Ok(());
            }
            #[cfg(target_os = "linux")]
            match map.advise_range(memmap2::Advice::PopulateRead, offset, len) {
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
                done => return done,
            }
            // This one begins to read and does not wait.
            let _ = map.advise_range(memmap2::Advice::WillNeed, offset, len);
        }
        #[cfg(not(all(unix, not(miri))))]
        let _ = (offset, len);
        Ok(())
    }
}

impl From<Arc<[u8]>> for Map {
    /// Bytes that were copied from a file, for file systems that cannot map.
    fn from(bytes: Arc<[u8]>) -> Map {
        Map(Bytes::Owned(bytes))
    }
}

impl From<Vec<u8>> for Map {
    /// Bytes that were copied from a file, for file systems that cannot map.
    fn from(bytes: Vec<u8>) -> Map {
        Map(Bytes::Owned(bytes.into()))
    }
}

impl Deref for Map {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            #[cfg(not(miri))]
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Map {
    /// The length alone: the content is the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} bytes)", self.len())
    }
}
