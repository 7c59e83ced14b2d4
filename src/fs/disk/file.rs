//! An open file on Unix.

use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::fs::{File, Ident, Map};

/// A regular file that was opened or created by a [`super::unix::DiskDir`].
#[derive(Debug)]
pub(super) struct DiskFile(pub(super) std::fs::File);

impl File for DiskFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // On macOS std makes an F_FULLFSYNC of it, which reaches the medium.
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn ident(&self) -> io::Result<Ident> {
        let meta = self.0.metadata()?;
        Ok(Ident { device: meta.dev(), inode: meta.ino() })
    }

    fn try_lock(&self) -> io::Result<bool> {
        loop {
            return match self.0.try_lock() {
                Ok(()) => Ok(true),
                Err(TryLockError::WouldBlock) => Ok(false),
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(TryLockError::Error(e)) => Err(e),
            };
        }
    }

    fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }

    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        Map::of_file(&self.0, len)
    }
}
