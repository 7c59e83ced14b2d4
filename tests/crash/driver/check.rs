//! Reading a store, and holding it against what is known.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sessionlog::{Archive, ErrorKind, Finding, Messages, Reader, Report, Session, SessionInfo, Store};

use super::model::{Know, Seen, brief, brief_seen, find};

pub const SESSIONS: usize = 3;
/// The session of a process that comes in the midst of an operation.
pub const VISITOR: usize = SESSIONS;

pub fn id(session: usize) -> String {
    // Two of them share a slug; the third has what file names cannot have; the last is nobody's but the visitor's.
    ["chat:0", "chat/0", "ü 2", "visitor"][session].to_owned()
}

type Found<T> = Result<T, String>;

fn texts(messages: sessionlog::Result<Messages>) -> Found<Vec<String>> {
    let messages = messages.map_err(|e| format!("load: {e}"))?;
    messages
        .map(|m| {
            let m = m.map_err(|e| format!("a message: {e}"))?;
            String::from_utf8(m.payload().to_vec()).map_err(|e| e.to_string())
        })
        .collect()
}

fn numbers(map: &Map<String, Value>) -> BTreeMap<String, i64> {
    map.iter().map(|(k, v)| (k.clone(), v.as_i64().unwrap_or(i64::MIN))).collect()
}

fn seen(
    info: &SessionInfo,
    live: sessionlog::Result<Messages>,
    archives: Vec<Archive>,
    archived: impl Fn(u64) -> sessionlog::Result<Messages>,
) -> Found<Seen> {
    if info.message_count != info.live.end - info.live.start {
        return Err(format!("message_count {} of {:?}", info.message_count, info.live));
    }
    if info.archives != archives.len() as u64 {
        return Err(format!("{} archives are stated, {} are there", info.archives, archives.len()));
    }
    let archives = archives
        .into_iter()
        .map(|a| {
            let value = a.attributes.get("v").and_then(Value::as_i64).unwrap_or(i64::MIN);
            Ok((a.number, a.seqs, value, texts(archived(a.number))?))
        })
        .collect::<Found<_>>()?;
    Ok(Seen {
        live: info.live.clone(),
        total: info.total_messages,
        messages: texts(live)?,
        attributes: numbers(&info.attributes),
        archives,
    })
}

/// What a session is for its writer.
pub fn see_session(session: &Session) -> Found<Option<Seen>> {
    let info = match session.info() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| format!("info: {e}"))?,
    };
    let archives = session.archives().map_err(|e| format!("archives: {e}"))?;
    seen(&info, session.load(), archives, |n| session.archived(n)).map(Some)
}

fn see_reader(reader: &Reader) -> Found<Seen> {
    let info = reader.info().map_err(|e| format!("info: {e}"))?;
    let archives = reader.archives().map_err(|e| format!("archives: {e}"))?;
    seen(&info, reader.load(), archives, |n| reader.archived(n))
}

/// What a session is for a reader without its lock.
pub fn see_by_reader(store: &Store, session: usize) -> Found<Option<Seen>> {
    let reader = match store.reader(id(session)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| format!("reader: {e}"))?,
    };
    check_report(&reader.report())?;
    see_reader(&reader).map(Some)
}

/// A crash is no damage: nothing is missing, nothing is unknown.
fn check_report(report: &Report) -> Found<()> {
    for finding in &report.findings {
        match finding {
            Finding::Damaged { .. } | Finding::MissingSegment { .. } | Finding::Unknown { .. } => {
                return Err(format!("the report says: {finding}"));
            }
            Finding::StalePrefix { range } if range.is_empty() => {
                return Err("an empty stale prefix is reported".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lists the sessions; what the listing says of each must be what `all` says.
fn check_listing(store: &Store, all: &[Option<Seen>]) -> Found<()> {
    let listing = store.sessions().map_err(|e| format!("listing: {e}"))?;
    if let Some((path, error)) = listing.unreadable.first() {
        return Err(format!("listed as unreadable: {}: {error}", path.display()));
    }
    for (session, seen) in all.iter().enumerate() {
        let id = id(session);
        let mut listed = listing.sessions.iter().filter(|info| info.id.as_str() == id);
        match (listed.next(), seen) {
            (None, None) => {}
            (Some(info), Some(seen)) => {
                if info.live != seen.live
                    || info.message_count != seen.live.end - seen.live.start
                    || info.total_messages != seen.total
                    || info.archives != seen.archives.len() as u64
                    || numbers(&info.attributes) != seen.attributes
                {
                    return Err(format!(
                        "listed as live {:?} of {}, {} archives, attributes {:?}, but it is {}",
                        info.live,
                        info.total_messages,
                        info.archives,
                        info.attributes,
                        seen.brief()
                    ));
                }
            }
            (a, b) => {
                return Err(format!(
                    "session {id:?} is {}listed and is {}there",
                    if a.is_some() { "" } else { "not " },
                    if b.is_some() { "" } else { "not " }
                ));
            }
        }
        if listed.next().is_some() {
            return Err(format!("session {id:?} is listed twice"));
        }
    }
    if listing.sessions.len() > all.iter().flatten().count() {
        return Err("a session is listed that never was".to_owned());
    }
    Ok(())
}

/// Which of the states that are known as possible the sessions are in, as readers without locks see them.
pub fn observe_reading(store: &Store, knows: &[Know], killed: bool) -> Found<Vec<usize>> {
    let mut all = Vec::new();
    for session in 0..knows.len() {
        all.push(see_by_reader(store, session).map_err(|e| format!("session {session}, reading: {e}"))?);
    }
    check_listing(store, &all)?;
    locate(knows, &all, killed)
}

/// Which of the states that are known as possible the sessions are in: looks as a reader first, then opens them
/// for writing, and wants both and the listings to agree.
pub fn observe(store: &Store, knows: &[Know], killed: bool) -> Found<Vec<usize>> {
    let mut all = Vec::new();
    for session in 0..knows.len() {
        all.push(see_by_reader(store, session).map_err(|e| format!("session {session}, reading: {e}"))?);
    }
    check_listing(store, &all)?;
    let places = locate(knows, &all, killed)?;
    for (session, read) in all.iter().enumerate() {
        let here = |e: String| format!("session {session}: {e}");
        let opened = store.session(id(session)).map_err(|e| here(format!("open: {e}")))?;
        let report = opened.report().map_err(|e| here(format!("report: {e}")))?;
        check_report(&report).map_err(here)?;
        let unclean = report.findings.iter().find(|f| matches!(f, Finding::UncleanEnd { .. }));
        if let (Some(unclean), true) = (unclean, knows[session].clean) {
            return Err(here(format!("it was closed, and the report says: {unclean}")));
        }
        let written = see_session(&opened).map_err(here)?;
        if written != *read {
            return Err(here(format!(
                "a reader saw {}, the writer {}",
                brief_seen(read),
                brief_seen(&written)
            )));
        }
        if let (Some(range), Some(seen)) = (report.stale_prefix(), &written)
            && range.end > seen.live.start
        {
            return Err(here(format!("the stale prefix {range:?} is not archived: {:?}", seen.live)));
        }
    }
    check_listing(store, &all)?;
    Ok(places)
}

fn locate(knows: &[Know], all: &[Option<Seen>], killed: bool) -> Found<Vec<usize>> {
    knows
        .iter()
        .zip(all)
        .enumerate()
        .map(|(session, (know, seen))| {
            let from = if killed { know.kill_from } else { 0 };
            find(&know.states[from..], seen).map(|i| from + i).ok_or_else(|| {
                let may: Vec<String> = know.states[from..].iter().map(brief).collect();
                format!(
                    "session {session} is in a state that it cannot be in: {}; it may be: {}",
                    brief_seen(seen),
                    may.join(" | ")
                )
            })
        })
        .collect()
}
