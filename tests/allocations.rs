//! How often memory is asked for: never by an append in steady state, and not for each message by a load.

#[path = "common/counting.rs"]
mod counting;

use counting::counted;
use sessionlog::{AppendOptions, Batch, Durability, Store};

#[test]
fn an_append_in_steady_state_asks_for_no_memory() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path().join("store")).unwrap();
    let session = store.session("s").unwrap();
    let payload = vec![b'x'; 1024];
    for durability in [Durability::Buffered, Durability::Sync] {
        let options = AppendOptions::new().durability(durability);
        let append = || session.append_with(&payload, &options).unwrap();
        for _ in 0..50 {
            append();
        }
        let mut all: Vec<u64> = (0..50).map(|_| counted(append).1).collect();
        all.sort_unstable();
        // Now and then a timer is set, or the file grows.
        assert_eq!(all[25], 0, "{durability:?}: {all:?}");
        assert!(all.iter().sum::<u64>() <= 25, "{durability:?}: {all:?}");
    }
}

#[test]
fn a_load_asks_for_memory_by_the_window_and_not_by_the_message() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::options().create(true).segment_size(1 << 20).open(place.path().join("store")).unwrap();
    let session = store.session("s").unwrap();
    let batch: Batch<'_> = (0..100).map(|_| vec![b'x'; 256]).collect();
    for _ in 0..100 {
        session.append_batch(&batch).unwrap();
    }
    let (bytes, count) =
        counted(|| session.load().unwrap().map(|m| m.unwrap().payload().len()).sum::<usize>());
    assert_eq!(bytes, 10_000 * 256);
    assert!(count < 200, "{count} for 10,000 messages");
    let (last, count) = counted(|| session.tail(20).unwrap().count());
    assert!(last == 20 && count < 30, "{count} for the last 20");
}

/// Each was merged into a text that was read and written anew: a log of 500 patches of 250 KB took seconds to open.
#[test]
fn a_patch_of_attributes_is_read_at_the_cost_of_the_patch() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path().join("store")).unwrap();
    let session = store.session("s").unwrap();
    let many = (0..2_000).map(|i| (format!("key {i}"), serde_json::json!("value")));
    session.patch_attributes(&serde_json::Value::Object(many.collect())).unwrap();
    for i in 0..200 {
        session.patch_attributes(&serde_json::json!({"key 7": i})).unwrap();
    }
    // The session is open, so its log is read from the beginning.
    let (attributes, count) = counted(|| store.reader("s").unwrap().attributes().unwrap());
    assert_eq!((attributes.len(), &attributes["key 7"]), (2_000, &serde_json::json!(199)));
    assert!(count < 20_000, "{count}");
}
