//! Rows 9, 13, 14, 26, 27 and 34: odd files, torn tails, and what a newer program left.

use std::fs;
use std::path::Path;

use sessionlog::fs::SimFs;
use sessionlog::{ErrorKind, Keep, Options, Store};

use crate::common::{
    Place, SIM, Spy, copy_tree, files, fill, kind, live, numbered, segments, session_dirs, sim_options,
    sim_read, sim_segments, sim_session, sim_store, sim_write, texts,
};

#[test]
fn f09_odd_files_anywhere_stop_nothing() {
    // hermes v0.50.284: the recovery at startup died on one odd file and silently did nothing for everyone.
    let place = Place::new();
    let store = place.open();
    for i in 0..6 {
        fill(&store.session(format!("good {i}")).unwrap(), 3);
    }
    store.close().unwrap();
    let root = place.path();
    let shard = root.join("sessions").join("0");
    fs::create_dir_all(&shard).unwrap();
    let dirs = session_dirs(&root);
    for odd in [
        root.join("notes.txt"),
        root.join("STORE.bak"),
        root.join("sessions").join("stray"),
        root.join("sessions").join("zz"),
        root.join("catalog").join("garbage"),
        root.join("catalog").join("0000000000000000.cat"),
        root.join("trash").join("stray"),
        root.join("quarantine").join("stray"),
        shard.join("stray~file"),
        dirs[0].join("notes.txt"),
        dirs[0].join("00000001.log.bak"),
        dirs[0].join(".hidden"),
    ] {
        fs::write(&odd, b"\xff\x00 not ours \xe2\x80\xa8").unwrap();
    }
    fs::create_dir_all(root.join("sessions").join("toolong").join("x~y")).unwrap();
    fs::create_dir_all(shard.join("no hash here")).unwrap();
    fs::create_dir_all(dirs[1].join("a directory")).unwrap();

    let store = place.open();
    let listing = store.sessions().unwrap();
    assert_eq!(listing.sessions.len(), 6);
    for i in 0..6 {
        let session = store.open_session(format!("good {i}")).unwrap();
        assert_eq!(live(&session), numbered(0..3));
        fill(&session, 1);
        session.archive(Keep::Messages(1)).unwrap();
        session.truncate().unwrap();
    }
    store.stats().unwrap();
    store.close().unwrap();
    // They are left where they are.
    assert!(root.join("notes.txt").exists() && dirs[0].join("notes.txt").exists());
    assert!(dirs[1].join("a directory").exists());
    let store = place.open();
    assert_eq!(store.sessions().unwrap().sessions.len(), 6);
    let report = store.open_session("good 0").unwrap().report().unwrap();
    assert!(!report.has_damage(), "{report:?}");
}

#[test]
fn f09_one_damaged_session_stops_no_other_and_is_named() {
    let place = Place::new();
    let store = place.open();
    for id in ["a", "b", "c", "d"] {
        fill(&store.session(id).unwrap(), 5);
    }
    store.close().unwrap();
    let dirs = session_dirs(&place.path());
    let of =
        |id: &str| dirs.iter().find(|d| d.file_name().unwrap().to_str().unwrap().starts_with(id)).unwrap();
    // One without its head, one without any segment, one that is not readable as what it is.
    let mut bytes = fs::read(&segments(of("a"))[0]).unwrap();
    bytes[20] ^= 0x40;
    fs::write(&segments(of("a"))[0], bytes).unwrap();
    fs::remove_file(&segments(of("b"))[0]).unwrap();
    fs::write(&segments(of("c"))[0], b"garbage").unwrap();
    fs::remove_dir_all(place.path().join("catalog")).unwrap();

    let store = place.open();
    let listing = store.sessions().unwrap();
    assert_eq!(listing.sessions.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["d"]);
    assert_eq!(listing.unreadable.len(), 3);
    for (path, error) in &listing.unreadable {
        assert!(dirs.contains(path), "{path:?}");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    for id in ["a", "b", "c"] {
        assert_eq!(kind(store.session(id)), Some(ErrorKind::Corrupt), "{id}");
        assert_eq!(kind(store.reader(id)), Some(ErrorKind::Corrupt), "{id}");
    }
    assert_eq!(live(&store.open_session("d").unwrap()), numbered(0..5));
    // A damaged one can still be thrown away.
    assert!(store.remove_session("a").unwrap());
    fill(&store.create_session("a").unwrap(), 2);
}

/// A session with ten messages, the last of them alone in the last commit. Returns where that commit begins.
fn ten(fs: &SimFs) -> (SimFs, u64, u64) {
    let session = sim_store(fs).session("s").unwrap();
    fill(&session, 9);
    let end = |fs: &SimFs| {
        let report = sim_store(&fs.crash_copy()).open_session("s").unwrap().report().unwrap();
        match &report.findings[0] {
            sessionlog::Finding::UncleanEnd { offset, .. } => *offset,
            other => panic!("{other:?}"),
        }
    };
    let start = end(fs);
    fill(&session, 1);
    (fs.crash(), start, end(fs))
}

fn torn(fs: &SimFs, what: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let dir = sim_session(fs);
    let name = sim_segments(&*dir).pop().unwrap();
    let mut bytes = sim_read(&*dir, &name);
    change(&mut bytes);
    sim_write(&*dir, &name, &bytes);

    let store = sim_store(fs);
    let session = store.open_session("s").unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = session.report().unwrap();
    assert!(!report.has_damage(), "{what}: {report:?}");
    assert_eq!(live(&session), numbered(0..9), "{what}");
    assert_eq!(session.append("m9").unwrap().seq(), 9, "{what}");
    assert_eq!(live(&session), numbered(0..10), "{what}");
    // After another power cut, and after a good end.
    let again = sim_store(&fs.crash_copy());
    assert_eq!(live(&again.open_session("s").unwrap()), numbered(0..10), "{what}");
    store.close().unwrap();
    let store = sim_store(fs);
    let session = store.open_session("s").unwrap();
    assert!(session.report().unwrap().is_clean(), "{what}: {:?}", session.report());
    assert_eq!(live(&session), numbered(0..10), "{what}");
}

#[test]
fn f13_f14_a_tail_torn_at_any_byte_neither_fuses_with_the_next_nor_hides_the_rest() {
    // codex #24425: a torn last line fused with the next record. claude-code #53821: a torn last line hid the whole
    // session. Here the last commit is cut, zeroed or garbled at each of its bytes.
    let (fs, start, end) = ten(&SimFs::new(13));
    assert!(end - start > 63 + 13, "{start} to {end}");
    for at in start..end {
        let i = at as usize;
        torn(&fs.crash_copy(), &format!("cut at {at}"), |b| b.truncate(i));
        torn(&fs.crash_copy(), &format!("zeros from {at}"), |b| b[i..].fill(0));
        torn(&fs.crash_copy(), &format!("a flipped bit at {at}"), |b| b[i] ^= 0x10);
        torn(&fs.crash_copy(), &format!("garbage from {at}"), |b| {
            b[i] ^= 0x80;
            b[i + 1..].iter_mut().enumerate().for_each(|(n, b)| *b = (n as u8).wrapping_mul(31) ^ 0x5a);
        });
    }
}

#[test]
fn f13_garbage_behind_the_last_commit_is_passed_over() {
    let (fs, _, end) = ten(&SimFs::new(131));
    for tail in [b"x".to_vec(), vec![0xff; 5000], b"{\"torn\": ".to_vec(), vec![0; 100_000]] {
        let fs = fs.crash_copy();
        let dir = sim_session(&fs);
        let name = sim_segments(&*dir).pop().unwrap();
        let mut bytes = sim_read(&*dir, &name);
        bytes.truncate(end as usize);
        bytes.extend_from_slice(&tail);
        sim_write(&*dir, &name, &bytes);
        let store = sim_store(&fs);
        let session = store.open_session("s").unwrap();
        assert_eq!(live(&session), numbered(0..10));
        fill(&session, 1);
        store.close().unwrap();
        assert_eq!(live(&sim_store(&fs).open_session("s").unwrap()), numbered(0..11));
    }
}

#[test]
fn f14_damage_in_the_middle_is_reported_and_the_rest_still_loads() {
    // Below the mark it is no torn tail: the message is gone and said to be gone, all others are there, and
    // nothing is written over the place.
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    for i in 0..20 {
        session.append(&format!("message-{i:02}")).unwrap();
    }
    drop(session);
    store.close().unwrap();
    let segment = segments(&session_dirs(&place.path())[0]).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(10).position(|w| w == b"message-07").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();

    for round in 0..3 {
        let store = place.open();
        let session = store.open_session("s").unwrap();
        // Opening reads the last segment; from the second round on the damaged one is an older one.
        assert!(round > 0 || session.report().unwrap().has_damage(), "{:?}", session.report());
        let mut errors = Vec::new();
        let mut good = Vec::new();
        for m in session.load().unwrap() {
            match m {
                Ok(m) => good.push(String::from_utf8(m.payload().to_vec()).unwrap()),
                Err(e) => errors.push(e),
            }
        }
        let want: Vec<String> = (0..20).filter(|i| *i != 7).map(|i| format!("message-{i:02}")).collect();
        assert_eq!(good[..19], want, "round {round}");
        assert!(!errors.is_empty());
        assert!(
            errors.iter().all(|e| e.is_corruption() && e.file_offset().is_some() && e.session_id().is_some()),
            "{errors:?}"
        );
        assert_eq!(session.get(8).unwrap().unwrap().payload(), b"message-08");
        assert_eq!(kind(session.get(7)), Some(ErrorKind::Corrupt));
        let info = session.info().unwrap();
        assert_eq!(info.message_count, info.live.end - info.live.start);
        // It may be written to; the sequence of what follows is right.
        assert_eq!(session.append(&format!("after {round}")).unwrap().seq(), 20 + round);
        store.close().unwrap();
        let now = fs::read(&segment).unwrap();
        assert!(
            now.len() >= at + 10 && now[at - 50..at + 10] == bytes[at - 50..at + 10],
            "the place was written over"
        );
    }
}

/// Every version of the files, for tests that nothing may change.
fn unchanged(place: &Place, work: impl FnOnce()) {
    let before = files(&place.path());
    work();
    let after = files(&place.path());
    for (name, bytes) in &before {
        assert!(after.get(name) == Some(bytes), "{} was changed", name.display());
    }
    assert_eq!(after.len(), before.len());
}

fn reseal(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    let crc = crc32fast::hash(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn f34_a_newer_segment_is_refused_and_not_a_byte_changed() {
    // opencode #14970: an older program opened a newer format and rewrote it.
    let version: fn(&mut Vec<u8>) = |b| b[8] = 2;
    let feature: fn(&mut Vec<u8>) = |b| b[15] = 0x80;
    for change in [version, feature] {
        let place = Place::new();
        let store = place.open();
        fill(&store.session("new").unwrap(), 5);
        fill(&store.session("old").unwrap(), 5);
        store.close().unwrap();
        let dir =
            session_dirs(&place.path()).into_iter().find(|d| d.to_str().unwrap().contains("/new~")).unwrap();
        reseal(&segments(&dir)[0], change);
        unchanged(&place, || {
            let store = place.open();
            for _ in 0..2 {
                let opened = store.session("new").and_then(|s| s.append("x").map(drop));
                assert_eq!(kind(opened), Some(ErrorKind::Unsupported));
                assert_eq!(kind(store.reader("new")), Some(ErrorKind::Unsupported));
                assert_eq!(kind(store.create_session("new")), Some(ErrorKind::Unsupported));
            }
            let old = store.open_session("old").unwrap();
            assert_eq!(live(&old), numbered(0..5));
            drop(old);
            store.close().unwrap();
        });
    }
}

#[test]
fn f34_a_newer_store_is_refused_and_not_a_byte_changed() {
    for change in [(8, 2), (12, 1)] {
        let place = Place::new();
        let store = place.open();
        fill(&store.session("s").unwrap(), 5);
        store.close().unwrap();
        drop(store);
        reseal(&place.path().join("STORE"), |b| b[change.0] = change.1);
        unchanged(&place, || {
            let error = Store::open(place.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert_eq!(kind(Options::new().read_only(true).open(place.path())), Some(ErrorKind::Unsupported));
        });
    }
}

#[test]
fn f34_a_flipped_bit_in_the_version_is_damage_and_not_the_future() {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 5);
    store.close().unwrap();
    let segment = segments(&session_dirs(&place.path())[0]).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] = 2;
    fs::write(&segment, bytes).unwrap();
    assert_eq!(kind(place.open().session("s")), Some(ErrorKind::Corrupt));
}

#[test]
fn f27_an_append_costs_what_the_message_costs_whatever_the_session_holds() {
    // OpenViking #4842: every append read the whole file again, 1.2 to 3.4 seconds at 7 MB.
    let fs = SimFs::new(27);
    let spy = Spy::new(fs);
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    let payload = vec![b'x'; 300];
    let mut cost = Vec::new();
    for total in [10u64, 5000] {
        while session.message_count().unwrap() < total {
            let batch: sessionlog::Batch<'_> = (0..10).map(|_| &payload).collect();
            session.append_batch(&batch).unwrap();
        }
        spy.quiet();
        // One may meet the allocation of space, so the cheapest of a few counts.
        let cheapest = (0..8)
            .map(|_| {
                let (_, c) = spy.during(|| session.append(&payload).unwrap());
                assert_eq!(c.bytes_read, 0, "at {total}: {c:?}");
                c.bytes_written
            })
            .min()
            .unwrap();
        cost.push(cheapest);
        // The way back over the tail does not depend on the length either.
        let (got, c) = spy.during(|| session.tail(5).unwrap().count());
        assert_eq!(got, 5);
        assert!(c.bytes_read < 200 << 10, "at {total}: {c:?}");
    }
    assert!(cost[0] < 300 + 200, "{cost:?}");
    assert_eq!(cost[0], cost[1], "the cost of an append depends on the length of the session");
}

#[test]
fn f27_opening_reads_the_last_segment_and_not_the_session() {
    let place = Place::new();
    let options =
        |spy: &Spy| Options::new().create(true).segment_size(64 << 10).fs(std::sync::Arc::new(spy.clone()));
    let spy = Spy::disk();
    let store = options(&spy).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    for _ in 0..20 {
        let batch: sessionlog::Batch<'_> = (0..100).map(|_| vec![7u8; 500]).collect();
        session.append_batch(&batch).unwrap();
    }
    drop(session);
    store.close().unwrap();
    assert!(segments(&session_dirs(&place.path())[0]).len() > 10);
    let store = options(&spy).open(place.path()).unwrap();
    let (session, c) = spy.during(|| store.open_session("s").unwrap());
    assert!(c.bytes_read < 500 << 10, "{c:?}");
    let (count, c) = spy.during(|| session.tail(3).unwrap().count());
    assert_eq!(count, 3);
    assert!(c.bytes_read < 300 << 10, "{c:?}");
    assert_eq!(session.load().unwrap().count(), 2000);
}

#[test]
fn f09_a_copy_of_a_session_under_another_name_is_not_listed_as_that_session() {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("a").unwrap(), 5);
    fill(&store.session("b").unwrap(), 2);
    store.close().unwrap();
    let dirs = session_dirs(&place.path());
    let of =
        |id: &str| dirs.iter().find(|d| d.file_name().unwrap().to_str().unwrap().starts_with(id)).unwrap();
    fs::remove_dir_all(of("b")).unwrap();
    copy_tree(of("a"), of("b"));
    let store = place.open();
    let listing = store.sessions().unwrap();
    assert_eq!(listing.sessions.iter().filter(|s| s.id.as_str() == "a").count(), 1, "{listing:?}");
    // Whose directory it is stands in the log: an id whose name leads to another's log is refused. The file is named:
    // it was put here by somebody, and is not that of two ids with the same hash.
    let e = store.session("b").unwrap_err();
    assert_eq!((e.kind(), e.file_offset()), (ErrorKind::Corrupt, Some(128)), "{e}");
    assert!(e.file().is_some_and(|f| f.ends_with("00000001.log")), "{e}");
    assert_eq!(live(&store.open_session("a").unwrap()), numbered(0..5));
    assert!(texts(store.reader("a").unwrap().load().unwrap()).len() == 5);
}

#[test]
fn f14_a_lost_sealed_segment_is_named_and_the_rest_is_readable() {
    let place = Place::new();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    let text = |i: usize| format!("{i:03}{}", "x".repeat(500));
    for i in 0..120 {
        session.append(&text(i)).unwrap();
    }
    drop(session);
    store.close().unwrap();
    drop(store);
    let all = segments(&session_dirs(&place.path())[0]);
    assert!(all.len() >= 4, "{}", all.len());
    fs::remove_file(&all[1]).unwrap();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.open_session("s").unwrap();
    let report = session.report().unwrap();
    assert!(report.has_damage() && format!("{:?}", report.findings).contains("00000002.log"), "{report:?}");
    let (good, bad): (Vec<_>, Vec<_>) = session.load().unwrap().partition(|m| m.is_ok());
    assert!(!bad.is_empty());
    let good: Vec<u64> = good.into_iter().map(|m| m.unwrap().seq()).collect();
    assert!(good.is_sorted() && good.contains(&0) && good.contains(&119) && good.len() < 120, "{good:?}");
    assert_eq!(session.tail(1).unwrap().next().unwrap().unwrap().payload(), text(119).as_bytes());
}

/// Removes the newest segment, which must be the second one, and sees that it is missed.
fn lose_the_newest(fs: &SimFs) {
    let dir = sim_session(fs);
    assert_eq!(sim_segments(&*dir).pop().unwrap(), "00000002.log");
    dir.remove_file("00000002.log").unwrap();
    dir.sync().unwrap();
    let store = sim_store(fs);
    let session = store.open_session("s").unwrap();
    assert!(session.report().unwrap().has_damage(), "{:?}", session.report());
    assert_eq!(kind(session.append("x")), Some(ErrorKind::Corrupt));
    assert_eq!(
        kind(session.truncate().and_then(|()| session.archive(Keep::Nothing))),
        Some(ErrorKind::Corrupt)
    );
    store.close().unwrap();
    assert_eq!(sim_segments(&*dir), ["00000001.log"]);
}

#[test]
fn f14_a_lost_newest_segment_that_its_neighbour_names_is_never_written_over() {
    let fs = SimFs::new(14);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 10);
    session.archive(Keep::Messages(5)).unwrap();
    session.truncate().unwrap();
    fill(&session, 5);
    fs.kill();
    lose_the_newest(&fs.process_new());
}

#[test]
fn f14_a_lost_newest_segment_that_the_catalog_names_is_never_written_over() {
    let fs = SimFs::new(15);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    let batch: sessionlog::Batch<'_> = (0..200).map(|_| vec![7u8; 1000]).collect();
    session.append_batch(&batch).unwrap();
    let fs = fs.crash();
    // Too large to be carried whole: the next writer begins a second segment and keeps the first.
    let session = sim_store(&fs).open_session("s").unwrap();
    session.append("m200").unwrap();
    lose_the_newest(&fs.crash());
}

#[test]
fn f14_a_lost_newest_segment_after_a_good_close_is_never_written_over() {
    let fs = SimFs::new(16);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 10);
    session.archive(Keep::Messages(5)).unwrap();
    store.close().unwrap();
    lose_the_newest(&fs.crash());
}
