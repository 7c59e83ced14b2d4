//! Rows of whole stores: opening, listing, opening after a kill, room on disk.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::append::verify;
use super::read::thousands;
use super::{Base, Open, Plan, Row};
use crate::Result;
use crate::payload::{self, KIB};
use crate::peers::{Ack, Kind, OTHERS, OURS, Peer};
use crate::turns::{Measured, Side, Step, once, take};

/// Threads that begin sessions, for stores in which that is work of its own for each.
const BEGINNERS: u64 = 8;

/// Sessions `0..sessions`, each with `each` messages of `len` bytes in one batch.
fn fill(kind: &Kind, peer: &dyn Peer, sessions: u64, each: u64, len: usize) -> Result<()> {
    let threads = if kind.begin_apart { BEGINNERS } else { 1 };
    thread::scope(|scope| {
        let some = |first: u64| {
            (first..sessions).step_by(threads as usize).try_for_each(|id| {
                peer.session(id)?.append_batch(&payload::many(id, 0, each, len), Ack::Unsynced)
            })
        };
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(move || some(first))).collect();
        handles.into_iter().try_for_each(|handle| handle.join().map_err(|_| "a thread panicked")?)
    })
}

/// A store of each kind with such sessions, closed: where they are.
fn filled(
    plan: &Plan,
    row: &str,
    sessions: u64,
    each: u64,
    len: usize,
) -> Result<Vec<(&'static Kind, PathBuf)>> {
    let one = |store: Open| {
        fill(store.kind, &*store.peer, sessions, each, len)
            .map_err(|e| format!("{}: {e}", store.kind.name))?;
        let place = (store.kind, store.dir.clone());
        store.close()?;
        Ok(place)
    };
    plan.stores(row)?.into_iter().map(one).collect()
}

pub(super) fn open_and_list(plan: &Plan) -> Result<Vec<Row>> {
    const ROW: &str = "open";
    const EACH: u64 = 10;
    const LEN: usize = 300;
    let count = plan.of(1_000, 10_000);
    let places = filled(plan, ROW, count, EACH, LEN)?;

    let mut rows = Vec::new();
    if plan.wants("open") {
        let mut sides = Vec::new();
        for (kind, dir) in &places {
            let mut turn = 0;
            sides.push(Side::new(kind.name, move |step| {
                if step == Step::Prepare {
                    return Ok(0.0);
                }
                // Another session each time, the same one for all.
                turn += 1;
                let id = turn * 7_919 % count;
                let (time, peer) = once(|| {
                    let peer = (kind.open)(dir)?;
                    verify(&mut *peer.session(id)?, id, 0, EACH, LEN)?;
                    Ok(peer)
                })?;
                peer.close()?;
                Ok(time)
            }));
        }
        let measured = take(sides, plan.limits(Duration::ZERO))?;
        let title = format!("open a store of {} sessions and load one, warm", thousands(count));
        rows.push(Row { key: "open", title, base: Base::Ours, measured });
    }
    if plan.wants("list") {
        let stores = places.iter().map(|(kind, dir)| Open::new(kind, dir)).collect::<Result<Vec<_>>>()?;
        let mut sides = Vec::new();
        for store in &stores {
            sides.push(Side::new(store.kind.name, |step| {
                if step == Step::Prepare {
                    return Ok(0.0);
                }
                let (time, mut found) = once(|| store.peer.list())?;
                found.sort_unstable();
                if found.iter().copied().eq((0..count).map(|id| (id, EACH))) {
                    return Ok(time);
                }
                Err("the listing is not what is there".into())
            }));
        }
        let measured = take(sides, plan.limits(Duration::ZERO))?;
        super::close_all(stores)?;
        let title = format!("list {} sessions with their counts, warm", thousands(count));
        rows.push(Row { key: "list", title, base: Base::Ours, measured });
    }
    plan.clear(ROW)?;
    Ok(rows)
}

/// What a process does that lives for one message.
pub(super) fn life(plan: &Plan) -> Result<Vec<Row>> {
    const ROW: &str = "life";
    const SESSIONS: u64 = 100;
    const EACH: u64 = 10;
    let places = filled(plan, ROW, SESSIONS, EACH, KIB)?;
    // Each goes through the sessions, one message for each in its turn.
    let mut lives: Vec<u64> = places.iter().map(|_| 0).collect();
    let mut sides = Vec::new();
    for ((kind, dir), lives) in places.iter().zip(&mut lives) {
        sides.push(Side::new(kind.name, move |step| {
            if step == Step::Prepare {
                return Ok(0.0);
            }
            let (id, number) = (*lives % SESSIONS, EACH + *lives / SESSIONS);
            let message = payload::make(id, number, KIB);
            let (time, ()) = once(|| {
                let peer = (kind.open)(dir)?;
                let mut session = peer.session(id)?;
                session.append(&message, Ack::Durable)?;
                drop(session);
                peer.close()
            })?;
            *lives += 1;
            Ok(time)
        }));
    }
    let measured = take(sides, plan.limits(Duration::ZERO))?;
    for ((kind, dir), lives) in places.iter().zip(&lives) {
        let store = Open::new(kind, dir)?;
        for id in 0..SESSIONS {
            let more = lives / SESSIONS + u64::from(id < lives % SESSIONS);
            verify(&mut *store.peer.session(id)?, id, 0, EACH + more, KIB)
                .map_err(|e| format!("{}: {e}", kind.name))?;
        }
        store.close()?;
    }
    plan.clear(ROW)?;
    let title = format!("open a store of {SESSIONS} sessions, append 1 KiB durably, close");
    Ok(vec![Row { key: ROW, title, base: Base::Ours, measured }])
}

/// What a process that is going to be killed fills its store with.
const KILLED_SESSIONS: u64 = 100;
const KILLED_EACH: u64 = 100;
/// So many appends are acknowledged before the kill.
const ACKNOWLEDGED: u64 = 50;

/// The other process of the row `killed`: fills the store of the kind `name` in `dir`, then appends to the first
/// session and says so, until it is killed.
pub(crate) fn child(name: &str, dir: &Path) -> Result<()> {
    let kind =
        std::iter::once(&OURS).chain(OTHERS).find(|k| k.name == name).ok_or("there is no such peer")?;
    let peer = (kind.open)(dir)?;
    fill(kind, &*peer, KILLED_SESSIONS, KILLED_EACH, KIB)?;
    let mut session = peer.session(0)?;
    let mut out = std::io::stdout().lock();
    for number in KILLED_EACH.. {
        session.append(&payload::make(0, number, KIB), Ack::Durable)?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}

/// Leaves the store of a killed process in `dir`; the number of messages of its first session that it acknowledged.
fn kill(kind: &Kind, dir: &Path) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--child", kind.name])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("the child has no output")?).lines();
    let mut last = None;
    for _ in 0..ACKNOWLEDGED {
        last = lines.next().transpose()?;
    }
    child.kill()?;
    // What was acknowledged before the kill came is said already.
    for line in lines {
        last = Some(line?);
    }
    child.wait()?;
    Ok(last.ok_or("the child acknowledged nothing")?.parse::<u64>()? + 1)
}

/// Copies a directory, and has it on disk, so that no recovery pays for the copy.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

pub(super) fn killed(plan: &Plan) -> Result<Vec<Row>> {
    const ROW: &str = "killed";
    let mut left = Vec::new();
    for kind in plan.kinds() {
        let dir = plan.place(ROW, kind.name)?;
        let acknowledged = kill(kind, &dir).map_err(|e| format!("{}: {e}", kind.name))?;
        left.push((kind, dir, acknowledged));
    }
    let mut sides = Vec::new();
    for (kind, dir, acknowledged) in &left {
        let copied = plan.dir.join(ROW).join(format!("{}.copy", kind.name));
        sides.push(Side::new(kind.name, move |step| {
            if step == Step::Prepare {
                copy(dir, &copied)?;
                rustix::fs::syncfs(File::open(&copied)?)?;
                return Ok(0.0);
            }
            let mut count = 0;
            let (time, peer) = once(|| {
                let peer = (kind.open)(&copied)?;
                peer.session(0)?.load(&mut |seq, found| {
                    if seq != count {
                        return Err(format!("message {seq} stands where {count} belongs").into());
                    }
                    count += 1;
                    payload::check(0, seq, KIB, found)
                })?;
                Ok(peer)
            })?;
            // One more may have been on its way when the kill came.
            if !(*acknowledged..=acknowledged + 1).contains(&count) {
                return Err(format!("{count} messages, and {acknowledged} were acknowledged").into());
            }
            peer.close()?;
            fs::remove_dir_all(&copied)?;
            Ok(time)
        }));
    }
    let measured = take(sides, plan.limits(Duration::ZERO))?;
    plan.clear(ROW)?;
    let title = "open after kill -9, 10 MiB in 100 sessions; load the one in use".to_owned();
    Ok(vec![Row { key: ROW, title, base: Base::Ours, measured }])
}

/// The room that a directory takes, itself included.
fn room(path: &Path) -> Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += room(&entry?.path())?;
        }
    }
    Ok(bytes)
}

pub(super) fn disk(plan: &Plan) -> Result<Vec<Row>> {
    const ROW: &str = "disk";
    const EACH: u64 = 100;
    let sessions = plan.of(100, 1_000);
    let mut measured = Vec::new();
    for kind in plan.kinds() {
        let dir = plan.place(ROW, kind.name)?;
        let store = Open::new(kind, &dir)?;
        for id in 0..sessions {
            let mut session = store.peer.session(id)?;
            for number in 0..EACH {
                session.append(&payload::make(id, number, KIB), Ack::Unsynced)?;
            }
        }
        store.close()?;
        // Delayed allocation is done with at a sync.
        rustix::fs::syncfs(File::open(&dir)?)?;
        let payload = (sessions * EACH) as f64 * KIB as f64;
        measured.push(Measured { name: kind.name, values: vec![room(&dir)? as f64 / payload] });
        let store = Open::new(kind, &dir)?;
        verify(&mut *store.peer.session(sessions - 1)?, sessions - 1, 0, EACH, KIB)?;
        store.close()?;
    }
    plan.clear(ROW)?;
    let title = format!("disk after close: {} sessions x {EACH} x 1 KiB", thousands(sessions));
    Ok(vec![Row { key: ROW, title, base: Base::Payload, measured }])
}
