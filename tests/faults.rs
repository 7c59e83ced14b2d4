//! Random failures of the disk under random ops: what was acknowledged is there, what was refused is not, and
//! what is unknown is one or the other, for good.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{
    Action, Op, Place, Rng, SIM, Spy, fill, kind, live, segments, session_dirs, sim_files, sim_options,
    sim_store, texts,
};
use sessionlog::fs::{Choice, SimFs};
use sessionlog::{Batch, ErrorKind, Keep, Options, Outcome, Session, Store};

/// Every message ever appended, and how many of them are archived.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    all: Vec<String>,
    base: usize,
}

fn open(spy: &Spy, large: bool) -> Store {
    let (segment, truncate) = if large { (128 << 10, u64::MAX) } else { (16 << 10, 6 << 10) };
    sim_options(spy.clone()).segment_size(segment).truncate_after(truncate).open(SIM).unwrap()
}

/// What the session holds, read through archives and the live range.
fn found(session: &Session) -> Model {
    let mut all = Vec::new();
    for archive in session.archives().unwrap() {
        assert_eq!(archive.seqs.start, all.len() as u64);
        all.extend(texts(session.archived(archive.number).unwrap()));
    }
    let base = all.len();
    all.extend(live(session));
    assert_eq!(session.info().map_or(0..0, |i| i.live), base as u64..all.len() as u64);
    Model { all, base }
}

/// Makes about one call in `rate` fail, of those that change something.
fn storm(spy: &Spy, seed: u64, rate: u64) {
    let rng = std::sync::Mutex::new(Rng::new(seed));
    spy.hook(move |c| {
        let mut rng = rng.lock().unwrap();
        let changes =
            [Op::Create, Op::CreateDir, Op::Write, Op::Sync, Op::SyncDir, Op::Rename, Op::Remove, Op::SetLen];
        if !changes.contains(&c.op) || rng.below(rate) != 0 {
            return Action::Go;
        }
        match (c.op, rng.below(3)) {
            (Op::Write, 0) => Action::Short(1 + rng.below(40) as usize),
            (Op::Write, 1) => Action::ENOSPC,
            _ => Action::EIO,
        }
    });
}

/// Returns how many ops were refused, how many had an unknown outcome, and how often a segment was mapped. Sealed segments of
/// a `large` session are mapped while it is written: [`Spy`] looks that nothing of that is ever written again.
fn run(seed: u64, large: bool) -> (u64, u64, u64) {
    let (mut refused, mut unknown, mut maps) = (0, 0, 0);
    let mut rng = Rng::new(seed);
    let mut fs = SimFs::new(seed);
    let mut spy = Spy::new(fs.clone());
    let mut store = open(&spy, large);
    let mut session = store.session("s").unwrap();
    let mut model = Model::default();
    for step in 0..60 {
        if large && step % 20 == 0 {
            let many: Vec<String> = (0..20).map(|i| format!("{i}:{}", "x".repeat(30 << 10))).collect();
            for some in many.chunks(7) {
                session.append_batch(&some.iter().collect::<Batch<'_>>()).unwrap();
            }
            model.all.extend(many);
            assert_eq!(found(&session), model, "seed {seed}, step {step}");
        }
        storm(&spy, rng.next(), 3 + rng.below(30));
        let mut after = model.clone();
        let result = match rng.below(10) {
            0..=4 => {
                let text = format!("{}:{}", model.all.len(), "x".repeat(rng.below(1500) as usize));
                after.all.push(text.clone());
                session.append(&text).map(|done| assert_eq!(done.seq(), model.all.len() as u64))
            }
            5 => {
                let new: Vec<String> =
                    (0..1 + rng.below(20)).map(|i| format!("{}", model.all.len() as u64 + i)).collect();
                after.all.extend(new.iter().cloned());
                session.append_batch(&new.iter().collect::<Batch<'_>>()).map(drop_done)
            }
            6 | 7 if !model.all.is_empty() => {
                let keep = rng.below(12);
                after.base = after.base.max(after.all.len().saturating_sub(keep as usize));
                session
                    .archive(Keep::Messages(keep))
                    .map(|done| assert_eq!(done.live.start, after.base as u64))
            }
            8 if !model.all.is_empty() => session.truncate(),
            _ => session.clone().close(),
        };
        spy.calm();
        let when = format!("seed {seed}, step {step}: {result:?}");
        match result {
            Ok(()) => model = after,
            Err(e) if e.outcome() == Outcome::NotApplied && e.kind() != ErrorKind::Poisoned => refused += 1,
            Err(_) => {
                unknown += 1;
                session = store.session("s").unwrap_or_else(|e| panic!("{when}: {e}"));
                let now = found(&session);
                assert!(now == model || now == after, "{when}: neither what it was nor what it was to be");
                model = now;
                if rng.chance(50) {
                    // What was seen is on disk from the next acknowledged op on.
                    session
                        .patch_attributes(&serde_json::json!({"step": step}))
                        .unwrap_or_else(|e| panic!("{when}: {e}"));
                }
            }
        }
        assert_eq!(found(&session), model, "{when}");
        if rng.chance(15) {
            // A good op first: a state that was only seen may go with the power, one that was acknowledged may not.
            if session.sync().is_err() {
                // The storm met the background: it is said at the next call, and what was acknowledged is there.
                session = store.session("s").unwrap_or_else(|e| panic!("{when}: {e}"));
                assert_eq!(found(&session), model, "{when}");
            }
            session.append("sure").unwrap_or_else(|e| panic!("{when}: {e}"));
            model.all.push("sure".into());
            if rng.chance(50) {
                fs = fs.crash();
            } else {
                fs.kill();
                fs = fs.process_new();
            }
            maps += spy.counts().maps;
            spy = Spy::new(fs.clone());
            store = open(&spy, large);
            session = store.session("s").unwrap_or_else(|e| panic!("{when}, power cut: {e}"));
            let report = session.report().unwrap();
            assert!(!report.has_damage(), "{when}, power cut: {report:?}");
            assert_eq!(found(&session), model, "{when}, power cut");
        }
    }
    (refused, unknown, maps + spy.counts().maps)
}

fn drop_done(_: sessionlog::Appended) {}

#[test]
fn whatever_fails_the_outcome_that_was_told_is_the_one_that_is_found() {
    let mut met = (0, 0);
    for seed in 0..40 {
        let (refused, unknown, _) = run(seed, false);
        met = (met.0 + refused, met.1 + unknown);
    }
    assert!(met.0 > 50 && met.1 > 50, "the storm was too mild: {met:?}");
}

#[test]
fn what_was_mapped_never_changes_whatever_fails() {
    let mut met = (0, 0, 0);
    for seed in 0..12 {
        let (refused, unknown, maps) = run(seed, true);
        met = (met.0 + refused, met.1 + unknown, met.2 + maps);
    }
    assert!(met.0 > 15 && met.1 > 15 && met.2 > 100, "{met:?}");
}

#[test]
fn a_commit_that_may_be_taken_back_is_not_mapped_by_a_reader_elsewhere() {
    let (place, spy) = (Place::new(), Spy::disk());
    let store = Options::new().create(true).fs(Arc::new(spy.clone())).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    for _ in 0..2 {
        // The second tells that the first is durable.
        session.append_batch(&(0..20).map(|_| vec![b'x'; 30 << 10]).collect::<Batch<'_>>()).unwrap();
    }
    let elsewhere = spy.other_process();
    let reader = Options::new().fs(Arc::new(elsewhere.clone())).open(place.path()).unwrap();
    // All but the zeros at its end is written, so that it looks whole, and then the write fails.
    let (calls, seen) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let found = seen.clone();
    spy.hook(move |c| match c.op {
        Op::Write if c.path.extension().is_some_and(|e| e == "log") => {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Action::Short(c.len - 50),
                1 => {
                    let session = reader.reader("s").unwrap();
                    found.store(session.load().unwrap().map(Result::unwrap).count() as u64, Ordering::SeqCst);
                    Action::EIO
                }
                _ => Action::Go,
            }
        }
        _ => Action::Go,
    });
    let mut payload = vec![b'x'; 1000];
    payload.resize(1100, 0);
    let error = session.append(payload).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    assert_eq!(seen.load(Ordering::SeqCst), 41, "it was not to be seen");
    spy.calm();
    session.append("next").unwrap();
    assert_eq!(session.message_count().unwrap(), 41);
    assert_eq!(elsewhere.counts().maps, 0);
}

/// The sync behind the name of a new session fails like this.
fn creation_in_doubt(action: Action) {
    let spy = Spy::new(SimFs::new(1));
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    store.session("warm").unwrap().append("warm").unwrap();
    let session = store.session("s").unwrap();
    let named = Arc::new(AtomicBool::new(false));
    spy.once(0, action, move |c| {
        let was = named.load(Ordering::SeqCst);
        named.fetch_or(c.op == Op::Rename, Ordering::SeqCst);
        was && c.op == Op::SyncDir
    });
    let error = session.append("one").unwrap_err();
    assert_eq!(spy.hits(), 1);
    spy.calm();
    // Not `NoSpace`, of which callers are told that nothing was applied, and that it may be tried again.
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Poisoned, Outcome::Unknown), "{error}");
    assert_eq!(live(&session), ["one"]);
}

#[test]
fn a_session_whose_name_may_not_be_durable_is_not_created_again_with_its_first_append() {
    creation_in_doubt(Action::ENOSPC);
    creation_in_doubt(Action::EIO);
    // Of which nobody may think that another process was faster.
    creation_in_doubt(Action::Fail(17));
}

#[test]
fn a_creation_that_fails_at_any_step_leaves_nothing_or_all_of_it() {
    let changes = |op: Op| {
        matches!(
            op,
            Op::Create
                | Op::CreateDir
                | Op::Rename
                | Op::Remove
                | Op::SyncDir
                | Op::Write
                | Op::SetLen
                | Op::Sync
        )
    };
    for (action, warm) in
        [(Action::EIO, false), (Action::EIO, true), (Action::ENOSPC, false), (Action::ENOSPC, true)]
    {
        let (mut step, mut refused) = (0, 0);
        loop {
            let fs = SimFs::new(step + 7);
            let spy = Spy::new(fs.clone());
            let store = sim_options(spy.clone()).open(SIM).unwrap();
            if warm {
                store.session("warm").unwrap().append("m").unwrap();
            }
            let session = store.session("created").unwrap();
            let here = std::thread::current().id();
            spy.once(step, action, move |c| std::thread::current().id() == here && changes(c.op));
            let created = session.append("m");
            let hit = spy.hits() > 0;
            spy.calm();
            let files = sim_files(&fs);
            let logs =
                files.keys().filter(|path| path.contains("/created~") && path.ends_with(".log")).count();
            if let Err(e) = &created {
                // Nothing is left, under no name, and the next attempt makes it.
                if e.outcome() == Outcome::NotApplied {
                    refused += 1;
                    assert_eq!(
                        (logs, files.keys().filter(|path| path.contains("new-")).count()),
                        (0, 0),
                        "{step}: {e}"
                    );
                }
                store.session("created").unwrap().append("again").unwrap();
            }
            for fs in [&fs, &fs.crash_copy(), &fs.crash_copy_with(Choice::Seed(step))] {
                let listing = sim_store(&fs.process_new()).sessions().unwrap();
                assert_eq!(
                    (listing.sessions.len(), listing.unreadable.len()),
                    (1 + usize::from(warm), 0),
                    "{step}"
                );
            }
            if !hit {
                assert_eq!(logs, 1);
                break;
            }
            step += 1;
        }
        assert!(refused > 6 && step > refused, "{refused} of {step}");
    }
}

#[test]
fn the_mark_of_a_session_that_was_not_made_is_taken_back() {
    let fs = SimFs::new(1);
    let spy = Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    store.session("warm").unwrap().append("m").unwrap();
    let said = |id: &str| -> usize {
        let files = sim_files(&fs);
        let catalogs = files.iter().filter(|(path, _)| path.ends_with(".cat"));
        catalogs.map(|(_, bytes)| bytes.windows(id.len()).filter(|w| *w == id.as_bytes()).count()).sum()
    };
    spy.once(0, Action::EIO, |c| c.is(Op::Sync, ".log"));
    assert_eq!(store.session("created").unwrap().append("m").unwrap_err().outcome(), Outcome::NotApplied);
    spy.calm();
    assert_eq!(said("created"), 2);
    store.session("created").unwrap().append("m").unwrap();
    assert_eq!(said("created"), 3);
}

/// The body of a long commit has a write of its own. What of it was written when that fails is taken back too.
#[test]
fn a_long_commit_that_fails_in_its_body_is_taken_back_whole() {
    let (place, spy) = (Place::new(), Spy::disk());
    let store = Options::new().create(true).fs(Arc::new(spy.clone())).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    session.append("before").unwrap();
    let met = Arc::new(AtomicU64::new(0));
    let seen = met.clone();
    spy.hook(move |c| match c.op {
        Op::Write if c.path.extension().is_some_and(|e| e == "log") && seen.load(Ordering::SeqCst) == 1 => {
            seen.store(2, Ordering::SeqCst);
            Action::EIO
        }
        Op::Write if c.len == 100_000 => {
            seen.store(1, Ordering::SeqCst);
            Action::Short(70_000)
        }
        _ => Action::Go,
    });
    let error = session.append(vec![b'q'; 100_000]).unwrap_err();
    assert_eq!((error.outcome(), met.load(Ordering::SeqCst)), (Outcome::NotApplied, 2), "{error}");
    let dirs = session_dirs(&place.path());
    let logs: Vec<Vec<u8>> =
        dirs.iter().flat_map(|d| segments(d)).map(|f| std::fs::read(f).unwrap()).collect();
    assert!(!logs.is_empty() && logs.iter().all(|log| !log.windows(8).any(|w| w == b"qqqqqqqq")));
    session.append("after").unwrap();
    let reader = Options::new().fs(Arc::new(spy.other_process())).open(place.path()).unwrap();
    assert_eq!(texts(reader.reader("s").unwrap().load().unwrap()), ["before", "after"]);
}

/// Two looks agree that something is missing, for its remover got no further.
#[test]
fn a_session_that_is_removed_while_a_reader_opens_it_is_not_found_and_not_damaged() {
    let place = Place::new();
    let slow = Spy::disk();
    let remover = Options::new()
        .create(true)
        .segment_size(16 << 10)
        .fs(Arc::new(slow.clone()))
        .open(place.path())
        .unwrap();
    let session = remover.session("s").unwrap();
    fill(&session, 3);
    session.archive(Keep::Nothing).unwrap();
    session.truncate().unwrap();
    fill(&session, 3);
    session.close().unwrap();
    // It gets no further than the first of its files.
    slow.hook(|call| if call.is(Op::Remove, "00000002.log") { Action::EIO } else { Action::Go });
    let looking = Spy::disk();
    let reading = Options::new().read_only(true).fs(Arc::new(looking.clone())).open(place.path()).unwrap();
    let once = AtomicBool::new(true);
    looking.hook(move |call| {
        if call.is(Op::List, "/s~") && once.swap(false, Ordering::SeqCst) {
            assert!(remover.remove_session("s").unwrap());
        }
        Action::Go
    });
    let reader = reading.reader("s");
    let found = reader.as_ref().ok().map(|r| r.report());
    assert_eq!(kind(reader), Some(ErrorKind::NotFound), "{found:#?}");
}
