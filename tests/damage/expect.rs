//! What was written, and how what is read compares with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sessionlog::fs::SimFs;
use sessionlog::{Error, ErrorKind, Messages, Report, SessionInfo, Store};

use crate::common::SIM;
use crate::store::{IDS, options};

/// The messages and the attributes of an archive.
pub type Archived = (BTreeMap<u64, String>, Map<String, Value>);

/// All that a session held, or what of it can be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    pub live: BTreeMap<u64, String>,
    pub archives: BTreeMap<u64, Archived>,
    pub attributes: Map<String, Value>,
    pub range: (u64, u64),
    pub count: u64,
}

/// What reading gave besides.
#[derive(Debug, Default)]
pub struct Trouble {
    pub errors: Vec<Error>,
    pub report: Report,
}

impl Trouble {
    pub fn is_told(&self) -> bool {
        !self.errors.is_empty() || self.report.has_damage()
    }
}

impl Expected {
    pub fn all(fs: &SimFs) -> BTreeMap<String, Expected> {
        let fs = fs.crash_copy();
        let store = options(&fs).read_only(true).open(SIM).unwrap();
        IDS.map(|id| {
            let (read, trouble) = Expected::read(&store, id);
            assert!(!trouble.is_told(), "{trouble:?}");
            (id.to_owned(), read)
        })
        .into()
    }

    /// Everything that can be read of a session.
    pub fn read(store: &Store, id: &str) -> (Expected, Trouble) {
        let (mut out, mut trouble) = (Expected::default(), Trouble::default());
        let reader = match store.reader(id) {
            Ok(reader) => reader,
            Err(e) => {
                trouble.errors.push(e);
                return (out, trouble);
            }
        };
        trouble.report = reader.report();
        let info: SessionInfo = reader.info().unwrap();
        out.range = (info.live.start, info.live.end);
        out.count = info.message_count;
        out.attributes = info.attributes.into_map();
        out.live = take(reader.load().unwrap(), &mut trouble);
        for a in reader.archives().unwrap() {
            let messages = match reader.archived(a.number) {
                Ok(messages) => take(messages, &mut trouble),
                // All of it was given up.
                Err(e) if e.kind() == ErrorKind::NotFound => BTreeMap::new(),
                Err(e) => panic!("{e}"),
            };
            out.archives.insert(a.number, (messages, a.attributes.into_map()));
        }
        (out, trouble)
    }

    /// Every message, live or archived.
    pub fn messages(&self) -> BTreeMap<u64, &String> {
        let archived = self.archives.values().flat_map(|(m, _)| m);
        archived.chain(&self.live).map(|(seq, text)| (*seq, text)).collect()
    }

    /// True if everything here was written: no message that is another, none twice in the live range and an archive.
    pub fn is_part_of(&self, written: &Expected) -> bool {
        let all = written.messages();
        self.messages().iter().all(|(seq, text)| all.get(seq) == Some(text))
    }
}

fn take(messages: Messages, trouble: &mut Trouble) -> BTreeMap<u64, String> {
    let mut out = BTreeMap::new();
    for m in messages {
        match m {
            Ok(m) => {
                let old = out.insert(m.seq(), String::from_utf8(m.payload().to_vec()).unwrap());
                assert_eq!(old, None, "message {} twice", m.seq());
            }
            Err(e) => trouble.errors.push(e),
        }
        assert!(out.len() + trouble.errors.len() < 10_000, "it does not end");
    }
    out
}
