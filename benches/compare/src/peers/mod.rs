//! The peers: ways to keep sessions, behind one trait, each as a careful author would build it.
//!
//! Rules for all: a session is a number; its messages have sequences without gaps; a count of its live messages is
//! kept with it and changes in the same step; an archive moves the boundary between archived and live messages if
//! the peer can do that, for this is the cheapest way, and notes the archive itself.

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "jsonl")]
mod jsonl;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg_attr(not(feature = "lmdb"), allow(dead_code, reason = "some of it is for peers that are left out"))]
mod meta;
mod ours;
#[cfg(feature = "raft-engine")]
mod raft_engine;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::Path;

use crate::Result;

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// When it is on disk.
    Durable,
    /// When the process has done its part, without a sync.
    Unsynced,
}

/// What is given each message that is read: its sequence and its payload.
pub(crate) type Each<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<()>;

/// An open store.
pub(crate) trait Peer: Send + Sync {
    /// The session `id` for one thread; it begins with its first message.
    fn session(&self, id: u64) -> Result<Box<dyn Session>>;

    /// All sessions, with the numbers of their live messages, in any order.
    fn list(&self) -> Result<Vec<(u64, u64)>>;

    /// Ends in good order. No session is in use any more.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A session of a store, as one thread has it.
pub(crate) trait Session: Send {
    fn append(&mut self, payload: &[u8], ack: Ack) -> Result<()>;

    /// All of them or none.
    fn append_batch(&mut self, payloads: &[Vec<u8>], ack: Ack) -> Result<()>;

    /// Every live message, in order.
    fn load(&mut self, each: Each<'_>) -> Result<()>;

    /// The last `n` live messages, in order.
    fn tail(&mut self, n: u64, each: Each<'_>) -> Result<()>;

    /// `n` live messages from `from` on, in order. They are there.
    fn range(&mut self, from: u64, n: u64, each: Each<'_>) -> Result<()>;

    /// Archives all but the last `keep` messages, durably.
    fn archive(&mut self, keep: u64) -> Result<()>;
}

/// A way to keep sessions.
pub(crate) struct Kind {
    /// In tables and on the command line.
    pub(crate) name: &'static str,
    /// The package whose version is shown with it.
    pub(crate) package: Option<&'static str>,
    /// Whether sessions are begun by several threads where many are made: for those that keep each in its own files.
    pub(crate) begin_apart: bool,
    /// How it is set up, and what it does less (or more) than the others.
    pub(crate) notes: &'static [&'static str],
    pub(crate) open: fn(&Path) -> Result<Box<dyn Peer>>,
}

/// The store that is compared: always there.
pub(crate) const OURS: Kind = ours::KIND;

/// The others that were built in, in the order of the columns.
pub(crate) const OTHERS: &[Kind] = &[
    #[cfg(feature = "sqlite")]
    sqlite::KIND,
    #[cfg(feature = "redb")]
    redb::KIND,
    #[cfg(feature = "fjall")]
    fjall::KIND,
    #[cfg(feature = "lmdb")]
    lmdb::KIND,
    #[cfg(feature = "raft-engine")]
    raft_engine::KIND,
    #[cfg(feature = "jsonl")]
    jsonl::KIND,
];
