//! Writes and syncs that fail.

use std::io;

use super::spy::{Op, Spy};
use super::*;
use crate::error::ErrorKind;

fn spied() -> (SimFs, Spy, Catalog) {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.clone());
    let catalog = on(spy.clone());
    (sim, spy, catalog)
}

#[test]
fn no_mark_counts_whose_file_could_not_be_made() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::DirSync] {
        let (sim, spy, catalog) = spied();
        spy.fail(op, io::ErrorKind::StorageFull);
        assert_eq!(catalog.mark_open(open("s", 1, 1)).unwrap_err().kind(), ErrorKind::NoSpace, "{op:?}");
        spy.calm();
        catalog.mark_open(open("s", 1, 1)).unwrap();
        catalog.mark_open(open("t", 2, 1)).unwrap();
        let after = sim.crash();
        assert_eq!((seen(&after, "s"), seen(&after, "t")), ("open".into(), "open".into()), "{op:?}");
    }
}

#[test]
fn a_full_disk_is_no_end_however_often_it_is_tried() {
    let (sim, spy, catalog) = spied();
    for op in [Op::Create, Op::Write, Op::Rename] {
        spy.fail(op, io::ErrorKind::StorageFull);
        for _ in 0..20 {
            assert_eq!(catalog.mark_open(open("s", 1, 1)).unwrap_err().kind(), ErrorKind::NoSpace);
        }
    }
    spy.calm();
    catalog.mark_open(open("s", 1, 1)).unwrap();
    assert_eq!(directory(&sim).list().unwrap().len(), 1);
}

#[test]
fn a_write_that_fails_is_taken_back() {
    let (sim, spy, catalog) = spied();
    catalog.mark_open(open("s", 1, 1)).unwrap();
    // Only the write itself fails; the zeros that take it back do not.
    let mut once = true;
    spy.before(move |op| {
        if op == Op::Write && std::mem::take(&mut once) {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(())
    });
    assert_eq!(catalog.record(closed("s", 1, 1, 1)).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "open");
    assert!(catalog.merged().unwrap().findings.is_empty());
    catalog.record(closed("s", 1, 1, 2)).unwrap();
    catalog.sync().unwrap();
    assert_eq!(files(&sim).len(), 1);
    assert_eq!(seen(&sim.crash(), "s"), "2");
}

#[test]
fn a_write_that_cannot_be_taken_back_ends_the_file() {
    let (sim, spy, catalog) = spied();
    catalog.mark_open(open("s", 1, 1)).unwrap();
    catalog.record(closed("t", 2, 1, 2)).unwrap();
    spy.fail(Op::Write, io::ErrorKind::Other);
    catalog.mark_open(open("u", 3, 1)).unwrap_err();
    spy.calm();
    // What was recorded before and not synced is repeated in the next file.
    catalog.sync().unwrap();
    assert_eq!(files(&sim).len(), 2);
    let after = sim.crash_copy();
    assert_eq!(seen(&after, "t"), "2");
    assert_ne!(seen(&after, "s"), "none");
    // The torn file is one of a living instance, so what it names is read; adopted, it leaves no doubt.
    catalog.close().unwrap();
    let heir = self::catalog(&sim);
    assert_eq!(heir.maintain().unwrap().adopted, 2);
    let merged = heir.merged().unwrap();
    assert_eq!((word(&merged, "s"), word(&merged, "t")), ("open".into(), "2".into()));
}

#[test]
fn a_failed_sync_ends_the_file_and_the_next_repeats_the_marks() {
    let (sim, spy, catalog) = spied();
    catalog.mark_open(open("s", 1, 1)).unwrap();
    catalog.record(closed("t", 2, 1, 2)).unwrap();
    spy.fail(Op::Sync, io::ErrorKind::Other);
    catalog.mark_open(open("u", 3, 1)).unwrap_err();
    spy.calm();
    let given_up = files(&sim);
    let old = bytes(&sim, &given_up[0]);
    catalog.mark_open(open("v", 4, 1)).unwrap();
    assert_eq!(bytes(&sim, &given_up[0]), old, "a file that was given up is never written again");
    // All that is vouched for is in the new file alone.
    let new = files(&sim).into_iter().find(|name| !given_up.contains(name)).unwrap();
    directory(&sim).remove_file(&given_up[0]).unwrap();
    directory(&sim).sync().unwrap();
    let after = sim.crash_copy();
    assert_eq!(files(&after), [new]);
    let merged = self::catalog(&after).merged().unwrap();
    let words = ["s", "t", "u", "v"].map(|name| word(&merged, name));
    assert_eq!(words, ["open", "2", "none", "open"]);
    // One that was given up stays locked until the instance is closed.
    catalog.record(closed("s", 1, 1, 6)).unwrap();
    catalog.close().unwrap();
    assert_eq!(seen(&sim.crash(), "s"), "6");
}

#[test]
fn a_lost_record_is_not_called_durable() {
    let (sim, spy, catalog) = spied();
    catalog.mark_open(open("s", 1, 1)).unwrap();
    catalog.record(closed("s", 1, 1, 1)).unwrap();
    spy.fail(Op::Sync, io::ErrorKind::Other);
    catalog.sync().unwrap_err();
    assert_eq!(seen(&sim.crash_copy(), "s"), "open");
    catalog.sync().unwrap_err();
    spy.calm();
    catalog.sync().unwrap();
    assert_eq!(seen(&sim.crash(), "s"), "1");
}

#[test]
fn a_close_that_fails_says_so_and_releases_the_lock() {
    let (sim, spy, catalog) = spied();
    catalog.mark_open(open("s", 1, 1)).unwrap();
    catalog.record(closed("s", 1, 1, 1)).unwrap();
    spy.fail(Op::Sync, io::ErrorKind::Other);
    catalog.close().unwrap_err();
    assert_eq!(catalog.sync().unwrap_err().kind(), ErrorKind::Closed);
    let file = directory(&sim).open(&files(&sim)[0], Access::Read).unwrap();
    assert!(file.try_lock().unwrap());
}

#[test]
fn a_disk_that_always_fails_does_not_use_up_descriptors() {
    let (sim, spy, catalog) = spied();
    spy.fail(Op::DirSync, io::ErrorKind::Other);
    for _ in 0..40 {
        catalog.mark_open(open("s", 1, 1)).unwrap_err();
    }
    assert!(files(&sim).len() <= 8, "{}", files(&sim).len());
    spy.calm();
    assert_eq!(catalog.mark_open(open("s", 1, 1)).unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn room_is_kept_for_a_full_disk() {
    let (sim, spy, catalog) = spied();
    catalog.mark_open(open("s", 1, 1)).unwrap();
    let first = bytes(&sim, &files(&sim)[0]).len() as u64;
    spy.full(first);
    // Nothing can be allocated any more, and the entries of some sessions still find room.
    let mut said = 0;
    let error = loop {
        match catalog.record(closed("x", 2, said + 1, said)) {
            Ok(()) => said += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(said > 10, "{said}");
    spy.full(u64::MAX);
    catalog.record(closed("x", 2, 1000, 1000)).unwrap();
    catalog.sync().unwrap();
    assert_eq!(files(&sim).len(), 1);
    assert_eq!(seen(&sim.crash(), "x"), "1000");
}
