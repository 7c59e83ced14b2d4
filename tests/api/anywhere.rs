//! Messages that are read from anywhere in a session are those that a load of all of it gives.

use std::collections::BTreeMap;

use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, Durability, Keep, Messages, NewMessage, Reader, Session, Store};

use crate::common::{Rng, SIM, sim_options, sim_read, sim_segments, sim_session, sim_write};

/// Of one of some kinds, which come in stretches: long and short, text and bytes of any value.
fn payload(rng: &mut Rng, kind: u64) -> Vec<u8> {
    let len = match kind % 4 {
        0 => rng.below(100),
        1 => 500 + rng.below(1000),
        2 => 3000 + rng.below(9000),
        _ => 20_000 + rng.below(50_000),
    };
    let most = if kind.is_multiple_of(3) { 5 } else { 256 };
    (0..len).map(|_| rng.below(most) as u8).collect()
}

/// A session of some 4 MiB, of stretches of this and that.
fn session(fs: &SimFs, rng: &mut Rng) -> (Store, Session) {
    let segment = [64 << 10, 512 << 10, 8 << 20][rng.below(3) as usize];
    let store = sim_options(fs.clone()).create(true).segment_size(segment).open(SIM).unwrap();
    let session = store.session("s").unwrap();
    let buffered = AppendOptions::new().durability(Durability::Buffered);
    let mut written = 0;
    while written < 4 << 20 {
        let (kind, batches) = (rng.below(12), rng.chance(30));
        for _ in 0..=rng.below(150) {
            let count = if batches { 1 + rng.below(40) } else { 1 };
            let batch = (0..count).fold(Batch::new(), |batch, _| {
                let payload = payload(rng, kind);
                written += payload.len();
                batch.message(NewMessage::new(payload).tokens(rng.below(9) as u32))
            });
            session.append_batch_with(&batch, &buffered).unwrap();
            if rng.chance(1) {
                // One that is long lies among short ones.
                written += 300_000;
                session.append_with(vec![b'~'; 300_000], &buffered).unwrap();
            }
            if rng.chance(2) {
                session.patch_attributes(&json!({"n": written})).unwrap();
            }
            if written > 4 << 20 {
                break;
            }
        }
        if rng.chance(10) {
            session.archive(Keep::Messages(1 + rng.below(400))).unwrap();
            if rng.chance(50) {
                session.truncate().unwrap();
            }
        }
    }
    (store, session)
}

fn all(messages: Messages) -> Vec<(u64, Vec<u8>)> {
    messages.map(|m| m.map(|m| (m.seq(), m.payload().to_vec())).unwrap()).collect()
}

/// Compares what these calls give with what `load` does.
fn compare(rng: &mut Rng, reader: &Reader, session: &Session) -> usize {
    let live = all(reader.load().unwrap());
    assert_eq!(live, all(session.load().unwrap()));
    let (base, count) = (live[0].0, live.len() as u64);
    for n in 0..150 {
        let at = if n == 0 { 0 } else { rng.below(count) };
        let seq = base + at;
        let one = Some(&live[at as usize].1[..]);
        assert_eq!(session.get(seq).unwrap().as_ref().map(|m| m.payload()), one, "{seq}");
        assert_eq!(reader.get(seq).unwrap().as_ref().map(|m| m.payload()), one, "{seq}");
        let some = &live[at as usize..(at + 1 + rng.below(30)).min(count) as usize];
        assert_eq!(all(session.range(seq..seq + some.len() as u64).unwrap()), some, "{seq}");
        let end = &live[at as usize..];
        assert_eq!(session.tail(count - at).unwrap().next().unwrap().unwrap().seq(), seq);
        if n % 30 == 0 {
            assert_eq!(all(reader.tail(end.len() as u64).unwrap()), end, "{seq}");
        }
    }
    assert!(base == 0 || session.get(base - 1).unwrap().is_none());
    assert!(reader.get(base + count).unwrap().is_none());
    live.len()
}

#[test]
fn what_is_read_from_anywhere_is_what_a_load_gives() {
    let mut compared = 0;
    for seed in 0..24 {
        let (fs, mut rng) = (SimFs::new(seed), Rng::new(seed));
        let (store, session) = session(&fs, &mut rng);
        compared += compare(&mut rng, &store.reader("s").unwrap(), &session);
    }
    assert!(compared > 4_000, "{compared}");
}

#[test]
fn damage_hides_from_who_asks_for_a_message_no_other_than_it_hides_from_a_load() {
    let (mut good, mut bad) = (0, 0);
    for seed in 100..130 {
        let (fs, mut rng) = (SimFs::new(seed), Rng::new(seed));
        let (store, session) = session(&fs, &mut rng);
        session.close().unwrap();
        store.close().unwrap();
        let dir = sim_session(&fs);
        let names = sim_segments(&*dir);
        for _ in 0..=rng.below(3) {
            let name = &names[rng.below(names.len() as u64) as usize];
            let mut bytes = sim_read(&*dir, name);
            // What the session begins with stays.
            let at = 200 + rng.below(bytes.len() as u64 - 200) as usize;
            bytes[at] ^= 1 << rng.below(8);
            sim_write(&*dir, name, &bytes);
        }
        let store = sim_options(fs.clone()).open(SIM).unwrap();
        let Ok(reader) = store.reader("s") else { continue };
        let info = reader.info().unwrap();
        let loaded: BTreeMap<u64, Vec<u8>> =
            reader.load().unwrap().flatten().map(|m| (m.seq(), m.payload().to_vec())).collect();
        for _ in 0..200 {
            let seq = info.live.start + rng.below((info.live.end - info.live.start).max(1));
            match (reader.get(seq), loaded.get(&seq)) {
                (Ok(Some(message)), Some(payload)) => {
                    assert_eq!(message.payload(), payload, "{seed}: {seq}");
                    good += 1;
                }
                (Err(e), None) => {
                    assert!(e.is_corruption(), "{seed}: {seq}: {e}");
                    bad += 1;
                }
                (got, had) => panic!("{seed}: {seq}: {got:?}, and a load {}", had.is_some()),
            }
        }
    }
    assert!(good > 2_000 && bad > 0, "{good} {bad}");
}
