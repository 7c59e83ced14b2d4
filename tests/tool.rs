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
    line.split(' ').map(|word| if word == "@" { path.into() } else { word.into() }).collect()
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
