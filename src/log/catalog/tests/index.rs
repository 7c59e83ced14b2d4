//! The index beside a long file: it finds what reading all of it finds, or is not used.

use std::io;

use parking_lot::Mutex;

use super::spy::{Op, Spy};
use super::*;
use crate::fs::Choice;
use crate::log::catalog::witness::Witness;
use crate::log::catalog::{files, index};

const SESSIONS: u32 = 700;

fn life(n: u32) -> BirthId {
    // Of three in a row the first halves are the same, so that they lie at one place of the index.
    let mut birth = [0; 16];
    birth[..4].copy_from_slice(&(n / 3).wrapping_mul(0x9e37_79b1).to_le_bytes());
    birth[12..].copy_from_slice(&n.to_le_bytes());
    BirthId(birth)
}

fn name(n: u32) -> String {
    format!("agent:main:{n}")
}

fn mark(n: u32, number: u64) -> Open {
    Open { birth: life(n), ..open(&name(n), 0, number) }
}

fn end(n: u32, number: u64) -> CatalogEntry {
    CatalogEntry::Closed(Summary { birth: life(n), ..summary(&name(n), 0, number, u64::from(n)) })
}

/// Many sessions, each opened and all but every fifth closed, some more than once; and how the instance ends.
fn fill(catalog: &Catalog) {
    for n in 0..SESSIONS {
        for number in 1..=1 + u64::from(n % 3) {
            catalog.record(CatalogEntry::Open(mark(n, number))).unwrap();
            if n % 5 != 0 {
                catalog.record(end(n, number)).unwrap();
            }
        }
    }
    catalog.sync().unwrap();
}

fn long() -> (SimFs, String) {
    long_of(1)
}

/// With other salts for another seed.
fn long_of(seed: u64) -> (SimFs, String) {
    let fs = SimFs::new(seed);
    let writer = catalog(&fs);
    fill(&writer);
    writer.close().unwrap();
    let name = files(&fs).remove(0);
    (fs, name)
}

/// What is known of every life, and of some that are not there: looked up alone, or from all files.
fn witnesses(fs: &SimFs, alone: bool) -> Vec<Option<Witness>> {
    let all =
        crate::log::catalog::witness::Witnesses::new(&files::read_all(&*directory(fs), &STORE).unwrap());
    (0..SESSIONS + 50)
        .map(|n| match alone {
            // A new instance for each: it has looked up nothing yet.
            true => catalog(fs).witness(&id(&name(n)), &life(n)).unwrap(),
            false => all.get(&life(n)),
        })
        .collect()
}

/// The bytes that are in memory once this life was looked up.
fn held(fs: &SimFs, n: u32) -> u64 {
    let files = files::read_of(&*directory(fs), &STORE, &[life(n)]).unwrap();
    files.sources.iter().map(|source| source.bytes.len() as u64).sum()
}

fn indexes(fs: &SimFs) -> usize {
    files::names(&*directory(fs)).unwrap().indexes.len()
}

#[test]
fn what_an_index_finds_is_what_reading_everything_finds() {
    let (fs, file) = long();
    assert_eq!(indexes(&fs), 1);
    let known = witnesses(&fs, false);
    assert_eq!(witnesses(&fs, true), known);
    assert!(known[4].is_some_and(|w| w.position == Some(14) && w.incarnation.number == 2));
    assert!(known[5].is_some_and(|w| w.open && w.incarnation.number == 3));
    assert!(known[SESSIONS as usize..].iter().all(Option::is_none));
    // Another file that speaks of some of them, of one in contradiction to the first.
    let other = catalog(&fs);
    other.mark_open(mark(3, 9)).unwrap();
    other.mark_open(Open { incarnation: Incarnation { number: 1, nonce: 0 }, ..mark(6, 1) }).unwrap();
    other.close().unwrap();
    let known = witnesses(&fs, false);
    assert_eq!(witnesses(&fs, true), known);
    assert!(known[3].is_some_and(|w| w.open && w.incarnation.number == 9));
    assert!(known[6].is_some_and(|w| w.doubt));
    assert!(files(&fs).contains(&file));
}

#[test]
fn an_index_is_read_instead_of_the_file() {
    let (fs, file) = long();
    let whole = bytes(&fs, &file).len() as u64;
    assert!(whole > 2 * index::LONG, "{whole}");
    let found: Vec<u64> = (0..SESSIONS).map(|n| held(&fs, n)).collect();
    assert!(found.iter().all(|len| (1..1000).contains(len)), "{found:?}");
    assert_eq!(held(&fs, SESSIONS + 40), 0);
    directory(&fs).remove_file(&index::name_of(&file)).unwrap();
    assert_eq!(held(&fs, 7), whole);
}

#[test]
fn an_index_that_is_damaged_or_of_another_file_is_not_used() {
    let (fs, file) = long();
    let name = index::name_of(&file);
    let (good, known) = (bytes(&fs, &name), witnesses(&fs, false));
    // Every byte of the first page that means something, and some of each other.
    let places = (0..40).chain((40..good.len()).step_by(97));
    for at in places {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        put(&fs, &name, &bad);
        for n in (0..SESSIONS).step_by(41) {
            let witness = catalog(&fs).witness(&id(&self::name(n)), &life(n)).unwrap();
            assert_eq!(witness, known[n as usize], "byte {at}, session {n}");
        }
    }
    for bad in [vec![], vec![0; good.len()], good[..4096].to_vec(), good[..good.len() - 1].to_vec()] {
        put(&fs, &name, &bad);
        assert_eq!(witnesses(&fs, true), known, "{} bytes", bad.len());
    }
    let (other, another) = long_of(2);
    let stale = bytes(&other, &index::name_of(&another));
    assert_eq!(stale.len(), good.len());
    assert_ne!(another, file);
    put(&fs, &name, &stale);
    assert_eq!(witnesses(&fs, true), known);
    // Zeros in the midst of a file of the right length: what a power cut may leave.
    let mut holes = good.clone();
    holes[4096..8192].fill(0);
    put(&fs, &name, &holes);
    assert_eq!(witnesses(&fs, true), known);
}

#[test]
fn an_index_never_hides_that_an_entry_is_damaged() {
    let (fs, file) = long();
    let (good, known) = (bytes(&fs, &file), witnesses(&fs, false));
    for at in (1536..good.len()).step_by(1013) {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        put(&fs, &file, &bad);
        let doubted = witnesses(&fs, false);
        for n in (0..SESSIONS).step_by(7) {
            let alone = catalog(&fs).witness(&id(&name(n)), &life(n)).unwrap();
            // What was hit is as much in doubt as if all had been read; what was not is known as it was.
            assert!(
                [known[n as usize], doubted[n as usize]].contains(&alone),
                "byte {at}, session {n}: {alone:?}"
            );
        }
    }
    // The frame of one session.
    let hit = good.windows(14).position(|w| w == b"agent:main:333").unwrap();
    let mut bad = good.clone();
    bad[hit] ^= 1;
    put(&fs, &file, &bad);
    let alone = catalog(&fs).witness(&id(&name(333)), &life(333)).unwrap();
    assert!(alone.is_none_or(|w| w.doubt), "{alone:?}");
}

#[test]
fn the_file_of_an_instance_that_was_killed_gets_its_index_later() {
    let fs = SimFs::new(1);
    let killed = catalog(&fs);
    fill(&killed);
    fs.kill();
    let fs = fs.process_new();
    assert_eq!(indexes(&fs), 0);
    let next = catalog(&fs);
    next.mark_open(mark(SESSIONS + 60, 1)).unwrap();
    let done = next.maintain().unwrap();
    assert_eq!((done.left, indexes(&fs)), (1, 1));
    assert_eq!(witnesses(&fs, true), witnesses(&fs, false));
    assert!(held(&fs, 7) < 3 * 4096);
}

#[test]
fn a_long_file_whose_damage_was_met_is_taken_over_by_whoever_writes_next() {
    let (fs, file) = long();
    let mut bad = bytes(&fs, &file);
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    put(&fs, &file, &bad);
    // Nobody has met it: it is left unread.
    let writer = catalog(&fs);
    writer.mark_open(mark(SESSIONS + 60, 1)).unwrap();
    assert_eq!((writer.maintain().unwrap().left, indexes(&fs)), (1, 1));
    // One that only reads changes nothing.
    let reader = Catalog::new(Arc::new(fs.clone()), directory(&fs), STORE, true);
    assert!(reader.current().unwrap().unreliable && indexes(&fs) == 1 && !writer.is_due());
    // One that lists, in whatever process, takes the index away, and only once.
    let lister = catalog(&fs);
    assert!(lister.current().unwrap().unreliable);
    assert!(lister.is_due() && indexes(&fs) == 0);
    assert_eq!(writer.maintain().unwrap().adopted, 1);
    assert!(!catalog(&fs).merged().unwrap().unreliable);
    lister.maintain().unwrap();
    assert!(!lister.is_due());
}

#[test]
fn an_index_goes_with_its_file() {
    let (fs, file) = long();
    // An instance that has said as much takes it over.
    let next = catalog(&fs);
    for n in 0..SESSIONS {
        next.record(end(n, 7)).unwrap();
    }
    (0..3 * SESSIONS).for_each(|n| next.record(end(n, 8)).unwrap());
    next.sync().unwrap();
    assert_eq!(next.maintain().unwrap().adopted, 1);
    assert_eq!(indexes(&fs), 0);
    // One whose file is not there any more.
    put(&fs, &index::name_of(&file), b"an index");
    assert_eq!(indexes(&fs), 1);
    next.maintain().unwrap();
    assert_eq!(indexes(&fs), 0);
    next.close().unwrap();
    assert_eq!(indexes(&fs), 1);
    assert!(catalog(&fs).merged().unwrap().findings.is_empty());
}

#[test]
fn whatever_fails_when_an_index_is_written_nothing_is_lost() {
    for op in [Op::Create, Op::Write, Op::Remove] {
        for error in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            let sim = SimFs::new(1);
            let spy = Spy::new(sim.clone());
            let writer = on(spy.clone());
            fill(&writer);
            let known = witnesses(&sim, false);
            spy.fail(op, error);
            // The durability mark may fail to be written too: nobody waits for it.
            writer.close().unwrap();
            spy.calm();
            assert_eq!(witnesses(&sim, true), known, "{op:?} {error:?}");
            assert_eq!(witnesses(&sim.crash(), true), known, "{op:?} {error:?}, and a crash");
        }
    }
}

#[test]
fn after_a_crash_at_any_moment_of_a_close_the_same_is_known() {
    let spy = Spy::new(SimFs::new(1));
    let writer = on(spy.clone());
    fill(&writer);
    let some = |fs: &SimFs| -> Vec<_> {
        let lives = (0..SESSIONS + 50).step_by(23);
        lives.map(|n| catalog(fs).witness(&id(&name(n)), &life(n)).unwrap()).collect()
    };
    let known = some(&spy.sim);
    let copies = Arc::new(Mutex::new(Vec::new()));
    let (sim, all) = (spy.sim.clone(), copies.clone());
    spy.before(move |op| {
        (0..20).for_each(|seed| all.lock().push((op, sim.crash_copy_with(Choice::Seed(seed)))));
        Ok(())
    });
    writer.close().unwrap();
    spy.calm();
    for seed in 0..100 {
        copies.lock().push((Op::Sync, spy.sim.crash_copy_with(Choice::Seed(seed))));
    }
    let copies = std::mem::take(&mut *copies.lock());
    assert!(copies.len() > 150, "{}", copies.len());
    let mut whole = 0;
    for (op, copy) in copies {
        assert_eq!(some(&copy), known, "{op:?}");
        whole += usize::from(held(&copy, 7) > index::LONG);
        // Whoever comes next mends what there is of an index, if he can see that it is none.
        catalog(&copy).maintain().unwrap();
        assert_eq!(some(&copy), known, "{op:?}, and a maintenance");
    }
    assert!(whole > 40, "{whole} had no index, or half of one");
}
