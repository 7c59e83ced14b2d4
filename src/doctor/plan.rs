//! What a repair does, as data.

use std::fmt;

use serde::Serialize;

/// One step of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The session it belongs to, as far as that is known.
    pub session: Option<String>,
    /// The file, from the store's directory on.
    pub file: String,
    /// What is done.
    pub action: Action,
    /// Why.
    pub why: String,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Action {
    /// A copy of the file goes to the quarantine, with a note. Durable before any later step of the session.
    Quarantine {
        /// How many bytes.
        bytes: u64,
    },
    /// A new segment states what survives; the session goes on behind it.
    StartSegment {
        /// How many messages are copied into it, because the place where they are cannot be relied on.
        carried: u64,
        /// The position with which it begins: no record ever had it.
        position: u64,
        /// How many messages are live.
        messages: u64,
    },
    /// Messages are given up. Reading passes over them from now on.
    AcceptLoss {
        /// The first sequence.
        seq: u64,
        /// How many.
        count: u64,
    },
    /// The file, of which a copy is in the quarantine, leaves its place.
    TakeAway,
    /// `STORE` is written anew.
    RestoreStore,
    /// The catalog gets an entry for the session from its log.
    Summarize,
}

/// What could not be repaired, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// The session, as far as it is known.
    pub session: Option<String>,
    /// The file or directory, from the store's directory on.
    pub file: String,
    /// Why nothing was done, in a sentence.
    pub why: String,
}

/// What a repair did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Repair {
    /// True if nothing was done: it is a plan.
    pub dry_run: bool,
    /// The steps, in their order. Empty if there is nothing to do, or nothing that can be done.
    pub steps: Vec<Step>,
    /// What was left alone although something is wrong with it. A session that is well is not here, also if it could not have
    /// been repaired now.
    pub skipped: Vec<Skipped>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Quarantine { bytes } => {
                write!(f, "copy {} ({bytes} bytes) to the quarantine", self.file)?
            }
            Action::StartSegment { carried, position, messages } => write!(
                f,
                "start {} at position {position} with {messages} live messages, {carried} copied into it",
                self.file
            )?,
            Action::AcceptLoss { seq, count } => write!(f, "give up messages {seq} to {}", seq + count - 1)?,
            Action::TakeAway => write!(f, "take {} away", self.file)?,
            Action::RestoreStore => write!(f, "write {} anew", self.file)?,
            Action::Summarize => write!(f, "write a summary of {} to the catalog", self.file)?,
        }
        if let Some(session) = &self.session {
            write!(f, " (session {session:?})")?;
        }
        write!(f, ": {}", self.why)
    }
}
