//! What only the real disk can show: links, pipes, modes, and the way round a missing kernel flag.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use super::DiskFs;
use super::unix::DiskDir;
use crate::fs::{Access, Fs, Kind, Medium};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_stamp_is_given_when_the_next_change_is_sure_to_have_another_date() {
    let tempdir = tempfile::tempdir().unwrap();
    let root = DiskFs::new().open_root(tempdir.path()).unwrap();
    root.create_dir("d").unwrap();
    assert_eq!(root.stamp("d").unwrap(), None);
    std::thread::sleep(std::time::Duration::from_millis(3_100));
    let settled = root.stamp("d").unwrap();
    assert!(settled.is_some() && root.stamp("d").unwrap() == settled);
    root.open_dir("d").unwrap().create("f").unwrap();
    assert_eq!(root.stamp("d").unwrap(), None);
    // Another directory under the name, which looks as old.
    root.rename("d", &*root, "e").unwrap();
    root.create_dir("d").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3_100));
    let other = root.stamp("d").unwrap();
    assert!(other.is_some() && other != settled && other != root.stamp("e").unwrap());
    // A date in the future is not trusted: the clock was set back.
    let hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
    std::fs::File::open(tempdir.path().join("d")).unwrap().set_modified(hour).unwrap();
    assert_eq!(root.stamp("d").unwrap(), None);
}

#[test]
fn links_are_never_followed() {
    let tempdir = tempfile::tempdir().unwrap();
    let root = DiskFs::new().open_root(tempdir.path()).unwrap();
    root.create("file").unwrap().write_at(b"kept", 0).unwrap();
    root.create_dir("dir").unwrap();
    symlink("file", tempdir.path().join("to-file")).unwrap();
    symlink("dir", tempdir.path().join("to-dir")).unwrap();
    symlink("nothing", tempdir.path().join("to-nothing")).unwrap();

    for link in ["to-file", "to-dir", "to-nothing"] {
        assert_eq!(root.open(link, Access::Read).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(root.open(link, Access::Write).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(root.open_dir(link).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(root.create(link).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(root.rename("file", &*root, link).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(root.stat(link).unwrap().kind, Kind::Other);
    }
    assert_eq!(root.list().unwrap().iter().filter(|e| e.kind == Kind::Other).count(), 3);
    root.rename("to-file", &*root, "moved").unwrap();
    root.remove_file("moved").unwrap();
    assert_eq!(root.open("file", Access::Read).unwrap().len().unwrap(), 4);

    // The user's own path may lead over links.
    let by_link = DiskFs::new().create_root(&tempdir.path().join("to-dir/new")).unwrap();
    assert_eq!(root.open_dir("dir").unwrap().stat("new").unwrap().ident, by_link.ident().unwrap());
    assert!(DiskFs::new().create_root(&tempdir.path().join("to-nothing")).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_does_not_hang() {
    let tempdir = tempfile::tempdir().unwrap();
    let root = DiskFs::new().open_root(tempdir.path()).unwrap();
    let dir = std::fs::File::open(tempdir.path()).unwrap();
    rustix::fs::mkfifoat(&dir, "pipe", rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tempdir.path().join("socket")).unwrap();
    for name in ["pipe", "socket"] {
        assert_eq!(root.open(name, Access::Read).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(root.open(name, Access::Write).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(root.open_dir(name).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(root.stat(name).unwrap().kind, Kind::Other);
        root.remove_file(name).unwrap();
    }
}

/// Creates one of everything and checks the modes.
fn check_modes(top: &Path) {
    let path = top.join("a/b");
    let root = DiskFs::new().create_root(&path).unwrap();
    root.create("f").unwrap();
    root.create_dir("d").unwrap();
    root.open_dir("d").unwrap();
    let (file, _) = root.create_temp("t").unwrap();
    let dir = root.create_temp_dir("t").unwrap();
    for dir in [&top.join("a"), &path, &path.join("d"), &path.join(dir)] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    for file in ["f", &file] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn modes_are_exact() {
    let tempdir = tempfile::tempdir().unwrap();
    check_modes(tempdir.path());
    // A directory may hand down more than was asked for.
    let heir = tempdir.path().join("heir");
    std::fs::create_dir(&heir).unwrap();
    let handle = std::fs::File::open(&heir).unwrap();
    rustix::fs::fchmod(&handle, rustix::fs::Mode::from_raw_mode(0o2777)).unwrap();
    check_modes(&heir);
}

/// The mask belongs to the whole process, so each mask gets a process of its own: this test, run again.
#[test]
fn modes_are_exact_under_any_mask() {
    const MASK: &str = "SESSIONLOG_TEST_MASK";
    if let Ok(mask) = std::env::var(MASK) {
        let tempdir = tempfile::tempdir().unwrap();
        let mask = u32::from_str_radix(&mask, 8).unwrap();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask as _));
        return check_modes(tempdir.path());
    }
    for mask in ["0", "777", "277", "077"] {
        let this = std::env::current_exe().unwrap();
        let test = ["--exact", "fs::disk::tests::modes_are_exact_under_any_mask"];
        let out = Command::new(this).args(test).env(MASK, mask).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("1 passed"), "mask {mask}: {text}");
    }
}

#[test]
fn the_way_round_a_missing_flag_never_replaces_either() {
    let tempdir = tempfile::tempdir().unwrap();
    let root = DiskFs::new().open_root(tempdir.path()).unwrap();
    let disk: &DiskDir = root.as_any().downcast_ref().unwrap();
    for file in ["a", "b"] {
        root.create(file).unwrap().write_at(file.as_bytes(), 0).unwrap();
    }
    for dir in ["d", "empty"] {
        root.create_dir(dir).unwrap();
    }
    root.open_dir("d").unwrap().create("in").unwrap();
    for (from, to) in [("a", "b"), ("a", "empty"), ("d", "empty"), ("d", "a"), ("empty", "d"), ("a", "a")] {
        let e = disk.rename_in_two_steps(from, disk, to).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{from} to {to}");
    }
    assert_eq!(disk.rename_in_two_steps("no", disk, "x").unwrap_err().kind(), ErrorKind::NotFound);

    disk.rename_in_two_steps("a", disk, "c").unwrap();
    disk.rename_in_two_steps("d", disk, "e").unwrap();
    assert!(root.stat("a").is_err() && root.stat("d").is_err());
    assert_eq!(root.open("c", Access::Read).unwrap().len().unwrap(), 1);
    assert_eq!(root.open_dir("e").unwrap().stat("in").unwrap().kind, Kind::File);

    // Into itself: refused, and nothing is left behind.
    let e = root.open_dir("e").unwrap();
    disk.rename_in_two_steps("e", e.as_any().downcast_ref().unwrap(), "x").unwrap_err();
    assert_eq!(e.list().unwrap().len(), 1);
}

#[test]
fn a_directory_whose_rename_takes_two_steps_has_its_content_whenever_its_name_is_there() {
    let tempdir = tempfile::tempdir().unwrap();
    let root = DiskFs::new().open_root(tempdir.path()).unwrap();
    let disk: &DiskDir = root.as_any().downcast_ref().unwrap();
    let names: Vec<String> = (0..2000).map(|i| format!("d{i}")).collect();
    for name in &names {
        root.create_dir(name).unwrap();
        root.open_dir(name).unwrap().create("content").unwrap();
    }
    // As whoever opens a session does: what he leaves there must not be in the way.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let Ok(found) = root.open_dir("name") else { continue };
                let _ = found.create("lock");
                assert!(found.stat("content").is_ok(), "it was there, and empty");
            }
        });
        let all = names.iter().try_for_each(|name| {
            disk.rename_in_two_steps(name, disk, "name")?;
            disk.rename_in_two_steps("name", disk, name)
        });
        done.store(true, Ordering::Relaxed);
        all.unwrap();
    });
}

#[test]
fn of_directories_that_take_a_name_in_two_steps_at_once_one_gets_it() {
    let tempdir = tempfile::tempdir().unwrap();
    let root = DiskFs::new().open_root(tempdir.path()).unwrap();
    let disk: &DiskDir = root.as_any().downcast_ref().unwrap();
    for round in 0..500 {
        let start = Barrier::new(2);
        let mover = |name: &'static str| {
            root.create_dir(name).unwrap();
            root.open_dir(name).unwrap().create(name).unwrap();
            start.wait();
            disk.rename_in_two_steps(name, disk, "name").map_err(|e| e.kind())
        };
        let done = std::thread::scope(|scope| {
            let movers = ["a", "b"].map(|name| scope.spawn(move || mover(name)));
            movers.map(|mover| mover.join().unwrap())
        });
        let (won, lost) = if done[0].is_ok() { ("a", "b") } else { ("b", "a") };
        assert!(done.contains(&Ok(())) && done.contains(&Err(ErrorKind::AlreadyExists)), "{round}: {done:?}");
        for (dir, content) in [("name", won), (lost, lost)] {
            root.open_dir(dir).unwrap().remove_file(content).unwrap();
            root.remove_dir(dir).unwrap();
        }
    }
}

#[test]
fn a_relative_root_and_a_moved_one_work() {
    let fs = DiskFs::new();
    assert_eq!(fs.open_root(Path::new("")).unwrap().ident().unwrap(), {
        let here = std::fs::metadata(".").unwrap();
        crate::fs::Ident { device: here.dev(), inode: here.ino() }
    });
    let tempdir = tempfile::tempdir().unwrap();
    let root = fs.create_root(&tempdir.path().join("old")).unwrap();
    std::fs::rename(tempdir.path().join("old"), tempdir.path().join("new")).unwrap();
    let space = root.space().unwrap();
    assert_eq!(space.total, fs4::total_space(tempdir.path()).unwrap());
    root.create("f").unwrap();
    assert!(tempdir.path().join("new/f").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_system_directory_is_local() {
    let proc = DiskFs::new().open_root(Path::new("/proc")).unwrap();
    assert_eq!(proc.medium().unwrap(), Medium::Local);
}
