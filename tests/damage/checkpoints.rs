//! Damage in front of a checkpoint.

use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{ErrorKind, Session};

use crate::common::{SIM, place_of, sim_options, sim_read, sim_session, sim_write};

const LOG: &str = "00000001.log";

fn options(fs: &SimFs) -> sessionlog::Options {
    sim_options(fs.clone()).segment_size(1 << 20)
}

/// A session whose close states everything: a change of its attributes, and messages.
fn closed() -> SimFs {
    let fs = SimFs::new(1);
    let store = options(&fs).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    for i in 0..10 {
        session.append(&format!("m{i}.")).unwrap();
    }
    session.patch_attributes(&json!({"title": "the title"})).unwrap();
    for i in 10..150 {
        session.append(&format!("m{i}.{}", "~".repeat(1000))).unwrap();
    }
    drop(session);
    store.close().unwrap();
    fs
}

fn harm(fs: &SimFs, texts: &[&str]) {
    let dir = sim_session(fs);
    let mut bytes = sim_read(&*dir, LOG);
    for text in texts {
        let at = place_of(&bytes, text);
        bytes[at] ^= 1;
    }
    sim_write(&*dir, LOG, &bytes);
}

fn readable(session: &Session) -> Vec<u64> {
    (0..200).filter(|seq| matches!(session.get(*seq), Ok(Some(_)))).collect()
}

#[test]
fn what_rots_in_front_of_a_checkpoint_hides_no_state_not_even_after_a_crash() {
    let fs = closed();
    harm(&fs, &["the title", "m7."]);
    let fs = fs.crash();
    let wanted = |upto| (0..7).chain(8..upto).collect::<Vec<u64>>();

    let store = options(&fs).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    assert_eq!(session.attributes().unwrap()["title"], "the title");
    assert_eq!(session.info().unwrap().live, 0..150);
    assert_eq!(readable(&session), wanted(150));
    // It goes on where it was, and the next one reads all of it.
    assert_eq!(session.append("m150").unwrap().seq(), 150);
    fs.kill();
    drop((session, store));
    let fs = fs.process_new();
    let store = options(&fs).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    assert!(session.report().unwrap().has_damage());
    assert_eq!(session.attributes().unwrap()["title"], "the title");
    assert_eq!(session.info().unwrap().live, 0..151);
    assert_eq!(session.append("m151").unwrap().seq(), 151);
    assert_eq!(readable(&session), wanted(152));
}

#[test]
fn where_the_snapshot_rots_nothing_is_acknowledged_that_cannot_be_read_after_a_crash() {
    for at in [130, 160, 200] {
        let fs = closed();
        let dir = sim_session(&fs);
        let mut bytes = sim_read(&*dir, LOG);
        bytes[at] ^= 1;
        sim_write(&*dir, LOG, &bytes);
        let store = options(&fs.crash()).open(SIM).unwrap();
        let appended = store.session("s").and_then(|s| s.append("lost?"));
        assert_eq!(appended.unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
    }
}

/// The state fits into what is left of the disk, and the mark behind it does not: it is closed without.
#[test]
fn on_a_full_disk_a_close_leaves_the_state_out() {
    let (mut closes, mut stated) = (0, 0);
    for last in (1000..3400).step_by(4) {
        let fs = SimFs::new(1);
        let store = options(&fs).open(SIM).unwrap();
        let session = store.session("s").unwrap();
        session.append(vec![b'x'; 204_000]).unwrap();
        session.patch_attributes(&json!({"a": "y".repeat(300)})).unwrap();
        fs.set_room(Some(0));
        if session.append(vec![b'z'; last]).is_err() {
            continue;
        }
        session.close().unwrap_or_else(|e| panic!("{last}: {e}"));
        drop(store);
        fs.set_room(None);
        let dir = sim_session(&fs);
        stated += usize::from(
            sim_read(&*dir, LOG).windows(300).filter(|w| w.iter().all(|b| *b == b'y')).count() > 1,
        );
        closes += 1;
        let fs = fs.process_new();
        let session = options(&fs).open(SIM).unwrap().session("s").unwrap();
        assert!(session.report().unwrap().is_clean(), "{last}: {:?}", session.report());
        assert_eq!(session.message_count().unwrap(), 2);
    }
    assert!(stated > 20 && closes - stated > 20, "{stated} of {closes}");
}
