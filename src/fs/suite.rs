//! One suite for every file system: what the traits promise, asked of the real disk, of its portable
//! sibling and of the simulated one.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::PortableFs;
use super::*;

/// A file system with an empty directory on it.
struct Bench {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    root: Arc<dyn Dir>,
    /// Handles and identities stay when names change.
    by_inode: bool,
    _tempdir: Option<tempfile::TempDir>,
}

impl Bench {
    fn real(fs: Arc<dyn Fs>, by_inode: bool) -> Bench {
        let tempdir = tempfile::tempdir().unwrap();
        let path = tempdir.path().join("root");
        let root = fs.create_root(&path).unwrap();
        Bench { fs, path, root, by_inode, _tempdir: Some(tempdir) }
    }

    fn disk() -> Bench {
        Bench::real(Arc::new(DiskFs::new()), cfg!(unix))
    }

    fn portable() -> Bench {
        Bench::real(Arc::new(PortableFs::new()), false)
    }

    fn sim() -> Bench {
        let fs = Arc::new(SimFs::new(7));
        let path = PathBuf::from("/data/root");
        let root = fs.create_root(&path).unwrap();
        Bench { fs, path, root, by_inode: true, _tempdir: None }
    }

    fn put(&self, name: &str, content: &[u8]) -> Arc<dyn File> {
        put(&*self.root, name, content)
    }
}

fn put(dir: &dyn Dir, name: &str, content: &[u8]) -> Arc<dyn File> {
    let file = dir.create(name).unwrap();
    write_all_at(&*file, content, 0).unwrap();
    file
}

fn get(dir: &dyn Dir, name: &str) -> Vec<u8> {
    content(&*dir.open(name, Access::Read).unwrap())
}

fn content(file: &dyn File) -> Vec<u8> {
    let mut buf = vec![0; file.len().unwrap() as usize];
    read_exact_at(file, &mut buf, 0).unwrap();
    buf
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it was to fail"),
        Err(e) => e.kind(),
    }
}

macro_rules! on_every_file_system {
    ($($name:ident),* $(,)?) => {
        mod disk { $(#[test] fn $name() { super::$name(&super::Bench::disk()); })* }
        mod portable { $(#[test] fn $name() { super::$name(&super::Bench::portable()); })* }
        mod sim { $(#[test] fn $name() { super::$name(&super::Bench::sim()); })* }
    };
}

on_every_file_system!(
    a_created_file_is_found_again,
    a_created_file_must_be_new,
    what_is_missing_is_not_found,
    what_is_not_a_regular_file_is_not_opened,
    names_are_single_components,
    a_file_opened_for_reading_is_not_written,
    reading_ends_at_the_end,
    a_gap_reads_as_zeros,
    cutting_and_extending_lengths,
    rename_moves_and_never_replaces,
    a_directory_moves_with_its_content,
    a_directory_does_not_move_into_itself,
    an_open_directory_stays_the_same_when_renamed,
    removal,
    a_removed_file_stays_readable,
    temporary_names_are_unique,
    listing,
    stat_and_identity,
    a_stamp_is_another_one_after_every_change_of_names,
    the_lock_excludes_another_opening,
    a_lock_is_on_the_file_and_not_on_its_name,
    a_map_is_the_content,
    roots_are_created_with_their_parents,
    clock_random_and_process,
    space_and_medium,
    syncs_succeed,
);

fn a_created_file_is_found_again(b: &Bench) {
    let file = b.put("a", b"hello");
    assert_eq!(content(&*file), b"hello");
    assert_eq!(get(&*b.root, "a"), b"hello");
    let again = b.root.open("a", Access::Write).unwrap();
    write_all_at(&*again, b"J", 0).unwrap();
    assert_eq!(content(&*file), b"Jello");
    assert!(!file.is_empty().unwrap());
}

fn a_created_file_must_be_new(b: &Bench) {
    b.put("a", b"first");
    b.root.create_dir("d").unwrap();
    assert_eq!(kind(b.root.create("a")), ErrorKind::AlreadyExists);
    assert_eq!(kind(b.root.create("d")), ErrorKind::AlreadyExists);
    assert_eq!(kind(b.root.create_dir("a")), ErrorKind::AlreadyExists);
    assert_eq!(kind(b.root.create_dir("d")), ErrorKind::AlreadyExists);
    assert_eq!(get(&*b.root, "a"), b"first");
}

fn what_is_missing_is_not_found(b: &Bench) {
    assert_eq!(kind(b.root.open("x", Access::Read)), ErrorKind::NotFound);
    assert_eq!(kind(b.root.open("x", Access::Write)), ErrorKind::NotFound);
    assert_eq!(kind(b.root.open_dir("x")), ErrorKind::NotFound);
    assert_eq!(kind(b.root.stat("x")), ErrorKind::NotFound);
    assert_eq!(kind(b.root.remove_file("x")), ErrorKind::NotFound);
    assert_eq!(kind(b.root.remove_dir("x")), ErrorKind::NotFound);
    assert_eq!(kind(b.root.rename("x", &*b.root, "y")), ErrorKind::NotFound);
    assert_eq!(kind(b.fs.open_root(&b.path.join("x"))), ErrorKind::NotFound);
}

fn what_is_not_a_regular_file_is_not_opened(b: &Bench) {
    b.root.create_dir("d").unwrap();
    b.put("f", b"");
    assert_eq!(kind(b.root.open("d", Access::Read)), ErrorKind::InvalidInput);
    assert_eq!(kind(b.root.open("d", Access::Write)), ErrorKind::InvalidInput);
    assert_eq!(kind(b.root.open_dir("f")), ErrorKind::NotADirectory);
    assert_eq!(kind(b.fs.open_root(&b.path.join("f"))), ErrorKind::NotADirectory);
    assert_eq!(kind(b.fs.create_root(&b.path.join("f"))), ErrorKind::NotADirectory);
}

fn names_are_single_components(b: &Bench) {
    for name in ["", ".", "..", "a/b", "/a", "a\0b"] {
        assert_eq!(kind(b.root.create(name)), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.open(name, Access::Read)), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.open_dir(name)), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.create_dir(name)), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.stat(name)), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.rename(name, &*b.root, "z")), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.rename("z", &*b.root, name)), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.remove_file(name)), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(b.root.remove_dir(name)), ErrorKind::InvalidInput, "{name:?}");
    }
    assert_eq!(kind(b.root.create_temp("a/b")), ErrorKind::InvalidInput);
    assert_eq!(kind(b.root.create_temp_dir("../b")), ErrorKind::InvalidInput);
}

fn a_file_opened_for_reading_is_not_written(b: &Bench) {
    b.put("a", b"kept");
    let file = b.root.open("a", Access::Read).unwrap();
    file.write_at(b"x", 0).unwrap_err();
    file.set_len(0).unwrap_err();
    assert_eq!(get(&*b.root, "a"), b"kept");
}

fn reading_ends_at_the_end(b: &Bench) {
    let file = b.put("a", b"12345");
    let mut buf = [0; 8];
    assert_eq!(file.read_at(&mut buf, 5).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(read_up_to_at(&*file, &mut buf, 3).unwrap(), 2);
    assert_eq!(&buf[..2], b"45");
    assert_eq!(kind(read_exact_at(&*file, &mut buf, 0)), ErrorKind::UnexpectedEof);
    assert_eq!(file.write_at(b"", 100).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 5);
}

fn a_gap_reads_as_zeros(b: &Bench) {
    let file = b.put("a", b"12");
    write_all_at(&*file, b"9", 6).unwrap();
    assert_eq!(content(&*file), b"12\0\0\0\x009");
}

fn cutting_and_extending_lengths(b: &Bench) {
    let file = b.put("a", b"12345");
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(content(&*file), b"12\0\0");
    file.set_len(100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    assert!(content(&*file)[2..].iter().all(|b| *b == 0));
    file.set_len(0).unwrap();
    assert!(file.is_empty().unwrap());
}

fn rename_moves_and_never_replaces(b: &Bench) {
    let open = b.put("a", b"A");
    b.put("b", b"B");
    b.root.create_dir("d").unwrap();
    let d = b.root.open_dir("d").unwrap();
    assert_eq!(kind(b.root.rename("a", &*b.root, "b")), ErrorKind::AlreadyExists);
    assert_eq!(kind(b.root.rename("a", &*b.root, "a")), ErrorKind::AlreadyExists);
    assert_eq!(kind(b.root.rename("a", &*b.root, "d")), ErrorKind::AlreadyExists);
    assert_eq!(kind(b.root.rename("d", &*b.root, "b")), ErrorKind::AlreadyExists);
    assert_eq!((get(&*b.root, "a"), get(&*b.root, "b")), (b"A".to_vec(), b"B".to_vec()));

    b.root.rename("a", &*b.root, "c").unwrap();
    b.root.rename("c", &*d, "e").unwrap();
    assert_eq!(kind(b.root.stat("a")), ErrorKind::NotFound);
    assert_eq!(kind(b.root.stat("c")), ErrorKind::NotFound);
    assert_eq!(get(&*d, "e"), b"A");
    write_all_at(&*open, b"Z", 0).unwrap();
    assert_eq!(get(&*d, "e"), b"Z");
}

fn a_directory_moves_with_its_content(b: &Bench) {
    b.root.create_dir("d").unwrap();
    put(&*b.root.open_dir("d").unwrap(), "f", b"in d");
    b.root.create_dir("empty").unwrap();
    b.root.create_dir("full").unwrap();
    put(&*b.root.open_dir("full").unwrap(), "f", b"in full");
    assert_eq!(kind(b.root.rename("d", &*b.root, "empty")), ErrorKind::AlreadyExists);
    assert_eq!(kind(b.root.rename("d", &*b.root, "full")), ErrorKind::AlreadyExists);
    let target = b.root.open_dir("empty").unwrap();
    b.root.rename("d", &*target, "moved").unwrap();
    assert_eq!(get(&*target.open_dir("moved").unwrap(), "f"), b"in d");
    assert_eq!(kind(b.root.stat("d")), ErrorKind::NotFound);
}

fn a_directory_does_not_move_into_itself(b: &Bench) {
    b.root.create_dir("d").unwrap();
    let d = b.root.open_dir("d").unwrap();
    d.create_dir("e").unwrap();
    let e = d.open_dir("e").unwrap();
    b.root.rename("d", &*d, "x").unwrap_err();
    b.root.rename("d", &*e, "x").unwrap_err();
    assert_eq!(d.list().unwrap().len(), 1);
    assert_eq!(e.list().unwrap().len(), 0);
}

fn an_open_directory_stays_the_same_when_renamed(b: &Bench) {
    if !b.by_inode {
        return;
    }
    b.root.create_dir("d").unwrap();
    let d = b.root.open_dir("d").unwrap();
    let ident = d.ident().unwrap();
    put(&*d, "f", b"1");
    b.root.rename("d", &*b.root, "e").unwrap();
    b.root.create_dir("d").unwrap();
    assert_eq!(get(&*d, "f"), b"1");
    put(&*d, "g", b"2");
    assert_eq!(get(&*b.root.open_dir("e").unwrap(), "g"), b"2");
    assert!(b.root.open_dir("d").unwrap().list().unwrap().is_empty());
    assert_eq!(d.ident().unwrap(), ident);
    assert_eq!(b.root.stat("e").unwrap().ident, ident);
    assert_ne!(b.root.stat("d").unwrap().ident, ident);
    d.sync().unwrap();
    assert!(d.space().unwrap().total > 0);
}

fn removal(b: &Bench) {
    b.put("f", b"");
    b.root.create_dir("d").unwrap();
    let d = b.root.open_dir("d").unwrap();
    put(&*d, "f", b"");
    assert_eq!(kind(b.root.remove_dir("d")), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(b.root.remove_dir("f")), ErrorKind::NotADirectory);
    b.root.remove_file("d").unwrap_err();
    d.remove_file("f").unwrap();
    b.root.remove_file("f").unwrap();
    b.root.remove_dir("d").unwrap();
    assert!(b.root.list().unwrap().is_empty());
    assert_eq!(kind(d.create("late")), ErrorKind::NotFound);
    assert_eq!(kind(d.create_dir("late")), ErrorKind::NotFound);
    assert_eq!(kind(d.create_temp("late")), ErrorKind::NotFound);
}

fn a_removed_file_stays_readable(b: &Bench) {
    b.put("f", b"still here");
    let file = b.root.open("f", Access::Read).unwrap();
    let map = file.map(5).unwrap();
    b.root.remove_file("f").unwrap();
    b.put("f", b"another");
    assert_eq!(content(&*file), b"still here");
    assert!(map.is_none_or(|map| &*map == b"still"));
}

fn temporary_names_are_unique(b: &Bench) {
    let mut names = BTreeSet::new();
    for _ in 0..50 {
        let (name, file) = b.root.create_temp("seg-").unwrap();
        file.write_at(b"x", 0).unwrap();
        drop(file);
        assert_eq!(get(&*b.root, &name), b"x", "a temporary file stays when its handle goes");
        names.insert(name);
        let name = b.root.create_temp_dir("seg-").unwrap();
        assert_eq!(b.root.stat(&name).unwrap().kind, Kind::Dir);
        names.insert(name);
    }
    assert_eq!(names.len(), 100);
    assert!(names.iter().all(|n| n.starts_with("seg-") && n.ends_with(".tmp")));
    assert_eq!(b.root.list().unwrap().len(), 100);
}

fn listing(b: &Bench) {
    assert!(b.root.list().unwrap().is_empty());
    for i in 0..40 {
        b.put(&format!("f{i:02}"), b"");
    }
    b.root.create_dir("d").unwrap();
    for _ in 0..2 {
        let mut list = b.root.list().unwrap();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(list.len(), 41);
        assert_eq!(list[0], Entry { name: "d".into(), kind: Kind::Dir });
        assert_eq!(list[40], Entry { name: "f39".into(), kind: Kind::File });
    }
}

fn a_stamp_is_another_one_after_every_change_of_names(b: &Bench) {
    assert!(b.root.stamp("d").map_or_else(|e| e.kind() == ErrorKind::NotFound, |stamp| stamp.is_none()));
    b.root.create_dir("d").unwrap();
    let d = b.root.open_dir("d").unwrap();
    let mut last = b.root.stamp("d").unwrap();
    let changes: [&dyn Fn(); 5] = [
        &|| drop(d.create("a").unwrap()),
        &|| d.create_dir("b").unwrap(),
        &|| d.rename("a", &*d, "c").unwrap(),
        &|| d.rename("b", &*b.root, "b").unwrap(),
        &|| d.remove_file("c").unwrap(),
    ];
    for change in changes {
        change();
        let now = b.root.stamp("d").unwrap();
        assert_eq!(b.root.stamp("d").unwrap(), now);
        // Where changes are dated, the date of one that just happened says nothing yet.
        assert!(now.is_none() || now != last);
        last = now;
    }
}

fn stat_and_identity(b: &Bench) {
    let file = b.put("f", &[1; 5000]);
    file.sync().unwrap();
    b.root.create_dir("d").unwrap();
    let stat = b.root.stat("f").unwrap();
    assert_eq!((stat.kind, stat.len), (Kind::File, 5000));
    assert!(stat.allocated >= 512);
    assert_eq!(stat.ident, file.ident().unwrap());
    assert_eq!(stat.ident, b.root.open("f", Access::Read).unwrap().ident().unwrap());
    let dir = b.root.stat("d").unwrap();
    assert_eq!(dir.kind, Kind::Dir);
    assert_eq!(dir.ident, b.root.open_dir("d").unwrap().ident().unwrap());
    assert_ne!(dir.ident, stat.ident);
    assert_eq!(b.root.ident().unwrap(), b.fs.open_root(&b.path).unwrap().ident().unwrap());
    if b.by_inode {
        b.root.rename("f", &*b.root, "g").unwrap();
        assert_eq!(b.root.stat("g").unwrap().ident, file.ident().unwrap());
    }
}

fn the_lock_excludes_another_opening(b: &Bench) {
    let one = b.put("lock", b"");
    let two = b.root.open("lock", Access::Write).unwrap();
    assert!(one.try_lock().unwrap());
    assert!(!two.try_lock().unwrap());
    two.unlock().unwrap();
    assert!(!two.try_lock().unwrap(), "only its holder releases a lock");
    one.unlock().unwrap();
    assert!(two.try_lock().unwrap());
    assert!(!one.try_lock().unwrap());
    let clone = two.clone();
    drop(two);
    assert!(!one.try_lock().unwrap(), "an opening lives as long as its last handle");
    drop(clone);
    assert!(one.try_lock().unwrap());
}

fn a_lock_is_on_the_file_and_not_on_its_name(b: &Bench) {
    let old = b.put("lock", b"");
    assert!(old.try_lock().unwrap());
    b.root.rename("lock", &*b.root, "moved").unwrap();
    let new = b.put("lock", b"");
    assert!(new.try_lock().unwrap());
    assert!(!b.root.open("moved", Access::Write).unwrap().try_lock().unwrap());
}

fn a_map_is_the_content(b: &Bench) {
    let bytes: Vec<u8> = (0..20_000u32).map(|i| i as u8).collect();
    let file = b.put("f", &bytes);
    for len in [0, 1, 4096, 20_000] {
        if let Some(map) = file.map(len).unwrap() {
            map.advise_random();
            map.populate(0, map.len()).unwrap();
            map.populate(map.len(), 1).unwrap();
            map.populate(1, usize::MAX).unwrap();
            assert_eq!(&*map, &bytes[..len]);
        }
    }
    assert_eq!(kind(file.map(20_001)), ErrorKind::UnexpectedEof);
    // Writing behind what is mapped is fine.
    let map = file.map(10).unwrap();
    write_all_at(&*file, b"more", 20_000).unwrap();
    drop(file);
    assert!(map.is_none_or(|map| *map == bytes[..10]));
}

fn roots_are_created_with_their_parents(b: &Bench) {
    let path = b.path.join("x/y/z");
    assert_eq!(kind(b.fs.open_root(&path)), ErrorKind::NotFound);
    let root = b.fs.create_root(&path).unwrap();
    put(&*root, "f", b"deep");
    assert_eq!(root.path(), path);
    assert_eq!(get(&*b.fs.create_root(&path).unwrap(), "f"), b"deep");
    assert_eq!(get(&*b.fs.open_root(&path).unwrap(), "f"), b"deep");
    let y = b.root.open_dir("x").unwrap().open_dir("y").unwrap();
    assert_eq!(y.stat("z").unwrap().ident, root.ident().unwrap());
}

fn clock_random_and_process(b: &Bench) {
    assert!(b.fs.now() > 1_700_000_000_000_000);
    let (mut one, mut two) = ([0; 19], [0; 19]);
    b.fs.random(&mut one).unwrap();
    b.fs.random(&mut two).unwrap();
    assert_ne!(one, two);
    assert_ne!(one[16..], [0; 3]);
    assert_eq!(b.fs.process(), b.fs.process());
}

fn space_and_medium(b: &Bench) {
    let space = b.root.space().unwrap();
    assert!(space.total > 0 && space.available <= space.total);
    b.root.medium().unwrap();
}

fn syncs_succeed(b: &Bench) {
    let file = b.put("f", b"1");
    file.sync().unwrap();
    b.root.sync().unwrap();
    b.root.open("f", Access::Read).unwrap().sync().unwrap();
    assert_eq!(get(&*b.fs.open_root(Path::new(&b.path)).unwrap(), "f"), b"1");
}
