//! How long it takes, and the real disk.

use std::time::Instant;

use super::*;
use crate::fs::DiskFs;

/// Only prints: a shared machine proves nothing. `cargo test --release -- --nocapture merging` shows it.
#[test]
#[expect(clippy::print_stderr, reason = "this is what the test is for")]
fn merging_many_sessions() {
    for count in [10_000u32, 100_000] {
        let dir = tempfile::tempdir().unwrap();
        let fs = Arc::new(DiskFs::new());
        let root = fs.create_root(dir.path()).unwrap();
        let catalog = Catalog::new(fs, root, STORE, false);
        for n in 0..count {
            let mut entry = summary(&format!("agent:main:session:{n}"), 1, 1, u64::from(n));
            entry.birth.0[..4].copy_from_slice(&n.to_le_bytes());
            entry.attributes =
                r#"{"title":"a title of some length","workspace":"/home/user/project"}"#.to_owned();
            catalog.record(CatalogEntry::Closed(entry)).unwrap();
        }
        catalog.sync().unwrap();
        let start = Instant::now();
        let merged = catalog.merged().unwrap();
        let took = start.elapsed();
        assert!((0..count).all(|n| merged.get(&id(&format!("agent:main:session:{n}")).dir_name()).is_some()));
        assert_eq!(word(&merged, "agent:main:session:77"), "77");
        let start = Instant::now();
        catalog.witness(&id("x"), &birth(1)).unwrap();
        eprintln!("{count} sessions: merged in {took:?}, witnesses in {:?}", start.elapsed());
    }
}

#[test]
fn the_real_disk_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Arc::new(DiskFs::new());
    let make = || Catalog::new(fs.clone(), fs.create_root(dir.path()).unwrap(), STORE, false);
    let (a, b) = (make(), make());
    a.mark_open(open("s", 1, 1)).unwrap();
    a.mark_open(open("t", 2, 1)).unwrap();
    assert_eq!(b.maintain().unwrap(), Default::default());
    let holder = b.holder(&id("s")).unwrap();
    assert_eq!(holder.pid, std::process::id());
    a.record(closed("s", 1, 1, 3)).unwrap();
    a.close().unwrap();
    assert_eq!(b.maintain().unwrap().adopted, 1);
    let merged = b.merged().unwrap();
    assert_eq!((word(&merged, "s"), word(&merged, "t")), ("3".into(), "open".into()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
