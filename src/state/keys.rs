//! The idempotency keys that a session remembers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::limits;

/// One remembered key: what it was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyEntry {
    /// XXH3 of the key's text.
    pub(crate) key: u128,
    /// XXH3 of what was appended under it.
    pub(crate) digest: u128,
    /// The position of its first message.
    pub(crate) position: u64,
    /// The sequence of its first message.
    pub(crate) seq: u64,
    /// How many messages.
    pub(crate) count: u32,
    /// The epoch in which the sequence was given.
    pub(crate) epoch: u16,
}

/// The last [`limits::IDEMPOTENCY_KEYS`] keys, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Keys(VecDeque<KeyEntry>);

impl Keys {
    pub(crate) fn find(&self, key: u128) -> Option<&KeyEntry> {
        self.0.iter().rev().find(|e| e.key == key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeyEntry> {
        self.0.iter()
    }

    pub(crate) fn push(&mut self, entry: KeyEntry) {
        if self.0.len() >= limits::IDEMPOTENCY_KEYS {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_key_is_forgotten_beyond_the_horizon() {
        let mut keys = Keys::default();
        for i in 0..=limits::IDEMPOTENCY_KEYS as u128 {
            keys.push(KeyEntry { key: i, digest: 0, position: 0, seq: 0, count: 1, epoch: 0 });
        }
        assert!(keys.find(0).is_none());
        assert!(keys.find(1).is_some());
        assert!(keys.find(limits::IDEMPOTENCY_KEYS as u128).is_some());
    }
}
