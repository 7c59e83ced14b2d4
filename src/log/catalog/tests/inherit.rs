//! Going on in the file of an instance that is gone.

use std::io;

use super::super::file::decode;
use super::spy::{Op, Spy};
use super::*;
use crate::format::catalog::{FRAMES, HEADER, Header, MARK};

/// A store in which one instance had a session open, and closed it; its file is the only one.
fn one_closed() -> (SimFs, String) {
    let sim = SimFs::new(1);
    let first = catalog(&sim.process_new());
    first.mark_open(open("s", 1, 1)).unwrap();
    first.record(closed("s", 1, 1, 7)).unwrap();
    first.close().unwrap();
    let name = files(&sim).pop().unwrap();
    (sim, name)
}

#[test]
fn a_closed_file_is_gone_on_in_with_one_sync() {
    let (sim, name) = one_closed();
    let (before, end) = (bytes(&sim, &name), end(&sim, &name));
    let spy = Spy::new(sim.process_new());
    let next = on(spy.clone());
    assert!(next.go_on());
    assert!(!next.go_on(), "it has one now");
    assert_eq!(next.holder(&id("s")), None, "its last word is that the session is closed");
    next.mark_open(open("s", 1, 2)).unwrap();
    // Where the mark stands that tells how far it was durable before, nothing was written.
    let (salt, now) = (Header::decode(&before).unwrap().0.salt, bytes(&sim, &name));
    let (old, new) = (Mark::of(salt, &before).unwrap(), Mark::of(salt, &now).unwrap());
    assert_eq!(now[MARKS[old.index]..][..MARK], before[MARKS[old.index]..][..MARK]);
    assert_eq!((old.durable, new.index, new.pid), (end as u64, 1 - old.index, spy.sim.process()));
    assert_eq!((now.len() % 4096, now[new.durable as usize..].iter().all(|b| *b == 0)), (0, true));
    assert_eq!([Op::Sync, Op::DirSync, Op::Create].map(|op| spy.count(op)), [1, 0, 0]);
    assert_eq!(seen(&sim, "s"), "open");
    assert_eq!(seen(&sim.crash_copy(), "s"), "open");
    let holder = catalog(&sim.process_new()).holder(&id("s")).unwrap();
    assert_eq!(holder.pid, spy.sim.process(), "who writes it, and not who began it");
    next.record(closed("s", 1, 2, 9)).unwrap();
    assert_eq!(next.maintain().unwrap().adopted, 0);
    next.close().unwrap();
    assert_eq!((files(&sim), seen(&sim.crash_copy(), "s")), (vec![name.clone()], "9".to_owned()));
    let after = bytes(&sim, &name);
    assert_eq!((&after[..HEADER], &after[FRAMES..end]), (&before[..HEADER], &before[FRAMES..end]));
}

/// With so many sessions that maintenance leaves long files as they are, too.
#[test]
fn a_short_file_is_gone_on_in_beside_many_long_ones() {
    let (sim, mut recently) = (SimFs::new(1), 0);
    for life in 1..=4_000u64 {
        let catalog = catalog(&sim.process_new());
        recently += usize::from(catalog.go_on() && life > 3_500);
        let (mut b, name) = ([0; 16], format!("s{}", life % 1_000));
        b[..8].copy_from_slice(&(life % 1_000).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        catalog.mark_open(Open { birth: BirthId(b), ..open(&name, 1, life) }).unwrap();
        catalog.maintain().unwrap();
        let attributes = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
        let summary = Summary { birth: BirthId(b), attributes, ..summary(&name, 1, life, life) };
        catalog.record(CatalogEntry::Closed(summary)).unwrap();
        catalog.close().unwrap();
    }
    assert!(files(&sim).len() > 8, "{:?}", files(&sim));
    assert!(recently > 400, "{recently} of 500");
}

/// One after the other, as many as it takes until the file is long: then a new one is begun.
#[test]
fn hundreds_of_lives_leave_few_files() {
    let (sim, _) = one_closed();
    let mut syncs = Vec::new();
    for life in 2..1_000 {
        let spy = Spy::new(sim.process_new());
        let catalog = on(spy.clone());
        let went_on = catalog.go_on();
        catalog.mark_open(open("s", 1, life)).unwrap();
        catalog.maintain().unwrap();
        catalog.record(closed("s", 1, life, life)).unwrap();
        catalog.close().unwrap();
        syncs.push(spy.count(Op::Sync) + spy.count(Op::DirSync));
        assert_eq!(seen(&sim, "s"), life.to_string());
        assert_eq!(went_on, syncs.last() == Some(&2), "life {life}: {syncs:?}");
    }
    assert!(syncs.iter().filter(|n| **n == 2).count() > 990, "{syncs:?}");
    assert!(files(&sim).len() < 8, "{:?}", files(&sim));
}

#[test]
fn only_one_of_two_gets_it_and_the_other_begins_his_own() {
    let (sim, name) = one_closed();
    let (a, b) = (catalog(&sim.process_new()), catalog(&sim.process_new()));
    assert!(a.go_on());
    assert!(!b.go_on());
    b.mark_open(open("t", 2, 1)).unwrap();
    a.mark_open(open("s", 1, 2)).unwrap();
    assert_eq!((files(&sim).len(), seen(&sim, "s"), seen(&sim, "t")), (2, "open".into(), "open".into()));
    assert_eq!(b.maintain().unwrap().adopted, 0);
    a.close().unwrap();
    assert_eq!(b.maintain().unwrap().adopted, 1, "it is a dead one again");
    assert!(!files(&sim).contains(&name));
    assert_eq!(seen(&sim, "s"), "open");
}

#[test]
fn nobody_goes_on_in_a_file_that_is_not_all_durable_and_understood() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 6] = [
        ("a torn end", |bytes| *bytes.last_mut().unwrap() = 1),
        ("frames are missing", |bytes| bytes[FRAMES + 60..].fill(0)),
        ("its last frames were never synced, as far as it knows", |bytes| {
            let mut older = Header::decode(bytes).unwrap().1;
            older.step(&bytes.clone());
            let salt = Header::decode(bytes).unwrap().0.salt;
            (0..2).for_each(|index| put_mark(bytes, salt, index, older.offset()));
        }),
        ("no mark", |bytes| bytes[MARKS[0]..FRAMES].fill(0)),
        ("another machine's", |bytes| rebuilt(bytes, |header| header.host = "elsewhere".to_owned())),
        ("no generation is left behind it", |bytes| rebuilt(bytes, |header| header.generation = u32::MAX)),
    ];
    for (what, change) in changes {
        let (sim, name) = one_closed();
        let mut changed = bytes(&sim, &name);
        change(&mut changed);
        put(&sim, &name, &changed);
        let next = catalog(&sim.process_new());
        assert!(!next.go_on(), "{what}");
        next.mark_open(open("t", 2, 1)).unwrap();
        assert_eq!(files(&sim).len(), 2, "{what}");
        assert_eq!(bytes(&sim, &name), changed, "{what}");
    }
    // The same as it was will do.
    let (sim, name) = one_closed();
    let mut same = bytes(&sim, &name);
    rebuilt(&mut same, |_| ());
    put(&sim, &name, &same);
    assert!(catalog(&sim.process_new()).go_on());
}

/// The same entries behind another header.
fn rebuilt(bytes: &mut Vec<u8>, change: fn(&mut Header)) {
    let (mut header, _) = Header::decode(bytes).unwrap();
    let source = decode(&format!("{:016x}.cat", header.salt), &STORE, bytes.clone(), None).unwrap();
    change(&mut header);
    let (mut new, mut chain) = header.encode();
    new.resize(FRAMES, 0);
    for item in &source.items {
        chain.push(&item.entry(bytes).unwrap(), &mut new).unwrap();
    }
    let end = new.len();
    (0..2).for_each(|index| put_mark(&mut new, header.salt, index, end));
    *bytes = new;
}

/// What is in the file was durable before it had its name, and its name never was.
#[test]
fn nobody_goes_on_in_a_file_whose_name_a_power_cut_may_take() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.process_new());
    let dying = on(spy.clone());
    spy.fail(Op::DirSync, io::ErrorKind::Other);
    dying.mark_open(open("s", 1, 1)).unwrap_err();
    spy.sim.kill();
    let next = catalog(&sim.process_new());
    assert_eq!(files(&sim).len(), 1);
    assert!(!next.go_on());
    next.mark_open(open("s", 1, 1)).unwrap();
    assert_eq!(seen(&sim.crash(), "s"), "open");
    // One that was written since, and killed, has its name.
    let sim = SimFs::new(2);
    let dying = sim.process_new();
    let other = catalog(&dying);
    other.mark_open(open("s", 1, 1)).unwrap();
    other.mark_open(open("t", 2, 1)).unwrap();
    dying.kill();
    assert!(catalog(&sim.process_new()).go_on());
}

/// Between the opening of the file and the lock on it somebody took it over: what is written there is written nowhere.
#[test]
fn nobody_goes_on_in_a_file_that_has_lost_its_name() {
    let (sim, name) = one_closed();
    let spy = Spy::new(sim.process_new());
    let (other, file) = (sim.process_new(), name.clone());
    let mut once = true;
    spy.locking(move || {
        if !std::mem::take(&mut once) {
            return;
        }
        let adopter = catalog(&other);
        adopter.mark_open(open("t", 2, 1)).unwrap();
        adopter.maintain().unwrap();
        assert!(!files(&other).contains(&file));
    });
    let next = on(spy.clone());
    assert!(!next.go_on());
    next.mark_open(open("s", 1, 2)).unwrap();
    assert_eq!((seen(&sim.crash_copy(), "s"), files(&sim).len()), ("open".to_owned(), 2));
}

/// The index tells what stood in the file when it was longer: what is appended now, up to that length, it does not know.
#[test]
fn nobody_goes_on_in_a_file_that_has_an_index() {
    let (sim, name) = one_closed();
    put(&sim, &name.replace(".cat", ".idx"), b"an older one");
    assert!(!catalog(&sim.process_new()).go_on());
}

/// A file that could not be written any more was followed by another one of its instance, and both were taken over by
/// somebody who died in between. Were it the older one that stayed, who went on in it would write what the other one, brought
/// back by a power cut, would seem to be later than.
#[test]
fn of_two_files_of_an_instance_the_older_one_goes_first() {
    let mut hit = 0;
    for seed in 0..20 {
        for skipped in [false, true] {
            let sim = SimFs::new(seed);
            let spy = Spy::new(sim.process_new());
            let i = on(spy.clone());
            i.mark_open(open("s", 1, 1)).unwrap();
            i.mark_open(open("t", 2, 1)).unwrap();
            let older = files(&sim).remove(0);
            spy.fail(Op::Write, io::ErrorKind::Other);
            i.mark_open(open("u", 3, 1)).unwrap_err();
            spy.calm();
            i.record(closed("s", 1, 1, 7)).unwrap();
            i.close().unwrap();
            let newer = files(&sim).into_iter().find(|file| *file != older).unwrap();
            let spy = Spy::new(sim.process_new());
            let heir = on(spy.clone());
            heir.mark_open(open("x", 9, 1)).unwrap();
            // Somebody looks whether its owner lives; or the power of the heir to remove ends after the first file.
            let looked = directory(&sim).open(&older, Access::Read).unwrap();
            assert!(!skipped || looked.try_lock().unwrap());
            let mut left = 2;
            spy.before(move |op| {
                left -= usize::from(op == Op::Remove && left > 0);
                if op == Op::Remove && left == 0 { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
            });
            let _ = heir.maintain();
            spy.sim.kill();
            let there = files(&sim);
            assert!(there.contains(&newer) || !there.contains(&older), "{seed} {skipped}: {there:?}");
            hit += usize::from(there.contains(&newer));
        }
    }
    assert!(hit > 10, "{hit}");
}

/// Who adopts the file of a removal dropped it where no file spoke of the session. But the file that did was removed a moment
/// ago, and came back with a power cut, when that of the removal did not.
#[test]
fn a_removal_is_needed_until_what_it_speaks_against_is_gone_for_good() {
    for seed in 0..10 {
        let sim = SimFs::new(seed);
        let known = catalog(&sim.process_new());
        known.mark_open(open("s", 1, 1)).unwrap();
        known.record(closed("s", 1, 1, 5)).unwrap();
        let (remover, third) = (catalog(&sim.process_new()), catalog(&sim.process_new()));
        for (catalog, b) in [(&remover, 2), (&third, 4)] {
            catalog.mark_open(open("x", b, 1)).unwrap();
            catalog.mark_open(open("y", b + 1, 1)).unwrap();
        }
        known.close().unwrap();
        assert_eq!(remover.maintain().unwrap().adopted, 1);
        remover.record(removed("s", 1, 1)).unwrap();
        remover.close().unwrap();
        third.close().unwrap();
        let next = catalog(&sim.process_new());
        assert!(next.go_on());
        next.mark_open(open("z", 8, 1)).unwrap();
        next.maintain().unwrap();
        next.close().unwrap();
        for cut in 0..100 {
            let word = seen(&sim.crash_copy_with(crate::fs::Choice::Seed(cut)), "s");
            assert_eq!(word, "none", "{seed}, {cut}");
        }
    }
}

/// Two files of one instance: which of them is the later one could not be told any more.
#[test]
fn no_file_is_gone_on_in_that_has_a_sibling() {
    let (sim, name) = one_closed();
    let mut sibling = bytes(&sim, &name);
    rebuilt(&mut sibling, |header| (header.salt, header.generation) = (5, 1));
    put(&sim, "0000000000000005.cat", &sibling);
    assert!(!catalog(&sim.process_new()).go_on());
    let mut stranger = sibling;
    rebuilt(&mut stranger, |header| (header.instance, header.generation) = (77, 0));
    put(&sim, "0000000000000005.cat", &stranger);
    assert!(catalog(&sim.process_new()).go_on());
    // One that cannot be read may be one.
    put(&sim, "0000000000000006.cat", b"SLOG");
    assert!(!catalog(&sim.process_new()).go_on());
}

/// A file that fails is followed by a later one of the instance, also where somebody else began it.
#[test]
fn the_next_file_of_who_went_on_is_a_later_one_of_the_same_instance() {
    let (sim, name) = one_closed();
    let spy = Spy::new(sim.process_new());
    let next = on(spy.clone());
    assert!(next.go_on());
    next.mark_open(open("s", 1, 2)).unwrap();
    spy.fail(Op::Sync, io::ErrorKind::Other);
    next.mark_open(open("t", 2, 1)).unwrap_err();
    spy.calm();
    next.record(closed("s", 1, 2, 11)).unwrap();
    next.close().unwrap();
    let headers: Vec<_> = files(&sim)
        .iter()
        .map(|file| Header::decode(&bytes(&sim, file)).unwrap().0)
        .map(|header| (header.instance, header.generation))
        .collect();
    assert_eq!((headers.len(), headers[0].0), (2, headers[1].0));
    assert_eq!(headers[0].1.abs_diff(headers[1].1), 1);
    let heir = catalog(&sim.process_new());
    assert!(!heir.go_on(), "neither: one failed, and the other has a sibling");
    heir.maintain().unwrap();
    assert!(!files(&sim).contains(&name));
    assert_eq!(seen(&sim.crash_copy(), "s"), "11");
}

/// The process dies, or the power fails, before each of its steps: what the file said before is there, what was acknowledged
/// since is, and nothing else.
#[test]
fn it_may_end_at_any_step() {
    let mut steps = 0;
    while !go_on_until(steps) {
        steps += 1;
    }
    assert!(steps >= 5, "{steps} steps");
}

fn go_on_until(steps: usize) -> bool {
    let (sim, _) = one_closed();
    let spy = Spy::new(sim.process_new());
    let cut = spy.fail_after(steps);
    let next = on(spy.clone());
    assert!(next.go_on());
    let marked = next.mark_open(open("s", 1, 2)).is_ok();
    let told = marked && next.record(closed("s", 1, 2, 9)).is_ok() && next.close().is_ok();
    drop(next);
    spy.sim.kill();
    let allowed: &[&str] = match (marked, told) {
        (false, _) => &["7", "open"],
        (true, false) => &["open", "9"],
        (true, true) => &["9"],
    };
    let check = |disk: &SimFs, what: &str| {
        let word = seen(disk, "s");
        assert!(allowed.contains(&word.as_str()), "{what} before step {steps}: {word}");
        // Who comes then goes on, or not, and finds the same.
        let third = catalog(&disk.process_new());
        third.go_on();
        third.mark_open(open("t", 2, 1)).unwrap();
        third.maintain().unwrap();
        third.close().unwrap();
        assert_eq!(
            (seen(disk, "s"), seen(disk, "t")),
            (word, "open".to_owned()),
            "{what} before step {steps}"
        );
        assert_eq!(directory(disk).list().unwrap().len(), 1, "{what} before step {steps}");
    };
    if let Some(after) = cut.lock().take() {
        check(&after, "power cut");
    }
    check(&sim, "death");
    told
}
