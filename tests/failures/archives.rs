//! Rows 23, 24, 28 to 30 and 35: what piles up, what waits for what, and what is done twice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, ErrorKind, Keep, Session, Store};

use crate::common::{
    Place, SIM, copy_tree, eventually, files, fill, kind, live, numbered, session_dirs, sim_options,
    sim_segments, sim_session, sim_store, texts,
};

#[test]
fn f23_a_summary_that_failed_blocks_neither_archives_nor_appends() {
    // OpenViking #1694, #2475: one archive whose summary could not be made stopped every later commit.
    let fs = SimFs::new(23);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 10);
    let first = session.archive_with(Keep::Messages(2), &json!({"summary": "pending"})).unwrap();
    session
        .patch_archive(first.archive.unwrap(), &json!({"summary": "failed", "error": "no model"}))
        .unwrap();
    // A change of it that cannot be made is an error of that call alone.
    assert_eq!(kind(session.patch_archive(1, &json!("no object"))), Some(ErrorKind::InvalidInput));
    assert_eq!(kind(session.patch_archive(9, &json!({"a": 1}))), Some(ErrorKind::NotFound));
    for round in 2..6 {
        fill(&session, 3);
        let done = session.archive_with(Keep::Messages(1), &json!({"summary": "pending"})).unwrap();
        assert_eq!(done.archive, Some(round));
    }
    // And so it is after a crash, for whoever retries it.
    let session = sim_store(&fs.crash()).open_session("s").unwrap();
    let states: Vec<Value> =
        session.archives().unwrap().iter().map(|a| a.attributes["summary"].clone()).collect();
    assert_eq!(states, ["failed", "pending", "pending", "pending", "pending"]);
    session.patch_archive(1, &json!({"summary": "ready", "error": null})).unwrap();
    assert_eq!(session.archives().unwrap()[0].attributes, *json!({"summary": "ready"}).as_object().unwrap());
    assert_eq!(live(&session), numbered(21..22));
}

/// What a runtime gives its model: the newest summary that is ready, and every message behind it.
fn context(session: &Session) -> (Option<u64>, Vec<String>) {
    let archives = session.archives().unwrap();
    let ready = archives.iter().rev().find(|a| a.attributes.get("summary") == Some(&json!("ready")));
    let behind = ready.map_or(0, |a| a.number);
    let raw = archives.iter().filter(|a| a.number > behind);
    let mut out: Vec<String> = raw.flat_map(|a| texts(session.archived(a.number).unwrap())).collect();
    out.extend(live(session));
    (ready.map(|a| a.number), out)
}

#[test]
fn f24_an_archive_whose_summary_is_on_its_way_is_in_the_context() {
    // OpenViking #3129: between the commit and its summary the archived messages were nowhere.
    let fs = SimFs::new(24);
    let mut store = sim_options(fs.clone()).truncate_after(0).open(SIM).unwrap();
    let mut session = store.session("s").unwrap();
    fill(&session, 10);
    session.archive_with(Keep::Messages(4), &json!({"summary": "pending"})).unwrap();
    assert_eq!(context(&session), (None, numbered(0..10)));
    session.patch_archive(1, &json!({"summary": "ready"})).unwrap();
    assert_eq!(context(&session), (Some(1), numbered(6..10)));
    fill(&session, 5);
    session.archive_with(Keep::Nothing, &json!({"summary": "pending"})).unwrap();
    session.archive_with(Keep::Nothing, &json!({"summary": "pending"})).unwrap();
    assert_eq!(context(&session), (Some(1), numbered(6..15)));
    // At any time: after the file work, after a crash, after a close.
    session.truncate().unwrap();
    assert_eq!(context(&session), (Some(1), numbered(6..15)));
    for close in [false, true] {
        if close {
            store.close().unwrap();
        }
        store = sim_store(&fs.crash_copy());
        session = store.open_session("s").unwrap();
        assert_eq!(context(&session), (Some(1), numbered(6..15)));
    }
}

#[test]
fn f24_whoever_looks_while_it_is_archived_sees_every_message_once() {
    let place = Place::new();
    let store = Store::options().create(true).truncate_after(0).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks < 20 {
                // Each call looks at the session anew. What is live first, then the archives in front of it: so
                // nothing is missed, and what was archived in between is seen once.
                let reader = store.reader("s").unwrap();
                let live: Vec<_> = reader.load().unwrap().map(Result::unwrap).collect();
                let base = live.first().map_or(u64::MAX, |m| m.seq());
                let mut seen = Vec::new();
                for archive in reader.archives().unwrap() {
                    let archived = reader.archived(archive.number).unwrap().map(Result::unwrap);
                    seen.extend(archived.filter(|m| m.seq() < base));
                }
                seen.extend(live);
                let seen: Vec<_> =
                    seen.iter().map(|m| String::from_utf8_lossy(m.payload()).into_owned()).collect();
                assert_eq!(seen, numbered(0..seen.len() as u64));
                looks += 1;
            }
        });
        for i in 0..60 {
            fill(&session, 5);
            session.archive(Keep::Messages(i % 7)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        looking.join().unwrap();
    });
}

#[test]
fn f28_saving_everything_again_adds_nothing() {
    // codex #29531 wrote 398.8 GB: every save and every fork copied the whole session.
    let place = Place::new();
    let save = |session: &Session| {
        let one = |i| {
            let key = format!("message {i}");
            session.append_with(&format!("m{i}"), &AppendOptions::new().key(&key)).unwrap()
        };
        (0..100).filter(|i| one(*i).repeated).count()
    };
    let store = place.open();
    assert_eq!(save(&store.session("s").unwrap()), 0);
    store.close().unwrap();
    let store = place.open();
    let session = store.session("s").unwrap();
    let before = files(&session_dirs(&place.path())[0]);
    for _ in 0..5 {
        assert_eq!(save(&session), 100);
    }
    assert_eq!(files(&session_dirs(&place.path())[0]), before);
    assert_eq!(live(&session), numbered(0..100));
}

#[test]
fn f29_nothing_is_deleted_that_nobody_named() {
    // claude-code #76173: conversations went after thirty days, without a word. Here no age and no count removes
    // anything: archives, closes, lingering sessions, sweeps and catalogs keep every message.
    let place = Place::new();
    let open = || {
        Store::options()
            .create(true)
            .segment_size(16 << 10)
            .truncate_after(0)
            .max_open_sessions(2)
            .open(place.path())
            .unwrap()
    };
    for life in 0..3u64 {
        let store = open();
        for id in ["a", "b", "c", "d"] {
            let session = store.session(id).unwrap();
            for _ in 0..4 {
                fill(&session, 30);
                session.archive(Keep::Messages(3)).unwrap();
            }
            session.truncate().unwrap();
            let mut all = Vec::new();
            for archive in session.archives().unwrap() {
                all.extend(texts(session.archived(archive.number).unwrap()));
            }
            all.extend(live(&session));
            assert_eq!(all, numbered(0..(life + 1) * 120), "{id}");
        }
        store.close().unwrap();
    }
    // What is named goes, and nothing beside it.
    let store = open();
    assert!(store.remove_session("b").unwrap());
    let left: BTreeSet<String> =
        store.sessions().unwrap().sessions.iter().map(|s| s.id.as_str().to_owned()).collect();
    assert_eq!(left, ["a", "c", "d"].map(str::to_owned).into());
    store.open_session("a").unwrap().remove_archive(2).unwrap();
    let numbers = |id| {
        let archives = store.open_session(id).unwrap().archives().unwrap();
        archives.iter().map(|a| a.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers("a"), [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(numbers("c").len(), 12);
}

#[test]
fn f30_a_journal_of_changes_does_not_grow_without_end() {
    // opencode #37495: the write-ahead log grew to gigabytes, because a reader held back the checkpoint. Here a
    // segment of records that a later snapshot has is removed, whoever reads meanwhile.
    let fs = SimFs::new(30);
    let store = sim_options(fs.clone()).segment_size(16 << 10).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 10);
    let early = store.reader("s").unwrap();
    let mut half = session.load().unwrap();
    assert_eq!(half.next().unwrap().unwrap().payload(), b"m0");
    for i in 0..1500 {
        session.patch_attributes(&json!({"turn": i, "note": "x".repeat(200)})).unwrap();
    }
    let dir = sim_session(&fs);
    // The one with the messages, the one at work, and what the background has not come to yet.
    eventually("the old segments go", || sim_segments(&*dir).len() <= 4);
    assert_eq!(texts(half), numbered(1..10));
    assert_eq!(texts(early.load().unwrap()), numbered(0..10));
    assert_eq!(session.attributes().unwrap()["turn"], 1499);
    let session = sim_store(&fs.crash()).open_session("s").unwrap();
    assert_eq!(live(&session), numbered(0..10));
    assert_eq!(session.attributes().unwrap()["turn"], 1499);
    assert!(!session.report().unwrap().has_damage());
}

#[test]
fn f35_an_import_that_runs_twice_or_half_is_the_same_import() {
    // opencode #13654: the import of the old format ran again after an abort and doubled every message. Here each
    // batch carries a key of its source and digest, and so does the receipt at the end.
    let place = Place::new();
    let lines = numbered(0..500);
    let receipt = json!({"imported": {"source": "old.jsonl", "digest": 77}});
    // How many batches were new; `None` if the receipt says that there is nothing to do.
    let import = |store: &Store, batches: usize| {
        let session = store.session("s").unwrap();
        if session.attributes().is_ok_and(|a| a.get("imported") == Some(&receipt["imported"])) {
            return None;
        }
        let mut fresh = 0;
        for (number, chunk) in lines.chunks(32).enumerate().take(batches) {
            let key = format!("old.jsonl:77:{number}");
            let batch = chunk.iter().collect();
            let done = session.append_batch_with(&batch, &AppendOptions::new().key(&key)).unwrap();
            fresh += usize::from(!done.repeated);
        }
        if batches > lines.len() / 32 {
            session.patch_attributes(&receipt).unwrap();
        }
        Some(fresh)
    };
    let dying = place.open();
    assert_eq!(import(&dying, 5), Some(5));
    // What a process that dies here leaves behind.
    let next = place.beside("next");
    copy_tree(&place.path(), &next);
    for expected in [Some(11), None, None] {
        let store = Store::open(&next).unwrap();
        assert_eq!(import(&store, usize::MAX), expected);
        assert_eq!(live(&store.open_session("s").unwrap()), lines);
        store.close().unwrap();
    }
}
