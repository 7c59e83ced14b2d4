//! Handing messages over without waiting.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, ErrorKind, Ticket};

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
    let ticket = session.submit_batch(&batch, &AppendOptions::new().key("k")).unwrap();
    assert_eq!(ticket.wait().unwrap().seqs, 500..502);
    let again = session.submit_batch(&batch, &AppendOptions::new().key("k")).unwrap().wait().unwrap();
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
            let work = |session: sessionlog::Session| {
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
