//! The crashes in histories of ops: between two ops, within one, and within a recovery.

use std::path::Path;

use super::input::Input;
use super::model::{Model, Msg, compare};
use super::ops::{IDS, STORE, Sess, World};
use crate::ErrorKind;
use crate::fs::{Choice, Fs, SimFs};

/// What is appended to see whether it can be.
const PROBE: Msg = Msg { number: u32::MAX, len: 9, tokens: 1, turn: false };

fn with_probe(mut model: Model) -> Model {
    model.all.push(PROBE);
    model
}

fn choice(how: u8) -> Choice {
    match how & 0x3f {
        0..=4 => Choice::Nothing,
        5..=8 => Choice::Everything,
        seed => Choice::Seed(seed.into()),
    }
}

impl World {
    /// The power goes, and some of what was not synced goes with it. Each session is one of those that it may be.
    pub(super) fn power_cut(&mut self, how: u8) {
        let after = self.machine.crash_with(choice(how));
        self.processes = [None, None];
        let found = self.recovered(&after, how, false);
        self.machine = after;
        for (session, found) in self.sessions.iter_mut().zip(found) {
            session.possible = vec![found.clone()];
            session.now = found;
            session.writer = None;
        }
    }

    /// An op with a crash in the middle of it: of the machine or of all processes. What is found is what was before
    /// or what is after, or the new session without the op that it was made for. Then either all goes on as if there
    /// had been no crash, or from what it left.
    pub(super) fn crash_inside(&mut self, input: &mut Input<'_>) {
        let (how, at) = (input.byte(), input.word());
        let before: Vec<_> = self.sessions.iter().map(|s| s.possible.clone()).collect();
        self.machine.record();
        // None of the ops that end a process or the machine.
        let code = input.byte();
        self.trace("inside", code);
        self.plain(code & 0xe0 | (code % 22), input);
        let moments = self.machine.recorded();
        let mut either: Vec<Sess> = Vec::new();
        for (session, mut possible) in self.sessions.iter().zip(before) {
            if possible.last() == Some(&None) && session.now.is_some() {
                possible.push(Some(Model::default()));
            }
            possible.extend(session.possible.iter().cloned());
            either.push(Sess { writer: session.writer, now: session.now.clone(), possible });
        }
        let Some(moment) = moments.get(usize::from(at) % moments.len().max(1)) else { return };
        let killed = how & 0x40 != 0;
        let after = if killed { moment.kill_all() } else { moment.crash(choice(how)) };
        let now = std::mem::replace(&mut self.sessions, either);
        let found = self.recovered(&after, how, killed);
        if how & 0x80 == 0 {
            self.sessions = now;
            return;
        }
        self.processes = [None, None];
        self.machine = after;
        for (session, found) in self.sessions.iter_mut().zip(found) {
            // After a kill what was not synced is still not.
            match killed {
                true => session.possible.push(found.clone()),
                false => session.possible = vec![found.clone()],
            }
            session.now = found;
            session.writer = None;
        }
    }

    /// What is found on a disk after a crash, which must be possible. A copy of the disk is then written, crashed
    /// while it recovers, and looked at again.
    fn recovered(&self, disk: &SimFs, how: u8, killed: bool) -> Vec<Option<Model>> {
        let copy = disk.snapshot().look();
        let found = self.found(disk, None, true);
        copy.record();
        self.write_on(&copy, &found);
        let moments = copy.recorded();
        let moment = moments.get(usize::from(how).wrapping_mul(31) % moments.len().max(1));
        if let (Some(moment), Ok(_)) = (moment, disk.open_root(Path::new(STORE))) {
            let again = if how & 1 == 0 { moment.crash(choice(how)) } else { moment.kill_all() };
            // What was not synced before a kill may still go.
            self.found(&again, Some(&found), killed);
        }
        found
    }

    /// Each session as a reader finds it. With `first`, it may be what was found then, with or without a message more;
    /// with `any`, any of those that it might have been.
    fn found(&self, disk: &SimFs, first: Option<&[Option<Model>]>, any: bool) -> Vec<Option<Model>> {
        let fs = disk.process_new();
        let store = match self.options(&fs).create(false).read_only(true).open(STORE) {
            Ok(store) => store,
            Err(e) => {
                let mut all = self.sessions.iter();
                assert!(all.all(|s| s.possible.contains(&None)), "the store is gone: {e}");
                return vec![None; self.sessions.len()];
            }
        };
        let mut out = Vec::new();
        for (s, id) in IDS.into_iter().enumerate() {
            let mut possible = if any { self.sessions[s].possible.clone() } else { Vec::new() };
            if let Some(found) = first {
                // A new session is made before its first message.
                let model = found[s].clone().unwrap_or_default();
                possible.extend([found[s].clone(), Some(model.clone()), Some(with_probe(model))]);
            }
            let reader = match store.reader(id) {
                Ok(reader) => Some(reader),
                Err(e) if e.kind() == ErrorKind::NotFound => None,
                Err(e) => panic!("session {id} cannot be read: {e}"),
            };
            let mut why = Vec::new();
            let found = possible.iter().rev().find(|model| match (&reader, model) {
                (None, None) => true,
                (Some(reader), Some(model)) => compare(reader, model).map_err(|e| why.push(e)).is_ok(),
                _ => false,
            });
            let found = found.unwrap_or_else(|| {
                let all: Vec<bool> = possible.iter().map(Option::is_some).collect();
                panic!("session {id} (found: {}) never was like this: {why:?} of {all:?}", reader.is_some())
            });
            out.push(found.clone());
        }
        out
    }

    /// Writers find the same as readers, and go on with it.
    fn write_on(&self, disk: &SimFs, found: &[Option<Model>]) {
        let fs = disk.process_new();
        let store = self.options(&fs).open(STORE).unwrap_or_else(|e| panic!("it does not open again: {e}"));
        for (id, model) in IDS.into_iter().zip(found) {
            let handle = store.session(id).unwrap_or_else(|e| panic!("{id} after a crash: {e}"));
            if let Some(model) = model {
                compare(&handle, model).unwrap_or_else(|e| panic!("the writer of {id} after a crash: {e}"));
            }
            let model = with_probe(model.clone().unwrap_or_default());
            let done = handle.append(PROBE.new_message());
            let done = done.unwrap_or_else(|e| panic!("{id} takes no message after a crash: {e}"));
            assert_eq!(done.seq() + 1, model.all.len() as u64);
            compare(&handle, &model).unwrap_or_else(|e| panic!("{id} after a crash and an append: {e}"));
        }
    }
}
