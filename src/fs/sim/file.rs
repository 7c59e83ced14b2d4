//! An open file of the simulated disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::fault::{Effect, SimOp};
use super::process::SimFs;
use super::state::State;
use crate::fs::{Access, File, Fs, Ident, Map};

/// One opening: it is what holds a lock.
#[derive(Debug)]
pub(super) struct SimFile {
    fs: SimFs,
    inode: u64,
    opening: u64,
    access: Access,
    dir: Arc<Path>,
    name: String,
}

impl SimFile {
    pub(super) fn new(
        fs: SimFs,
        inode: u64,
        opening: u64,
        access: Access,
        dir: Arc<Path>,
        name: String,
    ) -> SimFile {
        SimFile { fs, inode, opening, access, dir, name }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.access == Access::Read {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading"));
        }
        Ok(())
    }

    fn run<T>(&self, op: SimOp, work: impl FnOnce(&mut State, Effect) -> io::Result<T>) -> io::Result<T> {
        self.fs.run(op, &self.dir, &self.name, work)
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.run(SimOp::Read, |state, effect| {
            let n = effect.limit(buf.len());
            Ok(state.file(self.inode)?.read(buf.get_mut(..n).unwrap_or_default(), offset))
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        self.run(SimOp::Write, |state, effect| {
            state.write(self.inode, buf.get(..effect.limit(buf.len())).unwrap_or_default(), offset)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.run(SimOp::Sync, |state, effect| {
            if effect == Effect::Wrong {
                let others = state.files.iter_mut().filter(|(inode, _)| **inode != self.inode);
                others.for_each(|(_, file)| file.sync());
                return Ok(());
            }
            let file = state.file(self.inode)?;
            match effect {
                Effect::Drop(_) => file.drop_dirty(),
                Effect::Lie => {}
                Effect::Early => file.sync_but_last(),
                _ => file.sync(),
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.run(SimOp::Stat, |state, _| Ok(state.file(self.inode)?.len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.run(SimOp::SetLen, |state, _| state.set_len(self.inode, len))
    }

    fn ident(&self) -> io::Result<Ident> {
        self.run(SimOp::Stat, |state, _| Ok(state.ident(self.inode)))
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.run(SimOp::Lock, |state, _| Ok(state.try_lock(self.inode, self.opening, self.fs.process())))
    }

    fn unlock(&self) -> io::Result<()> {
        self.run(SimOp::Unlock, |state, _| {
            state.unlock(self.inode, self.opening);
            Ok(())
        })
    }

    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        self.run(SimOp::Map, |state, _| state.file(self.inode)?.map(len).map(Some))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.fs.state().unlock(self.inode, self.opening);
    }
}
