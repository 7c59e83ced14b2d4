//! The lost clear: messages were archived, the clear behind it never reached the disk, and at the next load
//! the archived messages are back as live context. Here the boundary is moved by one durable intent, and what
//! the live log still holds in front of it is left out by its range, never by counting.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::{
    Action, Op, Place, SIM, Spy, copy_tree, eventually, files, fill, live, numbered, sim_files, sim_options,
    sim_store, texts,
};
use sessionlog::fs::SimFs;
use sessionlog::{Durability, Keep, Options, Report, Session, Store};

/// Nothing is truncated in the background: the clear is always lost.
fn lazy(fs: &SimFs) -> Store {
    sim_options(fs.clone()).truncate_after(u64::MAX).open(SIM).unwrap()
}

fn reopened(fs: &SimFs) -> (Store, Session, Report) {
    let store = lazy(fs);
    let session = store.open_session("chat").unwrap();
    let report = session.report().unwrap();
    (store, session, report)
}

fn range(session: &Session) -> std::ops::Range<u64> {
    let info = session.info().unwrap();
    assert_eq!(info.message_count, info.live.end - info.live.start);
    assert_eq!(session.message_count().unwrap(), info.message_count);
    info.live
}

#[test]
fn everything_archived_and_the_clear_lost() {
    let fs = SimFs::new(1);
    let store = lazy(&fs);
    let session = store.session("chat").unwrap();
    fill(&session, 40);
    assert_eq!(session.archive(Keep::Nothing).unwrap().live, 40..40);

    // The power goes before the clear: the live log still holds all forty messages.
    let fs = fs.crash();
    let (store, session, report) = reopened(&fs);
    assert_eq!(report.stale_prefix(), Some(0..40), "{report:?}");
    assert!(!report.has_damage());
    assert_eq!(range(&session), 40..40);
    assert!(live(&session).is_empty());
    assert_eq!(texts(session.tail(10).unwrap()).len(), 0);
    assert!(session.get(39).unwrap().is_none());
    assert_eq!(texts(session.archived(1).unwrap()), numbered(0..40));

    fill(&session, 1);
    assert_eq!(range(&session), 40..41);
    store.close().unwrap();
    let (_store, session, report) = reopened(&fs);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(live(&session), ["m40"]);
    assert_eq!(texts(session.archived(1).unwrap()), numbered(0..40));
}

#[test]
fn a_retained_tail_and_the_clear_lost_and_the_heal_survives_the_next_reload() {
    for heal_by_write in [true, false] {
        let fs = SimFs::new(2);
        let store = lazy(&fs);
        let session = store.session("chat").unwrap();
        fill(&session, 100);
        session.archive(Keep::Messages(7)).unwrap();

        let fs = fs.crash();
        let (store, session, report) = reopened(&fs);
        assert_eq!(report.stale_prefix(), Some(0..93), "{report:?}");
        assert_eq!(range(&session), 93..100);
        assert_eq!(live(&session), numbered(93..100));

        if heal_by_write {
            session.patch_attributes(&serde_json::json!({"healed": true})).unwrap();
        } else {
            session.truncate().unwrap();
        }
        assert_eq!(live(&session), numbered(93..100));
        store.close().unwrap();
        for _ in 0..2 {
            let (store, session, report) = reopened(&fs);
            assert!(report.is_clean(), "by write {heal_by_write}: {report:?}");
            assert_eq!(range(&session), 93..100);
            assert_eq!(live(&session), numbered(93..100));
            assert_eq!(texts(session.archived(1).unwrap()), numbered(0..93));
            store.close().unwrap();
        }
    }
}

#[test]
fn the_heal_is_durable_before_the_next_power_cut() {
    // Healed in memory alone, the stale prefix would be back after the next crash.
    let fs = SimFs::new(3);
    let session = lazy(&fs).session("chat").unwrap();
    fill(&session, 30);
    session.archive(Keep::Messages(3)).unwrap();
    let fs = fs.crash();
    let (_store, session, _) = reopened(&fs);
    fill(&session, 1);
    let fs = fs.crash();
    let (_store, session, report) = reopened(&fs);
    assert_eq!(report.stale_prefix(), None, "{report:?}");
    assert_eq!(live(&session), numbered(27..31));
}

#[test]
fn a_lost_clear_that_nobody_writes_to_is_left_out_at_every_load() {
    let fs = SimFs::new(4);
    let session = lazy(&fs).session("chat").unwrap();
    fill(&session, 10);
    session.archive(Keep::Messages(2)).unwrap();
    let fs = fs.crash();
    let before = sim_files(&fs);
    for _ in 0..3 {
        let (store, session, report) = reopened(&fs);
        assert_eq!(report.stale_prefix(), Some(0..8));
        assert_eq!(live(&session), numbered(8..10));
        assert_eq!(store.sessions().unwrap().sessions[0].message_count, 2);
        store.close().unwrap();
    }
    // Reading heals the view; the disk is touched by the next write.
    let keep = |files: BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files.into_iter().filter(|(name, _)| !name.starts_with("/catalog/")).collect()
    };
    assert_eq!(keep(sim_files(&fs)), keep(before));
}

#[test]
fn at_every_moment_of_an_archive_and_its_truncation_a_crash_leaves_one_of_the_two_states() {
    let fs = SimFs::new(5);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).truncate_after(u64::MAX).open(SIM).unwrap();
    let session = store.session("chat").unwrap();
    fill(&session, 50);
    spy.quiet();
    let copies: Arc<Mutex<Vec<SimFs>>> = Arc::default();
    let (taken, disk) = (copies.clone(), fs.clone());
    spy.hook(move |call| {
        let changes = matches!(
            call.op,
            Op::Create | Op::Write | Op::Sync | Op::SyncDir | Op::Rename | Op::Remove | Op::SetLen
        );
        if changes {
            taken.lock().unwrap().push(disk.crash_copy());
        }
        Action::Go
    });
    session.archive(Keep::Messages(5)).unwrap();
    let acknowledged = copies.lock().unwrap().len();
    session.truncate().unwrap();
    fill(&session, 1);
    spy.calm();
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    assert!(acknowledged >= 2 && copies.len() > acknowledged + 4, "{acknowledged} of {}", copies.len());
    for (i, copy) in copies.iter().enumerate() {
        let (store, session, report) = reopened(copy);
        assert!(!report.has_damage(), "crash {i}: {report:?}");
        let found = range(&session);
        let may: &[std::ops::Range<u64>] = match i {
            i if i < acknowledged => &[0..50, 45..50],
            _ => &[45..50, 45..51],
        };
        assert!(may.contains(&found), "crash {i}: {found:?}");
        assert_eq!(live(&session), numbered(found.clone()), "crash {i}");
        let archives = session.archives().unwrap();
        assert_eq!(archives.len(), usize::from(found.start == 45), "crash {i}");
        if found.start == 45 {
            assert_eq!(texts(session.archived(1).unwrap()), numbered(0..45), "crash {i}");
        }
        // And it goes on from there, for good.
        let next = session.append("on").unwrap().seq();
        assert_eq!(next, found.end);
        store.close().unwrap();
        let (_store, session, report) = reopened(copy);
        assert!(report.is_clean(), "crash {i}: {report:?}");
        assert_eq!(range(&session), found.start..found.end + 1, "crash {i}");
    }
}

#[test]
fn a_truncation_that_fails_half_way_loses_nothing_and_is_done_again() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir] {
        let fs = SimFs::new(6);
        let spy = Spy::new(fs.clone());
        let store = sim_options(spy.clone()).truncate_after(u64::MAX).open(SIM).unwrap();
        let session = store.session("chat").unwrap();
        fill(&session, 20);
        session.archive(Keep::Messages(4)).unwrap();
        spy.once(0, Action::EIO, move |c| c.op == op && !c.path.to_string_lossy().contains("catalog"));
        let failed = session.truncate();
        // A segment that is synced already needs no sync; all else is met.
        assert_eq!(failed.is_err(), spy.hits() > 0, "{op:?}");
        spy.calm();
        assert_eq!(live(&session), numbered(16..20), "{op:?}");
        let fs = fs.crash();
        let (store, session, report) = reopened(&fs);
        assert!(!report.has_damage(), "{op:?}: {report:?}");
        assert_eq!(live(&session), numbered(16..20), "{op:?}");
        session.append("m20").unwrap();
        session.truncate().unwrap();
        store.close().unwrap();
        let (_store, session, report) = reopened(&fs);
        assert!(report.is_clean(), "{op:?}: {report:?}");
        assert_eq!(live(&session), numbered(16..21), "{op:?}");
        assert_eq!(texts(session.archived(1).unwrap()), numbered(0..16), "{op:?}");
    }
}

#[test]
fn a_consistent_session_is_untouched() {
    // Opening, reading, listing and closing may not change one byte of any file.
    let place = Place::new();
    let options = || Options::new().create(true).truncate_after(1 << 30);
    let store = options().open(place.path()).unwrap();
    for (id, keep) in [("archived", Some(3)), ("plain", None), ("empty", Some(0))] {
        let session = store.session(id).unwrap();
        fill(&session, 30);
        if let Some(keep) = keep {
            session.archive(Keep::Messages(keep)).unwrap();
        }
        session.patch_attributes(&serde_json::json!({"title": id})).unwrap();
    }
    store.close().unwrap();
    let before = files(&place.path());
    assert!(before.len() > 8);
    for _ in 0..2 {
        let store = options().open(place.path()).unwrap();
        for (id, count) in [("archived", 3), ("plain", 30), ("empty", 0)] {
            let session = store.open_session(id).unwrap();
            assert!(session.report().unwrap().is_clean(), "{id}: {:?}", session.report());
            assert_eq!(live(&session).len(), count, "{id}");
            for a in session.archives().unwrap() {
                assert_eq!(session.archived(a.number).unwrap().count(), 30 - count);
            }
            session.truncate().unwrap();
            session.sync().unwrap();
        }
        assert_eq!(store.sessions().unwrap().sessions.len(), 3);
        store.stats().unwrap();
        // Time for everything that the background might want to do.
        std::thread::sleep(std::time::Duration::from_millis(300));
        store.close().unwrap();
        let after = files(&place.path());
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "files came or went");
        for (name, bytes) in &before {
            assert!(after[name] == *bytes, "{} was changed", name.display());
        }
    }
}

#[test]
fn nothing_known_to_compare_with_nothing_dropped() {
    // No catalog, no clean end, never an archive: there is no record of a boundary, so every message is live.
    let place = Place::new();
    let store = place.open();
    let session = store.session("chat").unwrap();
    fill(&session, 25);
    let copy = place.beside("copy");
    copy_tree(&place.path(), &copy);
    std::fs::remove_dir_all(copy.join("catalog")).unwrap();
    let store = Store::open(&copy).unwrap();
    let session = store.open_session("chat").unwrap();
    assert_eq!(session.report().unwrap().stale_prefix(), None);
    assert_eq!(live(&session), numbered(0..25));
    fill(&session, 1);
    drop(session);
    store.close().unwrap();
    let store = Store::open(&copy).unwrap();
    let session = store.open_session("chat").unwrap();
    assert!(session.report().unwrap().is_clean());
    assert_eq!(live(&session), numbered(0..26));
}

#[test]
fn a_crash_between_a_message_and_its_count() {
    // The case that counting gets wrong: the message is durable, a count elsewhere is not, and a repair that
    // believes the count drops the oldest live message. Here every crash around an append keeps the front.
    let fs = SimFs::new(7);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("chat").unwrap();
    fill(&session, 6);
    session.archive(Keep::Messages(4)).unwrap();
    let copies: Arc<Mutex<Vec<SimFs>>> = Arc::default();
    let (taken, disk) = (copies.clone(), fs.clone());
    spy.hook(move |_| {
        taken.lock().unwrap().push(disk.crash_copy());
        Action::Go
    });
    fill(&session, 3);
    spy.calm();
    let mut copies = std::mem::take(&mut *copies.lock().unwrap());
    copies.push(fs.crash_copy());
    assert!(copies.len() > 6);
    let mut seen = Vec::new();
    for copy in &copies {
        let (_store, session, _) = reopened(copy);
        let found = range(&session);
        assert_eq!(found.start, 2, "the front was dropped");
        assert!((6..=9).contains(&found.end));
        assert_eq!(live(&session), numbered(2..found.end));
        seen.push(found.end);
    }
    assert!(seen.is_sorted() && seen.contains(&6) && seen.contains(&9), "{seen:?}");
}

#[test]
fn a_count_in_an_older_catalog_drops_nothing() {
    // The same failure from the other side: the summary of an earlier close says 5, the log holds 8.
    let place = Place::new();
    let store = place.open();
    let session = store.session("chat").unwrap();
    fill(&session, 5);
    drop(session);
    store.close().unwrap();
    let old = place.beside("catalog");
    copy_tree(&place.path().join("catalog"), &old);
    let store = place.open();
    let session = store.session("chat").unwrap();
    fill(&session, 3);
    drop(session);
    store.close().unwrap();
    std::fs::remove_dir_all(place.path().join("catalog")).unwrap();
    copy_tree(&old, &place.path().join("catalog"));
    let store = place.open();
    let session = store.open_session("chat").unwrap();
    assert_eq!(live(&session), numbered(0..8));
    assert_eq!(session.message_count().unwrap(), 8);
    fill(&session, 1);
    assert_eq!(live(&session), numbered(0..9));
}

#[test]
fn a_background_truncation_ends_in_the_same_state_as_none() {
    let fs = SimFs::new(8);
    let store = sim_options(fs.clone()).truncate_after(1).open(SIM).unwrap();
    let session = store.session("chat").unwrap();
    fill(&session, 20);
    session.archive(Keep::Messages(5)).unwrap();
    eventually("the background truncation", || {
        sim_files(&fs).keys().any(|name| name.ends_with("00000002.log"))
    });
    assert_eq!(live(&session), numbered(15..20));
    let fs = fs.crash();
    let store = sim_store(&fs);
    let session = store.open_session("chat").unwrap();
    assert_eq!(session.report().unwrap().stale_prefix(), None);
    assert_eq!(live(&session), numbered(15..20));
    assert_eq!(texts(session.archived(1).unwrap()), numbered(0..15));
}

#[test]
fn buffered_messages_that_a_crash_took_are_no_lost_clear() {
    let fs = SimFs::new(9);
    let store = sim_options(fs.clone())
        .truncate_after(u64::MAX)
        .sync_interval(std::time::Duration::from_secs(3600))
        .durability(Durability::Buffered)
        .open(SIM)
        .unwrap();
    let session = store.session("chat").unwrap();
    fill(&session, 10);
    // The intent is durable whatever the default: it covers the messages in front of it.
    session.archive(Keep::Messages(4)).unwrap();
    fill(&session, 5);
    let fs = fs.crash();
    let (_store, session, report) = reopened(&fs);
    assert_eq!(report.stale_prefix(), Some(0..6));
    assert_eq!(live(&session), numbered(6..10));
}
