//! How often the disk is asked: counted at the door to it.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Action, Op, Place, SIM, Spy, fill, live, numbered, sim_options, texts};
use sessionlog::doctor::{CheckOptions, RepairOptions, check, repair};
use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, Durability, Keep, Options, Session, Store};

/// A session that is open and warm: created, announced, with room allocated ahead, the background at rest.
fn steady(spy: &Spy, options: Options, path: &Path) -> (Store, Session) {
    let store = options.fs(Arc::new(spy.clone())).open(path).unwrap();
    let session = store.session("s").unwrap();
    let room: Batch<'_> = (0..10).map(|_| vec![b'x'; 2000]).collect();
    session.append_batch(&room).unwrap();
    spy.quiet();
    (store, session)
}

fn sim() -> (Spy, Options) {
    (Spy::new(SimFs::new(1)), Options::new().create(true).truncate_after(u64::MAX))
}

#[test]
fn a_durable_append_is_one_write_and_one_sync() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    for _ in 0..20 {
        let (_, c) = spy.during(|| session.append("hello").unwrap());
        assert_eq!((c.syncs, c.dir_syncs, c.reads, c.opens, c.creates), (1, 0, 0, 0, 0), "{c:?}");
        assert!(c.writes <= 2, "{c:?}");
    }
    // The same on the real disk.
    let (place, spy) = (Place::new(), Spy::disk());
    let (_store, session) = steady(&spy, Options::new().create(true), &place.path());
    let (_, c) = spy.during(|| fill(&session, 20));
    assert_eq!(c.all_syncs(), 20, "{c:?}");
}

#[test]
fn a_session_and_its_first_messages_are_four_syncs() {
    let (spy, options) = sim();
    let (store, _first) = steady(&spy, options, Path::new(SIM));
    let texts = ["a", "b", "c"];
    let counts: Vec<_> = (0..40)
        .map(|i| {
            let session = store.session(format!("s{i}")).unwrap();
            spy.during(|| session.append_batch(&texts.into_iter().collect()).unwrap()).1
        })
        .collect();
    // Its segment with them in it, the segment's name, the mark in the catalog, its own name. Some make their shard too.
    assert!(counts.iter().all(|c| c.all_syncs() <= 5), "{counts:?}");
    assert!(counts.iter().any(|c| (c.syncs, c.dir_syncs) == (2, 2)), "{counts:?}");
}

#[test]
fn a_batch_of_a_thousand_is_one_sync() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let texts: Vec<String> = (0..1000).map(|i| format!("message {i}")).collect();
    let (done, c) = spy.during(|| {
        let batch: Batch<'_> = texts.iter().collect();
        session.append_batch(&batch.attributes(serde_json::json!({"title": "t"}))).unwrap()
    });
    assert_eq!(done.seqs.end - done.seqs.start, 1000);
    assert_eq!(c.all_syncs(), 1, "{c:?}");
}

/// Room that is written for later commits must not be what this one lacks on a disk that is nearly full.
#[test]
fn a_commit_that_makes_the_file_grow_comes_before_what_is_allocated_ahead() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options.segment_size(64 << 20), Path::new(SIM));
    for len in [3_000, 30_000, 300_000] {
        let writes = Arc::new(Mutex::new(Vec::new()));
        let all = writes.clone();
        spy.hook(move |c| {
            if c.is(Op::Write, ".log") {
                all.lock().unwrap().push(c.len);
            }
            Action::Go
        });
        let mut grown = 0;
        for _ in 0..20 {
            session.append(vec![b'x'; len]).unwrap();
            let writes = std::mem::take(&mut *writes.lock().unwrap());
            let before: usize = writes.iter().take_while(|n| **n < len).sum();
            assert!(before <= 4096 + 1024, "{writes:?}");
            grown += usize::from(writes.len() > 2);
        }
        assert!(grown > 0, "nothing was allocated ahead");
        spy.calm();
    }
}

#[test]
fn the_end_of_a_large_batch_costs_its_table_and_what_is_asked_for() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let texts: Vec<String> = (0..1000).map(|i| format!("{i:01000}")).collect();
    session.append_batch(&texts.iter().collect()).unwrap();
    spy.quiet();
    let next = session.message_count().unwrap();
    let (last, c) = spy.during(|| common::texts(session.tail(20).unwrap()));
    assert_eq!(last, texts[980..]);
    assert!(c.bytes_read < 100 << 10, "of a megabyte: {c:?}");
    let (one, c) = spy.during(|| session.get(next - 500).unwrap().unwrap());
    assert_eq!(one.payload(), texts[500].as_bytes());
    assert!(c.bytes_read < 100 << 10, "{c:?}");
    // From the middle of one batch into the next.
    session.append_batch(&texts.iter().collect()).unwrap();
    let (some, c) = spy.during(|| common::texts(session.range(next - 10..next + 10).unwrap()));
    assert_eq!(some, [&texts[990..], &texts[..10]].concat());
    assert!(c.bytes_read < 256 << 10, "{c:?}");
    let all = common::texts(session.range(next - 1000..).unwrap());
    assert_eq!(all, [&texts[..], &texts[..]].concat());
}

#[test]
fn the_end_of_a_short_session_costs_what_is_asked_for() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    for _ in 0..16 {
        session.append(vec![b'x'; 30_000]).unwrap();
    }
    spy.quiet();
    let (_, c) = spy.during(|| assert_eq!(session.tail(1).unwrap().count(), 1));
    assert!(c.bytes_read <= 96 << 10, "{c:?}");
}

/// A session of so many messages of 90,000 bytes in one segment, closed (or not), opened again, and its end: what is read.
fn reopened(messages: u64, close: bool) -> u64 {
    let (spy, options) = sim();
    let (store, session) = steady(&spy, options, Path::new(SIM));
    for _ in 0..messages {
        session.append(vec![b'x'; 90_000]).unwrap();
    }
    fill(&session, 20);
    let again = if close {
        session.close().unwrap();
        store.close().unwrap();
        spy.clone()
    } else {
        spy.other_process()
    };
    let counted = again.clone();
    let options = Options::new();
    let (_, c) = counted.during(|| {
        let store = options.fs(Arc::new(again)).open(SIM).unwrap();
        let reader = store.reader("s").unwrap();
        assert_eq!(reader.info().unwrap().message_count, 30 + messages);
        let end = numbered(10 + messages..30 + messages);
        assert_eq!(texts(reader.tail(20).unwrap()), end);
    });
    assert!(c.reads < 24 || !close, "{c:?}");
    c.bytes_read
}

#[test]
fn opening_reads_the_last_segment_once_where_it_was_not_closed() {
    let written = 40 * 90_000;
    let read = reopened(40, false);
    // With it what is allocated ahead, which has to be zeros.
    assert!(read > written && read < written + written / 10 + (1 << 20), "{read} of {written}");
}

#[test]
fn opening_reads_the_end_of_the_last_segment_where_it_was_closed() {
    let (few, many) = (reopened(4, true), reopened(40, true));
    // The checkpoint is looked for in the last 64 KiB; the other reads are of the store, the catalog and the last 20.
    assert!(many < 128 << 10 && many < few + 4096, "{few} and {many}");
}

/// A store of so many sessions, each with a message and a title, closed.
fn store_of(sessions: u64) -> Spy {
    let (spy, options) = sim();
    let store = options.fs(Arc::new(spy.clone())).open(SIM).unwrap();
    for i in 0..sessions {
        let session = store.session(format!("session-{i}")).unwrap();
        fill(&session, 1);
        session.patch_attributes(&serde_json::json!({ "title": "A conversation about something" })).unwrap();
        session.close().unwrap();
    }
    store.close().unwrap();
    spy
}

#[test]
fn opening_one_session_of_many_reads_no_more_than_of_few() {
    let read = |sessions| {
        let spy = store_of(sessions);
        let (again, options) = (spy.clone(), Options::new());
        let (_, c) = spy.during(|| {
            let store = options.fs(Arc::new(again)).open(SIM).unwrap();
            assert_eq!(live(&store.open_session("session-7").unwrap()), numbered(0..1));
        });
        c.bytes_read
    };
    let (few, many) = (read(10), read(1_000));
    // Of the index: its first page, and those about where the session has to be.
    assert!(many < few + 32 * 1024, "{few} and {many}");
}

#[test]
fn a_process_that_appends_one_message_reads_no_more_in_a_store_of_many() {
    let read = |sessions| {
        let spy = store_of(sessions);
        let mut most = 0;
        for i in 1..8 {
            let (again, options) = (spy.clone(), Options::new());
            let (_, c) = spy.during(|| {
                let store = options.fs(Arc::new(again)).open(SIM).unwrap();
                fill(&store.open_session("session-7").unwrap(), 1);
                // With it goes what is done in the background: the files of those before are taken over.
                store.close().unwrap();
            });
            // The first one found the files that were left as they were.
            most = if i > 1 { c.bytes_read.max(most) } else { 0 };
        }
        most
    };
    let (few, many) = (read(10), read(1_000));
    assert!(many < few + 200 * 1024, "{few} and {many}");
}

#[test]
fn a_process_that_appends_one_message_and_ends_takes_four_syncs() {
    let spy = store_of(10);
    let life = |spy: &Spy, i: u64| {
        let (again, options) = (spy.clone(), Options::new());
        let (_, c) = spy.during(|| {
            let store = options.fs(Arc::new(again)).open(SIM).unwrap();
            fill(&store.open_session(format!("session-{}", i % 10)).unwrap(), 1);
            store.close().unwrap();
        });
        c
    };
    // Of the store's own names, of the mark that it is open, of the message, and of the summary.
    let lives: Vec<_> = (0..40).map(|i| life(&spy, i)).collect();
    assert!(lives[1..].iter().all(|c| (c.syncs, c.dir_syncs) == (3, 1)), "{lives:?}");
    // Where there is room in the last block of its segment, and in that of the catalog file, no file is made longer or cut.
    let same = lives.iter().filter(|c| c.cuts == 0 && c.bytes_written < 1_000).count();
    assert!(same >= 20, "{same}: {lives:?}");
}

#[test]
fn a_check_and_a_repair_read_as_much_of_each_session_in_a_store_of_many() {
    let read = |sessions| {
        let spy = store_of(sessions);
        let options = Options::new().fs(Arc::new(spy.clone()));
        let (_, checked) = spy.during(|| {
            let found = check(SIM, &CheckOptions::new().store(&options)).unwrap();
            assert_eq!((found.sessions, found.findings.len()), (sessions, 0), "{found:#?}");
        });
        let (_, repaired) = spy.during(|| {
            let done = repair(SIM, &RepairOptions::new().store(&options)).unwrap();
            assert_eq!((done.steps.len(), done.skipped.len()), (0, 0), "{done:#?}");
        });
        [checked, repaired].map(|c| c.bytes_read / sessions)
    };
    let (few, many) = (read(20), read(400));
    assert!(many.iter().zip(few).all(|(many, few)| *many < few + few / 2), "{few:?} and {many:?} for each");
}

#[test]
fn a_load_reads_what_was_written_once() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options.map(false), Path::new(SIM));
    let texts: Vec<String> = (0..1000).map(|i| format!("{i:01000}")).collect();
    for alone in [true, false] {
        let before = session.message_count().unwrap();
        for _ in 0..3 {
            if alone {
                let options = AppendOptions::new().durability(Durability::Buffered);
                texts.iter().for_each(|text| assert!(!session.append_with(text, &options).unwrap().repeated));
            } else {
                session.append_batch(&texts.iter().collect()).unwrap();
            }
        }
        session.sync().unwrap();
        spy.quiet();
        let (count, c) = spy.during(|| session.load().unwrap().filter(|m| m.is_ok()).count());
        assert_eq!(count as u64, before + 3000);
        let written = (before + 3000) * 1100;
        assert!(c.bytes_read < written + written / 20, "of about {written} bytes: {c:?}");
    }
}

#[test]
fn the_acknowledgement_of_an_archive_of_ten_thousand_messages_is_one_sync() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let texts: Vec<String> = (0..10_000).map(|i| format!("message {i}")).collect();
    session.append_batch(&texts.iter().collect()).unwrap();
    spy.quiet();
    let (done, c) = spy.during(|| session.archive(Keep::Messages(20)).unwrap());
    assert_eq!(done.archived.end - done.archived.start, 9990);
    assert_eq!(c.all_syncs(), 1, "{c:?}");
    assert!(c.bytes_written < 1024, "the intent does not hold the messages: {c:?}");
    // The way back to the cut reads what is kept, not what goes.
    assert!(c.bytes_read < 400 << 10, "the table of the batch: {c:?}");
    let (_, c) = spy.during(|| session.archive(Keep::Nothing).unwrap());
    assert_eq!((c.all_syncs(), c.bytes_read), (1, 0), "{c:?}");
}

/// A session of so many messages of 1 KiB, appended singly.
fn filled(messages: u64) -> (Spy, Store, Session) {
    let (spy, options) = sim();
    let store = options.fs(Arc::new(spy.clone())).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    let buffered = AppendOptions::new().durability(Durability::Buffered);
    for _ in 0..messages {
        session.append_with(vec![b'x'; 1024], &buffered).unwrap();
    }
    (spy, store, session)
}

#[test]
fn a_message_in_the_middle_of_a_segment_costs_a_few_reads() {
    let (spy, _store, session) = filled(7_000);
    let (mut most, mut all) = (0, 0);
    for seq in (0..7_000).step_by(70) {
        let (found, c) = spy.during(|| session.get(seq).unwrap().unwrap());
        assert_eq!(found.seq(), seq);
        (most, all) = (c.bytes_read.max(most), all + c.bytes_read);
    }
    assert!(most < 128 << 10 && all / 100 < 24 << 10, "{most}, {all}");
}

#[test]
fn a_reader_that_looks_again_reads_what_came_and_not_the_room_ahead() {
    let (spy, store, session) = filled(1_200);
    let reader = store.reader("s").unwrap();
    for _ in 0..4 {
        let before = reader.message_count().unwrap();
        let (_, c) = spy.during(|| reader.message_count().unwrap());
        assert!(c.bytes_read <= 64 << 10, "{}", c.bytes_read);
        fill(&session, 2);
        let (count, c) = spy.during(|| reader.message_count().unwrap());
        assert_eq!(count, before + 2);
        assert!(c.bytes_read <= 128 << 10, "{}", c.bytes_read);
    }
}

#[test]
fn an_archive_soon_after_an_append_reads_nothing() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let texts: Vec<String> = (0..1000).map(|i| format!("message {i}")).collect();
    // A session that had to wait for the processor may be at rest by then.
    let counts: Vec<_> = (0..10)
        .map(|_| {
            session.append_batch(&texts.iter().collect()).unwrap();
            spy.during(|| assert_eq!(session.archive(Keep::Messages(20)).unwrap().live.clone().count(), 20)).1
        })
        .collect();
    assert!(counts.iter().all(|c| c.all_syncs() == 1), "{counts:?}");
    assert!(counts.iter().any(|c| (c.reads, c.bytes_read) == (0, 0)), "{counts:?}");
}

#[test]
fn a_change_of_attributes_is_one_sync() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let (_, c) = spy.during(|| session.patch_attributes(&serde_json::json!({"a": 1})).unwrap());
    assert_eq!(c.all_syncs(), 1, "{c:?}");
    session.archive(Keep::Messages(1)).unwrap();
    let (_, c) = spy.during(|| session.patch_archive(1, &serde_json::json!({"a": 1})).unwrap());
    assert_eq!(c.all_syncs(), 1, "{c:?}");
}

/// Sixteen threads with so many appends each; returns messages and syncs.
fn crowd(sleep: Duration, each: u64) -> (u64, u64) {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let before = session.info().unwrap().total_messages;
    spy.hook(move |c| {
        if c.op == Op::Sync {
            std::thread::sleep(sleep);
        }
        Action::Go
    });
    let (_, c) = spy.during(|| {
        std::thread::scope(|scope| {
            for t in 0..16 {
                let session = &session;
                scope.spawn(move || {
                    for i in 0..each {
                        session.append(&format!("{t}:{i}")).unwrap();
                    }
                });
            }
        });
    });
    let messages = session.info().unwrap().total_messages - before;
    assert_eq!(messages, 16 * each);
    (messages, c.all_syncs())
}

#[test]
fn sixteen_threads_on_one_session_need_far_fewer_syncs_than_messages() {
    let (messages, syncs) = crowd(Duration::from_millis(1), 50);
    assert!(syncs * 4 <= messages, "{syncs} syncs for {messages} messages");
}

#[test]
fn each_thread_finds_its_messages_in_its_order_after_sharing_commits() {
    let (spy, options) = sim();
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let start = session.info().unwrap().live.end;
    std::thread::scope(|scope| {
        for t in 0..8 {
            let session = &session;
            scope.spawn(move || {
                for i in 0..100 {
                    let seq = session.append(&format!("{t}:{i}")).unwrap().seq();
                    let got = session.get(seq).unwrap().unwrap();
                    assert_eq!(got.payload(), format!("{t}:{i}").as_bytes());
                }
            });
        }
    });
    let all = texts(session.range(start..).unwrap());
    assert_eq!(all.len(), 800);
    for t in 0..8 {
        let mine: Vec<_> = all.iter().filter(|m| m.starts_with(&format!("{t}:"))).collect();
        assert_eq!(mine, (0..100).map(|i| format!("{t}:{i}")).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_buffered_append_is_no_sync_and_the_interval_brings_one_for_all() {
    let (spy, options) = sim();
    let options = options.sync_interval(Duration::from_millis(400));
    let (_store, session) = steady(&spy, options, Path::new(SIM));
    let buffered = AppendOptions::new().durability(Durability::Buffered);
    let (_, c) = spy.during(|| {
        for _ in 0..50 {
            session.append_with("hello", &buffered).unwrap();
        }
    });
    assert_eq!(c.all_syncs(), 0, "{c:?}");
    let (_, c) = spy.during(|| std::thread::sleep(Duration::from_millis(900)));
    assert_eq!(c.all_syncs(), 1, "one sync for fifty messages: {c:?}");
    // A durable append behind buffered ones covers them.
    session.append_with("a", &buffered).unwrap();
    let (_, c) = spy.during(|| session.append("b").unwrap());
    assert_eq!(c.all_syncs(), 1, "{c:?}");
    let (_, c) = spy.during(|| session.sync().unwrap());
    assert_eq!(c.all_syncs(), 0, "nothing was left to sync: {c:?}");
}

#[test]
fn an_idle_store_does_not_touch_the_disk() {
    let (spy, options) = sim();
    let (store, session) = steady(&spy, options, Path::new(SIM));
    fill(&session, 0);
    let (_, c) = spy.during(|| std::thread::sleep(Duration::from_millis(500)));
    assert_eq!(c, common::Counts::default());
    // An idle moment after a write brings a mark at most, without a sync of its own.
    session.append("x").unwrap();
    let (_, c) = spy.during(|| std::thread::sleep(Duration::from_millis(500)));
    assert!(c.all_syncs() == 0 && c.writes <= 1, "{c:?}");
    drop(store);
}

#[test]
fn a_read_is_no_write() {
    let (spy, options) = sim();
    let (store, session) = steady(&spy, options, Path::new(SIM));
    session.archive(Keep::Messages(3)).unwrap();
    spy.quiet();
    let (_, c) = spy.during(|| {
        assert_eq!(session.load().unwrap().count(), 3);
        session.archived(1).unwrap().count();
        session.tail_tokens(100).unwrap().count();
        session.info().unwrap();
        store.sessions().unwrap();
        store.reader("s").unwrap().load().unwrap().count();
        store.stats().unwrap();
    });
    assert_eq!(c.changes(), 0, "{c:?}");
}

#[test]
fn closing_many_sessions_shares_the_sync_of_the_catalog() {
    let spy = Spy::new(SimFs::new(2));
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let sessions: Vec<_> = (0..20).map(|i| store.session(format!("s{i}")).unwrap()).collect();
    sessions.iter().for_each(|s| fill(s, 2));
    spy.quiet();
    let (_, c) = spy.during(|| store.close().unwrap());
    // All that is in their logs is durable. (A second one, if the background has something to do in the catalog.)
    assert!(c.all_syncs() <= 2, "{c:?}");
}

#[test]
fn first_writes_at_the_same_time_share_the_sync_of_the_catalog() {
    let spy = Spy::new(SimFs::new(3));
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    for i in 0..16 {
        fill(&store.session(format!("s{i}")).unwrap(), 1);
    }
    store.close().unwrap();
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let sessions: Vec<_> = (0..16).map(|i| store.open_session(format!("s{i}")).unwrap()).collect();
    spy.quiet();
    let catalog = Arc::new(AtomicU64::new(0));
    let seen = catalog.clone();
    spy.hook(move |c| {
        if c.op == Op::Sync {
            std::thread::sleep(Duration::from_millis(2));
            if c.path.to_string_lossy().contains("/catalog/") {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
        Action::Go
    });
    std::thread::scope(|scope| {
        for s in &sessions {
            scope.spawn(move || fill(s, 1));
        }
    });
    spy.calm();
    let syncs = catalog.load(Ordering::Relaxed);
    assert!(syncs <= 10, "{syncs} syncs of the catalog for 16 sessions");
    assert!(sessions.iter().all(|s| live(s) == numbered(0..2)));
}
