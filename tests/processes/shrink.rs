//! A reader beside a writer that archives, truncates, and removes archives all the time: files go under it.

use std::path::Path;
use std::time::{Duration, Instant};

use sessionlog::{Durability, ErrorKind, Keep, Options, Store};

use crate::support::{Board, Kid, Place, Rng, Watchdog, payload, read_payload, text};

const LONGEST: u64 = 300;

fn open(dir: &Path) -> Store {
    Options::new()
        .create(true)
        .durability(Durability::Buffered)
        .segment_size(32 << 10)
        .truncate_after(8 << 10)
        .open(dir.join("store"))
        .unwrap()
}

/// Appends and throws away until told to stop.
pub(crate) fn write(dir: &Path) {
    let _dog = Watchdog::new("the writer that throws away", Duration::from_secs(60));
    let store = open(dir);
    let board = Board::open(&dir.join("board"));
    let s = store.session("shrinks").unwrap();
    let mut rng = Rng(1);
    let mut seq = 0;
    while board.get(1) == 0 {
        for _ in 0..30 {
            s.append(payload(7, seq, 0, LONGEST)).unwrap();
            seq += 1;
        }
        board.set(0, seq);
        s.archive(Keep::Messages(rng.below(150))).unwrap();
        if rng.below(3) == 0 {
            s.truncate().unwrap();
        }
        let archives = s.archives().unwrap();
        if archives.len() > 3 {
            s.remove_archive(archives[rng.below(3) as usize].number).unwrap();
        }
    }
    store.close().unwrap();
}

#[test]
fn a_reader_of_another_process_is_not_disturbed_by_segments_that_go() {
    let _dog = Watchdog::new("reading what shrinks", Duration::from_secs(60));
    let place = Place::new();
    let board = Board::create(&place.file("board"), 8);
    let mut kid = Kid::start("shrink", &[text(place.dir.path())]);
    board.wait(0, 1);
    let store = open(place.dir.path());
    let reader = store.reader("shrinks").unwrap();
    let (mut reads, mut gone) = (0u64, 0u64);
    let start = Instant::now();
    // A busy machine takes longer for as much.
    while start.elapsed() < Duration::from_secs(if reads > 50 { 4 } else { 40 }) {
        assert!(kid.0.try_wait().unwrap().is_none(), "the writer failed");
        let acknowledged = board.get(0);
        let (what, messages) = match reads % 5 {
            0 => ("load", reader.load()),
            1 => ("tail", reader.tail(40)),
            2 => ("tail_bytes", reader.tail_bytes(5000)),
            3 => ("new reader", store.reader("shrinks").and_then(|r| r.load())),
            _ => {
                let Some(last) = reader.archives().unwrap().pop() else { continue };
                ("archive", reader.archived(last.number))
            }
        };
        reads += 1;
        let messages = match messages {
            Ok(messages) => messages,
            Err(e) if what == "archive" && e.kind() == ErrorKind::NotFound => continue,
            Err(e) => panic!("{what}: {e:?}"),
        };
        let mut end: Option<u64> = None;
        let mut cut = false;
        for message in messages {
            let message = match message {
                Ok(message) => message,
                // What was live is in an archive now, and that was removed while it was read.
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    cut = true;
                    gone += 1;
                    continue;
                }
                Err(e) => panic!("{what} behind {end:?}: {e:?}"),
            };
            assert_eq!(read_payload(7, &message, LONGEST).0, message.seq());
            assert!(
                end.is_none_or(|e| e == message.seq() || cut),
                "{what}: {} behind {end:?}",
                message.seq()
            );
            end = Some(message.seq() + 1);
            cut = false;
        }
        if what != "archive" {
            // It ends at the end, unless what was there then is gone by now, and it said so.
            assert!(cut || end.is_none_or(|e| e >= acknowledged), "{what}: {end:?} of {acknowledged}");
            let info = reader.info().unwrap();
            assert_eq!(info.message_count, info.live.end - info.live.start);
            assert!(info.live.end >= acknowledged, "{} of {acknowledged}", info.live.end);
        }
        assert!(!reader.report().has_damage(), "{:?}", reader.report());
    }
    board.set(1, 1);
    assert!(kid.succeeds(), "the writer failed");
    println!("{reads} reads, {gone} of them of something removed meanwhile");
    assert!(reads > 50);
    store.close().unwrap();
}
