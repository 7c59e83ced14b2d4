//! What a repair relies on, and a power cut behind it.

use sessionlog::fs::{Fault, SimOp};
use sessionlog::{AppendOptions, Durability};

use super::*;

/// A killed process left messages that were never synced, or whose sync failed, in a segment that the repair keeps; the
/// new one says how far that goes.
#[test]
fn what_a_repair_relies_on_is_there_after_a_power_cut() {
    for failed in [false, true] {
        let fs = SimFs::new(6);
        let options = |fs: &SimFs| sim_options(fs.clone()).segment_size(16 << 10).by_hand(true);
        let store = options(&fs).open(SIM).unwrap();
        let session = store.session("s").unwrap();
        for _ in 0..3 {
            session.append(&"x".repeat(5000)).unwrap();
        }
        session.patch_attributes(&json!({ "needle": 1 })).unwrap();
        session.append(&"x".repeat(5000)).unwrap();
        let dir = sim_session(&fs);
        assert_eq!(sim_segments(&*dir).len(), 2);
        let unsynced = AppendOptions::new().durability(Durability::Buffered);
        for _ in 0..3 {
            session.append_with("unsynced", &unsynced).unwrap();
        }
        if failed {
            fs.fail_when(0, 1, Fault::DropDirty, |call| call.op == SimOp::Sync && call.name.contains(".log"));
            session.sync().unwrap_err();
        }
        fs.kill();
        let fs = fs.process_new();
        // Nobody needs the patch any more: the next segment begins with what came of it.
        edit(&fs, "00000001.log", |bytes| {
            let at = bytes.windows(6).position(|w| w == b"needle").unwrap();
            bytes[at] ^= 1;
        });
        assert_eq!(repaired(&fs).steps.len(), 2);
        for seed in 0..40 {
            let fs = fs.crash_copy_with(Choice::Seed(seed));
            assert_eq!(codes(&checked(&fs)), [], "{failed} {seed}");
            let session = options(&fs).open(SIM).unwrap().open_session("s").unwrap();
            assert_eq!(live(&session).len(), 7, "{failed} {seed}");
        }
    }
}
