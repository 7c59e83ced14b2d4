//! raft-engine: a region for each session, its messages as log entries, its range under a key of the region.

use std::sync::{Arc, Mutex};

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt};

use super::meta::{Meta, Shared, expect, key, lock, word};
use super::{Ack, Each, Kind, Peer, Session};
use crate::Result;

pub(crate) const KIND: Kind = Kind {
    name: "raft-engine",
    package: Some("raft-engine"),
    begin_apart: false,
    notes: &[
        "Defaults (LZ4 for batches over 8 KiB); a region for each session. Entries of a region must come in their \
         order, so a lock for each session is held over a write; regions share syncs.",
        "Verifies a checksum at each read, and keeps the index of all messages in memory, made anew when it opens.",
    ],
    open: |dir| {
        let dir = dir.to_str().ok_or("the directory's name is no UTF-8")?.to_owned();
        let engine = Engine::open(Config { dir, ..Config::default() })?;
        Ok(Box::new(Raft(Parts { engine: Arc::new(engine), open: Arc::default() })) as Box<dyn Peer>)
    },
};

const RANGE: &[u8] = b"range";
const ARCHIVE: &[u8] = b"archive";
/// So many entries are fetched at once.
const FETCH: u64 = 1_000;

#[derive(Clone)]
struct Parts {
    engine: Arc<Engine>,
    open: Arc<Shared<Meta>>,
}

struct Raft(Parts);

struct Handle {
    engine: Arc<Engine>,
    region: u64,
    meta: Arc<Mutex<Meta>>,
}

/// An entry is bytes, and the first eight of them are its index.
#[derive(Clone)]
struct Entry;

impl MessageExt for Entry {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.get_value().get(..8).and_then(|bytes| word(bytes).ok()).unwrap_or_default()
    }
}

fn entry(index: u64, payload: &[u8]) -> BytesValue {
    let mut entry = BytesValue::new();
    let mut value = Vec::with_capacity(8 + payload.len());
    value.extend_from_slice(&index.to_be_bytes());
    value.extend_from_slice(payload);
    entry.set_value(value);
    entry
}

/// Regions count from 1.
fn region(id: u64) -> u64 {
    id + 1
}

/// Keys of archives follow each other in the order of their numbers.
fn archive_key(number: u64) -> Vec<u8> {
    [ARCHIVE, &number.to_be_bytes()].concat()
}

fn look(engine: &Engine, region: u64) -> Result<Meta> {
    engine.get(region, RANGE).map_or(Ok(Meta::default()), |bytes| Meta::decode(&bytes))
}

impl Handle {
    fn insert<'a>(&self, payloads: impl ExactSizeIterator<Item = &'a [u8]>, ack: Ack) -> Result<()> {
        let mut meta = lock(&self.meta);
        let entries: Vec<_> = (meta.next..).zip(payloads).map(|(seq, p)| entry(seq, p)).collect();
        let after = Meta { next: meta.next + entries.len() as u64, ..*meta };
        let mut batch = LogBatch::with_capacity(2);
        batch.add_entries::<Entry>(self.region, &entries)?;
        batch.put(self.region, RANGE.to_vec(), after.encode().to_vec())?;
        self.engine.write(&mut batch, ack == Ack::Durable)?;
        *meta = after;
        Ok(())
    }

    fn give(&self, from: u64, upto: u64, each: Each<'_>) -> Result<()> {
        let mut entries = Vec::new();
        let mut at = from;
        while at < upto {
            let end = (at + FETCH).min(upto);
            self.engine.fetch_entries_to::<Entry>(self.region, at, end, None, &mut entries)?;
            expect(entries.len() as u64, end - at)?;
            for entry in entries.drain(..) {
                each(Entry::index(&entry), entry.get_value().get(8..).unwrap_or_default())?;
            }
            at = end;
        }
        Ok(())
    }

    fn now(&self) -> Meta {
        *lock(&self.meta)
    }
}

impl Peer for Raft {
    fn session(&self, id: u64) -> Result<Box<dyn Session>> {
        let engine = self.0.engine.clone();
        let meta = self.0.open.of(id, || look(&engine, region(id)))?;
        Ok(Box::new(Handle { engine, region: region(id), meta }))
    }

    fn list(&self) -> Result<Vec<(u64, u64)>> {
        let regions = self.0.engine.raft_groups();
        regions.into_iter().map(|region| Ok((region - 1, look(&self.0.engine, region)?.count()))).collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.engine.sync()?;
        drop(Arc::into_inner(self.0.engine).ok_or("a session is still in use")?);
        Ok(())
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
        let mut meta = lock(&self.meta);
        let (after, [first, upto]) = meta.archived(keep);
        let mut batch = LogBatch::with_capacity(2);
        batch.put(self.region, RANGE.to_vec(), after.encode().to_vec())?;
        batch.put(self.region, archive_key(after.archives), key(first, upto).to_vec())?;
        self.engine.write(&mut batch, true)?;
        *meta = after;
        Ok(())
    }
}
