//! What a session that is open and idle takes in memory, and what a load keeps.

#![allow(unsafe_code, reason = "an allocator that counts cannot be had without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

use sessionlog::{AppendOptions, Durability, Session, Store};

/// Bytes that are allocated now, by all threads.
static LIVE: AtomicI64 = AtomicI64::new(0);

struct Counting;

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: it came from `alloc` above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        // SAFETY: it came from `alloc` above, and the caller's promises are the ones that are asked for.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is allocated more than before `work`, by what it leaves behind.
fn kept<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = LIVE.load(Ordering::Relaxed);
    let out = work();
    (out, LIVE.load(Ordering::Relaxed) - before)
}

const SESSIONS: usize = 100;

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
        let now = LIVE.load(Ordering::Relaxed);
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
}

/// One test, for the count is the process's.
#[test]
#[allow(clippy::print_stderr, reason = "the numbers")]
fn an_idle_session_takes_little_and_a_load_keeps_nothing() {
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
    eprintln!("{each} bytes for each open session");
    assert!(each <= 2304, "{each}");

    let (_, bytes) = kept(|| sessions.iter().for_each(|s| s.clone().close().unwrap()));
    let parked = each + bytes / SESSIONS as i64;
    eprintln!("{parked} bytes for each parked one");
    assert!(parked <= 1280, "{parked}");

    let batch = (0..4000).map(|_| vec![b'x'; 1024]).collect();
    sessions[0].append_batch(&batch).unwrap();
    drop(batch);
    settle();
    let (messages, bytes) =
        kept(|| sessions[0].load().unwrap().map(|m| m.unwrap().payload().len()).sum::<usize>());
    assert!(messages > 4_000_000);
    eprintln!("{bytes} bytes are kept after a load of {messages}");
    assert!(bytes < 4096, "{bytes}");
}
