//! A state machine over the public API, as properties: histories of two processes with faults, kills and power cuts, that
//! proptest makes and, where one fails, makes small.
//!
//! The model (`driver/model.rs`) knows of each session which states were submitted and which of them were
//! acknowledged: what is found is one of those in between, for each session by itself, whatever the others went through.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use sessionlog::fs::Choice;

use crate::driver::{Conf, FAULTS, Faults, Hop, How, Step, Trace, travel};

/// Moments are parts of a run, in thousandths: they stay meaningful while the script shrinks.
const WHOLE: u64 = 1000;

#[derive(Debug, Clone, Copy)]
struct Crash {
    part: u64,
    how: How,
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0usize..3;
    let verb = prop_oneof![
        6 => (Just('a'), prop_oneof![4 => 0u64..200, 2 => 200u64..3000, 1 => 3000u64..12_000]),
        3 => (Just('u'), prop_oneof![3 => 0u64..200, 1 => 200u64..3000]),
        3 => (prop_oneof![Just('b'), Just('B')], 1u64..20),
        1 => (Just('y'), Just(0)),
        4 => (Just('A'), 0u64..6),
        1 => (Just('t'), Just(0)),
        3 => (prop_oneof![Just('m'), Just('n'), Just('r')], Just(0)),
        2 => (prop_oneof![Just('c'), Just('C'), Just('D'), Just('l')], Just(0)),
        2 => (prop_oneof![Just('X'), Just('K'), Just('k'), Just('W'), Just('w')], Just(0)),
        1 => (Just('P'), any::<u64>().prop_map(|seed| seed >> 24)),
        1 => (Just('S'), 1u64..600),
    ];
    (session, verb).prop_map(|(session, (verb, arg))| Step { verb, session, arg })
}

fn crash() -> impl Strategy<Value = Crash> {
    let how = prop_oneof![
        1 => Just(How::Kill),
        1 => Just(How::Look),
        1 => Just(How::Cut(Choice::Nothing)),
        1 => Just(How::Cut(Choice::Everything)),
        2 => (0u64..64).prop_map(|mask| How::Cut(Choice::Mask(mask))),
        4 => any::<u64>().prop_map(|seed| How::Cut(Choice::Seed(seed >> 24))),
    ];
    (0..=WHOLE, how).prop_map(|(part, how)| Crash { part, how })
}

fn faults(most: usize) -> impl Strategy<Value = Faults> {
    vec((0u64..200, proptest::sample::select(FAULTS.to_vec())), 0..=most)
}

fn history(length: usize) -> impl Strategy<Value = (Trace, Vec<(Crash, Faults)>)> {
    let conf = prop_oneof![Just(u64::MAX), 0u64..4000].prop_map(|after| Conf { segment: 16 << 10, after });
    let trace =
        (any::<u32>(), conf, vec(step(), 1..length), faults(1)).prop_map(|(seed, conf, steps, faults)| {
            Trace { seed: seed.into(), conf, steps, faults, visit: None, hops: Vec::new() }
        });
    (trace, vec((crash(), faults(1)), 1..4))
}

proptest! {
    #![proptest_config(Config {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(120),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn after_any_history_each_session_is_in_a_state_between_acknowledged_and_submitted(
        (trace, crashes) in history(24),
    ) {
        let outcome = run(&trace, &crashes);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

/// Runs a history with its crashes, each in the recovery from the one before.
fn run(trace: &Trace, crashes: &[(Crash, Faults)]) -> Result<(), String> {
    let mut crashes = crashes.iter();
    let (way, outcome) = travel(trace, |moments| {
        let (crash, faults) = crashes.next().filter(|_| moments > 0)?;
        let point = ((moments as u64 - 1) * crash.part / WHOLE) as usize;
        Some(Hop { point, how: crash.how, faults: faults.clone() })
    });
    outcome.map_err(|what| format!("{what}\n    --replay '{way}'"))
}
