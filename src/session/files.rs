//! A session's directory: finding it, locking it, reading its last segment.

use std::io;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::SegmentHeader;
use crate::fs::{Access, Dir, File};
use crate::ids::{SessionId, shard_of};
use crate::log::catalog::Holder;
use crate::log::scan::Tail;
use crate::log::segment::{Owner, Segment};
use crate::log::{LOCK_FILE, parse_segment_name, segment_name};
use crate::recovery::{Plan, plan};
use crate::store::Env;

/// The directory of a session, if it is there.
pub(crate) fn locate(env: &Env, id: &SessionId) -> Result<Option<Arc<dyn Dir>>> {
    locate_named(env, &id.dir_name()).map_err(|e| e.session(id))
}

/// The same, by the name of the directory.
pub(crate) fn locate_named(env: &Env, dir_name: &str) -> Result<Option<Arc<dyn Dir>>> {
    let (sessions, shard) = (&env.layout.sessions, shard_of(dir_name));
    match sessions.open_dir(shard).and_then(|shard| shard.open_dir(dir_name)) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("open a session", sessions.path().join(shard).join(dir_name), e)),
    }
}

/// Whether `dir` is still what stands under the session's name.
pub(crate) fn still_there(env: &Env, id: &SessionId, dir: &dyn Dir) -> Result<bool> {
    still_named(env, &id.dir_name(), dir)
        .map_err(|e| Error::io("look at a session", dir.path(), e).session(id))
}

/// The same, of the session whose directory has this name.
pub(crate) fn still_named(env: &Env, dir_name: &str, dir: &dyn Dir) -> io::Result<bool> {
    let named = env.layout.sessions.open_dir(shard_of(dir_name)).and_then(|shard| shard.stat(dir_name));
    match named {
        Ok(stat) => Ok(stat.ident == dir.ident()?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// The writer's lock on a session. Released when dropped, but never by a forked child: the lock belongs to
/// the opening that parent and child share.
pub(crate) struct SessionLock {
    file: Arc<dyn File>,
    env: Arc<Env>,
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        if !self.env.is_forked() {
            // Closing the descriptor releases it too; this only makes it sure and at once.
            let _ = self.file.unlock();
        }
    }
}

/// The lock by which a sweep tells that the maker of a session lives, where the session's own lies elsewhere. It is
/// there until the session has its name.
pub(crate) struct MakersLock {
    locks: Arc<dyn Dir>,
    name: String,
    lock: SessionLock,
}

impl Drop for MakersLock {
    fn drop(&mut self) {
        if !self.lock.env.is_forked() {
            let _ = self.locks.remove_file(&self.name);
        }
    }
}

/// Creates the lock file of a session that is being made in `dir`, which has this temporary name, and takes it; `None` if a
/// sweep in between took the directory for a dead process's.
pub(crate) fn create_lock(
    env: &Arc<Env>,
    id: &SessionId,
    dir: &dyn Dir,
    temp: &str,
) -> Result<Option<(SessionLock, Option<MakersLock>)>> {
    let Some(locks) = &env.layout.locks else {
        return Ok(new_lock(env, id, dir, LOCK_FILE)?.map(|lock| (lock, None)));
    };
    let name = unborn_name(temp);
    let Some(lock) = new_lock(env, id, &**locks, &name)? else { return Ok(None) };
    let makers = MakersLock { locks: locks.clone(), name, lock };
    let lock = lock_file(&**locks, &external_name(id), id).and_then(|file| take(env, id, file))?;
    Ok(Some((lock, Some(makers))))
}

fn new_lock(env: &Arc<Env>, id: &SessionId, place: &dyn Dir, name: &str) -> Result<Option<SessionLock>> {
    let io = |e| Error::io("create a lock", place.path().join(name), e).session(id);
    let file = place.create(name).map_err(io)?;
    let lock = match take(env, id, file) {
        Err(e) if e.kind() == ErrorKind::Locked => return Ok(None),
        other => other?,
    };
    // Who sweeps takes the lock first. So while we have it, and it has its name, nobody does.
    match place.stat(name) {
        Ok(_) => Ok(Some(lock)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io(e)),
    }
}

/// Takes the lock of a session that is there; `None` if the session went or came anew meanwhile.
pub(crate) fn lock(env: &Arc<Env>, id: &SessionId, dir: &dyn Dir) -> Result<Option<SessionLock>> {
    let name;
    let (place, lock_name): (&dyn Dir, &str) = match &env.layout.locks {
        None => (dir, LOCK_FILE),
        Some(locks) => {
            name = external_name(id);
            (&**locks, &name)
        }
    };
    let lock = take(env, id, lock_file(place, lock_name, id)?)?;
    let io = |e| Error::io("lock a session", place.path().join(lock_name), e).session(id);
    // Between opening and locking, the file or the whole session may have been replaced.
    let same = match place.stat(lock_name) {
        Ok(stat) => stat.ident == lock.file.ident().map_err(io)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(io(e)),
    };
    Ok((same && still_there(env, id, dir)?).then_some(lock))
}

fn external_name(id: &SessionId) -> String {
    format!("{}.lock", id.dir_name())
}

/// The name of the lock, in their directory, on a session that is being made under this temporary name.
pub(crate) fn unborn_name(temp: &str) -> String {
    format!("{temp}.lock")
}

fn lock_file(dir: &dyn Dir, name: &str, id: &SessionId) -> Result<Arc<dyn File>> {
    let io = |e| Error::io("open a lock", dir.path().join(name), e).session(id);
    match dir.open(name, Access::Write) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => match dir.create(name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => dir.open(name, Access::Write).map_err(io),
            other => other.map_err(io),
        },
        other => other.map_err(io),
    }
}

fn take(env: &Arc<Env>, id: &SessionId, file: Arc<dyn File>) -> Result<SessionLock> {
    match file.try_lock() {
        Ok(true) => Ok(SessionLock { file, env: env.clone() }),
        Ok(false) => Err(locked(id, env.catalog.holder(id))),
        Err(e) => Err(Error::io("lock a session", env.layout.root.path(), e).session(id)),
    }
}

/// What is said of a session that somebody else has open for writing.
pub(crate) fn locked(id: &SessionId, holder: Option<Holder>) -> Error {
    let error = Error::new(ErrorKind::Locked, "open a session for writing").session(id);
    match holder {
        Some(h) => error
            .hint(format!("process {} on {} has it open; use reader() to read it meanwhile", h.pid, h.host)),
        None => error.hint("use reader() to read it meanwhile"),
    }
}

/// The last segment of a session, folded, and what the directory's state asks for.
pub(crate) struct LoadedTail {
    pub(crate) tail: Tail,
    pub(crate) plan: Plan,
}

/// Which session a directory must hold.
#[derive(Clone, Copy)]
pub(crate) enum Whose<'a> {
    Id(&'a SessionId),
    /// The one to whose id this name of a directory belongs.
    Dir(&'a str),
}

/// How much of the last segment is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// All of it: who looks for damage.
    Whole,
    /// What stands behind its last checkpoint, if it was closed in good order.
    End,
}

/// Reads the last segment of the session in `dir`.
///
/// # Errors
/// `Corrupt` if no segment has a readable state; `Unsupported` for a newer format; `Conflict` if the
/// directory belongs to another id whose name is the same.
pub(crate) fn load_tail(env: &Env, whose: Whose<'_>, dir: &Arc<dyn Dir>, look: Look) -> Result<LoadedTail> {
    // The listing, the segment and the catalog are not read at one moment, and a writer may be at work: what
    // one look finds missing was perhaps not there yet, or released. Damage is what two looks agree on.
    let mut result = try_load(env, whose, dir, look);
    let mut damage = damage_in(&result);
    for _ in 0..16 {
        if damage.is_empty() {
            break;
        }
        let before = damage;
        result = try_load(env, whose, dir, look);
        damage = damage_in(&result);
        if damage == before {
            break;
        }
    }
    result
}

/// What speaks against this look at a session.
fn damage_in(look: &Result<LoadedTail>) -> Vec<String> {
    match look {
        Ok(loaded) => {
            let findings = loaded.plan.report.findings.iter().filter(|f| f.is_damage());
            findings.map(ToString::to_string).collect()
        }
        // A segment that vanishes between listing and opening was released.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => vec![e.to_string()],
        Err(_) => Vec::new(),
    }
}

/// A segment names its session, which must be the one whose directory it lies in: one that was moved here from
/// another session is good by itself.
fn check_name(tail: &Tail, dir_name: &str) -> Result<()> {
    if tail.state.id.dir_name() == dir_name {
        return Ok(());
    }
    Err(Error::corrupt(
        tail.segment.path(),
        SegmentHeader::LEN as u64,
        format!("it belongs to session {:?}, whose directory is another one", tail.state.id),
    ))
}

fn try_load(env: &Env, whose: Whose<'_>, dir: &Arc<dyn Dir>, look: Look) -> Result<LoadedTail> {
    let (id, dir_name) = match whose {
        Whose::Id(id) => (Some(id), id.dir_name()),
        Whose::Dir(name) => (None, name.to_owned()),
    };
    let named = |e: Error| match id {
        Some(id) => e.session(id),
        None => e,
    };
    let list = || -> Result<Vec<String>> {
        let entries = dir.list().map_err(|e| named(Error::io("list a session", dir.path(), e)))?;
        Ok(entries.into_iter().map(|e| e.name).collect())
    };
    let mut names = list()?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| parse_segment_name(n)).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let mut number = *numbers
        .first()
        .ok_or_else(|| named(Error::corrupt(dir.path(), 0, "the session's directory holds no segment")))?;
    let owner = Owner { store: env.layout.id, birth: None };
    let read = |n: u64| {
        let segment = Arc::new(Segment::open(dir, n, owner)?);
        let short = if look == Look::End { Tail::from_checkpoint(&segment) } else { None };
        short.map_or_else(|| Tail::open(segment), Ok)
    };
    let checked = |n: u64| read(n).and_then(|tail| check_name(&tail, &dir_name).map(|()| tail));
    let mut unreadable = None;
    let mut tail = match checked(number) {
        // The newest segment is damaged at its head, or another session's: what the ones before it say can still be read.
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            let older = numbers.iter().skip(1).find_map(|n| checked(*n).ok());
            let tail = older.ok_or_else(|| named(e.clone()))?;
            unreadable = Some(e);
            tail
        }
        other => other.map_err(named)?,
    };
    // A writer at work may have begun the next segment since the names were read: on to it.
    while unreadable.is_none()
        && let Some((next, _)) = tail.next
        && next > number
        && dir.stat(&segment_name(next)).is_ok()
    {
        tail = read(next).map_err(named)?;
        number = next;
        names = list()?;
    }
    if let Some(id) = id
        && tail.state.id != *id
    {
        return Err(Error::new(ErrorKind::Conflict, "open a session").session(id).path(dir.path()).hint(format!(
            "its directory belongs to session {:?}: the two ids have the same hash, so one needs another id",
            tail.state.id
        )));
    }
    let witness = env.catalog.witness(&tail.state.id, &tail.state.birth)?;
    let mut successor = None;
    let mut cut = None;
    if let Some(w) = witness {
        let here = (w.segment, w.salt) == (tail.segment.header.number, tail.segment.header.salt);
        if w.segment > number {
            successor = Some((w.segment, "the catalog"));
        } else if let Some(position) = w.position.filter(|_| here) {
            if w.incarnation == tail.state.incarnation {
                // A close record, and the mark behind it, may go with the power: nobody waits for their sync.
                tail.was_closed_at(position);
            }
            let newer = w.incarnation.number >= tail.state.incarnation.number;
            cut = (newer && position > tail.state.position).then_some(position);
        }
    }
    let mut plan = plan(dir.path(), &tail, &names, successor, env.settings.truncate_after);
    if let Some(position) = cut {
        plan.lost_end(&tail, position);
    }
    if let Some(e) = unreadable {
        plan.lost_segment(named(e));
    }
    Ok(LoadedTail { tail, plan })
}
