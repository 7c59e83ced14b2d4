//! The locks of the queue, and the one place to replace them when it is model-checked.
//!
//! The methods are what `parking_lot` and a model checker (whose types have the shape of std's) can both
//! offer: a lock that never fails, and a wait that takes the guard and gives it back.

pub(super) use parking_lot::MutexGuard;

/// Mutual exclusion without poisoning: what a panic leaves behind is the business of guards.
#[derive(Debug, Default)]
pub(super) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Mutex<T> {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}

/// A condition; waits may return for no reason, so every wait stands in a loop.
#[derive(Debug, Default)]
pub(super) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(super) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    pub(super) fn notify_all(&self) {
        self.0.notify_all();
    }
}
