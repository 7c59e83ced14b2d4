//! Damaged, torn, foreign, newer and unknown files. Whatever happens to them, a stale count never reads as
//! current.

use super::*;
use crate::format::catalog::{FRAMES, Header};

/// An older file says that the session has 1 message; a newer one, whose name is returned, that it was opened
/// since.
fn stale_summary(sim: &SimFs) -> String {
    say(sim, vec![closed("s", 1, 1, 1), closed("t", 2, 1, 2)]);
    let catalog = catalog(sim);
    let before = files(sim);
    catalog.mark_open(open("u", 3, 1)).unwrap();
    catalog.mark_open(open("s", 1, 2)).unwrap();
    files(sim).into_iter().find(|name| !before.contains(name)).unwrap()
}

fn never_stale(sim: &SimFs, what: &str) {
    let merged = catalog(sim).merged().unwrap();
    assert!(word(&merged, "s") != "1", "{what}: the stale summary reads as current");
    let witness = catalog(sim).witness(&id("s"), &birth(1)).unwrap().unwrap();
    assert!(witness.open && witness.position.is_none(), "{what}: {witness:?}");
}

#[test]
fn no_flipped_bit_makes_a_stale_count_current() {
    let sim = SimFs::new(1);
    let name = stale_summary(&sim);
    let good = bytes(&sim, &name);
    let end = good.iter().rposition(|b| *b != 0).unwrap() + 1;
    for at in 0..end + 8 {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        put(&sim, &name, &bad);
        never_stale(&sim, &format!("byte {at}"));
        let merged = catalog(&sim).merged().unwrap();
        if (FRAMES..end).contains(&at) {
            assert!(merged.unreliable && !merged.findings.is_empty(), "byte {at}");
        }
        if at % 7 == 0 {
            // Adoption removes the damaged file, and keeps the doubt.
            let after = sim.crash_copy();
            let heir = catalog(&after);
            assert_eq!(heir.maintain().unwrap().left, 0);
            heir.close().unwrap();
            assert!(!files(&after).contains(&name));
            never_stale(&after, &format!("byte {at}, adopted"));
            assert!(!catalog(&after).merged().unwrap().unreliable);
        }
    }
}

#[test]
fn no_cut_and_no_hole_makes_a_stale_count_current() {
    let sim = SimFs::new(1);
    let name = stale_summary(&sim);
    let good = bytes(&sim, &name);
    let end = good.iter().rposition(|b| *b != 0).unwrap() + 1;
    for len in 0..end {
        put(&sim, &name, &good[..len]);
        never_stale(&sim, &format!("cut to {len} bytes"));
        let mut zeroed = good.clone();
        zeroed[len..].fill(0);
        put(&sim, &name, &zeroed);
        never_stale(&sim, &format!("zeros from byte {len}"));
    }
}

#[test]
fn a_session_named_in_a_torn_file_is_read_until_the_file_is_adopted() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("other", 9, 1, 9)]);
    let name = say(&sim, vec![closed("s", 1, 1, 1), closed("t", 2, 1, 2)]);
    let (mut torn, end) = (bytes(&sim, &name), end(&sim, &name));
    torn[end..][..9].copy_from_slice(&[40, 0, 0, 0, 1, 2, 3, 4, 5]);
    put(&sim, &name, &torn);
    let merged = catalog(&sim).merged().unwrap();
    assert_eq!((word(&merged, "s"), word(&merged, "t")), ("doubt".into(), "doubt".into()));
    assert_eq!(word(&merged, "other"), "9");
    assert!(!merged.unreliable);
    assert_eq!(merged.findings.len(), 1);
    assert_eq!((&merged.findings[0].file, merged.findings[0].offset), (&name, end as u64));
    let heir = catalog(&sim);
    heir.maintain().unwrap();
    let merged = heir.merged().unwrap();
    assert_eq!((word(&merged, "s"), word(&merged, "t")), ("1".into(), "2".into()));
}

#[test]
fn files_that_are_none_are_reported_and_left_alone() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 1)]);
    put(&sim, "notes.txt", b"mine");
    directory(&sim).create_dir("00000000000000aa.cat").unwrap();
    let catalog = catalog(&sim);
    let merged = catalog.merged().unwrap();
    assert_eq!(word(&merged, "s"), "1");
    let mut found: Vec<_> = merged.findings.iter().map(|f| f.file.as_str()).collect();
    found.sort();
    assert_eq!(found, ["00000000000000aa.cat", "notes.txt"]);
    assert_eq!(catalog.maintain().unwrap().adopted, 1);
    assert_eq!(bytes(&sim, "notes.txt"), b"mine");
}

#[test]
fn an_empty_or_zero_filled_file_is_damage() {
    for content in [vec![], vec![0; 4096], b"SLOGCATL".to_vec()] {
        let sim = SimFs::new(1);
        say(&sim, vec![closed("s", 1, 1, 1)]);
        put(&sim, "00000000000000aa.cat", &content);
        let catalog = catalog(&sim);
        let merged = catalog.merged().unwrap();
        assert!(merged.unreliable);
        assert_eq!(word(&merged, "s"), "doubt");
        assert_eq!(catalog.maintain().unwrap().adopted, 2);
        let merged = catalog.merged().unwrap();
        assert!(!merged.unreliable);
        assert_eq!(word(&merged, "s"), "doubt");
        // The next writer ends the doubt.
        catalog.record(closed("s", 1, 2, 2)).unwrap();
        assert_eq!(word(&catalog.merged().unwrap(), "s"), "2");
    }
}

fn file_of(store: StoreId, version: u16) -> (String, Vec<u8>) {
    let header =
        Header { store, salt: 0xaa, instance: 1, generation: 0, pid: 1, host: "h".into(), started: 0 };
    let (mut bytes, _) = header.encode();
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(4096, 0);
    ("00000000000000aa.cat".to_owned(), bytes)
}

#[test]
fn a_newer_file_puts_everything_in_doubt_and_is_left_alone() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 1)]);
    let (name, bytes) = file_of(STORE, 2);
    put(&sim, &name, &bytes);
    let catalog = catalog(&sim);
    for _ in 0..2 {
        let merged = catalog.merged().unwrap();
        assert!(merged.unreliable);
        assert_eq!(word(&merged, "s"), "doubt");
        catalog.maintain().unwrap();
        assert!(files(&sim).contains(&name));
    }
    // When the newer program has taken its file away, all is as it was.
    directory(&sim).remove_file(&name).unwrap();
    assert_eq!(word(&catalog.merged().unwrap(), "s"), "1");
}

#[test]
fn a_file_of_another_store_says_nothing() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 1)]);
    let (name, bytes) = file_of(StoreId([8; 16]), 1);
    put(&sim, &name, &bytes);
    let catalog = catalog(&sim);
    let merged = catalog.merged().unwrap();
    assert_eq!((word(&merged, "s"), merged.unreliable, merged.findings.len()), ("1".into(), false, 1));
    catalog.maintain().unwrap();
    assert!(files(&sim).contains(&name));
}

#[test]
fn a_copy_under_another_name_is_not_trusted() {
    let sim = SimFs::new(1);
    let name = say(&sim, vec![closed("s", 1, 1, 1)]);
    put(&sim, "00000000000000aa.cat", &bytes(&sim, &name));
    assert_eq!(seen(&sim, "s"), "doubt");
}
