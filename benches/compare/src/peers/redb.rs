//! redb: one table of messages, one of sessions, one of archives; a write transaction for each op.

use std::sync::Arc;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::meta::{Meta, expect};
use super::{Ack, Each, Kind, Peer, Session};
use crate::Result;

pub(crate) const KIND: Kind = Kind {
    name: "redb",
    package: Some("redb"),
    begin_apart: false,
    notes: &[
        "Defaults, a table each for messages, sessions and archives. `Durability::None` for unsynced appends: they \
         stay in the process until the next durable commit, so the death of the process takes them (of all others it \
         does not).",
        "Verifies no checksum at read, only when it repairs. After a kill it looks at the whole file (`quick_repair` \
         is off by default; it makes commits slower).",
    ],
    open: |dir| {
        let database = Database::create(dir.join("store.redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(SESSIONS)?;
        transaction.open_table(MESSAGES)?;
        transaction.open_table(ARCHIVES)?;
        transaction.commit()?;
        Ok(Box::new(Redb(Arc::new(database))) as Box<dyn Peer>)
    },
};

const SESSIONS: TableDefinition<'_, u64, [u64; 3]> = TableDefinition::new("sessions");
const MESSAGES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("messages");
const ARCHIVES: TableDefinition<'_, (u64, u64), [u64; 2]> = TableDefinition::new("archives");

struct Redb(Arc<Database>);

struct Handle {
    database: Arc<Database>,
    id: u64,
}

fn meta(found: Option<[u64; 3]>) -> Meta {
    found.map(|[base, next, archives]| Meta { base, next, archives }).unwrap_or_default()
}

fn words(meta: Meta) -> [u64; 3] {
    [meta.base, meta.next, meta.archives]
}

impl Handle {
    fn insert<'a>(&self, payloads: impl ExactSizeIterator<Item = &'a [u8]>, ack: Ack) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        if ack == Ack::Unsynced {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut sessions = transaction.open_table(SESSIONS)?;
            let mut messages = transaction.open_table(MESSAGES)?;
            let mut meta = meta(sessions.get(self.id)?.map(|found| found.value()));
            for payload in payloads {
                messages.insert((self.id, meta.next), payload)?;
                meta.next += 1;
            }
            sessions.insert(self.id, words(meta))?;
        }
        Ok(transaction.commit()?)
    }

    fn view(&self) -> Result<(ReadTransaction, Meta)> {
        let transaction = self.database.begin_read()?;
        let meta = meta(transaction.open_table(SESSIONS)?.get(self.id)?.map(|found| found.value()));
        Ok((transaction, meta))
    }

    fn give(&self, transaction: &ReadTransaction, from: u64, upto: u64, each: Each<'_>) -> Result<()> {
        let messages = transaction.open_table(MESSAGES)?;
        let mut found = 0;
        for entry in messages.range((self.id, from)..(self.id, upto))? {
            let (key, payload) = entry?;
            each(key.value().1, payload.value())?;
            found += 1;
        }
        expect(found, upto - from)
    }
}

impl Peer for Redb {
    fn session(&self, id: u64) -> Result<Box<dyn Session>> {
        Ok(Box::new(Handle { database: self.0.clone(), id }))
    }

    fn list(&self) -> Result<Vec<(u64, u64)>> {
        let transaction = self.0.begin_read()?;
        let sessions = transaction.open_table(SESSIONS)?;
        let entries = sessions.iter()?;
        entries
            .map(|entry| {
                let (id, found) = entry?;
                Ok((id.value(), meta(Some(found.value())).count()))
            })
            .collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(Arc::into_inner(self.0).ok_or("a session is still in use")?);
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
        let (transaction, meta) = self.view()?;
        self.give(&transaction, meta.base, meta.next, each)
    }

    fn tail(&mut self, n: u64, each: Each<'_>) -> Result<()> {
        let (transaction, meta) = self.view()?;
        self.give(&transaction, meta.tail(n), meta.next, each)
    }

    fn range(&mut self, from: u64, n: u64, each: Each<'_>) -> Result<()> {
        let (transaction, meta) = self.view()?;
        self.give(&transaction, from.max(meta.base), meta.next.min(from + n), each)
    }

    fn archive(&mut self, keep: u64) -> Result<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut sessions = transaction.open_table(SESSIONS)?;
            let before = meta(sessions.get(self.id)?.map(|found| found.value()));
            let (after, range) = before.archived(keep);
            sessions.insert(self.id, words(after))?;
            transaction.open_table(ARCHIVES)?.insert((self.id, after.archives), range)?;
        }
        Ok(transaction.commit()?)
    }
}
