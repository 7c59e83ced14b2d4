//! The decision table: what was found, against what the state says.
//!
//! | row | found | the state says | verdict |
//! |---|---|---|---|
//! | E1 | close, confirmed (by a mark, or by the catalog, which may know of one that is gone), only zeros behind | anything certain | append in place |
//! | E2 | no confirmed close (writer died, power cut) | certain; the segment is large | new segment, carry what lies above the mark |
//! | E3 | no confirmed close | certain; the segment is small and needed by nothing else | new segment, carry it whole, release it |
//! | E4 | anything | damage may hide a journal record, or a named successor is missing | read-only until repaired |
//! | E5 | damage that hides no journal record, or in a copy | certain | as E2: the bad stretch is never rewritten |
//! | E6 | records of an unknown kind that may be ignored | certain | as E1 or E2, but nothing is rewritten: no truncation, no whole carry |
//! | D1 | no archived message in the live log | nothing owed | nothing |
//! | D2 | archived messages in the live log, ended clean, below the threshold | owed, not due | nothing: not a finding |
//! | D3 | archived messages in the live log, over the threshold or not ended clean | owed and due | stale prefix: left out, truncate |
//! | F1 | a segment | sealed or active | keep |
//! | F2 | a segment | released | remove |
//! | F3 | a segment | older than all and not named | report, leave alone |
//! | F4 | a temporary file | - | remove (its maker held the lock that we hold) |
//! | F5 | the lock | - | keep |
//! | F6 | anything else | - | report, leave alone |
//! | F7 | no file | a sealed segment that is needed | damage: report |
//! | F8 | no file | a segment that is released | nothing |
//! | F9 | no file | the successor that the witness or the catalog names | damage that hides state: E4 |

use std::path::Path;

use super::{Finding, Report};
use crate::error::Error;
use crate::log::scan::{Ending, Tail};
use crate::log::{LOCK_FILE, parse_segment_name, segment_name};

/// What a name in the session's directory is, by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Segment(u64),
    Temporary,
    Lock,
    Foreign,
}

impl Found {
    pub(crate) fn of(name: &str) -> Found {
        if name == LOCK_FILE {
            Found::Lock
        } else if let Some(n) = parse_segment_name(name) {
            Found::Segment(n)
        } else if name.ends_with(".tmp") {
            Found::Temporary
        } else {
            Found::Foreign
        }
    }
}

/// How a segment file stands to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    Sealed,
    Released,
    Unnamed,
}

/// What to do with the end of the log before the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndVerdict {
    /// E1: go on in the last segment.
    Append,
    /// E2, E5: a new segment that carries the records from the last mark on.
    NewSegment,
    /// E3: a new segment that carries all of the old one, which is then released.
    Replace,
    /// E4: nothing may be written.
    ReadOnly,
}

/// Everything that the decisions depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) ending: Ending,
    pub(crate) damaged: bool,
    pub(crate) uncertain: bool,
    pub(crate) ignored: bool,
    /// The last segment holds less than what is worth a file of its own.
    pub(crate) small: bool,
    pub(crate) owes: bool,
    pub(crate) over_threshold: bool,
}

impl Facts {
    fn end(self) -> EndVerdict {
        match self {
            Facts { uncertain: true, .. } => EndVerdict::ReadOnly,
            Facts { damaged: true, .. } => EndVerdict::NewSegment,
            Facts { ending: Ending::Clean, .. } => EndVerdict::Append,
            Facts { ignored: true, .. } | Facts { small: false, .. } => EndVerdict::NewSegment,
            Facts { small: true, .. } => EndVerdict::Replace,
        }
    }

    /// D3: the live log holds archived messages that should be gone.
    fn stale(self) -> bool {
        self.owes && (self.over_threshold || self.ending != Ending::Clean)
    }
}

/// What is to be done, and what is to be said.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) end: EndVerdict,
    /// The truncation that an archive owes is due.
    pub(crate) truncate: bool,
    /// Names to remove.
    pub(crate) remove: Vec<String>,
    pub(crate) report: Report,
    /// The live range goes on where it cannot be read.
    pub(crate) lost: Option<Error>,
}

/// How small a segment must be to be carried whole after an unclean end, in bytes.
const SMALL: u64 = 64 << 10;

/// Compares a session's directory with the state that its last segment states. `successor` is a segment that
/// somebody else names (the catalog's open mark) and its namer.
pub(crate) fn plan(
    dir: &Path,
    tail: &Tail,
    names: &[String],
    successor: Option<(u64, &'static str)>,
    threshold: u64,
) -> Plan {
    let state = &tail.state;
    let active = tail.segment.header.number;
    let mut report = Report::default();
    let mut remove = Vec::new();
    let mut hidden = false;

    for d in &tail.damage {
        report.findings.push(Finding::Damaged {
            file: tail.segment.path(),
            offset: d.offset,
            until: Some(d.until),
            what: d.what.clone(),
            hides_state: d.hides_state,
        });
    }
    let witness = tail.next.map(|(n, _)| (n, "the last record of the segment before it"));
    for (number, named_by) in witness.into_iter().chain(successor) {
        let name = segment_name(number);
        if number > active && !names.contains(&name) {
            hidden = true;
            let file = dir.join(name);
            let told = |f: &Finding| matches!(f, Finding::MissingSegment { file: told, .. } if *told == file);
            // One loss, whoever bears witness of it.
            if report.findings.iter().any(told) {
                continue;
            }
            report.findings.push(Finding::MissingSegment { file, named_by, hides_state: true });
        }
    }
    for s in &state.segments {
        let name = segment_name(s.number);
        if !names.contains(&name) {
            report.findings.push(Finding::MissingSegment {
                file: dir.join(name),
                named_by: "the state of the session",
                hides_state: false,
            });
        }
    }
    let facts = Facts {
        ending: tail.ending,
        damaged: !tail.damage.is_empty(),
        uncertain: hidden || tail.uncertain(),
        ignored: state.frozen,
        small: tail.offset <= SMALL,
        owes: state.truncated < state.base,
        over_threshold: state.dead_bytes >= threshold,
    };
    if facts.stale() {
        report.findings.push(Finding::StalePrefix { range: state.truncated..state.base });
    }
    let at = || (tail.segment.path(), tail.offset);
    if tail.torn {
        let (file, offset) = at();
        report.findings.push(Finding::TornTail { file, offset });
    } else if tail.ending != Ending::Clean {
        let (file, offset) = at();
        report.findings.push(Finding::UncleanEnd { file, offset });
    }
    for name in names {
        match judge(Found::of(name), |n| standing(n, active, tail)) {
            Judgement::Keep => {}
            Judgement::Remove(finding) => {
                report.findings.push(finding(name));
                remove.push(name.clone());
            }
            Judgement::Report => report.findings.push(Finding::Unknown { name: name.clone() }),
        }
    }
    let lost = facts.uncertain && hidden;
    Plan {
        end: facts.end(),
        truncate: facts.stale() && !facts.ignored && !facts.damaged,
        remove,
        report,
        lost: lost.then(|| lost_error(tail)),
    }
}

impl Plan {
    /// F9 for the end of a segment: the catalog knows of a clean close, with all up to `position` durable, which lies behind the
    /// last good commit. What was durable there is gone, and may have been anything.
    pub(crate) fn lost_end(&mut self, tail: &Tail, position: u64) {
        self.lost = Some(lost_error(tail));
        self.hide(Finding::Damaged {
            file: tail.segment.path(),
            offset: tail.offset,
            until: None,
            what: format!(
                "the log ends at position {}, but it was durable up to {position} when it was closed: it was cut, \
                 or replaced by an older copy",
                tail.state.position
            ),
            hides_state: true,
        });
    }

    /// The newest segment cannot be read; what is known is what the one before it says.
    pub(crate) fn lost_segment(&mut self, error: Error) {
        self.hide(Finding::Damaged {
            file: error.file().map(Path::to_path_buf).unwrap_or_default(),
            offset: error.file_offset().unwrap_or_default(),
            until: None,
            what: error.to_string(),
            hides_state: true,
        });
        self.lost = Some(error);
    }

    fn hide(&mut self, finding: Finding) {
        self.end = EndVerdict::ReadOnly;
        self.truncate = false;
        self.remove.clear();
        self.report.findings.insert(0, finding);
    }
}

fn lost_error(tail: &Tail) -> Error {
    Error::corrupt(
        tail.segment.path(),
        tail.offset,
        "the session goes on behind this point, in commits or in a segment that are not here any more",
    )
    .session(&tail.state.id)
}

fn standing(number: u64, active: u64, tail: &Tail) -> Standing {
    if number == active {
        Standing::Active
    } else if tail.state.released.contains(&number) {
        Standing::Released
    } else if tail.state.segments.iter().any(|s| s.number == number) {
        Standing::Sealed
    } else {
        Standing::Unnamed
    }
}

enum Judgement {
    Keep,
    Remove(fn(&str) -> Finding),
    Report,
}

fn judge(found: Found, standing: impl Fn(u64) -> Standing) -> Judgement {
    match found {
        Found::Lock => Judgement::Keep,
        Found::Temporary => Judgement::Remove(|name| Finding::Leftover { name: name.to_owned() }),
        Found::Foreign => Judgement::Report,
        Found::Segment(n) => match standing(n) {
            Standing::Active | Standing::Sealed => Judgement::Keep,
            Standing::Released => Judgement::Remove(|name| Finding::Released {
                segment: parse_segment_name(name).unwrap_or_default(),
            }),
            Standing::Unnamed => Judgement::Report,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_facts() -> Vec<Facts> {
        let mut all = Vec::new();
        for ending in [Ending::Open, Ending::Closing, Ending::Clean] {
            for bits in 0..64u8 {
                let bit = |i: u8| bits & (1 << i) != 0;
                all.push(Facts {
                    ending,
                    damaged: bit(0),
                    uncertain: bit(1),
                    ignored: bit(2),
                    small: bit(3),
                    owes: bit(4),
                    over_threshold: bit(5),
                });
            }
        }
        all
    }

    #[test]
    fn every_combination_has_one_verdict_and_the_rows_are_exclusive() {
        for f in all_facts() {
            // The rows of the table, each as the condition that stands there.
            let clean = f.ending == Ending::Clean;
            let rows = [
                (f.uncertain, EndVerdict::ReadOnly),
                (!f.uncertain && f.damaged, EndVerdict::NewSegment),
                (!f.uncertain && !f.damaged && clean, EndVerdict::Append),
                (!f.uncertain && !f.damaged && !clean && (f.ignored || !f.small), EndVerdict::NewSegment),
                (!f.uncertain && !f.damaged && !clean && !f.ignored && f.small, EndVerdict::Replace),
            ];
            let matching: Vec<_> = rows.iter().filter(|(holds, _)| *holds).collect();
            assert_eq!(matching.len(), 1, "{f:?}");
            assert_eq!(f.end(), matching[0].1, "{f:?}");
        }
    }

    #[test]
    fn nothing_is_appended_in_place_unless_the_end_is_clean_and_undamaged() {
        for f in all_facts().into_iter().filter(|f| f.end() == EndVerdict::Append) {
            assert!(f.ending == Ending::Clean && !f.damaged && !f.uncertain, "{f:?}");
        }
    }

    #[test]
    fn a_debt_that_is_not_due_is_no_finding() {
        for f in all_facts() {
            assert_eq!(f.stale(), f.owes && (f.over_threshold || f.ending != Ending::Clean));
        }
    }

    #[test]
    fn every_name_is_judged_and_only_leftovers_and_released_segments_go() {
        let names = ["lock", "00000001.log", "00000001.log-x.tmp", "notes.txt", "1.log"];
        let found: Vec<_> = names.iter().map(|n| Found::of(n)).collect();
        assert_eq!(found, [Found::Lock, Found::Segment(1), Found::Temporary, Found::Foreign, Found::Foreign]);
        for f in found {
            for s in [Standing::Active, Standing::Sealed, Standing::Released, Standing::Unnamed] {
                let removed = matches!(judge(f, |_| s), Judgement::Remove(_));
                let may =
                    f == Found::Temporary || (matches!(f, Found::Segment(_)) && s == Standing::Released);
                assert_eq!(removed, may, "{f:?} {s:?}");
            }
        }
    }
}
