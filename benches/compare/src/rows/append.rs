//! Rows of appends and archives.

use std::time::Duration;

use super::{Base, FLOOR, Plan, Row, close_all};
use crate::Result;
use crate::payload::{self, KIB};
use crate::peers::{Ack, Session};
use crate::raw::{Preallocated, together};
use crate::turns::{Measured, Side, Step, burst, once, take};

/// The length of an archive's record at the floor.
const INTENT: usize = 64;
/// What the floor writes round in.
const ROUND: u64 = 32 << 20;

/// Every live message of a session: number `from` and on of `writer`, without a gap, `count` in all.
pub(super) fn verify(
    session: &mut dyn Session,
    writer: u64,
    from: u64,
    count: u64,
    len: usize,
) -> Result<()> {
    let mut next = from;
    session.load(&mut |seq, found| {
        if seq != next {
            return Err(format!("message {seq} stands where {next} belongs").into());
        }
        next += 1;
        payload::check(writer, seq, len, found)
    })?;
    if next == from + count {
        return Ok(());
    }
    Err(format!("{} messages are live, and {count} should be", next - from).into())
}

/// A session and how many messages it has.
struct Writer {
    session: Box<dyn Session>,
    id: u64,
    next: u64,
}

impl Writer {
    fn some(&mut self, count: u64, len: usize) -> Vec<Vec<u8>> {
        let out = payload::many(self.id, self.next, count, len);
        self.next += count;
        out
    }
}

fn row(
    key: &'static str,
    title: impl Into<String>,
    floor: &'static str,
    measured: Vec<Measured>,
) -> Vec<Row> {
    vec![Row { key, title: title.into(), base: Base::Floor(floor), measured }]
}

/// One thread, one session, op by op.
fn singly(
    plan: &Plan,
    key: &'static str,
    title: &str,
    (floor, durable): (&'static str, bool),
    count: usize,
) -> Result<Vec<Row>> {
    let ack = if durable { Ack::Durable } else { Ack::Unsynced };
    let stores = plan.stores(key)?;
    let mut raw = Preallocated::new(&plan.place(key, FLOOR)?.join("file"), ROUND)?;
    let mut writers = Vec::new();
    for store in &stores {
        let mut writer = Writer { session: store.peer.session(0)?, id: 0, next: 0 };
        for payload in writer.some(count as u64, KIB) {
            writer.session.append(&payload, ack)?;
        }
        writers.push(writer);
    }

    let mut sides = vec![Side::new(FLOOR, |step| {
        let payload = payload::make(0, 0, KIB);
        match step {
            Step::Prepare => Ok(0.0),
            Step::Run if durable => burst(count, |_| Ok(raw.append(&payload)?)),
            Step::Run => burst(count, |_| Ok(raw.write(&payload)?)),
        }
    })];
    for (store, writer) in stores.iter().zip(&mut writers) {
        sides.push(Side::new(store.kind.name, |step| {
            if step == Step::Prepare {
                return Ok(0.0);
            }
            let payloads = writer.some(count as u64, KIB);
            let mut payloads = payloads.iter();
            burst(count, |_| payloads.next().map_or(Ok(()), |payload| writer.session.append(payload, ack)))
        }));
    }
    let measured = take(sides, plan.limits(Duration::ZERO))?;
    for mut writer in writers {
        verify(&mut *writer.session, 0, 0, writer.next, KIB)?;
    }
    close_all(stores)?;
    plan.clear(key)?;
    Ok(row(key, title, floor, measured))
}

pub(super) fn one(plan: &Plan) -> Result<Vec<Row>> {
    let floor = "pwrite + fdatasync into a preallocated, zero-filled file";
    singly(plan, "append", "durable append of 1 KiB, one session", (floor, true), 5)
}

pub(super) fn unsynced(plan: &Plan) -> Result<Vec<Row>> {
    let floor = "pwrite into a preallocated, zero-filled file";
    singly(plan, "unsynced", "unsynced append of 1 KiB", (floor, false), 50)
}

pub(super) fn batch(plan: &Plan) -> Result<Vec<Row>> {
    const COUNT: u64 = 1_000;
    let stores = plan.stores("batch")?;
    let mut raw = Preallocated::new(&plan.place("batch", FLOOR)?.join("file"), 2 * ROUND)?;
    let whole = vec![b'x'; COUNT as usize * KIB];
    let mut writers = Vec::new();
    for store in &stores {
        writers.push(Writer { session: store.peer.session(0)?, id: 0, next: 0 });
    }

    let mut sides = vec![Side::new(FLOOR, |step| match step {
        Step::Prepare => Ok(0.0),
        Step::Run => Ok(once(|| Ok(raw.append(&whole)?))?.0),
    })];
    for (store, writer) in stores.iter().zip(&mut writers) {
        sides.push(Side::new(store.kind.name, |step| {
            if step == Step::Prepare {
                return Ok(0.0);
            }
            let payloads = writer.some(COUNT, KIB);
            Ok(once(|| writer.session.append_batch(&payloads, Ack::Durable))?.0)
        }));
    }
    let measured = take(sides, plan.limits(Duration::from_millis(10)))?;
    for mut writer in writers {
        verify(&mut *writer.session, 0, 0, writer.next, KIB)?;
    }
    close_all(stores)?;
    plan.clear("batch")?;
    let floor = "one pwrite of 1,000 KiB + fdatasync into a preallocated, zero-filled file";
    Ok(row("batch", "batch of 1,000 x 1 KiB, one sync", floor, measured))
}

/// All writers append `each` messages at the same time: the time of one append, all in all.
fn at_once(writers: &mut [Writer], each: u64) -> Result<f64> {
    let ready: Vec<_> = writers.iter_mut().map(|w| (w.some(each, KIB), &mut w.session)).collect();
    let count = ready.len() as u64 * each;
    let works = ready.into_iter().map(|(payloads, session)| {
        move || payloads.iter().try_for_each(|payload| session.append(payload, Ack::Durable))
    });
    Ok(together(works)?.as_secs_f64() / count as f64)
}

/// So many threads, a session each.
pub(super) fn apart(plan: &Plan, key: &'static str, threads: u64) -> Result<Vec<Row>> {
    let each = if threads > 16 { 3 } else { 5 };
    let stores = plan.stores(key)?;
    let place = plan.place(key, FLOOR)?;
    let mut raws = (0..threads)
        .map(|id| Preallocated::new(&place.join(id.to_string()), (ROUND / threads).max(1 << 20)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut writers = Vec::new();
    for store in &stores {
        let begin = |id| Ok(Writer { session: store.peer.session(id)?, id, next: 0 });
        let mut all = (0..threads).map(begin).collect::<Result<Vec<_>>>()?;
        for writer in &mut all {
            let first = writer.some(1, KIB);
            writer.session.append_batch(&first, Ack::Durable)?;
        }
        writers.push(all);
    }

    let mut sides = vec![Side::new(FLOOR, |step| {
        if step == Step::Prepare {
            return Ok(0.0);
        }
        let payload = &payload::make(0, 0, KIB);
        let works = raws.iter_mut().map(|raw| move || (0..each).try_for_each(|_| Ok(raw.append(payload)?)));
        Ok(together(works)?.as_secs_f64() / (threads * each) as f64)
    })];
    for (store, writers) in stores.iter().zip(&mut writers) {
        sides.push(Side::new(store.kind.name, move |step| {
            if step == Step::Run { at_once(writers, each) } else { Ok(0.0) }
        }));
    }
    let measured = take(sides, plan.limits(Duration::ZERO))?;
    for mut writer in writers.into_iter().flatten() {
        verify(&mut *writer.session, writer.id, 0, writer.next, KIB)?;
    }
    close_all(stores)?;
    plan.clear(key)?;
    let floor = "as many threads, each with pwrite + fdatasync into a file of its own";
    Ok(row(key, format!("{threads} threads, a session each, per append"), floor, measured))
}

/// Sixteen threads on one session.
pub(super) fn shared(plan: &Plan) -> Result<Vec<Row>> {
    const THREADS: u64 = 16;
    const EACH: u64 = 5;
    let stores = plan.stores("shared-16")?;
    let mut raw = Preallocated::new(&plan.place("shared-16", FLOOR)?.join("file"), ROUND)?;
    let mut writers = Vec::new();
    for store in &stores {
        let begin = |id| Ok(Writer { session: store.peer.session(0)?, id, next: 0 });
        let mut all = (0..THREADS).map(begin).collect::<Result<Vec<_>>>()?;
        for writer in &mut all {
            let first = writer.some(1, KIB);
            writer.session.append_batch(&first, Ack::Durable)?;
        }
        writers.push(all);
    }

    let mut sides = vec![Side::new(FLOOR, |step| {
        let payload = payload::make(0, 0, KIB);
        if step == Step::Run { burst(20, |_| Ok(raw.append(&payload)?)) } else { Ok(0.0) }
    })];
    for (store, writers) in stores.iter().zip(&mut writers) {
        sides.push(Side::new(store.kind.name, move |step| {
            if step == Step::Run { at_once(writers, EACH) } else { Ok(0.0) }
        }));
    }
    let measured = take(sides, plan.limits(Duration::ZERO))?;
    for mut all in writers {
        let counts: Vec<u64> = all.iter().map(|w| w.next).collect();
        if let Some(first) = all.first_mut() {
            verify_mixed(&mut *first.session, &counts)?;
        }
    }
    close_all(stores)?;
    plan.clear("shared-16")?;
    let floor = "one thread, pwrite + fdatasync one after another into one file";
    Ok(row("shared-16", "16 threads on one session, per append", floor, measured))
}

/// What each writer appended is there once and in its order, and nothing else is.
fn verify_mixed(session: &mut dyn Session, counts: &[u64]) -> Result<()> {
    let mut next = vec![0; counts.len()];
    let mut total = 0;
    session.load(&mut |seq, found| {
        let (writer, number) = payload::read_name(found).ok_or("a payload that nobody appended")?;
        let expected = next.get_mut(writer as usize).ok_or("a payload of nobody")?;
        if seq != total || number != *expected {
            return Err(format!("message {seq} is number {number} of writer {writer}").into());
        }
        *expected += 1;
        total += 1;
        Ok(())
    })?;
    if next == counts { Ok(()) } else { Err("messages of some writer are missing".into()) }
}

/// A full session is archived but for its end.
pub(super) fn archive(plan: &Plan) -> Result<Vec<Row>> {
    const LIVE: u64 = 10_000;
    const KEEP: u64 = 20;
    const LEN: usize = 100;
    let stores = plan.stores("archive")?;
    let mut raw = Preallocated::new(&plan.place("archive", FLOOR)?.join("file"), ROUND)?;
    let mut writers = Vec::new();
    for store in &stores {
        writers.push((Writer { session: store.peer.session(0)?, id: 0, next: 0 }, 0));
    }

    let mut sides = vec![Side::new(FLOOR, |step| match step {
        Step::Prepare => Ok(0.0),
        Step::Run => Ok(once(|| Ok(raw.append(&[1; INTENT])?))?.0),
    })];
    for (store, (writer, live)) in stores.iter().zip(&mut writers) {
        sides.push(Side::new(store.kind.name, |step| match step {
            Step::Prepare => {
                // In many commits, as messages come, and durable in the end.
                while *live < LIVE {
                    let count = (LIVE - *live).min(500);
                    let ack = if *live + count == LIVE { Ack::Durable } else { Ack::Unsynced };
                    let payloads = writer.some(count, LEN);
                    writer.session.append_batch(&payloads, ack)?;
                    *live += count;
                }
                Ok(0.0)
            }
            Step::Run => {
                let (time, ()) = once(|| writer.session.archive(KEEP))?;
                *live = KEEP;
                verify(&mut *writer.session, 0, writer.next - KEEP, KEEP, LEN)?;
                Ok(time)
            }
        }));
    }
    // What some do behind an archive would be felt by the next in turn.
    let measured = take(sides, plan.limits(Duration::from_millis(10)))?;
    drop(writers);
    close_all(stores)?;
    plan.clear("archive")?;
    let floor = "pwrite of 64 bytes + fdatasync into a preallocated, zero-filled file";
    let title = "archive of 10,000 x 100 bytes live, 20 stay; acknowledged";
    Ok(row("archive", title, floor, measured))
}
