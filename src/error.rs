//! One error type for the whole library.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in a word.
///
/// ```
/// use sessionlog::{Error, ErrorKind};
/// fn worth_a_retry(error: &Error) -> bool {
///     matches!(error.kind(), ErrorKind::Locked | ErrorKind::NoSpace)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such store, session, archive or message.
    NotFound,
    /// It was to be created, and it is there already.
    AlreadyExists,
    /// Another process is the writer of this session. The text names it as far as it is known.
    Locked,
    /// An expectation did not hold, an idempotency key was used with other content, another process wrote to the session
    /// while it was parked, or the options are not those with which the store is open here, or was made.
    Conflict,
    /// Bytes on disk are not what was written: the text names file and offset. Nothing was changed.
    Corrupt,
    /// A payload, batch, attribute set or label is over its limit.
    TooLarge,
    /// The disk or the quota is full, or a limit of file size is reached. What was acknowledged stays; writing works again when there is room.
    NoSpace,
    /// A sync failed earlier (or now): this handle writes no more, nor does any other that was there by then. Open the session
    /// again, by its id; what is on disk decides. If it failed in the background, and what was acknowledged as `Buffered` may be
    /// gone, whoever opens the session next gets this once. (A creation that failed so can be repeated through the same handle.)
    Poisoned,
    /// The store was closed.
    Closed,
    /// This process is a fork of the one that opened the store; open the store anew here.
    Forked,
    /// A newer format, an unknown feature, or a network file system that was not allowed.
    Unsupported,
    /// A session id that is empty or too long.
    InvalidId,
    /// An argument or an option that makes no sense; the text says which.
    InvalidInput,
    /// The store was opened read-only, or lies on a file system that is.
    ReadOnly,
    /// The operating system reported an error that is none of the above.
    Io,
}

/// Whether the op behind an error may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not, and never will.
    NotApplied,
    /// It may or may not be on disk: opening the session again tells. (A repeat under the same idempotency
    /// key is safe.)
    Unknown,
}

/// An error: its [kind](Error::kind), whether the op took effect, and where it happened.
///
/// The text is a sentence a person can act on. Cheap to move, `Send + Sync + 'static`, and cloneable,
/// because every member of a failed group gets the same.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    doing: &'static str,
    session: Option<String>,
    path: Option<PathBuf>,
    offset: Option<u64>,
    hint: Option<String>,
    source: Option<std::sync::Arc<io::Error>>,
}

impl Error {
    /// An error of this kind that happened while `doing` something ("append a message"). Outcome
    /// `NotApplied` until said otherwise.
    pub(crate) fn new(kind: ErrorKind, doing: &'static str) -> Error {
        Error(Box::new(Inner {
            kind,
            outcome: Outcome::NotApplied,
            doing,
            session: None,
            path: None,
            offset: None,
            hint: None,
            source: None,
        }))
    }

    /// An error of the operating system, its kind told by the code: no room, not found, and so on.
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            // The limit of file size of this process (`ulimit -f`), or of the file system.
            io::ErrorKind::FileTooLarge if source.raw_os_error().is_some() => ErrorKind::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            _ => ErrorKind::Io,
        };
        let mut error = Error::new(kind, doing).path(path);
        if kind == ErrorKind::NoSpace {
            error = error.hint(match source.kind() {
                io::ErrorKind::FileTooLarge => "raise the limit of file size (`ulimit -f`) and try again",
                _ => "free some room on this file system (or raise the quota) and try again",
            });
        }
        error.0.source = Some(std::sync::Arc::new(source));
        error
    }

    /// Damage: `what` is wrong with the bytes at `offset` of the file.
    pub(crate) fn corrupt(path: impl AsRef<Path>, offset: u64, what: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, "read").path(path).offset(offset).hint(what)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn path(mut self, path: impl AsRef<Path>) -> Error {
        self.0.path = Some(path.as_ref().to_path_buf());
        self
    }

    pub(crate) fn offset(mut self, offset: u64) -> Error {
        self.0.offset = Some(offset);
        self
    }

    pub(crate) fn session(mut self, session: impl AsRef<str>) -> Error {
        self.0.session = Some(session.as_ref().to_owned());
        self
    }

    pub(crate) fn unknown(mut self) -> Error {
        self.0.outcome = Outcome::Unknown;
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    pub(crate) fn with_source(mut self, source: io::Error) -> Error {
        self.0.source = Some(std::sync::Arc::new(source));
        self
    }

    /// The error of an op that was not begun because of this one: where it happened and by what, and then what to do.
    pub(crate) fn because(mut self, cause: &Error, what_to_do: &str) -> Error {
        let c = &*cause.0;
        let reason = c.hint.as_deref().filter(|_| c.source.is_none()).map(|r| format!(" ({r})"));
        let hint = format!("it failed to {}{}; {what_to_do}", c.doing, reason.unwrap_or_default());
        (self.0.path, self.0.offset, self.0.source) = (c.path.clone(), c.offset, c.source.clone());
        self.hint(hint)
    }

    /// What is wrong or what to do, without kind and place.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What went wrong, in a word.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the op may have taken effect all the same.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The file or directory, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The byte offset in the file, for damage.
    pub fn file_offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The session, where the error belongs to one.
    pub fn session_id(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// True for [`ErrorKind::Corrupt`] alone: bytes that were durable once are not what was written. Never
    /// true for a torn tail, a missing file that was never acknowledged, or an error of the system.
    pub fn is_corruption(&self) -> bool {
        self.0.kind == ErrorKind::Corrupt
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::NotFound => "not found",
            ErrorKind::AlreadyExists => "it exists already",
            ErrorKind::Locked => "another process is writing to it",
            ErrorKind::Conflict => "it is not in the expected state",
            ErrorKind::Corrupt => "damaged data",
            ErrorKind::TooLarge => "too large",
            ErrorKind::NoSpace => "no space left",
            ErrorKind::Poisoned => "an earlier sync failed, so this handle writes no more",
            ErrorKind::Closed => "the store is closed",
            ErrorKind::Forked => "the store was opened before this process was forked",
            ErrorKind::Unsupported => "not supported",
            ErrorKind::InvalidId => "not a session id",
            ErrorKind::InvalidInput => "invalid argument",
            ErrorKind::ReadOnly => "read-only",
            ErrorKind::Io => "input/output error",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        write!(f, "cannot {}", e.doing)?;
        if let Some(session) = &e.session {
            write!(f, " (session {session:?})")?;
        }
        write!(f, ": {}", e.kind)?;
        if let Some(path) = &e.path {
            write!(f, ": {}", path.display())?;
            if let Some(offset) = e.offset {
                write!(f, " at byte {offset}")?;
            }
        }
        if let Some(source) = &e.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &e.hint {
            write!(f, "; {hint}")?;
        }
        if e.outcome == Outcome::Unknown {
            write!(f, " (it may have taken effect: open the session again to see)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}: {self}", self.0.kind, self.0.outcome)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| &**e as &(dyn std::error::Error + 'static))
    }
}
