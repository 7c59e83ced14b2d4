//! The shortest way through everything.

use sessionlog::doctor::{CheckOptions, check};
use sessionlog::{Keep, Options, Store};

fn texts(messages: sessionlog::Messages) -> Vec<String> {
    messages.map(|m| String::from_utf8(m.unwrap().payload().to_vec()).unwrap()).collect()
}

#[test]
fn append_archive_close_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    let s = store.session("chat:1").unwrap();
    for i in 0..100u64 {
        assert_eq!(s.append(&format!("m{i}")).unwrap().seq(), i);
    }
    assert_eq!(texts(s.tail(3).unwrap()), ["m97", "m98", "m99"]);
    let out = s.archive(Keep::Messages(20)).unwrap();
    assert_eq!((out.archived, out.live), (0..80, 80..100));
    assert_eq!(s.message_count().unwrap(), 20);
    assert_eq!(texts(s.load().unwrap()).len(), 20);
    assert_eq!(texts(s.archived(1).unwrap())[79], "m79");
    s.patch_attributes(&serde_json::json!({"title": "x"})).unwrap();
    store.close().unwrap();

    let store = Store::open(&path).unwrap();
    let list = store.sessions().unwrap();
    assert_eq!(list.sessions.len(), 1);
    assert_eq!(list.sessions[0].message_count, 20);
    assert_eq!(list.sessions[0].attributes["title"], "x");
    let s = store.open_session("chat:1").unwrap();
    assert!(s.report().unwrap().is_clean(), "{:?}", s.report());
    assert_eq!(texts(s.load().unwrap()), (80..100).map(|i| format!("m{i}")).collect::<Vec<_>>());
    assert_eq!(texts(s.archived(1).unwrap()), (0..80).map(|i| format!("m{i}")).collect::<Vec<_>>());
    assert_eq!(s.append("m100").unwrap().seq(), 100);
    assert_eq!(s.get(100).unwrap().unwrap().payload(), b"m100");
    assert_eq!(s.get(85).unwrap().unwrap().payload(), b"m85");
    assert!(store.remove_session("chat:1").unwrap());
    assert!(!store.remove_session("chat:1").unwrap());
    assert!(store.sessions().unwrap().sessions.is_empty());
}

#[test]
fn many_segments_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Options::new().create(true).segment_size(16 << 10).open(&path).unwrap();
    let s = store.session("long").unwrap();
    let body = |i: u64| format!("{i:04}{}", "x".repeat((i % 700) as usize));
    for i in 0..600 {
        s.append(&body(i)).unwrap();
        if i % 150 == 149 {
            s.archive(Keep::Messages(10)).unwrap();
        }
    }
    assert_eq!(texts(s.load().unwrap()), (590..600).map(body).collect::<Vec<_>>());
    let all: Vec<String> =
        s.archives().unwrap().iter().flat_map(|a| texts(s.archived(a.number).unwrap())).collect();
    assert_eq!(all, (0..590).map(body).collect::<Vec<_>>());
    s.truncate().unwrap();
    assert_eq!(texts(s.load().unwrap()), (590..600).map(body).collect::<Vec<_>>());
    store.close().unwrap();
    let store = Options::new().create(true).segment_size(16 << 10).open(&path).unwrap();
    let s = store.reader("long").unwrap();
    let all: Vec<String> =
        s.archives().unwrap().iter().flat_map(|a| texts(s.archived(a.number).unwrap())).collect();
    assert_eq!(all, (0..590).map(body).collect::<Vec<_>>());
}

#[test]
fn what_a_crash_left_half_made_is_cleared_away_and_what_lives_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    Store::open(&path).unwrap().session("a").unwrap().append("1").unwrap();
    let shard = std::fs::read_dir(path.join("sessions")).unwrap().next().unwrap().unwrap().path();
    let (dead, alive) = (shard.join("new-dead.tmp"), shard.join("new-alive.tmp"));
    for unborn in [&dead, &alive] {
        std::fs::create_dir(unborn).unwrap();
        std::fs::write(unborn.join("lock"), "").unwrap();
    }
    let lock = std::fs::File::open(alive.join("lock")).unwrap();
    lock.lock().unwrap();
    let trashed = path.join("trash").join(format!("b~{:032x}~{:016x}", 7, 8));
    std::fs::create_dir(&trashed).unwrap();
    std::fs::write(trashed.join("00000001.log"), "x").unwrap();
    // Whoever removed this one died before the catalog knew.
    Store::open(&path).unwrap().session("gone").unwrap().append("1").unwrap();
    let shards = std::fs::read_dir(path.join("sessions")).unwrap();
    let dirs = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
    let gone = dirs.map(|d| d.unwrap()).find(|d| d.file_name().to_string_lossy().starts_with("gone~"));
    let gone = gone.unwrap();
    let removed = path.join("trash").join(format!("{}~{:016x}", gone.file_name().to_string_lossy(), 9));
    std::fs::rename(gone.path(), &removed).unwrap();
    let store = Store::open(&path).unwrap();
    store.session("a").unwrap().append("2").unwrap();
    let start = std::time::Instant::now();
    while dead.exists() || trashed.exists() || removed.exists() {
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "it is still there");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(alive.exists());
    let found = check(&path, &CheckOptions::new()).unwrap();
    assert!(found.is_well(), "{found:#?}");
}
