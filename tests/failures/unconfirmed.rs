//! What a dead or failed writer left above its last mark: there to be read, and on disk only when somebody has
//! made it so. (Row 32, and what follows from it.)

use std::time::Duration;

use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, Durability, ErrorKind, Keep, Options};

use crate::common::{
    Action, Op, SIM, Spy, fill, kind, live, numbered, sim_options, sim_segments, sim_session, sim_store,
    texts,
};

fn buffered() -> AppendOptions<'static> {
    AppendOptions::new().durability(Durability::Buffered)
}

/// Nothing is synced by itself.
fn patient(fs: &SimFs) -> Options {
    sim_options(fs.clone()).sync_interval(Duration::from_secs(3600))
}

#[test]
fn f32_a_repeat_after_a_failed_sync_is_acknowledged_only_when_it_is_durable() {
    // The sync fails, the outcome is unknown, the caller opens the session again and repeats the append under its
    // key, as he was told. The record is in the page cache, so it is a repeat; but nobody has synced it since.
    let fs = SimFs::new(1);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 3);
    let key = AppendOptions::new().key("k");
    spy.once(0, Action::EIO, |c| c.is(Op::Sync, ".log"));
    assert_eq!(kind(session.append_with("m3", &key)), Some(ErrorKind::Poisoned));
    spy.calm();
    let session = store.session("s").unwrap();
    assert_eq!(session.append_with("m3", &key).unwrap().seq(), 3);
    assert_eq!(live(&session), numbered(0..4));
    let session = sim_store(&fs.crash()).open_session("s").unwrap();
    assert_eq!(live(&session), numbered(0..4), "an acknowledged repeat is gone");
}

#[test]
fn f32_a_repeat_of_what_a_killed_process_had_buffered_is_acknowledged_only_when_it_is_durable() {
    let fs = SimFs::new(2);
    let session = patient(&fs).open(SIM).unwrap().session("s").unwrap();
    fill(&session, 2);
    session.append_with("m2", &buffered().key("k")).unwrap();
    fs.kill();
    let fs = fs.process_new();
    let session = patient(&fs).open(SIM).unwrap().open_session("s").unwrap();
    let again = session.append_with("m2", &AppendOptions::new().key("k")).unwrap();
    assert_eq!((again.seq(), again.repeated), (2, true));
    assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), numbered(0..3));
}

#[test]
fn f32_sync_makes_durable_what_a_killed_process_had_buffered() {
    let fs = SimFs::new(3);
    let session = patient(&fs).open(SIM).unwrap().session("s").unwrap();
    fill(&session, 2);
    session.append_with("m2", &buffered()).unwrap();
    fs.kill();
    let fs = fs.process_new();
    let session = patient(&fs).open(SIM).unwrap().open_session("s").unwrap();
    assert_eq!(live(&session), numbered(0..3));
    assert!(!session.get(2).unwrap().unwrap().is_confirmed());
    session.sync().unwrap();
    assert!(session.get(2).unwrap().unwrap().is_confirmed());
    assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), numbered(0..3));
}

#[test]
fn f32_what_the_page_cache_alone_held_is_no_damage_after_the_next_power_cut() {
    // A large segment ends in messages that were never synced; the next writer carries them into a segment of its
    // own and keeps the old one. The old one's tail may then be gone with the power, and nobody may miss it.
    let fs = SimFs::new(4);
    let session = patient(&fs).truncate_after(u64::MAX).open(SIM).unwrap().session("s").unwrap();
    let large: Vec<String> = (0..200).map(|i| format!("{i}{}", "x".repeat(1000))).collect();
    session.append_batch(&large.iter().collect::<Batch<'_>>()).unwrap();
    for i in 0..5 {
        session.append_with(&format!("buffered {i}"), &buffered()).unwrap();
    }
    fs.kill();
    let fs = fs.process_new();
    let session = patient(&fs).truncate_after(u64::MAX).open(SIM).unwrap().open_session("s").unwrap();
    assert_eq!(session.append("after").unwrap().seq(), 205);
    let fs = fs.crash();
    let store = patient(&fs).open(SIM).unwrap();
    let session = store.open_session("s").unwrap();
    let mut want = large;
    want.extend((0..5).map(|i| format!("buffered {i}")));
    want.push("after".into());
    assert!(!session.report().unwrap().has_damage(), "{:?}", session.report());
    assert_eq!(live(&session), want);
    assert_eq!(texts(session.tail(8).unwrap()), want[198..]);
    assert_eq!(session.get(199).unwrap().unwrap().payload(), want[199].as_bytes());
    // The way back over the seam.
    assert_eq!(session.archive(Keep::Messages(7)).unwrap().archived, 0..199);
    session.truncate().unwrap();
    assert_eq!(live(&session), want[199..]);
    assert_eq!(texts(session.archived(1).unwrap()), want[..199]);
}

#[test]
fn f32_a_segment_that_is_sealed_right_after_it_was_opened_is_synced_first() {
    // The mark behind a good close is not synced. A writer that finds the segment full seals it with the mark in
    // it, before anything else was written; after a power cut the mark is missing there.
    let fs = SimFs::new(5);
    let open = |fs: &SimFs| sim_options(fs.clone()).segment_size(16 << 10).open(SIM).unwrap();
    let store = open(&fs);
    let session = store.session("s").unwrap();
    let text = |i: u64| format!("{i}{}", "x".repeat(1000));
    for i in 0..12 {
        session.append(&text(i)).unwrap();
    }
    session.close().unwrap();
    let session = store.open_session("s").unwrap();
    session.append(&"y".repeat(6000)).unwrap();
    assert_eq!(sim_segments(&*sim_session(&fs)).len(), 2);
    let session = open(&fs.crash()).open_session("s").unwrap();
    let mut want: Vec<String> = (0..12).map(text).collect();
    want.push("y".repeat(6000));
    assert_eq!(live(&session), want);
    assert_eq!(session.archive(Keep::Messages(5)).unwrap().archived, 0..8);
    assert_eq!(texts(session.archived(1).unwrap()), want[..8]);
}
