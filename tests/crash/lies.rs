//! Deliberate mistakes are caught: a sync that says success and does nothing, one at a time, for every place where
//! the store asks for one; and mistakes that are made all the time.

use std::time::{Duration, Instant};

use crate::driver::{Eyes, MISTAKES, Trace, lie_about_each, mistake, table, traces};

/// Syncs whose absence is not seen in these scripts: function, what is synced, and why it is asked for all the same.
const UNSEEN: [(&str, &str, &str); 1] = [(
    "log::catalog::adopt::carry",
    "directory /store/catalog",
    "a removed session would be reported as lost (`catalog::tests::inherit::a_removal_is_needed_until_...` sees it)",
)];

fn eyes(seconds: u64) -> Eyes {
    let until = Some(Instant::now() + Duration::from_secs(seconds));
    Eyes { states: 600, kills: 3, lies: 16, all: false, until }
}

#[test]
fn every_sync_that_is_skipped_is_noticed() {
    let _turn = crate::exhaustive::TURN.lock();
    let start = Instant::now();
    let all = lie_about_each(&traces(4), &eyes(120)).unwrap();
    eprintln!("{}", table(all.iter().map(|(site, lied)| (format!("{}, {}", site.call, site.kind), lied))));
    eprintln!("skipped syncs: {} sites in {:.1} s", all.len(), start.elapsed().as_secs_f64());
    assert!(all.len() > 20, "the backtraces name too few sites");
    let mut wrong = Vec::new();
    for (site, lied) in &all {
        let function = site
            .call
            .split(':')
            .next_back()
            .map_or("", |line| &site.call[..site.call.len() - line.len() - 1]);
        let known = UNSEEN.iter().any(|(call, kind, _)| *call == function && *kind == site.kind);
        if lied.noticed.is_empty() != known {
            let not = if known { "is noticed now" } else { "was not noticed" };
            wrong.push(format!("{}, {} {not}: {:?}", site.call, site.kind, lied.unnoticed.first()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // What is printed of a failure leads to it again.
    let mut again = 0;
    for (_, lied) in all.iter().filter(|(site, _)| site.call.contains("write_store")) {
        let Some(failure) = &lied.example else { continue };
        let line = failure.trace.to_string();
        let trace: Trace = line.parse().unwrap();
        assert_eq!(trace.to_string(), line);
        assert!(trace.replay().is_err(), "{failure}");
        again += 1;
    }
    assert!(again > 0);
}

#[test]
fn mistakes_that_are_made_all_the_time_are_noticed() {
    let _turn = crate::exhaustive::TURN.lock();
    let traces = traces(4);
    for (name, fault, kinds) in MISTAKES {
        let lied = mistake(&traces, fault, kinds, &eyes(20));
        eprint!("{}", table([(name.to_owned(), &lied)]));
        assert!(!lied.noticed.is_empty(), "{name}: nobody noticed");
    }
}
