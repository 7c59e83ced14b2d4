//! Sessions that are created and removed all the time.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use sessionlog::Store;

const IDS: u64 = 4;

fn id(i: u64) -> String {
    format!("comes and goes {i}")
}

/// Creates and removes in turns, life after life, until it is killed. The log is continued by each child.
pub(crate) fn run(dir: &Path, round: u64) {
    let mut log =
        OpenOptions::new().append(true).create(true).open(dir.join(format!("log-{round}"))).unwrap();
    let mut say = |line: String| log.write_all(line.as_bytes()).unwrap();
    let store = Store::open(dir.join("store")).unwrap();
    for life in 0.. {
        for i in 0..IDS {
            let there = store.sessions().unwrap().sessions.iter().any(|s| s.id.as_str() == id(i));
            if there {
                say(format!("S remove {i} 0\n"));
                assert!(store.remove_session(id(i)).unwrap());
                say(format!("A remove {i} 0\n"));
            } else {
                let mark = round * 1_000_000 + life;
                say(format!("S create {i} {mark}\n"));
                let session = store.create_session(id(i)).unwrap();
                say(format!("A create {i} {mark}\n"));
                session.append(&mark.to_string()).unwrap();
                say(format!("A append {i} {mark}\n"));
            }
        }
    }
}

/// The last acknowledged word about each session holds, or the one that was submitted behind it.
pub(crate) fn check(dir: &Path, round: u64, seed: u64) {
    let text = std::fs::read_to_string(dir.join(format!("log-{round}"))).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    // For each session: whether it may be there, whether it may be absent, its content if it is known.
    let mut state: HashMap<u64, (bool, bool, Option<String>)> = HashMap::new();
    for line in whole.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let i: u64 = words[2].parse().unwrap();
        let now = match (words[0], words[1]) {
            ("S", _) => (true, true, None),
            ("A", "remove") => (false, true, None),
            ("A", "create") => (true, false, None),
            _ => (true, false, Some(words[3].to_owned())),
        };
        state.insert(i, now);
    }
    let store = Store::open(dir.join("store")).unwrap();
    let listing = store.sessions().unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}; SESSIONLOG_SEED={seed}", listing.unreadable);
    for i in 0..IDS {
        let listed = listing.sessions.iter().find(|s| s.id.as_str() == id(i));
        let reader = store.reader(id(i));
        assert_eq!(listed.is_some(), reader.is_ok(), "session {i} in round {round}; SESSIONLOG_SEED={seed}");
        let Some((may_be, may_not, content)) = state.get(&i) else { continue };
        assert!(
            if reader.is_ok() { *may_be } else { *may_not },
            "session {i} in round {round}: there: {}; SESSIONLOG_SEED={seed}\n{whole}",
            reader.is_ok()
        );
        if let (Ok(reader), Some(content)) = (&reader, content) {
            let messages: Vec<_> = reader.load().unwrap().map(Result::unwrap).collect();
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].payload(), content.as_bytes());
            assert_eq!(listed.unwrap().message_count, 1);
        }
    }
    store.close().unwrap();
    // What half-made and half-removed sessions left behind does not pile up.
    let trash = std::fs::read_dir(dir.join("store/trash")).unwrap().count();
    assert!(trash < 8, "{trash} removed sessions wait in the trash; SESSIONLOG_SEED={seed}");
}
