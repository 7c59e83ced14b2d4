//! What opening a session found and did, as data.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One thing that opening a session found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// These messages were archived, but the live log still holds them: the truncation behind the archive was lost in a crash (a
    /// lost clear), or not due yet (see `Options::truncate_after`) when the writer died. They are left out of the live range;
    /// the truncation is done with the next write (or by `truncate`), so that the heal survives the next restart.
    StalePrefix {
        /// The archived sequences that the live log still holds.
        range: Range<u64>,
    },
    /// The last writer did not close the session (it died, or still runs). Nothing is lost by that: the next
    /// write goes to a new segment.
    UncleanEnd {
        /// The segment.
        file: PathBuf,
        /// Where its last good commit ends.
        offset: u64,
    },
    /// Behind the last good commit are bytes that are none: a commit that was torn before anybody was told that it is there,
    /// or the close record, which says nothing that is missed. It is left out; its bytes stay where they are.
    TornTail {
        /// The segment.
        file: PathBuf,
        /// Where the bytes begin.
        offset: u64,
    },
    /// Bytes that were durable once are not what was written.
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// Where the next good commit begins, as far as it is known.
        until: Option<u64>,
        /// What is wrong.
        what: String,
        /// It may hide an archive or a change of attributes: the session is read-only until it is repaired.
        hides_state: bool,
    },
    /// A segment that the state names is not there.
    MissingSegment {
        /// Its file.
        file: PathBuf,
        /// What named it.
        named_by: &'static str,
        /// The state of the session is not certain without it.
        hides_state: bool,
    },
    /// A file that a crash left behind half-made; removed at the next write.
    Leftover {
        /// Its name.
        name: String,
    },
    /// A segment that holds nothing any more and was to be removed; removed at the next write.
    Released {
        /// Its number.
        segment: u64,
    },
    /// Something in the directory that the store does not know; left alone.
    Unknown {
        /// Its name.
        name: String,
    },
}

impl Finding {
    /// True for damage: bytes or files that were durable once and are not there as they were.
    pub fn is_damage(&self) -> bool {
        matches!(self, Finding::Damaged { .. } | Finding::MissingSegment { .. })
    }

    /// True if the session cannot be written before it is repaired.
    pub fn hides_state(&self) -> bool {
        matches!(
            self,
            Finding::Damaged { hides_state: true, .. } | Finding::MissingSegment { hides_state: true, .. }
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::StalePrefix { range } => write!(
                f,
                "stale prefix: messages {} to {} were archived and are still in the live log; left out",
                range.start,
                range.end.saturating_sub(1)
            ),
            Finding::UncleanEnd { file, offset } => {
                write!(f, "unclean end: {} was not closed (ends at byte {offset})", file.display())
            }
            Finding::TornTail { file, offset } => {
                write!(f, "torn tail: {} at byte {offset}; never acknowledged, left out", file.display())
            }
            Finding::Damaged { file, offset, what, hides_state, .. } => {
                write!(f, "damage: {} at byte {offset}: {what}", file.display())?;
                if *hides_state { write!(f, "; read-only until repaired") } else { Ok(()) }
            }
            Finding::MissingSegment { file, named_by, hides_state } => {
                write!(f, "missing: {}, named by {named_by}", file.display())?;
                if *hides_state { write!(f, "; read-only until repaired") } else { Ok(()) }
            }
            Finding::Leftover { name } => write!(f, "leftover of a crash: {name}"),
            Finding::Released { segment } => write!(f, "segment {segment} holds nothing any more"),
            Finding::Unknown { name } => write!(f, "unknown file {name}; left alone"),
        }
    }
}

/// What opening a session found: empty if everything agrees.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// let report = store.session("chat")?.report()?;
/// for finding in report.findings.iter().filter(|f| f.is_damage()) {
///     eprintln!("{finding}");
/// }
/// assert!(report.is_clean());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The findings, the gravest first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// True if nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The archived messages that the live log still holds, if it does.
    pub fn stale_prefix(&self) -> Option<Range<u64>> {
        self.findings.iter().find_map(|f| match f {
            Finding::StalePrefix { range } => Some(range.clone()),
            _ => None,
        })
    }

    /// True if something that was durable is damaged or missing.
    pub fn has_damage(&self) -> bool {
        self.findings.iter().any(Finding::is_damage)
    }
}
