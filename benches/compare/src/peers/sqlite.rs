//! SQLite: WAL, `synchronous=FULL`, prepared statements, one connection for each thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::meta::lock;
use super::{Ack, Each, Kind, Peer, Session};
use crate::Result;

pub(crate) const KIND: Kind = Kind {
    name: "SQLite",
    package: Some("libsqlite3-sys"),
    begin_apart: false,
    notes: &[
        "WAL, `synchronous=FULL`; `NORMAL` (no sync at a commit) for unsynced appends. A rowid table of messages \
         with a unique index over (session, seq), a table of sessions whose range changes in the same transaction; \
         `BEGIN IMMEDIATE`, a busy timeout, statements kept prepared, a connection for each thread, a lock between the \
         writing threads of the process (without it they sleep in the busy handler, and take many times as long), \
         256 MiB mapped.",
        "Verifies no checksum at read (it has none outside the WAL).",
    ],
    open: |dir| {
        let path = dir.join("store.db");
        let first = connect(&path)?;
        first.execute_batch(SCHEMA)?;
        Ok(Box::new(Sqlite { path, first: Mutex::new(first), turn: Arc::default() }) as Box<dyn Peer>)
    },
};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS sessions (
        id INTEGER PRIMARY KEY, base INTEGER NOT NULL, next INTEGER NOT NULL, archives INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY, session INTEGER NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS messages_in_order ON messages (session, seq);
    CREATE TABLE IF NOT EXISTS archives (
        session INTEGER NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL, upto INTEGER NOT NULL,
        PRIMARY KEY (session, number)
    ) WITHOUT ROWID;";

const NEXT: &str = "
    INSERT INTO sessions (id, base, next, archives) VALUES (?1, 0, ?2, 0)
    ON CONFLICT (id) DO UPDATE SET next = next + ?2 RETURNING next";
const INSERT: &str = "INSERT INTO messages (session, seq, payload) VALUES (?1, ?2, ?3)";
const LOAD: &str = "
    SELECT m.seq, m.payload FROM sessions s JOIN messages m ON m.session = s.id AND m.seq >= s.base
    WHERE s.id = ?1 ORDER BY m.seq";
const TAIL: &str = "
    SELECT m.seq, m.payload FROM sessions s JOIN messages m ON m.session = s.id
        AND m.seq >= max(s.base, s.next - ?2)
    WHERE s.id = ?1 ORDER BY m.seq";
const PART: &str = "
    SELECT m.seq, m.payload FROM sessions s JOIN messages m ON m.session = s.id
        AND m.seq >= max(s.base, ?2) AND m.seq < ?3
    WHERE s.id = ?1 ORDER BY m.seq";
const RANGE: &str = "SELECT base, next, archives FROM sessions WHERE id = ?1";
const MOVE: &str = "UPDATE sessions SET base = ?2, archives = ?3 WHERE id = ?1";
const ARCHIVE: &str = "INSERT INTO archives (session, number, first, upto) VALUES (?1, ?2, ?3, ?4)";

/// The first connection stays, so that the last one's close (which takes the WAL away) is the store's.
struct Sqlite {
    path: PathBuf,
    first: Mutex<Connection>,
    turn: Arc<Mutex<()>>,
}

struct Handle {
    /// Held by the thread of this process that writes: who waits for it wakes at once, where SQLite's own wait (for
    /// other processes) sleeps some milliseconds between looks.
    turn: Arc<Mutex<()>>,
    connection: Connection,
    id: i64,
    ack: Ack,
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "mmap_size", 256 << 20)?;
    Ok(connection)
}

impl Handle {
    fn set(&mut self, ack: Ack) -> Result<()> {
        if self.ack != ack {
            let value = if ack == Ack::Durable { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", value)?;
            self.ack = ack;
        }
        Ok(())
    }

    fn insert<'a>(&mut self, payloads: impl ExactSizeIterator<Item = &'a [u8]>, ack: Ack) -> Result<()> {
        self.set(ack)?;
        let _turn = lock(&self.turn);
        let count = payloads.len() as i64;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next: i64 =
            transaction.prepare_cached(NEXT)?.query_row(params![self.id, count], |row| row.get(0))?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for (seq, payload) in (next - count..next).zip(payloads) {
            insert.execute(params![self.id, seq, payload])?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }
}

impl Peer for Sqlite {
    fn session(&self, id: u64) -> Result<Box<dyn Session>> {
        let (turn, connection) = (self.turn.clone(), connect(&self.path)?);
        Ok(Box::new(Handle { turn, connection, id: i64::try_from(id)?, ack: Ack::Durable }))
    }

    fn list(&self) -> Result<Vec<(u64, u64)>> {
        let first = lock(&self.first);
        let mut statement = first.prepare_cached("SELECT id, next - base FROM sessions")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        rows.map(|row| row.map(|(id, count)| (id as u64, count as u64)).map_err(Into::into)).collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        let first = self.first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.close().map_err(|(_, error)| error.into())
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
        let mut statement = self.connection.prepare_cached(LOAD)?;
        let mut rows = statement.query([self.id])?;
        while let Some(row) = rows.next()? {
            each(row.get::<_, i64>(0)? as u64, row.get_ref(1)?.as_blob()?)?;
        }
        Ok(())
    }

    fn tail(&mut self, n: u64, each: Each<'_>) -> Result<()> {
        let mut statement = self.connection.prepare_cached(TAIL)?;
        let mut rows = statement.query([self.id, n as i64])?;
        while let Some(row) = rows.next()? {
            each(row.get::<_, i64>(0)? as u64, row.get_ref(1)?.as_blob()?)?;
        }
        Ok(())
    }

    fn range(&mut self, from: u64, n: u64, each: Each<'_>) -> Result<()> {
        let mut statement = self.connection.prepare_cached(PART)?;
        let mut rows = statement.query([self.id, from as i64, (from + n) as i64])?;
        while let Some(row) = rows.next()? {
            each(row.get::<_, i64>(0)? as u64, row.get_ref(1)?.as_blob()?)?;
        }
        Ok(())
    }

    fn archive(&mut self, keep: u64) -> Result<()> {
        self.set(Ack::Durable)?;
        let _turn = lock(&self.turn);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let range = transaction
            .prepare_cached(RANGE)?
            .query_row([self.id], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
            .optional()?;
        let (base, next, archives) = range.ok_or("there is no such session")?;
        let upto = base.max(next - keep as i64);
        transaction.prepare_cached(MOVE)?.execute(params![self.id, upto, archives + 1])?;
        transaction.prepare_cached(ARCHIVE)?.execute(params![self.id, archives + 1, base, upto])?;
        Ok(transaction.commit()?)
    }
}
