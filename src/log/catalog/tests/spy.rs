//! A file system that counts, looks and fails on command, in front of the simulated one.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    Create,
    DirSync,
}

type Hook = Box<dyn FnMut(Op) -> io::Result<()> + Send>;
type Opened = Box<dyn FnMut(&str) + Send>;
type Locked = Box<dyn FnMut() + Send>;

#[derive(Default)]
struct Shared {
    /// Asked before every op that changes something; an error is what the op fails with.
    before: Option<Hook>,
    /// Called before a file is opened by name.
    opening: Option<Opened>,
    /// Called before a file is locked.
    locking: Option<Locked>,
    ops: Vec<Op>,
    /// No file may grow beyond this.
    full: Option<u64>,
}

#[derive(Clone)]
pub(super) struct Spy {
    pub(super) sim: SimFs,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for Spy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spy")
    }
}

impl Spy {
    pub(super) fn new(sim: SimFs) -> Spy {
        Spy { sim, shared: Arc::default() }
    }

    pub(super) fn before(&self, hook: impl FnMut(Op) -> io::Result<()> + Send + 'static) {
        self.shared.lock().before = Some(Box::new(hook));
    }

    /// Lets so many ops pass that change something, and fails all others; what a power cut before the first of these leaves.
    pub(super) fn fail_after(&self, mut ops: usize) -> Arc<Mutex<Option<SimFs>>> {
        let cut = Arc::new(Mutex::new(None));
        let (at_cut, disk) = (cut.clone(), self.sim.clone());
        self.before(move |_| {
            if ops > 0 {
                ops -= 1;
                return Ok(());
            }
            at_cut.lock().get_or_insert_with(|| disk.crash_copy());
            Err(io::ErrorKind::Other.into())
        });
        cut
    }

    /// From now on no file can grow beyond this length.
    pub(super) fn full(&self, len: u64) {
        self.shared.lock().full = Some(len);
    }

    pub(super) fn calm(&self) {
        self.shared.lock().before = None;
    }

    /// Fails every op of this kind until calmed.
    pub(super) fn fail(&self, which: Op, kind: io::ErrorKind) {
        self.before(move |op| if op == which { Err(kind.into()) } else { Ok(()) });
    }

    pub(super) fn opening(&self, hook: impl FnMut(&str) + Send + 'static) {
        self.shared.lock().opening = Some(Box::new(hook));
    }

    pub(super) fn locking(&self, hook: impl FnMut() + Send + 'static) {
        self.shared.lock().locking = Some(Box::new(hook));
    }

    pub(super) fn count(&self, which: Op) -> usize {
        self.shared.lock().ops.iter().filter(|op| **op == which).count()
    }

    fn pass(&self, op: Op) -> io::Result<()> {
        let mut hook = {
            let mut shared = self.shared.lock();
            shared.ops.push(op);
            shared.before.take()
        };
        let result = hook.as_mut().map_or(Ok(()), |hook| hook(op));
        let mut shared = self.shared.lock();
        if shared.before.is_none() {
            shared.before = hook;
        }
        result
    }

    fn dir(&self, inner: Arc<dyn Dir>) -> Arc<dyn Dir> {
        Arc::new(SpyDir { inner, spy: self.clone() })
    }

    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(SpyFile { inner, spy: self.clone() })
    }
}

impl Fs for Spy {
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(self.dir(self.sim.open_root(path)?))
    }
    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(self.dir(self.sim.create_root(path)?))
    }
    fn now(&self) -> u64 {
        self.sim.now()
    }
    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        self.sim.random(buf)
    }
    fn process(&self) -> u32 {
        self.sim.process()
    }
}

#[derive(Debug)]
struct SpyDir {
    inner: Arc<dyn Dir>,
    spy: Spy,
}

impl Dir for SpyDir {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn ident(&self) -> io::Result<Ident> {
        self.inner.ident()
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let hook = self.spy.shared.lock().opening.take();
        if let Some(mut hook) = hook {
            hook(name);
            self.spy.shared.lock().opening = Some(hook);
        }
        Ok(self.spy.file(self.inner.open(name, access)?))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.spy.pass(Op::Create)?;
        Ok(self.spy.file(self.inner.create(name)?))
    }
    fn create_temp(&self, prefix: &str) -> io::Result<(String, Arc<dyn File>)> {
        self.spy.pass(Op::Create)?;
        let (name, file) = self.inner.create_temp(prefix)?;
        Ok((name, self.spy.file(file)))
    }
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        Ok(self.spy.dir(self.inner.open_dir(name)?))
    }
    fn create_dir(&self, name: &str) -> io::Result<()> {
        self.inner.create_dir(name)
    }
    fn create_temp_dir(&self, prefix: &str) -> io::Result<String> {
        self.inner.create_temp_dir(prefix)
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.inner.list()
    }
    fn stat(&self, name: &str) -> io::Result<Stat> {
        self.inner.stat(name)
    }
    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        self.inner.stamp(name)
    }
    fn rename(&self, from: &str, to: &dyn Dir, name: &str) -> io::Result<()> {
        self.spy.pass(Op::Rename)?;
        let to = to.as_any().downcast_ref::<SpyDir>().unwrap();
        self.inner.rename(from, &*to.inner, name)
    }
    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.spy.pass(Op::Remove)?;
        self.inner.remove_file(name)
    }
    fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.inner.remove_dir(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.spy.pass(Op::DirSync)?;
        self.inner.sync()
    }
    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
    fn medium(&self) -> io::Result<Medium> {
        self.inner.medium()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct SpyFile {
    inner: Arc<dyn File>,
    spy: Spy,
}

impl File for SpyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    /// A write that fails has written half of it.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        if self.spy.shared.lock().full.is_some_and(|full| offset + buf.len() as u64 > full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Err(e) = self.spy.pass(Op::Write) {
            self.inner.write_at(&buf[..buf.len() / 2], offset)?;
            return Err(e);
        }
        self.inner.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.spy.pass(Op::Sync)?;
        self.inner.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spy.pass(Op::SetLen)?;
        self.inner.set_len(len)
    }
    fn ident(&self) -> io::Result<Ident> {
        self.inner.ident()
    }
    fn try_lock(&self) -> io::Result<bool> {
        let hook = self.spy.shared.lock().locking.take();
        if let Some(mut hook) = hook {
            hook();
            self.spy.shared.lock().locking = Some(hook);
        }
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        self.inner.map(len)
    }
}
