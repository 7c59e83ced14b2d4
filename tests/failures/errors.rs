//! Rows 18, 31 to 33 and 37: what the operating system refuses reaches the caller as what it is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sessionlog::doctor::{RepairOptions, repair};
use sessionlog::fs::{Dir, Fault, Fs, Medium, SimFs, SimOp};
use sessionlog::{
    AppendOptions, Durability, ErrorKind, Event, Keep, NewMessage, Options, Outcome, Session, Store,
};

use crate::common::{
    Action, Call, Op, Place, SIM, Spy, eventually, files, fill, kind, live, numbered, sim_options, sim_read,
    sim_segments, sim_session, sim_store, sim_write, texts,
};

fn on_sim(seed: u64) -> (SimFs, Spy, Store) {
    let fs = SimFs::new(seed);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    (fs, spy, store)
}

fn log(c: &Call<'_>, op: Op) -> bool {
    c.is(op, ".log")
}

#[test]
fn f31_a_write_that_fails_reaches_the_caller_and_nothing_is_applied() {
    // hermes-agent #2914: a write error was swallowed and the caller was told that all is well.
    for (code, want) in [(5, ErrorKind::Io), (28, ErrorKind::NoSpace), (122, ErrorKind::NoSpace)] {
        let (fs, spy, store) = on_sim(31);
        let session = store.session("s").unwrap();
        fill(&session, 3);
        spy.once(0, Action::Fail(code), |c| log(c, Op::Write));
        let error = session.append("lost").unwrap_err();
        assert_eq!(spy.hits(), 1);
        assert_eq!((error.kind(), error.outcome()), (want, Outcome::NotApplied), "{error:?}");
        assert_eq!(error.session_id(), Some("s"));
        assert!(error.file().is_some_and(|f| f.to_string_lossy().contains(".log")), "{error:?}");
        assert_eq!(live(&session), numbered(0..3));
        // It works again, and the sequence has no gap.
        assert_eq!(session.append("m3").unwrap().seq(), 3);
        assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), numbered(0..4));
    }
}

#[test]
fn f31_every_op_tells_of_a_write_that_fails() {
    let (_, spy, store) = on_sim(310);
    let session = store.session("s").unwrap();
    fill(&session, 10);
    session.archive(Keep::Messages(8)).unwrap();
    let fails = |what: &str, op: &dyn Fn() -> sessionlog::Result<()>| {
        spy.once(0, Action::ENOSPC, |c| log(c, Op::Write));
        let error = op().expect_err(what);
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::NoSpace, Outcome::NotApplied), "{what}");
        spy.calm();
        op().unwrap_or_else(|e| panic!("{what} again: {e}"));
    };
    fails("append", &|| session.append("x").map(drop));
    fails("batch", &|| session.append_batch(&["a", "b"].into_iter().collect()).map(drop));
    fails("submit", &|| session.submit("x").unwrap().wait().map(drop));
    fails("attributes", &|| session.patch_attributes(&json!({"a": 1})));
    fails("archive attributes", &|| session.patch_archive(1, &json!({"a": 1})));
    fails("archive", &|| session.archive(Keep::Messages(1)).map(drop));
    fails("truncate", &|| session.truncate());
    fails("create", &|| store.create_session("new").map(drop));
    fails("begin", &|| store.session("begun").unwrap().append("x").map(drop));
    assert_eq!(session.info().unwrap().total_messages, 14);
}

#[test]
fn f31_short_and_interrupted_calls_are_finished() {
    let (fs, spy, store) = on_sim(311);
    spy.hook(|c| match c.op {
        Op::Read | Op::Write => Action::Short(3),
        _ => Action::Go,
    });
    let session = store.session("s").unwrap();
    fill(&session, 20);
    session.archive(Keep::Messages(5)).unwrap();
    session.truncate().unwrap();
    assert_eq!(live(&session), numbered(15..20));
    store.close().unwrap();
    // Each second read and write is interrupted.
    let spy = Spy::new(fs.crash());
    let n = std::sync::atomic::AtomicU64::new(0);
    spy.hook(move |c| match c.op {
        Op::Read | Op::Write if n.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => Action::EINTR,
        _ => Action::Go,
    });
    let store = sim_options(spy).open(SIM).unwrap();
    let session = store.open_session("s").unwrap();
    assert!(session.report().unwrap().is_clean());
    assert_eq!(live(&session), numbered(15..20));
    assert_eq!(texts(session.archived(1).unwrap()), numbered(0..15));
    fill(&session, 1);
}

#[test]
fn f31_a_close_that_cannot_be_written_says_so_and_loses_nothing() {
    let (fs, spy, store) = on_sim(312);
    let session = store.session("s").unwrap();
    fill(&session, 4);
    spy.always(Action::EIO, |c| log(c, Op::Write) || log(c, Op::Sync));
    assert!(store.close().is_err());
    spy.calm();
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Closed));
    let store = sim_store(&fs.process_new());
    assert_eq!(live(&store.open_session("s").unwrap()), numbered(0..4));
}

#[test]
fn f32_after_a_failed_sync_nothing_is_retried_and_the_disk_decides() {
    // The fsync reports of 2018: the first sync fails, a repeat "succeeds", and the data is gone.
    for hold in [true, false] {
        let (fs, spy, store) = on_sim(32);
        let session = store.session("s").unwrap();
        fill(&session, 3);
        spy.once(0, Action::EIO, |c| log(c, Op::Sync));
        let error = session.append("maybe").unwrap_err();
        assert_eq!(spy.hits(), 1);
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Poisoned, Outcome::Unknown), "{error:?}");
        spy.always(Action::Go, |c| log(c, Op::Sync));
        for _ in 0..3 {
            assert_eq!(kind(session.append("x")), Some(ErrorKind::Poisoned));
            assert_eq!(kind(session.sync()), Some(ErrorKind::Poisoned));
            assert_eq!(kind(session.archive(Keep::Nothing)), Some(ErrorKind::Poisoned));
            assert_eq!(kind(session.patch_attributes(&json!({"a": 1}))), Some(ErrorKind::Poisoned));
        }
        assert_eq!(spy.hits(), 0, "a sync was repeated on a poisoned descriptor");
        // What was acknowledged is still readable.
        assert_eq!(live(&session)[..3], numbered(0..3));
        if !hold {
            drop(session);
        }
        // Opened again: what is in the file counts, carried into a segment that is synced anew.
        let again = store.session("s").unwrap();
        let all = live(&again);
        assert_eq!(all[..3], numbered(0..3));
        assert!(all.len() == 3 || all[3..] == ["maybe"], "{all:?}");
        let next = all.len() as u64;
        assert_eq!(again.append("after").unwrap().seq(), next);
        assert_eq!(store.stats().unwrap().open_sessions, 1);
        let mut want = all.clone();
        want.push("after".into());
        // And that is durable: the page that the failed sync left behind does not matter.
        let session = sim_store(&fs.crash()).open_session("s").unwrap();
        assert_eq!(live(&session), want);
    }
}

#[test]
fn f32_a_poisoned_session_gives_up_its_lock_when_the_store_is_closed() {
    let (fs, spy, store) = on_sim(33);
    let session = store.session("s").unwrap();
    fill(&session, 3);
    spy.once(0, Action::EIO, |c| log(c, Op::Sync));
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Poisoned));
    spy.calm();
    let other = sim_store(&fs.process_new());
    assert_eq!(kind(other.session("s")), Some(ErrorKind::Locked));
    let _ = store.close();
    // The handle is still there, and holds nothing.
    fill_after(&other);
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Closed));
}

fn fill_after(store: &Store) {
    let session = store.session("s").unwrap();
    session.append("after").unwrap();
}

#[test]
fn f32_closing_a_poisoned_session_says_so_and_gives_up_its_lock() {
    let (fs, spy, store) = on_sim(34);
    let session = store.session("s").unwrap();
    fill(&session, 3);
    spy.once(0, Action::EIO, |c| log(c, Op::Sync));
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Poisoned));
    spy.calm();
    let other_handle = session.clone();
    assert_eq!(kind(session.close()), Some(ErrorKind::Poisoned));
    let other = sim_store(&fs.process_new());
    fill_after(&other);
    other.close().unwrap();
    drop(other_handle);
    assert!(store.open_session("s").unwrap().load().unwrap().count() >= 4);
}

/// What is set by any event.
fn flag() -> (Arc<AtomicBool>, impl Fn(&Event) + Send + Sync + 'static) {
    let told = Arc::new(AtomicBool::new(false));
    (told.clone(), move |_: &Event| told.store(true, Ordering::SeqCst))
}

/// A message that was acknowledged as `Buffered`, and whose sync fails without a call that could say so. Gives the file as it is
/// on the medium.
fn buffered_in_vain(spy: &Spy, fs: &SimFs, a: &Session, dir: &dyn Dir) -> (String, Vec<u8>) {
    spy.quiet();
    let name = sim_segments(dir).pop().unwrap();
    let medium = sim_read(dir, &name);
    fs.fail_when(0, 1, Fault::DropDirty, |c| c.op == SimOp::Sync && c.name.ends_with(".log"));
    a.append_with("lost", &AppendOptions::new().durability(Durability::Buffered)).unwrap();
    (name, medium)
}

#[test]
fn f32_a_sync_that_fails_while_a_session_is_parked_reaches_who_relied_on_it() {
    let fs = SimFs::new(36);
    let spy = Spy::new(fs.clone());
    let (told, on_event) = flag();
    let options = sim_options(spy.clone()).max_open_sessions(1).sync_interval(Duration::from_secs(3600));
    let store = options.on_event(on_event).open(SIM).unwrap();
    let a = store.session("a").unwrap();
    fill(&a, 1);
    let dir = sim_session(&fs);
    store.session("b").unwrap().append("x").unwrap();
    fill(&a, 1);
    let (name, medium) = buffered_in_vain(&spy, &fs, &a, &*dir);
    // Another session takes its place. What is read of it from now on is the medium: the clean pages are gone.
    store.session("b").unwrap();
    eventually("the failure", || told.load(Ordering::SeqCst));
    sim_write(&*dir, &name, &medium);
    for _ in 0..2 {
        assert_eq!(kind(a.sync()), Some(ErrorKind::Poisoned));
        assert_eq!(kind(a.append("x")), Some(ErrorKind::Poisoned));
    }
    let again = store.session("a").unwrap();
    assert_eq!(live(&again), numbered(0..2));
    again.append("m2").unwrap();
    assert_eq!(kind(a.append("x")), Some(ErrorKind::Poisoned));
    drop(a);
    store.close().unwrap();
    assert_eq!(live(&sim_store(&fs.crash()).open_session("a").unwrap()), numbered(0..3));
}

#[test]
fn f32_a_handle_that_was_told_of_no_failure_is_not_made_whole_by_another() {
    let fs = SimFs::new(37);
    let spy = Spy::new(fs.clone());
    let (told, on_event) = flag();
    let options = sim_options(spy.clone()).sync_interval(Duration::from_millis(20));
    let store = options.on_event(on_event).open(SIM).unwrap();
    let a = store.session("a").unwrap();
    fill(&a, 2);
    let dir = sim_session(&fs);
    let (name, medium) = buffered_in_vain(&spy, &fs, &a, &*dir);
    eventually("the failure", || told.load(Ordering::SeqCst));
    sim_write(&*dir, &name, &medium);
    // Another part of the program fetches a handle for its message, as it may for each.
    let other = store.session("a").unwrap();
    assert_eq!(other.append("m2").unwrap().seq(), 2);
    assert_eq!(kind(a.sync()), Some(ErrorKind::Poisoned));
    assert_eq!(kind(a.append("x")), Some(ErrorKind::Poisoned));
    // It reads what is there, and what it is dropped for harms nobody.
    assert_eq!(live(&a), numbered(0..3));
    assert_eq!(kind(a.close()), Some(ErrorKind::Poisoned));
    other.append("m3").unwrap();
    store.close().unwrap();
    assert_eq!(live(&sim_store(&fs.crash()).open_session("a").unwrap()), numbered(0..4));
}

#[test]
fn f32_a_directory_whose_sync_failed_is_not_relied_on() {
    for (what, nth) in [("create", 0), ("create", 1), ("create", 2), ("truncate", 0)] {
        let (fs, spy, store) = on_sim(35);
        let session = store.session("s").unwrap();
        if what == "truncate" {
            fill(&session, 5);
            session.archive(Keep::Messages(2)).unwrap();
        }
        spy.once(nth, Action::EIO, |c| c.op == Op::SyncDir && !c.path.to_string_lossy().contains("catalog"));
        let failed = if what == "create" { session.append("m0").map(drop) } else { session.truncate() };
        assert!(failed.is_err() && spy.hits() == 1, "{what} {nth}");
        spy.calm();
        // Opened again, it works, and what is acknowledged then survives a power cut.
        let again = store.session("s").unwrap();
        let before = live(&again);
        again.append("sure").unwrap();
        let session =
            sim_store(&fs.crash()).open_session("s").unwrap_or_else(|e| panic!("{what} {nth}: {e}"));
        let mut want = before;
        want.push("sure".into());
        assert_eq!(live(&session), want, "{what} {nth}");
    }
}

#[test]
fn f32_a_directory_that_a_killed_process_made_and_never_synced_is_not_relied_on() {
    let fs = SimFs::new(36);
    let first = fs.process_new();
    let spy = Spy::new(first.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    // The process dies on its way to the sync of the name.
    spy.hook(move |c| {
        if c.op == Op::SyncDir && c.path.ends_with("sessions") {
            first.kill();
        }
        Action::Go
    });
    assert!(store.session("s").unwrap().append("m0").is_err());
    drop(store);
    let store = sim_store(&fs);
    store.session("s").unwrap().append("sure").unwrap();
    assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), ["sure"]);
}

/// Tells the calls that fail.
type Matches = fn(&Call<'_>) -> bool;

#[test]
fn f33_what_cannot_be_read_is_never_not_found_and_never_made_anew() {
    // OpenViking #3417: "cannot read" was taken for "not found", and a new empty session was created in its place.
    let place = Place::new();
    let spy = Spy::disk();
    let options = |spy: &Spy| Options::new().create(true).fs(Arc::new(spy.clone()));
    let store = options(&spy).open(place.path()).unwrap();
    fill(&store.session("s").unwrap(), 5);
    store.close().unwrap();
    drop(store);
    let before = files(&place.path());
    let cases: Vec<(&str, Matches)> = vec![
        ("the shard", |c| c.op == Op::OpenDir && c.path.parent().is_some_and(|p| p.ends_with("sessions"))),
        ("the session's directory", |c| c.op == Op::OpenDir && c.path.to_string_lossy().contains("/s~")),
        ("the session's names", |c| c.op == Op::List && c.path.to_string_lossy().contains("/s~")),
        ("the lock", |c| c.is(Op::Open, "/lock")),
        ("locking", |c| c.is(Op::Lock, "/lock")),
        ("the segment", |c| log(c, Op::Open)),
        ("the segment's bytes", |c| log(c, Op::Read)),
    ];
    for (what, matches) in cases {
        for action in [Action::EIO, Action::EACCES] {
            let store = options(&spy).open(place.path()).unwrap();
            spy.always(action, matches);
            for _ in 0..2 {
                let opened = store.session("s").and_then(|s| s.append("x").map(drop));
                let error = opened.expect_err(what);
                assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
                assert_eq!(kind(store.open_session("s")), Some(ErrorKind::Io), "{what}");
                assert_eq!(kind(store.create_session("s")), Some(ErrorKind::Io), "{what}");
                if !what.contains("lock") {
                    assert_eq!(kind(store.reader("s")), Some(ErrorKind::Io), "{what}");
                }
            }
            assert!(spy.hits() > 0, "{what}");
            spy.calm();
            assert_eq!(live(&store.session("s").unwrap()), numbered(0..5), "{what}");
            store.close().unwrap();
            assert_eq!(files(&place.path()), before, "{what}");
        }
    }
}

#[test]
fn f33_a_session_that_cannot_be_read_does_not_take_the_others_out_of_the_list() {
    let (fs, _, store) = on_sim(330);
    for id in ["a", "b", "c"] {
        fill(&store.session(id).unwrap(), 2);
    }
    // Still open for writing there, so that their logs are read here.
    let spy = Spy::new(fs.process_new());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    spy.always(Action::EIO, |c| c.is(Op::Read, "/b~"));
    let listing = store.sessions().unwrap();
    assert_eq!(listing.sessions.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(listing.unreadable.len(), 1);
    assert_eq!(listing.unreadable[0].1.kind(), ErrorKind::Io);
    // But a list that may miss sessions without a word is an error.
    for op in [Op::Stat, Op::OpenDir, Op::List] {
        // One that has listed nothing yet.
        let spy = Spy::new(fs.process_new());
        let store = sim_options(spy.clone()).open(SIM).unwrap();
        spy.always(Action::EIO, move |c| {
            c.op == op && c.path.parent().is_some_and(|p| p.ends_with("sessions"))
        });
        assert_eq!(kind(store.sessions()), Some(ErrorKind::Io), "{op:?}");
    }
}

#[test]
fn f33_blocks_that_cannot_be_read_cost_the_messages_on_them_and_no_others() {
    const BLOCK: u64 = 4096;
    let text = |i: u64| format!("{i:0500}");
    let fs = SimFs::new(331);
    let store = sim_options(fs.clone()).segment_size(64 << 10).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    for i in 0..200 {
        session.append(&text(i)).unwrap();
    }
    drop(session);
    store.close().unwrap();
    // The first segment is sealed, the last one is not.
    for name in ["00000001.log", "00000002.log"] {
        let dir = sim_session(&fs);
        let blocks = sim_read(&*dir, name).iter().rposition(|b| *b != 0).unwrap() as u64 / BLOCK;
        for (first, second) in (1..blocks).flat_map(|b| [(b, b), (b, b + 1), (b, b + 2), (b, b + 5)]) {
            let spy = Spy::new(fs.process_new());
            let reader = sim_options(spy.clone())
                .create(false)
                .read_only(true)
                .open(SIM)
                .unwrap()
                .reader("s")
                .unwrap();
            spy.always(Action::EIO, move |c| {
                let bad = |b: u64| (c.end - c.len as u64) < (b + 1) * BLOCK && c.end > b * BLOCK;
                c.is(Op::Map, name) || c.is(Op::Read, name) && (bad(first) || bad(second))
            });
            let (mut seen, mut errors) = (Vec::new(), 0);
            for message in reader.load().unwrap() {
                match message {
                    Ok(m) => {
                        assert_eq!(m.payload(), text(m.seq()).as_bytes());
                        seen.push(m.seq());
                    }
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Io, "{e}");
                        errors += 1;
                    }
                }
            }
            let bad = if first == second { 1 } else { 2 };
            let case = format!("{name}, blocks {first} and {second}: {} messages", seen.len());
            assert!((1..=bad).contains(&errors), "{case}, {errors} errors");
            // A commit takes 576 bytes: a block has parts of nine at most.
            assert!((200 - 9 * bad..200).contains(&seen.len()), "{case}");
            assert!(seen.is_sorted(), "{case}");
            // A disk may take a second for each.
            assert!(spy.hits() <= 10 * bad as u64, "{case}: {} reads failed", spy.hits());
        }
    }
}

#[test]
fn f33_a_store_that_cannot_be_read_is_not_made_anew() {
    let place = Place::new();
    let id = place.open().id();
    let spy = Spy::disk();
    for op in [Op::Open, Op::Read] {
        spy.always(Action::EIO, move |c| c.is(op, "STORE"));
        let options = Options::new().create(true).fs(Arc::new(spy.clone()));
        assert_eq!(kind(options.open(place.path())), Some(ErrorKind::Io));
    }
    spy.calm();
    assert_eq!(place.open().id(), id);
}

#[test]
fn f33_a_store_that_lost_its_own_file_gets_no_new_id_because_its_sessions_cannot_be_read() {
    // A repair of a store without its STORE file met an I/O error while it looked for a segment that tells the id, found
    // none, and wrote a file with a new id: all sessions were those of another store then.
    let fs = SimFs::new(33);
    let id = sim_store(&fs).id();
    fill(&sim_store(&fs).session("s").unwrap(), 3);
    for how in ["missing", "empty"] {
        let fs = fs.crash_copy();
        let root = fs.open_root(Path::new(SIM)).unwrap();
        match how {
            "missing" => root.remove_file("STORE").unwrap(),
            _ => sim_write(&*root, "STORE", b""),
        }
        root.sync().unwrap();
        let moment = fs.snapshot();
        let (mut told, mut number) = (0, fs.ops());
        loop {
            let fs = moment.look();
            fs.fail(number, Fault::Io);
            let store = sim_options(fs.clone()).open(SIM);
            number += 1;
            if let Ok(store) = &store {
                assert_eq!((how, store.id()), ("empty", id), "operation {number}");
            }
            let done = fs.struck().is_empty();
            told += u32::from(store.as_ref().is_err_and(|e| e.kind() == ErrorKind::Io));
            drop(store);
            fs.heal();
            let options = RepairOptions::new().store(&sim_options(fs.clone()));
            repair(SIM, &options).unwrap();
            let store = sim_store(&fs);
            assert_eq!(store.id(), id, "{how}, operation {number}");
            assert_eq!(live(&store.open_session("s").unwrap()), numbered(0..3));
            if done {
                break;
            }
        }
        assert!(told > 3, "{how}: {told} of {number}");
    }
}

#[test]
fn f18_a_full_disk_is_told_at_every_call_and_writing_works_again_when_there_is_room() {
    // kimi #2902: the disk was full, and saving stopped silently for twelve and a half hours.
    let place = Place::new();
    let spy = Spy::disk();
    let open = || Options::new().create(true).fs(Arc::new(spy.clone())).open(place.path()).unwrap();
    let store = open();
    let session = store.session("s").unwrap();
    let text = "x".repeat(2000);
    for _ in 0..30 {
        session.append(&text).unwrap();
    }
    spy.full();
    let mut done = 30;
    let error = loop {
        match session.append(&text) {
            Ok(_) => done += 1,
            Err(e) => break e,
        }
        assert!(done < 10_000);
    };
    for _ in 0..20 {
        let error = session.append(&text).unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::NoSpace, Outcome::NotApplied), "{error:?}");
    }
    assert!(error.to_string().contains("room"), "{error}");
    assert_eq!(session.load().unwrap().filter(|m| m.is_ok()).count(), done);
    // The reserve: an archive can still be made, and a session can go.
    let out = session.archive(Keep::Messages(2)).unwrap();
    assert_eq!(out.archived, 0..done as u64 - 2);
    assert_eq!(session.message_count().unwrap(), 2);
    drop(session);
    store.close().unwrap();
    drop(store);
    let store = open();
    let session = store.open_session("s").unwrap();
    assert!(!session.report().unwrap().has_damage(), "{:?}", session.report());
    assert_eq!(session.message_count().unwrap(), 2);
    assert_eq!(kind(session.append(&"y".repeat(100_000))), Some(ErrorKind::NoSpace));
    spy.calm();
    assert_eq!(session.append(&text).unwrap().seq(), done as u64);
    spy.full();
    assert!(store.remove_session("s").unwrap());
    assert!(store.sessions().unwrap().sessions.is_empty());
}

#[test]
fn f31_the_background_tells_of_failures_through_the_callback_and_the_next_call() {
    let fs = SimFs::new(313);
    let spy = Spy::new(fs.clone());
    let events: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let told = events.clone();
    let store = sim_options(spy.clone())
        .sync_interval(Duration::from_millis(20))
        .on_event(move |e| told.lock().unwrap().push(format!("{} {:?} {e}", e.doing, e.error.kind())))
        .open(SIM)
        .unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 2);
    spy.always(Action::EIO, |c| log(c, Op::Sync));
    let options = AppendOptions::new().durability(Durability::Buffered);
    session.append_with(NewMessage::from("buffered"), &options).unwrap();
    eventually("an event", || !events.lock().unwrap().is_empty());
    assert!(events.lock().unwrap()[0].contains("Poisoned"), "{events:?}");
    spy.calm();
    assert_eq!(kind(session.append("next")), Some(ErrorKind::Poisoned));
    let again = store.session("s").unwrap();
    again.append("works").unwrap();
}

#[test]
fn f37_a_network_file_system_is_refused_unless_allowed_and_then_nothing_is_mapped() {
    // codex #38150: on a network file system locks and mappings do not do what they say.
    let place = Place::new();
    let spy = Spy::disk();
    spy.set_medium(Medium::Network("nfs"));
    let options = || Options::new().create(true).segment_size(16 << 10).fs(Arc::new(spy.clone()));
    let error = options().open(place.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("nfs"), "{error}");
    assert!(!place.path().join("STORE").exists());

    let read_all = |store: &Store| {
        let session = store.session("s").unwrap();
        for i in 0..100 {
            session.append(&format!("{i:04}{}", "x".repeat(500))).unwrap();
        }
        session.archive(Keep::Messages(10)).unwrap();
        session.truncate().unwrap();
        assert_eq!(session.archived(1).unwrap().filter(|m| m.is_ok()).count(), 90);
        assert_eq!(session.load().unwrap().filter(|m| m.is_ok()).count(), 10);
    };
    let store = options().allow_network(true).map(true).open(place.path()).unwrap();
    read_all(&store);
    store.close().unwrap();
    assert_eq!(spy.counts().maps, 0);
    // The same on a local disk is mapped: so this test can tell.
    let spy = Spy::disk();
    let store = Options::new()
        .create(true)
        .segment_size(16 << 10)
        .fs(Arc::new(spy.clone()))
        .open(place.beside("local"));
    read_all(&store.unwrap());
    assert!(spy.counts().maps > 0);
}

/// Two processes with other working directories would each have locks of their own, and both would write.
#[test]
fn f37_the_place_of_the_locks_is_the_same_from_every_working_directory() {
    let (here, place) = (env::current_dir().unwrap(), Place::new());
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(place.beside("locks").strip_prefix("/").unwrap());
    let open = |dir: &Path| Options::new().create(true).lock_dir(dir).open(place.path());
    let store = open(&relative).unwrap();
    fill(&store.session("s").unwrap(), 1);
    assert_eq!(
        fs::read_dir(place.beside("locks")).unwrap().count(),
        1,
        "in the directory that was named from here"
    );
    store.close().unwrap();
    // What is written in the store is no path from somewhere.
    let mut bytes = fs::read(place.path().join("STORE")).unwrap();
    let stored = here.join(&relative).into_os_string().into_encoded_bytes();
    assert!(bytes.ends_with(&stored), "{bytes:?}");
    assert!(open(&relative).is_ok() && open(&here.join(&relative)).is_ok());
    assert_eq!(kind(open(Path::new("elsewhere"))), Some(ErrorKind::Conflict));
    // One that was written by somebody all the same is refused.
    bytes[128] = b'x';
    let crc = crc32fast::hash(&[&bytes[..124], &bytes[128..]].concat());
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    fs::write(place.path().join("STORE"), &bytes).unwrap();
    assert_eq!(kind(Store::open(place.path())), Some(ErrorKind::Unsupported));
    let nowhere = Options::new().create(true).lock_dir("").open(place.beside("other"));
    assert_eq!(kind(nowhere), Some(ErrorKind::InvalidInput));
    // What the error says helps.
    fs::remove_file(place.path().join("STORE")).unwrap();
    let options = Options::new().lock_dir(place.beside("locks"));
    repair(place.path(), &RepairOptions::new().store(&options)).unwrap();
    assert_eq!(live(&Store::open(place.path()).unwrap().session("s").unwrap()), numbered(0..1));
}

#[test]
fn f37_the_place_of_the_locks_can_be_elsewhere_and_every_process_uses_it() {
    let fs = SimFs::new(37);
    let store = sim_options(fs.clone()).lock_dir("/locks").open(SIM).unwrap();
    fill(&store.session("s").unwrap(), 3);
    let other = sim_options(fs.process_new()).open(SIM).unwrap();
    assert_eq!(kind(other.session("s")), Some(ErrorKind::Locked), "the place stands in the store");
    assert_eq!(
        kind(sim_options(fs.process_new()).lock_dir("/elsewhere").open(SIM)),
        Some(ErrorKind::Conflict)
    );
    store.close().unwrap();
    let session = other.session("s").unwrap();
    fill(&session, 1);
    assert_eq!(live(&session), numbered(0..4));
    assert!(!crate::common::sim_files(&fs).keys().any(|f| f.ends_with("/lock")), "locks beside the logs");
}
