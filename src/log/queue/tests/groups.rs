//! Who is told what: outcomes, panics, ops that are added badly.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::super::Ticket;
use super::{Ops, Said, echo, op, pending, queue};

#[test]
fn every_outcome_belongs_to_its_op_and_ops_share_commits() {
    const THREADS: u64 = 16;
    const OPS: u64 = 2000;
    let (queue, _) = queue();
    let (turns, leading) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for t in 0..THREADS {
            let (queue, turns, leading) = (&queue, &turns, &leading);
            scope.spawn(move || {
                let mut lead = |ops: &mut Ops, said: &mut Vec<Said>| {
                    assert!(!leading.swap(true, SeqCst), "two lead at once");
                    assert!(said.is_empty() && !ops.0.is_empty());
                    turns.fetch_add(1, SeqCst);
                    thread::sleep(Duration::from_micros(50));
                    echo(ops, said);
                    leading.store(false, SeqCst);
                };
                for i in 0..OPS {
                    let n = t << 32 | i;
                    let said = match i % 2 {
                        0 => queue.wait(queue.push_detached(op(n)), &mut lead),
                        _ => queue.submit_and_wait(op(n), &mut lead),
                    };
                    assert_eq!(said, Said::Done(n));
                }
            });
        }
    });
    let turns = turns.load(SeqCst) as u64;
    assert!(turns * 4 < THREADS * OPS, "{turns} commits for {} ops", THREADS * OPS);
    assert_eq!(pending(&queue), 0);
    assert!(!queue.has_orphans());
}

#[test]
fn the_ops_of_one_thread_are_committed_in_their_order() {
    let (queue, _) = queue();
    let order = parking_lot::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for t in 0..8 {
            let (queue, order) = (&queue, &order);
            scope.spawn(move || {
                for i in 0..500 {
                    let _unwaited = queue.push_detached(op(t << 32 | i));
                    if i % 50 == 49 {
                        queue.lead_pending(&mut |ops, said| {
                            order.lock().extend_from_slice(&ops.0);
                            echo(ops, said);
                        });
                    }
                }
            });
        }
    });
    queue.lead_pending(&mut |ops, said| {
        order.lock().extend_from_slice(&ops.0);
        echo(ops, said);
    });
    let order = order.into_inner();
    assert_eq!(order.len(), 8 * 500);
    for t in 0..8 {
        assert!(order.iter().filter(|n| *n >> 32 == t).is_sorted());
    }
}

#[test]
fn nobody_is_told_before_the_leader_has_returned() {
    let (queue, _) = queue();
    let others: Vec<_> = (1..5).map(|n| queue.push_detached(op(n))).collect();
    let said = queue.submit_and_wait(op(5), &mut |ops, said| {
        echo(ops, said);
        assert!(others.iter().all(|ticket| !ticket.is_done() && ticket.try_get().is_none()));
    });
    assert_eq!(said, Said::Done(5));
    for (ticket, n) in others.iter().zip(1..) {
        assert_eq!(ticket.try_get(), Some(Said::Done(n)));
    }
}

#[test]
fn a_leader_that_panics_aborts_its_group_and_the_queue_goes_on() {
    let (queue, _) = queue();
    let first = queue.push_detached(op(1));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        queue.submit_and_wait(op(2), &mut |ops, said| {
            echo(ops, said);
            panic!("on purpose, after all outcomes were pushed");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(first.try_get(), Some(Said::Aborted));
    assert_eq!(queue.submit_and_wait(op(3), &mut echo), Said::Done(3));
}

#[test]
fn panics_among_many_threads_leave_nobody_waiting() {
    let (queue, _) = queue();
    let aborted = AtomicUsize::new(0);
    let turns = AtomicUsize::new(0);
    thread::scope(|scope| {
        for t in 0..8u64 {
            let (queue, aborted, turns) = (&queue, &aborted, &turns);
            scope.spawn(move || {
                for i in 0..200 {
                    let n = t << 32 | i;
                    let said = catch_unwind(AssertUnwindSafe(|| {
                        queue.submit_and_wait(op(n), &mut |ops, said| {
                            if turns.fetch_add(1, SeqCst) % 7 == 3 {
                                std::panic::resume_unwind(Box::new("on purpose"));
                            }
                            thread::yield_now();
                            echo(ops, said);
                        })
                    }));
                    match said {
                        Ok(Said::Done(m)) => assert_eq!(m, n),
                        Ok(Said::Aborted) | Err(_) => drop(aborted.fetch_add(1, SeqCst)),
                    }
                }
            });
        }
    });
    assert!(aborted.load(SeqCst) > 0);
    assert_eq!(queue.submit_and_wait(op(7), &mut echo), Said::Done(7));
}

#[test]
fn ops_without_an_outcome_are_aborted_and_outcomes_without_an_op_dropped() {
    let (queue, _) = queue();
    let tickets: Vec<_> = (0..3).map(|n| queue.push_detached(op(n))).collect();
    assert!(queue.lead_pending(&mut |_, said| said.push(Said::Done(0))));
    let said: Vec<_> = tickets.iter().map(Ticket::try_get).collect();
    assert_eq!(said, [Some(Said::Done(0)), Some(Said::Aborted), Some(Said::Aborted)]);

    assert_eq!(queue.submit_and_wait(op(3), &mut |_, _| ()), Said::Aborted);
    let too_many = queue.submit_and_wait(op(4), &mut |ops, said| {
        echo(ops, said);
        said.push(Said::Done(99));
    });
    assert_eq!(too_many, Said::Done(4));
    assert_eq!(queue.submit_and_wait(op(5), &mut echo), Said::Done(5));
}

#[test]
fn an_add_that_panics_or_cheats_shifts_no_outcome() {
    let (queue, _) = queue();
    let before = queue.push_detached(op(1));
    let adds: [fn(&mut Ops); 4] = [
        |_| panic!("on purpose, before"),
        |ops| {
            ops.0.push(50);
            panic!("on purpose, after");
        },
        |_| (),
        |ops| ops.0.extend([51, 52]),
    ];
    for add in adds {
        assert!(catch_unwind(AssertUnwindSafe(|| queue.push_detached(add))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| queue.submit_and_wait(add, &mut echo))).is_err());
    }
    let after = queue.push_detached(op(2));
    assert_eq!(queue.submit_and_wait(op(3), &mut echo), Said::Done(3));
    assert_eq!(before.try_get(), Some(Said::Done(1)));
    assert_eq!(after.try_get(), Some(Said::Done(2)));
}
