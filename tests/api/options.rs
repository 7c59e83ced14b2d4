//! Opening and closing a store.

use std::sync::Arc;
use std::time::Duration;

use sessionlog::doctor::{self, CheckOptions};
use sessionlog::fs::SimFs;
use sessionlog::{Durability, ErrorKind, Options, Store, limits};

use crate::common::{Place, SIM, Spy, files, fill, kind, live, numbered, sim_options, sim_store};

#[test]
fn open_creates_and_the_strict_forms_do_not() {
    let place = Place::new();
    assert_eq!(kind(Options::new().open(place.path())), Some(ErrorKind::NotFound));
    assert!(!place.path().exists());
    let store = Store::open(place.path()).unwrap();
    let id = store.id();
    assert_eq!(kind(Options::new().create_new(true).open(place.path())), Some(ErrorKind::AlreadyExists));
    store.close().unwrap();
    drop(store);
    assert_eq!(Options::new().open(place.path()).unwrap().id(), id);
    assert_eq!(Options::new().create(true).open(place.path()).unwrap().id(), id);
    let fresh = Options::new().create_new(true).open(place.beside("fresh")).unwrap();
    assert_ne!(fresh.id(), id);
    // Missing parents are made.
    Store::open(place.beside("a/b/c")).unwrap();
}

#[test]
fn the_root_of_a_new_volume_is_made_a_store() {
    let place = Place::new();
    std::fs::create_dir_all(place.path().join("lost+found")).unwrap();
    let store = Store::open(place.path()).unwrap();
    store.session("s").unwrap().append("a").unwrap();
    store.close().unwrap();
    assert!(doctor::check(place.path(), &CheckOptions::new()).unwrap().is_well());
    let file = place.beside("other");
    std::fs::create_dir(&file).unwrap();
    std::fs::write(file.join("lost+found"), "no directory").unwrap();
    assert_eq!(kind(Store::open(&file)), Some(ErrorKind::InvalidInput));
}

#[test]
fn a_directory_that_holds_something_else_is_not_made_a_store() {
    let place = Place::new();
    let other = place.beside("documents");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter.txt"), "dear").unwrap();
    assert_eq!(kind(Store::open(&other)), Some(ErrorKind::InvalidInput));
    assert_eq!(files(&other).len(), 1);
    let file = place.beside("file");
    std::fs::write(&file, "x").unwrap();
    // Nor is what is no directory, or the path of none.
    for path in [&file, &file.join("below"), std::path::Path::new("")] {
        for options in [Options::new(), Options::new().create(true), Options::new().read_only(true)] {
            let error = options.open(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains("director"), "{error}");
        }
    }
    let empty = place.beside("empty");
    std::fs::create_dir(&empty).unwrap();
    Store::open(&empty).unwrap();
}

#[test]
fn options_out_of_their_range_are_refused() {
    let place = Place::new();
    let new = || Options::new().create(true);
    for options in [
        new().segment_size(limits::MIN_SEGMENT - 1),
        new().segment_size(limits::MAX_SEGMENT + 1),
        new().max_payload(limits::MAX_PAYLOAD + 1),
        new().max_payload(0),
        new().max_open_sessions(0),
        new().sync_interval(Duration::from_micros(999)),
        new().sync_interval(Duration::from_secs(3601)),
        new().read_only(true),
    ] {
        assert_eq!(kind(options.open(place.path())), Some(ErrorKind::InvalidInput), "{options:?}");
    }
    assert!(!place.path().exists());
}

#[test]
fn any_number_of_sessions_may_be_open() {
    let store = sim_options(SimFs::new(5)).max_open_sessions(usize::MAX).open(SIM).unwrap();
    fill(&store.session("s").unwrap(), 1);
}

#[test]
fn a_second_opening_shares_the_first_and_other_options_are_a_conflict() {
    let place = Place::new();
    let options = || Options::new().create(true).durability(Durability::Buffered);
    let store = options().open(place.path()).unwrap();
    let second = options().open(place.path()).unwrap();
    fill(&store.session("s").unwrap(), 2);
    assert_eq!(live(&second.session("s").unwrap()), numbered(0..2));
    assert_eq!(kind(Store::open(place.path())), Some(ErrorKind::Conflict));
    assert_eq!(kind(options().max_payload(5).open(place.path())), Some(ErrorKind::Conflict));
    // By another path to the same directory, too.
    let indirect = place.path().join("..").join("store");
    assert_eq!(kind(Store::open(indirect)), Some(ErrorKind::Conflict));
    second.close().unwrap();
    assert_eq!(kind(store.sessions()), Some(ErrorKind::Closed));
    Store::open(place.path()).unwrap();
}

#[test]
fn close_says_closed_on_every_clone_and_handle() {
    let place = Place::new();
    let store = place.open();
    let clone = store.clone();
    let session = store.session("s").unwrap();
    fill(&session, 3);
    session.archive(sessionlog::Keep::Messages(1)).unwrap();
    let reader = store.reader("s").unwrap();
    let mut open = session.load().unwrap();
    store.close().unwrap();
    let closed = Some(ErrorKind::Closed);
    assert_eq!(kind(clone.session("s")), closed);
    assert_eq!(kind(clone.open_session("s")), closed);
    assert_eq!(kind(clone.create_session("t")), closed);
    assert_eq!(kind(clone.reader("s")), closed);
    assert_eq!(kind(clone.sessions()), closed);
    assert_eq!(kind(clone.stats()), closed);
    assert_eq!(kind(clone.remove_session("s")), closed);
    assert_eq!(kind(clone.close()), closed);
    assert_eq!(kind(session.append("x")), closed);
    assert_eq!(kind(session.submit("x")), closed);
    assert_eq!(kind(session.append_batch(&sessionlog::Batch::new().message("x"))), closed);
    assert_eq!(kind(session.load()), closed);
    assert_eq!(kind(session.tail(1)), closed);
    assert_eq!(kind(session.get(0)), closed);
    assert_eq!(kind(session.info()), closed);
    assert_eq!(kind(session.message_count()), closed);
    assert_eq!(kind(session.archives()), closed);
    assert_eq!(kind(session.archived(1)), closed);
    assert_eq!(kind(session.archive(sessionlog::Keep::Nothing)), closed);
    assert_eq!(kind(session.patch_attributes(&serde_json::json!({}))), closed);
    assert_eq!(kind(session.truncate()), closed);
    assert_eq!(kind(session.sync()), closed);
    assert_eq!(kind(session.report()), closed);
    assert_eq!(kind(reader.load()), closed);
    assert_eq!(kind(reader.info()), closed);
    assert_eq!(kind(session.close()), closed);
    // What was being read goes on: it holds what it needs.
    assert_eq!(open.next().unwrap().unwrap().payload(), b"m2");
    // The old handles do not keep the place.
    let again = place.open();
    fill(&again.open_session("s").unwrap(), 1);
    assert_eq!(kind(clone.sessions()), closed);
}

#[test]
fn the_last_drop_closes_in_good_order() {
    let fs = SimFs::new(1);
    {
        let store = sim_store(&fs);
        let session = store.session("s").unwrap();
        drop(store);
        // A session keeps its store open.
        fill(&session, 3);
    }
    let other = sim_store(&fs.process_new());
    let session = other.open_session("s").unwrap();
    assert!(session.report().unwrap().is_clean(), "{:?}", session.report());
    assert_eq!(live(&session), numbered(0..3));
}

#[test]
fn a_reader_keeps_its_store_open() {
    let fs = SimFs::new(2);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 3);
    let reader = store.reader("s").unwrap();
    drop(store);
    assert_eq!(reader.load().unwrap().count(), 3);
    assert_eq!(reader.info().unwrap().message_count, 3);
}

#[test]
fn a_read_only_store_reads_everything_and_writes_nothing() {
    let place = Place::new();
    assert_eq!(kind(Options::new().read_only(true).open(place.path())), Some(ErrorKind::NotFound));
    assert!(!place.path().exists());
    let store = place.open();
    let session = store.session("s").unwrap();
    fill(&session, 5);
    session.archive(sessionlog::Keep::Messages(2)).unwrap();
    drop(session);
    // While the writer is at work, and after it ended.
    for round in 0..2 {
        if round == 1 {
            store.close().unwrap();
        }
        let before = files(&place.path());
        let spy = Spy::disk();
        let ro = Options::new().read_only(true).fs(Arc::new(spy.clone())).open(place.path()).unwrap();
        let reader = ro.reader("s").unwrap();
        assert_eq!(reader.load().unwrap().count(), 2);
        assert_eq!(reader.archived(1).unwrap().count(), 3);
        assert_eq!(ro.sessions().unwrap().sessions[0].message_count, 2);
        assert_eq!(kind(ro.session("s")), Some(ErrorKind::ReadOnly));
        assert_eq!(kind(ro.create_session("t")), Some(ErrorKind::ReadOnly));
        assert_eq!(kind(ro.remove_session("s")), Some(ErrorKind::ReadOnly));
        ro.close().unwrap();
        assert_eq!(spy.counts().changes(), 0, "{:?}", spy.counts());
        assert_eq!(files(&place.path()), before, "round {round}");
    }
}

#[test]
fn a_forked_child_gets_forked_and_the_parent_keeps_its_lock() {
    let fs = SimFs::new(3);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 2);
    spy.fork();
    let forked = Some(ErrorKind::Forked);
    assert_eq!(kind(session.append("x")), forked);
    assert_eq!(kind(session.submit("x")), forked);
    assert_eq!(kind(session.load()), forked);
    assert_eq!(kind(store.session("t")), forked);
    assert_eq!(kind(store.sessions()), forked);
    assert_eq!(kind(store.remove_session("s")), forked);
    assert_eq!(kind(store.close()), forked);
    // The child ends: what it inherited must not take the parent's lock away.
    let copy = (store.clone(), session.clone());
    drop(copy);
    spy.unfork();
    assert_eq!(kind(sim_store(&fs.process_new()).session("s")), Some(ErrorKind::Locked));
    fill(&session, 1);
    assert_eq!(live(&session), numbered(0..3));
}

#[test]
fn strict_forms_of_sessions_tell_there_from_not_there() {
    let fs = SimFs::new(4);
    let store = sim_store(&fs);
    assert_eq!(kind(store.open_session("s")), Some(ErrorKind::NotFound));
    let session = store.create_session("s").unwrap();
    // It is on disk before anything is written to it.
    let after = sim_store(&fs.crash_copy());
    assert_eq!(after.open_session("s").unwrap().message_count().unwrap(), 0);
    assert_eq!(after.sessions().unwrap().sessions.len(), 1);
    assert_eq!(kind(store.create_session("s")), Some(ErrorKind::AlreadyExists));
    fill(&session, 1);
    assert_eq!(live(&store.open_session("s").unwrap()), ["m0"]);
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let place = Place::new();
    let error = Options::new().open(place.path()).unwrap_err();
    assert!(error.to_string().contains(place.path().to_str().unwrap()), "{error}");
    assert!(error.to_string().contains("Store::open"), "{error}");
    let store = place.open();
    let error = store.open_session("no such").unwrap_err();
    assert_eq!(error.session_id(), Some("no such"));
    assert!(!error.is_corruption());
    fn all<T: Send + Sync + 'static + std::error::Error>(_: &T) {}
    all(&error);
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&store);
    shared(&store.session("s").unwrap());
}
