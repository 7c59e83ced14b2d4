//! A file system around another one: it counts what passes, and does what a hook says with it.

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sessionlog::fs::{Access, Dir, DiskFs, Entry, File, Fs, Ident, Map, Medium, Space, Stamp, Stat};

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    OpenRoot,
    Open,
    OpenDir,
    Create,
    CreateDir,
    List,
    Stat,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    SetLen,
    Sync,
    Lock,
    Map,
}

/// One call, before it is made.
#[derive(Debug)]
pub struct Call<'a> {
    pub op: Op,
    /// What it is about. A file keeps the path under which it was opened or created.
    pub path: &'a Path,
    pub len: usize,
    /// How far a read or a write reaches, and of a write how long the file is.
    pub end: u64,
    pub file_len: u64,
}

impl Call<'_> {
    pub fn is(&self, op: Op, name: &str) -> bool {
        self.op == op && self.path.to_string_lossy().contains(name)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Go,
    /// It fails with this code of the operating system, without effect.
    Fail(i32),
    /// It reads or writes no more than so many bytes.
    Short(usize),
}

impl Action {
    pub const EIO: Action = Action::Fail(5);
    pub const EINTR: Action = Action::Fail(4);
    pub const EACCES: Action = Action::Fail(13);
    pub const ENOSPC: Action = Action::Fail(28);
    pub const EDQUOT: Action = Action::Fail(122);
}

type Hook = Arc<dyn Fn(&Call<'_>) -> Action + Send + Sync>;

/// How much passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub syncs: u64,
    pub dir_syncs: u64,
    pub writes: u64,
    pub bytes_written: u64,
    pub reads: u64,
    pub bytes_read: u64,
    pub opens: u64,
    pub creates: u64,
    pub renames: u64,
    pub removes: u64,
    pub cuts: u64,
    pub maps: u64,
}

impl Counts {
    pub fn all_syncs(&self) -> u64 {
        self.syncs + self.dir_syncs
    }

    pub fn changes(&self) -> u64 {
        self.all_syncs() + self.writes + self.creates + self.renames + self.removes
    }
}

impl Sub for Counts {
    type Output = Counts;

    fn sub(self, o: Counts) -> Counts {
        Counts {
            syncs: self.syncs - o.syncs,
            dir_syncs: self.dir_syncs - o.dir_syncs,
            writes: self.writes - o.writes,
            bytes_written: self.bytes_written - o.bytes_written,
            reads: self.reads - o.reads,
            bytes_read: self.bytes_read - o.bytes_read,
            opens: self.opens - o.opens,
            creates: self.creates - o.creates,
            renames: self.renames - o.renames,
            removes: self.removes - o.removes,
            cuts: self.cuts - o.cuts,
            maps: self.maps - o.maps,
        }
    }
}

#[derive(Default)]
struct Shared {
    counts: Mutex<Counts>,
    hook: Mutex<Option<Hook>>,
    medium: Mutex<Option<Medium>>,
    hits: AtomicU64,
    /// How much of each file was ever mapped, by any process.
    mapped: Arc<Mutex<Vec<(Ident, u64)>>>,
}

impl Shared {
    fn pass(&self, call: &Call<'_>) -> io::Result<usize> {
        // Out of the lock before it runs: a hook may sleep, or use the file system itself.
        let hook = self.hook.lock().unwrap().clone();
        let action = hook.map_or(Action::Go, |hook| hook(call));
        let mut c = self.counts.lock().unwrap();
        match call.op {
            Op::Sync => c.syncs += 1,
            Op::SyncDir => c.dir_syncs += 1,
            Op::Write => c.writes += 1,
            Op::Read => c.reads += 1,
            Op::Open | Op::OpenDir => c.opens += 1,
            Op::Create | Op::CreateDir => c.creates += 1,
            Op::Rename => c.renames += 1,
            Op::Remove => c.removes += 1,
            Op::Map => c.maps += 1,
            Op::SetLen => c.cuts += 1,
            Op::OpenRoot | Op::List | Op::Stat | Op::Lock => {}
        }
        match action {
            Action::Go => Ok(call.len),
            Action::Short(n) => Ok(call.len.min(n)),
            Action::Fail(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// The file system. Clones share counts and hook.
#[derive(Clone)]
pub struct Spy {
    inner: Arc<dyn Fs>,
    shared: Arc<Shared>,
    process: Arc<AtomicU32>,
}

impl fmt::Debug for Spy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spy")
    }
}

impl Spy {
    pub fn new(inner: impl Fs) -> Spy {
        let process = Arc::new(AtomicU32::new(inner.process()));
        Spy { inner: Arc::new(inner), shared: Arc::default(), process }
    }

    pub fn disk() -> Spy {
        Spy::new(DiskFs::new())
    }

    /// The same file system, as another process sees it: this one's locks are in its way.
    pub fn other_process(&self) -> Spy {
        static NEXT: AtomicU32 = AtomicU32::new(1 << 30);
        let process = Arc::new(AtomicU32::new(NEXT.fetch_add(1, Ordering::Relaxed)));
        let shared = Shared { mapped: self.shared.mapped.clone(), ..Shared::default() };
        Spy { inner: self.inner.clone(), shared: Arc::new(shared), process }
    }

    /// From now on this is a forked child, as far as anybody can tell.
    pub fn fork(&self) {
        self.process.fetch_add(1 << 20, Ordering::Relaxed);
    }

    pub fn unfork(&self) {
        self.process.fetch_sub(1 << 20, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap()
    }

    /// What `work` makes pass.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> (T, Counts) {
        let before = self.counts();
        let out = work();
        (out, self.counts() - before)
    }

    /// Waits until nothing passed for a while: background work is done.
    pub fn quiet(&self) {
        let mut last = self.counts();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(120));
            let now = self.counts();
            if now == last {
                return;
            }
            last = now;
        }
        panic!("the background work never ends");
    }

    /// Asks the hook about every call from now on.
    pub fn hook(&self, hook: impl Fn(&Call<'_>) -> Action + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    /// Holds every sync of what has this in its path up: whether one is stuck, and what lets them go.
    pub fn hold_syncs(&self, name: &'static str) -> (Arc<AtomicBool>, Arc<AtomicBool>) {
        let stuck = Arc::new(AtomicBool::new(false));
        let is_stuck = stuck.clone();
        let go = self.hold(move |c| {
            let held = c.is(Op::Sync, name);
            is_stuck.fetch_or(held, Ordering::SeqCst);
            held
        });
        (stuck, go)
    }

    /// Holds every call up of which this is true, until what it gives lets them go.
    pub fn hold(&self, held: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Arc<AtomicBool> {
        let go = Arc::new(AtomicBool::new(false));
        let may_go = go.clone();
        self.hook(move |c| {
            if held(c) {
                while !may_go.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Action::Go
        });
        go
    }

    /// The `nth` call (from 0) that `matches` gets `action`, all others go through.
    pub fn once(
        &self,
        nth: u64,
        action: Action,
        matches: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static,
    ) {
        self.shared.hits.store(0, Ordering::SeqCst);
        let (seen, shared) = (AtomicU64::new(0), Arc::downgrade(&self.shared));
        self.hook(move |call| {
            if matches(call) && seen.fetch_add(1, Ordering::SeqCst) == nth {
                if let Some(shared) = shared.upgrade() {
                    shared.hits.fetch_add(1, Ordering::SeqCst);
                }
                return action;
            }
            Action::Go
        });
    }

    /// Every call that `matches` gets `action`.
    pub fn always(&self, action: Action, matches: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) {
        self.shared.hits.store(0, Ordering::SeqCst);
        let shared = Arc::downgrade(&self.shared);
        self.hook(move |call| {
            if !matches(call) {
                return Action::Go;
            }
            if let Some(shared) = shared.upgrade() {
                shared.hits.fetch_add(1, Ordering::SeqCst);
            }
            action
        });
    }

    /// How often the last `once` or `always` struck.
    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// The disk is full: no file can grow, what is allocated can be written.
    pub fn full(&self) {
        self.always(Action::ENOSPC, |c| c.op == Op::Write && c.end > c.file_len);
    }

    /// Everything goes through again.
    pub fn calm(&self) {
        *self.shared.hook.lock().unwrap() = None;
    }

    pub fn set_medium(&self, medium: Medium) {
        *self.shared.medium.lock().unwrap() = Some(medium);
    }

    fn dir(&self, inner: Arc<dyn Dir>) -> Arc<dyn Dir> {
        Arc::new(SpyDir { inner, spy: self.clone() })
    }
}

impl Fs for Spy {
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        self.shared.pass(&Call { op: Op::OpenRoot, path, len: 0, end: 0, file_len: 0 })?;
        self.inner.open_root(path).map(|d| self.dir(d))
    }
    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        self.shared.pass(&Call { op: Op::OpenRoot, path, len: 0, end: 0, file_len: 0 })?;
        self.inner.create_root(path).map(|d| self.dir(d))
    }
    fn now(&self) -> u64 {
        self.inner.now()
    }
    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        self.inner.random(buf)
    }
    fn process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct SpyDir {
    inner: Arc<dyn Dir>,
    spy: Spy,
}

impl SpyDir {
    fn pass(&self, op: Op, name: &str) -> io::Result<PathBuf> {
        let path = if name.is_empty() { self.path().to_path_buf() } else { self.path().join(name) };
        self.spy.shared.pass(&Call { op, path: &path, len: 0, end: 0, file_len: 0 })?;
        Ok(path)
    }

    fn new_file(&self, path: PathBuf, inner: Arc<dyn File>) -> Arc<dyn File> {
        // It may have got the number of one that is gone.
        if let Ok(ident) = inner.ident() {
            self.spy.shared.mapped.lock().unwrap().retain(|(other, _)| *other != ident);
        }
        self.file(path, inner)
    }

    fn file(&self, path: PathBuf, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(SpyFile { inner, path, spy: self.spy.clone() })
    }
}

impl Dir for SpyDir {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn ident(&self) -> io::Result<Ident> {
        self.inner.ident()
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let path = self.pass(Op::Open, name)?;
        self.inner.open(name, access).map(|f| self.file(path, f))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.pass(Op::Create, name)?;
        self.inner.create(name).map(|f| self.new_file(path, f))
    }
    fn create_temp(&self, prefix: &str) -> io::Result<(String, Arc<dyn File>)> {
        self.pass(Op::Create, prefix)?;
        let (name, file) = self.inner.create_temp(prefix)?;
        let path = self.path().join(&name);
        Ok((name, self.new_file(path, file)))
    }
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        self.pass(Op::OpenDir, name)?;
        self.inner.open_dir(name).map(|d| self.spy.dir(d))
    }
    fn create_dir(&self, name: &str) -> io::Result<()> {
        self.pass(Op::CreateDir, name)?;
        self.inner.create_dir(name)
    }
    fn create_temp_dir(&self, prefix: &str) -> io::Result<String> {
        self.pass(Op::CreateDir, prefix)?;
        self.inner.create_temp_dir(prefix)
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.pass(Op::List, "")?;
        self.inner.list()
    }
    fn stat(&self, name: &str) -> io::Result<Stat> {
        self.pass(Op::Stat, name)?;
        self.inner.stat(name)
    }
    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        self.pass(Op::Stat, name)?;
        self.inner.stamp(name)
    }
    fn rename(&self, from: &str, to: &dyn Dir, name: &str) -> io::Result<()> {
        let to = to.as_any().downcast_ref::<SpyDir>().expect("the same file system");
        to.pass(Op::Rename, name)?;
        self.inner.rename(from, &*to.inner, name)
    }
    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.pass(Op::Remove, name)?;
        self.inner.remove_file(name)
    }
    fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.pass(Op::Remove, name)?;
        self.inner.remove_dir(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.pass(Op::SyncDir, "")?;
        self.inner.sync()
    }
    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
    fn medium(&self) -> io::Result<Medium> {
        let told = *self.spy.shared.medium.lock().unwrap();
        told.map_or_else(|| self.inner.medium(), Ok)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct SpyFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    spy: Spy,
}

impl SpyFile {
    fn pass(&self, op: Op, len: usize, offset: u64) -> io::Result<usize> {
        let (end, file_len) = match op {
            Op::Write => (offset + len as u64, self.inner.len()?),
            Op::Read => (offset + len as u64, 0),
            _ => (0, 0),
        };
        self.spy.shared.pass(&Call { op, path: &self.path, len, end, file_len })
    }

    /// What was mapped once is never written or cut again, whether or not somebody still has the map: that is the promise that
    /// makes maps sound.
    fn check_maps(&self, from: u64, what: &str) {
        let mapped = self.spy.shared.mapped.lock().unwrap().clone();
        // On a machine without power nothing is written.
        let Ok(ident) = self.inner.ident() else { return };
        if let Some((_, len)) = mapped.iter().find(|(file, len)| *file == ident && from < *len) {
            panic!("{what} at byte {from} of {}, of which {len} bytes were mapped", self.path.display());
        }
    }
}

impl File for SpyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.pass(Op::Read, buf.len(), offset)?;
        let done = self.inner.read_at(&mut buf[..len], offset)?;
        self.spy.shared.counts.lock().unwrap().bytes_read += done as u64;
        Ok(done)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let len = self.pass(Op::Write, buf.len(), offset)?;
        self.check_maps(offset, "a write");
        let done = self.inner.write_at(&buf[..len], offset)?;
        self.spy.shared.counts.lock().unwrap().bytes_written += done as u64;
        Ok(done)
    }
    fn sync(&self) -> io::Result<()> {
        self.pass(Op::Sync, 0, 0)?;
        self.inner.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pass(Op::SetLen, 0, 0)?;
        self.check_maps(len, "a cut");
        self.inner.set_len(len)
    }
    fn ident(&self) -> io::Result<Ident> {
        self.inner.ident()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.pass(Op::Lock, 0, 0)?;
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        self.pass(Op::Map, 0, 0)?;
        let map = self.inner.map(len)?;
        if map.is_some() {
            self.spy.shared.mapped.lock().unwrap().push((self.inner.ident()?, len as u64));
        }
        Ok(map)
    }
}
