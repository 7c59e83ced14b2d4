//! Checking a store.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::code::Code;
use super::finding::{Checkup, Finding, reason};
use super::options::{CheckOptions, look};
use super::session::{Looked, look_at};
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::Summary;
use crate::fs::{Dir, Kind};
use crate::ids::{SessionId, is_session_dir, is_shard, shard_of};
use crate::log::catalog::{Known, Merged};
use crate::session::{Look, UNBORN, Whose, load_tail, locate, still_named};
use crate::store::{Env, Store};

/// Looks at every byte of a store and says what is wrong with it. Changes nothing and takes no lock: it works while
/// others write, and judges what is live as a reader would. A session that is damaged, or cannot be read, stops no
/// other.
///
/// Reads every segment of every session, in one go each.
///
/// # Errors
/// `NotFound` if there is no store, or not the session that is asked for; `Unsupported` if a newer program made it;
/// `Io` if its directories cannot be listed; `InvalidInput` for an empty path. Everything else is a finding.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// use sessionlog::doctor::{CheckOptions, check};
/// let checkup = check(store.path(), &CheckOptions::new())?;
/// for finding in &checkup.findings {
///     println!("{finding}: {}", finding.remedy);
/// }
/// # Ok(()) }
/// ```
pub fn check(path: impl AsRef<Path>, options: &CheckOptions) -> Result<Checkup> {
    let (env, fault) = look(path.as_ref(), &options.store)?;
    run(&env, fault.as_ref(), options)
}

impl Store {
    /// Looks at every byte of the store and says what is wrong with it: see [`doctor::check`](crate::doctor::check).
    ///
    /// # Errors
    /// As there; `Closed`, `Forked`.
    pub fn check(&self) -> Result<Checkup> {
        let options = CheckOptions::new().store(&self.own_options()?);
        check(self.path(), &options)
    }
}

pub(crate) fn run(env: &Arc<Env>, fault: Option<&Error>, options: &CheckOptions) -> Result<Checkup> {
    let mut out = Checkup::default();
    if let Some(e) = fault {
        let finding = Finding::new(Code::DamagedStore, "STORE", reason(e));
        out.findings.push(finding.at(e.file_offset().unwrap_or(0)));
    }
    let merged = env.catalog.merged()?;
    let sessions = session_dirs(env, options, &mut out.findings)?;
    for (done, place) in sessions.iter().enumerate() {
        options.tell(done, sessions.len(), &place.name);
        match look_at(env, place, &merged) {
            Ok(Some(looked)) => {
                if let Some(what) = stale(env, place, &merged) {
                    let session = looked.id.as_ref().map(|id| id.as_str());
                    out.findings.push(Finding::new(Code::StaleSummary, place.rel.clone(), what).of(session));
                }
                add(&mut out, looked);
            }
            Ok(None) => {}
            Err(e) => out.findings.push(unreadable(&place.rel, &e)),
        }
    }
    out.findings.extend(missing(env, &sessions, &merged, options)?);
    match &options.session {
        None => {
            catalog(&merged, &mut out.findings);
            outside(env, &mut out.findings);
        }
        Some(id) if out.sessions == 0 && out.findings.is_empty() => {
            return Err(no_session("check a session", id));
        }
        Some(_) => {}
    }
    out.sort();
    Ok(out)
}

/// The sessions that the catalog knows as closed and that are not there.
pub(crate) fn missing(
    env: &Env,
    sessions: &[Place],
    merged: &Merged,
    options: &CheckOptions,
) -> Result<Vec<Finding>> {
    let here: HashSet<&str> = sessions.iter().map(|p| p.name.as_str()).collect();
    let asked = |id: &SessionId| options.session.as_ref().is_none_or(|wanted| wanted == id);
    let mut gone: Vec<_> = merged.summaries().filter(|s| asked(&s.id)).collect();
    gone.retain(|s| !here.contains(s.id.dir_name().as_str()));
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    // One that is being removed goes from its place into the trash, and then from the catalog. What cannot be looked at is told
    // elsewhere.
    let trash = env.layout.trash.list().unwrap_or_default();
    let merged = env.catalog.merged()?;
    gone.retain(|s| {
        let name = s.id.dir_name();
        matches!(locate(env, &s.id), Ok(None))
            && !trash.iter().any(|entry| entry.name.starts_with(&format!("{name}~")))
            && merged.last_summary(&name).is_some_and(|now| now.birth == s.birth)
    });
    let tell = |s: &Summary| {
        let rel = format!("sessions/{}/{}", s.id.shard(), s.id.dir_name());
        let (live, all) = (s.message_count, s.total_messages);
        let what =
            format!("it was closed with {live} live messages, of {all} that it ever had, and is not there");
        Finding::new(Code::MissingSession, rel, what).of(Some(s.id.as_str()))
    };
    Ok(gone.iter().map(tell).collect())
}

/// What a listing would show of a session without reading it, if that is not what is in its log.
pub(crate) fn stale(env: &Env, place: &Place, merged: &Merged) -> Option<String> {
    let Some(Known::Closed(summary)) = merged.get(&place.name) else { return None };
    let tail = load_tail(env, Whose::Dir(&place.name), &place.dir, Look::Whole).ok()?.tail;
    let (said, found) = (summary.incarnation.number, tail.state.incarnation.number);
    let behind = summary.birth != tail.state.birth || said < found;
    // A writer may have opened it, and closed it again, since the catalog was read: then it says so by now, for its open mark
    // is there before its first write.
    let settled = || {
        env.catalog.current().is_ok_and(
            |m| matches!(m.get(&place.name), Some(Known::Closed(s)) if s.incarnation == summary.incarnation),
        )
    };
    (behind && settled())
        .then(|| format!("the catalog knows it as writer {said} left it; writer {found} came since"))
}

/// There is nothing of the session that is asked for.
pub(crate) fn no_session(doing: &'static str, id: &SessionId) -> Error {
    let hint = "there is no session of this id in the store; Store::sessions lists those that are there";
    Error::new(ErrorKind::NotFound, doing).session(id).hint(hint)
}

fn add(out: &mut Checkup, looked: Looked) {
    out.sessions += 1;
    out.segments += looked.inventory.segments.len() as u64;
    out.bytes += looked.inventory.segments.iter().map(|s| s.len).sum::<u64>();
    out.findings.extend(looked.findings);
}

fn unreadable(rel: &str, e: &Error) -> Finding {
    let code = if e.kind() == ErrorKind::Corrupt { Code::UnreadableSession } else { Code::Unreadable };
    Finding::new(code, rel, e.to_string())
}

/// A session's directory.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) rel: String,
    pub(crate) dir: Arc<dyn Dir>,
}

impl Place {
    /// False if it was removed since: then it lies in the trash, and its files go one by one. What cannot be looked at is there.
    pub(crate) fn is_there(&self, env: &Env) -> bool {
        still_named(env, &self.name, &*self.dir).unwrap_or(true)
    }
}

/// The directories of all sessions that are asked for, and what else lies beside them.
pub(crate) fn session_dirs(
    env: &Env,
    options: &CheckOptions,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Place>> {
    let wanted = options.session.as_ref().map(|id| id.dir_name());
    let sessions = &env.layout.sessions;
    let mut out = Vec::new();
    for shard in sessions.list().map_err(|e| Error::io("list sessions", sessions.path(), e))? {
        let rel = format!("sessions/{}", shard.name);
        if shard.kind != Kind::Dir || !is_shard(&shard.name) {
            unknown(findings, &wanted, rel, &shard.name);
            continue;
        }
        let dir = match sessions.open_dir(&shard.name) {
            Ok(dir) => dir,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => {
                findings.push(Finding::new(Code::Unreadable, rel, e.to_string()));
                continue;
            }
        };
        let entries = match dir.list() {
            Ok(entries) => entries,
            Err(e) => {
                findings.push(Finding::new(Code::Unreadable, rel, e.to_string()));
                continue;
            }
        };
        for entry in entries {
            let rel = format!("{rel}/{}", entry.name);
            if entry.kind != Kind::Dir || !is_session_dir(&entry.name) {
                unknown(findings, &wanted, rel, &entry.name);
                continue;
            }
            if wanted.as_ref().is_some_and(|w| *w != entry.name) {
                continue;
            }
            if shard_of(&entry.name) != shard.name {
                let what = "a session's directory in a shard that is not its own: nobody finds it";
                findings.push(Finding::new(Code::MisplacedSession, rel, what));
                continue;
            }
            match dir.open_dir(&entry.name) {
                Ok(dir) => out.push(Place { name: entry.name, rel, dir }),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => findings.push(Finding::new(Code::Unreadable, rel, e.to_string())),
            }
        }
    }
    out.sort_by(|a, b| a.rel.cmp(&b.rel));
    Ok(out)
}

fn unknown(findings: &mut Vec<Finding>, wanted: &Option<String>, rel: String, name: &str) {
    if wanted.is_some() {
        return;
    }
    let temporary = name.ends_with(".tmp") && (name.starts_with(UNBORN) || name.starts_with("sync-"));
    findings.push(match temporary {
        true => Finding::new(Code::Leftover, rel, "something half-made, or being made now"),
        false => Finding::new(Code::UnknownFile, rel, "not a file of the store"),
    });
}

fn catalog(merged: &Merged, findings: &mut Vec<Finding>) {
    for f in &merged.findings {
        let code = if f.damage { Code::DamagedCatalog } else { Code::CatalogNote };
        findings.push(Finding::new(code, format!("catalog/{}", f.file), f.text.clone()).at(f.offset));
    }
}

/// What lies in the trash, and what the store does not know.
fn outside(env: &Env, findings: &mut Vec<Finding>) {
    for entry in env.layout.trash.list().unwrap_or_default() {
        let what = "a removed session whose files were not unlinked yet";
        findings.push(Finding::new(Code::Trash, format!("trash/{}", entry.name), what));
    }
    for entry in env.layout.root.list().unwrap_or_default() {
        let dir = ["sessions", "catalog", "trash", "quarantine"].contains(&entry.name.as_str());
        if dir && entry.kind == Kind::Dir || entry.name == "STORE" {
            continue;
        }
        let temporary = entry.name.starts_with("STORE") || entry.name.starts_with("sync-");
        findings.push(match temporary && entry.name.ends_with(".tmp") {
            true => Finding::new(Code::Leftover, entry.name, "a temporary file"),
            false => Finding::new(Code::UnknownFile, entry.name, "not a file of the store"),
        });
    }
}
