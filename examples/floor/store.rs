//! Archives, and what concerns many sessions.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use sessionlog::{Batch, Keep, Store};

use crate::alone::Maker;
use crate::raw::{self, Preallocated, together};
use crate::read::Came;
use crate::row::{Row, burst};
use crate::{KIB, Result, THREADS};

pub(crate) fn archive(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    let payload = vec![b'x'; 100];
    let mut floor = Preallocated::new(&dir.join("archive"), 64 << 20)?;
    let mut truncate = Row::new("the truncation behind it (not waited for)", "64 B pwrite + fdatasync");
    for came in [Came::OneByOne, Came::InBatches(10_000)] {
        let session = store.session(format!("archive: {}", came.name()))?;
        let name = format!("archive of 10000, keep 20, {}", came.name());
        let mut archive = Row::new(name, "64 B pwrite + fdatasync");
        for turn in 0..turns {
            came.fill(&session, &payload, 10_000)?;
            // The first sync after so many appends is slower than the next: it changes who has it.
            let mut raw = || burst(1, || Ok(floor.append(&[1; 64])?));
            let here = || {
                burst(1, || match session.archive(Keep::Messages(20))?.archived {
                    seqs if seqs.end - seqs.start >= 9_980 => Ok(()),
                    seqs => Err(format!("archived {seqs:?} alone").into()),
                })
            };
            let (here, raw) = if turn % 2 == 0 {
                (here()?, raw()?)
            } else {
                let raw = raw()?;
                (here()?, raw)
            };
            archive.turn(here, raw.clone());
            truncate.turn(burst(1, || Ok(session.truncate()?))?, raw);
        }
        archive.print();
    }
    truncate.print();
    Ok(())
}

/// A session that is made, and its first message. One floor writes four times 1 KiB and syncs each; the other has the system alone
/// make files and names like a session's.
pub(crate) fn create(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let mut floor = Preallocated::new(&dir.join("create"), 16 << 20)?;
    let makers = (0..=THREADS).map(|t| Maker::new(dir, t)).collect::<Result<Vec<_>>>()?;
    let (one, all) = makers.split_last().ok_or("nobody makes any")?;
    let mut row =
        Row::new("a new session and its first message", "4 x 1 KiB pwrite + fdatasync, preallocated");
    let mut steps = Row::new("the same", "its files, names and syncs by the system alone");
    let mut number = 0;
    for _ in 0..turns {
        let here = burst(5, || {
            number += 1;
            Ok(store.session(format!("create:{number}"))?.append(&payload).map(drop)?)
        })?;
        row.turn(here.clone(), burst(5, || (0..4).try_for_each(|_| Ok(floor.append(&payload)?)))?);
        steps.turn(here, burst(5, || one.make(1, &payload))?);
    }
    row.print();
    steps.print();

    // From 16 threads at the same time.
    let mut row = Row::new("16 threads that make sessions, per session", "one thread, one after another");
    let mut steps = Row::new("the system alone, 16 threads", "one thread, one after another");
    for turn in 0..turns.min(15) {
        let make = |from: usize, n: usize| {
            (from..from + n).try_for_each(|i| -> Result<()> {
                Ok(store.session(format!("turn:{turn}:{i}"))?.append(&payload).map(drop)?)
            })
        };
        let each = (THREADS * 4) as f64;
        let here = together((0..THREADS).map(|t| move || make(t * 4, 4)))?.as_secs_f64() / each;
        let begun = Instant::now();
        make(1000, 16)?;
        row.turn(vec![here], vec![begun.elapsed().as_secs_f64() / 16.0]);

        let many = together(all.iter().map(|maker| || maker.make(4, &payload)))?.as_secs_f64() / each;
        let begun = Instant::now();
        one.make(16, &payload)?;
        steps.turn(vec![many], vec![begun.elapsed().as_secs_f64() / 16.0]);
    }
    row.print();
    steps.print();
    Ok(())
}

/// A store of many sessions: opened, listed, and one session of it opened that a killed process left.
pub(crate) fn many(dir: &Path, turns: usize, count: usize) -> Result<()> {
    let path = dir.join("many");
    let payload = vec![b'x'; 300];
    let store = Store::open(&path)?;
    together((0..THREADS).map(|t| {
        let (store, payload) = (&store, &payload);
        move || {
            (t..count).step_by(THREADS).try_for_each(|i| -> Result<()> {
                let session = store.session(format!("many:{i}"))?;
                let about = json!({"title": format!("session {i}"), "user": format!("user {}", i % 50)});
                session.append_batch(&(0..10).map(|_| payload).collect::<Batch<'_>>().attributes(about))?;
                Ok(session.close()?)
            })
        }
    }))?;
    store.close()?;
    let files = on_disk(&path)?;
    println!(
        "{:<44} {:.2} x the payload: {} bytes in files, {} on the disk",
        format!("{count} sessions x 10 x 300 B, closed"),
        files.1 as f64 / (count * 10 * 300) as f64,
        files.0,
        files.1
    );

    // For so long after a change a listing reads the names in the changed directories each time.
    std::thread::sleep(Duration::from_millis(3_200));
    let bytes = vec![0; 4096];
    fs::write(dir.join("small"), &bytes)?;
    let read_one = || Ok(fs::read(dir.join("small")).map(drop)?);
    let mut open = Row::new(format!("open a store of {count} sessions"), "read of one file of 4 KiB");
    let mut first = Row::new(format!("list {count} sessions, first time"), "read of the catalog's files");
    let mut again = Row::new(format!("list {count} sessions, again"), "read of the catalog's files");
    for _ in 0..turns {
        let mut store = None;
        let here = burst(1, || {
            store = Some(Store::open(&path)?);
            Ok(())
        })?;
        open.turn(here, burst(1, read_one)?);
        let store = store.ok_or("no store")?;
        let list = || {
            let listed = store.sessions()?.sessions;
            if listed.len() == count
                && listed.iter().all(|s| s.message_count == 10 && s.attributes.len() == 2)
            {
                Ok(())
            } else {
                Err(format!("{} sessions were listed", listed.len()).into())
            }
        };
        let read = || Ok(raw::read_files(&path.join("catalog"))?);
        first.turn(burst(1, list)?, burst(1, read)?);
        again.turn(burst(3, list)?, burst(3, read)?);
        store.close()?;
    }
    open.print();
    first.print();
    again.print();
    after_a_kill(dir, turns)
}

/// Bytes in files, and bytes that the file system took for them and their directories.
fn on_disk(dir: &Path) -> Result<(u64, u64)> {
    let (mut bytes, mut taken) = (0, room(&fs::metadata(dir)?));
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let (b, t) = on_disk(&entry.path())?;
            (bytes, taken) = (bytes + b, taken + t);
        } else {
            let meta = entry.metadata()?;
            (bytes, taken) = (bytes + meta.len(), taken + room(&meta));
        }
    }
    Ok((bytes, taken))
}

#[cfg(unix)]
fn room(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn room(meta: &fs::Metadata) -> u64 {
    meta.len()
}

/// What a killed process leaves is what is in its files at that moment: a copy of them has it, and no lock.
fn after_a_kill(dir: &Path, turns: usize) -> Result<()> {
    let from = dir.join("killed");
    let store = Store::open(&from)?;
    let session = store.session("killed")?;
    let payload = vec![b'x'; KIB];
    // As long as a segment may become with the defaults, short of the next one.
    Came::OneByOne.fill(&session, &payload, 7_500)?;
    let flat = dir.join("segment");
    fs::write(&flat, payload.repeat(7_500))?;
    let mut row =
        Row::new("open a session of 8 MiB after a kill", "read of a file of as much, a CRC-32 per KiB");
    for turn in 0..turns.min(11) {
        let to = dir.join(format!("killed-{turn}"));
        copy(&from, &to)?;
        let store = Store::open(&to)?;
        let here = burst(1, || {
            let opened = store.open_session("killed")?;
            if opened.info()?.live.end == 7_500 { Ok(()) } else { Err("not all is there".into()) }
        })?;
        row.turn(here, burst(1, || Ok(raw::read_flat(&flat, KIB).map(drop)?))?);
        store.close()?;
        fs::remove_dir_all(&to)?;
    }
    row.print();
    drop(session);
    store.close()?;

    let mut row =
        Row::new("open it closed in good order, and its last 20", "one read of 64 KiB, a CRC-32 per KiB");
    for _ in 0..turns.min(31) {
        let store = Store::open(&from)?;
        let here = burst(1, || match store.open_session("killed")?.tail(20)?.flatten().count() {
            20 => Ok(()),
            _ => Err("not all is there".into()),
        })?;
        row.turn(here, burst(1, || Ok(raw::read_tail(&fs::File::open(&flat)?, 64, KIB).map(drop)?))?);
        store.close()?;
    }
    row.print();
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
