//! Copies of what a repair takes away, each with a note of whence it came.

use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::fs::{Access, Dir, Fs, read_up_to_at, write_all_at};

/// What stands in the note beside a copy.
#[derive(Debug, Serialize)]
pub(crate) struct Note<'a> {
    pub(crate) session: Option<&'a str>,
    /// From the store's directory on.
    pub(crate) file: &'a str,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) why: &'a str,
    /// Microseconds since 1970.
    pub(crate) time: u64,
}

/// Copies a whole file into the quarantine, with its note; durable when it returns.
pub(crate) fn keep(
    fs: &dyn Fs,
    root: &Arc<dyn Dir>,
    from: &dyn Dir,
    name: &str,
    note: &Note<'_>,
) -> Result<()> {
    let path = root.path().join("quarantine");
    let io = |e| Error::io("copy a file to the quarantine", &path, e);
    let quarantine = match root.open_dir("quarantine") {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            root.create_dir("quarantine").map_err(io)?;
            root.sync().map_err(io)?;
            root.open_dir("quarantine").map_err(io)?
        }
        other => other.map_err(io)?,
    };
    let mut tag = [0; 8];
    fs.random(&mut tag).map_err(io)?;
    let kept = format!("{name}-{:016x}", u64::from_le_bytes(tag));
    let source = from.open(name, Access::Read).map_err(io)?;
    let (temp, target) = quarantine.create_temp("copy-").map_err(io)?;
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let n = read_up_to_at(&*source, &mut buffer, offset).map_err(io)?;
        write_all_at(&*target, buffer.get(..n).unwrap_or_default(), offset).map_err(io)?;
        offset += n as u64;
        if n < buffer.len() {
            break;
        }
    }
    target.sync().map_err(io)?;
    let text = serde_json::to_vec_pretty(note).map_err(|e| io(e.into()))?;
    let (note_temp, file) = quarantine.create_temp("note-").map_err(io)?;
    write_all_at(&*file, &text, 0).map_err(io)?;
    file.sync().map_err(io)?;
    quarantine.rename(&note_temp, &*quarantine, &format!("{kept}.json")).map_err(io)?;
    quarantine.rename(&temp, &*quarantine, &kept).map_err(io)?;
    quarantine.sync().map_err(io)
}
