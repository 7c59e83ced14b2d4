//! Each op of the store beside its raw floor, measured in the same run.
//!
//! Both sides of a pair are run in every measurement, in turns of a few ops each, and only the side that is asked
//! for is counted: so both see the same noise. Wall time on a shared machine is worth little all the same;
//! `cargo run --release --example floor` takes ratios turn by turn.

#![allow(missing_docs, reason = "what the macros of the harness make is public and has no docs")]

#[allow(dead_code, reason = "the example `floor` uses more of it")]
mod raw;

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raw::{Preallocated, together};
use sessionlog::{AppendOptions, Batch, Durability, Keep, Session, Store};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const KIB: usize = 1024;
/// So many ops of one side, then so many of the other.
const TURN: u64 = 16;

/// Runs `n` ops of each side in turns, and returns what each took.
fn turns(
    n: u64,
    mut here: impl FnMut(u64) -> Result<Duration>,
    mut floor: impl FnMut(u64) -> Result<Duration>,
) -> Result<(Duration, Duration)> {
    let (mut a, mut b) = (Duration::ZERO, Duration::ZERO);
    let mut left = n;
    while left > 0 {
        let ops = left.min(TURN);
        a += here(ops)?;
        b += floor(ops)?;
        left -= ops;
    }
    Ok((a, b))
}

fn timed(n: u64, mut op: impl FnMut() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..n {
        op()?;
    }
    Ok(begun.elapsed())
}

/// Two benches, `<name>/sessionlog` and `<name>/floor`.
fn pair(
    c: &mut Criterion,
    name: &str,
    throughput: Throughput,
    mut here: impl FnMut(u64) -> Result<Duration>,
    mut floor: impl FnMut(u64) -> Result<Duration>,
) -> Result<()> {
    let mut failed = Ok(());
    let mut group = c.benchmark_group(name);
    group.throughput(throughput).sample_size(10).measurement_time(Duration::from_secs(3));
    for ours in [true, false] {
        group.bench_function(if ours { "sessionlog" } else { "floor" }, |b| {
            b.iter_custom(|n| match turns(n, &mut here, &mut floor) {
                Ok((a, b)) => (if ours { a } else { b }).max(Duration::from_nanos(1)),
                Err(e) => {
                    failed = Err(e);
                    Duration::from_nanos(n.max(1))
                }
            });
        });
    }
    group.finish();
    failed
}

fn append(c: &mut Criterion, store: &Store, dir: &Path) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let session = store.session("append")?;
    let mut floor = Preallocated::new(&dir.join("append"), 16 << 20)?;
    pair(
        c,
        "durable append of 1 KiB",
        Throughput::Elements(1),
        |n| timed(n, || Ok(session.append(&payload).map(drop)?)),
        |n| timed(n, || Ok(floor.append(&payload)?)),
    )?;
    for of in [64, 1_000] {
        let session = store.session(format!("batch of {of}"))?;
        let batch: Batch<'_> = (0..of).map(|_| &payload).collect();
        let whole = payload.repeat(of);
        let mut floor = Preallocated::new(&dir.join(format!("batch-{of}")), 64 << 20)?;
        pair(
            c,
            &format!("durable batch of {of} x 1 KiB"),
            Throughput::Bytes((of * KIB) as u64),
            |n| timed(n, || Ok(session.append_batch(&batch).map(drop)?)),
            |n| timed(n, || Ok(floor.append(&whole)?)),
        )?;
    }
    Ok(())
}

fn unsynced(c: &mut Criterion, store: &Store, dir: &Path) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let options = AppendOptions::new().durability(Durability::Buffered);
    let session = store.session("buffered")?;
    let mut floor = Preallocated::new(&dir.join("buffered"), 16 << 20)?;
    pair(
        c,
        "buffered append of 1 KiB",
        Throughput::Elements(1),
        |n| timed(n, || Ok(session.append_with(&payload, &options).map(drop)?)),
        |n| timed(n, || Ok(floor.write(&payload)?)),
    )?;
    let session = store.session("submit")?;
    let mut floor = Preallocated::new(&dir.join("submit"), 16 << 20)?;
    pair(
        c,
        "submit of 1 KiB, then one wait for all",
        Throughput::Elements(1),
        |n| {
            let begun = Instant::now();
            let mut last = None;
            for _ in 0..n {
                last = Some(session.submit(&payload)?);
            }
            last.map_or(Ok(()), |ticket| ticket.wait().map(drop))?;
            Ok(begun.elapsed())
        },
        |n| timed(n, || Ok(floor.write(&payload)?)),
    )
}

fn threads(c: &mut Criterion, store: &Store, dir: &Path) -> Result<()> {
    let payload = &vec![b'x'; KIB];
    let append = |session: &Session| -> Result<()> { Ok(session.append(payload).map(drop)?) };
    for count in [4, 16, 64_u64] {
        let own = |i| store.session(format!("own:{count}:{i}"));
        let sessions = (0..count).map(own).collect::<Result<Vec<_>, _>>()?;
        let file = |i| Preallocated::new(&dir.join(format!("own-{count}-{i}")), 4 << 20);
        let mut floors = (0..count).map(file).collect::<Result<Vec<_>, _>>()?;
        pair(
            c,
            &format!("{count} threads on {count} sessions, an append each"),
            Throughput::Elements(count),
            |n| together(sessions.iter().map(|s| move || (0..n).try_for_each(|_| append(s)))),
            |n| together(floors.iter_mut().map(|f| move || (0..n).try_for_each(|_| Ok(f.append(payload)?)))),
        )?;
    }
    // Here the floor is what one thread does, sixteen times in a row.
    let shared = &store.session("shared")?;
    let mut floor = Preallocated::new(&dir.join("shared"), 16 << 20)?;
    pair(
        c,
        "16 threads on one session, an append each",
        Throughput::Elements(16),
        |n| together((0..16).map(|_| move || (0..n).try_for_each(|_| append(shared)))),
        |n| timed(n * 16, || Ok(floor.append(payload)?)),
    )
}

fn load_and_tail(c: &mut Criterion, store: &Store, dir: &Path, count: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let session = store.session("load")?;
    let options = AppendOptions::new().durability(Durability::Buffered);
    for _ in 0..count {
        session.append_with(&payload, &options)?;
    }
    session.sync()?;
    let path = dir.join("flat");
    fs::write(&path, payload.repeat(count))?;
    let flat = File::open(&path)?;
    pair(
        c,
        &format!("load of {count}"),
        Throughput::Bytes((count * KIB) as u64),
        |n| {
            timed(n, || {
                let loaded = session.load()?.try_fold(0, |sum, m| m.map(|m| sum + m.payload().len()))?;
                if loaded == count * KIB { Ok(()) } else { Err("not all messages were loaded".into()) }
            })
        },
        |n| timed(n, || Ok(raw::read_flat(&path, KIB).map(drop)?)),
    )?;
    pair(
        c,
        &format!("tail of 20 of {count}"),
        Throughput::Elements(20),
        |n| {
            timed(n, || {
                let read = session.tail(20)?.try_fold(0, |sum, m| m.map(|_| sum + 1))?;
                if read == 20 { Ok(()) } else { Err("not all messages were there".into()) }
            })
        },
        |n| timed(n, || Ok(raw::read_tail(&flat, 20, KIB).map(drop)?)),
    )?;
    let (mut ours, mut theirs) = (0, 0);
    pair(
        c,
        &format!("range of 20 anywhere among {count}"),
        Throughput::Elements(20),
        |n| {
            timed(n, || {
                ours += 1;
                let from = raw::anywhere(ours, count, 20) as u64;
                let read = session.range(from..from + 20)?.try_fold(0, |sum, m| m.map(|_| sum + 1))?;
                if read == 20 { Ok(()) } else { Err("not all messages were there".into()) }
            })
        },
        |n| {
            timed(n, || {
                theirs += 1;
                Ok(raw::read_part(&flat, raw::anywhere(theirs, count, 20), 20, KIB).map(drop)?)
            })
        },
    )
}

fn typed(c: &mut Criterion, store: &Store) -> Result<()> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Said {
        role: String,
        text: String,
        tokens: u32,
    }
    let said = |i| Said {
        role: "user".to_owned(),
        text: "It was a bright cold day in April. ".repeat(16),
        tokens: i,
    };
    let texts = (0..1_000).map(|i| serde_json::to_vec(&said(i))).collect::<Result<Vec<_>, _>>()?;
    let session = store.session("typed")?;
    session.append_batch(&texts.iter().collect::<Batch<'_>>())?;
    pair(
        c,
        "typed load of 1000 messages of JSON",
        Throughput::Elements(1_000),
        |n| timed(n, || Ok(session.load()?.json::<Said>().try_for_each(|said| said.map(drop))?)),
        |n| timed(n, || Ok(texts.iter().try_for_each(|t| serde_json::from_slice::<Said>(t).map(drop))?)),
    )
}

fn archive(c: &mut Criterion, store: &Store, dir: &Path) -> Result<()> {
    let payload = vec![b'x'; 100];
    let session = store.session("archive")?;
    let batch: Batch<'_> = (0..100).map(|_| &payload).collect();
    let mut floor = Preallocated::new(&dir.join("archive"), 1 << 20)?;
    pair(
        c,
        "archive of 10000, keep 20",
        Throughput::Elements(1),
        |n| {
            let mut spent = Duration::ZERO;
            for _ in 0..n {
                for _ in 0..100 {
                    session
                        .append_batch_with(&batch, &AppendOptions::new().durability(Durability::Buffered))?;
                }
                session.sync()?;
                spent += timed(1, || Ok(session.archive(Keep::Messages(20)).map(drop)?))?;
                session.truncate()?;
            }
            Ok(spent)
        },
        |n| timed(n, || Ok(floor.append(&[1; 64])?)),
    )
}

/// What concerns many sessions.
fn sessions(c: &mut Criterion, dir: &Path, count: usize) -> Result<()> {
    let path = dir.join("many");
    let payload = vec![b'x'; KIB];
    let store = Store::open(&path)?;
    let mut floor = Preallocated::new(&dir.join("create"), 16 << 20)?;
    let mut number = 0;
    pair(
        c,
        "a new session and its first message; the floor is 4 appends",
        Throughput::Elements(1),
        |n| {
            timed(n, || {
                number += 1;
                Ok(store.session(format!("create:{number}"))?.append(&payload).map(drop)?)
            })
        },
        |n| timed(n * 4, || Ok(floor.append(&payload)?)),
    )?;
    for i in 0..count {
        store.session(format!("many:{i}"))?.append_batch(&(0..10).map(|_| &[b'x'; 100]).collect())?;
    }
    store.close()?;
    let small = dir.join("small");
    fs::write(&small, [0; 4096])?;
    pair(
        c,
        "open a store; the floor reads a file of 4 KiB",
        Throughput::Elements(1),
        |n| timed(n, || Ok(Store::open(&path)?.close()?)),
        |n| timed(n, || Ok(fs::read(&small).map(drop)?)),
    )?;
    let store = Store::open(&path)?;
    let all = store.sessions()?.sessions.len();
    pair(
        c,
        "list sessions with their counts, each; the floor reads the catalog",
        Throughput::Elements(all as u64),
        |n| {
            timed(n, || {
                let listed = store.sessions()?.sessions.len();
                if listed == all { Ok(()) } else { Err(format!("{listed} and not {all}").into()) }
            })
        },
        |n| timed(n, || Ok(raw::read_files(&path.join("catalog"))?)),
    )?;
    Ok(store.close()?)
}

fn all(c: &mut Criterion) -> Result<()> {
    // On the real disk: syncs cost nothing in memory.
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = Store::open(dir.path().join("store"))?;
    // `cargo test --benches`, which says nothing, only looks whether all of it runs.
    let said = |word: &str| std::env::args().any(|a| a == word);
    let quick = !said("--bench") || said("--test") || said("--quick");
    append(c, &store, dir.path())?;
    unsynced(c, &store, dir.path())?;
    threads(c, &store, dir.path())?;
    load_and_tail(c, &store, dir.path(), if quick { 10_000 } else { 100_000 })?;
    typed(c, &store)?;
    archive(c, &store, dir.path())?;
    sessions(c, dir.path(), if quick { 100 } else { 1_000 })?;
    Ok(store.close()?)
}

fn rows(c: &mut Criterion) {
    if let Err(e) = all(c) {
        panic!("the bench failed: {e}");
    }
}

criterion_group!(benches, rows);
criterion_main!(benches);
