//! Archives: what is kept, what they hold, how they go.

use serde_json::{Value, json};
use sessionlog::fs::SimFs;
use sessionlog::{Batch, ErrorKind, Keep, NewMessage, Options, Outcome, Session, Store, limits};

use crate::common::{
    Place, Rng, SIM, fill, kind, live, numbered, segments, session_dirs, sim_options, sim_read, sim_segments,
    sim_session, sim_store, texts,
};

/// Turns of three messages each, the first of which starts the turn.
fn turns(store: &Store, count: u64) -> Session {
    let session = store.session("s").unwrap();
    for i in 0..count * 3 {
        let text = format!("m{i}");
        let message = NewMessage::from(&text).tokens(10);
        session.append(if i % 3 == 0 { message.turn_start() } else { message }).unwrap();
    }
    session
}

#[test]
fn what_stays_live_is_told_by_messages_turns_tokens_or_bytes() {
    let cases = [
        (Keep::Nothing, 30),
        (Keep::Messages(0), 30),
        (Keep::Messages(7), 23),
        (Keep::Messages(30), 0),
        (Keep::Messages(u64::MAX), 0),
        (Keep::Turns(0), 30),
        (Keep::Turns(1), 27),
        (Keep::Turns(4), 18),
        (Keep::Turns(10), 0),
        (Keep::Turns(11), 0),
        (Keep::Tokens(0), 30),
        (Keep::Tokens(9), 30),
        (Keep::Tokens(45), 26),
        (Keep::Tokens(300), 0),
        (Keep::Tokens(u64::MAX), 0),
        (Keep::Bytes(2), 30),
        (Keep::Bytes(9), 27),
        (Keep::Bytes(u64::MAX), 0),
    ];
    for (keep, upto) in cases {
        let fs = SimFs::new(1);
        let store = sim_options(fs).open(SIM).unwrap();
        let session = turns(&store, 10);
        let done = session.archive(keep).unwrap();
        assert_eq!((done.archived, done.live), (0..upto, upto..30), "{keep:?}");
        assert_eq!(done.archive, (upto > 0).then_some(1), "{keep:?}");
        assert_eq!(live(&session), numbered(upto..30), "{keep:?}");
        assert_eq!(session.archives().unwrap().len(), usize::from(upto > 0), "{keep:?}");
        // Again: nothing more to do.
        let again = session.archive(keep).unwrap();
        assert_eq!((again.archive, again.live), (None, upto..30), "{keep:?}");
    }
}

/// Appends so many commits of several kinds: the same for the same seed.
fn commits(session: &Session, rng: &mut Rng, count: u64) {
    for _ in 0..count {
        let what = rng.below(10);
        let mut message = || {
            let new = NewMessage::from(vec![b'x'; rng.below(50) as usize]).tokens(rng.below(9) as u32);
            if rng.chance(15) { new.turn_start() } else { new }
        };
        match what {
            0 => session.patch_attributes(&json!({"a": 1})).map(drop).unwrap(),
            n @ 1..=3 => {
                let many = if n == 1 { 90 } else { n as usize };
                let batch: Batch<'_> = (0..many).map(|_| message()).collect();
                session.append_batch(&batch).map(drop).unwrap();
            }
            _ => session.append(message()).map(drop).unwrap(),
        }
    }
}

#[test]
fn a_busy_session_cuts_where_one_that_was_opened_anew_cuts() {
    let keeps = |rng: &mut Rng| match rng.below(5) {
        0 => Keep::Messages(rng.below(100)),
        1 => Keep::Turns(rng.below(12)),
        2 => Keep::Tokens(rng.below(400)),
        3 => Keep::Bytes(rng.below(2500)),
        _ => Keep::Nothing,
    };
    for seed in 0..60 {
        let run = |anew: bool| {
            let store = sim_options(SimFs::new(1)).open(SIM).unwrap();
            let mut rng = Rng::new(seed);
            let mut done = Vec::new();
            for _ in 0..4 {
                let session = store.session("s").unwrap();
                let count = rng.below(80);
                commits(&session, &mut rng, count);
                let keep = keeps(&mut rng);
                let session = if anew {
                    session.close().unwrap();
                    store.session("s").unwrap()
                } else {
                    session
                };
                done.push(session.archive(keep).unwrap());
            }
            let session = store.session("s").unwrap();
            let archives = session.archives().unwrap();
            let sums: Vec<_> =
                archives.iter().map(|a| (a.number, a.seqs.clone(), a.bytes, a.tokens)).collect();
            let info = session.info().unwrap();
            (done, sums, info.live, info.live_bytes, info.live_tokens, live(&session))
        };
        assert_eq!(run(false), run(true), "seed {seed}");
    }
}

#[test]
fn archives_are_listed_and_read_like_the_live_range_and_keep_their_attributes() {
    let place = Place::new();
    let open = || Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let store = open();
    let session = turns(&store, 20);
    let attributes = json!({"status": "pending", "refs": {"blob": "abc"}, "theirs": [1, 2]});
    session.archive_with(Keep::Messages(40), &attributes).unwrap();
    session.commit(Keep::Messages(10)).unwrap();
    session.patch_archive(1, &json!({"status": "ready", "summary": "s", "refs": {"blob": null}})).unwrap();
    let check = |session: &Session| {
        let archives = session.archives().unwrap();
        let facts: Vec<_> = archives.iter().map(|a| (a.number, a.seqs.clone(), a.tokens)).collect();
        assert_eq!(facts, [(1, 0..20, 200), (2, 20..50, 300)]);
        assert_eq!(archives[0].bytes, numbered(0..20).iter().map(|t| t.len() as u64).sum::<u64>());
        let want = json!({"status": "ready", "summary": "s", "refs": {}, "theirs": [1, 2]});
        assert_eq!(Value::Object(archives[0].attributes.clone().into_map()), want);
        assert!(archives[1].attributes.is_empty());
        assert!(archives[0].modified_micros >= archives[0].created_micros);
        assert_eq!(texts(session.archived(1).unwrap()), numbered(0..20));
        assert_eq!(texts(session.archived(2).unwrap()), numbered(20..50));
        let first = session.archived(2).unwrap().next().unwrap().unwrap();
        assert_eq!((first.seq(), first.tokens(), first.is_turn_start()), (20, Some(10), false));
        assert_eq!(kind(session.archived(3)), Some(ErrorKind::NotFound));
        assert_eq!(kind(session.archived(0)), Some(ErrorKind::NotFound));
    };
    check(&session);
    session.truncate().unwrap();
    check(&session);
    drop(session);
    store.close().unwrap();
    drop(store);
    let store = open();
    check(&store.open_session("s").unwrap());
    let reader = store.reader("s").unwrap();
    assert_eq!(reader.archives().unwrap().len(), 2);
    assert_eq!(texts(reader.archived(2).unwrap()), numbered(20..50));
    assert_eq!(kind(reader.archived(9)), Some(ErrorKind::NotFound));
}

#[test]
fn removing_an_archive_gives_its_segments_back_and_no_number_is_used_again() {
    let place = Place::new();
    let open = || Options::new().create(true).segment_size(64 << 10).open(place.path()).unwrap();
    let store = open();
    let session = store.session("s").unwrap();
    let text = |i: u64| format!("{i}:{}", "x".repeat(3000));
    for round in 0..4 {
        for i in round * 100..(round + 1) * 100 {
            session.append(&text(i)).unwrap();
        }
        session.archive(Keep::Nothing).unwrap();
        session.truncate().unwrap();
    }
    let size = |store: &Store| store.stats().unwrap().bytes;
    let full = size(&store);
    assert!(full > 1_200_000, "{full}");
    session.remove_archive(2).unwrap();
    assert_eq!(kind(session.remove_archive(2)), Some(ErrorKind::NotFound));
    assert_eq!(kind(session.archived(2)), Some(ErrorKind::NotFound));
    assert_eq!(kind(session.patch_archive(2, &json!({}))), Some(ErrorKind::NotFound));
    let less = size(&store);
    assert!(less < full - 200_000, "{full} to {less}");
    for number in [1, 3, 4] {
        let all = texts(session.archived(number).unwrap());
        assert_eq!(
            all,
            (number - 1..number).flat_map(|r| r * 100..(r + 1) * 100).map(text).collect::<Vec<_>>()
        );
    }
    for number in [1, 3, 4] {
        session.remove_archive(number).unwrap();
    }
    session.truncate().unwrap();
    assert!(size(&store) < 200_000, "{}", size(&store));
    assert!(segments(&session_dirs(&place.path())[0]).len() <= 2);
    fill(&session, 0);
    assert_eq!(session.append("next").unwrap().seq(), 400);
    assert_eq!(session.archive(Keep::Nothing).unwrap().archive, Some(5));
    drop(session);
    store.close().unwrap();
    drop(store);
    let store = open();
    let session = store.open_session("s").unwrap();
    assert!(!session.report().unwrap().has_damage(), "{:?}", session.report());
    assert_eq!(texts(session.archived(5).unwrap()), ["next"]);
    assert_eq!(session.info().unwrap().total_messages, 401);
}

#[test]
fn a_crash_at_any_moment_of_a_removal_of_an_archive_leaves_it_or_takes_it() {
    let fs = SimFs::new(2);
    let spy = crate::common::Spy::new(fs.clone());
    let store = sim_options(spy.clone()).segment_size(16 << 10).truncate_after(u64::MAX).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    let text = |i: u64| format!("{i}:{}", "x".repeat(1000));
    for i in 0..40 {
        session.append(&text(i)).unwrap();
        if i == 19 {
            session.archive(Keep::Nothing).unwrap();
        }
    }
    session.archive(Keep::Messages(2)).unwrap();
    spy.quiet();
    let copies: std::sync::Arc<std::sync::Mutex<Vec<SimFs>>> = Default::default();
    let (taken, disk) = (copies.clone(), fs.clone());
    spy.hook(move |_| {
        taken.lock().unwrap().push(disk.crash_copy());
        crate::common::Action::Go
    });
    session.remove_archive(1).unwrap();
    session.truncate().unwrap();
    spy.calm();
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    let mut seen = Vec::new();
    for (i, copy) in copies.iter().enumerate() {
        let session = sim_options(copy.clone()).open(SIM).unwrap().open_session("s").unwrap();
        let report = session.report().unwrap();
        assert!(!report.has_damage(), "crash {i}: {report:?}");
        let numbers: Vec<u64> = session.archives().unwrap().iter().map(|a| a.number).collect();
        assert!(numbers == [1, 2] || numbers == [2], "crash {i}: {numbers:?}");
        if numbers.len() == 2 {
            assert_eq!(
                texts(session.archived(1).unwrap()),
                (0..20).map(text).collect::<Vec<_>>(),
                "crash {i}"
            );
        }
        assert_eq!(texts(session.archived(2).unwrap()), (20..38).map(text).collect::<Vec<_>>(), "crash {i}");
        assert_eq!(live(&session), (38..40).map(text).collect::<Vec<_>>(), "crash {i}");
        session.append("on").unwrap();
        seen.push(numbers.len());
    }
    assert!(seen[0] == 2 && seen[seen.len() - 1] == 1 && seen.iter().rev().is_sorted(), "{seen:?}");
}

#[test]
fn truncate_makes_the_live_log_small_and_is_harmless_to_repeat() {
    let fs = SimFs::new(3);
    let store = sim_options(fs.clone()).truncate_after(u64::MAX).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 100);
    session.truncate().unwrap();
    let dir = sim_session(&fs);
    assert_eq!(sim_segments(&*dir).len(), 1, "nothing was owed");
    session.archive(Keep::Messages(3)).unwrap();
    session.truncate().unwrap();
    let after = sim_segments(&*dir);
    assert_eq!(after, ["00000001.log", "00000002.log"]);
    for _ in 0..3 {
        session.truncate().unwrap();
    }
    assert_eq!(sim_segments(&*dir), after);
    assert_eq!(live(&session), numbered(97..100));
    assert_eq!(session.append("m100").unwrap().seq(), 100);
    assert_eq!(session.range(97..).unwrap().count(), 4);
}

#[test]
fn an_iterator_shows_the_moment_of_its_call_whatever_happens_to_the_session() {
    let place = Place::new();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    for i in 0..100 {
        session.append(&format!("m{i}:{}", "x".repeat(500))).unwrap();
    }
    let mut before = session.load().unwrap();
    let first = before.next().unwrap().unwrap();
    session.archive(Keep::Nothing).unwrap();
    fill_more(&session);
    session.truncate().unwrap();
    let mut archived = session.archived(1).unwrap();
    archived.next().unwrap().unwrap();
    let rest: Vec<_> = before.map(|m| m.unwrap().seq()).collect();
    assert_eq!(rest, (1..100).collect::<Vec<_>>());
    assert_eq!(archived.filter(|m| m.is_ok()).count(), 99);
    // A message outlives its session.
    store.remove_session("s").unwrap();
    assert!(first.payload().starts_with(b"m0:"));
}

fn fill_more(session: &Session) {
    for _ in 0..50 {
        session.append(&"y".repeat(500)).unwrap();
    }
}

#[test]
fn archive_attributes_have_their_limits() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    fill(&session, 3);
    let large = "x".repeat(limits::MAX_ATTRIBUTES);
    assert_eq!(kind(session.archive_with(Keep::Nothing, &json!({"a": large}))), Some(ErrorKind::TooLarge));
    assert_eq!(kind(session.archive_with(Keep::Nothing, &json!(3))), Some(ErrorKind::InvalidInput));
    assert_eq!(live(&session).len(), 3);
    session.archive(Keep::Nothing).unwrap();
    let half = "x".repeat(limits::MAX_ATTRIBUTES / 2);
    session.patch_archive(1, &json!({"a": half})).unwrap();
    assert_eq!(kind(session.patch_archive(1, &json!({"b": half}))), Some(ErrorKind::TooLarge));
}

#[test]
fn the_attributes_of_all_archives_stay_within_their_limit_and_what_makes_them_fewer_is_allowed() {
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    // 64 texts of the longest kind and their braces are more than all may have together.
    let long = |text: &str| json!({ "text": text.repeat(limits::MAX_ATTRIBUTES / text.len() - 16) });
    let archive = |attributes: &Value| {
        session.append(b"x").unwrap();
        session.archive_with(Keep::Nothing, attributes)
    };
    for _ in 0..63 {
        archive(&long("x")).unwrap();
    }
    archive(&json!({"text": ""})).unwrap();
    session.patch_archive(64, &long("y")).unwrap();
    let all = || session.archives().unwrap().iter().map(|a| a.attributes.to_json().len()).sum::<usize>();
    let room = limits::MAX_ARCHIVE_ATTRIBUTES - all();
    assert!(room < 4096, "{room}");
    let refused = |done: Result<(), sessionlog::Error>| {
        let e = done.unwrap_err();
        assert_eq!((e.kind(), e.outcome()), (ErrorKind::TooLarge, Outcome::NotApplied), "{e}");
    };
    archive(&json!({"a": "z".repeat(room - 8)})).unwrap();
    assert_eq!(all(), limits::MAX_ARCHIVE_ATTRIBUTES);
    // Without attributes it goes on, and where there is nothing to archive none are kept.
    session.append(b"x").unwrap();
    session.archive(Keep::Messages(1)).unwrap();
    assert_eq!(session.archive_with(Keep::Messages(1), &json!({"a": 1})).unwrap().archive, None);
    let number = session.archive(Keep::Nothing).unwrap().archive.unwrap();
    session.remove_archive(number).unwrap();
    session.patch_archive(65, &json!({"a": "z".repeat(room - 100)})).unwrap();
    refused(archive(&json!({"a": "z".repeat(100)})).map(drop));
    refused(session.patch_archive(65, &json!({"b": "z".repeat(100)})));
    session.patch_archive(65, &json!({"a": "w".repeat(room - 100)})).unwrap();
    session.patch_archive(1, &json!({"text": null})).unwrap();
    session.patch_archive(65, &json!({"b": "z".repeat(100)})).unwrap();
    assert!(all() < limits::MAX_ARCHIVE_ATTRIBUTES - limits::MAX_ATTRIBUTES + 4096);
}

#[test]
fn what_was_released_long_ago_is_not_remembered() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    for _ in 0..1_000 {
        fill(&session, 1);
        let done = session.archive(Keep::Nothing).unwrap();
        session.truncate().unwrap();
        session.remove_archive(done.archive.unwrap()).unwrap();
    }
    session.close().unwrap();
    store.close().unwrap();
    let dir = sim_session(&fs);
    let names = sim_segments(&*dir);
    let len: usize = names.iter().map(|name| sim_read(&*dir, name).len()).sum();
    assert!(names.len() <= 2 && len <= 4_096, "{names:?}: {len} bytes");
}
