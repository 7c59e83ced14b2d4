//! The stores that are damaged: small, and the same in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde_json::json;

use super::image::{Files, STORE, take};
use super::model::{Model, Msg};
use crate::fs::SimFs;
use crate::ids::SessionId;
use crate::{AppendOptions, Durability, Keep, Options, Session, Store};

pub(super) const IDS: [&str; 4] = ["a", "chat:b", "C/c", "again"];

/// A store, and what is in it.
pub(super) struct Example {
    pub(super) files: Files,
    /// Earlier versions of some of the files.
    pub(super) older: BTreeMap<String, Vec<u8>>,
    pub(super) models: BTreeMap<&'static str, Model>,
    /// Messages that were once in a session of this id: in this life, or in one that was removed.
    pub(super) known: BTreeMap<&'static str, BTreeSet<(u64, u32)>>,
    /// Every session was closed in good order.
    pub(super) clean: bool,
}

impl Example {
    pub(super) fn knows(&self, id: &str, seq: u64, number: u32) -> bool {
        self.known.get(id).is_some_and(|k| k.contains(&(seq, number)))
    }
}

/// The directory of a session in its store.
pub(super) fn dir_of(id: &str) -> String {
    let id = SessionId::new(id).unwrap();
    format!("sessions/{}/{}", id.shard(), id.dir_name())
}

pub(super) fn options(fs: &SimFs) -> Options {
    Options::new().segment_size(16 << 10).truncate_after(u64::MAX).by_hand(true).fs(Arc::new(fs.clone()))
}

/// Closed in good order; killed; after a power cut; killed and opened by another process; and one that was only
/// just begun.
pub(super) fn examples() -> &'static [Example] {
    static ALL: OnceLock<Vec<Example>> = OnceLock::new();
    ALL.get_or_init(|| (0..5).map(build).collect())
}

struct Builder {
    fs: SimFs,
    store: Store,
    models: BTreeMap<&'static str, Model>,
    known: BTreeMap<&'static str, BTreeSet<(u64, u32)>>,
    numbers: u32,
}

impl Builder {
    fn session(&self, id: &'static str) -> Session {
        self.store.session(id).unwrap()
    }

    fn fill(&mut self, id: &'static str, count: u32, len: u16, durability: Durability) {
        let session = self.session(id);
        let model = self.models.entry(id).or_default();
        for _ in 0..count {
            self.numbers += 1;
            let number = self.numbers;
            let message =
                Msg { number, len: len + number as u16 % 7, tokens: 3, turn: number.is_multiple_of(3) };
            let options = AppendOptions::new().durability(durability);
            let done = session.append_with(message.new_message(), &options).unwrap();
            assert_eq!(done.seq(), model.all.len() as u64);
            self.known.entry(id).or_default().insert((done.seq(), number));
            model.all.push(message);
        }
    }

    fn archive(&mut self, id: &'static str, keep: u64) {
        let (keep, value) = (Keep::Messages(keep), 7);
        self.session(id).archive_with(keep, &json!({"v": value})).unwrap();
        self.models.get_mut(id).unwrap().archive(keep, value);
    }

    fn attributes(&mut self, id: &'static str, value: i64) {
        self.session(id).patch_attributes(&json!({"title": value})).unwrap();
        self.models.entry(id).or_default().attributes.insert("title".to_owned(), value);
    }
}

fn build(variant: u64) -> Example {
    let fs = SimFs::new(100 + variant);
    let store = options(&fs).create(true).open(STORE).unwrap();
    let mut b = Builder { fs, store, models: BTreeMap::new(), known: BTreeMap::new(), numbers: 0 };
    let mut older = BTreeMap::new();
    if variant == 4 {
        b.fill("a", 1, 20, Durability::Sync);
        b.store.close().unwrap();
    } else {
        // Several segments, an archive in the sealed ones, one that a truncation has carried on from.
        b.fill("a", 12, 900, Durability::Sync);
        b.archive("a", 4);
        b.fill("a", 14, 700, Durability::Sync);
        b.attributes("a", 1);
        b.fill("chat:b", 5, 40, Durability::Sync);
        b.attributes("C/c", 3);
        // A session that was removed and made anew: the old one lies in the trash, or nowhere.
        b.fill("again", 3, 30, Durability::Sync);
        b.store.remove_session("again").unwrap();
        b.models.remove("again");
        b.fill("again", 2, 30, Durability::Sync);
        older = take(&b.fs).into_iter().filter_map(|(name, bytes)| Some((name, bytes?))).collect();
        b.archive("chat:b", 2);
        b.session("a").truncate().unwrap();
        b.fill("a", 3, 100, Durability::Sync);
        b.attributes("a", 2);
        b.fill("again", 2, 30, Durability::Sync);
        match variant {
            0 => b.store.close().unwrap(),
            1 => b.fs.kill(),
            2 => {
                let lost = b.models.clone();
                b.fill("a", 2, 50, Durability::Buffered);
                // What was not synced is gone, as far as acknowledgements count; its messages stay known.
                b.models = lost;
                let after = b.fs.crash();
                b.fs = after;
            }
            _ => {
                b.fs.kill();
                b.fs = b.fs.process_new();
                b.store = options(&b.fs).open(STORE).unwrap();
                b.fill("a", 1, 60, Durability::Sync);
                b.fill("chat:b", 1, 60, Durability::Sync);
                b.session("chat:b").close().unwrap();
                b.fs.kill();
            }
        }
    }
    let files = take(&b.fs.process_new());
    let clean = matches!(variant, 0 | 4);
    Example { files, older, models: b.models, known: b.known, clean }
}
