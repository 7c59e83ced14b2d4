//! What the store costs, as multiples of what the operating system alone takes for the same bytes.
//!
//! ```text
//! cargo run --release --example floor [-- --quick] [--only <text>] [<dir>]
//! ```
//!
//! Times on a shared machine mean little; ratios between neighbours do. So the store and its floor take turns in
//! short bursts. Two ratios are printed. "p50": each turn gives one (of the medians of its bursts), and this is
//! the median over the turns. "p10": of the fastest tenth of all ops of either side, which is what counts on a busy
//! machine: there a sync's wake-up waits for a neighbour's time slice (some milliseconds) more often than not, and
//! the medians of both sides are that slice. `<dir>` is where it writes, by default under `target/`: it must be a
//! real disk, for syncs cost nothing in memory.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its reader")]

#[path = "../benches/raw/mod.rs"]
mod raw;

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use raw::Preallocated;
use sessionlog::{AppendOptions, Batch, Durability, Keep, Session, Store};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const KIB: usize = 1024;
const THREADS: usize = 16;

fn main() -> Result<()> {
    let mut quick = false;
    let mut dir: Option<PathBuf> = None;
    let mut only = String::new();
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--quick") => quick = true,
            Some("--only") => only = args.next().and_then(|a| a.into_string().ok()).ok_or("--only what?")?,
            _ => dir = Some(arg.into()),
        }
    }
    let wanted = |group: &str| only.is_empty() || group.contains(&only);
    let dir = match dir {
        Some(dir) => dir,
        None => beside_the_program()?,
    };
    fs::create_dir_all(&dir)?;
    let temp = tempfile::Builder::new().prefix("floor-").tempdir_in(&dir)?;
    let dir = temp.path();
    let turns = if quick { 15 } else { 101 };
    println!("{turns} turns; cost as a multiple of the floor, lower is better\n");
    println!("{:<44} {:>7} {:>7} {:>10} {:>10}  the floor", "", "p10", "p50", "here p10", "floor p10");

    let store = Store::open(dir.join("store"))?;
    if wanted("append") {
        append(&store, dir, turns)?;
        append_others(&store, dir, turns)?;
    }
    if wanted("threads") {
        threads(&store, dir, turns)?;
    }
    if wanted("load and tail") {
        let count = if quick { 10_000 } else { 100_000 };
        load_and_tail(&store, dir, turns.min(31), count)?;
    }
    if wanted("archive") {
        archive(&store, dir, turns.min(51))?;
    }
    if wanted("create") {
        create(&store, dir, turns.min(51))?;
    }
    store.close()?;
    Ok(())
}

/// `target/<profile>/floor`, wherever the target directory is.
fn beside_the_program() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program.parent().and_then(Path::parent).ok_or("the program has no directory")?;
    Ok(profile.join("floor"))
}

// ---------------------------------------------------------------------------------------------------------
// Turns

/// The times of single ops, in seconds.
type Times = Vec<f64>;

/// One row: what the store took and what the floor took, turn by turn.
struct Row {
    name: String,
    floor: &'static str,
    turns: Vec<(Times, Times)>,
}

impl Row {
    fn new(name: impl Into<String>, floor: &'static str) -> Row {
        Row { name: name.into(), floor, turns: Vec::new() }
    }

    fn turn(&mut self, here: Times, floor: Times) {
        self.turns.push((here, floor));
    }

    fn print(&self) {
        let ratios = self
            .turns
            .iter()
            .map(|(here, floor)| at(here.iter().copied(), 0.5) / at(floor.iter().copied(), 0.5));
        let here = || self.turns.iter().flat_map(|t| t.0.iter().copied());
        let floor = || self.turns.iter().flat_map(|t| t.1.iter().copied());
        println!(
            "{:<44} {:>7.2} {:>7.2} {:>10} {:>10}  {}",
            self.name,
            at(here(), 0.1) / at(floor(), 0.1),
            at(ratios, 0.5),
            time(at(here(), 0.1)),
            time(at(floor(), 0.1)),
            self.floor
        );
    }

    /// The mean and the slowest hundredth, for which it takes many ops.
    fn print_rest(&self) {
        let (here, floor): (Vec<&Times>, Vec<&Times>) = self.turns.iter().map(|t| (&t.0, &t.1)).unzip();
        let all = |side: &[&Times]| side.iter().flat_map(|t| t.iter().copied()).collect::<Vec<f64>>();
        let (here, floor) = (all(&here), all(&floor));
        let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
        println!(
            "{:<44} mean {:.2} ({}), p99 {:.2} ({}), p99.9 {:.2} ({})",
            "",
            mean(&here) / mean(&floor),
            time(mean(&here)),
            at(here.iter().copied(), 0.99) / at(floor.iter().copied(), 0.99),
            time(at(here.iter().copied(), 0.99)),
            at(here.iter().copied(), 0.999) / at(floor.iter().copied(), 0.999),
            time(at(here.iter().copied(), 0.999)),
        );
    }
}

/// The value below which this part of all lies.
fn at(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get((values.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// Runs it `n` times.
fn burst(n: usize, mut run: impl FnMut() -> Result<()>) -> Result<Times> {
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let begun = Instant::now();
        run()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(times)
}

// ---------------------------------------------------------------------------------------------------------
// What is measured

fn append(store: &Store, dir: &Path, turns: usize) -> Result<()> {
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
    Ok(())
}

fn append_others(store: &Store, dir: &Path, turns: usize) -> Result<()> {
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
    let mut row = Row::new("durable batch of 1000 x 1 KiB", "one write of as much + fdatasync");
    for _ in 0..turns.min(31) {
        let here = burst(1, || Ok(session.append_batch(&batch).map(drop)?))?;
        row.turn(here, burst(1, || Ok(floor.append(&whole)?))?);
    }
    row.print();

    let session = store.session("buffered")?;
    let mut floor = Preallocated::new(&dir.join("buffered"), 64 << 20)?;
    let options = AppendOptions::new().durability(Durability::Buffered);
    let mut row = Row::new("buffered append of 1 KiB", "1 KiB pwrite, preallocated");
    for _ in 0..turns {
        let here = burst(100, || Ok(session.append_with(&payload, &options).map(drop)?))?;
        row.turn(here, burst(100, || Ok(floor.write(&payload)?))?);
    }
    row.print();
    Ok(())
}

fn threads(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    const EACH: usize = 10;
    let payload = vec![b'x'; KIB];
    let sessions =
        (0..THREADS).map(|i| store.session(format!("thread:{i}"))).collect::<Result<Vec<_>, _>>()?;
    let mut floors = (0..THREADS)
        .map(|i| Preallocated::new(&dir.join(format!("thread-{i}")), 16 << 20))
        .collect::<Result<Vec<_>, _>>()?;
    let shared = store.session("shared")?;
    let alone = store.session("alone")?;
    let append = |session: &Session| -> Result<()> { Ok(session.append(&payload).map(drop)?) };

    let each = |all: Duration| vec![all.as_secs_f64() / (THREADS * EACH) as f64];

    let mut many =
        Row::new("16 threads on 16 sessions, per append", "16 threads on 16 files, each its own syncs");
    let mut one =
        Row::new("16 threads on one session, per append", "one thread: write + sync, one after another");
    let mut gain = Row::new("16 threads on one session, per append", "one thread on one session, per append");
    for _ in 0..turns {
        let here = together(sessions.iter().map(|s| || (0..EACH).try_for_each(|_| append(s))))?;
        let raw =
            together(floors.iter_mut().map(|f| || (0..EACH).try_for_each(|_| Ok(f.append(&payload)?))))?;
        many.turn(each(here), each(raw));

        let here = each(together((0..THREADS).map(|_| || (0..EACH).try_for_each(|_| append(&shared))))?);
        if let Some(floor) = floors.first_mut() {
            one.turn(here.clone(), burst(20, || Ok(floor.append(&payload)?))?);
        }
        gain.turn(here, burst(20, || append(&alone))?);
    }
    many.print();
    one.print();
    gain.print();
    Ok(())
}

/// Runs all at the same time, and takes the time from the common start to the last one's end.
fn together(works: impl ExactSizeIterator<Item = impl FnOnce() -> Result<()> + Send>) -> Result<Duration> {
    let start = Barrier::new(works.len() + 1);
    thread::scope(|scope| {
        let handles: Vec<_> = works
            .map(|work| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    work()
                })
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        for handle in handles {
            handle.join().map_err(|_| "a thread panicked")??;
        }
        Ok(begun.elapsed())
    })
}

/// How the messages of a session came: the store checks a commit as a whole, so it makes a difference.
#[derive(Clone, Copy)]
enum Came {
    OneByOne,
    InBatches(usize),
}

impl Came {
    fn fill(self, session: &Session, payload: &[u8], count: usize) -> Result<()> {
        match self {
            Came::OneByOne => {
                let options = AppendOptions::new().durability(Durability::Buffered);
                (0..count).try_for_each(|_| session.append_with(payload, &options).map(drop))?;
                session.sync()?;
            }
            Came::InBatches(of) => {
                let batch: Batch<'_> = (0..of).map(|_| payload).collect();
                (0..count / of).try_for_each(|_| session.append_batch(&batch).map(drop))?;
            }
        }
        Ok(())
    }

    fn name(self) -> String {
        match self {
            Came::OneByOne => "appended singly".to_owned(),
            Came::InBatches(of) => format!("batches of {of}"),
        }
    }
}

fn load_and_tail(store: &Store, dir: &Path, turns: usize, count: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let path = dir.join("flat");
    fs::write(&path, payload.repeat(count))?;
    let flat = File::open(&path)?;
    for came in [Came::OneByOne, Came::InBatches(1000)] {
        let session = store.session(format!("load: {}", came.name()))?;
        came.fill(&session, &payload, count)?;

        let name = format!("load of {count}, {}", came.name());
        let mut row = Row::new(name.clone(), "read of one flat file, a CRC-32 per KiB");
        let mut mapped = Row::new(name, "one flat file mapped, a CRC-32 per KiB");
        for _ in 0..turns {
            let here = burst(1, || {
                let mut bytes = 0;
                for message in session.load()? {
                    bytes += message?.payload().len();
                }
                if bytes == count * KIB { Ok(()) } else { Err("not all messages were loaded".into()) }
            })?;
            mapped.turn(here.clone(), burst(1, || Ok(raw::read_mapped(&path, KIB).map(drop)?))?);
            row.turn(here, burst(1, || Ok(raw::read_flat(&path, KIB).map(drop)?))?);
        }
        row.print();
        mapped.print();

        let name = format!("tail(20) of {count}, {}", came.name());
        let mut row = Row::new(name, "pread of 20 KiB, a CRC-32 per KiB");
        for _ in 0..turns {
            let here = burst(50, || {
                let count = session.tail(20)?.try_fold(0, |n, m| m.map(|_| n + 1))?;
                if count == 20 { Ok(()) } else { Err("not all messages were there".into()) }
            })?;
            row.turn(here, burst(50, || Ok(raw::read_tail(&flat, 20, KIB).map(drop)?))?);
        }
        row.print();
    }
    Ok(())
}

fn archive(store: &Store, dir: &Path, turns: usize) -> Result<()> {
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

/// A session that is made, and its first message. The floor writes four times 1 KiB and syncs each.
fn create(store: &Store, dir: &Path, turns: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let mut floor = Preallocated::new(&dir.join("create"), 16 << 20)?;
    let mut row =
        Row::new("a new session and its first message", "4 x 1 KiB pwrite + fdatasync, preallocated");
    let mut number = 0;
    for _ in 0..turns {
        let here = burst(5, || {
            number += 1;
            Ok(store.session(format!("create:{number}"))?.append(&payload).map(drop)?)
        })?;
        row.turn(here, burst(5, || (0..4).try_for_each(|_| Ok(floor.append(&payload)?)))?);
    }
    row.print();

    // From 16 threads at the same time.
    let mut row = Row::new("16 threads that make sessions, per session", "one thread, one after another");
    for turn in 0..turns.min(15) {
        let make = |from: usize, n: usize| {
            (from..from + n).try_for_each(|i| -> Result<()> {
                Ok(store.session(format!("turn:{turn}:{i}"))?.append(&payload).map(drop)?)
            })
        };
        let here = together((0..THREADS).map(|t| move || make(t * 4, 4)))?.as_secs_f64();
        let begun = Instant::now();
        make(1000, 16)?;
        row.turn(vec![here / (THREADS * 4) as f64], vec![begun.elapsed().as_secs_f64() / 16.0]);
    }
    row.print();
    Ok(())
}
