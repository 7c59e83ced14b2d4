//! Rows 20 to 22, 36 and 38: who writes, who waits, and what happens at once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, ErrorKind, Keep, Options, Outcome, Store};

use crate::common::{
    Action, Child, Place, SIM, Spy, child_dir, eventually, files, fill, kind, live, numbered, session_dirs,
    sim_options, sim_store, texts, within,
};

#[test]
#[ignore = "the other process of f20 and f21; does nothing by itself"]
fn child_writer() {
    let Some(dir) = child_dir() else { return };
    let store = Store::open(dir).unwrap();
    let session = store.session("s").unwrap();
    session.append("by the child").unwrap();
    writeln!(std::io::stdout(), "ready").unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "go on");
    session.append("by the child again").unwrap();
    store.close().unwrap();
}

#[test]
fn f20_a_second_writer_gets_locked_at_once_and_the_holder_is_named() {
    // codex #33241: two processes wrote to one session and their records interleaved.
    let place = Place::new();
    let mut child = Child::start("writers::child_writer", &place.path());
    child.expect("ready");
    let store = place.open();
    let start = Instant::now();
    let error = store.session("s").unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "it waited {:?}", start.elapsed());
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Locked, Outcome::NotApplied));
    assert!(error.to_string().contains(&child.pid().to_string()), "{error}");
    assert_eq!(error.session_id(), Some("s"));
    for _ in 0..3 {
        assert_eq!(kind(store.open_session("s")), Some(ErrorKind::Locked));
        assert_eq!(kind(store.remove_session("s")), Some(ErrorKind::Locked));
        assert_eq!(kind(store.create_session("s")), Some(ErrorKind::Locked));
    }
    // Readers need no lock, and other sessions are free.
    assert_eq!(texts(store.reader("s").unwrap().load().unwrap()), ["by the child"]);
    fill(&store.session("mine").unwrap(), 3);
    child.tell("go on");
    child.finish();
    let session = store.session("s").unwrap();
    assert_eq!(live(&session), ["by the child", "by the child again"]);
    assert_eq!(session.append("by the parent").unwrap().seq(), 2);
}

#[test]
fn f20_a_killed_writer_blocks_nobody_and_loses_nothing() {
    let place = Place::new();
    let mut child = Child::start("writers::child_writer", &place.path());
    child.expect("ready");
    let store = place.open();
    assert_eq!(kind(store.session("s")), Some(ErrorKind::Locked));
    child.kill();
    let session = store.session("s").unwrap();
    assert_eq!(live(&session), ["by the child"]);
    assert_eq!(session.append("by the parent").unwrap().seq(), 1);
}

#[test]
fn f20_an_append_that_expects_its_sequence_never_lands_behind_somebody_elses() {
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    let threads: Vec<_> = (0..8)
        .map(|t| {
            let session = session.clone();
            std::thread::spawn(move || {
                let mut mine = 0;
                for _ in 0..50 {
                    let next = session.info().map_or(0, |i| i.live.end);
                    let options = AppendOptions::new().expect_next(next);
                    match session.append_with(&format!("{t} at {next}"), &options) {
                        Ok(done) => {
                            assert_eq!(done.seq(), next);
                            mine += 1;
                        }
                        Err(e) => {
                            assert_eq!((e.kind(), e.outcome()), (ErrorKind::Conflict, Outcome::NotApplied))
                        }
                    }
                }
                mine
            })
        })
        .collect();
    let written: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(written >= 50);
    let all = live(&session);
    assert_eq!(all.len() as u64, written);
    for (i, text) in all.iter().enumerate() {
        assert!(text.ends_with(&format!(" at {i}")), "{text} is message {i}");
    }
    let stale = AppendOptions::new().expect(1, written);
    assert_eq!(kind(session.append_with("other epoch", &stale)), Some(ErrorKind::Conflict));
    let right = AppendOptions::new().expect(session.info().unwrap().epoch, written);
    assert_eq!(session.append_with("x", &right).unwrap().seq(), written);
}

#[test]
fn f20_one_process_that_opens_a_session_twice_shares_it() {
    let place = Place::new();
    let (a, b) = (place.open(), place.open());
    let (one, two) = (a.session("s").unwrap(), b.session("s").unwrap());
    assert_eq!(one.append("m0").unwrap().seq(), 0);
    assert_eq!(two.append("m1").unwrap().seq(), 1);
    assert_eq!(live(&one), numbered(0..2));
    drop((a, one));
    assert_eq!(two.append("m2").unwrap().seq(), 2);
}

#[test]
fn f20_a_session_that_another_process_wrote_to_while_it_was_parked_says_conflict_once() {
    let fs = SimFs::new(20);
    let ours = sim_options(fs.clone()).max_open_sessions(1).open(SIM).unwrap();
    let session = ours.session("s").unwrap();
    fill(&session, 2);
    // Another session takes the only place, and this one is parked.
    let other = ours.session("other").unwrap();
    fill(&other, 1);
    let theirs = sim_store(&fs.process_new());
    assert_eq!(theirs.session("s").unwrap().append("theirs").unwrap().seq(), 2);
    assert_eq!(kind(session.append("blind")), Some(ErrorKind::Locked), "they have it open");
    theirs.close().unwrap();
    assert_eq!(kind(session.append("blind")), Some(ErrorKind::Conflict));
    assert_eq!(live(&session), ["m0", "m1", "theirs"]);
    assert_eq!(session.append("seen").unwrap().seq(), 3);
    assert_eq!(session.append("seen").unwrap().seq(), 4);
    fill(&other, 1);
    assert_eq!(session.append("parked by ourselves alone").unwrap().seq(), 5);
}

#[test]
fn f21_a_lock_file_that_nobody_holds_never_blocks() {
    // openclaw #18140: a lock file that a dead process had left blocked the session for ever.
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 3);
    store.close().unwrap();
    let lock = session_dirs(&place.path())[0].join("lock");
    assert!(lock.exists());
    for content in ["", "1", "{\"pid\": 1, \"host\": \"elsewhere\"}", "\0\u{fffd}junk"] {
        std::fs::write(&lock, content).unwrap();
        let file = std::fs::File::options().write(true).open(&lock).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        drop(file);
        let store = place.open();
        let session = store.open_session("s").unwrap();
        assert!(session.report().unwrap().is_clean());
        fill(&session, 1);
        drop(session);
        store.close().unwrap();
    }
    std::fs::remove_file(&lock).unwrap();
    let store = place.open();
    let session = store.open_session("s").unwrap();
    assert_eq!(live(&session), numbered(0..7));
    fill(&session, 1);
    // And one that is held is never judged stale by its age.
    std::fs::File::options()
        .write(true)
        .open(&lock)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
        .unwrap();
    let other = Options::new().fs(Arc::new(Spy::disk().other_process())).open(place.path()).unwrap();
    assert_eq!(kind(other.session("s")), Some(ErrorKind::Locked));
}

#[test]
fn f22_a_session_in_the_middle_of_a_slow_commit_delays_no_other() {
    // OpenViking #4503: one busy session stalled all the others.
    let fs = SimFs::new(22);
    let spy = Spy::new(fs);
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    for id in ["slow", "fast"] {
        fill(&store.session(id).unwrap(), 1);
    }
    store.close().unwrap();
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let (slow, fast) = (store.session("slow").unwrap(), store.session("fast").unwrap());
    fill(&slow, 1);
    fill(&fast, 1);
    spy.quiet();
    let (stuck, go) = spy.hold_syncs("/slow~");
    let writer = {
        let slow = slow.clone();
        std::thread::spawn(move || slow.append("m2").unwrap())
    };
    eventually("a slow sync", || stuck.load(Ordering::SeqCst));
    let (others, reader) = (store.clone(), slow.clone());
    within(Duration::from_secs(10), "work beside a slow commit", move || {
        fill(&fast, 20);
        fast.archive(Keep::Messages(1)).unwrap();
        fast.truncate().unwrap();
        fill(&others.session("new").unwrap(), 3);
        others.session("new").unwrap().close().unwrap();
        fast.submit("ticket").unwrap().wait().unwrap();
        assert_eq!(others.sessions().unwrap().sessions.len(), 3);
        others.stats().unwrap();
        others.remove_session("new").unwrap();
        // The slow session itself can be read meanwhile: it shows what was acknowledged.
        assert_eq!(live(&reader), numbered(0..2));
        assert_eq!(reader.message_count().unwrap(), 2);
        assert_eq!(others.reader("slow").unwrap().info().unwrap().live.start, 0);
    });
    assert!(!writer.is_finished());
    go.store(true, Ordering::SeqCst);
    assert_eq!(writer.join().unwrap().seq(), 2);
    assert_eq!(live(&slow), numbered(0..3));
}

#[test]
fn f36_looking_for_a_session_leaves_nothing_behind() {
    // ox #827: 78% of the rows in the list were sessions that never had a message.
    let place = Place::new();
    let store = place.open();
    let before = files(&place.path());
    let session = store.session("ghost").unwrap();
    assert_eq!(session.load().unwrap().count(), 0);
    assert_eq!(session.tail(5).unwrap().count(), 0);
    assert_eq!(session.tail_bytes(5).unwrap().count(), 0);
    assert_eq!(session.tail_tokens(5).unwrap().count(), 0);
    assert_eq!(session.range(..3).unwrap().count(), 0);
    assert!(session.get(0).unwrap().is_none());
    assert_eq!(kind(session.info()), Some(ErrorKind::NotFound));
    assert_eq!(session.message_count().unwrap(), 0);
    assert!(session.attributes().unwrap().is_empty());
    assert!(session.archives().unwrap().is_empty());
    assert!(session.report().unwrap().is_clean());
    session.sync().unwrap();
    assert_eq!(kind(session.archive(Keep::Nothing)), Some(ErrorKind::NotFound));
    assert_eq!(kind(session.truncate()), Some(ErrorKind::NotFound));
    assert_eq!(kind(session.patch_archive(1, &json!({}))), Some(ErrorKind::NotFound));
    assert_eq!(kind(session.remove_archive(1)), Some(ErrorKind::NotFound));
    let refused = AppendOptions::new().expect_next(7);
    assert_eq!(kind(session.append_with("x", &refused)), Some(ErrorKind::Conflict));
    assert_eq!(kind(store.open_session("ghost")), Some(ErrorKind::NotFound));
    assert_eq!(kind(store.reader("ghost")), Some(ErrorKind::NotFound));
    assert!(!store.remove_session("ghost").unwrap());
    assert!(store.sessions().unwrap().sessions.is_empty());
    session.clone().close().unwrap();
    drop(session);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(files(&place.path()), before);
    store.close().unwrap();
    assert_eq!(files(&place.path()), before);

    // It begins with its first op, whichever that is.
    let store = place.open();
    store.session("a").unwrap().append("x").unwrap();
    store.session("b").unwrap().patch_attributes(&json!({"k": 1})).unwrap();
    store.create_session("c").unwrap();
    assert_eq!(store.sessions().unwrap().sessions.len(), 3);
}

#[test]
fn f38_status_and_references_of_an_archive_change_together_or_not_at_all() {
    // ox #532: status and references were two writes; after a crash between them an error text stood as the summary
    // and the ids were stale.
    let fs = SimFs::new(38);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 10);
    let pending = json!({"status": "pending", "refs": {"old": 1}, "theirs": "kept"});
    session.archive_with(Keep::Messages(2), &pending).unwrap();
    spy.quiet();
    let copies: Arc<std::sync::Mutex<Vec<SimFs>>> = Arc::default();
    let (taken, disk) = (copies.clone(), fs.clone());
    spy.hook(move |_| {
        taken.lock().unwrap().push(disk.crash_copy());
        Action::Go
    });
    let ready = json!({"status": "ready", "summary": "they talked", "refs": {"old": null, "new": 2}});
    session.patch_archive(1, &ready).unwrap();
    spy.calm();
    let mut copies = std::mem::take(&mut *copies.lock().unwrap());
    assert!(copies.len() >= 2);
    copies.push(fs.crash_copy());
    let old = json!({"status": "pending", "refs": {"old": 1}, "theirs": "kept"});
    let new = json!({"status": "ready", "summary": "they talked", "refs": {"new": 2}, "theirs": "kept"});
    let mut seen = Vec::new();
    for copy in &copies {
        let session = sim_store(copy).open_session("s").unwrap();
        let archive = session.archives().unwrap().remove(0);
        let got = serde_json::Value::Object(archive.attributes.into_map());
        assert!(got == old || got == new, "{got}");
        assert_eq!(archive.seqs, 0..8);
        seen.push(got == new);
    }
    assert!(!seen[0] && seen[seen.len() - 1] && seen.is_sorted(), "{seen:?}");
    // The session's own attributes and messages, in the same way.
    let modified = session.archives().unwrap()[0].modified_micros;
    session.patch_archive(1, &json!({"status": "failed"})).unwrap();
    assert!(session.archives().unwrap()[0].modified_micros >= modified);
    assert_eq!(kind(session.patch_archive(2, &json!({"x": 1}))), Some(ErrorKind::NotFound));
    assert_eq!(kind(session.patch_archive(1, &json!("no object"))), Some(ErrorKind::InvalidInput));
}
