//! Handles, parking, lingering, removal, readers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sessionlog::fs::{Fs, SimFs};
use sessionlog::{ErrorKind, Keep, Options, Store};

use crate::common::{
    Action, Op, Place, SIM, Spy, eventually, fill, kind, live, numbered, sim_files, sim_options, sim_store,
    texts,
};

#[test]
fn fifty_sessions_work_with_four_places() {
    let place = Place::new();
    let store = Options::new().create(true).max_open_sessions(4).open(place.path()).unwrap();
    let sessions: Vec<_> = (0..50).map(|i| store.session(format!("s{i}")).unwrap()).collect();
    for round in 0..3 {
        for (i, session) in sessions.iter().enumerate() {
            assert_eq!(session.append(&format!("m{round}")).unwrap().seq(), round);
            if i % 7 == 0 {
                session.archive(Keep::Messages(1)).unwrap();
            }
            assert!(store.stats().unwrap().open_sessions <= 4);
        }
    }
    for (i, session) in sessions.iter().enumerate() {
        // Reading does not need a place.
        let base = if i % 7 == 0 { 2 } else { 0 };
        assert_eq!(live(session), numbered(base..3));
        assert!(session.report().unwrap().is_clean(), "{:?}", session.report());
    }
    drop(sessions);
    store.close().unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.sessions().unwrap().sessions.iter().map(|s| s.total_messages).sum::<u64>(), 150);
}

#[test]
fn the_session_used_longest_ago_is_closed_for_another() {
    let fs = SimFs::new(3);
    let store = sim_options(fs.clone()).max_open_sessions(4).open(SIM).unwrap();
    let other = sim_store(&fs.process_new());
    let sessions: Vec<_> = ["a", "b", "c", "d", "e"].map(|id| store.session(id).unwrap()).into();
    sessions[..4].iter().for_each(|session| fill(session, 1));
    // All were used since they were opened, and these two last.
    for at in [0, 3, 2, 1, 0, 2] {
        fill(&sessions[at], 1);
    }
    fill(&sessions[4], 1);
    let is_free = |id: &str| match other.session(id).and_then(|s| s.append("theirs")) {
        Ok(_) => true,
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Locked);
            false
        }
    };
    assert_eq!(["a", "b", "c", "d", "e"].map(is_free), [false, false, false, true, false]);
    // What is used while it is looked for stays, and so does what is closed and opened again.
    fill(&sessions[1], 1);
    sessions[0].clone().close().unwrap();
    fill(&sessions[0], 1);
    fill(&store.session("f").unwrap(), 1);
    assert_eq!(["a", "b", "c", "e", "f"].map(is_free), [false, false, true, false, false]);
}

/// A store with these sessions, which may keep so many open.
fn with_sessions(fs: &SimFs, spy: &Spy, count: usize, open: usize) -> Store {
    let store = sim_store(fs);
    (0..count).for_each(|i| fill(&store.session(format!("s{i}")).unwrap(), 1));
    store.close().unwrap();
    sim_options(spy.clone()).max_open_sessions(open).open(SIM).unwrap()
}

#[test]
fn sessions_above_the_number_are_parked_in_the_background() {
    let fs = SimFs::new(4);
    let spy = Spy::new(fs.clone());
    let store = with_sessions(&fs, &spy, 34, 32);
    let open = || store.stats().unwrap().open_sessions;
    let use_it = |i: usize| store.session(format!("s{i}")).map(|s| fill(&s, 1)).unwrap();
    let sessions: Vec<_> = (0..32).map(|i| store.session(format!("s{i}")).unwrap()).collect();
    (0..32).for_each(use_it);
    spy.quiet();
    assert_eq!(open(), 32);
    // The one used longest ago is at work, so another one goes.
    let (stuck, go) = spy.hold_syncs("/s0~");
    let busy = sessions[0].clone();
    let work = std::thread::spawn(move || fill(&busy, 1));
    eventually("work", || stuck.load(Ordering::SeqCst));
    (1..32).for_each(use_it);
    use_it(32);
    eventually("one is parked", || open() == 32);
    let other = sim_store(&fs.process_new());
    eventually("its lock is free", || other.session("s1").and_then(|s| s.append("theirs")).is_ok());
    assert_eq!(kind(other.session("s2")), Some(ErrorKind::Locked));
    go.store(true, Ordering::SeqCst);
    work.join().unwrap();
    assert_eq!(live(&sessions[0]), numbered(0..3));
    // Whoever opens another one does not wait for that.
    let by = Arc::new(std::sync::Mutex::new(None));
    let seen = by.clone();
    spy.hook(move |c| {
        if c.is(Op::Write, "/s0~") {
            *seen.lock().unwrap() = std::thread::current().name().map(str::to_owned);
        }
        Action::Go
    });
    use_it(33);
    eventually("the next is parked", || by.lock().unwrap().is_some());
    assert_eq!(by.lock().unwrap().as_deref(), Some("sessionlog-io"));
}

#[test]
fn sessions_that_were_all_at_work_are_parked_when_the_next_is_opened() {
    let fs = SimFs::new(5);
    let spy = Spy::new(fs.clone());
    let store = with_sessions(&fs, &spy, 18, 16);
    let stuck = Arc::new(AtomicUsize::new(0));
    let now_stuck = stuck.clone();
    let go = spy.hold(move |c| {
        let held = c.is(Op::Sync, ".log");
        now_stuck.fetch_add(usize::from(held), Ordering::SeqCst);
        held
    });
    let open = || store.stats().unwrap().open_sessions;
    let work: Vec<_> = (0..17)
        .map(|i| {
            let store = store.clone();
            let work = std::thread::spawn(move || fill(&store.session(format!("s{i}")).unwrap(), 1));
            eventually("work", || stuck.load(Ordering::SeqCst) == i + 1);
            work
        })
        .collect();
    // The background has looked, and found none.
    spy.quiet();
    go.store(true, Ordering::SeqCst);
    work.into_iter().for_each(|work| work.join().unwrap());
    spy.quiet();
    assert_eq!(open(), 17);
    fill(&store.session("s17").unwrap(), 1);
    eventually("both are parked", || open() == 16);
}

/// Two sessions are too many while the background is at work, and then there may be a ticket: what it syncs.
fn synced_to_park_two(and_a_ticket: bool) -> Vec<String> {
    let fs = SimFs::new(6);
    let spy = Spy::new(fs.clone());
    let store = with_sessions(&fs, &spy, 34, 32);
    let sessions: Vec<_> = (0..32).map(|i| store.session(format!("s{i}")).unwrap()).collect();
    sessions.iter().for_each(|session| fill(session, 1));
    spy.quiet();
    let synced = Arc::new(std::sync::Mutex::new(Vec::new()));
    let now_synced = synced.clone();
    let go = spy.hold(move |c| {
        let held = c.op == Op::Sync && std::thread::current().name() == Some("sessionlog-io");
        if held {
            let path = c.path.to_string_lossy();
            let session = path.split('/').find_map(|part| part.split_once('~')).map(|(name, _)| name);
            now_synced.lock().unwrap().push(session.unwrap_or("catalog").to_owned());
        }
        held
    });
    let first = sessions[30].submit("theirs").unwrap();
    eventually("work", || !synced.lock().unwrap().is_empty());
    let more = [32, 33].map(|i| store.session(format!("s{i}")).unwrap());
    let second = and_a_ticket.then(|| sessions[31].submit("theirs").unwrap());
    go.store(true, Ordering::SeqCst);
    first.wait().unwrap();
    // Who waits for a ticket may do the work himself; who asks for it does not.
    eventually("the ticket", || {
        second.as_ref().is_none_or(|ticket| ticket.try_get().is_some_and(|done| done.is_ok()))
    });
    eventually("both are parked", || store.stats().unwrap().open_sessions == 32);
    spy.quiet();
    drop(more);
    let synced = synced.lock().unwrap();
    synced.clone()
}

#[test]
fn sessions_are_parked_with_one_sync_of_the_catalog_if_no_ticket_waits() {
    // On a machine that stands still for long a timer is due meanwhile, and waits as a ticket does.
    assert!((0..5).any(|_| synced_to_park_two(false) == ["s30", "catalog"]));
    assert_eq!(synced_to_park_two(true), ["s30", "catalog", "s31", "catalog"]);
}

#[test]
fn threads_on_more_sessions_than_places_do_not_block_each_other() {
    let fs = SimFs::new(1);
    let store = sim_options(fs).max_open_sessions(2).open(SIM).unwrap();
    crate::common::within(Duration::from_secs(60), "parking under load", move || {
        std::thread::scope(|scope| {
            for t in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..40 {
                        let session = store.session(format!("s{}", (t + i) % 6)).unwrap();
                        session.append("x").unwrap();
                    }
                });
            }
        });
        let total: u64 = store.sessions().unwrap().into_iter().map(|s| s.total_messages).sum();
        assert_eq!(total, 320);
    });
}

#[test]
fn a_session_gives_up_its_lock_some_time_after_its_last_handle_went() {
    let fs = SimFs::new(2);
    let store = sim_options(fs.clone()).linger(Duration::from_millis(100)).open(SIM).unwrap();
    let other = sim_store(&fs.process_new());
    let session = store.session("s").unwrap();
    fill(&session, 2);
    let clone = session.clone();
    drop(session);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(kind(other.session("s")), Some(ErrorKind::Locked), "a handle is still there");
    drop(clone);
    assert_eq!(kind(other.session("s")), Some(ErrorKind::Locked), "it lingers");
    eventually("the lock is given up", || other.session("s").is_ok());
    let session = other.session("s").unwrap();
    assert!(session.report().unwrap().is_clean());
    assert_eq!(live(&session), numbered(0..2));
    drop(session);
    other.close().unwrap();
    // Fetching a handle for each message is fine.
    for i in 2..40 {
        assert_eq!(store.session("s").unwrap().append("x").unwrap().seq(), i);
    }
}

#[test]
fn close_gives_up_the_lock_at_once_and_the_next_op_takes_it_again() {
    let fs = SimFs::new(3);
    let (ours, theirs) = (sim_store(&fs), sim_store(&fs.process_new()));
    let session = ours.session("s").unwrap();
    fill(&session, 2);
    let still = session.clone();
    session.close().unwrap();
    assert_eq!(ours.stats().unwrap().open_sessions, 0);
    let mine = theirs.session("s").unwrap();
    fill(&mine, 1);
    assert_eq!(live(&still), numbered(0..3), "reading needs no lock");
    assert_eq!(kind(still.append("x")), Some(ErrorKind::Locked));
    mine.close().unwrap();
    // The handle that was there all the time has not seen what they wrote.
    assert_eq!(kind(still.append("x")), Some(ErrorKind::Conflict));
    fill(&still, 1);
    assert_eq!(live(&still), numbered(0..4));
}

#[test]
fn a_session_that_is_opened_anew_by_its_name_is_no_conflict() {
    // Who closes a session and opens it again looks at it anyway: what others wrote meanwhile is simply there.
    let fs = SimFs::new(4);
    let (ours, theirs) = (sim_store(&fs), sim_store(&fs.process_new()));
    let session = ours.session("s").unwrap();
    fill(&session, 2);
    session.close().unwrap();
    let session = theirs.session("s").unwrap();
    fill(&session, 2);
    session.close().unwrap();
    let session = ours.open_session("s").unwrap();
    assert_eq!(live(&session), numbered(0..4));
    fill(&session, 1);
}

#[test]
fn a_close_that_fails_makes_no_conflict_of_our_own_work() {
    let fs = SimFs::new(5);
    let spy = Spy::new(fs);
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 2);
    // Behind so much the close record states the state, which is worth a sync.
    let long = "x".repeat(200 << 10);
    session.append(&long).unwrap();
    let still = session.clone();
    spy.once(0, Action::EIO, |c| c.is(Op::Sync, ".log"));
    assert_eq!(kind(session.close()), Some(ErrorKind::Poisoned));
    spy.calm();
    fill(&still, 2);
    assert_eq!(live(&still), ["m0", "m1", &*long, "m3", "m4"]);
}

#[test]
fn a_removed_session_is_gone_for_good_and_its_name_is_free() {
    let fs = SimFs::new(6);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 3);
    let birth = session.info().unwrap().birth;
    let reader = store.reader("s").unwrap();
    assert!(store.remove_session("s").unwrap());
    assert!(!store.remove_session("s").unwrap());
    assert_eq!(kind(session.append("x")), Some(ErrorKind::NotFound));
    let the_old_ones_are_gone = || {
        assert_eq!(kind(session.load()), Some(ErrorKind::NotFound));
        assert_eq!(kind(session.message_count()), Some(ErrorKind::NotFound));
        assert_eq!(kind(session.report()), Some(ErrorKind::NotFound));
        assert_eq!(kind(session.sync()), Some(ErrorKind::NotFound));
        assert_eq!(kind(reader.load()), Some(ErrorKind::NotFound));
        assert_eq!(kind(reader.info()), Some(ErrorKind::NotFound));
    };
    the_old_ones_are_gone();
    assert!(store.sessions().unwrap().sessions.is_empty());
    for fs in [fs.crash_copy(), fs.process_new()] {
        let store = sim_store(&fs);
        assert!(store.sessions().unwrap().sessions.is_empty());
        assert_eq!(kind(store.open_session("s")), Some(ErrorKind::NotFound));
    }
    let again = store.session("s").unwrap();
    assert_eq!(again.append("new life").unwrap().seq(), 0);
    assert_ne!(again.info().unwrap().birth, birth);
    assert_eq!(kind(session.append("x")), Some(ErrorKind::NotFound), "the old handle is the old session's");
    the_old_ones_are_gone();
    assert_eq!(live(&again), ["new life"]);
    assert_eq!(store.sessions().unwrap().sessions[0].message_count, 1);
    store.close().unwrap();
    let listing = sim_store(&fs.crash()).sessions().unwrap();
    assert_eq!(listing.sessions[0].message_count, 1);
}

#[test]
fn whatever_else_is_done_with_a_removed_session_reads_nothing_of_the_next_one() {
    let store = sim_store(&SimFs::new(6));
    let old = store.session("s").unwrap();
    fill(&old, 1);
    assert!(store.remove_session("s").unwrap());
    store.session("s").unwrap().append("new life").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(kind(old.append("x")), Some(ErrorKind::NotFound));
            }
        });
        let read = (0..20_000).filter(|_| kind(old.load()) != Some(ErrorKind::NotFound)).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(read, 0);
    });
}

#[test]
fn a_removal_that_fails_can_be_repeated_and_never_comes_back() {
    // At each step of the removal one call fails; repeated until it is said to be done, it survives a power cut.
    for nth in 0.. {
        let fs = SimFs::new(7);
        let spy = Spy::new(fs.clone());
        let store = sim_options(spy.clone()).open(SIM).unwrap();
        fill(&store.session("s").unwrap(), 3);
        fill(&store.session("kept").unwrap(), 2);
        spy.quiet();
        spy.once(nth, Action::EIO, |c| {
            !matches!(c.op, Op::Read | Op::Map) && !c.path.to_string_lossy().contains("/catalog")
        });
        let first = store.remove_session("s");
        let struck = spy.hits() > 0;
        spy.calm();
        if first.is_err() {
            store.remove_session("s").unwrap();
        }
        let after = sim_store(&fs.crash());
        let ids: Vec<_> = after.sessions().unwrap().into_iter().map(|s| s.id.to_string()).collect();
        assert_eq!(ids, ["kept"], "call {nth}: {first:?}");
        assert_eq!(kind(after.open_session("s")), Some(ErrorKind::NotFound), "call {nth}");
        if !struck {
            assert!(nth > 4, "{nth}");
            break;
        }
    }
}

#[test]
fn a_handle_on_a_session_that_has_not_begun_outlives_its_removal() {
    let fs = SimFs::new(7);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    assert!(!store.remove_session("s").unwrap());
    // There was none, so this is no other one.
    fill(&session, 2);
    assert_eq!(live(&store.session("s").unwrap()), numbered(0..2));
    // One that has begun, and is removed by another process, is gone for its handles.
    session.clone().close().unwrap();
    assert!(sim_store(&fs.process_new()).remove_session("s").unwrap());
    assert!(!store.remove_session("s").unwrap());
    assert_eq!(kind(session.append("x")), Some(ErrorKind::NotFound), "the old handle is the old session's");
    fill(&store.session("s").unwrap(), 1);
}

#[test]
fn a_session_is_removed_where_the_quota_of_files_is_exceeded() {
    for code in [Action::ENOSPC, Action::EDQUOT] {
        let spy = Spy::new(SimFs::new(7));
        let open = || sim_options(spy.clone()).open(SIM).unwrap();
        let store = open();
        fill(&store.session("s").unwrap(), 1);
        store.close().unwrap();
        let store = open();
        spy.always(code, |c| matches!(c.op, Op::Create | Op::CreateDir));
        assert!(store.remove_session("s").unwrap(), "{code:?}");
        // That it is gone for good can be made sure of only with room for an entry.
        assert_eq!(kind(store.remove_session("s")), Some(ErrorKind::NoSpace), "{code:?}");
        spy.hook(|_| Action::Go);
        assert!(!store.remove_session("s").unwrap(), "{code:?}");
    }
}

#[test]
fn a_session_that_another_process_writes_to_is_not_removed() {
    let fs = SimFs::new(8);
    let (ours, theirs) = (sim_store(&fs), sim_store(&fs.process_new()));
    let session = theirs.session("s").unwrap();
    fill(&session, 2);
    assert_eq!(kind(ours.remove_session("s")), Some(ErrorKind::Locked));
    fill(&session, 1);
    assert_eq!(live(&session), numbered(0..3));
    session.close().unwrap();
    assert!(ours.remove_session("s").unwrap());
    assert_eq!(kind(theirs.open_session("s")), Some(ErrorKind::NotFound));
}

#[test]
fn a_reader_in_another_process_sees_what_is_acknowledged_and_never_half_a_commit() {
    let fs = SimFs::new(9);
    let store = sim_options(fs.clone()).segment_size(16 << 10).truncate_after(8 << 10).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let other = sim_store(&fs.process_new());
    let reader = other.reader("s").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (done, written) = (stop.clone(), session.clone());
    let writer = std::thread::spawn(move || {
        let mut i = 1u64;
        while !done.load(Ordering::Relaxed) {
            let texts: Vec<String> = (i..i + 5).map(|i| format!("m{i}")).collect();
            written.append_batch(&texts.iter().collect()).unwrap();
            i += 5;
            if i % 50 == 1 {
                written.archive(Keep::Messages(10)).unwrap();
            }
        }
        i
    });
    let mut last = 0;
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let sure = session.info().unwrap().total_messages;
        let info = reader.info().unwrap();
        assert!(info.total_messages >= sure, "acknowledged and not seen");
        assert!(info.total_messages >= last, "went back");
        assert_eq!(info.total_messages % 5, 1, "half a commit");
        last = info.total_messages;
        let seen: Vec<_> = reader.load().unwrap().map(|m| m.unwrap()).collect();
        for m in &seen {
            assert_eq!(m.payload(), format!("m{}", m.seq()).as_bytes());
        }
        assert!(seen.windows(2).all(|w| w[1].seq() == w[0].seq() + 1));
        for a in reader.archives().unwrap().iter().rev().take(2) {
            let all = texts(reader.archived(a.number).unwrap());
            assert_eq!(all, numbered(a.seqs.clone()));
        }
        assert!(!reader.report().has_damage(), "{:?}", reader.report());
    }
    stop.store(true, Ordering::Relaxed);
    let total = writer.join().unwrap();
    assert_eq!(reader.info().unwrap().total_messages, total);
}

/// Where the locks of a store may lie.
const PLACES: [Option<&str>; 2] = [None, Some("/locks")];

fn with_locks(fs: &SimFs, place: Option<&str>) -> Store {
    let options = sim_options(fs.clone());
    place.into_iter().fold(options, Options::lock_dir).open(SIM).unwrap()
}

#[test]
fn half_made_sessions_are_cleared_away_wherever_the_locks_lie() {
    for place in PLACES {
        let fs = SimFs::new(10);
        let store = with_locks(&fs, place);
        let locks = place.map(|dir| Path::new(dir).join(store.id().to_string()));
        let left = |fs: &SimFs| {
            let mut names: Vec<String> = sim_files(fs).into_keys().collect();
            let locks = locks.iter().flat_map(|dir| fs.open_root(dir).unwrap().list().unwrap());
            names.extend(locks.map(|entry| entry.name));
            names.retain(|name| name.contains("new-"));
            names
        };
        fill(&store.session("other").unwrap(), 1);
        fs.record();
        fill(&store.session("s").unwrap(), 1);
        assert!(left(&fs).is_empty(), "{:?}", left(&fs));
        let mut killed = 0;
        for point in fs.recorded() {
            let fs = point.kill_all();
            if !left(&fs).iter().any(|name| name.ends_with(".log")) {
                continue;
            }
            let store = with_locks(&fs, place);
            fill(&store.session("other").unwrap(), 1);
            eventually(point.label(), || left(&fs).is_empty());
            killed += 1;
        }
        assert!(killed > 3, "{killed}");
    }
}

#[test]
fn sessions_made_while_other_processes_clear_up_are_never_taken_for_leftovers() {
    PLACES.into_iter().for_each(made_while_others_clear_up);
}

fn made_while_others_clear_up(place: Option<&str>) {
    let fs = SimFs::new(10);
    let _first = with_locks(&fs, place);
    std::thread::scope(|scope| {
        for t in 0..6 {
            let fs = &fs;
            scope.spawn(move || {
                for i in 0..25 {
                    let store = with_locks(&fs.process_new(), place);
                    let session = store.session(format!("{t}-{i}")).unwrap();
                    fill(&session, 1);
                    if i % 3 == 0 {
                        assert!(store.remove_session(format!("{t}-{i}")).unwrap());
                    }
                    drop(session);
                    store.close().unwrap();
                }
            });
        }
    });
    let listing = sim_store(&fs.process_new()).sessions().unwrap();
    assert!(listing.unreadable.is_empty());
    assert_eq!(listing.sessions.len(), 6 * 16);
    assert!(listing.sessions.iter().all(|s| s.message_count == 1));
}

#[test]
fn the_last_messages_are_found_while_another_process_takes_their_segments_away() {
    let place = Place::new();
    let options = || Options::new().create(true).segment_size(16 << 10).truncate_after(1 << 30);
    let spy = Spy::disk();
    let ours = options().fs(Arc::new(spy.clone())).open(place.path()).unwrap();
    let theirs = options().fs(Arc::new(Spy::disk().other_process())).open(place.path()).unwrap();
    let writer = theirs.session("s").unwrap();
    fill(&writer, 3);
    writer.close().unwrap();
    let handle = ours.session("s").unwrap();
    handle.clone().close().unwrap();
    let writer = theirs.session("s").unwrap();
    for i in 0..100 {
        writer.append(&format!("{i}:{}", "x".repeat(500))).unwrap();
    }
    // When the newest segment was opened, the one before it goes.
    let opened = AtomicUsize::new(0);
    spy.hook(move |c| {
        if c.is(Op::Open, ".log") && opened.fetch_add(1, Ordering::SeqCst) == 1 {
            let number = writer.archive(Keep::Messages(3)).unwrap().archive.unwrap();
            writer.truncate().unwrap();
            writer.remove_archive(number).unwrap();
        }
        Action::Go
    });
    assert_eq!(handle.tail_bytes(1 << 20).unwrap().count(), 3);
    spy.calm();
}

#[test]
fn a_session_that_another_process_removes_is_a_conflict_once_and_then_the_next_one() {
    let fs = SimFs::new(14);
    let (store, other) = (sim_store(&fs), sim_store(&fs.process_new()));
    let session = store.session("s").unwrap();
    fill(&session, 2);
    session.clone().close().unwrap();
    assert!(other.remove_session("s").unwrap());
    assert_eq!(kind(session.load()), Some(ErrorKind::NotFound));
    assert_eq!(kind(store.session("s")), Some(ErrorKind::Conflict), "it is gone");
    let next = store.session("s").unwrap();
    assert_eq!(next.load().unwrap().count(), 0);
    assert_eq!(next.append("next").unwrap().seq(), 0);
    next.close().unwrap();
    assert!(other.remove_session("s").unwrap());
    // Nothing is there, for whoever removes it as well.
    assert!(!store.remove_session("s").unwrap());
    assert_eq!(store.session("s").unwrap().load().unwrap().count(), 0);
}
