//! Counting what a store holds.

use std::sync::Arc;

use super::env::Env;
use super::list::dir_names;
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::ids::shard_of;

/// What a store holds. Bytes are bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Sessions.
    pub sessions: u64,
    /// Segment files.
    pub segments: u64,
    /// The lengths of all files of sessions.
    pub bytes: u64,
    /// What these files and the sessions' directories take on the disk.
    pub allocated_bytes: u64,
    /// The lengths of the catalog's files.
    pub catalog_bytes: u64,
    /// Free room on the file system, for this user.
    pub available_bytes: u64,
    /// Sessions that this process has open for writing.
    pub open_sessions: u64,
}

pub(crate) fn stats(env: &Arc<Env>) -> Result<StoreStats> {
    let mut out = StoreStats { open_sessions: env.open_sessions(), ..StoreStats::default() };
    let sessions = &env.layout.sessions;
    let names = dir_names(env)?;
    for name in names.iter().flat_map(|names| names.iter()).map(|dir| dir.name) {
        // A session that goes meanwhile is not counted.
        let Ok(parent) = sessions.open_dir(shard_of(name)) else { continue };
        let Ok(dir) = parent.open_dir(name) else { continue };
        out.sessions += 1;
        out.allocated_bytes += parent.stat(name).map_or(0, |s| s.allocated);
        for entry in dir.list().unwrap_or_default() {
            if let Ok(stat) = dir.stat(&entry.name)
                && stat.kind == Kind::File
            {
                out.segments += u64::from(crate::log::parse_segment_name(&entry.name).is_some());
                out.bytes += stat.len;
                out.allocated_bytes += stat.allocated;
            }
        }
    }
    for entry in env.layout.catalog.list().unwrap_or_default() {
        out.catalog_bytes += env.layout.catalog.stat(&entry.name).map_or(0, |s| s.len);
    }
    out.available_bytes = env
        .layout
        .root
        .space()
        .map_err(|e| Error::io("measure free room", env.layout.root.path(), e))?
        .available;
    Ok(out)
}
