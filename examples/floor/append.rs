//! Appending.

use std::path::Path;
use std::time::{Duration, Instant};

use sessionlog::{AppendOptions, Batch, Durability, Session, Store};

use crate::alone::Growing;
use crate::raw::{Preallocated, to_disk, together};
use crate::row::{Row, burst};
use crate::{KIB, Result, THREADS};

pub(crate) fn single(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    let session = store.session("append")?;
    let mut floor = Preallocated::new(&dir.join("append"), 64 << 20)?;
    let payload = vec![b'x'; KIB];
    let mut row = Row::new("durable append of 1 KiB", "1 KiB pwrite + fdatasync, preallocated");
    for turn in 0..turns {
        // Who comes first changes, so that neither always follows the other's flush.
        let here = || burst(100, || Ok(session.append(&payload).map(drop)?));
        let mut raw = || burst(100, || Ok(floor.append(&payload)?));
        let (a, b) = if turn % 2 == 0 {
            (here()?, raw()?)
        } else {
            let b = raw()?;
            (here()?, b)
        };
        row.turn(a, b);
    }
    row.print();
    row.print_rest();
    // Several segments: what is allocated ahead, and their changes, are in it.
    let here = bytes(dir, 20_000, || Ok(session.append(&payload).map(drop)?))?;
    let raw = bytes(dir, 20_000, || Ok(floor.append(&payload)?))?;
    print_bytes("durable append of 1 KiB", here, raw);
    Ok(())
}

/// The bytes that go to the disk for each of `count` ops (those of others too).
fn bytes(dir: &Path, count: usize, mut op: impl FnMut() -> Result<()>) -> Result<Option<f64>> {
    let before = to_disk(dir);
    (0..count).try_for_each(|_| op())?;
    Ok(before.zip(to_disk(dir)).map(|(before, after)| (after - before) as f64 / count as f64))
}

fn print_bytes(name: &str, here: Option<f64>, raw: Option<f64>) {
    if let Some((here, raw)) = here.zip(raw) {
        println!(
            "{:<44} {:>7.2} {:>7} {here:>10.0} {raw:>10.0}  bytes written to the disk",
            format!("{name}: bytes"),
            here / raw,
            ""
        );
    }
}

pub(crate) fn batches(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let session = store.session("batch")?;
    let mut floor = Preallocated::new(&dir.join("batch"), 64 << 20)?;
    let whole = vec![b'x'; 64 * KIB];
    let batch: Batch<'_> = (0..64).map(|_| &payload).collect();
    let mut row = Row::new("durable batch of 64 x 1 KiB", "64 KiB pwrite + fdatasync");
    for _ in 0..turns {
        let here = burst(10, || Ok(session.append_batch(&batch).map(drop)?))?;
        row.turn(here, burst(10, || Ok(floor.append(&whole)?))?);
    }
    row.print();

    let mut floor = Preallocated::new(&dir.join("thousand"), 64 << 20)?;
    let whole = vec![b'x'; 1000 * KIB];
    let batch: Batch<'_> = (0..1000).map(|_| &payload).collect();
    let mut growing = Growing::new(&dir.join("growing"))?;
    let mut row = Row::new("durable batch of 1000 x 1 KiB", "one write of as much + fdatasync, preallocated");
    let mut grows = Row::new("the same", "the same into a file that grows");
    for _ in 0..turns.min(31) {
        let here = burst(1, || Ok(session.append_batch(&batch).map(drop)?))?;
        row.turn(here.clone(), burst(1, || Ok(floor.append(&whole)?))?);
        grows.turn(here, burst(1, || growing.append(&whole))?);
    }
    row.print();
    grows.print();
    let here = bytes(dir, 20, || Ok(session.append_batch(&batch).map(drop)?))?;
    print_bytes("durable batch of 1000 x 1 KiB", here, bytes(dir, 20, || Ok(floor.append(&whole)?))?);
    Ok(())
}

/// What nobody waits for: no syncs.
pub(crate) fn buffered(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let session = store.session("buffered")?;
    let mut floor = Preallocated::new(&dir.join("buffered"), 64 << 20)?;
    let options = AppendOptions::new().durability(Durability::Buffered);
    let mut row = Row::new("buffered append of 1 KiB", "1 KiB pwrite, preallocated");
    for _ in 0..turns {
        let here = burst(100, || Ok(session.append_with(&payload, &options).map(drop)?))?;
        row.turn(here, burst(100, || Ok(floor.write(&payload)?))?);
    }
    row.print();

    // Handed over one after the other; the store's thread writes them meanwhile.
    const MANY: usize = 5_000;
    let mut row = Row::new("submit of 1 KiB, 5000 in a row, each", "1 KiB pwrite, preallocated");
    for _ in 0..turns.min(31) {
        let begun = Instant::now();
        for _ in 1..MANY {
            drop(session.submit_with(&payload, &options)?);
        }
        let last = session.submit_with(&payload, &options)?;
        let here = begun.elapsed().as_secs_f64() / MANY as f64;
        last.wait()?;
        row.turn(vec![here], burst(100, || Ok(floor.write(&payload)?))?);
    }
    row.print();
    let batch: Batch<'_> = (0..MANY).map(|_| &payload).collect();
    let mut row = Row::new("submit of 5000 x 1 KiB in one call, each", "1 KiB pwrite, preallocated");
    for _ in 0..turns.min(31) {
        let begun = Instant::now();
        let ticket = session.submit_batch_with(&batch, &options)?;
        let here = begun.elapsed().as_secs_f64() / MANY as f64;
        ticket.wait()?;
        row.turn(vec![here], burst(100, || Ok(floor.write(&payload)?))?);
    }
    row.print();
    Ok(())
}

pub(crate) fn threads(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    for threads in [4, THREADS, 64] {
        each_its_own(store, dir, turns.min(51), threads)?;
    }
    on_one_session(store, dir, turns)
}

/// What each of them does in one turn.
const EACH: usize = 10;

fn share(all: Duration, threads: usize) -> Vec<f64> {
    vec![all.as_secs_f64() / (threads * EACH) as f64]
}

fn each_its_own(store: &Store, dir: &Path, turns: usize, threads: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let id = |i| format!("threads:{threads}:{i}");
    let sessions = (0..threads).map(|i| store.session(id(i))).collect::<Result<Vec<_>, _>>()?;
    let file = |i| dir.join(format!("threads-{threads}-{i}"));
    let floors = (0..threads).map(|i| Preallocated::new(&file(i), 4 << 20));
    let mut floors = floors.collect::<Result<Vec<_>, _>>()?;
    let mut row = Row::new(
        format!("{threads} threads on {threads} sessions, per append"),
        "as many threads and files, each its own syncs",
    );
    let append = |session: &Session| -> Result<()> { Ok(session.append(&payload).map(drop)?) };
    for turn in 0..turns {
        let here = || together(sessions.iter().map(|s| || (0..EACH).try_for_each(|_| append(s))));
        let mut raw =
            || together(floors.iter_mut().map(|f| || (0..EACH).try_for_each(|_| Ok(f.append(&payload)?))));
        let (here, raw) = if turn % 2 == 0 {
            (here()?, raw()?)
        } else {
            let raw = raw()?;
            (here()?, raw)
        };
        row.turn(share(here, threads), share(raw, threads));
    }
    row.print();
    Ok(())
}

fn on_one_session(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let (shared, alone) = (store.session("shared")?, store.session("alone")?);
    let mut floor = Preallocated::new(&dir.join("shared"), 16 << 20)?;
    let append = |session: &Session| -> Result<()> { Ok(session.append(&payload).map(drop)?) };
    let name = "16 threads on one session, per append";
    let mut one = Row::new(name, "one thread: write + sync, one after another");
    let mut gain = Row::new(name, "one thread on one session, per append");
    for _ in 0..turns {
        let here = together((0..THREADS).map(|_| || (0..EACH).try_for_each(|_| append(&shared))))?;
        let here = share(here, THREADS);
        one.turn(here.clone(), burst(20, || Ok(floor.append(&payload)?))?);
        gain.turn(here, burst(20, || append(&alone))?);
    }
    one.print();
    gain.print();
    Ok(())
}
