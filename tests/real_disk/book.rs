//! What was acknowledged, session by session, and what is found.

use sessionlog::{ErrorKind, Outcome, Reader, Session, Store};

use crate::support::{payload, read_payload};

pub(crate) const LONGEST: u64 = 3_000;

/// The sessions of one store, each with the ops behind its messages, in their order.
pub(crate) struct Book {
    pub(crate) sessions: Vec<Vec<u64>>,
    ops: u64,
}

pub(crate) fn id(session: u64) -> String {
    format!("real/{session}")
}

impl Book {
    pub(crate) fn new(sessions: u64) -> Book {
        Book { sessions: (0..sessions).map(|_| Vec::new()).collect(), ops: 0 }
    }

    /// Appends one message. False if there was no room: then it must be as if nothing had been asked.
    pub(crate) fn append(&mut self, handle: &Session, session: u64) -> bool {
        self.ops += 1;
        let done = handle.append(&payload(session, self.ops, 0, LONGEST)[..]);
        let messages = &mut self.sessions[session as usize];
        match done {
            Ok(done) => {
                assert_eq!(done.seq(), messages.len() as u64);
                messages.push(self.ops);
                true
            }
            Err(e) => {
                no_room(&e);
                false
            }
        }
    }

    /// Everything that was acknowledged is there, and nothing else.
    pub(crate) fn check(&self, store: &Store) {
        for (session, messages) in self.sessions.iter().enumerate() {
            let reader = match store.reader(id(session as u64)) {
                Ok(reader) => reader,
                Err(e) if e.kind() == ErrorKind::NotFound && messages.is_empty() => continue,
                Err(e) => panic!("session {session}: {e}"),
            };
            assert_eq!(ops_of(&reader, session as u64), *messages, "session {session}");
            let info = reader.info().unwrap();
            assert_eq!(info.total_messages, messages.len() as u64);
        }
        let listing = store.sessions().unwrap();
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        let there = self.sessions.iter().filter(|m| !m.is_empty()).count();
        assert!(listing.sessions.len() >= there, "{} of {there} are listed", listing.sessions.len());
    }
}

/// The ops behind all messages of a session, archived ones first.
pub(crate) fn ops_of(reader: &Reader, session: u64) -> Vec<u64> {
    let archives = reader.archives().unwrap();
    let archived = archives.iter().map(|a| reader.archived(a.number).unwrap());
    let all = archived.chain([reader.load().unwrap()]).flatten();
    all.enumerate()
        .map(|(seq, message)| {
            let message = message.unwrap_or_else(|e| panic!("message {seq} of session {session}: {e}"));
            assert_eq!(message.seq(), seq as u64);
            read_payload(session, &message, LONGEST).0
        })
        .collect()
}

/// The error of a full disk, or of a limit that is reached.
pub(crate) fn no_room(e: &sessionlog::Error) {
    assert_eq!((e.kind(), e.outcome()), (ErrorKind::NoSpace, Outcome::NotApplied), "{e} ({e:?})");
    assert!(e.file().is_some(), "which file system? {e}");
}
