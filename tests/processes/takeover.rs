//! Two writers with four sessions each; one dies in the middle and the other takes over, while a third process
//! watches.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sessionlog::{AppendOptions, Durability, Error, ErrorKind, Keep, Options, Reader, Session, Store};

use crate::support::{Board, Kid, Place, Watchdog, number, payload, read_payload, text};

const SESSIONS: u64 = 8;
const LONGEST: u64 = 120;
// On the board: for each session what was submitted and what was acknowledged, then these.
const DONE: u64 = 2 * SESSIONS;
const ROUNDS: u64 = DONE + 1;
const PID: u64 = DONE + 2;
const TAKEN: u64 = DONE + 3;

/// How many messages each session gets.
fn target() -> u64 {
    number("SESSIONLOG_APPENDS").unwrap_or(10_000)
}

fn id(session: u64) -> String {
    format!("{}:{}", if session < 4 { "first" } else { "second" }, session % 4)
}

fn open(dir: &Path) -> Store {
    Options::new()
        .create(true)
        .durability(Durability::Buffered)
        .segment_size(256 << 10)
        .truncate_after(64 << 10)
        .open(dir.join("store"))
        .unwrap()
}

/// Writes the sessions `own`, and then `other` as soon as their writer is dead.
pub(crate) fn write(dir: &Path, own: &str, other: &str) {
    let _dog = Watchdog::new("a writer", Duration::from_secs(150));
    let store = open(dir);
    let board = Board::open(&dir.join("board"));
    std::thread::scope(|scope| {
        for session in numbers(own) {
            let (store, board) = (&store, &board);
            scope.spawn(move || {
                let s = store.session(id(session)).unwrap();
                fill(board, &s, session);
            });
        }
        for session in numbers(other) {
            let (store, board) = (&store, &board);
            scope.spawn(move || {
                let s = take_over(board, store, session);
                board.set(TAKEN, board.get(TAKEN) | 1 << session);
                fill(board, &s, session);
            });
        }
    });
    store.close().unwrap();
}

fn numbers(list: &str) -> Vec<u64> {
    list.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect()
}

/// Asks for the session until its writer is dead. While it lives the answer is `Locked`, and names it.
fn take_over(board: &Board, store: &Store, session: u64) -> Session {
    loop {
        match store.open_session(id(session)) {
            Ok(s) => return s,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) if e.kind() == ErrorKind::Locked => {
                let text = e.to_string();
                let holder = board.get(PID);
                let named = !text.contains("has it open") || text.contains(&format!("process {holder} on "));
                assert!(named, "the writer is {holder}: {text}");
            }
            Err(e) => panic!("{e:?}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Appends what is missing, archives now and then, and says on the board how far it is.
fn fill(board: &Board, s: &Session, session: u64) {
    let from = s.info().map_or(0, |i| i.live.end);
    assert!(from >= board.get(SESSIONS + session), "session {session} ends at {from}");
    for seq in from..target() {
        board.set(session, seq + 1);
        let body = payload(session, seq, 0, LONGEST);
        let durability = if seq % 50 == 0 { Durability::Sync } else { Durability::Buffered };
        let options = AppendOptions::new().durability(durability).expect_next(seq);
        let appended = s.append_with(&body, &options).unwrap();
        assert_eq!(appended.seq(), seq);
        board.set(SESSIONS + session, seq + 1);
        if session.is_multiple_of(2) && seq % 1500 == 1499 {
            s.archive(Keep::Messages(400)).unwrap();
        }
    }
}

/// Lists and reads while the others write: nothing torn, nothing wrong, nothing that was acknowledged missing.
pub(crate) fn watch(dir: &Path) {
    let _dog = Watchdog::new("the watcher", Duration::from_secs(150));
    let store = open(dir);
    let board = Board::open(&dir.join("board"));
    let mut readers: Vec<Option<Reader>> = (0..SESSIONS).map(|_| None).collect();
    let mut seen = vec![0u64; SESSIONS as usize];
    let mut rounds = 0;
    while board.get(DONE) == 0 {
        let before: Vec<u64> = (0..SESSIONS).map(|s| board.get(SESSIONS + s)).collect();
        let listing = store.sessions().unwrap();
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        for session in 0..SESSIONS {
            let after = board.get(session);
            let at = session as usize;
            let listed = listing.sessions.iter().find(|i| i.id.as_str() == id(session));
            assert!(listed.is_some() || before[at] == 0, "session {session} is not in the listing");
            if let Some(info) = listed {
                assert_eq!(info.message_count, info.live.end - info.live.start);
                let end = info.live.end;
                assert!(
                    (before[at]..=after).contains(&end),
                    "session {session}: {end} of {}..={after}",
                    before[at]
                );
            }
            let reader = &mut readers[at];
            if reader.is_none() {
                *reader = store.reader(id(session)).ok();
            }
            if let Some(reader) = reader {
                let what = if rounds % 10 == session { What::All } else { What::Tail };
                seen[at] = read(&board, reader, session, seen[at], what);
            }
            // Now and then with new eyes, too.
            if rounds % 7 == session
                && let Ok(reader) = store.reader(id(session))
            {
                assert!(!reader.report().has_damage(), "session {session}: {:?}", reader.report());
                read(&board, &reader, session, seen[at], What::Archives);
            }
        }
        rounds += 1;
        board.set(ROUNDS, rounds);
    }
    store.close().unwrap();
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Tail,
    All,
    Archives,
}

/// Reads a part of a session and checks every message; returns where it ended.
fn read(board: &Board, reader: &Reader, session: u64, seen: u64, what: What) -> u64 {
    let acknowledged = board.get(SESSIONS + session);
    let messages = match what {
        What::Tail => reader.tail(20).unwrap(),
        What::All => reader.load().unwrap(),
        What::Archives => {
            for archive in reader.archives().unwrap() {
                let mut n = 0;
                for message in reader.archived(archive.number).unwrap() {
                    check(session, message);
                    n += 1;
                }
                assert_eq!(n, archive.seqs.end - archive.seqs.start);
            }
            reader.tail(1).unwrap()
        }
    };
    let mut end: Option<u64> = None;
    for message in messages {
        let seq = check(session, message);
        assert!(end.is_none_or(|e| e == seq), "session {session}: message {seq} behind {end:?}");
        end = Some(seq + 1);
    }
    let end = end.unwrap_or(0);
    assert!(end >= acknowledged, "session {session}: {end} seen, {acknowledged} were acknowledged before");
    assert!(end >= seen, "session {session}: {end} seen, {seen} were seen before");
    assert!(end <= board.get(session), "session {session}: {end} seen, more than was submitted");
    end
}

fn check(session: u64, message: Result<sessionlog::Message, Error>) -> u64 {
    let message = message.unwrap_or_else(|e| panic!("session {session}: {e:?}"));
    let (op, _) = read_payload(session, &message, LONGEST);
    assert_eq!(op, message.seq(), "session {session}: another message's place");
    op
}

#[test]
fn two_writers_with_a_takeover_lose_and_mix_nothing_and_a_third_process_sees_only_whole_messages() {
    let _dog = Watchdog::new("the takeover test", Duration::from_secs(160));
    let start = Instant::now();
    let place = Place::new();
    let dir = place.dir.path();
    let board = Board::create(&place.file("board"), 64);
    let mut watcher = Kid::start("watcher", &[text(dir)]);
    let mut first = Kid::start("writer", &[text(dir), "0,1,2,3", ""]);
    board.set(PID, u64::from(first.pid()));
    let mut second = Kid::start("writer", &[text(dir), "4,5,6,7", "0,1,2,3"]);
    // In the middle of its work, whatever each of its sessions is doing.
    while (0..4).map(|s| board.get(SESSIONS + s)).sum::<u64>() < target() * 2 {
        assert!(first.0.try_wait().unwrap().is_none(), "the first writer ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(board.get(TAKEN), 0, "a session was taken from a living writer");
    first.kill();
    let killed = Instant::now();
    while board.get(TAKEN) == 0 {
        assert!(killed.elapsed() < Duration::from_secs(20), "nobody takes over");
        assert!(second.0.try_wait().unwrap().is_none(), "the second writer ended early");
        std::thread::sleep(Duration::from_micros(200));
    }
    let takeover = killed.elapsed();
    assert!(second.succeeds(), "the second writer failed");
    let rounds = board.get(ROUNDS);
    board.set(DONE, 1);
    assert!(watcher.succeeds(), "the watcher failed");
    assert!(rounds > 3, "the watcher saw nothing: {rounds} rounds");

    let store = open(dir);
    for session in 0..SESSIONS {
        let reader = store.reader(id(session)).unwrap();
        let mut all = 0;
        for archive in reader.archives().unwrap() {
            for message in reader.archived(archive.number).unwrap() {
                assert_eq!(check(session, message), all);
                all += 1;
            }
        }
        for message in reader.load().unwrap() {
            assert_eq!(check(session, message), all);
            all += 1;
        }
        assert_eq!(all, target(), "session {session}");
    }
    store.close().unwrap();
    println!("takeover after {takeover:?}, watched {rounds} rounds, {:?} in all", start.elapsed());
}

#[test]
fn readers_that_were_opened_before_follow_every_takeover() {
    let _dog = Watchdog::new("following takeovers", Duration::from_secs(60));
    let place = Place::new();
    let store = open(place.dir.path());
    let mut reader: Option<Reader> = None;
    let mut rare: Option<Reader> = None;
    let shown = AtomicU64::new(0);
    let board = Board::create(&place.file("board"), 8);
    for life in 0..12 {
        let mut kid = Kid::start("grow", &[text(place.dir.path())]);
        board.wait(0, shown.load(Ordering::Relaxed) + 25);
        kid.kill();
        let acknowledged = board.get(0);
        let reader = reader.get_or_insert_with(|| store.reader("grows").unwrap());
        let end = reader.info().unwrap().live.end;
        assert!(end >= acknowledged, "life {life}: {end} seen, {acknowledged} acknowledged");
        // This one looks after several lives at once: the segments between are gone.
        let rare = rare.get_or_insert_with(|| store.reader("grows").unwrap());
        if life % 4 == 3 {
            let end = rare.info().unwrap().live.end;
            assert!(end >= acknowledged, "life {life}: {end} seen rarely, {acknowledged} acknowledged");
            assert_eq!(rare.load().unwrap().map(Result::unwrap).count() as u64, end);
        }
        shown.store(acknowledged, Ordering::Relaxed);
    }
    store.close().unwrap();
}
