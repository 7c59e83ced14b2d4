//! LMDB, by heed: one database of messages, one of sessions, one of archives; a write transaction for each op.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, RoTxn, WithoutTls};

use super::meta::{Meta, expect, key, word};
use super::{Ack, Each, Kind, Peer, Session};
use crate::Result;

pub(crate) const KIND: Kind = Kind {
    name: "LMDB",
    package: Some("heed"),
    begin_apart: false,
    notes: &[
        "By heed, with its defaults; a database each for messages, sessions and archives. `MDB_NOSYNC` for unsynced \
         appends, with which a crash of the machine may break the whole file (of all others it takes the newest \
         messages alone).",
        "Has no checksums.",
    ],
    open: |dir| Ok(Box::new(Lmdb(Parts::open(dir)?)) as Box<dyn Peer>),
};

/// Address space, not memory: a file may not grow beyond it.
const MAP: usize = 16 << 30;

#[derive(Clone)]
struct Parts {
    env: Env<WithoutTls>,
    sessions: Database<Bytes, Bytes>,
    messages: Database<Bytes, Bytes>,
    archives: Database<Bytes, Bytes>,
}

struct Lmdb(Parts);

struct Handle {
    parts: Parts,
    id: u64,
}

impl Parts {
    fn open(dir: &Path) -> Result<Parts> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP).max_dbs(3).max_readers(256);
        // SAFETY: the directory was made for this run; nobody else opens or changes its files.
        let env = unsafe { options.open(dir) }?;
        let mut transaction = env.write_txn()?;
        let sessions = env.create_database(&mut transaction, Some("sessions"))?;
        let messages = env.create_database(&mut transaction, Some("messages"))?;
        let archives = env.create_database(&mut transaction, Some("archives"))?;
        transaction.commit()?;
        Ok(Parts { env, sessions, messages, archives })
    }

    fn meta(&self, transaction: &RoTxn<'_>, id: u64) -> Result<Meta> {
        let found = self.sessions.get(transaction, &id.to_be_bytes())?;
        found.map_or(Ok(Meta::default()), Meta::decode)
    }

    fn set(&self, ack: Ack) -> Result<()> {
        let synced = self.env.get_flags()? & EnvFlags::NO_SYNC.bits() == 0;
        if synced != (ack == Ack::Durable) {
            let mode = if synced { FlagSetMode::Enable } else { FlagSetMode::Disable };
            // SAFETY: durable and unsynced appends are never mixed here: one thread alone comes this far.
            unsafe { self.env.set_flags(EnvFlags::NO_SYNC, mode) }?;
            if ack == Ack::Durable {
                self.env.force_sync()?;
            }
        }
        Ok(())
    }
}

impl Handle {
    fn insert<'a>(&self, payloads: impl ExactSizeIterator<Item = &'a [u8]>, ack: Ack) -> Result<()> {
        let Parts { env, sessions, messages, .. } = &self.parts;
        self.parts.set(ack)?;
        let mut transaction = env.write_txn()?;
        let mut meta = self.parts.meta(&transaction, self.id)?;
        for payload in payloads {
            messages.put(&mut transaction, &key(self.id, meta.next), payload)?;
            meta.next += 1;
        }
        sessions.put(&mut transaction, &self.id.to_be_bytes(), &meta.encode())?;
        Ok(transaction.commit()?)
    }

    fn give(&self, range: impl FnOnce(Meta) -> (u64, u64), each: Each<'_>) -> Result<()> {
        let transaction = self.parts.env.read_txn()?;
        let meta = self.parts.meta(&transaction, self.id)?;
        let (from, upto) = range(meta);
        let (first, last) = (key(self.id, from), key(self.id, upto));
        let range = (Bound::Included(&first[..]), Bound::Excluded(&last[..]));
        let mut found = 0;
        for entry in self.parts.messages.range(&transaction, &range)? {
            let (key, payload) = entry?;
            each(word(key.get(8..).unwrap_or_default())?, payload)?;
            found += 1;
        }
        expect(found, upto - from)
    }
}

impl Peer for Lmdb {
    fn session(&self, id: u64) -> Result<Box<dyn Session>> {
        Ok(Box::new(Handle { parts: self.0.clone(), id }))
    }

    fn list(&self) -> Result<Vec<(u64, u64)>> {
        let transaction = self.0.env.read_txn()?;
        let entries = self.0.sessions.iter(&transaction)?;
        entries
            .map(|entry| {
                let (id, meta) = entry?;
                Ok((word(id)?, Meta::decode(meta)?.count()))
            })
            .collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.set(Ack::Durable)?;
        self.0.env.prepare_for_closing().wait();
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
        self.give(|meta| (meta.base, meta.next), each)
    }

    fn tail(&mut self, n: u64, each: Each<'_>) -> Result<()> {
        self.give(|meta| (meta.tail(n), meta.next), each)
    }

    fn range(&mut self, from: u64, n: u64, each: Each<'_>) -> Result<()> {
        self.give(|meta| (from.max(meta.base), meta.next.min(from + n)), each)
    }

    fn archive(&mut self, keep: u64) -> Result<()> {
        let Parts { env, sessions, archives, .. } = &self.parts;
        self.parts.set(Ack::Durable)?;
        let mut transaction = env.write_txn()?;
        let (after, [first, upto]) = self.parts.meta(&transaction, self.id)?.archived(keep);
        sessions.put(&mut transaction, &self.id.to_be_bytes(), &after.encode())?;
        archives.put(&mut transaction, &key(self.id, after.archives), &key(first, upto))?;
        Ok(transaction.commit()?)
    }
}
