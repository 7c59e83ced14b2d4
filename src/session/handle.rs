//! The handle on a session.

use std::cell::Cell;
use std::fmt;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::{Map, Value};

use super::archive::{Archive, ArchiveOutcome, Keep};
use super::core::Core;
use super::info::{OpenState, SessionInfo};
use super::message::{AppendOptions, Appended, Batch, NewMessage};
use super::pending::{Control, Done, check, check_batch, check_patch, patch_text};
use super::read::Messages;
use super::ticket::{Ticket, appended};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::SessionId;
use crate::limits;
use crate::log::Message;
use crate::log::view::View;
use crate::recovery::Report;
use crate::state::{Attributes, Extent, State};
use crate::store::Lease;

/// So many bytes may wait in a session's queue before `submit` makes room itself.
pub(crate) const MAX_WAITING: usize = 64 << 20;

/// A session of a store, open for writing: the one writer of it, however many handles and threads share it.
///
/// Cheap to clone, `Send + Sync`; all methods take `&self`. Reads see every acknowledged op of this process.
/// When the last handle is dropped the session stays open (and locked) for the store's `linger` time, so that
/// fetching a handle for each message is fine; [`Session::close`] gives it up at once.
pub struct Session {
    core: Arc<Core>,
    lease: Arc<Lease>,
}

impl Clone for Session {
    fn clone(&self) -> Session {
        self.core.handles.fetch_add(1, Ordering::AcqRel);
        Session { core: self.core.clone(), lease: self.lease.clone() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.lease.env.unclaim(&self.core);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.core.id).finish()
    }
}

impl Session {
    pub(crate) fn claim(lease: &Arc<Lease>, id: &SessionId) -> Result<Session> {
        Ok(Session { core: lease.env.claim(id)?, lease: lease.clone() })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The session's id.
    pub fn id(&self) -> &SessionId {
        &self.core.id
    }

    /// Appends one message. With the store's durability `Sync` it is on disk when this returns.
    ///
    /// Blocks on one sync, which it shares with the other threads that append to this session meanwhile.
    ///
    /// # Errors
    /// As [`Session::append_with`].
    ///
    /// ```
    /// # fn main() -> sessionlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = sessionlog::Store::open(dir.path().join("s"))?;
    /// use sessionlog::NewMessage;
    /// let session = store.session("chat:42")?;
    /// let first = session.append("hello")?;
    /// session.append(NewMessage::from("hi there").tag("assistant").tokens(3))?;
    /// assert_eq!(first.seq(), 0);
    /// # Ok(()) }
    /// ```
    pub fn append<'a>(&self, message: impl Into<NewMessage<'a>>) -> Result<Appended> {
        self.append_with(message, &AppendOptions::default())
    }

    /// Appends one message, with an expectation, an idempotency key or a durability of its own.
    ///
    /// # Errors
    /// `TooLarge` over a limit; `InvalidInput` for an empty key, one without a message, or a codec that is the library's; `Conflict` if the expectation does
    /// not hold, the key was used with other content, or another process wrote to the session while it was closed here (once:
    /// look at it, then go on); `Locked` if another process is the writer; `NoSpace` if the disk is full (nothing was applied,
    /// and it works again when there is room); `Poisoned` after a failed sync: open the session again;
    /// `Corrupt` if damage may hide part of the state; `NotFound` if the session was removed; `Closed`,
    /// `Forked`, `ReadOnly`, `Io`.
    pub fn append_with<'a>(
        &self,
        message: impl Into<NewMessage<'a>>,
        options: &AppendOptions<'_>,
    ) -> Result<Appended> {
        let message = message.into();
        let messages = std::slice::from_ref(&message);
        self.check(messages, options)?;
        let durability = options.durability.unwrap_or(self.core.env.settings.durability);
        appended(self.core.run(|p| p.push_append(messages, options, None, durability)))
    }

    /// Appends a value as JSON.
    ///
    /// # Errors
    /// `InvalidInput` for what JSON could not give back exactly (see [`NewMessage::json`]), and as
    /// [`Session::append_with`].
    pub fn append_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Appended> {
        self.append(self.own(NewMessage::json(value))?)
    }

    /// Appends messages and changes attributes as one: all of it is there, or nothing. One sync.
    ///
    /// # Errors
    /// `InvalidInput` if the batch is empty; otherwise as [`Session::append_with`].
    pub fn append_batch(&self, batch: &Batch<'_>) -> Result<Appended> {
        self.append_batch_with(batch, &AppendOptions::default())
    }

    /// As [`Session::append_batch`], with options.
    ///
    /// # Errors
    /// As [`Session::append_batch`].
    pub fn append_batch_with(&self, batch: &Batch<'_>, options: &AppendOptions<'_>) -> Result<Appended> {
        self.own(check_batch(batch))?;
        self.check(&batch.messages, options)?;
        let patch = self.own(check_patch(batch.patch.as_ref(), None))?;
        let durability = options.durability.unwrap_or(self.core.env.settings.durability);
        appended(self.core.run(|p| p.push_append(&batch.messages, options, patch, durability)))
    }

    /// Hands a message over and returns at once; the ticket tells when it is acknowledged. In the order of the
    /// calls. Blocks only while more than 64 MiB wait.
    ///
    /// # Errors
    /// `TooLarge` and `InvalidInput` as [`Session::append_with`], `Closed`, `Forked`, and `Io` if no thread can be started; all else
    /// comes with the ticket.
    pub fn submit<'a>(&self, message: impl Into<NewMessage<'a>>) -> Result<Ticket> {
        self.submit_with(message, &AppendOptions::default())
    }

    /// As [`Session::submit`], with options.
    ///
    /// # Errors
    /// As [`Session::submit`].
    pub fn submit_with<'a>(
        &self,
        message: impl Into<NewMessage<'a>>,
        options: &AppendOptions<'_>,
    ) -> Result<Ticket> {
        let message = message.into();
        let messages = std::slice::from_ref(&message);
        self.check(messages, options)?;
        let durability = options.durability.unwrap_or(self.core.env.settings.durability);
        self.core
            .submit(|p| p.push_append(messages, options, None, durability))
            .map(|t| Ticket::new(self.core.clone(), t))
    }

    /// Hands a batch over and returns at once.
    ///
    /// # Errors
    /// As [`Session::submit`] and [`Session::append_batch`].
    pub fn submit_batch(&self, batch: &Batch<'_>) -> Result<Ticket> {
        self.submit_batch_with(batch, &AppendOptions::default())
    }

    /// As [`Session::submit_batch`], with options.
    ///
    /// # Errors
    /// As [`Session::submit_batch`].
    pub fn submit_batch_with(&self, batch: &Batch<'_>, options: &AppendOptions<'_>) -> Result<Ticket> {
        self.own(check_batch(batch))?;
        self.check(&batch.messages, options)?;
        let patch = self.own(check_patch(batch.patch.as_ref(), None))?;
        let durability = options.durability.unwrap_or(self.core.env.settings.durability);
        self.core
            .submit(|p| p.push_append(&batch.messages, options, patch, durability))
            .map(|t| Ticket::new(self.core.clone(), t))
    }

    fn check(&self, messages: &[NewMessage<'_>], options: &AppendOptions<'_>) -> Result<()> {
        let max_payload = self.core.env.settings.max_payload;
        self.own(check(messages, options, max_payload, limits::MAX_BATCH_BYTES))
    }

    /// What a check said, of this session.
    fn own<T>(&self, checked: Result<T>) -> Result<T> {
        checked.map_err(|e| e.session(&self.core.id))
    }

    /// The live messages, in order; none of a session that nothing was ever written to.
    ///
    /// # Errors
    /// `NotFound` if the session was removed; `Closed`, `Forked`, `Io`, or `Corrupt` if no state can be read; damage to single
    /// messages comes as items.
    pub fn load(&self) -> Result<Messages> {
        self.range(..)
    }

    /// The last `n` live messages, in order. Reads those, not the session.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn tail(&self, n: u64) -> Result<Messages> {
        Ok(self.view(|s| s.live.clone())?.map_or_else(Messages::empty, |(view, _, next)| {
            let from = Extent::last(&view.extents, n).unwrap_or(next);
            Messages::new(view.messages(from, next, false))
        }))
    }

    /// As many of the last live messages as have at most `bytes` bytes of payload together.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn tail_bytes(&self, bytes: u64) -> Result<Messages> {
        self.tail_within(Budget::Bytes(bytes))
    }

    /// As many of the last live messages as have at most `tokens` estimated tokens together. One without an estimate counts
    /// nothing, nor does a damaged one, which comes as an error.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn tail_tokens(&self, tokens: u64) -> Result<Messages> {
        self.tail_within(Budget::Tokens(tokens))
    }

    fn tail_within(&self, budget: Budget) -> Result<Messages> {
        tail_within(|| self.view(|s| s.live.clone()), budget)
    }

    /// The live messages with sequences in `range`, in order; what is not live is left out.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn range(&self, range: impl RangeBounds<u64>) -> Result<Messages> {
        Ok(self.view(|s| s.live.clone())?.map_or_else(Messages::empty, |(view, base, next)| {
            let (from, to) = bounds(&range, base, next);
            Messages::new(view.messages(from, to, true))
        }))
    }

    /// The live message `seq`, or `None` if it is not live.
    ///
    /// # Errors
    /// As [`Session::load`], and `Corrupt` if this message is damaged.
    pub fn get(&self, seq: u64) -> Result<Option<Message>> {
        match self.view(|s| s.live.clone())? {
            Some((view, base, next)) if (base..next).contains(&seq) => {
                view.messages(seq, seq + 1, false).next().transpose()
            }
            Some((View { lost: Some(lost), .. }, _, next)) if seq >= next => Err(lost),
            _ => Ok(None),
        }
    }

    /// Counters, ranges, times, attributes: the state as it is.
    ///
    /// # Errors
    /// `NotFound` if nothing was ever written to it; otherwise as [`Session::load`].
    pub fn info(&self) -> Result<SessionInfo> {
        self.with_state(|s| SessionInfo::of_state(s, OpenState::OpenHere))?.ok_or_else(|| self.not_found())
    }

    /// How many messages are live: 0 for a session that nothing was ever written to.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn message_count(&self) -> Result<u64> {
        Ok(self.with_state(|s| s.message_count)?.unwrap_or(0))
    }

    /// The attributes: none of a session that nothing was ever written to.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn attributes(&self) -> Result<Attributes> {
        Ok(self.with_state(|s| s.attributes.clone())?.unwrap_or_default())
    }

    /// Changes attributes by a merge patch (RFC 7396): a `null` removes a key, other keys stay as they are.
    /// Durable when it returns; creates the session if it is not there. An empty patch changes their version alone.
    ///
    /// # Errors
    /// `TooLarge` if they would have more than 256 KiB of JSON; `InvalidInput` if the patch is no object, or nested deeper than
    /// [`limits::MAX_JSON_DEPTH`]; otherwise as [`Session::append_with`].
    pub fn patch_attributes(&self, patch: &Value) -> Result<()> {
        self.patch(patch, None)
    }

    /// As [`Session::patch_attributes`], only if the attributes are still at `version` (see
    /// [`SessionInfo::attributes_version`]; 0 for attributes that were never changed).
    ///
    /// # Errors
    /// `Conflict` if they changed since; otherwise as [`Session::patch_attributes`].
    ///
    /// ```
    /// # fn main() -> sessionlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = sessionlog::Store::open(dir.path().join("s"))?;
    /// use serde_json::json;
    /// let session = store.session("chat")?;
    /// session.patch_attributes(&json!({"turns": 1}))?;
    /// let seen = session.info()?;
    /// let turns = seen.attributes["turns"].as_u64().unwrap_or(0) + 1;
    /// session.patch_attributes_if(seen.attributes_version, &json!({"turns": turns}))?;
    /// assert!(session.patch_attributes_if(seen.attributes_version, &json!({"turns": 0})).is_err());
    /// # Ok(()) }
    /// ```
    pub fn patch_attributes_if(&self, version: u64, patch: &Value) -> Result<()> {
        self.patch(patch, Some(version))
    }

    fn patch(&self, patch: &Value, version: Option<u64>) -> Result<()> {
        let patch = self.own(check_patch(Some(patch), version))?;
        let options = AppendOptions::default();
        let durability = self.core.env.settings.durability;
        self.core.run(|p| p.push_append(&[], &options, patch, durability)).map(|_| ())
    }

    /// Archives everything but what `keep` keeps, as one archive. On disk when it returns, after one sync
    /// whatever the size; the live log is truncated later. Repeating it, or racing with it, never archives a
    /// message twice.
    ///
    /// # Errors
    /// `NotFound` if nothing was ever written to it; otherwise as [`Session::append_with`].
    ///
    /// ```
    /// # fn main() -> sessionlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = sessionlog::Store::open(dir.path().join("s"))?;
    /// use sessionlog::Keep;
    /// let session = store.session("chat")?;
    /// for i in 0..100 {
    ///     session.append(&format!("message {i}"))?;
    /// }
    /// let done = session.archive(Keep::Messages(20))?;
    /// assert_eq!((done.archived, done.live), (0..80, 80..100));
    /// assert_eq!(session.archived(1)?.count(), 80);
    /// # Ok(()) }
    /// ```
    pub fn archive(&self, keep: Keep) -> Result<ArchiveOutcome> {
        self.archive_with(keep, &Value::Object(Map::new()))
    }

    /// As [`Session::archive`], with attributes of the archive in the same record: an object, and no patch (a `null` in it stays).
    /// Where there is nothing to archive ([`ArchiveOutcome::archive`] is `None`) there is nothing either to have them.
    ///
    /// # Errors
    /// As [`Session::archive`]; of the attributes as [`Session::patch_attributes`], and `TooLarge` if those of all archives
    /// would have more than 16 MiB.
    pub fn archive_with(&self, keep: Keep, attributes: &Value) -> Result<ArchiveOutcome> {
        let text = self.own(patch_text(attributes))?;
        match self.core.control(Control::Archive { keep, attributes: text })? {
            Done::Archived(outcome) => Ok(*outcome),
            _ => Err(Error::new(ErrorKind::Io, "archive").hint("the answer of another op arrived").unknown()),
        }
    }

    /// Another name for [`Session::archive`].
    ///
    /// # Errors
    /// As [`Session::archive`].
    pub fn commit(&self, keep: Keep) -> Result<ArchiveOutcome> {
        self.archive(keep)
    }

    /// The archives, oldest first.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn archives(&self) -> Result<Vec<Archive>> {
        Ok(self.with_state(|s| s.archives.iter().map(Archive::from).collect())?.unwrap_or_default())
    }

    /// The messages of an archive, in order.
    ///
    /// # Errors
    /// `NotFound` if there is no archive of this number; otherwise as [`Session::load`].
    pub fn archived(&self, number: u64) -> Result<Messages> {
        archived(&self.core.id, number, |extents| self.view(extents))
    }

    /// Changes the attributes of an archive by a merge patch: status, references and summary text change
    /// together, in one record.
    ///
    /// # Errors
    /// `NotFound` if there is no archive of this number; otherwise as [`Session::archive_with`].
    pub fn patch_archive(&self, number: u64, patch: &Value) -> Result<()> {
        let patch = self.own(patch_text(patch))?;
        self.core.control(Control::ArchiveAttributes { number, patch }).map(|_| ())
    }

    /// Removes one archive for good. Its bytes go when no other archive needs their segment.
    ///
    /// # Errors
    /// `NotFound` if there is no archive of this number; otherwise as [`Session::append_with`].
    pub fn remove_archive(&self, number: u64) -> Result<()> {
        self.core.control(Control::RemoveArchive { number }).map(|_| ())
    }

    /// Pays what archives owe at once: the live log is truncated to the live messages.
    ///
    /// # Errors
    /// As [`Session::archive`].
    pub fn truncate(&self) -> Result<()> {
        self.core.control(Control::Truncate).map(|_| ())
    }

    /// Makes everything that was appended as `Buffered` durable: nothing, of a session that nothing was ever written to.
    ///
    /// # Errors
    /// `Poisoned` if the sync fails; otherwise as [`Session::append_with`].
    pub fn sync(&self) -> Result<()> {
        self.core.control(Control::Sync).map(|_| ())
    }

    /// What opening the session found and did. (Of a large segment that was closed in good order only the end was read: damage in
    /// front of that is found when it is read, or by [`doctor::check`](crate::doctor::check).)
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn report(&self) -> Result<Report> {
        self.core.env.check()?;
        if let Some(report) = self.core.with_shared(|s| s.report.clone()) {
            return Ok(report);
        }
        self.core.ready(&mut self.core.phase.lock())?;
        Ok(self.core.with_shared(|s| s.report.clone()).unwrap_or_default())
    }

    /// Closes the session in good order, once what was handed over is done, and gives up its lock, for all handles; the next op
    /// opens it again.
    ///
    /// # Errors
    /// `NoSpace` or `Io` if the close could not be written (what was acknowledged is safe all the same), and
    /// `Poisoned` if a sync fails or failed: what was acknowledged as `Buffered` and not synced may be gone then, and the
    /// handles that are left say so too; `Closed`, `Forked`.
    pub fn close(self) -> Result<()> {
        self.core.env.check()?;
        self.core.park()
    }

    fn not_found(&self) -> Error {
        Error::new(ErrorKind::NotFound, "look at a session")
            .session(&self.core.id)
            .hint("nothing was ever written to it")
    }

    /// The state, wherever it is: with the writer, or on disk if another process is the writer or nobody is.
    fn with_state<T>(&self, f: impl FnOnce(&State) -> T) -> Result<Option<T>> {
        self.core.env.check()?;
        let mut f = Some(f);
        if let Some(out) = self.core.with_shared(|s| f.take().map(|f| f(&s.state))).flatten() {
            return Ok(Some(out));
        }
        Ok(self.core.on_disk()?.and_then(|reader| f.take().map(|f| reader.with_state(f))))
    }

    fn view(&self, extents: impl Fn(&State) -> Vec<Extent>) -> Result<Option<(View, u64, u64)>> {
        self.core.env.check()?;
        if let Some(out) = self.core.with_shared(|s| (s.view(extents(&s.state)), s.state.base, s.state.next))
        {
            return Ok(Some(out));
        }
        Ok(self.core.on_disk()?.map(|r| r.view(extents)))
    }
}

/// The range of sequences that bounds name, inside `[base, next)`.
pub(crate) fn bounds(range: &impl RangeBounds<u64>, base: u64, next: u64) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(s) => *s,
        Bound::Excluded(s) => s.saturating_add(1),
        Bound::Unbounded => base,
    };
    let to = match range.end_bound() {
        Bound::Included(s) => s.saturating_add(1),
        Bound::Excluded(s) => *s,
        Bound::Unbounded => next,
    };
    (from.max(base), to.min(next))
}

/// The messages of archive `number` of a session, in a view of the extents that are asked for.
pub(crate) fn archived(
    id: &SessionId,
    number: u64,
    view: impl FnOnce(&dyn Fn(&State) -> Vec<Extent>) -> Result<Option<(View, u64, u64)>>,
) -> Result<Messages> {
    let known = Cell::new(false);
    let view = view(&|s| {
        let archive = s.archive(number);
        known.set(archive.is_some());
        archive.map(|a| a.extents.clone()).unwrap_or_default()
    })?;
    match view {
        // All of it may have been given up by a repair.
        Some((mut view, ..)) if known.get() => {
            view.lost = None;
            Ok(Messages::new(view.messages(0, u64::MAX, true)))
        }
        // Behind an end that is not the end it may have been made all the same.
        Some((View { lost: Some(lost), .. }, ..)) => Err(lost),
        _ => Err(Error::new(ErrorKind::NotFound, "read an archive")
            .session(id)
            .hint(format!("there is no archive {number}; archives() lists them"))),
    }
}

/// What the last messages may cost together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    Bytes(u64),
    Tokens(u64),
}

/// As many of the last messages as the budget allows. A segment that is released on the way back makes it look anew: so it goes
/// while another process writes.
pub(crate) fn tail_within(
    look: impl Fn() -> Result<Option<(View, u64, u64)>>,
    budget: Budget,
) -> Result<Messages> {
    let mut rounds = 0;
    loop {
        let Some((view, _, next)) = look()? else { return Ok(Messages::empty()) };
        match tail_of(&view, next, budget) {
            Err(e) if e.kind() == ErrorKind::NotFound && rounds < 16 => rounds += 1,
            other => return other,
        }
    }
}

fn tail_of(view: &View, next: u64, budget: Budget) -> Result<Messages> {
    let mut from = next;
    let mut sum = 0u64;
    view.walk_back(matches!(budget, Budget::Tokens(_)), |head| {
        let (cost, most) = match budget {
            Budget::Bytes(most) => (head.bytes, most),
            Budget::Tokens(most) => (head.tokens.unwrap_or(0), most),
        };
        sum = sum.saturating_add(cost);
        if sum > most {
            return ControlFlow::Break(());
        }
        from = head.seq;
        ControlFlow::Continue(())
    })
    .map_err(|e| e.session(&view.id))?;
    Ok(Messages::new(view.messages(from, next, false)))
}
