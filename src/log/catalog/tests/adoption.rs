//! Taking over the files of instances that are gone.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::spy::{Op, Spy};
use super::*;
use crate::fs::Choice;
use crate::log::catalog::salt_in;

#[test]
fn an_open_mark_survives_adoption() {
    let sim = SimFs::new(1);
    let dying = sim.process_new();
    catalog(&dying).mark_open(open("s", 1, 1)).unwrap();
    dying.kill();
    let heir = catalog(&sim);
    assert_eq!(heir.maintain().unwrap().adopted, 1);
    assert_eq!(word(&heir.merged().unwrap(), "s"), "open");
    assert!(heir.witness(&id("s"), &birth(1)).unwrap().unwrap().open);
    heir.close().unwrap();
    assert_eq!(files(&sim).len(), 1);
    // A power cut brings the adopted file back, which says nothing new.
    let sim = sim.crash();
    assert_eq!(files(&sim).len(), 2);
    assert_eq!(seen(&sim, "s"), "open");
}

/// Three dead files: one session that was left open, one closed, one removed and created again.
fn three_dead(sim: &SimFs) {
    say(sim, vec![closed("closed", 1, 1, 1), closed("again", 2, 1, 2)]);
    say(sim, vec![removed("again", 2, 1), closed("again", 3, 1, 3), closed("closed", 1, 2, 7)]);
    let dying = sim.process_new();
    catalog(&dying).mark_open(open("open", 4, 1)).unwrap();
    dying.kill();
}

fn all_there(sim: &SimFs, what: &str) {
    let merged = catalog(sim).merged().unwrap();
    let words = ["closed", "again", "open"].map(|name| word(&merged, name));
    assert_eq!(words, ["7", "3", "open"], "{what}");
}

/// The power fails, or the process dies, before each of the steps of an adoption; the heir has a file of its
/// own already, or not.
#[test]
fn adoption_may_end_at_any_step() {
    for has_own in [false, true] {
        let mut steps = 0;
        while !adopt_until(has_own, steps) {
            steps += 1;
        }
        assert!(steps >= 6, "{steps} steps");
    }
}

/// Adopts and fails before step `steps`; true if the adoption has no more steps than that.
fn adopt_until(has_own: bool, steps: usize) -> bool {
    let sim = SimFs::new(3);
    three_dead(&sim);
    let spy = Spy::new(sim.process_new());
    let heir = on(spy.clone());
    if has_own {
        heir.mark_open(open("own", 5, 1)).unwrap();
    }
    let cut = spy.fail_after(steps);
    let done = heir.maintain();
    drop(heir);
    spy.sim.kill();
    all_there(&sim, &format!("died before step {steps}"));
    if let Some(after) = cut.lock().take() {
        all_there(&after, &format!("power cut before step {steps}"));
        catalog(&after).maintain().unwrap();
        all_there(&after, &format!("power cut before step {steps}, adopted"));
        assert_eq!(directory(&after).list().unwrap().len(), 1, "leftovers after step {steps}");
    }
    done.is_ok()
}

#[test]
fn a_file_that_appears_while_others_are_read_is_read_too() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 1)]);
    let spy = Spy::new(sim.process_new());
    let (other, mut once) = (catalog(&sim), true);
    spy.opening(move |_| {
        if std::mem::take(&mut once) {
            other.mark_open(open("s", 1, 2)).unwrap();
        }
    });
    assert_eq!(word(&on(spy).merged().unwrap(), "s"), "open");
}

#[test]
fn a_file_that_vanishes_under_a_reader_means_look_again() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("a", 1, 1, 1)]);
    say(&sim, vec![closed("b", 2, 1, 2)]);
    let spy = Spy::new(sim.process_new());
    let (other, mut once) = (catalog(&sim), true);
    spy.opening(move |_| {
        if std::mem::take(&mut once) {
            assert_eq!(other.maintain().unwrap().adopted, 2);
        }
    });
    let merged = on(spy).merged().unwrap();
    assert_eq!((word(&merged, "a"), word(&merged, "b")), ("1".into(), "2".into()));
    assert!(!merged.unreliable && merged.findings.is_empty());
}

#[test]
fn nothing_is_missed_while_others_adopt_all_the_time() {
    let sim = SimFs::new(1);
    say(&sim, vec![closed("s", 1, 1, 1)]);
    let writer = sim.process_new();
    let reader = catalog(&sim);
    std::thread::scope(|scope| {
        let busy = scope.spawn(move || {
            for _ in 0..200 {
                let heir = catalog(&writer);
                heir.maintain().unwrap();
                heir.close().unwrap();
            }
        });
        while !busy.is_finished() {
            let merged = reader.merged().unwrap();
            assert!(merged.unreliable || word(&merged, "s") == "1", "{}", word(&merged, "s"));
        }
    });
    assert_eq!(files(&sim).len(), 1);
}

#[test]
fn long_files_wait_until_there_are_many() {
    let sim = SimFs::new(1);
    let long = |n: u8| {
        let entries = (0..1500).map(|i| closed(&format!("{n}-{i}"), n, i + 1, 1));
        say(&sim, entries.collect())
    };
    for n in 1..=8 {
        long(n);
    }
    say(&sim, vec![closed("s", 9, 1, 1)]);
    let heir = catalog(&sim);
    let done = heir.maintain().unwrap();
    assert_eq!((done.adopted, done.left), (1, 8));
    long(10);
    let done = heir.maintain().unwrap();
    assert_eq!((done.adopted, done.left), (1, 8));
}

#[test]
fn leftovers_of_crashes_are_removed_and_the_living_are_not() {
    let sim = SimFs::new(1);
    let dir = directory(&sim);
    drop(dir.create_temp("catalog-").unwrap());
    let (alive, file) = dir.create_temp("catalog-").unwrap();
    assert!(file.try_lock().unwrap());
    let other = sim.process_new();
    let done = catalog(&other).maintain().unwrap();
    assert_eq!(done.temporary, 1);
    assert!(dir.stat(&alive).is_ok());
}

#[test]
fn compaction_keeps_what_matters_and_what_came_meanwhile() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.clone());
    let catalog = Arc::new(on(spy.clone()));
    catalog.mark_open(open("held", 1, 1)).unwrap();
    for n in 1..=15_000 {
        catalog.record(closed("busy", 2, n, n)).unwrap();
    }
    catalog.sync().unwrap();
    let long = bytes(&sim, &files(&sim)[0]).len();
    assert!(long > 1 << 20);
    let (other, mut once) = (Arc::clone(&catalog), true);
    spy.before(move |op| {
        if op == Op::Create && std::mem::take(&mut once) {
            other.record(closed("late", 3, 1, 5)).unwrap();
        }
        Ok(())
    });
    assert!(catalog.maintain().unwrap().compacted);
    spy.calm();
    assert_eq!(files(&sim).len(), 1);
    assert!(bytes(&sim, &files(&sim)[0]).len() < 8192);
    for disk in [sim.clone(), sim.crash_copy()] {
        let merged = self::catalog(&disk).merged().unwrap();
        let words = ["held", "busy", "late"].map(|name| word(&merged, name));
        assert_eq!(words, ["open", "15000", "5"]);
        assert!(merged.findings.is_empty());
    }
    catalog.record(closed("held", 1, 1, 2)).unwrap();
    catalog.close().unwrap();
    assert_eq!(seen(&sim.crash(), "held"), "2");
}

/// A catalog whose file is long, and mostly garbage.
fn full_of_garbage(spy: &Spy) -> Catalog {
    let catalog = on(spy.clone());
    catalog.mark_open(open("held", 1, 1)).unwrap();
    let mut entry = summary("busy", 2, 0, 0);
    entry.attributes = format!("{{\"a\":\"{}\"}}", "x".repeat(3000));
    for n in 1..=400 {
        entry.incarnation = writer(n);
        entry.message_count = n;
        catalog.record(CatalogEntry::Closed(entry.clone())).unwrap();
    }
    catalog.sync().unwrap();
    assert!(catalog.is_due());
    catalog
}

#[test]
fn a_crash_at_any_moment_of_a_compaction_loses_nothing() {
    let spy = Spy::new(SimFs::new(1));
    let catalog = Arc::new(full_of_garbage(&spy));
    let (other, mut late) = (Arc::clone(&catalog), 0);
    let copies = Arc::new(Mutex::new(Vec::new()));
    let (sim, all) = (spy.sim.clone(), copies.clone());
    spy.before(move |op| {
        if op == Op::Create {
            // While it is under way: this goes to both files.
            other.mark_open(open("late", 3, 1)).unwrap();
            late = 1;
        }
        for seed in 0..4 {
            all.lock().push((op, late, sim.crash_copy_with(Choice::Seed(seed))));
        }
        Ok(())
    });
    assert!(catalog.maintain().unwrap().compacted);
    assert!(!catalog.is_due());
    spy.calm();
    copies.lock().push((Op::Write, 1, spy.sim.crash_copy()));
    let copies = std::mem::take(&mut *copies.lock());
    assert!(copies.len() > 30, "{}", copies.len());
    for (op, late, copy) in copies {
        let merged = self::catalog(&copy).merged().unwrap();
        assert_eq!(["held", "busy"].map(|name| word(&merged, name)), ["open", "400"], "{op:?}");
        assert!(late == 0 || word(&merged, "late") == "open", "{op:?}");
        assert!(merged.findings.iter().all(|f| !f.damage), "{op:?}: {:?}", merged.findings);
    }
}

#[test]
fn a_compaction_that_fails_anywhere_loses_nothing_and_is_not_tried_at_once_again() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for at in 0.. {
            let spy = Spy::new(SimFs::new(1));
            let catalog = full_of_garbage(&spy);
            let count = Arc::new(AtomicUsize::new(0));
            let ops = count.clone();
            spy.before(move |_| match ops.fetch_add(1, Ordering::Relaxed) == at {
                true => Err(kind.into()),
                false => Ok(()),
            });
            let done = catalog.maintain();
            spy.calm();
            let met = count.load(Ordering::Relaxed) > at;
            if done.is_err() {
                // A new file whose name may not be durable does not say that it is.
                let published = |file: &&String| {
                    let (salt, bytes) = (salt_in(file).unwrap(), bytes(&spy.sim, file));
                    bytes.len() < 100 << 10 && Mark::of_published(salt, &bytes).is_some()
                };
                assert_eq!(files(&spy.sim).iter().find(published), None, "{kind:?} at {at}: {done:?}");
            }
            assert!(!catalog.is_due(), "{kind:?} at {at}: {done:?}");
            catalog.mark_open(open("late", 3, 1)).unwrap();
            catalog.record(closed("held", 1, 1, 7)).unwrap();
            for disk in [&spy.sim.crash_copy(), &spy.sim] {
                let merged = self::catalog(disk).merged().unwrap();
                assert_eq!(
                    ["late", "busy"].map(|name| word(&merged, name)),
                    ["open", "400"],
                    "{kind:?} at {at}"
                );
            }
            catalog.close().unwrap();
            let merged = self::catalog(&spy.sim.crash()).merged().unwrap();
            let words = ["late", "busy", "held"].map(|name| word(&merged, name));
            assert_eq!(words, ["open", "400", "7"], "{kind:?} at {at}: {done:?}");
            if !met {
                assert!(done.unwrap().compacted);
                break;
            }
        }
    }
}

/// Found by crashing everywhere: a session was removed, and the power cut took the rename that removes it, so it was
/// there again, longer than at its last clean close. Of the two dead catalog files one held that close, the other one
/// the removal. Both were taken over; as the removal had nothing left to speak against, it was not copied; and it was
/// unlinked first. Killed right there, a listing believed the old close and showed a stale count as current.
#[test]
fn a_removal_is_carried_as_long_as_a_file_that_it_speaks_against_can_be_seen() {
    let sim = SimFs::new(5);
    let long = CatalogEntry::Closed(Summary {
        attributes: format!("{{\"a\":\"{}\"}}", "x".repeat(99)),
        ..summary("s", 1, 1, 5)
    });
    say(&sim, vec![long]);
    say(&sim, vec![removed("s", 1, 2)]);
    let heir = catalog(&sim.process_new());
    sim.record();
    assert_eq!(heir.maintain().unwrap().adopted, 2);
    let points = sim.recorded();
    assert!(points.len() > 5);
    for point in points {
        let killed = point.kill_all();
        assert_eq!(seen(&killed, "s"), "none", "{}", point.label());
        for seed in 0..20 {
            assert_eq!(seen(&point.crash(Choice::Seed(seed)), "s"), "none", "{}", point.label());
        }
    }
    // The next one has nothing to carry any more.
    heir.close().unwrap();
    let next = catalog(&sim);
    next.maintain().unwrap();
    assert!(files(&sim).is_empty());
}

/// A session was closed with five messages, opened and killed, and somebody is about to open it again: his mark is
/// written, and not synced.
fn announced(sim: &SimFs, by: &Catalog) -> Catalog {
    let first = catalog(&sim.process_new());
    first.mark_open(open("other", 2, 1)).unwrap();
    first.record(closed("s", 1, 1, 5)).unwrap();
    first.sync().unwrap();
    let dying = sim.process_new();
    catalog(&dying).mark_open(open("s", 1, 2)).unwrap();
    dying.kill();
    drop(by.announce_open(open("s", 1, 3)).unwrap());
    first
}

/// No power cut shows the count of the first close as current.
fn never_stale(sim: &SimFs) {
    for seed in 0..20 {
        let word = seen(&sim.crash_copy_with(Choice::Seed(seed)), "s");
        assert!(word == "open" || word == "doubt", "{word} after cut {seed}");
    }
}

#[test]
fn what_another_has_not_synced_does_not_supersede_what_is_taken_over() {
    // His file is new, or has been synced since it had its name; or what he says is its first word.
    for synced in 0..3 {
        let sim = SimFs::new(1);
        let another = catalog(&sim.process_new());
        for n in 0..synced {
            another.mark_open(open("another", 3, n + 1)).unwrap();
        }
        let first = announced(&sim, &another);
        let heir = catalog(&sim.process_new());
        assert_eq!(heir.maintain().unwrap().adopted, 1, "{synced}");
        assert_eq!(word(&heir.merged().unwrap(), "s"), "open");
        never_stale(&sim);
        drop(first);
    }
}

/// What a damaged file has lost may have named any session.
#[test]
fn what_another_has_not_synced_does_not_hide_what_a_damaged_file_puts_in_doubt() {
    let sim = SimFs::new(1);
    let first = catalog(&sim.process_new());
    first.mark_open(open("other", 2, 1)).unwrap();
    first.record(closed("s", 1, 1, 5)).unwrap();
    first.sync().unwrap();
    let (dying, before) = (sim.process_new(), files(&sim));
    let lost = catalog(&dying);
    lost.mark_open(open("s", 1, 2)).unwrap();
    lost.mark_open(open("t", 5, 2)).unwrap();
    dying.kill();
    let name = files(&sim).into_iter().find(|name| !before.contains(name)).unwrap();
    let mut all = bytes(&sim, &name);
    all[crate::format::catalog::FRAMES + 12] ^= 1;
    put(&sim, &name, &all);
    never_stale(&sim);
    let another = catalog(&sim.process_new());
    another.mark_open(open("another", 3, 1)).unwrap();
    another.mark_open(open("another", 3, 2)).unwrap();
    drop(another.announce_open(open("s", 1, 3)).unwrap());
    assert_eq!(catalog(&sim.process_new()).maintain().unwrap().adopted, 1);
    never_stale(&sim);
    drop((first, lost));
}

/// What is taken over is appended behind what was said here since it was read, and holds no more.
#[test]
fn a_removal_during_an_adoption_is_the_last_word() {
    for (at, seed) in (0..3).flat_map(|at| (1..9).map(move |seed| (at, seed))) {
        let sim = SimFs::new(seed);
        say(&sim, vec![closed("s", 1, 1, 5)]);
        let spy = Spy::new(sim.process_new());
        let heir = Arc::new(on(spy.clone()));
        heir.mark_open(open("own", 3, 1)).unwrap();
        let (user, mut opened) = (heir.clone(), 0);
        spy.opening(move |_| {
            if opened == at {
                user.record(removed("s", 1, 1)).unwrap();
            }
            opened += 1;
        });
        assert_eq!(heir.maintain().unwrap().adopted, 1);
        spy.opening(|_| {});
        assert_eq!(word(&heir.merged().unwrap(), "s"), "none", "{at} {seed}");
    }
}

#[test]
fn a_file_whose_name_is_not_synced_does_not_supersede_what_is_taken_over() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.process_new());
    let another = on(spy.clone());
    let (heir, disk, adopted) = (catalog(&sim.process_new()), sim.clone(), Arc::new(AtomicUsize::new(0)));
    let count = adopted.clone();
    spy.before(move |op| {
        if op == Op::DirSync {
            count.store(heir.maintain().unwrap().adopted, Ordering::Relaxed);
            never_stale(&disk);
        }
        Ok(())
    });
    let first = announced(&sim, &another);
    assert_eq!(adopted.load(Ordering::Relaxed), 1);
    drop(first);
}

#[test]
fn what_is_not_synced_of_the_own_file_is_before_the_others_go() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.process_new());
    let heir = on(spy.clone());
    heir.mark_open(open("own", 3, 1)).unwrap();
    let first = announced(&sim, &heir);
    spy.fail(Op::Sync, io::ErrorKind::Other);
    heir.maintain().unwrap_err();
    spy.calm();
    never_stale(&sim);
    let before = files(&sim).len();
    assert_eq!(heir.maintain().unwrap().adopted, 1);
    assert_eq!(files(&sim).len(), before);
    never_stale(&sim);
    drop(first);
}

#[test]
fn a_compaction_keeps_what_another_supersedes_and_has_not_synced() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.process_new());
    let heir = full_of_garbage(&spy);
    let another = catalog(&sim.process_new());
    another.mark_open(open("another", 4, 1)).unwrap();
    heir.record(CatalogEntry::Open(open("s", 1, 2))).unwrap();
    heir.sync().unwrap();
    let first = catalog(&sim.process_new());
    first.mark_open(open("other", 5, 1)).unwrap();
    first.record(closed("s", 1, 1, 5)).unwrap();
    first.sync().unwrap();
    drop(another.announce_open(open("s", 1, 3)).unwrap());
    assert!(heir.maintain().unwrap().compacted);
    never_stale(&sim);
}
