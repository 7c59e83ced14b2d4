//! Listing sessions, and counting what a store holds.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sessionlog::fs::{Access, Fs, SimFs};
use sessionlog::{Keep, ListOptions, NewMessage, OpenState, Options, SortBy, Store};

use crate::common::{Place, SIM, eventually, fill, segments, session_dirs, sim_options, sim_store};

#[test]
fn a_listing_tells_what_the_sessions_tell() {
    let place = Place::new();
    let store = place.open();
    let session = store.session("chat").unwrap();
    for i in 0..10 {
        let text = format!("message {i}");
        session.append(NewMessage::from(&text).tokens(7)).unwrap();
    }
    session.archive(Keep::Messages(4)).unwrap();
    session.patch_attributes(&json!({"user": "ada"})).unwrap();
    let told = session.info().unwrap();
    assert_eq!(
        (told.message_count, told.live.clone(), told.total_messages, told.archives),
        (4, 6..10, 10, 1)
    );
    assert_eq!((told.live_bytes, told.total_bytes, told.live_tokens, told.total_tokens), (36, 90, 28, 70));
    assert!(told.lineage.is_none());
    let listed = store.sessions().unwrap().sessions.remove(0);
    assert_eq!(*listed, told);
    assert_eq!(listed.open, OpenState::OpenHere);
    drop(session);
    store.close().unwrap();
    drop(store);
    let mut closed = Arc::unwrap_or_clone(place.open().sessions().unwrap().sessions.remove(0));
    assert_eq!(closed.open, OpenState::Closed);
    // The end in good order is a change of its own; all else is as it was.
    closed.open = OpenState::OpenHere;
    closed.modified_micros = told.modified_micros;
    assert_eq!(closed, told);
}

#[test]
fn pages_filters_and_orders_fit_together() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    for i in 0..30 {
        let session = store.session(format!("s{i:02}")).unwrap();
        fill(&session, 1);
        session.patch_attributes(&json!({"user": if i % 3 == 0 { "ada" } else { "bob" }, "n": i})).unwrap();
    }
    // The order of activity is not that of the ids.
    for i in [5, 3, 9] {
        store.session(format!("s{i:02}")).unwrap().append("again").unwrap();
    }
    store.close().unwrap();
    let store = sim_store(&fs);
    fill(&store.session("s21").unwrap(), 1);
    let ids = |options: &ListOptions| -> (usize, Vec<String>) {
        let listing = store.sessions_with(options).unwrap();
        let mut ids = Vec::new();
        for session in &listing {
            ids.push(session.id.to_string());
        }
        assert_eq!((listing.len(), listing.is_empty()), (ids.len(), ids.is_empty()));
        (listing.total, ids)
    };
    let (total, all) = ids(&ListOptions::new());
    assert_eq!(total, 30);
    assert!(all.is_sorted() && all.len() == 30);
    let new = ListOptions::new;
    assert_eq!(ids(&new().offset(28)), (30, vec!["s28".into(), "s29".into()]));
    assert_eq!(ids(&new().offset(99)), (30, vec![]));
    assert_eq!(ids(&new().limit(0)), (30, vec![]));
    assert_eq!(
        ids(&new().attribute("user", "ada").offset(1).limit(2)),
        (10, vec!["s03".into(), "s06".into()])
    );
    assert_eq!(ids(&new().attribute("user", "ada").attribute("n", 4)), (0, vec![]));
    assert_eq!(ids(&new().attribute("n", 4)), (1, vec!["s04".into()]));
    assert_eq!(ids(&new().attribute("none", json!(null))), (0, vec![]));
    let (_, latest) = ids(&new().sort_by(SortBy::LastActivity).limit(5));
    assert_eq!(latest, ["s21", "s09", "s03", "s05", "s29"]);
    let mut paged = Vec::new();
    for page in 0..8 {
        paged.extend(ids(&new().sort_by(SortBy::LastActivity).offset(page * 4).limit(4)).1);
    }
    assert_eq!(paged, ids(&new().sort_by(SortBy::LastActivity)).1);

    // What is open here stands among what is closed, once, wherever that is, and with what it is now.
    for id in ["z", "s29", "s11", "s115", "s00", "a"] {
        store.session(id).unwrap().append("again").unwrap();
    }
    let held = ["s01", "s12", "s28"].map(|id| store.session(id).unwrap());
    let open = store.sessions().unwrap().into_iter().filter(|s| s.open == OpenState::OpenHere).count();
    assert_eq!(open, 6 + 1 + held.len());
    let mut expected = all;
    expected.extend(["z", "s115", "a"].map(String::from));
    expected.sort();
    assert_eq!(ids(&new()), (33, expected.clone()));
    assert_eq!(ids(&new().offset(1).limit(3)).1, expected[1..4]);
    let (total, by_activity) = ids(&new().sort_by(SortBy::LastActivity));
    assert_eq!(
        (total, &by_activity[..8]),
        (33, ["a", "s00", "s115", "s11", "s29", "z", "s21", "s09"].map(String::from).as_slice())
    );
    for (offset, limit) in [(0, 1), (0, 33), (5, 3), (30, 9), (33, 1), (2, usize::MAX)] {
        let page = ids(&new().sort_by(SortBy::LastActivity).offset(offset).limit(limit)).1;
        assert_eq!(page, by_activity[offset..offset.saturating_add(limit).min(33)], "{offset} {limit}");
    }
}

#[test]
fn stats_count_what_is_there() {
    let place = Place::new();
    let store = place.open();
    let empty = store.stats().unwrap();
    assert_eq!((empty.sessions, empty.segments, empty.bytes, empty.open_sessions), (0, 0, 0, 0));
    assert!(empty.available_bytes > 0);
    for i in 0..5 {
        let session = store.session(format!("s{i}")).unwrap();
        session.append(vec![b'x'; 10_000]).unwrap();
        if i == 0 {
            session.archive(Keep::Nothing).unwrap();
            session.truncate().unwrap();
        }
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.sessions, stats.segments, stats.open_sessions), (5, 6, 5));
    let files: u64 = session_dirs(&place.path())
        .iter()
        .flat_map(|d| std::fs::read_dir(d).unwrap())
        .map(|e| e.unwrap().metadata().unwrap().len())
        .sum();
    assert!(stats.bytes.abs_diff(files) < 1 << 20 && stats.bytes >= 50_000, "{stats:?}, {files}");
    assert!(stats.allocated_bytes >= 50_000 && stats.catalog_bytes > 0, "{stats:?}");
    store.remove_session("s0").unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.sessions, stats.segments, stats.open_sessions), (4, 4, 4));
}

fn told(store: &Store) -> Vec<(String, u64, OpenState)> {
    store.sessions().unwrap().into_iter().map(|s| (s.id.to_string(), s.message_count, s.open)).collect()
}

#[test]
fn what_others_create_change_and_remove_is_seen_at_once() {
    let place = Place::new();
    let writer = place.open();
    // A store of its own, which reads the disk alone.
    let reader = Options::new().read_only(true).open(place.path()).unwrap();
    let old = ("old".to_owned(), 1, OpenState::Closed);
    let s = writer.session("old").unwrap();
    s.append("1").unwrap();
    s.close().unwrap();
    for round in 0..2 {
        assert_eq!(told(&reader), std::slice::from_ref(&old));
        // What was made just now, and then what has been there for a while, and was listed since.
        std::thread::sleep(std::time::Duration::from_millis(3_200 * round));
        assert_eq!(told(&reader), std::slice::from_ref(&old));
        let mut names: Vec<String> = (0..40).map(|i| format!("s{i:02}")).collect();
        for name in &names {
            fill(&writer.create_session(name).unwrap(), 2);
            assert!(told(&reader).contains(&(name.clone(), 2, OpenState::Open)), "{name}");
        }
        for name in &names {
            writer.open_session(name).unwrap().close().unwrap();
            assert!(told(&reader).contains(&(name.clone(), 2, OpenState::Closed)), "{name}");
        }
        while let Some(name) = names.pop() {
            if names.len().is_multiple_of(8) {
                let there = told(&reader);
                assert_eq!(there.len(), names.len() + 2, "{there:?}");
            }
            assert!(writer.remove_session(&name).unwrap());
            assert!(told(&reader).iter().all(|(id, ..)| *id != name), "{name}");
        }
    }
    // Where it is not looked for, it is not there.
    let dir = session_dirs(&place.path()).remove(0);
    writer.close().unwrap();
    let elsewhere = place.path().join(dir.file_name().unwrap());
    std::fs::rename(&dir, &elsewhere).unwrap();
    assert_eq!(told(&reader), []);
    std::fs::rename(&elsewhere, &dir).unwrap();
    assert_eq!(told(&reader), [old]);
}

#[test]
fn a_second_listing_is_what_a_first_one_is() {
    for seed in 0..6 {
        let fs = SimFs::new(seed);
        let (one, two, reader) = (sim_store(&fs), sim_store(&fs.process_new()), sim_store(&fs.process_new()));
        let mut state = seed | 1;
        let mut any = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for step in 0..120 {
            let store = if any(2) == 0 { &one } else { &two };
            let id = format!("s{}", any(10));
            // One that the other has open is left alone.
            match any(6) {
                0 | 1 => drop(store.session(&id).and_then(|s| s.append("x"))),
                2 => drop(store.session(&id).and_then(|s| s.patch_attributes(&json!({"step": step})))),
                3 => drop(store.session(&id).and_then(|s| s.archive(Keep::Messages(1)))),
                4 => drop(store.open_session(&id).and_then(|s| s.close())),
                _ => drop(store.remove_session(&id)),
            }
            let (again, first) =
                (reader.sessions().unwrap(), sim_store(&fs.process_new()).sessions().unwrap());
            assert_eq!(again.sessions, first.sessions, "step {step} of seed {seed}");
            assert!(again.unreadable.is_empty() && again.catalog_notes.is_empty());
            assert!(again.sessions.iter().map(|s| &s.id).is_sorted() && again.total == again.sessions.len());
        }
    }
}

#[test]
fn the_catalog_of_a_process_that_goes_on_for_long_stays_short() {
    let fs = SimFs::new(1);
    let store = sim_options(fs.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    session.patch_attributes(&json!({"note": "x".repeat(3000)})).unwrap();
    session.close().unwrap();
    let dir = fs.open_root(Path::new(SIM)).unwrap().open_dir("catalog").unwrap();
    let long = || -> u64 {
        let len = |name: &str| dir.open(name, Access::Read).and_then(|file| file.len()).unwrap_or(0);
        dir.list().unwrap().iter().map(|entry| len(&entry.name)).sum()
    };
    let mut longest = 0;
    for i in 0..1_000 {
        let session = store.session("s").unwrap();
        session.append("more").unwrap();
        session.close().unwrap();
        if i % 50 == 0 {
            longest = longest.max(long());
            eventually("a short catalog", || long() < 2 << 20);
        }
    }
    assert!(longest >= 1 << 20, "it was never worth it: {longest}");
    let listed = store.sessions().unwrap();
    assert_eq!((listed.sessions.len(), listed.sessions[0].message_count), (1, 1_000));
    store.close().unwrap();
    let after = sim_options(fs.crash()).open(SIM).unwrap();
    assert_eq!(after.sessions().unwrap().sessions[0].message_count, 1_000);
}

/// The thread in the background, which tidies, often has not begun when a short life is over.
#[test]
fn short_lives_leave_no_pile_of_catalog_files() {
    let fs = SimFs::new(4);
    let mut most = 0;
    for life in 0..200 {
        let store = sim_options(fs.process_new()).open(SIM).unwrap();
        store.session(format!("s{}", life % 5)).unwrap().append("a").unwrap();
        store.close().unwrap();
        let catalog = fs.open_root(Path::new(SIM)).unwrap().open_dir("catalog").unwrap();
        most = most.max(catalog.list().unwrap().len());
    }
    assert!(most <= 2, "{most} files");
    let store = sim_store(&fs);
    assert_eq!(told(&store).iter().map(|(_, messages, _)| messages).sum::<u64>(), 200);
}

#[test]
fn what_cannot_be_read_is_listed_in_the_order_of_its_names() {
    let place = Place::new();
    let store = place.open();
    let ids: Vec<String> = (0..60).map(|i| format!("{}", i * 7 % 60)).collect();
    ids.iter().for_each(|id| fill(&store.session(id).unwrap(), 1));
    store.close().unwrap();
    // Without a catalog each of them is read, and half of them cannot be.
    for file in std::fs::read_dir(place.path().join("catalog")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let dirs = session_dirs(&place.path());
    for dir in dirs.iter().step_by(2) {
        segments(dir).iter().for_each(|file| std::fs::write(file, b"no segment").unwrap());
    }
    let store = place.open();
    for _ in 0..2 {
        let listing = store.sessions().unwrap();
        assert_eq!((listing.sessions.len(), listing.unreadable.len()), (30, 30));
        assert!(listing.unreadable.iter().map(|(dir, _)| dir.file_name()).is_sorted());
    }
}
