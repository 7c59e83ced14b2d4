//! A disk with a volatile cache: a file in a file system of this process, which remembers what was written since the last
//! flush, and can lose any part of that.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request,
    Session, TimeOrNow, WriteFlags,
};

use crate::support::Rng;

/// The name of the one file.
pub(crate) const NAME: &str = "disk";
const INODE: u64 = 2;
/// What a disk writes whole, or not at all.
const SECTOR: usize = 512;

/// What the power takes of the writes that no flush made durable.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    Everything,
    Nothing,
    /// All behind one of them.
    Tail,
    /// Any of them.
    Writes,
    /// Any blocks of them.
    Blocks,
    /// Any sectors of them.
    Sectors,
}

impl Loss {
    pub(crate) const ALL: [Loss; 6] =
        [Loss::Everything, Loss::Nothing, Loss::Tail, Loss::Writes, Loss::Blocks, Loss::Sectors];
}

struct Write {
    at: u64,
    before: Vec<u8>,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// Since the last flush, in order.
    pending: Vec<Write>,
    /// Flushes wait: these do.
    held: bool,
    waiting: Vec<ReplyEmpty>,
    /// So many of the pending writes came before the power went. From then on nothing becomes durable.
    off: Option<usize>,
    /// Flushes that were lies.
    lies: u64,
    flushes: u64,
    /// Every so-manieth flush says that it was done, and was not.
    lie_each: Option<u64>,
}

pub(crate) struct Disk {
    file: File,
    len: u64,
    state: Mutex<State>,
}

impl Disk {
    /// A disk of `len` zeros, kept in `file`. Every so-manieth flush is a lie, if that is wanted.
    pub(crate) fn new(file: File, len: u64, lie_each: Option<u64>) -> io::Result<Arc<Disk>> {
        file.set_len(len)?;
        let state = Mutex::new(State { lie_each, ..State::default() });
        Ok(Arc::new(Disk { file, len, state }))
    }

    /// Shows it as a file in the directory `at`, until what is returned is dropped.
    pub(crate) fn show(self: &Arc<Disk>, at: &Path) -> io::Result<BackgroundSession> {
        Session::new(Server(self.clone()), at, &Config::default())?.spawn()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no flush ends: who waits for one learns nothing.
    pub(crate) fn hold(&self) {
        self.state().held = true;
    }

    /// The power is gone: flushes end, and do nothing.
    pub(crate) fn off(&self) {
        let mut state = self.state();
        state.off = Some(state.pending.len());
        state.held = false;
        state.waiting.drain(..).for_each(ReplyEmpty::ok);
    }

    /// The power is back: of what was not durable, something is there. Nobody may use the disk meanwhile. The number of
    /// writes that were at stake, and how many of them are there in full.
    pub(crate) fn on(&self, loss: Loss, rng: &mut Rng) -> io::Result<(usize, usize)> {
        let mut state = self.state();
        for write in state.pending.iter().rev() {
            self.file.write_all_at(&write.before, write.at)?;
        }
        let count = state.off.take().unwrap_or(0);
        let tail = rng.below(count as u64 + 1) as usize;
        let mut whole = 0;
        for (index, write) in state.pending.iter().take(count).enumerate() {
            let piece = match loss {
                Loss::Blocks => 8 * SECTOR,
                Loss::Sectors => SECTOR,
                _ => write.bytes.len().max(1),
            };
            let mut all = true;
            for (n, bytes) in write.bytes.chunks(piece).enumerate() {
                let there = match loss {
                    Loss::Everything => false,
                    Loss::Nothing => true,
                    Loss::Tail => index < tail,
                    Loss::Writes | Loss::Blocks | Loss::Sectors => rng.below(2) == 0,
                };
                all &= there;
                if there {
                    self.file.write_all_at(bytes, write.at + (n * piece) as u64)?;
                }
            }
            whole += usize::from(all);
        }
        state.pending.clear();
        Ok((count, whole))
    }

    /// Flushes until now, and how many of them were lies.
    pub(crate) fn flushes(&self) -> (u64, u64) {
        let state = self.state();
        (state.flushes, state.lies)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let mut before = vec![0; bytes.len()];
        self.file.read_exact_at(&mut before, at)?;
        self.file.write_all_at(bytes, at)?;
        state.pending.push(Write { at, before, bytes: bytes.to_vec() });
        Ok(())
    }

    fn flush(&self, reply: ReplyEmpty) {
        let mut state = self.state();
        if state.held {
            return state.waiting.push(reply);
        }
        if state.off.is_none() {
            state.flushes += 1;
            if state.lie_each.is_some_and(|each| state.flushes.is_multiple_of(each)) {
                state.lies += 1;
            } else {
                state.pending.clear();
            }
        }
        reply.ok();
    }

    fn attributes(&self, inode: u64) -> Option<FileAttr> {
        let (kind, size) = match inode {
            1 => (FileType::Directory, 0),
            INODE => (FileType::RegularFile, self.len),
            _ => return None,
        };
        Some(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        })
    }
}

const FOREVER: Duration = Duration::from_secs(1 << 20);

/// The disk as the kernel asks for it, one request after the other.
struct Server(Arc<Disk>);

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.attributes(INODE) {
            Some(attributes) if name == NAME => reply.entry(&FOREVER, &attributes, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.attributes(inode.into()) {
            Some(attributes) => reply.attr(&FOREVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Times are not kept.
    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, inode, handle, reply);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = self.0.len.saturating_sub(offset).min(size.into());
        let mut bytes = vec![0; len as usize];
        match self.0.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(offset, bytes) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.0.flush(reply);
    }
}
