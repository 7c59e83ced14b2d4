//! Ops for which nobody blocks: the hook, futures, tickets far away.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use super::super::Queue;
use super::{Said, TestQueue, echo, op, pending, queue, wait_until, while_leading};

#[test]
fn dropping_a_ticket_withdraws_nothing() {
    let (queue, _) = queue();
    drop(queue.push_detached(op(1)));
    drop(queue.push_detached(op(2)));
    let mut seen = Vec::new();
    assert!(queue.lead_pending(&mut |ops, said| {
        seen.extend_from_slice(&ops.0);
        echo(ops, said);
    }));
    assert_eq!(seen, [1, 2]);
    assert!(!queue.lead_pending(&mut echo));
}

#[test]
fn the_hook_is_called_when_nobody_is_there_to_lead_and_only_then() {
    let (queue, hooks) = queue();
    let calls = || hooks.swap(0, SeqCst);

    queue.submit_and_wait(op(1), &mut echo);
    assert_eq!(calls(), 0, "somebody blocks");

    let detached = queue.push_detached(op(2));
    assert_eq!(calls(), 1, "a detached op and no leader");
    assert!(queue.has_orphans());
    queue.submit_and_wait(op(3), &mut echo);
    assert_eq!(detached.try_get(), Some(Said::Done(2)));
    assert_eq!(calls(), 0, "an appender took it along");
    assert!(!queue.has_orphans());

    let detached = while_leading(&queue, || {
        let detached = queue.push_detached(op(4));
        assert_eq!(calls(), 0, "somebody leads");
        assert!(!queue.has_orphans(), "somebody leads");
        detached
    });
    assert_eq!(calls(), 1, "the leader has gone");
    assert!(!detached.is_done());

    assert!(queue.lead_pending(&mut echo));
    assert_eq!(detached.try_get(), Some(Said::Done(4)));
    assert_eq!(calls(), 0, "the background thread leads until nothing is pending");
}

#[test]
fn a_blocked_thread_takes_over_before_the_background_thread_is_told() {
    let (queue, hooks) = queue();
    thread::scope(|scope| {
        let blocked = while_leading(&queue, || {
            let _early = queue.push_detached(op(1));
            let blocked = scope.spawn(|| queue.submit_and_wait(op(2), &mut echo));
            wait_until(|| pending(&queue) == 2);
            let _late = queue.push_detached(op(3));
            blocked
        });
        assert_eq!(blocked.join().unwrap(), Said::Done(2));
    });
    assert_eq!(hooks.load(SeqCst), 0);
    assert_eq!(pending(&queue), 0);
}

struct Flag(AtomicUsize);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn polling_registers_the_last_waker_and_never_leads() {
    let (queue, _) = queue();
    let mut ticket = queue.push_detached(op(1));
    let wakers = [Arc::new(Flag(AtomicUsize::new(0))), Arc::new(Flag(AtomicUsize::new(0)))];
    for flag in [&wakers[0], &wakers[1], &wakers[1]] {
        let waker = Waker::from(Arc::clone(flag));
        assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(queue.has_orphans());
    assert!(queue.lead_pending(&mut echo));
    assert_eq!(wakers.map(|flag| flag.0.load(SeqCst)), [0, 1]);
    let again = pin!(ticket).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(again, Poll::Ready(Said::Done(1)));
}

struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("on purpose, in a waker");
    }
}

#[test]
fn a_waker_that_panics_keeps_the_outcome_from_nobody() {
    let (queue, _) = queue();
    let mut tickets: Vec<_> = (0..3).map(|n| queue.push_detached(op(n))).collect();
    let bomb = Waker::from(Arc::new(Bomb));
    assert!(Pin::new(&mut tickets[0]).poll(&mut Context::from_waker(&bomb)).is_pending());
    assert!(queue.lead_pending(&mut echo));
    for (ticket, n) in tickets.iter().zip(0..) {
        assert_eq!(ticket.try_get(), Some(Said::Done(n)));
    }
}

/// A queue with a background thread that leads when the hook tells it to.
fn with_background(test: impl FnOnce(&Arc<TestQueue>)) {
    let (tell, told) = mpsc::channel();
    let queue: Arc<TestQueue> = Arc::new(Queue::new(move || tell.send(()).unwrap_or_default()));
    thread::scope(|scope| {
        let background = Arc::downgrade(&queue);
        scope.spawn(move || {
            while told.recv().is_ok() {
                let Some(queue) = background.upgrade() else { break };
                queue.lead_pending(&mut |ops, said| {
                    thread::sleep(Duration::from_micros(20));
                    echo(ops, said);
                });
            }
        });
        test(&queue);
        drop(queue);
    });
}

#[test]
fn tickets_awaited_in_tokio_and_threads_that_block_share_one_queue() {
    with_background(|queue| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        thread::scope(|scope| {
            for t in 100..104 {
                scope.spawn(move || {
                    for i in 0..500 {
                        let n = t << 32 | i;
                        assert_eq!(queue.submit_and_wait(op(n), &mut echo), Said::Done(n));
                        let ticket = queue.push_detached(op(n));
                        assert_eq!(queue.wait(ticket, &mut echo), Said::Done(n));
                    }
                });
            }
            runtime.block_on(async {
                let tasks: Vec<_> = (0..32u64)
                    .map(|t| {
                        let queue = Arc::clone(queue);
                        tokio::spawn(async move {
                            for i in 0..200 {
                                let n = t << 32 | i;
                                assert_eq!(queue.push_detached(op(n)).await, Said::Done(n));
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        });
    });
}
