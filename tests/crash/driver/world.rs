//! A machine with one or two processes that run a script, and what is known of the sessions meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use sessionlog::fs::{Fault, Fs, SimFs, SimOp, Snapshot};
use sessionlog::{
    AppendOptions, Batch, Durability, ErrorKind, Keep, Options, Outcome, Result as LogResult, Session, Store,
};

use super::check::{SESSIONS, VISITOR, id, observe, observe_reading, see_by_reader, see_session};
use super::model::{Know, Life, VISITED, brief, brief_seen, find};
use super::step::Step;
use super::trace::Visit;

pub const ROOT: &str = "/store";

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conf {
    pub segment: u64,
    pub after: u64,
}

impl Conf {
    pub fn open(self, fs: &SimFs) -> LogResult<Store> {
        self.options(fs).create(true).open(ROOT)
    }

    pub fn options(self, fs: &SimFs) -> Options {
        let options = Options::new().fs(Arc::new(fs.clone())).segment_size(self.segment);
        // Nothing happens by itself: a run can be repeated.
        options.truncate_after(self.after).by_hand(true)
    }
}

/// What happened to the machine before a world began on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// It is new.
    Fresh,
    /// The power was cut: what is seen now is durable.
    PowerCut,
    /// All processes were killed: what is seen now is in the page cache.
    Killed,
}

/// What came of another process that is to come.
#[derive(Default)]
struct Visited {
    came: bool,
    /// So many operations had begun when its message was durable.
    durable: Option<u64>,
}

pub struct World {
    pub(super) conf: Conf,
    /// Nothing that the stores do after a while is due by then.
    begun: Instant,
    pub fs: SimFs,
    pub(super) store: Option<Store>,
    /// The process that is not at work, if there are two.
    pub(super) other: Option<(SimFs, Option<Store>)>,
    pub knows: Vec<Know>,
    /// Sessions that could not be looked at after an error.
    pub(super) unsure: [bool; SESSIONS],
    /// The processes that wrote the sessions since they opened them: others do not touch them by a close, and
    /// nobody else can write them.
    pub(super) wrote: [Option<u32>; SESSIONS],
    /// What was known, by the tags of snapshots.
    pub tags: Vec<Arc<Vec<Know>>>,
    /// Every moment before a change, and after every step.
    pub points: Vec<Snapshot>,
    pub(super) record: bool,
    visit: Option<Arc<Mutex<Visited>>>,
    /// Faults are on order, so errors are no failure.
    pub faulty: bool,
    /// The operation that failed on order.
    pub struck: Option<String>,
    /// It, or another one, said so.
    pub failed: bool,
    pub(super) count: u64,
}

pub(super) type Done = Result<(), String>;

impl World {
    /// Opens the store on this machine, and looks whether it is what `knows` allows.
    pub fn begin(
        fs: SimFs,
        conf: Conf,
        knows: &[Know],
        past: Past,
        record: bool,
        faults: &[(u64, Fault)],
    ) -> Result<World, String> {
        let mut world = World {
            conf,
            begun: Instant::now(),
            fs,
            store: None,
            other: None,
            knows: knows.to_vec(),
            unsure: [false; SESSIONS],
            wrote: [None; SESSIONS],
            tags: vec![Arc::new(knows.to_vec())],
            visit: None,
            points: Vec::new(),
            record,
            faulty: false,
            struck: None,
            failed: false,
            count: knows.iter().map(|k| k.states.len() as u64).sum::<u64>() * 1000,
        };
        world.watch();
        world.order(faults);
        if past == Past::PowerCut {
            // What was in the page cache alone may be gone.
            world.knows.iter_mut().for_each(|know| know.kill_from = 0);
        }
        if past != Past::Fresh {
            world.open()?;
            world.look(past)?;
            // What comes in the middle of an opening must not lose what this opening saw.
            world.tags[0] = Arc::new(world.knows.clone());
            world.mark(true);
        }
        Ok(world)
    }

    pub fn fresh(seed: u64, conf: Conf, record: bool) -> World {
        let none = vec![Know::exactly(None); SESSIONS];
        match World::begin(SimFs::new(seed), conf, &none, Past::Fresh, record, &[]) {
            Ok(world) => world,
            Err(_) => unreachable!("a fresh world opens nothing"),
        }
    }

    /// Makes operations fail that come from now on.
    pub fn order(&mut self, faults: &[(u64, Fault)]) {
        let base = self.fs.ops();
        for (number, fault) in faults {
            // A lie causes no error.
            self.faulty |= !matches!(fault, Fault::Lie | Fault::Early | Fault::WrongFile);
            self.fs.fail(base.saturating_add(*number), *fault);
        }
    }

    /// Another process comes right before an operation.
    pub fn expect(&mut self, visit: Visit) {
        let visited = Arc::new(Mutex::new(Visited::default()));
        self.knows.push(Know::of_visitor(false));
        self.tags = vec![Arc::new(self.knows.clone())];
        self.visit = Some(visited.clone());
        let (conf, fs, until) = (self.conf, self.fs.process_new(), self.begun);
        self.fs.interrupt(self.fs.ops() + visit.number, move || {
            visited.lock().unwrap().came = true;
            // What is to fail may hit it as well.
            let Ok(store) = conf.open(&fs) else { return };
            if store.session(id(VISITOR)).and_then(|session| session.append(VISITED)).is_ok() {
                visited.lock().unwrap().durable = Some(fs.ops());
            }
            store.do_background(until);
            if visit.killed {
                fs.kill();
            }
        });
    }

    /// What is known of the visitor's session, when so many operations had begun.
    fn visited(&self, ops: u64) -> Option<Know> {
        let durable = self.visit.as_ref()?.lock().unwrap().durable;
        Some(Know::of_visitor(durable.is_some_and(|durable| durable <= ops)))
    }

    fn visitor_came(&self) -> bool {
        self.visit.as_ref().is_some_and(|visited| visited.lock().unwrap().came)
    }

    pub(super) fn watch(&self) {
        if self.record {
            self.fs.record();
            self.fs.set_tag(self.tags.len() as u64 - 1);
        }
    }

    /// What is known changed; `settled` if nothing is under way.
    pub(super) fn mark(&mut self, settled: bool) {
        if self.record {
            self.tags.push(Arc::new(self.knows.clone()));
            self.fs.set_tag(self.tags.len() as u64 - 1);
        }
        if settled {
            self.background(self.begun);
            if self.record {
                self.collect();
                self.points.push(self.fs.snapshot());
            }
        }
    }

    /// What the stores had to do in the background until then.
    fn background(&self, until: Instant) {
        let other = self.other.iter().filter_map(|(_, store)| store.as_ref());
        for store in self.store.iter().chain(other) {
            store.do_background(until);
        }
    }

    /// Nothing has said in this run that it failed. After that a close may find nothing left to close, and the catalog may
    /// know less than what was told.
    pub(super) fn is_well(&self) -> bool {
        !self.fs.has_failed()
    }

    pub(super) fn collect(&mut self) {
        if self.record {
            self.points.append(&mut self.fs.recorded());
            self.fs.record();
        }
    }

    /// So many operations of the disk were recorded.
    pub fn ops(&self) -> u64 {
        self.points.last().map_or(0, Snapshot::ops)
    }

    /// What was known at the moment of a point.
    pub fn known_at(&self, point: &Snapshot) -> Vec<Know> {
        let mut knows = self.tags[point.tag() as usize].to_vec();
        if let Some(visited) = self.visited(point.ops()) {
            knows[VISITOR] = visited;
        }
        if self.failed {
            // The catalog may be in doubt since, of whatever was closed before.
            knows.iter_mut().for_each(|know| know.clean = false);
        }
        knows
    }

    pub(super) fn open(&mut self) -> Done {
        match self.conf.open(&self.fs) {
            Ok(store) => self.store = Some(store),
            Err(_) if self.faulty => self.store = None,
            Err(e) => return Err(format!("open the store: {e}")),
        }
        Ok(())
    }

    pub(super) fn store(&mut self) -> Result<Option<Store>, String> {
        if self.store.is_none() {
            self.open()?;
        }
        Ok(self.store.clone())
    }

    /// Looks at all sessions, which must be in one of the states in which they can be.
    pub(super) fn look(&mut self, past: Past) -> Done {
        let Some(store) = self.store.clone() else {
            self.unsure = [true; SESSIONS];
            return Ok(());
        };
        let killed = past != Past::PowerCut;
        if let Some(visited) = self.visited(self.fs.ops()) {
            self.knows[VISITOR] = visited;
        }
        if !self.is_well() {
            self.knows.iter_mut().for_each(|know| know.clean = false);
        }
        let observe = || match self.other {
            None => observe(&store, &self.knows, killed),
            Some(_) => observe_reading(&store, &self.knows, killed),
        };
        let came = self.visitor_came();
        let mut seen = observe();
        if seen.is_err() && came != self.visitor_came() {
            // It came between one look and the next.
            seen = observe();
        }
        match seen {
            Ok(places) => {
                for (know, place) in self.knows.iter_mut().zip(places) {
                    know.observed(place);
                    if past == Past::PowerCut {
                        know.durable();
                    }
                }
                Ok(())
            }
            // A fault that hits the looking itself says nothing; a wrong state says all.
            Err(e) if self.faulty && !e.contains("cannot be in") => {
                self.unsure = [true; SESSIONS];
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Looks at one session after an op failed.
    fn look_at(&mut self, s: usize) -> Done {
        self.unsure[s] = true;
        let Some(store) = self.store()? else { return Ok(()) };
        let seen = match store.session(id(s)) {
            Ok(session) => see_session(&session),
            Err(e) if e.kind() == ErrorKind::Locked => see_by_reader(&store, s),
            Err(e) => Err(e.to_string()),
        };
        let Ok(seen) = seen else { return Ok(()) };
        let know = &mut self.knows[s];
        match find(&know.states[know.kill_from..], seen.as_ref()) {
            Some(place) => {
                know.observed_unsure(know.kill_from + place);
                self.unsure[s] = false;
                Ok(())
            }
            None => {
                let may: Vec<String> = know.states[know.kill_from..].iter().map(brief).collect();
                Err(format!(
                    "after an error, session {s} is {}; it may be: {}",
                    brief_seen(seen.as_ref()),
                    may.join(" | ")
                ))
            }
        }
    }

    pub fn run(&mut self, steps: &[Step]) -> Done {
        for (i, step) in steps.iter().enumerate() {
            self.step(*step).map_err(|e| format!("step {i} ({step}): {e}"))?;
        }
        Ok(())
    }

    pub fn step(&mut self, step: Step) -> Done {
        let s = step.session % SESSIONS;
        if self.unsure[s] && !"XKkPiJRSEWw".contains(step.verb) {
            self.look_at(s)?;
            if self.unsure[s] {
                return Ok(());
            }
        }
        if "aubBmCAnrtyD".contains(step.verb) {
            self.knows[s].clean = false;
        }
        match step.verb {
            _ if "aubBmCAnrtycD".contains(step.verb) && self.is_held(s) => self.refused(s)?,
            'a' | 'u' | 'b' | 'B' | 'm' | 'C' => self.write(step, s)?,
            'A' | 'n' | 'r' | 't' | 'y' | 'c' => self.control(step, s)?,
            'D' => self.remove(s)?,
            'l' => self.look_everywhere()?,
            'X' | 'K' | 'P' => self.end_process(step)?,
            'W' => self.switch(true)?,
            'w' => self.switch(false)?,
            'k' => self.kill_one()?,
            'E' => self.fail_later(step.arg)?,
            // What failed in the background would be told to nobody here.
            'i' if !self.faulty => self.time_passes(),
            'i' => {}
            'J' => self.fs.set_now(self.now().saturating_sub(3_600_000_000)),
            'R' => self.fs.set_room((step.arg > 0).then_some(step.arg)),
            'S' => {
                let n = step.arg as usize;
                self.fs.fail_when(0, u64::MAX, Fault::Short(n), |call| {
                    matches!(call.op, SimOp::Read | SimOp::Write)
                });
            }
            _ => return Err("no such step".to_owned()),
        }
        self.mark(true);
        Ok(())
    }

    /// Longer than any store waits with anything: all that was appended is synced, and all sessions are closed.
    fn time_passes(&mut self) {
        // What was used since it was looked at is looked at once more.
        for _ in 0..2 {
            self.background(Instant::now() + Duration::from_secs(3600));
        }
        for (know, wrote) in self.knows.iter_mut().zip(&mut self.wrote) {
            if wrote.take().is_some() {
                know.durable();
                know.clean = true;
            }
        }
    }

    fn now(&self) -> u64 {
        self.fs.now()
    }

    fn text(&mut self, s: usize, size: u64) -> Arc<str> {
        self.count += 1;
        let mut text = format!("{s}.{}:", self.count);
        while text.len() < size as usize {
            text.push((b'a' + (text.len() % 26) as u8) as char);
        }
        text.into()
    }

    /// Ops that begin a session if there is none.
    fn write(&mut self, step: Step, s: usize) -> Done {
        let now = self.knows[s].now().clone();
        if step.verb == 'C' && now.is_some() {
            return Ok(());
        }
        let Some(store) = self.store()? else { return Ok(()) };
        let before = self.knows[s].states.len();
        let life = now.clone().unwrap_or_default();
        if now.is_none() {
            self.knows[s].states.push(Some(life.clone()));
        }
        let mut next = Life::clone(&life);
        let texts: Vec<Arc<str>> = match step.verb {
            'a' | 'u' => vec![self.text(s, step.arg)],
            'b' | 'B' => (0..step.arg.max(1)).map(|_| self.text(s, 40)).collect(),
            _ => Vec::new(),
        };
        self.count += 1;
        let value = self.count as i64;
        next.all.extend(texts.iter().cloned());
        let key = format!("k{}", value % 3);
        if matches!(step.verb, 'B' | 'm') {
            next.attributes.insert(key.clone(), value);
        }
        let first = life.all.len() as u64;
        if step.verb != 'C' {
            self.knows[s].states.push(Some(Arc::new(next)));
        }
        self.mark(false);
        let patch = json!({ &key: value });
        let result = self.try_twice(&store, s, |session| match step.verb {
            'a' => session.append(&*texts[0]).map(|done| Some(done.seqs)),
            'u' => {
                let options = AppendOptions::new().durability(Durability::Buffered);
                session.append_with(&*texts[0], &options).map(|done| Some(done.seqs))
            }
            'b' | 'B' => {
                let mut batch: Batch<'_> = texts.iter().map(|t| t.as_bytes()).collect();
                if step.verb == 'B' {
                    batch = batch.attributes(patch.clone());
                }
                session.append_batch(&batch).map(|done| Some(done.seqs))
            }
            'm' => session.patch_attributes(&patch).map(|()| None),
            _ => store.create_session(id(s)).map(|_| None),
        });
        match result {
            Ok(seqs) => {
                if seqs.as_ref().is_some_and(|seqs| *seqs != (first..first + texts.len() as u64)) {
                    return Err(format!("it got {seqs:?}, not the {} from {first}", texts.len()));
                }
                self.wrote[s] = Some(self.process());
                match step.verb {
                    'u' => self.knows[s].acknowledged(),
                    _ => self.knows[s].durable(),
                }
                Ok(())
            }
            Err(e) => self.failed(s, before + usize::from(now.is_none()), &e),
        }
    }

    /// An op failed that was to lead to the states from `pushed` on.
    fn failed(&mut self, s: usize, pushed: usize, e: &sessionlog::Error) -> Done {
        self.wrote[s] = None;
        if !self.faulty {
            return Err(format!("an error without a cause: {e}"));
        }
        if e.outcome() == Outcome::NotApplied {
            self.knows[s].states.truncate(pushed.max(1));
        }
        self.look_at(s)
    }

    /// Two processes take turns: who comes second is told once that the session moved on.
    fn try_twice<T>(&self, store: &Store, s: usize, op: impl Fn(&Session) -> LogResult<T>) -> LogResult<T> {
        let session = store.session(id(s));
        let result = session.and_then(|session| op(&session));
        match result {
            Err(e) if e.kind() == ErrorKind::Conflict && self.other.is_some() => {
                store.session(id(s)).and_then(|session| op(&session))
            }
            other => other,
        }
    }

    /// Ops on a session that is there.
    pub(super) fn control(&mut self, step: Step, s: usize) -> Done {
        let Some(life) = self.knows[s].now().clone() else { return Ok(()) };
        let Some(store) = self.store()? else { return Ok(()) };
        let before = self.knows[s].states.len();
        let mut next = Life::clone(&life);
        self.count += 1;
        let value = self.count as i64;
        let mut number = 0;
        match step.verb {
            'A' => {
                let cut = life.all.len().saturating_sub(step.arg as usize).max(life.base);
                if cut > life.base {
                    next.made += 1;
                    next.archives.insert(next.made, (life.base..cut, value));
                    next.base = cut;
                }
            }
            'n' | 'r' => {
                let mut numbers = life.archives.keys();
                let found = if step.verb == 'n' { numbers.next_back() } else { numbers.next() };
                let Some(found) = found else { return Ok(()) };
                number = *found;
                if step.verb == 'n' {
                    next.archives.entry(number).and_modify(|a| a.1 = value);
                } else {
                    next.archives.remove(&number);
                }
            }
            _ => {}
        }
        let changes = next != *life;
        if changes {
            self.knows[s].states.push(Some(Arc::new(next)));
        }
        self.mark(false);
        let value = json!({ "v": value });
        let result = self.try_twice(&store, s, |session| match step.verb {
            'A' => session.archive_with(Keep::Messages(step.arg), &value).map(drop),
            'n' => session.patch_archive(number, &value),
            'r' => session.remove_archive(number),
            't' => session.truncate(),
            'y' => session.sync(),
            _ => session.clone().close(),
        });
        match result {
            Ok(()) => {
                match step.verb {
                    't' => self.knows[s].acknowledged(),
                    // An archive of nothing writes nothing, and so syncs nothing.
                    'A' if self.knows[s].states.len() == before => {}
                    'c' if self.wrote[s].is_none() => {}
                    _ => self.knows[s].durable(),
                }
                match step.verb {
                    'c' if self.wrote[s].is_some() => {
                        self.wrote[s] = None;
                        self.knows[s].clean = self.is_well();
                    }
                    'n' | 'r' => self.wrote[s] = Some(self.process()),
                    'A' if changes => self.wrote[s] = Some(self.process()),
                    _ => {}
                }
                Ok(())
            }
            Err(e) => self.failed(s, before, &e),
        }
    }

    fn remove(&mut self, s: usize) -> Done {
        let Some(store) = self.store()? else { return Ok(()) };
        let before = self.knows[s].states.len();
        let there = self.knows[s].now().is_some();
        if there {
            self.knows[s].states.push(None);
        }
        self.mark(false);
        match store.remove_session(id(s)) {
            Ok(removed) => {
                if removed != there {
                    return Err(format!("removed: {removed}, there: {there}"));
                }
                self.knows[s].durable();
                self.wrote[s] = None;
                Ok(())
            }
            Err(e) => self.failed(s, before, &e),
        }
    }

    fn look_everywhere(&mut self) -> Done {
        if self.store()?.is_none() {
            return Ok(());
        }
        self.look(Past::Killed)
    }

    /// Everything is as it should be: here, and after a restart in good order.
    pub fn finish(mut self, restart: bool) -> Result<World, String> {
        self.look_everywhere().map_err(|e| format!("at the end: {e}"))?;
        if restart {
            let end = Step { verb: 'X', session: 0, arg: 0 };
            self.step(end).map_err(|e| format!("after the end: {e}"))?;
        }
        Ok(self)
    }
}
