//! The stores that are kept for ever.

use std::fs;
use std::path::{Path, PathBuf};

use sessionlog::doctor::{CheckOptions, RepairOptions, check, dump, repair};
use sessionlog::{Options, Store};

use crate::common::{Place, copy_tree, files, session_dirs};
use crate::workload::{Files, go_on, verify, write};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)
}

/// A copy of a golden store, with the directories that git does not keep because they are empty.
fn copy(name: &str) -> Place {
    let from = golden(name);
    if std::env::var_os("SESSIONLOG_WRITE_GOLDEN").is_some() && !from.exists() {
        write_out(&from, &write(name == "closed"));
    }
    assert!(from.exists(), "{} is gone; it is part of what this library promises", from.display());
    let place = Place::new();
    copy_tree(&from, &place.path());
    for dir in ["trash", "quarantine"] {
        let _ = fs::create_dir(place.path().join(dir));
    }
    place
}

fn write_out(to: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = to.join(name.trim_start_matches('/'));
        let is_dir = files.keys().any(|other| other.starts_with(&format!("{name}/")));
        if is_dir || ["/trash", "/quarantine"].contains(&name.as_str()) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn read_for_ever(name: &str) {
    let place = copy(name);
    let before = files(&place.path());
    verify(&Options::new().read_only(true).open(place.path()).unwrap());
    let checkup = check(place.path(), &CheckOptions::new()).unwrap();
    assert!(checkup.is_well(), "{checkup:#?}");
    let plan = repair(place.path(), &RepairOptions::new().dry_run(true)).unwrap();
    assert!(plan.steps.is_empty() && plan.skipped.is_empty(), "{plan:#?}");
    assert!(files(&place.path()) == before, "reading changed the store");

    let store = Store::open(place.path()).unwrap();
    verify(&store);
    go_on(&store);
    store.close().unwrap();
    assert!(check(place.path(), &CheckOptions::new()).unwrap().is_well());
}

#[test]
fn a_store_of_version_1_that_was_closed_is_read_for_ever() {
    read_for_ever("closed");
}

#[test]
fn a_store_of_version_1_whose_writer_was_killed_is_read_for_ever() {
    read_for_ever("crashed");
}

#[test]
fn the_dump_of_a_golden_segment_is_what_it_always_was() {
    let place = copy("closed");
    let mut text = Vec::new();
    for dir in session_dirs(&place.path()) {
        for segment in crate::common::segments(&dir) {
            dump(&segment, &CheckOptions::new(), &mut text).unwrap();
        }
    }
    let text = String::from_utf8(text).unwrap();
    let path = golden("dump.txt");
    if std::env::var_os("SESSIONLOG_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::write(&path, &text).unwrap();
    }
    assert!(!text.contains("BAD"), "{text}");
    assert_eq!(text, fs::read_to_string(&path).unwrap());
}

#[test]
fn a_dump_goes_on_past_damage() {
    let place = copy("closed");
    let dirs = session_dirs(&place.path());
    let plain = dirs.iter().find(|d| d.to_str().unwrap().contains("/plain~")).unwrap();
    let segment = &crate::common::segments(plain)[0];
    let whole = fs::read(segment).unwrap();
    let mut marks = 0;
    for at in (0..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(segment, &bytes).unwrap();
        let mut text = Vec::new();
        dump(segment, &CheckOptions::new(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("BAD"), "byte {at}: {text}");
        marks += usize::from(text.contains(": mark"));
    }
    assert!(marks > whole.len() / 26, "the end was shown {marks} times only");
}
