//! What the simulated disk promises beyond the suite: power cuts, processes, determinism.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::SimFs;
use crate::fs::{Access, Dir, File, Fs, Kind, read_exact_at};

const ROOT: &str = "/store";

fn new() -> (SimFs, Arc<dyn Dir>) {
    let sim = SimFs::new(1);
    let root = sim.create_root(Path::new(ROOT)).unwrap();
    (sim, root)
}

fn root(sim: &SimFs) -> Arc<dyn Dir> {
    sim.open_root(Path::new(ROOT)).unwrap()
}

/// Creates a file whose content and name are durable.
fn put(dir: &dyn Dir, name: &str, content: &[u8]) -> Arc<dyn File> {
    let file = dir.create(name).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync().unwrap();
    dir.sync().unwrap();
    file
}

fn get(dir: &dyn Dir, name: &str) -> Vec<u8> {
    let file = dir.open(name, Access::Read).unwrap();
    let mut buf = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut buf, 0).unwrap();
    buf
}

fn names(dir: &dyn Dir) -> Vec<String> {
    let mut names: Vec<_> = dir.list().unwrap().into_iter().map(|e| e.name).collect();
    names.sort();
    names
}

#[test]
fn a_power_cut_drops_unsynced_content_and_length() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"durable");
    file.write_at(b"XX", 0).unwrap();
    file.write_at(b"tail", 7).unwrap();
    assert_eq!(get(&*dir, "f"), b"XXrabletail");
    assert_eq!(get(&*root(&sim.crash()), "f"), b"durable");
}

#[test]
fn a_power_cut_takes_back_an_unsynced_cut() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"durable");
    file.set_len(0).unwrap();
    assert_eq!(get(&*root(&sim.crash()), "f"), b"durable");
}

#[test]
fn a_sync_makes_content_and_length_durable_in_their_order() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"0123456789");
    file.set_len(4).unwrap();
    file.set_len(8).unwrap();
    file.write_at(b"ab", 3).unwrap();
    file.sync().unwrap();
    assert_eq!(get(&*root(&sim.crash()), "f"), b"012ab\0\0\0");
}

#[test]
fn a_sync_by_another_opening_covers_the_writes_of_all() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"a");
    file.write_at(b"b", 0).unwrap();
    dir.open("f", Access::Read).unwrap().sync().unwrap();
    assert_eq!(get(&*root(&sim.crash()), "f"), b"b");
}

#[test]
fn synced_content_without_a_synced_name_is_gone() {
    let (sim, dir) = new();
    let file = dir.create("f").unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    assert!(names(&*root(&sim.crash())).is_empty());
}

#[test]
fn a_synced_name_without_synced_content_is_an_empty_file() {
    let (sim, dir) = new();
    dir.create("f").unwrap().write_at(b"x", 0).unwrap();
    dir.sync().unwrap();
    assert_eq!(get(&*root(&sim.crash()), "f"), b"");
}

#[test]
fn a_synced_directory_without_its_own_name_is_gone() {
    let (sim, dir) = new();
    dir.create_dir("d").unwrap();
    put(&*dir.open_dir("d").unwrap(), "f", b"x");
    assert!(names(&*root(&sim.crash_copy())).is_empty());
    dir.sync().unwrap();
    assert_eq!(get(&*root(&sim.crash()).open_dir("d").unwrap(), "f"), b"x");
}

#[test]
fn an_unsynced_rename_did_not_happen_and_is_never_half_done_in_one_directory() {
    let (sim, dir) = new();
    put(&*dir, "old", b"x");
    dir.rename("old", &*dir, "new").unwrap();
    assert_eq!(names(&*root(&sim.crash_copy())), ["old"]);
    dir.sync().unwrap();
    assert_eq!(names(&*root(&sim.crash())), ["new"]);
}

#[test]
fn a_rename_between_directories_needs_both_syncs() {
    let (sim, dir) = new();
    put(&*dir, "f", b"x");
    dir.create_dir("d").unwrap();
    dir.sync().unwrap();
    let target = dir.open_dir("d").unwrap();
    dir.rename("f", &*target, "g").unwrap();

    let before = root(&sim.crash_copy());
    assert_eq!(names(&*before), ["d", "f"]);
    target.sync().unwrap();
    let both = root(&sim.crash_copy());
    assert_eq!(get(&*both, "f"), b"x");
    assert_eq!(get(&*both.open_dir("d").unwrap(), "g"), b"x");
    dir.sync().unwrap();
    assert_eq!(names(&*root(&sim.crash())), ["d"]);
}

#[test]
fn syncing_only_the_source_of_a_rename_loses_the_file() {
    let (sim, dir) = new();
    put(&*dir, "f", b"x");
    dir.create_dir("d").unwrap();
    dir.sync().unwrap();
    dir.rename("f", &*dir.open_dir("d").unwrap(), "g").unwrap();
    dir.sync().unwrap();
    let after = root(&sim.crash());
    assert_eq!(names(&*after), ["d"]);
    assert!(names(&*after.open_dir("d").unwrap()).is_empty());
}

#[test]
fn an_unsynced_removal_comes_back() {
    let (sim, dir) = new();
    put(&*dir, "f", b"x");
    dir.create_dir("d").unwrap();
    dir.sync().unwrap();
    dir.remove_file("f").unwrap();
    dir.remove_dir("d").unwrap();
    let back = root(&sim.crash_copy());
    assert_eq!(get(&*back, "f"), b"x");
    back.open_dir("d").unwrap().create("usable").unwrap();
    dir.sync().unwrap();
    assert!(names(&*root(&sim.crash())).is_empty());
}

#[test]
fn a_created_root_is_durable_even_if_another_process_left_its_name_unsynced() {
    let (sim, top) = new();
    top.create_dir("half").unwrap();
    sim.kill();
    let sim = sim.process_new();
    sim.create_root(&Path::new(ROOT).join("half/way")).unwrap();
    let after = root(&sim.crash());
    assert_eq!(after.open_dir("half").unwrap().stat("way").unwrap().kind, Kind::Dir);

    let (sim, top) = new();
    top.create_dir("half").unwrap();
    sim.process_new().create_root(&Path::new(ROOT).join("half")).unwrap();
    assert_eq!(names(&*root(&sim.crash())), ["half"]);
}

#[test]
fn after_a_power_cut_old_handles_fail_and_locks_are_free() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"x");
    assert!(file.try_lock().unwrap());
    let other = sim.process_new();
    let after = sim.crash();
    file.read_at(&mut [0], 0).unwrap_err();
    file.sync().unwrap_err();
    dir.list().unwrap_err();
    other.open_root(Path::new(ROOT)).unwrap_err();
    sim.process_new().random(&mut [0]).unwrap_err();
    assert!(root(&after).open("f", Access::Write).unwrap().try_lock().unwrap());
}

#[test]
fn a_killed_process_loses_its_locks_but_not_what_it_wrote() {
    let (sim, dir) = new();
    let file = put(&*dir, "f", b"x");
    file.write_at(b"y", 0).unwrap();
    assert!(file.try_lock().unwrap());
    let other = sim.process_new();
    assert_ne!(other.process(), sim.process());
    let seen = root(&other).open("f", Access::Write).unwrap();
    assert!(!seen.try_lock().unwrap());

    sim.kill();
    file.write_at(b"z", 0).unwrap_err();
    dir.create("late").map(drop).unwrap_err();
    sim.random(&mut [0]).unwrap_err();
    assert_eq!(get(&*root(&other), "f"), b"y");
    assert!(seen.try_lock().unwrap());
    drop(file);
    assert!(!root(&other).open("f", Access::Write).unwrap().try_lock().unwrap());
    assert_eq!(get(&*root(&other.crash()), "f"), b"x");
}

#[test]
fn changing_mapped_bytes_is_an_error() {
    let (_sim, dir) = new();
    let file = put(&*dir, "f", b"0123456789");
    let map = file.map(5).unwrap().unwrap();
    file.write_at(b"x", 4).unwrap_err();
    file.set_len(4).unwrap_err();
    file.write_at(b"x", 5).unwrap();
    file.set_len(5).unwrap();
    assert_eq!(&*map, b"01234");
    drop(map);
    file.write_at(b"x", 4).unwrap();
    file.set_len(0).unwrap();
}

#[test]
fn misuse_is_an_error_and_no_panic() {
    let (sim, dir) = new();
    let file = dir.create("f").unwrap();
    assert_eq!(file.write_at(b"x", u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(file.set_len(u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(file.read_at(&mut [0], u64::MAX).unwrap(), 0);
    assert_eq!(file.map(usize::MAX).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let elsewhere = root(&sim.crash_copy());
    assert_eq!(dir.rename("f", &*elsewhere, "f").unwrap_err().kind(), ErrorKind::CrossesDevices);
    assert_eq!(sim.open_root(Path::new("/a/../b")).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_same_seed_and_calls_give_the_same_disk() {
    let run = |seed| {
        let sim = SimFs::new(seed);
        let dir = sim.create_root(Path::new(ROOT)).unwrap();
        for _ in 0..5 {
            dir.create_temp("t").unwrap();
        }
        dir.sync().unwrap();
        let after = sim.crash();
        let mut random = [0; 16];
        after.random(&mut random).unwrap();
        let list: Vec<_> = root(&after).list().unwrap().into_iter().map(|e| e.name).collect();
        (list, random, after.now(), sim.ops(), sim.changes())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn random_numbers_do_not_repeat_after_a_crash_or_in_another_process() {
    let (sim, _dir) = new();
    let next = |sim: &SimFs| {
        let mut bytes = [0; 16];
        sim.random(&mut bytes).unwrap();
        bytes
    };
    let all = [next(&sim), next(&sim.process_new()), next(&sim.crash()), next(&sim.crash().crash())];
    for (i, a) in all.iter().enumerate() {
        assert!(all.iter().skip(i + 1).all(|b| a != b));
    }
}

#[test]
fn the_clock_is_set_and_moves_on() {
    let (sim, dir) = new();
    sim.set_now(500);
    assert_eq!(sim.now(), 501);
    let (ops, changes) = (sim.ops(), sim.changes());
    dir.create("f").unwrap().sync().unwrap();
    dir.list().unwrap();
    assert_eq!((sim.ops() - ops, sim.changes() - changes), (3, 2));
    assert_eq!(sim.now(), 505);
    sim.set_now(3);
    assert_eq!(sim.now(), 4);
}
