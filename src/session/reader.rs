//! Reading a session without becoming its writer.

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use parking_lot::Mutex;

use super::archive::Archive;
use super::files::{LoadedTail, Look, Whose, load_tail, locate, locate_named, still_named, still_there};
use super::handle::{Budget, archived, bounds, tail_within};
use super::info::{OpenState, SessionInfo};
use super::read::Messages;
use super::writer::view_of_tail;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Dir;
use crate::ids::SessionId;
use crate::log::Message;
use crate::log::parse_segment_name;
use crate::log::scan::{Ending, Tail};
use crate::log::view::View;
use crate::recovery::Report;
use crate::state::{Attributes, Extent, State};
use crate::store::{Env, Lease};

/// Reads a session that some other process, or nobody, writes to. Takes no lock, writes nothing, and never
/// sees half of a commit.
///
/// Each call looks at the log as it is on disk at that moment. What the writer of another process has
/// acknowledged is seen at once (it is in the file before it is acknowledged); the newest messages may be
/// there before they are durable, and then say so: see [`Message::is_confirmed`]. A session that was removed is
/// `NotFound`, also when another one was made under its id.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// let session = store.session("chat")?;
/// session.append("hello")?;
/// let reader = store.reader("chat")?; // in any process
/// session.append("hello again")?;
/// let last = reader.tail(1)?.next().unwrap()?;
/// assert_eq!((last.seq(), last.payload()), (1, &b"hello again"[..]));
/// # Ok(()) }
/// ```
pub struct Reader {
    env: Arc<Env>,
    id: SessionId,
    seen: Mutex<Seen>,
    /// Keeps the store open as long as the reader is there.
    lease: Option<Arc<Lease>>,
}

struct Seen {
    dir: Arc<dyn Dir>,
    tail: Tail,
    report: Report,
    lost: Option<Error>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.id).finish()
    }
}

impl Reader {
    /// `None` if there is no such session.
    pub(crate) fn open(env: &Arc<Env>, id: &SessionId) -> Result<Option<Reader>> {
        Ok(look(env, id)?.map(|seen| Reader {
            env: env.clone(),
            id: id.clone(),
            seen: Mutex::new(seen),
            lease: None,
        }))
    }

    pub(crate) fn with_lease(mut self, lease: Arc<Lease>) -> Reader {
        self.lease = Some(lease);
        self
    }

    /// The session in the directory of this name, whatever its id; `None` if it went.
    pub(crate) fn open_dir(env: &Arc<Env>, name: &str) -> Result<Option<Reader>> {
        let Some(dir) = locate_named(env, name)? else { return Ok(None) };
        let loaded = load_tail(env, Whose::Dir(name), &dir, Look::End);
        // It may have gone between the two steps, and its files one by one; if it is still there, what is wrong is true.
        if is_amiss(&loaded) && !still_named(env, name, &*dir).unwrap_or(true) {
            return Ok(None);
        }
        let loaded = loaded?;
        let id = loaded.tail.state.id.clone();
        let seen = Seen { dir, tail: loaded.tail, report: loaded.plan.report, lost: loaded.plan.lost };
        Ok(Some(Reader { env: env.clone(), id, seen: Mutex::new(seen), lease: None }))
    }

    /// The session's id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Looks at the disk again.
    fn refresh(&self) -> Result<parking_lot::MutexGuard<'_, Seen>> {
        self.env.check()?;
        let mut seen = self.seen.lock();
        // Not only the next number: its segment may have come and gone since (a small one that ended unclean is
        // replaced whole).
        let own = seen.tail.segment.header.number;
        let names = seen.dir.list().map_err(|e| Error::io("look at a session", seen.dir.path(), e))?;
        let newer = |name: &str| parse_segment_name(name).is_some_and(|n| n > own);
        let moved = seen.tail.next.is_some() || names.iter().any(|e| newer(&e.name));
        if moved || !still_there(&self.env, &self.id, &*seen.dir)? {
            let gone = |hint| Error::new(ErrorKind::NotFound, "read a session").session(&self.id).hint(hint);
            let now = look(&self.env, &self.id)?.ok_or_else(|| gone("it was removed"))?;
            if now.tail.state.birth != seen.tail.state.birth {
                return Err(gone(
                    "it was removed, and another one was made under its id; Store::reader reads that",
                ));
            }
            *seen = now;
        } else {
            seen.tail.advance()?;
        }
        Ok(seen)
    }

    /// The live messages, in order.
    ///
    /// # Errors
    /// `NotFound` if the session was removed; `Corrupt` if no state can be read (damage to single messages
    /// comes as items); `Closed`, `Forked`, `Io`.
    pub fn load(&self) -> Result<Messages> {
        self.range(..)
    }

    /// The last `n` live messages, in order.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn tail(&self, n: u64) -> Result<Messages> {
        let (view, _, next) = self.fresh_view(|s| s.live.clone())?;
        let from = Extent::last(&view.extents, n).unwrap_or(next);
        Ok(Messages::new(view.messages(from, next, false)))
    }

    /// As many of the last live messages as have at most `bytes` bytes of payload together.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn tail_bytes(&self, bytes: u64) -> Result<Messages> {
        self.tail_within(Budget::Bytes(bytes))
    }

    /// As many of the last live messages as have at most `tokens` estimated tokens together. One without an estimate counts
    /// nothing, nor does a damaged one, which comes as an error.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn tail_tokens(&self, tokens: u64) -> Result<Messages> {
        self.tail_within(Budget::Tokens(tokens))
    }

    fn tail_within(&self, budget: Budget) -> Result<Messages> {
        tail_within(|| self.fresh_view(|s| s.live.clone()).map(Some), budget)
    }

    /// The live messages with sequences in `range`, in order.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn range(&self, range: impl RangeBounds<u64>) -> Result<Messages> {
        let (view, base, next) = self.fresh_view(|s| s.live.clone())?;
        let (from, to) = bounds(&range, base, next);
        Ok(Messages::new(view.messages(from, to, true)))
    }

    /// The live message `seq`, or `None` if it is not live.
    ///
    /// # Errors
    /// As [`Reader::load`], and `Corrupt` if this message is damaged.
    pub fn get(&self, seq: u64) -> Result<Option<Message>> {
        let (view, base, next) = self.fresh_view(|s| s.live.clone())?;
        if (base..next).contains(&seq) {
            return view.messages(seq, seq + 1, false).next().transpose();
        }
        // Behind an end that is not the end it may be live all the same.
        view.lost.filter(|_| seq >= next).map_or(Ok(None), Err)
    }

    /// Counters, ranges, times, attributes.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn info(&self) -> Result<SessionInfo> {
        let seen = self.refresh()?;
        let open = if seen.tail.ending == Ending::Clean { OpenState::Closed } else { OpenState::Open };
        Ok(SessionInfo::of_state(&seen.tail.state, open))
    }

    /// How many messages are live.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn message_count(&self) -> Result<u64> {
        Ok(self.refresh()?.tail.state.message_count)
    }

    /// The attributes.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn attributes(&self) -> Result<Attributes> {
        Ok(self.refresh()?.tail.state.attributes.clone())
    }

    /// The archives, oldest first.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn archives(&self) -> Result<Vec<Archive>> {
        Ok(self.refresh()?.tail.state.archives.iter().map(Archive::from).collect())
    }

    /// The messages of an archive, in order.
    ///
    /// # Errors
    /// `NotFound` if there is no archive of this number; otherwise as [`Reader::load`].
    pub fn archived(&self, number: u64) -> Result<Messages> {
        archived(&self.id, number, |extents| self.fresh_view(extents).map(Some))
    }

    /// What was found when the session was last looked at as a whole. While a writer is at work its end is not
    /// a clean one, which is no fault.
    pub fn report(&self) -> Report {
        self.seen.lock().report.clone()
    }

    /// Why the state that was read may not be the newest, if it may not.
    pub(crate) fn uncertain(&self) -> Option<Error> {
        let seen = self.seen.lock();
        let hidden = seen.report.findings.iter().find(|f| f.hides_state())?;
        let error =
            Error::corrupt(seen.tail.segment.path(), seen.tail.offset, hidden.to_string()).session(&self.id);
        Some(seen.lost.clone().unwrap_or(error))
    }

    fn fresh_view(&self, extents: impl Fn(&State) -> Vec<Extent>) -> Result<(View, u64, u64)> {
        let seen = self.refresh()?;
        Ok(view_of(&self.env, &seen, extents))
    }

    /// The view as it was read, without looking again.
    pub(crate) fn view(&self, extents: impl Fn(&State) -> Vec<Extent>) -> (View, u64, u64) {
        view_of(&self.env, &self.seen.lock(), extents)
    }

    /// The state as it was read, without looking again.
    pub(crate) fn with_state<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.seen.lock().tail.state)
    }

    pub(crate) fn ended_clean(&self) -> bool {
        self.seen.lock().tail.ending == Ending::Clean
    }
}

fn view_of(env: &Env, seen: &Seen, extents: impl Fn(&State) -> Vec<Extent>) -> (View, u64, u64) {
    let mut view = view_of_tail(env, seen.dir.clone(), &seen.tail);
    let state = &seen.tail.state;
    view.extents = extents(state);
    view.lost = seen.lost.clone();
    (view, state.base, state.next)
}

/// Reads the session anew. A directory that is replaced meanwhile makes this start over.
fn look(env: &Arc<Env>, id: &SessionId) -> Result<Option<Seen>> {
    let mut last = None;
    for _ in 0..16 {
        let Some(dir) = locate(env, id)? else { return Ok(None) };
        let loaded = load_tail(env, Whose::Id(id), &dir, Look::End);
        // It may have gone between the two steps, and its files one by one; if it is still there, what is wrong is true.
        if is_amiss(&loaded) && !still_there(env, id, &*dir)? {
            last = loaded.err();
            continue;
        }
        let LoadedTail { tail, plan } = loaded?;
        return Ok(Some(Seen { dir, tail, report: plan.report, lost: plan.lost }));
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Conflict, "read a session").session(id)))
}

/// Whether anything was found wrong.
fn is_amiss(loaded: &Result<LoadedTail>) -> bool {
    loaded.as_ref().map_or(true, |loaded| loaded.plan.report.has_damage())
}
