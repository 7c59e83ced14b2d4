//! What is not there any more, or there again: commits, segments, and whole sessions.

use serde_json::json;
use sessionlog::doctor::{CheckOptions, Code, RepairOptions, check, repair};
use sessionlog::fs::SimFs;
use sessionlog::{ErrorKind, Keep};

use crate::common::{
    SIM, fill, place_of, session_dirs, sim_options, sim_read, sim_segments, sim_session, sim_store, sim_write,
};
use crate::stories::closed;

#[test]
fn a_segment_that_is_a_link_to_nowhere_is_found() {
    let (place, segment) = closed(|s| fill(s, 3));
    std::fs::remove_file(&segment).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", &segment).unwrap();
    assert!(check(place.path(), &CheckOptions::new()).unwrap().has_damage());
}

#[test]
fn a_session_that_is_not_there_is_not_found_to_be_well() {
    let (place, _) = closed(|s| fill(s, 3));
    let asked = CheckOptions::new().session("sess").unwrap();
    assert_eq!(check(place.path(), &asked).unwrap_err().kind(), ErrorKind::NotFound);
    let asked = RepairOptions::new().session("sess").unwrap();
    assert_eq!(repair(place.path(), &asked).unwrap_err().kind(), ErrorKind::NotFound);
    // The catalog knows of one that was there.
    let dir = session_dirs(&place.path()).remove(0);
    std::fs::remove_dir_all(&dir).unwrap();
    let found = check(place.path(), &CheckOptions::new().session("s").unwrap()).unwrap();
    assert_eq!(found.findings.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::MissingSession]);
    assert!(found.findings[0].what.contains("3 live messages, of 3 that"), "{found:#?}");
    // A repair cannot bring it back, and says so again and again.
    for _ in 0..2 {
        let done = repair(place.path(), &RepairOptions::new()).unwrap();
        assert!(done.steps.is_empty() && done.skipped.len() == 1, "{done:#?}");
    }
}

#[test]
fn who_removes_a_session_that_is_lost_hears_of_it_no_more() {
    // Attributes that are too long for the catalog are left out of the summary there.
    for long in [1, 100_000] {
        let (place, _) = closed(|s| {
            fill(s, 3);
            s.patch_attributes(&json!({"long": "x".repeat(long)})).unwrap();
        });
        let dir = session_dirs(&place.path()).remove(0);
        let backup = place.path().with_extension("backup");
        std::fs::rename(&dir, &backup).unwrap();
        let codes = || {
            let found = check(place.path(), &CheckOptions::new()).unwrap().findings;
            found.iter().map(|f| f.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(), [Code::MissingSession], "{long}");
        // One that is closed, and knows of no session: nothing of this is the doing of what it has in memory.
        let store = place.open();
        assert!(!store.remove_session("s").unwrap());
        store.close().unwrap();
        assert_eq!(codes(), [], "{long}");
        // It was put back after all.
        std::fs::rename(&backup, &dir).unwrap();
        assert_eq!(codes(), [], "{long}");
        let store = place.open();
        assert_eq!(store.sessions().unwrap().len(), 1);
        assert_eq!(store.session("s").unwrap().load().unwrap().count(), 3);
    }
}

#[test]
fn a_released_segment_that_comes_back_stands_in_the_way_of_no_repair() {
    let fs = SimFs::new(1);
    let store = sim_options(fs.clone()).segment_size(16 << 10).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    for i in 0..10 {
        session.append(&format!("m{i} {}", "x".repeat(900))).unwrap();
    }
    session.archive(Keep::Messages(2)).unwrap();
    session.truncate().unwrap();
    let dir = sim_session(&fs);
    let before: Vec<_> = sim_segments(&*dir).into_iter().map(|n| (n.clone(), sim_read(&*dir, &n))).collect();
    session.remove_archive(1).unwrap();
    session.append("acknowledged").unwrap();
    session.close().unwrap();
    store.close().unwrap();
    // A power cut undid the last unlink, and the state with which the newest segment begins rots.
    let newest = sim_segments(&*dir).pop().unwrap();
    let (back, bytes) = before.iter().rfind(|(name, _)| *name < newest).unwrap();
    dir.create(back).unwrap();
    sim_write(&*dir, back, bytes);
    let mut bytes = sim_read(&*dir, &newest);
    bytes[150] ^= 1;
    sim_write(&*dir, &newest, &bytes);

    let options = sim_options(fs.process_new());
    let done = repair(SIM, &RepairOptions::new().store(&options)).unwrap();
    assert!(done.skipped.is_empty() && !done.steps.is_empty(), "{done:#?}");
    for i in 0..3 {
        assert!(!check(SIM, &CheckOptions::new().store(&options)).unwrap().has_damage());
        let store = sim_store(&fs.process_new());
        let session = store.session("s").unwrap();
        let live = session.load().unwrap().map(|m| m.unwrap().payload().to_vec()).collect::<Vec<_>>();
        assert_eq!((live.len(), &live[2][..]), (3 + i, &b"acknowledged"[..]));
        session.append("more").unwrap();
        store.close().unwrap();
    }
}

#[test]
fn who_looks_again_and_again_notices_that_a_long_commit_went() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    // So many that much room is allocated ahead.
    for _ in 0..1_000 {
        session.append(&"x".repeat(1_000)).unwrap();
    }
    let reader = store.reader("s").unwrap();
    assert_eq!(reader.message_count().unwrap(), 1_000);
    session.append(format!("long{}", "~".repeat(100_000)).as_bytes()).unwrap();
    fill(&session, 5);
    let dir = sim_session(&fs);
    let name = sim_segments(&*dir).remove(0);
    let mut bytes = sim_read(&*dir, &name);
    let at = place_of(&bytes, "long~");
    bytes[at - 76..at + 100_004].fill(0);
    sim_write(&*dir, &name, &bytes);
    let noticed = (0..100).position(|_| reader.load().unwrap().any(|m| m.is_err()));
    assert!(noticed.is_some(), "nothing was noticed");
}
