//! `RLIMIT_FSIZE`: no file may grow beyond it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sessionlog::{Keep, Options, Session, Store};

use crate::book::{Book, id, no_room};
use crate::support::{Place, Watchdog};

const SESSIONS: u64 = 3;

#[test]
fn at_the_limit_of_file_size_appends_say_no_space_and_go_on_when_it_is_lifted() {
    let _dog = Watchdog::new("the limit of file size", Duration::from_secs(60));
    let place = Place::new();
    // The shell has the signal ignored that would end the process; then the calls fail instead.
    let words = ["--ignored", "--exact", "child_process", "--nocapture", "--test-threads=1"];
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(words)
        .env("SESSIONLOG_TEST_ROLE", format!("limit\u{1f}{}", place.dir.path().display()))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

fn open(dir: &Path) -> (Store, Vec<Session>) {
    let options = Options::new().create(true).segment_size(1 << 20).linger(Duration::from_secs(3600));
    let store = options.open(dir.join("store")).unwrap();
    let handles = (0..SESSIONS).map(|s| store.session(id(s)).unwrap()).collect();
    (store, handles)
}

pub(crate) fn run(dir: &Path) {
    let mut book = Book::new(SESSIONS + 1);
    let (store, handles) = open(dir);
    let fill = |book: &mut Book, n: u64| {
        (0..SESSIONS)
            .map(|s| (0..n).filter(|_| book.append(&handles[s as usize], s)).count() as u64)
            .sum::<u64>()
    };
    assert_eq!(fill(&mut book, 10), 10 * SESSIONS);

    // It is reached in the middle of a log, and of a commit.
    for bytes in [60_001, 90_000] {
        limit(Some(bytes));
        let done = fill(&mut book, 400);
        assert!(done < 400 * SESSIONS, "the limit of {bytes} bytes was not reached");
        book.check(&store);
        for handle in &handles {
            let refused =
                handle.patch_attributes(&serde_json::json!({ "text": "x".repeat(4000) })).unwrap_err();
            no_room(&refused);
        }
        // Small messages may fit yet; then not even they.
        for (s, handle) in handles.iter().enumerate() {
            let more = (0..400).filter(|_| book.append(handle, s as u64)).count();
            assert!(more < 400);
        }
        book.check(&store);
    }

    // Below what is there, then nothing at all: reading goes on.
    for bytes in [5_000, 1, 0] {
        limit(Some(bytes));
        assert_eq!(fill(&mut book, 20), 0);
        if let Err(e) = handles[0].archive(Keep::Messages(3)) {
            no_room(&e);
        }
        no_room(&store.create_session(id(SESSIONS)).unwrap_err());
        book.check(&store);
    }

    limit(None);
    assert_eq!(fill(&mut book, 50), 50 * SESSIONS, "the same handles go on");
    let new = store.session(id(SESSIONS)).unwrap();
    assert!(book.append(&new, SESSIONS));
    handles[0].archive(Keep::Messages(3)).unwrap();
    book.check(&store);
    store.close().unwrap();

    // A close that finds no room loses nothing.
    let (store, handles) = open(dir);
    book.check(&store);
    for (s, handle) in handles.iter().enumerate() {
        assert!(book.append(handle, s as u64));
    }
    limit(Some(1));
    if let Err(e) = store.close() {
        no_room(&e);
    }
    limit(None);
    let (store, handles) = open(dir);
    book.check(&store);
    for (s, handle) in handles.iter().enumerate() {
        assert!(!handle.report().unwrap().has_damage(), "{:?}", handle.report());
        assert!(book.append(handle, s as u64));
    }
    store.close().unwrap();
    let (store, _) = open(dir);
    book.check(&store);
}
