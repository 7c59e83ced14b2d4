//! What the listing sees, and who may write.

use super::*;
use crate::error::ErrorKind;

#[test]
fn nothing_is_written_before_something_is_said() {
    let sim = SimFs::new(1);
    let catalog = catalog(&sim);
    assert!(catalog.merged().unwrap().get(&id("s").dir_name()).is_none());
    assert_eq!(catalog.witness(&id("s"), &birth(1)).unwrap(), None);
    catalog.sync().unwrap();
    catalog.close().unwrap();
    assert!(files(&sim).is_empty());
}

#[test]
fn the_first_witness_is_read_alone_and_says_the_same() {
    let sim = SimFs::new(1);
    let (one, other) = (catalog(&sim.process_new()), catalog(&sim.process_new()));
    for b in 0..8 {
        one.record(closed(&format!("s{b}"), b, 2, 3)).unwrap();
        other.mark_open(open(&format!("s{b}"), b, 1 + u64::from(b % 3))).unwrap();
    }
    one.record(removed("s7", 7, 3)).unwrap();
    one.close().unwrap();
    for b in 0..9 {
        let id = id(&format!("s{b}"));
        let asked = catalog(&sim.process_new());
        let alone = asked.witness(&id, &birth(b)).unwrap();
        assert_eq!(alone.is_some(), b < 7, "{b}");
        // At some time all are read, and then they are kept.
        for round in 0..10 {
            assert_eq!(asked.witness(&id, &birth(b)).unwrap(), alone, "{b}, {round}");
        }
        assert!(asked.state.lock().witnesses.is_some());
    }
    // A file that is damaged may have named any session.
    let name = files(&sim).remove(0);
    let mut rotten = bytes(&sim, &name);
    rotten[1536 + 12] ^= 1;
    put(&sim, &name, &rotten);
    let asked = catalog(&sim.process_new());
    let alone = asked.witness(&id("s1"), &birth(1)).unwrap();
    for _ in 0..10 {
        assert_eq!(alone, asked.witness(&id("s1"), &birth(1)).unwrap());
    }
    assert!(alone.is_none_or(|witness| witness.doubt));
}

#[test]
fn a_session_is_open_until_its_summary_is_there() {
    let sim = SimFs::new(1);
    let catalog = catalog(&sim);
    catalog.mark_open(open("s", 1, 1)).unwrap();
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "open");
    let witness = catalog.witness(&id("s"), &birth(1)).unwrap().unwrap();
    assert!(witness.open && !witness.doubt && witness.position.is_none());
    catalog.record(closed("s", 1, 1, 3)).unwrap();
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "3");
    let witness = catalog.witness(&id("s"), &birth(1)).unwrap().unwrap();
    assert!(!witness.open && witness.position == Some(13) && witness.segment == 1 && witness.salt == 9);
    // A power cut before the sync goes back to the mark, and not further.
    assert_eq!(seen(&sim.crash_copy(), "s"), "open");
    catalog.sync().unwrap();
    assert_eq!(seen(&sim.crash_copy(), "s"), "3");
}

#[test]
fn two_instances_at_once_see_each_other() {
    let sim = SimFs::new(1);
    let other = sim.process_new();
    let (a, b) = (catalog(&sim), catalog(&other));
    a.mark_open(open("a", 1, 1)).unwrap();
    b.mark_open(open("b", 2, 1)).unwrap();
    assert_eq!(files(&sim).len(), 2);
    for catalog in [&a, &b] {
        let merged = catalog.merged().unwrap();
        assert_eq!((word(&merged, "a"), word(&merged, "b")), ("open".into(), "open".into()));
        // Neither takes the other for dead.
        assert_eq!(catalog.maintain().unwrap(), Default::default());
    }
    a.record(closed("a", 1, 1, 1)).unwrap();
    a.close().unwrap();
    b.mark_open(open("a", 1, 2)).unwrap();
    b.record(closed("a", 1, 2, 2)).unwrap();
    assert_eq!(seen(&sim, "a"), "2");
    assert_eq!(b.maintain().unwrap().adopted, 1);
    assert_eq!(files(&sim).len(), 1);
    assert_eq!(seen(&sim, "a"), "2");
}

#[test]
fn the_holder_is_the_living_one() {
    let sim = SimFs::new(1);
    let other = sim.process_new();
    let (a, b) = (catalog(&sim), catalog(&other));
    assert_eq!(b.holder(&id("s")), None);
    a.mark_open(open("s", 1, 1)).unwrap();
    let holder = b.holder(&id("s")).unwrap();
    assert_eq!((holder.pid, holder.since), (sim.process(), 5));
    assert_eq!(a.holder(&id("s")), Some(holder));
    assert_eq!(b.holder(&id("t")), None);
    sim.kill();
    assert_eq!(b.holder(&id("s")), None);
    assert_eq!(word(&b.merged().unwrap(), "s"), "open");
}

#[test]
fn long_attributes_are_left_to_the_session() {
    let sim = SimFs::new(1);
    let catalog = catalog(&sim);
    let mut long = summary("s", 1, 1, 3);
    long.attributes = format!("{{\"a\":{:?}}}", "x".repeat(17 << 10));
    catalog.record(CatalogEntry::Closed(long)).unwrap();
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "doubt");
    assert_eq!(catalog.witness(&id("s"), &birth(1)).unwrap().unwrap().position, Some(13));
}

#[test]
fn a_removed_session_is_unknown_and_a_new_life_is_not() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 3)]);
    let catalog = catalog(&sim);
    catalog.record(removed("s", 1, 1)).unwrap();
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "none");
    catalog.mark_open(open("s", 2, 1)).unwrap();
    catalog.record(closed("s", 2, 1, 8)).unwrap();
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "8");
    catalog.maintain().unwrap();
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "8");
    // Restored instead, and opened by a new writer.
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 3), removed("s", 1, 1)]);
    say(&sim, vec![closed("s", 1, 2, 4)]);
    assert_eq!(seen(&sim, "s"), "4");
}

#[test]
fn a_clean_close_gives_the_space_back_and_ends_writing() {
    let sim = SimFs::new(1);
    let catalog = catalog(&sim);
    catalog.mark_open(open("s", 1, 1)).unwrap();
    let name = files(&sim).remove(0);
    assert_eq!(bytes(&sim, &name).len(), 4096);
    (0..500).for_each(|i| catalog.record(closed("t", 2, 1, i)).unwrap());
    catalog.record(closed("s", 1, 1, 3)).unwrap();
    let (allocated, end) = (bytes(&sim, &name).len(), end(&sim, &name));
    assert!(allocated > end + 4096);
    catalog.close().unwrap();
    catalog.close().unwrap();
    // What is left takes no room of its own.
    assert_eq!(bytes(&sim, &name).len(), end.next_multiple_of(4096));
    assert_eq!(seen(&sim.crash_copy(), "s"), "3");
    for error in [
        catalog.mark_open(open("s", 1, 2)).unwrap_err(),
        catalog.record(closed("s", 1, 2, 1)).unwrap_err(),
        catalog.sync().unwrap_err(),
        catalog.maintain().unwrap_err(),
        catalog.witness(&id("s"), &birth(1)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    // The lock is free.
    assert!(directory(&sim).open(&name, Access::Read).unwrap().try_lock().unwrap());
}

#[test]
fn a_read_only_catalog_reads() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 3)]);
    let reader = Catalog::new(Arc::new(sim.clone()), directory(&sim), STORE, true);
    assert_eq!(word(&reader.merged().unwrap(), "s"), "3");
    assert_eq!(reader.mark_open(open("s", 1, 2)).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(reader.maintain().unwrap(), Default::default());
    reader.sync().unwrap();
    reader.close().unwrap();
    assert_eq!(files(&sim).len(), 1);
}

#[test]
fn what_others_wrote_is_seen_by_who_looks_for_the_first_time() {
    let sim = SimFs::new(1);
    let catalog = catalog(&sim);
    // At some time all that is there is read, and kept.
    while catalog.state.lock().witnesses.is_none() {
        assert_eq!(catalog.witness(&id("s"), &birth(1)).unwrap(), None);
    }
    say(&sim, vec![closed("s", 1, 1, 3)]);
    assert_eq!(catalog.witness(&id("s"), &birth(1)).unwrap(), None);
    let later = Catalog::new(Arc::new(sim.clone()), directory(&sim), STORE, false);
    assert!(later.witness(&id("s"), &birth(1)).unwrap().is_some());
}
