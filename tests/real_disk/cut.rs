//! A file that is cut from outside while it is read.

use std::fs::{self, OpenOptions};

use sessionlog::{AppendOptions, Batch, Durability, ErrorKind, Options};

/// A process that touches a map behind the end of its file is killed by a signal: this one lives, and is told.
#[cfg(target_os = "linux")]
#[test]
fn a_segment_that_is_cut_under_a_load_is_an_error_and_no_signal() {
    for alone in [true, false] {
        let place = tempfile::tempdir().unwrap();
        // Sealed segments are mapped: the first must be one.
        let options = Options::new().create(true).segment_size(3 << 20);
        let store = options.open(place.path().join("store")).unwrap();
        let session = store.session("s").unwrap();
        let text = vec![b'x'; 1000];
        if alone {
            let buffered = AppendOptions::new().durability(Durability::Buffered);
            for _ in 0..4000 {
                session.append_with(&text, &buffered).unwrap();
            }
        } else {
            for _ in 0..4 {
                session.append_batch(&(0..1000).map(|_| &text[..]).collect::<Batch<'_>>()).unwrap();
            }
        }
        session.sync().unwrap();
        let mut load = session.load().unwrap();
        assert_eq!(load.next().unwrap().unwrap().seq(), 0);

        let shards = fs::read_dir(place.path().join("store/sessions")).unwrap();
        let dirs = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
        let segment = dirs.map(|dir| dir.unwrap().path().join("00000001.log")).next().unwrap();
        assert!(segment.with_file_name("00000002.log").exists());
        OpenOptions::new().write(true).open(segment).unwrap().set_len(2 << 20).unwrap();

        let items: Vec<_> = load.collect();
        let first = items.iter().take_while(|item| item.is_ok()).count();
        assert!((1000..2100).contains(&first), "{first} messages of 2 MiB");
        let (good, bad): (Vec<_>, Vec<_>) = items.into_iter().partition(Result::is_ok);
        assert!(good.len() > first, "those of the second segment come too");
        let kinds: Vec<_> = bad.iter().map(|e| e.as_ref().err().map(|e| e.kind())).collect();
        assert!(!kinds.is_empty() && kinds.iter().all(|k| *k == Some(ErrorKind::Corrupt)), "{kinds:?}");
    }
}
