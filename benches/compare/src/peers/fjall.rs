//! fjall: a keyspace each for messages, sessions and archives; an atomic batch for each op.

use std::path::Path;
use std::sync::{Arc, Mutex};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::meta::{Meta, Shared, expect, key, lock, word};
use super::{Ack, Each, Kind, Peer, Session};
use crate::Result;

pub(crate) const KIND: Kind = Kind {
    name: "fjall",
    package: Some("fjall"),
    begin_apart: false,
    notes: &[
        "Defaults, a keyspace each for messages, sessions and archives; `SyncData` for each op, `Buffer` for unsynced \
         appends. It has no order between threads of its own, so a lock for each session is held over a commit.",
        "Verifies the checksum of a block when it reads it from a file, not when it finds it in its cache.",
    ],
    open: |dir| Ok(Box::new(Fjall(Parts::open(dir)?)) as Box<dyn Peer>),
};

#[derive(Clone)]
struct Parts {
    database: Database,
    sessions: Keyspace,
    messages: Keyspace,
    archives: Keyspace,
    open: Arc<Shared<Meta>>,
}

struct Fjall(Parts);

struct Handle {
    parts: Parts,
    id: u64,
    meta: Arc<Mutex<Meta>>,
}

fn mode(ack: Ack) -> PersistMode {
    match ack {
        Ack::Durable => PersistMode::SyncData,
        Ack::Unsynced => PersistMode::Buffer,
    }
}

impl Parts {
    fn open(dir: &Path) -> Result<Parts> {
        let database = Database::builder(dir.join("store")).open()?;
        let sessions = database.keyspace("sessions", KeyspaceCreateOptions::default)?;
        let messages = database.keyspace("messages", KeyspaceCreateOptions::default)?;
        let archives = database.keyspace("archives", KeyspaceCreateOptions::default)?;
        Ok(Parts { database, sessions, messages, archives, open: Arc::default() })
    }

    fn meta(&self, id: u64) -> Result<Meta> {
        let found = self.sessions.get(id.to_be_bytes())?;
        found.map_or(Ok(Meta::default()), |bytes| Meta::decode(&bytes))
    }
}

impl Handle {
    fn insert<'a>(&self, payloads: impl ExactSizeIterator<Item = &'a [u8]>, ack: Ack) -> Result<()> {
        let Parts { database, sessions, messages, .. } = &self.parts;
        let mut meta = lock(&self.meta);
        let mut after = *meta;
        let mut batch = database.batch().durability(Some(mode(ack)));
        for payload in payloads {
            batch.insert(messages, key(self.id, after.next), payload);
            after.next += 1;
        }
        batch.insert(sessions, self.id.to_be_bytes(), after.encode());
        batch.commit()?;
        *meta = after;
        Ok(())
    }

    fn give(&self, from: u64, upto: u64, each: Each<'_>) -> Result<()> {
        let mut found = 0;
        for entry in self.parts.messages.range(key(self.id, from)..key(self.id, upto)) {
            let (key, payload) = entry.into_inner()?;
            each(word(key.get(8..).unwrap_or_default())?, &payload)?;
            found += 1;
        }
        expect(found, upto - from)
    }

    fn now(&self) -> Meta {
        *lock(&self.meta)
    }
}

impl Peer for Fjall {
    fn session(&self, id: u64) -> Result<Box<dyn Session>> {
        let meta = self.0.open.of(id, || self.0.meta(id))?;
        Ok(Box::new(Handle { parts: self.0.clone(), id, meta }))
    }

    fn list(&self) -> Result<Vec<(u64, u64)>> {
        let entries = self.0.sessions.iter();
        entries
            .map(|entry| {
                let (id, meta) = entry.into_inner()?;
                Ok((word(&id)?, Meta::decode(&meta)?.count()))
            })
            .collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.database.persist(PersistMode::SyncAll)?)
    }
}

impl Session for Handle {
    fn append(&mut self, payload: &[u8], ack: Ack) -> Result<()> {
        self.insert([payload].into_iter(), ack)
    }

    fn append_batch(&mut self, payloads: &[Vec<u8>], ack: Ack) -> Result<()> {
        self.insert(payloads.iter().map(Vec::as_slice), ack)
    }

    fn load(&mut self, each: Each<'_>) -> Result<()> {
        let meta = self.now();
        self.give(meta.base, meta.next, each)
    }

    fn tail(&mut self, n: u64, each: Each<'_>) -> Result<()> {
        let meta = self.now();
        self.give(meta.tail(n), meta.next, each)
    }

    fn range(&mut self, from: u64, n: u64, each: Each<'_>) -> Result<()> {
        let meta = self.now();
        self.give(from.max(meta.base), meta.next.min(from + n), each)
    }

    fn archive(&mut self, keep: u64) -> Result<()> {
        let Parts { database, sessions, archives, .. } = &self.parts;
        let mut meta = lock(&self.meta);
        let (after, [first, upto]) = meta.archived(keep);
        let mut batch = database.batch().durability(Some(mode(Ack::Durable)));
        batch.insert(sessions, self.id.to_be_bytes(), after.encode());
        batch.insert(archives, key(self.id, after.archives), key(first, upto));
        batch.commit()?;
        *meta = after;
        Ok(())
    }
}
