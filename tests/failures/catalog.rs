//! Rows 10 and 26: what a rebuild loses, and an index that disagrees with the content.

use std::fs;
use std::path::Path;

use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{Keep, ListOptions, Options, SortBy, Store};

use crate::common::{Place, Spy, copy_tree, fill, live, numbered, sim_files, sim_store};

#[test]
fn f10_attributes_survive_segments_archives_the_loss_of_the_catalog_and_patches_of_others() {
    // hermes #2053: the index was rebuilt from the logs, lost workspace and worktree, and the session was gone from
    // the filtered list.
    let place = Place::new();
    let open = || Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let store = open();
    let session = store.session("s").unwrap();
    let first =
        json!({"workspace": "/w", "worktree": {"path": "/w/t", "branch": "b"}, "unknown": [1, {"x": null}]});
    session.patch_attributes(&first).unwrap();
    for i in 0..200 {
        session.append(&format!("{i}{}", "x".repeat(300))).unwrap();
    }
    session.archive(Keep::Messages(10)).unwrap();
    session.truncate().unwrap();
    session.patch_attributes(&json!({"title": "t", "worktree": {"branch": "c"}})).unwrap();
    let want = json!({
        "workspace": "/w", "worktree": {"path": "/w/t", "branch": "c"}, "unknown": [1, {"x": null}], "title": "t"
    });
    assert_eq!(serde_json::Value::from(session.attributes().unwrap()), want);
    drop(session);
    store.close().unwrap();
    drop(store);
    for damage in [true, false] {
        for entry in fs::read_dir(place.path().join("catalog")).unwrap() {
            let path = entry.unwrap().path();
            if damage { fs::write(&path, b"garbage").unwrap() } else { fs::remove_file(&path).unwrap() }
        }
        let store = open();
        let mine = store.sessions_with(&ListOptions::new().attribute("workspace", "/w")).unwrap();
        assert_eq!(mine.sessions.len(), 1);
        assert_eq!(json!(mine.sessions[0].attributes), want);
        let session = store.open_session("s").unwrap();
        session.patch_attributes(&json!({"title": "t"})).unwrap();
        assert_eq!(serde_json::Value::from(session.attributes().unwrap()), want);
        drop(session);
        store.close().unwrap();
    }
}

#[test]
fn f10_large_attributes_are_in_the_listing_too() {
    // What is too long for a summary in the catalog must not look like no attributes.
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let large = "x".repeat(200 << 10);
    session.patch_attributes(&json!({"workspace": "/w", "large": large})).unwrap();
    drop(session);
    store.close().unwrap();
    drop(store);
    let store = place.open();
    let all = store.sessions().unwrap();
    assert_eq!(all.sessions[0].attributes["workspace"], "/w");
    assert_eq!(all.sessions[0].attributes["large"], large);
    assert_eq!(store.sessions_with(&ListOptions::new().attribute("workspace", "/w")).unwrap().total, 1);
}

/// Three sessions, closed in good order, with 3, 4 and 5 messages.
fn three(place: &Place) -> Store {
    let store = place.open();
    for i in 0..3 {
        fill(&store.session(format!("s{i}")).unwrap(), 3 + i);
    }
    store.close().unwrap();
    place.open()
}

fn counts(store: &Store) -> Vec<u64> {
    let listing = store.sessions().unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
    listing.sessions.iter().map(|s| s.message_count).collect()
}

fn each_catalog_file(root: &Path, mut work: impl FnMut(&Path)) {
    let mut files = 0;
    for entry in fs::read_dir(root.join("catalog")).unwrap() {
        work(&entry.unwrap().path());
        files += 1;
    }
    assert!(files > 0);
}

#[test]
fn f26_a_deleted_catalog_is_rebuilt_and_misses_nothing() {
    // codex #11634: index and content disagreed, and the index was believed.
    let place = Place::new();
    let store = three(&place);
    store.close().unwrap();
    drop(store);
    each_catalog_file(&place.path(), |f| fs::remove_file(f).unwrap());
    let store = place.open();
    assert_eq!(counts(&store), [3, 4, 5]);
    fill(&store.open_session("s1").unwrap(), 1);
    assert_eq!(counts(&store), [3, 5, 5]);
    store.close().unwrap();
    fs::remove_dir_all(place.path().join("catalog")).unwrap();
    assert_eq!(counts(&place.open()), [3, 5, 5]);
}

#[test]
fn f26_a_catalog_damaged_at_any_byte_shows_no_wrong_count() {
    let place = Place::new();
    let store = three(&place);
    store.close().unwrap();
    drop(store);
    let mut len = 0;
    each_catalog_file(&place.path(), |f| len = fs::read(f).unwrap().len());
    for at in (0..len).step_by(7).chain(len.saturating_sub(3)..len) {
        let copy = place.beside(&format!("copy-{at}"));
        copy_tree(&place.path(), &copy);
        each_catalog_file(&copy, |f| {
            let mut bytes = fs::read(f).unwrap();
            bytes[at] ^= 0x41;
            fs::write(f, bytes).unwrap();
        });
        let store = Options::new().read_only(true).open(&copy).unwrap();
        assert_eq!(counts(&store), [3, 4, 5], "a flipped byte at {at}");
        drop(store);
        fs::remove_dir_all(copy).unwrap();
    }
}

#[test]
fn f26_a_catalog_cut_anywhere_shows_no_wrong_count() {
    let place = Place::new();
    let store = three(&place);
    fill(&store.open_session("s0").unwrap(), 4);
    store.close().unwrap();
    drop(store);
    let mut len = 0;
    each_catalog_file(&place.path(), |f| len = len.max(fs::read(f).unwrap().len()));
    for at in (0..len).step_by(31) {
        let copy = place.beside(&format!("copy-{at}"));
        copy_tree(&place.path(), &copy);
        each_catalog_file(&copy, |f| {
            let bytes = fs::read(f).unwrap();
            fs::write(f, &bytes[..at.min(bytes.len())]).unwrap();
        });
        let store = Options::new().read_only(true).open(&copy).unwrap();
        assert_eq!(counts(&store), [7, 4, 5], "cut at {at}");
        drop(store);
        fs::remove_dir_all(copy).unwrap();
    }
}

#[test]
fn f26_sessions_of_a_killed_process_are_listed_with_what_they_hold() {
    let fs = SimFs::new(26);
    let store = sim_store(&fs);
    for i in 0..3 {
        fill(&store.session(format!("s{i}")).unwrap(), 3 + i);
    }
    store.close().unwrap();
    let other = sim_store(&fs.process_new());
    fill(&other.session("s1").unwrap(), 6);
    fill(&other.session("new").unwrap(), 2);
    other.remove_session("s0").unwrap();
    for fs in [fs.crash_copy(), fs.process_new()] {
        // A power cut for one, for the other the writer is still at work.
        let store = sim_store(&fs);
        let listing = store.sessions().unwrap();
        let got: Vec<_> = listing.sessions.iter().map(|s| (s.id.as_str(), s.message_count)).collect();
        assert_eq!(got, [("new", 2), ("s1", 10), ("s2", 5)]);
    }
}

#[test]
fn f26_at_every_moment_of_a_life_the_listing_agrees_with_the_log() {
    // Crash copies around opening, writing, closing and removing: the list shows what the log holds.
    let fs = SimFs::new(260);
    let spy = Spy::new(fs.clone());
    let copies: std::sync::Arc<std::sync::Mutex<Vec<SimFs>>> = std::sync::Arc::default();
    let (taken, disk) = (copies.clone(), fs.clone());
    let store = crate::common::sim_options(spy.clone()).open(crate::common::SIM).unwrap();
    fill(&store.session("other").unwrap(), 2);
    spy.hook(move |_| {
        let mut taken = taken.lock().unwrap();
        // Reads change nothing: a copy for each change is enough, and they tell it by the count of changes.
        taken.push(disk.crash_copy());
        crate::common::Action::Go
    });
    for _ in 0..2 {
        let session = store.session("s").unwrap();
        fill(&session, 2);
        session.archive(Keep::Messages(1)).unwrap();
        session.close().unwrap();
    }
    store.remove_session("s").unwrap();
    spy.calm();
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    assert!(copies.len() > 60, "{}", copies.len());
    let mut lives = 0;
    for (i, copy) in copies.iter().enumerate().step_by(2) {
        let store = sim_store(copy);
        let listing = store.sessions().unwrap();
        assert!(listing.unreadable.is_empty(), "crash {i}: {:?}", listing.unreadable);
        let listed = listing.sessions.iter().find(|s| s.id.as_str() == "s").map(|s| s.live.clone());
        let read = store.reader("s").ok().map(|r| r.info().unwrap().live);
        assert_eq!(listed, read, "crash {i}");
        lives += u64::from(read.is_some());
        assert_eq!(listing.sessions.iter().filter(|s| s.id.as_str() == "other").count(), 1, "crash {i}");
    }
    assert!(lives > 10);
}

#[test]
fn f26_an_older_catalog_is_evidence_of_nothing() {
    // Restored from a backup of the catalog alone: sessions that came, grew and went since are shown as they are
    // as soon as somebody looks at them; none is missed, and none that went comes back.
    let place = Place::new();
    let store = three(&place);
    store.close().unwrap();
    drop(store);
    let old = place.beside("old");
    copy_tree(&place.path().join("catalog"), &old);
    let store = place.open();
    fill(&store.session("s1").unwrap(), 10);
    fill(&store.session("new").unwrap(), 2);
    store.remove_session("s0").unwrap();
    store.close().unwrap();
    drop(store);
    fs::remove_dir_all(place.path().join("catalog")).unwrap();
    copy_tree(&old, &place.path().join("catalog"));
    let store = place.open();
    let ids: Vec<String> =
        store.sessions().unwrap().sessions.iter().map(|s| s.id.as_str().to_owned()).collect();
    assert_eq!(ids, ["new", "s1", "s2"]);
    let session = store.open_session("s1").unwrap();
    assert_eq!(live(&session), numbered(0..14));
    assert_eq!(counts(&store), [2, 14, 5]);
    fill(&session, 1);
    drop(session);
    store.close().unwrap();
    drop(store);
    assert_eq!(counts(&place.open()), [2, 15, 5]);
}

#[test]
fn f26_listing_reads_the_catalog_and_not_the_logs() {
    let fs = SimFs::new(261);
    let store = sim_store(&fs);
    for i in 0..300 {
        fill(&store.session(format!("s{i:03}")).unwrap(), 1);
    }
    store.close().unwrap();
    let spy = Spy::new(fs.process_new());
    spy.hook(|c| {
        assert!(!c.is(crate::common::Op::Open, ".log"), "a log was opened: {c:?}");
        crate::common::Action::Go
    });
    let store = crate::common::sim_options(spy.clone()).open(crate::common::SIM).unwrap();
    let (listing, c) = spy.during(|| store.sessions().unwrap());
    assert_eq!(listing.sessions.len(), 300);
    assert!(listing.sessions.iter().all(|s| s.message_count == 1));
    // One directory for each pair of hexadecimal digits, and one file or two.
    assert!(c.opens < 256 + 10, "{c:?}");
    let page = ListOptions::new().sort_by(SortBy::LastActivity).offset(10).limit(5);
    let page = store.sessions_with(&page).unwrap();
    assert_eq!((page.total, page.sessions.len()), (300, 5));
    assert_eq!(page.sessions[0].id.as_str(), "s289");
    assert!(sim_files(&fs).keys().filter(|k| k.starts_with("/catalog/")).count() <= 2);
}
