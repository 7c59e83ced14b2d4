//! What a check finds, as data.

use std::fmt;

use serde::Serialize;

use super::code::{Code, Severity};
use crate::error::Error;

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is. serde writes it as two fields, `code` (`D001`) and `name` (`damaged-commit`).
    #[serde(flatten)]
    pub code: Code,
    /// How grave it is.
    pub severity: Severity,
    /// The session it belongs to, as far as that is known.
    pub session: Option<String>,
    /// The file or directory, from the store's directory on, with `/` between the parts.
    pub file: String,
    /// The offset in the file.
    pub offset: Option<u64>,
    /// What was found, in a sentence.
    pub what: String,
    /// What to do about it, in a sentence.
    pub remedy: &'static str,
}

impl Finding {
    pub(crate) fn new(code: Code, file: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding {
            code,
            severity: code.severity(),
            session: None,
            file: file.into(),
            offset: None,
            what: what.into(),
            remedy: code.remedy(),
        }
    }

    pub(crate) fn at(mut self, offset: u64) -> Finding {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn of(mut self, session: Option<&str>) -> Finding {
        self.session = session.map(str::to_owned);
        self
    }

    /// True for damage: see [`Severity::Damage`]. What is not damage may be a loss all the same: see [`Code::may_be_loss`].
    pub fn is_damage(&self) -> bool {
        self.severity == Severity::Damage
    }
}

/// What an error says, without "cannot read" and without the path, which stands elsewhere.
pub(crate) fn reason(error: &Error) -> String {
    error.reason().map_or_else(|| error.to_string(), str::to_owned)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if let Some(session) = &self.session {
            write!(f, " (session {session:?})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What a check found: all of it, and how much was looked at. A plain value that serde can write (`--json`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Checkup {
    /// The findings: the gravest first, then by file and offset.
    pub findings: Vec<Finding>,
    /// How many sessions were looked at.
    pub sessions: u64,
    /// How many segments were read, each to its last byte.
    pub segments: u64,
    /// How many bytes of segments were read.
    pub bytes: u64,
}

impl Checkup {
    /// True if anything that was durable is damaged or missing.
    pub fn has_damage(&self) -> bool {
        self.findings.iter().any(Finding::is_damage)
    }

    /// True if nothing was found but infos.
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|f| f.severity == Severity::Info)
    }

    pub(crate) fn sort(&mut self) {
        let key = |f: &Finding| (std::cmp::Reverse(f.severity), f.file.clone(), f.offset, f.code);
        self.findings.sort_by_key(key);
        self.findings.dedup();
    }
}
