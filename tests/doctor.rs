//! The doctor through its public interface: what it says while others write, whom it leaves alone, what it restores.

mod common;
#[path = "doctor/relied_on.rs"]
mod relied_on;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{
    Place, SIM, copy_tree, fill, kind, live, numbered, segments, session_dirs, sim_files, sim_options,
    sim_read, sim_segments, sim_session, sim_store, sim_write, texts,
};
use serde_json::json;
use sessionlog::doctor::{
    Action, CheckOptions, Checkup, Code, Progress, Repair, RepairOptions, Severity, check, dump, repair,
};
use sessionlog::fs::{Choice, Fs as _, SimFs};
use sessionlog::{ErrorKind, Keep, Options, Store};

fn checked(fs: &SimFs) -> Checkup {
    check(SIM, &CheckOptions::new().store(&sim_options(fs.clone()))).unwrap()
}

fn repaired(fs: &SimFs) -> Repair {
    let options = RepairOptions::new().store(&sim_options(fs.clone()));
    let plan = repair(SIM, &options.clone().dry_run(true)).unwrap();
    let done = repair(SIM, &options).unwrap();
    assert_eq!(plan.steps, done.steps);
    let again = repair(SIM, &options).unwrap();
    assert!(again.steps.is_empty(), "{again:#?}");
    done
}

fn codes(checkup: &Checkup) -> Vec<Code> {
    checkup.findings.iter().filter(|f| f.severity > Severity::Info).map(|f| f.code).collect()
}

fn edit(fs: &SimFs, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let dir = sim_session(fs);
    let mut bytes = sim_read(&*dir, name);
    change(&mut bytes);
    sim_write(&*dir, name, &bytes);
}

#[test]
fn whoever_forgot_to_say_which_store_gets_no_other() {
    assert_eq!(kind(check("", &CheckOptions::new())), Some(ErrorKind::InvalidInput));
    for dry_run in [true, false] {
        let options = RepairOptions::new().dry_run(dry_run);
        assert_eq!(kind(repair("", &options)), Some(ErrorKind::InvalidInput));
    }
}

#[test]
fn a_dump_that_cannot_be_written_is_not_held_against_the_segment() {
    let fs = SimFs::new(1);
    fill(&sim_store(&fs).session("s").unwrap(), 3);
    let options = CheckOptions::new().store(&sim_options(fs.clone()));
    let path = sim_session(&fs).path().join("00000001.log");
    assert!(dump(&path, &options, &mut Vec::new()).is_ok());
    let error = dump(&path, &options, &mut [0; 64].as_mut_slice()).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Io, None), "{error}");
    assert_eq!(kind(dump("/", &options, &mut Vec::new())), Some(ErrorKind::InvalidInput));
}

#[test]
fn a_check_beside_a_busy_writer_finds_no_damage() {
    let place = Place::new();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.session("busy").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writer = {
        let (stop, written) = (stop.clone(), written.clone());
        std::thread::spawn(move || {
            let mut n = 0u64;
            while !stop.load(Ordering::Relaxed) {
                session.append(&format!("{n}{}", "x".repeat(700))).unwrap();
                n += 1;
                written.store(n, Ordering::Relaxed);
                if n.is_multiple_of(40) {
                    let done = session.archive(Keep::Messages(5)).unwrap();
                    session.truncate().unwrap();
                    if n.is_multiple_of(80) {
                        session.remove_archive(done.archive.unwrap()).unwrap();
                    }
                }
            }
        })
    };
    let mut checks = 0;
    while checks < 60 || written.load(Ordering::Relaxed) < 200 && !writer.is_finished() {
        let found = store.check().unwrap();
        assert!(!found.has_damage(), "{found:#?}");
        checks += 1;
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn a_session_that_somebody_writes_to_is_left_alone() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 5);
    store.close().unwrap();
    let other = fs.process_new();
    let theirs = sim_store(&other);
    let session = theirs.open_session("s").unwrap();
    fill(&session, 1);
    let mine = fs.process_new();
    // While all is well there is nothing to leave alone.
    let options = RepairOptions::new().store(&sim_options(mine.clone()));
    let done = repair(SIM, &options).unwrap();
    assert!(done.steps.is_empty() && done.skipped.is_empty(), "{done:#?}");
    edit(&fs, "00000001.log", |b| b[140] ^= 1);
    // Their writer goes on with marks and with the catalog; segments and copies would be the repair's.
    let logs =
        || -> Vec<String> { sim_files(&fs).into_keys().filter(|name| name.contains(".log")).collect() };
    let before = logs();
    let plan = repair(SIM, &options.clone().dry_run(true)).unwrap();
    let done = repair(SIM, &options).unwrap();
    assert!(done.steps.is_empty(), "{done:#?}");
    assert_eq!((&plan.steps, &plan.skipped), (&done.steps, &done.skipped));
    assert!(done.skipped[0].why.contains("has it open"), "{done:#?}");
    assert_eq!(logs(), before);
    drop(session);
    theirs.close().unwrap();
    assert!(!repaired(&mine).steps.is_empty());
    assert_eq!(live(&sim_store(&mine).open_session("s").unwrap()), numbered(0..6));
}

#[test]
fn an_archive_whose_intent_is_lost_is_known_from_the_commits_behind_it() {
    let fs = SimFs::new(2);
    let store = sim_options(fs.clone()).truncate_after(u64::MAX).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 10);
    let end = |fs: &SimFs| sim_read(&*sim_session(fs), "00000001.log").iter().rposition(|b| *b != 0).unwrap();
    let before = end(&fs);
    session.archive(Keep::Messages(4)).unwrap();
    fill(&session, 3);
    session.patch_attributes(&json!({"kept": true})).unwrap();
    fs.kill();
    let fs = fs.process_new();
    // A byte in the commit of the intent.
    edit(&fs, "00000001.log", |b| b[before + 30] ^= 1);
    let session = sim_store(&fs).open_session("s").unwrap();
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Corrupt));
    drop(session);
    let fs = fs.crash();
    assert_eq!(codes(&checked(&fs)), [Code::DamagedCommit]);
    repaired(&fs);
    let session = sim_store(&fs).open_session("s").unwrap();
    assert_eq!(live(&session), numbered(6..13));
    assert_eq!(texts(session.archived(1).unwrap()), numbered(0..6));
    assert_eq!(json!(session.attributes().unwrap()), json!({"kept": true}));
    let info = session.info().unwrap();
    assert_eq!((info.message_count, info.live, info.epoch), (7, 6..13, 1));
    assert_eq!(session.append("x").unwrap().seq(), 13);
}

#[test]
fn a_hole_that_was_accepted_is_passed_over_and_counted_right() {
    let fs = SimFs::new(3);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 10);
    store.close().unwrap();
    let at = |n: &str| {
        let bytes = sim_read(&*sim_session(&fs), "00000001.log");
        bytes.windows(n.len()).position(|w| w == n.as_bytes()).unwrap()
    };
    let place = at("m4");
    edit(&fs, "00000001.log", |b| b[place] ^= 0x40);
    let done = repaired(&fs);
    assert!(done.steps.iter().any(|s| s.action == Action::AcceptLoss { seq: 4, count: 1 }), "{done:#?}");
    let fs = fs.crash();
    let store = sim_store(&fs);
    let session = store.open_session("s").unwrap();
    let mut want = numbered(0..10);
    want.remove(4);
    assert_eq!(live(&session), want);
    assert_eq!((session.message_count().unwrap(), session.info().unwrap().live), (9, 0..10));
    assert!(session.get(4).unwrap().is_none());
    assert_eq!(texts(session.tail(7).unwrap()).len(), 7);
    assert_eq!(texts(session.range(3..6).unwrap()), ["m3", "m5"]);
    fill(&session, 2);
    let done = session.archive(Keep::Messages(3)).unwrap();
    assert_eq!((done.archived, done.live), (0..9, 9..12));
    session.truncate().unwrap();
    assert_eq!(texts(session.archived(1).unwrap()).len(), 8);
    assert_eq!(live(&session), numbered(9..12));
    store.close().unwrap();
    let found = checked(&fs);
    assert!(found.is_well(), "{found:#?}");
    assert!(found.findings.iter().any(|f| f.code == Code::AcceptedHole), "{found:#?}");
}

#[test]
fn a_missing_successor_is_given_up_and_its_number_never_used_again() {
    let fs = SimFs::new(4);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 10);
    session.archive(Keep::Messages(5)).unwrap();
    session.truncate().unwrap();
    fill(&session, 5);
    store.close().unwrap();
    let dir = sim_session(&fs);
    dir.remove_file("00000002.log").unwrap();
    dir.sync().unwrap();
    assert_eq!(codes(&checked(&fs)), [Code::MissingSegment]);
    repaired(&fs);
    assert_eq!(sim_segments(&*dir), ["00000001.log", "00000003.log"]);
    let session = sim_store(&fs).open_session("s").unwrap();
    // The catalog knew how far the session had come; five messages of it are nowhere.
    assert_eq!(session.info().unwrap().live, 5..15);
    assert_eq!(live(&session), numbered(5..10));
    assert_eq!(texts(session.archived(1).unwrap()), numbered(0..5));
    assert_eq!(session.append("x").unwrap().seq(), 15);
}

#[test]
fn a_lost_store_file_is_written_anew_with_its_id() {
    for how in ["missing", "empty", "garbage"] {
        let place = Place::new();
        let store = place.open();
        fill(&store.session("s").unwrap(), 3);
        let id = store.id();
        store.close().unwrap();
        drop(store);
        let file = place.path().join("STORE");
        match how {
            "missing" => std::fs::remove_file(&file).unwrap(),
            "empty" => std::fs::write(&file, b"").unwrap(),
            _ => std::fs::write(&file, b"garbage").unwrap(),
        }
        let found = check(place.path(), &CheckOptions::new()).unwrap();
        assert_eq!(codes(&found), [Code::DamagedStore], "{how}: {found:#?}");
        if how != "empty" {
            assert_eq!(kind(Store::open(place.path())), Some(ErrorKind::Corrupt), "{how}");
        }
        let done = repair(place.path(), &RepairOptions::new()).unwrap();
        assert!(done.steps.iter().any(|s| s.action == Action::RestoreStore), "{how}: {done:#?}");
        let store = place.open();
        assert_eq!(store.id(), id, "{how}");
        assert_eq!(live(&store.open_session("s").unwrap()), numbered(0..3));
    }
}

#[test]
fn a_store_file_that_named_the_place_of_the_locks_is_not_written_anew_without_it() {
    let place = Place::new();
    let locks = place.beside("locks");
    let options = Options::new().create(true).lock_dir(&locks);
    let store = options.open(place.path()).unwrap();
    fill(&store.session("s").unwrap(), 3);
    store.close().unwrap();
    drop(store);
    std::fs::remove_file(place.path().join("STORE")).unwrap();
    let done = repair(place.path(), &RepairOptions::new()).unwrap();
    assert!(done.steps.is_empty() && done.skipped[0].why.contains("lock_dir"), "{done:#?}");
    let done = repair(place.path(), &RepairOptions::new().store(&options)).unwrap();
    assert!(done.steps.iter().any(|s| s.action == Action::RestoreStore), "{done:#?}");
    assert_eq!(live(&options.open(place.path()).unwrap().open_session("s").unwrap()), numbered(0..3));
}

#[test]
fn a_store_without_a_catalog_gets_one_from_its_sessions() {
    let place = Place::new();
    let store = place.open();
    for id in ["a", "b", "c"] {
        fill(&store.session(id).unwrap(), 3);
    }
    store.close().unwrap();
    drop(store);
    std::fs::remove_dir_all(place.path().join("catalog")).unwrap();
    assert!(check(place.path(), &CheckOptions::new()).unwrap().is_well());
    let done = repair(place.path(), &RepairOptions::new()).unwrap();
    assert_eq!(done.steps.iter().filter(|s| s.action == Action::Summarize).count(), 3, "{done:#?}");
    assert!(repair(place.path(), &RepairOptions::new()).unwrap().steps.is_empty());
    assert_eq!(place.open().sessions().unwrap().sessions.len(), 3);
}

#[test]
fn an_older_copy_of_the_catalog_is_found_and_mended() {
    // Put back by hand, from a backup of the catalog alone: a listing would show old counts.
    let place = Place::new();
    let fill_all = |more: u64| {
        let store = place.open();
        for id in ["a", "b", "c"] {
            fill(&store.session(id).unwrap(), more);
        }
        store.close().unwrap();
    };
    fill_all(3);
    let (catalog, old) = (place.path().join("catalog"), place.beside("old"));
    copy_tree(&catalog, &old);
    fill_all(4);
    let counts = || -> Vec<u64> {
        let listing = Options::new().read_only(true).open(place.path()).unwrap().sessions().unwrap();
        listing.sessions.iter().map(|s| s.message_count).collect()
    };
    assert_eq!(counts(), [7, 7, 7]);
    std::fs::remove_dir_all(&catalog).unwrap();
    copy_tree(&old, &catalog);
    assert_eq!(counts(), [3, 3, 3], "nothing but the logs could tell, and a listing does not read them");
    let found = check(place.path(), &CheckOptions::new()).unwrap();
    assert_eq!(codes(&found), [Code::StaleSummary; 3], "{found:#?}");
    assert!(!found.has_damage());
    let plan = repair(place.path(), &RepairOptions::new().dry_run(true)).unwrap();
    assert_eq!(counts(), [3, 3, 3]);
    let done = repair(place.path(), &RepairOptions::new()).unwrap();
    assert_eq!(plan.steps, done.steps);
    assert_eq!(done.steps.iter().filter(|s| s.action == Action::Summarize).count(), 3, "{done:#?}");
    assert_eq!(counts(), [7, 7, 7]);
    assert!(check(place.path(), &CheckOptions::new()).unwrap().is_well());
    assert!(repair(place.path(), &RepairOptions::new()).unwrap().steps.is_empty());
    fill_all(1);
    assert_eq!(counts(), [8, 8, 8]);
}

#[test]
fn findings_are_data_and_one_session_can_be_asked_for() {
    let place = Place::new();
    let store = place.open();
    for id in ["good", "bad"] {
        fill(&store.session(id).unwrap(), 3);
    }
    store.close().unwrap();
    drop(store);
    std::fs::write(place.path().join("notes.txt"), b"mine").unwrap();
    let dirs = session_dirs(&place.path());
    let bad = dirs.iter().find(|d| d.file_name().unwrap().to_str().unwrap().starts_with("bad")).unwrap();
    let file = &segments(bad)[0];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(file, bytes).unwrap();

    let asked = Arc::new(AtomicU64::new(0));
    let told = asked.clone();
    let options = CheckOptions::new().on_progress(move |p| {
        told.fetch_add(1, Ordering::Relaxed);
        assert_eq!(p.total, 2);
    });
    let found = check(place.path(), &options).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let text = serde_json::to_value(&found).unwrap();
    let first = &text["findings"][0];
    assert_eq!((&first["code"], &first["name"]), (&json!("D002"), &json!("damaged-header")));
    assert_eq!(first["severity"], "damage");
    assert_eq!((&first["session"], &first["offset"]), (&json!("bad"), &json!(0)));
    assert!(first["file"].as_str().unwrap().ends_with("/00000001.log"));
    assert!(found.findings.iter().any(|f| f.code == Code::UnknownFile && f.file == "notes.txt"));

    let good = check(place.path(), &CheckOptions::new().session("good").unwrap()).unwrap();
    assert!(good.findings.is_empty() && good.sessions == 1, "{good:#?}");
    let plan = repair(place.path(), &RepairOptions::new().session("good").unwrap()).unwrap();
    assert!(plan.steps.is_empty(), "{plan:#?}");
    let plan = repair(place.path(), &RepairOptions::new()).unwrap();
    assert!(serde_json::to_string(&plan).unwrap().contains("start-segment"));
    let notes: Vec<_> = std::fs::read_dir(place.path().join("quarantine"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    let note: serde_json::Value = serde_json::from_slice(&std::fs::read(&notes[0]).unwrap()).unwrap();
    assert_eq!(note["session"], "bad");
    assert!(note["file"].as_str().unwrap().ends_with("00000001.log") && note["why"].is_string(), "{note}");
    assert!(Path::new(&place.path()).join("notes.txt").exists());
    assert_eq!(live(&place.open().open_session("bad").unwrap()), numbered(0..3));
}

#[test]
fn a_catalog_that_a_repair_made_is_there_after_a_power_cut() {
    let fs = SimFs::new(5);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 3);
    store.close().unwrap();
    drop(store);
    let root = fs.open_root(Path::new(SIM)).unwrap();
    let catalog = root.open_dir("catalog").unwrap();
    for entry in catalog.list().unwrap() {
        catalog.remove_file(&entry.name).unwrap();
    }
    root.remove_dir("catalog").unwrap();
    root.sync().unwrap();
    // The summaries were synced, but the name of the directory was not.
    assert_eq!(repaired(&fs.process_new()).steps.len(), 1);
    let again = repaired(&fs.crash());
    assert!(again.steps.is_empty(), "{again:#?}");
}

#[test]
fn a_session_with_nothing_but_a_segment_of_another_one_does_not_become_that_one() {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("one:1").unwrap(), 3);
    fill(&store.session("two").unwrap(), 5);
    store.close().unwrap();
    drop(store);
    let dir = |name: &str| {
        let dirs = session_dirs(&place.path());
        dirs.into_iter().find(|d| d.file_name().unwrap().to_str().unwrap().starts_with(name)).unwrap()
    };
    std::fs::copy(&segments(&dir("two"))[0], &segments(&dir("one-1"))[0]).unwrap();
    std::fs::remove_dir_all(place.path().join("catalog")).unwrap();
    let before = std::fs::read(&segments(&dir("one-1"))[0]).unwrap();
    // It was taken for a life of "two", and the catalog then said so: the next repair gave up messages of "two".
    let done = repair(place.path(), &RepairOptions::new()).unwrap();
    assert!(done.skipped.iter().any(|s| s.file.contains("one-1")), "{done:#?}");
    assert_eq!(segments(&dir("one-1")).len(), 1);
    assert_eq!(std::fs::read(&segments(&dir("one-1"))[0]).unwrap(), before);
    let again = repair(place.path(), &RepairOptions::new()).unwrap();
    assert!(again.steps.is_empty(), "{again:#?}");
    let store = place.open();
    assert_eq!(live(&store.open_session("two").unwrap()), numbered(0..5));
    assert_eq!(kind(store.open_session("one:1")), Some(ErrorKind::Corrupt));
}

#[test]
fn a_session_in_a_wrong_shard_is_named_as_left_alone() {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 3);
    store.close().unwrap();
    drop(store);
    let from = session_dirs(&place.path())[0].clone();
    let shard = place.path().join("sessions/z").with_file_name(match from.parent().unwrap().ends_with("0") {
        true => "1",
        false => "0",
    });
    std::fs::create_dir(&shard).unwrap();
    std::fs::rename(&from, shard.join(from.file_name().unwrap())).unwrap();
    assert!(check(place.path(), &CheckOptions::new()).unwrap().has_damage());
    let done = repair(place.path(), &RepairOptions::new()).unwrap();
    assert!(done.steps.is_empty(), "{done:#?}");
    assert!(done.skipped.iter().any(|s| s.why.contains("rename the directory")), "{done:#?}");
}

#[test]
fn a_session_that_lost_its_state_and_its_first_message_can_be_read_after_one_repair() {
    let fs = SimFs::new(6);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 3);
    store.close().unwrap();
    edit(&fs, "00000001.log", |bytes| {
        bytes[220] ^= 1;
        let first = numbered(0..1).remove(0).into_bytes();
        let at = bytes.windows(first.len()).rposition(|w| w == first).unwrap();
        bytes[at] ^= 1;
    });
    // The new state said that more had been truncated than archived, and nobody could read it.
    repaired(&fs);
    let session = sim_store(&fs).open_session("s").unwrap();
    assert_eq!(live(&session), numbered(1..3));
    assert_eq!(session.append("x").unwrap().seq(), 3);
}

#[test]
fn a_lock_that_cannot_be_opened_keeps_the_repair_from_no_other_session() {
    let place = Place::new();
    let store = place.open();
    for id in ["a", "b"] {
        fill(&store.session(id).unwrap(), 3);
    }
    store.close().unwrap();
    drop(store);
    std::fs::remove_dir_all(place.path().join("catalog")).unwrap();
    let lock = session_dirs(&place.path())[0].join("lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let done = repair(place.path(), &RepairOptions::new()).unwrap();
    assert_eq!(done.steps.iter().filter(|s| s.action == Action::Summarize).count(), 1, "{done:#?}");
    assert_eq!(done.skipped.len(), 1, "{done:#?}");
}

#[test]
fn a_dump_says_whether_all_is_what_was_written() {
    let fs = SimFs::new(7);
    for _ in 0..3 {
        let store = sim_store(&fs);
        let session = store.session("s").unwrap();
        fill(&session, 6);
        session.archive(Keep::Messages(2)).unwrap();
        session.truncate().unwrap();
        drop(session);
        store.close().unwrap();
    }
    let dir = sim_session(&fs);
    let options = CheckOptions::new().store(&sim_options(fs.clone()));
    let good = |name: &str| {
        let mut text = Vec::new();
        let good = dump(dir.path().join(name), &options, &mut text).unwrap();
        (good, String::from_utf8(text).unwrap())
    };
    let names = sim_segments(&*dir);
    assert!(names.len() > 2, "{names:?}");
    for name in &names {
        let (good, text) = good(name);
        assert!(good, "{text}");
    }
    let (name, whole) = (&names[1], sim_read(&*dir, &names[1]));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        sim_write(&*dir, name, &bytes);
        let (good, text) = good(name);
        assert!(!good, "byte {at}: {text}");
    }
}

#[test]
fn a_session_that_is_being_removed_is_not_one_that_is_lost() {
    let fs = SimFs::new(8);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 3);
    session.close().unwrap();
    fs.record();
    assert!(store.remove_session("s").unwrap());
    let moments = fs.recorded();
    assert!(moments.len() > 3);
    for moment in moments {
        assert_eq!(codes(&checked(&moment.kill_all())), [], "{}", moment.label());
    }
    // Nothing waits for the catalog's note: without it the two cannot be told apart, and so it is no damage.
    let found = checked(&fs.crash_with(Choice::Nothing));
    assert!(!found.has_damage(), "{found:#?}");
    assert_eq!(codes(&found), [Code::MissingSession]);
}

/// Does something once, when the check or the repair has read the catalog and the names, and no session yet.
fn at_first(place: &Place, act: fn(&Store)) -> impl Fn(&Progress<'_>) + use<> {
    let store = place.open();
    move |progress: &Progress<'_>| {
        if progress.done == 0 {
            act(&store);
        }
    }
}

fn three_closed_sessions() -> Place {
    let place = Place::new();
    let store = place.open();
    for id in ["a", "b", "c"] {
        fill(&store.session(id).unwrap(), 3);
    }
    store.close().unwrap();
    place
}

#[test]
fn a_session_that_is_written_and_closed_during_a_check_has_no_stale_summary() {
    let place = three_closed_sessions();
    let write = at_first(&place, |store| {
        for id in ["a", "b", "c"] {
            let session = store.session(id).unwrap();
            fill(&session, 1);
            session.close().unwrap();
        }
    });
    let found = check(place.path(), &CheckOptions::new().on_progress(write)).unwrap();
    assert_eq!(found.sessions, 3);
    assert_eq!(codes(&found), [], "{found:#?}");
}

#[test]
fn a_session_that_is_removed_during_a_check_or_a_repair_is_not_damaged() {
    let remove = |place: &Place| {
        at_first(place, |store| {
            for id in ["a", "c"] {
                assert!(store.remove_session(id).unwrap());
            }
        })
    };
    let place = three_closed_sessions();
    let found = check(place.path(), &CheckOptions::new().on_progress(remove(&place))).unwrap();
    assert_eq!(codes(&found), [], "{found:#?}");
    assert_eq!(found.sessions, 1);
    for dry_run in [true, false] {
        let place = three_closed_sessions();
        let options = RepairOptions::new().dry_run(dry_run).on_progress(remove(&place));
        let done = repair(place.path(), &options).unwrap();
        assert_eq!((&done.steps[..], &done.skipped[..]), (&[][..], &[][..]), "dry run {dry_run}");
    }
}
