//! The rules of the queue, with real threads: a queue of numbers, and what the tests share.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{Batch, Outcome, Queue};

mod groups;
mod tickets;
mod turns;

/// Ops are numbers, ten bytes each.
#[derive(Default)]
struct Ops(Vec<u64>);

impl Batch for Ops {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn bytes(&self) -> usize {
        self.0.len() * 10
    }
    fn clear(&mut self) {
        self.0.clear();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Done(u64),
    Aborted,
}

impl Outcome for Said {
    fn aborted() -> Self {
        Said::Aborted
    }
}

type TestQueue = Queue<Ops, Said>;

/// A queue and the number of times that its hook was called.
fn queue() -> (Arc<TestQueue>, Arc<AtomicUsize>) {
    let hooks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&hooks);
    let hook = move || {
        count.fetch_add(1, SeqCst);
    };
    (Arc::new(Queue::new(hook)), hooks)
}

fn op(n: u64) -> impl FnOnce(&mut Ops) {
    move |ops| ops.0.push(n)
}

/// Answers every op with itself.
fn echo(ops: &mut Ops, said: &mut Vec<Said>) {
    said.extend(ops.0.iter().map(|n| Said::Done(*n)));
}

/// The number of ops that are pending.
fn pending(queue: &TestQueue) -> usize {
    queue.inner.lock().collecting.len()
}

fn wait_until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < end, "it did not happen within twenty seconds");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Runs `inside` in a thread that leads an op (number 0) until `inside` returns.
fn while_leading<T>(queue: &Arc<TestQueue>, inside: impl FnOnce() -> T) -> T {
    let (began, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let said = queue.submit_and_wait(op(0), &mut |ops, said| {
                if ops.0 == [0] {
                    began.send(()).unwrap();
                    released.recv().unwrap();
                }
                echo(ops, said);
            });
            assert_eq!(said, Said::Done(0));
        });
        has_begun.recv().unwrap();
        let result = inside();
        release.send(()).unwrap();
        result
    })
}
