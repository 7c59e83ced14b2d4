//! Who asks again and again gets what who asks for the first time gets.

use super::*;
use crate::ids::hash_in;

fn hash(name: &str) -> u128 {
    hash_in(&id(name).dir_name()).unwrap()
}

#[test]
fn what_did_not_change_is_given_again() {
    let sim = SimFs::new(1);
    let (writer, reader) = (catalog(&sim.process_new()), catalog(&sim));
    writer.mark_open(open("s", 1, 1)).unwrap();
    let first = reader.current().unwrap();
    assert_eq!(word(&first, "s"), "open");
    assert!(Arc::ptr_eq(&first, &reader.current().unwrap()));
    writer.record(closed("s", 1, 1, 3)).unwrap();
    let second = reader.current().unwrap();
    assert_eq!((word(&first, "s"), word(&second, "s")), ("open".into(), "3".into()));
    // The sync moves a mark, and closing cuts the file: neither says anything new.
    writer.sync().unwrap();
    assert!(Arc::ptr_eq(&second, &reader.current().unwrap()));
    writer.close().unwrap();
    assert!(Arc::ptr_eq(&second, &reader.current().unwrap()));
    // Nor are places of entries moved by what comes behind them.
    let (name, before) = (hash("s"), second.place(hash("s")));
    let other = catalog(&sim.process_new());
    other.record(closed("t", 2, 1, 5)).unwrap();
    let third = reader.current().unwrap();
    assert!(before.is_some() && third.place(name) == before);
    assert_eq!((word(&third, "s"), word(&third, "t")), ("3".into(), "5".into()));
}

#[test]
fn frames_that_were_taken_back_and_others_in_their_place_are_seen() {
    let (sim, disk) = (SimFs::new(1), SimFs::new(2));
    let writer = catalog(&disk);
    writer.mark_open(open("s", 1, 1)).unwrap();
    let file = files(&disk).remove(0);
    let marked = bytes(&disk, &file);
    writer.record(closed("s", 1, 1, 3)).unwrap();
    let summed = bytes(&disk, &file);

    let reader = catalog(&sim);
    put(&sim, &file, &summed);
    let place = |merged: Arc<Merged>| merged.place(hash("s"));
    assert_eq!(word(&reader.current().unwrap(), "s"), "3");
    let first = place(reader.current().unwrap());
    put(&sim, &file, &marked);
    assert_eq!(word(&reader.current().unwrap(), "s"), "open");
    assert_eq!(place(reader.current().unwrap()), None);
    put(&sim, &file, &summed);
    assert_eq!(word(&reader.current().unwrap(), "s"), "3");
    // What stands there now need not be what stood there.
    assert!(first.is_some() && place(reader.current().unwrap()) != first);
    // Something far behind the end is a write that is under way, or damage.
    let end = summed.iter().rposition(|b| *b != 0).unwrap() + 1;
    let mut torn = summed.clone();
    torn[end + 20] = 7;
    put(&sim, &file, &torn);
    let merged = reader.current().unwrap();
    assert_eq!((word(&merged, "s"), merged.findings.len()), ("doubt".into(), 1));
    put(&sim, &file, &summed);
    assert_eq!(word(&reader.current().unwrap(), "s"), "3");
    // Another file under the name.
    let dir = directory(&sim);
    dir.remove_file(&file).unwrap();
    assert_eq!(word(&reader.current().unwrap(), "s"), "none");
    put(&sim, &file, &marked);
    assert_eq!(word(&reader.current().unwrap(), "s"), "open");
}

#[test]
fn it_is_what_a_new_reader_gets_whatever_happens() {
    const SESSIONS: u8 = 40;
    for seed in 0..20 {
        let sim = SimFs::new(seed);
        let reader = catalog(&sim);
        let mut writers: Vec<Catalog> = (0..3).map(|_| catalog(&sim.process_new())).collect();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut any = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for step in 0..150 {
            let (at, session) = (any(3) as usize, any(SESSIONS.into()) as u8);
            let name = format!("s{session}");
            let writer = &writers[at];
            match any(8) {
                0..=2 => writer.mark_open(open(&name, session, step + 1)).unwrap(),
                3..=4 => writer.record(closed(&name, session, step + 1, step)).unwrap(),
                5 => writer.record(removed(&name, session, step + 1)).unwrap(),
                6 => drop(writer.maintain().unwrap()),
                _ => {
                    writer.close().unwrap();
                    writers[at] = catalog(&sim.process_new());
                }
            }
            if any(3) == 0 {
                continue;
            }
            let (current, new) = (reader.current().unwrap(), reader.merged().unwrap());
            for session in 0..SESSIONS {
                let name = format!("s{session}");
                assert_eq!(
                    word(&current, &name),
                    word(&new, &name),
                    "{name} after step {step} of seed {seed}"
                );
            }
            assert!(current.findings.is_empty() && new.findings.is_empty());
        }
    }
}

#[test]
fn a_life_that_two_sessions_lay_claim_to_is_looked_at_anew() {
    let sim = SimFs::new(1);
    let (writer, reader) = (catalog(&sim.process_new()), catalog(&sim));
    for b in 0..40 {
        writer.record(closed(&format!("s{b}"), b, 1, u64::from(b))).unwrap();
    }
    assert_eq!(word(&reader.current().unwrap(), "s7"), "7");
    // No writer does this.
    writer.record(closed("forged", 7, 2, 99)).unwrap();
    let (current, new) = (reader.current().unwrap(), reader.merged().unwrap());
    for name in ["forged", "s7", "s8"] {
        assert_eq!(word(&current, name), word(&new, name), "{name}");
    }
    assert_eq!((word(&new, "s7"), word(&new, "forged")), ("none".into(), "99".into()));
}
