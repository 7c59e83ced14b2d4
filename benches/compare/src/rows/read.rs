//! Rows of reads.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use super::append::verify;
use super::{Base, FLOOR, Open, Plan, Row, close_all};
use crate::Result;
use crate::payload::{self, KIB};
use crate::peers::{Ack, Session};
use crate::turns::{Side, Step, burst, once, take};

const TAIL: u64 = 20;

/// The last `n` of `count` messages.
fn verify_tail(session: &mut dyn Session, count: u64, n: u64) -> Result<()> {
    let mut next = count - n;
    session.tail(n, &mut |seq, found| {
        if seq != next {
            return Err(format!("message {seq} stands where {next} belongs").into());
        }
        next += 1;
        payload::check(0, seq, KIB, found)
    })?;
    if next == count { Ok(()) } else { Err(format!("the end is at {next}, not at {count}").into()) }
}

/// `n` of `count` messages from anywhere: from other ones in each `turn`, the same for all.
fn verify_part(session: &mut dyn Session, count: u64, n: u64, turn: u64) -> Result<()> {
    let from = anywhere(count, n, turn);
    let mut next = from;
    session.range(from, n, &mut |seq, found| {
        if seq != next {
            return Err(format!("message {seq} stands where {next} belongs").into());
        }
        next += 1;
        payload::check(0, seq, KIB, found)
    })?;
    if next == from + n { Ok(()) } else { Err(format!("it ends at {next}, not at {}", from + n).into()) }
}

/// The first of `n` messages in a row of `count`.
fn anywhere(count: u64, n: u64, turn: u64) -> u64 {
    turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (count - n)
}

/// The floor of a load: a flat file in pieces of 1 MiB; of each KiB a checksum, and the comparison that all have.
fn read_flat(path: &Path, count: u64) -> Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut number, mut sums) = (0, 0u64);
    while number < count {
        let len = buffer.len().min((count - number) as usize * KIB);
        let piece = buffer.get_mut(..len).unwrap_or_default();
        file.read_exact(piece)?;
        for bytes in piece.chunks(KIB) {
            sums = sums.wrapping_add(u64::from(crc32fast::hash(bytes)));
            payload::check(0, number, KIB, bytes)?;
            number += 1;
        }
    }
    Ok(sums)
}

/// The floor of a tail, and of messages from anywhere: one read of an open file.
fn read_part(mut file: &File, from: u64, n: u64) -> Result<u64> {
    let mut buffer = vec![0; n as usize * KIB];
    file.seek(SeekFrom::Start(from * KIB as u64))?;
    file.read_exact(&mut buffer)?;
    let mut sums = 0u64;
    for (number, bytes) in (from..).zip(buffer.chunks(KIB)) {
        sums = sums.wrapping_add(u64::from(crc32fast::hash(bytes)));
        payload::check(0, number, KIB, bytes)?;
    }
    Ok(sums)
}

pub(super) fn load_and_tail(plan: &Plan) -> Result<Vec<Row>> {
    const ROW: &str = "load";
    let count = plan.of(10_000, 100_000);
    let path = plan.place(ROW, FLOOR)?.join("flat");
    fs::write(&path, payload::many(0, 0, count, KIB).concat())?;
    let mut stores = Vec::new();
    for store in plan.stores(ROW)? {
        let mut session = store.peer.session(0)?;
        // One by one, as messages come.
        for number in 0..count {
            let ack = if number + 1 == count { Ack::Durable } else { Ack::Unsynced };
            session.append(&payload::make(0, number, KIB), ack)?;
        }
        drop(session);
        stores.push(store.again()?);
    }
    let mut sessions = Vec::new();
    for Open { peer, .. } in &stores {
        sessions.push(peer.session(0)?);
    }

    let mut rows = Vec::new();
    if plan.wants("load") {
        let mut sides = vec![Side::new(FLOOR, |step| match step {
            Step::Prepare => Ok(0.0),
            Step::Run => Ok(once(|| read_flat(&path, count))?.0),
        })];
        for (store, session) in stores.iter().zip(&mut sessions) {
            sides.push(Side::new(store.kind.name, |step| match step {
                Step::Prepare => Ok(0.0),
                Step::Run => Ok(once(|| verify(&mut **session, 0, 0, count, KIB))?.0),
            }));
        }
        let measured = take(sides, plan.limits(Duration::ZERO))?;
        let title = format!("load of {} messages of 1 KiB, warm", thousands(count));
        let base = Base::Floor("reading one flat file, with a CRC-32 for each KiB");
        rows.push(Row { key: "load", title, base, measured });
    }
    if plan.wants("tail") {
        let flat = File::open(&path)?;
        let mut sides = vec![Side::new(FLOOR, |step| match step {
            Step::Prepare => Ok(0.0),
            Step::Run => burst(50, |_| read_part(&flat, count - TAIL, TAIL).map(drop)),
        })];
        for (store, session) in stores.iter().zip(&mut sessions) {
            sides.push(Side::new(store.kind.name, |step| match step {
                Step::Prepare => Ok(0.0),
                Step::Run => burst(50, |_| verify_tail(&mut **session, count, TAIL)),
            }));
        }
        let measured = take(sides, plan.limits(Duration::ZERO))?;
        let title = format!("the last {TAIL} of {}, warm", thousands(count));
        let base = Base::Floor("one read of 20 KiB, with a CRC-32 for each KiB");
        rows.push(Row { key: "tail", title, base, measured });
    }
    if plan.wants("anywhere") {
        let flat = File::open(&path)?;
        let mut turn = 0;
        let mut sides = vec![Side::new(FLOOR, |step| match step {
            Step::Prepare => Ok(0.0),
            Step::Run => burst(20, |_| {
                turn += 1;
                read_part(&flat, anywhere(count, TAIL, turn), TAIL).map(drop)
            }),
        })];
        for (store, session) in stores.iter().zip(&mut sessions) {
            let mut turn = 0;
            sides.push(Side::new(store.kind.name, move |step| match step {
                Step::Prepare => Ok(0.0),
                Step::Run => burst(20, |_| {
                    turn += 1;
                    verify_part(&mut **session, count, TAIL, turn)
                }),
            }));
        }
        let measured = take(sides, plan.limits(Duration::ZERO))?;
        let title = format!("{TAIL} in a row from anywhere among {}, warm", thousands(count));
        let base = Base::Floor("one read of 20 KiB, with a CRC-32 for each KiB");
        rows.push(Row { key: "anywhere", title, base, measured });
    }
    drop(sessions);
    close_all(stores)?;
    plan.clear(ROW)?;
    Ok(rows)
}

/// With a comma at the thousands.
pub(super) fn thousands(count: u64) -> String {
    if count < 1_000 { count.to_string() } else { format!("{},{:03}", count / 1_000, count % 1_000) }
}
