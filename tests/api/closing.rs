//! What a close leaves behind.

use std::time::{Duration, Instant};

use sessionlog::fs::{Choice, SimFs};
use sessionlog::{Finding, Store};

use crate::common::{SIM, fill, live, numbered, sim_options, sim_segments, sim_session};

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
