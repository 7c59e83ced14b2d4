//! Who leads, and for how long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use super::super::Ticket;
use super::{Said, TestQueue, echo, op, pending, queue, wait_until, while_leading};

#[test]
fn a_leader_leads_one_group_and_then_hands_over() {
    let (queue, _) = queue();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for t in 0..4 {
            let (queue, stop) = (&queue, &stop);
            scope.spawn(move || {
                let mut turns = 0;
                while !stop.load(SeqCst) {
                    let mut led = 0;
                    queue.submit_and_wait(op(t), &mut |ops, said| {
                        led += 1;
                        thread::sleep(Duration::from_micros(20));
                        echo(ops, said);
                    });
                    assert!(led <= 1, "it led {led} groups for one op");
                    turns += led;
                }
                assert!(turns > 0, "it never led");
            });
        }
        thread::sleep(Duration::from_millis(300));
        stop.store(true, SeqCst);
    });
}

#[test]
fn the_background_thread_goes_on_alone_and_steps_back_for_a_blocked_one() {
    let (queue, hooks) = queue();
    let _first = queue.push_detached(op(1));
    let mut groups = Vec::new();
    queue.lead_pending(&mut |ops, said| {
        groups.push(ops.0.clone());
        if ops.0[0] < 4 {
            let _next = queue.push_detached(op(ops.0[0] + 1));
        }
        echo(ops, said);
    });
    assert_eq!(groups, [[1], [2], [3], [4]]);
    assert_eq!(hooks.load(SeqCst), 1, "for the first op alone");

    let _again = queue.push_detached(op(1));
    let (mut led_here, led_there) = (0, AtomicUsize::new(0));
    thread::scope(|scope| {
        queue.lead_pending(&mut |ops, said| {
            led_here += 1;
            scope.spawn(|| {
                queue.submit_and_wait(op(9), &mut |ops, said| {
                    led_there.fetch_add(1, SeqCst);
                    echo(ops, said);
                })
            });
            wait_until(|| pending(&queue) == 1);
            echo(ops, said);
        });
    });
    assert_eq!((led_here, led_there.into_inner()), (1, 1));
}

#[test]
fn who_waits_for_a_ticket_leads_if_nobody_else_does() {
    let (queue, _) = queue();
    let mut led = 0;
    let ticket = queue.push_detached(op(1));
    let said = queue.wait(ticket, &mut |ops, said| {
        led += 1;
        echo(ops, said);
    });
    assert_eq!((said, led), (Said::Done(1), 1));

    let ticket = queue.push_detached(op(2));
    assert!(queue.lead_pending(&mut echo));
    let said = queue.wait(ticket, &mut |_, _| panic!("the op is through"));
    assert_eq!(said, Said::Done(2));

    thread::scope(|scope| {
        let waiting = while_leading(&queue, || {
            let ticket = queue.push_detached(op(3));
            let waiting = scope.spawn(|| queue.wait(ticket, &mut echo));
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished(), "somebody else leads");
            waiting
        });
        assert_eq!(waiting.join().unwrap(), Said::Done(3), "it led when the leader went");
    });
}

#[test]
fn complete_returns_when_what_was_pushed_before_is_through_and_no_later() {
    let (queue, _) = queue();
    queue.complete(&mut |_, _| panic!("nothing is pending"));
    let ticket = queue.push_detached(op(1));
    queue.complete(&mut echo);
    assert!(ticket.is_done(), "nobody else led");

    thread::scope(|scope| {
        let (behind, waiting) = while_leading(&queue, || {
            let behind = queue.push_detached(op(2));
            let waiting = scope.spawn(|| queue.complete(&mut echo));
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished(), "two groups are not through");
            (behind, waiting)
        });
        waiting.join().unwrap();
        assert!(behind.is_done());
    });

    // What comes later is not waited for.
    let mut later = Vec::new();
    let _first = queue.push_detached(op(3));
    queue.complete(&mut |ops, said| {
        later.push(queue.push_detached(op(4)));
        assert_eq!(later.len(), 1);
        echo(ops, said);
    });
    assert_eq!(pending(&queue), 1);
}

#[test]
fn whoever_is_woken_finds_no_leader_in_the_background_and_may_wait() {
    struct Inline(Arc<TestQueue>, AtomicBool);
    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            assert_eq!(self.0.submit_and_wait(op(3), &mut echo), Said::Done(3));
            self.1.store(true, SeqCst);
        }
    }
    let (queue, _) = queue();
    let inline = Arc::new(Inline(Arc::clone(&queue), AtomicBool::new(false)));
    let mut first = queue.push_detached(op(1));
    let waker = Waker::from(Arc::clone(&inline));
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
    let mut second = None;
    // With more to come, which is led before or behind the waker's own.
    assert!(queue.lead_pending(&mut |ops, said| {
        second.get_or_insert_with(|| queue.push_detached(op(2)));
        echo(ops, said);
    }));
    assert!(inline.1.load(SeqCst));
    assert!(second.is_some_and(|ticket| ticket.is_done()));
}

#[test]
fn make_room_leads_or_waits_until_there_is_room() {
    let (queue, _) = queue();
    queue.make_room(0, &mut |_, _| panic!("nothing is pending"));
    let tickets: Vec<_> = (0..5).map(|n| queue.push_detached(op(n))).collect();
    queue.make_room(51, &mut |_, _| panic!("fifty bytes are less than 51"));
    queue.make_room(50, &mut echo);
    assert!(tickets.iter().all(Ticket::is_done));
    assert_eq!(pending(&queue), 0);

    thread::scope(|scope| {
        let (waiting, detached) = while_leading(&queue, || {
            let detached = queue.push_detached(op(1));
            let waiting = scope.spawn(|| queue.make_room(10, &mut echo));
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished(), "somebody else leads, and ten bytes are pending");
            (waiting, detached)
        });
        waiting.join().unwrap();
        assert!(detached.is_done(), "it led when the leader went");
    });
}
