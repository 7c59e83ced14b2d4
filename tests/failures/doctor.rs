//! Rows 11, 12, 15 and 25: references without their content, content without its references, and what is taken for
//! garbage.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;
use sessionlog::doctor::{Action, CheckOptions, Code, RepairOptions, Severity, check, repair};
use sessionlog::fs::{Choice, Dir, Fs, SimFs};
use sessionlog::{AppendOptions, Batch, ErrorKind, Keep, NewMessage, Outcome};

use crate::common::{
    Place, SIM, fill, kind, live, numbered, place_of, segments, session_dirs, sim_options, sim_read,
    sim_segments, sim_session, sim_store, sim_write, texts,
};

#[test]
fn f11_new_content_and_the_references_to_it_are_there_together_or_not_at_all() {
    // ox #533: regenerate uploaded new content, died before it wrote the references, and left orphans and a stale meta.
    // Here both are one commit: at every moment of a power cut the attributes name exactly the messages that are there.
    let sim = SimFs::new(11);
    let store = sim_store(&sim);
    let session = store.session("s").unwrap();
    sim.record();
    for round in 0..4u64 {
        let (first, second) = (round * 2, round * 2 + 1);
        let (a, b) = (format!("part {first}"), format!("part {second}"));
        let batch = Batch::new()
            .message(NewMessage::from(a.as_str()))
            .message(NewMessage::from(b.as_str()))
            .attributes(json!({"transcript": {"from": first, "upto": second + 1}}));
        session.append_batch(&batch).unwrap();
        let done = session.archive_with(Keep::Nothing, &json!({"content": [first, second + 1]})).unwrap();
        assert_eq!(done.archived, first..second + 1);
    }
    let mut states = BTreeSet::new();
    for (n, moment) in sim.recorded().iter().enumerate() {
        for choice in [Choice::Nothing, Choice::Everything, Choice::Seed(n as u64)] {
            let sim = moment.crash(choice);
            let store = sim_store(&sim);
            let Ok(session) = store.open_session("s") else { continue };
            let there = session.info().unwrap().total_messages;
            let named =
                session.attributes().unwrap().get("transcript").map_or(0, |t| t["upto"].as_u64().unwrap());
            assert_eq!(named, there, "{}, {choice:?}", moment.label());
            let mut archived = 0;
            for a in session.archives().unwrap() {
                assert_eq!(json!(a.attributes)["content"], json!([a.seqs.start, a.seqs.end]));
                archived += texts(session.archived(a.number).unwrap()).len() as u64;
            }
            assert_eq!(archived + live(&session).len() as u64, there);
            states.insert(there);
            drop(session);
            let found = check(SIM, &CheckOptions::new().store(&sim_options(sim))).unwrap();
            assert!(found.findings.iter().all(|f| f.severity == Severity::Info), "{found:#?}");
        }
    }
    // The session is born with its first batch.
    assert_eq!(states, BTreeSet::from([2, 4, 6, 8]));
}

#[test]
fn f12_a_message_that_is_lost_is_never_an_empty_one_and_a_repeat_never_overwrites() {
    // ox #291, #454, #531: a stub stood where content was to come, was taken for the content, and then written over it.
    // There are no stubs: an empty message is one, a lost one is an error, and a given-up one is not there.
    let sim = SimFs::new(12);
    let store = sim_store(&sim);
    let session = store.session("s").unwrap();
    let key = |k| AppendOptions::new().key(k);
    session.append_with("the content of message 0", &key("k0")).unwrap();
    session.append_with("", &key("k1")).unwrap();
    session.append_with("the content of message 2", &key("k2")).unwrap();
    // The stub comes later under the key of the content: it is refused, not written over it.
    for stub in ["", "{\"stub\": true}", "the content of message"] {
        let error = session.append_with(stub, &key("k0")).unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Conflict, Outcome::NotApplied), "{error}");
    }
    assert_eq!(session.append_with("the content of message 0", &key("k0")).unwrap().seq(), 0);
    assert_eq!(session.get(1).unwrap().unwrap().payload(), b"");
    drop(session);
    store.close().unwrap();

    // Its bytes are replaced by zeros, by a shorter text, by that of another message of the same length.
    let sound = sim_read(&*sim_session(&sim), "00000001.log");
    let at = sound.windows(24).position(|w| w == b"the content of message 0").unwrap();
    for stub in [&[0; 24][..], b"stub", b"the content of message 2"] {
        let sim = sim.crash_copy();
        let mut bytes = sound.clone();
        bytes[at..at + stub.len()].copy_from_slice(stub);
        sim_write(&*sim_session(&sim), "00000001.log", &bytes);
        let store = sim_store(&sim);
        let session = store.open_session("s").unwrap();
        let first = session.load().unwrap().next().unwrap();
        assert_eq!(kind(first), Some(ErrorKind::Corrupt));
        assert_eq!(kind(session.get(0)), Some(ErrorKind::Corrupt));
        assert_eq!(session.get(1).unwrap().unwrap().payload(), b"");
        assert_eq!(session.get(2).unwrap().unwrap().payload(), b"the content of message 2");
        drop(session);
        store.close().unwrap();
        drop(store);
        let options = sim_options(sim.clone());
        let done = repair(SIM, &RepairOptions::new().store(&options)).unwrap();
        assert!(done.steps.iter().any(|s| s.action == Action::AcceptLoss { seq: 0, count: 1 }), "{done:#?}");
        let session = sim_store(&sim).open_session("s").unwrap();
        assert!(session.get(0).unwrap().is_none());
        assert_eq!(texts(session.load().unwrap()), ["", "the content of message 2"]);
    }
}

#[test]
fn f15_what_cannot_be_read_is_not_lost_in_a_rewrite() {
    // ox: a record that could not be read was skipped, and the file then written again without it. Here nothing is
    // rewritten around damage: it stays where it is, and comes back with the right bytes.
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 10);
    store.close().unwrap();
    drop(store);
    let file = segments(&session_dirs(&place.path())[0])[0].clone();
    let sound = fs::read(&file).unwrap();
    let mut bytes = sound.clone();
    let at = place_of(&bytes, "m7");
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();

    let store = place.open();
    let session = store.open_session("s").unwrap();
    let is_told = |session: &sessionlog::Session| {
        let read: Vec<_> = session.load().unwrap().collect();
        assert!(read.iter().any(|m| m.as_ref().is_err_and(|e| e.kind() == ErrorKind::Corrupt)), "{read:?}");
    };
    is_told(&session);
    // Everything that writes the live range anew, for other reasons.
    session.append("m10").unwrap();
    session.archive(Keep::Messages(6)).unwrap();
    session.truncate().unwrap();
    session.append("m11").unwrap();
    session.archive(Keep::Messages(6)).unwrap();
    session.truncate().unwrap();
    is_told(&session);
    drop(session);
    store.close().unwrap();
    drop(store);
    assert!(fs::read(&file).unwrap() == bytes, "the damaged segment was changed");

    // The block came back, from a backup or a better cable.
    fs::write(&file, &sound).unwrap();
    let store = place.open();
    assert_eq!(live(&store.open_session("s").unwrap()), numbered(6..12));
    store.close().unwrap();
    drop(store);
    assert!(!check(place.path(), &CheckOptions::new()).unwrap().has_damage());

    // And a repair, which does write anew, keeps what it leaves out.
    fs::write(&file, &bytes).unwrap();
    repair(place.path(), &RepairOptions::new()).unwrap();
    let kept = fs::read_dir(place.path().join("quarantine")).map_or(0, Iterator::count);
    let there = fs::read(&file).is_ok_and(|b| b == bytes);
    assert!(there || kept > 0);
}

fn names(dir: &dyn Dir) -> BTreeSet<String> {
    dir.list().unwrap().into_iter().map(|e| e.name).collect()
}

#[test]
fn f25_what_nothing_refers_to_is_named_planned_and_moved_and_nothing_else_is() {
    // openclaw #77608: 98 % of a directory were files that nothing referred to. What is garbage follows from the states
    // alone; a dry run says it first; and what the store does not know is not its garbage.
    let mut sim = SimFs::new(25);
    let store = sim_store(&sim);
    let session = store.session("s").unwrap();
    for _ in 0..260 {
        fill(&session, 3);
        let done = session.archive(Keep::Messages(1)).unwrap();
        session.truncate().unwrap();
        session.remove_archive(done.archive.unwrap()).unwrap();
    }
    drop(session);
    store.close().unwrap();
    // And processes that died: each next writer goes on in a new segment. Of those that went, the last are remembered.
    for _ in 0..20 {
        let store = sim_store(&sim);
        store.open_session("s").unwrap().append("more").unwrap();
        sim.kill();
        sim = sim.process_new();
    }
    let options = || sim_options(sim.clone());
    let store = options().open(SIM).unwrap();
    store.open_session("s").unwrap().append("last").unwrap();
    store.close().unwrap();
    let dir = sim_session(&sim);
    let sound = names(&*dir);
    assert!(sound.len() < 5, "removed archives and dead writers leave their segments behind: {sound:?}");
    let read = || live(&options().open(SIM).unwrap().open_session("s").unwrap());
    let before = read();

    // A segment that was released long ago comes back, as do things that somebody else made.
    let newest = sim_read(&*dir, sim_segments(&*dir).last().unwrap());
    let strays: [(&str, &[u8], Code); 4] = [
        ("00000001.log", &newest, Code::UnlistedSegment),
        ("00000002.log", b"what is this", Code::UnlistedSegment),
        ("seg-1.tmp", b"half", Code::Leftover),
        ("notes.md", b"mine", Code::UnknownFile),
    ];
    for (name, bytes, _) in &strays {
        dir.create(name).unwrap();
        sim_write(&*dir, name, bytes);
    }
    dir.sync().unwrap();
    let littered = names(&*dir);

    let found = check(SIM, &CheckOptions::new().store(&options())).unwrap();
    assert!(!found.has_damage(), "{found:#?}");
    for (name, _, code) in &strays {
        let of: Vec<Code> =
            found.findings.iter().filter(|f| f.file.ends_with(name)).map(|f| f.code).collect();
        assert_eq!(of, [*code], "{name}");
    }
    assert_eq!(found.findings.len(), 4, "{found:#?}");

    let repairing = RepairOptions::new().store(&options());
    let plan = repair(SIM, &repairing.clone().dry_run(true)).unwrap();
    assert_eq!(names(&*dir), littered, "a dry run changes nothing");
    let done = repair(SIM, &repairing).unwrap();
    assert_eq!(plan.steps, done.steps);
    let taken = done.steps.iter().filter(|s| s.action == Action::TakeAway);
    let taken: Vec<&str> = taken.map(|s| s.file.rsplit('/').next().unwrap()).collect();
    assert_eq!(taken, ["00000001.log", "00000002.log"]);
    let quarantine = sim.open_root(Path::new(SIM)).unwrap().open_dir("quarantine").unwrap();
    let kept = names(&*quarantine);
    assert_eq!((kept.len(), kept.iter().filter(|n| n.ends_with(".json")).count()), (4, 2), "{kept:?}");
    assert!(repair(SIM, &repairing).unwrap().steps.is_empty());

    // The next writer removes what was half made; what is not the store's stays for ever.
    assert_eq!(read(), before);
    let store = options().open(SIM).unwrap();
    store.open_session("s").unwrap().append("x").unwrap();
    store.close().unwrap();
    let mut want = sound;
    want.insert("notes.md".to_owned());
    assert_eq!(names(&*dir), want);
}
