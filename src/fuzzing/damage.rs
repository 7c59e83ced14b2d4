//! A valid store with arbitrary damage, opened, listed, read and written: no panic, no hang, no wrong data, and no
//! neighbour harmed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::image::{Files, STORE, put};
use super::input::Input;
use super::model::{Look, Model, Msg, compare, compare_ways, same_info};
use super::store::{Example, IDS, dir_of, examples, options};
use crate::format::reseal;
use crate::{Error, ErrorKind, Message, Result, Store};

const MAX_EDITS: usize = 6;
/// No file grows beyond this.
const MAX_FILE: usize = 96 << 10;

/// The first byte selects the store, the others say what is done to it.
pub fn damage(data: &[u8]) {
    let mut input = Input::new(data);
    let all = examples();
    let example = &all[usize::from(input.byte()) % all.len()];
    let mut damage = Damage { files: example.files.clone(), ..Damage::default() };
    for _ in 0..MAX_EDITS {
        if input.is_empty() {
            break;
        }
        damage.edit(&mut input, example);
    }
    if std::env::var_os("SESSIONLOG_FUZZ_TRACE").is_some() {
        for (path, bytes) in &damage.files {
            let touched = if damage.touched.contains(path) { ", touched" } else { "" };
            eprintln!("{path}: {:?}{touched}", bytes.as_ref().map(Vec::len));
        }
        eprintln!("touched: {:?}", damage.touched);
    }
    let models = RefCell::new(example.models.clone());
    Trial { example, damage, models, wrote: Cell::new(false) }.run();
}

#[derive(Default, Clone)]
pub(super) struct Damage {
    pub(super) files: Files,
    /// Paths whose content or existence changed.
    pub(super) touched: BTreeSet<String>,
    /// Something was forged: it has the right checksums, so that nobody can notice.
    forged: BTreeSet<String>,
}

impl Damage {
    fn pick(&self, input: &mut Input<'_>) -> Option<String> {
        let at = usize::from(input.byte()) % self.files.len().max(1);
        self.files.keys().nth(at).cloned()
    }

    fn pick_file(&self, input: &mut Input<'_>) -> Option<String> {
        let files = || self.files.iter().filter(|(_, bytes)| bytes.is_some());
        let at = usize::from(input.byte()) % files().count().max(1);
        files().nth(at).map(|(path, _)| path.clone())
    }

    /// What the bytes become must not be in the hands of the fuzzer, which sees every comparison and would make the
    /// checksums right: only damage that an accident can do. Forging is an edit of its own.
    fn edit(&mut self, input: &mut Input<'_>, example: &Example) {
        let kind = input.byte();
        let Some(path) = (if kind & 0x80 == 0 { self.pick_file(input) } else { self.pick(input) }) else {
            return;
        };
        let other = match kind & 0x7f {
            8..=11 => self.pick_file(input),
            _ => None,
        };
        let copy = other.as_ref().and_then(|o| self.files.get(o)).cloned().flatten();
        if kind & 0x80 != 0 {
            return self.edit_tree(kind, &path, input);
        }
        self.touched.insert(path.clone());
        let Some(Some(bytes)) = self.files.get_mut(&path) else { return };
        let at = input.below(bytes.len());
        let len = (usize::from(input.byte()) + 1) * if kind & 0x40 == 0 { 1 } else { 64 };
        let end = (at + len).min(bytes.len());
        match kind & 0x3f {
            0..=2 => bytes[at..end].iter_mut().take(1).for_each(|b| *b ^= 1 << (len % 8)),
            3 => bytes[at..end].fill(0),
            4 => bytes[at..end].fill(0xff),
            5 => noise(&mut bytes[at..end], input.word()),
            6 => bytes.truncate(at),
            7 => {
                let mut more = vec![0; len];
                if kind & 0x40 != 0 {
                    noise(&mut more, input.word());
                }
                bytes.extend(more);
            }
            // A sector of another file, or from another place of this one.
            8 | 9 => {
                if let Some(copy) = copy {
                    let from = input.below(copy.len());
                    let piece = &copy[from..(from + end - at).min(copy.len())];
                    bytes[at..at + piece.len()].copy_from_slice(piece);
                }
            }
            // Another file under this name; both in each other's place.
            10 => *bytes = copy.unwrap_or_default(),
            11 => {
                if let (Some(copy), Some(other)) = (copy, other) {
                    let mine = std::mem::replace(bytes, copy);
                    self.touched.insert(other.clone());
                    self.files.insert(other, Some(mine));
                }
            }
            12 | 13 => {
                if let Some(older) = example.older.get(&path) {
                    *bytes = older.clone();
                }
            }
            14 => bytes.clear(),
            15 => {
                bytes.drain(at..end);
            }
            16 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => self.forge(&path, at, input),
        }
        if let Some(Some(bytes)) = self.files.get_mut(&path) {
            bytes.truncate(MAX_FILE);
        }
    }

    /// Bytes of the fuzzer's choice, with the right checksums over them.
    fn forge(&mut self, path: &str, at: usize, input: &mut Input<'_>) {
        let Some(Some(bytes)) = self.files.get_mut(path) else { return };
        let count = usize::from(input.byte() % 16) + 1;
        for byte in bytes.iter_mut().skip(at).take(count) {
            *byte = input.byte();
        }
        if path.ends_with(".log") {
            reseal::segment(bytes);
        } else if path.ends_with(".cat") {
            reseal::catalog_file(bytes);
        } else if path == "STORE" {
            reseal::store_file(bytes);
        }
        self.forged.insert(path.to_owned());
    }

    /// Files and directories that go, come, or are something else.
    fn edit_tree(&mut self, kind: u8, path: &str, input: &mut Input<'_>) {
        let below = format!("{path}/");
        let inside: Vec<String> = self.files.keys().filter(|k| k.starts_with(&below)).cloned().collect();
        match kind & 7 {
            0..=3 => {
                self.files.remove(path);
                self.touched.extend(inside.iter().cloned());
                inside.iter().for_each(|k| drop(self.files.remove(k)));
            }
            4 => {
                // A stray file or directory beside it.
                let names = ["00000002.log", "00000099.log", "x.tmp", "lock", "zz", "STORE-1.tmp"];
                let parent = path.rsplit_once('/').map(|(dir, _)| format!("{dir}/")).unwrap_or_default();
                let stray = format!("{parent}{}", names[usize::from(input.byte()) % names.len()]);
                if !self.files.contains_key(&stray) {
                    self.files.insert(stray.clone(), (kind & 8 == 0).then(|| vec![kind; 40]));
                    self.touched.insert(stray);
                }
            }
            5 => {
                // The other of the two.
                self.touched.extend(inside.iter().cloned());
                inside.iter().for_each(|k| drop(self.files.remove(k)));
                let was_dir = self.files.get(path).is_some_and(Option::is_none);
                self.files.insert(path.to_owned(), was_dir.then(Vec::new));
            }
            _ => {
                // Moved to another directory under its own name, or within its own under another.
                let Some(target) = self.pick(input) else { return };
                let name = path.rsplit('/').next().unwrap_or(path);
                let new = if self.files.get(&target).is_some_and(Option::is_none) {
                    format!("{target}/{name}")
                } else {
                    target
                };
                if new.starts_with(&below) || self.files.contains_key(&new) || new == path {
                    return;
                }
                for old in inside.iter().chain([&path.to_owned()]) {
                    let content = self.files.remove(old).unwrap();
                    let moved = format!("{new}{}", &old[path.len()..]);
                    self.touched.extend([old.clone(), moved.clone()]);
                    self.files.insert(moved, content);
                }
            }
        }
        self.touched.insert(path.to_owned());
    }

    /// True if this path, something in it, or something above it was changed.
    fn touches(&self, path: &str) -> bool {
        let under = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        self.touched.iter().any(|t| under(t, path) || under(path, t))
    }
}

fn noise(bytes: &mut [u8], seed: u16) {
    let mut x = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in bytes {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        *byte = (x >> 24) as u8;
    }
}

/// Sequences that could be read, by archive (0: live), and the numbers of their messages.
pub(super) type Read = BTreeMap<(u64, u64), u32>;

pub(super) struct Trial<'a> {
    example: &'a Example,
    pub(super) damage: Damage,
    /// What the sessions are now: what they were, and what this very trial has appended.
    models: RefCell<BTreeMap<&'static str, Model>>,
    /// This trial has written.
    pub(super) wrote: Cell<bool>,
}

impl Trial<'_> {
    fn run(&self) {
        let fs = put(&self.damage.files, 9);
        let before = {
            let reading = fs.process_new();
            options(&reading)
                .read_only(true)
                .open(STORE)
                .map(|store| (self.look(&store, false), damaged(&store)))
        };
        self.judge_open(before.as_ref().err());
        let (before, told) = before.unwrap_or_default();
        let (models, wrote) = (self.models.clone(), Cell::new(false));
        Trial { example: self.example, damage: self.damage.clone(), models, wrote }.doctor(&before, &told);
        // Now with a writer.
        let writing = fs.process_new();
        let written = match options(&writing).open(STORE) {
            Ok(store) => {
                let seen = self.look(&store, true);
                self.not_less(&before, &seen, WRITER);
                let written = self.write(&store);
                let _ = store.close();
                written
            }
            Err(e) => return self.judge_open(Some(&e)),
        };
        // What was written is durable, and has harmed nothing.
        let after = fs.crash();
        let store = match options(&after).open(STORE) {
            Ok(store) => store,
            Err(e) => panic!("it does not open again: {e}"),
        };
        let again = self.look(&store, false);
        self.not_less(&before, &again, "after a writer");
        for (id, (seq, message)) in written {
            let found = store.reader(id).and_then(|r| r.get(seq));
            assert!(
                matches!(&found, Ok(Some(m)) if message.is(m)),
                "what was appended to the damaged session {id} as {seq} is {found:?}"
            );
        }
    }

    fn intact_root(&self) -> bool {
        let top = ["STORE", "sessions", "catalog", "trash", "quarantine"];
        !self.damage.touched.iter().any(|t| top.contains(&t.as_str()) || !t.contains('/'))
    }

    pub(super) fn judge_open(&self, error: Option<&Error>) {
        if let Some(e) = error {
            assert!(!self.intact_root(), "a store whose own file is whole does not open: {e}");
            expected(e);
        }
    }

    /// Nothing of this session was changed, nor of what all sessions need.
    fn untouched(&self, id: &str) -> bool {
        self.intact_root() && !self.damage.touches(&dir_of(id)) && !self.catalog_forged()
    }

    fn catalog_forged(&self) -> bool {
        self.damage.forged.iter().any(|f| f.ends_with(".cat"))
    }

    pub(super) fn forged(&self) -> bool {
        !self.damage.forged.is_empty()
    }

    /// Lists everything and reads every session in every way.
    pub(super) fn look(&self, store: &Store, writing: bool) -> BTreeMap<&'static str, Read> {
        let listing = store.sessions();
        match &listing {
            Ok(listing) => self.judge_listing(listing),
            Err(e) => {
                assert!(!self.intact_root(), "the listing fails: {e}");
                expected(e);
            }
        }
        let _ = store.stats();
        let mut out = BTreeMap::new();
        for id in IDS {
            let read = match writing {
                false => store.reader(id).map(|r| self.read(id, &r)),
                true => store.open_session(id).map(|s| self.read(id, &s)),
            };
            match read {
                Ok(read) => drop(out.insert(id, read)),
                Err(e) => {
                    expected(&e);
                    if self.untouched(id) {
                        let there = self.models.borrow().contains_key(id);
                        assert!(!there && e.kind() == ErrorKind::NotFound, "{id}, which is whole: {e}");
                    }
                }
            }
        }
        out
    }

    fn judge_listing(&self, listing: &crate::Listing) {
        for (id, model) in &*self.models.borrow() {
            if !self.untouched(id) {
                continue;
            }
            let info = listing.sessions.iter().find(|i| i.id.as_str() == *id);
            let info = info.unwrap_or_else(|| panic!("{id} is missing in {listing:?}"));
            same_info(info, model).unwrap_or_else(|e| panic!("the listing of {id}: {e}"));
        }
        for (_, e) in &listing.unreadable {
            expected(e);
        }
    }

    fn read(&self, id: &'static str, seen: &dyn Look) -> Read {
        let mut out = Read::new();
        if let (true, Some(model)) = (self.untouched(id), self.models.borrow().get(id)) {
            let same = compare(seen, model).and_then(|()| compare_ways(seen, model, 77));
            same.unwrap_or_else(|e| panic!("{id}, which is whole: {e}"));
        }
        let info = seen.info();
        let mut all_good = info.is_ok();
        for (archive, messages) in [(0, seen.load())].into_iter().chain(
            seen.archives().unwrap_or_default().into_iter().map(|a| (a.number, seen.archived(a.number))),
        ) {
            let Ok(messages) = messages else {
                all_good = false;
                continue;
            };
            let mut last = None;
            for message in messages {
                let Some(message) = self.judge_message(id, message) else {
                    all_good = false;
                    continue;
                };
                assert!(last < Some(message.seq()), "{id}: message {} comes twice", message.seq());
                last = Some(message.seq());
                out.insert((archive, message.seq()), number_of(&message));
            }
        }
        for messages in [seen.tail(3), seen.tail_bytes(2_000), seen.tail_tokens(40), seen.range(2..20)] {
            match messages {
                Ok(messages) => messages.for_each(|m| drop(self.judge_message(id, m))),
                Err(e) => expected(&e),
            }
        }
        for seq in [0, 1, 8, 12, 25, 30, u64::MAX] {
            if let Some(message) = seen.get(seq).transpose() {
                let message = self.judge_message(id, message);
                assert!(message.is_none_or(|m| m.seq() == seq));
            }
        }
        let _ = seen.attributes();
        // A loss must be told: where nothing is said to be wrong, nothing is. (The end of a log that was not closed
        // can be torn off unseen; so can anything whose witness in the catalog went, too.)
        let witnessed =
            !self.wrote.get() && self.example.clean && self.intact_root() && !self.damage.touches("catalog");
        if all_good && witnessed && !self.forged() && seen.damage().is_none() {
            let model = &self.example.models[id];
            compare(seen, model).unwrap_or_else(|e| panic!("{id} is said to be whole, but {e}"));
        }
        out
    }

    /// An error, or a message that is what was appended.
    fn judge_message(&self, id: &str, message: Result<Message>) -> Option<Message> {
        let message = match message {
            Ok(message) => message,
            Err(e) => {
                expected(&e);
                return None;
            }
        };
        let _ = (message.tag(), message.tokens(), message.id(), message.parent_id(), message.codec());
        if !self.forged() {
            let number = number_of(&message);
            let known = self.example.knows(id, message.seq(), number) || number == APPENDED;
            assert!(known, "{id}: message {} is none of its messages: {message:?}", message.seq());
            let len = message.payload().len() as u16;
            let want = Msg { number, len, tokens: 3, turn: number.is_multiple_of(3) };
            assert!(want.is(&message), "{id}: message {} has wrong bytes: {message:?}", message.seq());
        }
        Some(message)
    }

    /// What could be read once can be read by those that come later.
    fn not_less(&self, before: &BTreeMap<&str, Read>, now: &BTreeMap<&str, Read>, who: &str) {
        if self.forged() {
            return;
        }
        for (id, read) in before {
            let empty = Read::new();
            let now = match now.get(id) {
                // A writer needs more than a reader, and has said what it misses.
                None if who == WRITER => continue,
                now => now.unwrap_or(&empty),
            };
            for (place, number) in read {
                assert_eq!(now.get(place), Some(number), "{id}: {who} does not find {place:?} any more");
            }
        }
    }

    /// Appends to every session that allows it; what was acknowledged.
    fn write(&self, store: &Store) -> BTreeMap<&'static str, (u64, Msg)> {
        self.wrote.set(true);
        let mut out = BTreeMap::new();
        for id in IDS {
            let message = Msg { number: APPENDED, len: 30, tokens: 3, turn: APPENDED.is_multiple_of(3) };
            let done = store.session(id).and_then(|s| s.append(message.new_message()));
            match done {
                Ok(done) => {
                    let mut models = self.models.borrow_mut();
                    let model = models.entry(id).or_default();
                    assert!(
                        !self.untouched(id) || done.seq() == model.all.len() as u64,
                        "{id}, which is whole"
                    );
                    model.all.push(message);
                    out.insert(id, (done.seq(), message));
                }
                Err(e) => {
                    assert!(!self.untouched(id), "{id}, which is whole, takes no message: {e}");
                    expected(&e);
                }
            }
        }
        out
    }
}

const WRITER: &str = "a writer";
pub(super) const APPENDED: u32 = 0xffff_0000;

fn number_of(message: &Message) -> u32 {
    message.payload().first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

/// The sessions that a reader calls damaged.
fn damaged(store: &Store) -> Vec<&'static str> {
    let told = |id: &&str| store.reader(id).map_or_else(|e| e.is_corruption(), |r| r.report().has_damage());
    IDS.into_iter().filter(told).collect()
}

/// Damage may be reported in these words.
pub(super) fn expected(e: &Error) {
    let kinds = [
        ErrorKind::Corrupt,
        ErrorKind::NotFound,
        ErrorKind::Unsupported,
        ErrorKind::Io,
        ErrorKind::ReadOnly,
        ErrorKind::Poisoned,
    ];
    assert!(kinds.contains(&e.kind()), "an error that damage does not explain: {e:?}");
    assert!(!e.is_corruption() || e.file().is_some(), "damage without a file: {e:?}");
}
