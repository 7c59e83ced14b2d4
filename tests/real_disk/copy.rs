//! A store is copied file by file while it is written, as a backup tool would do it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use sessionlog::{AppendOptions, Durability, Error, Keep, Options, Reader, Store};

use crate::Seed;
use crate::book::id;
use crate::support::{Place, Rng, Watchdog, payload, read_payload, seed};

const THREADS: u64 = 4;
/// Of each thread. The first is held open all the time, the others are closed now and then.
const EACH: u64 = 3;
const LONGEST: u64 = 5_000;
const TIME: Duration = Duration::from_secs(15);

/// What a session was after each of its ops. The messages are their sequences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    next: u64,
    base: u64,
    archives: u64,
    patch: u64,
}

#[derive(Default)]
struct History {
    /// Before they are submitted.
    states: Vec<State>,
    /// The number of states whose op was acknowledged.
    done: usize,
    /// How often a close was begun, and how often one was done, together: odd while one is under way.
    closes: u64,
}

impl History {
    fn last(&self) -> State {
        self.states.last().copied().unwrap_or_default()
    }
}

fn options() -> Options {
    Options::new()
        .create(true)
        .segment_size(64 << 10)
        .truncate_after(16 << 10)
        .linger(Duration::from_secs(3600))
        .sync_interval(Duration::from_secs(3600))
}

fn write(store: &Store, thread: u64, histories: &[Mutex<History>], seed: u64, stop: &AtomicBool) {
    let mut rng = Rng(seed ^ thread);
    // So that segments change seldom, or often, while a copy is made.
    let pause = [1_500, 800, 100][(seed % 3) as usize];
    let buffered = AppendOptions::new().durability(Durability::Buffered);
    while !stop.load(SeqCst) {
        let s = thread * EACH + rng.below(EACH);
        let handle = store.session(id(s)).unwrap();
        let history = &histories[s as usize];
        let submit = |state: State| history.lock().unwrap().states.push(state);
        let last = history.lock().unwrap().last();
        match rng.below(60) {
            0 => {
                let keep = rng.below(5).min(last.next - last.base);
                let base = last.next - keep;
                if base > last.base {
                    submit(State { base, archives: last.archives + 1, ..last });
                    handle.archive(Keep::Messages(keep)).unwrap();
                }
            }
            1 if !s.is_multiple_of(EACH) => {
                history.lock().unwrap().closes += 1;
                handle.close().unwrap();
                history.lock().unwrap().closes += 1;
            }
            2..=4 => {
                submit(State { patch: last.patch + 1, ..last });
                handle.patch_attributes(&serde_json::json!({ "n": last.patch + 1 })).unwrap();
            }
            how => {
                submit(State { next: last.next + 1, ..last });
                let bytes = payload(s, last.next, 0, LONGEST);
                let done = match how {
                    5..=14 => handle.append(&bytes[..]),
                    _ => handle.append_with(&bytes[..], &buffered),
                };
                assert_eq!(done.unwrap().seq(), last.next);
            }
        }
        let mut history = history.lock().unwrap();
        history.done = history.states.len();
        drop(history);
        std::thread::sleep(Duration::from_micros(rng.below(pause)));
    }
}

/// Every file below `dir` and its inode.
fn files(dir: &Path, below: &Path, out: &mut BTreeMap<PathBuf, u64>) {
    let Ok(entries) = std::fs::read_dir(dir.join(below)) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = below.join(entry.file_name());
        // Gone meanwhile, perhaps.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            files(dir, &path, out);
        } else {
            out.insert(path, meta.ino());
        }
    }
}

fn list(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut out = BTreeMap::new();
    files(dir, Path::new(""), &mut out);
    out
}

/// Copies what was listed, in any order, each file from its beginning to its end in pieces.
fn copy(from: &Path, to: &Path, rng: &mut Rng) {
    let mut names: Vec<PathBuf> = list(from).into_keys().collect();
    for last in (1..names.len()).rev() {
        names.swap(last, rng.below(last as u64 + 1) as usize);
    }
    for dir in ["sessions", "catalog", "trash"] {
        std::fs::create_dir_all(to.join(dir)).unwrap();
    }
    for name in names {
        let Ok(mut source) = File::open(from.join(&name)) else { continue };
        std::fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        let mut target = File::create(to.join(&name)).unwrap();
        let mut piece = vec![0; if rng.below(2) == 0 { 4096 } else { 1 << 20 }];
        loop {
            let n = source.read(&mut piece).unwrap();
            if n == 0 {
                break;
            }
            target.write_all(&piece[..n]).unwrap();
            if rng.below(8) == 0 {
                std::thread::sleep(Duration::from_micros(rng.below(300)));
            }
        }
    }
}

/// Damage is said, and where.
fn damage(e: &Error) {
    assert!(e.is_corruption() && e.file().is_some(), "{e} ({e:?})");
}

/// What is found of a session: its state, if nothing is reported as damaged. All messages that come out are right.
fn look(reader: &Reader, session: u64) -> Option<State> {
    let mut whole = !reader.report().has_damage();
    let archives = reader.archives().unwrap_or_else(|e| {
        damage(&e);
        whole = false;
        Vec::new()
    });
    let mut next = 0;
    let archived = archives.iter().map(|a| reader.archived(a.number));
    for part in archived.chain([reader.load()]) {
        let messages = match part {
            Ok(messages) => messages,
            Err(e) => {
                damage(&e);
                whole = false;
                continue;
            }
        };
        for message in messages {
            match message {
                Ok(message) => {
                    assert_eq!(read_payload(session, &message, LONGEST).0, message.seq());
                    assert!(message.seq() >= next, "message {} after {next}", message.seq());
                    whole &= message.seq() == next;
                    next = message.seq() + 1;
                }
                Err(e) => {
                    damage(&e);
                    whole = false;
                }
            }
        }
    }
    let info = match reader.info() {
        Ok(info) => info,
        Err(e) => {
            damage(&e);
            return None;
        }
    };
    if !whole {
        assert!(reader.report().has_damage() || next < info.live.end, "what is missing is not said");
        return None;
    }
    let patch = info.attributes.get("n").map_or(0, |n| n.as_u64().unwrap());
    assert_eq!(next, info.live.end);
    Some(State { next, base: info.live.start, archives: info.archives, patch })
}

/// All that was acknowledged when the copy was begun can be read. A commit behind that may be torn in two by the copy, before it
/// and behind it, and the next one, which says that it was durable, whole: that is damage, rightly.
fn keeps(reader: &Reader, then: State) {
    let parts = reader.archives().unwrap().into_iter().map(|a| reader.archived(a.number));
    let messages = parts.chain([reader.load()]).flat_map(Result::unwrap);
    let there: BTreeSet<u64> = messages.filter_map(Result::ok).map(|m| m.seq()).collect();
    let report = reader.report();
    assert!((0..then.next).all(|seq| there.contains(&seq)), "{then:?}, but {there:?}: {report:?}");
}

#[derive(Debug, Default)]
struct Tally {
    copies: u64,
    whole: u64,
    damaged: u64,
    /// Whole ones, of sessions whose files were the same all the time.
    quiet: u64,
}

/// Looks at a copy; `before` says for each session how many states were acknowledged when the copy was begun, if these
/// must be in it.
fn judge(copy: &Path, histories: &[Mutex<History>], before: &[Option<usize>], tally: &mut Tally) {
    let store = options().create(false).open(copy).unwrap_or_else(|e| panic!("the copy does not open: {e}"));
    let listing = store.sessions().unwrap();
    listing.unreadable.iter().for_each(|(_, e)| damage(e));
    for (s, history) in histories.iter().enumerate() {
        let existed = |found: State, from: usize| {
            let history = history.lock().unwrap();
            assert!(
                history.states.iter().enumerate().any(|(i, state)| *state == found && i + 1 >= from),
                "session {s} never was {found:?} (or not after {from} ops: {:?})",
                history.states.get(from.saturating_sub(3)..from + 3)
            );
        };
        let s = s as u64;
        let found = match store.reader(id(s)) {
            Ok(reader) => look(&reader, s),
            Err(e) => {
                damage(&e);
                None
            }
        };
        if let Some(from) = before[s as usize] {
            match found {
                Some(found) => {
                    existed(found, from);
                    tally.quiet += 1;
                }
                None => keeps(&store.reader(id(s)).unwrap(), history.lock().unwrap().states[from - 1]),
            }
        }
        match found {
            Some(found) => {
                existed(found, 0);
                tally.whole += 1;
            }
            None => tally.damaged += 1,
        }
        // Who writes finds the same and goes on behind it, or says why not.
        let appended = store.open_session(id(s)).and_then(|handle| {
            let done = handle.append(&payload(s, handle.info()?.live.end, 0, LONGEST)[..])?;
            handle.close()?;
            Ok(done.seq())
        });
        match (appended, found) {
            (Ok(seq), Some(found)) => {
                assert_eq!(seq, found.next, "session {s}");
                let after = look(&store.reader(id(s)).unwrap(), s);
                assert_eq!(after, Some(State { next: seq + 1, ..found }), "session {s}");
            }
            (Ok(_), None) => _ = look(&store.reader(id(s)).unwrap(), s),
            (Err(e), None) => damage(&e),
            (Err(e), Some(_)) => panic!("session {s} is whole, but: {e}"),
        }
    }
    store.close().unwrap();
    tally.copies += 1;
}

#[test]
fn a_store_copied_while_it_is_written_opens_and_each_session_is_as_it_once_was() {
    let _dog = Watchdog::new("the copies", Duration::from_secs(120));
    let seed = Seed(seed());
    let mut rng = Rng(seed.0);
    let mut tally = Tally::default();
    let start = Instant::now();
    let enough = |tally: &Tally| tally.quiet > 50 && tally.damaged > 0;
    // A busy machine takes longer for as much.
    while start.elapsed() < TIME || !enough(&tally) && start.elapsed() < 5 * TIME {
        era(&mut rng, &mut tally);
    }
    println!("{tally:?}");
    assert!(enough(&tally), "{tally:?}");
}

/// Some copies of one store, which would become long otherwise.
fn era(rng: &mut Rng, tally: &mut Tally) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }

    let place = Place::new();
    let histories: Vec<Mutex<History>> = (0..THREADS * EACH).map(|_| Mutex::default()).collect();
    let store = options().open(place.store()).unwrap();
    for (s, history) in histories.iter().enumerate() {
        let bytes = payload(s as u64, 0, 0, LONGEST);
        store.session(id(s as u64)).unwrap().append(&bytes[..]).unwrap();
        *history.lock().unwrap() =
            History { states: vec![State { next: 1, ..State::default() }], done: 1, closes: 0 };
    }
    let held: Vec<_> = (0..THREADS).map(|t| store.session(id(t * EACH)).unwrap()).collect();
    let stop = AtomicBool::new(false);
    let seed = rng.next();
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for thread in 0..THREADS {
            let (store, histories, stop) = (&store, &histories, &stop);
            scope.spawn(move || write(store, thread, histories, seed, stop));
        }
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(rng.below(50)));
            let note = |h: &Mutex<History>| {
                let h = h.lock().unwrap();
                (h.done, h.closes)
            };
            let before: Vec<_> = histories.iter().map(note).collect();
            let names = list(&place.store());
            let to = place.file("copy");
            copy(&place.store(), &to, rng);
            let after = list(&place.store());
            let quiet = histories.iter().zip(&before).enumerate().map(|(s, (history, before))| {
                let files = |names: &BTreeMap<PathBuf, u64>| {
                    let of = |p: &&PathBuf| p.to_string_lossy().contains(&format!("/real-{s}~"));
                    names.iter().filter(|(p, _)| of(p)).map(|(p, i)| (p.clone(), *i)).collect::<Vec<_>>()
                };
                assert!(files(&names).len() > 1, "which files are those of session {s}? {names:?}");
                // What closes it is written to the catalog too, which may be copied later than the log.
                let closed = !before.1.is_multiple_of(2) || note(history).1 != before.1;
                let still = files(&names) == files(&after) && !closed;
                still.then_some(before.0)
            });
            let quiet: Vec<_> = quiet.collect();
            judge(&to, &histories, &quiet, tally);
            std::fs::remove_dir_all(&to).unwrap();
        }
    });
    drop(held);
    store.close().unwrap();
}
