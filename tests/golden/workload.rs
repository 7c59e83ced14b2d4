//! What is written into the golden stores, and what must be read from them.

use std::collections::BTreeMap;

use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, Keep, NewMessage, Store};

use crate::common::{SIM, sim_files, sim_options, texts};
use crate::still::Still;

pub type Files = BTreeMap<String, Vec<u8>>;

fn open(fs: &Still) -> Store {
    sim_options(fs.clone()).by_hand(true).open(SIM).unwrap()
}

fn first(store: &Store) {
    let chat = store.session("chat:1").unwrap();
    chat.patch_attributes(&json!({"title": "Golden", "nested": {"a": [1, 2.5, null, "ü"]}})).unwrap();
    for i in 0..6 {
        let text = format!("message {i}");
        let message =
            NewMessage::new(text.as_bytes()).tag(if i % 2 == 0 { "user" } else { "assistant" }).tokens(i + 1);
        let message = if i % 2 == 0 { message.turn_start() } else { message };
        chat.append(message.id(&format!("id-{i}"))).unwrap();
    }
    let done = chat.archive_with(Keep::Messages(2), &json!({"status": "pending"})).unwrap();
    chat.patch_archive(done.archive.unwrap(), &json!({"status": "ready", "summary": "four messages"}))
        .unwrap();
    chat.truncate().unwrap();
    let plain = store.session("plain").unwrap();
    let batch: Batch<'_> = (0..5).map(|i| vec![i as u8; 40]).collect();
    plain.append_batch(&batch).unwrap();
    plain.append_with("once", &AppendOptions::new().key("key-1")).unwrap();
}

fn second(store: &Store) {
    let chat = store.session("chat:1").unwrap();
    for i in 6..9 {
        chat.append(&format!("message {i}")).unwrap();
    }
    chat.patch_attributes(&json!({"title": "Golden again"})).unwrap();
    store.session("other/one").unwrap().append("").unwrap();
}

/// The files of the store, closed in good order or left by a process that was killed.
pub fn write(closed: bool) -> Files {
    let fs = Still::new(SimFs::new(1));
    let store = open(&fs);
    first(&store);
    store.close().unwrap();
    let fs = fs.process_new();
    let store = open(&fs);
    second(&store);
    if closed {
        store.close().unwrap();
    } else {
        fs.sim.kill();
    }
    drop(store);
    sim_files(&fs.sim.process_new()).into_iter().filter(|(name, _)| !name.ends_with(".tmp")).collect()
}

/// Reads everything and compares it with what was written.
pub fn verify(store: &Store) {
    let chat = store.reader("chat:1").unwrap();
    assert!(!chat.report().has_damage(), "{:?}", chat.report());
    assert_eq!(texts(chat.load().unwrap()), (4..9).map(|i| format!("message {i}")).collect::<Vec<_>>());
    assert_eq!(texts(chat.archived(1).unwrap()), (0..4).map(|i| format!("message {i}")).collect::<Vec<_>>());
    let nested = json!({"a": [1, 2.5, null, "ü"]});
    assert_eq!(json!(chat.attributes().unwrap()), json!({"title": "Golden again", "nested": nested}));
    let archive = &chat.archives().unwrap()[0];
    assert_eq!(json!(archive.attributes), json!({"status": "ready", "summary": "four messages"}));
    assert_eq!((archive.seqs.clone(), archive.tokens), (0..4, 10));
    let message = chat.archived(1).unwrap().next().unwrap().unwrap();
    assert_eq!((message.tag(), message.tokens(), message.id()), (Some("user"), Some(1), Some("id-0")));
    assert!(message.is_turn_start());
    let info = chat.info().unwrap();
    assert_eq!((info.message_count, info.live, info.total_messages), (5, 4..9, 9));
    let plain: Vec<Vec<u8>> =
        store.reader("plain").unwrap().load().unwrap().map(|m| m.unwrap().payload().to_vec()).collect();
    let mut want: Vec<Vec<u8>> = (0..5).map(|i| vec![i; 40]).collect();
    want.push(b"once".to_vec());
    assert_eq!(plain, want);
    assert_eq!(texts(store.reader("other/one").unwrap().load().unwrap()), [""]);
    let listed: Vec<_> =
        store.sessions().unwrap().into_iter().map(|s| (s.id.to_string(), s.message_count)).collect();
    assert_eq!(listed, [("chat:1".to_owned(), 5), ("other/one".to_owned(), 1), ("plain".to_owned(), 6)]);
}

/// Goes on where the stores end.
pub fn go_on(store: &Store) {
    let plain = store.open_session("plain").unwrap();
    let again = plain.append_with("once", &AppendOptions::new().key("key-1")).unwrap();
    assert!(again.repeated && again.seq() == 5, "{again:?}");
    let chat = store.open_session("chat:1").unwrap();
    assert_eq!(chat.append("message 9").unwrap().seq(), 9);
    chat.archive(Keep::Nothing).unwrap();
    assert_eq!(texts(chat.archived(2).unwrap()).len(), 6);
}
