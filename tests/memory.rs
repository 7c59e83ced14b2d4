//! What a session that is open and idle takes in memory, and what a load and a listing keep.

#[path = "common/counting.rs"]
mod counting;

use counting::{kept, live};
use sessionlog::{AppendOptions, Durability, Session, Store};

const SESSIONS: usize = 200;

fn use_them(store: &Store, name: &str) -> Vec<Session> {
    let payload = vec![b'x'; 1024];
    let options = AppendOptions::new().durability(Durability::Buffered);
    (0..SESSIONS)
        .map(|i| {
            let session = store.session(format!("{name}:{i}")).unwrap();
            for _ in 0..10 {
                session.append_with(&payload, &options).unwrap();
            }
            session.append(&payload).unwrap();
            assert_eq!(session.load().unwrap().count(), 11);
            session
        })
        .collect()
}

/// Until the store's thread has seen that they are idle.
fn settle() {
    let (mut before, mut same) = (0, 0);
    while same < 20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let now = live();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
}

/// One test, for the count is the process's.
#[test]
#[allow(clippy::print_stderr, reason = "the numbers")]
fn an_idle_session_takes_little_a_listed_one_too_and_a_load_keeps_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::options()
        .create(true)
        .max_open_sessions(2 * SESSIONS)
        .open(place.path().join("store"))
        .unwrap();
    // Whatever the store keeps for itself is there afterwards; nothing of these sessions is.
    use_them(&store, "first").into_iter().for_each(|s| s.close().unwrap());
    settle();

    let (sessions, bytes) = kept(|| {
        let sessions = use_them(&store, "idle");
        settle();
        sessions
    });
    let each = bytes / SESSIONS as i64;
    // The directory of each knows its path.
    let path = place.path().as_os_str().len() as i64;
    eprintln!("{each} bytes for each open session, {path} of them for the path of the store");
    assert!(each - path <= 2048, "{each}");

    let (_, bytes) = kept(|| sessions.iter().for_each(|s| s.clone().close().unwrap()));
    let parked = each + bytes / SESSIONS as i64;
    eprintln!("{parked} bytes for each parked one");
    assert!(parked <= 1088, "{parked}");

    // With what the catalog still holds of earlier openings: two or three entries of each.
    let about = serde_json::json!({"title": "a session like any other", "user": "somebody"});
    sessions.iter().for_each(|s| s.patch_attributes(&about).unwrap());
    sessions.iter().for_each(|s| s.clone().close().unwrap());
    settle();
    let (listed, bytes) = kept(|| store.sessions().unwrap().total);
    let each = bytes / listed as i64;
    eprintln!("{each} bytes for each of {listed} that were listed");
    assert!(listed == 2 * SESSIONS && each <= 1280, "{each} of {listed}");

    let batch = (0..4000).map(|_| vec![b'x'; 1024]).collect();
    sessions[0].append_batch(&batch).unwrap();
    drop(batch);
    settle();
    // The first time the thread keeps a buffer for its next read.
    for most in [(64 << 10) + 4096, 4096] {
        let (messages, bytes) =
            kept(|| sessions[0].load().unwrap().map(|m| m.unwrap().payload().len()).sum::<usize>());
        assert!(messages > 4_000_000);
        eprintln!("{bytes} bytes are kept after a load of {messages}");
        assert!(bytes < most, "{bytes}");
    }
}
