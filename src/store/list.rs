//! Listing sessions.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::env::Env;
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::ids::{is_shard, shard_of};
use crate::log::catalog::{Finding, Known};
use crate::session::{Core, OpenState, Reader, SessionInfo};

/// In which order sessions are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SortBy {
    /// By id, ascending.
    #[default]
    Id,
    /// The one with the latest message (or, without messages, the latest change) first.
    LastActivity,
}

/// Which sessions to list.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// use sessionlog::{ListOptions, SortBy};
/// let mine = store.sessions_with(
///     &ListOptions::new().attribute("user", "ada").sort_by(SortBy::LastActivity).limit(20),
/// )?;
/// # assert!(mine.sessions.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    sort: SortBy,
    attributes: Vec<(String, Value)>,
    offset: usize,
    limit: Option<usize>,
}

impl ListOptions {
    /// All sessions, by id.
    pub fn new() -> ListOptions {
        ListOptions::default()
    }

    /// The order.
    #[must_use]
    pub fn sort_by(mut self, sort: SortBy) -> Self {
        self.sort = sort;
        self
    }

    /// Only sessions whose attribute `key` (of the first level) has this value. May be given several times: all
    /// must hold.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }

    /// Leaves out the first so many.
    #[must_use]
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    fn wants(&self, info: &SessionInfo) -> bool {
        self.attributes.iter().all(|(k, v)| info.attributes.get(k) == Some(v))
    }
}

/// What a listing gives: every session there is, readable or not.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The sessions that were asked for, in the order that was asked for.
    pub sessions: Vec<SessionInfo>,
    /// How many sessions fit before `offset` and `limit` were applied.
    pub total: usize,
    /// Sessions that are there and cannot be read, or of which damage hides what was written last: their directories,
    /// and why. What is left of the latter can be read all the same.
    pub unreadable: Vec<(PathBuf, Error)>,
    /// What is wrong with the catalog's own files, in words. The listing is right all the same: it read the
    /// sessions that they leave in doubt; and the catalog mends itself.
    pub catalog_notes: Vec<String>,
}

impl IntoIterator for Listing {
    type Item = SessionInfo;
    type IntoIter = std::vec::IntoIter<SessionInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.sessions.into_iter()
    }
}

pub(crate) fn list(env: &Arc<Env>, options: &ListOptions) -> Result<Listing> {
    let merged = env.catalog.merged()?;
    let note = |f: &Finding| format!("{} at byte {}: {}", f.file, f.offset, f.text);
    let notes = merged.findings.iter().map(note).collect();
    let mut out = Listing { catalog_notes: notes, ..Listing::default() };
    let here: HashMap<String, Arc<Core>> = env.all().into_iter().map(|c| (c.id.dir_name(), c)).collect();
    for dir_name in dir_names(env)? {
        let open = here
            .get(&dir_name)
            .and_then(|c| c.with_shared(|s| SessionInfo::of_state(&s.state, OpenState::OpenHere)));
        let known = match merged.get(&dir_name) {
            Some(Known::Closed(summary)) if open.is_none() => SessionInfo::of_summary(&summary),
            _ => open,
        };
        let info = match known {
            Some(info) => info,
            None => match Reader::open_dir(env, &dir_name) {
                // What is known of it is older than what was written: no count is better than a stale one.
                Ok(Some(reader)) if reader.uncertain().is_some() => {
                    let place = env.layout.sessions.path().join(shard_of(&dir_name)).join(&dir_name);
                    out.unreadable.extend(reader.uncertain().map(|e| (place, e)));
                    continue;
                }
                Ok(Some(reader)) => {
                    let open = if reader.ended_clean() { OpenState::Closed } else { OpenState::Open };
                    reader.with_state(|s| SessionInfo::of_state(s, open))
                }
                // It went while the listing was made.
                Ok(None) => continue,
                Err(e) => {
                    let place = env.layout.sessions.path().join(shard_of(&dir_name)).join(&dir_name);
                    out.unreadable.push((place, e));
                    continue;
                }
            },
        };
        if options.wants(&info) {
            out.sessions.push(info);
        }
    }
    match options.sort {
        SortBy::Id => out.sessions.sort_by(|a, b| a.id.cmp(&b.id)),
        SortBy::LastActivity => {
            let when = |i: &SessionInfo| i.last_message_micros.unwrap_or(i.modified_micros);
            out.sessions.sort_by(|a, b| when(b).cmp(&when(a)).then_with(|| a.id.cmp(&b.id)));
        }
    }
    out.total = out.sessions.len();
    out.sessions.drain(..options.offset.min(out.total));
    out.sessions.truncate(options.limit.unwrap_or(usize::MAX));
    Ok(out)
}

/// The names of all session directories: what exists.
pub(crate) fn dir_names(env: &Env) -> Result<Vec<String>> {
    let sessions = &env.layout.sessions;
    let mut names = Vec::new();
    for shard in sessions.list().map_err(|e| Error::io("list sessions", sessions.path(), e))? {
        if shard.kind != Kind::Dir || !is_shard(&shard.name) {
            continue;
        }
        let dir = match sessions.open_dir(&shard.name) {
            Ok(dir) => dir,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io("list sessions", sessions.path().join(&shard.name), e)),
        };
        for entry in dir.list().map_err(|e| Error::io("list sessions", dir.path(), e))? {
            // What is being made, and what is no session of ours (or is not where it is looked for), is passed over.
            if entry.kind == Kind::Dir && shard_of(&entry.name) == shard.name {
                names.push(entry.name);
            }
        }
    }
    Ok(names)
}
