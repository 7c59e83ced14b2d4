//! What the simulated disk does wrong on order: what a power cut leaves, operations that fail, damage at rest.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::{Choice, Damage, Fault, SimFs, SimOp};
use crate::fs::{Access, Dir, File, Fs, read_exact_at};

fn new() -> (SimFs, Arc<dyn Dir>) {
    let sim = SimFs::new(1);
    let root = sim.create_root(Path::new("/store")).unwrap();
    (sim, root)
}

/// Creates a file whose content and name are durable.
fn put(dir: &dyn Dir, name: &str, content: &[u8]) -> Arc<dyn File> {
    let file = dir.create(name).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync().unwrap();
    dir.sync().unwrap();
    file
}

/// The content, or `None` if there is no such file.
fn get(sim: &SimFs, name: &str) -> Option<Vec<u8>> {
    let file = sim.open_root(Path::new("/store")).unwrap().open(name, Access::Read).ok()?;
    let mut buf = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut buf, 0).unwrap();
    Some(buf)
}

/// All that seeded power cuts leave of a file.
fn leaves(sim: &SimFs, name: &str, seeds: u64) -> BTreeSet<Option<Vec<u8>>> {
    (0..seeds).map(|seed| get(&sim.crash_copy_with(Choice::Seed(seed)), name)).collect()
}

#[test]
fn any_subset_of_what_was_not_synced_survives() {
    let (sim, dir) = new();
    let (a, b) = (put(&*dir, "a", b"0"), put(&*dir, "b", b"0"));
    a.write_at(b"1", 0).unwrap();
    b.write_at(b"1", 0).unwrap();
    dir.create("c").unwrap();
    assert_eq!(sim.pending().len(), 3, "{:?}", sim.pending());
    let mut seen = BTreeSet::new();
    for mask in 0..8 {
        let after = sim.crash_copy_with(Choice::Mask(mask));
        seen.insert((get(&after, "a"), get(&after, "b"), get(&after, "c")));
    }
    assert_eq!(seen.len(), 8);
    let all = sim.crash_copy_with(Choice::Everything);
    assert_eq!((get(&all, "a"), get(&all, "c")), (Some(b"1".into()), Some(Vec::new())));
    assert_eq!(get(&sim.crash(), "c"), None);
}

#[test]
fn a_write_is_torn_at_sectors_and_a_length_survives_without_its_content() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", &[1; 1024]);
    file.write_at(&[2; 2048], 0).unwrap();
    let seen: Vec<Vec<u8>> = leaves(&sim, "f", 400).into_iter().flatten().collect();
    let uniform = |bytes: &[u8]| bytes.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0]));
    assert!(seen.iter().all(|bytes| uniform(bytes)), "a sector is written whole or not at all");
    let sectors = |bytes: &[u8]| -> Vec<u8> { bytes.chunks(512).map(|s| s[0]).collect() };
    let seen: BTreeSet<Vec<u8>> = seen.iter().map(|bytes| sectors(bytes)).collect();
    for wanted in [vec![1, 1], vec![2, 1], vec![1, 2], vec![2, 2], vec![2, 2, 0, 2], vec![1, 1, 0, 0]] {
        assert!(seen.contains(&wanted), "{wanted:?} is none of {seen:?}");
    }
}

#[test]
fn where_nothing_was_written_there_may_be_old_bytes() {
    let (sim, dir) = new();
    put(&*dir, "old", &[7; 1024]);
    let file = put(&*dir, "f", b"");
    file.write_at(&[2; 512], 0).unwrap();
    assert!(leaves(&sim, "f", 400).contains(&Some(vec![7; 512])));
}

#[test]
fn content_and_name_are_lost_each_for_itself() {
    let (sim, dir) = new();
    let file = dir.create("temp").unwrap();
    file.write_at(b"x", 0).unwrap();
    dir.sync().unwrap();
    dir.rename("temp", &*dir, "name").unwrap();
    let named: BTreeSet<_> = leaves(&sim, "name", 100);
    let temp: BTreeSet<_> = leaves(&sim, "temp", 100);
    for seen in [named, temp] {
        assert!([None, Some(Vec::new()), Some(b"x".to_vec())].iter().all(|s| seen.contains(s)), "{seen:?}");
    }
}

#[test]
fn a_sync_that_failed_drops_the_pages_and_says_success_the_next_time() {
    for fault in [Fault::DropDirty, Fault::NoSpace] {
        let (sim, dir) = new();
        let file = put(&*dir, "f", b"old");
        file.write_at(b"new", 0).unwrap();
        sim.fail_when(0, 1, fault, |call| call.op == SimOp::Sync);
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(get(&sim, "f").unwrap(), b"new");
        assert_eq!(get(&sim.crash_copy_with(Choice::Everything), "f").unwrap(), b"old");

        // A directory becomes dirty again, with all of it, by its next entry.
        dir.create("lost").unwrap();
        sim.fail_when(0, 1, fault, |call| call.op == SimOp::SyncDir);
        dir.sync().unwrap_err();
        dir.sync().unwrap();
        assert_eq!(get(&sim.crash_copy_with(Choice::Everything), "lost"), None);
        dir.create("next").unwrap();
        dir.sync().unwrap();
        assert!(get(&sim.crash(), "lost").is_some());
    }
}

#[test]
fn every_operation_can_fail_and_is_done_or_not_as_ordered() {
    type Try = fn(&dyn Dir, &dyn File) -> std::io::Result<()>;
    let all: [(SimOp, Try); 12] = [
        (SimOp::Open, |dir, _| dir.open("f", Access::Read).map(drop)),
        (SimOp::Create, |dir, _| dir.create("new").map(drop)),
        (SimOp::Read, |_, file| file.read_at(&mut [0; 4], 0).map(drop)),
        (SimOp::Write, |_, file| file.write_at(b"abcd", 0).map(drop)),
        (SimOp::SetLen, |_, file| file.set_len(1)),
        (SimOp::Sync, |_, file| file.sync()),
        (SimOp::SyncDir, |dir, _| dir.sync()),
        (SimOp::Rename, |dir, _| dir.rename("f", dir, "new")),
        (SimOp::Remove, |dir, _| dir.remove_file("f")),
        (SimOp::List, |dir, _| dir.list().map(drop)),
        (SimOp::Stat, |dir, _| dir.stat("f").map(drop)),
        (SimOp::Lock, |_, file| file.try_lock().map(drop)),
    ];
    let faults = [
        (Fault::Io, ErrorKind::Other),
        (Fault::IoAfter, ErrorKind::Other),
        (Fault::NoSpace, ErrorKind::StorageFull),
        (Fault::Interrupted, ErrorKind::Interrupted),
        (Fault::TooManyFiles, ErrorKind::Other),
        (Fault::ReadOnly, ErrorKind::ReadOnlyFilesystem),
    ];
    for (op, run) in all {
        for (fault, kind) in faults {
            let (sim, dir) = new();
            let file = put(&*dir, "f", b"0123");
            let before = (get(&sim, "f"), get(&sim, "new"));
            sim.fail(sim.ops(), fault);
            let error = run(&*dir, &*file).unwrap_err();
            assert_eq!(error.kind(), kind, "{op:?} {fault:?}");
            assert!(sim.struck()[0].contains(&format!("{op:?}")), "{:?}", sim.struck());
            let after = (get(&sim, "f"), get(&sim, "new"));
            let changes =
                matches!(op, SimOp::Create | SimOp::Write | SimOp::SetLen | SimOp::Rename | SimOp::Remove);
            assert_eq!(before != after, changes && fault == Fault::IoAfter, "{op:?} {fault:?}");
            sim.heal();
            run(&*dir, &*file).map_or_else(|e| assert_eq!(fault, Fault::IoAfter, "{op:?}: {e}"), |()| ());
        }
    }
}

#[test]
fn reads_and_writes_are_short_and_never_empty() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"0123456789");
    sim.fail_when(0, u64::MAX, Fault::Short(3), |call| matches!(call.op, SimOp::Read | SimOp::Write));
    let mut buf = [0; 10];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
    read_exact_at(&*file, &mut buf, 0).unwrap();
    assert_eq!(&buf, b"0123456789");
    assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 3);
    sim.heal();
    sim.fail_when(0, u64::MAX, Fault::Short(0), |call| call.op == SimOp::Read);
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 1);
    sim.heal();
    sim.fail_when(0, 1, Fault::IoHalf, |call| call.op == SimOp::Write);
    file.write_at(b"YYYY", 6).unwrap_err();
    assert_eq!(get(&sim, "f").unwrap(), b"abc345YY89");
}

#[test]
fn the_disk_is_full_after_so_many_bytes_until_there_is_room() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"0123");
    sim.set_room(Some(6));
    assert_eq!(file.write_at(b"abcdefgh", 2).unwrap(), 8);
    assert_eq!(file.write_at(b"xyz", 10).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(dir.create("more").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.set_len(11).unwrap_err().kind(), ErrorKind::StorageFull);
    // What is there can be written again, and what is cut gives room.
    file.write_at(b"XX", 0).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(file.write_at(b"xyz", 8).unwrap(), 2);
    assert_eq!(dir.space().unwrap().available, 0);
    sim.set_room(None);
    file.write_at(b"more", 10).unwrap();
    dir.create("more").unwrap();
}

#[test]
fn a_read_only_file_system_changes_nothing() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"0123");
    sim.set_read_only(true);
    for result in [
        file.write_at(b"x", 0).map(drop),
        file.set_len(0),
        dir.create("g").map(drop),
        dir.create_dir("d"),
        dir.rename("f", &*dir, "g"),
        dir.remove_file("f"),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
    assert_eq!(get(&sim, "f").unwrap(), b"0123");
    sim.set_read_only(false);
    file.write_at(b"x", 0).unwrap();
}

#[test]
fn data_at_rest_is_damaged_bit_by_bit_and_sector_by_sector() {
    let (sim, dir) = new();
    let path = Path::new("/store/f");
    let file = put(&*dir, "f", &[1; 1536]);
    let older = get(&sim, "f").unwrap()[512..1024].to_vec();
    file.write_at(&[2; 1536], 0).unwrap();
    file.sync().unwrap();
    sim.damage(path, &Damage::Flip { offset: 3, bit: 7 }).unwrap();
    sim.damage(path, &Damage::WrongSector { sector: 1, bytes: older }).unwrap();
    sim.damage(path, &Damage::ZeroSector(2)).unwrap();
    let mut wanted = [[2; 512], [1; 512], [0; 512]].concat();
    wanted[3] = 0x82;
    assert_eq!(get(&sim, "f").unwrap(), wanted);
    assert_eq!(get(&sim.crash_copy(), "f").unwrap(), wanted, "the medium has it too");
    sim.damage(path, &Damage::Cut(10)).unwrap();
    assert_eq!(get(&sim, "f").unwrap().len(), 10);
    assert_eq!(sim.damage(Path::new("/store/g"), &Damage::Cut(0)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn lies_are_told_with_success() {
    for fault in [Fault::Lie, Fault::Early, Fault::WrongFile] {
        let (sim, dir) = new();
        let (file, other) = (put(&*dir, "f", b"00"), put(&*dir, "g", b"0"));
        file.write_at(b"1", 0).unwrap();
        file.write_at(b"1", 1).unwrap();
        other.write_at(b"1", 0).unwrap();
        sim.fail_when(0, 1, fault, |call| call.op == SimOp::Sync);
        file.sync().unwrap();
        let after = sim.crash_copy();
        let wanted: (&[u8], &[u8]) = match fault {
            Fault::Lie => (b"00", b"0"),
            Fault::Early => (b"10", b"0"),
            _ => (b"00", b"1"),
        };
        assert_eq!(
            (get(&after, "f").unwrap(), get(&after, "g").unwrap()),
            (wanted.0.into(), wanted.1.into())
        );
    }
}

#[test]
fn a_record_is_one_machine_for_each_change() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"0");
    sim.set_tag(5);
    sim.record();
    file.write_at(b"1", 0).unwrap();
    file.read_at(&mut [0], 0).unwrap();
    file.sync().unwrap();
    let points = sim.recorded();
    assert_eq!(points.iter().map(|p| p.pending_count()).collect::<Vec<_>>(), [0, 1]);
    assert!(points.iter().all(|p| p.tag() == 5 && p.label().ends_with("/store/f")));
    assert_eq!(get(&points[1].crash(Choice::Nothing), "f").unwrap(), b"0");
    assert_eq!(get(&points[1].kill_all(), "f").unwrap(), b"1");
    // What is done on the copies is done on them alone.
    points[1].look().damage(Path::new("/store/f"), &Damage::Cut(0)).unwrap();
    assert_eq!(get(&points[1].look(), "f").unwrap(), b"1");
}
