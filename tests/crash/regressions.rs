//! What the suite found once, each with its story.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sessionlog::fs::{Access, Choice, Damage, Fault, Fs, SimCall, SimFs, SimOp, read_exact_at};
use sessionlog::{ErrorKind, Finding, Options, Outcome, Store};

fn options(fs: &SimFs) -> Options {
    Options::new().create(true).fs(Arc::new(fs.clone()))
}

fn open(fs: &SimFs) -> Store {
    options(fs).open("/store").unwrap()
}

/// Nothing is done in the background but by `Store::do_background`.
fn by_hand(fs: &SimFs) -> Store {
    options(fs).by_hand(true).open("/store").unwrap()
}

/// A removal is one rename from `sessions/<x>/` into `trash/`. A power cut behind it left the session in both places: it was there, with all its
/// messages, as its removal was never acknowledged. Then some other session was removed, and what lies in the
/// trash was unlinked: the files of the first one too, which is the same directory under two names. What was left
/// of it was "damaged data: the session's directory holds no segment".
#[test]
fn emptying_the_trash_spares_a_session_whose_removal_was_cut_short() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    store.session("kept").unwrap().append("m0").unwrap();
    store.session("other").unwrap().append("m0").unwrap();
    fs.record();
    store.remove_session("kept").unwrap();
    let between =
        fs.recorded().into_iter().rfind(|p| p.label().contains("SyncDir /store/sessions/")).unwrap();

    let mut both = 0;
    for mask in 0..1 << between.pending_count() {
        let fs = between.crash(Choice::Mask(mask));
        let trash = fs.open_root(Path::new("/store/trash")).unwrap().list().unwrap().len();
        let store = open(&fs);
        if store.reader("kept").is_err() {
            continue;
        }
        both += trash;
        assert_eq!(store.session("kept").unwrap().message_count().unwrap(), 1);
        store.remove_session("other").unwrap();
        assert_eq!(store.reader("kept").unwrap().load().unwrap().count(), 1);
        drop(store);
        let store = open(&fs.crash());
        assert_eq!(store.reader("kept").unwrap().load().unwrap().count(), 1);
        assert!(store.remove_session("kept").unwrap());
        assert_eq!(store.sessions().unwrap().sessions.len(), 0);
    }
    assert!(both > 0);
}

/// A process made a store and was killed between giving the `STORE` file its name and syncing the directory. The
/// next one found the store in the page cache, and appended; the message was acknowledged. The power cut took the
/// name of the `STORE` file, and whoever opened the store then made a new one, with another id: "damaged data: it
/// belongs to another store".
#[test]
fn the_store_itself_is_durable_before_anything_in_it_is_acknowledged() {
    let fs = SimFs::new(1);
    fs.record();
    drop(open(&fs));
    let mut tried = 0;
    for point in fs.recorded() {
        let fs = point.kill_all();
        open(&fs).session("s").unwrap().append("m0").unwrap();
        tried += 1;
        let store = open(&fs.crash());
        assert_eq!(store.reader("s").unwrap().load().unwrap().count(), 1, "{}", point.label());
    }
    assert!(tried > 10);
}

/// A process made `sessions/<x>/` for a new session and was killed before it synced `sessions/`. The next one found
/// the directory in the page cache, took it for durable, made the session in it and acknowledged two messages. After
/// the power cut there was no such directory, and no session.
#[test]
fn a_directory_that_a_killed_process_left_unsynced_is_synced_before_a_session_is_made_in_it() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    fs.record();
    store.session("s").unwrap().append("first").unwrap();
    for point in fs.recorded() {
        let fs = point.kill_all();
        let seen = open(&fs).session("s").unwrap().append("second").unwrap().seq() + 1;
        let store = open(&fs.crash());
        let back = store.reader("s").map(|r| r.load().unwrap().count() as u64);
        assert_eq!(back.unwrap_or(0), seen, "{}", point.label());
    }
}

/// The sync of the directory in which the store's own was made failed, so the opening failed. The next one found the
/// store's directory, synced its parent again, was told that all is well (the pages that could not be written count
/// as clean), made the store and acknowledged a message. The power cut took the whole store.
#[test]
fn a_directory_whose_parent_could_not_be_synced_is_made_anew() {
    for fault in [Fault::DropDirty, Fault::NoSpace] {
        let fs = SimFs::new(1);
        fs.fail_when(0, 1, fault, |call| call.op == SimOp::SyncDir && call.dir == Path::new("/"));
        options(&fs).open("/store").unwrap_err();
        open(&fs).session("s").unwrap().append("m0").unwrap();
        let store = open(&fs.crash());
        assert_eq!(store.reader("s").unwrap().load().unwrap().count(), 1, "{fault:?}");
    }
}

/// The same one floor up: the sync of `sessions/`, in which `sessions/<x>/` was made, failed, and the process was
/// killed. The next process found the directory and synced `sessions/` once more; that proved nothing, and the power
/// cut took the session that it had acknowledged.
#[test]
fn a_directory_of_sessions_whose_sync_failed_in_another_process_is_synced_with_a_new_entry() {
    for fault in [Fault::DropDirty, Fault::NoSpace] {
        let fs = SimFs::new(1);
        let store = open(&fs);
        fs.fail_when(0, 1, fault, |call| {
            call.op == SimOp::SyncDir && call.dir == Path::new("/store/sessions")
        });
        store.session("s").unwrap().append("m0").unwrap_err();
        assert_eq!(fs.struck().len(), 1);
        fs.kill();
        let fs = fs.process_new();
        open(&fs).session("s").unwrap().append("m0").unwrap();
        let store = open(&fs.crash());
        let back = store.reader("s").map(|r| r.load().unwrap().count());
        assert_eq!(back.unwrap_or(0), 1, "{fault:?}");
    }
}

/// A removal failed as `sessions/<x>/` could not be synced, and the process was killed. The next one found the
/// session in the trash, synced both directories once more and unlinked its files. The sync had proved nothing: after
/// a power cut the session was back under its name, without its files.
#[test]
fn the_trash_is_emptied_only_after_a_sync_that_proves_something() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    for id in ["half removed", "other"] {
        store.session(id).unwrap().append("m0").unwrap();
        store.session(id).unwrap().close().unwrap();
    }
    fs.fail_when(0, 1, Fault::DropDirty, |call| {
        call.op == SimOp::SyncDir && call.dir != Path::new("/store/catalog")
    });
    store.remove_session("half removed").unwrap_err();
    assert!(fs.struck()[0].contains("SyncDir /store/sessions/"), "{:?}", fs.struck());
    fs.kill();
    let fs = fs.process_new();
    let store = by_hand(&fs);
    // It clears up at leisure, once it has written.
    store.session("other").unwrap().append("m1").unwrap();
    store.do_background(Instant::now());
    let names = |fs: &SimFs| fs.open_root(Path::new("/store/trash")).unwrap().list().unwrap().len();
    assert_eq!(names(&fs), 0);
    // The unlinked files may be gone, the rest is as the syncs left it.
    for seed in 0..100 {
        let store = open(&fs.crash_copy_with(Choice::Seed(seed)));
        let listing = store.sessions().unwrap();
        assert_eq!((listing.sessions.len(), listing.unreadable.len()), (1, 0), "{seed}");
    }
}

/// The mark behind a close is not synced. The next process sealed the segment, and its sync failed: the mark was in the cache
/// alone, and clean. The one after it sealed the segment too; its sync found nothing to do, and said success. After a power cut
/// zeros stood where the new segment says that the old one has a frame: reads reported damage.
#[test]
fn the_mark_of_a_closed_segment_whose_sync_failed_elsewhere_is_written_again() {
    let open = |fs: &SimFs| {
        Options::new().create(true).segment_size(16 << 10).fs(Arc::new(fs.clone())).open("/store").unwrap()
    };
    let fs = SimFs::new(1);
    let store = open(&fs);
    let session = store.session("s").unwrap();
    session.append(&*"a".repeat(20_000)).unwrap();
    session.close().unwrap();
    store.close().unwrap();
    let failing = fs.process_new();
    failing.fail_when(0, 1, Fault::DropDirty, |call| call.op == SimOp::Sync && call.name.ends_with(".log"));
    open(&failing).session("s").unwrap().append("b").unwrap_err();
    assert_eq!(failing.struck().len(), 1);
    failing.kill();
    let next = fs.process_new();
    let session = open(&next).session("s").unwrap();
    session.append("c").unwrap();
    for fs in [fs.crash_copy_with(Choice::Nothing), fs.crash_copy_with(Choice::Seed(1))] {
        let reader = open(&fs).reader("s").unwrap();
        assert!(!reader.report().has_damage(), "{:?}", reader.report());
        let found: Vec<_> = reader.load().unwrap().map(|m| m.unwrap().payload().len()).collect();
        assert_eq!(found, [20_000, 1]);
    }
}

/// It is written again as it was read: where the page went meanwhile, and the disk never had it, nothing is written behind it.
#[test]
fn a_mark_that_went_since_it_was_read_is_noticed() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let session = store.session("s").unwrap();
    session.append("a").unwrap();
    session.close().unwrap();
    store.close().unwrap();
    let next = fs.process_new();
    let store = open(&next);
    let session = store.session("s").unwrap();
    assert_eq!(session.message_count().unwrap(), 1);
    let path = Path::new("/store/sessions/d/s~ddcb22b511c75a0ad6b9d4d14ff6be13/00000001.log");
    let dir = next.open_root(path.parent().unwrap()).unwrap();
    let mut bytes = vec![0; dir.stat("00000001.log").unwrap().len as usize];
    read_exact_at(&*dir.open("00000001.log", Access::Read).unwrap(), &mut bytes, 0).unwrap();
    let offset = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    next.damage(path, &Damage::Flip { offset, bit: 3 }).unwrap();
    assert_eq!(session.append("b").unwrap_err().kind(), ErrorKind::Conflict);
    drop(session);
    store.close().unwrap();
    let session = open(&fs.process_new()).session("s").unwrap();
    session.append("b").unwrap();
    assert_eq!(
        session.load().unwrap().map(|m| m.unwrap().payload().to_vec()).collect::<Vec<_>>(),
        [b"a", b"b"]
    );
}

/// The catalog file of a dead process was locked and read for adoption; then all files were read once more, to see
/// which entries hold, and this time the disk said EIO. The file counted as adopted, though none of its entries had
/// been carried over, and was removed. Its open mark was gone: listings believed an older summary from now on, and
/// did not show a message that was acknowledged.
#[test]
fn a_catalog_file_that_cannot_be_read_again_is_not_adopted() {
    let fs = SimFs::new(1);
    // Both live at the same time, so there are two files: in one of them the next process goes on, the other is adopted.
    let first = open(&fs);
    let session = first.session("s").unwrap();
    session.append("m0").unwrap();
    session.close().unwrap();
    let dying = fs.process_new();
    open(&dying).session("s").unwrap().append("m1").unwrap();
    dying.kill();
    let before = dying.snapshot();
    let mut hit = 0;
    for skip in 0..60 {
        let fs = before.kill_all();
        fs.fail_when(skip, 1, Fault::Io, |call| {
            call.dir.ends_with("catalog") && matches!(call.op, SimOp::Open | SimOp::Read | SimOp::Stat)
        });
        // The first op of a process has its background thread adopt what dead ones left.
        let store = options(&fs).by_hand(true).open("/store");
        if let Ok(store) = &store {
            let _ = store.session("other").and_then(|session| session.append("m0").map(drop));
            store.do_background(Instant::now());
        }
        drop(store);
        hit += fs.struck().len();
        let listing = open(&fs.process_new()).sessions().unwrap();
        let info = listing.sessions.iter().find(|info| info.id.as_str() == "s").unwrap();
        assert_eq!(info.message_count, 2, "{:?}", fs.struck());
    }
    assert!(hit > 10, "{hit}");
}

/// The first process made the store and was killed before the name of the `STORE` file was durable; the next one found
/// the file in the cache and began to make a session. The power cut took the name of the file and left the directory
/// of the session that was being made. Whoever came then was told to have the store repaired, though nothing in it
/// had ever been acknowledged.
#[test]
fn a_store_whose_own_file_is_not_durable_holds_no_session_yet() {
    let fs = SimFs::new(1);
    fs.record();
    drop(open(&fs));
    let between = fs.recorded().into_iter().rfind(|p| p.label().ends_with("SyncDir /store/")).unwrap();
    let fs = between.kill_all();
    let store = open(&fs);
    fs.record();
    store.session("s").unwrap().append("m0").unwrap();
    for point in fs.recorded() {
        for seed in 0..20 {
            let store = open(&point.crash(Choice::Seed(seed)));
            store.session("s").unwrap().append("m").unwrap();
        }
    }
}

/// A process marked a session as open in its first catalog file, had to start a second one, and said there that it
/// closed the session. Another process took both over and removed them; a power cut brought the first one back. It
/// says "open", the copy says "closed", and as the order of the two was not known the session counted as not closed.
#[test]
fn a_catalog_file_that_comes_back_says_nothing_new() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let session = store.session("s").unwrap();
    session.append("m0").unwrap();
    // The second sync of the catalog: that of the next session's open mark.
    fs.fail_when(0, 1, Fault::Io, |call| call.op == SimOp::Sync && call.dir.ends_with("catalog"));
    store.session("other").unwrap().append("m0").unwrap_err();
    assert_eq!(fs.struck().len(), 1);
    session.close().unwrap();
    store.close().unwrap();
    let catalog = |fs: &SimFs| fs.open_root(Path::new("/store/catalog")).unwrap().list().unwrap().len();
    assert_eq!(catalog(&fs), 2);

    let fs = fs.process_new();
    let store = by_hand(&fs);
    store.session("another").unwrap().append("m0").unwrap();
    store.do_background(Instant::now());
    assert_eq!(catalog(&fs), 1);
    let (mut back, mut torn) = (0, 0);
    let masks = 1 << fs.pending().len().min(10);
    for mask in 0..masks {
        let fs = fs.crash_copy_with(Choice::Mask(mask));
        back += usize::from(catalog(&fs) == 2);
        match &open(&fs).session("s").unwrap().report().unwrap().findings[..] {
            [] => {}
            [Finding::TornTail { .. }] => torn += 1,
            found => panic!("{mask}: {found:?}"),
        }
    }
    assert!(back > 0);
    // Of the close record and the mark behind it, the first is gone and the second is there.
    assert!(4 * torn <= masks, "{torn} of {masks}");
}

/// The rename that gives a new session its name said EIO and was done all the same. The catalog was told that the
/// session is removed, and so forgot the open mark of the first writer; the next one took the same incarnation. When
/// a power cut brought the first one's catalog file back, two writers of one incarnation contradicted each other, and
/// a session that had been closed counted as not closed.
#[test]
fn a_session_whose_creation_is_in_doubt_keeps_its_open_mark() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    store.session("other").unwrap().append("m0").unwrap();
    fs.fail_when(0, 1, Fault::IoAfter, |call| {
        call.op == SimOp::Rename
            && call.dir.to_string_lossy().contains("/sessions/")
            && !call.name.contains(".log")
    });
    store.session("s").unwrap().append("m0").unwrap_err();
    assert_eq!(fs.struck().len(), 1);
    fs.kill();

    let fs = fs.process_new();
    let store = by_hand(&fs);
    store.session("s").unwrap().append("m0").unwrap();
    // The catalog file of the first one is adopted, and removed.
    store.do_background(Instant::now());
    store.close().unwrap();
    for mask in 0..1 << fs.pending().len().min(10) {
        let session = open(&fs.crash_copy_with(Choice::Mask(mask))).session("s").unwrap();
        let report = session.report().unwrap();
        let unclean = report.findings.iter().any(|f| matches!(f, Finding::UncleanEnd { .. }));
        assert!(!unclean, "{mask}: {report:?}");
    }
}

/// The sync that was to make the name of a new store durable failed, and so did taking the directory back. The next opening
/// found it, and synced what the failed one had left clean, which proves nothing. A power cut then took the whole store,
/// with everything that was acknowledged in it.
#[test]
fn a_store_whose_name_could_not_be_synced_nor_taken_back_is_durable_when_it_is_opened_again() {
    for fault in [Fault::DropDirty, Fault::NoSpace] {
        let fs = SimFs::new(1);
        fs.fail_when(0, 1, fault, |call| call.op == SimOp::SyncDir);
        fs.fail_when(0, 1, Fault::Io, |call| call.op == SimOp::Remove);
        let create = || options(&fs).open("/store");
        assert!(create().is_err());
        assert!(fs.open_root(Path::new("/store")).unwrap().list().unwrap().is_empty(), "it was taken back");
        create().unwrap().session("s").unwrap().append("m0").unwrap();
        let store = open(&fs.crash());
        assert_eq!(store.session("s").unwrap().message_count().unwrap(), 1, "{fault:?}");
    }
}

/// A sync of `sessions/<x>/` failed behind a removal, and then nothing could be made there. To repeat the sync proves nothing: the
/// removal is not said to be done.
#[test]
fn a_removal_that_can_only_repeat_a_failed_sync_is_not_done() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    store.session("s").unwrap().append("m0").unwrap();
    fs.fail_when(0, 1, Fault::DropDirty, |c| {
        c.op == SimOp::SyncDir && c.dir.to_string_lossy().contains("/sessions/")
    });
    store.remove_session("s").unwrap_err();
    fs.fail_when(0, u64::MAX, Fault::ReadOnly, |c| c.op == SimOp::Create);
    store.remove_session("s").unwrap_err();
}

/// The sync of a new session's name failed, and took with it what it was to write. The next op on it makes the name
/// durable anew; there was no room for the entry with which it does that, a plain sync said that all is well, and what
/// was acknowledged from then on was gone after a power cut. The same for a removal, which came back.
#[test]
fn what_cannot_be_made_durable_on_a_full_disk_is_not_acknowledged() {
    // By the same process, by one that opened the store anew, and by another one.
    for (removes, who) in
        [false, true].into_iter().flat_map(|removes| [(removes, 0), (removes, 1), (removes, 2)])
    {
        let fs = SimFs::new(1);
        let mut store = by_hand(&fs);
        store.session("first").unwrap().append("m0").unwrap();
        if removes {
            store.session("s").unwrap().append("m0").unwrap();
        }
        let shard = |call: &SimCall<'_>| call.dir.parent() == Some(Path::new("/store/sessions"));
        fs.fail_when(0, 1, Fault::DropDirty, move |call| call.op == SimOp::SyncDir && shard(call));
        let op = |store: &Store| match removes {
            true => store.remove_session("s").map(drop),
            false => store.session("s")?.append("m1").map(drop),
        };
        op(&store).unwrap_err();
        assert_eq!(fs.struck().len(), 1, "{:?}", fs.struck());
        if who > 0 {
            let _ = store.close();
            store = by_hand(&if who == 1 { fs.clone() } else { fs.process_new() });
        }
        fs.fail_when(0, 1, Fault::NoSpace, move |call| call.op == SimOp::Create && shard(call));
        let full = op(&store).unwrap_err();
        assert_eq!((full.kind(), full.outcome()), (ErrorKind::NoSpace, Outcome::NotApplied), "{full}");
        assert_eq!(fs.struck().len(), 2);
        // There is room again.
        op(&store).unwrap();
        let store = open(&fs.crash());
        match removes {
            true => assert!(store.sessions().unwrap().sessions.iter().all(|info| info.id.as_str() != "s")),
            false => assert!(store.session("s").unwrap().message_count().unwrap() > 0),
        }
    }
}
