//! The stores that are damaged: three sessions, several segments, archives, attributes.

use std::collections::BTreeMap;

use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{Keep, Options, Session, Store};

use crate::common::{SIM, fill, sim_files, sim_options, sim_write};
use crate::expect::Expected;

pub struct Base {
    pub fs: SimFs,
    pub files: BTreeMap<String, Vec<u8>>,
    earlier: Vec<BTreeMap<String, Vec<u8>>>,
    pub expected: BTreeMap<String, Expected>,
    pub closed: bool,
}

/// What long messages consist of, and nothing else does.
pub const LONG: &str = "~";
pub const IDS: [&str; 3] = ["alpha", "beta", "gamma:1"];

pub fn options(fs: &SimFs) -> Options {
    sim_options(fs.clone()).create(false).truncate_after(u64::MAX)
}

fn only_files(fs: &SimFs) -> BTreeMap<String, Vec<u8>> {
    sim_files(fs).into_iter().filter(|(name, bytes)| !bytes.is_empty() && !name.ends_with("/lock")).collect()
}

fn archive(session: &Session, keep: u64, title: &str) {
    let done = session.archive(Keep::Messages(keep)).unwrap();
    session.patch_archive(done.archive.unwrap(), &json!({"title": title})).unwrap();
}

/// The sessions in three parts, so that there are older versions of the files. With a long message a close states all.
fn part(store: &Store, part: u64, long: bool) {
    let [alpha, beta, gamma] = IDS.map(|id| store.session(id).unwrap());
    fill(&alpha, 4);
    alpha.patch_attributes(&json!({"title": format!("part {part}"), format!("key {part}"): part})).unwrap();
    archive(&alpha, 2, &format!("archive of part {part}"));
    alpha.truncate().unwrap();
    fill(&alpha, 2);
    fill(&beta, 3);
    if long && part > 0 {
        beta.append(&LONG.repeat(132_000)).unwrap();
        beta.patch_attributes(&json!({format!("long {part}"): part})).unwrap();
        fill(&beta, 1);
    }
    fill(&gamma, 2);
    gamma.patch_attributes(&json!({"part": part})).unwrap();
    if part == 1 {
        archive(&gamma, 1, "early");
    }
}

fn build(seed: u64, closed: bool, long: bool) -> Base {
    let fs = SimFs::new(seed);
    let mut earlier = Vec::new();
    for n in 0..3 {
        let segment = if long { 1 << 20 } else { 16 << 10 };
        let options = sim_options(fs.clone()).truncate_after(u64::MAX).segment_size(segment);
        let store = options.open(SIM).unwrap();
        part(&store, n, long);
        earlier.push(only_files(&fs));
        if closed || n < 2 {
            store.close().unwrap();
        } else {
            fs.kill();
        }
    }
    // As the files are, not as a power cut at this moment would leave them.
    let now = sim_files(&fs.process_new());
    let fs = fs.process_new();
    for (name, bytes) in now.iter().filter(|(name, _)| !name.ends_with("/lock")) {
        if let Some((dir, name)) = crate::suite::find(&fs, name) {
            sim_write(&*dir, &name, bytes);
        }
    }
    let fs = fs.crash();
    let expected = Expected::all(&fs);
    let files = only_files(&fs);
    Base { fs, files, earlier, expected, closed }
}

impl Base {
    pub fn closed() -> Base {
        build(71, true, false)
    }

    pub fn crashed() -> Base {
        build(72, false, false)
    }

    /// With long messages and checkpoints behind them in one session.
    pub fn long(closed: bool) -> Base {
        build(73, closed, true)
    }

    /// Earlier contents of the file.
    pub fn older(&self, file: &str) -> Vec<Vec<u8>> {
        let now = self.files.get(file);
        let mut out: Vec<Vec<u8>> = self.earlier.iter().filter_map(|f| f.get(file)).cloned().collect();
        out.dedup();
        out.retain(|bytes| Some(bytes) != now);
        out
    }

    /// Files of other sessions with which this one could be exchanged.
    pub fn others(&self, file: &str) -> Vec<String> {
        let dir = |name: &str| name.rsplit_once('/').unwrap().0.to_owned();
        let log = |name: &str| name.ends_with(".log");
        self.files.keys().filter(|o| log(o) && log(file) && dir(o) != dir(file)).cloned().collect()
    }
}

/// To which session a file belongs.
pub fn owner(file: &str) -> Option<&'static str> {
    IDS.into_iter().find(|id| file.contains(&format!("/{}~", id.replace(':', "-"))))
}
