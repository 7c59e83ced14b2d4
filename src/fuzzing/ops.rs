//! Sequences of ops over the public API, by two processes on one simulated disk, with kills and power cuts, against a
//! plain model: durable prefix <= recovered <= submitted, an archive before or after, other sessions untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::input::Input;
use super::model::{Model, Msg, compare, compare_ways, same_info};
use crate::fs::SimFs;
use crate::{
    AppendOptions, Appended, Batch, Durability, Error, ErrorKind, Keep, Options, Outcome, Reader, Result,
    Session, Store,
};

pub(super) const STORE: &str = "/store";
pub(super) const IDS: [&str; 3] = ["a", "chat:b", "C/c"];
/// More ops than this make an input slow and teach nothing.
const MAX_OPS: usize = 80;
const MAX_MESSAGES: usize = 400;

/// Runs the ops that the bytes stand for.
pub fn ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.byte(), input.byte());
    for _ in 0..MAX_OPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.check_all(0);
    world.power_cut(input.byte());
    world.check_all(1);
}

/// What one session is, and what it may be after a power cut.
pub(super) struct Sess {
    /// The process that wrote last, and lives: whose close makes everything durable.
    pub(super) writer: Option<usize>,
    /// `None`: there is no such session.
    pub(super) now: Option<Model>,
    /// Every state since the last one that is surely durable; `now` is the last.
    pub(super) possible: Vec<Option<Model>>,
}

impl Sess {
    fn applied(&mut self, p: usize, model: Option<Model>, durable: bool) {
        self.writer = Some(p);
        if durable {
            self.possible.clear();
        } else if self.now.is_none() {
            // It is made, durably, before the op that it is made for.
            self.possible = vec![Some(Model::default())];
        }
        self.possible.push(model.clone());
        self.now = model;
    }
}

pub(super) struct Process {
    fs: SimFs,
    store: Store,
    handles: BTreeMap<usize, Session>,
    readers: BTreeMap<usize, Reader>,
    /// Sessions that it asked for to write: it may have their locks, as they linger.
    asked: BTreeSet<usize>,
}

pub(super) struct World {
    /// A process that does nothing: the machine itself.
    pub(super) machine: SimFs,
    pub(super) processes: [Option<Process>; 2],
    pub(super) sessions: Vec<Sess>,
    options: u8,
    messages: u32,
    /// Nothing that the stores do after a while is due by then.
    begun: Instant,
}

impl World {
    fn new(seed: u8, options: u8) -> World {
        let sessions = IDS.map(|_| Sess { writer: None, now: None, possible: vec![None] });
        World {
            machine: SimFs::new(seed.into()),
            processes: [None, None],
            sessions: sessions.into(),
            options,
            messages: 0,
            begun: Instant::now(),
        }
    }

    pub(super) fn options(&self, fs: &SimFs) -> Options {
        let o = self.options;
        let size = if o & 1 == 0 { 16 << 10 } else { 1 << 20 };
        let after = if o & 6 == 6 { 2_000 } else { u64::MAX };
        Options::new()
            .create(true)
            .segment_size(size)
            .truncate_after(after)
            .max_open_sessions(if o & 8 == 0 { 8 } else { 1 })
            .by_hand(true)
            .fs(Arc::new(fs.clone()))
    }

    fn process(&mut self, p: usize) -> &mut Process {
        if self.processes[p].is_none() {
            let fs = self.machine.process_new();
            let store =
                self.options(&fs).open(STORE).unwrap_or_else(|e| panic!("the store does not open: {e}"));
            self.processes[p] = Some(Process {
                fs,
                store,
                handles: BTreeMap::new(),
                readers: BTreeMap::new(),
                asked: BTreeSet::new(),
            });
        }
        self.processes[p].as_mut().unwrap()
    }

    /// True if the other process may hold the lock of the session.
    fn other_has(&self, p: usize, s: usize) -> bool {
        self.processes[1 - p].as_ref().is_some_and(|o| o.asked.contains(&s))
    }

    /// The handle of the session in this process, unless the other one is its writer.
    fn handle(&mut self, p: usize, s: usize) -> Option<Session> {
        if let Some(handle) = self.process(p).handles.get(&s) {
            return Some(handle.clone());
        }
        self.process(p).asked.insert(s);
        match self.process(p).store.session(IDS[s]) {
            Ok(session) => {
                self.process(p).handles.insert(s, session.clone());
                Some(session)
            }
            Err(e) => {
                self.judge(&e, p, s);
                None
            }
        }
    }

    /// An error must be one that the situation explains, and must have changed nothing.
    fn judge(&mut self, e: &Error, p: usize, s: usize) {
        assert_eq!(e.outcome(), Outcome::NotApplied, "{e}");
        match e.kind() {
            ErrorKind::Locked => assert!(self.other_has(p, s), "nobody has the lock: {e}"),
            // Another process wrote while this one had parked it, or removed it.
            ErrorKind::Conflict | ErrorKind::NotFound if self.options & 8 != 0 || self.other_has(p, s) => {
                self.process(p).handles.remove(&s);
            }
            _ => panic!("an error without a reason: {e}"),
        }
    }

    fn message(&mut self, input: &mut Input<'_>) -> Msg {
        self.messages += 1;
        let size = input.byte();
        let len = match size {
            0..200 => u16::from(size) * 4,
            200..250 => u16::from(size) * 20,
            _ => 18_000,
        };
        let more = input.byte();
        Msg { number: self.messages, len, tokens: more >> 2, turn: more & 1 != 0 }
    }

    fn keep(input: &mut Input<'_>) -> Keep {
        let (kind, n) = (input.byte(), u64::from(input.byte()));
        match kind % 5 {
            0 => Keep::Nothing,
            1 => Keep::Messages(n / 8),
            2 => Keep::Turns(n / 32),
            3 => Keep::Tokens(n * 4),
            _ => Keep::Bytes(n * 40),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let code = input.byte();
        self.trace("step", code);
        match code & 31 {
            22 | 23 => self.kill(usize::from(code >> 7)),
            24 => self.power_cut(input.byte()),
            25 | 26 => self.crash_inside(input),
            _ => self.plain(code, input),
        }
        for process in self.processes.iter().flatten() {
            process.store.do_background(self.begun);
        }
    }

    /// With `SESSIONLOG_FUZZ_TRACE` in the environment: what is done, and how many messages there are.
    pub(super) fn trace(&self, what: &str, code: u8) {
        if std::env::var_os("SESSIONLOG_FUZZ_TRACE").is_some() {
            let count = |m: &Option<Model>| m.as_ref().map_or(-1, |m| m.all.len() as i64);
            let all: Vec<Vec<i64>> =
                self.sessions.iter().map(|s| s.possible.iter().map(count).collect()).collect();
            eprintln!(
                "{what} {}: process {}, session {}; {all:?}",
                code & 31,
                code >> 7,
                (code >> 5 & 3) % 3
            );
        }
    }

    /// An op after which the machine and its processes are still there.
    pub(super) fn plain(&mut self, code: u8, input: &mut Input<'_>) {
        let (p, s) = (usize::from(code >> 7), usize::from(code >> 5 & 3) % IDS.len());
        let full = self.sessions[s].now.as_ref().is_some_and(|m| m.all.len() > MAX_MESSAGES);
        match code & 31 {
            0..=5 if !full => self.append(input, p, s, Durability::Sync),
            6..=8 if !full => self.append(input, p, s, Durability::Buffered),
            9 | 10 if !full => self.batch(input, p, s),
            11..=13 => self.archive(input, p, s),
            14 => self.patch(input, p, s),
            15 => self.patch_archive(input, p, s),
            16 => self.truncate(p, s),
            17 => self.sync(p, s),
            18 => self.close_session(p, s),
            19 => self.close_store(p),
            20 => self.remove(p, s),
            21 => self.create(p, s),
            27 => self.clock(input.word()),
            28 => self.list(p),
            29 => self.read_elsewhere(p, s, input.word().into()),
            30 => self.drop_handle(p, s),
            _ => self.check(p, s, input.word().into()),
        }
    }

    fn append(&mut self, input: &mut Input<'_>, p: usize, s: usize, durability: Durability) {
        let mut message = self.message(input);
        let how = input.byte();
        let Some(handle) = self.handle(p, s) else { return };
        let model = self.sessions[s].now.clone().unwrap_or_default();
        let next = model.all.len();
        let number = how >> 4 & 3;
        let used = model.keys.get(&number).copied();
        let key = (how & 3 == 1).then(|| format!("key{number}"));
        let mut options = AppendOptions::new().durability(durability);
        if let Some(key) = &key {
            options = options.key(key);
            if let (Some(used), true) = (used, how & 4 != 0) {
                message = model.all[used];
            }
        }
        let wrong = how & 0x8b == 0x82;
        if how & 3 == 2 {
            options = options.expect_next(next as u64 + u64::from(wrong));
        }
        let done = handle.append_with(message.new_message(), &options);
        if let (Err(e), true) =
            (&done, wrong || key.is_some() && used.is_some_and(|u| model.all[u] != message))
        {
            assert!(
                e.kind() == ErrorKind::Conflict || e.kind() == ErrorKind::Locked && self.other_has(p, s),
                "{e}"
            );
            assert_eq!(e.outcome(), Outcome::NotApplied);
            return;
        }
        if let (Ok(done), Some(used), true) = (&done, used, key.is_some()) {
            assert!(done.repeated && done.seqs == (used as u64..used as u64 + 1), "{done:?}");
            return;
        }
        let mut model = model;
        if key.is_some() {
            model.keys.insert(number, next);
        }
        model.all.push(message);
        self.appended(p, s, done, model, next, durability == Durability::Sync);
    }

    fn appended(
        &mut self,
        p: usize,
        s: usize,
        done: Result<Appended>,
        model: Model,
        first: usize,
        durable: bool,
    ) {
        match done {
            Ok(done) => {
                assert_eq!(done.seqs, first as u64..model.all.len() as u64);
                assert!(!done.repeated);
                self.sessions[s].applied(p, Some(model), durable);
            }
            Err(e) => self.judge(&e, p, s),
        }
    }

    fn batch(&mut self, input: &mut Input<'_>, p: usize, s: usize) {
        let how = input.byte();
        let messages: Vec<Msg> = (0..=how % 20).map(|_| self.message(input)).collect();
        let Some(handle) = self.handle(p, s) else { return };
        let mut model = self.sessions[s].now.clone().unwrap_or_default();
        let first = model.all.len();
        let mut batch: Batch<'_> = messages.iter().map(|m| m.new_message()).collect();
        if how & 0x80 != 0 {
            batch = batch.attributes(json!({"batch": how}));
            model.attributes.insert("batch".to_owned(), how.into());
        }
        model.all.extend(&messages);
        let done = match how & 0x40 {
            0 => handle.append_batch(&batch),
            _ => handle.submit_batch(&batch).and_then(|ticket| ticket.wait()),
        };
        self.appended(p, s, done, model, first, true);
    }

    /// A change of something that is there; it says whether it has made everything durable.
    fn change(&mut self, p: usize, s: usize, change: impl FnOnce(&Session, &mut Model) -> Result<bool>) {
        let Some(handle) = self.handle(p, s) else { return };
        let Some(mut model) = self.sessions[s].now.clone() else {
            return;
        };
        match change(&handle, &mut model) {
            Ok(true) => self.sessions[s].applied(p, Some(model), true),
            Ok(false) => {}
            Err(e) => self.judge(&e, p, s),
        }
    }

    fn archive(&mut self, input: &mut Input<'_>, p: usize, s: usize) {
        let (keep, value) = (World::keep(input), i64::from(input.byte()));
        self.change(p, s, |handle, model| {
            let done = handle.archive_with(keep, &json!({"v": value}))?;
            let range = model.archive(keep, value);
            assert_eq!(done.archived, range.start as u64..range.end as u64, "{keep:?}");
            assert_eq!(done.live, model.base as u64..model.all.len() as u64, "{keep:?}");
            assert_eq!(done.archive, (!range.is_empty()).then_some(model.made));
            Ok(!range.is_empty())
        });
    }

    fn patch(&mut self, input: &mut Input<'_>, p: usize, s: usize) {
        let (key, value) = (format!("k{}", input.byte() % 4), i64::from(input.byte()));
        let Some(handle) = self.handle(p, s) else { return };
        let mut model = self.sessions[s].now.clone().unwrap_or_default();
        let patch = if value < 50 { json!({ &key: null }) } else { json!({ &key: value }) };
        match handle.patch_attributes(&patch) {
            Ok(()) => {
                model.attributes.remove(&key);
                if value >= 50 {
                    model.attributes.insert(key, value);
                }
                self.sessions[s].applied(p, Some(model), true);
            }
            Err(e) => self.judge(&e, p, s),
        }
    }

    fn patch_archive(&mut self, input: &mut Input<'_>, p: usize, s: usize) {
        let (number, value) = (u64::from(input.byte() % 8), i64::from(input.byte()));
        self.change(p, s, |handle, model| {
            let done = match value {
                0..50 => handle.remove_archive(number),
                _ => handle.patch_archive(number, &json!({"v": value})),
            };
            match (done, model.archives.get_mut(&number)) {
                (Err(e), None) if e.kind() == ErrorKind::NotFound => return Ok(false),
                (Err(e), _) => return Err(e),
                (Ok(()), None) => panic!("archive {number} does not exist"),
                (Ok(()), Some(archive)) => {
                    archive.1 = value;
                    if value < 50 {
                        model.archives.remove(&number);
                    }
                }
            }
            Ok(true)
        });
    }

    fn truncate(&mut self, p: usize, s: usize) {
        self.change(p, s, |handle, _| handle.truncate().map(|()| false));
    }

    fn sync(&mut self, p: usize, s: usize) {
        self.change(p, s, |handle, _| handle.sync().map(|()| true));
    }

    fn close_session(&mut self, p: usize, s: usize) {
        if let Some(handle) = self.process(p).handles.remove(&s) {
            match handle.close() {
                Ok(()) if self.sessions[s].now.is_some() && self.sessions[s].writer == Some(p) => {
                    self.process(p).asked.remove(&s);
                    let now = self.sessions[s].now.clone();
                    self.sessions[s].applied(p, now, true);
                }
                Ok(()) => {}
                Err(e) => self.judge(&e, p, s),
            }
        }
    }

    fn close_store(&mut self, p: usize) {
        let Some(process) = self.processes[p].take() else { return };
        process.store.close().unwrap_or_else(|e| panic!("the store does not close: {e}"));
        for s in process.handles.keys() {
            if self.sessions[*s].writer == Some(p) {
                let now = self.sessions[*s].now.clone();
                self.sessions[*s].applied(p, now, true);
            }
        }
    }

    fn remove(&mut self, p: usize, s: usize) {
        self.process(p).handles.remove(&s);
        self.process(p).readers.remove(&s);
        let there = self.sessions[s].now.is_some();
        match self.process(p).store.remove_session(IDS[s]) {
            Ok(removed) => {
                assert_eq!(removed, there);
                self.sessions[s].applied(p, None, true);
                for process in self.processes.iter_mut().flatten() {
                    process.readers.remove(&s);
                    process.handles.remove(&s);
                }
            }
            Err(e) => self.judge(&e, p, s),
        }
    }

    fn create(&mut self, p: usize, s: usize) {
        let there = self.sessions[s].now.is_some();
        self.process(p).asked.insert(s);
        match self.process(p).store.create_session(IDS[s]) {
            Ok(handle) => {
                assert!(!there, "it was there already");
                self.process(p).handles.insert(s, handle);
                self.sessions[s].applied(p, Some(Model::default()), true);
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => assert!(there, "{e}"),
            Err(e) => self.judge(&e, p, s),
        }
    }

    fn kill(&mut self, p: usize) {
        if let Some(process) = self.processes[p].take() {
            process.fs.kill();
            self.sessions.iter_mut().filter(|s| s.writer == Some(p)).for_each(|s| s.writer = None);
        }
    }

    fn clock(&mut self, to: u16) {
        self.machine.set_now(1_780_000_000_000_000 + u64::from(to) * 1_000_000);
    }

    fn list(&mut self, p: usize) {
        let listing = self.process(p).store.sessions().unwrap();
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        let mut want: Vec<_> =
            IDS.iter().zip(&self.sessions).filter_map(|(id, s)| Some((*id, s.now.as_ref()?))).collect();
        want.sort_by_key(|(id, _)| *id);
        assert_eq!(listing.sessions.len(), want.len(), "{listing:?}");
        for (info, (id, model)) in listing.sessions.iter().zip(want) {
            assert_eq!(info.id.as_str(), id);
            same_info(info, model).unwrap_or_else(|e| panic!("the listing of {id}: {e}"));
        }
        let stats = self.process(p).store.stats().unwrap();
        assert_eq!(stats.sessions, listing.sessions.len() as u64);
    }

    /// A reader that stays open for long, in any process.
    fn read_elsewhere(&mut self, p: usize, s: usize, dice: u64) {
        let now = self.sessions[s].now.clone();
        let process = self.process(p);
        let reader = match process.readers.remove(&s) {
            Some(reader) => Ok(reader),
            None => process.store.reader(IDS[s]),
        };
        match (reader, now) {
            (Ok(reader), Some(model)) => {
                compare(&reader, &model).and_then(|()| compare_ways(&reader, &model, dice)).unwrap_or_else(
                    |e| {
                        panic!("a reader of {}: {e}", IDS[s]);
                    },
                );
                self.process(p).readers.insert(s, reader);
            }
            (Err(e), None) if e.kind() == ErrorKind::NotFound => {}
            (Ok(_), None) => panic!("{} does not exist", IDS[s]),
            (Err(e), _) => panic!("a reader of {}: {e}", IDS[s]),
        }
    }

    fn drop_handle(&mut self, p: usize, s: usize) {
        // It stays open and locked for the time it lingers, so the next one is the same.
        if let Some(handle) = self.process(p).handles.get(&s) {
            drop(handle.clone());
        }
    }

    fn check(&mut self, p: usize, s: usize, dice: u64) {
        let Some(handle) = self.handle(p, s) else { return };
        match &self.sessions[s].now {
            Some(model) => {
                let seen = compare(&handle, model).and_then(|()| compare_ways(&handle, model, dice));
                seen.unwrap_or_else(|e| panic!("the session {}: {e}", IDS[s]));
            }
            None => assert_eq!(handle.message_count().unwrap(), 0),
        }
    }

    fn check_all(&mut self, p: usize) {
        self.list(p);
        for s in 0..IDS.len() {
            self.read_elsewhere(p, s, 12_345);
        }
    }
}
