//! Many callers, few syncs.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::spy::{Op, Spy};
use super::*;

#[test]
fn callers_at_the_same_time_share_a_sync() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.clone());
    let catalog = on(spy.clone());
    catalog.mark_open(open("first", 200, 1)).unwrap();
    // Each sync takes a while, so that the others arrive meanwhile.
    spy.before(|op| {
        if op == Op::Sync {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let before = spy.count(Op::Sync);
    let start = Barrier::new(16);
    std::thread::scope(|scope| {
        for n in 0..16 {
            let (catalog, start) = (&catalog, &start);
            scope.spawn(move || {
                start.wait();
                catalog.mark_open(open(&format!("{n}"), n, 1)).unwrap();
            });
        }
    });
    let syncs = spy.count(Op::Sync) - before;
    assert!((1..=4).contains(&syncs), "{syncs} syncs for 16 marks");
    let merged = self::catalog(&sim.crash()).merged().unwrap();
    for n in 0..16 {
        assert_eq!(word(&merged, &format!("{n}")), "open");
    }
}

/// Whoever gets an Ok has its mark on the disk, though syncs fail now and then.
#[test]
fn every_member_of_a_group_learns_its_own_fate() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.clone());
    let catalog = on(spy.clone());
    let mut syncs = 0;
    spy.before(move |op| {
        if op == Op::Sync {
            syncs += 1;
            std::thread::sleep(Duration::from_millis(1));
            if syncs % 9 == 5 {
                return Err(std::io::ErrorKind::Other.into());
            }
        }
        Ok(())
    });
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..8u8 {
            let (catalog, failed, disk) = (&catalog, &failed, &sim);
            scope.spawn(move || {
                for i in 0..10 {
                    let name = format!("{n}-{i}");
                    let mut mark = open(&name, n, 1);
                    mark.birth.0[0] = i;
                    match catalog.mark_open(mark) {
                        Ok(()) => assert_ne!(seen(&disk.crash_copy(), &name), "none"),
                        Err(_) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert!(failed.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_panic_of_the_leader_wakes_the_others() {
    let sim = SimFs::new(1);
    let spy = Spy::new(sim.clone());
    let catalog = on(spy.clone());
    catalog.mark_open(open("first", 200, 1)).unwrap();
    let mut once = true;
    spy.before(move |op| {
        if op == Op::Sync && std::mem::take(&mut once) {
            std::thread::sleep(Duration::from_millis(20));
            panic!("the file system panicked");
        }
        Ok(())
    });
    let outcomes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u8)
            .map(|n| {
                let catalog = &catalog;
                scope.spawn(move || catalog.mark_open(open(&format!("{n}"), n, 1)))
            })
            .collect();
        threads.into_iter().map(|t| t.join()).collect::<Vec<_>>()
    });
    assert_eq!(outcomes.iter().filter(|o| o.is_err()).count(), 1, "one thread panicked");
    let sim = sim.crash();
    for (n, outcome) in outcomes.iter().enumerate() {
        if matches!(outcome, Ok(Ok(()))) {
            assert_eq!(seen(&sim, &format!("{n}")), "open");
        }
    }
}
