//! Row 32: a sync that failed is not repeated as if nothing were, and whoever relied on it is told.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sessionlog::fs::{Dir, Fault, SimFs, SimOp};
use sessionlog::{AppendOptions, Durability, ErrorKind, Event, Keep, Outcome, Session, Store};

use crate::common::{
    Action, Op, SIM, Spy, eventually, fill, kind, live, numbered, sim_options, sim_read, sim_segments,
    sim_session, sim_store, sim_write,
};
use crate::errors::{log, on_sim};

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
            let later = session.append("x").unwrap_err();
            assert_eq!((later.kind(), later.outcome()), (ErrorKind::Poisoned, Outcome::NotApplied));
            // It says where and by what, and nothing of the first one's outcome.
            assert_eq!(later.file(), error.file());
            assert!(later.file().is_some() && later.source().is_some(), "{later}");
            let text = later.to_string();
            assert!(text.contains("Store::session") && !text.contains("may have taken effect"), "{text}");
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
    // Another part of the program fetches a handle for its message, as it may for each. It is told, for nobody was.
    assert_eq!(kind(store.session("a")), Some(ErrorKind::Poisoned));
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
fn f32_who_fetches_a_handle_for_each_message_is_told_of_a_sync_that_failed_between() {
    for parked in [false, true] {
        let fs = SimFs::new(38);
        let spy = Spy::new(fs.clone());
        let (told, on_event) = flag();
        let interval = Duration::from_millis(if parked { 3_600_000 } else { 20 });
        let options = sim_options(spy.clone()).sync_interval(interval).linger(Duration::from_millis(30));
        let store = options.on_event(on_event).open(SIM).unwrap();
        fill(&store.session("a").unwrap(), 2);
        let dir = sim_session(&fs);
        let (name, medium) = buffered_in_vain(&spy, &fs, &store.session("a").unwrap(), &*dir);
        eventually("the failure", || told.load(Ordering::SeqCst));
        sim_write(&*dir, &name, &medium);
        // However long nobody comes.
        std::thread::sleep(Duration::from_millis(80));
        assert_eq!(kind(store.session("a")), Some(ErrorKind::Poisoned));
        let a = store.session("a").unwrap();
        a.sync().unwrap();
        assert_eq!(live(&a), numbered(0..2));
        store.close().unwrap();
    }
}

#[test]
fn f32_a_handle_of_before_a_failed_sync_reads_nothing_of_the_next_life() {
    let (_fs, spy, store) = on_sim(39);
    let old = store.session("s").unwrap();
    fill(&old, 2);
    spy.once(0, Action::EIO, |c| log(c, Op::Sync));
    assert_eq!(kind(old.append("x")), Some(ErrorKind::Poisoned));
    spy.calm();
    store.session("s").unwrap().append("y").unwrap();
    assert!(old.load().unwrap().count() >= 3, "it is the same life");
    assert!(store.remove_session("s").unwrap());
    assert_eq!(kind(old.load()), Some(ErrorKind::NotFound));
    store.session("s").unwrap().append("new life").unwrap();
    assert_eq!(kind(old.load()), Some(ErrorKind::NotFound));
    assert_eq!(kind(old.append("x")), Some(ErrorKind::Poisoned));
}

#[test]
fn f32_a_removal_beside_an_opening_of_what_is_poisoned_meets_no_lock_of_ours() {
    for round in 0..40 {
        let (_fs, spy, store) = on_sim(round);
        let session = store.session("s").unwrap();
        fill(&session, 1);
        let (stuck, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_stuck, may_go) = (stuck.clone(), go.clone());
        spy.hook(move |c| {
            if !log(c, Op::Sync) || is_stuck.swap(true, Ordering::SeqCst) {
                return Action::Go;
            }
            while !may_go.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Action::EIO
        });
        std::thread::scope(|scope| {
            let append = scope.spawn(|| kind(session.append("x")));
            eventually("the sync", || stuck.load(Ordering::SeqCst));
            let open = scope.spawn(|| {
                let opened = store.session("s");
                std::thread::sleep(Duration::from_millis(3));
                opened.map(drop)
            });
            std::thread::sleep(Duration::from_millis(2));
            let remove = scope.spawn(|| store.remove_session("s"));
            std::thread::sleep(Duration::from_millis(2));
            go.store(true, Ordering::SeqCst);
            assert_eq!(append.join().unwrap(), Some(ErrorKind::Poisoned));
            open.join().unwrap().unwrap();
            assert!(remove.join().unwrap().unwrap());
        });
    }
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
