//! What lies on the real disk: modes, names, links, pipes.

#![cfg(unix)]

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use rustix::fs::{FileType, Mode, mknodat};
use sessionlog::{ErrorKind, Keep, Options, Store, limits};

use crate::common::{Place, files, fill, kind, live, numbered, session_dirs, texts, within};

#[test]
fn directories_are_0700_and_files_0600_under_a_permissive_umask() {
    rustix::process::umask(Mode::empty());
    let place = Place::new();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    for _ in 0..50 {
        session.append(&"x".repeat(1000)).unwrap();
    }
    session.archive(Keep::Messages(1)).unwrap();
    session.truncate().unwrap();
    let check = || {
        let mut todo = vec![place.path()];
        let mut seen = 0;
        while let Some(path) = todo.pop() {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let want = if meta.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(meta.permissions().mode() & 0o7777, want, "{}", path.display());
            seen += 1;
            if meta.is_dir() {
                todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
        }
        seen
    };
    assert!(check() > 12);
    drop(session);
    store.close().unwrap();
    check();
}

#[test]
fn any_text_is_an_id_and_two_ids_are_two_sessions() {
    let place = Place::new();
    let store = place.open();
    let long = "x".repeat(limits::MAX_SESSION_ID);
    let almost = format!("{}y", "x".repeat(limits::MAX_SESSION_ID - 1));
    let ids = [
        "a",
        "A",
        "a ",
        " a",
        "a/b",
        "a\\b",
        "a:b",
        "a-b",
        "a_b",
        "a.b",
        ".",
        "..",
        "...",
        "../../etc/passwd",
        "/",
        "~",
        "a~b",
        "con",
        "NUL",
        "aux.log",
        "lock",
        "STORE",
        "\0",
        "\n",
        "\r\n",
        "\u{2028}",
        "é",
        "e\u{301}",
        "ﬁ",
        "日本語",
        "🦀",
        "agent:main:telegram:group:-100123",
        "C:\\x",
        "*?\"<>|",
        "%2e%2e",
        "new-1.tmp",
        &long,
        &almost,
    ];
    for (i, id) in ids.iter().enumerate() {
        let session = store.session(id).unwrap();
        assert_eq!(session.id().as_str(), *id);
        assert_eq!(session.append(&format!("of {i}")).unwrap().seq(), 0, "{id:?} is another session's");
    }
    store.close().unwrap();
    let store = place.open();
    let listed: BTreeSet<String> =
        store.sessions().unwrap().into_iter().map(|s| s.id.as_str().to_owned()).collect();
    assert_eq!(listed, ids.iter().map(|s| s.to_string()).collect());
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(live(&store.open_session(id).unwrap()), [format!("of {i}")]);
    }
    for name in session_dirs(&place.path()) {
        let name = name.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.len() < 100 && name.bytes().all(|b| b.is_ascii_graphic()), "{name}");
        assert!(!name.chars().any(|c| c.is_ascii_uppercase()), "{name}");
    }
    assert!(!place.beside("etc").exists());
    assert_eq!(kind(store.session("")), Some(ErrorKind::InvalidId));
    assert_eq!(kind(store.session("x".repeat(limits::MAX_SESSION_ID + 1))), Some(ErrorKind::InvalidId));
    assert_eq!(kind(store.reader("")), Some(ErrorKind::InvalidId));
    assert_eq!(kind(store.remove_session("")), Some(ErrorKind::InvalidId));
}

/// A store with the session "s" of three messages, closed.
fn closed(place: &Place) -> std::path::PathBuf {
    let store = place.open();
    fill(&store.session("s").unwrap(), 3);
    fill(&store.session("other").unwrap(), 2);
    store.close().unwrap();
    session_dirs(&place.path()).into_iter().find(|d| d.to_str().unwrap().contains("/s~")).unwrap()
}

/// What of a session's directory becomes a link.
type Target = fn(&std::path::Path) -> std::path::PathBuf;

#[test]
fn links_inside_a_store_are_not_followed_out_of_it() {
    let link: fn(&std::path::Path, &std::path::Path) = |at, outside| {
        let name = at.file_name().unwrap();
        std::fs::rename(at, outside.join(name)).unwrap();
        symlink(outside.join(name), at).unwrap();
    };
    let cases: [(&str, Target); 4] = [
        ("the session", |dir| dir.to_path_buf()),
        ("a segment", |dir| dir.join("00000001.log")),
        ("the lock", |dir| dir.join("lock")),
        ("the shard", |dir| dir.parent().unwrap().to_path_buf()),
    ];
    for (what, target) in cases {
        let place = Place::new();
        let dir = closed(&place);
        let outside = place.beside("outside");
        std::fs::create_dir(&outside).unwrap();
        link(&target(&dir), &outside);
        let before = files(&outside);
        let store = place.open();
        assert!(store.session("s").and_then(|s| s.append("x").map(drop)).is_err(), "{what}");
        let _ = store.create_session("s");
        let _ = store.remove_session("s");
        let _ = store.sessions();
        let _ = store.stats();
        store.close().unwrap();
        assert_eq!(files(&outside), before, "{what}: something outside was changed");
    }
}

#[test]
fn the_path_of_the_store_itself_may_be_a_link() {
    let place = Place::new();
    closed(&place);
    let link = place.beside("link");
    symlink(place.path(), &link).unwrap();
    let store = Store::open(&link).unwrap();
    assert_eq!(live(&store.open_session("s").unwrap()), numbered(0..3));
}

#[test]
fn a_pipe_under_a_name_of_ours_does_not_hang() {
    let fifo = |path: &std::path::Path| {
        mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    };
    for name in ["00000002.log", "00000001.log", "lock"] {
        let place = Place::new();
        let dir = closed(&place);
        let at = dir.join(name);
        let _ = std::fs::remove_file(&at);
        fifo(&at);
        fifo(&place.path().join("catalog").join("0123456789abcdef.cat"));
        let path = place.path();
        within(Duration::from_secs(20), name, move || {
            let store = Store::open(&path).unwrap();
            assert!(store.session("s").and_then(|s| s.append("x").map(drop)).is_err());
            let listing = store.sessions().unwrap();
            assert!(listing.sessions.iter().any(|s| s.id.as_str() == "other"));
            fill(&store.open_session("other").unwrap(), 1);
            assert_eq!(texts(store.reader("other").unwrap().load().unwrap()), numbered(0..3));
            store.stats().unwrap();
            store.close().unwrap();
        });
        assert!(at.exists());
    }
}

#[test]
fn a_pipe_for_the_store_file_does_not_hang() {
    let place = Place::new();
    closed(&place);
    let at = place.path().join("STORE");
    std::fs::remove_file(&at).unwrap();
    mknodat(rustix::fs::CWD, &at, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let path = place.path();
    within(Duration::from_secs(20), "STORE", move || assert!(Store::open(path).is_err()));
}

#[test]
fn a_sealed_segment_keeps_its_inode_and_its_bytes() {
    let place = Place::new();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    for i in 0..30 {
        session.append(&format!("{i}{}", "x".repeat(1000))).unwrap();
    }
    let first = session_dirs(&place.path())[0].join("00000001.log");
    let (inode, bytes) = (std::fs::metadata(&first).unwrap().ino(), std::fs::read(&first).unwrap());
    session.archive(Keep::Messages(1)).unwrap();
    session.truncate().unwrap();
    session.append("x").unwrap();
    drop(session);
    store.close().unwrap();
    assert_eq!(std::fs::metadata(&first).unwrap().ino(), inode);
    assert!(std::fs::read(&first).unwrap() == bytes);
}
