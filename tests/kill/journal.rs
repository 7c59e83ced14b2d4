//! What the killed child wrote down, read back.

use std::collections::HashMap;
use std::path::Path;

use crate::load::{THREADS, log_path};

/// What a thread was about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Messages { count: u64, patch: bool, keyed: bool },
    Archive,
    Patch,
    PatchArchive { number: u64 },
    RemoveArchive { number: u64, from: u64, to: u64 },
    Other,
}

/// What it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it was killed before.
    None,
    Messages {
        seq: u64,
    },
    Archive {
        number: u64,
        from: u64,
        to: u64,
    },
    Done,
    Refused,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Submitted {
    pub(crate) op: u64,
    pub(crate) session: u64,
    pub(crate) kind: Kind,
    pub(crate) answer: Answer,
}

/// All ops of a round, thread by thread, in the order of their threads.
pub(crate) struct Journal {
    pub(crate) threads: Vec<Vec<Submitted>>,
    pub(crate) failures: Vec<String>,
}

impl Journal {
    pub(crate) fn read(dir: &Path, round: u64) -> Journal {
        let mut failures = Vec::new();
        let mut threads = Vec::new();
        for thread in 0..=THREADS {
            let text = std::fs::read_to_string(log_path(dir, round, thread)).unwrap_or_default();
            // A line without an end was being written when the process died.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            threads.push(parse(whole, &mut failures));
            let _ = std::fs::remove_file(log_path(dir, round, thread));
        }
        Journal { threads, failures }
    }

    /// How many of them were answered.
    pub(crate) fn answered(&self) -> usize {
        self.threads.iter().flatten().filter(|s| s.answer != Answer::None).count()
    }

    pub(crate) fn of_session(&self, session: u64) -> Vec<Vec<Submitted>> {
        let mine = |t: &Vec<Submitted>| t.iter().filter(|s| s.session == session).copied().collect();
        self.threads.iter().map(mine).collect()
    }
}

fn parse(text: &str, failures: &mut Vec<String>) -> Vec<Submitted> {
    let mut all: Vec<Submitted> = Vec::new();
    let mut index: HashMap<u64, usize> = HashMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "S" => {
                let kind = match words[3] {
                    "m" => Kind::Messages { count: number(4), patch: number(5) == 1, keyed: number(6) == 1 },
                    "a" => Kind::Archive,
                    "p" => Kind::Patch,
                    "q" => Kind::PatchArchive { number: number(4) },
                    "r" => Kind::RemoveArchive { number: number(4), from: number(5), to: number(6) },
                    _ => Kind::Other,
                };
                index.insert(number(1), all.len());
                all.push(Submitted { op: number(1), session: number(2), kind, answer: Answer::None });
            }
            "A" => {
                let s = &mut all[index[&number(1)]];
                s.answer = match s.kind {
                    Kind::Messages { .. } => Answer::Messages { seq: number(2) },
                    Kind::Archive => Answer::Archive { number: number(2), from: number(3), to: number(4) },
                    _ => Answer::Done,
                };
            }
            "N" => all[index[&number(1)]].answer = Answer::Refused,
            _ => failures.push(line.to_owned()),
        }
    }
    all
}
