//! What a session must be after a kill: everything that was acknowledged, perhaps what was under way, and
//! nothing else.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde_json::{Map, Value};
use sessionlog::{Archive, Attributes, Finding, Messages, Reader, Report, Session, SessionInfo};

use crate::journal::{Answer, Kind, Submitted};
use crate::load::{LONGEST, thread_of};
use crate::support::read_payload;

/// The two ways to look at a session.
pub(crate) enum Look {
    Reader(Box<Reader>),
    Writer(Session),
}

macro_rules! either {
    ($self:ident.$method:ident($($arg:expr),*)) => {
        match $self {
            Look::Reader(r) => r.$method($($arg),*).unwrap(),
            Look::Writer(w) => w.$method($($arg),*).unwrap(),
        }
    };
}

impl Look {
    fn info(&self) -> SessionInfo {
        either!(self.info())
    }
    fn load(&self) -> Messages {
        either!(self.load())
    }
    fn archives(&self) -> Vec<Archive> {
        either!(self.archives())
    }
    fn archived(&self, number: u64) -> Messages {
        either!(self.archived(number))
    }
    fn attributes(&self) -> Attributes {
        either!(self.attributes())
    }
    fn report(&self) -> Report {
        match self {
            Look::Reader(r) => r.report(),
            Look::Writer(w) => w.report().unwrap(),
        }
    }
}

#[derive(Debug, Clone)]
struct Known {
    seqs: Range<u64>,
    gone: bool,
    /// For each thread the last patch that is there.
    patches: HashMap<u64, u64>,
}

/// A session as it was after the last kill.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    session: u64,
    /// Op and index of every message there ever was; `None` where a removed archive hides it.
    messages: Vec<Option<(u64, u32)>>,
    /// Where each op's messages begin.
    starts: HashMap<u64, u64>,
    archives: BTreeMap<u64, Known>,
    attributes: HashMap<u64, u64>,
}

impl Model {
    pub(crate) fn new(session: u64) -> Model {
        Model { session, ..Model::default() }
    }

    /// True if nothing of this session was ever acknowledged or seen.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.archives.is_empty() && self.attributes.is_empty()
    }

    /// Compares the session with what it must be, takes over what is there, and returns what the listing must
    /// say of it. `full`: old archives too.
    pub(crate) fn check(&mut self, look: &Look, threads: &[Vec<Submitted>], full: bool) -> SessionInfo {
        let info = look.info();
        let report = look.report();
        assert!(!report.has_damage(), "session {}: {report:?}", self.session);
        assert!(
            !report.findings.iter().any(|f| matches!(f, Finding::Unknown { .. })),
            "session {}: {report:?}",
            self.session
        );
        assert_eq!(info.message_count, info.live.end - info.live.start);
        assert_eq!(info.total_messages, info.live.end);
        let fresh = self.check_archives(look, threads, &info);

        let mut found: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        let live_bytes = self.collect(look.load(), info.live.clone(), &mut found);
        assert_eq!(live_bytes, info.live_bytes, "bytes of session {}", self.session);
        for (number, known) in &self.archives {
            if !known.gone && (full || fresh.contains(number)) {
                self.collect(look.archived(*number), known.seqs.clone(), &mut found);
            }
        }
        let all_seen = self.check_messages(&found, threads, info.live.end);
        self.check_attributes(&look.attributes(), threads, all_seen);
        info
    }

    /// Reads messages that must be exactly those of `seqs`; returns their bytes.
    fn collect(&self, messages: Messages, seqs: Range<u64>, found: &mut BTreeMap<u64, (u64, u32)>) -> u64 {
        let mut expected = seqs.clone();
        let mut bytes = 0;
        for item in messages {
            let message = item.unwrap_or_else(|e| panic!("session {} in {seqs:?}: {e:?}", self.session));
            assert_eq!(Some(message.seq()), expected.next(), "session {}, {seqs:?}", self.session);
            bytes += message.payload().len() as u64;
            let before = found.insert(message.seq(), read_payload(self.session, &message, LONGEST));
            assert_eq!(before, None, "message {} is there twice", message.seq());
        }
        assert!(expected.is_empty(), "session {}: {expected:?} of {seqs:?} are missing", self.session);
        bytes
    }

    /// Returns the numbers of the archives that were not known before.
    fn check_archives(&mut self, look: &Look, threads: &[Vec<Submitted>], info: &SessionInfo) -> Vec<u64> {
        let session = self.session;
        let ops = || threads.iter().flatten();
        let listed: BTreeMap<u64, Archive> = look.archives().into_iter().map(|a| (a.number, a)).collect();
        assert_eq!(info.archives, listed.len() as u64);
        let mut fresh = Vec::new();
        for (number, archive) in &listed {
            if let Some(known) = self.archives.get(number) {
                assert!(!known.gone, "session {session}: archive {number} is back");
                assert_eq!(known.seqs, archive.seqs, "session {session}, archive {number}");
            } else {
                let op = archive.attributes["op"].as_u64().unwrap();
                let made = ops().find(|s| s.op == op && s.kind == Kind::Archive);
                let made =
                    made.unwrap_or_else(|| panic!("nobody made archive {number} of session {session}"));
                if let Answer::Archive { number: n, from, to } = made.answer {
                    assert_eq!((n, from..to), (*number, archive.seqs.clone()));
                }
                fresh.push(*number);
                let known = Known { seqs: archive.seqs.clone(), gone: false, patches: HashMap::new() };
                self.archives.insert(*number, known);
            }
        }
        for s in ops() {
            match (s.kind, s.answer) {
                (Kind::RemoveArchive { number, from, to }, answer) if !listed.contains_key(&number) => {
                    let gone = Known { seqs: from..to, gone: false, patches: HashMap::new() };
                    let known = self.archives.entry(number).or_insert(gone);
                    assert_eq!(known.seqs, from..to);
                    known.gone |= answer != Answer::Refused;
                }
                (Kind::RemoveArchive { number, .. }, Answer::Done) => {
                    panic!("session {session}: archive {number} was removed and is there");
                }
                _ => {}
            }
        }
        for s in ops() {
            if let Answer::Archive { number, from, to } = s.answer
                && number > 0
            {
                let known = self.archives.get(&number);
                let known = known.unwrap_or_else(|| panic!("session {session}: archive {number} is lost"));
                assert_eq!(known.seqs, from..to, "session {session}, archive {number}");
            }
        }
        let mut end = 0;
        for (at, (number, known)) in self.archives.iter().enumerate() {
            assert_eq!(
                *number,
                at as u64 + 1,
                "session {session}: archive numbers {:?}",
                self.archives.keys()
            );
            assert_eq!(known.seqs.start, end, "session {session}, archive {number}");
            assert!(known.gone || listed.contains_key(number), "session {session}: archive {number} is lost");
            end = known.seqs.end;
        }
        assert_eq!(info.live.start, end, "session {session}: the live range begins where the archives end");
        for (number, archive) in &listed {
            let Some(known) = self.archives.get_mut(number) else { continue };
            check_patches(&archive.attributes, 'p', &mut known.patches, threads, |s| {
                s.kind == Kind::PatchArchive { number: *number }
            });
        }
        fresh
    }

    /// False if a removed archive hides some of the new messages.
    fn check_messages(
        &mut self,
        found: &BTreeMap<u64, (u64, u32)>,
        threads: &[Vec<Submitted>],
        next: u64,
    ) -> bool {
        let session = self.session;
        let old_next = self.messages.len() as u64;
        assert!(next >= old_next, "session {session} had {old_next} messages and has {next}");
        let mut counts: HashMap<u64, (u64, Answer)> = HashMap::new();
        for s in threads.iter().flatten() {
            if let Kind::Messages { count, .. } = s.kind {
                counts.insert(s.op, (count, s.answer));
            }
        }
        // What was there stays as it was; what is new was submitted in this round, once and whole.
        for (seq, what) in found.range(..old_next) {
            if let Some(before) = self.messages[*seq as usize] {
                assert_eq!(before, *what, "session {session}, message {seq}");
            }
        }
        self.messages.resize(next as usize, None);
        for (seq, (op, index)) in found.range(old_next..) {
            assert!(counts.contains_key(op), "session {session}: nobody submitted message {seq} (op {op:x})");
            let start = seq.checked_sub(u64::from(*index)).unwrap();
            let known = *self.starts.entry(*op).or_insert(start);
            assert_eq!(known, start, "session {session}: op {op:x} is there twice or in pieces");
            self.messages[*seq as usize] = Some((*op, *index));
        }
        let hidden = |seq: u64| self.archives.values().any(|a| a.gone && a.seqs.contains(&seq));
        for (op, (count, answer)) in &counts {
            if let Answer::Messages { seq } = *answer {
                let start = *self.starts.entry(*op).or_insert(seq);
                assert_eq!(start, seq, "session {session}: op {op:x} was acknowledged at {seq}");
            }
            let Some(start) = self.starts.get(op) else { continue };
            assert!(start + count <= next, "session {session}: op {op:x} at {start} is not all there");
            for i in 0..*count {
                let slot = &mut self.messages[(start + i) as usize];
                match slot {
                    Some(what) => {
                        assert_eq!(*what, (*op, i as u32), "session {session}, message {}", start + i)
                    }
                    None => {
                        assert!(hidden(start + i), "session {session}: message {} is lost", start + i);
                        *slot = Some((*op, i as u32));
                    }
                }
            }
        }
        if (old_next..next).any(hidden) {
            return false;
        }
        // One thread's ops are there in its order, and none behind one that is not.
        for thread in threads {
            let mut last = 0;
            let mut lost = None;
            let submitted = thread
                .iter()
                .filter(|s| matches!(s.kind, Kind::Messages { .. }) && s.answer != Answer::Refused);
            for s in submitted {
                match self.starts.get(&s.op) {
                    // A repeat of the round before.
                    Some(start) if *start < old_next => {}
                    Some(start) => {
                        assert!(lost.is_none(), "session {session}: op {:x} without {lost:x?}", s.op);
                        assert!(*start >= last, "session {session}: op {:x} is out of order", s.op);
                        last = *start;
                    }
                    None => lost = Some(s.op),
                }
            }
        }
        true
    }

    fn check_attributes(
        &mut self,
        attributes: &Map<String, Value>,
        threads: &[Vec<Submitted>],
        all_seen: bool,
    ) {
        let starts = &self.starts;
        check_patches(attributes, 't', &mut self.attributes, threads, |s| {
            matches!(s.kind, Kind::Patch | Kind::Messages { patch: true, .. })
        });
        for s in threads.iter().flatten() {
            // A batch and its attributes are there together. (A later patch of the thread hides the earlier.)
            if let Kind::Messages { patch: true, .. } = s.kind
                && s.answer == Answer::None
                && all_seen
            {
                let there = self.attributes.get(&thread_of(s.op)).is_some_and(|v| *v >= s.op);
                assert_eq!(there, starts.contains_key(&s.op), "session {}: op {:x}", self.session, s.op);
            }
        }
    }

    /// The messages that were submitted under a key and never answered.
    pub(crate) fn retries(threads: &[Vec<Submitted>]) -> impl Iterator<Item = &Submitted> {
        threads
            .iter()
            .flatten()
            .filter(|s| matches!(s.kind, Kind::Messages { keyed: true, .. }) && s.answer == Answer::None)
    }
}

/// Each thread has one attribute: its value is the last acknowledged patch, or a later submitted one.
fn check_patches(
    attributes: &Map<String, Value>,
    prefix: char,
    known: &mut HashMap<u64, u64>,
    threads: &[Vec<Submitted>],
    concerns: impl Fn(&Submitted) -> bool,
) {
    for (thread, submitted) in threads.iter().enumerate() {
        let value = attributes.get(&format!("{prefix}{thread}")).map(|v| v.as_u64().unwrap());
        let before = known.get(&(thread as u64)).copied();
        let mut allowed = vec![before];
        for s in submitted.iter().filter(|s| concerns(s)) {
            match s.answer {
                Answer::Refused => {}
                Answer::None => allowed.push(Some(s.op)),
                _ => allowed = vec![Some(s.op)],
            }
        }
        assert!(allowed.contains(&value), "attribute {prefix}{thread} is {value:x?}, not of {allowed:x?}");
        if let Some(value) = value {
            known.insert(thread as u64, value);
        }
    }
}
