//! Many threads of one process: handles that come and go, sessions that are parked under way, a store that is
//! closed while it is written to.

mod common;
mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sessionlog::{Durability, ErrorKind, Keep, Options, Outcome, Session, Store, Ticket};

use common::{Action, Op, SIM, Spy, sim_options, sim_store, texts};
use sessionlog::fs::SimFs;
use support::{Place, Rng, Watchdog, payload, read_payload, seed};

const LONGEST: u64 = 300;
const LIMIT: Duration = Duration::from_secs(60);

fn quick(place: &Place, linger: Duration, open: usize) -> Store {
    Options::new()
        .create(true)
        .durability(Durability::Buffered)
        .sync_interval(Duration::from_millis(5))
        .segment_size(32 << 10)
        .truncate_after(8 << 10)
        .linger(linger)
        .max_open_sessions(open)
        .on_event(|event| panic!("{event}"))
        .open(place.store())
        .unwrap()
}

fn id(session: u64) -> String {
    format!("s{session}")
}

/// Reads all of a session, archives and live, and returns the ops in order.
fn ops(store: &Store, session: u64) -> Vec<u64> {
    let s = store.session(id(session)).unwrap();
    let mut out = Vec::new();
    for a in s.archives().unwrap() {
        out.extend(s.archived(a.number).unwrap().map(|m| read_payload(session, &m.unwrap(), LONGEST).0));
    }
    out.extend(s.load().unwrap().map(|m| read_payload(session, &m.unwrap(), LONGEST).0));
    assert_eq!(out.len() as u64, s.info().unwrap().live.end);
    out
}

/// Every acknowledged op once, each thread's in its order.
fn assert_all_there(store: &Store, sessions: u64, acknowledged: &[Vec<(u64, u64, u64)>]) {
    for session in 0..sessions {
        let there = ops(store, session);
        for (seq, op) in
            acknowledged.iter().flatten().filter(|(s, ..)| *s == session).map(|(_, seq, op)| (seq, op))
        {
            assert_eq!(there.get(*seq as usize), Some(op), "session {session}, message {seq}");
        }
        let expected = acknowledged.iter().flatten().filter(|(s, ..)| *s == session).count();
        assert_eq!(there.len(), expected, "session {session}");
    }
}

fn handles_come_and_go(linger: Duration, open: usize) {
    const SESSIONS: u64 = 4;
    let _dog = Watchdog::new("handles that come and go", LIMIT);
    let place = Place::new();
    let store = quick(&place, linger, open);
    let seed = seed();
    let acknowledged: Vec<Vec<(u64, u64, u64)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u64)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let mut rng = Rng(seed ^ thread);
                    let mut done = Vec::new();
                    let mut kept: Option<(u64, Session)> = None;
                    let start = Instant::now();
                    let mut op = thread << 32;
                    while start.elapsed() < Duration::from_secs(3) {
                        let session = rng.below(SESSIONS);
                        let (session, s) = match kept.take() {
                            Some(kept) if rng.below(2) == 0 => kept,
                            _ => (session, store.session(id(session)).unwrap()),
                        };
                        op += 1;
                        let body = payload(session, op, 0, LONGEST);
                        let appended = match rng.below(10) {
                            0 => {
                                // The handle goes before the outcome is there.
                                let ticket: Ticket = s.clone().submit(&body).unwrap();
                                ticket.wait()
                            }
                            _ => s.append(&body),
                        };
                        done.push((session, appended.unwrap().seq(), op));
                        match rng.below(20) {
                            0 => s.close().unwrap(),
                            1 => {
                                s.archive(Keep::Messages(rng.below(40))).unwrap();
                            }
                            2 => s.truncate().unwrap(),
                            3..10 => kept = Some((session, s)),
                            _ => drop(s),
                        }
                    }
                    done
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| panic!("SESSIONLOG_SEED={seed}"))).collect()
    });
    assert_all_there(&store, SESSIONS, &acknowledged);
    store.close().unwrap();
    let store = quick(&place, linger, open);
    for session in 0..SESSIONS {
        let s = store.open_session(id(session)).unwrap();
        assert!(s.report().unwrap().is_clean(), "{:?}", s.report());
    }
    assert_all_there(&store, SESSIONS, &acknowledged);
    store.close().unwrap();
}

#[test]
fn handles_that_come_and_go_lose_nothing_when_sessions_are_closed_at_once() {
    handles_come_and_go(Duration::ZERO, 2);
}

#[test]
fn handles_that_come_and_go_lose_nothing_when_sessions_linger_for_a_moment() {
    handles_come_and_go(Duration::from_millis(1), 2);
}

#[test]
fn handles_that_come_and_go_lose_nothing_when_one_session_may_be_open() {
    handles_come_and_go(Duration::from_millis(1), 1);
}

#[test]
fn an_append_that_races_with_close_is_there_after_the_next_opening_or_says_closed() {
    let _dog = Watchdog::new("closing a store under its writers", LIMIT);
    let place = Place::new();
    let seed = seed();
    let mut all: Vec<Vec<(u64, u64, u64)>> = Vec::new();
    for round in 0..40u64 {
        let store = quick(&place, Duration::from_millis(1), 3);
        let barrier = Barrier::new(7);
        let (mut done, closed) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6u64)
                .map(|thread| {
                    let (store, barrier) = (store.clone(), &barrier);
                    scope.spawn(move || {
                        let session = thread % 4;
                        let mut done = Vec::new();
                        let mut tickets = Vec::new();
                        let mut op = (round << 16 | thread) << 24;
                        barrier.wait();
                        let refused = loop {
                            op += 1;
                            let body = payload(session, op, 0, LONGEST);
                            // Through one handle, through a new one, and without waiting.
                            let result = store.session(id(session)).and_then(|s| {
                                if op % 3 == 0 {
                                    tickets.push((op, s.submit(&body)?));
                                    return Ok(None);
                                }
                                s.append(&body).map(Some)
                            });
                            match result {
                                Ok(Some(a)) => done.push((session, a.seq(), op)),
                                Ok(None) => {}
                                Err(e) => break e,
                            }
                        };
                        let mut refusals = vec![refused];
                        for (op, ticket) in tickets {
                            match ticket.wait() {
                                Ok(a) => done.push((session, a.seq(), op)),
                                Err(e) => refusals.push(e),
                            }
                        }
                        (done, refusals)
                    })
                })
                .collect();
            barrier.wait();
            std::thread::sleep(Duration::from_micros(Rng(seed ^ round).below(8000)));
            let closed = store.close();
            let done: Vec<_> = threads
                .into_iter()
                .map(|t| {
                    let (done, refusals) = t.join().unwrap();
                    for e in refusals {
                        let told = (e.kind(), e.outcome());
                        assert_eq!(
                            told,
                            (ErrorKind::Closed, Outcome::NotApplied),
                            "{e}; SESSIONLOG_SEED={seed}"
                        );
                    }
                    done
                })
                .collect();
            (done, closed)
        });
        closed.unwrap();
        all.append(&mut done);
        // Every lock is free: nothing of the closed store holds one, though its handle is still here.
        let again = quick(&place, Duration::from_millis(1), 3);
        for session in 0..4 {
            match again.open_session(id(session)) {
                Ok(s) => assert!(!s.report().unwrap().has_damage(), "{:?}", s.report()),
                Err(e) => assert_eq!(e.kind(), ErrorKind::NotFound, "{e}; SESSIONLOG_SEED={seed}"),
            }
        }
        if round % 10 == 9 {
            assert_all_there(&again, 4, &all);
        }
        again.close().unwrap();
        assert_eq!(store.session("s0").unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn iterators_show_what_they_began_with_while_archives_come_and_go_and_the_log_is_truncated() {
    let _dog = Watchdog::new("reading beside archives", LIMIT);
    let place = Place::new();
    let store = quick(&place, Duration::from_secs(1), 8);
    let s = store.session("s0").unwrap();
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (s, stop, reads) = (s.clone(), &stop, &reads);
            scope.spawn(move || {
                let _stop = StopOnDrop(stop);
                while !stop.load(Ordering::Relaxed) {
                    let messages = match thread {
                        0 => s.load().unwrap(),
                        1 => s.tail(30).unwrap(),
                        _ => {
                            let Some(last) = s.archives().unwrap().pop() else { continue };
                            match s.archived(last.number) {
                                Ok(messages) => messages,
                                Err(e) => {
                                    assert_eq!(e.kind(), ErrorKind::NotFound);
                                    continue;
                                }
                            }
                        }
                    };
                    let mut before: Option<u64> = None;
                    for m in messages {
                        let m = m.unwrap_or_else(|e| panic!("reader {thread} behind {before:?}: {e:?}"));
                        read_payload(0, &m, LONGEST);
                        assert!(
                            before.is_none_or(|b| b + 1 == m.seq()),
                            "reader {thread}: {} behind {before:?}",
                            m.seq()
                        );
                        before = Some(m.seq());
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let start = Instant::now();
        let mut rng = Rng(seed());
        let _stop = StopOnDrop(&stop);
        let mut op = 0;
        // A busy machine takes longer for as much.
        let enough = || reads.load(Ordering::Relaxed) > 20 || start.elapsed() > Duration::from_secs(40);
        while (start.elapsed() < Duration::from_secs(4) || !enough()) && !stop.load(Ordering::Relaxed) {
            for _ in 0..40 {
                op += 1;
                s.append(payload(0, op, 0, LONGEST)).unwrap();
            }
            s.archive(Keep::Messages(rng.below(200))).unwrap();
            match rng.below(3) {
                0 => s.truncate().unwrap(),
                1 => {
                    let archives = s.archives().unwrap();
                    if archives.len() > 3 {
                        s.remove_archive(archives[rng.below(archives.len() as u64) as usize].number).unwrap();
                    }
                }
                _ => {}
            }
        }
    });
    assert!(reads.load(Ordering::Relaxed) > 20);
    store.close().unwrap();
}

/// Ends the other threads, whether this one ends well or not.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_store_that_goes_with_its_last_handle_in_one_thread_can_be_opened_in_another_at_once() {
    let _dog = Watchdog::new("opening and dropping a store", LIMIT);
    let place = Place::new();
    let appended = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (place, appended) = (&place, &appended);
            scope.spawn(move || {
                let start = Instant::now();
                let mut op = thread << 32;
                while start.elapsed() < Duration::from_secs(2) {
                    let store = quick(place, Duration::from_millis(1), 8);
                    let session = store.session("s0").unwrap();
                    drop(store);
                    op += 1;
                    session.append(payload(0, op, 0, LONGEST)).unwrap();
                    appended.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let store = quick(&place, Duration::ZERO, 8);
    assert_eq!(ops(&store, 0).len() as u64, appended.load(Ordering::Relaxed));
    store.close().unwrap();
}

#[test]
fn a_session_that_is_removed_and_begun_anew_by_many_threads_is_never_half_there() {
    let _dog = Watchdog::new("removing under its users", LIMIT);
    let place = Place::new();
    let store = quick(&place, Duration::from_millis(1), 2);
    let seed = seed();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let store = &store;
            scope.spawn(move || {
                let mut rng = Rng(seed ^ thread);
                let start = Instant::now();
                let mut op = thread << 32;
                while start.elapsed() < Duration::from_secs(2) {
                    if rng.below(5) == 0 {
                        store.remove_session("s0").unwrap();
                        continue;
                    }
                    let session =
                        store.session("s0").unwrap_or_else(|e| panic!("{e}; SESSIONLOG_SEED={seed}"));
                    op += 1;
                    match session.append(payload(0, op, 0, LONGEST)) {
                        Ok(a) => match session.get(a.seq()) {
                            // Unless it was removed meanwhile.
                            Ok(None) => {}
                            Ok(Some(m)) => {
                                read_payload(0, &m, LONGEST);
                            }
                            Err(e) => {
                                assert_eq!(e.kind(), ErrorKind::NotFound, "{e}; SESSIONLOG_SEED={seed}")
                            }
                        },
                        Err(e) => assert_eq!(
                            (e.kind(), e.outcome()),
                            (ErrorKind::NotFound, Outcome::NotApplied),
                            "{e}; SESSIONLOG_SEED={seed}"
                        ),
                    }
                }
            });
        }
    });
    store.remove_session("s0").unwrap();
    assert!(store.sessions().unwrap().sessions.is_empty());
    assert_eq!(store.session("s0").unwrap().append("new").unwrap().seq(), 0);
    store.close().unwrap();
}

#[test]
fn an_append_that_was_taken_back_is_not_brought_in_by_the_next_sync() {
    let fs = SimFs::new(5);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).durability(Durability::Buffered).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    session.append("m0").unwrap();
    spy.once(0, Action::ENOSPC, |c| c.is(Op::Write, ".log"));
    assert_eq!(session.append("lost").unwrap_err().kind(), ErrorKind::NoSpace);
    session.sync().unwrap();
    assert_eq!(session.message_count().unwrap(), 1);
    assert_eq!(session.append("m1").unwrap().seq(), 1);
    assert_eq!(texts(session.load().unwrap()), ["m0", "m1"]);
    store.close().unwrap();
    assert_eq!(texts(sim_store(&fs).open_session("s").unwrap().load().unwrap()), ["m0", "m1"]);
}
