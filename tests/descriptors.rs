//! More sessions than a process may have files open: idle ones are parked, and come back by themselves.

#![cfg(unix)]

mod common;

use common::{Child, Place, child_dir};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sessionlog::{Options, Session};

/// Uses so many sessions in turn, with a handle on each all the time, under a limit of so many descriptors.
fn in_turn(sessions: usize, descriptors: u64, options: Options) {
    let Some(dir) = child_dir() else { return };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
    let store = options.create(true).open(dir).unwrap();
    let all: Vec<Session> = (0..sessions).map(|i| store.session(format!("s{i}")).unwrap()).collect();
    for round in 0..2 {
        for (i, session) in all.iter().enumerate() {
            assert_eq!(session.append(&format!("{i} in round {round}")).unwrap().seq(), round);
        }
    }
    for (i, session) in all.iter().enumerate() {
        let texts: Vec<Vec<u8>> = session.load().unwrap().map(|m| m.unwrap().payload().to_vec()).collect();
        assert_eq!(texts, [0, 1].map(|round| format!("{i} in round {round}").into_bytes()), "session {i}");
    }
    drop(all);
    store.close().unwrap();
}

#[test]
#[ignore = "run by others, as a process of its own"]
fn few_descriptors_child() {
    in_turn(200, 128, Options::new());
}

#[test]
fn sessions_in_turn_need_no_more_descriptors_than_may_be_open_at_once() {
    let place = Place::new();
    Child::start("few_descriptors_child", &place.path()).finish();
    assert_eq!(place.open().sessions().unwrap().sessions.len(), 200);
}

/// With the defaults. Some minutes.
#[test]
#[ignore = "run by the next one"]
fn twenty_thousand_child() {
    in_turn(20_000, 1024, Options::new());
}

#[test]
#[ignore = "some minutes long: cargo test --test descriptors -- --ignored --exact twenty_thousand_sessions_under_the_usual_limit"]
fn twenty_thousand_sessions_under_the_usual_limit() {
    let place = Place::new();
    Child::start("twenty_thousand_child", &place.path()).finish();
    assert_eq!(place.open().sessions().unwrap().sessions.len(), 20_000);
}
