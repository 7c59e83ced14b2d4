//! Commits whose bodies are cut by the end of the file: their tables say what they held, and a reader takes what is whole.

use std::ops::Range;
use std::path::PathBuf;

use sessionlog::doctor::{CheckOptions, check, dump};
use sessionlog::{Batch, Keep, NewMessage};

use crate::common::{Place, segments};
use crate::stories::{batch, closed, flip, mend, offset_of};

/// The messages of a session, but for the last five, are archived in a segment that is cut behind the first bytes of `at`.
fn cut(commits: &[Batch<'_>], at: &str) -> (Place, PathBuf) {
    let (place, last) = closed(|s| {
        commits.iter().for_each(|c| _ = s.append_batch(c).unwrap());
        s.archive(Keep::Messages(5)).unwrap();
    });
    let first = segments(last.parent().unwrap()).remove(0);
    assert_ne!(first, last);
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..offset_of(&first, at) + 2]).unwrap();
    (place, first)
}

/// What can be read of the archive.
fn archived(place: &Place) -> Vec<u64> {
    let store = place.open();
    let messages = store.reader("s").unwrap().archived(1).unwrap().flatten().map(|m| m.seq()).collect();
    store.close().unwrap();
    messages
}

/// A repair costs nothing of what can be read before, which is this.
fn keeps(place: &Place, archive: Range<u64>) {
    let wanted: Vec<u64> = archive.collect();
    assert_eq!(archived(place), wanted);
    mend(place);
    assert_eq!(archived(place), wanted);
}

#[test]
fn of_a_commit_that_was_cut_a_repair_keeps_what_is_there() {
    let (place, _) = cut(&[batch("a", 60)], "a 30.");
    keeps(&place, 0..30);
}

#[test]
fn a_cut_commit_is_found_behind_one_that_is_lost() {
    let (place, file) = cut(&[batch("a", 5), batch("b", 60)], "b 30.");
    flip(&file, offset_of(&file, "a 0.") - 20);
    keeps(&place, 5..35);
}

#[test]
fn one_cut_is_one_finding() {
    let (place, file) = cut(&[batch("a", 60)], "a 30.");
    let found = check(place.path(), &CheckOptions::new()).unwrap();
    let damage: Vec<_> = found.findings.iter().filter(|f| f.is_damage()).collect();
    assert!(damage.len() == 1 && damage[0].what.contains("only"), "{found:#?}");
    let mut text = Vec::new();
    dump(&file, &CheckOptions::new(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines = |what: &str| text.lines().filter(|l| l.contains(what) && l.contains("message ")).count();
    assert_eq!((lines(" ok "), lines(" BAD ")), (30, 30), "{text}");
}

#[test]
fn what_a_cut_took_is_not_made_of_zeros() {
    let zeros = |b: Batch<'static>, _| b.message(NewMessage::new(vec![0; 50]));
    let messages = (0..30).fold(batch("a", 30), zeros);
    let (place, _) = cut(&[messages], "a 29.");
    keeps(&place, 0..29);
}

#[test]
fn what_is_given_up_is_in_the_quarantine_though_its_file_stays() {
    let (place, first) = closed(|s| {
        s.append("first").unwrap();
        s.append_batch(&batch("a", 10)).unwrap();
    });
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[offset_of(&first, "a 5.")] ^= 0x40;
    std::fs::write(&first, &bytes).unwrap();
    mend(&place);
    assert_eq!(std::fs::read(&first).unwrap(), bytes, "the file keeps its place, for its first message");
    // Until nothing in it is needed any more.
    let store = place.open();
    let session = store.session("s").unwrap();
    session.archive(Keep::Nothing).unwrap();
    session.remove_archive(1).unwrap();
    session.append("later").unwrap();
    drop(session);
    store.close().unwrap();
    assert!(!first.exists());
    let quarantine = std::fs::read_dir(place.path().join("quarantine")).unwrap();
    let copies = quarantine.filter(|e| std::fs::read(e.as_ref().unwrap().path()).unwrap() == bytes);
    assert_eq!(copies.count(), 1);
}
