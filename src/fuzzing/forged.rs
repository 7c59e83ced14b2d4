//! Files whose checksums are right and whose values are not: a defect of another writer, or a bit that flipped before the
//! checksum was made. Whatever is tried with them ends in an answer or in an error that names the file; no other session is
//! harmed, what is acknowledged stays, and a repair is one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::json;

use super::forge::{self, Log, Part, Rng};
use super::forge_values;
use super::image::{Files, STORE, put, take};
use super::store::{dir_of, examples, options};
use crate::doctor::{CheckOptions, Checkup, Repair, RepairOptions, check, dump, repair};
use crate::format::RecordKind;
use crate::format::catalog::CatalogEntry;
use crate::fs::SimFs;
use crate::state::{Extent, Hole, Op};
use crate::{
    AppendOptions, Batch, Error, ErrorKind, Finding, Keep, ListOptions, Messages, NewMessage, Reader, Result,
    SortBy,
};

/// Messages by archive (0: live) and sequence.
type Held = BTreeMap<(u64, u64), Vec<u8>>;

struct Base {
    files: Files,
    held: BTreeMap<String, Held>,
}

/// The errors of a trial, each of which must be one that damage explains.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn error(&mut self, e: &Error) {
        let kinds = [
            ErrorKind::Corrupt,
            ErrorKind::NotFound,
            ErrorKind::Unsupported,
            ErrorKind::Conflict,
            ErrorKind::TooLarge,
        ];
        if !kinds.contains(&e.kind()) || e.is_corruption() && e.file().is_none() {
            self.0.push(format!("not an error of damage: {e:?}"));
        }
    }

    fn ok<T>(&mut self, done: Result<T>) -> Option<T> {
        done.inspect_err(|e| self.error(e)).ok()
    }

    fn messages(&mut self, messages: Result<Messages>) -> BTreeMap<u64, Vec<u8>> {
        let mut out = BTreeMap::new();
        for m in self.ok(messages).into_iter().flatten().take(20_000) {
            if let Some(m) = self.ok(m) {
                let _ = (m.tag(), m.tokens(), m.id(), m.parent_id(), m.codec());
                out.insert(m.seq(), m.payload().to_vec());
            }
        }
        assert!(out.len() < 10_000, "it does not end");
        out
    }

    fn read(&mut self, r: &Reader) -> Held {
        let live = self.messages(r.load());
        for some in [r.tail(3), r.tail_bytes(500), r.tail_tokens(10), r.range(2..7), r.range(u64::MAX - 5..)]
        {
            self.messages(some);
        }
        for seq in [0, 1, 20, u64::MAX] {
            self.ok(r.get(seq));
        }
        let _ = format!("{:?} {:?} {:?}", r.info(), r.attributes(), r.report());
        let mut held: Held = live.into_iter().map(|(seq, m)| ((0, seq), m)).collect();
        for a in self.ok(r.archives()).unwrap_or_default() {
            let messages = self.messages(r.archived(a.number));
            held.extend(messages.into_iter().map(|(seq, m)| ((a.number, seq), m)));
        }
        held
    }

    fn look<'a>(&mut self, fs: &SimFs, base: &'a Base) -> Option<BTreeMap<&'a str, Held>> {
        let store = self.ok(options(&fs.process_new()).read_only(true).open(STORE))?;
        let by_activity = ListOptions::new().sort_by(SortBy::LastActivity).limit(2);
        for how in
            [ListOptions::new().attribute("title", 1), by_activity, ListOptions::new().offset(usize::MAX)]
        {
            self.ok(store.sessions_with(&how));
        }
        self.ok(store.stats());
        let mut out = BTreeMap::new();
        for id in base.held.keys() {
            if let Some(reader) = self.ok(store.reader(id)) {
                out.insert(id.as_str(), self.read(&reader));
            }
        }
        Some(out)
    }

    /// Everything that can be written is; what was acknowledged is there when all of it was closed.
    fn write(&mut self, fs: &SimFs, base: &Base, whole: &dyn Fn(&str) -> bool) {
        let Some(store) = self.ok(options(fs).open(STORE)) else { return };
        let mut promised: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for id in base.held.keys() {
            let Some(s) = self.ok(store.open_session(id)) else {
                assert!(!whole(id), "{id} does not open");
                continue;
            };
            self.messages(s.load());
            let mut append = |told: &mut Told| match s.append("one more") {
                Ok(done) => promised.entry(id).or_default().push(done.seq()),
                Err(e) => {
                    assert!(!whole(id), "{id} takes no message: {e}");
                    told.error(&e);
                }
            };
            append(self);
            self.ok(s.append_batch(&Batch::new().message("x").message("y")));
            self.ok(s.append_with("with a key", &AppendOptions::new().key("key")));
            self.ok(s.patch_attributes(&json!({"p": 1})));
            for keep in [Keep::Messages(4), Keep::Tokens(2), Keep::Bytes(20), Keep::Turns(1)] {
                self.ok(s.archive(keep));
                append(self);
            }
            self.ok(s.truncate());
            for a in self.ok(s.archives()).unwrap_or_default() {
                self.messages(s.archived(a.number));
                self.ok(s.patch_archive(a.number, &json!({"q": 1})));
            }
            append(self);
            self.ok(s.close());
        }
        self.ok(store.close());
        drop(store);
        let store = options(&fs.crash()).open(STORE).expect("it does not open again");
        for (id, seqs) in promised {
            let reader = store.reader(id).unwrap_or_else(|e| panic!("{id}: {e}"));
            let held = self.read(&reader);
            for seq in seqs {
                let found = held.iter().any(|((_, s), m)| *s == seq && m == b"one more");
                assert!(
                    found,
                    "{id}: message {seq} is not there, and was acknowledged: {:?}",
                    reader.report()
                );
            }
        }
        for id in base.held.keys() {
            if let Some(s) = self.ok(store.open_session(id)) {
                for a in self.ok(s.archives()).unwrap_or_default().iter().take(3) {
                    self.ok(s.remove_archive(a.number));
                }
                self.ok(s.close());
            }
            if self.ok(store.remove_session(id)) == Some(true) {
                self.ok(store.session(id).and_then(|s| s.append("anew")));
            }
        }
    }
}

fn checked(fs: &SimFs) -> Result<Checkup> {
    check(STORE, &CheckOptions::new().store(&options(&fs.process_new())))
}

fn repaired(fs: &SimFs, dry_run: bool) -> Result<Repair> {
    repair(STORE, &RepairOptions::new().store(&options(&fs.process_new())).dry_run(dry_run))
}

/// Everything is tried with these files. `victim` is the session of which one was forged; `None` if all may be concerned.
fn trial(files: &Files, base: &Base, victim: Option<&str>) {
    let mut told = Told::default();
    let whole = |id: &str| victim.is_some_and(|victim| victim != id);
    if let Some(seen) = told.look(&put(files, 5), base) {
        for (id, held) in base.held.iter().filter(|(id, _)| whole(id)) {
            assert_eq!(seen.get(id.as_str()), Some(held), "{id}, which is whole");
        }
    }
    told.write(&put(files, 6), base, &whole);
    let fs = put(files, 7);
    told.ok(checked(&fs));
    for path in files.keys().filter(|p| p.ends_with(".log")) {
        let how = CheckOptions::new().store(&options(&fs.process_new()));
        told.ok(dump(Path::new(STORE).join(path), &how, &mut Vec::new()));
    }
    told.ok(repaired(&fs, true));
    if let Some(done) = told.ok(repaired(&fs, false)) {
        let fs = fs.crash();
        let again = told.ok(repaired(&fs, false)).map(|again| again.steps).unwrap_or_default();
        assert!(again.is_empty(), "a second repair does {again:#?}\nafter {:#?}", done.steps);
        let after = told.ok(checked(&fs)).filter(|after| done.skipped.is_empty() && after.has_damage());
        assert!(after.is_none(), "after {:#?}: {after:#?}", done.steps);
        told.write(&fs, base, &whole);
    }
    assert!(told.0.is_empty(), "{:#?}", told.0);
}

fn base(fs: &SimFs) -> Base {
    let files = take(&fs.process_new());
    let store = options(&fs.process_new()).read_only(true).open(STORE).unwrap();
    let mut told = Told::default();
    let ids = store.sessions().unwrap().sessions.iter().map(|s| s.id.as_str().to_owned()).collect::<Vec<_>>();
    let held = ids.into_iter().map(|id| (id.clone(), told.read(&store.reader(&id).unwrap()))).collect();
    assert!(told.0.is_empty());
    Base { files, held }
}

/// With a checkpoint and a key.
fn long(fs: &SimFs) -> &SimFs {
    let store = options(fs).create(true).segment_size(1 << 20).open(STORE).unwrap();
    let s = store.session("k").unwrap();
    for i in 0..140 {
        s.append(NewMessage::from(&*format!("m{i}.{}", "~".repeat(1000))).tokens(3)).unwrap();
    }
    s.append_with("with a key", &AppendOptions::new().key("key")).unwrap();
    store.session("a").unwrap().append("one").unwrap();
    store.close().unwrap();
    fs
}

/// With several segments, and an index in the catalog.
fn many(fs: &SimFs) -> &SimFs {
    let store = options(fs).create(true).open(STORE).unwrap();
    for i in 0..220 {
        for id in ["a", "b"] {
            let s = store.session(id).unwrap();
            s.append(&format!("{i}")).unwrap();
            s.close().unwrap();
        }
    }
    store.close().unwrap();
    fs
}

fn bases() -> &'static [Base] {
    static ALL: OnceLock<Vec<Base>> = OnceLock::new();
    ALL.get_or_init(|| {
        let small = examples().iter().map(|e| base(&put(&e.files, 1)));
        small.chain([base(long(&SimFs::new(2))), base(many(&SimFs::new(3)))]).collect()
    })
}

/// One file of one store is forged.
fn one(seed: u64) {
    let rng = &mut Rng::new(seed);
    let base = &bases()[rng.below(bases().len())];
    let kind =
        [".log", ".log", ".log", ".log", ".log", ".log", ".log", ".cat", ".idx", "STORE"][rng.below(10)];
    let mut files = base.files.clone();
    let names: Vec<&String> = base.files.keys().filter(|name| name.ends_with(kind)).collect();
    let Some(name) = names.get(rng.below(names.len())) else { return };
    let Some(Some(bytes)) = files.get_mut(*name) else { return };
    let what = match kind {
        ".log" => forge::segment(rng, bytes),
        ".cat" => forge_values::catalog(rng, bytes),
        ".idx" => forge_values::index(rng, bytes),
        _ => forge_values::store(rng, bytes),
    };
    let victim = base.held.keys().find(|id| name.starts_with(&dir_of(id)));
    let done = catch_unwind(AssertUnwindSafe(|| trial(&files, base, victim.map(String::as_str))));
    assert!(done.is_ok(), "seed {seed}, {name}: {what}");
}

/// `FORGE_FROM` and `FORGE_COUNT` choose others, and more.
#[test]
fn forged_values_end_in_an_answer_and_harm_nobody() {
    let var = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let from = var("FORGE_FROM").unwrap_or(0);
    let seeds = from..from + var("FORGE_COUNT").unwrap_or(300);
    let failed: Vec<u64> = seeds.filter(|seed| catch_unwind(|| one(*seed)).is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// The only segment of a session of four messages, forged.
fn forged(change: impl FnOnce(&mut Log)) -> (Base, Files) {
    let fs = SimFs::new(4);
    let store = options(&fs).create(true).open(STORE).unwrap();
    let s = store.session("s").unwrap();
    for text in ["m0", "m1", "m2", "m3"] {
        s.append(text).unwrap();
    }
    store.session("other").unwrap().append("other").unwrap();
    store.close().unwrap();
    let base = base(&fs);
    let mut files = base.files.clone();
    let bytes = files.get_mut(&format!("{}/00000001.log", dir_of("s"))).unwrap().as_mut().unwrap();
    let mut log = Log::parse(bytes).unwrap();
    change(&mut log);
    *bytes = log.encode();
    (base, files)
}

/// What reading says of it. Nothing else goes wrong with it either.
fn refused(change: impl FnOnce(&mut Log)) -> String {
    let (base, files) = forged(change);
    trial(&files, &base, Some("s"));
    let store = options(&put(&files, 1)).open(STORE).unwrap();
    let appended = store.open_session("s").and_then(|s| s.append("no"));
    let e = appended.expect_err("it takes a message");
    assert!(e.kind() == ErrorKind::Corrupt && e.file().is_some() && e.file_offset().is_some(), "{e:?}");
    e.to_string()
}

#[test]
fn numbers_at_their_end_are_damage() {
    for far in [(1 << 62) + 1, u64::MAX - 9, u64::MAX] {
        let what = refused(|log| {
            log.forge_state(|s| s.position = far);
            log.follow();
        });
        assert!(what.contains("impossible") || what.contains("first_position"), "{what}");
        refused(|log| log.forge_state(|s| s.incarnation.number = far));
        refused(|log| log.forge_state(|s| s.released = vec![far]));
    }
    let what = refused(|log| {
        log.forge_state(|s| (s.base, s.next) = (1 << 40, 1 << 40));
        log.follow();
    });
    assert!(what.contains("impossible"), "{what}");
}

#[test]
fn a_state_after_which_no_other_could_be_read_is_damage() {
    let hole = |seq, count| Hole { seq, count, from: 1, to: 1 };
    refused(|log| log.forge_state(|s| s.holes = vec![hole(0, 7)]));
    refused(|log| {
        log.forge_state(|s| s.holes = vec![hole(0, 0), hole(0, 0), hole(u64::MAX, 1)]);
        log.follow();
    });
    // More messages than the positions behind the one that is kept have room for.
    refused(|log| {
        log.forge_ops(|op| {
            if *op == Op::Close {
                let (attributes, at) = (String::new(), 1 << 40);
                *op = Op::Archive { number: 1, base: 0, upto: 2, at, bytes: 0, tokens: 0, attributes };
            }
        });
        log.follow();
    });
}

#[test]
fn a_segment_that_is_still_to_come_is_not_released() {
    refused(|log| {
        log.forge_ops(|op| {
            if *op == Op::Close {
                *op = Op::Released { segments: vec![2, 3] };
            }
        });
        log.follow();
    });
    refused(|log| log.forge_state(|s| s.released = vec![2]));
}

#[test]
fn more_messages_than_a_commit_can_state_are_not_live() {
    let many = 1 << 32;
    let (base, files) = forged(|log| {
        log.forge_state(|s| {
            s.live = vec![Extent { seq: 0, count: many, from: 1, to: 1 + many }];
            (s.next, s.message_count, s.position) = (many, many, 1 + many);
        });
        log.parts.truncate(1);
        log.follow();
    });
    trial(&files, &base, Some("s"));
    let store = options(&put(&files, 1)).open(STORE).unwrap();
    let s = store.open_session("s").unwrap();
    assert_eq!(s.append("one more").unwrap_err().kind(), ErrorKind::TooLarge);
    s.archive(Keep::Nothing).unwrap();
    assert_eq!(s.append("one more").unwrap().seq(), many);
}

#[test]
fn an_end_whose_mark_lies_below_a_message_is_no_clean_one() {
    let unclean = |mark: u64| {
        let (_, mut files) =
            forged(|log| log.parts.iter_mut().rev().take(2).for_each(|part| part.header.mark = mark));
        // The catalog knows as well that it was closed.
        files.retain(|name, _| !name.starts_with("catalog/"));
        let store = options(&put(&files, 1)).open(STORE).unwrap();
        let report = store.reader("s").unwrap().report();
        report.findings.iter().any(|f| matches!(f, Finding::UncleanEnd { .. }))
    };
    // Behind what the writer says of itself, and the four messages.
    assert!(!unclean(6));
    assert!(unclean(5));
}

/// A sealed segment of session `a`, which has four.
fn sealed(number: u64, change: impl FnOnce(&mut Log)) -> (&'static Base, Files) {
    let base = bases().last().unwrap();
    let mut files = base.files.clone();
    let bytes = files.get_mut(&format!("{}/{number:08}.log", dir_of("a"))).unwrap().as_mut().unwrap();
    let mut log = Log::parse(bytes).unwrap();
    change(&mut log);
    *bytes = log.encode();
    (base, files)
}

/// How many messages of a session are left after a repair.
fn kept(files: &Files, id: &str) -> usize {
    let fs = put(files, 1);
    assert_eq!(repaired(&fs, false).unwrap().skipped, []);
    let store = options(&fs.crash()).read_only(true).open(STORE).unwrap();
    Told::default().messages(store.reader(id).unwrap().load()).len()
}

#[test]
fn a_repair_of_segments_that_contradict_each_other_is_one() {
    // The checksum in which the chain of the first ends is another one than the second says.
    let (base, files) = sealed(1, |log| log.parts[5].header.time += 1);
    trial(&files, base, Some("a"));
    assert_eq!(kept(&files, "a"), 220);
    let (base, files) = sealed(2, |log| log.header.prev_end_position += 1);
    trial(&files, base, Some("a"));
    assert_eq!(kept(&files, "a"), 220);
    // The witness in the first names another salt.
    let (base, files) = sealed(2, |log| log.header.salt += 1);
    trial(&files, base, Some("a"));
    assert_eq!(kept(&files, "a"), 220);
}

#[test]
fn one_wrong_number_costs_a_repair_one_commit() {
    let (base, files) = sealed(3, |log| log.header.first_position *= 2);
    trial(&files, base, Some("a"));
    assert_eq!(kept(&files, "a"), 220);
    let (base, files) = sealed(4, |log| {
        let message = |part: &&mut Part| part.recs.iter().any(|r| r.meta.kind == RecordKind::Message);
        log.parts.iter_mut().filter(message).nth(3).unwrap().header.span += 77;
    });
    trial(&files, base, Some("a"));
    assert!(kept(&files, "a") >= 219, "{}", kept(&files, "a"));
}

#[test]
fn a_catalog_that_states_impossible_numbers_stops_no_session() {
    let (base, mut files) = forged(|_| ());
    for (name, bytes) in files.iter_mut().filter(|(name, _)| name.ends_with(".cat")) {
        let bytes = bytes.as_mut().unwrap();
        forge_values::every_entry(bytes, |entry| match entry {
            CatalogEntry::Open(mark) => mark.incarnation.number = u64::MAX,
            CatalogEntry::Closed(s) => (s.incarnation.number, s.position, s.next) = (7, u64::MAX, u64::MAX),
            _ => {}
        });
        assert!(!bytes.is_empty(), "{name}");
    }
    trial(&files, &base, None);
    let store = options(&put(&files, 1)).open(STORE).unwrap();
    assert_eq!(store.open_session("s").unwrap().append("m4").unwrap().seq(), 4);
    assert_eq!(kept(&files, "s"), 4);
}
