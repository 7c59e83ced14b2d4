//! An open file of the simulated disk.

use std::io;

use super::process::SimFs;
use super::state::Op;
use crate::fs::{Access, File, Fs, Ident, Map};

/// One opening: it is what holds a lock.
#[derive(Debug)]
pub(super) struct SimFile {
    fs: SimFs,
    inode: u64,
    opening: u64,
    access: Access,
}

impl SimFile {
    pub(super) fn new(fs: SimFs, inode: u64, opening: u64, access: Access) -> SimFile {
        SimFile { fs, inode, opening, access }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.access == Access::Read {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading"));
        }
        Ok(())
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.fs.enter(Op::Read)?.file(self.inode)?.read(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        self.fs.enter(Op::Write)?.file(self.inode)?.write(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.enter(Op::Sync)?.file(self.inode)?.sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.enter(Op::Stat)?.file(self.inode)?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.fs.enter(Op::SetLen)?.file(self.inode)?.set_len(len)
    }

    fn ident(&self) -> io::Result<Ident> {
        drop(self.fs.enter(Op::Stat)?);
        Ok(self.fs.ident(self.inode))
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(self.fs.enter(Op::Lock)?.try_lock(self.inode, self.opening, self.fs.process()))
    }

    fn unlock(&self) -> io::Result<()> {
        self.fs.enter(Op::Unlock)?.unlock(self.inode, self.opening);
        Ok(())
    }

    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        self.fs.enter(Op::Map)?.file(self.inode)?.map(len).map(Some)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.fs.state().unlock(self.inode, self.opening);
    }
}
