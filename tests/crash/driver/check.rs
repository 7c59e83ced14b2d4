//! Reading a store, and holding it against what is known.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sessionlog::{
    Archive, ErrorKind, Finding, Messages, OpenState, Reader, Report, Session, SessionInfo, Store,
};

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

/// What there is of a session, and what is said of it; but not who has it open.
type Whole = (Seen, SessionInfo);

fn whole(
    info: SessionInfo,
    live: sessionlog::Result<Messages>,
    archives: Vec<Archive>,
    archived: impl Fn(u64) -> sessionlog::Result<Messages>,
) -> Found<Whole> {
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
    let seen = Seen {
        live: info.live.clone(),
        total: info.total_messages,
        messages: texts(live)?,
        attributes: numbers(&info.attributes),
        archives,
    };
    Ok((seen, whoever_has_it(info)))
}

fn whoever_has_it(info: SessionInfo) -> SessionInfo {
    let mut info = info;
    info.open = OpenState::Closed;
    info
}

/// What a session is for its writer.
pub fn see_session(session: &Session) -> Found<Option<Seen>> {
    Ok(by_writer(session)?.map(|(seen, _)| seen))
}

fn by_writer(session: &Session) -> Found<Option<Whole>> {
    let info = match session.info() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| format!("info: {e}"))?,
    };
    let archives = session.archives().map_err(|e| format!("archives: {e}"))?;
    whole(info, session.load(), archives, |n| session.archived(n)).map(Some)
}

fn see_reader(reader: &Reader) -> Found<Whole> {
    let info = reader.info().map_err(|e| format!("info: {e}"))?;
    let archives = reader.archives().map_err(|e| format!("archives: {e}"))?;
    whole(info, reader.load(), archives, |n| reader.archived(n))
}

/// What a session is for a reader without its lock.
pub fn see_by_reader(store: &Store, session: usize) -> Found<Option<Seen>> {
    Ok(by_reader(store, session)?.map(|(seen, _)| seen))
}

fn by_reader(store: &Store, session: usize) -> Found<Option<Whole>> {
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
fn check_listing(store: &Store, all: &[Option<Whole>]) -> Found<()> {
    let listing = store.sessions().map_err(|e| format!("listing: {e}"))?;
    if let Some((path, error)) = listing.unreadable.first() {
        return Err(format!("listed as unreadable: {}: {error}", path.display()));
    }
    for (session, seen) in all.iter().enumerate() {
        let id = id(session);
        let mut listed = listing.sessions.iter().filter(|info| info.id.as_str() == id);
        match (listed.next(), seen) {
            (None, None) => {}
            (Some(info), Some((_, there))) => {
                let listed = whoever_has_it(SessionInfo::clone(info));
                if listed != *there {
                    return Err(format!("listed as {listed:?}, but it is {there:?}"));
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
    let all = read_all(store, knows)?;
    locate(knows, &all, killed)
}

/// All sessions, as readers without locks see them, and as they are listed.
fn read_all(store: &Store, knows: &[Know]) -> Found<Vec<Option<Whole>>> {
    let read = |session| by_reader(store, session).map_err(|e| format!("session {session}, reading: {e}"));
    let all = (0..knows.len()).map(read).collect::<Found<Vec<_>>>()?;
    check_listing(store, &all)?;
    Ok(all)
}

/// Which of the states that are known as possible the sessions are in: looks as a reader first, then opens them
/// for writing, and wants both and the listings to agree.
pub fn observe(store: &Store, knows: &[Know], killed: bool) -> Found<Vec<usize>> {
    let all = read_all(store, knows)?;
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
        let written = by_writer(&opened).map_err(here)?;
        if written != *read {
            return Err(here(format!("a reader saw {read:?}, the writer {written:?}")));
        }
        if let (Some(range), Some((seen, _))) = (report.stale_prefix(), &written)
            && range.end > seen.live.start
        {
            return Err(here(format!("the stale prefix {range:?} is not archived: {:?}", seen.live)));
        }
    }
    check_listing(store, &all)?;
    Ok(places)
}

fn locate(knows: &[Know], all: &[Option<Whole>], killed: bool) -> Found<Vec<usize>> {
    knows
        .iter()
        .zip(all)
        .enumerate()
        .map(|(session, (know, whole))| {
            let seen = whole.as_ref().map(|(seen, _)| seen);
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
