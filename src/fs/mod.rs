//! The one door to the operating system.
//!
//! Everything the store does to a disk goes through [`Fs`], [`Dir`] and [`File`]: the real disk
//! ([`DiskFs`]) and the simulated one (`SimFs`, behind the feature `sim`) implement them, and one suite runs
//! against both.
//!
//! # What durable means here
//! - [`File::sync`] makes durable the file's bytes as they are when it is called, and of its metadata what
//!   is needed to read them (the length). It does **not** make the file's name durable.
//! - [`Dir::sync`] makes durable the entries of that directory: names that were created, renamed in or out,
//!   or removed. Not the content of what they name, and not the directory's own name in its parent.
//! - Nothing else is durable. Unsynced changes may survive a power cut in any combination and any order,
//!   torn at any sector.
//! - After a sync that failed nothing is known about what it covered, and a repeat proves nothing.
//! - No file is ever replaced: [`Dir::rename`] fails if the target exists.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

mod disk;
mod map;
mod name;
#[cfg(any(test, feature = "sim"))]
mod sim;
#[cfg(test)]
mod suite;

pub use disk::DiskFs;
pub use map::Map;
#[cfg(any(test, feature = "sim"))]
pub use sim::{Choice, Damage, Fault, SimCall, SimFs, SimOp, Snapshot};

/// A file system with a clock and a source of random numbers.
pub trait Fs: Send + Sync + fmt::Debug + 'static {
    /// Opens an existing directory as a root. Links in `path` itself are followed: it is the user's.
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>>;
    /// Creates the directory (0700) and its missing parents if it is not there, makes their names durable,
    /// and opens it.
    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>>;
    /// The wall clock, in microseconds since 1970 (UTC). May jump.
    fn now(&self) -> u64;
    /// Fills the buffer with random bytes that differ in every process.
    fn random(&self, buf: &mut [u8]) -> io::Result<()>;
    /// The id of the running process: another one after a fork.
    fn process(&self) -> u32;
    /// How many files this process may have open; `None` if nothing says so.
    fn most_files(&self) -> Option<u64> {
        None
    }
}

/// What something in a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A link, a pipe, a device, a socket.
    Other,
}

/// The identity of a file or directory while it exists: equal means the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ident {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name; bytes that are not UTF-8 are replaced (no name of the store's own has any).
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What is known of a name without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub len: u64,
    /// The bytes it takes on the medium (blocks).
    pub allocated: u64,
    /// Its identity.
    pub ident: Ident,
}

/// What a directory was like at a moment ([`Dir::stamp`]): another one after every change of the names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The directory.
    pub ident: Ident,
    /// Its changes, counted or dated.
    pub change: u128,
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
}

/// Where a directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// On a local file system.
    Local,
    /// On a network file system (or one in user space), by its name: locks and mappings may lie.
    Network(&'static str),
}

/// The room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// In all.
    pub total: u64,
    /// Free for this user.
    pub available: u64,
}

/// An open directory. Names are single components; the directory stays the same one when it is renamed.
///
/// Every method fails with `NotFound` for a name that is not there and `AlreadyExists` for one that was to
/// be new. Links are never followed.
pub trait Dir: Send + Sync + fmt::Debug + 'static {
    /// The path by which it was opened: for messages only.
    fn path(&self) -> &Path;
    /// Its identity.
    fn ident(&self) -> io::Result<Ident>;
    /// Opens a regular file, without waiting (a pipe does not hang). `InvalidInput` if it is not regular.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;
    /// Creates a file (0600) that must not exist, for reading and writing.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Creates a file (0600) under a new unique name that begins with `prefix` and ends in `.tmp`.
    fn create_temp(&self, prefix: &str) -> io::Result<(String, Arc<dyn File>)>;
    /// Opens a directory. `NotADirectory` if it is none.
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Dir>>;
    /// Creates a directory (0700) that must not exist.
    fn create_dir(&self, name: &str) -> io::Result<()>;
    /// Creates a directory (0700) under a new unique name that begins with `prefix` and ends in `.tmp`.
    fn create_temp_dir(&self, prefix: &str) -> io::Result<String>;
    /// The names in it, in no order, without `.` and `..`.
    fn list(&self) -> io::Result<Vec<Entry>>;
    /// What `name` is.
    fn stat(&self, name: &str) -> io::Result<Stat>;
    /// A stamp of the directory `name` in this one. Whoever takes it *before* he lists that directory may trust that
    /// list as long as he gets the same stamp. `None` if nothing tells (yet) whether the names have changed: a change
    /// that is so recent that another one might leave the same date, a system that does not date them.
    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        let _ = name;
        Ok(None)
    }
    /// Renames into `to` (of the same file system). Never replaces: `AlreadyExists` if the name is taken.
    fn rename(&self, from: &str, to: &dyn Dir, name: &str) -> io::Result<()>;
    /// Removes a file (or link).
    fn remove_file(&self, name: &str) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, name: &str) -> io::Result<()>;
    /// Makes the entries durable.
    fn sync(&self) -> io::Result<()>;
    /// The room on its file system.
    fn space(&self) -> io::Result<Space>;
    /// Where it lies.
    fn medium(&self) -> io::Result<Medium>;
    /// For implementations: the concrete type behind `rename`'s target.
    fn as_any(&self) -> &dyn Any;
}

/// An open file. Closing it (the last `Arc` dropped) releases a lock that is still held.
pub trait File: Send + Sync + fmt::Debug + 'static {
    /// Reads at most `buf.len()` bytes at `offset`; 0 at the end of the file. May be short.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at most `buf.len()` bytes at `offset`, growing the file if it must. May be short.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True if there is not one byte in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Its identity.
    fn ident(&self) -> io::Result<Ident>;
    /// Takes the exclusive lock on the file without waiting: false if somebody else (an other process, or
    /// another opening of the file in this one) holds it. The kernel releases it with the process.
    fn try_lock(&self) -> io::Result<bool>;
    /// Releases the lock.
    fn unlock(&self) -> io::Result<()>;
    /// Maps the first `len` bytes for reading, or `None` where that is not possible. The caller promises
    /// that these bytes are never changed or cut while the map lives (see [`Map`]).
    fn map(&self, len: usize) -> io::Result<Option<Map>>;
}

/// How the names of [`sync_anew`] begin.
const ANEW: &str = "sync-";

/// Whether this is what a [`sync_anew`] left that was killed.
pub(crate) fn is_sync_leftover(name: &str) -> bool {
    name.starts_with(ANEW) && name.ends_with(name::TEMP_SUFFIX)
}

/// Makes the entries of a directory durable that somebody else may have left without a sync, or after one that
/// failed. Merely to repeat that one would prove nothing, so the directory gets a new entry first, which goes
/// again. Where there is no room for one, nothing can be proved, and that is the error.
pub(crate) fn sync_anew(dir: &dyn Dir) -> io::Result<()> {
    make_dirty(dir)?;
    dir.sync()
}

/// Gives the directory a new entry, and takes it again: the next sync writes all that is in it.
pub(crate) fn make_dirty(dir: &dyn Dir) -> io::Result<()> {
    let (name, _) = dir.create_temp(ANEW)?;
    match dir.remove_file(&name) {
        // Another process swept it away.
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The same for the directory above a store, which is not ours: where nothing can be made in it, neither was what is found there,
/// and a sync must do.
#[cfg(any(unix, test, feature = "sim"))]
pub(crate) fn sync_foreign(dir: &dyn Dir) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match sync_anew(dir) {
        Err(e) if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem) => dir.sync(),
        done => done,
    }
}

/// Reads exactly `buf.len()` bytes at `offset`; `UnexpectedEof` if the file ends before.
pub fn read_exact_at(file: &dyn File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = buf.get_mut(n..).unwrap_or_default();
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; returns how much there was.
pub fn read_up_to_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(buf.get_mut(done..).unwrap_or_default(), offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of `buf` at `offset`.
pub fn write_all_at(file: &dyn File, buf: &[u8], offset: u64) -> io::Result<()> {
    write_at_counted(file, buf, offset).1
}

/// Writes all of `buf` at `offset`, and counts the bytes that were taken before a call failed.
pub(crate) fn write_at_counted(file: &dyn File, buf: &[u8], offset: u64) -> (usize, io::Result<()>) {
    let mut done = 0;
    while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, offset + done as u64) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (done, Err(e)),
        }
    }
    (done, Ok(()))
}
