//! The corpus of the fuzzers, replayed on stable: every input that ever mattered is tried by every test run.

use std::fs;
use std::path::{Path, PathBuf};

use super::seeds;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Writes the seeds that are missing, if the environment asks for it.
fn write(target: &str, seeds: &[(String, Vec<u8>)]) {
    if std::env::var_os("SESSIONLOG_WRITE_SEEDS").is_some() {
        let dir = corpus(target);
        fs::create_dir_all(&dir).unwrap();
        for (name, bytes) in seeds {
            fs::write(dir.join(format!("seed-{name}")), bytes).unwrap();
        }
    }
}

/// Runs the seeds and all files of the corpus; an input that panics is named.
fn replay(target: &str, run: fn(&[u8]), seeds: &[(String, Vec<u8>)]) {
    write(target, seeds);
    let mut inputs = seeds.to_vec();
    // A crate from the registry comes without the fuzzers and their corpus.
    if Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml").exists() {
        let before = inputs.len();
        for path in fs::read_dir(corpus(target)).unwrap().map(|e| e.unwrap().path()) {
            inputs.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
        assert!(inputs.len() > before, "the corpus of {target} is empty");
    }
    inputs.sort();
    let mut failed = Vec::new();
    for (name, bytes) in &inputs {
        if std::panic::catch_unwind(|| run(bytes)).is_err() {
            eprintln!("the input {name} of the target {target} fails");
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "of {} inputs of {target} fail: {failed:#?}", inputs.len());
}

#[test]
fn the_corpus_of_decode_passes() {
    replay("decode", super::decode, &seeds::decode());
}

#[test]
fn the_corpus_of_damage_passes() {
    replay("damage", super::damage, &seeds::damage());
}

#[test]
fn the_corpus_of_ops_passes() {
    replay("ops", super::ops, &seeds::ops());
}
