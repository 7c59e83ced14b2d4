//! Which entry holds: the table, row by row.

use super::super::file::{Source, Tail, decode, name_of};
use super::super::files::Files;
use super::super::merge::{Going, Verdict, Word, compare, known};
use super::*;
use crate::format::catalog::{FRAMES, Header};

fn source(instance: u64, generation: u32, entries: Vec<CatalogEntry>) -> Arc<Source> {
    let header = Header {
        store: STORE,
        salt: instance * 100 + u64::from(generation),
        instance,
        generation,
        pid: 1,
        host: String::new(),
        started: 0,
    };
    let (mut bytes, mut chain) = header.encode();
    bytes.resize(FRAMES, 0);
    for entry in &entries {
        chain.push(entry, &mut bytes).unwrap();
    }
    let end = bytes.len();
    for mark in [0, 1] {
        put_mark(&mut bytes, header.salt, mark, end);
    }
    let source = decode(&name_of(header.salt), &STORE, bytes, None).unwrap();
    assert_eq!((source.items.len(), source.tail), (entries.len(), Tail::Clean));
    Arc::new(source)
}

fn verdict(old: &CatalogEntry, new: &CatalogEntry, same_instance: bool) -> Verdict {
    let (a, b) = (source(1, 0, vec![old.clone()]), source(2, 0, vec![new.clone()]));
    fn word(source: &Source) -> Word<'_> {
        let item = &source.items[0];
        Word { kind: item.kind, incarnation: item.incarnation, body: item.body(&source.bytes) }
    }
    compare(word(&a), word(&b), same_instance)
}

fn merge(sources: Vec<Arc<Source>>) -> Merged {
    known(Files { sources, findings: Vec::new(), unreliable: false })
}

fn carry(sources: &[Arc<Source>], chosen: &[bool]) -> Vec<CatalogEntry> {
    Going { chosen, own: None, damaged: false, unreliable: false }.carry(sources)
}

fn rival(name: &str, b: u8, number: u64, count: u64) -> CatalogEntry {
    let mut other = summary(name, b, number, count);
    other.incarnation.nonce += 1;
    CatalogEntry::Closed(other)
}

#[test]
fn every_row_of_the_table() {
    let mark = |n| CatalogEntry::Open(open("s", 1, n));
    let rows = [
        ("higher number", closed("s", 1, 1, 1), mark(2), false, Verdict::New),
        ("lower number", mark(2), closed("s", 1, 1, 1), false, Verdict::Old),
        ("lower number, same instance", mark(2), closed("s", 1, 1, 1), true, Verdict::Old),
        ("other nonce", closed("s", 1, 1, 1), rival("s", 1, 1, 1), false, Verdict::Doubt),
        ("other nonce, same instance", closed("s", 1, 1, 1), rival("s", 1, 1, 1), true, Verdict::Doubt),
        ("later in one instance", mark(1), closed("s", 1, 1, 1), true, Verdict::New),
        ("reopened in one instance", closed("s", 1, 1, 1), mark(1), true, Verdict::New),
        ("a copy", closed("s", 1, 1, 1), closed("s", 1, 1, 1), false, Verdict::Old),
        ("removed", closed("s", 1, 1, 1), removed("s", 1, 1), false, Verdict::New),
        ("was removed", removed("s", 1, 1), closed("s", 1, 1, 1), false, Verdict::Old),
        ("restored", removed("s", 1, 1), mark(2), false, Verdict::New),
        ("contradiction", closed("s", 1, 1, 1), closed("s", 1, 1, 2), false, Verdict::Doubt),
        ("closed elsewhere", mark(1), closed("s", 1, 1, 1), false, Verdict::New),
        ("was closed elsewhere", closed("s", 1, 1, 1), mark(1), false, Verdict::Old),
        ("order unknown", mark(1), CatalogEntry::Doubt(open("s", 1, 1)), false, Verdict::Doubt),
        ("in doubt", closed("s", 1, 1, 1), CatalogEntry::Doubt(open("s", 1, 1)), false, Verdict::Doubt),
    ];
    for (what, old, new, same_instance, verdict) in rows {
        assert_eq!(self::verdict(&old, &new, same_instance), verdict, "{what}");
    }
}

#[test]
fn the_order_of_files_does_not_matter() {
    let first = || source(1, 0, vec![CatalogEntry::Open(open("s", 1, 1)), closed("s", 1, 1, 4)]);
    let second = || source(2, 0, vec![CatalogEntry::Open(open("s", 1, 2)), closed("s", 1, 2, 5)]);
    assert_eq!(word(&merge(vec![first(), second()]), "s"), "5");
    assert_eq!(word(&merge(vec![second(), first()]), "s"), "5");
}

#[test]
fn a_higher_open_mark_beats_a_summary() {
    let old = source(1, 0, vec![closed("s", 1, 1, 4)]);
    let new = source(2, 0, vec![CatalogEntry::Open(open("s", 1, 2))]);
    assert_eq!(word(&merge(vec![new, old]), "s"), "open");
}

#[test]
fn an_adoption_that_did_not_end_leaves_no_doubt() {
    let dead = source(1, 0, vec![CatalogEntry::Open(open("s", 1, 1)), closed("s", 1, 1, 4)]);
    let heir = source(2, 0, vec![closed("s", 1, 1, 4)]);
    assert_eq!(word(&merge(vec![dead, heir]), "s"), "4");
}

#[test]
fn the_files_of_one_instance_are_one_file_in_order() {
    let given_up = || source(1, 0, vec![CatalogEntry::Open(open("s", 1, 1))]);
    let next = || source(1, 1, vec![CatalogEntry::Open(open("s", 1, 1)), closed("s", 1, 1, 4)]);
    assert_eq!(word(&merge(vec![next(), given_up()]), "s"), "4");
    // From two instances, the summary is the last word of the writer; other summaries are a contradiction.
    let mut other = given_up();
    Arc::get_mut(&mut other).unwrap().header.instance = 2;
    assert_eq!(word(&merge(vec![next(), other]), "s"), "4");
    assert_eq!(word(&merge(vec![next(), source(2, 0, vec![closed("s", 1, 1, 5)])]), "s"), "doubt");
}

#[test]
fn a_doubt_ends_with_a_higher_incarnation() {
    let a = || source(1, 0, vec![closed("s", 1, 3, 4)]);
    let b = || source(2, 0, vec![rival("s", 1, 3, 4)]);
    assert_eq!(word(&merge(vec![a(), b()]), "s"), "doubt");
    let c = source(3, 0, vec![closed("s", 1, 4, 9)]);
    assert_eq!(word(&merge(vec![a(), b(), c]), "s"), "9");
}

#[test]
fn two_lives_that_were_not_removed_are_a_doubt() {
    let both = source(1, 0, vec![closed("s", 1, 1, 4), closed("s", 2, 1, 5)]);
    assert_eq!(word(&merge(vec![both]), "s"), "doubt");
    let one = source(1, 0, vec![closed("s", 1, 1, 4), removed("s", 1, 1), closed("s", 2, 1, 5)]);
    assert_eq!(word(&merge(vec![one]), "s"), "5");
    let none = source(1, 0, vec![closed("s", 1, 1, 4), removed("s", 1, 1)]);
    assert_eq!(word(&merge(vec![none]), "s"), "none");
    // The remover did not know the last writer: its word is not trusted.
    let unknown = source(1, 0, vec![closed("s", 1, 1, 4), removed("s", 1, 0), closed("s", 2, 1, 5)]);
    assert_eq!(word(&merge(vec![unknown]), "s"), "doubt");
}

#[test]
fn only_what_still_matters_is_carried() {
    let dead = source(
        1,
        0,
        vec![
            CatalogEntry::Open(open("open", 1, 1)),
            closed("old", 2, 1, 1),
            closed("kept", 3, 1, 1),
            closed("gone", 4, 1, 1),
            removed("gone", 4, 1),
            removed("elsewhere", 5, 1),
        ],
    );
    let alive = source(2, 0, vec![closed("old", 2, 2, 2), closed("elsewhere", 5, 1, 1)]);
    let carried = carry(&[dead, alive], &[true, false]);
    let expected =
        [CatalogEntry::Open(open("open", 1, 1)), closed("kept", 3, 1, 1), removed("elsewhere", 5, 1)];
    assert_eq!(carried, expected);
}

#[test]
fn a_contradiction_survives_the_loss_of_one_side() {
    let dead = || source(1, 0, vec![closed("s", 1, 1, 4)]);
    let alive = || source(2, 0, vec![closed("s", 1, 1, 5)]);
    for chosen in [[true, false], [false, true], [true, true]] {
        let carried = carry(&[dead(), alive()], &chosen);
        assert!(matches!(carried[..], [CatalogEntry::Doubt(_)]), "{carried:?}");
    }
}
