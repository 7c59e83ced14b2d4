//! What a store keeps of a listing for the next one.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sessionlog::{OpenState, Options, Store};

use crate::common::{Action, Op, Place, Spy, fill, session_dirs};

fn told(store: &Store) -> Vec<(String, u64, OpenState)> {
    store.sessions().unwrap().into_iter().map(|s| (s.id.to_string(), s.message_count, s.open)).collect()
}

fn reader(path: &Path, spy: &Spy) -> Store {
    Options::new().read_only(true).fs(Arc::new(spy.clone())).open(path).unwrap()
}

/// What another process sees, which has listed nothing yet.
fn fresh(path: &Path) -> Vec<(String, u64, OpenState)> {
    told(&reader(path, &Spy::disk().other_process()))
}

#[test]
fn a_closed_store_keeps_nothing() {
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    session.patch_attributes(&json!({"a": 1})).unwrap();
    session.close().unwrap();
    let info = store.sessions().unwrap().sessions.remove(0);
    assert_eq!(info.open, OpenState::Closed);
    store.close().unwrap();
    assert_eq!(Arc::strong_count(&info), 1);
}

#[test]
fn a_directory_with_the_hash_of_another_is_not_taken_for_it() {
    let place = Place::new();
    let store = place.open();
    for id in ["s", "u"] {
        let session = store.session(id).unwrap();
        fill(&session, 3);
        session.close().unwrap();
    }
    let spy = Spy::disk();
    let read = reader(&place.path(), &spy);
    assert_eq!(told(&read).len(), 2);
    let name = |dir: &Path| dir.file_name().unwrap().to_str().unwrap().to_owned();
    let dir = session_dirs(&place.path()).into_iter().find(|d| name(d).starts_with("s~")).unwrap();
    for copy in ["copy", "zcopy"] {
        let copy = dir.with_file_name(format!("{copy}~{}", &name(&dir)[2..]));
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    for count in [4, 5] {
        assert_eq!(told(&read), fresh(&place.path()));
        let found = read.sessions().unwrap();
        assert_eq!((found.sessions.len(), found.unreadable.len()), (2, 2), "{found:?}");
        let session = store.session("u").unwrap();
        fill(&session, 1);
        session.close().unwrap();
        assert_eq!(read.sessions().unwrap().sessions[1].message_count, count);
    }
}

#[test]
fn the_shard_that_cannot_be_read_is_named() {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 3);
    let spy = Spy::disk();
    let read = reader(&place.path(), &spy);
    let shard = session_dirs(&place.path())[0].parent().unwrap().to_owned();
    let lost = shard.clone();
    spy.always(Action::EACCES, move |c| c.op == Op::OpenDir && c.path == lost);
    let error = read.sessions().unwrap_err().to_string();
    assert!(error.contains(&*shard.to_string_lossy()), "{error}");
    spy.calm();
    assert_eq!(told(&read).len(), 1);
}

/// Where each frame of a catalog file stands, with its body, and where the last one ends.
fn frames(bytes: &[u8]) -> (Vec<(usize, &[u8])>, usize) {
    let (mut at, mut out) = (1536, Vec::new());
    while let Some(head) = bytes.get(at + 4..at + 8) {
        let len = u32::from_le_bytes(head.try_into().unwrap()) as usize;
        if len == 0 {
            break;
        }
        out.push((at, &bytes[at + 8..at + 8 + len]));
        at += 8 + len;
    }
    (out, at)
}

/// The file `base` with this body in one frame behind its own.
fn with_frame(base: &[u8], body: &[u8], len: usize) -> Vec<u8> {
    let (all, end) = frames(base);
    let before = u32::from_le_bytes(base[all.last().unwrap().0..][..4].try_into().unwrap());
    let size = (body.len() as u32).to_le_bytes();
    let mut sum = crc32fast::Hasher::new_with_initial(crc32fast::hash(&base[32..40]) ^ before ^ end as u32);
    sum.update(&size);
    sum.update(body);
    let mut out = base.to_vec();
    out.resize(len, 0);
    out[end..end + 4].copy_from_slice(&sum.finalize().to_le_bytes());
    out[end + 4..end + 8].copy_from_slice(&size);
    out[end + 8..end + 8 + body.len()].copy_from_slice(body);
    out
}

#[test]
fn listings_at_the_same_time_agree_while_an_append_to_the_catalog_is_taken_back() {
    let place = Place::new();
    let writer = place.open();
    let (s, t) = (writer.session("s").unwrap(), writer.session("t").unwrap());
    fill(&s, 3);
    fill(&t, 5);
    let spy = Spy::disk();
    let read = Arc::new(reader(&place.path(), &spy));
    assert_eq!(told(&read).len(), 2);
    let file: PathBuf = fs::read_dir(place.path().join("catalog")).unwrap().next().unwrap().unwrap().path();
    let base = fs::read(&file).unwrap();
    s.close().unwrap();
    // The summary of s is appended and taken back; then that of t is appended in its place.
    let taken_back = fs::read(&file).unwrap();
    t.close().unwrap();
    let both = fs::read(&file).unwrap();
    let last = with_frame(&base, frames(&both).0.last().unwrap().1, both.len().max(base.len()));
    let put = move |bytes: &[u8]| {
        let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    };
    put(&base);
    let once = AtomicBool::new(false);
    let other = read.clone();
    spy.hook(move |c| {
        if c.op == Op::List && c.path.ends_with("catalog") && !once.swap(true, Ordering::SeqCst) {
            // Another listing, while this one has not looked yet.
            put(&taken_back);
            let other = other.clone();
            std::thread::spawn(move || told(&other));
            std::thread::sleep(Duration::from_millis(100));
            put(&last);
        }
        Action::Go
    });
    let found = told(&read);
    spy.calm();
    assert_eq!(found, fresh(&place.path()));
    assert_eq!(told(&read), found);
}
