//! Rules about the sources that no compiler keeps.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of `src/doc/design.md`: a module uses its own floor and lower ones.
const FLOORS: &[(&str, u32)] = &[
    ("error", 0),
    ("ids", 0),
    ("limits", 0),
    ("format", 1),
    ("codec", 1),
    ("state", 1),
    ("fs", 2),
    ("log", 3),
    ("recovery", 4),
    ("session", 5),
    ("store", 5),
    ("doctor", 5),
    ("fuzzing", 6),
];

/// A file beyond this is asking for a change of the design.
const MAX_LINES: usize = 600;

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // A package of its own below keeps what it builds there.
                if !path.ends_with("target") {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    assert!(!out.is_empty(), "no sources in {dir}");
    out
}

fn floor_of(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

/// The module of `src/` in which a file stands.
fn module_of(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn a_module_uses_its_own_floor_and_lower_ones() {
    let mut seen = 0;
    for (path, text) in sources("src") {
        let module = module_of(&path);
        let Some(floor) = floor_of(&module) else {
            assert!(["lib", "doc"].contains(&module.as_str()), "{module} has no floor: add it to FLOORS");
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if let Some(other) = floor_of(&name) {
                    seen += 1;
                    let here = format!("{}:{}", path.display(), number + 1);
                    assert!(
                        other <= floor,
                        "{here}: floor {floor} uses {name} of floor {other}; move the code up, or what it needs down"
                    );
                }
            }
        }
    }
    assert!(seen > 100, "the test sees too few imports to be one");
}

#[test]
fn unsafe_stands_in_one_file() {
    for (path, text) in sources("src") {
        if path.ends_with("fs/map.rs") {
            continue;
        }
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        for line in code {
            let found = line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe");
            assert!(!found, "{}: unsafe belongs into src/fs/map.rs: {line}", path.display());
        }
    }
}

#[test]
fn no_leftovers_and_no_file_beyond_what_fits_in_a_head() {
    let words = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX", "HACK", "#[ignore]"];
    for dir in ["src", "tests", "examples", "benches"] {
        for (path, text) in sources(dir) {
            if path.ends_with("tests/tidy.rs") {
                continue;
            }
            let lines = text.lines().count();
            assert!(lines <= MAX_LINES, "{}: {lines} lines; does it still hold one idea?", path.display());
            for word in words {
                assert!(!text.contains(word), "{}: {word} is left", path.display());
            }
        }
    }
}

#[test]
fn product_code_has_no_switches_for_tests() {
    for (path, text) in sources("src") {
        for (number, line) in text.lines().enumerate() {
            let switch = line.contains("cfg(not(test))") || line.contains("cfg!(test)");
            let allowed = path.ends_with("src/lib.rs");
            assert!(
                !switch || allowed,
                "{}:{}: sizes are options and faults come through Fs",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn every_failure_of_the_table_has_a_test_that_exists() {
    let table =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doc/failures.md")).unwrap();
    let tests: String = sources("tests").into_iter().map(|(_, text)| text).collect();
    let mut number = 0;
    for row in table.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| #")) {
        number += 1;
        assert!(row.starts_with(&format!("| {number} |")), "row {number} is not in its place: {row}");
        let named: Vec<&str> =
            row.split('`').filter(|name| name.starts_with('f') && name.contains('_')).collect();
        for name in &named {
            assert!(tests.contains(&format!("fn {name}()")), "row {number}: there is no test {name}");
        }
        assert!(!named.is_empty() || row.contains("cannot occur"), "row {number} has no test and no reason");
    }
    assert_eq!(number, 38);
}
