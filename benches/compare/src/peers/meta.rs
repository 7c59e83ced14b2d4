//! What the stores of keys and values keep beside the messages of a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::Result;

/// A session's live range and its archives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) base: u64,
    pub(crate) next: u64,
    pub(crate) archives: u64,
}

impl Meta {
    pub(crate) fn count(self) -> u64 {
        self.next - self.base
    }

    /// The first of the last `n` live messages.
    pub(crate) fn tail(self, n: u64) -> u64 {
        self.next.saturating_sub(n).max(self.base)
    }

    /// After an archive of all but the last `keep`, and the range that it took.
    pub(crate) fn archived(self, keep: u64) -> (Meta, [u64; 2]) {
        let upto = self.tail(keep);
        (Meta { base: upto, archives: self.archives + 1, ..self }, [self.base, upto])
    }

    pub(crate) fn encode(self) -> [u8; 24] {
        let mut out = [0; 24];
        for (bytes, word) in out.chunks_exact_mut(8).zip([self.base, self.next, self.archives]) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Meta> {
        match bytes.chunks_exact(8).map(word).collect::<Result<Vec<_>>>()?[..] {
            [base, next, archives] => Ok(Meta { base, next, archives }),
            _ => Err(format!("a session's record of {} bytes", bytes.len()).into()),
        }
    }
}

/// A big-endian number of eight bytes.
pub(crate) fn word(bytes: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(bytes.try_into()?))
}

/// A key of two numbers that sorts as they do.
pub(crate) fn key(a: u64, b: u64) -> [u8; 16] {
    let mut out = [0; 16];
    let (first, second) = out.split_at_mut(8);
    first.copy_from_slice(&a.to_be_bytes());
    second.copy_from_slice(&b.to_be_bytes());
    out
}

/// The range of a read may not run over its end: a store that lost messages gives fewer, and says nothing.
pub(crate) fn expect(found: u64, asked: u64) -> Result<()> {
    if found == asked {
        return Ok(());
    }
    Err(format!("{found} messages where {asked} are live").into())
}

/// What the threads of one session share, where the peer itself leaves their order to its user. It lives as long as
/// one of them has a handle.
pub(crate) struct Shared<T>(Mutex<HashMap<u64, Weak<Mutex<T>>>>);

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared(Mutex::default())
    }
}

impl<T> Shared<T> {
    /// The part of the session `id`, looked up by the first who asks.
    pub(crate) fn of(&self, id: u64, look: impl FnOnce() -> Result<T>) -> Result<Arc<Mutex<T>>> {
        let mut all = lock(&self.0);
        if let Some(one) = all.get(&id).and_then(Weak::upgrade) {
            return Ok(one);
        }
        let one = Arc::new(Mutex::new(look()?));
        all.insert(id, Arc::downgrade(&one));
        Ok(one)
    }
}

/// A panic of another thread ends the comparison anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
