//! The command line tool, `examples/doctor.rs`, called as its `main` calls it.

#[path = "common/mod.rs"]
mod common;
#[path = "../examples/doctor.rs"]
#[expect(dead_code, reason = "its main")]
mod doctor;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use common::{Place, fill, segments, session_dirs};

/// A pipe that nobody reads any more.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn words(line: &str, path: &Path) -> Vec<OsString> {
    let path = path.to_str().unwrap();
    line.split(' ').map(|word| word.replace('@', path).into()).collect()
}

/// What it prints, and its exit code. `@` stands for the path.
fn tool(line: &str, path: &Path) -> (String, String, u8) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = doctor::tool(&words(line, path), &mut out, &mut err);
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

/// A store with one session of three messages, and its segment. A message of it is rotten if that is wanted.
fn store(rotten: bool) -> (Place, PathBuf) {
    let place = Place::new();
    let store = place.open();
    fill(&store.session("s").unwrap(), 3);
    store.close().unwrap();
    let segment = segments(&session_dirs(&place.path())[0]).remove(0);
    if rotten {
        let mut bytes = std::fs::read(&segment).unwrap();
        let at = common::place_of(&bytes, "m1");
        bytes[at] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    }
    (place, segment)
}

#[test]
fn who_stops_reading_changes_nothing() {
    let (place, segment) = store(true);
    for line in
        ["check @", "check @ --json", "repair @ --dry-run", "repair @ --dry-run --json", "dump @", "--help"]
    {
        let path = if line == "dump @" { segment.clone() } else { place.path() };
        let (text, _, code) = tool(line, &path);
        assert!(!text.is_empty(), "{line}");
        let mut err = Vec::new();
        assert_eq!(doctor::tool(&words(line, &path), &mut Closed, &mut err), code, "{line}");
        assert_eq!(String::from_utf8(err).unwrap(), "", "{line}");
    }
    // There is no way to complain either.
    assert_eq!(doctor::tool(&words("check /nowhere", &segment), &mut Closed, &mut Closed), 2);
    assert_eq!(doctor::tool(&words("repair @", &place.path()), &mut Closed, &mut Closed), 0);
    assert_eq!(tool("check @", &place.path()).2, 0);
}

fn json(line: &str, path: &Path) -> (serde_json::Value, u8) {
    let (out, err, code) = tool(line, path);
    assert_eq!(err, "", "{line}");
    (serde_json::from_str(&out).unwrap_or_else(|e| panic!("{line}: {e}: {out}")), code)
}

#[test]
fn as_json_there_is_one_object_whatever_happens() {
    let (place, _) = store(true);
    let (told, code) = json("check @ --json", &place.path());
    assert_eq!((&told["verdict"], code), (&"damaged".into(), 1), "{told}");
    assert_eq!(told["findings"][0]["code"], "D001", "{told}");
    let verdicts = [
        ("repair @ --dry-run --json", "something-to-do", 1),
        ("repair @ --json", "healthy", 0),
        ("check @ --json", "healthy", 0),
        ("repair --json --dry-run -- @", "nothing-to-do", 0),
    ];
    for (line, verdict, wanted) in verdicts {
        let (told, code) = json(line, &place.path());
        assert_eq!((&told["verdict"], code), (&verdict.into(), wanted), "{line}: {told}");
    }
    for line in [
        "check @/none --json",
        "repair @/none --json",
        "check --json",
        "dump @ --json",
        "check @ --json --session",
    ] {
        let (told, code) = json(line, &place.path());
        assert!(told["error"].is_string() && code == 2, "{line}: {told}");
        assert_eq!(told.as_object().unwrap().len(), 1, "{line}: {told}");
    }
}

#[test]
fn an_option_of_another_command_is_refused() {
    let (place, segment) = store(false);
    let lines = [
        "check @ --dry-run",
        "dump @ --dry-run",
        "dump @ --session s",
        "check @ --all",
        "check",
        "check @ @",
        "heal @",
    ];
    for line in lines {
        let path = if line.starts_with("dump") { &segment } else { &place.path() };
        let (out, err, code) = tool(line, path);
        assert_eq!((out.as_str(), code), ("", 2), "{line}");
        assert!(err.contains("usage: doctor check"), "{line}: {err}");
    }
}

#[test]
fn behind_two_dashes_stand_paths() {
    let (place, segment) = store(false);
    for line in ["check -- @", "-- check @", "check --json -- @", "repair --dry-run -- @"] {
        assert_eq!(tool(line, &place.path()).2, 0, "{line}");
    }
    assert_eq!(tool("dump -- @", &segment).2, 0);
    let (_, err, code) = tool("check -- --json", &segment);
    assert!(code == 2 && err.contains("--json") && !err.contains("usage"), "{err}");
    assert_eq!(tool("check -- --help", &segment).2, 2);
}

#[test]
fn where_nothing_is_wrong_nothing_was_left_alone() {
    let (place, _) = store(false);
    assert_eq!(tool("repair @", &place.path()), ("nothing to repair\n".to_owned(), String::new(), 0));
}

#[test]
fn of_a_session_that_is_gone_nobody_says_that_nothing_is_lost() {
    let (place, segment) = store(false);
    std::fs::remove_dir_all(segment.parent().unwrap()).unwrap();
    let (text, _, code) = tool("check @", &place.path());
    assert!(
        code == 1 && text.contains("something may be lost") && !text.contains("nothing is lost"),
        "{text}"
    );
    assert_eq!(json("check @ --json", &place.path()).0["verdict"], "warnings");
    let (text, _, code) = tool("repair @", &place.path());
    assert!(code == 1 && text.contains("put its directory back"), "{text}");
}

#[test]
fn a_dump_of_what_is_no_good_segment_says_so() {
    let (_place, segment) = store(false);
    let (text, _, code) = tool("dump @", &segment);
    assert!(code == 0 && text.contains("message 2"), "{text}");
    let (place, segment) = store(true);
    let (text, _, code) = tool("dump @", &segment);
    assert!(code == 1 && text.contains("BAD"), "{text}");
    assert_eq!(tool("dump @", &place.path().join("STORE")).2, 1);
    assert_eq!(tool("dump @", &place.path().join("none")).2, 2);
}
