//! The catalog of one open store instance: its methods.

use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_128;

use super::file::Item;
use super::files;
use super::index;
use super::merge;
use super::report::{Finding, Holder, Merged};
use super::state::{Place, State, Ticket};
use super::witness::{Witness, Witnesses};
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::{CatalogEntry, MAX_HOST, Open};
use crate::fs::{Access, Dir, Fs, read_up_to_at};
use crate::ids::{BirthId, SessionId, StoreId};

/// The catalog: reads all files, appends to its own.
///
/// All methods may be called from several threads at once. One mutex guards the own file; it is held while
/// a frame is written, and while a file is started, but not during the syncs of [`Catalog::mark_open`] and
/// [`Catalog::sync`].
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: Arc<dyn Dir>,
    pub(super) identity: Identity,
    pub(super) read_only: bool,
    pub(super) state: Mutex<State>,
    /// A sync ended.
    pub(super) wake: Condvar,
    /// What the last listing read.
    current: Mutex<Arc<Merged>>,
    /// One maintenance at a time.
    pub(super) maintaining: Mutex<()>,
    /// Damage was met in a file that maintenance left unread until now.
    pub(super) damage_met: AtomicBool,
}

/// What the headers of this instance's files say.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) store: StoreId,
    pub(super) pid: u32,
    instance: OnceLock<u64>,
    host: OnceLock<String>,
}

/// To look for one witness in some bytes takes a sixth of the time of reading them for all: so nobody spends more than twice
/// what he could have.
const ALONE: u64 = 6;
/// What a lookup takes besides, in bytes that are read in the same time.
const LOOK: u64 = 4 << 10;

impl Identity {
    pub(super) fn random(&self, fs: &dyn Fs, dir: &dyn Dir) -> Result<u64> {
        let mut bytes = [0; 8];
        fs.random(&mut bytes).map_err(|e| Error::io("start a catalog file", dir.path(), e))?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn instance(&self, fs: &dyn Fs, dir: &dyn Dir) -> Result<u64> {
        match self.instance.get() {
            Some(instance) => Ok(*instance),
            None => {
                let new = self.random(fs, dir)?;
                Ok(*self.instance.get_or_init(|| new))
            }
        }
    }

    /// The instance whose file is gone on in is this one. Before any file was started here.
    pub(super) fn is_from_now_on(&self, instance: u64) {
        let set = self.instance.set(instance);
        debug_assert!(set.is_ok(), "a file was started before");
    }

    /// The name of the machine: from the kernel on Linux, elsewhere from the environment. It is information
    /// only, so an empty one is no error.
    pub(super) fn host(&self, fs: &dyn Fs) -> String {
        let kernel = || {
            let dir = fs.open_root(Path::new("/proc/sys/kernel")).ok()?;
            let file = dir.open("hostname", Access::Read).ok()?;
            let mut name = vec![0; MAX_HOST];
            let len = read_up_to_at(&*file, &mut name, 0).ok()?;
            name.truncate(len);
            Some(String::from_utf8_lossy(&name).trim().to_owned())
        };
        let environment = || ["HOSTNAME", "HOST", "COMPUTERNAME"].iter().find_map(|v| std::env::var(v).ok());
        self.host.get_or_init(|| kernel().or_else(environment).unwrap_or_default()).clone()
    }
}

/// An open mark that is written, and not durable: it does not count yet.
#[must_use]
pub(crate) struct Announced {
    mark: Open,
    ticket: Ticket,
}

impl Catalog {
    /// A catalog in this directory. Does nothing with it yet.
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: Arc<dyn Dir>, store: StoreId, read_only: bool) -> Catalog {
        let pid = fs.process();
        let identity = Identity { store, pid, instance: OnceLock::new(), host: OnceLock::new() };
        Catalog {
            fs,
            dir,
            identity,
            read_only,
            state: Mutex::default(),
            wake: Condvar::new(),
            current: Mutex::default(),
            maintaining: Mutex::default(),
            damage_met: AtomicBool::new(false),
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { fs: &*self.fs, dir: &*self.dir, identity: &self.identity }
    }

    /// The state, for writing. The process is compared before the mutex is taken, because in a forked child
    /// a thread that is not there may hold it.
    pub(super) fn writable(&self, doing: &'static str) -> Result<MutexGuard<'_, State>> {
        if self.fs.process() != self.identity.pid {
            return Err(Error::new(ErrorKind::Forked, doing));
        }
        if self.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, doing));
        }
        let state = self.state.lock();
        if state.closed { Err(Error::new(ErrorKind::Closed, doing)) } else { Ok(state) }
    }

    /// States that a session is open for writing. Durable when this returns; callers at the same time share
    /// one sync.
    ///
    /// # Errors
    /// After any error the mark does not count, and the session must not be written. It may be on disk
    /// all the same, where it only makes a listing read the session. The next call starts a new file if
    /// this one failed.
    pub(crate) fn mark_open(&self, mark: Open) -> Result<()> {
        self.confirm_open(self.announce_open(mark)?)
    }

    /// Writes such a mark. It counts when it is confirmed, and until then it may reach the disk, or not.
    ///
    /// # Errors
    /// As [`Catalog::mark_open`].
    pub(crate) fn announce_open(&self, mark: Open) -> Result<Announced> {
        let mut state = self.writable("mark a session as open")?;
        let entry = CatalogEntry::Open(mark.clone());
        let ticket = state.append(self.place(), vec![entry], true)?;
        Ok(Announced { mark, ticket })
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// As [`Catalog::mark_open`].
    pub(crate) fn confirm_open(&self, announced: Announced) -> Result<()> {
        let Announced { mark, ticket } = announced;
        let mut state = self.wait(self.writable("mark a session as open")?, ticket)?;
        state.vouched.insert(mark.birth, Box::new(mark));
        Ok(())
    }

    /// Appends an entry, to be made durable by the next sync of anybody. Attributes that are too long for a
    /// summary are left out of it.
    ///
    /// # Errors
    /// Nothing was appended.
    pub(crate) fn record(&self, entry: CatalogEntry) -> Result<()> {
        let mut state = self.writable("write the catalog")?;
        let mark = match &entry {
            CatalogEntry::Open(mark) => Some(mark.clone()),
            _ => None,
        };
        state.append(self.place(), vec![entry.bounded()], false)?;
        state.vouched.extend(mark.map(|mark| (mark.birth, Box::new(mark))));
        Ok(())
    }

    /// Makes everything durable that was recorded before the call. Callers at the same time share one sync.
    ///
    /// # Errors
    /// What was recorded may or may not be on disk. The own file is given up; what this instance still
    /// vouches for, and what was recorded and is not durable, is repeated in a new file by the next call.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        let mut state = self.writable("sync the catalog")?;
        match state.everything(self.place())? {
            Some(ticket) => self.wait(state, ticket).map(drop),
            None => Ok(()),
        }
    }

    /// What the catalog last heard of this life of a session. Looks it up for this session alone: in the indexes of long files,
    /// and through the whole of the others. When that has cost as much, all is read once more for all sessions; from then on
    /// only what this instance appends is added (see `State::append`).
    pub(crate) fn witness(&self, _id: &SessionId, birth: &BirthId) -> Result<Option<Witness>> {
        if self.fs.process() != self.identity.pid {
            return Err(Error::new(ErrorKind::Forked, "read the catalog"));
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "read the catalog"));
        }
        if let Some(witnesses) = &state.witnesses {
            return Ok(witnesses.get(birth));
        }
        if state.alone <= ALONE * state.total {
            let files = files::read_of(&*self.dir, &self.identity.store, &[*birth])?;
            self.note_damage(&files.findings);
            state.alone += files.read() + LOOK;
            state.total = files.total();
            return Ok(Witnesses::new(&files).get(birth));
        }
        let files = files::read_all(&*self.dir, &self.identity.store)?;
        self.note_damage(&files.findings);
        let witnesses = Witnesses::new(&files);
        let witness = witnesses.get(birth);
        state.witnesses = Some(witnesses);
        Ok(witness)
    }

    /// Who has the session open for writing, if a living process says so in the catalog.
    pub(crate) fn holder(&self, id: &SessionId) -> Option<Holder> {
        if self.fs.process() != self.identity.pid {
            return None;
        }
        let own = self.state.lock().names();
        let files = files::read_all(&*self.dir, &self.identity.store).ok()?;
        let session = xxh3_128(id.as_str().as_bytes());
        let mut marks: Vec<_> = files
            .sources
            .iter()
            .filter_map(|source| {
                let named = |item: &&Item| item.session == session;
                match source.items.iter().rfind(named)?.entry(&source.bytes)? {
                    CatalogEntry::Open(mark) => Some((mark, source)),
                    _ => None,
                }
            })
            .collect();
        marks.sort_by_key(|(mark, _)| std::cmp::Reverse(mark.incarnation));
        let alive = |name: &str| {
            if own.iter().any(|o| o == name) {
                return true;
            }
            let Ok(file) = self.dir.open(name, Access::Read) else { return false };
            let dead = file.try_lock().unwrap_or(true);
            if dead {
                // Dropping the file releases the lock just as well.
                let _ = file.unlock();
            }
            !dead
        };
        marks.into_iter().find(|(_, source)| alive(&source.name)).map(|(mark, source)| Holder {
            pid: source.pid(),
            host: source.header.host.clone(),
            since: mark.time,
        })
    }

    /// Reads all files, those of other processes and its own, and merges them.
    ///
    /// # Errors
    /// Only if the directory cannot be listed. What is wrong with files is in the result.
    pub(crate) fn merged(&self) -> Result<Merged> {
        let files = files::read_all(&*self.dir, &self.identity.store)?;
        self.note_damage(&files.findings);
        Ok(merge::known(files))
    }

    /// A damaged file loses its index: so the next maintenance, whosever it is, reads it and takes it over.
    pub(super) fn note_damage(&self, findings: &[Finding]) {
        let damaged = findings.iter().filter(|finding| finding.damage && !self.read_only);
        for file in damaged.map(|finding| &finding.file) {
            if self.dir.remove_file(&index::name_of(file)).is_ok() {
                self.damage_met.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The same for who asks again and again: reads of every file only what came since the last time, and gives the
    /// same value if nothing did. Damage to what was read before is not met, and changes no result. One at a time: what is
    /// read on goes back to one reading, and equal places in it are the same.
    ///
    /// # Errors
    /// As [`Catalog::merged`].
    pub(crate) fn current(&self) -> Result<Arc<Merged>> {
        let mut current = self.current.lock();
        let files = files::read_since(&*self.dir, &self.identity.store, current.sources())?;
        if !current.is_of(&files) {
            self.note_damage(&files.findings);
            *current = Arc::new(merge::known_since(&current, files));
        }
        Ok(current.clone())
    }

    /// Makes durable what was recorded, gives back the space allocated ahead, and releases the locks. Later
    /// calls that write say `Closed`; closing again does nothing.
    ///
    /// # Errors
    /// What was recorded last may not be on disk. It is closed all the same.
    pub(crate) fn close(&self) -> Result<()> {
        if self.fs.process() != self.identity.pid {
            // The locks belong to the parent, who shares them.
            return Err(Error::new(ErrorKind::Forked, "close the catalog"));
        }
        let mut state = self.state.lock();
        if state.closed {
            return Ok(());
        }
        state.closed = true;
        *self.current.lock() = Arc::default();
        while state.syncing {
            self.wake.wait(&mut state);
        }
        let mut result = match self.read_only {
            true => Ok(()),
            false => state.everything(self.place()).map(drop),
        };
        if let Some(own) = &mut state.own
            && let Err(error) = own.finish(&*self.dir)
        {
            state.lose(&error);
            result = Err(error);
        }
        // Without an index the file is read whole.
        if let Some(own) = &state.own {
            let _ = own.write_index(&*self.dir, &self.identity.store);
        }
        for own in state.own.take().iter().chain(state.lost.iter().map(|lost| &lost.own)) {
            own.release();
        }
        drop(state);
        self.wake.notify_all();
        result
    }
}
