//! What processes leave behind when they go, and sessions that live more than once.

use std::path::Path;
use std::time::{Duration, Instant};

use sessionlog::{ErrorKind, OpenState, Store};

use crate::support::{Board, Kid, Place, Watchdog, text};

const LIVES: u64 = 30;

/// One life: writes to three sessions. Every third life ends in good order; the others wait to be killed.
pub(crate) fn live(dir: &Path, life: u64) {
    let store = Store::open(dir.join("store")).unwrap();
    for session in [0, life % 5 + 1, 100 + life] {
        let s = store.session(format!("session {session}")).unwrap();
        s.append(&format!("life {life}")).unwrap();
        s.patch_attributes(&serde_json::json!({ "life": life })).unwrap();
    }
    if life.is_multiple_of(3) {
        return store.close().unwrap();
    }
    Board::open(&dir.join("board")).set(0, life + 1);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn catalog_files_of_dead_processes_do_not_pile_up_and_the_listing_stays_right() {
    let _dog = Watchdog::new("thirty lives", Duration::from_secs(60));
    let place = Place::new();
    let board = Board::create(&place.file("board"), 8);
    let (mut most, mut open) = (0, 0);
    for life in 0..LIVES {
        let mut kid = Kid::start("live", &[text(place.dir.path()), &life.to_string()]);
        if life % 3 == 0 {
            assert!(kid.succeeds());
        } else {
            board.wait(0, life + 1);
            kid.kill();
        }
        let store = Store::open(place.store()).unwrap();
        let listing = store.sessions().unwrap();
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        assert_eq!(listing.sessions.len() as u64, 1 + (life + 1).min(5) + life + 1, "life {life}");
        for info in &listing.sessions {
            let session: u64 = info.id.as_str().strip_prefix("session ").unwrap().parse().unwrap();
            let lives: Vec<u64> = match session {
                0 => (0..=life).collect(),
                100.. => vec![session - 100],
                _ => (0..=life).filter(|l| l % 5 + 1 == session).collect(),
            };
            assert_eq!(info.message_count, lives.len() as u64, "session {session} in life {life}");
            assert_eq!(info.attributes["life"], *lives.last().unwrap(), "session {session} in life {life}");
            open += u64::from(info.open == OpenState::Open);
        }
        store.close().unwrap();
        let files = std::fs::read_dir(place.store().join("catalog")).unwrap();
        most = most.max(files.count());
    }
    assert!(open > 0, "no session was ever shown as open");
    assert!(most <= 4, "{most} catalog files");
}

const GROWING: u64 = 60;

/// Several segments for each life.
fn small_segments(dir: &Path) -> Store {
    Store::options().create(true).segment_size(16 << 10).open(dir.join("store")).unwrap()
}

/// Removes and re-creates a session again and again; every message names its life.
pub(crate) fn recreate(dir: &Path) {
    let store = small_segments(dir);
    let board = Board::open(&dir.join("board"));
    for life in 1.. {
        if board.get(1) > 0 {
            break;
        }
        store.remove_session("phoenix").unwrap();
        let session = store.create_session("phoenix").unwrap();
        for i in 0..GROWING {
            let options = sessionlog::AppendOptions::new().durability(sessionlog::Durability::Buffered);
            session.append_with(&format!("{life} {i} {}", ".".repeat(700)), &options).unwrap();
        }
        board.set(0, life);
    }
    store.close().unwrap();
}

#[test]
fn a_reader_of_a_session_that_is_created_anew_sees_one_life_or_the_other_but_no_mix() {
    let _dog = Watchdog::new("many lives", Duration::from_secs(60));
    let place = Place::new();
    let board = Board::create(&place.file("board"), 8);
    let mut kid = Kid::start("recreate", &[text(place.dir.path())]);
    board.wait(0, 1);
    let store = small_segments(place.dir.path());
    let (mut seen, mut reads, mut absent, mut cut) = (std::collections::BTreeSet::new(), 0u64, 0u64, 0u64);
    let mut newest = 0;
    let start = Instant::now();
    let mut reader = None;
    // A busy machine takes longer for as much.
    while start.elapsed() < Duration::from_secs(if seen.len() > 3 { 4 } else { 40 }) {
        assert!(kid.0.try_wait().unwrap().is_none(), "the other process failed");
        let finished = board.get(0);
        let opened = match reader.take() {
            Some(reader) => Ok(reader),
            None => store.reader("phoenix"),
        };
        let messages = opened.and_then(|r| {
            let messages = r.load()?;
            reader = Some(r);
            Ok(messages)
        });
        let messages = match messages {
            Ok(messages) => messages,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::NotFound, "{e:?}");
                absent += 1;
                continue;
            }
        };
        let mut life = None;
        for (i, message) in messages.enumerate() {
            let message = match message {
                Ok(message) => message,
                Err(e) => {
                    // The files went while they were read: it says so, and shows nothing of the new life.
                    assert_eq!(e.kind(), ErrorKind::NotFound, "{e:?}");
                    cut += 1;
                    break;
                }
            };
            let text = String::from_utf8(message.payload().to_vec()).unwrap();
            let mut numbers = text.split(' ').map_while(|n| n.parse::<u64>().ok());
            let (l, index) = (numbers.next().unwrap(), numbers.next().unwrap());
            assert_eq!((index, message.seq()), (i as u64, i as u64), "{text}");
            assert_eq!(*life.get_or_insert(l), l, "two lives in one reading");
        }
        if let Some(life) = life {
            assert!(life >= finished && life >= newest, "life {life} after {finished} and {newest}");
            newest = life;
            seen.insert(life);
        }
        reads += 1;
        // Every now and then with a new reader.
        if reads % 50 == 0 {
            reader = None;
        }
    }
    board.set(1, 1);
    assert!(kid.succeeds(), "the other process failed");
    println!("{reads} reads of {} lives; absent {absent}, cut short {cut}", seen.len());
    assert!(seen.len() > 3);
    store.close().unwrap();
}

/// Appends to one session, and says how far it is.
pub(crate) fn grow(dir: &Path) {
    let store = Store::open(dir.join("store")).unwrap();
    let board = Board::open(&dir.join("board"));
    let session = store.session("grows").unwrap();
    loop {
        let appended = session.append("more").unwrap();
        board.set(0, appended.seq() + 1);
    }
}
