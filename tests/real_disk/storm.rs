//! Several processes write to one store, take sessions over from one another, and are killed while the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use sessionlog::{ErrorKind, Keep, Options, Outcome, Store};

use crate::Seed;
use crate::book::{LONGEST, id, ops_of};
use crate::support::{Kid, Place, Rng, Watchdog, number, payload, seed, text};

const PROCESSES: u64 = 4;
const SESSIONS: u64 = 6;

fn open(dir: &Path) -> Store {
    // So short that sessions go from process to process all the time.
    let options = Options::new().create(true).segment_size(32 << 10).truncate_after(8 << 10);
    options.linger(Duration::from_millis(2)).open(dir.join("store")).unwrap()
}

/// One life of one process: it says in its journal what it submits, and what was acknowledged.
pub(crate) fn run(dir: &Path, life: u64, seed: u64) {
    let mut journal =
        OpenOptions::new().create(true).append(true).open(dir.join(format!("journal-{life}"))).unwrap();
    let mut say = |line: String| journal.write_all(line.as_bytes()).unwrap();
    let mut rng = Rng(seed ^ life << 20);
    let store = open(dir);
    for op in life << 32.. {
        let s = rng.below(SESSIONS);
        let done = store.session(id(s)).and_then(|handle| {
            if rng.below(20) == 0 {
                handle.archive(Keep::Messages(rng.below(6)))?;
            }
            say(format!("S {op} {s}\n"));
            handle.append(&payload(s, op, 0, LONGEST)[..])
        });
        match done {
            Ok(done) => say(format!("A {op} {s} {}\n", done.seq())),
            // Another process has it, or had it meanwhile; or there was nothing to archive, not even a session.
            Err(e) if matches!(e.kind(), ErrorKind::Locked | ErrorKind::Conflict | ErrorKind::NotFound) => {
                assert_eq!(e.outcome(), Outcome::NotApplied, "{e}");
                say(format!("N {op} {s}\n"));
            }
            Err(e) => panic!("process {life}, session {s}: {e} ({e:?})"),
        }
    }
}

#[derive(Default)]
struct Journals {
    submitted: BTreeMap<u64, BTreeSet<u64>>,
    refused: BTreeSet<u64>,
    /// Session and sequence to op.
    acknowledged: BTreeMap<(u64, u64), u64>,
}

fn read(dir: &Path, lives: u64) -> Journals {
    let mut out = Journals::default();
    for life in 0..lives {
        let journal = std::fs::read_to_string(dir.join(format!("journal-{life}"))).unwrap_or_default();
        // The last line may be cut.
        for line in journal.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
            let mut words = line.split_whitespace();
            let what = words.next().unwrap();
            let numbers: Vec<u64> = words.map(|w| w.parse().unwrap()).collect();
            match (what, &numbers[..]) {
                ("S", [op, s]) => _ = out.submitted.entry(*s).or_default().insert(*op),
                ("N", [op, _]) => _ = out.refused.insert(*op),
                ("A", [op, s, seq]) => {
                    let before = out.acknowledged.insert((*s, *seq), *op);
                    assert_eq!(before, None, "two were told that they are message {seq} of session {s}");
                }
                _ => panic!("{line:?}"),
            }
        }
    }
    out
}

/// Everything that the journals call acknowledged is there; at the end also: nothing else but what was submitted.
fn check(dir: &Path, journals: &Journals, over: Option<&Journals>) -> usize {
    let store = open(dir);
    let mut count = 0;
    for s in 0..SESSIONS {
        let ops = match store.reader(id(s)) {
            Ok(reader) => ops_of(&reader, s),
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => panic!("session {s}: {e} ({e:?})"),
        };
        for ((_, seq), op) in journals.acknowledged.range((s, 0)..(s + 1, 0)) {
            assert_eq!(ops.get(*seq as usize), Some(op), "message {seq} of session {s}");
        }
        let Some(over) = over else { continue };
        let all: BTreeSet<u64> = ops.iter().copied().collect();
        assert_eq!(all.len(), ops.len(), "an op is there twice in session {s}");
        for op in &all {
            assert!(over.submitted[&s].contains(op), "op {op} was never submitted to session {s}");
            assert!(!over.refused.contains(op), "op {op} was refused and is there");
        }
        count += ops.len();
    }
    let listing = store.sessions().unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
    store.close().unwrap();
    count
}

#[test]
fn processes_that_write_at_once_are_killed_one_after_the_other_and_lose_nothing() {
    let _dog = Watchdog::new("the storm", Duration::from_secs(300));
    let mut place = Place::new();
    let seed = Seed(seed());
    let mut rng = Rng(seed.0);
    let mut lives = 0;
    let mut start = |place: &Place| {
        lives += 1;
        Kid::start("storm", &[text(place.dir.path()), &(lives - 1).to_string(), &seed.0.to_string()])
    };
    let mut kids: Vec<Kid> = (0..PROCESSES).map(|_| start(&place)).collect();
    let rounds = number("SESSIONLOG_KILL_ROUNDS").unwrap_or(200) / 4;
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for round in 0..rounds {
            std::thread::sleep(Duration::from_millis(20 + rng.below(200)));
            // One, or all of them at once.
            let count = if rng.below(8) == 0 { PROCESSES } else { 1 };
            let first = rng.below(PROCESSES);
            let mut died = String::new();
            for at in (first..first + count).map(|k| (k % PROCESSES) as usize) {
                if let Some(status) = kids[at].0.try_wait().unwrap() {
                    let _ = write!(died, "process {at} ended by itself: {status}; ");
                }
                kids[at].kill();
            }
            assert!(died.is_empty(), "{died}");
            if round % 4 == 0 {
                // While the others write.
                check(place.dir.path(), &read(place.dir.path(), rounds * PROCESSES + PROCESSES), None);
            }
            for at in (first..first + count).map(|k| (k % PROCESSES) as usize) {
                kids[at] = start(&place);
            }
        }
        kids.iter_mut().for_each(Kid::kill);
        let journals = read(place.dir.path(), rounds * PROCESSES + PROCESSES);
        let count = check(place.dir.path(), &journals, Some(&journals));
        let acknowledged = journals.acknowledged.len();
        println!("{rounds} kills of {PROCESSES} processes, {acknowledged} acknowledged, {count} there");
        assert!(acknowledged as u64 > rounds * 4, "nearly nothing happened between the kills");
    }));
    if let Err(panic) = done {
        if number("SESSIONLOG_KEEP").is_some() {
            eprintln!("kept: {}", place.keep().display());
        }
        std::panic::resume_unwind(panic);
    }
}
