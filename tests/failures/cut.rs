//! A log that was closed, and is cut back into what an earlier writer wrote.

use sessionlog::fs::SimFs;
use sessionlog::{ErrorKind, Options};

use crate::common::{SIM, fill, kind, sim_options, sim_read, sim_segments, sim_session, sim_write};

/// The length of the frames, zeros behind them left out.
fn used(bytes: &[u8]) -> usize {
    bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count()
}

/// Found by a fuzzer: the catalog's summary was believed only if the log still named the writer that it names. But that
/// name stands in the writer's first commit, and here all of its commits are gone: the loss was silent.
#[test]
fn a_log_cut_back_to_before_its_last_writer_is_damage() {
    let fs = SimFs::new(5);
    let write = || {
        let store = sim_options(fs.clone()).open(SIM).unwrap();
        fill(&store.session("s").unwrap(), 3);
        store.close().unwrap();
        let dir = sim_session(&fs);
        sim_read(&*dir, &sim_segments(&*dir)[0])
    };
    let (first, whole) = (write(), write());
    let dir = sim_session(&fs);
    let [segment] = &sim_segments(&*dir)[..] else { panic!("one segment was expected") };
    assert_eq!(whole[..used(&first)], first[..used(&first)], "the second writer went on in place");
    for cut in [used(&first), used(&first) + 70] {
        sim_write(&*dir, segment, &whole[..cut]);
        let fs = fs.process_new();
        let store = Options::new().read_only(true).fs(std::sync::Arc::new(fs.clone())).open(SIM).unwrap();
        let report = store.reader("s").unwrap().report();
        assert!(report.has_damage(), "{cut}: {report:?}");
        drop(store);
        let store = sim_options(fs).open(SIM).unwrap();
        let session = store.session("s").unwrap();
        assert_eq!(kind(session.append("more")), Some(ErrorKind::Corrupt), "{cut}");
        let good = session.load().unwrap().filter(|m| m.is_ok()).count();
        assert_eq!(good, 3, "{cut}: what is there can be read");
    }
}
