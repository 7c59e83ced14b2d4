//! What is not there any more: segments, and whole sessions.

use serde_json::json;
use sessionlog::ErrorKind;
use sessionlog::doctor::{CheckOptions, Code, RepairOptions, check, repair};

use crate::common::{fill, session_dirs};
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
