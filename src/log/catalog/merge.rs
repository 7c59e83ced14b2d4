//! Which entry about a life of a session holds when several files speak of it. Pure.
//!
//! | new against old                               | verdict | because |
//! |-----------------------------------------------|---------|---------|
//! | higher incarnation number                     | new     | writers follow each other |
//! | lower incarnation number                      | old     | |
//! | same number, other nonce                      | doubt   | two writers took one number: one of them was rolled back |
//! | same writer, same instance                    | new     | one process wrote them in this order, or one after the other |
//! | same writer, same content                     | old     | a copy: an adoption did not get to its end |
//! | same writer, one says removed                 | removed | nobody writes to what was removed without a new incarnation |
//! | same writer, one says open, one closed        | closed  | a writer closes once, and last |
//! | same writer, other content, other instance    | doubt   | their order is not known |

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::file::{Item, Source, Tail};
use super::files::Files;
use super::report::Merged;
use crate::format::catalog::{CatalogEntry, EntryKind, Open};
use crate::ids::{BirthId, Incarnation};

/// A cheap hash for keys that are random, or numbered, already: birth ids, hashes of session ids, places of entries.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, _length: usize) {
        // All keys have the same length.
    }

    fn write_u128(&mut self, key: u128) {
        self.write_u64(key as u64);
        self.write_u64((key >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// A map with such keys.
pub(crate) type SpreadMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// What the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Old,
    New,
    Doubt,
}

/// An entry as the table looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) kind: EntryKind,
    pub(super) incarnation: Incarnation,
    pub(super) body: &'a [u8],
}

/// The table.
pub(super) fn compare(old: Word<'_>, new: Word<'_>, same_instance: bool) -> Verdict {
    let (a, b) = (old.incarnation, new.incarnation);
    if b.number != a.number {
        return if b.number > a.number { Verdict::New } else { Verdict::Old };
    }
    if b.nonce != a.nonce {
        return Verdict::Doubt;
    }
    if same_instance {
        return Verdict::New;
    }
    if old.body == new.body {
        return Verdict::Old;
    }
    match (old.kind, new.kind) {
        (EntryKind::Removed, _) => Verdict::Old,
        (_, EntryKind::Removed) => Verdict::New,
        // Of adopted files a power cut may bring back the one and not the other.
        (EntryKind::Closed, EntryKind::Open) => Verdict::Old,
        (EntryKind::Open, EntryKind::Closed) => Verdict::New,
        _ => Verdict::Doubt,
    }
}

/// The entry that holds for one life: where it is, and whether it is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Winner {
    pub(super) source: usize,
    pub(super) index: usize,
    pub(super) doubt: bool,
}

/// The winners of all lives.
pub(super) type Winners = SpreadMap<BirthId, Winner>;

/// The source and the item of a winner.
pub(super) fn at(sources: &[Arc<Source>], winner: Winner) -> Option<(&Source, &Item)> {
    let source: &Source = sources.get(winner.source)?;
    Some((source, source.items.get(winner.index)?))
}

/// Puts `new` where `old` is, if the table says so. A doubt ends only with a higher incarnation.
fn settle(sources: &[Arc<Source>], old: &mut Winner, new: Winner, same_instance: bool) {
    let word = |winner| {
        at(sources, winner).map(|(source, item)| Word {
            kind: item.kind,
            incarnation: item.incarnation,
            body: item.body(&source.bytes),
        })
    };
    let (Some(was), Some(is)) = (word(*old), word(new)) else { return };
    let same_number = was.incarnation.number == is.incarnation.number;
    match compare(was, is, same_instance) {
        Verdict::Old => old.doubt |= same_number && new.doubt,
        Verdict::New => *old = Winner { doubt: new.doubt || same_number && old.doubt, ..new },
        Verdict::Doubt => old.doubt = true,
    }
}

/// Finds the entry that holds for each life. The files of one instance count as one file, in the order of
/// their generations; only then instances are compared, by the last word of each.
pub(super) fn winners(sources: &[Arc<Source>]) -> Winners {
    let items = sources.iter().map(|s| s.items.len()).sum::<usize>();
    winners_of(sources, items / 2, |_, _| true)
}

/// The same for the items that are `wanted` of the source at this index. They may be of some `expected` lives.
fn winners_of(sources: &[Arc<Source>], expected: usize, wanted: impl Fn(usize, &Item) -> bool) -> Winners {
    let mut order: Vec<(usize, &Arc<Source>)> = sources.iter().enumerate().collect();
    order.sort_by_key(|(_, s)| (s.header.instance, s.header.generation));
    let mut all = Winners::default();
    for group in order.chunk_by(|(_, a), (_, b)| a.header.instance == b.header.instance) {
        let mut local = Winners::default();
        local.reserve(group.iter().map(|(_, s)| s.items.len()).sum::<usize>().min(expected));
        for (source, s) in group {
            for (index, item) in s.items.iter().enumerate().filter(|(_, item)| wanted(*source, item)) {
                let new = Winner { source: *source, index, doubt: false };
                local.entry(item.birth).and_modify(|old| settle(sources, old, new, true)).or_insert(new);
            }
        }
        if all.is_empty() {
            all = local;
            continue;
        }
        for (birth, new) in local {
            all.entry(birth).and_modify(|old| settle(sources, old, new, false)).or_insert(new);
        }
    }
    all
}

/// What is known of each session. A session that is named in a torn file is in doubt until the file is
/// adopted: whoever reads without its lock cannot tell a torn end from a write that is under way.
pub(super) fn known(files: Files) -> Merged {
    let mut winners = winners(&files.sources);
    for source in files.sources.iter().filter(|s| s.tail != Tail::Clean) {
        for item in &source.items {
            if let Some(winner) = winners.get_mut(&item.birth) {
                winner.doubt = true;
            }
        }
    }
    Merged::new(files, SpreadMap::default()).with(winners)
}

/// The same, from what was known when the files were `last` read: what nothing new is said of is taken over from there.
/// All is looked at anew if more has changed than that entries were appended to sound files, or if it is much.
pub(super) fn known_since(last: &Merged, files: Files) -> Merged {
    let clean = |s: &Arc<Source>| s.tail == Tail::Clean;
    let before = last.sources();
    let grew = |(a, b): (&Arc<Source>, &Arc<Source>)| {
        (&a.name, a.reading) == (&b.name, b.reading) && a.items.len() <= b.items.len()
    };
    let grown = !last.unreliable
        && !files.unreliable
        && before.len() == files.sources.len()
        && before.iter().chain(&files.sources).all(clean)
        && before.iter().zip(&files.sources).all(grew);
    type Set<T> = HashSet<T, BuildHasherDefault<Spread>>;
    let new = before.iter().zip(&files.sources).filter_map(|(a, b)| b.items.get(a.items.len()..)).flatten();
    let (touched, births): (Set<u128>, Set<BirthId>) = new.map(|item| (item.session, item.birth)).unzip();
    // A life belongs to one session, but in a file that somebody made up.
    let strange = |item: &Item| births.contains(&item.birth) && !touched.contains(&item.session);
    let much = touched.len() > last.len() / 8;
    if !grown || much || files.sources.iter().any(|s| s.items.iter().any(strange)) {
        return known(files);
    }
    // All lives of a session are looked at together.
    let winners = winners_of(&files.sources, touched.len(), |_, item| touched.contains(&item.session));
    Merged::new(files, last.without(&touched)).with(winners)
}

type Births = HashSet<BirthId, BuildHasherDefault<Spread>>;

/// Files that are about to go.
pub(super) struct Going<'a> {
    /// Which of the sources they are.
    pub(super) chosen: &'a [bool],
    /// The file that is made durable before they go.
    pub(super) own: Option<&'a str>,
    /// One of them lost what may have named any session. So every summary, wherever it is, is put in doubt before the
    /// evidence of the loss goes.
    pub(super) damaged: bool,
    /// Another file could not be read.
    pub(super) unreliable: bool,
}

impl Going<'_> {
    fn is_chosen(&self, source: usize) -> bool {
        self.chosen.get(source).copied().unwrap_or(false)
    }

    /// The entries that must be written elsewhere before those files may go: what holds, and what would hold if a power cut
    /// took with it what others have written and not synced.
    pub(super) fn carry(&self, sources: &[Arc<Source>]) -> Vec<CatalogEntry> {
        let (mut inside, mut anywhere) = (Births::default(), Births::default());
        let (mut twice, mut unsure) = (Births::default(), Births::default());
        let stays = |i: usize, item: &Item| {
            let durably = |s: &Arc<Source>| Some(s.name.as_str()) == self.own || s.has_durably(item);
            self.is_chosen(i) || sources.get(i).is_some_and(durably)
        };
        for (i, source) in sources.iter().enumerate() {
            let births: Births = source.items.iter().map(|item| item.birth).collect();
            if self.is_chosen(i) {
                inside.extend(&births);
            }
            twice.extend(births.into_iter().filter(|birth| !anywhere.insert(*birth)));
            unsure.extend(source.items.iter().filter(|item| !stays(i, item)).map(|item| item.birth));
        }
        unsure.retain(|birth| self.damaged || inside.contains(birth));

        let mut kept: SpreadMap<BirthId, (Winner, CatalogEntry)> = SpreadMap::default();
        let surely =
            winners_of(sources, unsure.len(), |i, item| unsure.contains(&item.birth) && stays(i, item));
        for (birth, winner) in winners(sources).into_iter().chain(surely) {
            let (inside, twice) = (inside.contains(&birth), twice.contains(&birth));
            if let Some(entry) = self.carried(sources, winner, inside, twice) {
                kept.entry(birth).or_insert((winner, entry));
            }
        }
        let mut kept: Vec<_> = kept.into_values().collect();
        kept.sort_by_key(|(winner, _)| (winner.source, winner.index));
        kept.into_iter().map(|(_, entry)| entry).collect()
    }

    /// What is written of a winner. An entry of its life is `inside` one of the files, and in more than one file (`twice`).
    fn carried(
        &self,
        sources: &[Arc<Source>],
        winner: Winner,
        inside: bool,
        twice: bool,
    ) -> Option<CatalogEntry> {
        let (source, item) = at(sources, winner)?;
        let ours = self.is_chosen(winner.source);
        let whole = || item.entry(&source.bytes);
        match item.kind {
            EntryKind::Closed if self.damaged => whole().map(in_doubt),
            // A removal only speaks against entries of other files. Also of chosen ones: they go one by one,
            // and any of them may come back after a power cut.
            EntryKind::Removed if ours && !winner.doubt => {
                whole().filter(|_| self.unreliable || self.damaged || twice)
            }
            _ if winner.doubt && inside => whole().map(in_doubt),
            _ if ours => whole(),
            _ => None,
        }
    }
}

fn in_doubt(entry: CatalogEntry) -> CatalogEntry {
    CatalogEntry::Doubt(match entry {
        CatalogEntry::Open(mark) | CatalogEntry::Doubt(mark) => mark,
        CatalogEntry::Closed(summary) => summary.place(),
        CatalogEntry::Removed { id, birth, incarnation } => {
            Open { id, birth, incarnation, segment: 0, salt: 0, time: 0 }
        }
    })
}
