//! Several processes on one store: writers side by side, a takeover, readers without locks, races for one id,
//! and what dead processes leave behind.

#![allow(clippy::print_stdout, reason = "tests report to whoever runs them")]

mod support;

#[path = "processes/lives.rs"]
mod lives;
#[path = "processes/races.rs"]
mod races;
#[path = "processes/shrink.rs"]
mod shrink;
#[path = "processes/takeover.rs"]
mod takeover;

use std::path::Path;

use support::role;

#[test]
#[ignore = "the other processes of the tests in this file"]
fn child_process() {
    let Some((role, arguments)) = role() else { return };
    let dir = Path::new(&arguments[0]);
    match role.as_str() {
        "writer" => takeover::write(dir, &arguments[1], &arguments[2]),
        "watcher" => takeover::watch(dir),
        "hold" => races::hold(dir, &arguments[1]),
        "create" => races::create(dir, arguments[1].parse().unwrap()),
        "append" => races::append(dir, arguments[1].parse().unwrap()),
        "store" => races::open_store(dir, arguments[1].parse().unwrap()),
        "live" => lives::live(dir, arguments[1].parse().unwrap()),
        "recreate" => lives::recreate(dir),
        "shrink" => shrink::write(dir),
        "grow" => lives::grow(dir),
        other => panic!("no such role: {other}"),
    }
}
