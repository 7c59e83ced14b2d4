//! The child of the kill test: eight threads on eight sessions, doing everything at once, and writing down
//! what they are about to do and what they were told, until they are killed.
//!
//! One log per thread and round, outside the store. `S` lines come before an op, `A` lines after its
//! acknowledgement, `N` says that it was refused, `E` that it failed.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sessionlog::{AppendOptions, Batch, Durability, ErrorKind, Keep, NewMessage, Options, Session, Store};

use crate::support::{Rng, payload};

pub(crate) const THREADS: u64 = 8;
pub(crate) const SESSIONS: u64 = 8;
pub(crate) const LONGEST: u64 = 20_000;

pub(crate) fn session_id(session: u64) -> String {
    format!("agent:{session}/kill")
}

pub(crate) fn options(durability: Durability) -> Options {
    Options::new()
        .create(true)
        .durability(durability)
        .sync_interval(Duration::from_millis(20))
        .segment_size(64 << 10)
        .truncate_after(16 << 10)
        .linger(Duration::from_millis(5))
}

pub(crate) fn log_path(dir: &Path, round: u64, thread: u64) -> PathBuf {
    dir.join(format!("log-{round}-{thread}"))
}

/// What the thread has to repeat under the same key, because it was never told the outcome.
pub(crate) fn retry_path(dir: &Path, thread: u64) -> PathBuf {
    dir.join(format!("retry-{thread}"))
}

/// Op ids are unique over all rounds and threads.
pub(crate) fn op_id(round: u64, thread: u64, counter: u64) -> u64 {
    round << 32 | thread << 24 | counter
}

pub(crate) fn thread_of(op: u64) -> u64 {
    op >> 24 & 0xff
}

pub(crate) fn run(dir: &Path, round: u64, seed: u64, durability: Durability) {
    let events = Arc::new(File::create(log_path(dir, round, THREADS)).unwrap());
    let store = options(durability)
        .on_event(move |event| {
            let _ = (&*events).write_all(format!("E 0 {event}\n").as_bytes());
        })
        .open(dir.join("store"))
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = store.clone();
            scope.spawn(move || {
                let log =
                    OpenOptions::new().append(true).create(true).open(log_path(dir, round, thread)).unwrap();
                let rng = Rng(seed ^ round << 8 ^ thread);
                Worker { store, log, rng, round, thread, counter: 0, line: String::new() }.work(dir);
            });
        }
    });
}

struct Worker {
    store: Store,
    log: File,
    rng: Rng,
    round: u64,
    thread: u64,
    counter: u64,
    line: String,
}

impl Worker {
    fn work(mut self, dir: &Path) {
        let retries = std::fs::read_to_string(retry_path(dir, self.thread)).unwrap_or_default();
        for line in retries.lines() {
            let mut words = line.split(' ').map(|w| w.parse::<u64>().unwrap());
            let (op, session, count) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            if let Some(handle) = self.session(op, session) {
                self.messages(&handle, op, session, count, false, true);
            }
        }
        loop {
            let session =
                if self.rng.below(10) < 7 { self.thread % SESSIONS } else { self.rng.below(SESSIONS) };
            let op = self.op();
            if let Some(handle) = self.session(op, session) {
                self.step(&handle, op, session);
            }
        }
    }

    fn op(&mut self) -> u64 {
        self.counter += 1;
        op_id(self.round, self.thread, self.counter)
    }

    fn session(&mut self, op: u64, session: u64) -> Option<Session> {
        match self.store.session(session_id(session)) {
            Ok(handle) => Some(handle),
            Err(e) => {
                self.say(format_args!("E {op} cannot open session {session}: {e:?}"));
                None
            }
        }
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        self.line.clear();
        let _ = self.line.write_fmt(line);
        let mut line = self.line.replace('\n', " ");
        line.push('\n');
        self.log.write_all(line.as_bytes()).unwrap();
    }

    fn done<T>(&mut self, op: u64, result: sessionlog::Result<T>) {
        match result {
            Ok(_) => self.say(format_args!("A {op}")),
            Err(e) => self.failed(op, &e),
        }
    }

    fn failed(&mut self, op: u64, e: &sessionlog::Error) {
        // Another thread may have removed the archive meanwhile.
        let kind = if e.kind() == ErrorKind::NotFound { 'N' } else { 'E' };
        self.say(format_args!("{kind} {op} {e:?}"));
    }

    fn step(&mut self, s: &Session, op: u64, session: u64) {
        match self.rng.below(100) {
            0..40 => {
                let keyed = self.rng.below(3) == 0;
                self.messages(s, op, session, 1, false, keyed);
            }
            40..55 => {
                let (count, patch) = (1 + self.rng.below(8), self.rng.below(3) == 0);
                let keyed = !patch && self.rng.below(3) == 0;
                self.messages(s, op, session, count, patch, keyed);
            }
            55..70 => self.submits(s, op, session),
            70..79 => self.archive(s, op, session),
            79..85 => {
                self.say(format_args!("S {op} {session} p"));
                let result = s.patch_attributes(&json!({ format!("t{}", self.thread): op }));
                self.done(op, result);
            }
            85..90 => self.patch_archive(s, op, session),
            90..94 => self.remove_archive(s, op, session),
            94..96 => {
                self.say(format_args!("S {op} {session} t"));
                let result = s.truncate();
                self.done(op, result);
            }
            96..97 => {
                self.say(format_args!("S {op} {session} t"));
                let result = s.sync();
                self.done(op, result);
            }
            _ => self.look(s, op, session),
        }
    }

    fn messages(&mut self, s: &Session, op: u64, session: u64, count: u64, patch: bool, keyed: bool) {
        self.say(format_args!("S {op} {session} m {count} {} {}", u8::from(patch), u8::from(keyed)));
        let bodies: Vec<Vec<u8>> = (0..count).map(|i| payload(session, op, i as u32, LONGEST)).collect();
        let key = format!("k{op}");
        let options = if keyed { AppendOptions::new().key(&key) } else { AppendOptions::new() };
        let mut batch: Batch<'_> = bodies.iter().map(|b| message(op, b)).collect();
        if patch {
            batch = batch.attributes(json!({ format!("t{}", self.thread): op }));
        }
        let first = match bodies.as_slice() {
            [one] if !patch => s.append_with(message(op, one), &options),
            _ => s.append_batch_with(&batch, &options),
        };
        match first {
            Ok(first) => {
                self.say(format_args!("A {op} {}", first.seq()));
                if keyed && self.rng.below(4) == 0 {
                    let again = match bodies.as_slice() {
                        [one] => s.append_with(message(op, one), &options),
                        _ => s.append_batch_with(&batch, &options),
                    };
                    match again {
                        Ok(a) if a.repeated && a.seqs == first.seqs => {}
                        other => self.say(format_args!("E {op} repeated: {other:?}, first {first:?}")),
                    }
                }
            }
            Err(e) => self.failed(op, &e),
        }
    }

    fn submits(&mut self, s: &Session, first: u64, session: u64) {
        let mut tickets = Vec::new();
        for i in 0..1 + self.rng.below(6) {
            let op = if i == 0 { first } else { self.op() };
            self.say(format_args!("S {op} {session} m 1 0 0"));
            let body = payload(session, op, 0, LONGEST);
            match s.submit(message(op, &body)) {
                Ok(ticket) => tickets.push((op, ticket)),
                Err(e) => self.failed(op, &e),
            }
        }
        for (op, ticket) in tickets {
            match ticket.wait() {
                Ok(a) => self.say(format_args!("A {op} {}", a.seq())),
                Err(e) => self.failed(op, &e),
            }
        }
    }

    fn archive(&mut self, s: &Session, op: u64, session: u64) {
        let n = self.rng.below(30);
        let keep = match self.rng.below(6) {
            0 => Keep::Nothing,
            1 => Keep::Turns(n / 4),
            2 => Keep::Tokens(n * 4),
            3 => Keep::Bytes(n * 200),
            _ => Keep::Messages(n),
        };
        self.say(format_args!("S {op} {session} a"));
        match s.archive_with(keep, &json!({ "op": op })) {
            Ok(o) => {
                let (number, from, to) = (o.archive.unwrap_or(0), o.archived.start, o.archived.end);
                self.say(format_args!("A {op} {number} {from} {to}"));
            }
            Err(e) => self.failed(op, &e),
        }
    }

    fn patch_archive(&mut self, s: &Session, op: u64, session: u64) {
        let archives = s.archives().unwrap_or_default();
        if archives.is_empty() {
            return;
        }
        let number = archives[self.rng.below(archives.len() as u64) as usize].number;
        self.say(format_args!("S {op} {session} q {number}"));
        let result = s.patch_archive(number, &json!({ format!("p{}", self.thread): op }));
        self.done(op, result);
    }

    fn remove_archive(&mut self, s: &Session, op: u64, session: u64) {
        let archives = s.archives().unwrap_or_default();
        if archives.len() < 6 {
            return;
        }
        let a = &archives[self.rng.below(archives.len() as u64) as usize];
        self.say(format_args!("S {op} {session} r {} {} {}", a.number, a.seqs.start, a.seqs.end));
        let result = s.remove_archive(a.number);
        self.done(op, result);
    }

    /// Reads beside the writers: whatever is there is whole and without gaps.
    fn look(&mut self, s: &Session, op: u64, session: u64) {
        let messages = match self.rng.below(3) {
            0 => s.load(),
            1 => s.tail(5),
            _ => s.tail_bytes(3000),
        };
        let mut before = None;
        let items = match messages {
            Ok(items) => items,
            Err(e) => return self.say(format_args!("E {op} reading session {session}: {e:?}")),
        };
        for item in items {
            match item {
                Ok(m) if before.is_none_or(|b: u64| b + 1 == m.seq()) => {
                    crate::support::read_payload(session, &m, LONGEST);
                    before = Some(m.seq());
                }
                other => {
                    self.say(format_args!("E {op} reading session {session} behind {before:?}: {other:?}"));
                    return;
                }
            }
        }
    }
}

fn message(op: u64, body: &[u8]) -> NewMessage<'_> {
    let m = NewMessage::from(body).tag("t").tokens(1 + (op % 7) as u32);
    if op.is_multiple_of(5) { m.turn_start() } else { m }
}
