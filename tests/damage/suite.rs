//! One damage: done, read, checked, repaired.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sessionlog::doctor::{self, Action, CheckOptions, Checkup, Code, Repair, RepairOptions, Severity};
use sessionlog::fs::{Choice, Dir, Fault, Fs, Kind, SimFs};
use sessionlog::{ErrorKind, SessionInfo, Store};

use crate::common::{SIM, sim_files, sim_read, sim_write};
use crate::expect::{Expected, Trouble};
use crate::store::{Base, IDS, options, owner};

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone)]
pub enum Change {
    Flip(usize),
    Cut(usize),
    Remove,
    Empty,
    Zeros,
    Older(Vec<u8>),
    Swap(String),
}

/// The file and its directory; `None` if it is a directory itself.
pub fn find(fs: &SimFs, file: &str) -> Option<(Arc<dyn Dir>, String)> {
    let (dir, name) = dir_of(fs, file);
    (dir.stat(&name).unwrap().kind == Kind::File).then_some((dir, name))
}

fn dir_of(fs: &SimFs, file: &str) -> (Arc<dyn Dir>, String) {
    let mut dir = fs.open_root(Path::new(SIM)).unwrap();
    let mut parts: Vec<&str> = file.trim_start_matches('/').split('/').collect();
    let name = parts.pop().unwrap().to_owned();
    for part in parts {
        dir = dir.open_dir(part).unwrap();
    }
    (dir, name)
}

fn damage(fs: &SimFs, file: &str, change: &Change) {
    let (dir, name) = dir_of(fs, file);
    let bytes = sim_read(&*dir, &name);
    let write = |bytes: &[u8]| sim_write(&*dir, &name, bytes);
    match change {
        Change::Flip(at) => {
            let mut bytes = bytes;
            bytes[*at] ^= 1 << (at % 8);
            write(&bytes);
        }
        Change::Cut(len) => write(&bytes[..*len]),
        Change::Empty => write(b""),
        Change::Zeros => write(&vec![0; bytes.len()]),
        Change::Older(older) => write(older),
        Change::Remove => {
            dir.remove_file(&name).unwrap();
            dir.sync().unwrap();
        }
        Change::Swap(other) => {
            let (their_dir, their_name) = dir_of(fs, other);
            let theirs = sim_read(&*their_dir, &their_name);
            sim_write(&*their_dir, &their_name, &bytes);
            write(&theirs);
        }
    }
}

/// Whose sessions are touched.
fn touched(file: &str, change: &Change) -> Vec<&'static str> {
    let other = match change {
        Change::Swap(other) => owner(other),
        _ => None,
    };
    owner(file).into_iter().chain(other).collect()
}

pub fn run(base: &Base, file: &str, change: &Change) {
    Case::new(base, file, change).run();
}

/// Does the damage and repairs it once; then again with a power cut before each of the operations of that repair, and
/// with an error in place of every third. Says how many times.
pub fn interrupt(base: &Base, file: &str, change: &Change) -> (u64, u64) {
    let case = Case::new(base, file, change);
    let disk = sim_files(&case.fs);
    let before = case.read(false);
    let (damaged, began) = (case.fs.snapshot(), case.fs.ops());
    case.fs.record();
    case.repair(false);
    let (moments, ended) = (case.fs.recorded(), case.fs.ops());
    let with =
        |fs: SimFs, how: String| Case { base, fs, what: format!("{}: {how}", case.what), file, change };
    let mut cuts = 0;
    for moment in &moments {
        let pending = moment.pending_count();
        let all = if pending <= 2 { 1u64 << pending } else { 0 };
        let mut choices: Vec<Choice> = (0..all).map(Choice::Mask).collect();
        if all == 0 {
            choices.extend([Choice::Nothing, Choice::Everything]);
        }
        choices.extend((0..2).map(|n| Choice::Seed(moment.ops() * 2 + n)));
        for choice in choices {
            let how = format!("power cut before {}, {choice:?}", moment.label());
            with(moment.crash(choice), how).after_interruption(&disk, before.as_deref());
            cuts += 1;
        }
        let how = format!("killed before {}", moment.label());
        with(moment.kill_all(), how).after_interruption(&disk, before.as_deref());
        cuts += 1;
    }
    let mut errors = 0;
    for number in (began..ended).step_by(3) {
        let fault = [Fault::Io, Fault::DropDirty, Fault::IoAfter, Fault::NoSpace][number as usize % 4];
        let again = with(damaged.look(), format!("{fault:?} at operation {}", number - began));
        again.fs.fail(number, fault);
        let options = RepairOptions::new().store(&options(&again.fs));
        let outcome = doctor::repair(SIM, &options);
        again.fs.heal();
        let what = match outcome {
            Ok(done) => format!("{}, skipped {:?}", again.what, done.skipped),
            Err(e) => format!("{}, {e}", again.what),
        };
        let fs = if number % 2 == 0 { again.fs.crash() } else { again.fs.clone() };
        with(fs, what).after_interruption(&disk, before.as_deref());
        errors += 1;
    }
    (cuts, errors)
}

struct Case<'a> {
    base: &'a Base,
    fs: SimFs,
    what: String,
    file: &'a str,
    change: &'a Change,
}

impl<'a> Case<'a> {
    fn new(base: &'a Base, file: &'a str, change: &'a Change) -> Case<'a> {
        let fs = base.fs.crash_copy();
        damage(&fs, file, change);
        let shown = match change {
            Change::Older(bytes) => format!("{file}: older version of {} bytes", bytes.len()),
            other => format!("{file}: {other:?}"),
        };
        Case { base, fs, what: format!("{shown} (closed: {})", base.closed), file, change }
    }

    /// The repair that was interrupted is done again: what was good is there, and nothing is gone that is not in the
    /// quarantine.
    fn after_interruption(&self, disk: &Files, before: Option<&[(Expected, Trouble)]>) {
        let what = &self.what;
        self.nothing_is_gone(disk);
        let done = self.repair(false);
        let again = self.repair(false);
        assert!(again.steps.is_empty(), "{what}: a second repair finds {:?}", again.steps);
        self.nothing_is_gone(disk);
        if done.skipped.is_empty() {
            let after = doctor::check(SIM, &self.check_options()).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(!after.has_damage(), "{what}: {after:#?}\nafter {:#?}", done.steps);
        }
        if let Some(now) = self.read(true) {
            self.compare(before, &now, &done);
            self.write(&done);
        }
    }

    /// Every file of a session is where it was, or in the quarantine.
    fn nothing_is_gone(&self, disk: &Files) {
        let now = sim_files(&self.fs);
        for (name, bytes) in disk.iter().filter(|(n, _)| n.ends_with(".log")) {
            if now.get(name) == Some(bytes) {
                continue;
            }
            let last = name.rsplit('/').next().unwrap();
            let kept = now.iter().any(|(n, b)| b == bytes && n.starts_with(&format!("/quarantine/{last}-")));
            assert!(kept, "{}: {name} is gone: {:?}", self.what, now.keys());
        }
    }

    fn run(&self) {
        let what = &self.what;
        let disk = sim_files(&self.fs);
        let before = self.read(false);
        self.same_disk(&disk, "reading");
        let check = doctor::check(SIM, &self.check_options()).unwrap_or_else(|e| panic!("{what}: {e}"));
        self.same_disk(&disk, "checking");
        if let Some(before) = &before {
            self.judge(before, &check);
        }
        if let Change::Flip(at) | Change::Cut(at) = self.change
            && at % 3 != 0
        {
            return;
        }
        let plan = self.repair(true);
        self.same_disk(&disk, "planning");
        let done = self.repair(false);
        assert_eq!(plan.steps, done.steps, "{what}");
        assert_eq!(plan.skipped, done.skipped, "{what}");
        if check.has_damage() {
            assert!(!done.steps.is_empty() || !done.skipped.is_empty(), "{what}: {check:?}");
        }
        self.kept(&disk, &done);
        let again = self.repair(false);
        assert!(
            again.steps.is_empty(),
            "{what}: a second repair finds {:?}\nthe first {:?}",
            again.steps,
            done.steps
        );
        let after = doctor::check(SIM, &self.check_options()).unwrap_or_else(|e| panic!("{what}: {e}"));
        if done.skipped.is_empty() {
            assert!(!after.has_damage(), "{what}: {after:#?}\nafter {:#?}", done.steps);
        } else if matches!(self.change, Change::Flip(_)) {
            panic!("{what}: one flipped bit is too much for it: {:?}", done.skipped);
        }
        if let Some(now) = self.read(true) {
            self.compare(before.as_deref(), &now, &done);
            self.write(&done);
        }
    }

    fn check_options(&self) -> CheckOptions {
        CheckOptions::new().store(&options(&self.fs))
    }

    fn repair(&self, dry_run: bool) -> Repair {
        let options = RepairOptions::new().store(&options(&self.fs)).dry_run(dry_run);
        doctor::repair(SIM, &options).unwrap_or_else(|e| panic!("{}: {e}", self.what))
    }

    fn same_disk(&self, disk: &Files, doing: &str) {
        assert!(sim_files(&self.fs) == *disk, "{}: {doing} changed the disk", self.what);
    }

    /// Everything that can be read now; `None` if the store cannot be opened, which only its own file may cause.
    fn read(&self, repaired: bool) -> Option<Vec<(Expected, Trouble)>> {
        let what = &self.what;
        let store = match options(&self.fs).read_only(true).open(SIM) {
            Ok(store) => store,
            Err(e) => {
                assert_eq!(self.file, "/STORE", "{what}: {e}");
                assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{what}: {e}");
                assert!(e.file().is_some_and(|f| f.ends_with("STORE")), "{what}: {e}");
                return None;
            }
        };
        self.listing(&store, repaired);
        let read: Vec<_> = IDS.iter().map(|id| Expected::read(&store, id)).collect();
        for (id, (got, trouble)) in IDS.iter().zip(&read) {
            let written = &self.base.expected[*id];
            assert!(got.is_part_of(written), "{what}: {id}: {got:?}");
            for e in &trouble.errors {
                assert!(
                    matches!(
                        e.kind(),
                        ErrorKind::Corrupt
                            | ErrorKind::NotFound
                            | ErrorKind::Conflict
                            | ErrorKind::Unsupported
                    ),
                    "{what}: {id}: {e}"
                );
                assert!(e.file().is_some(), "{what}: {id}: {e}");
            }
            if !touched(self.file, self.change).contains(id) {
                assert!(!trouble.is_told(), "{what}: the neighbour {id}: {trouble:?}");
                assert_eq!(got, written, "{what}: the neighbour {id}");
            }
        }
        Some(read)
    }

    /// A listing shows each session as it is, or says that it cannot be read.
    fn listing(&self, store: &Store, repaired: bool) {
        let what = &self.what;
        let listing = store.sessions().unwrap_or_else(|e| panic!("{what}: {e}"));
        for id in IDS {
            let shown: Vec<_> = listing.sessions.iter().filter(|s| s.id.as_str() == id).collect();
            assert!(shown.len() <= 1, "{what}: {id} is listed twice: {listing:?}");
            let told = listing.unreadable.iter().any(|(path, _)| owner(path.to_str().unwrap()) == Some(id));
            let written = &self.base.expected[id];
            match shown.first() {
                None => assert!(told, "{what}: {id} is missing from {listing:?}"),
                Some(info) if repaired && !told => {
                    let read = store.reader(id).unwrap().info().unwrap();
                    let now = |i: &SessionInfo| (i.message_count, i.live.clone(), i.attributes.clone());
                    assert_eq!(now(info), now(&read), "{what}: {id} as it is listed, and as it is read");
                }
                // Nobody can tell that the newest file of the catalog is gone, except by reading the sessions.
                Some(_)
                    if self.file.starts_with("/catalog/")
                        && !matches!(self.change, Change::Flip(_) | Change::Cut(_)) => {}
                Some(info) if told || self.may_be_short(id) => {
                    assert!((info.live.end) <= written.range.1, "{what}: {info:?}");
                    let report = store.reader(id).unwrap().report();
                    let hidden = report.findings.iter().any(|f| f.hides_state());
                    assert!(told || !hidden, "{what}: {id} is shown as it was once: {report:?}");
                }
                Some(info) => {
                    let now = (info.message_count, (info.live.start, info.live.end), &*info.attributes);
                    assert_eq!(now, (written.count, written.range, &written.attributes), "{what}: {id}");
                }
            }
        }
    }

    /// The last commits of a session that was not closed cannot be told from torn ones.
    fn may_be_short(&self, id: &str) -> bool {
        !self.base.closed && touched(self.file, self.change).contains(&id)
    }

    /// Whatever is not as it was written was said while reading, and is found by the check.
    fn judge(&self, read: &[(Expected, Trouble)], check: &Checkup) {
        let what = &self.what;
        for (id, (got, trouble)) in IDS.iter().zip(read) {
            let whole = got == &self.base.expected[*id];
            let about = |severity: Severity| {
                let mine = check.findings.iter().filter(|f| owner(&format!("/{}", f.file)) == Some(id));
                // Without the newest file of the catalog every session has one that is too old.
                let old = self.file.starts_with("/catalog/");
                mine.filter(|f| !old || f.code != Code::StaleSummary).any(|f| f.severity >= severity)
            };
            if !whole && !self.may_be_short(id) {
                assert!(
                    trouble.is_told(),
                    "{what}: {id} is not what was written, and nobody says so: {got:?}"
                );
            }
            if trouble.is_told() {
                assert!(about(Severity::Damage), "{what}: {id}: {trouble:?}\n{check:#?}");
            }
            if !touched(self.file, self.change).contains(id) {
                assert!(!about(Severity::Warning), "{what}: {id} is well: {check:#?}");
            }
        }
    }

    /// What was taken away is in the quarantine, byte for byte, with a note.
    fn kept(&self, disk: &Files, done: &Repair) {
        let now = sim_files(&self.fs);
        for step in &done.steps {
            let Action::Quarantine { .. } = step.action else { continue };
            let Some(bytes) = disk.get(&format!("/{}", step.file)) else { continue };
            let name = step.file.rsplit('/').next().unwrap();
            let copies: Vec<_> = now
                .iter()
                .filter(|(n, _)| n.starts_with(&format!("/quarantine/{name}-")) && !n.ends_with(".json"))
                .collect();
            assert!(copies.iter().any(|(_, b)| *b == bytes), "{}: {step}", self.what);
            assert!(
                copies.iter().all(|(n, _)| now.contains_key(&format!("{n}.json"))),
                "{}: {step}",
                self.what
            );
        }
    }

    /// Nothing that could be read before is gone.
    fn compare(&self, before: Option<&[(Expected, Trouble)]>, now: &[(Expected, Trouble)], done: &Repair) {
        let what = &self.what;
        for (i, id) in IDS.iter().enumerate() {
            let (got, trouble) = &now[i];
            if done.skipped.iter().any(|s| owner(&format!("/{}", s.file)) == Some(id)) {
                continue;
            }
            assert!(!trouble.is_told(), "{what}: {id}: {trouble:?}\nafter {:#?}", done.steps);
            assert_eq!(got.count, got.live.len() as u64, "{what}: {id}");
            let Some((was, _)) = before.map(|b| &b[i]) else { continue };
            let all = got.messages();
            for (seq, text) in was.messages() {
                assert_eq!(
                    all.get(&seq),
                    Some(&text),
                    "{what}: {id}: message {seq} was lost: {:#?}",
                    done.steps
                );
            }
            for (key, value) in &was.attributes {
                let lost = !got.attributes.contains_key(key);
                assert!(!lost, "{what}: {id}: attribute {key} = {value} was lost");
            }
            for number in was.archives.keys() {
                assert!(got.archives.contains_key(number), "{what}: {id}: archive {number} was lost");
            }
        }
    }

    /// Every session can be written again, and is what it should be after that.
    fn write(&self, done: &Repair) {
        let what = &self.what;
        let store = options(&self.fs).open(SIM).unwrap_or_else(|e| panic!("{what}: {e}"));
        for id in touched(self.file, self.change) {
            if done.skipped.iter().any(|s| owner(&format!("/{}", s.file)) == Some(id)) {
                continue;
            }
            let session = store.open_session(id).unwrap_or_else(|e| panic!("{what}: {id}: {e}"));
            let next = session.info().unwrap().live.end;
            let seq = session.append("after").unwrap_or_else(|e| panic!("{what}: {id}: {e}")).seq();
            assert_eq!(seq, next, "{what}");
            session.archive(sessionlog::Keep::Messages(1)).unwrap_or_else(|e| panic!("{what}: {id}: {e}"));
            let live: Vec<_> = session.load().unwrap().map(|m| m.unwrap().payload().to_vec()).collect();
            assert_eq!(live, [b"after".to_vec()], "{what}");
        }
        store.close().unwrap_or_else(|e| panic!("{what}: {e}"));
        if done.skipped.is_empty() {
            let last = doctor::check(SIM, &self.check_options()).unwrap();
            assert!(!last.has_damage(), "{what}: {last:#?}");
        }
    }
}
