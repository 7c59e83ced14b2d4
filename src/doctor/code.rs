//! The codes of findings: stable, so that programs may look at them.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong: what a crash or a writer at work leaves behind, and what is not the store's.
    Info,
    /// Something is not as it should be, and what is there does not tell that anything is lost. Nor does it tell that nothing is
    /// where something could not be read or judged, or a session is not there: the code says which.
    Warning,
    /// Bytes or files that were durable once are not there as they were.
    Damage,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal $severity:ident $remedy:literal;)*) => {
        /// What a finding is. The letter and the number of a code never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The letter and the number: `D001`.
            pub fn number(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// The name: `damaged-commit`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// How grave it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)* }
            }

            /// Whether it may be, or hide, the loss of something that was durable once. False of what is known to be none.
            pub fn may_be_loss(self) -> bool {
                let open = matches!(self, Code::Unreadable | Code::NewerFormat | Code::MissingSession);
                open || self.severity() == Severity::Damage
            }

            /// What to do about it, in a sentence.
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// Commits are not what was written.
    DamagedCommit = "D001" "damaged-commit" Damage
        "take the messages from a backup, or repair: what survives is kept and the loss is written down";
    /// The header of a segment is not what was written.
    DamagedHeader = "D002" "damaged-header" Damage
        "repair: the header says nothing that is not known from elsewhere, as a rule";
    /// The state with which a segment begins, or what was carried into it, is not what was written.
    DamagedState = "D003" "damaged-state" Damage
        "put the file back from a backup, or repair: the state is found from what survives, and what is lost is written down";
    /// A segment is missing that another one, the state or the catalog names.
    MissingSegment = "D004" "missing-segment" Damage
        "put the file back if it can be found, or repair: what it held is given up";
    /// The log ends before the place up to which it was durable when it was closed in good order.
    CutEnd = "D005" "cut-end" Damage
        "put the whole file back if it can be found, or repair: what is missing is given up";
    /// A file is not the one that belongs here: of another session, another store, or from another time.
    ForeignSegment = "D006" "foreign-segment" Damage
        "put the right file back if it can be found, or repair: the wrong one goes to the quarantine";
    /// A segment does not begin where the one before it ends.
    BrokenChain = "D007" "broken-chain" Damage
        "repair: what can be read is kept";
    /// No state of the session can be read at all.
    UnreadableSession = "D008" "unreadable-session" Damage
        "repair; if that says why not, put the files back from a backup";
    /// The session's directory has the name of another session.
    MisplacedSession = "D009" "misplaced-session" Damage
        "rename the directory, or move it out of the store";
    /// The `STORE` file is missing or not what was written.
    DamagedStore = "D010" "damaged-store" Damage
        "repair: it is written anew from what the segments say";
    /// A file of the catalog is not what was written.
    DamagedCatalog = "D011" "damaged-catalog" Damage
        "repair: the catalog is derived, and written anew from the sessions";
    /// The operating system could not read something.
    Unreadable = "W001" "unreadable" Warning
        "look at the permissions and at the disk; nothing was concluded from this";
    /// A newer program wrote it.
    NewerFormat = "W002" "newer-format" Warning
        "use the program that wrote it, or a newer one";
    /// A segment that no state names, older than the active one.
    UnlistedSegment = "W003" "unlisted-segment" Warning
        "repair moves it to the quarantine";
    /// The catalog has a summary of a session that is not there. It is lost, or was removed and a power cut took the catalog's
    /// note of that: nothing tells which.
    MissingSession = "W004" "missing-session" Warning
        "if nobody removed it, it is lost: put its directory back from a backup; Store::remove_session ends this warning";
    /// The catalog's summary of a session is older than its log, and nothing in the catalog says so: a file of it is
    /// missing, or was replaced by an older one.
    StaleSummary = "W005" "stale-summary" Warning
        "repair writes a new summary; until then, or until the session is written, a listing shows the old one";
    /// Archived messages that the live log still holds because its truncation was interrupted.
    StalePrefix = "I001" "stale-prefix" Info
        "nothing: they are left out, and the next write truncates again";
    /// A writer is at work or died.
    UncleanEnd = "I002" "unclean-end" Info
        "nothing: the next writer goes on in a new segment";
    /// A commit that was torn before anybody was told of it.
    TornTail = "I003" "torn-tail" Info
        "nothing: it is left out";
    /// Something half-made that a crash left behind.
    Leftover = "I004" "leftover" Info
        "nothing: the next writer removes it";
    /// A segment that holds nothing any more.
    Released = "I005" "released-segment" Info
        "nothing: the next writer removes it";
    /// Something that the store does not know.
    UnknownFile = "I006" "unknown-file" Info
        "nothing: it is left alone; move it out of the store if it is not wanted";
    /// Something about a catalog file that is no damage.
    CatalogNote = "I007" "catalog-note" Info
        "nothing: the catalog mends itself";
    /// A removed session whose files are not unlinked yet.
    Trash = "I008" "trash" Info
        "nothing: the next writer unlinks it";
    /// Messages that an earlier repair gave up.
    AcceptedHole = "I009" "accepted-hole" Info
        "nothing: the loss was accepted";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

/// As two fields: `code` is letter and number, `name` the name.
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut fields = s.serialize_struct("Code", 2)?;
        fields.serialize_field("code", self.number())?;
        fields.serialize_field("name", self.name())?;
        fields.end()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Damage => "damage",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_and_its_letter_is_its_severity() {
        let mut numbers: Vec<_> = Code::ALL.iter().map(|c| c.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Code::ALL.len());
        for code in Code::ALL {
            let letter = match code.severity() {
                Severity::Info => "I",
                Severity::Warning => "W",
                Severity::Damage => "D",
            };
            assert!(code.number().starts_with(letter), "{code}");
        }
    }
}
