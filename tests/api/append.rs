//! Appending: batches, expectations, idempotency keys, typed messages, durability, time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{
    AppendOptions, Batch, Codec, Durability, ErrorKind, Keep, NewMessage, Options, Outcome, limits,
};

use crate::common::{Place, SIM, eventually, fill, kind, live, numbered, sim_options, sim_store, texts};

#[test]
fn an_argument_that_is_refused_is_one_of_its_session() {
    let store = sim_store(&SimFs::new(1));
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let bad = json!([1]);
    let no_object = Batch::new().message("x").attributes(bad.clone());
    let errors = [
        session.append_json(&f64::NAN).unwrap_err(),
        session.append_batch(&Batch::new()).unwrap_err(),
        session.submit_batch(&Batch::new()).unwrap_err(),
        session.append_batch(&no_object).unwrap_err(),
        session.submit_batch(&no_object).unwrap_err(),
        session.patch_attributes(&bad).unwrap_err(),
        session.archive_with(Keep::Nothing, &bad).unwrap_err(),
        session.patch_archive(1, &bad).unwrap_err(),
        session.append_with("x", &AppendOptions::new().key("")).unwrap_err(),
    ];
    for e in errors {
        let what = (e.kind(), e.outcome(), e.session_id());
        assert_eq!(what, (ErrorKind::InvalidInput, Outcome::NotApplied, Some("s")), "{e}");
    }
    assert_eq!(live(&session), numbered(0..1));
}

#[test]
fn the_codec_is_the_callers_label_and_part_of_the_content() {
    let store = sim_store(&SimFs::new(1));
    let session = store.session("s").unwrap();
    let once = AppendOptions::new().key("k");
    session.append_with(NewMessage::from("{\"a\":1}").codec(Codec::Json), &once).unwrap();
    assert_eq!(kind(session.append_with("{\"a\":1}", &once)), Some(ErrorKind::Conflict));
    session.append(NewMessage::new(b"\xa1aa\x01".to_vec()).codec(Codec::Other(200))).unwrap();
    session.append("x").unwrap();
    session.close().unwrap();
    let codecs: Vec<_> = store.reader("s").unwrap().load().unwrap().map(|m| m.unwrap().codec()).collect();
    assert_eq!(codecs, [Codec::Json, Codec::Other(200), Codec::Bytes]);
    let session = store.session("s").unwrap();
    for (byte, ours) in [(1, false), (2, true), (127, true), (128, false)] {
        let done = session.append(NewMessage::from("x").codec(Codec::Other(byte)));
        assert_eq!(kind(done), ours.then_some(ErrorKind::InvalidInput), "{byte}");
    }
}

#[test]
fn nothing_shows_a_payload_that_is_asked_what_it_is() {
    let fs = SimFs::new(1);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    let secret = NewMessage::from("hunter2").tag("user");
    session.append(secret.clone()).unwrap();
    let message = session.get(0).unwrap().unwrap();
    let shown = [
        format!("{secret:?}"),
        format!("{:?}", Batch::new().message(secret.clone())),
        format!("{message:?} {:?}", message.to_payload()),
        format!("{:?} {:?} {:?}", session.load().unwrap(), session.submit(secret).unwrap(), session),
    ];
    let bytes = format!("{:?}", b"hunter2");
    for text in shown {
        assert!(!text.contains("hunter2") && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
    }
}

#[test]
fn a_batch_and_its_attributes_are_there_together_or_not_at_all() {
    let fs = SimFs::new(1);
    let spy = crate::common::Spy::new(fs.clone());
    let store = sim_options(spy.clone()).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let copies: std::sync::Arc<std::sync::Mutex<Vec<SimFs>>> = Default::default();
    let (taken, disk) = (copies.clone(), fs.clone());
    spy.hook(move |_| {
        taken.lock().unwrap().push(disk.crash_copy());
        crate::common::Action::Short(11)
    });
    let batch = Batch::new().message("a").message("b").message("c").attributes(json!({"title": "t"}));
    assert_eq!(session.append_batch(&batch).unwrap().seqs, 1..4);
    spy.calm();
    let mut copies = std::mem::take(&mut *copies.lock().unwrap());
    copies.push(fs.crash_copy());
    assert!(copies.len() > 10);
    let mut whole = 0;
    for copy in copies {
        let session = sim_store(&copy).open_session("s").unwrap();
        let title = session.attributes().unwrap().get("title").is_some();
        let count = session.message_count().unwrap();
        assert!((count, title) == (1, false) || (count, title) == (4, true), "{count} {title}");
        whole += u64::from(title);
    }
    assert!(whole >= 1);
}

#[test]
fn a_batch_needs_something_in_it_and_attributes_alone_will_do() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    assert_eq!(kind(session.append_batch(&Batch::new())), Some(ErrorKind::InvalidInput));
    assert_eq!(kind(session.info()), Some(ErrorKind::NotFound), "nothing was made");
    let done = session.append_batch(&Batch::new().attributes(json!({"a": 1}))).unwrap();
    assert_eq!(done.seqs, 0..0);
    assert_eq!(session.attributes().unwrap()["a"], 1);
    let mut batch: Batch<'_> = ["x", "y"].into_iter().collect();
    batch.extend(["z"]);
    assert_eq!(session.append_batch(&batch).unwrap().seqs, 0..3);
    assert_eq!(live(&session), ["x", "y", "z"]);
}

#[test]
fn an_expectation_that_does_not_hold_changes_nothing() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    assert_eq!(session.append_with("m0", &AppendOptions::new().expect_next(0)).unwrap().seq(), 0);
    fill(&session, 2);
    session.archive(Keep::Nothing).unwrap();
    for wrong in [0, 2, 4, u64::MAX] {
        let error = session.append_with("x", &AppendOptions::new().expect_next(wrong)).unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Conflict, Outcome::NotApplied));
    }
    let batch = Batch::new().message("x").attributes(json!({"a": 1}));
    let wrong = AppendOptions::new().expect_next(9);
    assert_eq!(kind(session.append_batch_with(&batch, &wrong)), Some(ErrorKind::Conflict));
    assert!(session.attributes().unwrap().is_empty());
    assert_eq!(session.append_with("m3", &AppendOptions::new().expect_next(3)).unwrap().seq(), 3);
}

#[test]
fn a_repeated_key_gives_the_first_result_across_archive_reopen_crash_and_segments() {
    let fs = SimFs::new(2);
    let open = |fs: &SimFs| sim_options(fs.clone()).segment_size(16 << 10).open(SIM).unwrap();
    let store = open(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 3);
    let key = AppendOptions::new().key("turn-1");
    let batch = || {
        Batch::new().message("q").message(NewMessage::from("a").tag("assistant")).attributes(json!({"n": 1}))
    };
    let first = session.append_batch_with(&batch(), &key).unwrap();
    assert_eq!((first.seqs.clone(), first.repeated), (3..5, false));
    let check = |session: &sessionlog::Session, when: &str| {
        let total = session.info().unwrap().total_messages;
        let again = session.append_batch_with(&batch(), &key).unwrap();
        assert_eq!((again.seqs, again.epoch, again.repeated), (3..5, first.epoch, true), "{when}");
        assert_eq!(kind(session.append_with("q", &key)), Some(ErrorKind::Conflict), "{when}");
        let other = Batch::new().message("q").message("a").attributes(json!({"n": 1}));
        assert_eq!(kind(session.append_batch_with(&other, &key)), Some(ErrorKind::Conflict), "{when}");
        assert_eq!(session.info().unwrap().total_messages, total, "{when}");
    };
    check(&session, "at once");
    session.archive(Keep::Nothing).unwrap();
    check(&session, "after the archive");
    session.truncate().unwrap();
    session.remove_archive(1).unwrap();
    check(&session, "done, since removed");
    for i in 0..60 {
        session.append(&format!("{i}{}", "x".repeat(1000))).unwrap();
    }
    check(&session, "segments later");
    store.close().unwrap();
    let store = open(&fs);
    check(&store.open_session("s").unwrap(), "after a close");
    let fs = fs.crash();
    let store = open(&fs);
    check(&store.open_session("s").unwrap(), "after a crash");
}

#[test]
fn a_session_remembers_its_last_1024_keys() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    let buffered = Durability::Buffered;
    let append = |i: usize| {
        let key = format!("key {i}");
        session.append_with(&format!("m{i}"), &AppendOptions::new().key(&key).durability(buffered)).unwrap()
    };
    for i in 0..limits::IDEMPOTENCY_KEYS + 1 {
        assert!(!append(i).repeated);
    }
    for i in [1, 500, limits::IDEMPOTENCY_KEYS] {
        let again = append(i);
        assert_eq!((again.repeated, again.seq()), (true, i as u64));
    }
    assert!(!append(0).repeated, "the oldest is forgotten");
}

#[test]
fn one_key_from_many_threads_is_appended_once() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    let seqs: Vec<_> = std::thread::scope(|scope| {
        let append = |_| {
            let session = &session;
            scope.spawn(move || session.append_with("once", &AppendOptions::new().key("k")).unwrap())
        };
        let threads: Vec<_> = (0..8).map(append).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(seqs.iter().all(|s| s.seqs == (0..1)));
    assert_eq!(seqs.iter().filter(|s| !s.repeated).count(), 1);
    assert_eq!(live(&session), ["once"]);
}

#[test]
fn a_repeat_is_answered_only_when_the_first_is_durable() {
    let fs = SimFs::new(3);
    let store = sim_options(fs.clone()).sync_interval(Duration::from_secs(3600)).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    let key = AppendOptions::new().key("k");
    session.append_with("once", &key.clone().durability(Durability::Buffered)).unwrap();
    assert!(session.append_with("once", &key).unwrap().repeated);
    assert_eq!(live(&sim_store(&fs.crash()).open_session("s").unwrap()), ["once"]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Entry {
    User {
        text: String,
    },
    Tool {
        name: String,
        #[serde(flatten)]
        rest: serde_json::Map<String, serde_json::Value>,
    },
    Usage {
        cost: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        cached: Option<u64>,
    },
}

#[test]
fn typed_messages_come_back_as_they_were() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    let all = vec![
        Entry::User { text: "\u{2028}\n\0 hi".into() },
        Entry::Tool {
            name: "ls".into(),
            rest: json!({"args": [1, null, {"deep": -0.5}]}).as_object().unwrap().clone(),
        },
        Entry::Usage { cost: 0.1 + 0.2, cached: None },
        Entry::Usage { cost: f64::MIN_POSITIVE, cached: Some(u64::MAX) },
        Entry::Usage { cost: 1.797_693_134_862_315_7e308, cached: None },
    ];
    for entry in &all {
        session.append_json(entry).unwrap();
    }
    let got: Vec<Entry> = session.load().unwrap().json().collect::<Result<_, _>>().unwrap();
    assert_eq!(got, all);
    let first = session.get(0).unwrap().unwrap();
    assert_eq!(first.codec(), Codec::Json);
    assert_eq!(kind(first.json::<u64>()), Some(ErrorKind::InvalidInput));
    session.append("raw").unwrap();
    assert_eq!(session.get(5).unwrap().unwrap().codec(), Codec::Bytes);
}

#[test]
fn what_json_could_not_give_back_is_refused_at_append() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    let invalid = Some(ErrorKind::InvalidInput);
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(kind(session.append_json(&float)), invalid);
        assert_eq!(kind(session.append_json(&vec![Some(float)])), invalid);
    }
    assert_eq!(kind(session.append_json(&f32::NAN)), invalid);
    let keys: std::collections::BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
    assert_eq!(kind(session.append_json(&keys)), invalid);
    let mut deep = json!(1);
    for _ in 0..limits::MAX_JSON_DEPTH {
        deep = json!([deep]);
    }
    let seq = session.append_json(&deep).unwrap().seq();
    assert_eq!(session.get(seq).unwrap().unwrap().json::<serde_json::Value>().unwrap(), deep);
    assert_eq!(kind(session.append_json(&json!([deep]))), invalid);
    assert_eq!(session.message_count().unwrap(), 1);
}

#[test]
fn a_buffered_message_is_durable_within_the_interval_and_at_once_with_sync() {
    let fs = SimFs::new(4);
    let store = sim_options(fs.clone())
        .durability(Durability::Buffered)
        .sync_interval(Duration::from_millis(50))
        .open(SIM)
        .unwrap();
    let session = store.session("s").unwrap();
    session.sync().unwrap();
    fill(&session, 3);
    assert_eq!(live(&session), numbered(0..3));
    let durable =
        |fs: &SimFs| sim_store(&fs.crash_copy()).open_session("s").map_or(0, |s| s.message_count().unwrap());
    eventually("the interval sync", || durable(&fs) == 3);

    let fs = SimFs::new(5);
    let store = sim_options(fs.clone())
        .durability(Durability::Buffered)
        .sync_interval(Duration::from_secs(3600))
        .open(SIM)
        .unwrap();
    let session = store.session("s").unwrap();
    // The first is durable with the session.
    fill(&session, 2);
    assert!(session.get(0).unwrap().unwrap().is_confirmed());
    assert!(!session.get(1).unwrap().unwrap().is_confirmed());
    assert_eq!(durable(&fs), 1);
    session.sync().unwrap();
    assert!(session.get(1).unwrap().unwrap().is_confirmed());
    assert_eq!(durable(&fs), 2);
    fill(&session, 1);
    assert_eq!(durable(&fs), 2);
    session.append_with("m3", &AppendOptions::new().durability(Durability::Sync)).unwrap();
    assert_eq!(durable(&fs), 4, "one durable op covers what came before it");
    fill(&session, 1);
    // The death of the process takes nothing of it, and closing makes it durable.
    let other = fs.process_new();
    fs.kill();
    assert_eq!(live(&sim_store(&other).open_session("s").unwrap()), numbered(0..5));
}

#[test]
fn times_never_go_back_when_the_clock_does() {
    let fs = SimFs::new(6);
    fs.set_now(5_000_000);
    let store = sim_store(&fs);
    let session = store.session("s").unwrap();
    fill(&session, 2);
    fs.set_now(1_000);
    fill(&session, 2);
    session.archive(Keep::Messages(1)).unwrap();
    store.close().unwrap();
    fs.set_now(500);
    let store = sim_store(&fs);
    let session = store.open_session("s").unwrap();
    fill(&session, 1);
    let mut times: Vec<u64> = session.archived(1).unwrap().map(|m| m.unwrap().time_micros()).collect();
    times.extend(session.load().unwrap().map(|m| m.unwrap().time_micros()));
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted() && times[0] >= 5_000_000, "{times:?}");
    let info = session.info().unwrap();
    assert!(info.modified_micros >= info.created_micros);
    assert!(info.last_message_micros.unwrap() >= times[4]);
    let archive = &session.archives().unwrap()[0];
    assert!(archive.created_micros >= times[3]);
    fs.set_now(9_000_000);
    session.append("later").unwrap();
    assert!(session.tail(1).unwrap().next().unwrap().unwrap().time_micros() >= 9_000_000);
}

#[test]
fn attributes_change_by_merge_and_by_compare_and_set() {
    let place = Place::new();
    let store = place.open();
    let session = store.session("s").unwrap();
    session.patch_attributes_if(0, &json!({"a": {"b": 1, "c": 2}, "d": 3})).unwrap();
    let version = session.info().unwrap().attributes_version;
    assert!(version > 0);
    assert_eq!(kind(session.patch_attributes_if(0, &json!({"d": 4}))), Some(ErrorKind::Conflict));
    session.append("does not count").unwrap();
    session.patch_attributes_if(version, &json!({"a": {"b": null}, "d": null, "e": [1]})).unwrap();
    assert_eq!(kind(session.patch_attributes_if(version, &json!({"d": 4}))), Some(ErrorKind::Conflict));
    let want = json!({"a": {"c": 2}, "e": [1]});
    assert_eq!(serde_json::Value::from(session.attributes().unwrap()), want);
    for bad in [json!(null), json!([1]), json!("x"), json!(1)] {
        assert_eq!(kind(session.patch_attributes(&bad)), Some(ErrorKind::InvalidInput));
    }
    let version = session.info().unwrap().attributes_version;
    drop(session);
    store.close().unwrap();
    let store = place.open();
    let info = store.sessions().unwrap().sessions.remove(0);
    assert_eq!((json!(info.attributes), info.attributes_version), (want, version));
    store.session("s").unwrap().patch_attributes_if(version, &json!({"f": 1})).unwrap();
}

#[test]
fn compare_and_set_from_many_threads_lets_one_through_at_a_time() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    session.patch_attributes(&json!({"n": 0})).unwrap();
    let won: u64 = std::thread::scope(|scope| {
        let work = |_| {
            let session = &session;
            scope.spawn(move || {
                let mut won = 0;
                while won < 10 {
                    let info = session.info().unwrap();
                    let n = info.attributes["n"].as_u64().unwrap();
                    match session.patch_attributes_if(info.attributes_version, &json!({"n": n + 1})) {
                        Ok(()) => won += 1,
                        Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict),
                    }
                }
                won
            })
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(session.attributes().unwrap()["n"], won);
}

#[test]
fn tails_keep_within_their_budgets() {
    let place = Place::new();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    for i in 0..300u32 {
        let text = format!("{i:03}{}", "x".repeat(197));
        session.append(NewMessage::from(&text).tokens(10 + i % 2)).unwrap();
    }
    session.archive(Keep::Messages(100)).unwrap();
    let count = |m: sessionlog::Messages| m.inspect(|m| assert!(m.is_ok())).count();
    assert_eq!(count(session.tail(0).unwrap()), 0);
    assert_eq!(count(session.tail(1).unwrap()), 1);
    assert_eq!(count(session.tail(u64::MAX).unwrap()), 100);
    assert_eq!(count(session.tail_bytes(199).unwrap()), 0);
    assert_eq!(count(session.tail_bytes(1000).unwrap()), 5);
    assert_eq!(count(session.tail_bytes(u64::MAX).unwrap()), 100);
    assert_eq!(count(session.tail_tokens(10).unwrap()), 0);
    assert_eq!(count(session.tail_tokens(21).unwrap()), 2);
    assert_eq!(count(session.tail_tokens(210).unwrap()), 20);
    assert_eq!(session.tail(3).unwrap().map(|m| m.unwrap().seq()).collect::<Vec<_>>(), [297, 298, 299]);
    assert_eq!(count(session.range(..).unwrap()), 100);
    assert_eq!(count(session.range(250..=259).unwrap()), 10);
    assert_eq!(count(session.range(0..210).unwrap()), 10, "what is archived is not live");
    assert_eq!(count(session.range(300..).unwrap()), 0);
    #[expect(clippy::reversed_empty_ranges, reason = "callers compute ranges")]
    let backwards = 260..250;
    assert_eq!(count(session.range(backwards).unwrap()), 0);
    assert!(session.get(199).unwrap().is_none() && session.get(300).unwrap().is_none());
    assert_eq!(texts(session.range(200..201).unwrap())[0][..3], *"200");
    let reader = store.reader("s").unwrap();
    assert_eq!(count(reader.tail(7).unwrap()), 7);
    assert_eq!(count(reader.tail_bytes(1000).unwrap()), 5);
    assert_eq!(count(reader.tail_tokens(21).unwrap()), 2);
    assert_eq!(count(reader.range(295..).unwrap()), 5);
    assert_eq!(reader.get(299).unwrap().unwrap().seq(), 299);
}
