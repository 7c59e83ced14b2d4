//! Deliberate mistakes are caught: a kind of sync that says success and does nothing, one kind at a time.

use std::collections::BTreeMap;

use crate::driver::{lie_about_kinds, scripts, table};

/// Syncs whose absence no crash can show, and why they are made.
const UNSEEN: [(&str, &str); 0] = [];

#[test]
fn every_kind_of_sync_that_is_skipped_is_noticed() {
    let mut all = Vec::new();
    for (_, trace) in scripts(4) {
        all.extend(lie_about_kinds(&trace).unwrap());
    }
    eprintln!("{}", table(&all));
    let mut noticed: BTreeMap<&str, bool> = BTreeMap::new();
    for lie in &all {
        *noticed.entry(&lie.kind).or_default() |= lie.noticed.is_some();
    }
    for (kind, noticed) in noticed {
        let known = UNSEEN.iter().any(|(unseen, _)| *unseen == kind);
        assert_ne!(noticed, known, "{kind}: noticed {noticed}, known as unseen {known}");
    }
}
