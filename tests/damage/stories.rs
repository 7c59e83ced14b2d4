//! Damage that once was told wrongly, or mended at the cost of more than it had destroyed.

use std::path::{Path, PathBuf};

use serde_json::json;
use sessionlog::doctor::{CheckOptions, Code, RepairOptions, check, repair};
use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, ErrorKind, Keep, NewMessage, Session, Store};

use crate::common::{
    Place, SIM, fill, segments, session_dirs, sim_options, sim_read, sim_session, sim_store, sim_write,
};

fn offset_of(file: &Path, text: &str) -> usize {
    let bytes = std::fs::read(file).unwrap();
    bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

/// Ten messages in one commit.
fn ten(name: &str) -> Batch<'static> {
    (0..10).fold(Batch::new(), |batch, i| batch.message(NewMessage::new(format!("{name} {i}.").into_bytes())))
}

/// A store with one session, closed; its last segment.
fn closed(fill: impl FnOnce(&Session)) -> (Place, PathBuf) {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap());
    store.close().unwrap();
    let dir = session_dirs(&place.path()).remove(0);
    let segment = segments(&dir).pop().unwrap();
    (place, segment)
}

fn mend(place: &Place) {
    let done = repair(place.path(), &RepairOptions::new()).unwrap();
    assert!(done.skipped.is_empty() && !done.steps.is_empty(), "{done:#?}");
    let again = repair(place.path(), &RepairOptions::new()).unwrap();
    assert!(again.steps.is_empty(), "{again:#?}");
    let found = check(place.path(), &CheckOptions::new()).unwrap();
    assert!(!found.has_damage(), "{found:#?}");
}

/// The sequences of the live messages that can be read: one by one, and all at once.
fn readable(place: &Place) -> (Vec<u64>, Vec<u64>) {
    let store = place.open();
    let reader = store.reader("s").unwrap();
    let one_by_one = (0..100).filter(|seq| matches!(reader.get(*seq), Ok(Some(_)))).collect();
    let at_once = reader.load().unwrap().flatten().map(|m| m.seq()).collect();
    drop(reader);
    store.close().unwrap();
    (one_by_one, at_once)
}

#[test]
fn a_rotten_message_behind_a_lost_commit_costs_no_neighbour() {
    let (place, segment) = closed(|s| {
        s.append("first").unwrap();
        for name in ["a", "b", "c"] {
            s.append_batch(&ten(name)).unwrap();
        }
    });
    // The table of the first batch, and one message of the second.
    flip(&segment, offset_of(&segment, "a 0.") - 100);
    flip(&segment, offset_of(&segment, "b 5."));
    let wanted: Vec<u64> = [0].into_iter().chain(11..16).chain(17..31).collect();
    assert_eq!(readable(&place), (wanted.clone(), wanted.clone()));
    mend(&place);
    assert_eq!(readable(&place), (wanted.clone(), wanted));
}

#[test]
fn a_rotten_copy_hides_itself_alone_and_not_the_state() {
    let (place, segment) = closed(|s| {
        fill(s, 10);
        s.archive(Keep::Messages(5)).unwrap();
        s.truncate().unwrap();
        fill(s, 20);
        s.patch_attributes(&json!({"title": "new"})).unwrap();
    });
    flip(&segment, offset_of(&segment, "m7"));
    let wanted: Vec<u64> = (5..7).chain(8..30).collect();
    assert_eq!(readable(&place), (wanted.clone(), wanted.clone()));
    let store = place.open();
    assert_eq!(store.reader("s").unwrap().attributes().unwrap()["title"], "new");
    assert_eq!(store.reader("s").unwrap().get(7).unwrap_err().kind(), ErrorKind::Corrupt);
    store.close().unwrap();
    // It can be written all the same: the damage is one message's.
    let store = place.open();
    let session = store.session("s").unwrap();
    assert_eq!(session.append("m30").unwrap().seq(), 30);
    drop(session);
    store.close().unwrap();
    mend(&place);
    // The repair finds the message where it was copied from.
    let wanted: Vec<u64> = (5..31).collect();
    assert_eq!(readable(&place), (wanted.clone(), wanted));
}

#[test]
fn where_the_end_is_lost_a_message_is_not_said_to_be_none() {
    let (place, segment) = closed(|s| fill(s, 10));
    let at = offset_of(&segment, "m8");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..at - 20]).unwrap();
    let store = place.open();
    let reader = store.reader("s").unwrap();
    assert!(reader.get(3).unwrap().is_some());
    assert_eq!(reader.get(8).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn the_tokens_of_a_rotten_message_decide_nothing() {
    let (place, segment) = closed(|s| {
        for i in 0..10 {
            s.append(NewMessage::new(format!("message {i}.").into_bytes()).tokens(10)).unwrap();
        }
    });
    // The estimate stands right in front of the payload, in four bytes.
    flip(&segment, offset_of(&segment, "message 8.") - 3);
    let store = place.open();
    let session = store.session("s").unwrap();
    let tail: Vec<_> = session.tail_tokens(50).unwrap().collect();
    assert_eq!(tail.iter().filter(|m| m.is_ok()).count(), 5, "{tail:?}");
    assert_eq!(tail.iter().filter(|m| m.is_err()).count(), 1, "{tail:?}");
    let refused = session.archive(Keep::Tokens(50)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_eq!(refused.file(), Some(segment.as_path()));
    assert_eq!(session.info().unwrap().live, 0..10);
    // What does not ask for tokens is not held up by it.
    session.archive(Keep::Messages(1)).unwrap();
}

#[test]
fn an_archive_that_was_given_up_whole_is_empty_and_not_unknown() {
    let (place, segment) = closed(|s| {
        s.append_batch(&ten("a")).unwrap();
        s.archive(Keep::Nothing).unwrap();
        s.append("later").unwrap();
    });
    let first = segments(segment.parent().unwrap()).remove(0);
    for i in 0..10 {
        flip(&first, offset_of(&first, &format!("a {i}.")));
    }
    mend(&place);
    let store = place.open();
    let session = store.session("s").unwrap();
    assert_eq!(session.archives().unwrap().len(), 1);
    assert_eq!(session.archived(1).unwrap().count(), 0);
    assert_eq!(session.archived(2).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(store.reader("s").unwrap().archived(1).unwrap().count(), 0);
}

#[test]
fn a_repeat_under_a_key_is_one_after_a_repair_whichever_message_rotted() {
    for victim in [0, 3] {
        let options = AppendOptions::new().key("import 1");
        let (place, segment) = closed(|s| {
            s.append("first").unwrap();
            s.append_batch_with(&ten("a"), &options).unwrap();
            s.append("last").unwrap();
        });
        flip(&segment, offset_of(&segment, &format!("a {victim}.")));
        mend(&place);
        let store = place.open();
        let session = store.session("s").unwrap();
        session.append_batch_with(&ten("a"), &options).unwrap();
        assert_eq!(session.load().unwrap().filter(Result::is_ok).count(), 11, "victim {victim}");
    }
}

#[test]
fn the_first_block_can_rot_and_the_rest_is_kept() {
    let (place, segment) = closed(|s| {
        for n in 0..20 {
            s.append(&format!("message {n} {}", "x".repeat(1000))).unwrap();
        }
        s.patch_attributes(&json!({"title": "kept"})).unwrap();
    });
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[..4096].fill(0);
    std::fs::write(&segment, bytes).unwrap();
    mend(&place);
    let (one_by_one, at_once) = readable(&place);
    assert_eq!(one_by_one, at_once);
    assert!(at_once.len() >= 16 && at_once.ends_with(&[17, 18, 19]), "{at_once:?}");
    assert_eq!(place.open().reader("s").unwrap().attributes().unwrap()["title"], "kept");
}

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
}

#[test]
fn where_the_newest_segment_is_unreadable_no_writer_is_said_to_be_at_work() {
    let (place, segment) = closed(|s| {
        fill(s, 10);
        s.archive(Keep::Messages(5)).unwrap();
        s.truncate().unwrap();
    });
    assert!(segment.ends_with("00000002.log"));
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[150] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let found = check(place.path(), &CheckOptions::new()).unwrap();
    assert!(found.has_damage());
    let told: Vec<Code> = found.findings.iter().map(|f| f.code).collect();
    assert!(!told.contains(&Code::UncleanEnd) && !told.contains(&Code::StalePrefix), "{found:#?}");
}

#[test]
fn a_listing_after_a_repair_that_was_killed_anywhere_is_right() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 20);
    store.close().unwrap();
    drop(store);
    let dir = sim_session(&fs);
    let mut bytes = sim_read(&*dir, "00000001.log");
    let at = bytes.windows(2).position(|w| w == b"m5").unwrap();
    bytes[at] ^= 1;
    sim_write(&*dir, "00000001.log", &bytes);
    let fs = fs.crash();
    fs.record();
    let options = |fs: &SimFs| RepairOptions::new().store(&sim_options(fs.clone()));
    let counts = |fs: &SimFs| {
        let store: Store = sim_options(fs.clone()).create(false).read_only(true).open(SIM).unwrap();
        let listed = store.sessions().unwrap().sessions.remove(0).message_count;
        (listed, store.reader("s").unwrap().info().unwrap().message_count)
    };
    repair(SIM, &options(&fs)).unwrap();
    let moments = fs.recorded();
    assert!(moments.len() > 20, "{}", moments.len());
    for moment in moments {
        let fs = moment.kill_all();
        let (listed, read) = counts(&fs);
        assert_eq!(listed, read, "killed before {}", moment.label());
        repair(SIM, &options(&fs)).unwrap();
        assert_eq!(counts(&fs), (19, 19), "killed before {}", moment.label());
    }
}
