//! What is run under every schedule.
//!
//! A script that leaves a thread asleep for ever needs no assertion: the model checker reports that nobody can run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use shuttle::rand::{Rng, thread_rng};
use shuttle::{future, thread};

use crate::locks::{Condvar, Mutex};
use crate::queue::{Batch, Outcome, Queue, Ticket};

/// Ops are numbers, ten bytes each.
#[derive(Default)]
pub struct Ops(Vec<u64>);

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
pub enum Said {
    /// The op, and the number of its group.
    Done(u64, usize),
    /// The number of the group that failed first: what a poisoned writer answers.
    Poisoned(usize),
    Aborted,
}

impl Outcome for Said {
    fn aborted() -> Self {
        Said::Aborted
    }
}

/// How the groups end.
#[derive(Clone, Copy)]
enum Groups {
    Well,
    /// Some group fails, and all after it.
    Poison,
    /// Now and then a leader panics, and has said something before.
    Panic,
}

/// The groups that were led, and whose lead ended by a panic.
#[derive(Default)]
struct Log {
    groups: Vec<(Vec<u64>, bool)>,
    poisoned: Option<usize>,
    /// A leader is at work: there is never a second one.
    leading: bool,
}

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The most ops that were led together since this was asked last.
pub fn largest_group() -> usize {
    LARGEST.swap(0, SeqCst)
}

struct World {
    queue: Queue<Ops, Said>,
    log: Mutex<Log>,
    how: Groups,
    /// For the background thread: there is work; it is over.
    bell: Arc<(Mutex<(bool, bool)>, Condvar)>,
}

impl World {
    fn new(how: Groups) -> Arc<World> {
        let bell = Arc::new((Mutex::new((false, false)), Condvar::default()));
        let hook = {
            let bell = Arc::clone(&bell);
            move || {
                bell.0.lock().0 = true;
                bell.1.notify_all();
            }
        };
        Arc::new(World { queue: Queue::new(hook), log: Mutex::default(), how, bell })
    }

    /// The work of a leader.
    fn lead(&self, ops: &mut Ops, said: &mut Vec<Said>) {
        let group = {
            let mut log = self.log.lock();
            assert!(!log.leading, "two leaders at once");
            assert!(!ops.0.is_empty(), "a group of nobody");
            log.leading = true;
            LARGEST.fetch_max(ops.0.len(), SeqCst);
            let panics = matches!(self.how, Groups::Panic) && thread_rng().gen_ratio(1, 3);
            log.groups.push((ops.0.clone(), panics));
            log.groups.len() - 1
        };
        // As a write and a sync: others run.
        thread::yield_now();
        let mut log = self.log.lock();
        log.leading = false;
        if log.groups[group].1 {
            said.extend(ops.0.iter().take(2).map(|op| Said::Done(*op, group)));
            drop(log);
            // Without the hook, which would report a failure of the script.
            resume_unwind(Box::new("the leader panics"));
        }
        if matches!(self.how, Groups::Poison) && log.poisoned.is_none() && thread_rng().gen_ratio(1, 4) {
            log.poisoned = Some(group);
        }
        match log.poisoned {
            Some(first) => said.extend(ops.0.iter().map(|_| Said::Poisoned(first))),
            None => said.extend(ops.0.iter().map(|op| Said::Done(*op, group))),
        }
    }

    /// What an op was told must be what became of its group: each member the same.
    fn check(&self, op: u64, said: Said) {
        let log = self.log.lock();
        let mut of_op = log.groups.iter().enumerate().filter(|(_, (ops, _))| ops.contains(&op));
        let (group, (_, panicked)) =
            of_op.next().unwrap_or_else(|| panic!("op {op} was led by nobody: {said:?}"));
        assert!(of_op.next().is_none(), "op {op} was led twice");
        let right = match log.poisoned {
            _ if *panicked => Said::Aborted,
            Some(first) if group >= first => Said::Poisoned(first),
            _ => Said::Done(op, group),
        };
        assert_eq!(said, right, "of op {op}");
    }

    /// Blocks; a panic is that of a leader, whose op was in the group or (for a ticket) through already.
    fn submit(&self, op: u64) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.queue.submit_and_wait(|ops| ops.0.push(op), &mut |ops, said| self.lead(ops, said))
        }));
        match done {
            Ok(said) => self.check(op, said),
            Err(panic) => self.panicked(panic),
        }
    }

    fn wait(&self, op: u64, ticket: Ticket<Said>) {
        let done =
            catch_unwind(AssertUnwindSafe(|| self.queue.wait(ticket, &mut |ops, said| self.lead(ops, said))));
        match done {
            Ok(said) => self.check(op, said),
            Err(panic) => self.panicked(panic),
        }
    }

    fn make_room(&self, bytes: usize) {
        let lead = &mut |ops: &mut Ops, said: &mut Vec<Said>| self.lead(ops, said);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.queue.make_room(bytes, lead))) {
            self.panicked(panic);
        }
    }

    /// What was pushed before is through then, whoever led it.
    fn complete(&self, op: u64) {
        let lead = &mut |ops: &mut Ops, said: &mut Vec<Said>| self.lead(ops, said);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.queue.complete(lead))) {
            return self.panicked(panic);
        }
        let log = self.log.lock();
        let group = log.groups.iter().position(|(ops, _)| ops.contains(&op));
        let group = group.unwrap_or_else(|| panic!("op {op} is not through"));
        assert!(!log.leading || group + 1 < log.groups.len(), "op {op} is under way");
    }

    /// Only panics that the script made itself are expected.
    fn panicked(&self, panic: Box<dyn std::any::Any + Send>) {
        let ours = matches!(self.how, Groups::Panic) && panic.downcast_ref() == Some(&"the leader panics");
        if !ours {
            resume_unwind(panic);
        }
    }

    fn push(&self, op: u64) -> Ticket<Said> {
        self.queue.push_detached(|ops| ops.0.push(op))
    }

    /// What the store's background thread does: sleeps until the hook calls, then leads.
    fn background(self: &Arc<World>) -> thread::JoinHandle<()> {
        let world = Arc::clone(self);
        thread::spawn(move || {
            loop {
                let mut bell = world.bell.0.lock();
                while !bell.0 && !bell.1 {
                    world.bell.1.wait(&mut bell);
                }
                let (work, over) = std::mem::take(&mut *bell);
                bell.1 = over;
                drop(bell);
                if work {
                    let lead = &mut |ops: &mut Ops, said: &mut Vec<Said>| world.lead(ops, said);
                    let done = catch_unwind(AssertUnwindSafe(|| world.queue.lead_pending(lead)));
                    if let Err(panic) = done {
                        world.panicked(panic);
                    }
                } else if over {
                    return;
                }
            }
        })
    }

    /// Ends the background thread once its work is done, and looks at what is left: nothing.
    fn finish(&self, background: thread::JoinHandle<()>, mut ops: Vec<u64>) {
        self.bell.0.lock().1 = true;
        self.bell.1.notify_all();
        background.join().unwrap();
        self.nothing_left(&mut ops);
    }

    fn nothing_left(&self, ops: &mut Vec<u64>) {
        assert!(self.queue.is_idle() && !self.queue.has_orphans(), "something is pending: {:?}", self.queue);
        let log = self.log.lock();
        let mut led: Vec<u64> = log.groups.iter().flat_map(|(ops, _)| ops.iter().copied()).collect();
        led.sort_unstable();
        ops.sort_unstable();
        assert_eq!(led, *ops, "each op is led once");
    }
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Threads that block, and nobody else: leadership passes from one to the next.
fn blocking(how: Groups, threads: u64, each: u64) {
    let world = World::new(how);
    let all = (0..threads)
        .map(|t| {
            let world = Arc::clone(&world);
            thread::spawn(move || (0..each).for_each(|i| world.submit(t * each + i)))
        })
        .collect();
    join(all);
    world.nothing_left(&mut (0..threads * each).collect());
}

/// Everything at once: threads that block, that push and wait later, that poll, that forget their tickets, that wait for all
/// there is, and that need room; a background thread that leads what nobody waits for.
fn mixed(how: Groups, threads: u64, each: u64) {
    let world = World::new(how);
    let background = world.background();
    let all = (0..threads)
        .map(|t| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for i in 0..each {
                    let op = t * each + i;
                    match thread_rng().gen_range(0..7u8) {
                        0 => world.submit(op),
                        1 => {
                            let ticket = world.push(op);
                            world.wait(op, ticket);
                        }
                        2 => {
                            let ticket = world.push(op);
                            world.check(op, future::block_on(ticket));
                        }
                        3 => drop(world.push(op)),
                        4 => {
                            drop(world.push(op));
                            world.complete(op);
                        }
                        5 => {
                            // Polled once and forgotten; or told already.
                            let mut ticket = Box::pin(world.push(op));
                            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                            if let std::task::Poll::Ready(said) = ticket.as_mut().poll(&mut context) {
                                world.check(op, said);
                            }
                        }
                        _ => {
                            world.make_room(20);
                            drop(world.push(op));
                        }
                    }
                }
            })
        })
        .collect();
    join(all);
    world.finish(background, (0..threads * each).collect());
}

/// Writers that push only when there is room, and no background thread that would make it: they have to lead. With
/// one leader at work, several wait for room.
fn room() {
    let world = World::new(Groups::Well);
    let all = (0..4u64)
        .map(|t| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for i in 0..2 {
                    world.make_room(10);
                    drop(world.push(t * 2 + i));
                }
            })
        })
        .collect();
    join(all);
    world.make_room(1);
    world.nothing_left(&mut (0..8).collect());
}

/// Many wait for room at once, and want nothing else: one turn makes it for all of them.
fn room_for_all() {
    let world = World::new(Groups::Well);
    let all = (0..7u64)
        .map(|t| {
            let world = Arc::clone(&world);
            thread::spawn(move || match t {
                0 => world.submit(0),
                1 => drop(world.push(1)),
                _ => world.make_room(10),
            })
        })
        .collect();
    join(all);
    world.make_room(1);
    world.nothing_left(&mut vec![0, 1]);
}

/// Somebody appends in the thread that wakes it, and waits.
struct Inline(Arc<World>, u64);

impl std::task::Wake for Inline {
    fn wake(self: Arc<Self>) {
        self.0.submit(self.1);
    }
}

/// The background thread leads, and wakes such ones; more comes meanwhile, some of it from who waits until all is through.
fn wakers() {
    let world = World::new(Groups::Well);
    let background = world.background();
    let all = (0..3u64)
        .map(|t| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut ticket = Box::pin(world.push(t * 10));
                let waker = std::task::Waker::from(Arc::new(Inline(Arc::clone(&world), t * 10 + 1)));
                let mut context = std::task::Context::from_waker(&waker);
                match ticket.as_mut().poll(&mut context) {
                    std::task::Poll::Ready(said) => {
                        world.check(t * 10, said);
                        world.submit(t * 10 + 1);
                    }
                    std::task::Poll::Pending => world.complete(t * 10),
                }
            })
        })
        .collect();
    join(all);
    world.finish(background, vec![0, 1, 10, 11, 20, 21]);
}

/// The background thread leads; a thread that blocks meanwhile takes over what comes after, and the ops of who does
/// not block are led with it or behind it. The leader itself pushes one more.
fn takeover() {
    let world = World::new(Groups::Well);
    let background = world.background();
    let mut all = Vec::new();
    for t in 0..2u64 {
        let world = Arc::clone(&world);
        all.push(thread::spawn(move || {
            drop(world.push(t * 10));
            let more = &mut Some(t * 10 + 1);
            let queue = &world.queue;
            let said = queue.submit_and_wait(|ops| ops.0.push(t * 10 + 2), &mut |ops, said| {
                if let Some(op) = more.take() {
                    drop(world.push(op));
                }
                world.lead(ops, said);
            });
            world.check(t * 10 + 2, said);
            // If it never led, it was told by somebody who did.
            if let Some(op) = more.take() {
                let ticket = world.push(op);
                world.wait(op, ticket);
            }
        }));
    }
    join(all);
    world.finish(background, vec![0, 1, 2, 10, 11, 12]);
}

pub struct Script {
    pub name: &'static str,
    pub run: fn(),
    /// Of a hundred schedules, how many are of this script.
    pub share: usize,
}

pub const SCRIPTS: &[Script] = &[
    Script { name: "3 threads block, twice each", run: || blocking(Groups::Well, 3, 2), share: 25 },
    Script { name: "16 members", run: || blocking(Groups::Well, 16, 1), share: 5 },
    Script { name: "16 members, a failure that poisons", run: || blocking(Groups::Poison, 16, 1), share: 5 },
    Script { name: "16 members, leaders panic", run: || blocking(Groups::Panic, 16, 1), share: 5 },
    Script { name: "3 threads block, leaders panic", run: || blocking(Groups::Panic, 3, 2), share: 15 },
    Script { name: "room is made by who needs it", run: room, share: 5 },
    Script { name: "room for all who wait", run: room_for_all, share: 5 },
    Script { name: "the lead is taken over", run: takeover, share: 5 },
    Script { name: "who is woken waits again", run: wakers, share: 5 },
    Script { name: "tickets of all kinds", run: || mixed(Groups::Well, 3, 2), share: 10 },
    Script { name: "tickets of all kinds, poisoned", run: || mixed(Groups::Poison, 3, 2), share: 5 },
    Script { name: "tickets of all kinds, leaders panic", run: || mixed(Groups::Panic, 3, 2), share: 10 },
];
