//! Listing sessions.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::env::Env;
use super::shards::Names;
use crate::error::{Error, Result};
use crate::ids::{SHARDS, shard_of};
use crate::log::catalog::Finding;
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

    /// Only sessions whose attribute `key` (of the first level) has this value; 1 is not 1.0. May be given several times: all
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
        self.attributes.iter().all(|(key, value)| info.attributes.has(key, value))
    }
}

/// What a listing gives: every session there is, readable or not.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The sessions that were asked for, in the order that was asked for.
    /// They are shared with other listings of this store, which costs less than a copy of each: use
    /// [`Arc::unwrap_or_clone`] for a value of one's own.
    pub sessions: Vec<Arc<SessionInfo>>,
    /// How many sessions fit before `offset` and `limit` were applied.
    pub total: usize,
    /// Sessions that are there and cannot be read, or of which damage hides what was written last: their directories,
    /// and why, in the order of the directories' names. What is left of the latter can be read all the same.
    pub unreadable: Vec<(PathBuf, Error)>,
    /// What is wrong with the catalog's own files, in words, as far as this listing read them: what an earlier one of
    /// this store has read is not read again. The listing is right all the same: it read the sessions that they leave in
    /// doubt; and the catalog mends itself.
    pub catalog_notes: Vec<String>,
}

impl Listing {
    /// How many sessions are in it: of [`total`](Listing::total), what `offset` and `limit` left.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True if no session is.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

impl<'a> IntoIterator for &'a Listing {
    type Item = &'a Arc<SessionInfo>;
    type IntoIter = std::slice::Iter<'a, Arc<SessionInfo>>;

    fn into_iter(self) -> Self::IntoIter {
        self.sessions.iter()
    }
}

impl IntoIterator for Listing {
    type Item = Arc<SessionInfo>;
    type IntoIter = std::vec::IntoIter<Arc<SessionInfo>>;

    fn into_iter(self) -> Self::IntoIter {
        self.sessions.into_iter()
    }
}

pub(crate) fn list(env: &Arc<Env>, options: &ListOptions) -> Result<Listing> {
    let merged = env.catalog.current()?;
    let note = |f: &Finding| format!("{} at byte {}: {}", f.file, f.offset, f.text);
    let notes = merged.findings.iter().map(note).collect();
    let mut out = Listing { catalog_notes: notes, ..Listing::default() };
    let cores: Vec<Arc<Core>> = env.all();
    let roster = env.rosters.of(merged, dir_names(env)?);
    // What is open here is known better than from the catalog, or from a file.
    let open_here =
        |c: &Arc<Core>| c.with_shared(|s| Arc::new(SessionInfo::of_state(&s.state, OpenState::OpenHere)));
    let mut here: HashMap<String, Arc<SessionInfo>> = HashMap::new();
    let mut others = Vec::new();
    for (core, info) in cores.iter().filter_map(|c| Some((c, open_here(c)?))) {
        match roster.closed.binary_search_by(|closed| closed.id.cmp(&core.id)) {
            Ok(_) => others.push(info),
            Err(_) => drop(here.insert(core.id.dir_name(), info)),
        }
    }
    for dir_name in roster.rest.iter().map(|dir| &*dir.name) {
        if let Some(info) = here.remove(dir_name) {
            others.push(info);
            continue;
        }
        let place = || env.layout.sessions.path().join(shard_of(dir_name)).join(dir_name);
        match Reader::open_dir(env, dir_name) {
            // What is known of it is older than what was written: no count is better than a stale one.
            Ok(Some(reader)) if reader.uncertain().is_some() => {
                out.unreadable.extend(reader.uncertain().map(|e| (place(), e)));
            }
            Ok(Some(reader)) => {
                let open = if reader.ended_clean() { OpenState::Closed } else { OpenState::Open };
                others.push(Arc::new(reader.with_state(|s| SessionInfo::of_state(s, open))));
            }
            // It went while the listing was made.
            Ok(None) => {}
            Err(e) => out.unreadable.push((place(), e)),
        }
    }
    others.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut chosen = by_id(&roster.closed, &others);
    chosen.retain(|info| options.wants(info));
    out.total = chosen.len();
    let end = options.limit.map_or(out.total, |limit| out.total.min(options.offset.saturating_add(limit)));
    match options.sort {
        SortBy::Id => chosen.truncate(end),
        SortBy::LastActivity => chosen = by_activity(chosen, end),
    }
    out.sessions = chosen.into_iter().skip(options.offset).cloned().collect();
    Ok(out)
}

/// All of these, each of both in the order of their ids. What is in both is taken from the second.
fn by_id<'a>(closed: &'a [Arc<SessionInfo>], others: &'a [Arc<SessionInfo>]) -> Vec<&'a Arc<SessionInfo>> {
    let mut all = Vec::with_capacity(closed.len() + others.len());
    let mut rest = closed;
    for other in others {
        let (before, behind) = rest.split_at(rest.partition_point(|info| info.id < other.id));
        all.extend(before);
        all.push(other);
        rest = match behind {
            [same, behind @ ..] if same.id == other.id => behind,
            behind => behind,
        };
    }
    all.extend(rest);
    all
}

/// The first so many of these, by their last activity.
fn by_activity(infos: Vec<&Arc<SessionInfo>>, count: usize) -> Vec<&Arc<SessionInfo>> {
    let when = |info: &SessionInfo| Reverse(info.last_message_micros.unwrap_or(info.modified_micros));
    let mut timed: Vec<_> = infos.into_iter().map(|info| (when(info), info)).collect();
    let order = |a: &(Reverse<u64>, &Arc<SessionInfo>), b: &(Reverse<u64>, &Arc<SessionInfo>)| {
        a.0.cmp(&b.0).then_with(|| a.1.id.cmp(&b.1.id))
    };
    // Of a long list mostly a page is asked for.
    if count < timed.len() {
        timed.select_nth_unstable_by(count, order);
        timed.truncate(count);
    }
    timed.sort_unstable_by(order);
    timed.into_iter().map(|(_, info)| info).collect()
}

/// The names of all session directories: what exists.
pub(crate) fn dir_names(env: &Env) -> Result<[Arc<Names>; SHARDS.len()]> {
    let sessions = &env.layout.sessions;
    // Who allows a network file system gets what it says now, not what its clock and ours make of it.
    let names = env.shards.names(&**sessions, !env.layout.network);
    names.map_err(|(shard, e)| Error::io("list sessions", sessions.path().join(shard), e))
}
