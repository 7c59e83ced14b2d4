//! Several damages at once to random stores: flipped bits, blocks of zeros, blocks of noise, files that were cut.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;
use sessionlog::doctor::{CheckOptions, Repair, RepairOptions, dump, repair};
use sessionlog::fs::SimFs;
use sessionlog::{Batch, Keep, Message, NewMessage, Result, Session};

use crate::common::{Rng, SIM, sim_options, sim_read, sim_segments, sim_session, sim_write};

/// By archive (0: live) and sequence.
type Seen = BTreeMap<(u64, u64), String>;

/// All that can be read, and whether anything is said to be wrong.
fn everything(fs: &SimFs) -> (Seen, bool) {
    let store = sim_options(fs.clone()).create(false).read_only(true).open(SIM).unwrap();
    let mut out = Seen::new();
    let Ok(reader) = store.reader("s") else { return (out, true) };
    let mut trouble = reader.report().has_damage();
    let mut add = |archive: u64, message: Result<Message>| match message {
        Ok(m) => {
            let text = String::from_utf8(m.payload().to_vec()).unwrap();
            let old = out.insert((archive, m.seq()), text.clone());
            assert!(old.is_none_or(|old| old == text), "message {} is two", m.seq());
        }
        Err(_) => trouble = true,
    };
    reader.load().unwrap().for_each(|m| add(0, m));
    // One by one it must be the same.
    reader.info().unwrap().live.filter_map(|seq| reader.get(seq).transpose()).for_each(|m| add(0, m));
    for archive in reader.archives().unwrap() {
        reader.archived(archive.number).unwrap().for_each(|m| add(archive.number, m));
    }
    (out, trouble)
}

/// In messages.
const LARGEST_COMMIT: usize = 9;

fn work(session: &Session, rng: &mut Rng, count: &mut u64) {
    let mut text = |rng: &mut Rng, most: u64| {
        *count += 1;
        format!("message {count} {}", "x".repeat(rng.below(most) as usize))
    };
    match rng.below(12) {
        0 => _ = session.archive(Keep::Messages(rng.below(6))),
        1 => _ = session.truncate(),
        2 => session.patch_attributes(&json!({ "n": rng.below(100) })).unwrap_or_default(),
        3 if rng.chance(30) => {
            if let Some(first) = session.archives().unwrap_or_default().first() {
                session.remove_archive(first.number).unwrap();
            }
        }
        4 | 5 => {
            let batch = (0..2 + rng.below(LARGEST_COMMIT as u64 - 1))
                .fold(Batch::new(), |batch, _| batch.message(NewMessage::new(text(rng, 400).into_bytes())));
            session.append_batch(&batch).unwrap();
        }
        _ => _ = session.append(&text(rng, 900)).unwrap(),
    }
}

/// A store that some processes have written to, and whether the last one closed it.
fn build(rng: &mut Rng, seed: u64) -> (SimFs, bool) {
    let (mut fs, mut count, mut closed) = (SimFs::new(seed), 0, true);
    let rounds = 1 + rng.below(4);
    for round in 0..rounds {
        let options = sim_options(fs.clone()).segment_size(16 << 10).truncate_after(1 << (8 + rng.below(8)));
        let store = options.open(SIM).unwrap();
        let session = store.session("s").unwrap();
        session.append("the first of a process").unwrap();
        (0..1 + rng.below(25)).for_each(|_| work(&session, rng, &mut count));
        drop(session);
        closed = round + 1 < rounds || rng.chance(60);
        if closed {
            store.close().unwrap()
        } else {
            fs.kill()
        }
        drop(store);
        fs = fs.process_new();
    }
    (fs, closed)
}

/// What is done to what was written.
#[derive(Clone, Copy, PartialEq)]
enum Harm {
    Bits,
    Blocks,
    Cuts,
}

fn harm(fs: &SimFs, rng: &mut Rng, harm: Harm) -> (usize, String) {
    let dir = sim_session(fs);
    let names = sim_segments(&*dir);
    let mut what = String::new();
    let times = 1 + rng.below(if harm == Harm::Bits { 4 } else { 2 }) as usize;
    for _ in 0..times {
        let name = &names[rng.below(names.len() as u64) as usize];
        let mut bytes = sim_read(&*dir, name);
        let written = bytes.iter().rposition(|b| *b != 0).map_or(1, |last| last + 1);
        let at = rng.below(written as u64) as usize;
        match harm {
            Harm::Bits => {
                bytes[at] ^= 1 << rng.below(8);
                what += &format!(" {name} {at}");
            }
            Harm::Blocks => {
                let size = [64, 512, 4096][rng.below(3) as usize];
                let (from, zeros) = (at / size * size, rng.chance(50));
                let to = (from + size).min(bytes.len());
                bytes[from..to].iter_mut().for_each(|b| *b = if zeros { 0 } else { rng.next() as u8 });
                what += &format!(" {name} {from}..{to} {}", if zeros { "zeros" } else { "noise" });
            }
            Harm::Cuts => {
                bytes.truncate(at);
                what += &format!(" {name} cut at {at}");
                // A cut commit stands behind a lost one, too.
                if at > 0 && rng.chance(50) {
                    let flip = rng.below(at as u64) as usize;
                    bytes[flip] ^= 1 << rng.below(8);
                    what += &format!(" and {flip} flipped");
                }
            }
        }
        sim_write(&*dir, name, &bytes);
    }
    (times, what)
}

/// How many records that can be read say that an archive was removed.
fn removals(fs: &SimFs) -> usize {
    let (dir, options) = (sim_session(fs), CheckOptions::new().store(&sim_options(fs.clone())));
    let mut text = Vec::new();
    for name in sim_segments(&*dir) {
        dump(dir.path().join(name), &options, &mut text).unwrap();
    }
    String::from_utf8(text)
        .unwrap()
        .lines()
        .filter(|l| l.contains(" ok ") && l.contains(": ArchiveRemoved"))
        .count()
}

/// What a repair, and writing on, must not do to what could be read before.
/// `bits`: so many were flipped, and nothing else was done. `ended`: the log has its end, and every removal in it.
fn compare(good: &Seen, before: &Seen, after: &Seen, (closed, ended): (bool, bool), bits: Option<usize>) {
    let texts = |seen: &Seen| -> BTreeMap<u64, String> {
        seen.iter().map(|((_, seq), text)| (*seq, text.clone())).collect()
    };
    let (all, now) = (texts(good), texts(after));
    if let (true, Some(bits)) = (closed, bits) {
        let lost: Vec<u64> = all.keys().filter(|seq| !now.contains_key(seq)).copied().collect();
        assert!(
            lost.len() <= bits * LARGEST_COMMIT,
            "{bits} bits were flipped, and these are lost: {lost:?}"
        );
    }
    for ((archive, seq), text) in before.iter().filter(|(key, _)| good.contains_key(key)) {
        assert_eq!(now.get(seq), Some(text), "message {seq} of {archive} could be read, and now it is this");
        let kept = after.contains_key(&(*archive, *seq));
        // Of the archives that name a message one may have been lost.
        assert!(kept || *archive != 0 && after.keys().any(|(a, s)| s == seq && *a != 0), "{seq} moved");
    }
    for ((archive, seq), text) in after {
        assert!(all.get(seq).is_none_or(|was| was == text), "message {seq} is another");
        // Without its end a log that was not closed is one that never had it: the archive or the removal in it was not. And
        // a removal whose only record is lost, nothing else speaks of.
        if closed {
            assert!(!ended || all.contains_key(seq), "message {seq} came back");
            let archived = good.keys().any(|(a, s)| s == seq && *a != 0);
            assert!(*archive != 0 || good.contains_key(&(0, *seq)) || !archived, "{seq} is live again");
        }
    }
}

/// True if anything was mended.
fn run(seed: u64, kind: Harm, what: &mut String) -> bool {
    let mut rng = Rng::new(seed);
    let (fs, closed) = build(&mut rng, seed);
    let (good, trouble) = everything(&fs);
    assert!(!trouble, "there is trouble before there is damage");
    let removed = removals(&fs);
    let (times, harmed) = harm(&fs, &mut rng, kind);
    let ended = removals(&fs) == removed;
    *what = format!("closed: {closed},{harmed}");
    let (before, _) = everything(&fs);

    let options = RepairOptions::new().store(&sim_options(fs.clone()));
    let done: Repair = repair(SIM, &options).unwrap();
    assert!(done.skipped.is_empty(), "{:?}", done.skipped);
    let (after, trouble) = everything(&fs);
    assert!(!trouble, "there is damage after the repair: {:?}", done.steps);
    let again = repair(SIM, &options).unwrap();
    assert!(again.steps.is_empty(), "a second repair: {:?}", again.steps);
    compare(&good, &before, &after, (closed, ended), (kind == Harm::Bits).then_some(times));

    let store = sim_options(fs.clone()).create(false).open(SIM).unwrap();
    let session = store.open_session("s").unwrap();
    session.append("afterwards").unwrap();
    session.archive(Keep::Messages(2)).unwrap();
    session.truncate().unwrap();
    drop(session);
    store.close().unwrap();
    drop(store);
    let (last, trouble) = everything(&fs);
    assert!(!trouble, "there is damage after writing on");
    let last: BTreeMap<u64, &String> = last.iter().map(|((_, seq), text)| (*seq, text)).collect();
    after.iter().for_each(|((_, seq), text)| assert_eq!(last.get(seq), Some(&text), "lost by writing on"));
    !done.steps.is_empty()
}

#[allow(clippy::print_stderr, reason = "the numbers")]
fn many(seeds: std::ops::Range<u64>, kind: Harm) {
    let (mut mended, mut failures) = (0, Vec::new());
    for seed in seeds.clone() {
        let mut what = String::new();
        match catch_unwind(AssertUnwindSafe(|| run(seed, kind, &mut what))) {
            Ok(done) => mended += usize::from(done),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                failures.push(format!("seed {seed}, {what}: {text}"));
            }
        }
    }
    eprintln!("{seeds:?}: {mended} mended, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(mended > 100, "{mended}");
}

#[test]
fn several_flipped_bits_cost_the_commits_that_they_hit_and_a_repair_costs_nothing() {
    many(0..400, Harm::Bits);
}

#[test]
fn after_rotten_blocks_a_repair_costs_nothing_that_could_be_read() {
    many(1000..1400, Harm::Blocks);
}

#[test]
fn after_files_were_cut_a_repair_costs_nothing_that_could_be_read() {
    many(2000..2600, Harm::Cuts);
}
