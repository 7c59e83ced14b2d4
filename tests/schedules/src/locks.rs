//! What the queue takes from `parking_lot`, made of the locks of the model checker; and the mistakes that it must find.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::thread::LocalKey;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync as checked;

/// A mistake in the locks. With one, a script must fail in some schedule: else it shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Now and then a notification is lost.
    NotifyLost,
    /// A notification that is meant for all wakes one.
    NotifyOne,
    /// A wait releases its lock before it is in line.
    WaitTooLate,
}

thread_local! {
    static MISTAKE: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// What the locks of all further executions do wrong. (These run on this thread, one after the other.)
pub fn make(mistake: Option<Mistake>) {
    MISTAKE.set(mistake);
}

fn is(mistake: Mistake) -> bool {
    // All tasks of an execution share the thread, and so this.
    let key: &'static LocalKey<_> = &MISTAKE;
    key.get() == Some(mistake)
}

#[derive(Debug, Default)]
pub struct Mutex<T>(checked::Mutex<T>);

/// Without its content only while a condition holds it.
pub struct MutexGuard<'a, T>(Option<checked::MutexGuard<'a, T>>, &'a checked::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(checked::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        // No poisoning here, as in `parking_lot`.
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)), &self.0)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is not waiting")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is not waiting")
    }
}

#[derive(Debug, Default)]
pub struct Condvar(checked::Condvar);

impl Condvar {
    /// Returns for no reason now and then, as conditions may.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let mut lock = guard.0.take().expect("it is not waiting");
        if thread_rng().gen_ratio(1, 8) {
            drop(lock);
            shuttle::thread::yield_now();
            lock = guard.1.lock().unwrap_or_else(PoisonError::into_inner);
        } else {
            if is(Mistake::WaitTooLate) {
                drop(lock);
                lock = guard.1.lock().unwrap_or_else(PoisonError::into_inner);
            }
            lock = self.0.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        guard.0 = Some(lock);
    }

    pub fn notify_all(&self) {
        if is(Mistake::NotifyOne) {
            self.0.notify_one();
        } else if !(is(Mistake::NotifyLost) && thread_rng().gen_ratio(1, 8)) {
            self.0.notify_all();
        }
    }
}
