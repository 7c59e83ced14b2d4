//! An open directory of the simulated disk.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{Effect, SimOp};
use super::file::SimFile;
use super::process::SimFs;
use super::state::State;
use crate::fs::name::{TEMP_SUFFIX, check, check_prefix};
use crate::fs::{Access, Dir, Entry, File, Fs, Ident, Kind, Medium, Space, Stamp, Stat};

const BLOCK: u64 = 4096;
const TOTAL: u64 = 1 << 40;

#[derive(Debug)]
pub(super) struct SimDir {
    fs: SimFs,
    inode: u64,
    path: Arc<Path>,
}

impl SimDir {
    pub(super) fn new(fs: SimFs, inode: u64, path: PathBuf) -> SimDir {
        SimDir { fs, inode, path: path.into() }
    }

    fn run<T>(
        &self,
        op: SimOp,
        name: &str,
        work: impl FnOnce(&mut State, Effect) -> io::Result<T>,
    ) -> io::Result<T> {
        self.fs.run(op, &self.path, name, work)
    }

    /// Opens a directory in it.
    pub(super) fn child(&self, name: &str) -> io::Result<SimDir> {
        check(name)?;
        let child = self.run(SimOp::Open, name, |state, _| state.dir(self.inode)?.get(name))?;
        if child.kind != Kind::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(SimDir::new(self.fs.clone(), child.inode, self.path.join(name)))
    }

    fn file(&self, state: &mut State, inode: u64, access: Access, name: &str) -> Arc<dyn File> {
        let (dir, name) = (self.path.clone(), name.to_owned());
        Arc::new(SimFile::new(self.fs.clone(), inode, state.new_opening(), access, dir, name))
    }

    /// A name that is not taken, from the random numbers of the process.
    fn unique(&self, state: &mut State, prefix: &str) -> io::Result<String> {
        loop {
            let name = format!("{prefix}{:08x}{TEMP_SUFFIX}", state.random(self.fs.process()) >> 32);
            if state.dir(self.inode)?.get(&name).is_err() {
                return Ok(name);
            }
        }
    }
}

impl Dir for SimDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn ident(&self) -> io::Result<Ident> {
        self.run(SimOp::Stat, "", |state, _| Ok(state.ident(self.inode)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        check(name)?;
        self.run(SimOp::Open, name, |state, _| {
            let child = state.dir(self.inode)?.get(name)?;
            if child.kind != Kind::File {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            Ok(self.file(state, child.inode, access, name))
        })
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        check(name)?;
        self.run(SimOp::Create, name, |state, _| {
            let inode = state.create(self.inode, name, Kind::File)?;
            Ok(self.file(state, inode, Access::Write, name))
        })
    }

    fn create_temp(&self, prefix: &str) -> io::Result<(String, Arc<dyn File>)> {
        check_prefix(prefix)?;
        self.run(SimOp::Create, prefix, |state, _| {
            let name = self.unique(state, prefix)?;
            let inode = state.create(self.inode, &name, Kind::File)?;
            let file = self.file(state, inode, Access::Write, &name);
            Ok((name, file))
        })
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(self.child(name)?))
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        check(name)?;
        self.run(SimOp::Create, name, |state, _| state.create(self.inode, name, Kind::Dir).map(drop))
    }

    fn create_temp_dir(&self, prefix: &str) -> io::Result<String> {
        check_prefix(prefix)?;
        self.run(SimOp::Create, prefix, |state, _| {
            let name = self.unique(state, prefix)?;
            state.create(self.inode, &name, Kind::Dir)?;
            Ok(name)
        })
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.run(SimOp::List, "", |state, _| {
            let entry =
                |(name, child): (&String, super::node::Child)| Entry { name: name.clone(), kind: child.kind };
            let mut entries: Vec<Entry> = state.dir(self.inode)?.entries().map(entry).collect();
            // No order is promised, so none is to be relied upon.
            for last in (1..entries.len()).rev() {
                let other = state.random(self.fs.process()) % (last as u64 + 1);
                entries.swap(last, other as usize);
            }
            Ok(entries)
        })
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        check(name)?;
        self.run(SimOp::Stat, name, |state, _| {
            let child = state.dir(self.inode)?.get(name)?;
            let len = match child.kind {
                Kind::File => state.file(child.inode)?.len(),
                _ => BLOCK,
            };
            let allocated = len.div_ceil(BLOCK) * BLOCK;
            Ok(Stat { kind: child.kind, len, allocated, ident: state.ident(child.inode) })
        })
    }

    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        check(name)?;
        self.run(SimOp::Stat, name, |state, _| {
            let child = state.dir(self.inode)?.get(name)?;
            if child.kind != Kind::Dir {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            let change = u128::from(state.dir(child.inode)?.changes());
            Ok(Some(Stamp { ident: state.ident(child.inode), change }))
        })
    }

    fn rename(&self, from: &str, to: &dyn Dir, name: &str) -> io::Result<()> {
        check(from)?;
        check(name)?;
        let to: &SimDir = to.as_any().downcast_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the target is a directory of another file system")
        })?;
        if !self.fs.same_disk(&to.fs) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        to.run(SimOp::Rename, name, |state, _| state.rename(self.inode, from, to.inode, name))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        check(name)?;
        self.run(SimOp::Remove, name, |state, _| state.remove(self.inode, name, Kind::File))
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        check(name)?;
        self.run(SimOp::Remove, name, |state, _| state.remove(self.inode, name, Kind::Dir))
    }

    fn sync(&self) -> io::Result<()> {
        self.run(SimOp::SyncDir, "", |state, effect| {
            let dir = state.dir(self.inode)?;
            match effect {
                Effect::Drop(_) => dir.drop_dirty(),
                Effect::Lie | Effect::Wrong => {}
                Effect::Early => dir.sync_but_last(),
                _ => dir.sync(),
            }
            Ok(())
        })
    }

    fn space(&self) -> io::Result<Space> {
        self.run(SimOp::Stat, "", |state, _| {
            let used = state.files.values().map(|file| file.len()).fold(0, u64::saturating_add);
            Ok(Space { total: TOTAL, available: state.room.unwrap_or(TOTAL.saturating_sub(used)) })
        })
    }

    fn medium(&self) -> io::Result<Medium> {
        self.run(SimOp::Stat, "", |_, _| Ok(Medium::Local))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
