//! Who gets a session that several want.

use std::path::Path;
use std::time::{Duration, Instant};

use sessionlog::{ErrorKind, Outcome, Store};

use crate::support::{Board, Kid, Place, Watchdog, text};

const PROCESSES: u64 = 4;
const IDS: u64 = 25;

/// Opens a session, says so, and holds it until it is killed.
pub(crate) fn hold(dir: &Path, id: &str) {
    let store = Store::open(dir.join("store")).unwrap();
    let session = store.session(id).unwrap();
    session.append("held").unwrap();
    let board = Board::open(&dir.join("board"));
    board.set(0, 1);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn holder(place: &Place) -> (Board, Kid) {
    let board = Board::create(&place.file("board"), 8);
    let kid = Kid::start("hold", &[text(place.dir.path()), "contended"]);
    board.wait(0, 1);
    (board, kid)
}

#[test]
fn the_second_writer_is_told_at_once_who_holds_the_session() {
    let _dog = Watchdog::new("the second writer", Duration::from_secs(60));
    let place = Place::new();
    let (_board, kid) = holder(&place);
    let store = Store::open(place.store()).unwrap();
    for _ in 0..20 {
        let start = Instant::now();
        let error = store.session("contended").unwrap_err();
        let took = start.elapsed();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        // At once: it waits for nobody. A busy machine may take its time.
        assert!(took < Duration::from_secs(5), "it took {took:?}");
        assert!(error.to_string().contains(&format!("process {} on ", kid.pid())), "{error}");
        assert_eq!(error.session_id(), Some("contended"));
    }
    assert_eq!(store.open_session("contended").unwrap_err().kind(), ErrorKind::Locked);
    let kind = store.create_session("contended").unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::AlreadyExists | ErrorKind::Locked), "{kind:?}");
    // A reader needs nobody's leave.
    assert_eq!(store.reader("contended").unwrap().load().unwrap().count(), 1);
    store.close().unwrap();
}

#[test]
fn a_killed_holders_session_is_open_to_the_next_at_once() {
    let _dog = Watchdog::new("the next holder", Duration::from_secs(60));
    for _ in 0..5 {
        let place = Place::new();
        let (_board, mut kid) = holder(&place);
        let store = Store::open(place.store()).unwrap();
        assert_eq!(store.session("contended").unwrap_err().kind(), ErrorKind::Locked);
        kid.kill();
        let start = Instant::now();
        let session = store.open_session("contended").unwrap();
        assert_eq!(session.append("next").unwrap().seq(), 1);
        assert!(start.elapsed() < Duration::from_secs(2), "it took {:?}", start.elapsed());
        store.close().unwrap();
    }
}

#[test]
fn a_session_that_another_process_writes_cannot_be_removed() {
    let _dog = Watchdog::new("removing", Duration::from_secs(60));
    let place = Place::new();
    let (_board, mut kid) = holder(&place);
    let store = Store::open(place.store()).unwrap();
    for _ in 0..3 {
        let error = store.remove_session("contended").unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Locked, Outcome::NotApplied), "{error}");
        assert_eq!(store.sessions().unwrap().sessions.len(), 1);
        assert_eq!(store.reader("contended").unwrap().load().unwrap().count(), 1);
    }
    kid.kill();
    assert!(store.remove_session("contended").unwrap());
    assert!(store.sessions().unwrap().sessions.is_empty());
    assert_eq!(store.reader("contended").unwrap_err().kind(), ErrorKind::NotFound);
    store.close().unwrap();
}

// On the board of the races: the number of the race that may begin, then for each process how many it has
// behind it, then for each race and process how it ended.
const WON: u64 = 1;
const LOST: u64 = 2;

fn slot(race: u64, process: u64) -> u64 {
    1 + PROCESSES + race * PROCESSES + process
}

fn race(board: &Board, process: u64, mut run: impl FnMut(u64) -> bool) {
    for race in 0..IDS {
        while board.get(0) <= race {
            std::hint::spin_loop();
        }
        let won = run(race);
        board.set(slot(race, process), if won { WON } else { LOST });
        board.set(1 + process, race + 1);
    }
    // Nobody gives up what it holds before all are through.
    board.wait(0, IDS + 1);
}

/// Starts the processes, the races one after another, and counts the winners.
fn hold_races(role: &str) -> Place {
    let place = Place::new();
    let board = Board::create(&place.file("board"), slot(IDS, 0));
    let mut kids: Vec<Kid> =
        (0..PROCESSES).map(|p| Kid::start(role, &[text(place.dir.path()), &p.to_string()])).collect();
    for race in 0..IDS {
        board.set(0, race + 1);
        (0..PROCESSES).for_each(|p| board.wait(1 + p, race + 1));
        let winners = (0..PROCESSES).filter(|p| board.get(slot(race, *p)) == WON).count();
        assert_eq!(winners, 1, "race {race}");
    }
    board.set(0, IDS + 1);
    assert!(kids.iter_mut().all(Kid::succeeds));
    place
}

pub(crate) fn create(dir: &Path, process: u64) {
    let store = Store::open(dir.join("store")).unwrap();
    let board = Board::open(&dir.join("board"));
    let mut held = Vec::new();
    race(&board, process, |race| match store.create_session(format!("race {race}")) {
        Ok(session) => {
            session.append(&process.to_string()).unwrap();
            held.push(session);
            true
        }
        Err(e) => {
            assert!(matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::Locked), "{e}");
            false
        }
    });
    store.close().unwrap();
}

#[test]
fn of_four_processes_that_create_a_session_exactly_one_wins() {
    let _dog = Watchdog::new("the race to create", Duration::from_secs(60));
    let place = hold_races("create");
    let store = Store::open(place.store()).unwrap();
    let listing = store.sessions().unwrap();
    assert_eq!(listing.sessions.len() as u64, IDS);
    assert!(listing.sessions.iter().all(|s| s.message_count == 1));
    let shards = std::fs::read_dir(place.store().join("sessions")).unwrap();
    let left = shards.flat_map(|s| std::fs::read_dir(s.unwrap().path()).unwrap()).count() as u64;
    assert_eq!(left, IDS, "half-made sessions are left behind");
    store.close().unwrap();
}

/// The first append creates the session: who loses is told that it is locked, and nothing of it is there.
pub(crate) fn append(dir: &Path, process: u64) {
    let store = Store::open(dir.join("store")).unwrap();
    let board = Board::open(&dir.join("board"));
    let mut held = Vec::new();
    race(&board, process, |race| {
        let appended = store.session(format!("race {race}")).and_then(|session| {
            let first = session.append(&format!("{process} 0"))?;
            assert_eq!(first.seq(), 0);
            Ok(session)
        });
        match appended {
            Ok(session) => {
                for i in 1..20 {
                    assert_eq!(session.append(&format!("{process} {i}")).unwrap().seq(), i);
                }
                held.push(session);
                true
            }
            Err(e) => {
                assert_eq!((e.kind(), e.outcome()), (ErrorKind::Locked, Outcome::NotApplied), "{e}");
                false
            }
        }
    });
    store.close().unwrap();
}

#[test]
fn of_four_processes_that_append_first_exactly_one_becomes_the_writer() {
    let _dog = Watchdog::new("the race to append", Duration::from_secs(60));
    let place = hold_races("append");
    let board = Board::open(&place.file("board"));
    let store = Store::open(place.store()).unwrap();
    assert_eq!(store.sessions().unwrap().sessions.len() as u64, IDS);
    for race in 0..IDS {
        let winner = (0..PROCESSES).find(|p| board.get(slot(race, *p)) == WON).unwrap();
        let session = store.open_session(format!("race {race}")).unwrap();
        assert!(session.report().unwrap().is_clean(), "{:?}", session.report());
        let texts: Vec<_> = session.load().unwrap().map(|m| m.unwrap().payload().to_vec()).collect();
        let expected: Vec<_> = (0..20).map(|i| format!("{winner} {i}").into_bytes()).collect();
        assert_eq!(texts, expected, "race {race}");
    }
    store.close().unwrap();
}

pub(crate) fn open_store(dir: &Path, process: u64) {
    let board = Board::open(&dir.join("board"));
    for race in 0..IDS {
        while board.get(0) <= race {
            std::hint::spin_loop();
        }
        let store = Store::open(dir.join(format!("store {race}"))).unwrap();
        store.session(format!("of {process}")).unwrap().append("here").unwrap();
        store.close().unwrap();
        board.set(1 + process, race + 1);
    }
}

#[test]
fn four_processes_that_open_a_new_store_at_once_share_one() {
    let _dog = Watchdog::new("the race to open a store", Duration::from_secs(60));
    let place = Place::new();
    let board = Board::create(&place.file("board"), slot(IDS, 0));
    let mut kids: Vec<Kid> =
        (0..PROCESSES).map(|p| Kid::start("store", &[text(place.dir.path()), &p.to_string()])).collect();
    for race in 0..IDS {
        board.set(0, race + 1);
        (0..PROCESSES).for_each(|p| board.wait(1 + p, race + 1));
        let store = Store::open(place.file(&format!("store {race}"))).unwrap();
        assert_eq!(store.sessions().unwrap().sessions.len() as u64, PROCESSES);
        store.close().unwrap();
    }
    assert!(kids.iter_mut().all(Kid::succeeds));
}
