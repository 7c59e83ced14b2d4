//! Damage that once was told wrongly, or mended at the cost of more than it had destroyed.

use std::path::{Path, PathBuf};

use serde_json::json;
use sessionlog::doctor::{CheckOptions, Checkup, Code, RepairOptions, check, repair};
use sessionlog::fs::{Fault, SimFs};
use sessionlog::{AppendOptions, Batch, Durability, ErrorKind, Keep, NewMessage, Session, Store};

use crate::common::{
    Place, SIM, fill, place_of, segments, session_dirs, sim_options, sim_read, sim_segments, sim_session,
    sim_store, sim_write,
};

pub fn offset_of(file: &Path, text: &str) -> usize {
    place_of(&std::fs::read(file).unwrap(), text)
}

pub fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

/// So many messages in one commit.
pub fn batch(name: &str, count: u64) -> Batch<'static> {
    let message = |i| NewMessage::new(format!("{name} {i}.").into_bytes());
    (0..count).fold(Batch::new(), |batch, i| batch.message(message(i)))
}

fn ten(name: &str) -> Batch<'static> {
    batch(name, 10)
}

/// Ten messages, the first five archived: the last five are copied into a second segment.
fn halved(session: &Session) {
    fill(session, 10);
    session.archive(Keep::Messages(5)).unwrap();
    session.truncate().unwrap();
}

/// A store with one session, closed; its last segment.
pub fn closed(fill: impl FnOnce(&Session)) -> (Place, PathBuf) {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap());
    store.close().unwrap();
    let dir = session_dirs(&place.path()).remove(0);
    let segment = segments(&dir).pop().unwrap();
    (place, segment)
}

pub fn mend(place: &Place) {
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
        halved(s);
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
fn what_was_cut_off_is_not_answered_out_of_memory_of_an_earlier_read() {
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    // One that is read on its own, behind small ones.
    for payload in [vec![b'x'; 1], vec![b'y'; 1], vec![b'z'; 40_000]] {
        session.append(payload).unwrap();
    }
    let last = || session.tail(1).unwrap().next().unwrap().map(|m| m.payload().len()).map_err(|e| e.kind());
    assert_eq!(last(), Ok(40_000));
    let segment = segments(&session_dirs(&place.path())[0]).pop().unwrap();
    let len = offset_of(&segment, "zzz") as u64 + 30_000;
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(len).unwrap();
    assert_eq!(last(), Err(ErrorKind::Corrupt));
    let elsewhere = std::thread::scope(|scope| scope.spawn(last).join().unwrap());
    assert_eq!(elsewhere, Err(ErrorKind::Corrupt));
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
fn where_the_newest_segment_is_unreadable_no_writer_is_said_to_be_at_work() {
    let (place, segment) = closed(halved);
    assert!(segment.ends_with("00000002.log"));
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[150] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let found = check(place.path(), &CheckOptions::new()).unwrap();
    assert!(found.has_damage());
    let told: Vec<Code> = found.findings.iter().map(|f| f.code).collect();
    assert!(!told.contains(&Code::UncleanEnd) && !told.contains(&Code::StalePrefix), "{found:#?}");
}

/// A repair of a store of one session of twenty messages that was harmed, killed at every step of it: `look` sees each.
fn killed_anywhere(harm: impl FnOnce(&mut Vec<u8>), mut look: impl FnMut(&SimFs, &str)) {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 20);
    store.close().unwrap();
    drop(store);
    let dir = sim_session(&fs);
    let mut bytes = sim_read(&*dir, "00000001.log");
    harm(&mut bytes);
    sim_write(&*dir, "00000001.log", &bytes);
    let fs = fs.crash();
    fs.record();
    repair(SIM, &sim_repair(&fs)).unwrap();
    let moments = fs.recorded();
    assert!(moments.len() > 15, "{}", moments.len());
    for moment in moments {
        look(&moment.kill_all(), moment.label());
    }
}

fn sim_repair(fs: &SimFs) -> RepairOptions {
    RepairOptions::new().store(&sim_options(fs.clone()))
}

fn sim_check(fs: &SimFs) -> Checkup {
    check(SIM, &CheckOptions::new().store(&sim_options(fs.clone()))).unwrap()
}

/// The store on a simulated disk, for reading alone.
fn sim_look(fs: &SimFs) -> Store {
    sim_options(fs.clone()).create(false).read_only(true).open(SIM).unwrap()
}

/// What a reader shows of the session on a simulated disk.
fn shown(fs: &SimFs) -> Vec<u64> {
    let reader = sim_look(fs).reader("s").unwrap();
    reader.load().unwrap().flatten().map(|m| m.seq()).collect()
}

/// The process that has them open is killed; another one on its disk.
fn killed(fs: &SimFs, session: Session, store: Store) -> SimFs {
    fs.kill();
    drop((session, store));
    fs.process_new()
}

/// A reader shows these messages, and so it does after a repair.
fn a_repair_keeps(fs: &SimFs, messages: &[u64]) {
    assert_eq!(shown(fs), messages);
    repair(SIM, &sim_repair(fs)).unwrap();
    assert_eq!(shown(fs), messages);
}

/// How many messages a listing shows, and how many there are.
fn counts(fs: &SimFs) -> (u64, Option<u64>) {
    let store = sim_look(fs);
    let listed = store.sessions().unwrap().sessions.remove(0).message_count;
    (listed, store.reader("s").and_then(|r| r.info()).ok().map(|i| i.message_count))
}

#[test]
fn a_listing_that_a_killed_repair_leaves_behind_is_found_and_mended() {
    let one = |bytes: &mut Vec<u8>| {
        let at = place_of(bytes, "m5");
        bytes[at] ^= 1;
    };
    // Also where no segment is left of those that were there.
    let head_too = |bytes: &mut Vec<u8>| {
        bytes[30] ^= 1;
        one(bytes);
    };
    for harm in [&one as &dyn Fn(&mut Vec<u8>), &head_too] {
        killed_anywhere(harm, |fs, label| {
            let (listed, read) = counts(fs);
            let found = sim_check(fs);
            let stale = found.findings.iter().any(|f| f.code == Code::StaleSummary);
            assert!(
                read.is_none_or(|read| read == listed) || stale,
                "{label}: {listed} {read:?}\n{found:#?}"
            );
            repair(SIM, &sim_repair(fs)).unwrap();
            assert_eq!(counts(fs), (19, Some(19)), "{label}");
            assert!(repair(SIM, &sim_repair(fs)).unwrap().steps.is_empty(), "{label}");
        });
    }
}

#[test]
fn a_repair_that_does_not_come_to_its_end_leaves_the_cut_as_evident_as_it_was() {
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(place_of(bytes, "m15") - 20);
    let told = |fs: &SimFs| {
        let found = sim_check(fs);
        found.has_damage() || found.findings.iter().any(|f| f.code == Code::AcceptedHole)
    };
    let mut first = None;
    killed_anywhere(cut, |fs, label| {
        assert!(told(fs), "{label}: nothing is told");
        first.get_or_insert_with(|| fs.crash_copy());
        repair(SIM, &sim_repair(fs)).unwrap();
        let store = sim_options(fs.clone()).create(false).open(SIM).unwrap();
        let next = store.session("s").unwrap().append("new").unwrap().seq();
        assert!(next >= 20, "{label}: sequence {next} was given before");
        store.close().unwrap();
    });
    // Nor one that finds no room.
    let base = first.unwrap();
    let mut stopped = 0;
    for number in 0..400 {
        let fs = base.crash_copy();
        fs.fail(fs.ops() + number, Fault::NoSpace);
        let done = repair(SIM, &sim_repair(&fs));
        if done.is_ok_and(|done| done.skipped.is_empty()) {
            continue;
        }
        stopped += 1;
        fs.heal();
        assert!(told(&fs.process_new()), "no room at operation {number}: {:?}", fs.struck());
    }
    assert!(stopped > 5, "{stopped}");
}

#[test]
fn a_segment_goes_only_when_what_was_copied_out_of_it_is_good() {
    let (place, segment) = closed(halved);
    assert!(segment.ends_with("00000002.log"));
    flip(&segment, offset_of(&segment, "m7"));
    let store = place.open();
    let session = store.session("s").unwrap();
    session.append("m10").unwrap();
    // Nothing reaches the first segment now, but for the copy that is rotten.
    session.remove_archive(1).unwrap();
    drop(session);
    store.close().unwrap();
    assert!(segment.with_file_name("00000001.log").exists());
    mend(&place);
    let wanted: Vec<u64> = (5..11).collect();
    assert_eq!(readable(&place), (wanted.clone(), wanted));
}

#[test]
fn an_opening_does_not_remove_the_only_good_copy_either() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    fill(&store.session("s").unwrap(), 10);
    fs.kill();
    drop(store);
    // The next writer carries all of it into a new segment, and dies before it removes the old one.
    let fs = fs.process_new();
    fs.record();
    let store = sim_store(&fs);
    store.session("s").unwrap().append("m10").unwrap();
    let moments = fs.recorded();
    drop(store);
    let mut tried = 0;
    for moment in moments {
        let fs = moment.kill_all();
        let dir = sim_session(&fs);
        if sim_segments(&*dir).len() < 2 {
            continue;
        }
        let mut bytes = sim_read(&*dir, "00000002.log");
        let Some(at) = bytes.windows(2).position(|w| w == b"m7") else { continue };
        bytes[at] ^= 0x40;
        sim_write(&*dir, "00000002.log", &bytes);
        tried += 1;
        let store = sim_store(&fs);
        let _ = store.session("s").unwrap().append("later");
        store.close().unwrap();
        drop(store);
        repair(SIM, &sim_repair(&fs)).unwrap();
        let reader = sim_look(&fs).reader("s").unwrap();
        assert!(reader.get(7).unwrap().is_some(), "{}: message 7 is lost", moment.label());
    }
    assert!(tried > 3, "{tried}");
}

#[test]
fn what_is_lost_whole_can_be_appended_again_under_its_key() {
    let options = AppendOptions::new().key("one");
    let (place, segment) = closed(|s| {
        s.append("first").unwrap();
        s.append_with("precious", &options).unwrap();
        s.append("last").unwrap();
    });
    flip(&segment, offset_of(&segment, "precious"));
    mend(&place);
    let store = place.open();
    let session = store.session("s").unwrap();
    let done = session.append_with("precious", &options).unwrap();
    assert!(!done.repeated, "{done:?}");
    assert_eq!(session.get(done.seq()).unwrap().unwrap().payload(), b"precious");
}

#[test]
fn where_the_end_is_lost_an_archive_is_not_said_to_be_none() {
    let (place, segment) = closed(|s| {
        fill(s, 10);
        s.archive(Keep::Messages(5)).unwrap();
    });
    let first = segments(segment.parent().unwrap()).remove(0);
    for later in segments(segment.parent().unwrap()).into_iter().skip(1) {
        std::fs::remove_file(later).unwrap();
    }
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..place_of(&bytes, "m9") + 2]).unwrap();
    let store = place.open();
    let reader = store.reader("s").unwrap();
    assert_eq!(reader.get(10).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(reader.archived(1).err().map(|e| e.kind()), Some(ErrorKind::Corrupt));
    let session = store.session("s").unwrap();
    assert_eq!(session.archived(1).err().map(|e| e.kind()), Some(ErrorKind::Corrupt));
}

#[test]
fn a_rotten_payload_does_not_falsify_the_sums_of_tokens() {
    let (place, segment) = closed(|s| {
        for i in 0..10 {
            s.append(NewMessage::new(format!("message {i}.").into_bytes()).tokens(10)).unwrap();
        }
    });
    flip(&segment, offset_of(&segment, "message 8."));
    let store = place.open();
    let session = store.session("s").unwrap();
    session.archive(Keep::Messages(4)).unwrap();
    assert_eq!(session.info().unwrap().live_tokens, 40);
}

#[test]
fn a_repair_takes_no_part_of_a_torn_commit() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 5);
    session.append("lost commit").unwrap();
    session.append_batch(&ten("f")).unwrap();
    let fs = killed(&fs, session, store);
    let dir = sim_session(&fs);
    let mut bytes = sim_read(&*dir, "00000001.log");
    // A message of the second commit, the header of the one before the last, and a message of the last.
    for (text, back) in [("m2", 0), ("lost commit", 60), ("f 5.", 0)] {
        let at = place_of(&bytes, text) - back;
        bytes[at] ^= 0x40;
    }
    sim_write(&*dir, "00000001.log", &bytes);
    a_repair_keeps(&fs, &[0, 1, 3, 4]);
}

#[test]
fn one_rotten_block_ends_no_repair_at_what_was_durable() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    session.append("first").unwrap();
    session.append(&format!("durable {}.", "x".repeat(300))).unwrap();
    let buffered = AppendOptions::new().durability(Durability::Buffered);
    for text in ["lost", "after it 1", "after it 2"] {
        session.append_with(text, &buffered).unwrap();
    }
    let fs = killed(&fs, session, store);
    let dir = sim_session(&fs);
    let mut bytes = sim_read(&*dir, "00000001.log");
    let (from, to) = (place_of(&bytes, "xxx.") - 10, place_of(&bytes, "lost") + 4);
    bytes[from..to].fill(0xee);
    sim_write(&*dir, "00000001.log", &bytes);
    a_repair_keeps(&fs, &[0, 3, 4]);
}

#[test]
fn a_segment_with_the_only_good_copy_of_what_no_mark_covered_stays() {
    let fs = SimFs::new(1);
    let open = |fs: &SimFs| sim_options(fs.clone()).truncate_after(u64::MAX).open(SIM).unwrap();
    let store = open(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 10);
    session.archive(Keep::Messages(5)).unwrap();
    fill(&session, 1);
    // The next writer truncates: it seals the segment where the mark is, and carries the last message.
    let fs = killed(&fs, session, store);
    let store = open(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let dir = sim_session(&fs);
    assert_eq!(sim_segments(&*dir), ["00000001.log", "00000002.log"]);
    let mut bytes = sim_read(&*dir, "00000002.log");
    let at = place_of(&bytes, "m10");
    bytes[at] ^= 0x40;
    sim_write(&*dir, "00000002.log", &bytes);
    session.remove_archive(1).unwrap();
    drop(session);
    store.close().unwrap();
    drop(store);
    repair(SIM, &sim_repair(&fs)).unwrap();
    assert_eq!(shown(&fs), [5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn the_last_commit_of_a_segment_whose_successor_is_lost_is_kept_as_far_as_it_is_good() {
    let (place, segment) = closed(|s| {
        s.append("first").unwrap();
        s.append_batch(&ten("a")).unwrap();
        s.archive(Keep::Messages(10)).unwrap();
        s.truncate().unwrap();
        s.append("later").unwrap();
    });
    let first = segments(segment.parent().unwrap()).remove(0);
    assert_ne!(first, segment);
    std::fs::remove_file(&segment).unwrap();
    flip(&first, offset_of(&first, "a 5."));
    let before = readable(&place);
    assert!(before.1.len() >= 9, "{before:?}");
    mend(&place);
    let after = readable(&place);
    assert!(before.1.iter().all(|seq| after.1.contains(seq)), "{before:?} {after:?}");
}
