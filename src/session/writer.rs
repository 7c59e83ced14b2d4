//! The writing side of one open session: what the leader of a commit works with.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::core::Shared;
use super::cut::Recent;
use super::files::{LoadedTail, SessionLock};
use super::staged::Staged;
use crate::error::{Error, ErrorKind, Result};
use crate::format::SegmentHeader;
use crate::format::catalog::Open;
use crate::fs::Dir;
use crate::ids::{BirthId, Incarnation, SessionId};
use crate::log::scan::Tail;
use crate::log::segment::{Owner, Segment};
use crate::log::view::{Source, View};
use crate::log::writer::{After, Birth, RESERVE, SegmentWriter, WriteFault};
use crate::log::{parse_segment_name, segment_name};
use crate::recovery::{EndVerdict, Plan};
use crate::state::{Op, SegmentInfo, State};
use crate::store::Env;

/// An error of the writer, and whether the writer must stop for good.
pub(crate) struct Fault {
    pub(crate) error: Error,
    pub(crate) poison: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault { error, poison: false }
    }
}

impl From<WriteFault> for Fault {
    fn from(fault: WriteFault) -> Fault {
        match fault {
            WriteFault::TakenBack(error) => Fault { error, poison: false },
            WriteFault::Broken(error) => Fault { error, poison: true },
        }
    }
}

/// A session that this process may write: it holds the lock.
///
/// Until the first write nothing was changed on disk, and `log` is `None`: `loaded` says what was found.
pub(crate) struct Writer {
    pub(crate) dir: Arc<dyn Dir>,
    /// Released last: after the log is closed.
    pub(crate) lock: Option<SessionLock>,
    pub(crate) log: Option<SegmentWriter>,
    pub(super) tail: Option<Box<Tail>>,
    pub(super) plan: Plan,
    pub(super) incarnation: Incarnation,
    /// The catalog's open mark is durable.
    pub(super) marked: bool,
    /// The record that announces this writer is in the log.
    pub(super) announced: bool,
    /// Positions from here on hold nothing that a caller waits for.
    pub(crate) essential: u64,
    /// The commit under way; nothing while the session rests.
    pub(super) staged: Option<Box<Staged>>,
    /// The staged commit is in the log, and not in the state yet.
    pub(super) written: bool,
}

/// How much of the live tail is copied into a new segment at most, in bytes.
const MAX_CARRY: u64 = 1 << 20;
/// Segments that went long ago need not be remembered: their files went with them, but for one that was kept for a message
/// that is rotten elsewhere, which a repair looks at. Those of 2 GiB may go at once, and a power cut bring them back.
const RELEASED_KEPT: usize = 256;

impl Writer {
    /// The writer of a session that was found on disk, and what readers see of it.
    pub(crate) fn found(
        env: &Env,
        dir: Arc<dyn Dir>,
        lock: SessionLock,
        loaded: LoadedTail,
    ) -> (Writer, Shared) {
        let LoadedTail { tail, plan } = loaded;
        let mut shared = Shared::of_tail(env, dir.clone(), &tail, plan.report.clone());
        shared.lost = plan.lost.clone();
        let essential = tail.state.position;
        let writer = Writer {
            dir,
            lock: Some(lock),
            log: None,
            tail: Some(Box::new(tail)),
            plan,
            incarnation: Incarnation::default(),
            marked: false,
            announced: false,
            essential,
            staged: None,
            written: false,
        };
        (writer, shared)
    }

    /// Makes the session ready for its first write by this process: a new segment where the end was not
    /// clean, the open mark in the catalog, leftovers removed. Does nothing later.
    pub(crate) fn begin(&mut self, env: &Arc<Env>, shared: &Mutex<Option<Shared>>) -> Result<(), Fault> {
        if self.marked {
            return Ok(());
        }
        if self.log.is_none() {
            self.log = Some(self.first_segment(env, shared)?);
        }
        // Durable before anything is acknowledged, and naming the segment in which it will stand.
        let (Some(log), Some(open)) = (
            &self.log,
            shared
                .lock()
                .as_ref()
                .zip(self.log.as_ref())
                .map(|(s, log)| open_mark(&s.state, self.incarnation, &log.info(), env.now())),
        ) else {
            return Err(closed().into());
        };
        env.mark_open(open)?;
        self.marked = true;
        self.essential = log.position;
        self.tail = None;
        self.plan.truncate = false;
        let sealed = shared.lock().as_ref().map(Copies::of);
        for name in self.plan.remove.drain(..) {
            // A segment that went may hold the only good copy of what was carried into those behind it.
            let needed = parse_segment_name(&name)
                .zip(sealed.as_ref())
                .is_some_and(|(number, copies)| !copies.are_whole(env, &self.dir, log, number, 0..u64::MAX));
            if !needed {
                // What cannot be removed now is found again by the next opening.
                let _ = self.dir.remove_file(&name);
            }
        }
        Ok(())
    }

    /// The segment that takes this writer's first commit, as the plan says.
    fn first_segment(&mut self, env: &Env, shared: &Mutex<Option<Shared>>) -> Result<SegmentWriter, Fault> {
        let Some(tail) = &self.tail else { return Err(closed().into()) };
        let id = &tail.state.id;
        if self.plan.end == EndVerdict::ReadOnly {
            let why = self.plan.report.findings.iter().find(|f| f.hides_state());
            return Err(Error::new(ErrorKind::Corrupt, "write to a session")
                .session(id)
                .path(tail.segment.path())
                .offset(tail.offset)
                .hint(why.map_or_else(|| "its state is not certain".to_owned(), ToString::to_string))
                .into());
        }
        // Above the last one that got a record into the log, and above one that got no further than the catalog.
        let seen = env.catalog.witness(id, &tail.state.birth)?.map_or(0, |w| w.incarnation.number);
        let before = tail.state.incarnation.number.max(seen);
        self.incarnation = Incarnation::after(before, env.random_u64()?).map_err(|e| e.session(id))?;
        if self.plan.end == EndVerdict::Append {
            let log = SegmentWriter::resume(&self.dir, tail)?;
            if let Some(s) = shared.lock().as_mut() {
                s.read_through(&log);
            }
            return Ok(log);
        }
        // What stands above the mark is carried, and named in the old segment no more: it may be in the page
        // cache alone, and gone after the next power cut.
        let sure = tail.trusted;
        let info =
            SegmentInfo { end: sure.position, end_offset: sure.offset, end_len: sure.len, ..tail.info() };
        let replace = self.plan.end == EndVerdict::Replace && !self.plan.truncate;
        let carry = if replace { tail.low } else { sure.position };
        let prev = Previous { info, end_crc: sure.crc, release: replace };
        // The predecessor may have died between giving the session its name and syncing that.
        env.sync_name(id)?;
        let log = start_segment(env, &self.dir, shared, prev, carry, self.plan.truncate, self.incarnation)?;
        if replace {
            self.plan.remove.push(segment_name(info.number));
        }
        Ok(log)
    }

    /// Starts the next segment in good order: because this one is full, or to truncate.
    pub(crate) fn next_segment(
        &mut self,
        env: &Arc<Env>,
        shared: &Mutex<Option<Shared>>,
        truncate: bool,
    ) -> Result<(), Fault> {
        let Some(log) = &mut self.log else { return Ok(()) };
        log.sync().map_err(|error| Fault { error, poison: true })?;
        if let Some(s) = shared.lock().as_mut() {
            s.mark = log.durable;
        }
        let prev = Previous { info: log.info(), end_crc: log.last_crc, release: false };
        let position = log.position;
        let new = start_segment(env, &self.dir, shared, prev, position, truncate, self.incarnation)?;
        if let Some(s) = shared.lock().as_ref() {
            log.bear_witness(new.number(), new.segment.header.salt, After::of(&s.state, 0));
        }
        self.log = Some(new);
        Ok(())
    }

    /// Gives back what is kept from commit to commit: nobody commits for a while.
    pub(crate) fn rest(&mut self) {
        self.staged = None;
        if let Some(log) = &mut self.log {
            log.rest();
        }
    }

    /// This writer's term, once it has begun.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The commit under way.
    pub(crate) fn staged(&mut self) -> &mut Staged {
        self.staged.get_or_insert_default()
    }

    /// The last messages that this writer committed, if it did not rest since.
    pub(crate) fn recent(&self) -> Option<&Recent> {
        self.staged.as_ref().map(|staged| staged.recent())
    }

    /// Begins a commit: on top of the state as it is, with the announcement if it is still due.
    pub(crate) fn stage(&mut self, env: &Env, shared: &Mutex<Option<Shared>>) -> Result<(), Fault> {
        self.written = false;
        match shared.lock().as_ref() {
            Some(s) => self.staged().begin(&s.state, s.state.clock(env.now())),
            None => return Err(closed().into()),
        }
        if !self.announced {
            let op = Op::Opened { incarnation: self.incarnation };
            self.staged().op(op)?;
        }
        Ok(())
    }

    /// True if the staged commit does not fit into the segment any more (a segment takes one commit at least).
    pub(crate) fn is_full(&self, segment_size: u64) -> bool {
        let need = self.staged.as_ref().map_or(0, |staged| staged.frame_len()) + RESERVE;
        self.log.as_ref().is_some_and(|l| l.used && l.end - l.start + need > segment_size)
    }

    /// Writes the staged commit: not durable, and not in the state, before [`Writer::settle`].
    pub(crate) fn write_staged(&mut self, arena: &[u8], keep_reserve: bool) -> Result<(), Fault> {
        let (Some(log), Some(staged)) = (&mut self.log, &self.staged) else { return Err(closed().into()) };
        let Some(after) = staged.after() else { return Err(closed().into()) };
        log.write(staged.records(arena), staged.bytes(), staged.together(arena), after, keep_reserve)?;
        self.essential = log.position;
        self.announced = true;
        self.written = true;
        Ok(())
    }

    /// Syncs, if that is wanted and anything needs it, and then folds what was written into the state that
    /// readers see.
    pub(crate) fn settle(
        &mut self,
        env: &Arc<Env>,
        shared: &Mutex<Option<Shared>>,
        sync: bool,
    ) -> Result<(), Fault> {
        if sync && self.is_unconfirmed() {
            // What a dead predecessor wrote and never synced must be durable before anybody is told that it is
            // there: beginning carries it.
            self.begin(env, shared)?;
        }
        let Some(log) = &mut self.log else { return Ok(()) };
        if sync && log.durable < self.essential {
            log.sync().map_err(|error| Fault { error, poison: true })?;
        }
        let mut guard = shared.lock();
        let Some(s) = guard.as_mut() else { return Err(closed().into()) };
        if std::mem::take(&mut self.written) {
            let id = &s.state.id.clone();
            let staged = self.staged.as_mut().ok_or_else(|| broken(id, "nothing was staged".to_owned()))?;
            staged.apply(&mut s.state).map_err(|c| broken(id, c.0))?;
        }
        s.moved(log, self.essential);
        Ok(())
    }

    /// Nothing was written here yet, and the last writer did not close: what stands above its last mark, and the
    /// very names of files and directories, may be in the page cache alone.
    fn is_unconfirmed(&self) -> bool {
        self.log.is_none() && self.plan.end != EndVerdict::Append
    }

    /// Writes journal records as one commit. They may use the reserve: an intent must not fail for want of room.
    pub(crate) fn write_ops(
        &mut self,
        env: &Arc<Env>,
        shared: &Mutex<Option<Shared>>,
        ops: Vec<Op>,
        sync: bool,
    ) -> Result<(), Fault> {
        self.stage(env, shared)?;
        for op in ops {
            self.staged().op(op)?;
        }
        self.write_staged(&[], false)?;
        self.settle(env, shared, sync)
    }

    /// Writes a mark: everything before it is durable. Not synced itself, and nobody waits for it.
    pub(crate) fn write_mark(&mut self, env: &Arc<Env>, shared: &Mutex<Option<Shared>>) -> Result<(), Fault> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let staged = self.staged.get_or_insert_default();
        match shared.lock().as_ref() {
            Some(s) => staged.begin(&s.state, s.state.clock(env.now())),
            None => return Ok(()),
        }
        staged.mark();
        let Some(after) = staged.after() else { return Ok(()) };
        log.write(staged.records(&[]), 0, None, after, false)?;
        self.written = true;
        self.settle(env, shared, false)
    }

    /// A new segment, so that the live log holds no archived message any more.
    pub(crate) fn truncate(&mut self, env: &Arc<Env>, shared: &Mutex<Option<Shared>>) -> Result<(), Fault> {
        self.begin(env, shared)?;
        let owes = shared.lock().as_ref().is_some_and(|s| s.state.truncated < s.state.base);
        if owes { self.next_segment(env, shared, true) } else { Ok(()) }
    }

    /// True if there are segments that nothing reaches any more.
    pub(crate) fn has_garbage(&self, shared: &Mutex<Option<Shared>>) -> bool {
        let low = self.log.as_ref().map(|l| l.low);
        let guard = shared.lock();
        low.zip(guard.as_ref())
            .is_some_and(|(low, s)| !s.state.frozen && !s.state.unreachable(low).is_empty())
    }

    /// Removes segments that nothing reaches any more: first the record that says so, then the files.
    pub(crate) fn release(&mut self, env: &Arc<Env>, shared: &Mutex<Option<Shared>>) -> Result<(), Fault> {
        let Some(low) = self.log.as_ref().map(|l| l.low) else { return Ok(()) };
        let (mut segments, held, copies) = match shared.lock().as_ref() {
            Some(s) if !s.state.frozen => {
                let segments = s.state.unreachable(low);
                if segments.is_empty() {
                    return Ok(());
                }
                (segments, s.state.segments.clone(), Copies::of(s))
            }
            _ => return Ok(()),
        };
        if let Some(log) = &self.log {
            segments.retain(|number| {
                // It may hold more than is trusted of it: as far as the one behind it begins.
                let behind = held.iter().filter(|i| i.number > *number).map(|i| i.first);
                let upto = behind.min().unwrap_or(log.segment.header.first_position);
                let held = held.iter().find(|i| i.number == *number);
                let held = held.map_or(0..u64::MAX, |i| i.low..i.end.max(upto));
                copies.are_whole(env, &self.dir, log, *number, held)
            });
        }
        if segments.is_empty() {
            return Ok(());
        }
        self.begin(env, shared)?;
        self.write_ops(env, shared, vec![Op::Released { segments: segments.clone() }], true)?;
        if let Some(s) = shared.lock().as_mut() {
            // What is being read goes on to be read.
            for gone in s.sealed.iter().filter(|src| segments.contains(&src.info.number)) {
                gone.keep(&self.dir, owner(env, s.state.birth));
            }
            let kept = s.sealed.iter().filter(|src| !segments.contains(&src.info.number)).cloned().collect();
            s.sealed = Arc::new(kept);
        }
        for number in segments {
            // What cannot be removed now is found again by the next opening.
            let _ = self.dir.remove_file(&segment_name(number));
        }
        Ok(())
    }
}

/// The sealed segments, into which something may have been carried.
struct Copies {
    sealed: Arc<Vec<Arc<Source>>>,
    birth: BirthId,
}

impl Copies {
    fn of(shared: &Shared) -> Copies {
        Copies { sealed: shared.sealed.clone(), birth: shared.state.birth }
    }

    /// Whether what was carried out of segment `number`, which held these positions, can be read in the segments
    /// behind it: asked before it goes. What cannot be looked at now is not whole. Reads those copies.
    fn are_whole(
        &self,
        env: &Env,
        dir: &Arc<dyn Dir>,
        log: &SegmentWriter,
        number: u64,
        held: Range<u64>,
    ) -> bool {
        let concerned = |low: u64, first: u64| low < first && low < held.end && first > held.start;
        let whole = |s: &Segment| s.copies_are_whole(&held).unwrap_or(false);
        let mut behind = self.sealed.iter().filter(|s| s.info.number > number);
        behind.all(|s| {
            !concerned(s.info.low, s.info.first)
                || s.segment(dir, owner(env, self.birth)).is_ok_and(|segment| whole(&segment))
        }) && (!concerned(log.low, log.segment.header.first_position) || whole(&log.segment))
    }
}

/// The segment that a new one follows.
struct Previous {
    info: SegmentInfo,
    end_crc: u32,
    /// It is carried whole and goes.
    release: bool,
}

/// Writes segment n+1 and makes it the active one: the one way in which a segment begins after the first.
fn start_segment(
    env: &Env,
    dir: &Arc<dyn Dir>,
    shared: &Mutex<Option<Shared>>,
    prev: Previous,
    required_from: u64,
    truncate: bool,
    incarnation: Incarnation,
) -> Result<SegmentWriter, Fault> {
    let seen = shared.lock().as_ref().map(|s| (s.view(s.state.live.clone()), s.state.clone()));
    let (view, mut state) = seen.ok_or_else(closed)?;
    let owes = state.truncated < state.base;
    let first_live = state.live.first().map_or(state.position, |e| e.from);
    let carry_live = (owes || truncate)
        && !state.frozen
        && state.live_sums.bytes <= MAX_CARRY.min(env.settings.segment_size / 4);
    let from = if carry_live { required_from.min(first_live) } else { required_from };
    if prev.release {
        state.released.push(prev.info.number);
    } else {
        state.segments.push(prev.info);
    }
    let surplus = state.released.len().saturating_sub(RELEASED_KEPT);
    state.released.drain(..surplus);
    if owes && !state.frozen {
        state.truncated = state.base;
        state.dead_bytes = 0;
    }
    let header = SegmentHeader {
        store: env.layout.id,
        birth: state.birth,
        number: prev.info.number + 1,
        salt: env.random_u64()?,
        first_position: state.position,
        prev_number: prev.info.number,
        prev_end_position: prev.info.end,
        prev_end_offset: prev.info.end_offset,
        prev_end_crc: prev.end_crc,
        carry_len: 0,
        incarnation: incarnation.number,
        created: env.now(),
    };
    let begin = |header| Birth::new(header, &state).map_err(|e| e.path(dir.path()));
    let mut birth = begin(header)?;
    let room = birth.len() + MAX_CARRY as usize;
    let carried = view.frames(from, |frame, positions| {
        birth.carry(frame, positions);
        // Between the live messages may lie more than they are themselves.
        if from < required_from && birth.len() > room {
            return Err(Error::new(ErrorKind::TooLarge, "carry the live tail"));
        }
        Ok(())
    });
    if let Err(e) = carried {
        if from == required_from {
            return Err(e.into());
        }
        // The live tail is too much, or cannot be read whole: it stays where it is, and nothing is rewritten
        // around damage.
        birth = begin(birth.into_header())?;
        view.frames(required_from, |frame, positions| {
            birth.carry(frame, positions);
            Ok(())
        })?;
    }
    let log = birth.publish(dir).map_err(|(error, poison)| Fault { error, poison })?;
    let mut guard = shared.lock();
    if let Some(s) = guard.as_mut() {
        let mut sealed: Vec<_> = s.sealed.iter().cloned().collect();
        if !prev.release {
            sealed.push(Source::sealed(prev.info));
        }
        let report = std::mem::take(&mut s.report);
        *s = Shared::of_writer(env, s.dir.clone(), &log, state, Arc::new(sealed), report);
    }
    Ok(log)
}

pub(super) fn open_mark(state: &State, incarnation: Incarnation, info: &SegmentInfo, time: u64) -> Open {
    Open {
        id: state.id.clone(),
        birth: state.birth,
        incarnation,
        segment: info.number,
        salt: info.salt,
        time,
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "write to a session")
}

/// A record that was written does not follow the state it was made from: our mistake, not the disk's.
pub(crate) fn broken(id: &SessionId, what: String) -> Fault {
    let error = Error::new(ErrorKind::Poisoned, "write to a session").session(id).hint(what).unknown();
    Fault { error, poison: true }
}

/// The owner that every segment of a session must name.
pub(crate) fn owner(env: &Env, birth: BirthId) -> Owner {
    Owner { store: env.layout.id, birth: Some(birth) }
}

/// A view for a session whose tail was read.
pub(crate) fn view_of_tail(env: &Env, dir: Arc<dyn Dir>, tail: &Tail) -> View {
    let info = tail.info();
    View {
        id: tail.state.id.clone(),
        dir,
        owner: owner(env, tail.state.birth),
        sealed: Arc::new(tail.state.segments.iter().map(|s| Source::sealed(*s)).collect()),
        active: Source::active(info, tail.segment.clone()),
        active_end: (info.end, info.end_offset, info.end_len),
        extents: tail.state.live.clone(),
        mark: tail.mark,
        map: env.maps(),
        lost: None,
    }
}
