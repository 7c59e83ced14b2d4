//! Processes that come and go: killed, closed, taking turns, refused.

use std::path::Path;

use sessionlog::ErrorKind;
use sessionlog::Outcome;
use sessionlog::fs::{Choice, Fault, Fs, SimFs, SimOp};

use super::check::{SESSIONS, id, observe_reading};
use super::model::Know;
use super::step::Step;
use super::world::{Conf, Done, Past, ROOT, World};

impl World {
    pub(super) fn end_process(&mut self, step: Step) -> Done {
        let past = match step.verb {
            'X' => {
                let other = self.other.take();
                let mut closed = true;
                let stores = self.store.take().into_iter().chain(other.and_then(|(_, store)| store));
                for store in stores {
                    match store.close() {
                        Ok(()) => {}
                        Err(_) if self.faulty => closed = false,
                        Err(e) => return Err(format!("close the store: {e}")),
                    }
                }
                let well = self.is_well();
                for (know, wrote) in self.knows.iter_mut().zip(self.wrote) {
                    if closed && wrote.is_some() {
                        know.durable();
                        know.clean = well;
                    }
                }
                self.mark(false);
                self.fs = self.replace(SimFs::process_new);
                Past::Killed
            }
            'K' => {
                self.fs.kill();
                if let Some((fs, _)) = &self.other {
                    fs.kill();
                }
                self.fs = self.replace(SimFs::process_new);
                Past::Killed
            }
            _ => {
                self.collect();
                let fs = self.fs.crash_with(Choice::Seed(step.arg));
                self.fs = self.replace(|_| fs);
                // What is being found out now is what the disk holds.
                self.watch();
                Past::PowerCut
            }
        };
        self.store = None;
        self.other = None;
        self.unsure = [false; SESSIONS];
        self.wrote = [None; SESSIONS];
        self.open()?;
        self.look(past)
    }

    /// The machine as another process sees it, when the stores of those before it are gone.
    fn replace(&mut self, next: impl FnOnce(&SimFs) -> SimFs) -> SimFs {
        let fs = next(&self.fs);
        drop(self.store.take());
        drop(self.other.take());
        fs
    }

    pub(super) fn process(&self) -> u32 {
        self.fs.process()
    }

    /// Whether the other process has the session open.
    pub(super) fn is_held(&self, s: usize) -> bool {
        self.wrote[s].is_some_and(|process| process != self.process())
    }

    /// Whatever is done to a session that the other process writes is refused.
    pub(super) fn refused(&mut self, s: usize) -> Done {
        let Some(store) = self.store()? else { return Ok(()) };
        let done = store.session(id(s)).and_then(|session| session.append("refused").map(drop));
        let removed = store.remove_session(id(s)).map(drop);
        for result in [done, removed] {
            match result {
                Err(e) if e.kind() == ErrorKind::Locked && e.outcome() == Outcome::NotApplied => {}
                Err(_) if self.faulty => {}
                other => {
                    return Err(format!("session {s} is open elsewhere, and an op on it gave {other:?}"));
                }
            }
        }
        Ok(())
    }

    /// The process at work is killed, and the other one, or a new one, goes on.
    pub(super) fn kill_one(&mut self) -> Done {
        let dead = self.process();
        self.fs.kill();
        drop(self.store.take());
        let next = self.other.take();
        (self.fs, self.store) = next.unwrap_or_else(|| (self.fs.process_new(), None));
        for wrote in self.wrote.iter_mut().filter(|wrote| **wrote == Some(dead)) {
            *wrote = None;
        }
        self.unsure = [false; SESSIONS];
        if self.store.is_none() {
            self.open()?;
        }
        self.look(Past::Killed)
    }

    /// The next operation of some kind fails.
    pub(super) fn fail_later(&mut self, which: u64) -> Done {
        let (op, fault) = match which {
            0 => (SimOp::Write, Fault::IoAfter),
            1 => (SimOp::Write, Fault::NoSpace),
            2 => (SimOp::Sync, Fault::DropDirty),
            3 => (SimOp::SyncDir, Fault::DropDirty),
            4 => (SimOp::Rename, Fault::IoAfter),
            _ => return Err("no such fault".to_owned()),
        };
        self.faulty = true;
        self.fs.fail_when(0, 1, fault, move |call| call.op == op && !call.dir.ends_with("catalog"));
        Ok(())
    }

    /// The other one of two processes goes on. Sessions that were not written are closed; the others too, if `all`.
    pub(super) fn switch(&mut self, all: bool) -> Done {
        for s in 0..SESSIONS {
            if !self.is_held(s) && (all || self.wrote[s].is_none()) {
                self.control(Step { verb: 'c', session: s, arg: 0 }, s)?;
            }
        }
        let next = match self.other.take() {
            Some(next) => next,
            None => (self.fs.process_new(), None),
        };
        let fs = std::mem::replace(&mut self.fs, next.0);
        let store = std::mem::replace(&mut self.store, next.1);
        self.other = Some((fs, store));
        self.store().map(drop)
    }

    /// A reader without locks looks at the moment of a point, while the writer is in the middle of something.
    /// `killed` as in [`observe_reading`].
    pub fn onlook(conf: Conf, fs: &SimFs, knows: &[Know], killed: bool) -> Done {
        let from = |know: &Know| if killed { know.kill_from } else { 0 };
        let first = |know: &Know| know.states[from(know)..].iter().any(Option::is_none);
        let store = match conf.options(fs).read_only(true).open(Path::new(ROOT)) {
            Ok(store) => store,
            // The store itself is being made. Once it has its file it has everything.
            Err(e) if e.kind() == ErrorKind::NotFound && knows.iter().all(first) && !is_store(fs) => {
                return Ok(());
            }
            Err(e) => return Err(format!("open the store for reading: {e}")),
        };
        observe_reading(&store, knows, killed).map(drop)
    }
}

fn is_store(fs: &SimFs) -> bool {
    fs.open_root(Path::new(ROOT)).is_ok_and(|root| root.stat("STORE").is_ok())
}
