//! One turn of a session's leader: the ops that waited become commits.
//!
//! Ops are looked at in order against the state they meet. Appends that follow one another become one commit;
//! an op that changes more of the state than its counters (attributes, an archive) ends the group, so that
//! what comes behind it is judged against what it did. Nothing changes the state before its records are
//! written, and nobody is told before they are synced.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::archive::{ArchiveOutcome, Keep};
use super::core::{Core, Phase, Poison};
use super::create::First;
use super::cut::Live;
use super::message::{Appended, Durability};
use super::pending::{AppendOp, Control, Done, Pending, PendingOp, Reply};
use super::staged::Staged;
use super::writer::{Fault, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::BirthId;
use crate::limits;
use crate::state::{Attributes, KeyEntry, Op, State};
use crate::store::Job;

/// After so long without a commit a mark is written, so that little lies above the last one.
const IDLE: Duration = Duration::from_millis(50);

/// What one commit of several ops holds at most, in bytes of messages: a group gains nothing beyond it.
const MAX_GROUP: usize = 16 << 20;

/// How many ops one commit holds at most. Each may have a journal record, which a frame counts with 16 bits, and a key,
/// which is compared with those in front of it.
const MAX_GROUP_OPS: usize = 1 << 12;

/// Runs all of `batch`, one outcome for each op.
pub(crate) fn lead(core: &Arc<Core>, batch: &mut Pending, out: &mut Vec<Reply>) {
    let mut phase = core.phase.lock();
    // If anything here panics, the state in memory and the log may differ: this writer must not go on.
    let mut guard = PoisonOnPanic { core, phase: &mut phase, armed: true };
    let ops = std::mem::take(&mut batch.ops);
    let mut verdicts = std::mem::take(&mut batch.verdicts);
    let mut at = 0;
    while let Some(op) = ops.get(at) {
        match op {
            PendingOp::Append(first) => {
                let end = group_end(core, &ops, at, first);
                let group = ops.get(at..end).unwrap_or_default();
                append_group(core, guard.phase, batch, group, &mut verdicts, out);
                at = end;
            }
            PendingOp::Control(control) => {
                out.push(run_control(core, guard.phase, control));
                at += 1;
            }
        }
    }
    guard.armed = false;
    drop(guard);
    // The arena keeps its capacity.
    batch.ops = ops;
    batch.verdicts = verdicts;
    schedule(core);
}

struct PoisonOnPanic<'a> {
    core: &'a Core,
    phase: &'a mut Phase,
    armed: bool,
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if self.armed {
            let error = Error::new(ErrorKind::Poisoned, "commit").session(&self.core.id).unknown();
            poison(self.phase, error);
        }
    }
}

/// The ops that were under way are told.
fn poison(phase: &mut Phase, error: Error) {
    *phase = match std::mem::replace(phase, Phase::Closed(None)) {
        Phase::Open(writer) => Phase::Poisoned(Poison { writer: Some(writer), cause: error, told: true }),
        other => other,
    };
}

/// The ops from `at` on that one commit can take.
fn group_end(core: &Core, ops: &[PendingOp], at: usize, first: &AppendOp) -> usize {
    let limit = (core.env.settings.segment_size as usize).clamp(1 << 20, MAX_GROUP);
    let (mut bytes, mut messages) = (first.bytes, first.messages.len());
    let mut end = at + 1;
    if first.patch.is_some() {
        return end;
    }
    while let Some(PendingOp::Append(op)) = ops.get(end).filter(|_| end - at < MAX_GROUP_OPS) {
        bytes += op.bytes;
        messages += op.messages.len();
        if op.patch.is_some() || bytes > limit || messages > limits::MAX_BATCH_MESSAGES {
            break;
        }
        end += 1;
    }
    end
}

/// Runs `work` on the open writer; a fault that says so poisons it.
pub(crate) fn with_writer<T>(
    core: &Arc<Core>,
    phase: &mut Phase,
    work: impl FnOnce(&mut Writer) -> Result<T, Fault>,
) -> Result<T> {
    let Phase::Open(writer) = phase else {
        return Err(Error::new(ErrorKind::NotFound, "use a session")
            .session(&core.id)
            .hint("there is no such session"));
    };
    work(writer).map_err(|fault| {
        let error = fault.error.session(&core.id);
        if fault.poison {
            poison(phase, error.clone());
        }
        error
    })
}

/// What becomes of one append.
pub(crate) enum Verdict {
    /// It gets these sequences.
    Fresh(Range<u64>),
    /// An earlier append had the same key and content.
    Repeated(Range<u64>, u16),
    Refused(Error),
}

fn append_group(
    core: &Arc<Core>,
    phase: &mut Phase,
    batch: &Pending,
    ops: &[PendingOp],
    verdicts: &mut Vec<Verdict>,
    out: &mut Vec<Reply>,
) {
    let appends = || {
        ops.iter().filter_map(|op| match op {
            PendingOp::Append(append) => Some(append),
            PendingOp::Control(_) => None,
        })
    };
    let judged = begin_with(core, phase, batch, appends, verdicts).and_then(|begun| match begun {
        Some(epoch) => Ok((epoch, true)),
        None => core
            .with_shared(|s| {
                judge(core, &s.state, appends(), verdicts);
                (s.state.epoch, false)
            })
            .ok_or_else(|| Error::new(ErrorKind::Closed, "append").session(&core.id)),
    });
    let (epoch, begun) = match judged {
        Ok(judged) => judged,
        Err(e) => {
            out.extend(appends().map(|_| Err(e.clone())));
            return;
        }
    };
    let accepted = verdicts.iter().any(|v| matches!(v, Verdict::Fresh(_)));
    let wants_sync = appends()
        .zip(verdicts.iter())
        .any(|(op, v)| op.durability == Durability::Sync && !matches!(v, Verdict::Refused(_)));
    let mut result = Ok(());
    if !begun && (accepted || wants_sync) {
        result = with_writer(core, phase, |writer| {
            if accepted {
                write_group(core, writer, batch, appends(), verdicts)?;
            }
            writer.settle(&core.env, &core.shared, wants_sync)
        });
    }
    for verdict in verdicts.drain(..) {
        out.push(match (verdict, &result) {
            (Verdict::Refused(e), _) => Err(e),
            (_, Err(e)) => Err(e.clone()),
            (Verdict::Fresh(seqs), Ok(())) => {
                Ok(Done::Appended(Appended { seqs, epoch: u64::from(epoch), repeated: false }))
            }
            (Verdict::Repeated(seqs, epoch), Ok(())) => {
                Ok(Done::Appended(Appended { seqs, epoch: u64::from(epoch), repeated: true }))
            }
        });
    }
}

/// If the session is not there yet, it begins with its first ops that count, and they are acknowledged when it is there:
/// then the answer is their epoch, and they are judged, and nothing is left to be done; as where none of them counts, and
/// nothing begins. `None` if it is there, whoever made it: what is there is what the ops are judged by.
fn begin_with<'a, A: Iterator<Item = &'a AppendOp>>(
    core: &Arc<Core>,
    phase: &mut Phase,
    batch: &Pending,
    appends: impl Fn() -> A,
    verdicts: &mut Vec<Verdict>,
) -> Result<Option<u16>> {
    if core.ready(phase)? {
        return Ok(None);
    }
    let empty = State::new(core.id.clone(), BirthId([0; 16]), 0);
    judge(core, &empty, appends(), verdicts);
    if verdicts.iter().all(|v| matches!(v, Verdict::Refused(_))) {
        return Ok(Some(empty.epoch));
    }
    let stage = |staged: &mut Staged| stage_group(staged, batch, appends(), verdicts);
    let created = core.ready_or_create(phase, Some(&First { arena: &batch.bytes, stage: &stage }))?;
    Ok(created.then_some(empty.epoch))
}

/// Decides about each append of a group, in order, against the state and what the group adds to it.
fn judge<'a>(
    core: &Core,
    state: &State,
    appends: impl Iterator<Item = &'a AppendOp>,
    verdicts: &mut Vec<Verdict>,
) {
    let mut next = state.next;
    let mut keys: Vec<(u128, u128, Range<u64>)> = Vec::new();
    let conflict = |doing, hint: String| {
        Verdict::Refused(Error::new(ErrorKind::Conflict, doing).session(&core.id).hint(hint))
    };
    let refuse = |hint| conflict("append", hint);
    verdicts.clear();
    verdicts.extend(appends.map(|op| {
        if let Some((key, digest)) = op.key {
            let known = keys
                .iter()
                .find(|(k, ..)| *k == key)
                .map(|(_, d, seqs)| (*d, seqs.clone(), state.epoch))
                .or_else(|| {
                    state
                        .keys
                        .find(key)
                        .map(|e: &KeyEntry| (e.digest, e.seq..e.seq + u64::from(e.count), e.epoch))
                });
            match known {
                Some((d, seqs, epoch)) if d == digest => return Verdict::Repeated(seqs, epoch),
                Some(_) => return refuse("this idempotency key was used with other content".to_owned()),
                None => {}
            }
        }
        if let Some((seq, epoch)) = op.expect
            && (seq != next || epoch.is_some_and(|e| e != u64::from(state.epoch)))
        {
            return refuse(format!(
                "the next message is {next} in epoch {}, not {seq}{}",
                state.epoch,
                epoch.map(|e| format!(" in epoch {e}")).unwrap_or_default()
            ));
        }
        if let Some(patch) = &op.patch {
            if let Some(version) = patch.expect
                && version != state.attributes_version
            {
                let hint = format!("they are at version {}, not {version}", state.attributes_version);
                return conflict("change attributes", hint);
            }
            if let Err(e) = check_merged(&state.attributes, &patch.text) {
                return Verdict::Refused(e.session(&core.id));
            }
        }
        let seqs = next..next + op.messages.len() as u64;
        next = seqs.end;
        if let Some((key, digest)) = op.key {
            keys.push((key, digest, seqs.clone()));
        }
        Verdict::Fresh(seqs)
    }));
}

/// The attributes after a patch must stay within their limit: how long their text is then.
fn check_merged(attributes: &Attributes, patch: &str) -> Result<usize> {
    let patch = Attributes::read(patch)
        .map_err(|e| Error::new(ErrorKind::InvalidInput, "change attributes").hint(e))?;
    let mut merged = attributes.clone();
    merged.merge(&patch);
    let text = merged.to_text();
    let len = text.len();
    if len > limits::MAX_ATTRIBUTES {
        return Err(Error::new(ErrorKind::TooLarge, "change attributes")
            .hint(format!("they would have {len} bytes of JSON; the limit is {}", limits::MAX_ATTRIBUTES)));
    }
    if Attributes::read(&text).is_err() {
        return Err(Error::new(ErrorKind::InvalidInput, "change attributes")
            .hint("together they would be nested deeper than JSON readers accept"));
    }
    Ok(len)
}

/// Writes the accepted appends of a group as one commit. The state follows when they are durable (or, if no
/// op of the group waits for that, when they are written).
fn write_group<'a>(
    core: &Arc<Core>,
    writer: &mut Writer,
    batch: &Pending,
    appends: impl Iterator<Item = &'a AppendOp>,
    verdicts: &[Verdict],
) -> Result<(), Fault> {
    writer.begin(&core.env, &core.shared)?;
    let segment_size = core.env.settings.segment_size;
    writer.stage(&core.env, &core.shared)?;
    stage_group(writer.staged(), batch, appends, verdicts)?;
    if writer.is_full(segment_size) {
        writer.next_segment(&core.env, &core.shared, false)?;
        // A segment of nothing but changes of attributes, say, is needed by nobody once the next has its snapshot.
        if writer.has_garbage(&core.shared) {
            truncate_later(core);
        }
    }
    writer.write_staged(&batch.bytes, true)
}

/// Stages the records of what was accepted of a group.
fn stage_group<'a>(
    staged: &mut Staged,
    batch: &Pending,
    appends: impl Iterator<Item = &'a AppendOp>,
    verdicts: &[Verdict],
) -> Result<()> {
    for (op, verdict) in appends.zip(verdicts) {
        let Verdict::Fresh(_) = verdict else { continue };
        if let Some(patch) = &op.patch {
            staged.op(Op::Attributes { patch: patch.text.clone() })?;
        }
        if let Some((key, digest)) = op.key {
            staged.op(Op::Key { key, digest, count: op.messages.len() as u32 })?;
        }
        let messages = batch.messages.get(op.messages.clone()).unwrap_or_default();
        messages.iter().for_each(|message| staged.message(message));
    }
    Ok(())
}

fn run_control(core: &Arc<Core>, phase: &mut Phase, control: &Control) -> Reply {
    match control {
        Control::Create { strict } => {
            let created = core.ready_or_create(phase, None)?;
            if *strict && !created {
                return Err(Error::new(ErrorKind::AlreadyExists, "create a session").session(&core.id));
            }
            return Ok(Done::Nothing);
        }
        // What was never written is as durable as can be.
        Control::Sync if !core.ready(phase)? => return Ok(Done::Nothing),
        _ if !core.ready(phase)? => {
            return Err(Error::new(ErrorKind::NotFound, "use a session")
                .session(&core.id)
                .hint("nothing was ever written to it"));
        }
        _ => {}
    }
    match control {
        Control::Create { .. } => Ok(Done::Nothing),
        Control::Archive { keep, attributes } => archive(core, phase, *keep, attributes),
        Control::ArchiveAttributes { number, patch } => {
            let (gone, merged) = with_archive(core, *number, |a| {
                (a.attributes.to_text().len(), check_merged(&a.attributes, patch))
            })?;
            check_archives(core, gone, merged.map_err(|e| e.session(&core.id))?)?;
            let op = Op::ArchiveAttributes { number: *number, patch: patch.clone() };
            write_op(core, phase, op)?;
            Ok(Done::Nothing)
        }
        Control::RemoveArchive { number } => {
            with_archive(core, *number, |_| ())?;
            write_op(core, phase, Op::ArchiveRemoved { number: *number })?;
            // It has happened. What follows only gives room back, and is found again if it fails.
            let _ = with_writer(core, phase, |w| w.release(&core.env, &core.shared));
            Ok(Done::Nothing)
        }
        Control::Truncate => {
            let owes = core.with_shared(|s| s.state.truncated < s.state.base && !s.state.frozen);
            with_writer(core, phase, |w| {
                if owes == Some(true) {
                    w.truncate(&core.env, &core.shared)?;
                }
                w.release(&core.env, &core.shared)
            })?;
            Ok(Done::Nothing)
        }
        Control::Sync => {
            with_writer(core, phase, |w| w.settle(&core.env, &core.shared, true))?;
            Ok(Done::Nothing)
        }
    }
}

fn write_op(core: &Arc<Core>, phase: &mut Phase, op: Op) -> Result<()> {
    with_writer(core, phase, |w| {
        w.begin(&core.env, &core.shared)?;
        w.write_ops(&core.env, &core.shared, vec![op], true)
    })
}

fn with_archive<T>(core: &Core, number: u64, f: impl FnOnce(&crate::state::ArchiveState) -> T) -> Result<T> {
    core.with_shared(|s| s.state.archive(number).map(f)).flatten().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find an archive")
            .session(&core.id)
            .hint(format!("there is no archive {number}; archives() lists them"))
    })
}

/// The attributes of all archives must stay within what a snapshot can hold: those of one come, so many bytes `added`,
/// perhaps in the place of others of it that are `gone`.
fn check_archives(core: &Core, gone: usize, added: usize) -> Result<()> {
    let sizes = core.with_shared(|s| {
        let before: usize = s.state.archives.iter().map(|a| a.attributes.to_text().len()).sum();
        (before, before - gone + added)
    });
    match sizes {
        // What makes them fewer is always allowed.
        Some((before, after)) if after > before && after > limits::MAX_ARCHIVE_ATTRIBUTES => Err(Error::new(
            ErrorKind::TooLarge,
            "change the attributes of an archive",
        )
        .session(&core.id)
        .hint(format!(
            "those of all archives would have {after} bytes of JSON; the limit is {}: remove archives, or \
                     keep long texts elsewhere",
            limits::MAX_ARCHIVE_ATTRIBUTES
        ))),
        _ => Ok(()),
    }
}

fn archive(core: &Arc<Core>, phase: &mut Phase, keep: Keep, attributes: &str) -> Reply {
    let outcome = |archive, archived: Range<u64>, next| {
        let live = archived.end..next;
        Ok(Done::Archived(Box::new(ArchiveOutcome { archive, archived, live })))
    };
    let Some(live) = core.with_shared(Live::of) else {
        return Err(Error::new(ErrorKind::NotFound, "archive").session(&core.id));
    };
    let (base, next) = (live.base, live.next);
    let recent = match phase {
        Phase::Open(writer) => writer.recent(),
        _ => None,
    };
    let cut = live.cut(keep, recent).map_err(|e| e.session(&core.id))?;
    if cut.upto == base {
        // An earlier archive may be the reason, and that must be as sure as one of our own.
        with_writer(core, phase, |w| w.settle(&core.env, &core.shared, true))?;
        return outcome(None, base..base, next);
    }
    // None are kept as nothing.
    check_archives(core, 0, if attributes == "{}" { 0 } else { attributes.len() })?;
    let mut number = 0;
    with_writer(core, phase, |w| {
        w.begin(&core.env, &core.shared)?;
        number = core.with_shared(|s| u64::from(s.state.archives_made) + 1).unwrap_or_default();
        if number > u64::from(u32::MAX) {
            let full = Error::new(ErrorKind::TooLarge, "archive");
            return Err(full.hint("there are no numbers left for its archives").into());
        }
        let op = Op::Archive {
            number,
            base,
            upto: cut.upto,
            at: cut.at,
            bytes: cut.bytes,
            tokens: cut.tokens,
            attributes: attributes.to_owned(),
        };
        // The intent, one sync, and it has happened: the file work behind it is for later.
        w.write_ops(&core.env, &core.shared, vec![op], true)
    })?;
    let due = core.with_shared(|s| s.owes_truncation(core.env.settings.truncate_after));
    if due == Some(true) {
        truncate_later(core);
    }
    outcome(Some(number), base..cut.upto, next)
}

/// Hands what an archive owes, or what nobody reaches any more, to the background.
fn truncate_later(core: &Arc<Core>) {
    if !core.timers.truncate.swap(true, Ordering::AcqRel) {
        core.env.io.now(Job::Truncate(core.clone()));
    }
}

/// Arranges what is to be done later: an interval sync, a mark when the session is idle.
pub(crate) fn schedule(core: &Arc<Core>) {
    let lag = core.with_shared(|s| s.lag());
    let Some((unsynced, unmarked)) = lag else { return };
    if unsynced && !core.timers.sync.swap(true, Ordering::AcqRel) {
        core.env.io.at(Instant::now() + core.env.settings.sync_interval, Job::Sync(core.clone()));
    }
    if unmarked && !core.timers.mark.swap(true, Ordering::AcqRel) {
        let used = core.used.load(Ordering::Relaxed);
        core.env.io.at(Instant::now() + IDLE, Job::Mark(core.clone(), used));
    }
}
