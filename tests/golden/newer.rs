//! What a newer program leaves behind is refused and not touched, or passed over and kept.

use sessionlog::doctor::{CheckOptions, Code, RepairOptions, check, repair};
use sessionlog::fs::{Fs, SimFs};
use sessionlog::{ErrorKind, Keep, Options, Store};

use crate::common::{
    SIM, fill, kind, live, numbered, sim_files, sim_options, sim_read, sim_session, sim_write,
};
use crate::craft::{append, raise_version};

const CRITICAL: u8 = 2;

fn closed(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    let store = sim_options(fs.clone()).open(SIM).unwrap();
    fill(&store.session("s").unwrap(), 5);
    store.close().unwrap();
    // A newer program wrote later than the catalog heard of: an old catalog is evidence of nothing.
    let catalog = fs.open_root(SIM.as_ref()).unwrap().open_dir("catalog").unwrap();
    for entry in catalog.list().unwrap() {
        catalog.remove_file(&entry.name).unwrap();
    }
    fs.process_new()
}

fn change(fs: &SimFs, name: &str, with: impl FnOnce(&mut Vec<u8>)) {
    let dir = match name {
        "STORE" => fs.open_root(SIM.as_ref()).unwrap(),
        _ => sim_session(fs),
    };
    let mut bytes = sim_read(&*dir, name);
    with(&mut bytes);
    sim_write(&*dir, name, &bytes);
}

fn options(fs: &SimFs) -> Options {
    sim_options(fs.clone()).create(false)
}

/// Every way to open, read, write, check and repair, and not a byte changes.
fn refused(fs: &SimFs) {
    let before = sim_files(fs);
    let store: Store = options(fs).open(SIM).unwrap();
    assert_eq!(kind(store.session("s")), Some(ErrorKind::Unsupported));
    assert_eq!(kind(store.open_session("s")), Some(ErrorKind::Unsupported));
    assert_eq!(kind(store.create_session("s")), Some(ErrorKind::Unsupported));
    assert_eq!(kind(store.reader("s")), Some(ErrorKind::Unsupported));
    let listing = store.sessions().unwrap();
    assert!(listing.sessions.is_empty() && listing.unreadable.len() == 1, "{listing:?}");
    store.close().unwrap();
    let found = check(SIM, &CheckOptions::new().store(&options(fs))).unwrap();
    assert!(found.findings.iter().any(|f| f.code == Code::NewerFormat), "{found:#?}");
    assert!(!found.has_damage(), "{found:#?}");
    let done = repair(SIM, &RepairOptions::new().store(&options(fs))).unwrap();
    assert!(done.steps.is_empty(), "{done:#?}");
    assert!(sim_files(fs) == before, "it was touched");
}

#[test]
fn a_segment_of_a_newer_version_is_refused_and_not_touched() {
    let fs = closed(1);
    change(&fs, "00000001.log", |b| raise_version(b, false));
    refused(&fs);
}

#[test]
fn a_critical_record_of_an_unknown_kind_is_refused_and_not_touched() {
    let fs = closed(2);
    change(&fs, "00000001.log", |b| append(b, 1, 77, CRITICAL, b"from the future"));
    refused(&fs);
}

#[test]
fn a_journal_record_of_a_newer_version_is_refused_and_not_touched() {
    let fs = closed(3);
    change(&fs, "00000001.log", |b| append(b, 1, 2, CRITICAL, &[9, 1, 2, 3]));
    refused(&fs);
}

#[test]
fn a_commit_of_an_unknown_kind_is_refused_and_not_touched() {
    let fs = closed(4);
    change(&fs, "00000001.log", |b| append(b, 9, 1, CRITICAL, b"from the future"));
    refused(&fs);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_not_touched() {
    let fs = closed(5);
    change(&fs, "STORE", |b| raise_version(b, true));
    let before = sim_files(&fs);
    assert_eq!(kind(options(&fs).open(SIM)), Some(ErrorKind::Unsupported));
    assert_eq!(kind(sim_options(fs.clone()).open(SIM)), Some(ErrorKind::Unsupported));
    assert_eq!(kind(options(&fs).read_only(true).open(SIM)), Some(ErrorKind::Unsupported));
    assert_eq!(kind(check(SIM, &CheckOptions::new().store(&options(&fs)))), Some(ErrorKind::Unsupported));
    assert_eq!(kind(repair(SIM, &RepairOptions::new().store(&options(&fs)))), Some(ErrorKind::Unsupported));
    assert!(sim_files(&fs) == before, "it was touched");
}

#[test]
fn a_record_of_an_unknown_kind_that_may_be_ignored_is_passed_over_and_kept() {
    let fs = closed(6);
    change(&fs, "00000001.log", |b| append(b, 1, 77, 0, b"may be ignored"));
    let bytes = sim_read(&*sim_session(&fs), "00000001.log");

    let store = options(&fs).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    assert!(!session.report().unwrap().has_damage(), "{:?}", session.report());
    assert_eq!(live(&session), numbered(0..5));
    fill(&session, 3);
    session.archive(Keep::Messages(2)).unwrap();
    session.truncate().unwrap();
    fill(&session, 1);
    assert_eq!(live(&session), numbered(6..9));
    drop(session);
    store.close().unwrap();

    // Nothing of it was rewritten or removed: a newer program finds its record where it was.
    let after = sim_read(&*sim_session(&fs), "00000001.log");
    assert!(after.starts_with(&bytes), "the segment was rewritten");
    let store = options(&fs).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    assert_eq!(live(&session), numbered(6..9));
    session.remove_archive(1).unwrap();
    fill(&session, 1);
    drop(session);
    store.close().unwrap();
    assert!(sim_read(&*sim_session(&fs), "00000001.log").starts_with(&bytes), "the segment was rewritten");
    let found = check(SIM, &CheckOptions::new().store(&options(&fs))).unwrap();
    assert!(!found.has_damage(), "{found:#?}");
}
