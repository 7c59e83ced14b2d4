//! How a damaged session goes on: what is kept where it is, what is copied into a new segment, what is taken away.

use std::sync::Arc;

use super::check::Place;
use super::code::Code;
use super::finding::Finding;
use super::inventory::{FrameAt, Inventory, SegmentFile, What};
use super::plan::{Action, Step};
use super::quarantine::{Note, keep};
use super::salvage::{Salvage, salvage};
use super::session::{Looked, place as named_place};
use super::survivors::{Ends, Survivors, messages_of, sealed_ends, survivors};
use super::walk::{cut_bytes, is_there};
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::{CatalogEntry, Open};
use crate::format::{CRITICAL, EntryMeta, Frame, FrameKind, Record, RecordKind, SegmentHeader};
use crate::fs::{Access, read_exact_at, write_all_at};
use crate::ids::{Incarnation, SessionId};
use crate::limits;
use crate::log::segment_name;
use crate::log::window::{At, Window};
use crate::log::writer::{After, Birth, NewRecord, SegmentWriter, WriteFault};
use crate::session::summary_of_state;
use crate::state::{Op, SegmentInfo, State};
use crate::store::Env;

/// What is to be done with a session.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) fresh: Option<Fresh>,
    pub(crate) copies: Vec<Copied>,
}

/// A file that goes to the quarantine.
pub(crate) struct Copied {
    name: String,
    why: String,
    /// It also keeps its place: what stands in front of the damage in it is relied on. What stands behind goes with it one day.
    stays: bool,
}

/// The segment with which the session goes on.
pub(crate) struct Fresh {
    number: u64,
    state: State,
    previous: Option<Prefix>,
    carry: Vec<Run>,
}

/// Records of one frame that are copied.
struct Run {
    segment: usize,
    offset: u64,
    from: u64,
    to: u64,
}

/// So many bytes are written again at once.
const PIECE: usize = 1 << 20;

/// A loss of unknown size is given so much room in the positions.
const ROOM: u64 = 1 << 32;

fn damaged(looked: &Looked) -> bool {
    looked.findings.iter().any(|f| f.is_damage() && f.code != Code::MisplacedSession)
}

/// True if anything is wrong with the session that a repair could do something about.
pub(crate) fn is_needed(looked: &Looked) -> bool {
    looked.findings.iter().any(|f| f.is_damage() || f.code == Code::UnlistedSegment)
}

/// What is to be done, or why nothing can be.
pub(crate) fn plan(looked: &Looked) -> Result<Plan, String> {
    if let Some(f) = looked.findings.iter().find(|f| f.code == Code::NewerFormat) {
        return Err(format!("{}; it was left untouched: use the program that wrote it", f.what));
    }
    if let Some(f) = looked.findings.iter().find(|f| f.code == Code::MisplacedSession) {
        return Err(format!("{}: {}", f.what, f.remedy));
    }
    let inventory = &looked.inventory;
    let session = looked.id.as_ref().map(|id| id.as_str().to_owned());
    let step = |name: &str, action, why: &str| Step {
        session: session.clone(),
        file: format!("{}/{name}", looked.rel),
        action,
        why: why.to_owned(),
    };
    let mut steps = Vec::new();
    let mut copies = Vec::new();
    let mut fresh = None;
    let mut lost = Vec::new();
    if damaged(looked) {
        let ends = sealed_ends(inventory);
        let all = survivors(inventory, &ends);
        let saved = salvage(inventory, &all, looked.id.as_ref(), &looked.said).ok_or(
            "no state of the session survives, and nothing says which session it is; nothing was changed",
        )?;
        lost.clone_from(&saved.lost);
        let (new, gone) = place(looked, saved, &all, &ends)?;
        readable(&new.state)?;
        copies = gone;
        fresh = Some(new);
    } else {
        for f in looked.findings.iter().filter(|f| f.code == Code::UnlistedSegment) {
            let name = f.file.rsplit('/').next().unwrap_or_default();
            copies.push(Copied { name: name.to_owned(), why: f.what.clone(), stays: false });
        }
        // A directory is listed in no order.
        copies.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let len = |name: &str| inventory.segments.iter().find(|s| s.name == name).map_or(0, |s| s.len);
    for c in &copies {
        steps.push(step(&c.name, Action::Quarantine { bytes: len(&c.name) }, &c.why));
    }
    if let Some(f) = &fresh {
        let name = segment_name(f.number);
        for hole in &lost {
            let why = "they can be read nowhere";
            steps.push(step(&name, Action::AcceptLoss { seq: hole.seq, count: hole.count }, why));
        }
        let first = looked.findings.iter().find(|f| f.is_damage());
        let why = first.map_or_else(String::new, |f| format!("{}: {}", f.code, f.what));
        let carried = f.carry.iter().map(|r| messages(inventory, r)).sum();
        let action =
            Action::StartSegment { carried, position: f.state.position, messages: f.state.message_count };
        steps.push(step(&name, action, &why));
    }
    for c in copies.iter().filter(|c| !c.stays) {
        steps.push(step(&c.name, Action::TakeAway, &c.why));
    }
    Ok(Plan { steps, fresh, copies })
}

/// What is written must be what a reader accepts, whatever survives.
fn readable(state: &State) -> Result<(), String> {
    match State::decode(&state.encode()?) {
        Ok(_) => Ok(()),
        Err(Ok(version)) => Err(format!("a snapshot of version {version}")),
        Err(Err(what)) => Err(format!("what survives contradicts itself ({what}); nothing was changed")),
    }
}

fn frame_of<'a>(inventory: &'a Inventory, run: &Run) -> Option<&'a FrameAt> {
    inventory.segments.get(run.segment)?.frames.iter().find(|f| f.offset == run.offset)
}

fn messages(inventory: &Inventory, run: &Run) -> u64 {
    let records = frame_of(inventory, run).into_iter().flat_map(|f| &f.records);
    let inside = records.filter(|r| (run.from..run.to).contains(&r.position));
    inside.filter(|r| matches!(r.what, What::Message { .. })).count() as u64
}

/// What of a segment can be relied on where it is: everything from its beginning to the first fault.
struct Prefix {
    index: usize,
    info: SegmentInfo,
    crc: u32,
    /// What stands before this offset was synced.
    synced: u64,
    /// The positions in it, rising.
    ranges: Vec<(u64, u64)>,
}

impl Prefix {
    fn of(index: usize, s: &SegmentFile, ends: &Ends) -> Option<Prefix> {
        let h = s.header().filter(|_| s.head_is_good())?;
        let state = s.snapshot.as_ref()?;
        let first = h.first_position;
        let (mut low, mut low_seq) = (first, None);
        let (mut offset, mut end, mut last) = (SegmentHeader::LEN as u64, first, (0, 0));
        let mut ranges = Vec::new();
        let sealed = ends.get(&s.number).copied();
        let mark = s.frames.iter().map(|f| f.header.mark).max().unwrap_or(0);
        let mut synced = SegmentHeader::LEN as u64;
        for f in s.trusted(sealed) {
            if f.offset != offset || !f.is_good() {
                break;
            }
            (offset, last) = (f.until(), (f.len, f.crc));
            // Who began a successor had synced what stands before that.
            if sealed.is_some() || f.end <= mark {
                synced = offset;
            }
            if f.header.kind == FrameKind::Snapshot {
                continue;
            }
            if f.header.kind == FrameKind::Carry {
                low = low.min(f.header.first_position);
                low_seq = low_seq.or_else(|| {
                    f.records.iter().find_map(|r| match r.what {
                        What::Message { seq, .. } => Some(seq),
                        _ => None,
                    })
                });
            } else {
                end = f.end;
            }
            ranges.push((f.header.first_position, f.end));
        }
        if offset < s.head_end() {
            return None;
        }
        let info = SegmentInfo {
            number: s.number,
            salt: h.salt,
            low,
            first,
            end,
            end_offset: offset,
            end_len: last.0,
            low_seq: low_seq.unwrap_or(state.next),
        };
        Some(Prefix { index, info, crc: last.1, synced, ranges })
    }

    fn has(&self, position: u64) -> bool {
        let at = self.ranges.partition_point(|r| r.1 <= position);
        self.ranges.get(at).is_some_and(|r| r.0 <= position)
    }
}

/// Decides where the surviving records will be read from, and of which files copies are kept.
fn place(
    looked: &Looked,
    saved: Salvage,
    all: &Survivors<'_>,
    ends: &Ends,
) -> Result<(Fresh, Vec<Copied>), String> {
    let inventory = &looked.inventory;
    let Salvage { mut state, lost, gaps } = saved;
    let newest = inventory.segments.iter().rev().find(|s| s.snapshot.is_some()).map_or(0, |s| s.number);
    let listed = |n: u64| n >= newest || state.segments.iter().any(|i| i.number == n);
    // Header and neighbour of such a one would be found to contradict each other again and again: what it holds is copied.
    let wrong = |f: &&Finding| matches!(f.code, Code::BrokenChain | Code::ForeignSegment);
    let broken: Vec<&str> = looked.findings.iter().filter(wrong).map(|f| f.file.as_str()).collect();
    let contradicts = |s: &SegmentFile| broken.contains(&format!("{}/{}", looked.rel, s.name).as_str());
    let mut kept: Vec<Prefix> = inventory
        .segments
        .iter()
        .enumerate()
        .filter(|(_, s)| listed(s.number) && !contradicts(s))
        .filter_map(|(i, s)| Prefix::of(i, s, ends))
        .collect();

    let extents = || state.live.iter().chain(state.archives.iter().flat_map(|a| &a.extents));
    let mut needed: Vec<u64> = extents().flat_map(|e| messages_of(all, e)).map(|m| m.0).collect();
    needed.sort_unstable();
    let held = |p: u64| kept.iter().rev().find(|k| k.info.low <= p).is_some_and(|k| k.has(p));
    let carry_from = needed.iter().copied().find(|p| !held(*p)).unwrap_or(u64::MAX);
    kept.retain(|k| k.info.low < carry_from);
    let carry = runs(all, needed.partition_point(|p| *p < carry_from), &needed);
    let bytes: u64 = carry.iter().filter_map(|r| frame_of(inventory, r)).map(|f| u64::from(f.len)).sum();
    if bytes > limits::MAX_SEGMENT {
        return Err(format!(
            "{bytes} bytes would have to be copied into one segment, which is too much for one"
        ));
    }

    let mut copies = Vec::new();
    for s in &inventory.segments {
        let stays = kept.iter().any(|k| k.info.number == s.number);
        let file = format!("{}/{}", looked.rel, s.name);
        let fault = looked.findings.iter().find(|f| f.file == file && f.severity > super::Severity::Info);
        let why = match fault {
            Some(f) => format!("{}: {}", f.code, f.what),
            None if stays => continue,
            None => "what it holds is copied into the new segment".to_owned(),
        };
        copies.push(Copied { name: s.name.clone(), why, stays });
    }

    let gone = state.segments.iter().map(|i| i.number).chain(inventory.segments.iter().map(|s| s.number));
    let gone: Vec<u64> = gone.filter(|n| !kept.iter().any(|k| k.info.number == *n)).collect();
    let number = 1 + numbers(looked, &state).filter(|n| *n < limits::MAX_NUMBER).max().unwrap_or(0);
    state.position = positions(looked, &state, newest);
    state.released.extend(gone);
    state.released.sort_unstable();
    state.released.dedup();
    // One that a power cut brought back may be needed again: what is released is removed.
    state.released.retain(|number| kept.iter().all(|k| k.info.number != *number));
    state.segments = kept.iter().map(|k| k.info).collect();
    if !lost.is_empty() || gaps {
        state.epoch = state.epoch.wrapping_add(1);
    }
    let previous = kept.pop();
    Ok((Fresh { number, state, previous, carry }, copies))
}

/// The runs of good records from `needed[from]` on, frame by frame.
fn runs(all: &Survivors<'_>, from: usize, needed: &[u64]) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    for position in needed.get(from..).unwrap_or_default() {
        let Some(s) = all.get(position) else { continue };
        match out.last_mut() {
            Some(r) if r.segment == s.segment && r.offset == s.frame.offset && r.to == *position => r.to += 1,
            _ => out.push(Run {
                segment: s.segment,
                offset: s.frame.offset,
                from: *position,
                to: position + 1,
            }),
        }
    }
    out
}

/// Every number that a segment of this session ever had, as far as anybody knows.
fn numbers<'a>(looked: &'a Looked, state: &'a State) -> impl Iterator<Item = u64> + 'a {
    let segments = &looked.inventory.segments;
    let files = segments.iter().map(|s| s.number);
    let successors = segments.iter().filter_map(|s| s.successor.map(|n| n.number));
    let stated = segments.iter().filter_map(|s| s.snapshot.as_ref()).chain([state]);
    let stated = stated.flat_map(|s| s.segments.iter().map(|i| i.number).chain(s.released.iter().copied()));
    let said = looked.said.iter().filter_map(named_place).map(|(n, _)| n);
    files.chain(successors).chain(stated).chain(said)
}

/// A position above every one that a record of this session ever had.
fn positions(looked: &Looked, state: &State, newest: u64) -> u64 {
    let segments = &looked.inventory.segments;
    let frames = segments.iter().flat_map(|s| &s.frames).map(|f| f.end);
    let first = segments.iter().filter_map(SegmentFile::first_position);
    let sealed = state.segments.iter().map(|i| i.end);
    let closed = looked.said.iter().filter_map(|e| match e {
        CatalogEntry::Closed(s) => Some(s.position),
        _ => None,
    });
    let seen = frames.chain(first).chain(sealed).chain(closed).chain([state.position]).max().unwrap_or(1);
    // A file that cannot be read, or is not there, may have held any number of records.
    let unread = |s: &SegmentFile| s.number >= newest && s.frames.is_empty();
    let blind = segments.iter().any(unread)
        || looked.findings.iter().any(|f| matches!(f.code, Code::MissingSegment | Code::UnreadableSession));
    if blind { seen.saturating_add(ROOM) } else { seen }
}

/// Does it. The caller holds the session's lock.
pub(crate) fn perform(
    env: &Arc<Env>,
    place: &Place,
    looked: &Looked,
    id: &SessionId,
    fresh: Option<Fresh>,
    copies: &[Copied],
) -> Result<()> {
    for Copied { name, why, .. } in copies {
        let file = format!("{}/{name}", place.rel);
        let bytes = looked.inventory.segments.iter().find(|s| s.name == *name).map_or(0, |s| s.len);
        let offset = looked.findings.iter().find(|f| f.file == file).and_then(|f| f.offset).unwrap_or(0);
        let session = Some(id.as_str());
        let note = Note { session, file: &file, offset, bytes, why, time: env.now() };
        keep(&*env.fs, &env.layout.root, &*place.dir, name, &note)?;
    }
    if let Some(fresh) = fresh {
        start(env, place, looked, id, fresh)?;
    }
    let io = |e| Error::io("take a file away", place.dir.path(), e).session(id);
    for c in copies.iter().filter(|c| !c.stays) {
        place.dir.remove_file(&c.name).map_err(io)?;
    }
    place.dir.sync().map_err(io)
}

/// Writes the new segment, and closes it in good order.
fn start(env: &Arc<Env>, place: &Place, looked: &Looked, id: &SessionId, fresh: Fresh) -> Result<()> {
    let Fresh { number, mut state, previous, carry } = fresh;
    let incarnation = Incarnation::after(state.incarnation.number, env.random_u64()?)?;
    let prev = previous.as_ref().map(|p| &p.info);
    let header = SegmentHeader {
        store: env.layout.id,
        birth: state.birth,
        number,
        salt: env.random_u64()?,
        first_position: state.position,
        prev_number: prev.map_or(0, |i| i.number),
        prev_end_position: prev.map_or(0, |i| i.end),
        prev_end_offset: prev.map_or(0, |i| i.end_offset),
        prev_end_crc: previous.as_ref().map_or(0, |p| p.crc),
        carry_len: 0,
        incarnation: incarnation.number,
        created: env.now(),
    };
    // The state that the segment begins with is the repair's: the last summary of the catalog is older than it, and a
    // second repair sees that, should this one die before the catalog knows.
    state.incarnation = incarnation;
    let mut birth = Birth::new(header, &state)?;
    for run in &carry {
        copy(looked, run, &mut birth)?;
    }
    if let Some(previous) = &previous {
        secure(looked, previous)?;
    }
    env.sync_name(id)?;
    let mut log = birth.publish(&place.dir).map_err(|(e, _)| e.session(id))?;
    // Not before: the last summary may be all that bears witness of what is lost.
    let info = log.info();
    env.mark_open(Open {
        id: id.clone(),
        birth: state.birth,
        incarnation,
        segment: info.number,
        salt: info.salt,
        time: env.now(),
    })?;
    write(&mut log, &mut state, &[Op::Close], env.now()).map_err(|e| e.session(id))?;
    log.sync()?;
    let position = state.position;
    write(&mut log, &mut state, &[], env.now()).map_err(|e| e.session(id))?;
    log.trim();
    let info = log.info();
    let summary = summary_of_state(&state, &info, position);
    env.catalog.record(CatalogEntry::Closed(summary))?;
    env.catalog.sync()
}

/// Has on disk what the new segment says of its predecessor. Who wrote that may have died before a sync, or met an error in it,
/// after which a sync alone would prove nothing: so it is written once more.
fn secure(looked: &Looked, previous: &Prefix) -> Result<()> {
    let Prefix { index, info, synced, .. } = previous;
    let segment = looked.inventory.segments.get(*index).filter(|_| *synced < info.end_offset);
    let Some(s) = segment else { return Ok(()) };
    let path = looked.dir.path().join(&s.name);
    let io = |e| Error::io("make a segment durable", &path, e);
    let file = looked.dir.open(&s.name, Access::Write).map_err(io)?;
    let mut bytes = vec![0; PIECE];
    let mut from = *synced;
    while from < info.end_offset {
        let len = usize::try_from(info.end_offset - from).map_or(PIECE, |rest| rest.min(PIECE));
        let piece = bytes.get_mut(..len).unwrap_or_default();
        read_exact_at(&*file, piece, from).and_then(|()| write_all_at(&*file, piece, from)).map_err(io)?;
        from += len as u64;
    }
    file.sync().map_err(io)
}

fn copy(looked: &Looked, run: &Run, birth: &mut Birth) -> Result<()> {
    let Some(s) = looked.inventory.segments.get(run.segment) else { return Ok(()) };
    let path = looked.dir.path().join(&s.name);
    let changed =
        || Error::new(ErrorKind::Conflict, "copy records").path(&path).hint("the file changed meanwhile");
    let seed = s.seed.ok_or_else(changed)?;
    let io = |e| Error::io("read a segment", &path, e);
    let mut window = Window::new();
    let cut;
    let frame = match window.at(&*s.file, seed, run.offset, s.len).map_err(io)? {
        At::Frame(frame) => frame,
        _ => {
            cut = cut_bytes(&*s.file, seed, run.offset, s.len).map_err(io)?.ok_or_else(changed)?;
            Frame::parse(seed, run.offset, &cut).map_err(|_| changed())?
        }
    };
    let inside = |p: u64| (run.from..run.to).contains(&p);
    let good = |r: &Record<'_>| is_there(r, s.len) && r.verify().is_ok();
    if !frame.records().filter(|r| inside(r.position)).all(|r| good(&r)) {
        return Err(changed());
    }
    birth.carry(&frame, run.from..run.to);
    Ok(())
}

/// Writes one commit of these ops, or a mark if there are none, and folds it into the state.
fn write(log: &mut SegmentWriter, state: &mut State, ops: &[Op], now: u64) -> Result<()> {
    let time = state.clock(now);
    let mut after = After::of(state, time);
    let mut bodies = Vec::new();
    for op in ops {
        let mut body = Vec::new();
        op.encode(&mut body).map_err(|e| Error::new(ErrorKind::InvalidInput, "write a record").hint(e))?;
        after.after_op(op);
        bodies.push(body);
    }
    let (kind, flags) = match ops {
        [] => (RecordKind::Mark, 0),
        _ => (RecordKind::Op, CRITICAL),
    };
    if bodies.is_empty() {
        bodies.push(Vec::new());
    }
    let meta = EntryMeta { kind, flags, codec: 0 };
    let bytes = bodies.iter().map(Vec::len).sum();
    let records: Vec<NewRecord<'_>> =
        bodies.iter().map(|b| NewRecord { meta, extras: &[], payload: b }).collect();
    log.write(records.into_iter(), bytes, None, after, false).map_err(|f| match f {
        WriteFault::TakenBack(e) | WriteFault::Broken(e) => e,
    })?;
    for op in ops {
        let wrong =
            |c: crate::state::Contradiction| Error::new(ErrorKind::Conflict, "write a record").hint(c.0);
        state.apply_op(op, time).map_err(wrong)?;
    }
    if ops.is_empty() {
        state.apply_ignored();
    }
    Ok(())
}
