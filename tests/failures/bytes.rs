//! Rows 16 and 17: what may be in a message, and how large it may be.

use sessionlog::{Batch, ErrorKind, Keep, NewMessage, Options, Outcome, limits};

use crate::common::{Place, fill, kind};

#[test]
fn f16_no_byte_in_a_payload_splits_or_ends_a_record() {
    // OpenViking #3984: a U+2028 inside a message split it in two on the way back.
    let place = Place::new();
    let store = Options::new().create(true).segment_size(16 << 10).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    let mut payloads: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\n".to_vec(),
        b"\r\n\r\n".to_vec(),
        "a\u{2028}b\u{2029}c\u{85}d".into(),
        b"\0".to_vec(),
        vec![0; 5000],
        vec![0xff; 5000],
        b"\xc3\x28 not utf-8 \xed\xa0\x80".to_vec(),
        b"SLOGSEG\x01 a header of ours".to_vec(),
        b"{\"role\":\"user\"}\n{\"role\":\"assistant\"}\n".to_vec(),
        (0..=255).collect(),
    ];
    // And the bytes of a whole segment of ours.
    session.append("first").unwrap();
    let of = crate::common::segments(&crate::common::session_dirs(&place.path())[0]).remove(0);
    payloads.push(std::fs::read(of).unwrap());
    for p in &payloads {
        session.append(p).unwrap();
    }
    session.append_batch(&payloads.iter().collect::<Batch<'_>>()).unwrap();
    session.archive(Keep::Messages(payloads.len() as u64)).unwrap();
    session.truncate().unwrap();
    drop(session);
    store.close().unwrap();
    drop(store);
    let store = place.open();
    let session = store.open_session("s").unwrap();
    let bytes = |m: sessionlog::Messages| m.map(|m| m.unwrap().payload().to_vec()).collect::<Vec<_>>();
    assert_eq!(bytes(session.load().unwrap()), payloads);
    assert_eq!(bytes(session.archived(1).unwrap())[1..], payloads);
}

#[test]
fn f16_tags_ids_and_keys_take_any_text_too() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    let odd = "\u{2028}\n\0\"{}\\ é 日本";
    let longest = "x".repeat(limits::MAX_LABEL);
    for text in [odd, "", longest.as_str()] {
        let message = NewMessage::from("m").tag(text).id(text).parent_id(text).tokens(u32::MAX).turn_start();
        let seq = session.append(message).unwrap().seq();
        let got = session.get(seq).unwrap().unwrap();
        assert_eq!((got.tag(), got.id(), got.parent_id()), (Some(text), Some(text), Some(text)));
        assert_eq!((got.tokens(), got.is_turn_start()), (Some(u32::MAX), true));
    }
    let plain = session.append("plain").unwrap().seq();
    let got = session.get(plain).unwrap().unwrap();
    assert_eq!((got.tag(), got.id(), got.parent_id(), got.tokens()), (None, None, None, None));
    session.patch_attributes(&serde_json::json!({ odd: odd })).unwrap();
    assert_eq!(session.attributes().unwrap()[odd], odd);
}

#[test]
fn f17_the_limit_of_a_payload_is_enforced_at_append_and_what_passes_can_be_read() {
    // ox: the writer took lines that the reader's scanner (10 MiB) could not take back.
    let place = Place::new();
    let limit = 300_000;
    let open =
        || Options::new().create(true).max_payload(limit).segment_size(16 << 10).open(place.path()).unwrap();
    let store = open();
    let session = store.session("s").unwrap();
    fill(&session, 1);
    let exact = vec![b'x'; limit];
    assert_eq!(session.append(&exact).unwrap().seq(), 1);
    let over = vec![b'y'; limit + 1];
    for error in [
        session.append(&over).unwrap_err(),
        session.append_batch(&Batch::new().message("fits").message(&over)).unwrap_err(),
        session.submit(&over).map(drop).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooLarge, Outcome::NotApplied));
        assert!(error.to_string().contains("300000"), "the text names the limit: {error}");
    }
    assert_eq!(session.append("m2").unwrap().seq(), 2);
    drop(session);
    store.close().unwrap();
    drop(store);
    let session = open().open_session("s").unwrap();
    assert_eq!(session.get(1).unwrap().unwrap().payload(), exact);
    assert_eq!(session.load().unwrap().filter(|m| m.is_ok()).count(), 3);
}

#[test]
fn f17_what_a_store_with_a_higher_limit_took_is_read_under_a_lower_one() {
    let place = Place::new();
    let store = Options::new().create(true).max_payload(1 << 20).open(place.path()).unwrap();
    store.session("s").unwrap().append(vec![1; 1 << 20]).unwrap();
    store.close().unwrap();
    drop(store);
    let store = Options::new().max_payload(10).open(place.path()).unwrap();
    let session = store.open_session("s").unwrap();
    assert_eq!(session.get(0).unwrap().unwrap().payload().len(), 1 << 20);
    assert_eq!(kind(session.append("12345678901")), Some(ErrorKind::TooLarge));
    session.append("1234567890").unwrap();
    session.archive(Keep::Messages(2)).unwrap();
    session.truncate().unwrap();
    assert_eq!(session.load().unwrap().filter(|m| m.is_ok()).count(), 2);
}

#[test]
fn f17_the_largest_payload_of_all_goes_in_and_comes_out() {
    let place = Place::new();
    let store = Options::new().create(true).max_payload(limits::MAX_PAYLOAD).open(place.path()).unwrap();
    let session = store.session("s").unwrap();
    let payload = vec![0xa5; limits::MAX_PAYLOAD];
    session.append(&payload).unwrap();
    session.append("behind").unwrap();
    assert!(session.get(0).unwrap().unwrap().payload() == payload);
    drop(session);
    store.close().unwrap();
    drop(store);
    let session = place.open().open_session("s").unwrap();
    let all: Vec<usize> = session.load().unwrap().map(|m| m.unwrap().payload().len()).collect();
    assert_eq!(all, [limits::MAX_PAYLOAD, 6]);
    assert_eq!(
        kind(Options::new().create(true).max_payload(limits::MAX_PAYLOAD + 1).open(place.beside("b"))),
        Some(ErrorKind::InvalidInput)
    );
}

#[test]
fn f17_limits_of_labels_batches_and_attributes_are_enforced_at_the_call() {
    let place = Place::new();
    let session = place.open().session("s").unwrap();
    let long = "x".repeat(limits::MAX_LABEL + 1);
    let too_large = |result: sessionlog::Result<()>| assert_eq!(kind(result), Some(ErrorKind::TooLarge));
    too_large(session.append(NewMessage::from("m").tag(&long)).map(drop));
    too_large(session.append(NewMessage::from("m").id(&long)).map(drop));
    too_large(session.append(NewMessage::from("m").parent_id(&long)).map(drop));
    too_large(session.append_with("m", &sessionlog::AppendOptions::new().key(&long)).map(drop));
    too_large(session.append_batch(&(0..=limits::MAX_BATCH_MESSAGES).map(|_| "m").collect()).map(drop));
    let mib = vec![0u8; 16 << 20];
    too_large(session.append_batch(&(0..9).map(|_| &mib).collect()).map(drop));
    let half = "x".repeat(limits::MAX_ATTRIBUTES / 2);
    session.patch_attributes(&serde_json::json!({ "a": half })).unwrap();
    too_large(session.patch_attributes(&serde_json::json!({ "b": half })));
    too_large(session.patch_attributes(&serde_json::json!({ "a": "x".repeat(limits::MAX_ATTRIBUTES) })));
    too_large(
        session.append_batch(&Batch::new().message("m").attributes(serde_json::json!({"b": half}))).map(drop),
    );
    // None of it happened.
    let info = session.info().unwrap();
    assert_eq!((info.total_messages, info.attributes.len()), (0, 1));
    // Batches at the limit are taken.
    let most: Batch<'_> = (0..limits::MAX_BATCH_MESSAGES).map(|_| "m").collect();
    assert_eq!(session.append_batch(&most).unwrap().seqs, 0..limits::MAX_BATCH_MESSAGES as u64);
}
