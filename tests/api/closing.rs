//! What a close leaves behind.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sessionlog::doctor::{RepairOptions, repair};
use sessionlog::fs::{Choice, Dir, Fs, SimFs};
use sessionlog::{Finding, Keep, Store};

use crate::common::{
    SIM, fill, live, numbered, sim_options, sim_read, sim_segments, sim_session, sim_store, sim_write,
};

fn by_hand(fs: &SimFs) -> Store {
    sim_options(fs.clone()).by_hand(true).open(SIM).unwrap()
}

/// A close syncs no log in which all that says something is durable: its record, and the marks in front of it and behind it,
/// may go with the power, alone or together. No message is missed then, and where nothing of them is there, or all, the next
/// process goes on in the same segment, as the summary tells that the log was closed there.
#[test]
fn what_a_close_leaves_unsynced_is_missed_by_nobody() {
    for idle in [false, true] {
        let fs = SimFs::new(1);
        let store = by_hand(&fs);
        let session = store.session("s").unwrap();
        fill(&session, 2);
        if idle {
            // Long enough for the mark of a session that rests.
            store.do_background(Instant::now() + Duration::from_secs(1));
        }
        session.close().unwrap();
        let unsynced = fs.pending().len();
        assert!((2 + usize::from(idle)..8).contains(&unsynced), "{:?}", fs.pending());
        let mut torn = 0;
        for mask in 0..1 << unsynced {
            let fs = fs.crash_copy_with(Choice::Mask(mask));
            let store = by_hand(&fs);
            let session = store.session("s").unwrap();
            let found = session.report().unwrap().findings;
            assert!(found.iter().all(|f| matches!(f, Finding::TornTail { .. })), "{mask:b}: {found:?}");
            assert!(found.is_empty() || mask != 0 && mask + 1 != 1 << unsynced, "{mask:b}: {found:?}");
            torn += found.len();
            fill(&session, 1);
            let fs = fs.crash();
            assert_eq!(live(&by_hand(&fs).session("s").unwrap()), numbered(0..3), "{mask:b}");
            let segments = sim_segments(&*sim_session(&fs));
            assert_eq!(segments.len() == 1, found.is_empty(), "{mask:b}: {found:?} {segments:?}");
        }
        // What stands behind something that is missing is no end.
        assert!(torn > 0);
    }
}

fn findings(fs: &SimFs) -> Vec<Finding> {
    sim_store(fs).reader("s").unwrap().report().findings
}

fn catalog(fs: &SimFs) -> Arc<dyn Dir> {
    fs.open_root(Path::new(SIM)).unwrap().open_dir("catalog").unwrap()
}

/// The record with which a writer announces itself says something: where it stands in front of the close record in one
/// commit, that one is synced.
#[test]
fn the_close_of_a_writer_that_committed_nothing_is_durable() {
    let fs = SimFs::new(1);
    let session = by_hand(&fs).session("s").unwrap();
    fill(&session, 3);
    session.archive(Keep::Messages(1)).unwrap();
    let fs = fs.crash();
    let session = by_hand(&fs).session("s").unwrap();
    session.truncate().unwrap();
    session.close().unwrap();
    assert_eq!(findings(&fs.crash_copy_with(Choice::Nothing)), []);
}

/// A disk with a session of two messages that was closed, and its store.
fn closed() -> SimFs {
    let fs = SimFs::new(1);
    let store = by_hand(&fs);
    fill(&store.session("s").unwrap(), 2);
    store.close().unwrap();
    fs
}

/// What a repair says of the end of a session is not more than is durable there.
#[test]
fn the_summary_of_a_repair_holds_when_the_power_takes_what_a_close_left_unsynced() {
    let fs = closed();
    let files = catalog(&fs);
    files.list().unwrap().iter().for_each(|file| files.remove_file(&file.name).unwrap());
    assert!(!fs.pending().is_empty());
    let fs = fs.process_new();
    let done = repair(SIM, &RepairOptions::new().store(&sim_options(fs.clone()))).unwrap();
    assert_eq!((done.steps.len(), done.skipped.len()), (1, 0), "{done:#?}");
    let fs = fs.crash_copy_with(Choice::Nothing);
    assert_eq!(findings(&fs), []);
    fill(&sim_store(&fs).session("s").unwrap(), 1);
}

/// A catalog that was put back tells of an earlier close: the log has gone on since, and its end is not clean.
#[test]
fn an_end_is_not_clean_because_an_earlier_one_was() {
    let fs = closed();
    let files = catalog(&fs);
    let old: Vec<_> =
        files.list().unwrap().into_iter().map(|file| (sim_read(&*files, &file.name), file.name)).collect();
    let fs = fs.process_new();
    fill(&by_hand(&fs).session("s").unwrap(), 1);
    let fs = fs.crash();
    let files = catalog(&fs);
    assert_eq!(files.list().unwrap().len(), old.len());
    old.iter().for_each(|(bytes, name)| sim_write(&*files, name, bytes));
    let found = findings(&fs);
    assert!(matches!(found[..], [Finding::UncleanEnd { .. }]), "{found:?}");
    assert_eq!(live(&sim_store(&fs).session("s").unwrap()), numbered(0..3));
}
