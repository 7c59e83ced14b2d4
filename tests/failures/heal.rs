//! Rows 1 to 8: states that came back, went, or were believed although they were empty.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use serde_json::json;
use sessionlog::fs::{Access, SimFs};
use sessionlog::{ErrorKind, Keep, Options, Store};

use crate::common::{
    Place, SIM, copy_tree, fill, kind, live, numbered, segments, session_dirs, sim_options, sim_session,
    sim_store, texts,
};

#[test]
fn f01_lost_clear_leaves_archived_messages_out_and_the_heal_survives() {
    // OpenViking #1487: the archive was written, the clear of the live file was not, and old messages were live
    // again after the restart.
    let fs = SimFs::new(1);
    let session = sim_store(&fs).session("s").unwrap();
    fill(&session, 12);
    session.archive(Keep::Messages(2)).unwrap();
    let fs = fs.crash();
    let store = sim_store(&fs);
    let session = store.open_session("s").unwrap();
    assert_eq!(session.report().unwrap().stale_prefix(), Some(0..10));
    assert_eq!(live(&session), numbered(10..12));
    fill(&session, 1);
    let fs = fs.crash();
    let session = sim_store(&fs).open_session("s").unwrap();
    assert_eq!(session.report().unwrap().stale_prefix(), None);
    assert_eq!(live(&session), numbered(10..13));
}

#[test]
fn f02_wrong_heal_never_drops_a_message_because_a_count_is_behind() {
    // OpenViking #2604 as proposed: "more messages than the count says" was healed by dropping the oldest, which
    // is wrong when the crash came between a message and its count. Here any number of messages behind the last
    // snapshot, mark or summary are simply there.
    let fs = SimFs::new(2);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 3);
    store.close().unwrap();
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    for i in 3..40 {
        fill(&session, 1);
        let store = sim_store(&fs.crash_copy());
        let session = store.open_session("s").unwrap();
        assert_eq!(live(&session), numbered(0..i + 1));
        assert_eq!(session.info().unwrap().live, 0..i + 1);
        assert_eq!(store.sessions().unwrap().sessions[0].message_count, i + 1);
    }
}

#[test]
fn f03_two_commits_never_archive_the_same_message() {
    // OpenViking #580, #783: two commits at the same time both archived the same messages.
    let place = Place::new();
    let store = Options::new().create(true).truncate_after(1 << 10).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|t| {
            let (session, start) = (session.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                let mut made = Vec::new();
                for i in 0..20 {
                    session.append(&format!("{t}:{i}")).unwrap();
                    let done = session.archive(Keep::Messages(i % 3)).unwrap();
                    // At once again: there may be nothing left, and that is no error.
                    let again = session.commit(Keep::Messages(100)).unwrap();
                    assert_eq!(again.archive, None);
                    if let Some(number) = done.archive {
                        made.push((number, done.archived));
                    }
                }
                made
            })
        })
        .collect();
    let mut made: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    made.sort_by_key(|m| m.0);
    let check = |session: &sessionlog::Session| {
        let listed: Vec<_> = session.archives().unwrap().into_iter().map(|a| (a.number, a.seqs)).collect();
        assert_eq!(listed, made);
        let mut next = 0;
        for (_, seqs) in &made {
            assert_eq!(seqs.start, next, "the archives are disjoint and leave nothing out");
            assert!(seqs.end > seqs.start);
            next = seqs.end;
        }
        assert_eq!(session.info().unwrap().live, next..160);
        let mut all: Vec<String> = made.iter().flat_map(|m| texts(session.archived(m.0).unwrap())).collect();
        all.extend(live(session));
        assert_eq!(all.len(), 160);
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 160, "a message is there twice");
    };
    check(&session);
    drop(session);
    store.close().unwrap();
    check(&place.open().open_session("s").unwrap());
}

#[test]
fn f04_an_empty_segment_under_a_final_name_is_damage_and_not_an_empty_session() {
    // openclaw #68229: rotation renamed the live file away, crashed, and an empty placeholder was believed.
    for bytes in [vec![], vec![0; 100], vec![0; 8192]] {
        let place = Place::new();
        let store = place.open();
        fill(&store.session("s").unwrap(), 9);
        store.close().unwrap();
        let dir = &session_dirs(&place.path())[0];
        std::fs::write(&segments(dir)[0], &bytes).unwrap();
        let store = place.open();
        let opened = store.session("s");
        let error = opened.and_then(|s| s.append("x").map(drop)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.file().is_some(), "{error:?}");
        assert_eq!(std::fs::read(&segments(dir)[0]).unwrap(), bytes);
    }
}

#[test]
fn f04_an_empty_successor_under_a_final_name_does_not_hide_the_segment_before_it() {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 9);
    store.close().unwrap();
    let dir = session_dirs(&place.path()).remove(0);
    let placeholder = dir.join("00000002.log");
    std::fs::write(&placeholder, b"").unwrap();
    let store = place.open();
    // What is readable is read, and said to be perhaps not all; what is uncertain is not written over.
    let reader = store.reader("s").unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = reader.load().unwrap().partition(|m| m.is_ok());
    assert_eq!(good.len(), 9);
    assert_eq!(bad[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(reader.report().has_damage());
    let session = store.open_session("s").unwrap();
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Corrupt));
    assert_eq!(std::fs::read(&placeholder).unwrap(), b"");
}

#[test]
fn f04_an_empty_or_zeroed_store_file_does_not_block_the_store() {
    // A power cut left the store's own file without its content.
    for bytes in [vec![], vec![0; 7], vec![0; 128]] {
        let place = Place::new();
        let store = place.open();
        let id = store.id();
        fill(&store.session("s").unwrap(), 5);
        store.close().unwrap();
        drop(store);
        std::fs::write(place.path().join("STORE"), &bytes).unwrap();
        assert_eq!(
            kind(Options::new().create_new(true).open(place.path())),
            Some(ErrorKind::AlreadyExists),
            "a store is here, whatever became of that file"
        );
        let store = place.open();
        assert_eq!(store.id(), id);
        assert_eq!(live(&store.open_session("s").unwrap()), numbered(0..5));
        drop(store);
        assert_eq!(place.open().id(), id);
    }
}

#[test]
fn f05_an_older_state_never_comes_back_over_a_newer_one() {
    // openclaw #71359: an old backup was restored over a state that was valid and empty. Nothing here is restored
    // by guess: an older segment under the session's name is told from the newest one.
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    fill(&session, 20);
    drop(session);
    store.close().unwrap();
    let old = place.beside("old");
    copy_tree(&place.path(), &old);
    let store = place.open();
    let session = store.open_session("s").unwrap();
    session.archive(Keep::Nothing).unwrap();
    session.truncate().unwrap();
    drop(session);
    store.close().unwrap();
    let dir = session_dirs(&place.path()).remove(0);
    let newest = segments(&dir).pop().unwrap();
    assert!(newest.ends_with("00000002.log"));

    // The valid empty state stays: reopened any number of times, nothing of the archive is live.
    for _ in 0..3 {
        let store = place.open();
        let session = store.open_session("s").unwrap();
        assert!(session.report().unwrap().is_clean());
        assert!(live(&session).is_empty());
        store.close().unwrap();
    }

    // The older copy of the first segment knows nothing of the archive. The second one decides all the same.
    let first = dir.join("00000001.log");
    std::fs::copy(&segments(&session_dirs(&old)[0])[0], &first).unwrap();
    let store = place.open();
    assert!(live(&store.open_session("s").unwrap()).is_empty());
    store.close().unwrap();

    // And without the newest segment the older one is not taken for the whole truth.
    std::fs::remove_file(&newest).unwrap();
    let store = place.open();
    let session = store.open_session("s").unwrap();
    assert!(session.report().unwrap().has_damage(), "{:?}", session.report());
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Corrupt));
}

#[test]
fn f06_a_summary_is_a_plain_value_that_cannot_be_saved() {
    // hermes #1558: a view with the metadata alone was saved as the whole session, and 1000 messages were gone.
    // Here a listing gives plain values: they can be changed, cloned and thrown away, and there is no function in
    // the whole interface that takes one. (`Session` has append, named ops and merge patches, and nothing else.)
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 50);
    let mut info = Arc::unwrap_or_clone(store.sessions().unwrap().sessions.remove(0));
    info.message_count = 0;
    info.live = 0..0;
    let mut attributes = info.attributes.into_map();
    attributes.insert("wiped".into(), json!(true));
    drop(attributes);
    store.close().unwrap();
    let store = place.open();
    let again = store.sessions().unwrap().sessions.remove(0);
    assert_eq!((again.message_count, again.live.clone()), (50, 0..50));
    assert!(again.attributes.is_empty());
    assert_eq!(live(&store.open_session("s").unwrap()), numbered(0..50));
}

#[test]
fn f07_what_others_have_half_made_under_temporary_names_is_never_shared() {
    // hermes #2041: two repairs used the same temporary name and interleaved into one file. Here every temporary
    // name is new, and a leftover of somebody else is neither used nor written to.
    let fs = SimFs::new(7);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 4);
    store.close().unwrap();
    let dir = sim_session(&fs);
    for name in ["00000002.log-.tmp", "00000002.log-0000000000000000.tmp", "00000002.log.tmp"] {
        let file = dir.create(name).unwrap();
        file.write_at(b"half of another repair", 0).unwrap();
    }
    let store = sim_store(&fs);
    let session = store.open_session("s").unwrap();
    session.archive(Keep::Messages(1)).unwrap();
    session.truncate().unwrap();
    assert_eq!(live(&session), ["m3"]);
    let found = dir.open("00000002.log", Access::Read).unwrap();
    let mut start = [0; 7];
    found.read_at(&mut start, 0).unwrap();
    assert_eq!(&start, b"SLOGSEG");
}

#[test]
fn f07_stores_and_sessions_made_at_the_same_time_are_one() {
    let fs = SimFs::new(70);
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|t| {
            // Each thread is a process of its own.
            let (fs, start) = (fs.process_new(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                let store = sim_options(fs).open(SIM).unwrap();
                let made = store.create_session("shared").map(|s| s.append(&format!("by {t}")).unwrap());
                store.close().unwrap();
                (store.id(), made.map_err(|e| e.kind()))
            })
        })
        .collect();
    let all: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(all.iter().all(|(id, _)| *id == all[0].0));
    assert_eq!(all.iter().filter(|(_, made)| made.is_ok()).count(), 1);
    for (_, made) in all {
        assert!(matches!(made, Ok(_) | Err(ErrorKind::AlreadyExists | ErrorKind::Locked)), "{made:?}");
    }
    let store = sim_store(&fs.process_new());
    assert_eq!(live(&store.open_session("shared").unwrap()).len(), 1);
    assert_eq!(store.sessions().unwrap().sessions.len(), 1);
}

#[test]
fn f08_a_file_that_appeared_meanwhile_is_never_renamed_over() {
    // hermes #2041: the repair checked that the target was absent, and then renamed over a file that had appeared.
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    fill(&session, 6);
    session.archive(Keep::Messages(2)).unwrap();
    let appeared = session_dirs(&place.path())[0].join("00000002.log");
    std::fs::write(&appeared, b"somebody else's").unwrap();
    assert!(session.truncate().is_err());
    assert_eq!(std::fs::read(&appeared).unwrap(), b"somebody else's");
    // The acknowledged state is still all there once the stranger is gone.
    std::fs::remove_file(&appeared).unwrap();
    drop(session);
    drop(store);
    let store = Store::open(place.path()).unwrap();
    let session = store.open_session("s").unwrap();
    assert_eq!(live(&session), numbered(4..6));
    assert_eq!(texts(session.archived(1).unwrap()), numbered(0..4));
    fill(&session, 1);
}

#[test]
fn f08_a_session_that_appeared_meanwhile_is_kept() {
    // Two processes make the same session: the second finds the first one's, and its own half goes.
    let fs = SimFs::new(8);
    let (a, b) = (sim_store(&fs), sim_store(&fs.process_new()));
    let ours = a.session("s").unwrap();
    let theirs = b.session("s").unwrap();
    assert_eq!(theirs.append("theirs").unwrap().seq(), 0);
    assert_eq!(kind(ours.append("ours")), Some(ErrorKind::Locked));
    b.close().unwrap();
    assert_eq!(ours.append("ours").unwrap().seq(), 1);
    assert_eq!(live(&ours), ["theirs", "ours"]);
}
