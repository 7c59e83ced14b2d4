//! The bytes that a workload writes: a change of the format, meant or not, is seen here.

use xxhash_rust::xxh3::xxh3_128;

use crate::workload::{Files, write};

const CLOSED: u128 = 0xe2fc76510723d64845413e51bb2ef653;
const CRASHED: u128 = 0x4c31c61eb899a5cdf51d4f1f6bbc1dea;

/// Over names and contents (with their salts and times: they depend on how many random numbers came before), but for the
/// catalog, which names this machine, and for the zeros that are allocated ahead: how many is no matter of the format.
fn hash(files: &Files) -> u128 {
    let mut all = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| !name.starts_with("/catalog")) {
        all.extend_from_slice(name.as_bytes());
        let bytes = &bytes[..bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)];
        all.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        all.extend_from_slice(bytes);
    }
    xxh3_128(&all)
}

fn are_written(closed: bool, wanted: u128) {
    let got = hash(&write(closed));
    assert_eq!(
        got, wanted,
        "other bytes are written than those of format version 1: {got:#x}. Is that meant? Then say so in \
         src/format/FORMAT.md, raise the version, and put the new hash here."
    );
}

#[test]
fn the_bytes_of_a_store_that_was_closed_are_those_of_version_1() {
    are_written(true, CLOSED);
}

#[test]
fn the_bytes_of_a_store_whose_writer_was_killed_are_those_of_version_1() {
    are_written(false, CRASHED);
}
