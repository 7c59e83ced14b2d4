//! What the next process finds, compared with what the last one was told.

use std::fmt::Write as _;
use std::path::Path;

use sessionlog::{Durability, ErrorKind, SessionInfo};

use crate::journal::{Answer, Journal, Kind};
use crate::load::{THREADS, options, retry_path, session_id};
use crate::model::{Look, Model};

/// Opens the store as the next process would, and compares everything in it with what it must be.
pub(crate) fn check(
    dir: &Path,
    durability: Durability,
    models: &mut [Model],
    journal: &Journal,
    write: bool,
    full: bool,
) {
    let store = options(durability).open(dir.join("store")).unwrap();
    let listing = store.sessions().unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
    let mut there = 0;
    for (session, model) in models.iter_mut().enumerate() {
        let id = session_id(session as u64);
        let look = if write {
            store.open_session(&id).map(Look::Writer)
        } else {
            store.reader(&id).map(|r| Look::Reader(Box::new(r)))
        };
        let look = match look {
            Ok(look) => look,
            Err(e) if e.kind() == ErrorKind::NotFound && model.is_empty() => {
                let acknowledged = journal.of_session(session as u64).concat();
                let acknowledged =
                    acknowledged.iter().find(|s| !matches!(s.answer, Answer::None | Answer::Refused));
                assert!(acknowledged.is_none(), "session {session} is lost: {acknowledged:?}");
                continue;
            }
            Err(e) => panic!("session {session}: {e:?}"),
        };
        there += 1;
        let info = model.check(&look, &journal.of_session(session as u64), full);
        let listed = listing.sessions.iter().find(|s| s.id.as_str() == id);
        let mut listed =
            SessionInfo::clone(listed.unwrap_or_else(|| panic!("session {session} is not listed")));
        listed.open = info.open;
        assert_eq!(listed, info, "the listing and session {session} differ");
    }
    assert_eq!(listing.sessions.len(), there);
    store.close().unwrap();
}

/// Leaves to the next child what it has to repeat.
pub(crate) fn write_retries(dir: &Path, journal: &Journal) {
    for thread in 0..THREADS {
        let mut lines = String::new();
        for s in Model::retries(&journal.threads[thread as usize..=thread as usize]) {
            if let Kind::Messages { count, .. } = s.kind {
                let _ = writeln!(lines, "{} {} {count}", s.op, s.session);
            }
        }
        std::fs::write(retry_path(dir, thread), lines).unwrap();
    }
}
