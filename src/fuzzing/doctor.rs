//! The doctor on a damaged store: a check that changes nothing and misses nothing, a repair after which nothing is left
//! to do, nothing that could be read is gone, and everything can be written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::damage::{APPENDED, Read, Trial, expected};
use super::image::{STORE, put, take};
use super::model::Msg;
use super::store::{IDS, dir_of, options};
use crate::ErrorKind;
use crate::doctor::{CheckOptions, Checkup, Repair, RepairOptions, check, dump, repair};
use crate::fs::SimFs;

fn checked(fs: &SimFs) -> crate::Result<Checkup> {
    check(STORE, &CheckOptions::new().store(&options(&fs.process_new())))
}

fn repaired(fs: &SimFs, dry_run: bool) -> crate::Result<Repair> {
    repair(STORE, &RepairOptions::new().store(&options(&fs.process_new())).dry_run(dry_run))
}

/// Nothing could be done for this session.
fn skipped(done: &Repair, id: &str) -> bool {
    let dir = dir_of(id);
    done.skipped.iter().any(|s| s.session.as_deref() == Some(id) || s.file.contains(&dir))
}

impl Trial<'_> {
    /// `before` is what a reader found; `told` the sessions that it called damaged.
    pub(super) fn doctor(&self, before: &BTreeMap<&'static str, Read>, told: &[&str]) {
        let fs = put(&self.damage.files, 10);
        let found = match checked(&fs) {
            Ok(found) => found,
            Err(e) => return self.judge_open(Some(&e)),
        };
        for path in self.damage.files.keys().filter(|p| p.ends_with(".log")) {
            let options = CheckOptions::new().store(&options(&fs.process_new()));
            let (path, mut text) = (Path::new(STORE).join(PathBuf::from(path)), Vec::new());
            if let Err(e) = dump(path, &options, &mut text) {
                expected(&e);
            }
        }
        let plan = repaired(&fs, true);
        // Zeros behind a file's content are not compared; nobody adds or takes any.
        assert!(take(&fs.process_new()) == take(&put(&self.damage.files, 10)), "looking changed the disk");
        assert!(
            told.is_empty() || found.has_damage() || self.forged(),
            "{told:?} are damaged, and no check says so: {:?}",
            found.findings
        );
        if self.damage.touched.is_empty() {
            assert!(found.is_well(), "nothing is damaged, but: {found:#?}");
        }
        let (plan, done) = match (plan, repaired(&fs, false)) {
            (Ok(plan), Ok(done)) => (plan, done),
            (Err(e), _) | (_, Err(e)) => return self.judge_open(Some(&e)),
        };
        if self.forged() {
            return;
        }
        // What it did for one session may have helped with another; and not everything can be done that can be planned: a
        // lock may be a directory.
        if plan.skipped.is_empty() && done.skipped.is_empty() {
            assert_eq!(
                (&plan.steps, &plan.skipped),
                (&done.steps, &done.skipped),
                "the plan and what was done"
            );
        }
        if found.has_damage() {
            let nothing = done.steps.is_empty() && done.skipped.is_empty();
            assert!(!nothing, "nothing is done about {found:#?}");
        }
        // What it did is durable.
        let fs = fs.crash();
        let Some(again) = self.or_root(repaired(&fs, false)) else { return };
        assert!(again.steps.is_empty(), "a second repair does {:#?}\nafter {:#?}", again.steps, done.steps);
        let Some(after) = self.or_root(checked(&fs)) else { return };
        if done.skipped.is_empty() {
            assert!(!after.has_damage(), "after the repair: {after:#?}\n{:#?}", done.steps);
        }
        if !done.skipped.iter().any(|s| s.file == "STORE") {
            self.afterwards(&fs, before, &done);
        }
    }

    /// Only what all sessions need may fail, and only if it was changed.
    fn or_root<T>(&self, done: crate::Result<T>) -> Option<T> {
        done.map_err(|e| self.judge_open(Some(&e))).ok()
    }

    /// Read again, and written.
    fn afterwards(&self, fs: &SimFs, before: &BTreeMap<&'static str, Read>, done: &Repair) {
        // From now on a loss may be an accepted one.
        self.wrote.set(true);
        let process = fs.process_new();
        let Some(store) = self.or_root(options(&process).open(STORE)) else { return };
        let now = self.look(&store, false);
        for (id, read) in before {
            // An archive may have been found whose intent was lost.
            let seqs = |read: &Read| read.iter().map(|((_, seq), n)| (*seq, *n)).collect::<BTreeMap<_, _>>();
            let (was, is) = (seqs(read), now.get(id).map(seqs).unwrap_or_default());
            for (seq, number) in was {
                assert_eq!(
                    is.get(&seq),
                    Some(&number),
                    "{id}: {seq} went with the repair: {:#?}",
                    done.steps
                );
            }
        }
        let mut written = Vec::new();
        // A file in the place of a directory is left alone.
        let file = |id: &&str| {
            let dir = dir_of(id);
            self.damage.files.iter().any(|(path, bytes)| bytes.is_some() && dir.starts_with(path.as_str()))
        };
        for id in IDS.into_iter().filter(|id| !skipped(done, id) && !file(id)) {
            let message = Msg { number: APPENDED, len: 30, tokens: 3, turn: APPENDED.is_multiple_of(3) };
            let session = match store.open_session(id) {
                Ok(session) => session,
                // A directory in the place of a file, say: no business of the doctor's.
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Io) => continue,
                Err(e) => panic!("{id} after a repair: {e}\n{done:#?}"),
            };
            let report = session.report().unwrap();
            assert!(!report.has_damage(), "{id} after a repair: {report:?}\n{done:#?}");
            let next = session.info().unwrap().live.end;
            let got = session.append(message.new_message());
            let got = got.unwrap_or_else(|e| panic!("{id} after a repair takes no message: {e}\n{done:#?}"));
            assert_eq!(got.seq(), next, "{id}");
            session.close().unwrap_or_else(|e| panic!("{id} after a repair does not close: {e}\n{done:#?}"));
            written.push((id, next, message));
        }
        self.or_root(store.close());
        let Some(store) = self.or_root(options(&process.crash()).open(STORE)) else { return };
        for (id, seq, message) in written {
            let found = store.reader(id).and_then(|r| r.get(seq));
            assert!(matches!(&found, Ok(Some(m)) if message.is(m)), "{id}, {seq} after a repair: {found:?}");
        }
    }
}
