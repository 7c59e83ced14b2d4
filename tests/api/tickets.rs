//! Handing messages over without waiting.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, ErrorKind, Outcome, Session, Store, Ticket};

use crate::common::{
    Action, Op, Place, SIM, Spy, eventually, fill, kind, live, numbered, sim_options, sim_store, within,
};

#[test]
fn tickets_are_answered_in_the_order_of_the_calls() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    let tickets: Vec<Ticket> = (0..500).map(|i| session.submit(&format!("m{i}")).unwrap()).collect();
    for (i, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.wait().unwrap().seq(), i as u64);
    }
    assert_eq!(live(&session), numbered(0..500));
    let batch = Batch::new().message("a").message("b");
    let ticket = session.submit_batch_with(&batch, &AppendOptions::new().key("k")).unwrap();
    assert_eq!(ticket.wait().unwrap().seqs, 500..502);
    let again = session.submit_batch_with(&batch, &AppendOptions::new().key("k")).unwrap().wait().unwrap();
    assert!(again.repeated && again.seqs == (500..502));
    let refused = session.submit_with("x", &AppendOptions::new().expect_next(3)).unwrap();
    assert_eq!(kind(refused.wait()), Some(ErrorKind::Conflict));
}

#[test]
fn a_dropped_ticket_withdraws_nothing() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    for i in 0..50 {
        drop(session.submit(&format!("m{i}")).unwrap());
    }
    eventually("all fifty", || session.message_count().unwrap() == 50);
    assert_eq!(live(&session), numbered(0..50));
    // Closing does what nobody waits for.
    for i in 50..60 {
        drop(session.submit(&format!("m{i}")).unwrap());
    }
    store.close().unwrap();
    assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), numbered(0..60));
}

#[test]
fn a_ticket_is_acknowledged_only_when_it_is_durable() {
    let fs = SimFs::new(2);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let (stuck, go) = spy.hold_syncs(".log");
    let ticket = session.submit("m1").unwrap();
    eventually("the sync", || stuck.load(Ordering::SeqCst));
    assert!(ticket.try_get().is_none());
    assert_eq!(session.message_count().unwrap(), 1);
    go.store(true, Ordering::SeqCst);
    eventually("the outcome", || ticket.try_get().is_some());
    assert_eq!(ticket.try_get().unwrap().unwrap().seq(), 1);
    assert_eq!(ticket.wait().unwrap().seq(), 1);
    assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), numbered(0..2));
}

/// A commit has room for 65,535 journal records: however many appends wait, each with a key of its own, no commit gets more.
#[test]
fn more_keyed_appends_may_wait_than_one_commit_can_take() {
    let fs = SimFs::new(3);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let (stuck, go) = spy.hold_syncs(".log");
    let count = 66_000;
    let submit = |i: usize| {
        let key = i.to_string();
        session.submit_with(&format!("m{i}"), &AppendOptions::new().key(&key)).unwrap()
    };
    let first = submit(1);
    eventually("the sync", || stuck.load(Ordering::SeqCst));
    let tickets: Vec<Ticket> = (2..count).map(submit).collect();
    let before = spy.counts();
    go.store(true, Ordering::SeqCst);
    assert_eq!(first.wait().unwrap().seq(), 1);
    for (i, ticket) in (2..).zip(tickets) {
        assert_eq!(ticket.wait().unwrap().seq(), i);
    }
    let syncs = (spy.counts() - before).syncs;
    assert!((16..40).contains(&syncs), "{syncs} commits");
    assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), numbered(0..count as u64));
}

#[test]
fn polling_never_touches_the_disk() {
    let fs = SimFs::new(3);
    let spy = Spy::new(fs);
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    spy.quiet();
    let me = std::thread::current().id();
    spy.hook(move |_| {
        assert_ne!(std::thread::current().id(), me, "I/O on the thread that polls");
        Action::Go
    });
    let mut ticket = session.submit("m1").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    eventually("the outcome", || {
        matches!(std::pin::Pin::new(&mut ticket).poll(&mut context), Poll::Ready(Ok(_)))
    });
    spy.calm();
    assert_eq!(live(&session), numbered(0..2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_awaited_under_tokio_and_a_cancelled_wait_withdraws_nothing() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    assert_eq!(session.submit("m0").unwrap().await.unwrap().seq(), 0);
    // A wait that is cancelled: the message is there all the same.
    let ticket = session.submit("m1").unwrap();
    let _ = tokio::time::timeout(Duration::ZERO, ticket).await;
    let task = tokio::spawn({
        let session = session.clone();
        async move { session.submit("m2").unwrap().await.unwrap() }
    });
    let seq = task.await.unwrap().seq();
    assert_eq!(seq, 2, "behind the cancelled one");
    let task = tokio::spawn({
        let session = session.clone();
        async move {
            let ticket = session.submit("m3").unwrap();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            ticket.await
        }
    });
    while session.message_count().unwrap() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let tickets: Vec<_> = (4..100).map(|i| session.submit(&format!("m{i}")).unwrap()).collect();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    assert_eq!(live(&session), numbered(0..100));
}

#[test]
fn a_failed_commit_reaches_every_ticket_of_its_group() {
    let fs = SimFs::new(4);
    let spy = Spy::new(fs);
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    spy.always(Action::EIO, |c| c.is(Op::Sync, ".log"));
    let tickets: Vec<_> = (0..20).map(|_| session.submit("x").unwrap()).collect();
    for ticket in tickets {
        assert_eq!(kind(ticket.wait()), Some(ErrorKind::Poisoned));
    }
}

/// What was handed over while another thread's commit is under way has no thread of its own to lead it.
#[test]
fn closing_a_store_does_what_was_handed_over_behind_a_commit_under_way() {
    for detached in [false, true] {
        let fs = SimFs::new(21);
        let spy = Spy::new(fs.clone());
        let store = sim_options(spy.clone()).open(SIM).unwrap();
        let session = store.session("s").unwrap();
        fill(&session, 1);
        let (stuck, go) = spy.hold_syncs(".log");
        let under_way = session.clone();
        let under_way = std::thread::spawn(move || match detached {
            true => under_way.submit("m1").unwrap().wait(),
            false => under_way.append("m1"),
        });
        eventually("the sync", || stuck.load(Ordering::SeqCst));
        for i in 2..10 {
            drop(session.submit(&format!("m{i}")).unwrap());
        }
        let closing = std::thread::spawn(move || store.close());
        std::thread::sleep(Duration::from_millis(30));
        go.store(true, Ordering::SeqCst);
        closing.join().unwrap().unwrap();
        under_way.join().unwrap().unwrap();
        assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), numbered(0..10));
    }
}

#[test]
fn of_what_is_handed_over_before_a_close_on_a_disk_nothing_is_refused() {
    for _ in 0..20 {
        let place = Place::new();
        let store = place.open();
        let session = store.session("s").unwrap();
        fill(&session, 1);
        let beside = session.clone();
        let beside = std::thread::spawn(move || while beside.append("beside").is_ok() {});
        std::thread::sleep(Duration::from_millis(2));
        let ticket = session.submit("last").unwrap();
        store.close().unwrap();
        ticket.wait().unwrap();
        beside.join().unwrap();
    }
}

#[test]
fn closing_a_session_does_what_was_handed_over_before() {
    let (fs, spy, _store, [_, session], (_ticket, go)) = beside_a_busy_thread();
    let ticket = session.submit("m2").unwrap();
    session.close().unwrap();
    // Another process takes it, and keeps it.
    let theirs = sim_store(&fs.process_new()).session("s").unwrap();
    assert_eq!(live(&theirs), numbered(0..3));
    theirs.append("theirs").unwrap();
    go.store(true, Ordering::SeqCst);
    assert_eq!(ticket.wait().unwrap().seq(), 2);
    spy.calm();
}

#[test]
fn in_a_forked_child_a_ticket_writes_nothing_and_does_not_wait() {
    let (_fs, spy, _store, [_, session], (_ticket, go)) = beside_a_busy_thread();
    let [first, second, mut third] = ["m2", "m3", "m4"].map(|text| session.submit(text).unwrap());
    spy.fork();
    let before = spy.counts();
    assert_eq!(kind(first.wait()), Some(ErrorKind::Forked));
    assert_eq!(second.try_get().and_then(kind), Some(ErrorKind::Forked));
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::Pin::new(&mut third).poll(&mut context) {
        Poll::Ready(Err(e)) => assert_eq!((e.kind(), e.outcome()), (ErrorKind::Forked, Outcome::Unknown)),
        other => panic!("{other:?}"),
    }
    let done = spy.counts() - before;
    assert_eq!((done.writes, done.syncs), (0, 0));
    spy.unfork();
    go.store(true, Ordering::SeqCst);
    // The parent does it.
    assert_eq!(second.wait().unwrap().seq(), 3);
}

/// Two sessions, of which the first has a commit under way that keeps the store's thread busy until it may go on.
fn beside_a_busy_thread() -> (SimFs, Spy, Store, [Session; 2], (Ticket, Arc<AtomicBool>)) {
    let fs = SimFs::new(22);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let sessions = ["other", "s"].map(|id| store.session(id).unwrap());
    for session in &sessions {
        fill(session, 1);
        // What made it knows its file by another name.
        session.clone().close().unwrap();
        fill(session, 1);
    }
    let (stuck, go) = spy.hold_syncs("other");
    let ticket = sessions[0].submit("m2").unwrap();
    eventually("the sync", || stuck.load(Ordering::SeqCst));
    (fs, spy, store, sessions, (ticket, go))
}

/// What an executor does that polls the task at once, in the thread that wakes it.
struct Inline(Mutex<Option<Box<dyn FnOnce() + Send>>>, AtomicBool);

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let work = self.0.lock().unwrap().take();
        work.into_iter().for_each(|work| work());
        self.1.store(true, Ordering::SeqCst);
    }
}

/// Does this when the ticket is answered, in the thread that does so.
fn inline(ticket: &mut Ticket, work: impl FnOnce() + Send + 'static) -> Arc<Inline> {
    let inline = Arc::new(Inline(Mutex::new(Some(Box::new(work))), AtomicBool::new(false)));
    let waker = Waker::from(inline.clone());
    assert!(std::pin::Pin::new(ticket).poll(&mut Context::from_waker(&waker)).is_pending());
    inline
}

#[test]
fn whoever_is_woken_may_append_and_wait_for_another_ticket_of_the_same_commit() {
    let fs = SimFs::new(23);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let (stuck, go) = spy.hold_syncs(".log");
    let mut first = session.submit("m1").unwrap();
    eventually("the sync", || stuck.load(Ordering::SeqCst));
    let [mut second, third] = ["m2", "m3"].map(|text| session.submit(text).unwrap());
    let appending = session.clone();
    let append = inline(&mut first, move || assert!(appending.append("m4").is_ok()));
    let wait = inline(&mut second, move || assert!(third.wait().is_ok()));
    go.store(true, Ordering::SeqCst);
    eventually("both", || append.1.load(Ordering::SeqCst) && wait.1.load(Ordering::SeqCst));
    assert_eq!(live(&session), numbered(0..5));
}

#[test]
fn whoever_is_woken_may_close_the_store_beside_another_who_does() {
    let (_fs, _spy, store, _sessions, (mut ticket, go)) = beside_a_busy_thread();
    let closing = store.clone();
    let woken = inline(&mut ticket, move || drop(closing.close()));
    within(Duration::from_secs(10), "two closes", move || {
        let close = std::thread::spawn(move || store.close());
        std::thread::sleep(Duration::from_millis(20));
        go.store(true, Ordering::SeqCst);
        let _ = close.join().unwrap();
        eventually("the other", || woken.1.load(Ordering::SeqCst));
    });
}

#[test]
fn no_ticket_waits_for_ever_when_the_store_is_closed_beside_it() {
    for round in 0..60 {
        let fs = SimFs::new(round);
        let store = sim_store(&fs);
        let session = store.session("s").unwrap();
        fill(&session, 1);
        within(Duration::from_secs(20), "a ticket of a closed store", move || {
            let submitter = std::thread::spawn(move || {
                let mut acknowledged = 1;
                loop {
                    match session.submit("x") {
                        Ok(ticket) => match ticket.wait() {
                            Ok(_) => acknowledged += 1,
                            Err(e) => {
                                assert_eq!(e.kind(), ErrorKind::Closed, "{e}");
                                return acknowledged;
                            }
                        },
                        Err(e) => {
                            assert_eq!(e.kind(), ErrorKind::Closed, "{e}");
                            return acknowledged;
                        }
                    }
                }
            });
            std::thread::sleep(Duration::from_micros(50 * round));
            store.close().unwrap();
            let acknowledged = submitter.join().unwrap();
            let session = sim_store(&fs.crash()).open_session("s").unwrap();
            assert_eq!(session.message_count().unwrap(), acknowledged);
        });
    }
}

#[test]
fn appends_beside_a_close_are_acknowledged_and_there_or_closed() {
    for round in 0..40u64 {
        let fs = SimFs::new(1000 + round);
        let store = sim_store(&fs);
        let sessions: Vec<_> = (0..3).map(|i| store.session(format!("s{i}")).unwrap()).collect();
        let counts: Vec<u64> = std::thread::scope(|scope| {
            let work = |session: Session| {
                scope.spawn(move || {
                    let mut done = 0;
                    loop {
                        match session.append("x") {
                            Ok(_) => done += 1,
                            Err(e) => {
                                assert_eq!(e.kind(), ErrorKind::Closed, "{e}");
                                return done;
                            }
                        }
                    }
                })
            };
            let threads: Vec<_> = sessions.into_iter().map(work).collect();
            std::thread::sleep(Duration::from_micros(70 * round));
            store.close().unwrap();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        // Nothing was left open behind: another process gets every lock.
        let other = sim_store(&fs.process_new());
        for (i, count) in counts.into_iter().enumerate() {
            let session = other.session(format!("s{i}")).unwrap();
            assert_eq!(session.message_count().unwrap(), count, "session {i}, round {round}");
        }
    }
}
