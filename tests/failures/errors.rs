//! Rows 18, 31, 33 and 37: what the operating system refuses reaches the caller as what it is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use sessionlog::doctor::{RepairOptions, repair};
use sessionlog::fs::{Fault, Fs, Medium, SimFs};
use sessionlog::{AppendOptions, Durability, ErrorKind, Keep, NewMessage, Options, Outcome, Store};

use crate::common::{
    Action, Call, Op, Place, SIM, Spy, eventually, files, fill, kind, live, numbered, sim_options, sim_read,
    sim_session, sim_store, sim_write, texts,
};

pub(crate) fn on_sim(seed: u64) -> (SimFs, Spy, Store) {
    let fs = SimFs::new(seed);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    (fs, spy, store)
}

pub(crate) fn log(c: &Call<'_>, op: Op) -> bool {
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
        let all = (1..blocks).flat_map(|b| [(b, b), (b, b + 1), (b, b + 2), (b, b + 5)]);
        // In the last one of all somebody may have gone on: each load looks there, and says that it cannot.
        let looked_at = |block| name == "00000002.log" && block == blocks;
        for (first, second) in all.filter(|(_, second)| !looked_at(*second)) {
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
            session.append(&format!("{i:04}{}", "x".repeat(1500))).unwrap();
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
    assert!(open(&here.join(".").join(&relative)).is_ok(), "the same place in other words");
    assert_eq!(kind(open(Path::new("elsewhere"))), Some(ErrorKind::Conflict));
    // One that was written by somebody all the same is refused.
    bytes[128] = b'x';
    let crc = crc32fast::hash(&[&bytes[..124], &bytes[128..]].concat());
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    fs::write(place.path().join("STORE"), &bytes).unwrap();
    assert_eq!(kind(Store::open(place.path())), Some(ErrorKind::Unsupported));
    assert_eq!(kind(open(&relative)), Some(ErrorKind::Unsupported), "whatever is asked for");
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
